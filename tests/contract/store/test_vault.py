"""What people wrote is sealed at rest, bound to its row, and gone with its key."""

import asyncio
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import text

from etb_appservice.domain.audit import AuditNote
from etb_appservice.domain.classification import Classification
from etb_appservice.domain.effects import Say
from etb_appservice.domain.ids import EventId, Username
from etb_appservice.domain.incident import EtbUser, OnCall
from etb_appservice.ports import Arrival, Known
from etb_appservice.store.errors import Erased, MalformedKey, Tampered, WrongKey
from etb_appservice.store.sql import SqlStore, open_store
from etb_appservice.store.tables import metadata
from tests.contract.store.conftest import ROOT, Clock, Reopen
from tests.contract.store.test_conversation import message
from tests.contract.store.test_copies import CARD, INCIDENT, ROOM
from tests.contract.store.test_records import run

SECRET = "grandmother's marmalade"


async def fill(store: SqlStore) -> None:
    """Put the secret wherever a person's words go."""
    async with store.work() as work:
        await work.inbox.accept([Arrival(source="own", lane="l", key=bytes(16), payload=SECRET.encode())])
        await work.outbox.add("k", "l", Say(room_id=ROOM.room_id or ROOM_ID, content=SECRET))
        await work.messages.put(message("$1", body=SECRET))
        await work.messages.put(message("$2", body="another"))
        await work.commands.add(replace(run(SECRET, "$1"), arguments=SECRET, result=SECRET))
        await work.rooms.put(replace(ROOM, name=SECRET, card=replace(CARD, title=SECRET)))
        incident = replace(INCIDENT, title=SECRET, description=SECRET)
        await work.incidents.put(Known(incident=incident, confirmed_ms=1))
        await work.incidents.put_user(EtbUser(Username("u"), SECRET, Classification.PUBLIC, is_active=True), 1)
        await work.incidents.put_on_call([OnCall(SECRET, Username("u"))], 1)
        await work.audit.append(AuditNote(tag="t", actor="a", subject="s", contents={"body": SECRET}))
    await store.keepsakes.put("recovery key", SECRET.encode())


ROOM_ID = message("$").room_id


async def everything(url: str) -> bytes:
    """All bytes that the database holds."""
    if url.startswith("sqlite"):
        file = Path(url.removeprefix("sqlite:///"))
        return b"".join(path.read_bytes() for path in sorted(file.parent.iterdir()) if path.is_file())
    connection = await asyncpg.connect(url)
    try:
        parts = []
        for table in metadata.tables:
            for row in await connection.fetch(f"SELECT * FROM etb.{table}"):
                parts += [value if isinstance(value, bytes) else str(value).encode() for value in row.values()]
        return b"\n".join(parts)
    finally:
        await connection.close()


async def test_no_word_that_people_wrote_is_readable_in_the_raw_database(store: SqlStore, url: str) -> None:
    await fill(store)
    raw = await everything(url)
    assert b"command" in raw  # what is not sealed can be read, so the look is a real one
    assert SECRET.encode() not in raw
    assert b"marmalade" not in raw
    assert ROOT not in raw


async def test_a_changed_value_does_not_open(store: SqlStore) -> None:
    await fill(store)
    async with store.desk() as desk:
        body = await desk.ask(lambda t: bytes(t.value(text("SELECT body FROM messages WHERE event_id = '$1'"))))
        changed = body[:-1] + bytes([body[-1] ^ 1])
        await desk.write(lambda t: t.change(text("UPDATE messages SET body = :body"), {"body": changed}))
    async with store.view() as view:
        with pytest.raises(Tampered, match="messages"):
            await view.messages.by_event(EventId("$1"))


async def test_a_value_moved_to_another_row_does_not_open(store: SqlStore) -> None:
    await fill(store)
    async with store.desk() as desk:
        swap = text("UPDATE messages SET body = (SELECT body FROM messages WHERE event_id = '$1')")
        await desk.write(lambda t: t.change(swap))
    async with store.view() as view:
        assert await view.messages.by_event(EventId("$1"))
        with pytest.raises(Tampered):
            await view.messages.by_event(EventId("$2"))


async def test_a_value_that_was_never_sealed_does_not_open(store: SqlStore) -> None:
    await fill(store)
    async with store.desk() as desk:
        await desk.write(lambda t: t.change(text("UPDATE keepsakes SET value = :v"), {"v": b"plain"}))
    with pytest.raises(Tampered, match="isn't a sealed one"):
        await store.keepsakes.get("recovery key")


async def test_keys_are_read_again_after_a_restart(store: SqlStore, reopen: Reopen) -> None:
    await fill(store)
    async with reopen() as again, again.view() as view:
        found = await view.messages.by_event(EventId("$1"))
        assert found
        assert found.body == SECRET


async def test_a_key_made_in_a_unit_that_was_rolled_back_is_not_used_again(
    store: SqlStore, reopen: Reopen
) -> None:
    with pytest.raises(ZeroDivisionError):  # noqa: PT012 - the unit is what raises
        async with store.work() as work:
            await work.messages.put(message("$1"))
            await work.messages.by_event(EventId("$1"))
            raise ZeroDivisionError
    async with store.work() as work:
        await work.messages.put(message("$1"))
    async with reopen() as again, again.view() as view:
        found = await view.messages.by_event(EventId("$1"))
    assert found
    assert found.body == "hello"


async def keys_of(store: SqlStore, scope: str) -> list[bytes]:
    async with store.desk() as desk:
        select = text("SELECT id FROM vault_keys WHERE scope = :scope ORDER BY data_class, period")
        return [bytes(row[0]) for row in await desk.ask(lambda t: t.rows(select, {"scope": scope}))]


async def test_destroying_a_scope_is_deletion_of_all_it_held_and_of_nothing_else(
    store: SqlStore, reopen: Reopen
) -> None:
    await fill(store)
    scope_key = (await keys_of(store, "room:!room"))[0]
    assert await store.destroy_key(scope_key) == 3  # the scope's key, and those of messages and commands
    async with reopen() as again:
        for opened in (store, again):
            async with opened.view() as view:
                with pytest.raises(Erased):
                    await view.messages.by_event(EventId("$1"))
                assert await view.incidents.get(INCIDENT.id)
    async with store.work() as work:
        await work.messages.put(message("$3"))
        assert await work.messages.by_event(EventId("$3"))


async def test_a_destroyed_key_is_gone_from_what_the_database_holds(store: SqlStore, url: str) -> None:
    await fill(store)
    async with store.desk() as desk:
        select = text("SELECT id, wrapped FROM vault_keys WHERE scope = 'room:!room'")
        keys = [(bytes(row.id), bytes(row.wrapped)) for row in await desk.ask(lambda t: t.rows(select))]
    before = await everything(url)
    assert all(wrapped in before for _, wrapped in keys)
    for key_id, _ in keys:
        await store.destroy_key(key_id)
    raw = await everything(url)
    assert not any(wrapped in raw for _, wrapped in keys)


async def test_each_month_has_its_own_key(store: SqlStore, clock: Clock) -> None:
    async with store.work() as work:
        await work.messages.put(message("$1"))
    clock.now += 40 * 24 * 3600 * 1000
    async with store.work() as work:
        await work.messages.put(message("$2"))
    first, second = (await keys_of(store, "room:!room"))[1:]
    await store.destroy_key(first)
    async with store.view() as view:
        assert await view.messages.by_event(EventId("$2"))
        with pytest.raises(Erased):
            await view.messages.by_event(EventId("$1"))
    assert second != first


async def test_all_generations_of_a_room_share_the_scope_of_their_war_room(store: SqlStore) -> None:
    async with store.work() as work:
        await work.rooms.put(replace(ROOM, room_id=message("$1").room_id))
        await work.messages.put(message("$1"))
    assert len(await keys_of(store, f"room:{ROOM.war_room}")) == 3
    assert await keys_of(store, "room:!room") == []


async def test_many_units_at_once_make_one_key(store: SqlStore) -> None:
    async def put(number: int) -> None:
        async with store.work() as work:
            await work.messages.put(message(f"${number}", lane=f"{number}"))

    await asyncio.gather(*(put(number) for number in range(8)))
    assert len(await keys_of(store, "room:!room")) == 2
    async with store.view() as view:
        for number in range(8):
            assert await view.messages.by_event(EventId(f"${number}"))


@pytest.fixture
async def used_url(url: str, clock: Clock) -> str:
    async with open_store(url, ROOT, clock) as store:
        await fill(store)
    return url


async def test_another_key_is_refused_at_opening_and_not_shown(used_url: str, clock: Clock) -> None:
    other = b"o" * 32
    with pytest.raises(WrongKey, match="put the earlier key back") as refused:
        async with open_store(used_url, other, clock):
            pass
    assert "ooo" not in str(refused.value)
    async with open_store(used_url, ROOT, clock) as store:
        assert await store.keepsakes.get("recovery key") == SECRET.encode()


async def test_a_key_of_the_wrong_length_is_refused(used_url: str, clock: Clock) -> None:
    with pytest.raises(MalformedKey, match="31 bytes long"):
        async with open_store(used_url, bytes(31), clock):
            pass


async def test_no_repr_shows_a_key(store: SqlStore) -> None:
    assert repr(store.vault) == "Vault()"

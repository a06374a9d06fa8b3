"""Keys that come by to-device events: nothing is lost between two commits, nothing counts twice."""

import asyncio
import sqlite3
from typing import Any

import pytest

from etb_appservice.matrix.results import Decrypted, KeyMissing, SyncResult, Undecryptable, Unreadable
from tests.harness.keyserver import Crash, KeyServer
from tests.unit.matrix.conftest import ROOM, Actor, MakeActor, event, text


async def _said(alice: Actor, bot: Actor, body: str = "hello") -> dict[str, Any]:
    sealed = await alice.cipher.encrypt(ROOM, "m.room.message", text(body), [bot.mxid])
    return event(alice.mxid, sealed.content)


async def _restart(bot: Actor) -> None:
    await bot.close()
    bot.established = await (await bot.open()).establish()


@pytest.mark.parametrize(
    "seam", ["put_account", "add_session", "update_session", "put_group_session", "mark_seen"]
)
@pytest.mark.parametrize("restart", [False, True], ids=["the process lives on", "the process dies"])
async def test_a_key_survives_a_death_between_any_two_writes_of_its_event(
    actor: MakeActor, monkeypatch: Any, seam: str, restart: bool
) -> None:
    bot, alice = await actor("bot"), await actor("alice")
    said = await _said(alice, bot)
    store = bot.cipher._store
    real = getattr(store, seam)

    async def die(*arguments: Any) -> None:
        await real(*arguments)
        if restart:
            raise Crash(seam)
        raise sqlite3.OperationalError("disk I/O error")

    response = bot.server.sync(bot.mxid, bot.device_id)
    with monkeypatch.context() as patch:
        patch.setattr(store, seam, die)
        with pytest.raises((Crash, sqlite3.OperationalError)):
            await bot.cipher.handle_sync(response, since=bot.since)
    if restart:
        await _restart(bot)
    result = await bot.cipher.handle_sync(response, since=bot.since)
    assert result.new_sessions == ((ROOM, said["content"]["session_id"]),)
    assert result.olm_failures == 0
    assert isinstance(await bot.cipher.decrypt(said), Decrypted)
    again = await _said(alice, bot)
    assert isinstance(await bot.cipher.decrypt(again), Decrypted)


async def test_a_response_that_comes_again_reports_the_same_sessions_and_no_failure(actor: MakeActor) -> None:
    bot, alice = await actor("bot"), await actor("alice")
    said = await _said(alice, bot)
    response = bot.server.sync(bot.mxid, bot.device_id)
    first = await bot.cipher.handle_sync(response, since="s1")
    await _restart(bot)
    again = await bot.cipher.handle_sync(response, since="s1")
    assert first == again == SyncResult(new_sessions=((ROOM, said["content"]["session_id"]),))


async def test_what_the_homeserver_forgot_is_forgotten_here(actor: MakeActor) -> None:
    bot, alice = await actor("bot"), await actor("alice")
    await _said(alice, bot)
    await bot.cipher.handle_sync(bot.server.sync(bot.mxid, bot.device_id), since="s1")
    assert _count(bot, "etb_to_device_seen") == 1
    await bot.cipher.handle_sync({}, since="s2")
    assert _count(bot, "etb_to_device_seen") == 0


async def test_one_time_keys_are_stored_before_they_are_offered(actor: MakeActor, server: KeyServer) -> None:
    bot, alice = await actor("bot", start=False), await actor("alice")
    bot.established = await (await bot.open()).establish()
    response = server.sync(bot.mxid, bot.device_id)
    server.crash_at, server.crash_after = len(server.requests) + 1, True  # uploaded, and dead before the answer
    with pytest.raises(Crash):
        await bot.cipher.handle_sync(response, since="")
    server.crash_at = None
    assert server.one_time[bot.mxid, bot.device_id]
    said = await _said(alice, bot)  # claims a key that the dead process offered
    await _restart(bot)
    await bot.sync()
    assert isinstance(await bot.cipher.decrypt(said), Decrypted)


async def test_one_time_keys_are_restocked(actor: MakeActor, server: KeyServer, monkeypatch: Any) -> None:
    bot = await actor("bot")
    here = (bot.mxid, bot.device_id)
    assert len(server.one_time[here]) == 50
    for key in list(server.one_time[here])[:40]:
        del server.one_time[here][key]
    await bot.sync()
    assert len(server.one_time[here]) == 50


async def test_who_finds_no_one_time_key_uses_the_fallback_key_and_it_is_replaced(
    actor: MakeActor, server: KeyServer, monkeypatch: Any
) -> None:
    bot, alice, carol = await actor("bot"), await actor("alice"), await actor("carol")
    here = (bot.mxid, bot.device_id)
    first = server.fallback[here]
    server.one_time[here].clear()
    said = [await _said(alice, bot), await _said(carol, bot)]
    assert here in server.fallback_used
    bot.cipher._machine._fallback_at = float("-inf")
    await bot.sync()
    for one in said:
        assert isinstance(await bot.cipher.decrypt(one), Decrypted)
    assert server.fallback[here] != first
    assert server.fallback[here][1]["fallback"] is True
    assert len(server.one_time[here]) == 50


async def test_a_failed_upload_of_keys_does_not_stop_the_sync(actor: MakeActor, server: KeyServer) -> None:
    bot, alice = await actor("bot"), await actor("alice")
    server.one_time[bot.mxid, bot.device_id].clear()
    said = await _said(alice, bot)
    server.unreachable.add("keys/upload")
    assert (await bot.sync()).new_sessions
    assert isinstance(await bot.cipher.decrypt(said), Decrypted)


async def test_key_requests_are_refused_and_counted(actor: MakeActor, server: KeyServer) -> None:
    bot, alice = await actor("bot"), await actor("alice")
    sealed = await bot.cipher.encrypt(ROOM, "m.room.message", text("secret"), [])
    request = {
        "action": "request",
        "request_id": "1",
        "requesting_device_id": alice.device_id,
        "body": {"room_id": ROOM, "session_id": sealed.session_id, "algorithm": "m.megolm.v1.aes-sha2"},
    }
    _deliver(server, bot, alice.mxid, "m.room_key_request", request)
    result = await bot.sync()
    assert result.key_requests_refused == 1
    assert not server.inbox[alice.mxid, alice.device_id]


async def test_a_withheld_key_is_final_for_events_of_the_one_who_withholds(
    actor: MakeActor, server: KeyServer
) -> None:
    bot, alice, mallory = await actor("bot"), await actor("alice"), await actor("mallory")
    sealed = await alice.cipher.encrypt(ROOM, "m.room.message", text("not for you"), [])
    said = event(alice.mxid, sealed.content)
    notice = {
        "algorithm": "m.megolm.v1.aes-sha2",
        "code": "m.unverified",
        "room_id": ROOM,
        "session_id": sealed.session_id,
        "sender_key": sealed.content["sender_key"],
    }
    _deliver(server, bot, mallory.mxid, "m.room_key.withheld", notice)
    await bot.sync()
    assert await bot.cipher.decrypt(said) == KeyMissing(sealed.session_id)
    _deliver(server, bot, alice.mxid, "m.room_key.withheld", notice)
    result = await bot.sync()
    assert result.withheld == ((ROOM, sealed.session_id),)
    assert await bot.cipher.decrypt(said) == Undecryptable(Unreadable.WITHHELD, "m.unverified")


async def test_a_key_for_a_known_session_does_not_move_it_to_another_device(actor: MakeActor) -> None:
    bot, alice, mallory = await actor("bot"), await actor("alice"), await actor("mallory")
    said = await _said(alice, bot)
    await bot.sync()
    session = alice.cipher.outgoing.sessions[ROOM]
    target = {(bot.mxid, bot.device_id): (await _device(mallory, bot))}
    stolen = {
        "algorithm": "m.megolm.v1.aes-sha2", "room_id": ROOM, "session_id": session.group.id,
        "session_key": session.first_key,
    }  # fmt: skip
    await mallory.cipher.courier.deliver(target, "m.room_key", stolen)
    assert (await bot.sync()).new_sessions == ()
    assert isinstance(await bot.cipher.decrypt(said), Decrypted)


async def test_a_broken_olm_session_is_replaced_and_later_keys_come(actor: MakeActor, server: KeyServer) -> None:
    bot, alice = await actor("bot"), await actor("alice")
    await _said(alice, bot)
    await bot.sync()
    await bot.keeper.run(lambda: bot.cipher._store.db.execute("DELETE FROM crypto_olm_session"))
    await bot.keeper.run(bot.cipher._machine.reload)
    server.inbox[bot.mxid, bot.device_id].clear()
    _deliver(server, bot, alice.mxid, "m.room.encrypted", await _garbled(alice, bot))
    assert (await bot.sync()).olm_failures == 1
    while bot.keeper._tasks:
        await asyncio.wait(bot.keeper._tasks)
    assert (await alice.sync()).olm_failures == 0
    await alice.cipher.forget_sessions(ROOM)
    said = await _said(alice, bot)
    await bot.sync()
    assert isinstance(await bot.cipher.decrypt(said), Decrypted)


@pytest.mark.parametrize(
    "odd",
    [
        {},
        {"type": "m.room.encrypted"},
        {"type": "m.room.encrypted", "sender": "@a:test", "content": []},
        {"type": "m.room.encrypted", "sender": 7, "content": {"algorithm": "m.olm.v1.curve25519-aes-sha2"}},
        {"type": "m.room_key.withheld", "sender": "@a:test", "content": {"code": "x", "room_id": "\x00"}},
        {"type": "m.room_key_request", "content": None},
        {"type": ["odd"]},
        "not even an object",
    ],
)
async def test_an_odd_event_does_not_keep_the_next_one_from_being_taken(
    actor: MakeActor, server: KeyServer, odd: Any
) -> None:
    bot, alice = await actor("bot"), await actor("alice")
    server.inbox[bot.mxid, bot.device_id].append(odd)
    said = await _said(alice, bot)
    await bot.sync()
    assert isinstance(await bot.cipher.decrypt(said), Decrypted)


def _deliver(server: KeyServer, to: Actor, sender: str, kind: str, content: dict[str, Any]) -> None:
    server.inbox[to.mxid, to.device_id].append({"type": kind, "sender": sender, "content": content})


async def _device(asker: Actor, owner: Actor) -> Any:
    devices = await asker.keeper.run(lambda: asker.cipher.directory.devices_of([owner.mxid]))
    return devices[owner.mxid][owner.device_id]


async def _garbled(sender: Actor, to: Actor) -> dict[str, Any]:
    device = await _device(sender, to)
    return {
        "algorithm": "m.olm.v1.curve25519-aes-sha2",
        "sender_key": sender.cipher.device_keys()["keys"][f"curve25519:{sender.device_id}"],
        "ciphertext": {device.identity_key: {"type": 1, "body": "AwogZ2FyYmxlZA"}},
    }


def _count(bot: Actor, table: str) -> int:
    with sqlite3.connect(bot.folder / "crypto.db") as connection:
        return int(connection.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0])

"""CHAT_ENCRYPTION_KEY is replaced in one commit, while others use the store; the former one opens for a while."""

import asyncio
from contextlib import suppress
from dataclasses import replace

import pytest
from sqlalchemy import text

from etb_appservice.domain.audit import AuditNote, first_break
from etb_appservice.domain.ids import EventId, RoomId
from etb_appservice.ports import Message
from etb_appservice.store import roots
from etb_appservice.store.errors import MalformedKey, Tampered, WrongKey
from etb_appservice.store.sql import SqlStore, open_store
from tests.contract.store.conftest import ROOT, Clock, Reopen
from tests.contract.store.test_conversation import message
from tests.contract.store.test_vault import SECRET, everything, fill

HOUR = 3600 * 1000
SECOND, THIRD = bytes(range(32, 64)), bytes(range(64, 96))


def said(event: str, room: str) -> Message:
    """A message of a room, in a lane of its own."""
    return replace(message(event, lane=event), room_id=RoomId(room))


async def rotate(store: SqlStore, new: bytes, clock: Clock, overlap_ms: int = HOUR) -> None:
    async with store.work() as work:
        await store.replace_root(work, new, until_ms=clock.now + overlap_ms)
        await work.audit.append(AuditNote(tag="rotated", actor="a", subject="s", contents={"n": "new"}))


async def opens(url: str, root: bytes, clock: Clock) -> bool:
    """Whether the database opens with this key, and all that is in it."""
    try:
        async with open_store(url, root, clock) as store:
            assert await store.keepsakes.get("recovery key") == SECRET.encode()
            async with store.view() as view:
                found = await view.messages.by_event(EventId("$1"))
                assert found is not None
                assert found.body == SECRET
    except WrongKey:
        return False
    return True


async def test_all_that_was_sealed_opens_under_the_new_key_and_the_former_one_for_the_overlap(
    store: SqlStore, url: str, clock: Clock
) -> None:
    await fill(store)
    await rotate(store, SECOND, clock)
    assert await opens(url, SECOND, clock)
    assert await opens(url, ROOT, clock)
    assert not await opens(url, THIRD, clock)
    clock.now += HOUR
    assert await opens(url, SECOND, clock)
    assert not await opens(url, ROOT, clock)
    with pytest.raises(WrongKey, match=r"former one.*replaced on.*accepted until.*rotate encryption-key"):
        async with open_store(url, ROOT, clock):
            pass
    async with open_store(url, ROOT, clock, is_late=True) as late:
        assert late.vault.roots[0].raw == SECOND
        assert late.vault.is_behind


async def test_two_rotations_lead_from_the_first_key_to_the_last(store: SqlStore, url: str, clock: Clock) -> None:
    await fill(store)
    await rotate(store, SECOND, clock, 2 * HOUR)
    clock.now += 1
    await rotate(store, THIRD, clock)
    for root in (ROOT, SECOND, THIRD):
        assert await opens(url, root, clock)
    clock.now += HOUR
    assert [await opens(url, root, clock) for root in (SECOND, THIRD)] == [False, True]


async def test_a_store_that_was_open_goes_on_over_a_rotation(
    store: SqlStore, reopen: Reopen, url: str, clock: Clock
) -> None:
    """Keys that it had opened, keys that it hadn't, and rooms that it meets only now."""
    await fill(store)
    async with reopen() as running:
        async with running.view() as view:
            assert await view.messages.by_event(EventId("$1"))
        await rotate(store, SECOND, clock)
        assert await running.keepsakes.get("recovery key") == SECRET.encode()
        async with running.work() as work:
            await work.messages.put(said("$new", "!another"))
            await work.audit.append(AuditNote(tag="t", actor="a", subject="s", contents={"body": "later"}))
        assert running.vault.is_behind
    async with open_store(url, SECOND, clock) as again, again.view() as view:
        assert await view.messages.by_event(EventId("$new"))


async def test_units_of_work_go_on_while_keys_are_replaced(store: SqlStore, reopen: Reopen, clock: Clock) -> None:
    await fill(store)
    async with reopen() as running:

        async def talk(worker: int) -> None:
            for number in range(8):
                event = f"${worker}-{number}"
                async with running.work() as work:
                    await work.messages.put(said(event, f"!{worker}-{number}"))

        async def turn() -> None:
            for new in (SECOND, THIRD):
                await rotate(store, new, clock)
                await asyncio.sleep(0)

        await asyncio.gather(turn(), *(talk(worker) for worker in range(4)))
        async with store.view() as view:
            for worker in range(4):
                for number in range(8):
                    assert await view.messages.by_event(EventId(f"${worker}-{number}"))


async def test_a_unit_that_is_rolled_back_leaves_the_former_key(store: SqlStore, url: str, clock: Clock) -> None:
    await fill(store)
    with suppress(ZeroDivisionError):
        async with store.work() as work:
            await store.replace_root(work, SECOND, until_ms=clock.now + HOUR)
            await work.messages.put(said("$rolled", "!back"))
            raise ZeroDivisionError
    assert [await opens(url, root, clock) for root in (ROOT, SECOND)] == [True, False]


async def test_what_a_unit_seals_beside_the_rotation_opens(store: SqlStore, url: str, clock: Clock) -> None:
    async with store.work() as work:
        await store.replace_root(work, SECOND, until_ms=clock.now + HOUR)
        await work.messages.put(said("$1", "!first-ever"))
    async with open_store(url, SECOND, clock) as again, again.view() as view:
        assert await view.messages.by_event(EventId("$1"))


async def test_texts_in_the_audit_log_stay_verifiable(store: SqlStore, url: str, clock: Clock) -> None:
    await fill(store)
    old = store.vault.tag(SECRET)
    await rotate(store, SECOND, clock)
    await rotate(store, THIRD, clock)
    async with open_store(url, THIRD, clock) as again:
        async with again.work() as work:
            await work.audit.append(AuditNote(tag="t", actor="a", subject="s", contents={"body": SECRET}))
            entries = await work.audit.read()
        assert first_break([entry for entry, _ in entries], [digest for _, digest in entries]) is None
        hashes = [entry.hashes["body"] for entry, _ in entries if "body" in entry.hashes]
        assert hashes[0] == old
        assert hashes[-1] == again.vault.tag(SECRET)
        assert hashes[0] != hashes[-1]
        assert set(hashes) <= set(again.vault.tags(SECRET))
        assert old not in again.vault.tags("another text")


async def test_the_handover_ends_only_where_the_settings_hold_the_present_key(
    store: SqlStore, url: str, clock: Clock
) -> None:
    await fill(store)
    await rotate(store, SECOND, clock)
    clock.now += HOUR - 1
    async with open_store(url, ROOT, clock) as behind, open_store(url, SECOND, clock) as present:
        clock.now += 1

        async def ended(by: SqlStore) -> int:
            async with by.work() as work:
                return await by.end_root_overlaps(work)

        assert await ended(behind) == 0, "its settings hold the former key, and maybe all settings do"
        assert await ended(present) == 1
        assert await ended(present) == 0
    with pytest.raises(WrongKey, match=r"put the one that replaced it in its place$"):
        async with open_store(url, ROOT, clock, is_late=True):
            pass


async def test_once_the_settings_are_written_any_process_ends_the_overlap(
    store: SqlStore, url: str, clock: Clock
) -> None:
    await fill(store)
    await rotate(store, SECOND, clock)
    async with open_store(url, ROOT, clock) as behind:
        await store.root_placed()
        clock.now += HOUR
        async with behind.work() as work:
            assert await behind.end_root_overlaps(work) == 1
        assert (await behind.follow_root()).until_ms == 0
        assert await behind.keepsakes.get("recovery key") == SECRET.encode()


async def test_what_the_former_key_wrapped_is_gone_from_the_files(store: SqlStore, url: str, clock: Clock) -> None:
    await fill(store)
    async with store.desk() as desk:
        select = text("SELECT wrapped FROM vault_keys WHERE parent IS NULL")
        wrapped = [bytes(row.wrapped) for row in await desk.ask(lambda t: t.rows(select))]
    before = await everything(url)
    assert wrapped
    assert all(one in before for one in wrapped)
    await rotate(store, SECOND, clock)
    await store.root_placed()
    raw = await everything(url)
    assert not any(one in raw for one in wrapped)
    assert ROOT not in raw
    assert SECOND not in raw


async def test_the_age_of_the_key_is_known(store: SqlStore, clock: Clock) -> None:
    begun = clock.now
    assert (await store.follow_root()).since_ms == begun
    clock.now += 5
    await rotate(store, SECOND, clock)
    assert await store.follow_root() == roots.Ages(begun + 5, begun + 5 + HOUR)


async def test_a_handover_that_was_changed_or_moved_does_not_open(store: SqlStore, url: str, clock: Clock) -> None:
    await fill(store)
    await rotate(store, SECOND, clock)
    async with store.desk() as desk:
        change = text("UPDATE vault_former SET handover = :v")
        await desk.write(lambda t: t.change(change, {"v": bytes(60)}))
    with pytest.raises(Tampered):
        await opens(url, ROOT, clock)
    assert await opens(url, SECOND, clock)


async def test_a_malformed_key_changes_nothing(store: SqlStore, url: str, clock: Clock) -> None:
    await fill(store)
    with pytest.raises(MalformedKey):
        await rotate(store, bytes(31), clock)
    assert await opens(url, ROOT, clock)


def test_no_repr_shows_a_root() -> None:
    assert repr(roots.Root(ROOT)) == "Root()"

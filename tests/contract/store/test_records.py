"""Messages, commands, the audit log, what is done once, and what Synapse owes us."""

import asyncio
import json
from dataclasses import replace

import pytest
from sqlalchemy import text

from etb_appservice.domain.audit import GENESIS, AuditEntry, AuditNote, first_break
from etb_appservice.domain.ids import EventId, IncidentId, RoomId, UserId, short_hash
from etb_appservice.domain.past import ALWAYS, Span
from etb_appservice.ports import Arrival, CommandRun, Expected
from etb_appservice.store.desk import Transaction
from etb_appservice.store.sql import SqlStore
from tests.contract.store.conftest import NOON, Clock, Reopen

ROOM = RoomId("!room")


def run(name: str, event: str, asked_ms: int = NOON) -> CommandRun:
    return CommandRun(
        id=f"id of {event}",
        room_id=ROOM,
        incident_id=IncidentId("i"),
        event_id=EventId(event),
        caller=UserId("@a:b"),
        name=name,
        arguments="a \ud83d b",
        result="fine",
        status="SUCCESS",
        asked_ms=asked_ms,
        finished_ms=asked_ms + 5,
    )


@pytest.mark.parametrize("more", [[], ["$root"]], ids=["the first version", "before there were outcomes"])
async def test_a_command_that_an_earlier_version_has_kept_is_read(store: SqlStore, more: list[str]) -> None:
    kept = run("status", "$1")
    async with store.work() as work:
        assert await work.commands.add(kept)

    def as_it_was(transaction: Transaction) -> None:
        content = json.dumps([kept.name, kept.arguments, kept.result, *more]).encode()
        sealed = transaction.keys.seal(transaction.room_scope(ROOM), "command", "commands", kept.id, content)
        transaction.change(text("UPDATE commands SET content = :content"), {"content": sealed})

    async with store.desk() as desk:
        await desk.write(as_it_was)
    async with store.view() as view:
        root = EventId("$root") if more else None
        assert await view.commands.get(kept.id) == replace(kept, thread_root=root, is_outside=True)


async def test_a_command_of_one_event_is_recorded_once(store: SqlStore, reopen: Reopen) -> None:
    async with store.work() as work:
        assert await work.commands.add(run("status", "$1"))
        assert not await work.commands.add(replace(run("status", "$1"), id="another"))
    async with reopen() as again, again.work() as work:
        assert not await work.commands.add(run("status", "$1"))
        assert await work.commands.add(run("help", "$2", NOON + 1))
        assert await work.commands.of_room(ROOM) == [run("help", "$2", NOON + 1), run("status", "$1")]
        assert await work.commands.of_room(ROOM, limit=1) == [run("help", "$2", NOON + 1)]
        assert await work.commands.of_room(RoomId("!other")) == []


async def test_commands_of_several_incidents_are_read_in_pages_and_counted(store: SqlStore) -> None:
    first, second = IncidentId("i"), IncidentId("j")
    async with store.work() as work:
        for number in range(5):
            one = run("status", f"${number}", NOON + number)
            await work.commands.add(replace(one, incident_id=second if number % 2 else first))
        await work.commands.add(replace(run("run", "$run", NOON + 9), status="FAILED", incident_id=first))
    async with store.view() as view:
        found = await view.commands.among([first, second], ["SUCCESS"], limit=3, skip=1)
        assert [one.event_id for one in found] == ["$3", "$2", "$1"]
        found = await view.commands.among([first, second], ["SUCCESS"], limit=3, skip=1, oldest_first=True)
        assert [one.event_id for one in found] == ["$1", "$2", "$3"]
        assert await view.commands.count([first, second], ["SUCCESS"]) == 5
        assert await view.commands.count([first], ["SUCCESS", "FAILED"]) == 4
        assert [one.name for one in await view.commands.among([first], ["FAILED"])] == ["run"]
        assert await view.commands.among([], ["SUCCESS"]) == []
        assert await view.commands.count([second], []) == 0
        hidden = {first: (Span(NOON + 6, NOON + 7),), "other": (Span(0, ALWAYS),)}
        some = await view.commands.among([first, second], ["SUCCESS"], hidden=hidden)
        assert [one.event_id for one in some] == ["$3", "$1", "$0"]
        assert await view.commands.count([first, second], ["SUCCESS"], hidden) == 3


async def test_a_first_time_comes_once(store: SqlStore) -> None:
    async with store.work() as work:
        assert await work.once.first_time("notice", "a")
        assert not await work.once.first_time("notice", "a")
        assert await work.once.first_time("notice", "b")


# --- the audit log ----------------------------------------------------------------------------------------


def note(number: int) -> AuditNote:
    return AuditNote(
        tag="command.run",
        actor="@a:b",
        subject="\ud83d\x00",
        details={"number": number, "text": "\ud83d\x00é", "yes": True, "none": None},
        contents={"arguments": "what was typed"},
    )


async def entries(store: SqlStore) -> tuple[list[AuditEntry], list[bytes]]:
    async with store.view() as view:
        found = await view.audit.read()
    return [entry for entry, _ in found], [digest for _, digest in found]


async def test_the_audit_log_is_dense_and_chained_when_many_append_at_once(store: SqlStore) -> None:
    async def append(number: int) -> None:
        async with store.work() as work:
            await work.audit.append(note(number))
            await work.inbox.depth(NOON)
            await work.audit.append(note(number))

    await asyncio.gather(*(append(number) for number in range(25)))
    found, digests = await entries(store)
    assert [entry.seq for entry in found] == list(range(1, 51))
    assert found[0].previous == GENESIS
    assert first_break(found, digests) is None


async def test_an_entry_that_was_changed_is_the_first_break(store: SqlStore) -> None:
    async with store.work() as work:
        for number in range(5):
            await work.audit.append(note(number))
    async with store.desk() as desk:
        await desk.write(lambda t: t.change(text("UPDATE audit SET actor = '@mallory' WHERE seq = 3")))
    assert first_break(*await entries(store)) == 3


async def test_a_rolled_back_unit_leaves_no_entry(store: SqlStore) -> None:
    with pytest.raises(ZeroDivisionError):  # noqa: PT012 - the unit is what raises
        async with store.work() as work:
            await work.audit.append(note(1))
            raise ZeroDivisionError
    async with store.work() as work:
        await work.audit.append(note(2))
    found, digests = await entries(store)
    assert [(entry.seq, entry.details["number"]) for entry in found] == [(1, 2)]
    assert first_break(found, digests) is None


async def test_contents_enter_as_keyed_hashes(store: SqlStore) -> None:
    async with store.work() as work:
        await work.audit.append(note(1))
        [(entry, _)] = await work.audit.read()
    assert entry.hashes == {"arguments": store.vault.tag("what was typed")}
    assert entry.at_ms == NOON


async def test_the_audit_log_is_read_in_pages(store: SqlStore) -> None:
    async with store.work() as work:
        for number in range(5):
            await work.audit.append(note(number))
    async with store.view() as view:
        assert [entry.seq for entry, _ in await view.audit.read(after_seq=2, limit=2)] == [3, 4]


# --- gaps -------------------------------------------------------------------------------------------------


def expected(name: str, due_ms: int = NOON) -> Expected:
    return Expected(room_id=ROOM, event_id=EventId(name), due_ms=due_ms)


async def test_gaps_are_events_that_were_never_accepted(store: SqlStore, clock: Clock) -> None:
    def event(name: str) -> Arrival:
        return Arrival(source="matrix", lane="lane", key=short_hash("event", name), payload=b"x")

    async with store.work() as work:
        await work.inbox.accept([event("$come")])
        assert await work.gaps.expect([]) == 0
        wanted = [expected("$come"), expected("$a"), expected("$b"), expected("$c", NOON + 1)]
        assert await work.gaps.expect(wanted) == 3
        assert await work.gaps.expect(wanted) == 3
    async with store.work() as work:
        assert len(await work.gaps.overdue(NOON, limit=1)) == 1
        assert {gap.event_id for gap in await work.gaps.overdue(NOON)} == {"$a", "$b"}
        await work.inbox.accept([event("$a")])
        assert await work.gaps.overdue(NOON) == [expected("$b")]
        await work.gaps.settle(EventId("$b"))
        assert await work.gaps.overdue(NOON + 1) == [expected("$c", NOON + 1)]


async def test_a_thousand_expected_events_are_compared_at_once(store: SqlStore) -> None:
    names = [f"${number}" for number in range(1001)]
    async with store.work() as work:
        await work.inbox.accept(
            [
                Arrival(source="matrix", lane="l", key=short_hash("event", name), payload=b"")
                for name in names[:600]
            ]
        )
        assert await work.gaps.expect([expected(name) for name in names]) == 401

"""The case of a war room, on both databases."""

from dataclasses import replace

import pytest

from etb_appservice.domain.ids import EventId, RoomId, UserId, Username, WarRoomId
from etb_appservice.domain.results import Assigned
from etb_appservice.domain.roles import Admitted, Role
from etb_appservice.ports import CommandRun
from etb_appservice.store.errors import Tampered
from etb_appservice.store.sql import SqlStore
from tests.contract.store.conftest import Reopen

HERE, THERE = WarRoomId("here"), WarRoomId("there")
SCRIBE = Role(id="SCRIBE", role="SCRIBE", username=Username("alice"), since_ms=1, by=Username("bob"))
OBSERVER = replace(SCRIBE, id="OBSERVER", role="OBSERVER")


async def test_entries_come_back_in_the_order_in_which_they_were_first_put(
    store: SqlStore, reopen: Reopen
) -> None:
    async with store.work() as work:
        await work.cases.put(HERE, SCRIBE)
        await work.cases.put(HERE, OBSERVER)
        await work.cases.put(THERE, OBSERVER)
        await work.cases.put(HERE, Admitted(id="SCRIBE", username=Username("carol"), by="bob", at_ms=1))
    later = replace(SCRIBE, username=Username("dave"))
    async with store.work() as work:
        await work.cases.put(HERE, later)
    async with reopen() as again, again.view() as view:
        assert await view.cases.of(HERE, Role) == [later, OBSERVER]
        assert await view.cases.get(HERE, Role, "SCRIBE") == later
        assert await view.cases.get(THERE, Role, "SCRIBE") is None
        assert [one.username for one in await view.cases.of(HERE, Admitted)] == ["carol"]


async def test_what_was_settled_is_kept_and_no_longer_open(store: SqlStore) -> None:
    async with store.work() as work:
        await work.cases.put(HERE, SCRIBE)
        await work.cases.put(HERE, replace(OBSERVER, is_open=False))
        await work.cases.put(THERE, OBSERVER)
    async with store.view() as view:
        assert await view.cases.of(HERE, Role, only_open=True) == [SCRIBE]
        assert await view.cases.of(HERE, Role) == [SCRIBE, replace(OBSERVER, is_open=False)]
        assert await view.cases.all_open(Role) == [(HERE, SCRIBE), (THERE, OBSERVER)]


async def test_who_stands_in_an_incident_is_one_question(store: SqlStore) -> None:
    carol = Admitted(id="carol", username=Username("carol"), by="bob", at_ms=1)
    async with store.work() as work:
        await work.cases.put(HERE, SCRIBE)
        await work.cases.put(HERE, carol)
        await work.cases.put(HERE, replace(OBSERVER, is_open=False))
        await work.cases.put(THERE, OBSERVER)
    async with store.view() as view:
        assert await view.cases.standing(HERE) == [SCRIBE, carol]


async def test_the_war_rooms_with_an_open_entry_are_named_once(store: SqlStore) -> None:
    async with store.work() as work:
        await work.cases.put(HERE, SCRIBE)
        await work.cases.put(HERE, OBSERVER)
        await work.cases.put(THERE, replace(OBSERVER, is_open=False))
        await work.cases.put(THERE, Admitted(id="carol", username=Username("carol"), by="bob", at_ms=1))
    async with store.view() as view:
        assert await view.cases.where_open(Role) == [HERE]
        assert await view.cases.where_open(Admitted) == [THERE]


async def test_an_entry_is_sealed_for_its_place(store: SqlStore) -> None:
    async with store.work() as work:
        await work.cases.put(HERE, SCRIBE)
    async with store.desk() as desk:
        stored: bytes = await desk.ask(
            lambda transaction: bytes(
                transaction.connection.exec_driver_sql("SELECT entry FROM cases").scalar_one()
            )
        )
        assert b"alice" not in stored
        await desk.write(
            lambda transaction: transaction.connection.exec_driver_sql("UPDATE cases SET war_room = 'there'")
        )
    with pytest.raises(Tampered):
        async with store.view() as view:
            await view.cases.of(THERE, Role)


ASSIGNED = Assigned(assignee=Username("bob"), previous=None)


async def test_a_late_answer_ends_a_run_that_waited(store: SqlStore) -> None:
    run = CommandRun(
        id="run",
        room_id=RoomId("!r"),
        incident_id=None,
        event_id=EventId("$e"),
        caller=UserId("@a:x"),
        name="assign",
        arguments="bob",
        result="",
        status="RUNNING",
        asked_ms=1,
        finished_ms=1,
        thread_root=EventId("$t"),
    )
    async with store.work() as work:
        assert await work.commands.add(run)
        assert await work.commands.get("run") == run
    async with store.work() as work:
        await work.commands.finish("run", status="SUCCESS", result="Assigned.", finished_ms=9, outcome=ASSIGNED)
        await work.commands.finish("other", status="SUCCESS", result="", finished_ms=9)
    async with store.view() as view:
        ended = replace(run, status="SUCCESS", result="Assigned.", finished_ms=9, outcome=ASSIGNED)
        assert await view.commands.get("run") == ended
        assert await view.commands.of_room(run.room_id) == [ended]
        assert await view.commands.get("other") is None

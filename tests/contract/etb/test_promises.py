"""The promises of `EtbReads` and `EtbHands`, on the fake and on the real adapter before the sandbox."""

import pytest

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.effects import AddTimelineEntry
from etb_appservice.domain.ids import IncidentId, Username
from etb_appservice.domain.incident import OnCall
from etb_appservice.domain.outcomes import Later, Refused, Unsure
from etb_appservice.ports import Try
from tests.harness.etb_worlds import World

NOBODY = IncidentId("00000000-0000-4000-8000-0000000000ff")


def entry(incident_id: IncidentId, title: str = "Command run: status") -> AddTimelineEntry:
    return AddTimelineEntry(
        incident_id=incident_id,
        event_type="NOTE",
        title=title,
        description="",
        event_time_ms=1_760_000_000_000,
        external_ref=f"ref:{title}",
        event_data={"matrix_event_id": "$e"},
    )


def attempt(attempts: int, key: str = "k") -> Try:
    first_ms = 1_760_000_000_000 if attempts else None
    return Try(key=key, now_ms=1_760_000_000_000, attempts=attempts, first_tried_ms=first_ms, device_id=None)


async def test_an_incident_is_answered_as_it_was_declared(world: World) -> None:
    made = await world.declare("Checkout is slow")
    found = await world.reads.incident(made.id)
    assert (found.id, found.title, found.severity, found.status) == (made.id, "Checkout is slow", "HIGH", "OPEN")
    assert (found.reporter, found.number, found.is_open) == ("alice", made.number, True)


async def test_an_incident_that_etb_does_not_know_is_refused_with_404(world: World) -> None:
    with pytest.raises(Refused) as caught:
        await world.reads.incident(NOBODY)
    assert caught.value.code == "404"


async def test_running_deadlines_come_soonest_first_and_met_ones_not_at_all(world: World) -> None:
    made = await world.declare("Checkout is slow")
    running = await world.reads.deadlines(made.id)
    assert len(running) >= 2
    assert list(running) == sorted(running, key=lambda deadline: deadline.target_ms)
    assert {deadline.status for deadline in running} == {"ACTIVE"}
    await world.close_incident(made.id)
    assert await world.reads.deadlines(made.id) == ()
    assert await world.reads.deadlines(NOBODY) == ()


async def test_a_user_is_found_by_exactly_their_name(world: World) -> None:
    await world.set_user("carol", Classification.RESTRICTED, is_active=False)
    found = await world.reads.user(Username("carol"))
    assert found is not None
    assert (found.username, found.clearance, found.is_active) == ("carol", Classification.RESTRICTED, False)
    for stranger in ("Carol", "caro", "carol ", "nobody-at-all"):
        assert await world.reads.user(Username(stranger)) is None


async def test_who_is_on_call_follows_the_rotation(world: World) -> None:
    await world.set_user("bob", Classification.INTERNAL, is_active=True)
    await world.set_on_call("bob")
    assert await world.reads.on_call() == (OnCall("Platform primary", Username("bob")),)
    await world.set_on_call(None)
    assert await world.reads.on_call() == ()


async def test_an_etb_that_is_down_is_later_everywhere(world: World) -> None:
    made = await world.declare("Checkout is slow")
    await world.go_down()
    for call in (
        world.reads.incident(made.id),
        world.reads.deadlines(made.id),
        world.reads.user(Username("alice")),
        world.reads.on_call(),
        world.hands.do(entry(made.id), attempt(1)),
    ):
        with pytest.raises(Later):
            await call


async def test_an_etb_that_says_no_is_refused_everywhere(world: World) -> None:
    made = await world.declare("Checkout is slow")
    await world.forbid()
    for call in (
        world.reads.incident(made.id),
        world.reads.deadlines(made.id),
        world.reads.user(Username("alice")),
        world.reads.on_call(),
        world.hands.do(entry(made.id), attempt(0)),
    ):
        with pytest.raises(Refused):
            await call


async def test_an_entry_is_written_and_a_repetition_finds_it(world: World) -> None:
    made = await world.declare("Checkout is slow")
    assert (await world.hands.do(entry(made.id), attempt(0))).detail == "created"
    assert (await world.hands.do(entry(made.id), attempt(1))).detail == "found"
    assert (await world.hands.do(entry(made.id, "Another"), attempt(1, "k2"))).detail == "created"
    assert await world.timeline_titles(made.id) == ["Command run: status", "Another"]


async def test_a_lost_answer_is_unsure_and_doubles_nothing(world: World) -> None:
    made = await world.declare("Checkout is slow")
    await world.lose_next_answer()
    with pytest.raises(Unsure):
        await world.hands.do(entry(made.id), attempt(0))
    assert (await world.hands.do(entry(made.id), attempt(1))).detail == "found"
    assert await world.timeline_titles(made.id) == ["Command run: status"]


async def test_a_repetition_that_cannot_be_read_back_is_unsure(world: World) -> None:
    made = await world.declare("Checkout is slow")
    await world.hide_timeline()
    with pytest.raises(Unsure):
        await world.hands.do(entry(made.id), attempt(1))


async def test_an_entry_for_an_incident_that_is_gone_is_refused(world: World) -> None:
    with pytest.raises(Refused):
        await world.hands.do(entry(NOBODY), attempt(0))

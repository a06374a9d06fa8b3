"""A closed incident is reopened from elsewhere, by whoever may."""

from dataclasses import replace

import pytest

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.effects import ChangeIncident
from etb_appservice.domain.facts import LetterDue
from etb_appservice.domain.ids import RoomId, UserId, Username, direct_id
from tests.harness.cast import ALICE, CAROL, NO_1, NO_2, OPERATOR, etb_user, incident
from tests.harness.house import House


@pytest.fixture
async def closed(house: House) -> House:
    """INC-1 was closed long ago; alice was in it, carol was not."""
    await house.open_for_alice()
    house.etb.known[NO_1] = incident(status="CLOSED", updated_at_ms=2000)
    await house.report(house.etb.known[NO_1])
    await house.settle()
    await house.advance(100 * 3600)
    return house


async def chat(house: House, user_id: UserId) -> RoomId:
    """The person's direct chat with the bot."""
    await house.own(LetterDue(user_id=user_id, text="hello"), lane=f"direct/{user_id}")
    await house.settle()
    room_id = house.world.aliases[f"_etb_direct_{direct_id(user_id)}"]
    await house.moves(user_id, "join", room_id)
    return room_id


async def test_a_responder_reopens_it_in_a_direct_chat(closed: House) -> None:
    assert await closed.ask(ALICE, "!reopen inc-1", await chat(closed, ALICE)) == "Status: **OPEN** (was CLOSED)."
    assert closed.etb.writes[-1] == ChangeIncident(incident_id=NO_1, status="OPEN")
    await closed.report(closed.etb.known[NO_1])
    await closed.settle()
    assert list(closed.world.silenced.values()) == [False]


async def test_an_operator_reopens_it_in_the_control_room(closed: House) -> None:
    assert await closed.ask(OPERATOR, "!reopen INC-1", closed.control_room()) == "Status: **OPEN** (was CLOSED)."


async def test_who_may_not_learns_no_more_than_of_a_number_that_is_none(closed: House) -> None:
    room_id = await chat(closed, CAROL)
    forbidden = await closed.ask(CAROL, "!reopen INC-1", room_id)
    unknown = await closed.ask(CAROL, "!reopen INC-9", room_id)
    assert forbidden == unknown
    assert not any(isinstance(one, ChangeIncident) for one in closed.etb.writes)


async def test_who_is_cleared_no_longer_may_not(closed: House) -> None:
    room_id = await chat(closed, ALICE)
    closed.etb.users[Username("alice")] = etb_user("alice", Classification.PUBLIC)
    closed.clock.advance(3600)
    assert (await closed.ask(ALICE, "!reopen INC-1", room_id)).startswith("There is no closed incident")


async def test_what_is_open_can_not_be_reopened(closed: House) -> None:
    await closed.report(incident(id=NO_2, number="INC-2"))
    await closed.settle()
    answer = await closed.ask(OPERATOR, "!reopen INC-2", closed.control_room())
    assert answer.startswith("There is no closed incident")


async def test_of_two_with_one_number_neither_is_reopened(closed: House) -> None:
    other = incident(id=NO_2)
    await closed.report(other)
    await closed.settle()
    await closed.report(replace(other, status="CLOSED", updated_at_ms=2000))
    await closed.settle()
    answer = await closed.ask(OPERATOR, "!reopen INC-1", closed.control_room())
    assert answer == "2 incidents have the number **INC-1**. Reopen it in ETB."


async def test_a_duplicate_is_not_reopened(closed: House) -> None:
    await closed.report(incident(status="CLOSED", is_duplicate=True, updated_at_ms=3000))
    await closed.settle()
    answer = await closed.ask(OPERATOR, "!reopen INC-1", closed.control_room())
    assert answer == "**INC-1** is a duplicate. That is changed in ETB."


async def test_what_etb_has_no_longer_is_not_reopened(closed: House) -> None:
    await closed.report(incident(status="CLOSED", is_deleted=True, updated_at_ms=3000))
    await closed.settle()
    answer = await closed.ask(OPERATOR, "!reopen INC-1", closed.control_room())
    assert answer == "**INC-1** is no longer in ETB."


async def test_elsewhere_it_must_be_named(closed: House) -> None:
    answer = await closed.ask(OPERATOR, "!reopen", closed.control_room())
    assert answer.startswith("`number` is missing")


async def test_in_its_own_room_its_number_may_be_named_and_no_other(house: House) -> None:
    await house.open_for_alice()
    house.etb.known[NO_1] = incident(status="RESOLVED", updated_at_ms=2000)
    assert (await house.ask(ALICE, "!reopen INC-2")).startswith("Here only the incident of this room")
    assert await house.ask(ALICE, "!reopen inc-1") == "Status: **OPEN** (was RESOLVED)."


async def test_in_its_own_room_only_a_responder_reopens_it(house: House) -> None:
    await house.open_for_alice()
    await house.leave_over("carol")
    await house.moves(CAROL, "join")
    answer = await house.ask(CAROL, "!reopen")
    assert answer == "This needs the role responder of this incident."

"""Under a legal hold nothing goes: the room is closed to redactions, and told; it comes back with the release."""

import pytest

from etb_appservice.domain.effects import Say, SetVoice
from etb_appservice.domain.facts import HoldsSeen
from etb_appservice.domain.holds import HOLD, LegalHold
from etb_appservice.domain.ids import IncidentId, RoomId, war_room_id
from etb_appservice.flows.keeping import is_held
from tests.harness.cast import NO_1, incident
from tests.harness.house import House
from tests.unit.flows.test_closings import DAY, HOUR, lines, shown
from tests.unit.flows.test_upgrades import NEW, upgrades

PLACED, RELEASED = "is under legal hold.**", "was released"


async def see(house: House, *holds: str, incident_id: IncidentId = NO_1) -> None:
    """ETB's list names the incident in these. At rest."""
    await house.own(HoldsSeen(incident_id=incident_id, holds=holds), lane=incident_id)
    await house.settle()


async def held(house: House, incident_id: IncidentId = NO_1) -> bool:
    async with house.db.view() as view:
        return await is_held(view, war_room_id(incident_id))


def told(house: House, room_id: RoomId) -> list[str]:
    return [line for line in lines(house, room_id) if "legal hold" in line]


def operators(house: House) -> list[str]:
    return [text for text in house.world.texts(house.control_room()) if "legal hold" in text]


async def test_a_hold_closes_the_room_to_redactions_and_its_release_opens_it(house: House) -> None:
    room_id = await house.open_for_alice()
    await see(house, "h1")
    assert await held(house)
    assert (house.world.silenced, house.world.held) == ({room_id: False}, {room_id: True})
    [line] = told(house, room_id)
    assert PLACED in line
    assert "can't be deleted here until the hold is released in ETB" in line
    assert operators(house) == ["**INC-1** is under legal hold, as ETB says."]
    await see(house)
    assert not await held(house)
    assert (house.world.silenced, house.world.held) == ({room_id: False}, {room_id: False})
    assert RELEASED in told(house, room_id)[-1]
    assert operators(house)[-1] == "**INC-1** is under legal hold no longer, as ETB says."
    assert {"hold.placed", "hold.released"} <= set(await house.tags())


async def test_what_is_seen_again_is_said_once_and_the_last_of_several_ends_it(house: House) -> None:
    room_id = await house.open_for_alice()
    await see(house, "h1")
    await see(house, "h1")
    await see(house, "h1", "h2")
    await see(house, "h2")
    assert len(told(house, room_id)) == 1
    assert await held(house)
    assert list(await house.tags()).count("hold.changed") == 2
    await see(house)
    assert len(told(house, room_id)) == 2
    await see(house, "h2")
    assert len(told(house, room_id)) == 3
    assert house.world.held == {room_id: True}


async def test_of_an_incident_that_never_was_held_its_release_says_nothing(house: House) -> None:
    room_id = await house.open_for_alice()
    await see(house)
    assert told(house, room_id) == []
    assert not [one for one in house.world.order if isinstance(one, SetVoice)]


async def test_a_room_that_opens_under_a_hold_is_told_when_it_is_there(house: House) -> None:
    house.etb.known[NO_1] = incident()
    await see(house, "h1")
    assert await held(house)
    room_id = await house.open_for_alice()
    assert house.world.held == {room_id: True}
    assert len(told(house, room_id)) == 1


async def test_the_end_of_an_incident_and_its_reopening_leave_the_hold_as_it_is(house: House) -> None:
    room_id = await house.open_for_alice()
    await see(house, "h1")
    await shown(house, status="CLOSED")
    await house.advance(3 * DAY + HOUR)
    assert (house.world.silenced, house.world.held) == ({room_id: True}, {room_id: True})
    await shown(house, status="OPEN", updated_at_ms=9000)
    assert (house.world.silenced, house.world.held) == ({room_id: False}, {room_id: True})


async def test_a_release_while_the_room_is_only_read_lets_nobody_write(house: House) -> None:
    room_id = await house.open_for_alice()
    await see(house, "h1")
    await shown(house, status="CLOSED")
    await house.advance(3 * DAY + HOUR)
    await see(house)
    assert (house.world.silenced, house.world.held) == ({room_id: True}, {room_id: False})


async def test_the_room_that_takes_the_place_of_another_is_held_too(house: House) -> None:
    before = await house.open_for_alice()
    await see(house, "h1")
    await upgrades(house, before)
    assert (await house.room()).room_id == NEW
    assert house.world.held[RoomId(NEW)]
    assert len(told(house, RoomId(NEW))) == 1


async def test_rooms_from_before_the_present_one_are_closed_to_redactions_and_stay_so(house: House) -> None:
    before = await house.open_for_alice()
    await upgrades(house, before)
    assert before not in house.world.held
    await see(house, "h1")
    assert (house.world.held[before], house.world.silenced[before]) == (True, True)
    assert house.world.held[RoomId(NEW)]
    assert not told(house, before), "it is said where people are"
    await see(house)
    assert (house.world.silenced[before], house.world.held[RoomId(NEW)]) == (True, False)


@pytest.mark.parametrize("holds", [(), ("h1",)])
async def test_a_decision_that_is_repeated_changes_nothing(house: House, holds: tuple[str, ...]) -> None:
    await house.open_for_alice()
    await see(house, "h0")
    await see(house, *holds)
    async with house.db.view() as view:
        entry = await view.cases.get(war_room_id(NO_1), LegalHold, HOLD)
    assert entry is not None
    before = len(house.world.order), [say for say in house.world.order if isinstance(say, Say)]
    await see(house, *holds)
    async with house.db.view() as view:
        assert await view.cases.get(war_room_id(NO_1), LegalHold, HOLD) == entry
    assert (len(house.world.order), [say for say in house.world.order if isinstance(say, Say)]) == before

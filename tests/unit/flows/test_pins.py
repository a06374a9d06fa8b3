"""Pins that people set in the room: what is undone of them, and how soon."""

import itertools

import pytest

from etb_appservice.domain.effects import LetMembersPin, MendPins
from etb_appservice.domain.ids import EventId
from etb_appservice.domain.news import MessagePinned
from etb_appservice.domain.pins import PINS, Pins
from tests.harness.cast import ALICE, BOB, BOT, STRANGER
from tests.harness.events import event
from tests.harness.house import House
from tests.harness.kit import MakeHouse

_NUMBERS = itertools.count(1)


@pytest.fixture
async def house(make_house: MakeHouse) -> House:
    """INC-1's room with its card pinned, and alice in it."""
    made = await make_house()
    await made.open_for_alice()
    await pins(made, BOT, await card(made))
    return made


async def card(house: House) -> str:
    found = (await house.room()).card_event
    assert found is not None
    return found


async def pins(house: House, sender: str, *events: str) -> None:
    """Somebody sets the room's state."""
    room_id = await house.room_id()
    house.world.pinned[room_id] = [EventId(one) for one in events]
    event_id = f"$pins{next(_NUMBERS)}"
    await house.accept_event(event("pins", room_id, sender, event_id=event_id, pinned=list(events)))
    await house.settle()


async def in_room(house: House) -> list[str]:
    return list(house.world.pinned[await house.room_id()])


async def kept(house: House) -> Pins:
    async with house.db.view() as view:
        found = await view.cases.get((await house.room()).war_room, Pins, PINS)
    assert found is not None
    return found


def mends(house: House) -> list[MendPins]:
    return [one for one in house.world.order if isinstance(one, MendPins)]


async def test_a_member_pins_and_unpins_like_anybody(house: House) -> None:
    its_card = await card(house)
    await house.says(ALICE, "one", event_id="$1")
    await pins(house, ALICE, its_card, "$1")
    await house.advance(60)
    await pins(house, BOB, its_card)
    await house.advance(60)
    assert await in_room(house) == [its_card]
    assert mends(house) == []


async def test_the_card_is_put_back_whoever_takes_it_away(house: House) -> None:
    its_card = await card(house)
    await pins(house, ALICE, its_card, "$1")
    await house.advance(60)
    await pins(house, ALICE, "$1")
    assert [one.event_id for one in (await kept(house)).pinned] == [its_card, "$1"]
    await house.advance(2)
    assert await in_room(house) == [its_card, "$1"]
    noted = [entry for entry in await house.audit() if entry.details.get("mended")]
    assert [(entry.tag, entry.actor) for entry in noted] == [("state.changed", ALICE)]


async def test_a_card_gives_way_to_the_next_one_whoever_was_seen_to_pin_it(make_house: MakeHouse) -> None:
    house = await make_house()
    house.world.without_devices.add(BOB)
    room_id = await house.open_for_alice()
    first = await card(house)
    await pins(house, ALICE, first, "$1")  # the homeserver sends this before it sends the bot's own
    house.world.without_devices.clear()
    await house.moves(BOB, "join")
    await house.advance(60)
    second = await card(house)
    assert second != first
    assert await in_room(house) == [second, "$1"]
    await pins(house, BOT, *house.world.pinned[room_id])
    await house.advance(2)
    assert await in_room(house) == [second, "$1"]
    assert [one.event_id for one in (await kept(house)).pinned] == [second, "$1"]
    told = [(one.is_pinned, one.by.user_id) for one in house.news.of(MessagePinned)]
    assert told[-2:] == [(False, BOT), (True, BOT)]


async def test_whatever_is_done_to_them_they_are_mended_once_a_second(house: House) -> None:
    for number in range(20):
        await pins(house, ALICE, f"${number}")
    await house.advance(2)
    assert len(mends(house)) == 1
    assert (await in_room(house))[0] == await card(house)


async def test_pins_of_two_who_did_not_know_of_each_other_are_both_kept(house: House) -> None:
    its_card = await card(house)
    await pins(house, ALICE, its_card, "$1")
    await pins(house, BOB, its_card, "$2")
    await house.advance(2)
    assert sorted(await in_room(house)) == sorted([its_card, "$1", "$2"])
    await pins(house, BOT, *await in_room(house))
    assert {one.event_id: one.user_id for one in (await kept(house)).pinned} == {
        its_card: BOT,
        "$1": ALICE,
        "$2": BOB,
    }


async def test_what_comes_between_a_decision_and_its_doing_stays(house: House) -> None:
    its_card = await card(house)
    room_id = await house.room_id()
    await pins(house, ALICE, "$1")
    house.world.pinned[room_id].append(EventId("$unheard"))
    await house.advance(2)
    assert await in_room(house) == [its_card, "$1", "$unheard"]


async def test_whoever_may_not_be_there_pins_nothing(house: House) -> None:
    its_card = await card(house)
    await pins(house, STRANGER, "$evil")
    await house.advance(2)
    assert await in_room(house) == [its_card]
    assert [one.event_id for one in (await kept(house)).pinned] == [its_card]


async def test_rooms_made_before_members_could_pin_are_asked_once(house: House) -> None:
    for _ in range(2):
        await house.start_service()
        await house.settle()
    asked = [one.room_id for one in house.world.order if isinstance(one, LetMembersPin)]
    assert sorted(asked) == sorted({await house.room_id(), house.control_room()})


async def test_many_rooms_are_asked_in_batches(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("etb_appservice.flows.pinners._BATCH", 1)
    await house.start_service()
    await house.settle()
    assert sum(isinstance(one, LetMembersPin) for one in house.world.order) == 2

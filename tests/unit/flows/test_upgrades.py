"""A person upgrades a room: the service goes on in the one that follows it."""

import pytest

from etb_appservice.domain.effects import FollowUpgrade, LeaveRoom, Remove, Say
from etb_appservice.domain.ids import RoomId, UserId
from etb_appservice.domain.outcomes import Broken, Refused
from tests.harness.cast import ALICE, BOB, BOT, CAROL, NO_1, incident
from tests.harness.house import House

GLASS = UserId("@glass:x.org")
NEW = RoomId("!new")
MINUTE = 60


async def upgrades(house: House, room_id: RoomId, replacement: str = NEW, sender: str = GLASS) -> None:
    """Somebody closes a room for another; at rest."""
    await house.says(sender, "", room_id, what="tombstone", replacement=replacement)
    await house.settle()


async def test_the_successor_is_the_incident_s_room_from_then_on(house: House) -> None:
    before = await house.open_for_alice()
    house.world.members[NEW] = {GLASS: "join", CAROL: "join"}
    await upgrades(house, before)
    room = await house.room()
    assert (room.room_id, room.generation, room.is_current) == (NEW, 2, True)
    async with house.db.view() as view:
        old = await view.rooms.by_id(before)
        members = await view.rooms.members(NEW, "join", "invite")
    assert old is not None
    assert not old.is_current
    assert list(members) == [ALICE, BOB, BOT], "whoever may not be there is put out"
    assert house.world.guests(NEW) == [ALICE, BOB]
    [(card_event, say, card)] = house.world.cards(NEW)
    assert (say.edits, card.number) == (None, "INC-1")
    assert house.world.pinned[NEW] == [card_event]
    assert house.world.state[house.space(), "m.space.child", before] == {}
    assert house.world.state[house.space(), "m.space.child", NEW]
    first = next(at for at, one in enumerate(house.world.order) if isinstance(one, Say) and one.room_id == NEW)
    kicked = [one.user_id for one in house.world.order[:first] if isinstance(one, Remove)]
    assert kicked == [CAROL, GLASS], "before anything is said"
    assert house.world.texts(NEW)[0].startswith("This goes on from [the room before]")
    assert "Chat room upgraded" in [entry.title for entry in house.etb.entries]
    assert {"room.replaced", "room.followed"} <= set(await house.tags())


async def test_talk_and_changes_go_on_there(house: House) -> None:
    before = await house.open_for_alice()
    await upgrades(house, before)
    await house.moves(ALICE, "join", NEW)
    assert "Mail is down" in await house.ask(ALICE, "!status", NEW)
    await house.report(incident(status="CLOSED", updated_at_ms=2000))
    await house.settle()
    await house.advance(80 * 60 * MINUTE)
    assert house.world.silenced == {NEW: True}
    assert house.lane_of[NEW] == NO_1


async def test_a_successor_of_a_read_only_room_is_read_only(house: House) -> None:
    before = await house.open_for_alice()
    await house.report(incident(status="CLOSED", updated_at_ms=2000))
    await house.settle()
    await house.advance(80 * 60 * MINUTE)
    await upgrades(house, before)
    assert house.world.silenced == {before: True, NEW: True}
    assert house.world.guests(NEW) == []


async def test_upgraded_twice_it_is_followed_twice(house: House) -> None:
    before = await house.open_for_alice()
    await upgrades(house, before)
    await upgrades(house, NEW, "!newer")
    room = await house.room()
    assert (room.room_id, room.generation) == ("!newer", 3)
    await upgrades(house, before, "!other")
    assert (await house.room()).room_id == "!newer"


async def test_while_it_is_awaited_an_invitation_there_is_not_declined(house: House) -> None:
    before = await house.open_for_alice()
    house.world.fail(FollowUpgrade, Broken("give the bot power level 100 there, then retry."))
    await upgrades(house, before)
    assert "give the bot power level 100 there" in house.troubles()[-1]
    await house.moves(BOT, "invite", NEW, sender=GLASS)
    await house.advance(2 * MINUTE)
    assert not any(isinstance(one, LeaveRoom) for one in house.world.order)
    assert (await house.room()).room_id == before
    async with house.db.work() as work:
        [parked] = await work.outbox.parked()
        await work.outbox.retry(parked.seq)
    await house.settle()
    assert (await house.room()).room_id == NEW


async def test_what_is_no_successor_is_told_and_not_awaited(house: House) -> None:
    before = await house.open_for_alice()
    house.world.fail(FollowUpgrade, Refused("it was not made by @glass:x.org"))
    await upgrades(house, before)
    assert "it was not made by" in house.troubles()[-1]
    assert (await house.room()).room_id == before
    await house.moves(BOT, "invite", NEW, sender=GLASS)
    await house.advance(2 * MINUTE)
    assert [one.room_id for one in house.world.order if isinstance(one, LeaveRoom)] == [NEW]


async def test_other_rooms_of_ours_are_not_followed_and_operators_learn_it(house: House) -> None:
    await house.start_service()
    await upgrades(house, house.control_room())
    assert "Only rooms of incidents are followed" in house.troubles()[-1]
    assert not any(isinstance(one, FollowUpgrade) for one in house.world.order)


async def test_a_tombstone_elsewhere_or_by_the_bot_is_nothing(house: House) -> None:
    before = await house.open_for_alice()
    await upgrades(house, before, sender=BOT)
    await upgrades(house, before, before)
    await upgrades(house, RoomId("!stranger"))
    assert not any(isinstance(one, FollowUpgrade) for one in house.world.order)


@pytest.mark.parametrize("before", [True, False], ids=["before the commit", "after the commit"])
async def test_dying_again_and_again_it_is_followed_once(house: House, *, before: bool) -> None:
    room_id = await house.open_for_alice()
    await house.die_again_and_again([1, 2], before=before)
    await upgrades(house, room_id)
    await house.die_no_more()
    assert house.crashes > 2
    room = await house.room()
    assert (room.room_id, room.generation) == (NEW, 2)
    assert house.world.guests(NEW) == [ALICE, BOB]
    assert len(house.world.cards(NEW)) == 1

"""State that only the bot sets, set by somebody else: a violation, told, and set back."""

import pytest

from etb_appservice.domain.effects import RestoreState
from etb_appservice.domain.ids import RoomId, UserId
from etb_appservice.domain.outcomes import Refused
from etb_appservice.domain.rooms import RoomPolicy
from tests.harness.cast import ALICE, BOT, STRANGER, policy_of
from tests.harness.events import event
from tests.harness.house import House
from tests.harness.kit import MakeHouse

GLASS = UserId("@glass:x.org")
NEW = RoomId("!new")
GUARDED = [
    "m.room.power_levels",
    "m.room.join_rules",
    "m.room.history_visibility",
    "m.room.encryption",
    "m.room.server_acl",
    "m.room.guest_access",
    "m.room.name",
    "m.room.topic",
    "m.room.canonical_alias",
    "im.vector.modular.widgets",
]


async def sets(house: House, sender: str, event_type: str, *, room_id: str = "", number: int = 1) -> None:
    """Somebody sets state, as the homeserver shows it. At rest."""
    where = RoomId(room_id or await house.room_id())
    house.world.forged.add((where, event_type, ""))
    await house.accept_event(
        event("state", where, sender, event_id=f"$state{number}", event_type=event_type, state_key="")
    )
    await house.settle()


def restores(house: House) -> list[RestoreState]:
    return [effect for effect in house.world.order if isinstance(effect, RestoreState)]


@pytest.mark.parametrize("event_type", GUARDED)
async def test_state_that_only_the_bot_sets_is_set_back_recorded_and_told(house: House, event_type: str) -> None:
    room_id = await house.open_for_alice()
    await sets(house, ALICE, event_type)
    [done] = restores(house)
    assert (done.room_id, done.event_type, done.state_key, done.entitled) == (room_id, event_type, "", (BOT,))
    assert house.world.forged == set()
    [told] = [text for text in house.troubles() if "only this service does" in text]
    assert f"`{ALICE}` has changed `{event_type}`" in told
    [entry] = [entry for entry in await house.audit() if entry.tag == "violation.state"]
    assert (entry.actor, entry.details["type"], entry.details["room"]) == (ALICE, event_type, room_id)
    assert "state.changed" not in await house.tags()


async def test_an_event_that_comes_again_is_told_once_and_another_one_again(house: House) -> None:
    await house.open_for_alice()
    for number in (1, 1, 2):
        await sets(house, ALICE, "m.room.name", number=number)
    assert len([text for text in house.troubles() if "only this service does" in text]) == 2
    assert len(restores(house)) == 2


@pytest.mark.parametrize("sender", [BOT, GLASS, UserId("@_etb_ghost:x.org")])
async def test_the_bot_and_the_break_glass_account_may(make_house: MakeHouse, sender: UserId) -> None:
    house = await make_house(policy=policy_of(rooms=RoomPolicy(bot=BOT, additional_creators=(GLASS,))))
    await house.open_for_alice()
    await sets(house, sender, "m.room.power_levels")
    assert restores(house) == []
    assert "violation.state" not in await house.tags()


async def test_who_upgraded_a_room_may_there_and_nowhere_else(house: House) -> None:
    before = await house.open_for_alice()
    await house.says(GLASS, "", before, what="tombstone", replacement=NEW)
    await house.settle()
    await sets(house, GLASS, "m.room.name", room_id=NEW, number=1)
    assert restores(house) == []
    await sets(house, GLASS, "m.room.name", room_id=house.control_room(), number=2)
    assert [effect.room_id for effect in restores(house)] == [house.control_room()]
    await sets(house, ALICE, "m.room.name", room_id=NEW, number=3)
    assert [effect.entitled for effect in restores(house)][1:] == [(BOT, GLASS)]


async def test_pins_and_strangers_rooms_are_left_alone(house: House) -> None:
    await house.open_for_alice()
    await sets(house, ALICE, "m.room.pinned_events", number=1)
    await sets(house, STRANGER, "m.room.name", room_id="!theirs", number=2)
    await house.advance(61)
    assert restores(house) == []
    assert "violation.state" not in await house.tags()


async def test_what_can_not_be_set_back_is_told_with_what_to_do(house: House) -> None:
    await house.open_for_alice()
    house.world.fail(RestoreState, Refused("Set it with the break-glass account."))
    await sets(house, ALICE, "m.room.power_levels")
    assert "`RestoreState` was refused: Set it with the break-glass account." in house.troubles()[-1]


async def test_a_strangers_name_is_no_markdown_in_what_the_operators_read(house: House) -> None:
    await house.open_for_alice()
    await sets(house, ALICE, "m.x`**bold**\n<b>")
    [told] = [text for text in house.troubles() if "only this service does" in text]
    assert "`m.x**bold** <b>`" in told
    assert "\n" not in told


@pytest.mark.parametrize("before", [True, False])
async def test_dying_again_and_again_it_is_set_back_and_told_once(house: House, before: bool) -> None:
    await house.open_for_alice()
    await house.die_again_and_again([1, 2], before=before)
    await sets(house, ALICE, "m.room.power_levels")
    await house.die_no_more()
    await house.settle()
    assert house.crashes > 0
    assert len(restores(house)) == 1
    assert house.world.forged == set()
    assert len([text for text in house.troubles() if "only this service does" in text]) == 1
    assert (await house.tags()).count("violation.state") == 1

"""Up to which level an invitation carries the past, and what that is measured by."""

import pytest

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.effects import Invite
from etb_appservice.domain.ids import RoomId, UserId, Username
from etb_appservice.domain.past import Levels, Step
from etb_appservice.domain.policy import AnnouncementPolicy
from etb_appservice.domain.rooms import ANNOUNCEMENTS
from etb_appservice.flows.history import history_up_to
from etb_appservice.flows.turn import Turn
from etb_appservice.store.codec import FactJson
from tests.harness.cast import ALICE, BOB, CAROL, NO_1, STRANGER, etb_user, incident, policy_of
from tests.harness.house import House
from tests.harness.kit import MakeHouse

PUBLIC, INTERNAL = Classification.PUBLIC, Classification.INTERNAL
CONFIDENTIAL, RESTRICTED = Classification.CONFIDENTIAL, Classification.RESTRICTED


def carried(house: House, user_id: UserId, room_id: RoomId) -> list[Classification | None]:
    """Up to which level the invitations of a person carry the past of a room."""
    return [
        effect.history_up_to
        for effect in house.world.order
        if isinstance(effect, Invite) and (effect.user_id, effect.room_id) == (user_id, room_id)
    ]


async def levels(house: House) -> Levels | None:
    room = await house.room()
    async with house.db.view() as view:
        return await view.cases.get(room.war_room, Levels, Levels().id)


async def forget_levels(house: House) -> None:
    """The room is older than the record of its levels."""
    room = await house.room()
    async with house.db.work() as work:
        await work.cases.put(room.war_room, Levels())


@pytest.mark.parametrize("clearance", [INTERNAL, RESTRICTED])
async def test_an_invitation_carries_the_past_up_to_the_clearance(house: House, clearance: Classification) -> None:
    house.know("alice", "bob")
    house.etb.users[Username("carol")] = etb_user("carol", clearance)
    await house.start_service()
    await house.report(incident())
    await house.settle()
    room_id = await house.room_id()
    assert (carried(house, ALICE, room_id), carried(house, BOB, room_id)) == ([RESTRICTED], [RESTRICTED])
    await house.report(incident(assignee=Username("carol"), updated_at_ms=2000))
    await house.settle()
    assert carried(house, CAROL, room_id) == [clearance]
    assert carried(house, ALICE, house.space()) == [None], "nothing is said there"


async def test_who_is_let_in_by_command_or_called_gets_the_past_too(house: House) -> None:
    room_id = await house.open_for_alice(assignee=None)
    await house.ask(ALICE, "!invite carol")
    assert carried(house, CAROL, room_id) == [RESTRICTED]
    await house.ask(ALICE, "!page bob it burns")
    assert carried(house, BOB, room_id) == [RESTRICTED]


async def test_a_room_that_shows_nobody_its_past_carries_none(house: House) -> None:
    room_id = await house.open_for_alice(stated=CONFIDENTIAL)
    await house.ask(ALICE, "!invite carol")
    assert carried(house, ALICE, room_id) == carried(house, CAROL, room_id) == [None]


async def test_without_a_point_in_the_past_no_invitation_carries_any(make_house: MakeHouse) -> None:
    house = await make_house(policy=policy_of(history_hours=0))
    room_id = await house.open_for_alice()
    assert carried(house, ALICE, room_id) == [None]


@pytest.mark.parametrize(
    ("clearance", "is_active", "hours_ago", "up_to"),
    [
        (INTERNAL, True, 0, INTERNAL),
        (RESTRICTED, True, 23, RESTRICTED),
        (RESTRICTED, True, 25, None),
        (RESTRICTED, False, 0, None),
        (PUBLIC, True, 0, None),
    ],
)
async def test_only_a_present_word_on_a_clearance_counts(
    house: House, clearance: Classification, is_active: bool, hours_ago: int, up_to: Classification | None
) -> None:
    await house.open_for_alice()
    room = await house.room()
    async with house.db.work() as work:
        user = etb_user("carol", clearance, active=is_active)
        await work.incidents.put_user(user, house.clock.now_ms() - hours_ago * 3_600_000)
        turn = Turn(work=work, ref="t", lane=NO_1, codec=FactJson())
        assert await history_up_to(turn, room, CAROL, house.policy) is up_to
        assert await history_up_to(turn, room, STRANGER, house.policy) is None


async def test_a_room_remembers_which_levels_it_had_and_since_when(house: House) -> None:
    await house.open_for_alice()
    assert await levels(house) == Levels(steps=(Step(0, INTERNAL),))
    for number, level in enumerate((CONFIDENTIAL, CONFIDENTIAL, PUBLIC)):
        await house.report(incident(stated=level, updated_at_ms=2000 + number))
        await house.settle()
        await house.crash()
    kept = await levels(house)
    assert kept is not None
    assert [step.level for step in kept.steps] == [INTERNAL, CONFIDENTIAL, PUBLIC]
    assert 0 < kept.steps[1].at_ms <= kept.steps[2].at_ms <= house.clock.now_ms()


async def test_of_a_room_older_than_this_record_only_the_time_from_now_on_is_known(house: House) -> None:
    await house.open_for_alice()
    room = await house.room()
    await forget_levels(house)
    await house.report(incident(stated=PUBLIC, updated_at_ms=2000))
    await house.settle()
    kept = await levels(house)
    assert kept is not None
    [step] = kept.steps
    assert step.level is PUBLIC
    assert step.at_ms > 0
    assert room.classification is INTERNAL


async def test_what_was_given_is_on_record(house: House) -> None:
    house.world.history[CAROL] = {"history": "12", "devices": "2"}
    room_id = await house.open_for_alice()
    await house.ask(ALICE, "!invite carol")
    [note] = [entry for entry in await house.audit() if entry.tag == "history.shared"]
    assert (note.subject, note.details) == (room_id, {"user": CAROL, "history": "12", "devices": "2"})


async def test_stakeholders_read_what_was_announced_before_they_came(make_house: MakeHouse) -> None:
    house = await make_house(policy=policy_of(announcements=AnnouncementPolicy(members=frozenset({BOB}))))
    await house.start_service()
    async with house.db.view() as view:
        room = await view.rooms.by_war_room(ANNOUNCEMENTS)
    assert room is not None
    assert room.room_id is not None
    assert carried(house, BOB, room.room_id) == [INTERNAL]

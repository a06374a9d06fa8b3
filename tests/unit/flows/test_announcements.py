"""Stakeholders read how incidents stand, in one line each and no more than they may know."""

from dataclasses import replace

import pytest

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.effects import Invite
from etb_appservice.domain.ids import RoomId, UserId
from etb_appservice.domain.policy import AnnouncementPolicy
from etb_appservice.domain.rooms import ANNOUNCEMENTS
from tests.harness.cast import ALICE, NO_2, incident, policy_of
from tests.harness.house import House
from tests.harness.kit import MakeHouse

DORA, EMIL = UserId("@dora:x.org"), UserId("@emil:x.org")
BOTH = AnnouncementPolicy(frozenset({DORA, EMIL}))


@pytest.fixture
async def heard(make_house: MakeHouse) -> House:
    """dora and emil read of what is INTERNAL and HIGH."""
    return await make_house(policy=policy_of(announcements=BOTH))


def hall(house: House) -> RoomId:
    return house.world.aliases["_etb_announcements"]


def said(house: House) -> list[str]:
    return house.world.texts(hall(house))


async def test_there_is_a_room_in_which_only_the_bot_speaks(heard: House) -> None:
    await heard.start_service()
    assert heard.world.guests(hall(heard)) == [DORA, EMIL]
    [opened] = [one for one in heard.world.opened if one.war_room == ANNOUNCEMENTS]
    levels = opened.spec.power_levels
    assert (levels["events_default"], levels["events"]["m.reaction"], levels["redact"]) == (100, 100, 100)
    assert (opened.spec.encrypted, opened.spec.classification) == (True, Classification.INTERNAL)


async def test_with_nobody_to_read_it_there_is_none(house: House) -> None:
    await house.open_for_alice()
    assert "_etb_announcements" not in house.world.aliases


async def test_new_incidents_changes_and_posts_are_told_in_a_line_each(heard: House) -> None:
    room_id = await heard.open_for_alice()
    await heard.report(incident(severity="CRITICAL", updated_at_ms=2000))
    await heard.settle()
    await heard.report(incident(severity="CRITICAL", status="CLOSED", updated_at_ms=3000))
    await heard.settle()
    await heard.ask(ALICE, "!post Mail is *back*\nfor all.")
    assert said(heard) == [
        "**INC-1** Mail is down: new, severity **HIGH**, status **OPEN**",
        "**INC-1** Mail is down: severity **CRITICAL** (was HIGH)",
        "**INC-1** Mail is down: status **CLOSED** (was OPEN)",
        r"**INC-1** Mail is down: update: Mail is \*back\* for all.",
    ]
    assert not any(room_id in line for line in said(heard))


async def test_what_shows_nothing_new_is_not_told(heard: House) -> None:
    await heard.open_for_alice()
    await heard.report(incident(updated_at_ms=2000, title="Mail is slow"), "poll")
    await heard.settle()
    assert len(said(heard)) == 1


async def test_what_is_less_severe_is_told_once_it_is_severe(heard: House) -> None:
    await heard.open_for_alice(severity="LOW")
    assert said(heard) == []
    await heard.report(incident(severity="HIGH", updated_at_ms=2000))
    await heard.settle()
    await heard.report(incident(severity="LOW", updated_at_ms=3000))
    await heard.settle()
    await heard.report(incident(severity="LOW", status="IN_PROGRESS", updated_at_ms=4000))
    await heard.settle()
    assert [line.split(": ")[1] for line in said(heard)] == [
        "severity **HIGH** (was LOW)",
        "severity **LOW** (was HIGH)",
    ]


async def test_nothing_is_said_of_what_its_members_may_not_know(heard: House) -> None:
    await heard.open_for_alice(stated=Classification.CONFIDENTIAL)
    await heard.report(incident(severity="CRITICAL", stated=Classification.CONFIDENTIAL, updated_at_ms=2000))
    await heard.settle()
    await heard.ask(ALICE, "!post secret")
    assert said(heard) == []


async def test_a_room_of_a_higher_level_hears_more(make_house: MakeHouse) -> None:
    rules = AnnouncementPolicy(frozenset({DORA}), Classification.RESTRICTED, "LOW")
    house = await make_house(policy=policy_of(announcements=rules))
    await house.open_for_alice(stated=Classification.CONFIDENTIAL, severity="LOW")
    assert len(said(house)) == 1


async def test_a_room_that_was_made_for_a_lower_level_hears_no_more_than_that(heard: House) -> None:
    await heard.start_service()
    heard.policy = policy_of(announcements=replace(BOTH, classification=Classification.RESTRICTED))
    await heard.crash()
    await heard.open_for_alice(stated=Classification.CONFIDENTIAL)
    assert said(heard) == []
    [told] = heard.troubles()
    assert told.startswith("The announcement room was made for INTERNAL, and nothing above that is said there")


async def test_a_drill_is_called_one(heard: House) -> None:
    await heard.open_for_alice(tags=("drill",))
    assert said(heard)[0].startswith("DRILL **INC-1** ")


async def test_what_happens_before_the_room_is_there_is_told_then(heard: House) -> None:
    await heard.report(incident())
    await heard.report(incident(id=NO_2, number="INC-2"))
    await heard.settle()
    await heard.start_service()
    assert [line.split()[0] for line in said(heard)] == ["**INC-1**", "**INC-2**"]


async def test_the_list_decides_who_is_in_it(heard: House) -> None:
    await heard.start_service()
    await heard.moves(DORA, "join", hall(heard))
    heard.policy = policy_of(announcements=AnnouncementPolicy(frozenset({EMIL, ALICE})))
    await heard.crash()
    await heard.start_service()
    async with heard.db.view() as view:
        there = await view.rooms.members(hall(heard), "join", "invite")
    assert list(there) == [ALICE, EMIL, heard.policy.rooms.bot]
    invites = [one for one in heard.world.order if isinstance(one, Invite) and one.user_id == EMIL]
    assert len(invites) == 1


@pytest.mark.parametrize("before", [True, False], ids=["before the commit", "after the commit"])
async def test_dying_again_and_again_it_is_told_once(heard: House, *, before: bool) -> None:
    await heard.die_again_and_again([1, 2], before=before)
    await heard.open_for_alice()
    await heard.report(incident(severity="CRITICAL", updated_at_ms=2000))
    await heard.settle()
    await heard.die_no_more()
    assert len(said(heard)) == 2

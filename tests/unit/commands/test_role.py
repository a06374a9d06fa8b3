"""`role` and `roles`: claimed, handed over, taken away, and the people who come with them."""

import pytest

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.effects import AddTimelineEntry, Invite
from etb_appservice.domain.ids import UserId, Username
from etb_appservice.domain.people import PeopleMap
from etb_appservice.domain.policy import RolePolicy
from etb_appservice.domain.roles import Role
from etb_appservice.domain.timeline import TimelineItem
from tests.harness.cast import ALICE, BOB, CAROL, etb_user, policy_of
from tests.harness.house import House
from tests.harness.kit import MakeHouse


async def held(house: House) -> dict[str, str]:
    room = await house.room()
    async with house.db.view() as view:
        return {one.role: one.username for one in await view.cases.of(room.war_room, Role, only_open=True)}


async def test_a_responder_claims_what_nobody_holds(house: House) -> None:
    await house.open_for_alice()
    assert await house.ask(ALICE, "!role commander") == "Incident commander is `alice` (was nobody)."
    assert await held(house) == {"INCIDENT_COMMANDER": "alice"}
    assert await house.ask(ALICE, "!role IC") == "`alice` is incident commander already."


async def test_the_holder_hands_it_over_and_there_is_one_of_each(house: House) -> None:
    await house.open_for_alice()
    await house.ask(ALICE, "!role commander")
    assert await house.ask(ALICE, "!role ic bob") == "Incident commander is `bob` (was `alice`)."
    assert await house.ask(ALICE, "!role scribe @bob:x.org") == "Scribe is `bob` (was nobody)."
    assert await held(house) == {"INCIDENT_COMMANDER": "bob", "SCRIBE": "bob"}


async def test_a_role_is_taken_away_by_the_commander_alone(house: House) -> None:
    await house.open_for_alice()
    await house.moves(BOB, "join")
    await house.ask(ALICE, "!role scribe")
    refused = await house.ask(BOB, "!role scribe")
    assert refused == (
        "`alice` is scribe and can hand that over. Otherwise: This needs the role commander of this incident."
    )
    await house.ask(BOB, "!role commander")
    assert await house.ask(BOB, "!role scribe") == "Scribe is `bob` (was `alice`)."
    assert "command.refused" in await house.tags()


async def test_who_is_commander_in_etb_takes_it_from_anybody(make_house: MakeHouse) -> None:
    house = await make_house(policy=policy_of(roles=RolePolicy(meaning={"Manager": "commander"})))
    await house.open_for_alice()
    await house.ask(ALICE, "!role commander")
    house.etb.users[Username("carol")] = etb_user("carol")
    object.__setattr__(house.etb.users[Username("carol")], "roles", ("Manager",))
    await house.let_in("carol")
    await house.moves(CAROL, "join")
    assert await house.ask(CAROL, "!role commander") == "Incident commander is `carol` (was `alice`)."


async def test_refusals_that_repeat_are_a_violation(house: House) -> None:
    await house.open_for_alice()
    await house.moves(BOB, "join")
    await house.ask(ALICE, "!role scribe")
    for _ in range(3):
        await house.ask(BOB, "!role scribe")
    assert "violation.refusals" in await house.tags()


async def test_the_new_holder_is_let_in_and_stands_on_the_card(house: House) -> None:
    room_id = await house.open_for_alice()
    assert CAROL not in house.world.guests(room_id)
    await house.ask(ALICE, "!role comms carol")
    assert house.world.guests(room_id).count(CAROL) == 1
    last = house.world.cards(room_id)[-1][2]
    assert [one.roles for one in last.responders if one.username == "carol"] == [("communications lead",)]
    await house.moves(CAROL, "join")
    assert await house.ask(CAROL, "!role scribe") == "Scribe is `carol` (was nobody)."


async def test_it_is_on_the_timeline_here_and_in_etb(house: House) -> None:
    await house.open_for_alice()
    event_id = await house.says(ALICE, "!role commander bob")
    await house.settle()
    [entry] = [one for one in house.etb.entries if one.event_type == "ASSIGNED"]
    assert (entry.title, entry.event_data["matrix_event_id"]) == (
        "Incident commander: bob (was nobody)",
        event_id,
    )
    room = await house.room()
    async with house.db.view() as view:
        [item] = await view.cases.of(room.war_room, TimelineItem)
    assert (item.title, item.by, item.is_curated) == (entry.title, "alice", True)


async def test_roles_lists_every_role(house: House) -> None:
    await house.open_for_alice()
    await house.ask(ALICE, "!role scribe bob")
    listed = await house.ask(ALICE, "!roles")
    assert listed.splitlines() == [
        "**Roles**",
        "",
        "- Incident commander: nobody",
        "- Scribe: `bob`",
        "- Communications lead: nobody",
        "- Technical lead: nobody",
        "- Business lead: nobody",
        "- Observer: nobody",
    ]
    assert await house.ask(ALICE, "!role") == listed


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("!role scribe nobody", "ETB knows no user `nobody`."),
        ("!role scribe eve", "ETB user `eve` has an ETB account that is locked or not active;"),
        ("!role scribe low", "ETB user `low` is not cleared for the level of this incident."),
        (
            "!role scribe unmapped",
            "ETB user `unmapped` has no Matrix account here. Add it under",
        ),
    ],
)  # fmt: skip
async def test_a_role_for_somebody_who_may_not_enter_says_the_fix(
    make_house: MakeHouse, line: str, answer: str
) -> None:
    names = ("alice", "bob", "carol", "eve", "low")
    people = PeopleMap("", {Username(name): UserId(f"@{name}:x.org") for name in names})
    house = await make_house(policy=policy_of(people=people))
    house.etb.users[Username("eve")] = etb_user("eve", active=False)
    house.etb.users[Username("low")] = etb_user("low", Classification.PUBLIC)
    house.etb.users[Username("unmapped")] = etb_user("unmapped")
    await house.open_for_alice()
    assert (await house.ask(ALICE, line)).startswith(answer)
    assert await held(house) == {}


@pytest.mark.parametrize("line", ["!role boss", "!role scribe @mallory:evil.example", "!role scribe bob carol"])
async def test_words_that_are_none_get_the_usage(house: House, line: str) -> None:
    await house.open_for_alice()
    assert "Usage: `!role [role] [user]`" in await house.ask(ALICE, line)


async def test_with_etb_away_the_last_known_copy_decides(house: House) -> None:
    await house.open_for_alice()
    house.etb.down()
    assert await house.ask(ALICE, "!role scribe bob") == "Scribe is `bob` (was nobody)."
    told = await house.ask(ALICE, "!role comms carol")
    assert told == "ETB does not answer, so I can't see whether `carol` may come in. Try again."


@pytest.mark.parametrize("before", [True, False])
async def test_a_crash_at_any_commit_gives_it_once_and_answers_once(make_house: MakeHouse, before: bool) -> None:
    house = await make_house()
    room_id = await house.open_for_alice()
    await house.die_again_and_again([1, 2, 1, 3], before=before)
    event_id = await house.says(ALICE, "!role commander carol")
    await house.settle()
    await house.die_no_more()
    await house.settle()
    assert house.crashes > 0
    assert house.answers(event_id) == ["Incident commander is `carol` (was nobody)."]
    assert sum(isinstance(one, Invite) and one.user_id == CAROL for one in house.world.order) >= 1
    assert house.world.guests(room_id).count(CAROL) == 1
    assert sum(isinstance(one, AddTimelineEntry) and "commander" in one.title for one in house.etb.writes) == 1

"""`incidents`, `join`, `invite`, `who`: who may know of what, and who is let in."""

from dataclasses import replace

import pytest

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.effects import Invite, OpenRoom
from etb_appservice.domain.ids import IncidentId, RoomId, UserId, Username
from etb_appservice.domain.incident import EtbUser, OnCall
from etb_appservice.domain.people import PeopleMap
from etb_appservice.domain.policy import CommandPolicy, RolePolicy
from etb_appservice.domain.roles import Admitted, Role
from tests.harness.cast import ALICE, BOB, CAROL, NO_1, NO_2, OPERATOR, STRANGER, incident, policy_of
from tests.harness.house import House
from tests.harness.kit import MakeHouse
from tests.harness.world import later

REFUSED = (
    "There is no open incident of this number that you may join. That needs the role responder of the incident, "
    "or the role commander or admin, and a clearance that reaches its level."
)
UNMAPPED = "has no Matrix account here. Add it under `people.entries` in the configuration and restart."
NOT_CLEARED = (
    "is not cleared for the level of this incident. Clearance and level are set in ETB; this is looked at every "
    "five minutes."
)
LOCKED = "has an ETB account that is locked or not active; this is looked at every five minutes."
LINK_THEM = "An operator links people under `people.entries` in the configuration."
NOTHING = "There is no open incident that you may know of."
ROLES = RolePolicy(
    meaning={"Manager": "commander", "Root": "admin", "Reader": "auditor"},
    by_category={"NETWORK": frozenset({"Engineer"})},
)


async def patient(make_house: MakeHouse, **changes: object) -> House:
    """A house that lets people ask as fast as they like, where ETB's roles mean something."""
    house = await make_house(policy=replace(policy_of(roles=ROLES, **changes), commands=CommandPolicy(burst=1000)))
    await house.open_for_alice()
    return house


def has(house: House, name: str, *roles: str, clearance: Classification = Classification.RESTRICTED) -> None:
    house.etb.users[Username(name)] = EtbUser(Username(name), name, clearance, is_active=True, roles=roles)


async def line_of(house: House, text: str, incident_id: IncidentId = NO_1) -> str:
    return f"- {text} ([room](https://matrix.to/#/{await house.room_id(incident_id)}?via=x.org))"


# --- incidents --------------------------------------------------------------------------------------------


async def test_open_incidents_are_listed_most_severe_first_with_their_rooms(make_house: MakeHouse) -> None:
    house = await patient(make_house)
    house.world.fail(OpenRoom, later(after_s=500))
    await house.report(
        incident(id=NO_2, number="INC-2", severity="CRITICAL", status="IN_PROGRESS", title="*Fire*", assignee=None)
    )
    await house.settle()
    chat = await house.chat_with(ALICE)
    assert (await house.ask(ALICE, "!incidents", chat)).splitlines() == [
        "**Open incidents**",
        "",
        "- **INC-2** CRITICAL, IN PROGRESS: \\*Fire\\* (room not open yet)",
        await line_of(house, "**INC-1** HIGH, OPEN: Mail is down"),
    ]
    chat = await house.chat_with(BOB)
    assert "INC-2" not in await house.ask(BOB, "!incidents", chat)


async def test_a_closed_incident_is_not_listed(make_house: MakeHouse) -> None:
    house = await patient(make_house)
    chat = await house.chat_with(ALICE)
    await house.report(incident(status="RESOLVED", updated_at_ms=2000))
    await house.settle()
    assert await house.ask(ALICE, "!incidents", chat) == NOTHING
    assert await house.ask(ALICE, "!join INC-1", chat) == REFUSED


@pytest.mark.parametrize(
    ("roles", "clearance", "permitted"),
    [
        ((), Classification.TOP_SECRET, False),
        (("Reader",), Classification.TOP_SECRET, False),
        (("Engineer",), Classification.INTERNAL, True),
        (("Engineer",), Classification.PUBLIC, False),
        (("Manager",), Classification.INTERNAL, True),
        (("Manager",), Classification.PUBLIC, False),
        (("Root",), Classification.INTERNAL, True),
        (("Cook",), Classification.TOP_SECRET, False),
    ],
)
async def test_roles_in_etb_let_in_whoever_is_cleared_and_the_others_see_no_trace(
    make_house: MakeHouse, roles: tuple[str, ...], clearance: Classification, permitted: bool
) -> None:
    house = await patient(make_house)
    has(house, "carol", *roles, clearance=clearance)
    chat = await house.chat_with(CAROL)
    listed, joined = await house.ask(CAROL, "!incidents", chat), await house.ask(CAROL, "!join inc-1", chat)
    if permitted:
        assert "INC-1" in listed
        assert joined.startswith("You are invited to the room of [INC-1](https://matrix.to/#/")
    else:
        assert (listed, joined) == (NOTHING, REFUSED)
    assert (CAROL in house.world.guests(await house.room_id())) is permitted


@pytest.mark.parametrize("how", ["on call", "scribe", "let in"])
async def test_whoever_belongs_to_an_incident_may_know_of_it(make_house: MakeHouse, how: str) -> None:
    house = await patient(make_house)
    war_room = (await house.room()).war_room
    async with house.db.work() as work:
        match how:
            case "on call":
                await work.incidents.put_on_call([OnCall("Mail", Username("carol"))], work.now_ms())
            case "scribe":
                role = Role(id="SCRIBE", role="SCRIBE", username=Username("carol"), since_ms=1, by=Username("bob"))
                await work.cases.put(war_room, role)
            case _:
                await work.cases.put(war_room, Admitted(id="carol", username=Username("carol"), by="bob", at_ms=1))
    chat = await house.chat_with(CAROL)
    assert "INC-1" in await house.ask(CAROL, "!incidents", chat)


async def test_an_operator_sees_what_they_are_cleared_for_and_joins_only_what_they_belong_to(
    make_house: MakeHouse,
) -> None:
    people = PeopleMap("", {**policy_of().people.entries, Username("op"): OPERATOR})
    house = await patient(make_house, people=people)
    control = house.control_room()
    assert await house.ask(OPERATOR, "!incidents", control) == NOTHING, "ETB knows no such user"
    house.know("op")
    await house.advance(400)
    assert "INC-1" in await house.ask(OPERATOR, "!incidents", control)
    assert await house.ask(OPERATOR, "!join INC-1", control) == REFUSED
    house.know("op", clearance=Classification.PUBLIC)
    await house.advance(400)
    assert await house.ask(OPERATOR, "!incidents", control) == NOTHING


async def test_an_operator_who_is_not_linked_to_etb_is_cleared_for_nothing(make_house: MakeHouse) -> None:
    house = await patient(make_house)
    assert await house.ask(OPERATOR, "!incidents", house.control_room()) == NOTHING


async def test_a_level_that_was_raised_counts_before_the_room_has_followed(make_house: MakeHouse) -> None:
    house = await patient(make_house)
    house.know("alice", clearance=Classification.INTERNAL)
    chat = await house.chat_with(ALICE)
    await house.advance(400)
    async with house.db.work() as work:
        room = await work.rooms.of_incident(NO_1)
        assert room is not None
        await work.rooms.put(replace(room, classification=Classification.CONFIDENTIAL))
    assert await house.ask(ALICE, "!incidents", chat) == NOTHING


async def test_at_most_thirty_are_listed(make_house: MakeHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("etb_appservice.commands.incidents._MOST", 1)
    house = await patient(make_house)
    await house.report(incident(id=NO_2, number="INC-2", severity="LOW"))
    await house.settle()
    chat = await house.chat_with(ALICE)
    answer = await house.ask(ALICE, "!incidents", chat)
    assert "INC-2" not in answer
    assert answer.endswith("… and 1 less severe ones.")


# --- join -------------------------------------------------------------------------------------------------


async def test_who_joins_is_invited_stands_on_the_card_and_may_act(make_house: MakeHouse) -> None:
    house = await patient(make_house)
    has(house, "carol", "Engineer")
    chat, room_id = await house.chat_with(CAROL), await house.room_id()
    link = f"[INC-1](https://matrix.to/#/{room_id}?via=x.org)"
    assert await house.ask(CAROL, "!join #INC-1", chat) == f"You are invited to the room of {link}."
    assert await house.ask(CAROL, "!join INC-1", chat) == f"You are invited to the room of {link} already."
    await house.moves(CAROL, "join")
    assert await house.ask(CAROL, "!join INC-1", chat) == f"You are in the room of {link} already."
    people = {one.username: one.roles for one in house.world.cards(room_id)[-1][2].responders}
    assert people[Username("carol")] == ("let in",)
    assert [user for user in house.world.guests(room_id) if user == CAROL] == [CAROL]
    assert (await house.tags()).count("person.admitted") == 1
    assert (await house.ask(CAROL, "!severity low")).startswith("Severity: **LOW**")


async def test_who_left_is_invited_again_and_who_was_banned_is_not(make_house: MakeHouse) -> None:
    house = await patient(make_house)
    chat, room_id = await house.chat_with(ALICE), await house.room_id()
    await house.moves(ALICE, "leave")
    assert (await house.ask(ALICE, "!join INC-1", chat)).startswith("You are invited to the room of")
    await house.moves(ALICE, "ban", sender=OPERATOR)
    answer = await house.ask(ALICE, "!join INC-1", chat)
    assert answer.endswith(f"({await link(room_id)}). Ask an operator.")
    assert house.world.guests(room_id).count(ALICE) == 2


async def link(room_id: RoomId) -> str:
    return f"https://matrix.to/#/{room_id}?via=x.org"


async def test_who_joins_before_the_room_is_open_is_invited_when_it_is(make_house: MakeHouse) -> None:
    house = await patient(make_house)
    has(house, "carol", "Engineer")
    chat = await house.chat_with(CAROL)
    house.world.fail(OpenRoom, later(after_s=60))
    await house.report(incident(id=NO_2, number="INC-2"))
    await house.settle()
    answer = await house.ask(CAROL, "!join INC-2", chat)
    assert answer == "The room of **INC-2** is being opened. You are invited as soon as it is there."
    await house.advance(120)
    assert CAROL in house.world.guests(await house.room_id(NO_2))


async def test_a_number_that_two_incidents_share_opens_neither(make_house: MakeHouse) -> None:
    house = await patient(make_house)
    await house.report(incident(id=NO_2, number="INC-1"))
    await house.settle()
    chat = await house.chat_with(ALICE)
    answer = await house.ask(ALICE, "!join INC-1", chat)
    assert answer == "2 open incidents have the number **INC-1**. Ask an operator."


async def test_looking_for_numbers_is_reported(make_house: MakeHouse) -> None:
    house = await patient(make_house)
    chat = await house.chat_with(CAROL)
    for number in range(5):
        assert await house.ask(CAROL, f"!join INC-{number}", chat) == REFUSED
    [trouble] = [one for one in house.troubles() if "was refused 3 commands" in one]
    assert "`@carol:x.org`" in trouble


async def test_whose_clearance_is_taken_away_after_joining_is_removed(make_house: MakeHouse) -> None:
    house = await patient(make_house)
    has(house, "carol", "Engineer")
    chat = await house.chat_with(CAROL)
    await house.ask(CAROL, "!join INC-1", chat)
    await house.moves(CAROL, "join")
    async with house.db.work() as work:
        await work.incidents.put_user(
            EtbUser(Username("carol"), "carol", Classification.PUBLIC, is_active=True), work.now_ms()
        )
    await house.report(incident(updated_at_ms=2000))
    await house.settle()
    assert "person.removed" in await house.tags()


async def test_an_invitation_that_the_homeserver_refuses_is_told_to_the_operators(make_house: MakeHouse) -> None:
    house = await patient(make_house)
    has(house, "carol", "Engineer")
    chat = await house.chat_with(CAROL)
    house.world.fail(Invite, later(), times=100, only=lambda one: one.user_id == CAROL)
    await house.ask(CAROL, "!join INC-1", chat)
    for _ in range(6):
        await house.advance(10)
    assert any("`@carol:x.org` could not be invited" in one for one in house.troubles())


# --- invite -----------------------------------------------------------------------------------------------


async def test_whoever_is_cleared_is_invited_by_name_or_matrix_id(make_house: MakeHouse) -> None:
    house = await patient(make_house)
    room_id = await house.room_id()
    assert await house.ask(ALICE, "!invite carol") == "Invited `carol` (`@carol:x.org`)."
    assert CAROL in house.world.guests(room_id)
    assert await house.ask(ALICE, "!invite @carol:x.org") == (
        "`carol` (`@carol:x.org`) is invited already, and has not joined yet."
    )
    await house.moves(CAROL, "join")
    assert await house.ask(ALICE, "!invite @carol") == "`carol` is in this room already."
    people = {one.username: one.roles for one in house.world.cards(room_id)[-1][2].responders}
    assert people[Username("carol")] == ("let in",)
    await house.moves(CAROL, "leave")
    assert await house.ask(ALICE, "!invite carol") == "Invited `carol` (`@carol:x.org`)."
    await house.moves(CAROL, "ban", sender=OPERATOR)
    assert await house.ask(ALICE, "!invite carol") == (
        "`carol` (`@carol:x.org`) was banned from this room. Ask an operator."
    )


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("!invite zoe", f"ETB user `zoe` {UNMAPPED}"),
        (
            "!invite @mallory:evil.example",
            f"`@mallory:evil.example` is not linked to an ETB user. {LINK_THEM}",
        ),
        (
            "!invite low",
            f"ETB user `low` {NOT_CLEARED}",
        ),
        ("!invite out", f"ETB user `out` {LOCKED}"),
        ("!invite gone", "ETB knows no user `gone`."),
        ("!invite", "`user` is missing.\n\nUsage: `!invite <user>`"),
        ("!invite bob", "`bob` (`@bob:x.org`) is invited already, and has not joined yet."),
    ],
)  # fmt: skip
async def test_who_can_not_be_invited(make_house: MakeHouse, line: str, answer: str) -> None:
    names = {Username(name): UserId(f"@{name}:x.org") for name in ("low", "out", "gone")}
    house = await patient(make_house, people=PeopleMap("", {**policy_of().people.entries, **names}))
    house.know("low", clearance=Classification.PUBLIC)
    house.etb.users[Username("out")] = EtbUser(Username("out"), "out", Classification.TOP_SECRET, is_active=False)
    guests = house.world.guests(await house.room_id())
    assert await house.ask(ALICE, line) == answer
    assert house.world.guests(await house.room_id()) == guests


async def test_while_etb_is_away_only_a_fresh_copy_lets_somebody_in(make_house: MakeHouse) -> None:
    house = await patient(make_house)
    house.etb.down()
    assert await house.ask(ALICE, "!invite carol") == (
        "ETB does not answer, so I can't see whether `carol` may come in. Try again."
    )
    async with house.db.work() as work:
        await work.incidents.put_user(house.etb.users[Username("carol")], work.now_ms())
    assert await house.ask(ALICE, "!invite carol") == "Invited `carol` (`@carol:x.org`)."


async def test_only_responders_invite(make_house: MakeHouse) -> None:
    house = await patient(make_house)
    await house.leave_over("carol")
    await house.moves(CAROL, "join")
    assert await house.ask(CAROL, "!invite carol") == "This needs the role responder of this incident."


# --- who --------------------------------------------------------------------------------------------------


async def test_who_is_here_and_who_is_missing_and_why(make_house: MakeHouse) -> None:
    people = PeopleMap("", {**policy_of().people.entries, Username("low"): UserId("@low:x.org")})
    house = await patient(make_house, people=people)
    house.know("low", clearance=Classification.PUBLIC)
    async with house.db.work() as work:
        await work.incidents.put_user(house.etb.users[Username("carol")], work.now_ms())
    await house.break_glass(STRANGER)
    await house.leave_over("carol")
    await house.moves(STRANGER, "join")
    await house.moves(CAROL, "join")
    house.etb.duty = [OnCall("Mail", Username("low")), OnCall("Mail", Username("zoe"))]
    await house.on_call("low", "zoe")
    await house.settle()
    assert (await house.ask(ALICE, "!who")).splitlines() == [
        "**In this room**",
        "",
        "- `alice` (`@alice:x.org`): reporter; joined",
        "- `carol` (`@carol:x.org`): no role here; joined",
        "- `@mallory:evil.example`: not linked to an ETB user; joined",
        "- `bob` (`@bob:x.org`): assignee; invited, has not joined yet",
        "",
        "**Missing**",
        "",
        f"- `low` (on call) {NOT_CLEARED}",
        f"- `zoe` (on call) {UNMAPPED}",
    ]
    await house.moves(BOB, "leave")
    assert "- `bob` (assignee) has left, or declined. `invite bob` invites them again." in await house.ask(
        ALICE, "!who"
    )


async def test_a_crowd_is_cut(make_house: MakeHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("etb_appservice.commands.who._MOST", 1)
    house = await patient(make_house)
    assert (await house.ask(ALICE, "!who")).splitlines()[2:] == [
        "- `alice` (`@alice:x.org`): reporter; joined",
        "- … and 1 more",
    ]

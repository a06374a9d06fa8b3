"""Break-glass: one role asks, the other approves, somebody is in for a while and out; a third looks at it."""

import re
from dataclasses import replace
from typing import Any

import pytest

from etb_appservice.domain.breakglass import BreakGlass, GlassReview
from etb_appservice.domain.classification import Classification
from etb_appservice.domain.effects import Invite, Remove, Say
from etb_appservice.domain.facts import BreakGlassEnds, BreakGlassGiven, BreakGlassReviewDue
from etb_appservice.domain.ids import RoomId, UserId, Username
from etb_appservice.domain.incident import EtbUser
from etb_appservice.domain.outcomes import Refused
from etb_appservice.domain.partners import Partner, PartnerAdmitted
from etb_appservice.domain.policy import BreakGlassPolicy, CommandPolicy, RolePolicy
from etb_appservice.domain.text import moment
from etb_appservice.flows.permitted import permission
from etb_appservice.store.codec import FactJson
from tests.harness.cast import ALICE, BOB, CAROL, NO_1, NO_2, OPERATOR, etb_user, incident, policy_of
from tests.harness.house import House
from tests.harness.kit import MakeHouse

OTHER = UserId("@op2:x.org")
"""Another operator."""
CISO = UserId("@ciso:x.org")
"""Holds the second role by name; ETB doesn't know them."""
DORA = UserId("@dora:x.org")
"""Needed, and unknown to ETB."""
ANN = UserId("@ann:partner.example")
GLASS = BreakGlassPolicy(first=frozenset({"operator"}), second=frozenset({"compliance", CISO}))
HOUR, DAY = 3600, 86_400
ASK = "!breakglass INC-1 @dora:x.org 4 Only she knows the old mail server"
PARTNER = Partner(name="B", servers=frozenset({"partner.example"}), ceiling=Classification.PUBLIC)


async def opened(make_house: MakeHouse, **changes: Any) -> House:
    """INC-1's room with alice and bob, who is of compliance; two operators in the control room."""
    fields: dict[str, Any] = {
        "operators": frozenset({OPERATOR, OTHER}),
        "roles": RolePolicy(meaning={"Compliance": "compliance", "Audit": "auditor"}),
        "break_glass": GLASS,
        "commands": CommandPolicy(burst=1000),
    }
    house = await make_house(policy=policy_of(**(fields | changes)))
    await house.open_for_alice()
    await house.moves(OTHER, "join", house.control_room())
    house.etb.users[Username("bob")] = with_role("bob", "Compliance")
    house.etb.users[Username("carol")] = with_role("carol", "Audit")
    await house.advance(400)
    await house.moves(BOB, "join")
    return house


def with_role(name: str, role: str) -> EtbUser:
    user = etb_user(name)
    return EtbUser(user.username, user.display_name, user.clearance, True, roles=(role,))


@pytest.fixture
async def house(make_house: MakeHouse) -> House:
    return await opened(make_house)


def code_in(text: str) -> str:
    found = re.search(r"`([A-Z2-9]{4})`", text)
    assert found, text
    return found[1]


async def ask(house: House, text: str = ASK, sender: str = OPERATOR, room: str | None = None) -> str:
    """Ask for it, in the control room unless told otherwise; the code."""
    return code_in(await house.ask(sender, text, room or house.control_room()))


async def let_in(house: House, text: str = ASK) -> RoomId:
    """Dora is let in and has joined; the room."""
    code = await ask(house, text)
    assert await house.ask(BOB, f"!approve {code}") == "Approved. It runs now."
    await house.moves(DORA, "join")
    return await house.room_id()


async def grant(house: House, user_id: UserId = DORA) -> BreakGlass | None:
    async with house.db.view() as view:
        return await view.cases.get((await house.room()).war_room, BreakGlass, user_id)


async def reviews(house: House) -> list[GlassReview]:
    async with house.db.view() as view:
        return list(await view.cases.of((await house.room()).war_room, GlassReview))


async def is_allowed(house: House, user_id: UserId = DORA) -> bool:
    async with house.db.view() as view:
        return (await permission(view, await house.room(), user_id, house.policy)).allowed


async def membership(house: House, user_id: UserId = DORA, room: RoomId | None = None) -> str:
    async with house.db.view() as view:
        return await view.rooms.membership(room or await house.room_id(), user_id)


def removed(house: House) -> list[tuple[RoomId, UserId]]:
    return [(one.room_id, one.user_id) for one in house.world.order if isinstance(one, Remove)]


# --- asked, approved, in ----------------------------------------------------------------------------------


async def test_two_roles_together_let_somebody_in_who_is_announced_in_both_rooms(house: House) -> None:
    room = await house.room_id()
    code = await ask(house)
    request = [str(say.content) for _, say in house.world.said if say.purpose == "living"][-1]
    assert "to let `@dora:x.org` into **INC-1** for 4 h, by break-glass: Only she knows" in request.replace(
        "Asked by `@op:x.org`:", "to"
    )
    assert "Needs 1 person with the role break-glass second, not the asker, on a verified device" in request
    assert f"`!approve {code}`" in house.world.texts(room)[-1]
    assert DORA not in house.world.guests(room)
    assert await house.ask(BOB, f"!approve {code}") == "Approved. It runs now."
    until = moment(house.clock.now_ms() + 4 * HOUR * 1000)
    [announced] = [text for text in house.world.texts(room) if text.startswith("**Break-glass**: ")]
    assert announced == (
        f"**Break-glass**: `@dora:x.org` is let in until **{until}**, as `@op:x.org` and `@bob:x.org` have "
        "decided: Only she knows the old mail server"
    )
    assert f"**INC-1**: {announced}" in house.troubles()
    [invite] = [one for one in house.world.order if isinstance(one, Invite) and one.user_id == DORA]
    assert (invite.room_id, invite.reason) == (room, f"You are let in by break-glass until {until}.")
    told = next(
        place
        for place, one in enumerate(house.world.order)
        if isinstance(one, Say) and one.content == announced and one.notify
    )
    assert told < house.world.order.index(invite)
    assert f"Break-glass: @dora:x.org let in until {until}" in [entry.title for entry in house.etb.entries]
    given = await grant(house)
    assert given is not None
    assert (given.by, given.reason) == ((OPERATOR, BOB), "Only she knows the old mail server")
    assert await is_allowed(house)
    [noted] = [one for one in await house.audit() if one.tag == "breakglass.granted"]
    assert noted.actor == OPERATOR
    assert noted.details["by"] == f"{OPERATOR},{BOB}"


async def test_it_works_while_etb_is_away_and_by_a_name_in_the_configuration(house: House) -> None:
    house.etb.down()
    await house.advance(house.policy.clearance.hold_s + HOUR)
    direct = await house.chat_with(CISO)
    code = await ask(house)
    # Whom only ETB could confirm is nobody by now.
    assert "not confirmed" in await house.ask(BOB, f"!approve {code}")
    assert await house.ask(CISO, f"!approve {code}", direct) == "Approved. It runs now."
    assert DORA in house.world.guests(await house.room_id())
    await house.moves(DORA, "join")
    await house.advance(4 * HOUR)
    assert removed(house)[-1] == (await house.room_id(), DORA)
    assert not [entry for entry in house.etb.entries if entry.title.startswith("Break-glass")]
    house.etb.up()
    await house.advance(HOUR)
    assert [entry.title.split(" let")[0] for entry in house.etb.entries if "reak-glass" in entry.title] == [
        "Break-glass: @dora:x.org",
        "Break-glass for @dora:x.org ended",
    ]


async def test_asked_in_a_chat_alone_both_rooms_hear_of_it(house: House) -> None:
    direct = await house.chat_with(CISO)
    code = await ask(house, sender=CISO, room=direct)
    assert f"`!approve {code}`" in house.troubles()[-1]
    assert f"`!approve {code}`" in house.world.texts(await house.room_id())[-1]
    assert await house.ask(OPERATOR, f"!approve {code}", house.control_room()) == "Approved. It runs now."
    assert (await grant(house)) is not None
    assert "is let into **INC-1** until" in house.world.texts(direct)[-1]


async def test_asked_in_the_incident_s_room_operators_approve_in_theirs(house: House) -> None:
    code = await ask(house, "!breakglass @dora:x.org 0.5 quick", BOB, await house.room_id())
    assert await house.ask(OTHER, f"!approve {code}", house.control_room()) == "Approved. It runs now."
    given = await grant(house)
    assert given is not None
    assert (given.by, given.until_ms - given.from_ms <= HOUR * 500) == ((BOB, OTHER), True)


async def test_whoever_has_a_break_glass_role_gets_a_chat_by_inviting_the_bot(house: House) -> None:
    before = set(house.world.aliases)
    await house.moves("@etb:x.org", "invite", "!hers", sender=CISO)
    assert len(house.world.aliases.keys() - before) == 1


# --- refused ----------------------------------------------------------------------------------------------


async def test_the_same_person_can_not_do_both(make_house: MakeHouse) -> None:
    house = await opened(make_house, operators=frozenset({OPERATOR, CISO}))
    await house.moves(CISO, "join", house.control_room())
    code = await ask(house, sender=CISO)
    answer = await house.ask(CISO, f"!approve {code}", house.control_room())
    assert answer == "You asked for it: somebody else has to approve."
    assert await grant(house) is None
    # Who holds both roles may be either of the two.
    assert await house.ask(OPERATOR, f"!approve {code}", house.control_room()) == "Approved. It runs now."


async def test_one_role_alone_can_not_however_many_hold_it(house: House) -> None:
    code = await ask(house)
    answer = await house.ask(OTHER, f"!approve {code}", house.control_room())
    assert answer == "This needs the break-glass role second."
    assert await grant(house) is None
    assert "approval.refused" in await house.tags()


async def test_who_has_neither_role_asks_in_vain_and_learns_of_no_request(house: House) -> None:
    answer = await house.ask(ALICE, "!breakglass @dora:x.org 4 please")
    assert answer == "This needs a break-glass role."
    code = await ask(house)
    assert "There is no request with the code" in await house.ask(ALICE, f"!approve {code}")


async def test_a_device_that_is_not_verified_neither_asks_nor_approves_nor_ends(house: House) -> None:
    assert "only from a device that you have verified" in await house.ask(
        BOB, "!breakglass @dora:x.org 4 please", trust="unsigned"
    )
    code = await ask(house)
    assert "only from a device that you have verified" in await house.ask(
        BOB, f"!approve {code}", trust="unsigned"
    )
    assert await house.ask(BOB, f"!approve {code}") == "Approved. It runs now."
    assert "only from a device that you have verified" in await house.ask(
        BOB, "!breakglass end @dora:x.org", trust="unsigned"
    )
    assert await is_allowed(house)


async def test_too_late_nobody_is_let_in(house: House) -> None:
    code = await ask(house)
    await house.advance(1801)
    assert "That is too late" in await house.ask(BOB, f"!approve {code}") or await grant(house) is None
    assert DORA not in house.world.guests(await house.room_id())


async def test_whose_role_is_of_an_account_that_etb_has_locked_lets_nobody_in(house: House) -> None:
    code = await ask(house)
    house.etb.users[Username("bob")] = replace(with_role("bob", "Compliance"), is_active=False)
    await house.advance(400)
    await house.ask(BOB, f"!approve {code}")
    assert await grant(house) is None


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        ("INC-1 @dora:x.org 9 too long", "It may last for 8 hours at most"),
        ("INC-1 @dora:x.org 0 none", "It may last for 8 hours at most"),
        ("INC-1 @dora:x.org soon please", "For how many hours?"),
        ("INC-1 @dora:x.org 4", "Who is to be let in, for how many hours, and why?"),
        ("INC-1 nobody 4 please", "I know no Matrix account of `nobody`"),
        ("INC-1 @do`ra:x.org 4 please", "is no Matrix id"),
        ("INC-1 @dora: 4 please", "is no Matrix id"),
        ("INC-9 @dora:x.org 4 please", "I know no room of an incident with the number `INC-9`"),
        ("INC-1 @dora:x.org 4 " + "x" * 501, "The reason is too long"),
        ("INC-1 alice 4 please", "`@alice:x.org` may be there without break-glass, and is in that room already."),
        ("INC-1 @etb:x.org 4 please", "may be there without break-glass"),
        ("INC-1 @ann:partner.example 4 please", "is of a homeserver that was not let into that room"),
        ("end INC-1 @dora:x.org", "`@dora:x.org` is not let in by break-glass there."),
        ("end", "Which incident is meant?"),
        ("end INC-1 a b", "Who is meant?"),
        ("review INC-1 @dora:x.org", "Say whom you mean, and `ok` or `not-ok`"),
        ("review INC-1 @dora:x.org ok", "There is no break-glass of `@dora:x.org` that waits for a review there."),
        ("", "`what` is missing."),
    ],
)  # fmt: skip
async def test_what_can_not_be_asked_is_answered_with_the_fix(house: House, words: str, answer: str) -> None:
    assert answer in await house.ask(OPERATOR, f"!breakglass {words}", house.control_room())
    assert await grant(house) is None


async def test_two_incidents_of_one_number_are_told_apart_by_their_rooms(house: House) -> None:
    await house.report(incident(id=NO_2))
    await house.settle()
    answer = await house.ask(OPERATOR, ASK, house.control_room())
    assert "2 incidents have the number" in answer


async def test_who_was_banned_is_not_let_in(house: House) -> None:
    await house.moves(DORA, "ban", sender=ALICE)
    assert "was banned from that room" in await house.ask(OPERATOR, ASK, house.control_room())


async def test_somebody_of_another_homeserver_needs_an_admitted_partner_and_a_room_that_federates(
    make_house: MakeHouse,
) -> None:
    house = await opened(make_house, partners=(PARTNER,))
    words = ASK.replace("@dora:x.org", ANN)
    async with house.store.work() as work:
        await work.cases.put((await house.room()).war_room, PartnerAdmitted(id="B", by=ALICE, at_ms=1))
    await house.ask(BOB, f"!approve {await ask(house, words)}")
    assert ANN in house.world.guests(await house.room_id())
    async with house.store.work() as work:
        await work.rooms.put(replace(await house.room(), federates=False))
    words = words.replace("@ann", "@ben")
    assert "was made for people of this one only" in await house.ask(OPERATOR, words, house.control_room())


async def test_where_it_is_not_set_up_it_says_so(make_house: MakeHouse) -> None:
    house = await opened(make_house, break_glass=BreakGlassPolicy())
    for words in ("@dora:x.org 4 please", "end @dora:x.org"):
        assert "Break-glass is not set up here" in await house.ask(BOB, f"!breakglass {words}")


async def test_the_request_says_what_etb_thinks_of_them(house: House) -> None:
    house.etb.users[Username("carol")] = etb_user("carol", active=False)
    await house.advance(400)
    await house.report(incident(assignee=Username("carol"), updated_at_ms=2000))
    await house.settle()
    words = ASK.replace("@dora:x.org", "carol")
    assert "`@carol:x.org`, whose ETB account is locked or not active, into" in await house.ask(
        OPERATOR, words, house.control_room()
    )


async def test_what_was_approved_must_not_have_changed(house: House) -> None:
    code = await ask(house, ASK.replace("@dora:x.org", "carol"))
    entries = {**house.policy.people.entries, Username("carol"): UserId("@mallory:x.org")}
    house.policy = replace(house.policy, people=replace(house.policy.people, entries=entries))
    await house.crash()
    await house.ask(BOB, f"!approve {code}")
    assert "What was approved has changed meanwhile" in house.world.texts(house.control_room())[-1]
    assert UserId("@mallory:x.org") not in house.world.guests(await house.room_id())


async def test_a_homeserver_that_takes_no_invitation_is_told_to_the_operators(house: House) -> None:
    house.world.fail(Invite, Refused("there is no such user"))
    await house.ask(BOB, f"!approve {await ask(house)}")
    assert any("`@dora:x.org` could not be invited" in text for text in house.troubles())
    assert await membership(house) == "leave"


# --- while it lasts ---------------------------------------------------------------------------------------


async def test_who_is_let_in_runs_what_a_responder_may_there_and_for_that_time(house: House) -> None:
    room = await let_in(house)
    assert "Task" in await house.ask(DORA, "!task add Look at the queue")
    assert "Mail is down" in await house.ask(DORA, "!status")
    assert "commander" in await house.ask(DORA, "!escalate now") or house.etb.writes
    assert "not linked" in await house.ask(DORA, "!role scribe")
    await house.report(incident(id=NO_2, number="INC-2"))
    await house.settle()
    await house.moves(DORA, "join", await house.room_id(NO_2))
    assert "not in this room" in await house.ask(DORA, "!status", await house.room_id(NO_2))
    # At once when the time is over, however late its timer is.
    house.clock.advance(4 * HOUR)
    assert not await is_allowed(house)
    assert "not linked" in await house.ask(DORA, "!task add One more", room)
    assert removed(house) == [(await house.room_id(NO_2), DORA), (room, DORA)]
    assert "One more" not in await house.ask(ALICE, "!task")


async def test_who_is_let_in_approves_nothing_for_others(make_house: MakeHouse) -> None:
    house = await opened(make_house)
    house.policy = replace(
        house.policy, approvals=replace(house.policy.approvals, commands=frozenset({"sla"}), role="responder")
    )
    await house.crash()
    await let_in(house)
    code = code_in(await house.ask(ALICE, "!sla"))
    assert "not linked" in await house.ask(DORA, f"!approve {code}")


async def test_etb_keeps_nobody_out_whom_two_have_let_in(house: House) -> None:
    house.etb.users[Username("carol")] = etb_user("carol", active=False)
    await house.advance(400)
    await house.report(incident(assignee=Username("carol"), updated_at_ms=2000))
    await house.settle()
    await house.ask(BOB, f"!approve {await ask(house, ASK.replace('@dora:x.org', 'carol'))}")
    await house.moves(CAROL, "join")
    await house.advance(HOUR)
    assert await membership(house, CAROL) == "join"
    await house.advance(3 * HOUR)
    assert await membership(house, CAROL) == "leave"


async def test_a_room_that_is_replaced_meanwhile_takes_them_along_and_lets_them_out_of_both(house: House) -> None:
    old = await let_in(house)
    await house.says(ALICE, "", old, what="tombstone", replacement="!new")
    await house.settle()
    assert DORA in house.world.guests(RoomId("!new"))
    await house.moves(DORA, "join", "!new")
    await house.advance(4 * HOUR)
    assert sorted(removed(house)) == [("!new", DORA), (old, DORA)]
    assert "its time is over" in house.world.texts(RoomId("!new"))[-1]


async def test_a_room_that_is_replaced_before_it_is_approved_lets_them_into_the_new_one(house: House) -> None:
    old = await house.room_id()
    code = await ask(house)
    await house.says(ALICE, "", old, what="tombstone", replacement="!new")
    await house.settle()
    await house.moves(BOB, "join", "!new")
    assert await house.ask(BOB, f"!approve {code}", "!new") == "Approved. It runs now."
    assert DORA in house.world.guests(RoomId("!new"))
    assert DORA not in house.world.guests(old)


# --- ends -------------------------------------------------------------------------------------------------


async def test_it_ends_by_itself_said_in_both_rooms(house: House) -> None:
    room = await let_in(house)
    await house.advance(4 * HOUR - 60)
    assert removed(house) == []
    house.world.rotated.clear()
    await house.advance(60)
    assert removed(house) == [(room, DORA)] == house.world.rotated
    assert await membership(house) == "leave"
    place = next(n for n, one in enumerate(house.world.order) if isinstance(one, Remove))
    [said] = [text for text in house.world.texts(room) if text.startswith("**Break-glass** for")]
    assert said == "**Break-glass** for `@dora:x.org`: its time is over. They are out."
    assert place < next(
        n for n, one in enumerate(house.world.order) if isinstance(one, Say) and one.content == said
    )
    assert any(text.startswith(f"**INC-1**: {said}") for text in house.troubles())
    given = await grant(house)
    assert given is not None
    assert not given.is_open
    assert "breakglass.ended" in await house.tags()


async def test_who_belongs_by_then_stays(house: House) -> None:
    await house.ask(BOB, f"!approve {await ask(house, ASK.replace('@dora:x.org', 'carol'))}")
    await house.moves(CAROL, "join")
    await house.report(incident(assignee=Username("carol"), updated_at_ms=2000))
    await house.settle()
    await house.advance(4 * HOUR)
    assert removed(house) == []
    assert "They stay, since they belong here by now." in house.world.texts(await house.room_id())[-1]


async def test_either_role_ends_it_early_and_the_timer_does_nothing_more(house: House) -> None:
    room = await let_in(house)
    assert await house.ask(OTHER, "!breakglass end INC-1 @dora:x.org", house.control_room()) == (
        "Break-glass for `@dora:x.org` ends now."
    )
    assert "`@op2:x.org` has ended it. They are out." in house.world.texts(room)[-1]
    assert "is not let in" in await house.ask(BOB, "!breakglass end @dora:x.org")
    await house.advance(5 * HOUR)
    assert removed(house) == [(room, DORA)]
    assert (await house.tags()).count("breakglass.ended") == 1


async def test_two_ends_at_once_end_it_once(house: House) -> None:
    room = await let_in(house)
    given = await grant(house)
    assert given is not None
    war_room = (await house.room()).war_room
    for by in (BOB, OTHER):
        fact = BreakGlassEnds(war_room=war_room, grant=given.grant, user_id=DORA, by=by)
        await house.own(fact, lane=NO_1)
    house.clock.advance(4 * HOUR)
    await house.settle()
    assert removed(house) == [(room, DORA)]
    assert len([text for text in house.world.texts(room) if text.startswith("**Break-glass** for")]) == 1


async def test_given_anew_it_lasts_until_the_later_time_and_is_reviewed_twice(house: House) -> None:
    room = await let_in(house)
    await house.advance(2 * HOUR)
    await let_in(house, ASK.replace(" 4 ", " 6 "))
    await house.advance(3 * HOUR)
    assert (removed(house), await is_allowed(house)) == ([], True)
    await house.advance(3 * HOUR)
    assert removed(house) == [(room, DORA)]
    assert [one.ended_ms is not None for one in await reviews(house)] == [True, True]


async def test_a_service_that_was_down_ends_it_first_of_all(house: House) -> None:
    room = await let_in(house)
    house.clock.advance(5 * HOUR)
    await house.crash()
    # Before anything was decided nobody is given a key beyond the time.
    assert not await is_allowed(house)
    before = len(house.world.order)
    await house.says(ALICE, "!status")
    for _ in range(2):
        await house.decider.life.glass.end_overdue(house.store, FactJson())
        await house.settle()
    here = [one for one in house.world.order[before:] if getattr(one, "room_id", None) == room]
    assert isinstance(here[0], Remove)
    assert removed(house) == [(room, DORA)]
    assert (await house.tags()).count("breakglass.ended") == 1


async def test_a_clock_that_is_set_back_does_not_end_it_early(house: House) -> None:
    await let_in(house)
    given = await grant(house)
    assert given is not None
    fact = BreakGlassEnds(war_room=(await house.room()).war_room, grant=given.grant, user_id=DORA)
    await house.own(fact, lane=NO_1)
    await house.settle()
    assert removed(house) == []
    house.clock.step(-HOUR)
    await house.settle()
    house.clock.step(HOUR)
    await house.advance(4 * HOUR)
    assert len(removed(house)) == 1


@pytest.mark.parametrize("before", [True, False])
async def test_killed_at_every_step_it_is_done_once(make_house: MakeHouse, before: bool) -> None:
    house = await opened(make_house)
    await house.die_again_and_again([2, 3], before=before)
    event_id = await house.says(OPERATOR, ASK, house.control_room())
    await house.settle()
    await house.says(BOB, f"!approve {code_in(house.answers(event_id)[0])}")
    await house.settle()
    await house.moves(DORA, "join")
    await house.advance(4 * HOUR)
    assert house.crashes > 3
    room = await house.room_id()
    assert removed(house) == [(room, DORA)]
    assert house.world.guests(room).count(DORA) == 1
    assert len([text for text in house.world.texts(room) if text.startswith("**Break-glass**")]) == 2
    assert [tag for tag in await house.tags() if tag.startswith("breakglass.")] == [
        "breakglass.granted",
        "breakglass.ended",
    ]


async def test_what_comes_too_late_or_of_nothing_known_does_nothing(house: House) -> None:
    war_room = (await house.room()).war_room
    given = BreakGlassGiven(
        war_room=war_room,
        grant="g",
        user_id=DORA,
        by=(OPERATOR, BOB),
        reason="r",
        until_ms=house.clock.now_ms() - 1,
    )
    await house.own(given, lane=NO_1)
    await house.own(BreakGlassEnds(war_room=war_room, grant="x", user_id=DORA), lane=NO_1)
    await house.own(BreakGlassReviewDue(war_room=war_room, grant="x", look=1, is_over=True), lane=NO_1)
    await house.settle()
    assert await grant(house) is None
    assert "was not let in: the time they were given is over already." in house.troubles()[-1]


# --- reviewed ---------------------------------------------------------------------------------------------


def reminders(house: House) -> list[str]:
    return [text for text in house.troubles() if "has not been reviewed" in text]


async def test_the_control_room_is_reminded_every_day_until_somebody_else_has_reviewed_it(house: House) -> None:
    await let_in(house)
    await house.advance(4 * HOUR)
    assert "Somebody else has to review it: `!breakglass review INC-1 @dora:x.org ok`" in house.troubles()[-1]
    await house.advance(DAY)
    await house.advance(DAY)
    assert len(reminders(house)) == 2
    assert "by `@op:x.org` and `@bob:x.org`: Only she knows" in reminders(house)[0]
    listed = await house.ask(OPERATOR, "!breakglass list", house.control_room())
    assert "**INC-1** `@dora:x.org`: from" in listed
    assert "**not reviewed**" in listed
    answer = await house.ask(OPERATOR, "!breakglass review INC-1 @dora:x.org ok", house.control_room())
    assert answer == "Somebody else has to review it: you took part in it."
    answer = await house.ask(
        OTHER, "!breakglass review INC-1 @dora:x.org not-ok Bob knew it", house.control_room()
    )
    assert answer == "Recorded: **not-ok**, reviewed by `@op2:x.org`."
    [review] = await reviews(house)
    assert (review.verdict, review.reviewed_by, review.note, review.is_open) == (
        "not-ok",
        OTHER,
        "Bob knew it",
        False,
    )
    given = await grant(house)
    assert given is not None
    assert given.reviewed_by == OTHER
    [noted] = [one for one in await house.audit() if one.tag == "breakglass.reviewed"]
    assert (noted.actor, noted.details["verdict"]) == (OTHER, "not-ok")
    await house.advance(3 * DAY)
    assert len(reminders(house)) == 2
    assert "nothing waits for a review" in await house.ask(OTHER, "!breakglass list", house.control_room())


async def test_one_that_lasts_long_is_reviewed_while_it_does(make_house: MakeHouse) -> None:
    house = await opened(make_house, break_glass=replace(GLASS, review_after_hours=2))
    await let_in(house)
    answer = await house.ask(OTHER, "!breakglass review INC-1 @dora:x.org ok", house.control_room())
    assert "is reviewed once it has ended" in answer
    await house.advance(2 * HOUR)
    assert len(reminders(house)) == 1
    await house.ask(OTHER, "!breakglass review INC-1 @dora:x.org ok", house.control_room())
    listed = await house.ask(OTHER, "!breakglass list", house.control_room())
    assert "lasts until" in listed
    assert "not reviewed" not in listed
    await house.advance(5 * DAY)
    assert len(reminders(house)) == 1


async def test_the_reminder_of_one_that_lasts_stops_when_it_has_ended(make_house: MakeHouse) -> None:
    house = await opened(make_house, break_glass=replace(GLASS, review_after_hours=5))
    await let_in(house)
    await house.advance(6 * HOUR)
    assert reminders(house) == []
    await house.advance(DAY)
    assert len(reminders(house)) == 1


async def test_an_auditor_reviews_it_in_a_chat_with_the_bot_alone(house: House) -> None:
    await let_in(house)
    await house.advance(4 * HOUR)
    direct = await house.chat_with(CAROL)
    assert "INC-1" in await house.ask(CAROL, "!breakglass list", direct)
    words = "!breakglass review INC-1 @dora:x.org ok"
    assert "only from a device that you have verified" in await house.ask(CAROL, words, direct, trust="unsigned")
    assert "Recorded" in await house.ask(CAROL, words, direct)


async def test_whoever_has_no_such_role_neither_reviews_nor_lists(house: House) -> None:
    await let_in(house)
    await house.advance(4 * HOUR)
    assert "needs the role compliance" in await house.ask(ALICE, "!breakglass review @dora:x.org ok")
    direct = await house.chat_with(ALICE)
    assert "needs a break-glass role" in await house.ask(ALICE, "!breakglass list", direct)
    assert "`@dora:x.org`" in await house.ask(ALICE, "!breakglass list")


async def test_an_auditor_who_is_not_cleared_learns_of_nothing(make_house: MakeHouse) -> None:
    house = await opened(make_house)
    house.etb.users[Username("carol")] = replace(with_role("carol", "Audit"), clearance=Classification.PUBLIC)
    await house.advance(400)
    await let_in(house)
    await house.advance(4 * HOUR)
    direct = await house.chat_with(CAROL)
    words = "!breakglass review INC-1 @dora:x.org ok"
    assert "I know no room of an incident with the number" in await house.ask(CAROL, words, direct)
    assert "INC-1" not in await house.ask(CAROL, "!breakglass list", direct)


async def test_who_was_let_in_does_not_review_it(house: House) -> None:
    await house.ask(BOB, f"!approve {await ask(house, ASK.replace('@dora:x.org', 'carol'))}")
    await house.moves(CAROL, "join")
    await house.ask(BOB, "!breakglass end carol")
    direct = await house.chat_with(CAROL)
    answer = await house.ask(CAROL, "!breakglass review INC-1 carol ok", direct)
    assert answer == "Somebody else has to review it: you took part in it."

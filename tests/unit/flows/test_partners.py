"""Partner organisations: let into an incident by two people, shut out by one; who of theirs may what."""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from etb_appservice.domain.approvals import Approval
from etb_appservice.domain.classification import Classification, ClassificationMap
from etb_appservice.domain.effects import (
    FollowUpgrade,
    Invite,
    LeaveRoom,
    OpenRoom,
    PutState,
    Remove,
    Say,
    SetVoice,
)
from etb_appservice.domain.facts import Trust
from etb_appservice.domain.ids import RoomId, UserId, Username
from etb_appservice.domain.incident import EtbUser
from etb_appservice.domain.outcomes import Broken, Refused
from etb_appservice.domain.partners import Partner, PartnerAdmitted
from etb_appservice.domain.policy import CommandPolicy, Policy, RolePolicy
from etb_appservice.domain.rooms import RoomPolicy
from tests.harness.cast import ALICE, BOB, BOT, CAROL, NO_1, NO_2, OPERATOR, STRANGER, incident, policy_of
from tests.harness.house import House
from tests.harness.kit import MakeHouse

ANN, EVE, OTHER = UserId("@ann:cert.net"), UserId("@eve:cert.net"), UserId("@ann:vendor.net")
ACL = "m.room.server_acl"
CERT = Partner(
    name="cert",
    servers=frozenset({"cert.net", "cert.org:8448"}),
    people=frozenset({ANN}),
    patterns=("duty-*", "eve"),
    ceiling=Classification.CONFIDENTIAL,
)
VENDOR = Partner(name="vendor", servers=frozenset({"vendor.net"}), roles=frozenset({"responder"}))


def terms(**changes: Any) -> Policy:
    """Two partners; bob and carol are commanders by their role in ETB."""
    return policy_of(
        commands=CommandPolicy(burst=1000),
        roles=RolePolicy(meaning={"Manager": "commander"}),
        **{"partners": (CERT, VENDOR), **changes},
    )


async def opened(make_house: MakeHouse, **changes: Any) -> House:
    """INC-1's room with alice, bob and carol in it."""
    house = await make_house(policy=terms(**changes))
    for name in ("bob", "carol"):
        house.etb.users[Username(name)] = manager(name)
    await house.open_for_alice()
    for name in ("bob", "carol"):
        house.etb.users[Username(name)] = manager(name)
    await house.advance(400)
    await house.moves(BOB, "join")
    assert (await house.ask(BOB, "!invite carol")).startswith("Invited")
    await house.moves(CAROL, "join")
    return house


def manager(name: str, clearance: Classification = Classification.RESTRICTED) -> EtbUser:
    return EtbUser(Username(name), name, clearance, True, roles=("Manager",))


async def asked(house: House, body: str = "!partner admit cert", by: UserId = BOB) -> str:
    """Ask for something that needs approval; the request, as the room reads it."""
    event_id = await house.says(by, body)
    await house.settle()
    [request] = house.answers(event_id)
    return request


async def admit(house: House, name: str = "cert") -> None:
    """Bob asks, carol approves."""
    request = await asked(house, f"!partner admit {name}")
    assert await house.ask(CAROL, f"!approve {code_in(request)}") == "Approved. It runs now."


def code_in(text: str) -> str:
    found = re.search(r"approve ([A-Z2-9]{4})", text)
    assert found, text
    return found[1]


def acl(house: House, room_id: RoomId) -> Sequence[str]:
    """The homeservers that a room's ACL admits now."""
    set_later = house.world.state.get((room_id, ACL, ""))
    if set_later is not None:
        allow: Sequence[str] = set_later["allow"]
        return allow
    opened = [one for one in house.world.opened if house.world.aliases[one.spec.alias_localpart] == room_id]
    return opened[-1].spec.hosts or ()


def order(house: House, *kinds: type) -> list[str]:
    """Kinds of effects in the order in which they took effect."""
    return [one.kind for one in house.world.order if isinstance(one, kinds)]


@pytest.fixture
async def house(make_house: MakeHouse) -> House:
    return await opened(make_house)


# --- to begin with ----------------------------------------------------------------------------------------


async def test_to_begin_with_no_other_homeserver_is_admitted_anywhere(house: House) -> None:
    assert acl(house, await house.room_id()) == ("x.org",)
    chat = await house.chat_with(ALICE)
    assert acl(house, chat) == ("x.org",)
    for room_id in (house.control_room(), house.space()):
        assert acl(house, room_id) == (), "it doesn't federate"
    assert await house.ask(BOB, "!partners") == (
        "**Partners**\n\n- **cert** (`cert.net`, `cert.org:8448`), up to CONFIDENTIAL: not let in\n"
        "- **vendor** (`vendor.net`), up to PUBLIC: not let in"
    )


async def test_a_direct_chat_admits_the_homeserver_of_its_person(make_house: MakeHouse) -> None:
    house = await opened(make_house)
    await admit(house)
    assert acl(house, await house.chat_with(ANN)) == ("cert.net", "x.org")


async def test_further_homeservers_of_ours_are_always_admitted(make_house: MakeHouse) -> None:
    rooms = RoomPolicy(bot=BOT, servers=frozenset({"branch.org:8448"}))
    house = await opened(make_house, rooms=rooms)
    assert acl(house, await house.room_id()) == ("branch.org", "x.org")


async def test_people_of_etb_elsewhere_are_not_invited_and_operators_learn_the_fix(make_house: MakeHouse) -> None:
    house = await make_house(policy=terms())
    house.policy.people.entries[Username("alice")] = UserId("@alice:else.net")  # type: ignore[index]
    house.know("alice", "bob")
    await house.start_service()
    await house.report(incident())
    await house.settle()
    assert house.world.guests(await house.room_id()) == [BOB]
    assert "homeserver that is not one of ours. Add it under `rooms.servers`" in house.troubles()[-1]
    await house.moves(BOB, "join")
    assert "homeserver that is not one of ours" in await house.ask(BOB, "!who")


# --- letting in -------------------------------------------------------------------------------------------


async def test_before_a_partner_is_let_in_others_read_what_that_means(house: House) -> None:
    request = await asked(house)
    assert "let partner **cert** into **INC-1**" in request
    assert "Homeservers: `cert.net`, `cert.org:8448`" in request
    assert "Invited at once: `@ann:cert.net`; `!invite @name:cert.net` invites others of theirs" in request
    assert "They read what is said from now on, and what was said before" in request
    assert "the room's name with the incident's title, who is here, who writes when, reactions" in request
    assert "They may know up to CONFIDENTIAL; this incident is INTERNAL" in request
    assert "takes its place" not in request
    assert house.world.guests(await house.room_id()) == [ALICE, BOB, CAROL]
    assert acl(house, await house.room_id()) == ("x.org",)


async def test_approved_its_homeservers_are_admitted_and_its_people_invited(house: House) -> None:
    await admit(house)
    room_id = await house.room_id()
    assert acl(house, room_id) == ["cert.net", "cert.org", "x.org"]
    assert house.world.state[room_id, ACL, ""] == {
        "allow": ["cert.net", "cert.org", "x.org"], "allow_ip_literals": False, "deny": [],
    }  # fmt: skip
    assert house.world.guests(room_id)[-1] == ANN
    said = house.world.texts(room_id)
    [notice] = [text for text in said if text.startswith("**Partner cert is let in**")]
    assert "asked for by `@bob:x.org`, approved by `carol`" in notice
    assert "Let in. 1 of theirs is invited." in said
    # The ACL stands before the invitation: their homeserver could not accept it else.
    assert order(house, PutState, Invite)[-2:] == ["PutState", "Invite"]
    entry = house.etb.entries[-1]
    assert (entry.title, "Approved by carol" in entry.description) == ("Partner let in: cert", True)
    assert "partner.admitted" in await house.tags()
    assert "let in by `@bob:x.org`, 1 of theirs here" in await house.ask(BOB, "!partner list")


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        ("!partner admit nobody", "There is no partner `nobody`. There are `cert`, `vendor`."),
        ("!partner admit vendor", "Partner `vendor` may know incidents up to PUBLIC, and this one is INTERNAL."),
        ("!partner revoke cert", "Partner `cert` is not let in here."),
        ("!partner admit", "`name` is missing."),
        ("!invite @ann:cert.net", "which is not let in here. `!partner admit cert` asks for that."),
    ],
)
async def test_what_can_not_be_says_why(house: House, body: str, answer: str) -> None:
    assert answer in await house.ask(BOB, body)
    assert ANN not in house.world.guests(await house.room_id())


async def test_only_commanders_ask_and_nobody_approves_their_own(house: House) -> None:
    assert await house.ask(ALICE, "!partner admit cert") == "This needs the role commander of this incident."
    assert await house.ask(ALICE, "!partner revoke cert") == "This needs the role commander of this incident."
    request = await asked(house)
    assert "somebody else has to approve" in await house.ask(BOB, f"!approve {code_in(request)}")
    assert "device that you have verified" in await house.ask(
        CAROL, f"!approve {code_in(request)}", trust=Trust.UNSIGNED.value
    )
    assert acl(house, await house.room_id()) == ("x.org",)


async def test_let_in_already_and_again_after_it_was_revoked(house: House) -> None:
    await admit(house)
    assert await house.ask(BOB, "!partner admit cert") == "Partner `cert` is let in here already."
    await house.ask(BOB, "!partner revoke CERT")
    await admit(house)
    assert house.world.guests(await house.room_id()).count(ANN) == 2


async def test_what_changed_since_it_was_shown_is_not_done(house: House) -> None:
    request = await asked(house)
    await house.report(incident(stated=Classification.CONFIDENTIAL, updated_at_ms=2000))
    await house.settle()
    event_id = await house.says(CAROL, f"!approve {code_in(request)}")
    await house.settle()
    assert house.answers(event_id) == ["Approved. It runs now."]
    texts = house.world.texts(await house.room_id())
    assert "What was approved has changed meanwhile. Nothing was done: ask again." in texts
    assert acl(house, await house.room_id()) == ("x.org",)


async def test_into_an_incident_that_is_over_nobody_is_let_in(house: House) -> None:
    await house.report(incident(status="CLOSED", updated_at_ms=2000))
    await house.settle()
    assert "has ended: nobody is let in" in await house.ask(BOB, "!partner admit cert")


# --- putting out ------------------------------------------------------------------------------------------


async def test_revoked_its_people_are_removed_before_anything_else_is_said(house: House) -> None:
    await admit(house)
    room_id = await house.room_id()
    await house.moves(ANN, "join")
    assert await house.ask(BOB, "!invite @eve:cert.net") == "Invited `@eve:cert.net` of partner **cert**."
    house.world.rotated.clear()
    answer = await house.ask(BOB, "!partner revoke cert")
    assert answer == "Revoked. 2 of theirs removed, their homeservers shut out."
    assert acl(house, room_id) == ["x.org"]
    tail = [one for one in house.world.order if isinstance(one, Remove | PutState | Say)][-5:]
    assert [one.kind for one in tail] == ["Remove", "Remove", "PutState", "Say", "Say"]
    assert house.world.rotated == [(room_id, ANN), (room_id, UserId("@eve:cert.net"))], "before it is carried out"
    async with house.db.view() as view:
        assert list(await view.rooms.members(room_id, "join", "invite")) == [ALICE, BOB, CAROL, BOT]
    assert house.etb.entries[-1].title == "Partner revoked: cert"
    assert "partner.revoked" in await house.tags()
    assert "not let in" in await house.ask(BOB, "!partners")
    assert await house.ask(ANN, "!status") == "You are not in this room."


async def test_whom_another_partner_still_vouches_for_stays(make_house: MakeHouse) -> None:
    other = replace(CERT, name="other", patterns=("ann",), people=frozenset())
    house = await opened(make_house, partners=(CERT, other))
    await admit(house)
    await admit(house, "other")
    await house.moves(ANN, "join")
    assert "0 of theirs removed" in await house.ask(BOB, "!partner revoke cert")
    assert acl(house, await house.room_id()) == ["cert.net", "cert.org", "x.org"]


async def test_above_its_ceiling_a_partner_s_homeservers_are_shut_out(house: House) -> None:
    await admit(house)
    await house.report(incident(stated=Classification.RESTRICTED, updated_at_ms=2000))
    await house.settle()
    assert acl(house, await house.room_id()) == ["x.org"]
    assert "shut out while this incident is above its ceiling" in await house.ask(BOB, "!partners")
    assert "may know incidents up to CONFIDENTIAL only" in await house.ask(BOB, "!invite @eve:cert.net")
    await house.report(incident(stated=Classification.INTERNAL, updated_at_ms=3000))
    await house.settle()
    assert acl(house, await house.room_id()) == ["cert.net", "cert.org", "x.org"]


async def test_a_partner_s_people_are_removed_from_rooms_before_this_one_too(house: House) -> None:
    await admit(house)
    before = await house.room_id()
    await house.moves(ANN, "join")
    await house.says(OPERATOR, "", before, what="tombstone", replacement="!theirs")
    await house.settle()
    after = await house.room_id()
    assert after == "!theirs"
    for user in (BOB, ANN):
        await house.moves(user, "join", after)
    event_id = await house.says(BOB, "!partner revoke cert", after)
    await house.settle()
    assert house.answers(event_id) == ["Revoked. 1 of theirs removed, their homeservers shut out."]
    removed = [(one.room_id, one.user_id) for one in house.world.order if isinstance(one, Remove)]
    assert removed == [(after, ANN), (before, ANN)]
    assert (acl(house, before), acl(house, after)) == (["x.org"], ["x.org"])


async def test_an_acl_that_was_refused_is_asked_for_again(house: House) -> None:
    house.world.fail(PutState, Refused("denies the local server"), only=lambda one: one.event_type == ACL)
    await admit(house)
    assert "denies the local server" in house.troubles()[-1]
    await house.start_service()
    assert acl(house, await house.room_id()) == ["cert.net", "cert.org", "x.org"]


# --- what their people may --------------------------------------------------------------------------------


async def test_its_people_read_and_ask_and_change_nothing(house: House) -> None:
    await admit(house)
    await house.moves(ANN, "join")
    assert "Mail is down" in await house.ask(ANN, "!status")
    assert "What you can ask me here" in await house.ask(ANN, "!help")
    assert "`@ann:cert.net`: of partner `cert`; joined" in await house.ask(ANN, "!who")
    assert await house.ask(ANN, "!severity low") == "This needs the role responder of this incident."
    assert await house.ask(ANN, "!partners") == "This needs the role responder of this incident."
    assert "people of a partner have none" in await house.ask(ANN, "!oncall")
    request = await asked(house, "!partner admit vendor", by=BOB)
    assert "may know incidents up to PUBLIC" in request


async def test_as_responders_they_do_what_needs_no_etb_user(make_house: MakeHouse) -> None:
    able = replace(CERT, roles=frozenset({"responder", "commander"}))
    house = await opened(make_house, partners=(able, VENDOR))
    await admit(house)
    await house.moves(ANN, "join")
    assert (await house.ask(ANN, "!severity low")).startswith("Severity: **LOW**")
    assert "people of a partner have none" in await house.ask(ANN, "!post All is well.")
    assert await house.ask(ANN, "!partner revoke cert") == "People of a partner let nobody in, and put nobody out."
    house.policy = replace(house.policy, partners=(able, replace(VENDOR, ceiling=Classification.INTERNAL)))
    await house.crash()
    request = await asked(house, "!partner admit vendor")
    assert await house.ask(ANN, f"!approve {code_in(request)}") == "People of a partner approve nothing."


async def test_in_a_direct_chat_they_find_the_incidents_their_partner_was_let_into(house: House) -> None:
    await house.report(incident(id=NO_2, number="INC-2", title="Secret"))
    await house.settle()
    await admit(house)
    chat = await house.chat_with(EVE)
    listed = await house.ask(EVE, "!incidents", chat)
    assert ("INC-1" in listed, "INC-2" in listed) == (True, False)
    assert "There is no open incident of this number" in await house.ask(EVE, "!join INC-2", chat)
    assert (await house.ask(EVE, "!join INC-1", chat)).startswith("You are invited to the room of [INC-1]")
    assert (await house.ask(EVE, "!join INC-1", chat)).endswith("already.")
    assert "people of a partner have none" in await house.ask(EVE, "!declare high it burns", chat)
    await house.ask(BOB, "!partner revoke cert")
    assert "not linked to an ETB user" in await house.ask(EVE, "!incidents", chat)


async def test_who_of_theirs_invites_the_bot_is_written_to_only_while_let_in(house: House) -> None:
    await house.moves(BOT, "invite", RoomId("!theirs"), sender=ANN)
    assert [one.room_id for one in house.world.order if isinstance(one, LeaveRoom)] == ["!theirs"]
    before = len(house.world.opened)
    await admit(house)
    await house.moves(BOT, "invite", RoomId("!again"), sender=ANN)
    assert len(house.world.opened) == before + 1
    await house.moves(BOT, "invite", RoomId("!third"), sender=OTHER)
    assert len(house.world.opened) == before + 1


async def test_others_on_their_homeservers_stay_strangers(house: House) -> None:
    await admit(house)
    assert "not linked to an ETB user" in await house.ask(BOB, "!invite @mallory:cert.net")
    assert "not linked to an ETB user" in await house.ask(BOB, f"!invite {STRANGER}")


# --- a room that was closed to others ---------------------------------------------------------------------

CLOSED = ClassificationMap(default=Classification.RESTRICTED)
HIGH = replace(CERT, ceiling=Classification.RESTRICTED)


async def replaced(make_house: MakeHouse) -> tuple[House, RoomId, RoomId]:
    """The partner was let into a room that doesn't federate: the house, the room before, the room after."""
    house = await opened(make_house, classification=CLOSED, partners=(HIGH, VENDOR))
    before = await house.room_id()
    assert acl(house, before) == ()
    await admit(house)
    return house, before, await house.room_id()


async def test_for_a_closed_room_the_preview_says_that_another_takes_its_place(make_house: MakeHouse) -> None:
    house = await opened(make_house, classification=CLOSED, partners=(HIGH, VENDOR))
    request = await asked(house)
    assert "a new one takes its place, linked from here, and everybody here is invited there" in request
    assert "the room's name, a number only" in request


async def test_the_room_is_replaced_by_one_that_federates_and_people_and_card_move(make_house: MakeHouse) -> None:
    house, before, after = await replaced(make_house)
    assert before != after
    spec = house.world.opened[-1].spec
    assert spec.creation_content["m.federate"] is True
    assert spec.creation_content["predecessor"] == {"room_id": before}
    assert spec.hosts == ("cert.net", "cert.org", "x.org")
    room = await house.room()
    assert (room.generation, room.federates, room.classification) == (2, True, Classification.RESTRICTED)
    assert house.world.aliases[f"_etb_{NO_1}"] == after
    assert house.world.guests(after) == [ALICE, BOB, CAROL, ANN]
    assert house.world.state[before, "m.room.tombstone", ""]["replacement_room"] == after
    assert house.world.silenced == {before: True}
    assert house.world.state[house.space(), "m.space.child", before] == {}
    assert house.world.state[house.space(), "m.space.child", after]
    [(card_event, _, card)] = house.world.cards(after)
    assert card.number == "INC-1"
    assert house.world.pinned[after] == [card_event]
    assert house.world.texts(after)[0].startswith("This goes on from [the room before]")
    assert "Let in here: **cert**" in house.world.texts(after)[0]
    assert "**This goes on in [another room]" in house.world.texts(before)[-1]
    titles = [entry.title for entry in house.etb.entries]
    assert titles[-2:] == ["Partner let in: cert", "Chat room replaced by one that is open to partners"]
    await house.moves(ALICE, "join", after)
    assert "Mail is down" in await house.ask(ALICE, "!status", after)
    await house.moves(ANN, "join", after)
    assert "Mail is down" in await house.ask(ANN, "!status", after)


async def test_a_second_partner_needs_no_other_room_and_revoking_keeps_the_new_one(make_house: MakeHouse) -> None:
    house, _, after = await replaced(make_house)
    house.policy = replace(house.policy, partners=(HIGH, replace(VENDOR, ceiling=Classification.RESTRICTED)))
    await house.crash()
    for user in (BOB, CAROL):
        await house.moves(user, "join", after)
    await admit(house, "vendor")
    assert await house.room_id() == after
    assert acl(house, after) == ["cert.net", "cert.org", "vendor.net", "x.org"]
    await house.ask(BOB, "!partner revoke cert")
    await house.ask(BOB, "!partner revoke vendor")
    assert acl(house, after) == ["x.org"]


async def test_what_waits_for_approval_or_an_answer_is_moved_or_said(make_house: MakeHouse) -> None:
    house = await opened(make_house, classification=CLOSED, partners=(HIGH, replace(VENDOR, ceiling=HIGH.ceiling)))
    waiting = await asked(house, "!partner admit vendor")
    await house.says(ALICE, "!severity low", origin_ms=1)
    await house.settle()
    await admit(house)
    after = await house.room_id()
    texts = house.world.texts(after)
    assert any(f"`{code_in(waiting)}`" in text for text in texts)
    assert "`@alice:x.org`: the room has moved, so `severity low` was not run. Send it here again." in texts
    async with house.db.view() as view:
        [approval] = await view.cases.of((await house.room()).war_room, Approval, only_open=True)
    assert approval.held.room_id == after
    for user in (BOB, CAROL):
        await house.moves(user, "join", after)
    # What was shown then is no longer so: the room federates now.
    await house.ask(CAROL, f"!approve {code_in(waiting)}", after)
    assert "What was approved has changed meanwhile. Nothing was done: ask again." in house.world.texts(after)


async def test_theirs_who_are_invited_meanwhile_come_when_the_room_is_there(make_house: MakeHouse) -> None:
    house = await opened(make_house, classification=CLOSED, partners=(HIGH, VENDOR))
    before = await house.room_id()
    house.world.fail(OpenRoom, Broken("nothing works"), only=lambda one: one.spec.generation == 2)
    await admit(house)
    assert await house.room_id() == before
    assert "nothing works" in house.troubles()[-1]
    assert "takes this one's place is being opened" in await house.ask(BOB, "!partners")
    assert (
        await house.ask(BOB, "!invite @eve:cert.net")
        == "`@eve:cert.net` is invited as soon as the new room is there."
    )
    async with house.db.work() as work:
        [parked] = await work.outbox.parked()
        await work.outbox.retry(parked.seq)
    await house.settle()
    assert house.world.guests(await house.room_id())[-2:] == [ANN, EVE]


async def test_revoked_before_the_room_is_there_none_of_theirs_is_invited(make_house: MakeHouse) -> None:
    house = await opened(make_house, classification=CLOSED, partners=(HIGH, VENDOR))
    house.world.fail(OpenRoom, Broken("nothing works"), only=lambda one: one.spec.generation == 2)
    await admit(house)
    await house.ask(BOB, "!partner revoke cert")
    async with house.db.work() as work:
        [parked] = await work.outbox.parked()
        await work.outbox.retry(parked.seq)
    await house.settle()
    room = await house.room()
    assert room.room_id is not None
    assert room.generation == 2
    assert house.world.guests(room.room_id) == [ALICE, BOB, CAROL]
    assert acl(house, room.room_id) == ["x.org"]
    assert "Let in here: no partner" in house.world.texts(room.room_id)[0]


async def test_a_room_that_a_person_upgraded_meanwhile_is_not_left_again(make_house: MakeHouse) -> None:
    house = await opened(make_house, classification=CLOSED, partners=(HIGH, VENDOR))
    before = await house.room_id()
    house.world.fail(OpenRoom, Broken("nothing works"), only=lambda one: one.spec.generation == 2)
    await admit(house)
    await house.says(OPERATOR, "", before, what="tombstone", replacement="!theirs")
    await house.settle()
    assert await house.room_id() == "!theirs"
    async with house.db.work() as work:
        [parked] = await work.outbox.parked()
        await work.outbox.retry(parked.seq)
    await house.settle()
    assert await house.room_id() == "!theirs"


@pytest.mark.parametrize("before", [True, False], ids=["before the commit", "after the commit"])
@pytest.mark.parametrize("lives", [[2], [1, 2], [1, 1, 2]])
async def test_a_crash_at_any_commit_replaces_the_room_once(
    make_house: MakeHouse, lives: list[int], *, before: bool
) -> None:
    house = await opened(make_house, classification=CLOSED, partners=(HIGH, VENDOR))
    old = await house.room_id()
    request = await asked(house)
    await house.die_again_and_again(lives, before=before)
    await house.says(CAROL, f"!approve {code_in(request)}")
    await house.settle()
    await house.die_no_more()
    assert house.crashes > 2
    room = await house.room()
    assert room.room_id is not None
    assert (room.generation, room.federates) == (2, True)
    assert house.world.guests(room.room_id) == [ALICE, BOB, CAROL, ANN]
    assert len(house.world.cards(room.room_id)) == 1
    assert order(house, FollowUpgrade) == ["FollowUpgrade"]
    assert [one.room_id for one in house.world.order if isinstance(one, SetVoice)] == [old]


@pytest.mark.parametrize("before", [True, False], ids=["before the commit", "after the commit"])
async def test_a_crash_at_any_commit_lets_in_and_puts_out_once(make_house: MakeHouse, *, before: bool) -> None:
    house = await opened(make_house)
    room_id = await house.room_id()
    await house.die_again_and_again([1, 2], before=before)
    await admit(house)
    await house.ask(BOB, "!partner revoke cert")
    await house.die_no_more()
    assert house.world.guests(room_id).count(ANN) == 1
    assert [one.user_id for one in house.world.order if isinstance(one, Remove)] == [ANN]
    assert acl(house, room_id) == ["x.org"]


# --- rooms from before, and other settings ----------------------------------------------------------------


async def test_a_room_without_an_acl_gets_one_at_the_next_start_and_once(house: House) -> None:
    room_id = await house.room_id()
    async with house.db.work() as work:
        room = await work.rooms.of_incident(NO_1)
        assert room is not None
        await work.rooms.put(replace(room, hosts=None))
    await house.start_service()
    assert house.world.state[room_id, ACL, ""]["allow"] == ["x.org"]
    puts = order(house, PutState)
    await house.start_service()
    assert order(house, PutState) == puts


async def test_a_partner_taken_out_of_the_configuration_is_shut_out_at_the_next_start(house: House) -> None:
    await admit(house)
    house.policy = replace(house.policy, partners=())
    await house.crash()
    await house.start_service()
    assert acl(house, await house.room_id()) == ["x.org"]
    async with house.store.view() as view:
        assert ANN not in await view.rooms.members(await house.room_id(), "join", "invite"), "nobody's any more"
    assert "No partner is configured" in await house.ask(BOB, "!partners")
    assert "Revoked." in await house.ask(BOB, "!partner revoke cert")


async def test_more_rooms_than_one_batch_are_all_looked_at(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("etb_appservice.flows.federation._BATCH", 1)
    await house.report(incident(id=NO_2, number="INC-2"))
    await house.settle()
    rooms = replace(house.policy.rooms, servers=frozenset({"branch.org"}))
    house.policy = replace(house.policy, rooms=rooms)
    await house.crash()
    await house.start_service()
    for one in (NO_1, NO_2):
        assert acl(house, await house.room_id(one)) == ["branch.org", "x.org"]


async def test_what_was_kept_of_a_partner_is_read_by_later_starts(house: House) -> None:
    await admit(house)
    await house.crash()
    async with house.db.view() as view:
        [kept] = await view.cases.of((await house.room()).war_room, PartnerAdmitted)
    assert (kept.id, kept.by, kept.people, kept.is_open) == ("cert", BOB, (ANN,), True)

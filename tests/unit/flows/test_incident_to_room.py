"""From ETB's word to a room with its people, its card and its pin."""

from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.effects import AddTimelineEntry, Invite, OpenRoom, Pin, PutState, Say
from etb_appservice.domain.facts import CardDue, Done, EffectAnswered, NotDone, PeopleDue
from etb_appservice.domain.ids import IncidentId, RoomId, UserId, Username
from etb_appservice.domain.incident import Deadline, OnCall
from etb_appservice.domain.outcomes import Refused
from etb_appservice.domain.people import PeopleMap
from etb_appservice.domain.rooms import CONTROL_ROOM, SPACE, RoomPolicy, control_room
from etb_appservice.etb import parse
from etb_appservice.etb.spelling import Spelling
from etb_appservice.flows import invitations
from tests.harness.cast import (
    ALICE,
    BOB,
    BOT,
    CAROL,
    NO_1,
    NO_2,
    OPERATOR,
    STRANGER,
    etb_user,
    incident,
    policy_of,
)
from tests.harness.etb_parts import incident_row
from tests.harness.house import House
from tests.harness.kit import MakeHouse
from tests.harness.world import later, unsure


async def test_an_incident_becomes_a_room_with_people_a_card_a_pin_and_a_timeline_entry(house: House) -> None:
    house.know("alice", "bob")
    house.etb.sla[NO_1] = [Deadline("Response", "RESPONSE", "RUNNING", 1_790_000_900_000)]
    await house.start_service()
    await house.report(incident())
    await house.settle()
    room = await house.room()
    assert room.room_id is not None
    mine = [effect for effect in house.world.order if getattr(effect, "room_id", None) == room.room_id]
    assert [type(effect) for effect in mine] == [Invite, Invite, Say, Pin]
    assert house.world.guests(room.room_id) == [ALICE, BOB]
    [(card_event, say, card)] = house.world.cards(room.room_id)
    assert (card.number, card.title, card.severity, card.status) == ("INC-1", "Mail is down", "HIGH", "OPEN")
    assert [(person.username, person.roles) for person in card.responders] == [
        ("alice", ("reporter",)),
        ("bob", ("assignee",)),
    ]
    assert [deadline.name for deadline in card.deadlines] == ["Response"]
    assert not say.notify
    assert house.world.pinned == {room.room_id: [card_event]}
    [entry] = house.etb.entries
    assert entry.event_data["matrix_room_id"] == room.room_id
    assert house.world.state[house.world.aliases["_etb_incidents"], "m.space.child", room.room_id]["via"] == [
        "x.org"
    ]
    assert house.troubles() == []
    assert {"incident.seen", "room.asked", "room.opened", "person.invited", "card.sent"} <= set(await house.tags())


async def test_a_room_that_opens_before_its_space_is_linked_when_the_space_opens(house: House) -> None:
    await house.report(incident())
    await house.settle()
    assert not any(isinstance(effect, PutState) for effect in house.world.order)
    await house.start_service()
    space = house.world.aliases["_etb_incidents"]
    assert (space, "m.space.child", await house.room_id()) in house.world.state


@pytest.mark.parametrize("order", [("webhook", "poll"), ("poll", "webhook")])
@pytest.mark.parametrize("at_once", [True, False])
async def test_webhook_and_poll_together_double_nothing(
    house: House, order: tuple[str, str], at_once: bool
) -> None:
    house.know("alice", "bob")
    await house.start_service()
    for via in order:
        assert via in {"webhook", "poll"}
        await house.report(incident(), "webhook" if via == "webhook" else "poll")
        if not at_once:
            await house.settle()
    await house.settle()
    await house.advance(120)
    assert len([one for one in house.world.opened if one.war_room == (await house.room()).war_room]) == 1
    assert sorted(house.world.guests(await house.room_id())) == [ALICE, BOB]
    assert house.world.guests(house.control_room()) == [OPERATOR]
    assert sorted(house.world.guests(house.space())) == [ALICE, BOB, OPERATOR]
    assert len(house.world.cards()) == 1
    assert len(house.etb.entries) == 1
    assert (await house.tags()).count("incident.seen") == 1


async def test_a_delivery_that_comes_again_is_stored_once(house: House) -> None:
    assert await house.report(incident(), delivery="msg_1") == 1
    assert await house.report(incident(), delivery="msg_1") == 0
    await house.settle()
    await house.crash()
    assert await house.report(incident(), delivery="msg_1") == 0


@pytest.mark.parametrize(
    "fields",
    [
        {"data_classification": "Eyes only", "required_clearance": "INTERNAL"},
        {"data_classification": "INTERNAL", "is_sensitive": True},
    ],
)
async def test_a_title_stays_out_of_the_rooms_name_when_one_word_of_etb_is_stricter_than_another(
    house: House, fields: dict[str, Any]
) -> None:
    seen = parse.incident(incident_row(title="Mail is down", **fields), Spelling())
    await house.report(seen)
    await house.settle()
    room = await house.room(seen.id)
    assert room.classification is Classification.CONFIDENTIAL
    assert "Mail" not in str([*house.world.opened, *house.world.state.items()])


async def test_two_incidents_have_two_rooms(house: House) -> None:
    await house.report(incident())
    await house.report(incident(id=NO_2, number="INC-2"))
    await house.settle()
    assert await house.room_id(NO_1) != await house.room_id(NO_2)


@pytest.mark.parametrize("before", [True, False], ids=["before the commit", "after the commit"])
@pytest.mark.parametrize("lives", [(1, 2), (2, 1, 1)])
async def test_a_crash_at_every_commit_loses_nothing_and_doubles_nothing(
    make_house: MakeHouse, before: bool, lives: tuple[int, ...]
) -> None:
    async def story(house: House) -> None:
        house.know("alice", "bob", "carol")
        await house.start_service()
        await house.report(incident(), "webhook")
        await house.settle()
        await house.report(incident(), "poll")
        await house.settle()
        await house.moves(OPERATOR, "join", house.control_room())
        await house.moves(ALICE, "join")
        await house.says(ALICE, "!status", event_id="$command")
        await house.says(ALICE, "hello", event_id="$talk", session="s")
        await house.settle()
        await house.key_comes("s")
        await house.report(incident(assignee=Username("carol"), status="ACKNOWLEDGED", updated_at_ms=2000))
        await house.settle()
        await house.moves(CAROL, "join")
        await house.advance(70)

    straight, crashed = await make_house(), await make_house()
    await story(straight)
    await crashed.die_again_and_again(lives, before=before)
    await story(crashed)
    await crashed.die_no_more()
    assert crashed.crashes > 20
    assert straight.crashes == 0

    def ledger(house: House) -> object:
        def shape(effect: object) -> object:
            match effect:
                case Say(content=content, reply_to=reply_to):
                    return ("say", content if isinstance(content, str) else content.status, reply_to)
                case Invite(user_id=user_id):
                    return ("invite", user_id)
                case OpenRoom(war_room=war_room):
                    return ("open", war_room)
                case PutState(event_type=event_type):
                    return ("state", event_type)
                case _:
                    return type(effect).__name__

        return sorted(map(repr, map(shape, house.world.order)))

    assert ledger(crashed) == ledger(straight)
    assert len(crashed.etb.entries) == len(straight.etb.entries) == 1
    assert sorted(await crashed.tags()) == sorted(await straight.tags())
    assert len(crashed.answers("$command")) == 1
    room_id = await crashed.room_id()
    assert len(crashed.world.pinned[room_id]) == 1
    async with crashed.db.view() as view:
        assert (await view.inbox.depth(0))[:2] == (0, 0)
        assert (await view.outbox.depth(0))[:2] == (0, 0)
        said = await view.messages.by_event("$talk")  # type: ignore[arg-type]
        assert said is not None
        assert (said.state, said.body) == ("open", "hello")
        assert len(await view.commands.of_room(room_id)) == 1


async def test_a_changed_incident_edits_its_card_in_place(house: House) -> None:
    room_id = await house.open_for_alice()
    [(card_event, _, _)] = house.world.cards(room_id)
    await house.report(incident(status="RESOLVED", updated_at_ms=2000))
    await house.settle()
    _, edit, card = house.world.cards(room_id)[-1]
    assert (edit.edits, card.status) == (card_event, "RESOLVED")
    assert house.world.pinned[room_id] == [card_event]
    assert len(house.world.cards(room_id)) == 2


async def test_a_card_that_changed_while_it_was_on_its_way_is_corrected(house: House) -> None:
    house.know("alice", "bob")
    await house.start_service()
    house.world.fail(Say, later(), only=lambda say: say.purpose == "card")
    await house.report(incident())
    await house.settle()
    await house.report(incident(severity="CRITICAL", updated_at_ms=2000))
    await house.settle()
    assert house.world.cards() == []
    await house.advance(5)
    cards = house.world.cards()
    assert [(say.edits, card.severity) for _, say, card in cards] == [(None, "HIGH"), (cards[0][0], "CRITICAL")]


async def test_a_stale_update_is_ignored(house: House) -> None:
    await house.open_for_alice(updated_at_ms=5000)
    cards, tags = len(house.world.cards()), await house.tags()
    await house.report(incident(title="Old", status="CLOSED", updated_at_ms=4999))
    await house.settle()
    assert len(house.world.cards()) == cards
    assert await house.tags() == tags
    async with house.db.view() as view:
        known = await view.incidents.get(NO_1)
    assert known is not None
    assert known.incident.title == "Mail is down"


async def test_an_incident_that_is_closed_already_gets_no_room_until_it_is_opened_again(house: House) -> None:
    await house.report(incident(status="CLOSED"))
    await house.settle()
    assert house.world.opened == []
    await house.report(incident(status="OPEN", updated_at_ms=2000))
    await house.settle()
    assert len(house.world.opened) == 1


async def test_an_incident_that_changes_while_its_room_is_opened_is_shown_as_it_is_then(house: House) -> None:
    house.know("alice", "bob", "carol")
    house.world.fail(OpenRoom, later())
    await house.report(incident())
    await house.settle()
    await house.report(
        incident(assignee=Username("carol"), stated=Classification.CONFIDENTIAL, updated_at_ms=2000)
    )
    await house.settle()
    assert house.world.opened == []
    await house.advance(5)
    room = await house.room()
    assert {user for _, user in house.world.invited} == {ALICE, CAROL}
    assert room.classification is Classification.CONFIDENTIAL
    assert house.world.state[await house.room_id(), "m.room.name", ""] == {"name": "INC-1"}
    assert len(house.world.cards()) == 1


# --- people -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("obstacle", "fix"),
    [
        ("unmapped", "Add it under `people.entries`"),
        ("clearance", "is not cleared for the level of this incident"),
        ("inactive", "is locked or not active"),
        ("unknown", "could not be looked up in ETB yet"),
    ],
)
async def test_who_can_not_be_invited_is_named_once_with_the_fix(
    make_house: MakeHouse, obstacle: str, fix: str
) -> None:
    people = {} if obstacle == "unmapped" else {Username("eve_x"): UserId("@eve:x.org")}
    house = await make_house(policy=replace(policy_of(), people=PeopleMap("", people)))
    if obstacle != "unknown":
        level = Classification.PUBLIC if obstacle == "clearance" else Classification.TOP_SECRET
        house.etb.users[Username("eve_x")] = etb_user("eve_x", level, active=obstacle != "inactive")
    await house.start_service()
    seen = incident(reporter=Username("eve_x"), assignee=None)
    await house.report(seen)
    await house.settle()
    await house.report(replace(seen, severity="LOW", updated_at_ms=2000))
    await house.advance(300)
    [trouble] = house.troubles()
    assert "`eve_x` (reporter)" in trouble
    assert "**INC-1**" in trouble
    assert fix in trouble
    assert {user for _, user in house.world.invited} == {OPERATOR}
    [person] = house.world.cards()[-1][2].responders
    assert person.obstacle == obstacle


async def test_who_could_not_be_looked_up_is_invited_once_etb_answers(house: House) -> None:
    await house.start_service()
    house.etb.down()
    await house.report(incident())
    await house.settle()
    assert {user for _, user in house.world.invited} == {OPERATOR}
    house.etb.up()
    house.know("alice", "bob")
    await house.advance(61)
    assert house.world.guests(await house.room_id()) == [ALICE, BOB]
    assert house.world.guests(house.space()) == [OPERATOR, ALICE, BOB]


async def test_with_etb_away_people_are_invited_by_the_last_known_copy(house: House) -> None:
    room_id = await house.open_for_alice()
    house.etb.duty = [OnCall("first line", Username("carol"))]
    await house.on_call("carol")
    await house.settle()
    house.etb.down()
    await house.report(incident(id=NO_2, number="INC-2", reporter=None))
    await house.settle()
    assert (await house.room_id(NO_2), BOB) in house.world.invited
    assert (await house.room_id(NO_2), CAROL) in house.world.invited
    assert (room_id, CAROL) in house.world.invited


async def test_a_new_assignee_is_invited_at_once(house: House) -> None:
    room_id = await house.open_for_alice()
    await house.report(incident(assignee=Username("carol"), updated_at_ms=2000))
    await house.settle()
    assert house.world.guests(room_id) == [ALICE, BOB, CAROL]
    assert house.world.guests(house.space())[-1] == CAROL


async def test_whoever_comes_on_call_is_invited_to_every_open_incident_at_once(house: House) -> None:
    room_id = await house.open_for_alice()
    await house.report(incident(id=NO_2, number="INC-2"))
    await house.settle()
    await house.report(incident(id=NO_2, number="INC-2", status="CLOSED", updated_at_ms=2000))
    await house.settle()
    house.etb.duty = [OnCall("first line", Username("carol")), OnCall("second line", Username("alice"))]
    await house.on_call("alice", "carol")
    await house.settle()
    assert house.world.guests(room_id).count(CAROL) == 1
    assert CAROL not in house.world.guests(await house.room_id(NO_2))
    roles = {person.username: person.roles for person in house.world.cards(room_id)[-1][2].responders}
    assert roles == {"alice": ("reporter", "on call"), "bob": ("assignee",), "carol": ("on call",)}


async def test_who_left_is_not_pulled_back_until_they_hold_another_role(house: House) -> None:
    room_id = await house.open_for_alice()
    await house.moves(ALICE, "leave")
    await house.report(incident(severity="LOW", updated_at_ms=2000))
    await house.settle()
    assert house.world.invited.count((room_id, ALICE)) == 1
    await house.report(incident(assignee=Username("alice"), updated_at_ms=3000))
    await house.settle()
    assert house.world.invited.count((room_id, ALICE)) == 2


async def test_who_loses_a_role_and_is_given_it_again_is_invited_again(house: House) -> None:
    room_id = await house.open_for_alice()
    await house.moves(BOB, "leave")
    await house.report(incident(assignee=Username("carol"), updated_at_ms=2000))
    await house.settle()
    assert house.world.guests(room_id).count(BOB) == 1
    await house.report(incident(assignee=Username("bob"), updated_at_ms=3000))
    await house.settle()
    assert house.world.guests(room_id).count(BOB) == 2
    await house.moves(BOB, "leave")
    await house.report(incident(assignee=Username("bob"), severity="LOW", updated_at_ms=4000))
    await house.settle()
    assert house.world.guests(room_id).count(BOB) == 2, "who left again isn't pulled back"


async def test_a_second_turn_on_call_invites_again(house: House) -> None:
    room_id = await house.open_for_alice()
    for turn in (1, 2):
        house.etb.duty = [OnCall("first line", Username("carol"))]
        await house.on_call("carol")
        await house.settle()
        assert house.world.guests(room_id).count(CAROL) == turn
        await house.moves(CAROL, "leave")
        house.etb.duty = []
        await house.on_call()
        await house.settle()
    assert house.world.guests(room_id).count(CAROL) == 2


async def test_who_leaves_is_not_asked_again_for_a_role_they_were_given_while_inside(house: House) -> None:
    room_id = await house.open_for_alice()
    house.etb.duty = [OnCall("first line", Username("alice"))]
    await house.on_call("alice")
    await house.settle()
    await house.moves(ALICE, "leave")
    await house.report(incident(severity="LOW", updated_at_ms=2000))
    await house.settle()
    house.etb.duty = []
    await house.on_call()
    await house.settle()
    assert house.world.guests(room_id).count(ALICE) == 1


async def test_whom_the_same_thing_keeps_out_the_operators_read_of_at_once(house: House) -> None:
    await house.open_for_alice()
    house.know("bob", "carol", clearance=Classification.PUBLIC)
    house.etb.duty = [OnCall("first line", Username("carol")), OnCall("second line", Username("bob"))]
    await house.on_call("bob", "carol")
    await house.settle()
    [trouble] = [one for one in house.troubles() if "not invited" in one]
    assert "2 people of ETB were not invited (`" in trouble
    assert "`carol` (on call)" in trouble
    assert "): each is not cleared for the level of this incident" in trouble


@pytest.mark.parametrize("obstacle", ["clearance", "inactive"])
async def test_who_was_shut_out_is_invited_again_within_minutes_of_etb_letting_them_in(
    house: House, obstacle: str
) -> None:
    room_id = await house.open_for_alice()
    await house.moves(BOB, "join")
    barred = (
        etb_user("bob", active=False)
        if obstacle == "inactive"
        else etb_user("bob", clearance=Classification.PUBLIC)
    )
    house.etb.users[Username("bob")] = barred
    await house.advance(61)
    async with house.db.view() as view:
        assert await view.rooms.membership(room_id, BOB) == "leave"
    house.know("bob")
    await house.advance(301)
    assert house.world.guests(room_id).count(BOB) == 2
    house.etb.users[Username("bob")] = barred
    await house.report(incident(severity="LOW", updated_at_ms=2000))
    await house.settle()
    told = [one for one in house.troubles() if "was removed from the room" in one]
    assert len(told) == 2, "each time is told"


async def test_who_left_before_etb_shut_them_out_is_not_pulled_back_afterwards(house: House) -> None:
    room_id = await house.open_for_alice()
    await house.moves(ALICE, "leave")
    house.etb.users[Username("alice")] = etb_user("alice", active=False)
    await house.advance(61)
    house.know("alice")
    await house.advance(601)
    assert house.world.guests(room_id).count(ALICE) == 1


async def test_a_clearance_that_is_raised_in_etb_lets_a_person_in_within_minutes(house: House) -> None:
    house.know("alice")
    house.know("bob", clearance=Classification.PUBLIC)
    await house.start_service()
    await house.report(incident(stated=Classification.CONFIDENTIAL))
    await house.settle()
    room_id = await house.room_id()
    assert house.world.guests(room_id) == [ALICE]
    house.know("bob")
    await house.advance(301)
    assert house.world.guests(room_id) == [ALICE, BOB]


async def test_a_mapping_that_is_added_lets_a_person_into_open_rooms_after_the_restart(house: House) -> None:
    mapped = house.policy
    house.policy = replace(mapped, people=PeopleMap("", {Username("alice"): ALICE}))
    await house.crash()
    room_id = await house.open_for_alice()
    await house.report(incident(id=NO_2, number="INC-2"))
    await house.settle()
    await house.report(incident(id=NO_2, number="INC-2", status="CLOSED", updated_at_ms=2000))
    await house.settle()
    assert BOB not in house.world.guests(room_id)
    house.policy = mapped
    await house.crash()
    await house.start_service()
    await house.advance(1)
    assert house.world.guests(room_id).count(BOB) == 1
    assert BOB not in house.world.guests(await house.room_id(NO_2)), "closed incidents are left alone"


async def test_a_start_looks_only_where_somebody_is_kept_out_and_one_after_another(house: House) -> None:
    house.know("alice", "bob")
    for number in range(3):
        barred = Username("eve") if number else Username("bob")
        await house.report(incident(id=IncidentId(str(UUID(int=number))), number=f"INC-{number}", assignee=barred))
    await house.settle()
    await house.advance(61)
    before = house.meter.facts.count("PeopleDue")
    await house.start_service()
    assert house.meter.facts.count("PeopleDue") == before + 1
    await house.advance(0.2)
    assert house.meter.facts.count("PeopleDue") == before + 2
    await house.advance(1)
    assert house.meter.facts.count("PeopleDue") == before + 2


async def test_a_start_with_very_many_incidents_goes_on_batch_by_batch(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(invitations, "_START_BATCH", 2)
    house.know("alice")
    ids = [IncidentId(str(UUID(int=number))) for number in range(5)]
    for number, one in enumerate(ids):
        await house.report(incident(id=one, number=f"INC-{number}", assignee=Username("eve")))
    await house.settle()
    await house.advance(61)
    before = house.meter.facts.count("PeopleDue")
    await house.start_service()
    await house.advance(0.2)
    assert house.meter.facts.count("PeopleDue") == before + 3
    for _ in range(5):
        await house.advance(0.2)
    assert house.meter.facts.count("PeopleDue") == before + 5


async def test_however_often_an_incident_changes_there_is_one_look_at_who_is_kept_out(house: House) -> None:
    house.know("alice")
    house.know("bob", clearance=Classification.PUBLIC)
    await house.start_service()
    for number in range(5):
        await house.report(incident(stated=Classification.CONFIDENTIAL, updated_at_ms=1000 + number))
        await house.settle()
    await house.advance(61)
    before = house.meter.facts.count("PeopleDue")
    for _ in range(30):
        await house.advance(60)
    assert house.meter.facts.count("PeopleDue") - before == 6, "one in each five minutes"


async def test_a_refused_invitation_is_tried_again_after_a_restart_and_told_once(house: House) -> None:
    house.know("alice", "bob")
    await house.start_service()

    def bobs(one: Invite) -> bool:
        return one.user_id == BOB and one.room_id != house.space()

    house.world.fail(Invite, Refused("no such user", code="M_NOT_FOUND"), times=2, only=bobs)
    await house.report(incident())
    await house.settle()
    room_id = await house.room_id()
    await house.report(incident(severity="LOW", updated_at_ms=2000))
    await house.settle()
    tries = [effect for effect, _ in house.world.tries if isinstance(effect, Invite) and bobs(effect)]
    assert len(tries) == 1, "a change of the incident mends no account"
    for times in (0, 1, 1):
        await house.start_service()
        await house.advance(1)
        assert house.world.guests(room_id).count(BOB) == times
    assert len(house.troubles()) == 1
    assert "restart: it is tried again then" in house.troubles()[0]


async def test_an_invitation_that_is_refused_is_told_with_the_fix(house: House) -> None:
    house.know("alice", "bob")
    await house.start_service()
    house.world.fail(
        Invite,
        Refused("no such *user*", code="M_NOT_FOUND"),
        only=lambda one: one.user_id == BOB and one.room_id != house.space(),
    )
    await house.report(incident())
    await house.settle()
    [trouble] = house.troubles()
    assert "`@bob:x.org` could not be invited to **INC-1 Mail is down**: no such \\*user\\*" in trouble
    async with house.db.view() as view:
        assert await view.rooms.membership(await house.room_id(), BOB) == "leave"
        assert await view.rooms.membership(await house.room_id(), ALICE) == "invite"


async def test_a_refusal_that_comes_after_the_person_joined_does_not_put_them_out(house: House) -> None:
    room_id = await house.open_for_alice()
    invite = Invite(room_id=room_id, user_id=ALICE)
    answer = EffectAnswered(key="k", effect=invite, answer=NotDone(state="refused", reason="no"))
    await house.own(answer, lane=NO_1)
    await house.settle()
    async with house.db.view() as view:
        assert await view.rooms.membership(room_id, ALICE) == "join"


async def test_etb_attaching_people_a_moment_later_is_noticed(house: House) -> None:
    house.know("alice", "bob", "carol")
    await house.start_service()
    await house.report(incident())
    await house.settle()
    house.etb.duty = [OnCall("first line", Username("carol"))]
    house.etb.sla[NO_1] = [Deadline("Response", "RESPONSE", "RUNNING", 5)]
    await house.advance(31)
    assert (await house.room_id(), CAROL) in house.world.invited
    assert [deadline.name for deadline in house.world.cards()[-1][2].deadlines] == ["Response"]


async def test_a_late_look_at_an_incident_nobody_knows_changes_nothing(house: House) -> None:
    await house.own(PeopleDue(incident_id=NO_1), lane=NO_1)
    await house.own(CardDue(incident_id=NO_1, user_id=ALICE), lane=NO_1)
    await house.settle()
    assert house.world.order == []


# --- joiners and the card ---------------------------------------------------------------------------------


async def test_a_joiner_who_can_not_hold_the_key_gets_the_card_anew_and_pinned_once_for_many(house: House) -> None:
    house.know("alice", "bob", "carol")
    await house.start_service()
    await house.report(incident(stated=Classification.CONFIDENTIAL))
    await house.settle()
    room_id = await house.room_id()
    [(first, _, _)] = house.world.cards(room_id)
    await house.leave_over("carol")
    for who in (ALICE, BOB, CAROL):
        await house.moves(who, "join")
    assert len(house.world.cards(room_id)) == 1, "joins are gathered for a moment"
    await house.advance(2)
    (_, _, _), (second, say, _) = house.world.cards(room_id)
    assert say.edits is None
    assert house.world.pinned[room_id] == [second]
    assert first != second
    await house.advance(60)
    assert len(house.world.cards(room_id)) == 2
    assert set((await house.room()).card_holders) == {BOT, ALICE, BOB, CAROL}


async def test_who_is_in_a_room_that_was_there_already_is_known(house: House) -> None:
    there = RoomId("!old")
    house.world.aliases[control_room(house.policy.rooms).alias_localpart] = there
    house.world.members[there] = {OPERATOR: "join", CAROL: "invite", STRANGER: "ban"}
    await house.start_service()
    await house.settle()
    async with house.db.view() as view:
        known = {user: await view.rooms.membership(there, user) for user in (BOT, OPERATOR, CAROL, STRANGER)}
    assert known == {BOT: "join", OPERATOR: "join", CAROL: "leave", STRANGER: "ban"}, "who may not be there is out"
    assert OPERATOR not in house.world.guests(there), "who is there is not invited"


async def test_a_joiner_who_was_given_the_key_when_invited_needs_no_new_card(house: House) -> None:
    room_id = await house.open_for_alice()
    await house.moves(BOB, "join")
    await house.advance(60)
    assert len(house.world.cards(room_id)) == 1


async def test_a_joiner_without_a_device_when_the_card_was_sent_gets_it_anew(house: House) -> None:
    house.world.without_devices.add(BOB)
    room_id = await house.open_for_alice()
    assert BOB not in (await house.room()).card_holders
    house.world.without_devices.clear()
    await house.moves(BOB, "join")
    await house.advance(60)
    assert len(house.world.cards(room_id)) == 2
    assert BOB in (await house.room()).card_holders


async def test_a_joiner_whom_nobody_invited_gets_no_card(house: House) -> None:
    room_id = await house.open_for_alice()
    await house.moves(STRANGER, "join")
    await house.advance(2)
    assert len(house.world.cards(room_id)) == 1


async def test_a_joiner_of_a_moment_gets_no_card(house: House) -> None:
    room_id = await house.open_for_alice()
    await house.moves(STRANGER, "join")
    await house.moves(STRANGER, "leave")
    await house.advance(2)
    assert len(house.world.cards(room_id)) == 1


async def test_who_changes_their_name_has_not_joined_again(house: House) -> None:
    await house.open_for_alice()
    tags = await house.tags()
    await house.moves(ALICE, "join")
    assert await house.tags() == tags


async def test_room_keys_rotate_at_every_change_of_membership(house: House) -> None:
    room_id = await house.open_for_alice()
    await house.moves(ALICE, "leave")
    assert house.world.rotated[-1] == (room_id, ALICE)


async def test_a_rotation_that_fails_costs_no_decision(house: House) -> None:
    room_id = await house.open_for_alice()
    house.world.rotation_failure = later()
    await house.moves(ALICE, "leave")
    house.world.rotation_failure = None
    async with house.db.view() as view:
        assert await view.rooms.membership(room_id, ALICE) == "leave"
        assert (await view.inbox.depth(0))[:2] == (0, 0)


# --- what servers can read --------------------------------------------------------------------------------


async def test_a_raised_classification_changes_name_topic_and_visibility_before_anything_is_said(
    house: House,
) -> None:
    room_id = await house.open_for_alice()
    done = len(house.world.order)
    await house.report(incident(stated=Classification.RESTRICTED, title="New secret", updated_at_ms=2000))
    await house.settle()
    after = [effect for effect in house.world.order[done:] if getattr(effect, "room_id", None) == room_id]
    assert [type(effect) for effect in after] == [PutState, PutState, PutState, Say]
    assert house.world.state[room_id, "m.room.name", ""] == {"name": "INC-1"}
    assert house.world.state[room_id, "m.room.topic", ""] == {"topic": ""}
    assert house.world.state[room_id, "m.room.history_visibility", ""] == {"history_visibility": "joined"}
    room = await house.room()
    assert (room.classification, room.visibility, room.keys_to_invited, room.name) == (
        Classification.RESTRICTED,
        "joined",
        False,
        "INC-1",
    )
    [entry] = [entry for entry in await house.audit() if entry.tag == "room.classified"]
    assert entry.details == {"from": "INTERNAL", "to": "RESTRICTED"}


async def test_a_level_whose_rooms_are_closed_tells_the_operators_that_this_room_stays_open(house: House) -> None:
    room_id = await house.open_for_alice()
    await house.break_glass(STRANGER)
    await house.moves(STRANGER, "join")
    await house.report(incident(stated=Classification.RESTRICTED, updated_at_ms=2000))
    await house.settle()
    [trouble] = house.troubles()
    assert "**INC-1** is RESTRICTED now" in trouble
    assert f"`{room_id}`" in trouble
    assert f"other homeservers in it: `{STRANGER}`." in trouble
    await house.report(incident(stated=Classification.TOP_SECRET, updated_at_ms=3000))
    await house.settle()
    assert len([one for one in house.troubles() if "closed to other homeservers" in one]) == 1


async def test_a_room_that_was_made_closed_stays_so_and_nobody_is_told(house: House) -> None:
    await house.open_for_alice(stated=Classification.RESTRICTED)
    for level, updated_at_ms in ((Classification.INTERNAL, 2000), (Classification.RESTRICTED, 3000)):
        await house.report(incident(stated=level, updated_at_ms=updated_at_ms))
        await house.settle()
    assert house.troubles() == []


async def test_a_new_title_renames_an_internal_room_and_no_secret_one(house: House) -> None:
    room_id = await house.open_for_alice()
    await house.report(incident(title="Mail is slow", updated_at_ms=2000))
    await house.settle()
    assert house.world.state[room_id, "m.room.name", ""] == {"name": "INC-1 Mail is slow"}
    assert (room_id, "m.room.history_visibility", "") not in house.world.state
    await house.report(incident(id=NO_2, number="INC-2", stated=Classification.TOP_SECRET))
    await house.settle()
    await house.report(
        incident(id=NO_2, number="INC-2", title="Other", stated=Classification.TOP_SECRET, updated_at_ms=2000)
    )
    await house.settle()
    assert (await house.room_id(NO_2), "m.room.name", "") not in house.world.state


async def test_the_configured_map_decides_where_etb_states_no_classification(house: House) -> None:
    await house.report(incident(is_sensitive=True))
    await house.settle()
    assert (await house.room()).classification is Classification.CONFIDENTIAL


# --- control room and Space -------------------------------------------------------------------------------


async def test_people_of_our_own_homeserver_find_their_rooms_in_the_space_and_others_do_not(
    make_house: MakeHouse,
) -> None:
    people = {Username("alice"): ALICE, Username("bob"): UserId("@bob:branch.example")}
    rooms = RoomPolicy(bot=BOT, servers=frozenset({"branch.example"}))
    house = await make_house(policy=replace(policy_of(), people=PeopleMap("", people), rooms=rooms))
    house.know("alice", "bob")
    await house.start_service()
    await house.report(incident())
    await house.report(incident(id=NO_2, number="INC-2"))
    await house.settle()
    assert house.world.guests(await house.room_id()) == [ALICE, "@bob:branch.example"]
    assert house.world.guests(house.space()) == [OPERATOR, ALICE]


async def test_who_is_not_cleared_is_not_shown_the_space_either(house: House) -> None:
    house.know("alice")
    house.know("bob", clearance=Classification.PUBLIC)
    await house.start_service()
    await house.report(incident())
    await house.settle()
    assert house.world.guests(house.space()) == [OPERATOR, ALICE]


async def test_who_left_the_space_is_not_pulled_back(house: House) -> None:
    await house.open_for_alice()
    await house.moves(ALICE, "leave", house.space())
    await house.report(incident(id=NO_2, number="INC-2"))
    await house.settle()
    assert house.world.guests(await house.room_id(NO_2)) == [ALICE, BOB]
    assert house.world.guests(house.space()).count(ALICE) == 1


async def test_an_operator_who_responds_is_invited_to_the_space_once(make_house: MakeHouse) -> None:
    house = await make_house(policy=replace(policy_of(), operators=frozenset({ALICE})))
    await house.open_for_alice()
    assert house.world.guests(house.space()).count(ALICE) == 1


async def test_a_room_is_linked_to_the_space_once_whoever_asks_first(house: House) -> None:
    room_id = await house.open_for_alice()
    await house.report(incident(severity="LOW", updated_at_ms=2000))
    await house.settle()
    links = [one for one in house.world.order if isinstance(one, PutState) and one.state_key == room_id]
    assert [one.event_type for one in links] == ["m.space.child"]


async def test_whom_an_adopted_room_holds_already_is_known_as_joined(house: House) -> None:
    room_id = await house.open_for_alice()
    house.world.members[room_id] = {CAROL: "join"}
    await house.report(incident(assignee=Username("carol"), updated_at_ms=2000))
    await house.settle()
    async with house.db.view() as view:
        assert await view.rooms.membership(room_id, CAROL) == "join"
        assert await view.rooms.membership(room_id, BOB) == "invite"


async def test_an_invitation_that_is_refused_again_is_told_again(house: House) -> None:
    house.know("alice")
    await house.start_service()
    await house.moves(OPERATOR, "join", house.control_room())
    house.world.fail(
        Invite,
        Refused("no such user"),
        times=2,
        only=lambda one: one.user_id == ALICE and one.room_id != house.space(),
    )
    await house.report(incident(assignee=None))
    await house.settle()
    async with house.db.view() as view:
        [row] = await view.outbox.parked()
    for tries in (1, 2):
        assert len(house.troubles()) == tries
        await house.ask(OPERATOR, f"!queue retry o{row.seq}", house.control_room())
        await house.settle()
    assert house.world.guests(await house.room_id()) == [ALICE]
    assert len(house.troubles()) == 2
    async with house.db.view() as view:
        assert await view.rooms.membership(await house.room_id(), ALICE) == "invite"


async def test_operators_are_invited_and_asked_again_at_the_next_start_when_they_left(house: House) -> None:
    await house.start_service()
    await house.start_service()
    control, space = house.control_room(), house.space()
    assert sorted(house.world.invited) == sorted([(control, OPERATOR), (space, OPERATOR)])
    await house.moves(OPERATOR, "leave", control)
    await house.start_service()
    assert house.world.guests(control) == [OPERATOR] * 2
    assert house.world.guests(space) == [OPERATOR]
    await house.moves(OPERATOR, "leave", space)
    await house.start_service()
    assert house.world.guests(control) == [OPERATOR] * 2
    assert house.world.guests(space) == [OPERATOR] * 2
    invited = [entry.subject for entry in await house.audit() if entry.tag == "person.invited"]
    assert sorted(invited) == sorted([CONTROL_ROOM, SPACE] * 2)
    assert len(house.world.opened) == 2


async def test_trouble_waits_for_the_control_room(house: House) -> None:
    await house.report(incident(reporter=Username("nobody"), assignee=None))
    await house.settle()
    await house.advance(30)
    await house.start_service()
    await house.advance(6)
    [trouble] = house.troubles()
    assert "`nobody` (reporter)" in trouble


async def test_a_room_that_was_opened_twice_is_taken_into_use_once(house: House) -> None:
    room_id = await house.open_for_alice()
    [opened] = [one for one in house.world.opened if one.war_room == (await house.room()).war_room]
    before = len(house.world.order)
    for done in (Done(room_id=room_id), Done()):
        await house.own(EffectAnswered(key="k", effect=opened, answer=done), lane=NO_1)
    await house.settle()
    assert len(house.world.order) == before
    assert (await house.room()).room_id == room_id


async def test_a_room_whose_incident_has_no_copy_is_opened_and_left_as_it_is(house: House) -> None:
    await house.start_service()
    house.world.fail(OpenRoom, later())
    await house.report(incident())
    await house.settle()
    async with house.db.desk() as desk:
        await desk.write(lambda transaction: transaction.connection.exec_driver_sql("DELETE FROM incidents"))
    await house.advance(5)
    room_id = await house.room_id()
    await house.moves(ALICE, "join")
    await house.advance(5)
    assert house.world.cards(room_id) == []
    assert house.etb.entries == []


async def test_an_invitation_to_a_room_that_is_not_ours_any_more_troubles_nobody(house: House) -> None:
    await house.start_service()
    invite = Invite(room_id=RoomId("!gone"), user_id=ALICE)
    answer = EffectAnswered(key="k", effect=invite, answer=NotDone(state="refused", reason="no"))
    await house.own(answer)
    await house.settle()
    assert house.troubles() == []
    assert (await house.tags())[-1] == "effect.refused"


async def test_a_timeline_entry_whose_answer_was_lost_is_not_written_twice(house: House) -> None:
    house.etb.lose_answers = 1
    await house.report(incident())
    await house.settle()
    await house.advance(10)
    assert len(house.etb.entries) == 1
    assert (AddTimelineEntry.__name__, "done") in house.meter.effects


async def test_a_room_whose_opening_gave_no_answer_is_opened_once(house: House) -> None:
    house.know("alice", "bob")
    house.world.fail(OpenRoom, unsure(), lands=True, times=2)
    await house.report(incident())
    await house.settle()
    await house.advance(5)
    await house.advance(5)
    assert len(house.world.opened) == 1
    assert house.world.guests(await house.room_id()) == [ALICE, BOB]

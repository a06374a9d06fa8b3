"""Facts and effects come back from bytes as they were, and a bad one says where and not what it holds."""

import dataclasses
import typing
from typing import Any

import pytest

from etb_appservice.domain.approvals import Approval, Approved
from etb_appservice.domain.breakglass import BreakGlass, GlassReview
from etb_appservice.domain.cadence import Cadence
from etb_appservice.domain.case import Entry
from etb_appservice.domain.classification import Classification
from etb_appservice.domain.closing import Closing
from etb_appservice.domain.conversation import EncryptedFile, FileDetails, Poll, Vote
from etb_appservice.domain.declared import Declaration
from etb_appservice.domain.devices import SeenDevice, UnsignedDevice
from etb_appservice.domain.effects import (
    AcceptIdentity,
    AddTimelineEntry,
    CancelRunbook,
    ChangeIncident,
    DeclareIncident,
    DeleteMedia,
    Effect,
    FollowUpgrade,
    Invite,
    LeaveRoom,
    LetMembersPin,
    MendPins,
    MoveEscalation,
    OpenRoom,
    Pin,
    PurgeHistory,
    PutState,
    React,
    Redact,
    RegisterEvidence,
    Remove,
    RestoreState,
    Say,
    SendFile,
    SetVoice,
    StartRunbook,
    TriggerEscalation,
)
from etb_appservice.domain.facts import (
    AclsDue,
    AnnouncementDue,
    ApprovalEnds,
    BreakGlassEnds,
    BreakGlassGiven,
    BreakGlassReviewDue,
    CameTooEarly,
    CardDue,
    CatchUpDue,
    ChartDue,
    CommanderDue,
    DeviceDue,
    DevicesSeen,
    Done,
    DuplicateFound,
    DutyDue,
    EffectAnswered,
    EffectDelayed,
    EventDisowned,
    EventRedacted,
    ExportDue,
    Fact,
    FileClassified,
    FileDue,
    FileLookedAt,
    FileOver,
    FileUploaded,
    FileWithdrawn,
    HeldDue,
    HoldsSeen,
    IncidentDoubted,
    IncidentDue,
    IncidentSeen,
    KeptOutDue,
    KeyAwaited,
    LetterDue,
    LinkCodeAsked,
    Loss,
    MembershipChanged,
    MessageReceived,
    MessageUnreadable,
    NotDone,
    OnCallSeen,
    PeopleDue,
    PinnersDue,
    PinsDue,
    PinsSet,
    PlainMessageReceived,
    PollAsked,
    PollEnded,
    PollVoted,
    QuestionEnds,
    ReactionReceived,
    ReadOnlyDue,
    RightsDoubted,
    RightsDue,
    RightsSweepDue,
    RoomAsked,
    RoomChangeAsked,
    RunbookDue,
    ServiceStarted,
    StateChanged,
    SweepDue,
    TombstoneSeen,
    Troubled,
    Trust,
    UnlinkAsked,
    UpdateDue,
    UsersSeen,
)
from etb_appservice.domain.files import FileAccess
from etb_appservice.domain.guests import Guest
from etb_appservice.domain.holds import LegalHold
from etb_appservice.domain.ids import EventId, IncidentId, RoomId, UserId, Username, WarRoomId
from etb_appservice.domain.incident import Card, Deadline, EtbUser, Incident, OnCall, Responder
from etb_appservice.domain.letters import Letter
from etb_appservice.domain.levels import SlaSeen
from etb_appservice.domain.links import Guesses, LinkCode, Linked
from etb_appservice.domain.living import Living
from etb_appservice.domain.media import Media
from etb_appservice.domain.outcomes import Broken
from etb_appservice.domain.pages import EscalationSeen, Page, Shift, Watch
from etb_appservice.domain.partners import PartnerAdmitted
from etb_appservice.domain.past import Levels, Step
from etb_appservice.domain.pins import Gone, Pinned, Pins
from etb_appservice.domain.posts import Post
from etb_appservice.domain.questions import Held, Question
from etb_appservice.domain.reactions import Reaction
from etb_appservice.domain.results import Assigned, Escalated, Outcome, Reported, Updated
from etb_appservice.domain.roles import Admitted, Role
from etb_appservice.domain.rooms import RoomPolicy, control_room, incident_room, incidents_space
from etb_appservice.domain.rotation import Former, Rotated
from etb_appservice.domain.runbooks import RunbookRun
from etb_appservice.domain.tasks import Task
from etb_appservice.domain.timeline import TimelineItem
from etb_appservice.domain.upgrades import Upgrade
from etb_appservice.domain.web import WebDeleted, WebEdited, WebPinned, WebRan, WebReacted, WebSaid
from etb_appservice.domain.webroom import WebRoom
from etb_appservice.store.codec import (
    FactJson,
    decode_effect,
    decode_entry,
    decode_fact,
    decode_outcome,
    decode_shown,
    encode_effect,
    encode_entry,
    encode_fact,
    encode_outcome,
    whole,
)
from etb_appservice.store.errors import Unreadable

ROOM, EVENT, USER, INCIDENT_ID = RoomId("!r"), EventId("$e"), UserId("@u:x"), IncidentId("i")
ORIGIN: dict[str, Any] = {"room_id": ROOM, "event_id": EVENT, "sender": USER, "origin_ms": 7}
INCIDENT = Incident(
    id=INCIDENT_ID, number="INC-1", title="Fire 🧯\x00", severity="HIGH", status="NEW", updated_at_ms=1 << 50,
    assignee=Username("alice"), stated=Classification.RESTRICTED, created_ms=1, is_duplicate=True,
    original=IncidentId("o"), tags=("drill",),
)  # fmt: skip
CARD = Card(
    number="INC-1", title="t", severity="s", status="s", category="c", priority="p",
    classification=Classification.TOP_SECRET,
    responders=(
        Responder(Username("a"), ("reporter",), UserId("@a:x")),
        Responder(Username("b"), (), None, "unmapped"),
    ),
    deadlines=(Deadline("n", "k", "s", 9),),
)  # fmt: skip
POLICY = RoomPolicy(bot=UserId("@etb:x"), version="11", additional_creators=(UserId("@glass:x"),))
EFFECTS: list[Effect] = [
    PurgeHistory(room_id=ROOM, before_ms=1),
    DeleteMedia(mxc="mxc://x/m"),
    OpenRoom(war_room=WarRoomId("w"), spec=incident_room(INCIDENT, Classification.PUBLIC, POLICY, generation=2)),
    OpenRoom(war_room=WarRoomId("control"), spec=control_room(POLICY)),
    OpenRoom(war_room=WarRoomId("space"), spec=incidents_space(POLICY)),
    Invite(room_id=ROOM, user_id=USER, reason="r", history_up_to=Classification.INTERNAL),
    Remove(room_id=ROOM, user_id=USER, reason="r"),
    LeaveRoom(room_id=ROOM),
    LeaveRoom(room_id=ROOM, speaker=Username("alice")),
    React(room_id=ROOM, event_id=EVENT, emoji="👍", speaker=Username("alice")),
    Redact(room_id=ROOM, event_id=EVENT, reason="a slip", speaker=Username("alice")),
    AcceptIdentity(user_id=USER),
    SetVoice(room_id=ROOM, is_read_only=True),
    MendPins(room_id=ROOM, pinned=(EventId("$a"),), gone=(EventId("$b"),)),
    LetMembersPin(room_id=ROOM),
    RestoreState(room_id=ROOM, event_type="m.room.name", state_key="", entitled=(USER,)),
    FollowUpgrade(
        room_id=ROOM,
        replacement=RoomId("!n"),
        by=USER,
        spec=incident_room(INCIDENT, Classification.PUBLIC, POLICY),
    ),
    PutState(room_id=ROOM, event_type="m.space.child", state_key="", content={"via": ["x"], "n": None, "f": 1.5}),
    Pin(room_id=ROOM, event_id=EVENT, instead_of=EventId("$o")),
    Say(room_id=ROOM, content="text"),
    Say(room_id=ROOM, content="text", speaker=Username("alice")),
    Say(room_id=ROOM, content=CARD, notify=True, mentions=(USER,), reply_to=EVENT, edits=EVENT, purpose="card"),
    AddTimelineEntry(
        incident_id=INCIDENT_ID, event_type="t", title="t", description="d", event_time_ms=1, external_ref="r",
        event_data={"a": "b"},
    ),
    ChangeIncident(incident_id=INCIDENT_ID, status="RESOLVED", assignee=Username("a")),
    DeclareIncident(title="t", severity="HIGH", description="d", category="c", ref="r"),
    TriggerEscalation(incident_id=INCIDENT_ID, reason="r", ref="x", policy_id="p"),
    MoveEscalation(incident_id=INCIDENT_ID, escalation_id="e", to="RESOLVED"),
    StartRunbook(incident_id=INCIDENT_ID, runbook_id="b", parameters={"n": 1}, ref="r", trigger_data={"a": "b"}),
    CancelRunbook(incident_id=INCIDENT_ID, execution_id="e"),
    SendFile(
        room_id=ROOM, document="d", file_id="f", message_id="m", filename="f", mime="image/png", size=3,
        msgtype="m.image", width=2, height=1, duration_ms=4, is_voice=True,
        caption="c", reply_to=EVENT, thread_root=EVENT,
    ),
    RegisterEvidence(
        incident_id=INCIDENT_ID, evidence_type="CHAT_LOG", title="t", description="d", file_hash="00", file_size=3,
        mime="text/html", source_reference="r", classification="INTERNAL",
    ),
]  # fmt: skip
HELD = Held(
    run_id="r",
    caller=USER,
    room_id=ROOM,
    event_id=EVENT,
    command="c",
    text="t",
    learned={"a": "b"},
    thread_root=EVENT,
)
LIVING = Living(event_id=EVENT, wanted="w", sent="s", version=2, in_flight=True, reply_to=EVENT)
_ACT: dict[str, Any] = {
    "act": "a",
    "war_room": WarRoomId("w"),
    "by": EtbUser(Username("alice"), "Alice", Classification.RESTRICTED, is_active=True),
    "confirmed_ms": 5,
    "key": "ab",
}
ENTRIES: list[Entry] = [
    TimelineItem(id="1", event_type="NOTE", title="t", at_ms=1, event_id=EVENT, withdrawn_ms=2),
    Role(id="SCRIBE", role="SCRIBE", username=Username("a"), since_ms=1, by=Username("b"), is_open=False),
    Admitted(id="a", username=Username("a"), by="b", at_ms=1, why="w", by_web=True),
    Task(
        id="1", number=1, text="t", by=Username("a"), at_ms=1, state="done", assignee=Username("b"), is_open=False
    ),
    Post(id="1", text="t", by=Username("a"), at_ms=1, event_id=EVENT, next_ms=2),
    Cadence(opened_ms=1, since_ms=2, severity="HIGH", plan=3, due_ms=4, snoozed_ms=5, reminder=EVENT),
    Reaction(id="$r", key="📌", sender=USER, target=EVENT, does="timeline", made="1"),
    Question(
        id=USER,
        number="1",
        held=HELD,
        wanted="w",
        prompt="p",
        expires_ms=1,
        asks_yes=True,
        options=("a", "b"),
        labels=("A", "B"),
        is_open=False,
    ),
    Approval(
        id="1",
        code="K7QF",
        held=HELD,
        what="w",
        requester=Username("a"),
        needed=2,
        role="commander",
        asked_ms=1,
        expires_ms=2,
        is_signed=True,
        by=(Approved(user_id=USER, username=Username("b"), at_ms=3),),
        state="RUN",
        living=LIVING,
        is_open=False,
        glass=("second",),
    ),
    RunbookRun(
        id="1",
        runbook_id="b",
        name="n",
        steps=("s",),
        parameters={"a": "b"},
        asker=USER,
        username=Username("a"),
        event_id=EVENT,
        asked_ms=1,
        approved_by=(Username("b"),),
        execution_id="e",
        state="FAILED",
        step=1,
        total=2,
        started_ms=3,
        ended_ms=4,
        error="x",
        is_away=True,
        looks=5,
        logged=6,
        unsaid=("l",),
        cancelled_by=Username("c"),
        living=LIVING,
        is_open=False,
    ),
    UnsignedDevice(
        id="@a:x.org/PHONE",
        user_id=USER,
        device_id="PHONE",
        name="Element",
        is_replaced=True,
        since_ms=1,
        remove_ms=2,
        removed_ms=3,
    ),
    Guest(id=Username("a"), user_id=USER, roles=("reporter", "on call"), obstacle="refused", is_open=True),
    Letter(id="1", text="t", notify=True, about="page/1/2", event_id=EVENT),
    Page(id="1", targets=(Username("a"),), users=(USER,), by="b", at_ms=1, escalation_ids=("e",), left_out=("x",)),
    EscalationSeen(id="e", status="TRIGGERED", level=1),
    SlaSeen(id="s", said=75, state="still", target_ms=1, budget_s=2.5),
    Watch(opened_ms=1, plan=2, due_ms=3, unsaid=("t",)),
    Shift(id="r", usernames=(Username("a"),)),
    Declaration(id="1", number="INC-1", by=USER, room_id=ROOM, event_id=EVENT, thread_root=EventId("$t")),
    Upgrade(id=ROOM, before=ROOM, by=USER, at_ms=1, state="followed", is_open=False),
    Closing(how="duplicate", ended_ms=1, plan=2, read_only_ms=3, is_read_only=True, is_unlinked=True),
    Media(id="mxc://x/m", filename="f", mime="m", size=3, sha256="00", at_ms=1, event_id=EVENT, is_open=False),
    BreakGlass(
        id=USER,
        by=(USER, UserId("@b:x")),
        reason="r",
        from_ms=1,
        until_ms=2,
        reviewed_by=USER,
        is_open=False,
        grant="1",
    ),
    GlassReview(
        id="1",
        user_id=USER,
        by=(USER, UserId("@b:x")),
        reason="r",
        from_ms=1,
        until_ms=2,
        ended_ms=3,
        ended_by=USER,
        verdict="not-ok",
        reviewed_by=USER,
        reviewed_ms=4,
        note="n",
        is_open=False,
    ),
    PartnerAdmitted(id="CERT B", by=USER, at_ms=1, people=(USER,), is_open=False),
    Media(id="mxc://x/k", filename="", mime="m", size=3, sha256="00", at_ms=1, purpose="history"),
    Levels(steps=(Step(0, Classification.PUBLIC), Step(1 << 50, Classification.TOP_SECRET))),
    LinkCode(id=Username("a"), digest="00", until_ms=1, count=2, since_ms=3, is_open=False),
    Linked(id=Username("a"), user_id=USER, at_ms=1),
    Guesses(id=USER, count=2, since_ms=1),
    Rotated(id="hs_token", current="c", former=(Former(value="f", digest="00", until_ms=2),), since_ms=1),
    Pins(
        pinned=(Pinned(event_id=EventId("$p"), user_id=UserId("@a:b"), at_ms=1, is_settled=False),),
        gone=(Gone(event_id=EventId("$g"), at_ms=1, is_settled=False),),
        room_id=ROOM,
    ),
    Poll(
        id="$poll",
        by=UserId("@a:b"),
        question="Where?",
        answers=(("1", "here"), ("2", "there")),
        votes=(Vote(user_id=UserId("@a:b"), event_id=EventId("$v"), answers=("1",)),),
    ),
    WebRoom(name="Mail", description="down", created_by=Username("alice")),
    LegalHold(incident_id=IncidentId("i"), holds=("h", "k"), since_ms=1, changes=3, room_id=ROOM, is_open=False),
]
FACTS: list[Fact] = [
    WebSaid(**_ACT, content="Hello", reply_to="m", mentioned=("u",), attachments=("f",), client_id="c"),
    WebEdited(**_ACT, message_id="m", content="Hello"),
    WebDeleted(**_ACT, message_id="m"),
    WebReacted(**_ACT, message_id="m", emoji="\N{THUMBS UP SIGN}", is_added=False),
    WebPinned(**_ACT, message_id="m", is_pinned=False),
    WebRan(**_ACT, text="/status", message_id="m", new_message="n"),
    AclsDue(war_room=WarRoomId("w"), after="v"),
    PinsDue(war_room=WarRoomId("w")),
    PinnersDue(after="v"),
    HoldsSeen(incident_id=IncidentId("i"), holds=("h",)),
    MessageReceived(
        **ORIGIN,
        device_id="D",
        trust=Trust.UNSIGNED,
        msgtype="m.text",
        body="b",
        thread_root=EVENT,
        effect_key="k",
    ),
    PlainMessageReceived(**ORIGIN, event_type="m.room.message"),
    MessageUnreadable(**ORIGIN, loss=Loss.WRONG_SENDER, session_id="s"),
    KeyAwaited(**ORIGIN, session_id="s", waited_s=1.25),
    MembershipChanged(**ORIGIN, user_id=USER, membership="join", previous="invite", is_upgrade=True),
    ReactionReceived(**ORIGIN, key="📌", relates_to=EVENT, shown="📌\ufe0f"),
    CameTooEarly(
        **ORIGIN,
        what=ReactionReceived(**ORIGIN, key="📌", relates_to=EVENT, shown="📌\ufe0f"),
        came_ms=1,
        looks=2,
    ),
    CameTooEarly(**ORIGIN, what=PollVoted(**ORIGIN, poll=EVENT, answers=("1",)), came_ms=1),
    CameTooEarly(**ORIGIN, what=PollEnded(**ORIGIN, poll=EVENT), came_ms=1),
    CameTooEarly(
        **ORIGIN,
        what=MessageReceived(
            **ORIGIN, device_id="D", trust=Trust.UNSIGNED, msgtype="m.text", body="b", replaces=EVENT
        ),
        came_ms=1,
    ),
    MessageReceived(
        **ORIGIN,
        device_id="D",
        trust=Trust.CROSS_SIGNED,
        msgtype="m.image",
        body="b",
        mentions=(USER,),
        mentions_room=True,
        file=FileDetails(name="n", original_name="o", file=EncryptedFile(mxc="mxc://a/b", key="k")),
        place="geo:1,2",
        poll=PollAsked(question="q", answers=(("1", "a"),), is_disclosed=False, most=2),
    ),
    PinsSet(**ORIGIN, pinned=(EVENT,)),
    PollVoted(**ORIGIN, poll=EVENT, answers=("1",)),
    PollEnded(**ORIGIN, poll=EVENT),
    EventRedacted(**ORIGIN, redacts=EVENT),
    EventDisowned(**ORIGIN),
    StateChanged(**ORIGIN, event_type="m.room.topic", state_key=""),
    IncidentSeen(incident=INCIDENT, via="poll"),
    OnCallSeen(usernames=(Username("a"), Username("b")), on_call=(OnCall("r", Username("a"), "t"),)),
    PeopleDue(incident_id=INCIDENT_ID, afresh=True, news="n"),
    RoomAsked(
        ref="r",
        incident_id=IncidentId("i"),
        by=EtbUser(Username("a"), "A", Classification.PUBLIC, is_active=True, id="u"),
        by_id=UserId("@a:b"),
        name="n",
    ),
    RoomChangeAsked(
        ref="r",
        war_room=WarRoomId("w"),
        by=EtbUser(Username("a"), "A", Classification.PUBLIC, is_active=True),
        by_id=UserId("@a:b"),
        description="d",
        puts_out=(Username("b"),),
    ),
    LinkCodeAsked(ref="r", by=EtbUser(Username("a"), "A", Classification.PUBLIC, is_active=True), digest="00"),
    UnlinkAsked(ref="r", by=EtbUser(Username("a"), "A", Classification.PUBLIC, is_active=True)),
    UsersSeen(users=(EtbUser(Username("a"), "A", Classification.PUBLIC, is_active=False, roles=("r",)),)),
    RightsDoubted(before_ms=1, since_ms=2),
    RightsDue(room_id=RoomId("!r"), user_id=USER),
    RightsDue(room_id=RoomId("!r")),
    RightsSweepDue(after="w"),
    KeptOutDue(after=INCIDENT_ID),
    DutyDue(incident_id=INCIDENT_ID, plan=2),
    IncidentDue(incident_id=INCIDENT_ID, tries=2),
    OnCallSeen(usernames=(Username("a"), Username("b"))),
    PeopleDue(incident_id=INCIDENT_ID),
    CardDue(incident_id=INCIDENT_ID, user_id=USER),
    UpdateDue(incident_id=INCIDENT_ID, plan=3),
    CommanderDue(incident_id=INCIDENT_ID),
    CatchUpDue(incident_id=INCIDENT_ID, user_id=USER),
    ReadOnlyDue(incident_id=INCIDENT_ID, plan=2),
    FileUploaded(
        ref="r",
        file_id="f",
        war_room=WarRoomId("w"),
        user_id=USER,
        message_id="m",
        is_sent=True,
        by=EtbUser(Username("a"), "A", Classification.PUBLIC, True),
        confirmed_ms=5,
        details=FileDetails(
            name="a.png",
            original_name="../a.png",
            file=EncryptedFile(mxc="mxc://x/1", key="k", iv="i", sha256="s"),
            thumbnail=EncryptedFile(mxc="mxc://x/2"),
            thumbnail_width=1,
            thumbnail_height=2,
            thumbnail_size=3,
        ),
    ),
    FileDue(file_id="f", user_id=USER),
    FileOver(file_id="f"),
    FileLookedAt(
        ref="r",
        sha256="00",
        size=3,
        mime="image/png",
        access=FileAccess(
            id="a",
            file_id="f",
            war_room=WarRoomId("w"),
            username=Username("bob"),
            access_type="SHARE",
            reason="r",
            address="::1",
            at_ms=3,
        ),
    ),
    FileClassified(
        ref="r",
        file_id="f",
        level=Classification.RESTRICTED,
        by=EtbUser(Username("bob"), "Bob", Classification.PUBLIC, is_active=True),
        confirmed_ms=5,
    ),
    FileWithdrawn(
        ref="r",
        file_id="f",
        by=EtbUser(Username("bob"), "Bob", Classification.PUBLIC, is_active=True),
        confirmed_ms=5,
        user_id=USER,
    ),
    DuplicateFound(incident_id=INCIDENT_ID, duplicate=IncidentId("j")),
    IncidentDoubted(incident_id=INCIDENT_ID, sightings=1, tries=2),
    SweepDue(),
    DevicesSeen(
        war_room=WarRoomId("w"),
        people=(USER,),
        unsigned=(SeenDevice(user_id=USER, device_id="PHONE", name="Element", is_replaced=True),),
    ),
    DeviceDue(war_room=WarRoomId("w"), device="@a:x.org/PHONE", since_ms=1),
    TombstoneSeen(**ORIGIN, replacement=RoomId("!n")),
    AnnouncementDue(text="t"),
    BreakGlassGiven(war_room=WarRoomId("w"), grant="1", user_id=USER, by=(USER,), reason="r", until_ms=2),
    BreakGlassEnds(war_room=WarRoomId("w"), grant="1", user_id=USER, by=USER),
    BreakGlassReviewDue(war_room=WarRoomId("w"), grant="1", look=2, is_over=True),
    ServiceStarted(),
    Troubled(key="k", text="t"),
    LetterDue(user_id=USER, text="t", notify=True),
    QuestionEnds(war_room=WarRoomId("w"), asker=USER, number="1"),
    ApprovalEnds(war_room=WarRoomId("w"), approval="1"),
    HeldDue(war_room=WarRoomId("w"), approval="1"),
    RunbookDue(war_room=WarRoomId("w"), run_id="1", look=2),
    ExportDue(
        war_room=WarRoomId("w"), export="1", by="a", run_id="1", reply_to=EVENT, thread_root=EVENT, to_etb=False
    ),
    ChartDue(war_room=WarRoomId("w"), run_id="1", reply_to=EVENT, thread_root=EVENT),
    EffectDelayed(key="k", effect=EFFECTS[3]),
    *(EffectAnswered(key="k", effect=effect, answer=Done(event_id=EVENT, detail="d")) for effect in EFFECTS),
    EffectAnswered(key="k", effect=EFFECTS[3], answer=NotDone(state="unknown", reason="r")),
]


OUTCOMES: list[Outcome] = [
    Reported(
        incident_id=INCIDENT_ID,
        title="t",
        status="OPEN",
        severity="HIGH",
        priority=None,
        assignee=Username("bob"),
        deadlines=(Deadline("Response", "RESPONSE_TIME", "ACTIVE", 9),),
        on_call=(OnCall("Network", Username("carol")),),
        confirmed_ms=5,
    ),
    Escalated(id="e", level=1, notified=("bob",)),
    Assigned(assignee=Username("bob"), previous=None),
    Updated(field="status", old="OPEN", new="CLOSED"),
]


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: fact.kind)
def test_a_fact_comes_back_as_it_was(fact: Fact) -> None:
    assert decode_fact(encode_fact(fact)) == fact
    assert type(decode_fact(encode_fact(fact))) is type(fact)


@pytest.mark.parametrize("effect", EFFECTS, ids=lambda effect: effect.kind)
def test_an_effect_comes_back_as_it_was(effect: Effect) -> None:
    assert decode_effect(encode_effect(effect)) == effect


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.kind)
def test_an_entry_of_a_case_comes_back_as_it_was(entry: Entry) -> None:
    assert decode_entry(encode_entry(entry)) == entry


@pytest.mark.parametrize("outcome", OUTCOMES, ids=lambda outcome: outcome.kind)
def test_what_a_command_did_comes_back_as_it_was(outcome: Outcome) -> None:
    assert decode_outcome(encode_outcome(outcome)) == outcome


def test_every_fact_and_effect_has_an_example_here() -> None:
    assert {type(outcome) for outcome in OUTCOMES} == set(typing.get_args(Outcome))
    assert {type(entry) for entry in ENTRIES} == set(typing.get_args(Entry))
    assert {type(fact) for fact in FACTS} == set(typing.get_args(Fact))
    assert {type(effect) for effect in EFFECTS} == set(typing.get_args(Effect))


def test_half_a_surrogate_pair_anywhere_is_replaced() -> None:
    fact = IncidentSeen(
        incident=dataclasses.replace(INCIDENT, title="a\ud83db", stated=Classification.PUBLIC), via="poll"
    )
    again = decode_fact(encode_fact(fact))
    assert again == dataclasses.replace(fact, incident=dataclasses.replace(fact.incident, title="a\ufffdb"))
    say = Say(room_id=ROOM, content=dataclasses.replace(CARD, title="\udfff"), mentions=(USER,))
    assert decode_effect(encode_effect(say)) == dataclasses.replace(
        say, content=dataclasses.replace(CARD, title="\ufffd")
    )
    state = PutState(room_id=ROOM, event_type="t", state_key="", content={"\ud83d": ["\ud83d"]})
    assert decode_effect(encode_effect(state)) == dataclasses.replace(state, content={"\ufffd": ["\ufffd"]})
    answered = EffectAnswered(key="k", effect=say, answer=Done(detail="\ud83d"))
    assert decode_fact(encode_fact(answered)) == dataclasses.replace(
        answered, effect=decode_effect(encode_effect(say)), answer=Done(detail="\ufffd")
    )


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b'{"kind": "Marmalade"}',
        b'{"kind": "PeopleDue"}',
        b'{"kind":"Troubled","key":"marmalade","text":5}',
    ],
)
def test_bytes_that_are_no_fact_are_refused_without_showing_them(data: bytes) -> None:
    with pytest.raises(Unreadable) as refused:
        decode_fact(data)
    assert "armalade" not in str(refused.value)
    assert refused.value.__cause__ is None
    with pytest.raises(Broken):
        FactJson().decode(data)


def test_an_older_fact_without_a_newer_field_is_still_read() -> None:
    old = (
        b'{"kind":"MembershipChanged","room_id":"!r","event_id":"$e","sender":"@u:x","origin_ms":7,'
        b'"user_id":"@u:x","membership":"join"}'
    )
    assert decode_fact(old) == MembershipChanged(**ORIGIN, user_id=USER, membership="join")


def test_the_codec_of_the_port_writes_and_reads() -> None:
    fact = PeopleDue(incident_id=INCIDENT_ID)
    assert FactJson().decode(FactJson().encode(fact)) == fact


def test_whole_texts_hold_no_nul_and_no_half_pair() -> None:
    assert whole("a\x00b\ud83dc🧯é") == "a\ufffdb\ufffdc🧯é"
    assert whole("plain") == "plain"


def test_a_room_that_was_kept_before_there_were_acls_has_none() -> None:
    kept = decode_shown(b'{"name": "INC-1", "card": null, "holders": [], "federates": true}')
    assert (kept.name, kept.hosts) == ("INC-1", None)

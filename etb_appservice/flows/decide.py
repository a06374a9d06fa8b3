"""One fact, one decision: which flow a fact belongs to. Total: the type checker names a fact nobody decides.

`look` reads outside (ETB) before the unit of work; `decide` only writes through its turn.
"""

from dataclasses import dataclass
from typing import assert_never

from etb_appservice.domain.effects import (
    AddTimelineEntry,
    DeclareIncident,
    Effect,
    EtbEffect,
    FollowUpgrade,
    Invite,
    OpenRoom,
    PutState,
    Say,
)
from etb_appservice.domain.facts import (
    AclsDue,
    AnnouncementDue,
    ApprovalEnds,
    BreakGlassEnds,
    BreakGlassGiven,
    BreakGlassReviewDue,
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
    IncidentDoubted,
    IncidentDue,
    IncidentSeen,
    KeptOutDue,
    KeyAwaited,
    LetterDue,
    LinkCodeAsked,
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
    PollEnded,
    PollVoted,
    QuestionEnds,
    ReactionReceived,
    ReactionTooEarly,
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
    UnlinkAsked,
    UpdateDue,
    UsersSeen,
    WebDeleted,
    WebEdited,
    WebPinned,
    WebRan,
    WebReacted,
    WebSaid,
)
from etb_appservice.domain.ids import EventId, IncidentId, UserId
from etb_appservice.domain.incident import EtbUser
from etb_appservice.domain.policy import Policy
from etb_appservice.domain.rooms import CONTROL_ROOM
from etb_appservice.domain.text import plain
from etb_appservice.flows import files, links, marks, pages, polls, removals
from etb_appservice.flows.cadence import Cadences
from etb_appservice.flows.catchup import CatchUps
from etb_appservice.flows.chatops import Chatops
from etb_appservice.flows.commands import RUN
from etb_appservice.flows.conversation import Conversation
from etb_appservice.flows.deliveries import delivered
from etb_appservice.flows.duty import Duty, Standing
from etb_appservice.flows.federation import acl_refused
from etb_appservice.flows.followups import FollowUps
from etb_appservice.flows.incidents import Fetched, Incidents
from etb_appservice.flows.invitations import look_where_kept_out
from etb_appservice.flows.letters import Letters
from etb_appservice.flows.listening import Asked
from etb_appservice.flows.missing import doubt
from etb_appservice.flows.papers import Paper, Papers
from etb_appservice.flows.pinners import let_members_pin
from etb_appservice.flows.reactions import Reactions
from etb_appservice.flows.record import free_place
from etb_appservice.flows.removals import learned
from etb_appservice.flows.replies import Replies
from etb_appservice.flows.roomlife import LifeLook, RoomLife
from etb_appservice.flows.rooms import Rooms
from etb_appservice.flows.runbooks import RunbookLook
from etb_appservice.flows.surroundings import Surroundings
from etb_appservice.flows.timeline import mirrored
from etb_appservice.flows.turn import SERVICE_LANE, Turn
from etb_appservice.flows.visitor import WEB
from etb_appservice.flows.web import Web
from etb_appservice.ports import Room, Store

_ASK_AGAIN_MS = 5_000
Looked = Asked | Surroundings | Standing | Fetched | EtbUser | RunbookLook | LifeLook | Paper | None
"""What was read before the unit of work."""


@dataclass(frozen=True, slots=True)
class Decider:
    """Hands each fact to its flow."""

    store: Store
    incidents: Incidents
    rooms: Rooms
    conversation: Conversation
    chatops: Chatops
    replies: Replies
    letters: Letters
    cadences: Cadences
    reactions: Reactions
    catch_ups: CatchUps
    follow_ups: FollowUps
    duty: Duty
    life: RoomLife
    papers: Papers
    web: Web
    rights: Policy
    """By which it is decided who may be in a room."""

    async def look(self, fact: Fact) -> Looked:
        """Read what deciding needs from outside, within limits; never fails for want of ETB."""
        match fact:
            case MessageReceived():
                return await self.follow_ups.look_at_message(fact)
            case WebSaid() | WebRan():
                return await self.web.look(fact)
            case HeldDue():
                return await self.follow_ups.look_at_held(fact)
            case RunbookDue():
                return await self.follow_ups.look_at_run(fact)
            case ExportDue() | ChartDue():
                return await self.papers.look(fact)
            case IncidentSeen(incident=incident):
                return await self.incidents.look(incident)
            case IncidentDue(incident_id=incident_id) | RoomAsked(incident_id=incident_id):
                return await self.incidents.fetch(incident_id)
            case PeopleDue(incident_id=incident_id):
                async with self.store.view() as view:
                    last = await view.incidents.get(incident_id)
                return await self.incidents.look(last.incident) if last else None
            case ReactionReceived(sender=sender) if self.reactions.matters(fact):
                return await self._confirmed(sender)
            case CatchUpDue(user_id=user_id):
                return await self._confirmed(user_id)
            case MembershipChanged(membership="join", user_id=user_id):
                return await self._known(user_id)
            case DutyDue():
                return await self.duty.look(self.store, fact)
            case _:
                return await self.life.look(fact)

    async def _confirmed(self, user_id: UserId) -> EtbUser | None:
        """Who somebody is, when ETB has not said so for a while."""
        name = self.chatops.listener.username(user_id)
        if name is None:
            return None
        async with self.store.view() as view:
            known = await view.incidents.user(name)
        return await self.chatops.listener.confirm(user_id, known)

    async def _known(self, user_id: UserId) -> EtbUser | None:
        """Who somebody is, when without ETB we would have to say that we don't know."""
        name = self.chatops.listener.username(user_id)
        if name is None:
            return None
        async with self.store.view() as view:
            known = await view.incidents.user(name)
            now_ms = view.now_ms()
        if known is not None and now_ms - known[1] <= self.rights.clearance.hold_s * 1000:
            return None
        return await self.chatops.listener.confirm(user_id, known)

    async def decide(self, turn: Turn, fact: Fact, looked: Looked) -> None:
        """Decide one fact within its unit of work."""
        around = looked if isinstance(looked, Surroundings) else Surroundings()
        if isinstance(looked, EtbUser):
            await learned(turn, looked, self.rights)
        match fact:
            case IncidentSeen():
                await self.incidents.seen(turn, fact, around)
                await self._follow(turn, fact.incident.id)
            case (
                IncidentDue()
                | PeopleDue()
                | CardDue()
                | UpdateDue()
                | CommanderDue()
                | CatchUpDue()
                | LetterDue()
                | KeptOutDue()
                | AclsDue()
                | PinsDue()
                | PinnersDue()
            ):
                await self._fell_due(turn, fact, looked)
            case (
                ReadOnlyDue()
                | DuplicateFound()
                | IncidentDoubted()
                | SweepDue()
                | AnnouncementDue()
                | TombstoneSeen()
                | StateChanged()
                | DevicesSeen()
                | DeviceDue()
                | BreakGlassGiven()
                | BreakGlassEnds()
                | BreakGlassReviewDue()
                | EventDisowned()
                | RoomAsked()
                | RoomChangeAsked()
            ):
                await self.life.due(turn, fact, looked)
            case (
                UsersSeen()
                | RightsDoubted()
                | RightsDue()
                | RightsSweepDue()
                | OnCallSeen()
                | DutyDue()
                | LinkCodeAsked()
                | UnlinkAsked()
            ):
                await self._of_people(turn, fact, looked)
            case ServiceStarted():
                await self.rooms.service_started(turn, fact)
                await self.rooms.look_at_acls(turn)
                await self.duty.service_started(turn)
                await self.life.missing.keep_sweeping(turn)
            case Troubled():
                await self._troubled(turn, fact)
            case WebSaid() | WebEdited() | WebDeleted() | WebReacted() | WebPinned() | WebRan():
                await self.web.decide(turn, fact, looked if isinstance(looked, Asked) else None)
            case EffectDelayed():
                await self.replies.delayed(turn, fact)
            case EffectAnswered():
                await self.record(turn, fact)
            case (
                QuestionEnds()
                | ApprovalEnds()
                | HeldDue()
                | RunbookDue()
                | ExportDue()
                | ChartDue()
                | FileUploaded()
                | FileDue()
                | FileOver()
                | FileLookedAt()
                | FileClassified()
                | FileWithdrawn()
            ):
                await self._goes_on(turn, fact, looked)
            case (
                MessageReceived()
                | PlainMessageReceived()
                | MessageUnreadable()
                | KeyAwaited()
                | ReactionReceived()
                | ReactionTooEarly()
                | EventRedacted()
                | PinsSet()
                | PollVoted()
                | PollEnded()
                | MembershipChanged()
            ):
                room = await turn.work.rooms.by_id(fact.room_id)
                if isinstance(fact, MembershipChanged):
                    await self.rooms.membership(turn, room, fact)
                elif room is not None:
                    await self._in_room(turn, room, fact, looked if isinstance(looked, Asked) else None)
            case _:
                assert_never(fact)

    async def _follow(self, turn: Turn, incident_id: IncidentId) -> None:
        """What depends on whether an incident is open."""
        await self.cadences.follow(turn, incident_id)
        await self.life.follow(turn, incident_id)

    async def _fell_due(
        self,
        turn: Turn,
        fact: IncidentDue
        | PeopleDue
        | CardDue
        | UpdateDue
        | CommanderDue
        | CatchUpDue
        | LetterDue
        | KeptOutDue
        | AclsDue
        | PinsDue
        | PinnersDue,
        looked: Looked,
    ) -> None:
        match fact:
            case IncidentDue():
                await self.incidents.due(turn, fact, looked if isinstance(looked, Fetched) else None)
                await self._follow(turn, fact.incident_id)
            case PeopleDue():
                around = looked if isinstance(looked, Surroundings) else Surroundings()
                await self.incidents.people_due(turn, fact, around)
                await self._follow(turn, fact.incident_id)
            case CardDue():
                await self.incidents.card_due(turn, fact)
            case UpdateDue():
                await self.cadences.update_due(turn, fact)
            case CommanderDue():
                await self.cadences.commander_due(turn, fact)
            case CatchUpDue():
                await self.catch_ups.due(turn, fact)
            case LetterDue():
                await self.letters.due(turn, fact)
            case KeptOutDue(after=after):
                await look_where_kept_out(turn, after)
            case AclsDue():
                await self.rooms.acls_due(turn, fact)
            case PinsDue():
                await marks.pins_due(turn, fact)
            case PinnersDue(after=after):
                await let_members_pin(turn, after)
            case _:
                assert_never(fact)

    async def _of_people(
        self,
        turn: Turn,
        fact: UsersSeen
        | RightsDoubted
        | RightsDue
        | RightsSweepDue
        | OnCallSeen
        | DutyDue
        | LinkCodeAsked
        | UnlinkAsked,
        looked: Looked,
    ) -> None:
        """What ETB says of people, and what follows from that."""
        match fact:
            case OnCallSeen() | DutyDue():
                await self.duty.decide(turn, fact, looked if isinstance(looked, Standing) else Standing())
            case UsersSeen():
                await removals.users_seen(turn, fact, self.rights)
            case RightsDoubted():
                await removals.rights_doubted(turn, fact, self.rights)
            case RightsDue():
                await removals.rights_due(turn, fact, self.rights)
            case RightsSweepDue(after=after):
                await removals.sweep_rooms(turn, after)
            case LinkCodeAsked():
                await links.code_asked(turn, fact, self.rights)
            case UnlinkAsked():
                await links.unlink_asked(turn, fact)
            case _:
                assert_never(fact)

    async def _goes_on(
        self,
        turn: Turn,
        fact: QuestionEnds | ApprovalEnds | HeldDue | RunbookDue | ExportDue | ChartDue | files.FileFact,
        looked: Looked,
    ) -> None:
        """What a command has begun, or somebody with a file."""
        if isinstance(fact, files.FileFact):
            await files.decided(turn, fact, self.rights)
        elif isinstance(fact, ExportDue | ChartDue):
            await self.papers.due(turn, fact, looked)
        else:
            await self.follow_ups.due(turn, fact, looked)

    async def _in_room(
        self,
        turn: Turn,
        room: Room,
        fact: MessageReceived
        | PlainMessageReceived
        | MessageUnreadable
        | KeyAwaited
        | ReactionReceived
        | ReactionTooEarly
        | EventRedacted
        | PinsSet
        | PollVoted
        | PollEnded,
        asked: Asked | None,
    ) -> None:
        match fact:
            case MessageReceived() if self.rights.ghosts.username(fact.sender) is not None:
                pass  # The echo of a ghost's word: the answer of the effect that said it is its record.
            case MessageReceived():
                is_command = self.chatops.listener.is_command(fact)
                await self.conversation.said(turn, room, fact, is_command=is_command)
                if asked is not None:
                    await self.chatops.asked(turn, room, fact, asked)
            case PlainMessageReceived():
                await self.conversation.in_clear(turn, room, fact)
            case MessageUnreadable():
                await self.conversation.unreadable(turn, room, fact)
            case KeyAwaited():
                await self.conversation.key_awaited(turn, room, fact)
            case ReactionReceived():
                await marks.reacted(turn, room, fact, self.rights)
                await self.reactions.received(turn, room, fact)
            case ReactionTooEarly():
                await marks.reacted(turn, room, fact, self.rights)
            case PinsSet():
                await marks.pins_set(turn, room, fact, self.rights)
            case PollVoted() | PollEnded():
                await polls.decided(turn, room, fact, self.rights)
                await free_place(turn, room, fact, self.rights)
            case EventRedacted():
                await self.conversation.redacted(turn, room, fact)
                await self.reactions.redacted(turn, room, fact)
            case _:
                assert_never(fact)

    async def record(self, turn: Turn, fact: EffectAnswered) -> None:
        """How an effect ended, and what follows from that."""
        if fact.key.startswith(WEB):
            await self._delivered(turn, fact)
        else:
            await self._answered(turn, fact)

    async def _answered(self, turn: Turn, fact: EffectAnswered) -> None:
        effect, answer = fact.effect, fact.answer
        await self.duty.answered(turn, fact)
        await self.papers.answered(turn, fact)
        match effect, answer:
            case OpenRoom(), Done():
                if not await self.life.upgrades.opened(turn, effect, answer):
                    await self.rooms.opened(turn, effect, answer)
                room = await turn.work.rooms.by_war_room(effect.war_room)
                if room is not None and room.incident_id is not None:
                    await self._follow(turn, room.incident_id)
            case Say(), Done(event_id=event_id) as done if event_id:
                await self._said(turn, fact, effect, event_id, done)
            case Say(purpose="living"), NotDone() as failed:
                await self.follow_ups.shown(turn, effect, fact)
                await self._not_done(turn, fact, failed)
            case _ if fact.key.startswith(RUN):
                await self.replies.answered(turn, fact)
                if isinstance(answer, NotDone):
                    await self.follow_ups.not_done(turn, fact, answer)
                    if answer.state != "refused":
                        await self._not_done(turn, fact, answer)
            case Invite(), Done(detail=detail) if detail.endswith("join"):
                # An adopted room may hold people whom our tables don't know yet.
                await turn.work.rooms.set_member(effect.room_id, effect.user_id, "join")
            case Invite(), NotDone(reason=reason):
                room = await turn.work.rooms.by_id(effect.room_id)
                if room is not None:
                    await self.rooms.invite_refused(turn, room, effect, reason)
            case _, NotDone() as failed:
                await self._not_done(turn, fact, failed)
            case _:
                pass
        await self._ended(turn, effect, answer)
        await self._noted(turn, fact)

    async def _ended(self, turn: Turn, effect: Effect, answer: Done | NotDone) -> None:
        """What follows besides, however it ended."""
        if isinstance(effect, AddTimelineEntry) and isinstance(answer, Done):
            await mirrored(turn, effect, answer)
        if isinstance(effect, FollowUpgrade):
            await self.life.upgrades.answered(turn, effect, answer)
        if isinstance(answer, NotDone) and answer.state == "refused":
            await self._refused(turn, effect)

    async def _delivered(self, turn: Turn, fact: EffectAnswered) -> None:
        """What a web user did has reached Matrix, or has not."""
        await delivered(turn, fact, self.rights)
        if isinstance(fact.answer, NotDone):
            await self._not_done(turn, fact, fact.answer)
        await self._noted(turn, fact)

    async def _noted(self, turn: Turn, fact: EffectAnswered) -> None:
        """In the audit log."""
        effect, answer = fact.effect, fact.answer
        if isinstance(effect, Invite) and isinstance(answer, Done) and "history" in answer.found:
            await turn.note(
                "history.shared", subject=effect.room_id, details={"user": effect.user_id, **answer.found}
            )
        await turn.note(
            "effect.done" if isinstance(answer, Done) else f"effect.{answer.state}",
            subject=fact.key,
            details={"effect": effect.kind, "event": answer.event_id if isinstance(answer, Done) else None},
        )

    async def _said(self, turn: Turn, fact: EffectAnswered, say: Say, event_id: EventId, done: Done) -> None:
        """The bot said something: it is kept, and what waited for it goes on."""
        room = await turn.work.rooms.by_id(say.room_id)
        if room is None:
            return
        said = say.content if isinstance(say.content, str) else say.content.title
        await self.conversation.ours(turn, room, say, event_id, said)
        await pages.said(turn, room, fact.key, event_id)
        await self.letters.said(turn, room, fact.key, event_id)
        match say.purpose:
            case "card":
                await self.rooms.card_sent(turn, room, say, event_id, done)
            case "reminder":
                await self.cadences.reminded(turn, room, fact.key, event_id)
            case "living":
                await self.follow_ups.shown(turn, say, fact)
            case _:
                pass

    async def _refused(self, turn: Turn, effect: Effect) -> None:
        """ETB may have refused it for having the incident no longer; an ACL must not be thought to stand."""
        if isinstance(effect, PutState):
            await acl_refused(turn, effect)
        if isinstance(effect, EtbEffect) and not isinstance(effect, DeclareIncident):
            await doubt(turn, effect.incident_id)

    async def _not_done(self, turn: Turn, fact: EffectAnswered, failed: NotDone) -> None:
        """Tell the operators, unless it is them who could not be told."""
        if await self._to_operators(turn, fact.effect):
            return
        what = "has an unknown outcome" if failed.state == "unknown" else f"was {failed.state}"
        hint = "" if failed.state == "refused" else " See `queue`."
        await turn.trouble(
            ("effect", fact.key, turn.ref), f"`{fact.effect.kind}` {what}: {plain(failed.reason)}{hint}"
        )

    async def _to_operators(self, turn: Turn, effect: Effect) -> bool:
        """Whether it should have told the operators something: that it couldn't, they can't be told either."""
        if not isinstance(effect, Say):
            return False
        room = await turn.work.rooms.by_id(effect.room_id)
        return room is not None and room.war_room == CONTROL_ROOM

    async def _troubled(self, turn: Turn, fact: Troubled) -> None:
        """Say it in the control room, as soon as there is one."""
        room = await turn.work.rooms.by_war_room(CONTROL_ROOM)
        if room is None or room.room_id is None:
            await turn.follow(
                fact, ("trouble again", turn.ref), lane=SERVICE_LANE, due_ms=turn.now_ms + _ASK_AGAIN_MS
            )
            return
        await turn.emit("trouble", Say(room_id=room.room_id, content=fact.text, purpose="notice"))

"""One fact, one decision: which flow a fact belongs to. Total: the type checker names a fact nobody decides.

`look` reads outside (ETB) before the unit of work; `decide` only writes through its turn.
"""

from dataclasses import dataclass
from typing import assert_never

from etb_appservice.domain.due import RoomDue
from etb_appservice.domain.effects import Say
from etb_appservice.domain.facts import (
    AclsDue,
    CameTooEarly,
    CardDue,
    CatchUpDue,
    ChartDue,
    CommanderDue,
    DutyDue,
    EffectAnswered,
    EffectDelayed,
    EventRedacted,
    ExportDue,
    Fact,
    HeldDue,
    IncidentDue,
    IncidentSeen,
    KeptOutDue,
    KeyAwaited,
    LetterDue,
    MembershipChanged,
    MessageReceived,
    MessageUnreadable,
    PeopleDue,
    PinnersDue,
    PinsDue,
    PinsSet,
    PlainMessageReceived,
    PollEnded,
    PollVoted,
    ReactionReceived,
    RoomAsked,
    RunbookDue,
    ServiceFact,
    ServiceStarted,
    Troubled,
    UpdateDue,
    WebRan,
    WebSaid,
)
from etb_appservice.domain.ids import UserId
from etb_appservice.domain.incident import EtbUser
from etb_appservice.domain.policy import Policy
from etb_appservice.domain.rooms import CONTROL_ROOM
from etb_appservice.domain.talk import TalkFact
from etb_appservice.domain.web import WebFact
from etb_appservice.flows import files, links, marks, polls, removals
from etb_appservice.flows.answered import Answers
from etb_appservice.flows.cadence import Cadences
from etb_appservice.flows.catchup import CatchUps
from etb_appservice.flows.chatops import Chatops
from etb_appservice.flows.conversation import Conversation
from etb_appservice.flows.duty import Duty, DutyFact, Standing
from etb_appservice.flows.followups import FollowUpFact, FollowUps
from etb_appservice.flows.incidents import Fetched, Incidents
from etb_appservice.flows.invitations import look_where_kept_out
from etb_appservice.flows.letters import Letters
from etb_appservice.flows.listening import Asked
from etb_appservice.flows.papers import Paper, PaperFact, Papers
from etb_appservice.flows.pinners import let_members_pin
from etb_appservice.flows.reactions import Reactions
from etb_appservice.flows.record import free_place
from etb_appservice.flows.removals import learned
from etb_appservice.flows.replies import Replies
from etb_appservice.flows.roomlife import LifeFact, LifeLook, RoomLife
from etb_appservice.flows.rooms import Rooms
from etb_appservice.flows.runbooks import RunbookLook
from etb_appservice.flows.surroundings import Surroundings
from etb_appservice.flows.turn import SERVICE_LANE, Turn
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
    answers: Answers
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
        if isinstance(looked, EtbUser):
            await learned(turn, looked, self.rights)
        if isinstance(fact, TalkFact | MembershipChanged):
            await self._in_room(turn, fact, looked if isinstance(looked, Asked) else None)
        elif isinstance(fact, IncidentSeen):
            await self.incidents.seen(turn, fact, looked if isinstance(looked, Surroundings) else Surroundings())
            await self.life.follow(turn, fact.incident.id)
        elif isinstance(fact, RoomDue):
            await self._fell_due(turn, fact, looked)
        elif isinstance(fact, LifeFact):
            await self.life.due(turn, fact, looked)
        elif isinstance(fact, DutyFact):
            await self.duty.decide(turn, fact, looked if isinstance(looked, Standing) else Standing())
        elif isinstance(fact, removals.RightsFact):
            await removals.decided(turn, fact, self.rights)
        elif isinstance(fact, links.LinkFact):
            await links.decided(turn, fact, self.rights)
        elif isinstance(fact, WebFact):
            await self.web.decide(turn, fact, looked if isinstance(looked, Asked) else None)
        elif isinstance(fact, files.FileFact):
            await files.decided(turn, fact, self.rights)
        elif isinstance(fact, PaperFact):
            await self.papers.due(turn, fact, looked)
        elif isinstance(fact, FollowUpFact):
            await self.follow_ups.due(turn, fact, looked)
        else:
            await self._of_service(turn, fact)

    async def _of_service(self, turn: Turn, fact: ServiceFact) -> None:
        """What the service did or is."""
        match fact:
            case EffectAnswered():
                await self.answers.record(turn, fact)
            case EffectDelayed():
                await self.replies.delayed(turn, fact)
            case ServiceStarted():
                await self.rooms.service_started(turn, fact)
                await self.rooms.look_at_acls(turn)
                await self.duty.service_started(turn)
                await self.life.missing.keep_sweeping(turn)
            case Troubled():
                await self._troubled(turn, fact)
            case _:
                assert_never(fact)

    async def _fell_due(self, turn: Turn, fact: RoomDue, looked: Looked) -> None:
        match fact:
            case IncidentDue():
                await self.incidents.due(turn, fact, looked if isinstance(looked, Fetched) else None)
                await self.life.follow(turn, fact.incident_id)
            case PeopleDue():
                around = looked if isinstance(looked, Surroundings) else Surroundings()
                await self.incidents.people_due(turn, fact, around)
                await self.life.follow(turn, fact.incident_id)
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

    async def _in_room(self, turn: Turn, fact: TalkFact | MembershipChanged, asked: Asked | None) -> None:
        """In a room of ours; of another one only who is there."""
        room = await turn.work.rooms.by_id(fact.room_id)
        if isinstance(fact, MembershipChanged):
            await self.rooms.membership(turn, room, fact)
        elif room is not None:
            await self._talked(turn, room, fact, asked)

    async def _talked(self, turn: Turn, room: Room, fact: TalkFact, asked: Asked | None) -> None:
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
            case CameTooEarly():
                await self._came(turn, room, fact)
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

    async def _came(self, turn: Turn, room: Room, early: CameTooEarly) -> None:
        """It may be here by now, what this is about."""
        match early.what:
            case MessageReceived() as edit:
                await self.conversation.edited(turn, room, edit, early)
            case ReactionReceived() as reaction:
                await marks.reacted(turn, room, reaction, self.rights, early=early)
            case PollVoted() | PollEnded() as ballot:
                await polls.decided(turn, room, ballot, self.rights, early=early)

    async def _troubled(self, turn: Turn, fact: Troubled) -> None:
        """Say it in the control room, as soon as there is one."""
        room = await turn.work.rooms.by_war_room(CONTROL_ROOM)
        if room is None or room.room_id is None:
            await turn.follow(
                fact, ("trouble again", turn.ref), lane=SERVICE_LANE, due_ms=turn.now_ms + _ASK_AGAIN_MS
            )
            return
        await turn.emit("trouble", Say(room_id=room.room_id, content=fact.text, purpose="notice"))

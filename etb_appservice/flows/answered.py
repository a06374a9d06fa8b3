"""How effects ended, and what follows from that. Each answer comes here once, whoever asked for the effect.

    EffectAnswered ─┬► of a web user's act ─► delivered or not (deliveries.py)
                    └► what was asked for goes on: a room is open, a card stands, a run is told of
                       any failure ─► the operators, unless it is them who could not be told
                       all ─► the audit log

Decides nothing anew: what is to be done next is asked of the flow that asked for the effect.
"""

from dataclasses import dataclass

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
from etb_appservice.domain.facts import Done, EffectAnswered, NotDone
from etb_appservice.domain.ids import EventId
from etb_appservice.domain.policy import Policy
from etb_appservice.domain.rooms import CONTROL_ROOM
from etb_appservice.domain.text import plain
from etb_appservice.flows import pages
from etb_appservice.flows.cadence import Cadences
from etb_appservice.flows.commands import RUN
from etb_appservice.flows.conversation import Conversation
from etb_appservice.flows.deliveries import delivered
from etb_appservice.flows.duty import Duty
from etb_appservice.flows.federation import acl_refused
from etb_appservice.flows.followups import FollowUps
from etb_appservice.flows.letters import Letters
from etb_appservice.flows.missing import doubt
from etb_appservice.flows.papers import Papers
from etb_appservice.flows.replies import Replies
from etb_appservice.flows.roomlife import RoomLife
from etb_appservice.flows.rooms import Rooms
from etb_appservice.flows.timeline import mirrored
from etb_appservice.flows.turn import Turn
from etb_appservice.flows.visitor import WEB


@dataclass(frozen=True, slots=True)
class Answers:
    """Hands each answer to the flows that wait for it."""

    rooms: Rooms
    conversation: Conversation
    replies: Replies
    letters: Letters
    cadences: Cadences
    follow_ups: FollowUps
    duty: Duty
    life: RoomLife
    papers: Papers
    rights: Policy
    """By which it is decided who may be in a room."""

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
                    await self.life.follow(turn, room.incident_id)
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

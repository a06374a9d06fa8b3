"""What goes on after a command was sent: its questions, its approvals, the runs it started.

Reads before the unit of work (`look…`) and decides within it, as flows/decide.py does; the rules of each stand in
the flow of its name.
"""

from dataclasses import dataclass
from typing import assert_never

from etb_appservice.domain.effects import Say, StartRunbook
from etb_appservice.domain.facts import (
    ApprovalEnds,
    EffectAnswered,
    HeldDue,
    MessageReceived,
    NotDone,
    QuestionEnds,
    RunbookDue,
)
from etb_appservice.domain.policy import Policy
from etb_appservice.domain.runbooks import RunbookRun
from etb_appservice.flows import approvals, runbooks
from etb_appservice.flows.chatops import Chatops
from etb_appservice.flows.listening import Asked
from etb_appservice.flows.living import shown
from etb_appservice.flows.questions import Questions
from etb_appservice.flows.runbooks import RunbookLook, Runbooks
from etb_appservice.flows.turn import Turn
from etb_appservice.ports import Store

FollowUpFact = QuestionEnds | ApprovalEnds | HeldDue | RunbookDue


@dataclass(frozen=True, slots=True)
class FollowUps:
    """Hands what became of a command to its flow."""

    store: Store
    chatops: Chatops
    questions: Questions
    runbooks: Runbooks
    policy: Policy

    async def look_at_message(self, fact: MessageReceived) -> Asked | None:
        """Whether a message is a command, or the answer to a question; nothing is read for ordinary talk."""
        listener = self.chatops.listener
        is_command = listener.is_command(fact)
        if not is_command and not self.questions.may_answer(fact):
            return None
        async with self.store.view() as view:
            room = await view.rooms.by_id(fact.room_id)
            if room is None:
                return None
            question = None if is_command else await self.questions.answered_by(view, room, fact)
            if not is_command and question is None:
                return None
            name = listener.username(fact.sender)
            known = await view.incidents.user(name) if name else None
        return await listener.look(fact, room, known, question)

    async def look_at_held(self, fact: HeldDue) -> Asked | None:
        """What an approved command needs of ETB."""
        async with self.store.view() as view:
            room = await view.rooms.by_war_room(fact.war_room)
            approval = await approvals.granted(view, fact)
            if room is None or approval is None:
                return None
            name = self.chatops.listener.username(approval.held.caller)
            known = await view.incidents.user(name) if name else None
        return await self.chatops.listener.look_held(approval.held, room, known)

    async def look_at_run(self, fact: RunbookDue) -> RunbookLook | None:
        """How a run does in ETB."""
        async with self.store.view() as view:
            run = await runbooks.open_run(view, fact)
        return await self.runbooks.look(run) if run else None

    async def due(self, turn: Turn, fact: FollowUpFact, looked: object) -> None:
        """A timer of one of these."""
        match fact:
            case QuestionEnds():
                await self.questions.ends(turn, fact)
            case ApprovalEnds():
                await approvals.ends(turn, fact, self.policy)
            case HeldDue():
                room = await turn.work.rooms.by_war_room(fact.war_room)
                approval = await approvals.granted(turn.work, fact)
                if room is not None and approval is not None and isinstance(looked, Asked):
                    await self.chatops.run_held(turn, room, approval, looked)
            case RunbookDue():
                await self.runbooks.due(turn, fact, looked if isinstance(looked, RunbookLook) else None)
            case _:
                assert_never(fact)

    async def shown(self, turn: Turn, say: Say, fact: EffectAnswered) -> None:
        """A living message stands, or could not be sent: once it does, the log of a run can go into its thread."""
        room = await turn.work.rooms.by_id(say.room_id)
        if room is None:
            return
        room = await turn.work.rooms.by_war_room(room.war_room) or room
        entry = await shown(turn, room, fact)
        if isinstance(entry, RunbookRun) and entry.unsaid:
            await turn.work.cases.put(room.war_room, await runbooks.say_log(turn, room, entry))

    async def not_done(self, turn: Turn, fact: EffectAnswered, failed: NotDone) -> None:
        """The asker has been told that ETB did not do it; what the room was shown of it must say so too."""
        if isinstance(fact.effect, StartRunbook):
            room = await turn.work.rooms.of_incident(fact.effect.incident_id)
            if room is not None:
                await runbooks.not_started(turn, room, fact.effect.ref, failed)

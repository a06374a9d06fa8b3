"""One call of a command: what its function is given, and what it can ask for. How commands work: commands.py."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from etb_appservice.domain.breakglass import GlassRole
from etb_appservice.domain.clearance import Actor, Decision, Right, decide
from etb_appservice.domain.effects import AdminEffect, EtbEffect
from etb_appservice.domain.ids import EventId, IncidentId, Username
from etb_appservice.domain.policy import Policy
from etb_appservice.domain.questions import Held, Question
from etb_appservice.flows.approvals import hold
from etb_appservice.flows.commands import RUN, Answer, Command
from etb_appservice.flows.grammar import UsageError
from etb_appservice.flows.questions import Questions, typed
from etb_appservice.flows.standing import subject_of
from etb_appservice.flows.turn import Turn
from etb_appservice.ports import Known, Refusals, Room, Vitals, Work

LATE = "late"
"""Known once the asker of a late command has said that they still want it."""
APPROVED = "approved"
"""Known once a command was approved: by whom."""
NOT_FOR_PARTNERS = "This is for people who have an ETB user, and people of a partner have none."


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of a command, inside its unit of work. `before` is what the command's `prepare` read."""

    turn: Turn
    room: Room
    actor: Actor
    policy: Policy
    commands: Mapping[str, Command]
    vitals: Vitals
    refusals: Refusals
    questions: Questions
    held: Held
    """This command as it can be run again later."""
    before: Any = None
    ended: Question | None = None
    """The question of the asker's that was open until this command came."""

    @property
    def run_id(self) -> str:
        """The id of this run in the command log; the same when it is run again with an answer."""
        return self.held.run_id

    @property
    def event_id(self) -> EventId:
        """The message that is the command."""
        return self.held.event_id

    @property
    def thread_root(self) -> EventId | None:
        """The thread in which it was asked."""
        return self.held.thread_root

    @property
    def learned(self) -> Mapping[str, str]:
        """What the asker has answered so far, by what it was wanted for."""
        return self.held.learned

    @property
    def is_approved(self) -> bool:
        """Whether others have approved that this is run."""
        return APPROVED in self.held.learned

    @property
    def work(self) -> Work:
        """The open unit of work."""
        return self.turn.work

    @property
    def incident_id(self) -> IncidentId:
        """The incident whose room this is; only for commands of incident rooms."""
        if self.room.incident_id is None:
            raise UsageError("This works in the room of an incident.")
        return self.room.incident_id

    @property
    def username(self) -> Username:
        """Who asks, as ETB knows them; operators who aren't linked have no such name."""
        if self.actor.partner:
            raise UsageError(NOT_FOR_PARTNERS)
        if self.actor.username is None:
            raise UsageError("Your Matrix account is not linked to an ETB user. Ask an operator to link it.")
        return self.actor.username

    @property
    def name(self) -> Username:
        """Who asks, as the record calls them: by their Matrix id where break-glass let them in without ETB."""
        if self.actor.username is None and self.actor.is_let_in:
            return Username(self.actor.user_id)
        return self.username

    def may(self, right: Right) -> Decision:
        """Whether the asker may do what needs more than the command as such does."""
        return decide(self.actor, right, subject_of(self.room, self.policy))

    async def known(self) -> Known:
        """Our last copy of the incident; UsageError when there is none yet."""
        known = await self.work.incidents.get(self.incident_id)
        if known is None:
            raise UsageError("I have no copy of this incident yet. Try again in a moment.")
        return known

    async def etb(self, effect: EtbEffect, name: str = "etb") -> Answer:
        """Ask for a change in ETB; the command's `then` answers once ETB has."""
        await self.turn.emit_as(f"{RUN}{self.run_id}/{name}", effect)
        return Answer("", "RUNNING")

    async def admin(self, effect: AdminEffect, name: str = "admin") -> Answer:
        """Ask for what needs an administrator of the homeserver; the command's `then` answers once it is done."""
        await self.turn.emit_as(f"{RUN}{self.run_id}/{name}", effect)
        return Answer("", "RUNNING")

    async def ask(
        self,
        prompt: str,
        *,
        wanted: str,
        options: tuple[str, ...] = (),
        labels: tuple[str, ...] = (),
        asks_yes: bool = False,
    ) -> Answer:
        """Ask the asker something; the command is run again when they answer, and `learned[wanted]` holds it."""
        if self.is_approved:
            return Answer("What was approved has changed meanwhile. Nothing was done: ask again.", "FAILED")
        await self.questions.ask(
            self.turn,
            self.room,
            self.held,
            prompt,
            wanted=wanted,
            options=options,
            labels=labels,
            asks_yes=asks_yes,
        )
        return Answer(prompt, "RUNNING")

    async def hold(
        self, what: str, learned: Mapping[str, str] | None = None, *, glass: tuple[GlassRole, ...] = ()
    ) -> Answer:
        """Ask others for approval; the command is run again when they gave it. `what` is Markdown.

        `glass`: the break-glass roles of which one holder is asked, wherever they are.
        """
        if self.room.kind == "direct" and not glass:
            return Answer("This needs approval by others: ask for it in a room with them.", "REFUSED")
        await hold(
            self.turn,
            self.room,
            replace(self.held, learned={**self.held.learned, **(learned or {})}),
            what,
            requester=self.actor.username,
            is_signed=self.actor.is_proven,
            policy=self.policy,
            glass=glass,
        )
        return Answer("", "RUNNING", result=f"{typed(self.held)} waits for approval")

"""Commands: from a message to its answer, exactly once.

    body ─► a command? ─► rate ─► prepare (reads ETB, outside) ─► one unit of work:
            message kept, may they? (clearance.decide), run, command log, audit entry, answer queued

An edit never runs a command again; our own users never run one; a message in clear text never gets here.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.clearance import Actor, Decision, Subject, decide
from etb_appservice.domain.effects import Say
from etb_appservice.domain.facts import MessageReceived, Trust
from etb_appservice.domain.ids import UserId, Username, new_id
from etb_appservice.domain.incident import EtbUser
from etb_appservice.domain.outcomes import Failure
from etb_appservice.domain.policy import Policy
from etb_appservice.domain.text import code, plain
from etb_appservice.flows.commands import (
    Answer,
    Asking,
    Call,
    Command,
    UsageError,
    nearest,
    place_of,
    read_arguments,
    split_command,
)
from etb_appservice.flows.pace import Pace
from etb_appservice.flows.standing import actor_of
from etb_appservice.flows.turn import Turn
from etb_appservice.ports import Clock, CommandRun, EtbReads, Meter, Room, Vitals

_VIOLATIONS_TO_REPORT = 3


@dataclass(frozen=True, slots=True)
class Asked:
    """A message that is a command, and what was read for it before the unit of work."""

    name: str
    text: str
    command: Command | None
    arguments: Mapping[str, Any]
    usage_error: str = ""
    before: Any = None
    user: EtbUser | None = None
    """The asker as ETB confirmed them just now; None when the last known copy must do."""
    too_fast: bool = False


class Chatops:
    """Reads commands out of messages and answers them."""

    def __init__(
        self,
        commands: Mapping[str, Command],
        etb: EtbReads,
        policy: Policy,
        clock: Clock,
        vitals: Vitals,
        meter: Meter,
    ) -> None:
        """`commands` by name and alias, as `commands.find` answers them."""
        self._commands = commands
        self._etb = etb
        self._policy = policy
        self._clock = clock
        self._vitals = vitals
        self._meter = meter
        self._pace = Pace(policy.commands)

    def username(self, user_id: UserId) -> Username | None:
        """The ETB user behind a Matrix id, as configured."""
        return self._policy.people.username(user_id)

    def is_command(self, fact: MessageReceived) -> bool:
        """Whether a message asks for something: typed by a person, not edited, not a bot's notice."""
        return (
            fact.replaces is None
            and fact.msgtype != "m.notice"
            and not self._policy.is_ours(fact.sender)
            and split_command(fact.body, self._policy.commands.prefixes) is not None
        )

    async def look(self, fact: MessageReceived, room: Room, known: tuple[EtbUser, int] | None) -> Asked | None:
        """Read the command, and what it needs of ETB; None when the message is talk.

        `known`: the last copy of the asker and when ETB confirmed it; confirmed again when it is old.
        """
        split = split_command(fact.body, self._policy.commands.prefixes)
        if split is None or not self.is_command(fact):
            return None
        name, text = split
        if not self._pace.allows(fact.sender, self._clock.monotonic()):
            return Asked(name, text, None, {}, too_fast=True)
        one = self._commands.get(name)
        if one is None or place_of(room) not in one.where:
            return Asked(name, text, None, {})
        try:
            arguments = read_arguments(one, text)
        except UsageError as error:
            return Asked(name, text, one, {}, usage_error=str(error))
        before = None
        if one.prepare is not None:
            asking = Asking(
                room=room,
                sender=fact.sender,
                arguments=arguments,
                etb=self._etb,
                policy=self._policy,
                limit_s=self._policy.commands.etb_wait_s,
            )
            before = await one.prepare(asking)
        user = await self.confirm(fact.sender, known)
        return Asked(name, text, one, arguments, before=before, user=user)

    async def asked(self, turn: Turn, room: Room, fact: MessageReceived, asked: Asked) -> None:
        """Decide, run and answer a command, in this unit of work."""
        began = self._clock.monotonic()
        if asked.user is not None:
            await turn.work.incidents.put_user(asked.user, turn.now_ms)
        kept = await turn.work.messages.by_event(fact.event_id)
        if kept is not None and kept.state == "redacted":
            return
        if not await turn.work.once.first_time("command", fact.event_id):
            return
        actor = await actor_of(
            turn.work, room, fact.sender, self._policy, is_cross_signed=fact.trust is Trust.CROSS_SIGNED
        )
        finished = turn.now_ms
        run_id = new_id(finished)
        answer, name = await self._answer(turn, room, fact, asked, actor, run_id)
        if answer is None:
            return
        run = CommandRun(
            id=run_id,
            room_id=fact.room_id,
            incident_id=room.incident_id,
            event_id=fact.event_id,
            caller=fact.sender,
            name=name,
            arguments=asked.text,
            result=answer.result or answer.text,
            status=answer.status,
            asked_ms=turn.received_ms or finished,
            finished_ms=finished,
            thread_root=fact.thread_root,
        )
        if not await turn.work.commands.add(run):
            return
        await turn.note(
            "command.run" if answer.status != "REFUSED" else "command.refused",
            actor=fact.sender,
            subject=run.id,
            details={
                "command": name,
                "event": fact.event_id,
                "room": room.war_room,
                "status": answer.status,
                "device": fact.device_id,
                "trust": fact.trust.value,
            },
            contents={"arguments": asked.text, "result": run.result},
        )
        if answer.text:
            await turn.emit("answer", answer_to(fact, answer.text))
        self._meter.command(name if asked.command else "unknown", answer.status, self._clock.monotonic() - began)

    async def _answer(
        self, turn: Turn, room: Room, fact: MessageReceived, asked: Asked, actor: Actor, run_id: str
    ) -> tuple[Answer | None, str]:
        """What to say, and the command's name for the log."""
        if asked.too_fast:
            text = "That is too fast for me: wait a minute, then ask again."
            return (Answer(text, "REFUSED") if self._pace.may_warn(fact.sender) else None), "too fast"
        if asked.command is None:
            return self._unknown(room, asked.name), "unknown"
        one = asked.command
        decision = self._decide(actor, one, room)
        if not decision.allowed:
            await self._refused(turn, room, fact)
            return Answer(decision.reason, "REFUSED"), one.name
        if asked.usage_error:
            return self._usage(one, asked.usage_error), one.name
        call = Call(
            turn=turn,
            room=room,
            actor=actor,
            policy=self._policy,
            commands=self._commands,
            vitals=self._vitals,
            run_id=run_id,
            event_id=fact.event_id,
            thread_root=fact.thread_root,
            before=asked.before,
        )
        try:
            answer = await one.run(call, **asked.arguments)
        except UsageError as error:
            return self._usage(one, str(error)), one.name
        if answer.status == "REFUSED":
            await self._refused(turn, room, fact)
        return answer, one.name

    def _usage(self, one: Command, mistake: str) -> Answer:
        return Answer(f"{mistake}\n\nUsage: `{self._policy.commands.prefixes[0]}{one.usage}`", "FAILED")

    async def confirm(self, sender: UserId, known: tuple[EtbUser, int] | None) -> EtbUser | None:
        """Ask ETB who the sender is, unless it said so a short while ago."""
        username = self._policy.people.username(sender)
        fresh_s = self._policy.commands.rights_fresh_s
        if username is None or (known and self._clock.now_ms() - known[1] < fresh_s * 1000):
            return None
        try:
            async with asyncio.timeout(self._policy.commands.etb_wait_s):
                user = await self._etb.user(username)
        except (Failure, TimeoutError):
            return None
        # Whom ETB knows no longer is nobody from now on, whatever an older copy says.
        return user or EtbUser(username, username, Classification.PUBLIC, is_active=False)

    def _decide(self, actor: Actor, one: Command, room: Room) -> Decision:
        subject = Subject(classification=room.classification, is_control_room=place_of(room) == "control")
        return decide(actor, one.needs, subject)

    def _unknown(self, room: Room, name: str) -> Answer:
        prefix = self._policy.commands.prefixes[0]
        here = [word for word, one in self._commands.items() if place_of(room) in one.where]
        close = nearest(name, here)
        hint = f"Did you mean `{prefix}{close}`? " if close else ""
        return Answer(f"I don't know `{name[:40]}`. {hint}`{prefix}help` lists what I can do.", "FAILED")

    async def _refused(self, turn: Turn, room: Room, fact: MessageReceived) -> None:
        """A refusal that repeats is a violation the operators hear of."""
        self._pace.refused(fact.sender)
        if self._pace.refusals(fact.sender) == _VIOLATIONS_TO_REPORT:
            await turn.note("violation.refusals", actor=fact.sender, subject=room.war_room)
            await turn.trouble(
                ("refused", fact.sender, fact.event_id),
                f"{code(fact.sender)} was refused {_VIOLATIONS_TO_REPORT} commands in **{plain(room.name)}**.",
            )


def answer_to(fact: MessageReceived, text: str) -> Say:
    """An answer goes where the question stands: in its thread, else as a reply to the asker."""
    return Say(
        room_id=fact.room_id,
        content=text,
        reply_to=fact.event_id,
        thread_root=fact.thread_root,
        purpose="answer",
    )

"""Commands: from a message to its answer, exactly once.

    body ─► a command? ─► rate ─► prepare (reads ETB, outside) ─► one unit of work:
            message kept, may they? (clearance.decide), run, command log, audit entry, answer queued

    the asker answers a question ─┐
    others approve ───────────────┴► the command that waited, prepared and checked anew, in its own run

An edit never runs a command again; our own users never run one; a message in clear text never gets here.
"""

from collections.abc import Mapping
from dataclasses import replace

from etb_appservice.domain.approvals import Approval
from etb_appservice.domain.clearance import Actor, Decision, decide
from etb_appservice.domain.effects import Say
from etb_appservice.domain.facts import MessageReceived, Trust
from etb_appservice.domain.ids import EventId, RoomId, new_id
from etb_appservice.domain.news import CommandFinished
from etb_appservice.domain.policy import Policy
from etb_appservice.domain.questions import Held, Question, Reading
from etb_appservice.domain.text import code, plain
from etb_appservice.flows import approvals
from etb_appservice.flows.call import APPROVED, LATE, Call
from etb_appservice.flows.commands import Answer, Command, NotYet, nearest, place_of
from etb_appservice.flows.grammar import UsageError
from etb_appservice.flows.listening import Asked, Listener
from etb_appservice.flows.pace import Pace
from etb_appservice.flows.questions import Questions, typed
from etb_appservice.flows.removals import learned
from etb_appservice.flows.standing import actor_of, subject_of
from etb_appservice.flows.tellings import tell_of_end
from etb_appservice.flows.turn import Turn
from etb_appservice.ports import Clock, CommandRun, EtbReads, Meter, Refusals, Room, Vitals

_VIOLATIONS_TO_REPORT = 3


class Chatops:
    """Reads commands out of messages and answers them."""

    def __init__(
        self,
        commands: Mapping[str, Command],
        questions: Questions,
        etb: EtbReads,
        policy: Policy,
        clock: Clock,
        vitals: Vitals,
        meter: Meter,
        refusals: Refusals,
    ) -> None:
        """`commands` by name and alias, as `commands.find` answers them."""
        self._commands = commands
        self._questions = questions
        self._policy = policy
        self._clock = clock
        self._vitals = vitals
        self._meter = meter
        self._refusals = refusals
        self._pace = Pace(policy.commands)
        self.listener = Listener(commands, etb, policy, clock, self._pace)

    async def asked(
        self, turn: Turn, room: Room, fact: MessageReceived, asked: Asked, *, run_id: str = ""
    ) -> bool:
        """Decide, run and answer a command, in this unit of work. `run_id`: that of its run, where it has one.

        True where its words didn't make a command.
        """
        began = self._clock.monotonic()
        if asked.user is not None:
            await learned(turn, asked.user, self._policy)
        kept = await turn.work.messages.by_event(fact.event_id)
        if kept is not None and kept.state == "redacted":
            return False
        if not await turn.work.once.first_time("command", fact.event_id):
            return False
        if asked.question is not None and asked.reading is not None:
            await self._answered(turn, room, fact, asked, asked.question, asked.reading)
            return False
        ended = await self._questions.overtaken(turn, room, fact.sender) if asked.command else None
        actor = await self._actor(turn, room, fact)
        finished = turn.now_ms
        held = Held(
            run_id=run_id or new_id(finished),
            caller=fact.sender,
            room_id=fact.room_id,
            event_id=fact.event_id,
            command=asked.name,
            text=asked.text,
            thread_root=fact.thread_root,
        )
        answer = await self._answer(turn, room, asked, actor, held, sent_ms=fact.origin_ms, ended=ended)
        if answer is None:
            return False
        name = _named(asked)
        run = CommandRun(
            id=held.run_id,
            room_id=fact.room_id,
            incident_id=room.incident_id,
            event_id=fact.event_id,
            caller=fact.sender,
            name=asked.command.name if asked.command else asked.name,
            arguments=asked.text,
            result=answer.result or answer.text,
            status=answer.status,
            asked_ms=turn.received_ms or finished,
            finished_ms=finished,
            thread_root=fact.thread_root,
            outcome=answer.outcome,
            is_outside=answer.is_outside,
        )
        if not await turn.work.commands.add(run):
            return False
        if run.status != "RUNNING":
            turn.tell(CommandFinished(war_room=room.war_room, run_id=run.id))
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
            await turn.emit("answer", replace(answer_to(fact, answer.text), signed_only=answer.signed_only))
        self._meter.command(name if asked.command else "unknown", answer.status, self._clock.monotonic() - began)
        return answer.is_usage

    async def _actor(self, turn: Turn, room: Room, fact: MessageReceived) -> Actor:
        return await actor_of(
            turn.work,
            room,
            fact.sender,
            self._policy,
            is_cross_signed=fact.trust is Trust.CROSS_SIGNED,
            has_token=fact.trust is Trust.TOKEN,
        )

    async def run_held(self, turn: Turn, room: Room, approval: Approval, asked: Asked) -> None:
        """Run a command that others have approved, as whoever asked for it, if they still may."""
        if asked.user is not None:
            await learned(turn, asked.user, self._policy)
        if await _is_redacted(turn, approval.held):
            await approvals.withdraw(turn, room, approval, self._policy)
            return
        by = ", ".join(approvals.names(approval))
        held = replace(approval.held, learned={**approval.held.learned, APPROVED: by})
        actor = await actor_of(turn.work, room, held.caller, self._policy, is_cross_signed=approval.is_signed)
        try:
            answer = await self._answer(turn, room, asked, actor, held)
        except NotYet as reason:
            if await approvals.wait_for_etb(turn, room, approval):
                text = f"Approved. {reason} It runs as soon as ETB answers, unless its time is over before."
                await turn.emit("waits", _say(held.room_id, text, held.event_id, held.thread_root))
            return
        await approvals.has_run(turn, room, approval, self._policy)
        if answer is None:
            return
        await self._went_on(turn, room, held, asked, answer)
        await tell_of_end(turn, room.war_room, held.run_id, self._policy, status=answer.status)
        if answer.text:
            await turn.emit("answer", _say(held.room_id, answer.text, held.event_id, held.thread_root))

    async def _answered(
        self, turn: Turn, room: Room, fact: MessageReceived, asked: Asked, question: Question, reading: Reading
    ) -> None:
        """An answer to a question, if it is still the one that is asked."""
        current = await self._questions.open_of(turn.work, room.war_room, fact.sender)
        if current is None or current.number != question.number or turn.now_ms >= current.expires_ms:
            return
        if await _is_redacted(turn, current.held):
            await self._questions.drop(turn, room, current, "the command was redacted")
            return
        if reading.mistake:
            await turn.emit("answer", answer_to(fact, reading.mistake))
            return
        if reading.is_no:
            await self._questions.drop(turn, room, current, "the asker said no")
            await turn.emit("answer", answer_to(fact, f"All right: {typed(current.held)} is not run."))
            return
        await self._questions.close(turn, room, current)
        actor = await self._actor(turn, room, fact)
        held = replace(current.held, learned=asked.learned)
        try:
            answer = await self._answer(turn, room, asked, actor, held)
        except NotYet as reason:
            answer = Answer(str(reason), "FAILED", is_outside=True)
        if answer is None:
            return
        await self._went_on(turn, room, held, asked, answer)
        if answer.text:
            await turn.emit("answer", replace(answer_to(fact, answer.text), signed_only=answer.signed_only))

    async def _went_on(self, turn: Turn, room: Room, held: Held, asked: Asked, answer: Answer) -> None:
        """A command that had waited: its run goes on in the log."""
        result = answer.result or answer.text
        await turn.finish_run(
            room.war_room,
            held.run_id,
            status=answer.status,
            result=result,
            outcome=answer.outcome,
            is_outside=answer.is_outside,
        )
        await turn.note(
            "command.resumed" if answer.status != "REFUSED" else "command.refused",
            actor=held.caller,
            subject=held.run_id,
            details={"command": held.command, "status": answer.status, "approved_by": held.learned.get(APPROVED)},
            contents={"result": result},
        )
        self._meter.command(held.command if asked.command else "unknown", answer.status, 0.0)

    async def _answer(
        self,
        turn: Turn,
        room: Room,
        asked: Asked,
        actor: Actor,
        held: Held,
        *,
        sent_ms: int | None = None,
        ended: Question | None = None,
    ) -> Answer | None:
        """What to say; None: nothing at all. `sent_ms`: when a command that comes now says it was sent.

        Raises NotYet for a command that has waited; one that comes now is answered with it.
        """
        if asked.too_fast:
            text = "That is too fast for me: wait a minute, then ask again."
            return Answer(text, "REFUSED") if self._pace.may_warn(held.caller) else None
        if asked.command is None:
            return self._unknown(room, asked.name)
        one = asked.command
        decision = self._decide(actor, one, room)
        if not decision.allowed:
            await self._refused(turn, room, held)
            return Answer(decision.reason, "REFUSED")
        if asked.usage_error:
            return self._usage(one, asked.usage_error)
        call = Call(
            turn=turn,
            room=room,
            actor=actor,
            policy=self._policy,
            commands=self._commands,
            vitals=self._vitals,
            refusals=self._refusals,
            questions=self._questions,
            held=held,
            before=asked.before,
            ended=ended,
        )
        late_ms = 0 if sent_ms is None or one.reads_only else turn.now_ms - sent_ms
        if late_ms > self._policy.commands.late_after_s * 1000:
            minutes = late_ms // 60_000
            prompt = f"You sent {typed(held)} {minutes} minutes ago. Still want it? Answer `yes` or `no`."
            return await call.ask(prompt, wanted=LATE, asks_yes=True)
        if one.name in self._policy.approvals.commands and not one.asks_approval and not call.is_approved:
            return await call.hold(typed(held))
        try:
            answer = await one.run(call, **asked.arguments)
        except UsageError as error:
            return self._usage(one, str(error))
        except NotYet as reason:
            if sent_ms is None:
                raise
            return Answer(str(reason), "FAILED", is_outside=True)
        if answer.status == "REFUSED":
            await self._refused(turn, room, held)
        return answer

    def _usage(self, one: Command, mistake: str) -> Answer:
        text = f"{mistake}\n\nUsage: `{self._policy.commands.prefixes[0]}{one.usage}`"
        return Answer(text, "FAILED", is_usage=True)

    def _decide(self, actor: Actor, one: Command, room: Room) -> Decision:
        return decide(actor, one.needs, subject_of(room, self._policy))

    def _unknown(self, room: Room, name: str) -> Answer:
        prefix = self._policy.commands.prefixes[0]
        here = [word for word, one in self._commands.items() if place_of(room) in one.where]
        close = nearest(name, here)
        hint = f"Did you mean `{prefix}{close}`? " if close else ""
        text = f"I don't know `{name[:40]}`. {hint}`{prefix}help` lists what I can do."
        return Answer(text, "FAILED", is_usage=True)

    async def _refused(self, turn: Turn, room: Room, held: Held) -> None:
        """A refusal that repeats is a violation the operators hear of."""
        self._pace.refused(held.caller)
        if self._pace.refusals(held.caller) == _VIOLATIONS_TO_REPORT:
            await turn.note("violation.refusals", actor=held.caller, subject=room.war_room)
            await turn.trouble(
                ("refused", held.caller, held.event_id),
                f"{code(held.caller)} was refused {_VIOLATIONS_TO_REPORT} commands in **{plain(room.name)}**.",
            )


def _named(asked: Asked) -> str:
    """The command's name where nothing that was typed may stand: in the audit log, which is never sealed."""
    if asked.too_fast:
        return "too fast"
    return asked.command.name if asked.command else "unknown"


async def _is_redacted(turn: Turn, held: Held) -> bool:
    """Whether the message that asked was taken away while its command waited: then it is not run."""
    kept = await turn.work.messages.by_event(held.event_id)
    return kept is not None and kept.state == "redacted"


def answer_to(fact: MessageReceived, text: str) -> Say:
    """An answer goes where the question stands: in its thread, else as a reply to the asker."""
    return _say(fact.room_id, text, fact.event_id, fact.thread_root)


def _say(room_id: RoomId, text: str, reply_to: EventId, thread_root: EventId | None) -> Say:
    return Say(room_id=room_id, content=text, reply_to=reply_to, thread_root=thread_root, purpose="answer")

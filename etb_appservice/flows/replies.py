"""What becomes of a command that waits for ETB: answered once its effect was, told at once that ETB is away.

run/<id>/<name> ─► first try fails ─► "ETB does not answer ..."         (once)
                ├► done ────────────► the command's own `then` answers
                ├► refused ─────────► says so; the run has failed
                └► parked, unknown ─► says so; an operator's retry answers after all
"""

from collections.abc import Mapping

from etb_appservice.domain.effects import AdminEffect, ChangeIncident, Effect, EtbEffect, Say
from etb_appservice.domain.facts import Done, EffectAnswered, EffectDelayed, IncidentDue, NotDone
from etb_appservice.domain.ids import WarRoomId
from etb_appservice.domain.policy import Policy
from etb_appservice.domain.text import capital, code, plain
from etb_appservice.flows.commands import RUN, Answer, Command, Reply
from etb_appservice.flows.grammar import UsageError
from etb_appservice.flows.tellings import tell_of_end
from etb_appservice.flows.turn import Turn
from etb_appservice.ports import CommandRun, Meter


class Replies:
    """Answers runs that are under way."""

    def __init__(self, commands: Mapping[str, Command], policy: Policy, meter: Meter) -> None:
        """`commands` by name and alias."""
        self._commands = commands
        self._policy = policy
        self._meter = meter

    async def answered(self, turn: Turn, fact: EffectAnswered) -> None:
        """How an effect of a command ended."""
        run = await self._run(turn, fact.key)
        effect = fact.effect
        if run is None or not isinstance(effect, EtbEffect | AdminEffect):
            return
        who = _who(effect)
        match fact.answer:
            case Done() as done:
                answer = await self._then(turn, run, effect, done)
                if isinstance(effect, ChangeIncident):
                    # Card and people follow at once, and not with the next poll.
                    incident_id = effect.incident_id
                    await turn.follow(
                        IncidentDue(incident_id=incident_id), ("changed", turn.ref), lane=incident_id
                    )
            case NotDone(state="refused", reason=reason):
                text = f"{capital(who)} did not do that: {plain(reason)}{self._hint(run, effect)}"
                answer = Answer(text, "FAILED", is_outside=True)
            case NotDone(state=state, reason=reason):
                known = f"Whether {who} did it is not known" if state == "unknown" else "That could not be done"
                text = f"{known}: {plain(reason)} An operator was told and can look after it."
                answer = Answer(text, "FAILED", is_outside=True)
        await self._say(turn, run, answer)

    async def delayed(self, turn: Turn, fact: EffectDelayed) -> None:
        """ETB is away: the asker learns at once that it will be done."""
        run = await self._run(turn, fact.key)
        if run is None or not await turn.work.once.first_time("delayed", run.id):
            return
        who = _who(fact.effect)
        text = (
            f"{capital(who)} does not answer just now. {code(f'{run.name} {run.arguments}'.strip())} is kept and "
            f"done as soon as {who} answers; I will say so here. You need not send it again."
        )
        await turn.emit("delayed", _in_reply(run, text))

    def _hint(self, run: CommandRun, effect: EtbEffect | AdminEffect) -> str:
        """What the command knows to add to a refusal of ETB."""
        if not isinstance(effect, EtbEffect):
            return ""
        one = self._commands.get(run.name)
        hint = one.hint(effect) if one is not None and one.hint is not None else ""
        return f"\n\n{hint}" if hint else ""

    async def _then(self, turn: Turn, run: CommandRun, effect: EtbEffect | AdminEffect, done: Done) -> Answer:
        one = self._commands.get(run.name)
        room = await turn.work.rooms.by_id(run.room_id)
        if one is None or one.then is None or room is None:
            return Answer("Done.")
        reply = Reply(turn=turn, room=room, run=run, effect=effect, done=done, policy=self._policy)
        try:
            return await one.then(reply)
        except UsageError as error:
            return Answer(str(error), "FAILED")

    async def _say(self, turn: Turn, run: CommandRun, answer: Answer) -> None:
        if answer.status == "RUNNING":
            return
        result = answer.result or answer.text
        room = await turn.work.rooms.by_id(run.room_id)
        where = room.war_room if room is not None else WarRoomId("")
        await turn.finish_run(
            where,
            run.id,
            status=answer.status,
            result=result or run.result,
            outcome=answer.outcome,
            is_outside=answer.is_outside,
        )
        await tell_of_end(turn, where, run.id, self._policy, status=answer.status)
        await turn.note(
            "command.answered",
            actor=run.caller,
            subject=run.id,
            details={"command": run.name, "status": answer.status},
            contents={"result": result},
        )
        if answer.text:
            await turn.emit("answer", _in_reply(run, answer.text))
        self._meter.command(run.name, answer.status, (turn.now_ms - run.asked_ms) / 1000)

    async def _run(self, turn: Turn, key: str) -> CommandRun | None:
        if not key.startswith(RUN):
            return None
        return await turn.work.commands.get(key.removeprefix(RUN).split("/", 1)[0])


def _who(effect: Effect) -> str:
    """Whose answer is waited for."""
    return "ETB" if isinstance(effect, EtbEffect) else "the homeserver"


def _in_reply(run: CommandRun, text: str) -> Say:
    """Where the question stands: in its thread, else as a reply to the asker."""
    return Say(
        room_id=run.room_id,
        content=text,
        reply_to=run.event_id,
        thread_root=run.thread_root,
        purpose="answer",
    )

"""Follows runs of runbooks: one living message, its log in its thread, and an end that is said once.

    begin ─► StartRunbook ─► started ─► RunbookDue (2 s … 30 s) ─► look at ETB ─┬► goes on ─► RunbookDue
                        └──► not_started                                         └► ended, or watched long enough

A run is started by one effect with one key, so it is never started twice for one request. What ETB doesn't answer
changes nothing: it is asked again.
"""

import asyncio
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from etb_appservice.domain.duty import Execution
from etb_appservice.domain.effects import CancelRunbook, Say
from etb_appservice.domain.facts import Done, NotDone, RunbookDue
from etb_appservice.domain.outcomes import Failure
from etb_appservice.domain.policy import Policy
from etb_appservice.domain.runbooks import RunbookRun, RunState
from etb_appservice.domain.text import code, plain
from etb_appservice.flows.living import show
from etb_appservice.flows.tellings import tell_of_end
from etb_appservice.flows.timeline import write_down
from etb_appservice.flows.turn import Turn
from etb_appservice.ports import CommandStatus, EtbReads, Room, Work

_FIRST_MS = 2_000
_MOST_MS = 30_000
_GROWTH = 1.5
_LINES_A_MESSAGE = 40
_ENDS: dict[str, RunState] = {
    "COMPLETED": "COMPLETED",
    "SUCCESS": "COMPLETED",
    "FAILED": "FAILED",
    "TIMEOUT": "FAILED",
    "CANCELLED": "CANCELLED",
}
_RESULTS: dict[RunState, CommandStatus] = {
    "COMPLETED": "SUCCESS",
    "CANCELLED": "CANCELLED",
    "UNWATCHED": "RUNNING",
}
_HEADS: dict[RunState, str] = {
    "WAITING": "waits for ETB to start it",
    "RUNNING": "is running",
    "COMPLETED": "has succeeded",
    "FAILED": "has failed",
    "CANCELLED": "was cancelled",
    "UNWATCHED": "is still running, and no longer watched",
    "REFUSED": "was not started",
    "UNKNOWN": "may or may not have been started",
}


@dataclass(frozen=True, slots=True)
class RunbookLook:
    """What ETB said of a run just now; None: it did not answer."""

    execution: Execution | None


class Runbooks:
    """Looks at runs that are under way."""

    def __init__(self, etb: EtbReads, policy: Policy) -> None:
        self._etb = etb
        self._policy = policy

    async def look(self, run: RunbookRun) -> RunbookLook:
        """Ask ETB, within the limit of a command."""
        try:
            async with asyncio.timeout(self._policy.commands.etb_wait_s):
                return RunbookLook(await self._etb.execution(run.execution_id))
        except (Failure, TimeoutError):
            return RunbookLook(None)

    async def due(self, turn: Turn, fact: RunbookDue, looked: RunbookLook | None) -> None:
        """Show what has changed; look again, or end."""
        run = await open_run(turn.work, fact)
        room = await turn.work.rooms.by_war_room(fact.war_room)
        if run is None or room is None:
            return
        execution = looked.execution if looked else None
        if execution is None:
            run = replace(run, is_away=True)
        else:
            run = _taken(run, execution)
            end = _ENDS.get(execution.status)
            if end is not None:
                await self._end(turn, room, run, end, execution.error)
                return
        if turn.now_ms - (run.started_ms or run.asked_ms) >= self._policy.runbooks.watch_s * 1000:
            await self._end(turn, room, run, "UNWATCHED", "")
            return
        await put(turn, room, await look_again(turn, room, run))

    async def _end(self, turn: Turn, room: Room, run: RunbookRun, state: RunState, error: str) -> None:
        run = replace(run, state=state, error=error, ended_ms=turn.now_ms, is_open=False)
        run = await put(turn, room, run)
        result = run.living.wanted
        status = _RESULTS.get(state, "FAILED")
        await turn.finish_run(room.war_room, run.id, status=status, result=result, is_outside=status == "FAILED")
        await tell_of_end(turn, room.war_room, run.id, self._policy, status=status)
        await turn.note(
            "runbook.ended",
            subject=run.id,
            details={"execution": run.execution_id, "state": state},
            contents={"result": result},
        )
        if state == "UNWATCHED":
            return
        failed = f" at {_step(run)}" if state == "FAILED" and run.step else ""
        await write_down(
            turn,
            room,
            "RUNBOOK_COMPLETED",
            f"Runbook {run.name} {_HEADS[state]}{failed}",
            description=error,
            server=self._policy.server_name,
            by=run.username,
            event_id=run.living.event_id,
            to_etb=False,
        )


async def open_run(work: Work, fact: RunbookDue) -> RunbookRun | None:
    """The run that a timer is for; None when the timer is old, or the run has ended."""
    run = await work.cases.get(fact.war_room, RunbookRun, fact.run_id)
    return run if run is not None and run.is_open and run.execution_id and run.looks == fact.look else None


async def begin(turn: Turn, room: Room, run: RunbookRun) -> None:
    """A run was asked for; whoever calls emits its `StartRunbook`."""
    await put(turn, room, run)
    await turn.note(
        "runbook.asked",
        actor=run.asker,
        subject=run.id,
        details={"runbook": run.runbook_id, "approved_by": ", ".join(run.approved_by)},
        contents={"name": run.name, "parameters": _parameters(run)},
    )


async def started(turn: Turn, room: Room, run_id: str, done: Done, policy: Policy) -> None:
    """ETB has started it, or had done so before."""
    run = await turn.work.cases.get(room.war_room, RunbookRun, run_id)
    if run is None or run.execution_id:
        return
    run = replace(
        run,
        execution_id=done.found.get("id", ""),
        state="RUNNING",
        total=int(done.found.get("total_steps", "0") or 0) or len(run.steps),
        started_ms=turn.now_ms,
        error="",
        is_open=True,
    )
    run = await look_again(turn, room, run)
    if run.cancelled_by is not None and room.incident_id is not None:
        await turn.emit("cancel", CancelRunbook(incident_id=room.incident_id, execution_id=run.execution_id))
    await put(turn, room, run)
    await turn.note("runbook.started", actor=run.asker, subject=run.id, details={"execution": run.execution_id})
    await write_down(
        turn,
        room,
        "RUNBOOK_STARTED",
        f"Runbook {run.name} was started",
        server=policy.server_name,
        by=run.username,
        event_id=run.living.event_id or run.event_id,
        to_etb=False,
    )


async def not_started(turn: Turn, room: Room, run_id: str, answer: NotDone) -> None:
    """ETB would not start it, or nobody knows whether it did; an operator's retry may start it after all."""
    run = await turn.work.cases.get(room.war_room, RunbookRun, run_id)
    if run is None or run.execution_id:
        return
    state: RunState = "REFUSED" if answer.state == "refused" else "UNKNOWN"
    await put(
        turn,
        room,
        replace(run, state=state, error=answer.reason, ended_ms=turn.now_ms, is_open=state == "UNKNOWN"),
    )


async def look_again(turn: Turn, room: Room, run: RunbookRun, *, at_once: bool = False) -> RunbookRun:
    """Set the next timer; answers the run to be put. An earlier timer means nothing from now on."""
    wait_ms = min(_MOST_MS, int(_FIRST_MS * _GROWTH ** min(run.looks, 20)))
    run = replace(run, looks=run.looks + 1)
    fact = RunbookDue(war_room=room.war_room, run_id=run.id, look=run.looks)
    due_ms = None if at_once else turn.now_ms + wait_ms
    await turn.follow(fact, ("runbook", run.id, str(run.looks)), due_ms=due_ms)
    return run


async def say_log(turn: Turn, room: Room, run: RunbookRun) -> RunbookRun:
    """Say the lines that were taken, gathered, in the thread of the living message; answers the run to be put."""
    if run.living.event_id is None or room.room_id is None or not run.unsaid:
        return run
    for number, begin_at in enumerate(range(0, len(run.unsaid), _LINES_A_MESSAGE)):
        await turn.emit(
            f"log/{number}",
            Say(
                room_id=room.room_id,
                content="\n".join(run.unsaid[begin_at : begin_at + _LINES_A_MESSAGE]),
                thread_root=run.living.event_id,
                purpose="notice",
            ),
        )
    return replace(run, unsaid=())


async def put(turn: Turn, room: Room, run: RunbookRun) -> RunbookRun:
    """Keep it, show it, and say what is new in its log."""
    run = await say_log(turn, room, await show(turn, room, run, text_of(run)))
    await turn.work.cases.put(room.war_room, run)
    return run


async def running(work: Work, room: Room) -> list[RunbookRun]:
    """Runs that have not ended, oldest first."""
    return list(await work.cases.of(room.war_room, RunbookRun, only_open=True))


def text_of(run: RunbookRun) -> str:
    """The living message. It changes only when something has changed: no clock ticks in it."""
    lines = [f"**Runbook {plain(run.name)} {_HEADS[run.state]}**", ""]
    by = f", approved by {', '.join(code(name) for name in run.approved_by)}" if run.approved_by else ""
    lines.append(f"- Asked by {code(run.username)}{by}")
    if run.parameters:
        lines.append(f"- With {_parameters(run)}")
    if run.step and run.state in {"RUNNING", "FAILED", "CANCELLED", "UNWATCHED"}:
        lines.append(f"- {'Failed at' if run.state == 'FAILED' else 'At'} {_step(run)}")
    if run.error:
        lines.append(f"- {'ETB says' if run.execution_id else 'Reason'}: {plain(run.error)}")
    if run.cancelled_by and run.state in {"WAITING", "RUNNING", "CANCELLED"}:
        lines.append(f"- Cancelled by {code(run.cancelled_by)}")
    if run.is_away and run.state == "RUNNING":
        lines.append("- ETB does not answer just now. The run goes on there; I go on asking.")
    if run.started_ms is not None and run.ended_ms is not None and run.state != "UNWATCHED":
        lines.append(f"- Took {_duration(run.ended_ms - run.started_ms)}")
    elif run.started_ms is not None:
        lines.append(f"- Since {datetime.fromtimestamp(run.started_ms / 1000, UTC).strftime('%H:%M:%S UTC')}")
    return "\n".join(lines)


def _taken(run: RunbookRun, execution: Execution) -> RunbookRun:
    """The run with what ETB says of it, and the new lines of its log."""
    unread = max(0, execution.log_before - run.logged)
    new = execution.log[max(0, run.logged - execution.log_before) :]
    lines = [f"- {unread} more lines stand in ETB."] if unread else []
    lines += [f"- {step}: {_level(level)}{plain(message, 500)}" for step, level, message in new]
    return replace(
        run,
        is_away=False,
        step=execution.current_step,
        total=execution.total_steps or run.total,
        logged=max(run.logged, execution.log_before + len(execution.log)),
        unsaid=(*run.unsaid, *lines),
    )


def _level(level: str) -> str:
    return "" if level.upper() in {"", "INFO"} else f"**{plain(level, 20)}** "


def _step(run: RunbookRun) -> str:
    name = f": {plain(run.step_name)}" if run.step_name else ""
    return f"step {run.step} of {run.total}{name}"


def _parameters(run: RunbookRun) -> str:
    return ", ".join(code(f"{name}={value}", 120) for name, value in run.parameters.items())


def _duration(ms: int) -> str:
    """A span as people say it.

    >>> _duration(61_000), _duration(4_000), _duration(7_260_000)
    ('1 min 1 s', '4 s', '2 h 1 min')
    """
    seconds = max(ms, 0) // 1000
    if seconds < 60:  # noqa: PLR2004 - a minute
        return f"{seconds} s"
    if seconds < 3600:  # noqa: PLR2004 - an hour
        return f"{seconds // 60} min {seconds % 60} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60} min"

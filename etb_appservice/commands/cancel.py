"""`cancel`: stop a run of a runbook, or what the asker has asked for and still waits."""

from dataclasses import replace

from etb_appservice.domain.approvals import Approval
from etb_appservice.domain.clearance import Right
from etb_appservice.domain.effects import CancelRunbook
from etb_appservice.domain.runbooks import RunbookRun
from etb_appservice.domain.text import code, folded, plain
from etb_appservice.flows import approvals, runbooks
from etb_appservice.flows.call import Call
from etb_appservice.flows.commands import INCIDENT, Answer, Reply, command
from etb_appservice.flows.grammar import Rest
from etb_appservice.flows.questions import listed, typed

_WHICH = "which"


async def told(reply: Reply) -> Answer:
    """What ETB made of it; the living message follows at once."""
    status = reply.done.found.get("status", "CANCELLED")
    effect = reply.effect
    runs = await reply.work.cases.of(reply.room.war_room, RunbookRun)
    run = next(
        (r for r in runs if isinstance(effect, CancelRunbook) and r.execution_id == effect.execution_id), None
    )
    if run is not None and run.is_open:
        await runbooks.put(
            reply.turn, reply.room, await runbooks.look_again(reply.turn, reply.room, run, at_once=True)
        )
    name = f"**{plain(run.name)}**" if run else "The run"
    if status != "CANCELLED":
        return Answer(f"{name} could not be cancelled any more: it is {code(status)}.", "FAILED")
    return Answer(f"{name} is cancelled.")


@command(needs=Right.RESPONDER, where=INCIDENT, then=told, example="cancel Restart the mail service")
async def cancel(call: Call, what: Rest | None = None) -> Answer:
    """Cancel a run of a runbook by name or number, or what you asked for and have not got yet.

    Alone it cancels the one thing that is open, or asks which.
    """
    if call.ended is not None and what is None:
        return Answer(f"Cancelled: {typed(call.ended.held)} is not run.")
    runs = await runbooks.running(call.work, call.room)
    asked = [
        one
        for one in await call.work.cases.of(call.room.war_room, Approval, only_open=True)
        if approvals.is_requester(one, call.actor)
    ]
    choices: list[RunbookRun | Approval] = [*runs, *asked]
    chosen = [one for one in choices if one.id == call.learned.get(_WHICH)]
    if not chosen and _WHICH in call.learned:
        return Answer("That has ended meanwhile.", "FAILED")
    chosen = chosen or (_meant(choices, what) if what else choices)
    if not chosen:
        return Answer(
            f"Nothing that runs here is called {code(what, 80)}." if what else "Nothing is running here.", "FAILED"
        )
    if len(chosen) > 1:
        labels = tuple(_label(one) for one in chosen)
        return await call.ask(
            listed("Which one?", labels), wanted=_WHICH, options=tuple(one.id for one in chosen), labels=labels
        )
    match chosen[0]:
        case Approval() as approval:
            await approvals.withdraw(call.turn, call.room, approval, call.policy)
            return Answer(f"Withdrawn: {typed(approval.held)} is not run.")
        case RunbookRun() as run:
            return await _stop(call, run)


async def _stop(call: Call, run: RunbookRun) -> Answer:
    run = replace(run, cancelled_by=call.name)
    await runbooks.put(call.turn, call.room, run)
    await call.turn.note("runbook.cancelled", actor=call.actor.user_id, subject=run.id)
    if not run.execution_id:
        return Answer(f"**{plain(run.name)}** has not started yet: it is cancelled as soon as ETB has started it.")
    return await call.etb(CancelRunbook(incident_id=call.incident_id, execution_id=run.execution_id))


def _meant(choices: list[RunbookRun | Approval], word: str) -> list[RunbookRun | Approval]:
    """By number in the list, by a request's code, by exact name, by part of one."""
    text = folded(word.strip("\"'"))
    if text.isascii() and text.isdigit() and len(text) < 5:  # noqa: PLR2004 - no list is longer
        return choices[int(text) - 1 : int(text)] if int(text) else []
    exact = [one for one in choices if text in {folded(_name(one)), folded(getattr(one, "code", ""))}]
    return exact or [one for one in choices if text in folded(_name(one))]


def _name(one: RunbookRun | Approval) -> str:
    return one.name if isinstance(one, RunbookRun) else f"{one.held.command} {one.held.text}"


def _label(one: RunbookRun | Approval) -> str:
    if isinstance(one, RunbookRun):
        return f"{plain(one.name, 80)}, asked by {code(one.username)}"
    return f"{typed(one.held)}, waits for approval"

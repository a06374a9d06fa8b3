"""`ack`: somebody has seen the escalation and sees to it."""

from dataclasses import dataclass, replace

from etb_appservice.domain.clearance import Right
from etb_appservice.domain.duty import Escalation
from etb_appservice.domain.effects import MoveEscalation
from etb_appservice.domain.text import code, plain
from etb_appservice.flows.call import Call
from etb_appservice.flows.commands import INCIDENT, Answer, Asking, Reply, answered, command


@dataclass(frozen=True, slots=True)
class Rows:
    """The incident's escalations as ETB has them, oldest first."""

    every: tuple[Escalation, ...]


async def look(asking: Asking) -> Rows | None:
    """The escalations; None when ETB didn't answer."""
    return await answered(asking, asking.etb.escalations(asking.incident_id), Rows)


async def told(reply: Reply) -> Answer:
    """Which one it was."""
    level = reply.done.found.get("level", "")
    which = f"The escalation to level **{plain(level)}**" if level else "The escalation"
    by = code(reply.policy.people.username(reply.run.caller) or reply.run.caller)
    return Answer(f"{which} is acknowledged by {by}.{reply.run.result}")


@command(needs=Right.RESPONDER, where=INCIDENT, prepare=look, then=told)
async def ack(call: Call) -> Answer:
    """Acknowledge the escalation that is running: you have seen it and see to it.

    Where several are running, the latest is acknowledged; ask again for the next one.
    """
    if not isinstance(call.before, Rows):
        text = "ETB does not answer, so I can't see which escalation is running. Try again."
        return Answer(text, "FAILED", is_outside=True)
    running = [one for one in call.before.every if one.is_running]
    if not running:
        seen = next((one for one in reversed(call.before.every) if one.status == "ACKNOWLEDGED"), None)
        if seen is None:
            return Answer("No escalation is running.", "FAILED")
        by = f" by {code(seen.acknowledged_by)}" if seen.acknowledged_by else ""
        return Answer(f"The escalation to level **{seen.level}** was acknowledged already{by}.")
    waits = await call.etb(
        MoveEscalation(incident_id=call.incident_id, escalation_id=running[-1].id, to="ACKNOWLEDGED")
    )
    left = len(running) - 1
    command_line = f"`{call.policy.commands.prefixes[0]}ack`"
    more = f" {left} more {'is' if left == 1 else 'are'} running: {command_line} acknowledges the next."
    return replace(waits, result=more if left else "")

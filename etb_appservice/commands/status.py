"""`status`: where the incident stands."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime

from etb_appservice.domain.clearance import Right
from etb_appservice.domain.incident import Deadline, Incident
from etb_appservice.domain.outcomes import Failure
from etb_appservice.domain.results import Reported
from etb_appservice.domain.text import code, plain
from etb_appservice.flows.call import Call
from etb_appservice.flows.commands import INCIDENT, Answer, Asking, command
from etb_appservice.flows.surroundings import Surroundings, level_of, responders


@dataclass(frozen=True, slots=True)
class Fresh:
    """What ETB answered just now."""

    incident: Incident
    deadlines: tuple[Deadline, ...]


async def ask_etb(asking: Asking) -> Fresh | None:
    """The incident as ETB has it now; None when it can't be had in time."""
    incident_id = asking.room.incident_id
    if incident_id is None:
        return None
    try:
        async with asyncio.timeout(asking.limit_s):
            incident, deadlines = await asyncio.gather(
                asking.etb.incident(incident_id), asking.etb.deadlines(incident_id)
            )
            return Fresh(incident, deadlines)
    except (Failure, TimeoutError):
        return None


@command(needs=Right.MEMBER, where=INCIDENT, prepare=ask_etb, reads_only=True)
async def status(call: Call) -> Answer:
    """Show where the incident stands: status, severity, people, deadlines.

    Asks ETB; when ETB can't be reached, answers with the last known copy and says how old it is.
    """
    known = await call.work.incidents.get(call.room.incident_id) if call.room.incident_id else None
    fresh = call.before if isinstance(call.before, Fresh) else None
    if fresh:
        incident, deadlines = fresh.incident, fresh.deadlines
    elif known:
        incident, deadlines = known.incident, known.deadlines
    else:
        text = "ETB can't be reached, and I have no copy of this incident yet."
        return Answer(text, "FAILED", is_outside=True)
    level = level_of(incident, call.policy)
    if level > call.room.classification:
        text = "The classification of this incident was raised. Its room is being brought up to that."
        return Answer(text, "FAILED", is_outside=True)
    people = await responders(call.work, incident, call.room.classification, call.policy, Surroundings())
    priority = f", {plain(incident.priority)}" if incident.priority else ""
    lines = [
        f"**{plain(incident.number)}: {plain(incident.title)}**",
        "",
        f"- Status: **{plain(incident.status)}**",
        f"- Severity: **{plain(incident.severity)}**{priority}",
        f"- Classification: {call.room.classification.name}",
        *(f"- {', '.join(p.roles).capitalize()}: {code(p.username)}" for p in people),
        *(f"- {plain(d.name)}: {_when(d.target_ms)} ({plain(d.status).lower()})" for d in deadlines),
    ]
    if not fresh and known:
        age_s = (call.turn.now_ms - known.confirmed_ms) // 1000
        lines += ["", f"ETB can't be reached; this is what it said {_age(age_s)} ago."]
    on_call = await call.work.incidents.on_call()
    outcome = Reported(
        incident_id=incident.id,
        title=incident.title,
        status=incident.status,
        severity=incident.severity,
        priority=incident.priority or None,
        assignee=incident.assignee,
        # A copy without any may be one for which ETB was never asked.
        deadlines=deadlines if fresh else deadlines or None,
        on_call=None if on_call is None else tuple(on_call[0]),
        confirmed_ms=call.turn.now_ms if fresh or known is None else known.confirmed_ms,
    )
    return Answer("\n".join(lines), outcome=outcome)


def _when(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _age(seconds: int) -> str:
    for size, word in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= size:
            count = seconds // size
            return f"{count} {word}{'s' if count > 1 else ''}"
    return f"{max(seconds, 0)} seconds"

"""`timeline`: what happened, in the order in which it did."""

from typing import Literal

from etb_appservice.domain.clearance import Right
from etb_appservice.domain.duty import TimelineRow
from etb_appservice.domain.text import plain
from etb_appservice.domain.timeline import TimelineItem
from etb_appservice.flows.call import Call
from etb_appservice.flows.chart import ask_for
from etb_appservice.flows.chronicle import Line, complete, curated, shown
from etb_appservice.flows.commands import INCIDENT, Answer, Asking, answered, command
from etb_appservice.flows.grammar import Rest, UsageError
from etb_appservice.flows.timeline import write_down

_MOST = 40
_TITLE = 200


async def ask_etb(asking: Asking) -> tuple[TimelineRow, ...] | None:
    """ETB's own timeline; only where everything is asked for."""
    if asking.arguments.get("action") != "all" or asking.room.incident_id is None:
        return None
    return await answered(asking, asking.etb.timeline(asking.room.incident_id), tuple)


@command(
    needs=Right.MEMBER, where=INCIDENT, prepare=ask_etb, example="timeline add Failed over to the second site"
)
async def timeline(
    call: Call, action: Literal["add", "all", "chart"] | None = None, text: Rest | None = None
) -> Answer:
    """Show what happened; `all` shows everything, also what ETB wrote; `add` writes an entry; `chart` draws it.

    Responders may add. A reaction with 📌 to a message puts it there, with the time at which it was sent. The
    picture shows phases, status updates, escalations, runs of runbooks and service levels.
    """
    if action == "add":
        return await _add(call, text or "")
    if text:
        raise UsageError("Only `add` takes a text.")
    if action == "chart":
        await ask_for(call)
        return Answer("", "RUNNING", result="the picture is being drawn")
    items = await call.work.cases.of(call.room.war_room, TimelineItem)
    if action is None:
        return await _told(call, "Timeline", curated(items), "")
    rows = call.before if isinstance(call.before, tuple) else None
    note = "" if rows is not None else "ETB does not answer: what it has written down itself is missing here."
    return await _told(call, "Timeline, everything", complete(items, rows or ()), note)


async def _add(call: Call, text: str) -> Answer:
    if not text:
        raise UsageError("`text` is missing.")
    decision = call.may(Right.RESPONDER)
    if not decision.allowed:
        return Answer(decision.reason, "REFUSED")
    flat = " ".join(text.split())
    await write_down(
        call.turn,
        call.room,
        "NOTE",
        flat if len(flat) <= _TITLE else f"{flat[: _TITLE - 1]}…",
        server=call.policy.server_name,
        description=text if len(flat) > _TITLE else "",
        by=call.name,
        event_id=call.event_id,
    )
    return Answer(f"On the timeline: {plain(flat, _TITLE)}")


async def _told(call: Call, title: str, lines: list[Line], note: str) -> Answer:
    prefix = call.policy.commands.prefixes[0]
    if not lines:
        return Answer(
            f"Nothing is on the timeline yet. {note or f'`{prefix}timeline add <text>` writes an entry.'}"
        )
    told = [f"**{title}**", ""]
    if len(lines) > _MOST:
        known = await call.work.incidents.get(call.incident_id)
        url = known.incident.url if known else ""
        where = f"[in ETB]({url})" if url else "in ETB"
        told += [f"The last {_MOST} of {len(lines)}; the earlier ones stand {where}.", ""]
    told += await shown(call.work, lines[-_MOST:], call.room, call.policy.server_name)
    return Answer("\n".join([*told, *(["", note] if note else [])]))

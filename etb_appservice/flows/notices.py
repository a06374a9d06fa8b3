"""What an incident's room is told of its SLAs and escalations: each change once, whoever showed it first.

What was said is kept beside the incident, not derived from the clock: a clock that steps back and forth, a restart
or a second trigger says nothing again. Without ETB's word nothing is said.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from etb_appservice.domain.duty import Escalation, Sla
from etb_appservice.domain.levels import SlaSeen, budget_s, next_ms, passed, state_of
from etb_appservice.domain.news import Notified
from etb_appservice.domain.pages import EscalationSeen, Page
from etb_appservice.domain.text import code, lasting, moment, plain
from etb_appservice.flows.tellings import of_escalation, of_sla
from etb_appservice.flows.timeline import write_down
from etb_appservice.flows.turn import Turn
from etb_appservice.ports import Room

_ENDED = frozenset({"RESOLVED", "CANCELLED"})
_ORDER = {"ACKNOWLEDGED": 1, "RESOLVED": 2, "CANCELLED": 2}


@dataclass(slots=True)
class Told:
    """What one look has found. Lines are Markdown."""

    passing: list[str] = field(default_factory=list)
    """Thresholds: of no interest once they are old."""
    ends: list[str] = field(default_factory=list)
    """Breached or met: said even when it was kept back for a while."""
    due_ms: list[int] = field(default_factory=list)
    """When the next threshold of each passes."""
    news: list[Notified] = field(default_factory=list)


async def of_slas(turn: Turn, room: Room, slas: Sequence[Sla], thresholds: Sequence[int], server: str) -> Told:
    """What is new of an incident's SLAs. Of several thresholds that passed meanwhile only the highest counts."""
    told = Told()
    for sla in slas:
        before = await turn.work.cases.get(room.war_room, SlaSeen, sla.id)
        state = state_of(sla)
        same = before is not None and before.target_ms == sla.target_ms
        budget = budget_s(sla, turn.now_ms, before.budget_s if before and same else None)
        highest = passed(sla, turn.now_ms, budget, thresholds) if state == "running" else 0
        now = SlaSeen(
            id=sla.id,
            said=max(before.said if before else 0, highest),
            state=state,
            target_ms=sla.target_ms,
            budget_s=budget,
            is_open=state in {"running", "still"},
        )
        if now == before:
            pass
        elif state == "breached" and await turn.work.once.first_time("sla breached", sla.id):
            told.ends.append(_breached(sla))
            told.news.append(of_sla(room, "SLA_BREACHED", sla))
            await write_down(
                turn, room, "SLA_BREACHED", f"SLA {sla.name} breached", server=server, to_etb=False,
                at_ms=sla.breached_ms or sla.target_ms,
            )  # fmt: skip
        elif state == "met" and before is not None and await turn.work.once.first_time("sla met", sla.id):
            told.ends.append(_met(sla))
            told.news.append(of_sla(room, "SLA_MET", sla))
        elif state == "running" and now.said > (before.said if before else 0):
            told.passing.append(_passing(sla, now.said, turn.now_ms))
            told.news.append(of_sla(room, "SLA_WARNING", sla, now.said))
        if now != before:
            await turn.work.cases.put(room.war_room, now)
        due_ms = next_ms(sla, turn.now_ms, budget, thresholds) if state == "running" else None
        if due_ms is not None:
            told.due_ms.append(due_ms)
    return told


async def of_escalations(
    turn: Turn, room: Room, rows: Sequence[Escalation]
) -> tuple[list[tuple[str, Escalation]], dict[str, str]]:
    """What is new of an incident's escalations, in lines, and who acknowledged which of them, by its id.

    Those that we started ourselves were announced by whoever asked for them: their line is empty.
    """
    lines: list[tuple[str, Escalation]] = []
    acknowledged: dict[str, str] = {}
    for row in rows:
        before = await turn.work.cases.get(room.war_room, EscalationSeen, row.id)
        now = EscalationSeen(id=row.id, status=row.status, level=row.level, is_open=row.status not in _ENDED)
        if now == before or _is_old(row, before):
            continue
        await turn.work.cases.put(room.war_room, now)
        is_ours = before is None and await _is_ours(turn, room, row)
        is_new = before is None and not is_ours
        if row.status == "ACKNOWLEDGED" and (before is None or before.status != row.status):
            acknowledged[row.id] = row.acknowledged_by
        line = _started(row) if is_new else _moved(row, before)
        if is_ours and now.is_open:
            # Its reason was said by a command, to whoever could read that.
            row = replace(row, reason="")  # noqa: PLW2901 - as it is told
        if line or (is_ours and now.is_open):
            lines.append((line, row))
    return lines, acknowledged


def _is_old(row: Escalation, before: EscalationSeen | None) -> bool:
    """Whether it was read before something that we know of by now."""
    return (
        before is not None
        and row.level <= before.level
        and _ORDER.get(row.status, 0) < _ORDER.get(before.status, 0)
    )


async def _is_ours(turn: Turn, room: Room, row: Escalation) -> bool:
    """Whether a page or a command of ours has started it, though ETB's answer to that isn't here yet."""
    ref = row.ref.partition("/")[0]
    if not ref:
        return False
    return bool(await turn.work.cases.get(room.war_room, Page, ref) or await turn.work.commands.get(ref))


def _passing(sla: Sla, percent: int, now_ms: int) -> str:
    due = f"due {moment(sla.target_ms)}" if sla.target_ms is not None else "due at a time ETB does not say"
    if percent >= 100:  # noqa: PLR2004 - percent
        return f"SLA **{plain(sla.name)}**: its time is up, it was {due}."
    if sla.is_business_hours and sla.remaining_s is not None:
        left = f"{lasting(sla.remaining_s)} of business hours left"
    else:
        left = f"{lasting(((sla.target_ms or now_ms) - now_ms) / 1000)} left"
    return f"SLA **{plain(sla.name)}**: {percent} % of its time has passed, {left}; {due}."


def _breached(sla: Sla) -> str:
    due = f": it was due {moment(sla.target_ms)}" if sla.target_ms is not None else ""
    return f"SLA **{plain(sla.name)}** is breached{due}."


def _met(sla: Sla) -> str:
    late_s = (sla.met_ms - sla.target_ms) / 1000 if sla.met_ms is not None and sla.target_ms is not None else 0
    is_late = late_s > 0 and not sla.is_business_hours
    return f"SLA **{plain(sla.name)}** was met{f', {lasting(late_s)} late' if is_late else ''}."


def _started(row: Escalation) -> str:
    """One that is over when it is first seen is no news."""
    if row.status in _ENDED:
        return ""
    why = f": {plain(row.reason)}" if row.reason else ""
    seen = f" Acknowledged by {code(row.acknowledged_by)}." if row.status == "ACKNOWLEDGED" else ""
    return f"**Escalation** started, level {row.level}{why}{'' if why.endswith('.') else '.'}{seen}"


def _moved(row: Escalation, before: EscalationSeen | None) -> str:
    by = f" by {code(row.acknowledged_by)}" if row.acknowledged_by else ""
    match row.status:
        case _ if before is None:
            return ""
        case "ACKNOWLEDGED" if before.status != row.status:
            return f"The escalation was acknowledged{by}."
        case "RESOLVED" | "CANCELLED" if before.status != row.status:
            return f"The escalation was {row.status.lower()}."
        case _ if row.level > before.level:
            return f"**Escalation** went up to level {row.level}."
        case _:
            return ""


async def mark(turn: Turn, room: Room, escalation_id: str, status: str, level: int | None = None) -> None:
    """Keep what ETB answered to us, so that it isn't announced when it is seen. Clients are told of it now."""
    before = await turn.work.cases.get(room.war_room, EscalationSeen, escalation_id)
    now = before or EscalationSeen(id=escalation_id, status=status)
    now = replace(now, status=status, is_open=status not in _ENDED)
    now = now if level is None else replace(now, level=level)
    await turn.work.cases.put(room.war_room, now)
    if before is None or before.status != status:
        turn.tell(of_escalation(room, Escalation(id=now.id, status=status, level=now.level, reason="")))

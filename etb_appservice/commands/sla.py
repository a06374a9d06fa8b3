"""`sla`: by when the incident must be seen to, and how much of that time has passed."""

from dataclasses import dataclass

from etb_appservice.domain.clearance import Right
from etb_appservice.domain.duty import Sla
from etb_appservice.domain.incident import Deadline
from etb_appservice.domain.levels import SlaSeen, budget_s
from etb_appservice.domain.text import lasting, moment, plain
from etb_appservice.flows.call import Call
from etb_appservice.flows.commands import INCIDENT, Answer, Asking, answered, command

_OVER = frozenset({"MET", "CANCELLED"})


@dataclass(frozen=True, slots=True)
class Rows:
    """Every SLA of the incident as ETB has it, soonest first."""

    every: tuple[Sla, ...]


async def look(asking: Asking) -> Rows | None:
    """The SLAs; None when ETB didn't answer."""
    return await answered(asking, asking.etb.slas(asking.incident_id), Rows)


@command(needs=Right.MEMBER, where=INCIDENT, prepare=look, reads_only=True)
async def sla(call: Call) -> Answer:
    """Show every SLA of the incident: its state, its deadline, what is left of it.

    Where only business hours count, what is left is ETB's own reckoning.
    """
    now = call.turn.now_ms
    if isinstance(call.before, Rows):
        if not call.before.every:
            return Answer("ETB has no SLA for this incident.")
        return Answer("\n".join(["**SLAs**", "", *[await _line(call, one, now) for one in call.before.every]]))
    known = await call.known()
    if not known.deadlines:
        text = "ETB can't be reached, and I know of no deadline of this incident."
        return Answer(text, "FAILED", is_outside=True)
    lines = [_remembered(one, now) for one in known.deadlines]
    age = lasting((now - known.confirmed_ms) / 1000)
    return Answer(
        "\n".join(["**SLAs**", "", *lines, "", f"ETB can't be reached; this is what it said {age} ago."])
    )


async def _line(call: Call, one: Sla, now: int) -> str:
    state = plain(one.status).replace("\\_", " ").lower()
    parts = [f"- **{plain(one.name or one.kind)}**: {state}"]
    if one.target_ms is not None:
        parts.append(f"due {moment(one.target_ms)}")
    if one.status == "MET":
        if one.met_ms is not None:
            parts.append(f"met {moment(one.met_ms)}")
    elif one.status not in _OVER:
        left_s = left(one, now)
        if left_s is not None:
            hours = " of business hours" if one.is_business_hours and one.remaining_s is not None else ""
            parts.append(f"{lasting(left_s)}{hours} left" if left_s > 0 else f"over by {lasting(-left_s)}{hours}")
        seen = await call.work.cases.get(call.room.war_room, SlaSeen, one.id)
        if (share := elapsed(one, now, seen.budget_s if seen else None)) is not None:
            parts.append(f"{share} % elapsed")
    return ", ".join(parts)


def _remembered(one: Deadline, now: int) -> str:
    left_s = (one.target_ms - now) / 1000
    rest = f"{lasting(left_s)} left" if left_s > 0 else f"over by {lasting(-left_s)}"
    return f"- **{plain(one.name)}**: {plain(one.status).lower()}, due {moment(one.target_ms)}, {rest}"


def left(one: Sla, now: int) -> float | None:
    """Seconds until the deadline, negative once it is over; None where nobody can say.

    docs/etb-contract.md 8.4: where only business hours count, ETB's remaining time and never our clock.
    """
    if one.is_business_hours and one.remaining_s is not None:
        return one.remaining_s
    return None if one.target_ms is None else (one.target_ms - now) / 1000


def elapsed(one: Sla, now: int, earlier_s: float | None = None) -> int | None:
    """Percent of the time that has passed, rounded down; None where nobody can say.

    `earlier_s`: how much business time it has in all by an earlier look, where only ETB knows business hours.
    """
    left_s = left(one, now)
    if left_s is None or one.started_ms is None or one.target_ms is None or one.target_ms <= one.started_ms:
        return None
    whole_s = budget_s(one, now, earlier_s) or (one.target_ms - one.started_ms) / 1000
    return max(0, int(100 * (whole_s - left_s) / whole_s))

"""Service levels over time: how much of one has passed, what state it is in, and when it is worth another look.

Pure. Where only ETB knows the business hours, its remaining time is what counts and never our clock
(docs/etb-contract.md 8.4).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from etb_appservice.domain.duty import Sla

SlaState = Literal["running", "met", "breached", "still"]
"""`still`: paused or called off; no clock runs and nothing is said."""
_STATES: dict[str, SlaState] = {
    "MET": "met",
    "COMPLETED": "met",
    "BREACHED": "breached",
    "EXPIRED": "breached",
    "PAUSED": "still",
    "CANCELLED": "still",
    "CANCELED": "still",
    "CLOSED": "still",
}
_LEAST_WAIT_MS = 30_000
"""Business time may stand still just before a threshold: no busy looking."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlaSeen:
    """What was said of one SLA instance, so that nothing is said twice. Its id is ETB's."""

    kind: Literal["SlaSeen"] = "SlaSeen"
    id: str
    said: int = 0
    """The highest threshold that was passed when it was looked at, in percent."""
    state: SlaState = "running"
    target_ms: int | None = None
    budget_s: float | None = None
    """How much business time it has in all, as far as we can tell; None where our own clock counts."""
    is_open: bool = True


def state_of(sla: Sla) -> SlaState:
    """What an instance is in; a word we don't know counts as running, so that no deadline is missed.

    >>> state_of(Sla(id="1", name="n", kind="k", status="PAUSED", started_ms=None, target_ms=None))
    'still'
    """
    known = _STATES.get(sla.status.upper())
    if known == "still":
        return known
    if sla.met_ms is not None:
        return "met"
    return known or ("breached" if sla.breached_ms is not None else "running")


def budget_s(sla: Sla, now_ms: int, before: float | None) -> float | None:
    """How many seconds of business time an instance has in all, at most.

    ETB says only what remains. What has passed can't be more than has passed on the wall, so the earliest look
    gives the closest bound, and `before` is kept. Errs towards too early.
    """
    if not sla.is_business_hours or sla.remaining_s is None:
        return None
    left = max(sla.remaining_s, 0.0)
    bounds = [] if before is None else [before]
    if sla.started_ms is not None:
        bounds.append(left + max(now_ms - sla.started_ms, 0) / 1000)
        if sla.target_ms is not None:
            bounds.append(max(sla.target_ms - sla.started_ms, 0) / 1000)
    return max(min(bounds, default=left), left)


def passed(sla: Sla, now_ms: int, budget: float | None, thresholds: Sequence[int]) -> int:
    """The highest threshold that has passed, in percent; 0 before the first."""
    return max((one for one in thresholds if _has_passed(sla, now_ms, budget, one)), default=0)


def next_ms(sla: Sla, now_ms: int, budget: float | None, thresholds: Sequence[int]) -> int | None:
    """When the next threshold passes, at the earliest; None when all have."""
    to_come = [one for one in thresholds if not _has_passed(sla, now_ms, budget, one)]
    if not to_come:
        return None
    if budget is not None and sla.remaining_s is not None:
        wait_s = sla.remaining_s - budget * (100 - to_come[0]) / 100
        return now_ms + max(round(wait_s * 1000), _LEAST_WAIT_MS)
    return _wall_ms(sla, to_come[0])


def _has_passed(sla: Sla, now_ms: int, budget: float | None, threshold: int) -> bool:
    if budget is not None and sla.remaining_s is not None:
        return sla.remaining_s <= budget * (100 - threshold) / 100
    due_ms = _wall_ms(sla, threshold)
    return due_ms is not None and now_ms >= due_ms


def _wall_ms(sla: Sla, threshold: int) -> int | None:
    """When a share of the time has passed by the clock; without a start only the target itself is known."""
    if sla.target_ms is None:
        return None
    if sla.started_ms is None or sla.started_ms >= sla.target_ms:
        return sla.target_ms if threshold == 100 else None  # noqa: PLR2004 - percent
    span = sla.target_ms - sla.started_ms
    return sla.started_ms - (-span * threshold // 100)

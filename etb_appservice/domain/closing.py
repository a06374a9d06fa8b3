"""How a war room ends, and how it comes back.

open ──resolved──► said; people go on talking
  ^ └──closed, duplicate, deleted──► said, out of the Space ──after a while──► read-only
  └── reopened: everything back; the timer that may still run names an older `plan`
"""

from dataclasses import dataclass
from typing import Literal

from etb_appservice.domain.incident import Ending


@dataclass(frozen=True, slots=True, kw_only=True)
class Closing:
    """There is one of each war room whose incident ever ended. A timer that names another `plan` was overtaken."""

    kind: Literal["Closing"] = "Closing"
    id: str = "closing"
    how: Ending
    ended_ms: int
    """As far as ETB says, else when it was seen."""
    plan: int = 1
    read_only_ms: int | None = None
    """When nobody but the bot may write there any more; None where that isn't to come."""
    is_read_only: bool = False
    """Whether that was asked for."""
    is_unlinked: bool = False
    """Whether the room was taken out of the Space."""
    archived_ms: int | None = None
    """When somebody archived the room, which made it read-only at once; None where nobody did."""
    is_open: bool = True
    """False once the incident is open again."""


def lasted(ms: int) -> str:
    """How long something was, in its two largest units.

    >>> lasted(20_000), lasted(3_720_000), lasted(90_000_000), lasted(7_200_000)
    ('less than a minute', '1 hour 2 minutes', '1 day 1 hour', '2 hours')
    """
    minutes = max(0, ms) // 60_000
    left, units = minutes, (("day", 1440), ("hour", 60), ("minute", 1))
    largest = next((place for place, (_, size) in enumerate(units) if minutes >= size), len(units))
    parts = []
    for name, size in units[largest : largest + 2]:
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count} {name}{'s' if count > 1 else ''}")
    return " ".join(parts) or "less than a minute"

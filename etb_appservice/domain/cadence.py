"""When the next status update of an incident is due, and who has put that off.

planned ──due──► reminded ──► planned again
   ^                │ snoozed: planned for later      stopped: nothing until the next update
   └── an update, another severity, another commander, reopened
"""

from dataclasses import dataclass
from typing import Literal

from etb_appservice.domain.ids import EventId


@dataclass(frozen=True, slots=True, kw_only=True)
class Cadence:
    """There is one of each war room. A timer that names another `plan` than this was overtaken."""

    kind: Literal["Cadence"] = "Cadence"
    id: str = "cadence"
    opened_ms: int
    """Since when people could be in the room."""
    since_ms: int
    """The last real activity: an update, or the opening."""
    severity: str
    """For which it was planned."""
    plan: int = 0
    due_ms: int | None = None
    """None: nothing is planned."""
    snoozed_ms: int | None = None
    """Not before then."""
    is_stopped: bool = False
    is_room_told: bool = False
    """Whether the room was reminded since the last update, where nobody is commander; it is told once."""
    reminder: EventId | None = None
    """The reminder on which a reaction counts."""
    is_open: bool = True
    """False while the incident is closed."""

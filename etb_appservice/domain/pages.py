"""Pages, escalations and the watch over an open incident: what the service has seen and said of them.

An escalation belongs to ETB; a page is ours, and has one or two escalations in ETB (docs/etb-contract.md 8.5).
"""

from dataclasses import dataclass
from typing import Literal

from etb_appservice.domain.ids import EventId, UserId, Username

WATCH = "watch"
"""The id of the one watch of a war room."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Somebody was called to an incident. Its id stands in the reason of its escalations in ETB."""

    kind: Literal["Page"] = "Page"
    id: str
    targets: tuple[Username, ...]
    users: tuple[UserId, ...]
    """The Matrix ids of `targets`, in their order."""
    by: str
    """An ETB username; empty for the service."""
    at_ms: int
    text: str = ""
    event_id: EventId | None = None
    """The message in the incident's room."""
    escalation_ids: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    """Who could not be paged and why, as Markdown."""
    escalated: bool = False
    """Whether it was escalated since nobody acknowledged it."""
    acknowledged_by: str = ""
    acknowledged_ms: int | None = None
    is_open: bool = True
    """Until it is acknowledged or its incident is closed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EscalationSeen:
    """An escalation as it was when the room last heard of it. Its id is ETB's."""

    kind: Literal["EscalationSeen"] = "EscalationSeen"
    id: str
    status: str
    level: int = 0
    is_open: bool = True
    """False once it is resolved or cancelled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """An open incident is looked at again and again: its SLAs, its escalations, its pages.

    Only the look with the number of the latest plan counts: whoever plans anew makes the earlier ones void.
    """

    kind: Literal["Watch"] = "Watch"
    id: str = WATCH
    opened_ms: int
    plan: int = 0
    due_ms: int = 0
    is_attended: bool = False
    """Whether somebody has joined the room, or it was seen to that nobody has."""
    unsaid: tuple[str, ...] = ()
    """What maintenance keeps back until it is over."""
    is_open: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """Who was on call in a rotation when the rooms last heard of it; kept with the control room."""

    kind: Literal["Shift"] = "Shift"
    id: str
    """The rotation's name."""
    usernames: tuple[Username, ...]
    is_open: bool = True

"""The timeline of an incident: ordered, typed entries, kept here and mirrored to ETB (docs/etb-contract.md 7.3).

An entry is never taken out. What was put there by mistake is withdrawn: it stays, and says so.
"""

from dataclasses import dataclass
from typing import Literal

from etb_appservice.domain.ids import EventId

EventType = Literal[
    "INCIDENT_CREATED",
    "STATUS_CHANGED",
    "SEVERITY_CHANGED",
    "ASSIGNED",
    "SLA_BREACHED",
    "ESCALATED",
    "RUNBOOK_STARTED",
    "RUNBOOK_COMPLETED",
    "MESSAGE_PINNED",
    "FILE_ADDED",
    "NOTE",
    "OTHER",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineItem:
    """One entry. `at_ms` is when it happened, which may be long before it was written down."""

    kind: Literal["TimelineItem"] = "TimelineItem"
    id: str
    event_type: EventType
    title: str
    at_ms: int
    description: str = ""
    by: str = ""
    """An ETB username or a Matrix id; empty for the service."""
    event_id: EventId | None = None
    """The message it is about."""
    is_curated: bool = True
    """Whether the short list shows it; `timeline all` shows everything."""
    is_mirrored: bool = True
    """False: ETB writes it into its own timeline by itself."""
    etb_id: str = ""
    """What ETB calls it, once it stands there; empty where ETB doesn't say."""
    withdrawn_ms: int | None = None
    is_open: bool = True

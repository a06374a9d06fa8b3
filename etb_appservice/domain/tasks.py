"""What somebody has still to do in an incident."""

from dataclasses import dataclass
from typing import Literal

from etb_appservice.domain.ids import EventId, Username


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One task. Numbers are dense per war room: people name a task by its number, and none is missing."""

    kind: Literal["Task"] = "Task"
    id: str
    """The number, as text."""
    number: int
    text: str
    by: Username
    at_ms: int
    state: Literal["open", "done", "withdrawn"] = "open"
    assignee: Username | None = None
    event_id: EventId | None = None
    """The message it is about, or that asked for it."""
    settled_by: str = ""
    settled_ms: int | None = None
    is_open: bool = True

"""Status updates: what the responders tell everybody who follows an incident, and when the next one is due."""

from dataclasses import dataclass
from typing import Literal

from etb_appservice.domain.ids import EventId, Username


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """One status update, as it was said."""

    kind: Literal["Post"] = "Post"
    id: str
    text: str
    by: Username
    at_ms: int
    event_id: EventId | None = None
    """The message that asked for it."""
    next_ms: int | None = None
    """When the next one was due, as was said then; None where none was."""
    is_open: bool = True

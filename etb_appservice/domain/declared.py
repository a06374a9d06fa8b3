"""An incident that somebody declared in a room, and who waits there to hear of its own room."""

from dataclasses import dataclass
from typing import Literal

from etb_appservice.domain.ids import EventId, RoomId, UserId


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """Kept in the war room of the incident until that room is open and whoever declared it was told."""

    kind: Literal["Declaration"] = "Declaration"
    id: str
    """The command's run."""
    number: str
    by: UserId
    room_id: RoomId
    """Where it was declared."""
    event_id: EventId
    thread_root: EventId | None = None
    is_open: bool = True
    """False once they were told."""

"""A message that is edited in place while something goes on, so that a room reads one message and not ten."""

from dataclasses import dataclass

from etb_appservice.domain.ids import EventId, RoomId


@dataclass(frozen=True, slots=True, kw_only=True)
class Living:
    """What one such message shows. At most one version of it is on its way at a time."""

    event_id: EventId | None = None
    """The first version; None until it was sent."""
    wanted: str = ""
    """What it shall show, as Markdown."""
    sent: str = ""
    """What the last version that was sent shows."""
    version: int = 0
    in_flight: bool = False
    reply_to: EventId | None = None
    room_id: RoomId | None = None
    """Where it stands: when the war room moves to another room, it is sent anew there."""

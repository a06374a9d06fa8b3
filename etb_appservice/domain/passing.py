"""Signs: what is true of somebody for a moment only, as the homeserver tells it. Kept nowhere.

Source: Matrix client-server API, "Typing Notifications" and "Receipts".
"""

from dataclasses import dataclass

from etb_appservice.domain.ids import EventId, RoomId, UserId


@dataclass(frozen=True, slots=True, kw_only=True)
class TypingSeen:
    """Who is writing something in a room now: these, and nobody else."""

    room_id: RoomId
    user_ids: frozenset[UserId]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadSeen:
    """Somebody has read up to an event, and doesn't mind that others know.

    Of the thread that the event is in, if any: whether it was meant for more, Synapse (1.163) doesn't tell.
    """

    room_id: RoomId
    user_id: UserId
    event_id: EventId


Sign = TypingSeen | ReadSeen

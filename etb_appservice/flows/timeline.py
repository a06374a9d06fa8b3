"""Writes the timeline of an incident: here at once, and to ETB by an effect.

What ETB writes into its own timeline by itself (a changed status, an escalation) is kept here only, or it would
stand there twice.
"""

from etb_appservice.domain.effects import AddTimelineEntry
from etb_appservice.domain.ids import EventId, RoomId, new_id
from etb_appservice.domain.timeline import EventType, TimelineItem
from etb_appservice.flows.turn import Turn
from etb_appservice.ports import Room


async def write_down(
    turn: Turn,
    room: Room,
    event_type: EventType,
    title: str,
    *,
    server: str,
    description: str = "",
    at_ms: int | None = None,
    by: str = "",
    event_id: EventId | None = None,
    is_curated: bool = True,
    to_etb: bool = True,
) -> TimelineItem:
    """Add an entry to an incident's timeline; `at_ms` is when it happened, now by default.

    `server` is our homeserver's name, for the permalink to `event_id`.
    """
    item = TimelineItem(
        id=new_id(turn.now_ms),
        event_type=event_type,
        title=title,
        at_ms=turn.now_ms if at_ms is None else at_ms,
        description=description,
        by=by,
        event_id=event_id,
        is_curated=is_curated,
    )
    await turn.work.cases.put(room.war_room, item)
    await turn.note(
        "timeline.added",
        actor=by or "etb-appservice",
        subject=item.id,
        details={"type": event_type, "event": event_id, "room": room.war_room},
        contents={"title": title, "description": description},
    )
    if to_etb and room.incident_id is not None:
        links = {"war_room_id": str(room.war_room)}
        if event_id and room.room_id:
            links |= {"matrix_event_id": event_id, "permalink": permalink(room.room_id, event_id, server)}
            message = await turn.work.messages.by_event(event_id)
            if message is not None:
                links["message_id"] = message.id
        await turn.emit(
            f"timeline/{item.id}",
            AddTimelineEntry(
                incident_id=room.incident_id,
                event_type=event_type,
                title=title,
                description=description,
                event_time_ms=item.at_ms,
                external_ref=reference(item.id),
                event_data=links,
            ),
        )
    return item


def reference(item_id: str) -> str:
    """By which our entry is found again on ETB's timeline."""
    return f"etb-appservice/timeline/{item_id}"


def permalink(room_id: RoomId, event_id: EventId, server: str) -> str:
    """Where any Matrix client opens a message (Matrix specification, "matrix.to navigation")."""
    return f"https://matrix.to/#/{room_id}/{event_id}?via={server}"

"""Writes the timeline of an incident: here at once, and to ETB by an effect.

What ETB writes into its own timeline by itself (a changed status, an escalation) is kept here only, or it would
stand there twice.
"""

from dataclasses import replace

from etb_appservice.domain.effects import AddTimelineEntry
from etb_appservice.domain.facts import Done
from etb_appservice.domain.ids import EventId, RoomId, WarRoomId, new_id
from etb_appservice.domain.incident import Incident
from etb_appservice.domain.timeline import EventType, TimelineItem
from etb_appservice.flows.turn import Turn
from etb_appservice.ports import Room, Work

_MOST_TITLE = 200
_DELETED = "A deleted message"
REFERENCE = "etb-appservice/timeline/"
"""What `external_ref` begins with in our own entries on ETB's timeline."""


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
        is_mirrored=to_etb,
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
        await turn.emit(
            f"timeline/{item.id}",
            AddTimelineEntry(
                incident_id=room.incident_id,
                event_type=event_type,
                title=title,
                description=description,
                event_time_ms=item.at_ms,
                external_ref=reference(item.id),
                event_data=await _links(turn.work, room, event_id, server),
            ),
        )
    return item


async def withdraw(
    turn: Turn, room: Room, item: TimelineItem, *, by: str, server: str, forget: bool = False
) -> None:
    """Correct the record: the entry stays and says that it doesn't count. `forget`: without its text."""
    corrected = replace(item, withdrawn_ms=turn.now_ms, is_open=False)
    if forget:
        corrected = replace(corrected, title=_DELETED, description="")
    await turn.work.cases.put(room.war_room, corrected)
    await turn.note("timeline.withdrawn", actor=by, subject=item.id, details={"room": room.war_room})
    if item.is_mirrored and room.incident_id is not None:
        await turn.emit(
            f"timeline/{item.id}/withdrawn",
            AddTimelineEntry(
                incident_id=room.incident_id,
                event_type="NOTE",
                title=f"Withdrawn: {corrected.title}"[:_MOST_TITLE],
                description="This corrects the entry of that name: it was taken back in the incident's room.",
                event_time_ms=turn.now_ms,
                external_ref=f"{reference(item.id)}/withdrawn",
                event_data={
                    **await _links(turn.work, room, item.event_id, server),
                    "corrects": reference(item.id),
                },
            ),
        )


async def mirrored(turn: Turn, entry: AddTimelineEntry, done: Done) -> None:
    """An entry stands on ETB's timeline: ours knows it by ETB's name from now on."""
    item_id = entry.external_ref.removeprefix(REFERENCE)
    war_room, etb_id = entry.event_data.get("war_room_id"), done.found.get("id")
    if not entry.external_ref.startswith(REFERENCE) or not war_room or not etb_id:
        return
    item = await turn.work.cases.get(WarRoomId(war_room), TimelineItem, item_id)
    if item is not None:
        await turn.work.cases.put(WarRoomId(war_room), replace(item, etb_id=etb_id))


async def forget_message(turn: Turn, room: Room, event_id: EventId) -> None:
    """Take the text of a deleted message out of every entry that is about it."""
    for item in await turn.work.cases.of(room.war_room, TimelineItem):
        if item.event_id == event_id and item.title != _DELETED:
            await turn.work.cases.put(room.war_room, replace(item, title=_DELETED, description=""))


async def write_changes(turn: Turn, room: Room, before: Incident, after: Incident, *, server: str) -> None:
    """What ETB shows changed, kept here only."""
    nobody = "nobody"
    changes: tuple[tuple[EventType, str, str, str], ...] = (
        ("STATUS_CHANGED", "Status", before.status, after.status),
        ("SEVERITY_CHANGED", "Severity", before.severity, after.severity),
        ("ASSIGNED", "Assignee", before.assignee or nobody, after.assignee or nobody),
    )
    for event_type, what, old, new in changes:
        if old != new:
            await write_down(turn, room, event_type, f"{what}: {new} (was {old})", server=server, to_etb=False)


def of_message(origin_ms: int, received_ms: int) -> int:
    """When a message was sent: its own word, which can't be later than we had it."""
    return min(origin_ms, received_ms) if origin_ms else received_ms


def reference(item_id: str) -> str:
    """By which our entry is found again on ETB's timeline."""
    return f"{REFERENCE}{item_id}"


async def _links(work: Work, room: Room, event_id: EventId | None, server: str) -> dict[str, str]:
    """From ETB to the message that an entry is about (docs/etb-contract.md 7.3)."""
    links = {"war_room_id": str(room.war_room)}
    if event_id is None:
        return links
    message = await work.messages.by_event(event_id)
    room_id = room.room_id
    if message is not None:
        links["message_id"] = message.id
        room_id, event_id = message.room_id, message.event_id
    if room_id and is_sent(event_id):
        links |= {"matrix_event_id": event_id, "permalink": permalink(room_id, event_id, server)}
    return links


def is_sent(event_id: EventId) -> bool:
    """Whether Matrix knows an event by this name; see `ports.unsent`."""
    return not event_id.startswith("~")


def permalink(room_id: RoomId, event_id: EventId, server: str) -> str:
    """Where any Matrix client opens a message (Matrix specification, "matrix.to navigation")."""
    return f"https://matrix.to/#/{room_id}/{event_id}?via={server}"

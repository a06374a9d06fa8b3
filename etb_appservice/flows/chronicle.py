"""How an incident's timeline reads: what happened in its order, ETB's own entries among ours."""

from collections.abc import Sequence
from dataclasses import dataclass

from etb_appservice.domain.duty import TimelineRow
from etb_appservice.domain.ids import EventId
from etb_appservice.domain.text import code, moment, plain
from etb_appservice.domain.timeline import TimelineItem
from etb_appservice.flows.timeline import REFERENCE, is_sent, permalink
from etb_appservice.ports import Room, Work

_SAME_AFTER_MS = 15 * 60_000
"""ETB shows a change, and writes it down itself, up to so long before we do."""
_SAME_BEFORE_MS = 60_000


@dataclass(frozen=True, slots=True)
class Line:
    """One line of it."""

    at_ms: int
    title: str
    by: str = ""
    event_id: EventId | None = None
    is_withdrawn: bool = False
    claimed: str = ""
    """Of an entry of ETB's: the message that it is about, by our name or Matrix's, as anybody may have written."""


def curated(items: Sequence[TimelineItem]) -> list[Line]:
    """The short list: what people need to understand what happened."""
    return in_order([_line(item) for item in items if item.is_curated and item.is_open])


def complete(items: Sequence[TimelineItem], rows: Sequence[TimelineRow]) -> list[Line]:
    """Everything, withdrawn entries too, and none twice: what ETB has from us, or both wrote down, stands once."""
    ours = {item.id for item in items}
    unmatched = [item for item in items if not item.is_mirrored]
    lines = [_line(item) for item in items]
    for row in rows:
        if row.external_ref.removeprefix(REFERENCE).split("/")[0] in ours:
            continue
        twin = next((item for item in unmatched if _same(item, row)), None)
        if twin is not None:
            unmatched.remove(twin)
            continue
        claimed = row.data.get("matrix_event_id") or row.data.get("message_id")
        lines.append(Line(row.at_ms or 0, row.title, row.by, claimed=claimed if isinstance(claimed, str) else ""))
    return in_order(lines)


def in_order(lines: Sequence[Line]) -> list[Line]:
    """By when it happened; what happened at once stays as it was written down."""
    return sorted(lines, key=lambda line: line.at_ms)


async def shown(work: Work, lines: Sequence[Line], room: Room, server: str) -> list[str]:
    """As Markdown, with a link to the message where there is one, else to ETB's page where ETB names one."""
    known = await work.incidents.get(room.incident_id) if room.incident_id is not None else None
    page = f" [in ETB]({known.incident.url})" if known is not None and known.incident.url else ""
    told = []
    for line in lines:
        title = plain(line.title, 200)
        text = f"~~{title}~~ (withdrawn)" if line.is_withdrawn else title
        who = f" ({code(line.by, 80)})" if line.by else ""
        link = await _link(work, line, room, server)
        told.append(f"- {moment(line.at_ms)} {text}{who}{f' [message]({link})' if link else page}")
    return told


async def _link(work: Work, line: Line, room: Room, server: str) -> str:
    """To its message; of what ETB only claims, where that is one of this very room."""
    event_id, room_id = line.event_id, room.room_id
    message = None
    if event_id is not None:
        message = await work.messages.by_event(event_id)
    elif line.claimed:
        by_event = await work.messages.by_event(EventId(line.claimed))
        message = by_event or await work.messages.get(line.claimed)
        if message is not None and message.lane != room.incident_id:
            message = None
    if message is not None:
        event_id, room_id = message.event_id, message.room_id
    return permalink(room_id, event_id, server) if room_id and event_id and is_sent(event_id) else ""


def _line(item: TimelineItem) -> Line:
    return Line(item.at_ms, item.title, item.by, item.event_id, not item.is_open)


def _same(item: TimelineItem, row: TimelineRow) -> bool:
    """Whether both tell of the same change."""
    if item.event_type != row.event_type or row.at_ms is None:
        return False
    return item.at_ms - _SAME_AFTER_MS <= row.at_ms <= item.at_ms + _SAME_BEFORE_MS

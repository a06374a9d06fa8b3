"""How an incident's timeline reads: what happened in its order, ETB's own entries among ours."""

from collections.abc import Sequence
from dataclasses import dataclass

from etb_appservice.domain.duty import TimelineRow
from etb_appservice.domain.ids import EventId
from etb_appservice.domain.text import code, moment, plain
from etb_appservice.domain.timeline import TimelineItem
from etb_appservice.flows.timeline import REFERENCE, permalink
from etb_appservice.ports import Room

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
        lines.append(Line(row.at_ms or 0, row.title, row.by))
    return in_order(lines)


def in_order(lines: Sequence[Line]) -> list[Line]:
    """By when it happened; what happened at once stays as it was written down."""
    return sorted(lines, key=lambda line: line.at_ms)


def shown(lines: Sequence[Line], room: Room, server: str) -> list[str]:
    """As Markdown, with a link to the message where there is one."""
    told = []
    for line in lines:
        title = plain(line.title, 200)
        text = f"~~{title}~~ (withdrawn)" if line.is_withdrawn else title
        who = f" ({code(line.by, 80)})" if line.by else ""
        link = ""
        if line.event_id and room.room_id:
            link = f" [message]({permalink(room.room_id, line.event_id, server)})"
        told.append(f"- {moment(line.at_ms)} {text}{who}{link}")
    return told


def _line(item: TimelineItem) -> Line:
    return Line(item.at_ms, item.title, item.by, item.event_id, not item.is_open)


def _same(item: TimelineItem, row: TimelineRow) -> bool:
    """Whether both tell of the same change."""
    if item.event_type != row.event_type or row.at_ms is None:
        return False
    return item.at_ms - _SAME_AFTER_MS <= row.at_ms <= item.at_ms + _SAME_BEFORE_MS

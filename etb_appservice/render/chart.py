"""The course of an incident as a PNG. Pure: the same picture again of the same story.

    title, time from and to
    ──────────────────────────────
    Status        ▇▇ OPEN ▇▇▇ IN_PROGRESS ▇▇
    Updates          ●  ●        ●
    Escalations         ▲
    Runbooks               ▬▬▬
    Service levels             ┆ by 14:00
    ──────────────────────────────
    axis in UTC                         legend

Colours are those of Okabe and Ito, which people with any colour vision tell apart; shapes say the same again. A
label that has no room is left out rather than written over another: the words beside the picture hold all of it.
"""

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from PIL import Image, ImageDraw, ImageFont

from etb_appservice.domain.story import Limit, Mark, MarkKind, Phase, Story
from etb_appservice.render.clean import one_line

WIDTH: Final = 1200
HEIGHT: Final = 600
_LEFT, _RIGHT, _TOP, _BOTTOM = 170, 1170, 104, 486
_INK, _FAINT, _GRID, _PAPER = "#1a1a1a", "#5a5a5a", "#d9d9d9", "#ffffff"
_PHASES = {
    "OPEN": "#56b4e9",
    "NEW": "#56b4e9",
    "ACKNOWLEDGED": "#f0e442",
    "IN_PROGRESS": "#e69f00",
    "INVESTIGATING": "#e69f00",
    "ON_HOLD": "#bdbdbd",
    "RESOLVED": "#009e73",
    "CLOSED": "#009e73",
}
_OTHER_PHASE = "#cc79a7"
_COLOURS: dict[MarkKind, str] = {
    "update": "#0072b2",
    "escalation": "#d55e00",
    "runbook": "#009e73",
    "note": "#5a5a5a",
}
_LIMITS = {"running": "#5a5a5a", "met": "#009e73", "breached": "#d55e00"}
_LANES: tuple[tuple[str, MarkKind | None, int, int], ...] = (
    ("Status", None, 112, 158),
    ("Updates", "update", 172, 240),
    ("Escalations", "escalation", 250, 318),
    ("Runbooks", "runbook", 328, 396),
)
_LIMIT_LANE = ("Service levels", 406, 480)
_STEPS_MIN = (1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440, 2880, 10080, 43200)
_MOST_TICKS = 8
_MINUTE_MS = 60_000
_DAY_MIN = 1440
Box = tuple[float, float, float, float]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def chart(story: Story) -> bytes:
    """A PNG of WIDTH x HEIGHT."""
    return _Sheet(story).drawn()


@dataclass(slots=True)
class _Sheet:
    story: Story
    image: Image.Image = field(init=False)
    draw: ImageDraw.ImageDraw = field(init=False)
    taken: list[Box] = field(default_factory=list)
    """Where something is written already."""
    fonts: dict[int, Font] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.image = Image.new("RGB", (WIDTH, HEIGHT), _PAPER)
        self.draw = ImageDraw.Draw(self.image)

    def drawn(self) -> bytes:
        story = self.story
        self._text((24, 18), f"{one_line(story.number, 40)}  {story.title}", 24, most=WIDTH - 48)
        span = f"{_when(story.from_ms)} to {_when(story.to_ms)} UTC"
        away = " · ETB does not answer: service levels and escalations are missing" if story.is_away else ""
        self._text((24, 56), span + away, 16, _FAINT, most=WIDTH - 48)
        self._axis()
        for name, kind, top, bottom in _LANES:
            self._lane(name, top, bottom)
            if kind is None:
                self._phases(story.phases, top, bottom)
            else:
                self._marks([one for one in story.marks if one.kind == kind], top, bottom)
        name, top, bottom = _LIMIT_LANE
        self._lane(name, top, bottom)
        self._limits(story.limits, top, bottom)
        self._legend()
        out = io.BytesIO()
        self.image.save(out, "PNG", optimize=True)
        return out.getvalue()

    # --- the frame ----------------------------------------------------------------------------------------

    def _x(self, at_ms: int) -> float:
        story = self.story
        share = (at_ms - story.from_ms) / max(1, story.to_ms - story.from_ms)
        return _LEFT + (_RIGHT - _LEFT) * min(1.0, max(0.0, share))

    def _lane(self, name: str, top: int, bottom: int) -> None:
        self._text((24, (top + bottom) / 2 - 10), name, 17, most=_LEFT - 40)
        self.draw.line([(_LEFT, bottom + 5), (_RIGHT, bottom + 5)], _GRID)

    def _axis(self) -> None:
        story = self.story
        step = _step_min(story.to_ms - story.from_ms)
        step_ms = step * _MINUTE_MS
        first = -(-story.from_ms // step_ms) * step_ms
        style = "%d %b" if step >= _DAY_MIN else "%H:%M"
        is_long = story.to_ms - story.from_ms > _DAY_MIN * _MINUTE_MS
        if step < _DAY_MIN and is_long:
            style = "%d %b %H:%M"
        for at_ms in range(first, story.to_ms + 1, step_ms):
            x = self._x(at_ms)
            self.draw.line([(x, _TOP), (x, _BOTTOM)], _GRID)
            self._written(x, _BOTTOM + 6, datetime.fromtimestamp(at_ms / 1000, UTC).strftime(style), 15, _FAINT)
        self.draw.line([(_LEFT, _BOTTOM), (_RIGHT, _BOTTOM)], _FAINT)
        self._text((24, _BOTTOM + 6), "UTC", 15, _FAINT, most=60)

    def _legend(self) -> None:
        x, y = 24.0, HEIGHT - 48.0
        self.draw.line([(24, y - 14), (WIDTH - 24, y - 14)], _GRID)
        kinds: tuple[tuple[MarkKind, str], ...] = (
            ("update", "status update"),
            ("escalation", "escalation"),
            ("runbook", "runbook"),
        )
        for kind, name in kinds:
            self._shape(kind, x + 10, y + 12, x + 34 if kind == "runbook" else None)
            x = self._text((x + (44 if kind == "runbook" else 26), y + 2), name, 16) + 28
        for state, name in (
            ("running", "service level, running"),
            ("met", "met"),
            ("breached", "breached"),
        ):
            self._limit_line(x + 8, y, y + 24, state)
            x = self._text((x + 20, y + 2), name, 16) + 28

    # --- what happened ------------------------------------------------------------------------------------

    def _phases(self, phases: Sequence[Phase], top: int, bottom: int) -> None:
        for one in phases:
            left, right = self._x(one.from_ms), max(self._x(one.to_ms), self._x(one.from_ms) + 2)
            self.draw.rectangle((left, top, right, bottom), _PHASES.get(one.status, _OTHER_PHASE), _INK)
            label = one_line(one.status.replace("_", " "), 40)
            if self._size(label, 16) <= right - left - 8:
                self._text((left + 5, (top + bottom) / 2 - 10), label, 16)
            else:
                self._written((left + right) / 2, top - 22, label, 15)

    def _marks(self, marks: Sequence[Mark], top: int, bottom: int) -> None:
        # Where the shapes stand, and the two rows of labels above them.
        shapes, upper, lower = bottom - 18, top + 4, top + 25
        for one in marks:
            end = None if one.to_ms is None else self._x(one.to_ms)
            self._shape(one.kind, self._x(one.at_ms), shapes + 8, end)
        for place, one in enumerate(marks):
            x, label = self._x(one.at_ms), one_line(one.label, 32)
            following = self._x(marks[place + 1].at_ms) if place + 1 < len(marks) else float(WIDTH)
            # A low label must not stand in the way of the next one's stem.
            is_wide = max(x + self._size(label, 15) / 2, _LEFT + 2 + self._size(label, 15)) + 8 > following
            for row in (upper, lower) if is_wide else (lower, upper):
                stem = (x - 2, row + 20, x + 2, shapes)
                if self._is_free(stem) and self._written(x, row, label, 15):
                    self.draw.line([(x, row + 20), (x, shapes)], _COLOURS[one.kind])
                    self.taken.append(stem)
                    break

    def _shape(self, kind: MarkKind, x: float, y: float, end: float | None = None) -> None:
        colour = _COLOURS[kind]
        if end is not None:
            self.draw.rectangle((x, y - 5, max(end, x + 6), y + 5), colour, _INK)
        elif kind == "escalation":
            self.draw.polygon([(x, y - 9), (x - 8, y + 7), (x + 8, y + 7)], colour, _INK)
        elif kind == "runbook":
            self.draw.rectangle((x - 6, y - 6, x + 6, y + 6), colour, _INK)
        else:
            self.draw.ellipse((x - 7, y - 7, x + 7, y + 7), colour, _INK)

    def _limits(self, limits: Sequence[Limit], top: int, bottom: int) -> None:
        for one in limits:
            self._limit_line(self._x(one.at_ms), top, bottom, one.state)
        for one in limits:
            label = one_line(f"{one.name}, {one.state}", 40)
            for row in (top + 4, top + 27, top + 50):
                if self._written(self._x(one.at_ms), row, label, 15, beside=True):
                    break

    def _limit_line(self, x: float, top: float, bottom: float, state: str) -> None:
        colour = _LIMITS[state]
        if state == "running":
            y = top
            while y < bottom:
                self.draw.line([(x, y), (x, min(y + 5, bottom))], colour, 3)
                y += 9
            return
        self.draw.line([(x, top), (x, bottom)], colour, 3)
        if state == "breached":
            for sign in (-5, 5):
                self.draw.line([(x - 5, bottom - 6 - sign), (x + 5, bottom - 6 + sign)], colour, 2)

    # --- writing ------------------------------------------------------------------------------------------

    def _written(
        self, x: float, y: float, label: str, size: int, colour: str = _INK, *, beside: bool = False
    ) -> bool:
        """Write at `x`, kept within the frame, on paper; False where something is written already."""
        width = self._size(label, size)
        left = x + 8 if beside else x - width / 2
        if beside and left + width > _RIGHT:
            left = x - 8 - width
        left = min(max(left, _LEFT + 2), WIDTH - 12 - width)
        box = (left - 6, y, left + width + 6, y + size + 4)
        if not self._is_free(box):
            return False
        self.taken.append(box)
        self.draw.rectangle((left - 2, y, left + width + 2, y + size + 3), _PAPER)
        self._text((left, y), label, size, colour)
        return True

    def _is_free(self, box: Box) -> bool:
        return not any(_meet(box, other) for other in self.taken)

    def _text(
        self, at: tuple[float, float], text: str, size: int, colour: str = _INK, *, most: float = WIDTH
    ) -> float:
        """Write, cut to `most` pixels; answers where it ends."""
        label = one_line(text, 200)
        while label and self._size(label, size) > most:
            label = label.rstrip("…")[:-1].rstrip() + "…" if len(label) > 1 else ""
        self.draw.text(at, label, colour, self._font(size))
        return at[0] + self._size(label, size)

    def _font(self, size: int) -> Font:
        """Pillow's own font: the picture is the same on every machine."""
        if size not in self.fonts:
            self.fonts[size] = ImageFont.load_default(size=size)
        return self.fonts[size]

    def _size(self, text: str, size: int) -> float:
        return float(self.draw.textlength(text, self._font(size)))


def _step_min(span_ms: int) -> int:
    """Minutes between ticks, so that there are at most _MOST_TICKS.

    >>> _step_min(60 * 60_000), _step_min(3 * 86_400_000)
    (10, 720)
    """
    steps: Iterable[int] = _STEPS_MIN
    fitting = (step for step in steps if span_ms / (step * _MINUTE_MS) <= _MOST_TICKS)
    return next(fitting, max(_STEPS_MIN[-1], -(-span_ms // (_MOST_TICKS * _MINUTE_MS))))


def _meet(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _when(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")

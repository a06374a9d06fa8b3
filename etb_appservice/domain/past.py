"""Which classification a room has had, and since when: by it old messages are shown, or not, to somebody new."""

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from etb_appservice.domain.classification import Classification

_MOST_STEPS = 100
"""Of a room that changes more often the earlier past counts as unknown."""


ALWAYS = 2**62
"""Later than any time."""


class Span(NamedTuple):
    """A time, in UTC milliseconds: what began before `until_ms` and ended at `from_ms` or later touches it."""

    from_ms: int
    until_ms: int


@dataclass(frozen=True, slots=True)
class Step:
    """From `at_ms` (our clock) on the room had this level."""

    at_ms: int
    level: Classification


@dataclass(frozen=True, slots=True, kw_only=True)
class Levels:
    """The levels of one room, oldest first. There is one such entry in a war room."""

    kind: Literal["Levels"] = "Levels"
    id: str = "levels"
    steps: tuple[Step, ...] = ()
    is_open: bool = False

    def then(self, at_ms: int, level: Classification) -> "Levels":
        """These, and that the room has another level from now on; the same level again changes nothing."""
        if self.steps and self.steps[-1].level is level:
            return self
        since_ms = max(at_ms, self.steps[-1].at_ms) if self.steps else at_ms  # a clock that was set back
        return replace(self, steps=(*self.steps, Step(since_ms, level))[-_MOST_STEPS:])

    def highest(self, from_ms: int, to_ms: int) -> Classification | None:
        """The highest level between two times, both counted in; None where a part of that time is unknown.

        >>> past = Levels().then(0, Classification.INTERNAL).then(50, Classification.PUBLIC)
        >>> past.highest(10, 60), past.highest(50, 60), Levels().highest(1, 2)
        (<Classification.INTERNAL: 2>, <Classification.PUBLIC: 1>, None)
        """
        before = [step.level for step in self.steps if step.at_ms <= from_ms]
        if not before:
            return None
        return max([before[-1], *(step.level for step in self.steps if from_ms < step.at_ms <= to_ms)])

    def above(self, level: Classification) -> tuple[Span, ...]:
        """When the room was above a level, or may have been: what touches none of these has a `highest` up to it.

        >>> Levels().then(5, Classification.PUBLIC).then(9, Classification.INTERNAL).above(Classification.PUBLIC)
        (Span(from_ms=-4611686018427387904, until_ms=5), Span(from_ms=9, until_ms=4611686018427387904))
        """
        if level is Classification.TOP_SECRET:
            return ()
        ends = (*(step.at_ms for step in self.steps), ALWAYS)
        unknown = [Span(-ALWAYS, ends[0])] if ends[0] > 0 else []
        known = [
            Span(step.at_ms, ends[number]) for number, step in enumerate(self.steps, start=1) if step.level > level
        ]
        found: list[Span] = []
        for span in (*unknown, *known):
            if found and found[-1].until_ms == span.from_ms:
                found[-1] = Span(found[-1].from_ms, span.until_ms)
            else:
                found.append(span)
        return tuple(found)

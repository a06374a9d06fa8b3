"""Which classification a room has had, and since when: by it old messages are shown, or not, to somebody new."""

from dataclasses import dataclass, replace
from typing import Literal

from etb_appservice.domain.classification import Classification

_MOST_STEPS = 100
"""Of a room that changes more often the earlier past counts as unknown."""


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

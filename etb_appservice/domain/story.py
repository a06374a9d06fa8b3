"""The course of an incident as a picture shows it, and the same in words. Pure; times are UTC milliseconds."""

from dataclasses import dataclass
from typing import Literal

from etb_appservice.domain.text import moment

MarkKind = Literal["update", "escalation", "runbook", "note"]
LimitState = Literal["running", "met", "breached"]
_MOST_TOLD = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """A status, for as long as it stood."""

    status: str
    from_ms: int
    to_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """Something that happened, or went on until `to_ms`."""

    kind: MarkKind
    at_ms: int
    label: str
    to_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """By when something was to be reached."""

    name: str
    at_ms: int
    state: LimitState


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """An incident from its beginning to its end, or until now."""

    number: str
    title: str
    from_ms: int
    to_ms: int
    phases: tuple[Phase, ...] = ()
    marks: tuple[Mark, ...] = ()
    limits: tuple[Limit, ...] = ()
    is_away: bool = False
    """ETB did not answer: service levels and escalations are missing."""


def in_words(story: Story) -> str:
    """What the picture shows, for those who don't see it."""
    told = [f"Timeline of {story.number} from {moment(story.from_ms)} to {moment(story.to_ms)}."]
    if story.phases:
        told.append(
            "Phases: " + ", ".join(f"{one.status} from {moment(one.from_ms)}" for one in story.phases) + "."
        )
    for kind, name in (("update", "Updates"), ("escalation", "Escalations"), ("runbook", "Runbooks")):
        found = [one for one in story.marks if one.kind == kind]
        if found:
            lines = [f"{one.label} ({moment(one.at_ms)})" for one in found[-_MOST_TOLD:]]
            earlier = len(found) - len(lines)
            told.append(f"{name}: {'; '.join(lines)}{f'; and {earlier} earlier ones' if earlier else ''}.")
    if story.limits:
        lines = [f"{one.name} by {moment(one.at_ms)}, {one.state}" for one in story.limits]
        told.append(f"Service levels: {'; '.join(lines)}.")
    if story.is_away:
        told.append("ETB does not answer: service levels and escalations are missing.")
    return " ".join(told)

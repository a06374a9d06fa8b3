"""What the bot asks back, and the command that waits for the answer.

    asked ─┬► answered ──────────► the command runs again, knowing one thing more
           ├► another command ───► closed
           └► time is over ──────► closed, said once

A person has at most one open question in a room: its id there is their Matrix id.
"""

from dataclasses import dataclass, field
from typing import Literal

from etb_appservice.domain.ids import EventId, RoomId, UserId

YES = frozenset({"yes", "y"})
NO = frozenset({"no", "n", "cancel"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A command that waits for somebody: all that is needed to run it later, as whoever asked for it."""

    run_id: str
    caller: UserId
    room_id: RoomId
    event_id: EventId
    """The message that is the command."""
    command: str
    text: str
    """Its arguments as they were typed."""
    learned: dict[str, str] = field(default_factory=dict)
    """What was answered so far, by what it was wanted for."""
    thread_root: EventId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question to one person in one room."""

    kind: Literal["Question"] = "Question"
    id: str
    """The Matrix id of whoever is asked."""
    number: str
    """Tells this question from later ones to the same person."""
    held: Held
    wanted: str
    """Under which name the answer becomes known to the command."""
    prompt: str
    """What was asked."""
    expires_ms: int
    asks_yes: bool = False
    """Whether only yes or no answers it."""
    options: tuple[str, ...] = ()
    """What the numbers 1, 2, 3 stand for."""
    labels: tuple[str, ...] = ()
    """What the options are called, where that is something else."""
    is_open: bool = True


@dataclass(frozen=True, slots=True)
class Reading:
    """What a message says to a question: a value, a no, or something that can't be right."""

    value: str | None = None
    is_no: bool = False
    mistake: str = ""


def read_answer(question: Question, body: str) -> Reading | None:
    """How a message answers a question; None when it is talk."""
    text = " ".join(body.split())
    word = text.casefold().rstrip(".!")
    if question.asks_yes:
        if word in YES:
            return Reading("yes")
        return Reading(is_no=True) if word in NO else None
    if word == "cancel":
        return Reading(is_no=True)
    if not question.options:
        return Reading(body.strip()) if text else None
    labels = zip(question.options, question.labels or question.options, strict=True)
    named = [option for option, label in labels if label.casefold() == text.casefold()]
    if len(named) == 1:
        return Reading(named[0])
    if not (word.isascii() and word.isdigit()):
        return None
    # Longer numbers than any list has; `int` refuses to read those of thousands of digits.
    number = int(word) if len(word) < 5 else 0  # noqa: PLR2004
    if 1 <= number <= len(question.options):
        return Reading(question.options[number - 1])
    return Reading(mistake=f"Answer with a number from 1 to {len(question.options)}, or `cancel`.")

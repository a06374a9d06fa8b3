"""What a reaction to a message does. It is not encrypted and names no device: only for what does no harm."""

from dataclasses import dataclass
from typing import Literal

from etb_appservice.domain.ids import EventId, UserId

ReactionAction = Literal["timeline", "task", "acknowledge"]
"""Put the message on the timeline; make a task of it; acknowledge the page that it is."""
_VARIATION = "\N{VARIATION SELECTOR-16}"


def bare(emoji: str) -> str:
    r"""An emoji as it is compared: some clients add the variation selector, others don't.

    >>> bare("\u2b50\ufe0f") == bare("\u2b50")
    True
    """
    return emoji.replace(_VARIATION, "").strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reaction:
    """A reaction that did something, or waits for its target to become known."""

    kind: Literal["Reaction"] = "Reaction"
    id: str
    """The reaction's own event: what a redaction will name."""
    key: str
    sender: UserId
    target: EventId
    does: ReactionAction | Literal["snooze", "stop"]
    made: str = ""
    """The id of the timeline entry, or the number of the task; empty where there is none."""
    is_open: bool = True
    """False once it was taken away."""

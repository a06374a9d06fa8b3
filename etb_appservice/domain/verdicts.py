"""What became of something that ETB's web pages asked for: told to whoever asked, right after the commit."""

from dataclasses import dataclass
from typing import Literal

Outcome = Literal["done", "there", "forbidden", "not_found", "conflict", "invalid", "unavailable", "too often"]
"""Done now; so already; the asker may not; may not know of it; it can't be now; can't be at all; ETB is away;
the asker has to wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """`ref` is what whoever asked called it. `text` is a sentence for them."""

    ref: str
    outcome: Outcome
    code: str = ""
    """A machine word."""
    text: str = ""
    field: str = ""
    """What was wrong with which field, where it was that."""
    after_s: int = 0
    """How long to wait, where it was too often."""

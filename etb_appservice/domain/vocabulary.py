"""The words ETB has for an incident's status, and how people type such words.

Source: docs/etb-contract.md 2.1. ETB may know more words than these: it decides.
"""

import difflib
import re
from collections.abc import Sequence

STATUSES = (
    "NEW",
    "OPEN",
    "ACKNOWLEDGED",
    "INVESTIGATING",
    "IN_PROGRESS",
    "ON_HOLD",
    "RESOLVED",
    "CLOSED",
    "REOPENED",
    "CANCELLED",
)
LONGEST_WORD = 64


def written(typed: str) -> str:
    """A word of ETB's, from how somebody typed it; empty when nothing is left of it.

    >>> written("in progress"), written("On-Hold"), written(' "resolved" ')
    ('IN_PROGRESS', 'ON_HOLD', 'RESOLVED')
    """
    return "_".join(re.split(r"[\s_-]+", typed.strip(" \t\r\n\"'`“”„«»"))).strip("_").upper()


def nearest_word(word: str, known: Sequence[str]) -> str | None:
    """The word that somebody may have meant."""
    close = difflib.get_close_matches(word[:LONGEST_WORD], known, n=1, cutoff=0.6)
    return close[0] if close else None

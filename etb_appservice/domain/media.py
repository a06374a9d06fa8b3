"""What the bot has put into the homeserver's media store.

A homeserver can't list what an encrypted room refers to, so whoever is to delete it later must know it from here.
"""

from dataclasses import dataclass
from typing import Literal

from etb_appservice.domain.ids import EventId


@dataclass(frozen=True, slots=True, kw_only=True)
class Media:
    """One upload, written down before anything refers to it. Its id is its `mxc:` address."""

    kind: Literal["Media"] = "Media"
    id: str
    filename: str
    mime: str
    size: int
    """Of what was encrypted, in bytes."""
    sha256: str
    """Of what was encrypted, hex."""
    at_ms: int
    event_id: EventId | None = None
    """The event that refers to it; None while none does, or where its answer was lost."""
    purpose: Literal["file", "history"] = "file"
    """`history`: the room keys that an invitation carried, which no event refers to."""
    is_open: bool = True
    """Whether it is still there, as far as we know."""

"""What the service has to say to one person alone, in an encrypted chat with nobody else in it."""

from dataclasses import dataclass
from typing import Literal

from etb_appservice.domain.ids import EventId, IncidentId


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """Waits in the direct chat's war room until that chat is open."""

    kind: Literal["Letter"] = "Letter"
    id: str
    text: str
    """Markdown."""
    notify: bool = False
    """Whether a phone should ring."""
    about: str = ""
    """What it is about, such as `page/<war room>/<page>`, so that a reaction to it can be understood."""
    incident_id: IncidentId | None = None
    """The incident whose contents it holds: said only to whom may know them when it is said."""
    signed_only: bool = False
    """Whether only devices that their owner has signed may read it."""
    event_id: EventId | None = None
    """The message, once it was said."""
    is_open: bool = True
    """False once it was said."""

"""What ETB's web pages have said of a war room: nothing of it reaches Matrix, where names follow the level."""

from dataclasses import dataclass
from typing import Literal

from etb_appservice.domain.ids import NOBODY, Username


@dataclass(frozen=True, slots=True, kw_only=True)
class WebRoom:
    """There is one of each war room that was made or named there."""

    kind: Literal["WebRoom"] = "WebRoom"
    id: str = "web"
    name: str = ""
    """Empty: called by its incident."""
    description: str = ""
    """Empty: the incident's."""
    created_by: Username = NOBODY
    """Who asked for the room; empty where nobody did."""
    is_open: bool = True

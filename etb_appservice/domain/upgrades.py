"""A room that a person has replaced by another one (Matrix specification, "Room Upgrades")."""

from dataclasses import dataclass
from typing import Literal

from etb_appservice.domain.ids import RoomId, UserId


@dataclass(frozen=True, slots=True, kw_only=True)
class Upgrade:
    """There is one of each successor that was named. While it is open, an invitation there is expected."""

    kind: Literal["Upgrade"] = "Upgrade"
    id: str
    """The successor's room id."""
    before: RoomId
    by: UserId
    at_ms: int
    state: Literal["asked", "followed", "refused"] = "asked"
    is_open: bool = True

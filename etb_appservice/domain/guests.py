"""Whom the service has invited to an incident's room, for which roles, and what keeps the others out."""

from dataclasses import dataclass
from typing import Literal

from etb_appservice.domain.ids import UserId, Username


@dataclass(frozen=True, slots=True, kw_only=True)
class Guest:
    """One person whom ETB names for an incident. The id is the ETB username within the war room."""

    kind: Literal["Guest"] = "Guest"
    id: Username
    user_id: UserId | None = None
    """The Matrix id that was invited last."""
    stays: bool = False
    """They were in the room when they lost the last of their roles, and were in it rightly until then."""
    roles: tuple[str, ...] = ()
    """The roles of now for which they have been in the room or were invited; whoever left it by themselves keeps
    them and isn't asked again. Empty once they hold none, or were put out."""
    obstacle: str = ""
    """As in `incident.Responder`, or `refused`: the homeserver took no invitation for them."""
    is_open: bool = False
    """Whether something keeps them out of an incident that is open."""

    def came_in(self, user_id: UserId) -> bool:
        """Whether this Matrix id of theirs came into the room rightly, and was not put out since."""
        return self.user_id == user_id and (bool(self.roles) or self.stays)

"""Rooms of ours, who is in them, and the last copies of what ETB owns, as protocols."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.ids import EventId, IncidentId, RoomId, UserId, Username, WarRoomId
from etb_appservice.domain.incident import Card, Deadline, EtbUser, Incident, OnCall
from etb_appservice.domain.rooms import RoomKind, Visibility


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """A room of ours. `room_id` None while it is being opened."""

    war_room: WarRoomId
    generation: int
    kind: RoomKind
    incident_id: IncidentId | None
    classification: Classification
    visibility: Visibility
    keys_to_invited: bool
    encrypted: bool
    room_id: RoomId | None = None
    is_current: bool = True
    name: str = ""
    """What servers can read as its name, as last asked for; stored sealed."""
    card_event: EventId | None = None
    """The event that carries the card; None until it was sent."""
    card: Card | None = None
    """The card as it was last asked for; stored sealed."""
    card_holders: tuple[UserId, ...] = ()
    """Who was given the key of the event that carries the card."""
    person: UserId | None = None
    """Whose direct chat it is; stored sealed."""
    federates: bool = True
    """Whether users of other homeservers can be in it, fixed when it was made; stored sealed."""
    hosts: tuple[str, ...] | None = None
    """The homeservers that its ACL admits, as last asked for; None when it has no ACL; stored sealed."""
    created_ms: int = field(default=0, compare=False)
    """When the first generation of its war room was asked for; the store's own word."""


class Rooms(Protocol):
    """Our rooms and who is in them."""

    async def put(self, room: Room) -> None:
        """Add or replace by (war_room, generation)."""
        ...

    async def of_incident(self, incident_id: IncidentId) -> Room | None:
        """The current room of an incident."""
        ...

    async def by_war_room(self, war_room: WarRoomId) -> Room | None:
        """The current generation of a war room, the control room or the Space."""
        ...

    async def by_id(self, room_id: RoomId) -> Room | None: ...

    async def former(self, war_room: WarRoomId) -> Sequence[RoomId]:
        """The rooms that the current one has replaced, oldest first."""
        ...

    async def all_current(self) -> Sequence[Room]:
        """Current rooms, oldest first, without their cards."""
        ...

    async def count(self) -> int: ...

    async def set_member(self, room_id: RoomId, user_id: UserId, membership: str) -> str:
        """Record a membership; answers the one before (`leave` when there was none)."""
        ...

    async def members(self, room_id: RoomId, *memberships: str) -> Sequence[UserId]:
        """User ids with one of these memberships, two at most, sorted."""
        ...

    async def present(self, room_id: RoomId) -> Mapping[UserId, str]:
        """Who is joined or invited, and which of both; asked for each message, so it MUST be cheap."""
        ...

    async def inside(self, kind: RoomKind) -> Sequence[UserId]:
        """Everybody who is joined or invited in any room of this kind."""
        ...

    async def membership(self, room_id: RoomId, user_id: UserId) -> str: ...

    async def joined(self, levels: Collection[Classification]) -> Mapping[RoomId, Sequence[UserId]]:
        """Who is in the current encrypted rooms of these levels, in one read; each room's people sorted."""
        ...

    async def shared_with(self, user_id: UserId) -> Sequence[RoomId]:
        """Encrypted rooms of ours in which a person is joined or invited."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """Our last copy of an incident, and when ETB last confirmed it (UTC milliseconds by our clock)."""

    incident: Incident
    confirmed_ms: int
    deadlines: tuple[Deadline, ...] = ()


class Incidents(Protocol):
    """Last known copies of what ETB owns, sealed."""

    async def put(self, known: Known) -> None: ...

    async def get(self, incident_id: IncidentId) -> Known | None: ...

    async def open_ids(self) -> Sequence[IncidentId]:
        """Incidents that are not closed, oldest first."""
        ...

    async def put_user(self, user: EtbUser, confirmed_ms: int) -> None: ...

    async def user(self, username: Username) -> tuple[EtbUser, int] | None:
        """The last copy of a user and when it was confirmed."""
        ...

    async def users(self, usernames: Collection[Username]) -> Mapping[Username, tuple[EtbUser, int]]:
        """The same of several; absent are those of whom there is no copy."""
        ...

    async def doubt_users(self, before_ms: int) -> None:
        """What was confirmed before then counts as never confirmed, until it is put again."""
        ...

    async def put_on_call(self, on_call: Sequence[OnCall], confirmed_ms: int) -> None: ...

    async def on_call(self) -> tuple[Sequence[OnCall], int] | None: ...

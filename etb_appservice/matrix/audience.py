"""Who is given the key of a room's next message: our own tables, corrected by what we did a moment ago.

Between our invite or kick and its echo the tables are behind. Until they have caught up, whoever we removed is
left out and whoever we invited is counted in. Must never count in somebody on a stranger's word.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from etb_appservice.domain.ids import RoomId, UserId
from etb_appservice.ports import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Audience:
    """What encrypting in a room needs to know. `shared_history`: keys may be passed on to people invited later."""

    encrypted: bool
    joined: tuple[UserId, ...]
    invited: tuple[UserId, ...]
    keys_to_invited: bool
    shared_history: bool


AudienceOf = Callable[[RoomId], Awaitable[Audience | None]]
"""The audience of a room of ours; None for a room that isn't."""


def audience_from(store: Store) -> AudienceOf:
    """Reads the audience from the tables."""

    async def audience_of(room_id: RoomId) -> Audience | None:
        async with store.view() as work:
            room = await work.rooms.by_id(room_id)
            if room is None:
                return None
            return Audience(
                encrypted=room.encrypted,
                joined=tuple(await work.rooms.members(room_id, "join")),
                invited=tuple(await work.rooms.members(room_id, "invite")),
                keys_to_invited=room.keys_to_invited,
                shared_history=room.visibility == "shared",
            )

    return audience_of


class Recipients:
    """The tables' audience, and what our own acts have changed since."""

    def __init__(self, audience_of: AudienceOf) -> None:
        self._audience_of = audience_of
        self._removed: dict[RoomId, set[UserId]] = {}
        self._invited: dict[RoomId, set[UserId]] = {}

    def was_invited(self, room_id: RoomId, user_id: UserId) -> None:
        """We invited somebody; the tables don't know yet."""
        self._removed.get(room_id, set()).discard(user_id)
        self._invited.setdefault(room_id, set()).add(user_id)

    def was_removed(self, room_id: RoomId, user_id: UserId) -> None:
        """We removed somebody, or tried to and don't know; the tables don't know yet."""
        self._invited.get(room_id, set()).discard(user_id)
        self._removed.setdefault(room_id, set()).add(user_id)

    async def heard_of(self, room_id: RoomId, user_id: UserId) -> None:
        """The tables learned something of this person: believe them, but a removal only once they show it."""
        self._invited.get(room_id, set()).discard(user_id)
        if user_id in self._removed.get(room_id, set()):
            await self._catch_up(room_id, await self._audience_of(room_id))

    async def of(self, room_id: RoomId) -> tuple[Audience, tuple[UserId, ...]] | None:
        """The audience and everybody who gets the key; None for a room that isn't ours."""
        audience = await self._audience_of(room_id)
        await self._catch_up(room_id, audience)
        if audience is None:
            return None
        people = set(audience.joined)
        if audience.keys_to_invited:
            people |= {*audience.invited, *self._invited.get(room_id, set())}
        return audience, tuple(sorted(people - self._removed.get(room_id, set())))

    async def _catch_up(self, room_id: RoomId, audience: Audience | None) -> None:
        present = {*audience.joined, *audience.invited} if audience is not None else set()
        self._removed.get(room_id, set()).intersection_update(present)
        self._invited.get(room_id, set()).difference_update(present)
        for table in (self._removed, self._invited):
            if not table.get(room_id, {room_id}):
                del table[room_id]

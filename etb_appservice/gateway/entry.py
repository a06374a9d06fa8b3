"""Which war room somebody means, and whether they may be in it: asked of the one rights function, every time.

A war room that the caller may not enter is told apart from one that doesn't exist only where its name can't be
guessed (a UUID, a Matrix room id): an incident's number must not show that there is such an incident.
"""

import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from etb_appservice.domain.ids import IncidentId, RoomId, Username, WarRoomId
from etb_appservice.domain.policy import Policy
from etb_appservice.flows.grammar import UsageError
from etb_appservice.flows.numbers import room_numbered
from etb_appservice.flows.permitted import Permission, circle_of, newer, permission_of
from etb_appservice.gateway.callers import Caller
from etb_appservice.ports import ON_CALL, USERS, Room, Store, Work

Barred = Literal["no room", "no access"]
_MOST_NAME = 255
"""Matrix ids are no longer."""


@dataclass(frozen=True, slots=True)
class Entered:
    """A war room that somebody may be in now."""

    room: Room
    permission: Permission
    stamp: tuple[int, ...]
    """As of when: see `Entry.stamp`."""


class Entry:
    """Reads the tables, never ETB: what a caller's token showed of them counts where it is newer."""

    def __init__(self, store: Store, policy: Policy) -> None:
        self._store = store
        self._policy = policy

    async def enter(self, word: str, caller: Caller) -> Entered | Barred:
        """`word`: what stands in the path, decoded (docs/etb-contract.md 6.1)."""
        async with self._store.view() as work:
            room, is_guessable = await self._find(work, word)
            if room is None:
                return "no room"
        # Taken before the view in which the answer is read.
        stamp = self.stamp(room)
        async with self._store.view() as work:
            found = (await self.still(work, room, [caller]))[caller.user.username]
        if found.allowed:
            return Entered(room, found, stamp)
        return "no room" if is_guessable else "no access"

    async def still(self, work: Work, room: Room, callers: Collection[Caller]) -> Mapping[Username, Permission]:
        """Whether these may be in a war room now, by username."""
        circle = await circle_of(work, room)
        copies = await work.incidents.users({caller.user.username for caller in callers})
        latest = {one.user.username: one for one in sorted(callers, key=lambda one: one.confirmed_ms)}
        return {
            name: await permission_of(
                work, room, name, self._policy, known=(circle, newer(copies.get(name), one.copy))
            )
            for name, one in latest.items()
        }

    def stamp(self, room: Room) -> tuple[int, ...]:
        """Changes with each commit of this process after which others may be in it; to be taken before a view."""
        return self._store.stamp(USERS, ON_CALL, room.war_room, room.incident_id or "")

    async def _find(self, work: Work, word: str) -> tuple[Room | None, bool]:
        """The room of an incident, and whether the word could have been guessed."""
        if not word or len(word) > _MOST_NAME:
            return None, True
        room, is_guessable = await self._named(work, word)
        return (room if room is not None and room.kind == "incident" else None), is_guessable

    async def _named(self, work: Work, word: str) -> tuple[Room | None, bool]:
        if (known := _uuid(word)) is not None:
            room = await work.rooms.by_war_room(WarRoomId(known))
            return room or await work.rooms.of_incident(IncidentId(known)), False
        if word.startswith("!"):
            # Also the id of an earlier generation leads to the room of now.
            room = await work.rooms.by_id(RoomId(word))
            return (await work.rooms.by_war_room(room.war_room) if room else None), False
        if word.startswith("#"):
            return await self._by_alias(work, word), False
        try:
            numbered = await room_numbered(work, word, instead="")
        except UsageError:  # two incidents have the number: it names neither
            numbered = None
        return (numbered[0] if numbered else None), True

    async def _by_alias(self, work: Work, alias: str) -> Room | None:
        localpart, _, server = alias[1:].partition(":")
        prefix = self._policy.rooms.alias_prefix
        known = _uuid(localpart.removeprefix(prefix).partition(".")[0])
        if not localpart.startswith(prefix) or server != self._policy.server_name or known is None:
            return None
        return await work.rooms.of_incident(IncidentId(known))


def _uuid(word: str) -> str | None:
    try:
        return str(uuid.UUID(word))
    except ValueError:
        return None

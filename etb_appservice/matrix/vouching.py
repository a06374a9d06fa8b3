"""Tells what the homeserver only passes on to us from what it shows to the room.

    an event of a room of ours ──sender joined, by our tables──> as it reads
         └── not joined ──> does the homeserver show it? ──yes──> as it reads (said before they went, fetched late)
                                                       └──no───> EventDisowned

A homeserver that ignores a ban sends events that refer to the room as it was. Synapse takes them in and keeps them
from everybody (Matrix server-server API, "Soft failure"), but from application services it doesn't: with a join
made up like that, somebody removed would count as joined here, and be given room keys.

Who was found joined is remembered until an event says otherwise: all events of a room pass here one after another.
"""

from collections import OrderedDict
from typing import Protocol

from etb_appservice.domain.facts import EventDisowned, Fact, MembershipChanged, Origin
from etb_appservice.domain.ids import EventId, RoomId, UserId
from etb_appservice.matrix.server import Json
from etb_appservice.ports import KeyMissing, MatrixDecoder, Nothing, Store

_REMEMBERED = 4096


class Shows(Protocol):
    """The homeserver, as far as needed here."""

    async def event(self, room_id: RoomId, event_id: EventId) -> Json | None:
        """One event; None when we are not shown it."""
        ...


class Vouching:
    """`MatrixDecoder` that asks the homeserver about events of people who aren't in the room."""

    def __init__(self, decoder: MatrixDecoder, store: Store, server: Shows, bot: str) -> None:
        self._decoder = decoder
        self._store = store
        self._server = server
        self._bot = bot
        self._joined: OrderedDict[tuple[RoomId, UserId], None] = OrderedDict()

    async def decode(self, payload: bytes) -> Fact | KeyMissing | Nothing:
        """Read one event as JSON. Later when the homeserver must be asked and can't be."""
        read = await self._decoder.decode(payload)
        if isinstance(read, MembershipChanged):
            self._joined.pop((read.room_id, read.user_id), None)
        if not isinstance(read, Origin | KeyMissing) or read.sender == self._bot or await self._belongs(read):
            return read
        if await self._server.event(read.room_id, read.event_id) is not None:
            return read
        return EventDisowned(
            room_id=read.room_id, event_id=read.event_id, sender=read.sender, origin_ms=read.origin_ms
        )

    async def _belongs(self, read: Origin | KeyMissing) -> bool:
        """Whether our tables are enough to believe it; rooms of others are nothing to be believed about."""
        who = (read.room_id, read.sender)
        if who in self._joined:
            return True
        async with self._store.view() as view:
            membership = await view.rooms.membership(*who)
            if membership == "join":
                if not isinstance(read, MembershipChanged):
                    self._remember(who)
                return True
            if membership == "invite" and isinstance(read, MembershipChanged) and read.user_id == read.sender:
                return True
            return await view.rooms.by_id(read.room_id) is None

    def _remember(self, who: tuple[RoomId, UserId]) -> None:
        self._joined[who] = None
        if len(self._joined) > _REMEMBERED:
            self._joined.popitem(last=False)

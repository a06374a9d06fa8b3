"""Room events as they come in, turned into rows for the inbox. Must never refuse one: the odd event is parked.

The same event becomes the same row whichever way it came: in a transaction, in the same transaction again, or
fetched because Synapse never sent it.
"""

import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from etb_appservice.domain.ids import EventId, RoomId, UserId, short_hash
from etb_appservice.ports import Arrival, Store

ODD_LANE = "matrix/odd"
"""Where what belongs to no room waits for an operator."""
_ID_BYTES = 255
_RECENT = 4096
_ID_NAMES = ("event_id", "room_id")

LaneOf = Callable[[RoomId], str]
"""The lane of a room: its incident's id once known, else the room's own id. Answers from memory, for any text."""


def is_id(value: object) -> bool:
    """Whether a value can be an identifier: a text of 1 to 255 bytes without control characters.

    Matrix specification, appendices, "Identifier Grammar". Lone surrogates and NUL would be refused by a database.
    """
    if not isinstance(value, str) or not value:
        return False
    try:
        size = len(value.encode("utf-8"))
    except UnicodeEncodeError:
        return False
    return size <= _ID_BYTES and value.isprintable()


def is_user_id(value: object) -> bool:
    """Whether a value can be a Matrix user id; historical localparts are allowed, as servers allow them."""
    return isinstance(value, str) and value.startswith("@") and ":" in value and is_id(value)


def as_bytes(value: Any) -> bytes:
    """JSON in ASCII only: lone surrogates and NUL are written as escapes and survive any database."""
    return json.dumps(value, ensure_ascii=True, separators=(",", ":")).encode("ascii")


def arrival_of(event: object, lane_of: LaneOf) -> Arrival:
    """The row for one event of a room; parked when it has no usable ids."""
    payload = as_bytes(event)
    if not isinstance(event, Mapping):
        return parked(payload, "the event is not a JSON object")
    for name in _ID_NAMES:
        if not is_id(event.get(name)):
            return parked(payload, f"the event's {name} is missing or unusable")
    return Arrival(
        source="matrix",
        lane=lane_of(RoomId(event["room_id"])),
        key=short_hash("event", event["event_id"]),
        payload=payload,
    )


def parked(payload: bytes, reason: str) -> Arrival:
    """A row that nothing can be made of, for an operator to look at; the same bytes are kept once."""
    digest = hashlib.blake2b(payload, digest_size=16).hexdigest()
    return Arrival(
        source="matrix", lane=ODD_LANE, key=short_hash("odd", digest), payload=payload, park_reason=reason
    )


_ALWAYS_READ = frozenset({"m.room.member", "m.room.pinned_events"})


class Intake:
    """Accepts events into the inbox, from a transaction or fetched, and wakes whoever works on their lanes."""

    def __init__(
        self, store: Store, lane_of: LaneOf, wake: Callable[[Sequence[str]], None], *, bot: UserId | None = None
    ) -> None:
        """`bot`: what it sent comes back to us and tells nothing new; it is passed over unwritten."""
        self._bot = bot
        self._store = store
        self._lane_of = lane_of
        self._wake = wake
        self._recent: OrderedDict[bytes, None] = OrderedDict()

    def row(self, event: object) -> Arrival:
        """The row for one event; RecursionError when it is nested too deeply to be written."""
        return arrival_of(event, self._lane_of)

    def is_echo(self, event: object) -> bool:
        """Whether an event is the bot's own act: its effect was recorded when the homeserver answered it.

        Who is in a room counts for its keys, whoever acts in the bot's name: memberships are never passed over.
        Nor is what is pinned: the bot adds to what it finds there, and only the room shows what came of it.
        """
        return isinstance(event, Mapping) and self.is_act_of_ours(event.get("sender"), event.get("type"))

    def is_act_of_ours(self, sender: object, event_type: object) -> bool:
        """The same of an event of which no more is known."""
        return self._bot is not None and sender == self._bot and event_type not in _ALWAYS_READ

    def saw_echo(self, event_id: object) -> None:
        """Remember for a moment that an act of our own came back: the self-test waits for one."""
        if isinstance(event_id, str) and is_id(event_id):
            self._remember([short_hash("event", event_id)])

    def has_recent(self, event_id: EventId) -> bool:
        """Whether this event was accepted a moment ago; False says nothing, the memory is short."""
        return short_hash("event", event_id) in self._recent

    async def accept(self, events: Sequence[object]) -> int:
        """Store events in one commit, in this order; answers how many were new."""
        return await self.accept_arrivals([self.row(event) for event in events if not self.is_echo(event)])

    async def accept_arrivals(self, arrivals: Sequence[Arrival]) -> int:
        """Store rows in one commit, then wake their lanes; answers how many were new."""
        if not arrivals:
            return 0
        async with self._store.work() as work:
            new = await work.inbox.accept(arrivals)
        self._remember([arrival.key for arrival in arrivals])
        if new:
            self._wake(list(dict.fromkeys(arrival.lane for arrival in arrivals if arrival.park_reason is None)))
        return new

    def _remember(self, keys: Sequence[bytes]) -> None:
        for key in keys:
            self._recent[key] = None
        while len(self._recent) > _RECENT:
            self._recent.popitem(last=False)

"""Accepted input and effects to carry out: the two queues of the store, as protocols."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from etb_appservice.domain.effects import Effect
from etb_appservice.domain.ids import RoomId

Source = Literal["matrix", "etb", "own", "web"]
"""Where a row of the inbox came from: a room event as JSON, ETB's JSON, a fact of ours, or one of a web user's."""
InboxState = Literal["ready", "timer", "waiting", "parked"]
OutboxState = Literal["queued", "parked", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """Something to accept into the inbox. Same `key`, same row: what was seen before is dropped.

    The key of a Matrix event is always `short_hash("event", event_id)`, whichever way it came.

    `key` is 16 bytes (`ids.short_hash`), remembered long after the row is gone. `due_ms` in the future makes it
    a timer, which takes its place in the lane when it falls due.
    """

    source: Source
    lane: str
    key: bytes
    payload: bytes
    due_ms: int | None = None
    park_reason: str | None = None
    """Set when it is accepted but can't be worked on, such as an event without an id: parked at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InboxRow:
    """One row of the inbox, opened. `place` is the row's first `seq`: where it belongs in the conversation."""

    seq: int
    place: int
    source: Source
    lane: str
    payload: bytes
    received_ms: int
    attempts: int
    state: InboxState
    due_ms: int
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxRow:
    """One effect to be carried out.

    `first_tried_ms` and `device_id` are of the first try that may have reached the other side; None before it.
    """

    seq: int
    key: str
    target: str
    lane: str
    effect: Effect
    state: OutboxState
    attempts: int
    due_ms: int
    created_ms: int
    first_tried_ms: int | None = None
    device_id: str | None = None
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParkedEffect:
    """An effect that waits for an operator. `kind` is `unreadable` when the effect itself can't be opened."""

    seq: int
    kind: str
    state: OutboxState
    attempts: int
    created_ms: int
    error: str


class RowUnreadable(Exception):
    """The oldest row of a line can't be opened: changed, its key destroyed, or written by a newer version.

    Raised by `next` of inbox and outbox, and by nothing else; whoever asked parks the row, and the line goes on.
    """

    def __init__(self, seq: int, reason: str) -> None:
        """`reason` is for operators; it holds nothing of the row."""
        super().__init__(reason)
        self.seq = seq


class Inbox(Protocol):
    """Accepted input, sealed. A row leaves only by `finish`, or by an operator's `drop`."""

    async def accept(self, arrivals: Sequence[Arrival]) -> int:
        """Store what wasn't seen before, in this order; answers how many were new. Repeating is safe."""
        ...

    async def next(self, lane: str, now_ms: int) -> InboxRow | float | None:
        """The oldest ready row of a lane; the seconds until it is due (a failed row holds its lane); or None.

        Raises RowUnreadable.
        """
        ...

    async def lanes(self, now_ms: int) -> Sequence[str]:
        """Lanes that hold a ready row; first makes timers that fell due ready, at their lane's end."""
        ...

    async def soonest_ms(self) -> int | None:
        """When the next timer or held lane falls due; None when there is neither."""
        ...

    async def finish(self, seq: int) -> None:
        """The row's fact is decided: forget the row (its key stays)."""
        ...

    async def retry_later(self, seq: int, *, due_ms: int, error: str) -> None:
        """Its handler failed: count the attempt and hold its lane until `due_ms`."""
        ...

    async def park(self, seq: int, *, error: str) -> None:
        """Set it aside for a person; the lane goes on."""
        ...

    async def wait_for_key(self, seq: int, *, room_id: RoomId, session_id: str) -> None:
        """Set it aside until `key_arrived`; the lane goes on. Keeps `place`."""
        ...

    async def key_arrived(self, room_id: RoomId, session_id: str) -> Sequence[str]:
        """Make rows that wait for this session ready again; answers their lanes.

        They keep their `seq` and so come next in their lane, in their old order: what was said later with the same
        key can't overtake them.
        """
        ...

    async def waiting(self) -> Sequence[tuple[RoomId, str]]:
        """Every (room, session) that rows wait for; looked at again after a start."""
        ...

    async def is_waiting(self, room_id: RoomId, session_id: str) -> bool:
        """Whether earlier events of this session wait: later ones must wait with them."""
        ...

    async def stop_waiting(self, event_key: bytes) -> bool:
        """A redaction ends the wait of the event with this key; answers whether one waited."""
        ...

    async def move_lane(self, old: str, new: str) -> None:
        """The rows of a room whose incident became known go to the incident's lane."""
        ...

    async def parked(self) -> Sequence[InboxRow]:
        """What waits for an operator, oldest first, without payload."""
        ...

    async def retry(self, seq: int) -> bool:
        """An operator's wish: make a parked row ready; False when there is none."""
        ...

    async def drop(self, seq: int) -> bool:
        """An operator's wish: forget a parked row; False when there is none."""
        ...

    async def depth(self, now_ms: int) -> tuple[int, int, float]:
        """(ready, parked, age of the oldest ready row in seconds)."""
        ...

    async def forget_keys(self, before_ms: int) -> int:
        """Forget keys first seen before then; answers how many. MUST NOT be called for less than 76 hours."""
        ...


class Outbox(Protocol):
    """Effects to carry out, sealed, in order per target. Same key, same effect: a second one is dropped."""

    async def add(self, key: str, lane: str, effect: Effect) -> bool:
        """Queue an effect at the end of its target; False when its key is known already."""
        ...

    async def next(self, target: str, now_ms: int) -> OutboxRow | float | None:
        """The oldest queued row of a target; the seconds until it is due; or None. Raises RowUnreadable."""
        ...

    async def targets(self) -> Sequence[str]:
        """Targets that hold a queued row."""
        ...

    async def soonest_ms(self) -> int | None:
        """When the next held target falls due."""
        ...

    async def trying(self, seq: int, *, device_id: str) -> None:
        """Write down that a try begins, before it begins; keeps the first try's time and device."""
        ...

    async def finish(self, seq: int) -> None:
        """It took effect or was refused: forget the row (its key stays)."""
        ...

    async def retry_later(self, seq: int, *, due_ms: int, error: str) -> None:
        """Count the attempt and hold its target until `due_ms`."""
        ...

    async def park(self, seq: int, *, state: Literal["parked", "unknown"], error: str) -> None:
        """Set it aside for a person; the target goes on."""
        ...

    async def parked(self) -> Sequence[ParkedEffect]:
        """What waits for an operator, oldest first."""
        ...

    async def retry(self, seq: int) -> bool:
        """Queue a parked row again; False when there is none."""
        ...

    async def drop(self, seq: int) -> bool:
        """Forget a parked row; False when there is none."""
        ...

    async def depth(self, now_ms: int) -> tuple[int, int, float]:
        """(queued, parked or unknown, age of the oldest queued row in seconds)."""
        ...

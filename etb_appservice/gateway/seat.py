"""One open socket in a war room: who sits there, what waits to be written to it, and how it ends.

    offer ─► queue, bounded ─► one task while something waits ─► the wire
               └─ full: the reader is too slow, and is closed; nobody waits for it

Memory counts, there may be thousands: a frame is rendered once and shared, and a seat at rest has no task and no
queue of its own. After `close` nothing more is written but the close itself, whatever waited.
"""

import asyncio
import json
from array import array
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Protocol

from aiohttp import WSMsgType
from pydantic_core import PydanticSerializationError

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.ids import Username, WarRoomId
from etb_appservice.flows.permitted import Permission
from etb_appservice.gateway.callers import Caller
from etb_appservice.gateway.told import Told

GOING_AWAY = 1001
FAULT = 1011
NO_TOKEN = 4401
NO_ACCESS = 4403
NO_ROOM = 4404
IDLE = 4408
TOO_MUCH = 4429
"""How a socket ends: docs/etb-contract.md 6.1, and RFC 6455 for the first two."""

MOST_WAITING = 256
MOST_WAITING_BYTES = 1024 * 1024
_PING = b""
"""Stands for a ping where frames wait: none of them is empty."""
_TOO_SLOW = "This socket reads too slowly. Connect again and ask for the history."
_GRACE_S = 3.0
"""How long a socket that is being closed may take to read what it was sent last."""


class Wire(Protocol):
    """What a seat needs of a WebSocket; `aiohttp.web.WebSocketResponse` is one."""

    async def send_frame(self, message: bytes, opcode: WSMsgType) -> None:
        """Write one frame; waits while the other side doesn't read. Raises ConnectionError."""
        ...

    async def close(self, *, code: int, message: bytes) -> bool:
        """End it; waits a moment for the other side to agree."""
        ...


class Seat:
    """`up_to`: what its caller may know; `until_ms`: when they may no longer be here, unless asked again."""

    __slots__ = (
        "_abort",
        "_bytes",
        "_held",
        "_queue",
        "_task",
        "_wire",
        "asked_s",
        "caller",
        "closed_with",
        "heard_s",
        "pinged_s",
        "since_s",
        "token",
        "typing_until_s",
        "until_ms",
        "up_to",
        "war_room",
    )

    def __init__(
        self,
        wire: Wire,
        abort: Callable[[], None],
        caller: Caller,
        war_room: WarRoomId,
        *,
        token: str,
        now_s: float,
    ) -> None:
        """`abort` ends the connection without a word; `token` is what ETB is asked about while it is open."""
        self._wire = wire
        self._abort = abort
        self._queue: deque[bytes] | None = None
        self._held: deque[bytes] | None = None
        self._bytes = 0
        self._task: asyncio.Task[None] | None = None
        self.caller = caller
        self.war_room = war_room
        self.token = token
        self.up_to = Classification.PUBLIC
        self.until_ms: int | None = None
        self.since_s = now_s
        """When its token was last asked about."""
        self.heard_s = now_s
        """When anything came from it last, a pong included."""
        self.asked_s = now_s
        """When it asked for anything last."""
        self.pinged_s = now_s
        self.typing_until_s: float | None = None
        self.closed_with: int | None = None

    def __repr__(self) -> str:
        return f"Seat({self.username!r}, {self.war_room!r})"

    @property
    def username(self) -> Username:
        """Whose it is."""
        return self.caller.user.username

    @property
    def is_open(self) -> bool:
        """Whether it may be told anything."""
        return self.closed_with is None

    def may(self, permission: Permission) -> None:
        """What its caller may know, as just asked."""
        self.up_to = permission.up_to or Classification.PUBLIC
        self.until_ms = permission.until_ms

    def is_overdue(self, now_ms: int) -> bool:
        """Whether what it may is to be asked again."""
        return self.until_ms is not None and self.until_ms <= now_ms

    def offer(self, frame: bytes) -> None:
        """Write a frame after those that wait; never waits itself. A reader that is too slow is closed."""
        if self.closed_with is not None:
            return
        if self._held is not None:
            if len(self._held) < MOST_WAITING:
                self._held.append(frame)
            else:
                self.close(TOO_MUCH, _TOO_SLOW)
        elif self._queue is None:
            self._queue = deque((frame,))
            self._bytes = len(frame)
            self._task = asyncio.get_running_loop().create_task(self._write())
        elif len(self._queue) >= MOST_WAITING or self._bytes + len(frame) > MOST_WAITING_BYTES:
            self.close(TOO_MUCH, _TOO_SLOW)
        else:
            self._queue.append(frame)
            self._bytes += len(frame)

    def ping(self) -> None:
        """Ask whether anybody is there, where nothing waits to be written anyway."""
        if self._queue is None:
            self.offer(_PING)

    async def rest(self) -> None:
        """Wait until nothing waits to be written: before something long that its reader has asked for."""
        while self.is_open and (task := self._task) is not None:
            await asyncio.wait((task,))

    def tell(self, frame: Told) -> None:
        """The same with a frame for this reader alone."""
        self.offer(rendered(frame))

    async def tell_read(self, reading: Awaitable[Told]) -> None:
        """Tell what is being read of the record, before all that is offered meanwhile, which may be newer.

        What of that is older is told of once more: what has changed before it was read is news still to come.
        """
        self._held = held = deque[bytes]()
        try:
            held.appendleft(rendered(await reading))
        finally:
            self._held = None
            for frame in held:
                self.offer(frame)

    def close(self, code: int, reason: str) -> None:
        """End it, with nothing of what waited. `reason`: at most 123 bytes, for a person."""
        if self.closed_with is not None:
            return
        self.closed_with = code
        if self._queue is not None:
            self._queue.clear()
        loop = asyncio.get_running_loop()
        self._task = loop.create_task(self._hang_up(self._task, code, reason.encode()[:123]))
        loop.call_later(_GRACE_S, self._abort)

    def gone(self) -> None:
        """Its connection has ended by itself: forget what waited."""
        if self.closed_with is None:
            self.closed_with = 0
            if self._queue is not None:
                self._queue.clear()

    async def ended(self) -> None:
        """Its connection has ended, or is about to: wait until nothing is at work for it any more."""
        task = self._task
        if task is not None:
            if not self.closed_with:
                task.cancel()
            await asyncio.wait((task,))

    async def _write(self) -> None:
        """Write what waits, until nothing does."""
        queue = self._queue
        try:
            while queue:
                frame = queue.popleft()
                self._bytes -= len(frame)
                await self._wire.send_frame(frame, WSMsgType.TEXT if frame else WSMsgType.PING)
        except ConnectionError:
            self.gone()
        finally:
            self._queue = None
            if not self.closed_with:
                self._task = None

    async def _hang_up(self, writing: asyncio.Task[None] | None, code: int, reason: bytes) -> None:
        if writing is not None and not writing.done():
            # A frame half given to a stuck connection must not stand before the close for longer than the grace.
            writing.cancel()
            await asyncio.wait((writing,))
        try:
            await self._wire.close(code=code, message=reason)
        except (ConnectionError, RuntimeError):
            self._abort()


class Pace:
    """At most `most` in any `per_s` seconds; keeps the times of the last ones."""

    __slots__ = ("_at", "_next", "_over", "_per_s")

    def __init__(self, most: int, per_s: float) -> None:
        self._at = array("d", [float("-inf")]) * most
        self._next = 0
        self._per_s = per_s
        self._over = 0

    def takes(self, now_s: float) -> bool:
        """Whether one more is within it; only then it counts."""
        if now_s - self._at[self._next] < self._per_s:
            self._over += 1
            return False
        if now_s - self._at[self._next - 1] >= self._per_s:
            self._over = 0
        self._at[self._next] = now_s
        self._next = (self._next + 1) % len(self._at)
        return True

    @property
    def is_flood(self) -> bool:
        """Whether as many again were refused, without a rest in between."""
        return self._over > len(self._at)


def rendered(frame: Told) -> bytes:
    """A frame as it is written."""
    without = {"client_id"} if getattr(frame, "client_id", "") is None else None
    try:
        return frame.model_dump_json(exclude=without).encode()
    except PydanticSerializationError:
        # Half a surrogate pair, which only escapes can hold: nobody shall miss the rest for it.
        return json.dumps(frame.model_dump(mode="python", exclude=without)).encode("ascii")

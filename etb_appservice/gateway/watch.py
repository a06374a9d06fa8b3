"""Looks after open sockets: who is still there, who still may, who still types.

    each second ─┬─ nothing heard for a while ─► ping ─► nothing for longer ─► closed (half-open)
                 ├─ nothing asked for long ─► closed
                 ├─ a right may have changed, or its time is up ─► asked again
                 ├─ a token not asked about for a while ─► ETB ─► 401: closed
                 └─ typing for too long ─► it ends

One task for all of them: a socket at rest costs no timer of its own.
"""

import asyncio
from collections.abc import Collection, Coroutine, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from etb_appservice.flows.mistakes import told
from etb_appservice.gateway.acts import Acts
from etb_appservice.gateway.callers import Caller, Unconfirmed
from etb_appservice.gateway.hub import Hub
from etb_appservice.gateway.seat import FAULT, IDLE, NO_TOKEN, Seat
from etb_appservice.ports import Clock

_log = structlog.get_logger(__name__)
_LOOK_S = 1.0
_RIGHTS_S = 60.0
"""How often everybody's right is asked again where nothing shows that it changed: other processes commit too."""
_AT_ONCE = 4
"""How many tokens ETB is asked about at once: it has others to answer."""
NO_LONGER = "This token is not accepted any more."


class Known(Protocol):
    """Knows callers by their tokens; `callers.Callers` does."""

    async def of(self, token: str) -> Caller | None:
        """Whose it is; None for nobody. Raises Unconfirmed."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long what may last, in seconds; `idle_s` 0: for ever."""

    ping_s: float = 25.0
    """Without a word from it a socket is pinged."""
    dead_s: float = 60.0
    """Without a word it is gone."""
    idle_s: float = 8 * 3600.0
    """Without asking for anything it is closed."""
    token_s: float = 60.0
    """How often ETB is asked whether its token still counts."""
    hold_s: float = 24 * 3600.0
    """How long ETB's word on a token holds while ETB can't be asked."""


class Watch:
    """`seats`: every open one, as it stands."""

    def __init__(
        self, seats: Collection[Seat], hub: Hub, acts: Acts, callers: Known, clock: Clock, patience: Patience
    ) -> None:
        self._seats = seats
        self._hub = hub
        self._acts = acts
        self._callers = callers
        self._clock = clock
        self._patience = patience
        self._rights_s = clock.monotonic()
        self._turn = asyncio.Semaphore(_AT_ONCE)
        self._under_way: set[str] = set()
        """Tokens that ETB is being asked about: it may be slow, and isn't asked twice."""
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                await self._clock.sleep(_LOOK_S)
                self.look()
        finally:
            for task in self._tasks:
                task.cancel()

    def look(self) -> None:
        """Once; waits for nothing."""
        now_s = self._clock.monotonic()
        is_due = now_s - self._rights_s >= _RIGHTS_S
        if is_due:
            self._rights_s = now_s
        self._hub.look(self._clock.now_ms(), everywhere=is_due)
        asked: dict[str, list[Seat]] = {}
        for seat in list(self._seats):
            if not seat.is_open:
                continue
            if now_s - seat.heard_s >= self._patience.dead_s:
                seat.close(IDLE, "Nothing was heard from this socket.")
            elif self._patience.idle_s and now_s - seat.asked_s >= self._patience.idle_s:
                seat.close(IDLE, "Nothing was asked for.")
            else:
                self._look_after(seat, now_s, asked)
        for token, seats in asked.items():
            self._under_way.add(token)
            self._begin(self._ask(token, seats))

    def _look_after(self, seat: Seat, now_s: float, asked: dict[str, list[Seat]]) -> None:
        quiet_s = now_s - max(seat.heard_s, seat.pinged_s)
        if quiet_s >= self._patience.ping_s:
            seat.pinged_s = now_s
            seat.ping()
        if seat.typing_until_s is not None and seat.typing_until_s <= now_s:
            self._begin(self._acts.stop_typing(seat))
        if now_s - seat.since_s >= self._patience.token_s and seat.token not in self._under_way:
            asked.setdefault(seat.token, []).append(seat)

    async def _ask(self, token: str, seats: Sequence[Seat]) -> None:
        try:
            await self._ask_once(token, seats)
        finally:
            self._under_way.discard(token)
            now_s = self._clock.monotonic()
            for seat in seats:
                seat.since_s = now_s

    async def _ask_once(self, token: str, seats: Sequence[Seat]) -> None:
        """Whether a token still counts, once for all of its sockets."""
        try:
            async with self._turn:
                caller = await self._callers.of(token)
        except Unconfirmed:
            # ETB is away. Its last word holds for as long as its word on people does.
            now_ms = self._clock.now_ms()
            for seat in seats:
                if now_ms - seat.caller.confirmed_ms > self._patience.hold_s * 1000:
                    seat.close(FAULT, "ETB can't be asked about this token.")
            return
        for seat in seats:
            if caller is None or seat.caller.user_id != caller.user_id:
                seat.close(NO_TOKEN, NO_LONGER)
                continue
            if seat.caller.user != caller.user:
                self._hub.look_again(seat.war_room)
            seat.caller = caller

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (failure := task.exception()) is not None:
            _log.error("looking after a socket failed", **told(failure))

"""Runs what waits in lanes: one after another within a lane, lanes side by side.

    wake(lane) ──► worker of the lane ──step──► did something ──► again
                          │
                          ├─ nothing there ──► the worker ends
                          └─ not due yet ────► the worker ends; the look-out wakes the lane when it is due

Who may work next is decided by rank (see gate.py): what somebody waits for comes first, what can wait last.

Serves inbox and outbox alike. It must never hold two workers for one lane, and never lose a wake: a wake during a
step makes the worker look once more. What a step raises is fatal: steps handle their own failures.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from etb_appservice.flows.gate import URGENT, USUAL, Gate
from etb_appservice.ports import Clock

_SHORTEST_PAUSE_S = 0.05

Step = Callable[[str], Awaitable[bool | float]]
"""Does the next thing of a lane. True: did something; False: nothing there; a number: seconds until it is due."""
RankOf = Callable[[str], int]
"""How long a lane can wait for a place: USUAL, or PATIENT and more."""


def _usual(_lane: str) -> int:
    return USUAL


class LaneRunner:
    """Workers over lanes, at most `most` steps at a time."""

    def __init__(
        self,
        step: Step,
        busy_lanes: Callable[[], Awaitable[Sequence[str]]],
        soonest_ms: Callable[[], Awaitable[int | None]],
        clock: Clock,
        *,
        most: int = 16,
        most_patient: int = 8,
        rank_of: RankOf = _usual,
        look_every_s: float = 5.0,
    ) -> None:
        """`busy_lanes` and `soonest_ms` look into the database; what no wake told is found there."""
        self._step = step
        self._busy_lanes = busy_lanes
        self._soonest_ms = soonest_ms
        self._clock = clock
        self._gate = Gate(most, most_patient)
        self._rank_of = rank_of
        self._urgent: set[str] = set()
        self._look_every_s = look_every_s
        self._working: dict[str, bool] = {}
        self._held: dict[str, float] = {}
        self._look = asyncio.Event()
        self._group: asyncio.TaskGroup | None = None

    def wake(self, lanes: Sequence[str] = (), urgent: Sequence[str] = ()) -> None:
        """Something may be there in these lanes; without any: look everywhere. Never blocks.

        Somebody waits for what is in the `urgent` ones: until they are empty they come first.
        """
        if not lanes and not urgent:
            self._look.set()
        self._urgent.update(urgent)
        for lane in (*urgent, *lanes):
            if lane in self._working:
                self._working[lane] = True
            elif self._group is None:
                self._look.set()
            else:
                self._working[lane] = False
                self._group.create_task(self._work(lane))

    async def run(self) -> None:
        """Work until cancelled. A wake that comes while this ends, or after it, begins nothing."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            try:
                while True:
                    self._look.clear()
                    now = self._clock.monotonic()
                    self._held = {lane: due for lane, due in self._held.items() if due > now}
                    free = [lane for lane in await self._busy_lanes() if lane not in self._held]
                    if free:
                        self.wake(free)
                    await self._pause()
            finally:
                self._group = None

    async def _pause(self) -> None:
        """Until somebody asks for a look, something falls due, or the time of a look is over."""
        now = self._clock.monotonic()
        waits = [self._look_every_s, *(due - now for due in self._held.values())]
        soonest = await self._soonest_ms()
        if soonest is not None:
            waits.append((soonest - self._clock.now_ms()) / 1000)
        wait_s = max(_SHORTEST_PAUSE_S, min(waits))
        look = asyncio.ensure_future(self._look.wait())
        sleep = asyncio.ensure_future(self._clock.sleep(wait_s))
        try:
            await asyncio.wait({look, sleep}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            look.cancel()
            sleep.cancel()

    async def _work(self, lane: str) -> None:
        try:
            while True:
                async with self._gate.place(URGENT if lane in self._urgent else self._rank_of(lane)):
                    went = await self._step(lane)
                if went is True:
                    continue
                if self._working[lane]:
                    self._working[lane] = False
                    continue
                if went is not False:
                    self._held[lane] = self._clock.monotonic() + went
                    self._look.set()
                return
        except BaseException:
            self._group = None  # it falls with this worker: nothing may begin in it any more
            raise
        finally:
            del self._working[lane]
            self._urgent.discard(lane)

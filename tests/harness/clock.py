"""A clock that tests move. Time stands still until `advance`; nobody ever really waits."""

import asyncio
import heapq
import itertools


class MovedClock:
    """`ports.Clock`. `step` moves the wall clock alone, as an administrator or NTP would."""

    def __init__(self, now_ms: int = 1_790_000_000_000) -> None:
        self._now_ms = now_ms
        self._monotonic = 1000.0
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def now_ms(self) -> int:
        """UTC milliseconds."""
        return self._now_ms

    def monotonic(self) -> float:
        """Seconds."""
        return self._monotonic

    async def sleep(self, seconds: float) -> None:
        """Until the clock was moved that far."""
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._monotonic + seconds, next(self._order), woken))
        await woken

    def advance(self, seconds: float) -> None:
        """Move both clocks on, and wake whoever slept until then."""
        self._monotonic += seconds
        self._now_ms += round(seconds * 1000)
        while self._sleepers and self._sleepers[0][0] <= self._monotonic:
            _, _, woken = heapq.heappop(self._sleepers)
            if not woken.done():
                woken.set_result(None)

    def step(self, seconds: float) -> None:
        """Move the wall clock alone, forwards or back."""
        self._now_ms += round(seconds * 1000)

    @property
    def sleeping(self) -> int:
        """How many wait for the clock."""
        return sum(1 for _, _, woken in self._sleepers if not woken.done())

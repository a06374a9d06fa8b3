"""Places for work, given to the most urgent who waits; the patient may never take all of them.

    enter(rank) ──► a place is free, and nobody more urgent waits ──► in
              └───► waits by rank, then by arrival ──► somebody left ──► in

A rank of PATIENT or more is work that can wait, such as opening the rooms of a storm of incidents: it takes at
most `most_patient` places, so that an answer to a person never waits for the end of such work.
"""

import asyncio
import heapq
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

URGENT = -1
"""Somebody waits for it."""
USUAL = 0
PATIENT = 10


class Gate:
    """`most` places in all, of which the patient take at most `most_patient`."""

    def __init__(self, most: int, most_patient: int) -> None:
        self._free = most
        self._free_patient = most_patient
        self._queue: list[tuple[int, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()

    @asynccontextmanager
    async def place(self, rank: int) -> AsyncIterator[None]:
        """Hold a place while inside."""
        await self._enter(rank)
        try:
            yield
        finally:
            self._leave(rank)

    async def _enter(self, rank: int) -> None:
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._queue, (rank, next(self._numbers), waiting))
        self._let_in()
        try:
            await waiting
        except asyncio.CancelledError:
            if waiting.done() and not waiting.cancelled():
                self._leave(rank)  # it was let in at the very moment it gave up
            raise

    def _leave(self, rank: int) -> None:
        self._free += 1
        self._free_patient += rank >= PATIENT
        self._let_in()

    def _let_in(self) -> None:
        """By rank; the queue is sorted by it, so that the first patient one who finds no place ends the look."""
        while self._queue and self._free:
            rank, _, waiting = self._queue[0]
            if waiting.cancelled():
                heapq.heappop(self._queue)
                continue
            if rank >= PATIENT and not self._free_patient:
                return
            heapq.heappop(self._queue)
            self._free -= 1
            self._free_patient -= rank >= PATIENT
            waiting.set_result(None)

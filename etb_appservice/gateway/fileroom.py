"""What the routes of files stand on: the media store, a look at pictures, places for what is under way."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import BinaryIO

from etb_appservice.domain.ids import Username
from etb_appservice.gateway.problems import Problem, away
from etb_appservice.ports import MediaStore, Pictures, Seen

_PICTURES = 2
"""How many pictures are unpacked at once: each may take 200 MiB."""


@dataclass(slots=True, kw_only=True)
class FileRoom:
    """Handed to the routes of files by the gate."""

    media: MediaStore
    pictures: Pictures
    places: int
    _taken: Counter[Username] = field(default_factory=Counter, init=False)
    _unpacking: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_PICTURES), init=False)

    @property
    def taken(self) -> int:
        """How many files are under way."""
        return self._taken.total()

    @asynccontextmanager
    async def place(self, username: Username) -> AsyncIterator[None]:
        """One of the places; Problem 429 where all are taken, or somebody has a quarter of them already."""
        if self.taken >= self.places or self._taken[username] >= max(1, self.places // 4):
            raise Problem(
                429, "throttled", "Too many files are under way; wait a moment.", headers={"Retry-After": "5"}
            )
        self._taken[username] += 1
        try:
            yield
        finally:
            self._taken[username] -= 1
            if not self._taken[username]:
                del self._taken[username]

    async def look(self, source: BinaryIO) -> Seen | None:
        """`ports.Pictures.look`, for a few at once."""
        async with self._unpacking:
            return await asyncio.to_thread(self.pictures.look, source)


def homeserver_away() -> Problem:
    """Its media store can't be used now."""
    return away("homeserver_unavailable", "The homeserver can't be reached. Try again in a moment.")

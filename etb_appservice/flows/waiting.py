"""Who waits, in this process, for an act of the web to be decided. The database is the truth: this only wakes."""

import asyncio
from collections.abc import Sequence


class Waiting:
    """Belongs to one event loop."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[asyncio.Future[None]]] = {}

    def expect(self, act: str) -> asyncio.Future[None]:
        """Done once the act was decided here; MUST be given to `over` in the end."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(act, []).append(future)
        return future

    def over(self, act: str, future: asyncio.Future[None]) -> None:
        """Nobody waits by this any more."""
        left = [one for one in self._waiting.get(act, ()) if one is not future]
        future.cancel()
        if left:
            self._waiting[act] = left
        else:
            self._waiting.pop(act, None)

    def decided(self, acts: Sequence[str]) -> None:
        """After the commit: whoever waits for these looks."""
        for act in acts:
            for future in self._waiting.get(act, ()):
                if not future.done():
                    future.set_result(None)

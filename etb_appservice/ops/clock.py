"""The real clock. Tests use one that they move."""

import asyncio
import time


class SystemClock:
    """Port `Clock` by the machine's own clocks."""

    def now_ms(self) -> int:
        """UTC milliseconds; may step."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait; returns early only by cancellation."""
        await asyncio.sleep(seconds)

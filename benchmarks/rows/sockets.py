"""Open sockets: how soon a message is at every socket of its room, and what an open one costs in memory.

Served by a process of its own (benchmarks/crowded.py), on this clock: CLOCK_MONOTONIC is one for the machine. Time
counts from before the message is stored to the last of its room's sockets having it. The floor is aiohttp alone,
which stores nothing, asks nobody's rights and sends a text of the same length.
"""

import asyncio
import gc
import json
import random
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from benchmarks.crowded import incident_id
from benchmarks.table import Row

_ROOMS = 100
_SEATS = 10
_SAID = 300
_AT_ONCE = 20
_KB = 1024


@dataclass(slots=True)
class _Crowded:
    """The other process."""

    process: asyncio.subprocess.Process
    port: int

    async def ask(self, line: str) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{line}\n".encode())
        return (await self.process.stdout.readline()).decode().strip()


@dataclass(frozen=True, slots=True)
class _Measured:
    last_ms: list[float]
    """Of each message, until the last of its sockets had it."""
    bytes_each: float


async def rows(folder: Path, pairs: int) -> list[Row]:
    """The same for ours and for the floor, one after the other."""
    del folder, pairs
    ours, floor = await _measure("ours"), await _measure("bare")
    fan, fan_floor = _at(ours.last_ms, 0.95), _at(floor.last_ms, 0.95)
    each, each_floor = ours.bytes_each / _KB, floor.bytes_each / _KB
    sockets = _ROOMS * _SEATS
    name = f"a message to the last of its room's {_SEATS} sockets, {sockets} open, 95th percentile"
    middle = f"in the middle {_at(ours.last_ms, 0.5):.1f} ms, floor {_at(floor.last_ms, 0.5):.1f} ms"
    ratio, ratio_each = fan / fan_floor, each / each_floor
    return [
        Row(name, fan, fan_floor, ratio, None, None, "20 ms", "ms", f"{_SAID}", middle),
        Row("memory an open socket", each, each_floor, ratio_each, None, None, "30 KB", "KB", f"{sockets}"),
    ]


def _at(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, round(share * len(values)))]


async def _measure(which: str) -> _Measured:
    async with _served(which) as crowded, AsyncExitStack() as stack:
        # What is loaded and made once isn't a socket's.
        async with _crowd(crowded.port, range(_ROOMS), 1) as few:
            for room in range(_ROOMS):
                await _say(crowded, few, room)
        await _until(crowded, 0)
        before = int(await crowded.ask("memory"))
        crowd = await stack.enter_async_context(_crowd(crowded.port, range(_ROOMS), _SEATS))
        await _until(crowded, _ROOMS * _SEATS)
        for room in range(_ROOMS):
            await _say(crowded, crowd, room)
        after = int(await crowded.ask("memory"))
        gc.collect()
        gc.freeze()
        order = random.Random(1)
        last_ms = [await _say(crowded, crowd, order.randrange(_ROOMS)) for _ in range(_SAID)]
        return _Measured(last_ms, (after - before) / (_ROOMS * _SEATS))


@asynccontextmanager
async def _served(which: str) -> AsyncIterator[_Crowded]:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.crowded", which, str(_ROOMS), str(_SEATS), stdin=pipe, stdout=pipe
    )
    assert process.stdout is not None
    try:
        yield _Crowded(process, int(await process.stdout.readline()))
    finally:
        process.kill()
        await process.wait()


Crowd = dict[int, list[aiohttp.ClientWebSocketResponse]]


@asynccontextmanager
async def _crowd(port: int, rooms: range, seats: int) -> AsyncIterator[Crowd]:
    """Sockets in these rooms, that were told who they are."""
    crowd: Crowd = {room: [] for room in rooms}
    turn = asyncio.Semaphore(_AT_ONCE)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:

        async def one(room: int, seat: int) -> None:
            url = f"http://127.0.0.1:{port}/ws/chat/{incident_id(room)}/"
            async with turn:
                ws = await http.ws_connect(url, headers={"Authorization": f"Token t-u{room}.{seat}"}, compress=0)
                await ws.receive_str(timeout=30)
                crowd[room].append(ws)

        await asyncio.gather(*(one(room, seat) for room in rooms for seat in range(seats)))
        yield crowd
        await asyncio.gather(*(ws.close() for sockets in crowd.values() for ws in sockets))


async def _say(crowded: _Crowded, crowd: Crowd, room: int) -> float:
    """Milliseconds until the last socket of the room has it."""

    async def heard(ws: aiohttp.ClientWebSocketResponse) -> float:
        frame = json.loads(await ws.receive_str(timeout=30))
        return (time.monotonic_ns() - int(frame["message"]["content"])) / 1e6

    hearing = [asyncio.create_task(heard(ws)) for ws in crowd[room]]
    await crowded.ask(f"say {room}")
    return max(await asyncio.gather(*hearing))


async def _until(crowded: _Crowded, count: int) -> None:
    async with asyncio.timeout(60):
        while int(await crowded.ask("open")) != count:
            await asyncio.sleep(0.05)

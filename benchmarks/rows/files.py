"""A file of 50 MiB by the chat API, there and back: time over the same bytes straight to Synapse, and our memory.

The floor gives Synapse the bytes in clear and fetches them again. Ours reads a form, encrypts, gives them to the
same Synapse, decides; and fetches, checks, decrypts. Memory is the highest of our process meanwhile over before.
"""

import asyncio
import hashlib
import io
import os
import statistics
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import TypeVar

import aiohttp
import psutil

from benchmarks.etb_at_once import PEOPLE
from benchmarks.rows.incident import report
from benchmarks.stand import PASSWORD, Stand, stand
from benchmarks.table import Row, paired
from etb_appservice.domain.ids import IncidentId, war_room_id
from etb_appservice.gateway.links import PREFIXES

_MIB = 1024 * 1024
_SIZE = 50 * _MIB
_LOOK_S = 0.01
T = TypeVar("T")


async def rows(folder: Path, pairs: int) -> list[Row]:
    """Upload, download, and memory at each."""
    content = os.urandom(_SIZE)
    async with stand(folder) as here, aiohttp.ClientSession() as http:
        service = await here.service(gateway={"public_url": "", "token_cache_s": 3600})
        await here.plain_floor()
        for name in PEOPLE:
            await here.synapse.register(name, PASSWORD)
        incident = await report(here)
        async with here.as_ours() as get:
            await here.room_of(get, incident["id"])
        assert service.child is not None
        process = psutil.Process(service.child.pid)
        files = f"http://127.0.0.1:{service.public_port}{PREFIXES[0]}chat-files/"
        room = war_room_id(IncidentId(incident["id"]))
        headers = {"Authorization": f"Token {PEOPLE[0]}"}
        times: dict[str, list[tuple[float, float]]] = {"up": [], "down": []}
        memory: dict[str, list[tuple[float, float]]] = {"up": [], "down": []}

        async def upload() -> str:
            form = aiohttp.FormData({"war_room_id": room})
            form.add_field("file", io.BytesIO(content), filename="dump.bin")
            async with http.post(files, data=form, headers=headers) as answer:
                answer.raise_for_status()
                told = await answer.json()
            assert told["file_hash"] == hashlib.sha256(content).hexdigest()
            return str(told["id"])

        async def download(file_id: str) -> None:
            async with http.get(f"{files}{file_id}/download/", headers=headers) as answer:
                answer.raise_for_status()
                assert await answer.read() == content

        for turn in range(pairs + 1):  # the first one warms up
            floor_up, mxc = await _timed(_to_synapse(here, http, content))
            floor_down, _ = await _timed(_from_synapse(here, http, mxc))
            up, file_id, up_mib = await _watched(process, upload())
            down, _, down_mib = await _watched(process, download(file_id))
            if not turn:
                for what, (most, before) in (("up", up_mib), ("down", down_mib)):
                    print(f"50 MiB {what}, the first one: peak growth {most - before:.1f} MiB")
            else:
                times["up"].append((up, floor_up))
                times["down"].append((down, floor_down))
                memory["up"].append(up_mib)
                memory["down"].append(down_mib)
        for what, found in memory.items():
            grown = statistics.median(most - before for most, before in found)
            print(f"50 MiB {what}: peak growth {grown:.1f} MiB")
        return [
            paired("50 MiB uploaded, over straight to Synapse", times["up"], target="-", unit="ms"),
            paired("50 MiB downloaded, over straight from Synapse", times["down"], target="-", unit="ms"),
            paired("our peak memory while 50 MiB come in, over before", memory["up"], target="-", unit="MiB"),
            paired("our peak memory while 50 MiB go out, over before", memory["down"], target="-", unit="MiB"),
        ]


async def _timed(what: Awaitable[T]) -> tuple[float, T]:
    began = time.perf_counter()
    found = await what
    return (time.perf_counter() - began) * 1000, found


async def _watched(process: psutil.Process, what: Awaitable[T]) -> tuple[float, T, tuple[float, float]]:
    """Milliseconds, what was found, and our process's highest memory meanwhile and before."""
    before = most = process.memory_info().rss
    over = asyncio.Event()

    async def look() -> None:
        nonlocal most
        while not over.is_set():
            most = max(most, process.memory_info().rss)
            await asyncio.sleep(_LOOK_S)

    looking = asyncio.create_task(look())
    took_ms, found = await _timed(what)
    over.set()
    await looking
    return took_ms, found, (most / _MIB, before / _MIB)


async def _to_synapse(here: Stand, http: aiohttp.ClientSession, content: bytes) -> str:
    async with http.post(
        f"{here.synapse.url}/_matrix/media/v3/upload",
        params={"user_id": here.floor.bot_mxid},
        data=io.BytesIO(content),
        headers={"Authorization": f"Bearer {here.floor.as_token}", "Content-Type": "application/octet-stream"},
    ) as answer:
        answer.raise_for_status()
        return str((await answer.json())["content_uri"])


async def _from_synapse(here: Stand, http: aiohttp.ClientSession, mxc: str) -> None:
    async with http.get(
        f"{here.synapse.url}/_matrix/client/v1/media/download/{mxc.removeprefix('mxc://')}",
        params={"user_id": here.floor.bot_mxid},
        headers={"Authorization": f"Bearer {here.floor.as_token}"},
    ) as answer:
        answer.raise_for_status()
        await answer.read()

"""Start-up to ready, and resident memory, with few and with many rooms known to us.

The rooms are rows of our own database, with five members each; the first hundred of them are real.
The floor is the same service with ten rooms, in the same run.
"""

import statistics
import time
from pathlib import Path

import aiohttp
import psutil

from benchmarks.stand import Stand, stand
from benchmarks.table import Row, paired
from etb_appservice.config import load
from etb_appservice.domain.classification import Classification
from etb_appservice.domain.ids import IncidentId, RoomId, UserId, new_id, war_room_id
from etb_appservice.domain.incident import Incident
from etb_appservice.ops.clock import SystemClock
from etb_appservice.ports import Known, Room
from etb_appservice.store.sql import open_store
from tests.harness.service import Service

_SIZES = (10, 1_000, 10_000)
_REAL = 100
_MIB = 1024 * 1024


async def rows(folder: Path, pairs: int) -> list[Row]:
    """Two rows a size: seconds to ready, MiB at rest."""
    async with stand(folder) as here:
        service = await here.service()
        await service.stop()
        real: list[RoomId] = []
        seconds: dict[int, list[float]] = {}
        memory: dict[int, list[float]] = {}
        known = 0
        for size in _SIZES:
            real += [await _real_room(here, number) for number in range(len(real), min(size, _REAL))]
            await _fill(service, known, size, real)
            known = size
            await _start(service)  # not measured: takes in what Synapse says of the new rooms
            for _ in range(pairs):
                took, used = await _start(service)
                seconds.setdefault(size, []).append(took)
                memory.setdefault(size, []).append(used)
        small = _SIZES[0]
        return [
            row
            for size in _SIZES[1:]
            for row in (
                _compared(
                    f"start to ready, {size:,} rooms over {small}", seconds[size], seconds[small], "+2 s", "s"
                ),
                _compared(
                    f"memory at rest, {size:,} rooms over {small}", memory[size], memory[small], "+20 MB", "MiB"
                ),
            )
        ]


def _compared(name: str, ours: list[float], floor: list[float], target: str, unit: str) -> Row:
    """The target is a difference, so the note says it."""
    more = statistics.median(ours) - statistics.median(floor)
    pairs = list(zip(ours, floor, strict=True))
    return paired(name, pairs, target=target, unit=unit, note=f"{more:+.1f} {unit} by the medians")


async def _start(service: Service) -> tuple[float, float]:
    """(seconds from the process's start to ready, MiB resident then)."""
    began = time.monotonic()
    await service.run()
    took = time.monotonic() - began
    assert service.child is not None
    used = psutil.Process(service.child.pid).memory_info().rss / _MIB
    await service.stop()
    return took, used


async def _real_room(here: Stand, number: int) -> RoomId:
    """A room that Synapse knows, with the bot in it."""
    headers = {"Authorization": f"Bearer {here.ours.as_token}"}
    encryption = {"type": "m.room.encryption", "state_key": "", "content": {"algorithm": "m.megolm.v1.aes-sha2"}}
    async with (
        aiohttp.ClientSession(headers=headers) as http,
        http.post(
            f"{here.synapse.url}/_matrix/client/v3/createRoom",
            params={"user_id": here.ours.bot_mxid},
            json={"name": f"Real room {number}", "initial_state": [encryption]},
        ) as response,
    ):
        response.raise_for_status()
        return RoomId((await response.json())["room_id"])


async def _fill(service: Service, first: int, last: int, real: list[RoomId]) -> None:
    """Rows for rooms number `first` to `last`, as the service itself would write them."""
    settings = load(service.config, {}).settings
    clock = SystemClock()
    async with open_store(settings.database.etb_url, settings.encryption.key_bytes, clock) as store:
        for start in range(first, last, 200):
            async with store.work() as work:
                for number in range(start, min(start + 200, last)):
                    incident_id = IncidentId(new_id(clock.now_ms()))
                    room_id = real[number] if number < len(real) else RoomId(f"!known{number}")
                    title = f"Known incident {number}"
                    await work.incidents.put(
                        Known(
                            incident=Incident(incident_id, f"INC-{number}", title, "HIGH", "OPEN", clock.now_ms()),
                            confirmed_ms=clock.now_ms(),
                        )
                    )
                    await work.rooms.put(
                        Room(
                            war_room=war_room_id(incident_id),
                            generation=1,
                            kind="incident",
                            incident_id=incident_id,
                            classification=Classification.INTERNAL,
                            visibility="shared",
                            keys_to_invited=True,
                            encrypted=True,
                            room_id=room_id,
                            name=title,
                        )
                    )
                    for person in range(5):
                        await work.rooms.set_member(room_id, UserId(f"@person{person}:localhost"), "join")

"""Start-up to ready, and resident memory, with few and with many rooms known to us.

The rooms are rows of our own database, with five members each; the first hundred of them are real. Each size is a
service with a database and a bot of its own; within each pair every size starts once, and each pair begins with
another one, so that what the machine does meanwhile falls on all of them. The floor is the one with ten rooms.
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
from tests.harness.synapse import Slot

_SIZES = (10, 1_000, 10_000)
_REAL = 100
_MIB = 1024 * 1024


async def rows(folder: Path, pairs: int) -> list[Row]:
    """Two rows a size: seconds to ready, MiB at rest."""
    async with stand(folder, more=len(_SIZES)) as here:
        services = {size: await _service(here, slot, size) for size, slot in zip(_SIZES, here.more, strict=True)}
        seconds: dict[int, list[float]] = {size: [] for size in _SIZES}
        memory: dict[int, list[float]] = {size: [] for size in _SIZES}
        for number in range(pairs):
            first = number % len(_SIZES)
            for size in (*_SIZES[first:], *_SIZES[:first]):
                took, used = await _start(services[size])
                seconds[size].append(took)
                memory[size].append(used)
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


async def _service(here: Stand, slot: Slot, size: int) -> Service:
    """A service that knows so many rooms, and has taken in what Synapse says of them; stopped."""
    service = await here.service(slot)
    await service.stop()
    real = [await _real_room(here, slot, number) for number in range(min(size, _REAL))]
    await _fill(service, size, real)
    await _start(service)
    return service


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


async def _real_room(here: Stand, slot: Slot, number: int) -> RoomId:
    """A room that Synapse knows, with the bot in it."""
    headers = {"Authorization": f"Bearer {slot.as_token}"}
    encryption = {"type": "m.room.encryption", "state_key": "", "content": {"algorithm": "m.megolm.v1.aes-sha2"}}
    async with (
        aiohttp.ClientSession(headers=headers) as http,
        http.post(
            f"{here.synapse.url}/_matrix/client/v3/createRoom",
            params={"user_id": slot.bot_mxid},
            json={"name": f"Real room {number}", "initial_state": [encryption]},
        ) as response,
    ):
        response.raise_for_status()
        return RoomId((await response.json())["room_id"])


async def _fill(service: Service, size: int, real: list[RoomId]) -> None:
    """Rows for so many rooms, as the service itself would write them."""
    settings = load(service.config, {}).settings
    clock = SystemClock()
    async with open_store(settings.database.etb_url, settings.encryption.key_bytes, clock) as store:
        for start in range(0, size, 200):
            async with store.work() as work:
                for number in range(start, min(start + 200, size)):
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

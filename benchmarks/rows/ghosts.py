"""Two hundred ghosts with devices, at rest: what they hold of memory and cost of CPU; and their first words.

Each has said one thing in one incident's room of a running service; a person's client with matrix-js-sdk is there,
so that keys come to their devices. Memory and CPU are measured with them and, from a start before there were any,
without. Their devices are emptied every half a minute, ten times as often as by default.
"""

import asyncio
import time
from pathlib import Path

import psutil

from benchmarks.rows.incident import report
from benchmarks.stand import Stand, stand, until
from benchmarks.table import Row
from etb_appservice.config import load
from etb_appservice.domain.breakglass import BreakGlass
from etb_appservice.domain.effects import Say
from etb_appservice.domain.ghosts import ghosts_of
from etb_appservice.domain.ids import IncidentId, RoomId, UserId, Username, war_room_id
from etb_appservice.ops.clock import SystemClock
from etb_appservice.store.sql import open_store
from tests.harness.service import Service

_GHOSTS = 200
_REST_S = 60.0
_SETTLE_S = 5.0
_DRAIN_S = 30.0
_DEFAULT_DRAIN_S = 300.0
_MIB = 1024 * 1024


async def rows(folder: Path, pairs: int) -> list[Row]:
    """Three rows; one run whatever `pairs`, since what is measured is a state."""
    del pairs
    async with stand(folder) as here:
        service = await here.service(ghosts={"drain_every_s": _DRAIN_S})
        bea = await here.person("bea")
        incident = await report(here)
        room = await here.enter(bea, incident)
        before_mib, before_cpu = await _at_rest(here, service)
        await service.stop()
        await _let_speak(service, here, incident["id"], room)
        began = time.monotonic()
        await service.run()
        ghosts = ghosts_of(f"@{here.ours.user_prefix}", "localhost")
        names = {str(ghosts.user_id(Username(f"person{number}"))) for number in range(_GHOSTS)}

        async def all_have_spoken() -> bool:
            return names <= {event.sender for event in await bea.timeline(room, last=4 * _GHOSTS)}

        await until(all_have_spoken, "the words of all ghosts", 300)
        took = time.monotonic() - began
        await bea.send(room, "a key for each of them")
        after_mib, after_cpu = await _at_rest(here, service)
        return [
            _row("200 ghosts with devices: memory at rest", after_mib, before_mib, "+100 MB", "MiB"),
            _row("200 ghosts with devices: CPU of the service at rest", after_cpu[0], before_cpu[0], "", "ms/s"),
            _row(
                "200 ghosts with devices: CPU of Synapse at rest",
                after_cpu[1],
                before_cpu[1],
                "",
                "ms/s",
                f"; emptied every {_DRAIN_S:.0f} s, by default every {_DEFAULT_DRAIN_S:.0f} s",
            ),
            Row(
                "a ghost's first word, user, device and identity included",
                took / _GHOSTS * 1000,
                None,
                None,
                None,
                None,
                "",
                "ms",
                f"{_GHOSTS} in a row",
            ),
        ]


def _row(name: str, ours: float, floor: float, target: str, unit: str, more: str = "") -> Row:
    note = f"{ours - floor:+.1f} {unit}{more}"
    return Row(name, ours, floor, ours / floor if floor else None, None, None, target, unit, "1", note)


async def _at_rest(here: Stand, service: Service) -> tuple[float, tuple[float, float]]:
    """MiB resident, and milliseconds of CPU a second of the service and of Synapse."""
    assert service.child is not None
    ours, theirs = psutil.Process(service.child.pid), psutil.Process(here.synapse.pid)
    await asyncio.sleep(_SETTLE_S)
    before = _spent(ours), _spent(theirs)
    await asyncio.sleep(_REST_S)
    after = _spent(ours), _spent(theirs)
    cpu = (
        (after[0] - before[0]) / _REST_S * 1000,
        (after[1] - before[1]) / _REST_S * 1000,
    )
    return ours.memory_info().rss / _MIB, cpu


def _spent(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


async def _let_speak(service: Service, here: Stand, incident_id: str, room: str) -> None:
    """Everybody may be there, and has something to say as soon as the service is."""
    settings = load(service.config, {}).settings
    clock = SystemClock()
    ghosts = ghosts_of(f"@{here.ours.user_prefix}", "localhost")
    async with (
        open_store(settings.database.etb_url, settings.encryption.key_bytes, clock) as store,
        store.work() as work,
    ):
        for number in range(_GHOSTS):
            name = Username(f"person{number}")
            ids = (ghosts.user_id(name), settings.people.template.format(username=name))
            for user_id in ids:
                grant = BreakGlass(id=UserId(user_id or ""), by=(), reason="a row", from_ms=0, until_ms=1 << 60)
                await work.cases.put(war_room_id(IncidentId(incident_id)), grant)
            say = Say(room_id=RoomId(room), content=f"I am {name}.", speaker=name)
            await work.outbox.add(f"bench/{number}", incident_id, say)

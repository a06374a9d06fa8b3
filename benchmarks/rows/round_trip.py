"""A command's round trip as a person sees it, and what a thousand commands cost us in CPU.

The same client (matrix-js-sdk with its Rust crypto) sends and waits, and measures itself. Floors: a bare echo in
clear text that remembers nothing, and a bare encrypted echo on mautrix with its SQLite store.
"""

import statistics
from pathlib import Path

import psutil

from benchmarks.rows.incident import report
from benchmarks.stand import PASSWORD, Stand, stand, until
from benchmarks.table import Row, paired
from tests.harness.jsclient import JsClient
from tests.harness.processes import Child
from tests.harness.service import Service

_EACH = 40
_WARM = 15
_THOUSAND = 1000
_LEAST = 3
"""Blocks of a thousand on each side, however few pairs are asked for."""
_MIB = 1024 * 1024


async def rows(folder: Path, pairs: int) -> list[Row]:
    """Over clear text, over bare mautrix, `!status`, CPU, memory."""
    async with stand(folder) as here:
        service = await here.service()
        plain = await here.plain_floor()
        await here.synapse.register("mautrix", PASSWORD)
        database = str(folder / "mautrix.db")
        bare = await here.child(
            "benchmarks.floors.encrypted_echo", here.synapse.url, "@mautrix:localhost", PASSWORD, database
        )
        person = await here.person("bea")
        ours = await here.enter(person, await report(here))
        clear = await _clear_room(here, person)
        sealed = await _encrypted_room(person)
        measured: dict[str, list[float]] = {"ours": [], "clear": [], "sealed": [], "status": []}
        turns = (
            ("ours", ours, "!help status", here.ours.bot_mxid),
            ("clear", clear, "!help status", here.floor.bot_mxid),
            ("sealed", sealed, "!help status", "@mautrix:localhost"),
            ("status", ours, "!status", here.ours.bot_mxid),
        )
        for _, room, text, sender in turns:
            await _trips(person, room, text, sender, _WARM)
        for _ in range(pairs):
            for name, room, text, sender in turns:
                measured[name].append(await _trips(person, room, text, sender, _EACH))
        thousand = await _thousands(here, person, service, bare, (ours, sealed), pairs)
        del plain
        return [
            paired(
                "command, over an echo in clear text",
                list(zip(measured["ours"], measured["clear"], strict=True)),
                target="1.35",
                unit="ms",
                each=_EACH,
            ),
            paired(
                "command, over a bare encrypted mautrix echo",
                list(zip(measured["ours"], measured["sealed"], strict=True)),
                target="1.15",
                unit="ms",
                each=_EACH,
            ),
            paired(
                "!status with ETB at once, over an echo in clear text",
                list(zip(measured["status"], measured["clear"], strict=True)),
                target="-",
                unit="ms",
                each=_EACH,
            ),
            *thousand,
        ]


async def _trips(person: JsClient, room: str, text: str, sender: str, count: int) -> float:
    answer = await person.call("roundTrips", room=room, text=text, sender=sender, count=count, limit=600)
    return statistics.median(answer["took"])


async def _thousands(
    here: Stand, person: JsClient, service: Service, bare: Child, rooms: tuple[str, str], pairs: int
) -> list[Row]:
    """CPU seconds of our process and of the bare one for a thousand commands, in turn; our memory around ours."""
    assert service.child is not None
    ours = (service.child, rooms[0], here.ours.bot_mxid)
    floor = (bare, rooms[1], "@mautrix:localhost")
    spent, memory = [], []
    for _ in range(max(pairs, _LEAST)):
        before_mib = psutil.Process(service.child.pid).memory_info().rss / _MIB
        cpu = await _thousand(person, *ours)
        memory.append((psutil.Process(service.child.pid).memory_info().rss / _MIB, before_mib))
        spent.append((cpu, await _thousand(person, *floor)))
    return [
        paired("our CPU for 1,000 commands, over bare mautrix", spent, target="-", unit="s", each=_THOUSAND),
        paired("our memory after 1,000 commands, over before", memory, target="-", unit="MiB", each=_THOUSAND),
    ]


async def _thousand(person: JsClient, child: Child, room: str, sender: str) -> float:
    """CPU seconds that a process spends on a thousand commands."""
    process = psutil.Process(child.pid)
    before = process.cpu_times()
    await _trips(person, room, "!help status", sender, _THOUSAND)
    after = process.cpu_times()
    return after.user + after.system - before.user - before.system


async def _clear_room(here: Stand, person: JsClient) -> str:
    room = await person.create_room(encrypted=False)
    await person.invite(room, here.floor.bot_mxid)
    await here.as_floor_bot("POST", f"rooms/{room}/join")
    return room


async def _encrypted_room(person: JsClient) -> str:
    room = await person.create_room()
    await person.invite(room, "@mautrix:localhost")

    async def joined() -> bool:
        return (await person.members(room)).get("@mautrix:localhost") == "join"

    await until(joined, "mautrix to join")
    return room

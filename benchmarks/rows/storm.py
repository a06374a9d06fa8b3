"""A storm: five hundred incidents within a minute, over the rate at which Synapse alone makes such rooms.

The floor makes the same calls raw, as many side by side as the service does. Beside the storm one person goes on
asking in a room that was there before.
"""

import asyncio
import random
import re
import statistics
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

from benchmarks.etb_at_once import PEOPLE
from benchmarks.rows.incident import raw, report
from benchmarks.stand import PASSWORD, Stand, stand, until
from benchmarks.table import Row, paired
from etb_appservice.domain.incident import SEVERITIES
from tests.harness.jsclient import JsClient
from tests.harness.service import Service

_INCIDENTS = 500
_WITHIN_S = 60.0
_RAW = 100
_SIDE_BY_SIDE = 8
"""As many calls to the homeserver at once as the service makes."""
_LONGEST_S = 1800.0
_ASK_EVERY_S = 2.0
"""As a person does; what a command costs the homeserver is taken from the storm's rooms."""
_SEED = 1


async def rows(folder: Path, pairs: int) -> list[Row]:
    """Rooms a second, in which order, and what a command took meanwhile. One storm, whatever `pairs` says."""
    del pairs
    async with stand(folder) as here:
        service = await here.service()
        await here.plain_floor()
        for name in PEOPLE[1:]:
            await here.synapse.register(name, PASSWORD)
        person = await here.person(PEOPLE[0])
        room = await here.enter(person, await report(here))
        space = str(
            (await here.as_floor_bot("POST", "createRoom", {"creation_content": {"type": "m.space"}}))["room_id"]
        )
        calm = await _ask(here, person, room, 10)
        floors = [await _floor(here, space)]
        ours, overtaken, asked = await _storm(here, service, person, room)
        floors.append(await _floor(here, space))
        floor = statistics.mean(floors)
        return [
            paired(
                f"rooms a second in a storm of {_INCIDENTS}, over Synapse alone",
                [(ours, floor)],
                target="0.75 or more",
                unit="1/s",
                note=f"{overtaken} of {_INCIDENTS} rooms were opened before a more severe one that was reported "
                f"more than two seconds earlier; the floor is the mean of {_RAW} rooms before and after, "
                f"{_SIDE_BY_SIDE} side by side",
            ),
            paired(
                "command in a room that is there, in the storm, over before it",
                [(statistics.median(asked), statistics.median(calm))],
                target="-",
                unit="ms",
                each=len(asked),
            ),
        ]


async def _ask(here: Stand, person: JsClient, room: str, count: int) -> list[float]:
    answer = await person.call(
        "roundTrips",
        room=room,
        text="!help status",
        sender=here.ours.bot_mxid,
        count=count,
        timeout=120_000,
        limit=1800,
    )
    return [float(took) for took in answer["took"]]


async def _floor(here: Stand, space: str) -> float:
    """Rooms a second, made raw."""
    turns = iter(range(_RAW))
    began = time.monotonic()

    async def work() -> None:
        for _ in turns:
            await raw(here, space)

    await asyncio.gather(*(work() for _ in range(_SIDE_BY_SIDE)))
    return _RAW / (time.monotonic() - began)


async def _storm(here: Stand, service: Service, person: JsClient, room: str) -> tuple[float, int, list[float]]:
    """Rooms a second from the first report to the last usable room; how many were overtaken; commands' times."""
    chance = random.Random(_SEED)
    reported: list[tuple[float, str, dict[str, Any]]] = []
    began = time.time()

    async def blow() -> None:
        for number in range(_INCIDENTS):
            await asyncio.sleep(max(0.0, began + number * _WITHIN_S / _INCIDENTS - time.time()))
            severity = chance.choice(SEVERITIES)
            row = await report(here, severity=severity)
            reported.append((time.time(), severity, row))

    asked: list[float] = []
    is_over = asyncio.Event()

    async def go_on_asking() -> None:
        while not is_over.is_set():
            asked.extend(await _ask(here, person, room, 1))
            await asyncio.sleep(_ASK_EVERY_S)

    asking = asyncio.create_task(go_on_asking())
    await blow()
    made = await _all_made(here, service, [row for _, _, row in reported])
    is_over.set()
    await asking
    last = max(done for _, done in made.values())
    overtaken = sum(
        any(
            SEVERITIES.index(other) < SEVERITIES.index(severity)
            and at + 2.0 < made[row["id"]][0] < made[one["id"]][0]
            for at, other, one in reported
        )
        for _, severity, row in reported
    )
    return _INCIDENTS / (last - began), overtaken, asked


async def _all_made(
    here: Stand, service: Service, reported: list[dict[str, Any]]
) -> dict[str, tuple[float, float]]:
    """By incident: when its room was created, and when its card was pinned, by Synapse's clock in seconds."""
    made: dict[str, tuple[float, float]] = {}
    async with here.as_ours() as get:

        async def drained() -> bool:
            await asyncio.sleep(5)  # seldom: the onlooker must not be a part of the storm
            _, text = await service.get("/metrics")
            return not any(
                float(depth) for depth in re.findall(r"^etb_queue_depth\S*\s+(\S+)$", text, re.MULTILINE)
            )

        await until(drained, "all rooms", _LONGEST_S)
        for row in reported:
            state = await get(f"rooms/{quote(await here.room_of(get, row['id']))}/state")
            times = {event["type"]: event["origin_server_ts"] / 1000 for event in state}
            made[row["id"]] = (times["m.room.create"], times["m.room.pinned_events"])
    return made

"""Commands while ETB takes its time, and in ten rooms at once."""

import asyncio
import statistics
from pathlib import Path

from benchmarks.rows.incident import report
from benchmarks.stand import Stand, stand
from benchmarks.table import Row, paired
from tests.harness.jsclient import JsClient

_ETB_S = 0.020
_ROOMS = 10
_EACH = 20
_AT_ONCE = 4
_WARM = 3


async def rows(folder: Path, pairs: int) -> list[Row]:
    """`!status` with an ETB of 20 ms, over a clear echo and these 20 ms; ten commands over ten echoes at once."""
    async with stand(folder) as here:
        await here.service()
        await here.plain_floor()
        person = await here.person("bea")
        ours = [await here.enter(person, await report(here)) for _ in range(_ROOMS)]
        clear = [await _clear_room(here, person) for _ in range(_ROOMS)]
        bots = (here.ours.bot_mxid, here.floor.bot_mxid)
        for room in ours:
            await _trips(person, [room], bots[0], "!help status", _WARM)
        for room in clear:
            await _trips(person, [room], bots[1], "!help status", _WARM)
        slow, ten = [], []
        for _ in range(pairs):
            here.etb.delay_s = _ETB_S
            status = await _trips(person, ours[:1], bots[0], "!status", _EACH)
            here.etb.delay_s = 0
            echo = await _trips(person, clear[:1], bots[1], "!status", _EACH)
            slow.append((status, echo + _ETB_S * 1000))
            asked = await _trips(person, ours, bots[0], "!help status", _AT_ONCE)
            echoed = await _trips(person, clear, bots[1], "!help status", _AT_ONCE)
            ten.append((asked, echoed))
        return [
            paired(
                "!status with ETB in 20 ms, over a clear echo and 20 ms", slow, target="1.3", unit="ms", each=_EACH
            ),
            paired(
                "ten commands at once in ten rooms, over ten clear echoes at once",
                ten,
                target="1.3",
                unit="ms",
                each=_ROOMS * _AT_ONCE,
                note="the slowest of each ten; one client sends and reads all of them",
            ),
        ]


async def _trips(person: JsClient, rooms: list[str], sender: str, text: str, count: int) -> float:
    """Milliseconds until the last of the rooms had its answer: the median over `count` rounds."""
    answers = []
    for _ in range(count if len(rooms) > 1 else 1):
        each = 1 if len(rooms) > 1 else count
        found = await asyncio.gather(
            *(
                person.call("roundTrips", room=room, text=text, sender=sender, count=each, limit=600)
                for room in rooms
            )
        )
        answers.append(max(statistics.median(one["took"]) for one in found))
    return statistics.median(answers)


async def _clear_room(here: Stand, person: JsClient) -> str:
    room = await person.create_room(encrypted=False)
    await person.invite(room, here.floor.bot_mxid)
    await here.as_floor_bot("POST", f"rooms/{room}/join")
    return room

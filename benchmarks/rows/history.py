"""The messages of a room that has 100,000: a page by cursor costs the same wherever it stands.

They are put into the service's own store, sealed as always, while it is stopped, and read over the chat API of the
running service. The way to the thousandth page is walked by `next`, as a client walks it.
"""

import statistics
import time
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.etb_at_once import PEOPLE
from benchmarks.rows.incident import report
from benchmarks.stand import FAST, PASSWORD, Stand, stand
from benchmarks.table import Row, paired
from etb_appservice.config import load
from etb_appservice.domain.conversation import MessageDetails
from etb_appservice.domain.ids import EventId, IncidentId, RoomId, UserId, Username, new_id, war_room_id
from etb_appservice.gateway.links import PREFIXES
from etb_appservice.ops.clock import SystemClock
from etb_appservice.ports import Message
from etb_appservice.store.sql import open_store
from tests.harness.service import Service

_MESSAGES = 100_000
_AT_ONCE = 1000
_PAGE = 100
_THOUSANDTH = 1000
_EACH = 20
_WARM = 20


async def rows(folder: Path, pairs: int) -> list[Row]:
    """One row."""
    async with stand(folder) as here:
        service = await here.service(gateway={"public_url": "", "token_cache_s": 3600, **FAST})
        await here.synapse.register(PEOPLE[0], PASSWORD)
        incident = await report(here)
        async with here.as_ours() as get:
            room = await here.room_of(get, incident["id"])
        await service.stop()
        began = time.monotonic()
        await _fill(service, here, incident["id"], room)
        filled_s = time.monotonic() - began
        print(f"{_MESSAGES} messages put into the store, sealed: {filled_s:.1f} s")
        await service.run()
        path = f"{PREFIXES[0]}war-rooms/{war_room_id(IncidentId(incident['id']))}/messages/"
        first = f"{path}?page_size={_PAGE}&cursor="
        headers = {"Authorization": f"Token {PEOPLE[0]}"}
        async with aiohttp.ClientSession(f"http://127.0.0.1:{service.public_port}", headers=headers) as http:
            began = time.monotonic()
            thousandth = await _walk(http, first)
            walked_s = time.monotonic() - began
            print(f"{_THOUSANDTH} pages of {_PAGE} walked: {walked_s:.1f} s")
            for _ in range(_WARM):
                await _page(http, first)
                await _page(http, thousandth)
            measured = [await _pair(http, first, thousandth) for _ in range(pairs)]
    name = f"messages of a room of {_MESSAGES:,}: the {_THOUSANDTH}th page by cursor, over the first"
    note = (
        f"pages of {_PAGE}; {_MESSAGES:,} put in {filled_s:.1f} s, {_THOUSANDTH} pages walked in {walked_s:.1f} s"
    )
    return [paired(name, measured, target="1.5", unit="ms", each=_EACH, note=note)]


async def _pair(http: aiohttp.ClientSession, first: str, thousandth: str) -> tuple[float, float]:
    """Medians in milliseconds of the thousandth and the first, one after the other."""
    took: dict[str, list[float]] = {thousandth: [], first: []}
    for _ in range(_EACH):
        for page, found in took.items():
            began = time.perf_counter()
            await _page(http, page)
            found.append((time.perf_counter() - began) * 1000)
    return statistics.median(took[thousandth]), statistics.median(took[first])


async def _page(http: aiohttp.ClientSession, page: str) -> dict[str, Any]:
    """A full one."""
    async with http.get(page) as answer:
        answer.raise_for_status()
        found: dict[str, Any] = await answer.json()
    assert len(found["results"]) == _PAGE
    return found


async def _walk(http: aiohttp.ClientSession, first: str) -> str:
    """The address of the thousandth page."""
    page = first
    for _ in range(_THOUSANDTH - 1):
        found = await _page(http, page)
        assert found["count"] >= _MESSAGES
        page = found["next"]
    return page


async def _fill(service: Service, here: Stand, incident_id: str, room: str) -> None:
    """Everybody has said much."""
    settings = load(service.config, {}).settings
    clock = SystemClock()
    async with open_store(settings.database.etb_url, settings.encryption.key_bytes, clock) as store:
        for start in range(0, _MESSAGES, _AT_ONCE):
            async with store.work() as work:
                for number in range(start, start + _AT_ONCE):
                    now_ms = clock.now_ms()
                    name = PEOPLE[number % len(PEOPLE)]
                    await work.messages.put(
                        Message(
                            id=new_id(now_ms),
                            room_id=RoomId(room),
                            lane=incident_id,
                            event_id=EventId(f"${number:043}"),
                            sender=UserId(here.synapse.mxid(name)),
                            state="open",
                            origin_ms=now_ms,
                            received_ms=now_ms,
                            decided_ms=now_ms,
                            body=f"Message {number}, which says how things stand with the queue.",
                            details=MessageDetails(username=Username(name)),
                        )
                    )

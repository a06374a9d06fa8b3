"""The process whose sockets are measured: a house with many war rooms, or `bare`, aiohttp alone.

Prints its port, then answers a line of its input each with a line: `open` how many sockets are open, `memory` the
bytes it holds, `say N` says something in room N, whose text is the moment it was said.
"""

import argparse
import asyncio
import gc
import logging
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Protocol

import psutil
import structlog
from aiohttp import WSMsgType, web
from aiohttp.test_utils import TestServer

from etb_appservice.domain.conversation import MessageDetails
from etb_appservice.domain.ids import IncidentId, UserId, Username, new_id
from etb_appservice.domain.news import MessageAdded
from etb_appservice.domain.people import PeopleMap
from etb_appservice.domain.roles import Admitted
from etb_appservice.gateway.frame import Public
from etb_appservice.gateway.socket import SocketTerms
from etb_appservice.ports import Message, Room, unsent
from tests.harness.cast import etb_user, incident, policy_of
from tests.harness.house import House
from tests.harness.kit import house_at
from tests.harness.sockets import Scene, scene, user_called


class Served(Protocol):
    """What is asked of either."""

    port: int

    def open(self) -> int: ...

    async def say(self, room: int) -> None: ...


def incident_id(room: int) -> IncidentId:
    return IncidentId(f"33333333-3333-4333-8333-{room:012d}")


class Ours:
    """Real store, rights, hub and sockets; `seats` people in each room, who may be there."""

    def __init__(self, house: House, here: Scene, rooms: list[Room]) -> None:
        self._house, self._here, self._rooms = house, here, rooms
        port = here.server.port
        assert port is not None
        self.port = port

    def open(self) -> int:
        return len(self._here.sockets)

    async def say(self, room: int) -> None:
        where = self._rooms[room]
        assert where.room_id is not None
        assert where.incident_id is not None
        message_id = new_id(time.time_ns() // 1_000_000)
        now_ms = self._house.clock.now_ms()
        async with self._house.db.work() as work:
            await work.messages.put(
                Message(
                    id=message_id,
                    room_id=where.room_id,
                    lane=where.incident_id,
                    event_id=unsent(message_id),
                    sender=UserId(f"@u{room}.0:x.org"),
                    state="open",
                    origin_ms=now_ms,
                    received_ms=now_ms,
                    decided_ms=now_ms,
                    body=str(time.monotonic_ns()),
                    details=MessageDetails(username=Username(f"u{room}.0")),
                )
            )
        self._here.hub.tell((MessageAdded(war_room=where.war_room, message_id=message_id),))


class Bare:
    """No more than a WebSocket needs: sends the text to whoever sits in the room."""

    def __init__(self) -> None:
        self._rooms: dict[str, set[web.WebSocketResponse]] = defaultdict(set)
        self.port = 0

    async def handle(self, request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse(compress=False)
        await ws.prepare(request)
        here = self._rooms[request.match_info["room"]]
        here.add(ws)
        await ws.send_str("{}")
        async for message in ws:
            assert message.type is WSMsgType.TEXT
        here.discard(ws)
        return ws

    def open(self) -> int:
        return sum(map(len, self._rooms.values()))

    async def say(self, room: int) -> None:
        text = f'{{"message": {{"content": "{time.monotonic_ns()}", "rest": "{"x" * 900}"}}}}'
        for ws in self._rooms[incident_id(room)]:
            await ws.send_str(text)


async def ours(folder: Path, rooms: int, seats: int, stack: AsyncExitStack) -> Ours:
    names = [[Username(f"u{room}.{seat}") for seat in range(seats)] for room in range(rooms)]
    policy = policy_of(people=PeopleMap("@{username}:x.org"))
    house = await house_at(folder, folder / "template.db", policy=policy)
    stack.push_async_callback(house.stop)
    house.know("alice", "bob")
    await house.start_service()
    for room in range(rooms):
        await house.report(incident(id=incident_id(room), number=f"INC-{room}"))
    await house.settle()
    found = [await house.room(incident_id(room)) for room in range(rooms)]
    async with house.db.work() as work:
        for room, people in zip(found, names, strict=True):
            for name in people:
                await work.incidents.put_user(etb_user(name), house.clock.now_ms())
                await work.cases.put(room.war_room, Admitted(id=name, username=name, by="x", at_ms=1))
    terms = SocketTerms(public=Public())
    here = await stack.enter_async_context(scene(house.db, policy, house.clock, terms))
    here.callers.users = {f"t-{name}": user_called(name) for people in names for name in people}
    return Ours(house, here, found)


async def bare(stack: AsyncExitStack) -> Bare:
    served = Bare()
    app = web.Application()
    app.router.add_get("/ws/chat/{room}/", served.handle)
    server = await stack.enter_async_context(TestServer(app))
    assert server.port is not None
    served.port = server.port
    return served


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("which", choices=("ours", "bare"))
    parser.add_argument("rooms", type=int)
    parser.add_argument("seats", type=int)
    options = parser.parse_args()
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="etb-crowded-")))
        served: Served
        if options.which == "ours":
            served = await ours(folder, options.rooms, options.seats, stack)
        else:
            served = await bare(stack)
        lines = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(lines)
        await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
        print(served.port, flush=True)
        while line := (await lines.readline()).decode().split():
            print(await answer(served, *line), flush=True)


async def answer(served: Served, word: str, *rest: str) -> Any:
    match word:
        case "open":
            return served.open()
        case "memory":
            gc.collect()
            return psutil.Process().memory_info().rss
        case _:
            await served.say(int(rest[0]))
            return "said"


if __name__ == "__main__":
    asyncio.run(main())

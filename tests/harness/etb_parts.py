"""What tests of the ETB side stand on: a clock moved by hand, an inbox in memory, an ETB that answers by script.

The inbox here keeps the promises that the ETB side relies on and no others; it must never be used to prove
anything about the store.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Self, cast

from aiohttp import web
from aiohttp.test_utils import TestServer

from etb_appservice.ports import Arrival, Store

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
NOW_MS = 1_760_000_000_000


class Enough(Exception):
    """The clock was slept on as often as the test wanted to see."""


class HandClock:
    """Stands still; `sleep` moves it on at once and remembers for how long; raises Enough after `enough` times."""

    def __init__(self, now_ms: int = NOW_MS) -> None:
        self.ms = now_ms
        self.slept: list[float] = []
        self.enough = 0

    def now_ms(self) -> int:
        return self.ms

    def monotonic(self) -> float:
        return self.ms / 1000

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.ms += round(seconds * 1000)
        if len(self.slept) == self.enough:
            raise Enough
        await asyncio.sleep(0)


class InboxInMemory:
    """`Store` as far as webhook and poll use it: one commit, keys remembered. `broken` fails every commit."""

    def __init__(self) -> None:
        self.rows: list[Arrival] = []
        self.keys: set[bytes] = set()
        self.commits = 0
        self.broken = False
        self.inbox = self
        self.once = self

    @property
    def store(self) -> Store:
        return cast("Store", self)

    @asynccontextmanager
    async def work(self) -> AsyncIterator[Self]:
        before = list(self.rows), set(self.keys)
        try:
            yield self
            if self.broken:
                raise OSError("disk full")
        except BaseException:
            self.rows, self.keys = before
            raise
        self.commits += 1

    async def accept(self, arrivals: Sequence[Arrival]) -> int:
        new = 0
        for arrival in arrivals:
            if arrival.key not in self.keys:
                self.keys.add(arrival.key)
                self.rows.append(arrival)
                new += 1
        return new

    async def first_time(self, *parts: str) -> bool:
        key = repr(parts).encode()
        is_first = key not in self.keys
        self.keys.add(key)
        return is_first


class KeepsakesInMemory:
    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    async def get(self, name: str) -> bytes | None:
        return self.kept.get(name)

    async def put(self, name: str, value: bytes) -> None:
        self.kept[name] = value


class ScriptedEtb:
    """An HTTP server on loopback. `on(path, *answers)`: one per request, the last one for ever; else 404."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, dict[str, str], dict[str, str], bytes]] = []
        self._script: dict[tuple[str, str], list[Answer]] = {}
        self._server: TestServer | None = None

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_route("*", "/{rest:.*}", self._answer)
        self._server = TestServer(app)
        await self._server.start_server()
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        await self._server.close()

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.port}"

    def on(self, path: str, *answers: Answer, method: str = "GET") -> None:
        self._script[method, path] = list(answers)

    def asked(self, path: str, method: str = "GET") -> list[dict[str, str]]:
        """The queries of the requests that came for a path."""
        return [query for kind, where, query, _, _ in self.requests if (kind, where) == (method, path)]

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.requests.append((request.method, request.path, dict(request.query), dict(request.headers), body))
        answers = self._script.get((request.method, request.path))
        if not answers:
            return web.json_response({"detail": "Not found."}, status=404)
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        return await answer(request)


def json_answer(data: Any, status: int = 200, **headers: str) -> Answer:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.json_response(data, status=status, headers={k.replace("_", "-"): v for k, v in headers.items()})

    return answer


def text_answer(text: str | bytes, status: int = 200, **headers: str) -> Answer:
    async def answer(_: web.Request) -> web.StreamResponse:
        body = text.encode() if isinstance(text, str) else text
        return web.Response(body=body, status=status, headers={k.replace("_", "-"): v for k, v in headers.items()})

    return answer


def page(rows: list[Any], following: str | None = None) -> Answer:
    return json_answer({"count": len(rows), "next": following, "previous": None, "results": rows})


async def dropped(request: web.Request) -> web.StreamResponse:
    """The request was read, and the connection ends without an answer."""
    assert request.transport is not None
    request.transport.close()
    return web.Response()


def held(gate: asyncio.Event) -> Answer:
    """No answer before the gate opens."""

    async def answer(_: web.Request) -> web.StreamResponse:
        await gate.wait()
        return web.json_response({})

    return answer


def incident_row(number: int = 1, **changes: Any) -> dict[str, Any]:
    """An incident as the contract's section 7.2 shows it."""
    row = {
        "id": f"00000000-0000-4000-8000-{number:012d}",
        "incident_number": f"INC-{number:06d}",
        "title": f"Checkout is slow ({number})",
        "description": "p99 above 4 s",
        "severity": "HIGH",
        "status": "OPEN",
        "category": "Application",
        "priority": "P2",
        "assigned_to": "00000000-0000-4000-8000-00000000a11c",
        "assigned_to_username": "alice",
        "reporter_username": "bob",
        "created_at": "2025-10-09T08:00:00Z",
        "updated_at": "2025-10-09T08:00:00.123456Z",
    }
    return {name: value for name, value in (row | changes).items() if value is not ...}

"""What tests of the ETB side stand on: a clock moved by hand, the store and its count, an ETB by script."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Self

from aiohttp import web
from aiohttp.test_utils import TestServer

from etb_appservice.ports import InboxRow, Work
from etb_appservice.store.sql import SqlKeepsakes, SqlStore

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


class _PutBack(Exception):
    """Ends a unit of work whose changes nobody wants."""


class KeptStore:
    """`Store` on a real database, whose commits are counted. `broken` lets each one fail before it is done."""

    def __init__(self, sql: SqlStore) -> None:
        self.sql = sql
        self.keepsakes = SqlKeepsakes(sql)
        self.commits = 0
        self.broken = False

    def stamp(self, *scopes: str) -> tuple[int, ...]:
        return self.sql.stamp(*scopes)

    def view(self) -> AbstractAsyncContextManager[Work]:
        return self.sql.view()

    @asynccontextmanager
    async def work(self) -> AsyncIterator[Work]:
        async with self.sql.work() as work:
            yield work
            if self.broken:
                raise OSError("disk full")
        self.commits += 1

    async def rows(self) -> list[InboxRow]:
        """Everything that waits or is parked, in the order in which it came. Changes nothing."""
        ever_ms = 1 << 60
        found: list[InboxRow] = []
        with contextlib.suppress(_PutBack):
            async with self.sql.work() as work:
                found += await work.inbox.parked()
                for lane in await work.inbox.lanes(ever_ms):
                    while isinstance(row := await work.inbox.next(lane, ever_ms), InboxRow):
                        found.append(row)
                        await work.inbox.finish(row.seq)
                raise _PutBack
        return sorted(found, key=lambda row: row.seq)


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

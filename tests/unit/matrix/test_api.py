"""Errors of the homeserver become one of four outcomes; bodies never reach a log."""

import asyncio
import logging
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from mautrix.api import Method, Path
from mautrix.errors import MatrixConnectionError, MatrixResponseError, make_request_error

from etb_appservice.domain.outcomes import Broken, Later, Refused, Unsure
from etb_appservice.matrix.api import call, make_client, outcome_of, outcomes, silence_bodies
from etb_appservice.matrix.tokens import Tokens


def _status(status: int, code: str | None = None, wait_s: float | None = None) -> Exception:
    error: Any = make_request_error(status, "", code, "because")
    error.wait_s = wait_s
    return error  # type: ignore[no-any-return]


def _caused(cause: Exception) -> MatrixConnectionError:
    error = MatrixConnectionError("x")
    error.__cause__ = cause
    return error


_REFUSED_CONNECTION = aiohttp.ClientConnectorError(None, OSError(111, "refused"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (_status(403, "M_FORBIDDEN"), Refused),
        (_status(404), Refused),
        (_status(429, "M_LIMIT_EXCEEDED"), Later),
        (_status(503), Later),
        (_status(500, "M_UNKNOWN"), Unsure),
        (_status(502), Unsure),
        (_status(401, "M_UNKNOWN_TOKEN"), Broken),
        (_caused(_REFUSED_CONNECTION), Later),
        (_caused(aiohttp.ServerDisconnectedError()), Unsure),
        (_caused(aiohttp.ConnectionTimeoutError()), Later),
        (TimeoutError(), Unsure),
        (MatrixResponseError("odd"), Unsure),
        (MatrixConnectionError("no cause"), Unsure),
        (KeyError("x"), Broken),
        (Refused("said before"), Refused),
    ],
)
def test_each_error_means_one_outcome(error: Exception, outcome: type[Exception]) -> None:
    assert type(outcome_of(error)) is outcome


def test_the_wait_and_the_code_are_kept() -> None:
    later = outcome_of(_status(429, "M_LIMIT_EXCEEDED", 2.5))
    assert isinstance(later, Later)
    assert later.after_s == 2.5
    refused = outcome_of(_status(403, "M_FORBIDDEN"))
    assert isinstance(refused, Refused)
    assert refused.code == "M_FORBIDDEN"


def test_cancellation_is_not_an_outcome() -> None:
    with pytest.raises(asyncio.CancelledError), outcomes():
        raise asyncio.CancelledError


@pytest.mark.enable_socket
async def test_a_request_body_never_reaches_a_log_even_at_debug(
    caplog: pytest.LogCaptureFixture, aiohttp_server: Any
) -> None:
    async def answer(request: web.Request) -> web.Response:
        assert request.query["user_id"] == "@bot:test"
        assert request.query["device_id"] == "DEVICE"
        assert request.headers["Authorization"] == "Bearer the-as-token"
        return web.json_response({"event_id": "$1"})

    app = web.Application()
    app.router.add_put("/{tail:.*}", answer)
    server = await aiohttp_server(app)
    async with aiohttp.ClientSession() as http:
        client = make_client(str(server.make_url("")), "the-as-token", "@bot:test", "DEVICE", http)
        with caplog.at_level(1):
            for name in ("mau.http", "mau.crypto", "mau.db"):
                logging.getLogger(name).setLevel(1)
            await call(client, Method.PUT, Path.v3.rooms["!r"].send["m.room.message"]["t"], {"body": "a secret"})
    assert "a secret" not in caplog.text
    assert "the-as-token" not in caplog.text


@pytest.mark.enable_socket
async def test_what_the_homeserver_says_about_waiting_is_read(aiohttp_server: Any) -> None:
    async def answer(request: web.Request) -> web.Response:
        body: Any = {"errcode": "M_LIMIT_EXCEEDED", "error": "slow", "retry_after_ms": 1500}
        if request.path.endswith("header"):
            return web.Response(status=429, headers={"Retry-After": "7"}, text="not json")
        return web.json_response(body, status=429)

    app = web.Application()
    app.router.add_get("/{tail:.*}", answer)
    server = await aiohttp_server(app)
    waits = []
    async with aiohttp.ClientSession() as http:
        client = make_client(str(server.make_url("")), "t", "@bot:test", "", http)
        for path in (Path.v3.body, Path.v3.header):
            with pytest.raises(Later) as failure, outcomes():
                await call(client, Method.GET, path)
            waits.append(failure.value.after_s)
    assert waits == [1.5, 7.0]


@pytest.mark.enable_socket
async def test_a_client_speaks_with_the_token_that_the_homeserver_knows(aiohttp_server: Any) -> None:
    known, given = {"old"}, []

    async def answer(request: web.Request) -> web.Response:
        token = request.headers["Authorization"].removeprefix("Bearer ")
        given.append(token)
        if token not in known:
            return web.json_response({"errcode": "M_UNKNOWN_TOKEN", "error": "no"}, status=401)
        if request.path.endswith("busy"):
            return web.json_response({"errcode": "M_UNKNOWN", "error": "no"}, status=502)
        return web.json_response({"body": (await request.text())[:100]})

    app = web.Application(client_max_size=1 << 26)
    app.router.add_route("*", "/{tail:.*}", answer)
    server = await aiohttp_server(app)
    tokens = Tokens("new", "old")
    async with aiohttp.ClientSession() as http:
        url = str(server.make_url(""))
        one, other = (make_client(url, tokens, f"@{name}:test", "", http) for name in ("bot", "ghost"))
        assert (await call(one, Method.PUT, Path.v3.x, {"a": 1}))["body"] == '{"a": 1}'
        await call(other, Method.GET, Path.v3.x)
        assert given == ["new", "old", "old"], "one has learned for both"
        assert tokens.proven == "old"
        known.symmetric_difference_update({"old", "new"})  # the homeserver was restarted
        await call(one, Method.GET, Path.v3.x)
        assert given[3:] == ["old", "new"]
        assert tokens.proven == "new"
        with pytest.raises(Unsure), outcomes():
            await call(one, Method.GET, Path.v3.busy)
        assert tokens.proven == "new"
        known.symmetric_difference_update({"old", "new"})
        large = bytes(26 * 1024 * 1024)  # sent piece by piece, so that it can't be sent again at once
        with pytest.raises(Later), outcomes():
            await one.api.request(Method.POST, Path.v3.x, large)
        await one.api.request(Method.POST, Path.v3.x, large)
        tokens.offer(["new"])
        with pytest.raises(Broken, match="as_token") as refused, outcomes():
            await call(one, Method.GET, Path.v3.x)
    assert "new" not in repr(tokens)
    assert "old" not in str(refused.value)


def test_a_device_that_its_owner_has_not_signed_yet_is_no_warning_about_this_service(
    caplog: pytest.LogCaptureFixture,
) -> None:
    silence_bodies()
    with caplog.at_level(logging.DEBUG, logger="mau.crypto"):
        logging.getLogger("mau.crypto").warning("Device @alice:x/PHONE isn't cross-signed")
        logging.getLogger("mau.crypto").warning("Device @alice:x/PHONE changed its key")
    assert [record.levelname for record in caplog.records] == ["INFO", "WARNING"]

"""What the homeserver's admin API may answer besides success; the real one is asked in tests/integration."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from etb_appservice.domain.ids import RoomId, UserId
from etb_appservice.domain.outcomes import Broken, Later, Refused, Unsure
from etb_appservice.matrix.admin import SynapseAdmin
from tests.harness.clock import MovedClock

pytestmark = pytest.mark.enable_socket
ROOM = RoomId("!r")


class HurriedClock(MovedClock):
    """Whoever sleeps is waited for by nobody."""

    async def sleep(self, seconds: float) -> None:
        self.advance(seconds)


@dataclass
class Api:
    """Answers by script, by the last part of a path; the last answer for ever."""

    answers: dict[str, list[tuple[int, Any]]]
    asked: list[str] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(f"{request.method} {request.path}")
        assert "user_id" not in request.query, "it speaks for itself alone"
        self.tokens.add(request.headers["Authorization"])
        part = next(part for part in self.answers if part in request.path)
        found = self.answers[part]
        status, body = found.pop(0) if len(found) > 1 else found[0]
        return web.json_response(body, status=status)


Open = Callable[[Api], Awaitable[SynapseAdmin]]


@pytest.fixture
async def opened(aiohttp_server: Any) -> AsyncIterator[Open]:
    async with aiohttp.ClientSession() as http:

        async def make(api: Api) -> SynapseAdmin:
            app = web.Application()
            app.router.add_route("*", "/{path:.*}", api.answer)
            url = str((await aiohttp_server(app)).make_url(""))
            return SynapseAdmin(url, "the-admins-own", UserId("@root:x.org"), "x.org", http, HurriedClock())

        yield make


def refusal(status: int, code: str, text: str = "no") -> tuple[int, dict[str, str]]:
    return status, {"errcode": code, "error": text}


async def test_a_purge_is_waited_for(opened: Open) -> None:
    going_on = [(200, {"status": "active"})] * 3 + [(200, {"status": "complete"})]
    api = Api({"purge_history_status": going_on, "purge_history": [(200, {"purge_id": "p/1"})]})
    admin = await opened(api)
    assert await admin.purge_history(ROOM, 5)
    assert len([one for one in api.asked if "status" in one]) == 4
    assert api.tokens == {"Bearer the-admins-own"}
    assert "the-admins-own" not in repr(admin)


@pytest.mark.parametrize(
    ("started", "status", "outcome"),
    [
        ((200, {"purge_id": "p"}), (200, {"status": "failed"}), Unsure),
        ((200, {"purge_id": "p"}), (200, {"status": "active"}), Unsure),
        ((200, {"purge_id": "p"}), (200, []), Unsure),
        ((200, {}), (200, {}), Unsure),
        (refusal(400, "M_UNKNOWN", "History purge already in progress for !r"), (200, {}), Later),
        (refusal(400, "M_UNKNOWN", "Event is for wrong room"), (200, {}), Refused),
        (refusal(403, "M_FORBIDDEN"), (200, {}), Refused),
        (refusal(401, "M_UNKNOWN_TOKEN"), (200, {}), Broken),
        (refusal(500, "M_UNKNOWN"), (200, {}), Unsure),
    ],
)
async def test_a_purge_that_does_not_succeed_has_an_outcome(
    opened: Open, started: tuple[int, Any], status: tuple[int, Any], outcome: type[Exception]
) -> None:
    admin = await opened(Api({"purge_history_status": [status], "purge_history": [started]}))
    with pytest.raises(outcome):
        await admin.purge_history(ROOM, 5)


async def test_nothing_to_purge_and_nothing_to_delete_are_no_errors(opened: Open) -> None:
    gone = [refusal(404, "M_NOT_FOUND")]
    admin = await opened(Api({"purge_history": gone, "media": gone}))
    assert not await admin.purge_history(ROOM, 5)
    assert await admin.delete_media("mxc://x.org/a") == 0


async def test_a_homeserver_without_this_api_is_told_from_one_without_the_file(opened: Open) -> None:
    admin = await opened(Api({"media": [refusal(404, "M_UNRECOGNIZED")]}))
    with pytest.raises(Refused):
        await admin.delete_media("mxc://x.org/a")


@pytest.mark.parametrize(
    ("who", "is_admin", "expected"),
    [
        ((200, {"user_id": "@root:x.org"}), (200, {"admin": True}), True),
        ((200, {"user_id": "@root:x.org"}), (200, {"admin": False}), False),
        ((200, {"user_id": "@root:x.org"}), (200, {"admin": "yes"}), False),
        ((200, {"user_id": "@root:x.org"}), refusal(403, "M_FORBIDDEN"), False),
        ((200, {"user_id": "@etb:x.org"}), (200, {"admin": True}), False),
    ],
)
async def test_only_a_plain_yes_for_the_configured_user_is_one(
    opened: Open, who: tuple[int, Any], is_admin: tuple[int, Any], *, expected: bool
) -> None:
    admin = await opened(Api({"whoami": [who], "admin": [is_admin]}))
    assert await admin.is_admin() is expected

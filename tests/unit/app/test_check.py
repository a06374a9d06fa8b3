"""Whether it is the service that answers on its address, and what only it can tell."""

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from etb_appservice.app.check import Finding, is_running, typing_found
from etb_appservice.app.run import listen
from etb_appservice.config.values import Address
from etb_appservice.ops.health import routes
from etb_appservice.ports import Vital
from tests.harness.processes import free_port

pytestmark = pytest.mark.enable_socket


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "0.0.0.0", "::"])
async def test_the_service_is_known_by_its_health_on_any_kind_of_address(host: str) -> None:
    app = web.Application()
    app.add_routes(routes(look=tuple))
    runner = await listen(app, address := Address(host, free_port()), "appservice.listen")
    try:
        assert await is_running(address)
    finally:
        await runner.cleanup()
    assert not await is_running(address)


@pytest.mark.parametrize("answer", ["", "alive", "[]", '{"status": "UP"}', "{"])
@pytest.mark.parametrize("status", [200, 404])
async def test_another_program_is_not_taken_for_it(answer: str, status: int) -> None:
    async def other(_request: web.Request) -> web.Response:
        return web.Response(text=answer, status=status)

    app = web.Application()
    app.router.add_get("/{path:.*}", other)
    async with TestServer(app) as server:
        assert not await is_running(Address("127.0.0.1", server.port or 0))


async def test_what_the_running_service_misses_of_the_homeserver_is_found() -> None:
    app = web.Application()
    vitals = [Vital("service", is_well=True, text="leads"), Vital("typing", is_well=False, text="set it")]
    app.add_routes(routes(look=lambda: vitals))
    async with TestServer(app) as server:
        address = Address("127.0.0.1", server.port or 0)
        assert await typing_found(address) == [Finding("typing", is_well=False, text="set it")]
        vitals.pop()
        assert await typing_found(address) == []
    assert await typing_found(address) == []

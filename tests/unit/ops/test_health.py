from collections.abc import Sequence

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from etb_appservice.ops.health import routes
from etb_appservice.ops.metrics import Metrics, trace
from etb_appservice.ports import Vital

WELL = (Vital("keys", True, "arrive"), Vital("homeserver", True, "answers"), Vital("etb", True, "answers"))
Client = TestClient[web.Request, web.Application]


def application(vitals: Sequence[Vital], **given: object) -> web.Application:
    app = web.Application()
    app.add_routes(routes(look=lambda: vitals, **given))  # type: ignore[arg-type]
    return app


async def answer(app: web.Application, path: str) -> tuple[int, str]:
    async with TestClient(TestServer(app)) as client:
        response = await client.get(path)
        return response.status, await response.text()


pytestmark = pytest.mark.enable_socket


async def test_health_answers_while_nothing_else_works() -> None:
    assert await answer(application(()), "/health") == (200, '{"status": "alive"}')


async def test_ready_shows_every_part() -> None:
    status, text = await answer(application(WELL), "/ready")
    assert status == 200
    assert '"status": "ready"' in text
    assert '"etb": {"well": true, "text": "answers"}' in text


async def test_without_etb_the_service_is_degraded_but_ready() -> None:
    status, text = await answer(application((*WELL[:2], Vital("etb", False, "refuses"))), "/ready")
    assert status == 200
    assert '"degraded"' in text


async def test_without_its_homeserver_or_before_the_start_it_is_not_ready() -> None:
    assert (await answer(application((*WELL, Vital("homeserver", False, "gone"))), "/ready"))[0] == 503
    assert (await answer(application(()), "/ready"))[0] == 503


async def test_metrics_are_brought_up_to_date_before_they_are_shown() -> None:
    metrics = Metrics(process=False)

    async def measure() -> None:
        metrics.depth("outbox", 9, 0, 0)

    status, text = await answer(application(WELL, metrics=metrics, measure=measure), "/metrics")
    assert status == 200
    assert 'etb_queue_depth{queue="outbox"} 9.0' in text
    assert "etb_ready 1.0" in text


async def test_metrics_are_shown_though_the_queues_can_not_be_measured() -> None:
    async def measure() -> None:
        raise RuntimeError("the database is gone")

    status, text = await answer(application(WELL, metrics=Metrics(process=False), measure=measure), "/metrics")
    assert (status, "gone" in text) == (200, False)


async def test_without_its_database_it_is_not_ready() -> None:
    async def measure() -> None:
        raise RuntimeError("the database is gone")

    status, text = await answer(application(WELL, measure=measure), "/ready")
    assert (status, "is gone" in text) == (503, False)
    assert '"database": {"well": false' in text


async def test_metrics_can_be_switched_off() -> None:
    assert (await answer(application(WELL), "/metrics"))[0] == 404


async def test_calls_to_a_peer_are_measured() -> None:
    metrics = Metrics(process=False)
    server = TestServer(application(WELL))
    await server.start_server()
    async with aiohttp.ClientSession(trace_configs=[trace(metrics, "etb")]) as session:
        async with session.get(server.make_url("/health")) as response:
            assert response.status == 200
        gone = server.make_url("/health")
        await server.close()
        with pytest.raises(aiohttp.ClientError):
            await session.get(gone)
    text = metrics.exposition().decode()
    assert 'etb_call_seconds_count{peer="etb",status="200"} 1.0' in text
    assert 'etb_call_seconds_count{peer="etb",status="error"} 1.0' in text

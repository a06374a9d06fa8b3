"""Fifty thousand of everything that comes in: the database keeps it, the memory doesn't."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable, Sized
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from standardwebhooks import Webhook

from etb_appservice.domain.ids import UserId
from etb_appservice.domain.policy import CommandPolicy
from etb_appservice.etb.client import EtbClient
from etb_appservice.etb.codec import IncidentDecoder
from etb_appservice.etb.connection import EtbConnection
from etb_appservice.etb.poll import Poller
from etb_appservice.etb.probe import Modules
from etb_appservice.etb.webhook import PATH, WebhookIntake
from etb_appservice.flows.lanes import LaneRunner
from etb_appservice.flows.pace import Pace
from etb_appservice.matrix.arrivals import Intake
from etb_appservice.matrix.transactions import Transactions
from etb_appservice.store.codec import encode_fact
from etb_appservice.store.sql import SqlKeepsakes
from tests.harness.clock import MovedClock
from tests.harness.etb_parts import ScriptedEtb, incident_row, page
from tests.harness.fakes_etb import FakeEtb
from tests.harness.house import House

pytestmark = pytest.mark.enable_socket

MANY = 50_000
MOST = 25_000
"""More entries than this in any container are a leak."""
SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()


def sizes(*parts: object) -> dict[str, int]:
    """How much each attribute of these parts holds."""
    return {
        f"{type(part).__name__}.{name}": len(value)
        for part in parts
        for name, value in vars(part).items()
        if isinstance(value, Sized)
    }


@asynccontextmanager
async def serving(app: web.Application) -> AsyncIterator[TestClient[Any, Any]]:
    async with TestClient(TestServer(app)) as client:
        yield client


async def until(look: Callable[[], bool]) -> None:
    while not look():  # noqa: ASYNC110 - neither the clock nor a container tells of a change
        await asyncio.sleep(0)


async def waiting(house: House) -> int:
    async with house.db.view() as view:
        return (await view.inbox.depth(house.clock.now_ms()))[0]


async def test_events_leave_no_more_than_a_short_memory(house: House) -> None:
    async def exists(_name: str) -> bool:
        return False

    intake = Intake(house.db, lambda room: room, lambda lanes: None, bot=UserId("@etb:x"))
    transactions = Transactions(intake, ["right"], user_exists=exists, alias_exists=exists)
    head = {"Authorization": "Bearer right"}
    event = {"sender": "@a:x", "type": "m.room.message", "origin_server_ts": 1, "content": {"body": "hello"}}
    async with serving(transactions.app()) as client:
        for number in range(MANY // 500):
            events = [
                event | {"event_id": f"$e{number}-{of}", "room_id": f"!r{number}-{of}:x"} for of in range(500)
            ]
            path = f"/_matrix/app/v1/transactions/{number}"
            async with client.put(path, json={"events": events}, headers=head) as answer:
                assert answer.status == 200
        for number in range(2_000):
            path = f"/_matrix/app/v1/transactions/empty{number}"
            async with client.put(path, json={"events": []}, headers=head) as answer:
                assert answer.status == 200
    assert await waiting(house) == MANY
    assert max(sizes(intake).values()) <= 4096
    assert max(sizes(transactions).values()) <= 1024


async def test_a_poll_remembers_a_bounded_number_of_incidents(house: House) -> None:
    async with ScriptedEtb() as etb:
        path = "/api/incidents/incidents/"
        pages = []
        for start in range(0, MANY, 1000):
            rows = [incident_row(number, description="") for number in range(start, start + 1000)]
            following = f"{etb.url}{path}?page={start // 1000 + 2}" if start + 1000 < MANY else None
            pages.append(page(rows, following))
        async with EtbClient(EtbConnection(base_url=etb.url, token="t"), house.clock) as client:
            modules = Modules(client)
            etb.on(path, page([]))
            await modules.probe()
            etb.on(path, *pages)
            poller = Poller(
                client=client,
                modules=modules,
                reads=FakeEtb(),
                decoder=IncidentDecoder(client.connection),
                store=house.db,
                keepsakes=SqlKeepsakes(house.db),
                clock=house.clock,
                encode_fact=encode_fact,
            )
            assert await poller.poll_incidents() == MANY
            assert max(sizes(poller, modules, client).values()) <= MOST
    assert await waiting(house) == MANY


async def test_webhooks_leave_nothing(house: House) -> None:
    connection = EtbConnection(base_url="https://etb.example.org", token="t")
    intake = WebhookIntake(house.db, IncidentDecoder(connection), [SECRET])
    app = web.Application()
    app.add_routes(intake.routes())
    before = sizes(intake)
    async with serving(app) as client:
        for number in range(300):
            body = json.dumps({"event": "incident.created", "incident": incident_row(number)})
            now = datetime.now(tz=UTC)
            headers = {
                "webhook-id": f"msg_{number}",
                "webhook-timestamp": str(int(now.timestamp())),
                "webhook-signature": Webhook(SECRET).sign(f"msg_{number}", now, body),
            }
            async with client.post(PATH, data=body, headers=headers) as answer:
                assert answer.status == 200
    assert await waiting(house) == 300
    assert sizes(intake) == before


async def test_lanes_that_are_done_or_wait_are_forgotten() -> None:
    clock = MovedClock()
    done: list[str] = []

    async def step(lane: str) -> bool | float:
        done.append(lane)
        return False if len(done) % 2 else 10.0

    async def none_busy() -> list[str]:
        return []

    async def never() -> None:
        return None

    runner = LaneRunner(step, none_busy, never, clock)
    task = asyncio.create_task(runner.run())
    async with asyncio.timeout(60):
        await until(lambda: clock.sleeping > 0)
        runner.wake([f"lane{number}" for number in range(MANY)])
        await until(lambda: len(done) >= MANY and clock.sleeping > 0)
        clock.advance(20)
        await until(lambda: not any(sizes(runner).values()))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def test_people_who_asked_long_ago_are_forgotten() -> None:
    pace = Pace(CommandPolicy())
    for number in range(MANY):
        assert pace.allows(UserId(f"@a{number}:x"), float(number))
    assert max(sizes(pace).values()) <= 10_000

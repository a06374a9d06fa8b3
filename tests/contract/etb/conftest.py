"""An ETB by script, and a client of it whose clock is moved by hand; the sandbox, and the two worlds."""

from collections.abc import AsyncIterator, Callable, Sequence

import aiohttp
import pytest

from etb_appservice.etb.client import EtbClient
from etb_appservice.etb.connection import EtbConnection
from tests.harness.etb_parts import HandClock, ScriptedEtb
from tests.harness.etb_worlds import FakeWorld, RealClock, SandboxWorld, World
from tests.harness.sandbox import Sandbox

TOKEN = "s3cret-token-of-the-service"


@pytest.fixture
async def etb() -> AsyncIterator[ScriptedEtb]:
    async with ScriptedEtb() as server:
        yield server


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
async def connect(etb: ScriptedEtb, clock: HandClock) -> AsyncIterator[Callable[..., EtbClient]]:
    """`connect(body_limit_bytes=..., ...)`: a client of the scripted ETB; jitter is always at its most."""
    clients: list[EtbClient] = []

    def make(*, traces: Sequence[aiohttp.TraceConfig] = (), **changes: object) -> EtbClient:
        options: dict[str, object] = {"base_url": etb.url, "token": TOKEN, "timeout_s": 5.0}
        connection = EtbConnection(**(options | changes))  # type: ignore[arg-type]
        client = EtbClient(connection, clock, dice=lambda: 1.0, traces=traces)
        clients.append(client)
        return client

    yield make
    for client in clients:
        await client.close()


@pytest.fixture(scope="module")
async def sandbox(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Sandbox]:
    async with await Sandbox.start(tmp_path_factory.mktemp("sandbox")) as running:
        yield running


@pytest.fixture(params=["fake", "sandbox"])
async def world(request: pytest.FixtureRequest, sandbox: Sandbox) -> AsyncIterator[World]:
    if request.param == "fake":
        yield FakeWorld()
        return
    await sandbox.reset()
    connection = EtbConnection(base_url=sandbox.url, token=sandbox.token)
    async with EtbClient(connection, RealClock()) as client:
        yield SandboxWorld(sandbox, client)

"""An ETB by script, and a client of it whose clock is moved by hand."""

from collections.abc import AsyncIterator, Callable, Sequence

import aiohttp
import pytest

from etb_appservice.etb.client import EtbClient
from etb_appservice.etb.connection import EtbConnection
from tests.harness.etb_parts import HandClock, ScriptedEtb

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

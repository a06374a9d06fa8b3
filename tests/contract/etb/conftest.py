"""An ETB by script, a client of it whose clock is moved by hand, the sandbox, two worlds, and the real store."""

import shutil
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import aiohttp
import pytest

from etb_appservice.etb.client import EtbClient
from etb_appservice.etb.connection import EtbConnection
from etb_appservice.store.migrate import upgrade
from etb_appservice.store.sql import SqlStore, open_store
from tests.harness.etb_parts import HandClock, KeptStore, ScriptedEtb
from tests.harness.etb_worlds import FakeWorld, RealClock, SandboxWorld, World
from tests.harness.kit import fast_folder
from tests.harness.postgres import Postgres
from tests.harness.sandbox import Sandbox

__all__ = ["fast_folder"]
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


@pytest.fixture(scope="session")
async def empty_sqlite(fast_folder: Path) -> Path:
    """A SQLite database with our tables and nothing in them."""
    path = fast_folder / "empty.db"
    await upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Postgres | None:
    """PostgreSQL, started only for a test that asks for it; an asynchronous fixture can't ask for another."""
    wanted = getattr(request.node, "callspec", None)
    if wanted is None or wanted.params.get("database") != "postgres":
        return None
    found: Postgres = request.getfixturevalue("postgres")
    return found


@pytest.fixture
async def database(server: Postgres | None, empty_sqlite: Path) -> str:
    """A database of the test's own: SQLite, or what a test asks for by `parametrize("database", ...)`."""
    if server is not None:
        url = await server.fresh_database()
        await upgrade(url)
        return url
    path = empty_sqlite.with_name(f"{uuid.uuid4().hex}.db")
    shutil.copyfile(empty_sqlite, path)
    return f"sqlite:///{path}"


Reopen = Callable[[], AbstractAsyncContextManager[SqlStore]]


@pytest.fixture
def reopen(database: str, clock: HandClock) -> Reopen:
    """Open the database once more, as after a restart."""
    return lambda: open_store(database, bytes(range(32)), clock)


@pytest.fixture
async def store(reopen: Reopen) -> AsyncIterator[KeptStore]:
    async with reopen() as opened:
        yield KeptStore(opened)

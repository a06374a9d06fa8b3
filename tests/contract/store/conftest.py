"""One store on SQLite and one on PostgreSQL; each test is run on both."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest

from etb_appservice.store import migrate
from etb_appservice.store.sql import SqlStore, open_store
from tests.harness.postgres import Postgres

ROOT = bytes(range(32))
NOON = 1_790_000_000_000


@dataclass
class Clock:
    """Stands still until a test moves it."""

    now: int = NOON

    def now_ms(self) -> int:
        return self.now

    def monotonic(self) -> float:
        return self.now / 1000

    async def sleep(self, seconds: float) -> None:
        self.now += int(seconds * 1000)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["sqlite", "postgres"])
async def empty_url(request: pytest.FixtureRequest, postgres: Postgres, tmp_path: Path) -> str:
    """A database without tables."""
    if request.param == "postgres":
        return await postgres.fresh_database()
    return f"sqlite:///{tmp_path}/etb.db"


@pytest.fixture
async def url(empty_url: str) -> str:
    """A database with our tables."""
    await migrate.upgrade(empty_url)
    return empty_url


Reopen = Callable[[], AbstractAsyncContextManager[SqlStore]]


@pytest.fixture
def reopen(url: str, clock: Clock) -> Reopen:
    """Open the same database once more, as after a restart or in another process."""
    return lambda: open_store(url, ROOT, clock)


@pytest.fixture
async def store(reopen: Reopen) -> AsyncIterator[SqlStore]:
    async with reopen() as opened:
        yield opened

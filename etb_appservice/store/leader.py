"""One process leads: it alone drains the queues and uses the crypto store. Others wait, or are refused.

SQLite: an fcntl lock on a file beside the database, which the kernel frees when its process ends. PostgreSQL: an
advisory lock of a session of its own, watched all the time. When the lock is lost, `on_lost` is called once and
must end the process before the next encryption: two leaders would use one ratchet index twice.
"""

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import asyncpg
import structlog
from sqlalchemy import URL

from etb_appservice.store.addresses import read_address
from etb_appservice.store.errors import BadAddress, NotLeader

_RETRY_S = 0.5
_LOOK_S = 2.0
_ANSWER_S = 5.0
_LOCK = (0x455442, 0x6C656164)  # "ETB", "lead"
_REFUSAL = "another etb-appservice leads this database already; stop it first, or start this one to stand by"

log = structlog.get_logger(__name__)


@asynccontextmanager
async def leadership(url: str, on_lost: Callable[[], None], *, wait: bool = True) -> AsyncIterator[None]:
    """Lead while the block runs. With `wait` a second process stands by; without, NotLeader is raised."""
    address = read_address(url)
    holding = (
        _postgres(address.url, on_lost, wait=wait) if address.file is None else _file(address.file, wait=wait)
    )
    async with holding:
        yield


@asynccontextmanager
async def _file(database: Path, *, wait: bool) -> AsyncIterator[None]:
    path = database.with_name(database.name + ".leader")
    try:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise BadAddress(f"the lock file {path} can't be opened: {error.strerror}") from None
    try:
        told = False
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                told = await _stand_by(wait=wait, told=told)
        yield
    finally:
        os.close(lock)


@asynccontextmanager
async def _postgres(url: URL, on_lost: Callable[[], None], *, wait: bool) -> AsyncIterator[None]:
    connection = await asyncpg.connect(
        dsn=url.set(drivername="postgresql").render_as_string(hide_password=False),
        timeout=10,
        server_settings={"application_name": "etb-appservice leader"},
    )
    try:
        told = False
        while not await connection.fetchval("SELECT pg_try_advisory_lock($1, $2)", *_LOCK):
            told = await _stand_by(wait=wait, told=told)
        watch = asyncio.create_task(_watch(connection, on_lost))
        try:
            yield
        finally:
            watch.cancel()
            with suppress(asyncio.CancelledError):
                await watch
    finally:
        try:
            await connection.close(timeout=_ANSWER_S)  # the server frees the lock before this returns
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            connection.terminate()


async def _stand_by(*, wait: bool, told: bool) -> bool:
    if not wait:
        raise NotLeader(_REFUSAL)
    if not told:
        log.info("standing by until the leading process ends")
    await asyncio.sleep(_RETRY_S)
    return True


async def _watch(connection: asyncpg.Connection, on_lost: Callable[[], None]) -> None:
    """Ask the session whether it lives; a session that ended, or that doesn't answer, has lost the lock."""
    ended = asyncio.Event()
    connection.add_termination_listener(lambda _connection: ended.set())
    while not connection.is_closed():
        with suppress(TimeoutError):
            await asyncio.wait_for(ended.wait(), _LOOK_S)
        try:
            await connection.fetchval("SELECT 1", timeout=_ANSWER_S)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            log.critical("the lock of the leader is lost", error=type(error).__name__)
            break
    on_lost()

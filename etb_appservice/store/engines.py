"""How a unit of work reaches the database: one thread with one connection on SQLite, a pool on PostgreSQL.

A unit of work is a series of jobs, plain functions of a SQLAlchemy connection. On SQLite a job is run in the
connection's own thread, so a job of five statements costs one change of thread and not five or fifteen, as an
asynchronous driver would; on PostgreSQL SQLAlchemy runs it over asyncpg. Nothing here knows what a job does.

A job that has begun is always awaited to its end, also when its task is cancelled: no connection is ever left in
the middle of something, and what comes next (a rollback) comes after it.
"""

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection, Engine, NullPool, create_engine, event
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from etb_appservice.store.addresses import SCHEMA, Address
from etb_appservice.store.errors import BadAddress

T = TypeVar("T")
_READERS = 3
_BUSY_MS = 10_000
"""How long a statement waits for another process that writes, such as `db upgrade`."""


class Line(Protocol):
    """A connection that one unit of work has for itself."""

    async def run(self, job: Callable[[Connection], T], *, is_quick: bool = False) -> T:
        """Run a job to its end, whatever happens to the task that waits.

        `is_quick`: it waits for no lock and touches a few rows, so that it may be done in the caller's thread.
        """
        ...


class Lines(Protocol):
    """A database that gives out lines."""

    def writing(self) -> AbstractAsyncContextManager[Line]:
        """A line for a unit of work."""
        ...

    def reading(self) -> AbstractAsyncContextManager[Line]:
        """A line that can't write and never waits for one that does."""
        ...

    async def scrub(self) -> None:
        """Leave nothing of deleted rows in files that we can reach."""
        ...

    async def close(self) -> None:
        """End all connections."""
        ...


async def to_the_end(work: Awaitable[T]) -> T:
    """Await `work` without letting a cancellation interrupt it; the cancellation is raised afterwards."""
    future = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        while not future.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([future])
        if not future.cancelled():
            future.exception()  # taken, so that it isn't reported as lost: the cancellation is what counts
        raise


def sqlite_engine(file: Path, *, begin: str, query_only: bool = False) -> Engine:
    """An engine whose transactions begin with `begin`; opens a new connection each time it is asked."""
    engine = create_engine(
        f"sqlite+pysqlite:///{file}",
        poolclass=NullPool,
        hide_parameters=True,  # an error is logged, and nothing of a row belongs there
        connect_args={
            "check_same_thread": False,
            "isolation_level": None,
            "timeout": _BUSY_MS / 1000,
            "cached_statements": 256,
        },
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _record: Any) -> None:
        connection.executescript(
            f"PRAGMA busy_timeout={_BUSY_MS};"
            "PRAGMA journal_mode=WAL;"
            "PRAGMA synchronous=FULL;"
            "PRAGMA foreign_keys=ON;"
            "PRAGMA secure_delete=FAST;"
            "PRAGMA temp_store=MEMORY;" + ("PRAGMA query_only=ON;" if query_only else "")
        )

    @event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def make_sqlite_file(file: Path) -> None:
    """Create the file for its owner's eyes only; raises BadAddress where that can't be done."""
    try:
        os.close(os.open(file, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise BadAddress(f"the database file {file} can't be opened: {error.strerror}") from None


class _Thread:
    """One SQLite connection, used by one task at a time, in one thread of its own.

    A few rows are read or written in tens of microseconds, a hop to a thread and back costs a multiple of that and
    waits for the interpreter's lock besides: quick jobs are done where they are asked for.
    """

    def __init__(self, engine: Engine, name: str) -> None:
        self._engine = engine
        self._connection: Connection | None = None
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=name)

    async def run(self, job: Callable[[Connection], T], *, is_quick: bool = False) -> T:
        if is_quick and self._connection is not None:
            return job(self._connection)
        return await to_the_end(asyncio.get_running_loop().run_in_executor(self._executor, self._do, job))

    def _do(self, job: Callable[[Connection], T]) -> T:
        if self._connection is None:
            self._connection = self._engine.connect()
        return job(self._connection)

    async def close(self) -> None:
        def end() -> None:
            if self._connection is not None:
                self._connection.close()
            self._connection = None

        await to_the_end(asyncio.get_running_loop().run_in_executor(self._executor, end))
        self._executor.shutdown(wait=True)


def _empty_log(connection: Connection) -> None:
    connection.connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")


class SqliteLines:
    """One writer behind a lock, and a few readers beside it (WAL: neither waits for the other)."""

    def __init__(self, file: Path, *, readonly: bool) -> None:
        self._lock = asyncio.Lock()
        self._writer = None if readonly else _Thread(sqlite_engine(file, begin="BEGIN IMMEDIATE"), "etb-writer")
        engine = sqlite_engine(file, begin="BEGIN", query_only=True)
        self._readers = [_Thread(engine, f"etb-reader-{number}") for number in range(_READERS)]
        self._free: asyncio.LifoQueue[_Thread] = asyncio.LifoQueue()
        for reader in self._readers:
            self._free.put_nowait(reader)

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[Line]:
        """The writer, for one task at a time, in the order in which they asked."""
        if self._writer is None:
            raise sqlite3.OperationalError("this store was opened for reading only")
        async with self._lock:
            yield self._writer

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Line]:
        """A free reader."""
        reader = await self._free.get()
        try:
            yield reader
        finally:
            self._free.put_nowait(reader)

    async def scrub(self) -> None:
        """Empty the write-ahead log; deleted cells themselves are overwritten (`secure_delete`)."""
        async with self.writing() as line:
            await line.run(_empty_log)

    async def close(self) -> None:
        """End the connections and their threads."""
        for thread in (*self._readers, *([self._writer] if self._writer else [])):
            await thread.close()


def postgres_engine(address: Address, *, longest_s: float | None) -> AsyncEngine:
    """A pool whose connections see the schema `etb` only; a statement that takes longer than `longest_s` fails."""
    return create_async_engine(
        address.url,
        hide_parameters=True,
        pool_size=8,
        max_overflow=8,
        pool_recycle=3600,
        pool_timeout=300,
        isolation_level="READ COMMITTED",
        connect_args={
            "timeout": 10,
            "command_timeout": longest_s,
            "prepared_statement_cache_size": 300,
            "server_settings": {"search_path": SCHEMA, "application_name": "etb-appservice", "jit": "off"},
        },
    )


class _Pooled:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def run(self, job: Callable[[Connection], T], *, is_quick: bool = False) -> T:
        del is_quick
        return await to_the_end(self._connection.run_sync(job))


class PostgresLines:
    """A pool. Views are read-only and see one moment (REPEATABLE READ)."""

    def __init__(self, address: Address, *, readonly: bool) -> None:
        self._engine = postgres_engine(address, longest_s=60)
        self._views = self._engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        self._readonly = readonly

    def writing(self) -> AbstractAsyncContextManager[Line]:
        """A connection of the pool."""
        return self._line(self._views if self._readonly else self._engine)

    def reading(self) -> AbstractAsyncContextManager[Line]:
        """A connection of the pool that can't write."""
        return self._line(self._views)

    @asynccontextmanager
    async def _line(self, engine: AsyncEngine) -> AsyncIterator[Line]:
        connection = await engine.connect()
        try:
            yield _Pooled(connection)
        finally:
            await to_the_end(connection.close())

    async def scrub(self) -> None:
        """PostgreSQL alone decides when dead rows go (VACUUM)."""

    async def close(self) -> None:
        """End the pool."""
        await self._engine.dispose()

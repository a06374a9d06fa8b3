"""Runs work that must come to its end: tasks that are never cancelled, in a context of their own.

Two traps of mautrix are guarded here, so nothing may touch its database from outside `Keeper.run`:

- Its SQLite transaction rolls back on `Exception` but not on `CancelledError`: a cancelled task leaves it open,
  later writes never reach the disk. Here a caller may be cancelled; the work goes on.
- It keeps one connection per task in a module global: with two databases nested in one task the inner one silently
  uses the outer one's connection. Here each piece of work starts without one.
"""

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import structlog
from mautrix.util.async_db import aiosqlite as _sqlite
from mautrix.util.async_db import database as _database

_log = structlog.get_logger(__name__)
T = TypeVar("T")


class Keeper:
    """Owns the tasks that work on the crypto database."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closed = False

    async def run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Do `work` to its end and answer its result; if the caller is cancelled, the work goes on without it."""
        return await asyncio.shield(self.start(work))

    def start(self, work: Callable[[], Coroutine[Any, Any, T]]) -> asyncio.Task[T]:
        """Begin `work`. An error nobody waits for is logged by its type."""
        if self._closed:
            raise RuntimeError("the keeper of the crypto database is closed")
        task = asyncio.get_running_loop().create_task(work(), context=_clean_context())
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    async def close(self) -> None:
        """Take nothing new and wait for what is under way."""
        self._closed = True
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            _log.debug("crypto work ended with an error", error=type(error).__name__)


def _clean_context() -> contextvars.Context:
    context = contextvars.copy_context()
    context.run(_database.conn_var.set, None)
    context.run(_sqlite.in_transaction.set, False)
    return context

"""One unit of work: the jobs that its repositories give it, in order, and one commit at the end.

Writes that answer nothing are put off (`later`) and run together with the next question or with the commit;
audit entries come last of all, so that the lock of their chain is held for a moment only. A unit in which
anything failed can't be committed, even where somebody caught the error. One task at a time may use a desk.
"""

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from sqlalchemy import Connection, Row, TextClause, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from etb_appservice.store.codec import whole
from etb_appservice.store.engines import Line
from etb_appservice.store.errors import DatabaseFailed
from etb_appservice.store.vault import Keyring, Vault

T = TypeVar("T")
Values = dict[str, Any]
_LOCK = text("SELECT pg_advisory_xact_lock(:kind, hashtext(:what))")
_LOCKS = 0x455442
"""The class of our transaction-level advisory locks: "ETB"."""
_MOST_SCOPES = 8192


class ReadOnly(Exception):
    """Somebody tried to write through a view."""


class Transaction:
    """What a job sees: statements, and the vault.

    On SQLite the statements, whose `:name` parameters SQLite reads itself, go straight to the driver: SQLAlchemy
    would cost a multiple of what they take (measured: 40 µs of 50). What needs it, such as a list in `IN`, takes
    `rows_among`.
    """

    def __init__(self, connection: Connection, vault: Vault, scopes: dict[str, str], now_ms: int) -> None:
        if not connection.in_transaction():
            connection.begin()
        self.connection = connection
        self._sqlite = connection.connection.driver_connection if connection.dialect.name == "sqlite" else None
        self.is_postgres = connection.dialect.name == "postgresql"
        self.keys = Keyring(vault, connection, now_ms)
        self.vault = vault
        self.scopes = scopes
        self.now_ms = now_ms

    def rows(self, statement: TextClause, values: Values | None = None) -> Sequence[Row[Any]]:
        """All rows of an answer."""
        rows: Sequence[Row[Any]] = self._run(statement, values).fetchall()
        return rows

    def rows_among(self, statement: TextClause, values: Values) -> Sequence[Row[Any]]:
        """All rows of an answer to a statement with an expanding parameter."""
        return self.connection.execute(statement, _clean(values)).all()

    def row(self, statement: TextClause, values: Values | None = None) -> Row[Any] | None:
        """The first row, or None."""
        rows = self._run(statement, values).fetchmany(1)
        return rows[0] if rows else None

    def value(self, statement: TextClause, values: Values | None = None) -> Any:
        """The first column of the first row, or None."""
        row = self.row(statement, values)
        return None if row is None else row[0]

    def change(self, statement: TextClause, values: Values | None = None) -> int:
        """Run a statement that changes rows; answers how many."""
        count: int = self._run(statement, values).rowcount
        return count

    def change_each(self, statement: TextClause, values: Sequence[Values]) -> None:
        """Run a statement once for each set of values, in this order."""
        cleaned = [_clean(one) for one in values]
        if self._sqlite is not None:
            self._sqlite.executemany(statement.text, cleaned)
        elif cleaned:
            self.connection.execute(statement, cleaned)

    def lock(self, what: str) -> None:
        """Until the end of this unit of work, no other one may hold this lock. SQLite has one writer anyway."""
        if self.is_postgres:
            self.connection.execute(_LOCK, {"kind": _LOCKS, "what": whole(what)})

    def room_scope(self, room_id: str) -> str:
        """The vault's scope of a room: its war room's, over all generations, where it is one of ours."""
        scope = self.scopes.get(room_id)
        if scope is None:
            war_room = self.value(_WAR_ROOM, {"room_id": room_id})
            if war_room is None:
                return f"room:{whole(room_id)}"
            if len(self.scopes) >= _MOST_SCOPES:
                self.scopes.clear()
            scope = self.scopes[room_id] = f"room:{war_room}"
        return scope

    def _run(self, statement: TextClause, values: Values | None) -> Any:
        cleaned = _clean(values or {})
        if self._sqlite is None:
            return self.connection.execute(statement, cleaned)
        cursor = self._sqlite.cursor()
        cursor.row_factory = NamedRow
        return cursor.execute(statement.text, cleaned)


class NamedRow(sqlite3.Row):
    """A row whose columns are attributes too, as SQLAlchemy's are."""

    def __getattr__(self, name: str) -> Any:
        return self[name]


_WAR_ROOM = text("SELECT war_room FROM rooms WHERE room_id = :room_id")
Job = Callable[[Transaction], T]


class Desk:
    """The asynchronous side of one unit of work."""

    def __init__(self, line: Line, vault: Vault, scopes: dict[str, str], now_ms: int, *, readonly: bool) -> None:
        self.now_ms = now_ms
        self._line = line
        self._vault = vault
        self._scopes = scopes
        self._readonly = readonly
        self._transaction: Transaction | None = None
        self._later: list[Job[object]] = []
        self._last: list[Job[object]] = []
        self._failed = False
        self._ended = False
        self.touched: set[str] = set()
        """What this unit of work has changed of that on which it depends who may be where."""

    def touch(self, scope: str) -> None:
        """Say that who may be where may be another matter after the commit."""
        self.touched.add(scope)

    async def ask(self, job: Job[T], *, few: bool = False) -> T:
        """Run what was put off, then this job, and answer its result. `few`: it touches a few rows."""
        return await self._run(job, few=few)

    async def write(self, job: Job[T], *, few: bool = False) -> T:
        """As `ask`, for a job that writes."""
        self._may_write()
        return await self._run(job, few=few)

    def later(self, job: Job[object]) -> None:
        """Put a write off until the next question or the commit."""
        self._may_write()
        self._later.append(job)

    def last(self, job: Job[object]) -> None:
        """Put a write off until right before the commit."""
        self._may_write()
        self._last.append(job)

    def hurry(self) -> None:
        """What was meant to come last comes with the next question."""
        self._later += self._last
        self._last = []

    async def commit(self) -> None:
        """Make it durable; nothing is done for a unit of work that did nothing."""
        if self._failed:
            raise RuntimeError("a unit of work in which a statement failed can't be committed")
        self.hurry()
        if self._transaction is None and not self._later:
            self._ended = True
            return

        def end(transaction: Transaction) -> None:
            transaction.connection.commit()
            transaction.keys.committed()

        await self._run(end)
        self._ended = True

    async def roll_back(self) -> None:
        """Undo everything; does nothing after a commit."""
        if not self._ended and self._transaction is not None:
            self._ended = True
            await self._line.run(lambda connection: connection.rollback(), is_quick=self._readonly)
        self._ended = True

    async def _run(self, job: Job[T], *, few: bool = False) -> T:
        if self._ended:
            raise RuntimeError("this unit of work has ended")
        # Whoever begins to write waits for others who do, maybe in another process; whoever reads never waits.
        is_quick = few and (self._readonly or self._transaction is not None)
        before, self._later = self._later, []

        def all_of_it(connection: Connection) -> T:
            if self._transaction is None:
                self._transaction = Transaction(connection, self._vault, self._scopes, self.now_ms)
            for earlier in before:
                earlier(self._transaction)
            return job(self._transaction)

        failed, self._failed = self._failed, True  # until it is known to have gone well
        try:
            result = await self._line.run(all_of_it, is_quick=is_quick)
        except (SQLAlchemyError, sqlite3.Error, OSError) as error:
            cause = error.orig if isinstance(error, DBAPIError) else error
            reason = (str(cause).splitlines() or [""])[0][:200]
            raise DatabaseFailed(f"the database failed: {reason or type(cause).__name__}") from error
        self._failed = failed
        return result

    def _may_write(self) -> None:
        if self._readonly:
            raise ReadOnly("a view can't write; use work()")


def _clean(values: Values) -> Values:
    """Texts as both databases take them; BLOBs and numbers as they are."""
    for value in values.values():
        if isinstance(value, str) and not (value.isascii() and "\x00" not in value):
            return {key: whole(item) if isinstance(item, str) else item for key, item in values.items()}
    return values

"""The store: opens the database, checks its tables and its key, and gives out units of work and views."""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager

from sqlalchemy import Connection, text

from etb_appservice.ports import (
    Acts,
    AuditLog,
    Cases,
    Clock,
    Commands,
    Documents,
    Files,
    Gaps,
    Inbox,
    Incidents,
    Messages,
    Once,
    Outbox,
    Rooms,
    Work,
)
from etb_appservice.store import roots
from etb_appservice.store.acts import SqlActs
from etb_appservice.store.addresses import read_address
from etb_appservice.store.cases import SqlCases
from etb_appservice.store.conversation import SqlMessages
from etb_appservice.store.copies import SqlIncidents, SqlRooms
from etb_appservice.store.desk import Desk, Transaction
from etb_appservice.store.documents import SqlDocuments
from etb_appservice.store.engines import Lines, PostgresLines, SqliteLines, to_the_end
from etb_appservice.store.errors import NotCurrent
from etb_appservice.store.files import SqlFiles
from etb_appservice.store.inbox import SqlInbox
from etb_appservice.store.outbox import SqlOutbox
from etb_appservice.store.records import SqlAuditLog, SqlCommands, SqlGaps, SqlOnce
from etb_appservice.store.roots import Root
from etb_appservice.store.schema import check_current
from etb_appservice.store.vault import Vault

_GET_KEEPSAKE = text("SELECT value FROM keepsakes WHERE name = :name")
_PUT_KEEPSAKE = text(
    "INSERT INTO keepsakes (name, value, changed_ms) VALUES (:name, :value, :now)"
    " ON CONFLICT (name) DO UPDATE SET value = excluded.value, changed_ms = excluded.changed_ms"
)


class SqlWork:
    """`ports.Work`: the repositories of one unit of work, on one desk."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.inbox: Inbox = SqlInbox(desk)
        self.outbox: Outbox = SqlOutbox(desk)
        self.rooms: Rooms = SqlRooms(desk)
        self.incidents: Incidents = SqlIncidents(desk)
        self.messages: Messages = SqlMessages(desk)
        self.files: Files = SqlFiles(desk)
        self.commands: Commands = SqlCommands(desk)
        self.acts: Acts = SqlActs(desk)
        self.cases: Cases = SqlCases(desk)
        self.documents: Documents = SqlDocuments(desk)
        self.audit: AuditLog = SqlAuditLog(desk)
        self.once: Once = SqlOnce(desk)
        self.gaps: Gaps = SqlGaps(desk)

    def now_ms(self) -> int:
        """The moment at which this unit of work began."""
        return self.desk.now_ms

    async def alone_in(self, lane: str) -> None:
        """By an advisory lock on PostgreSQL, taken right before the next question; on SQLite a writer is alone."""
        self.desk.later(lambda transaction: transaction.lock(f"lane/{lane}"))


class SqlStore:
    """`ports.Store`. Made by `open_store`."""

    def __init__(self, lines: Lines, vault: Vault, clock: Clock) -> None:
        self._lines = lines
        self.clock = clock
        self._scopes: dict[str, str] = {}
        self._stamps: Counter[str] = Counter()
        self._epoch = 0
        self._tell: Callable[[Collection[str]], None] | None = None
        self.vault = vault
        self.keepsakes = SqlKeepsakes(self)

    @asynccontextmanager
    async def work(self) -> AsyncIterator[Work]:
        """A unit of work.

        A cancellation that comes while the commit is under way is raised after it: the unit is durable then,
        as it is after a crash at that moment. At any other moment everything is rolled back.
        """
        async with self.desk() as desk:
            yield SqlWork(desk)

    @asynccontextmanager
    async def view(self) -> AsyncIterator[Work]:
        """Read only; all of its answers are of one moment."""
        async with self._lines.reading() as line:
            desk = Desk(line, self.vault, self._scopes, self.clock.now_ms(), readonly=True)
            try:
                yield SqlWork(desk)
            finally:
                await desk.roll_back()

    @asynccontextmanager
    async def desk(self) -> AsyncIterator[Desk]:
        """A unit of work without repositories, for what is kept outside them."""
        async with self._lines.writing() as line:
            desk = Desk(line, self.vault, self._scopes, self.clock.now_ms(), readonly=False)
            try:
                yield desk
                await desk.commit()
            finally:
                # Also where it is unknown to us whether it was committed: once too often does no harm.
                self._stamps.update(desk.touched)
                if desk.touched and self._tell is not None:
                    self._tell(desk.touched)
                await desk.roll_back()

    def stamp(self, *scopes: str) -> tuple[int, ...]:
        """How often each was touched by a commit of this process, or of another one that we were told of."""
        return self._epoch, *(self._stamps[scope] for scope in scopes)

    def tell(self, listener: Callable[[Collection[str]], None]) -> None:
        """Tell somebody what each commit of this process touches, right after it. It MUST NOT block or raise."""
        self._tell = listener

    def touched(self, scopes: Collection[str]) -> None:
        """A commit of another process has touched these."""
        self._stamps.update(scopes)

    def missed(self) -> None:
        """Commits of other processes may have touched anything."""
        self._epoch += 1

    async def replace_root(self, work: Work, new: bytes, *, until_ms: int) -> None:
        """Let `new` take the place of CHAT_ENCRYPTION_KEY when this unit of work commits, and not before.

        Ask for it first in the unit: nobody makes a key that the former one wraps meanwhile. What is stored stays
        as it is, since only the keys of its scopes are wrapped anew. Raises MalformedKey and Tampered.
        """
        desk, root = _desk_of(work), Root(new)

        def begin(transaction: Transaction) -> None:
            roots.lock(transaction.connection)
            self.vault.follow(transaction.connection, transaction.now_ms)

        def replace(transaction: Transaction) -> None:
            present = self.vault.roots[0]
            roots.rekey(transaction.connection, present, root, now_ms=transaction.now_ms, until_ms=until_ms)

        await desk.write(begin)
        desk.last(replace)

    async def root_placed(self) -> None:
        """The settings hold the present CHAT_ENCRYPTION_KEY now. Leaves nothing of what the former one wrapped."""
        async with self.desk() as desk:
            await desk.write(lambda transaction: roots.placed(transaction.connection))
        await self._lines.scrub()

    async def follow_root(self) -> roots.Ages:
        """Take over a CHAT_ENCRYPTION_KEY that another process has put in place, and say how old it is.

        Raises WrongKey.
        """

        def follow(transaction: Transaction) -> roots.Ages:
            self.vault.follow(transaction.connection, transaction.now_ms)
            return roots.ages(transaction.connection)

        async with self._lines.reading() as line:
            desk = Desk(line, self.vault, self._scopes, self.clock.now_ms(), readonly=True)
            try:
                return await desk.ask(follow)
            finally:
                await desk.roll_back()

    async def end_root_overlaps(self, work: Work) -> int:
        """Forget the handovers whose overlap is over; answers how many there were."""
        knows = not self.vault.is_behind

        def end(transaction: Transaction) -> int:
            return roots.end_overlaps(transaction.connection, transaction.now_ms, knows_present=knows)

        return await _desk_of(work).write(end)

    async def destroy_key(self, key_id: bytes) -> int:
        """Destroy a key of the vault with all that it wraps; answers how many keys went. There is no way back.

        On SQLite the key's bytes are gone from the files at return. PostgreSQL keeps them in dead rows until the
        next VACUUM, and in archived WAL and backups for as long as those are kept; so is any backup of SQLite.
        Another process that has opened the key forgets it when it ends.
        """
        async with self.desk() as desk:
            count = await desk.write(lambda transaction: transaction.keys.destroy(key_id))
        await self._lines.scrub()
        return count


def _desk_of(work: Work) -> Desk:
    if not isinstance(work, SqlWork):
        raise TypeError("this unit of work is none of the store's")
    return work.desk


class SqlKeepsakes:
    """`ports.Keepsakes`."""

    def __init__(self, store: SqlStore) -> None:
        self._store = store

    async def get(self, name: str) -> bytes | None:
        """As of the last `put`."""

        def job(transaction: Transaction) -> bytes | None:
            value = transaction.value(_GET_KEEPSAKE, {"name": name})
            return None if value is None else transaction.keys.open("keepsakes", name, bytes(value))

        async with self._store.desk() as desk:
            return await desk.ask(job)

    async def put(self, name: str, value: bytes) -> None:
        """Durable at return."""

        def job(transaction: Transaction) -> None:
            sealed = transaction.keys.seal("keepsakes", "keepsake", "keepsakes", name, value)
            transaction.change(_PUT_KEEPSAKE, {"name": name, "value": sealed, "now": transaction.now_ms})

        async with self._store.desk() as desk:
            desk.later(job)


@asynccontextmanager
async def open_store(
    url: str, root_key: bytes, clock: Clock, *, readonly: bool = False, is_late: bool = False
) -> AsyncIterator[SqlStore]:
    """Open the database of `url` with CHAT_ENCRYPTION_KEY as 32 bytes (`vault.read_root_key`).

    Raises BadAddress, NotCurrent (run `etb-appservice db upgrade`), MalformedKey or WrongKey. `readonly` opens a
    database beside a running service: views work, units of work raise. `is_late` takes a former key beyond its
    overlap, for the command that writes the present one into the settings.
    """
    address = read_address(url)
    vault = Vault(root_key)
    if address.file is not None and not address.file.exists():
        raise NotCurrent(f"the database file {address.file} doesn't exist yet; run: etb-appservice db upgrade")
    lines: Lines = (
        PostgresLines(address, readonly=readonly)
        if address.file is None
        else SqliteLines(address.file, readonly=readonly)
    )

    def check(connection: Connection) -> None:
        check_current(connection)
        vault.check(connection, clock.now_ms(), may_write=not readonly, is_late=is_late)
        connection.commit()

    try:
        async with lines.reading() if readonly else lines.writing() as line:
            await line.run(check)
        yield SqlStore(lines, vault, clock)
    finally:
        await to_the_end(lines.close())

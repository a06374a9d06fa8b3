"""What is known of the files of war rooms, and who has looked at them. All that tells of a file is sealed."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import Row, Text, TextClause, bindparam, text

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.conversation import FileDetails
from etb_appservice.domain.files import FileAccess
from etb_appservice.domain.ids import EventId
from etb_appservice.ports import ChatFile, FilesWanted
from etb_appservice.store.codec import decode_access, decode_file, encode_access, encode_file
from etb_appservice.store.desk import Desk, Transaction, Values
from etb_appservice.store.spans import Spanned

_PUT = text(
    "INSERT INTO files (id, war_room, lane, message_id, event_id, created_ms, withdrawn_ms, level, details,"
    " access_count) VALUES (:id, :war_room, :lane, :message_id, :event_id, :created_ms, :withdrawn_ms, :level,"
    " :details, :access_count)"
    " ON CONFLICT (id) DO UPDATE SET message_id = excluded.message_id, event_id = excluded.event_id,"
    " withdrawn_ms = excluded.withdrawn_ms, level = excluded.level, details = excluded.details"
)
_GET = text("SELECT * FROM files WHERE id = :id")
_BY_IDS = text("SELECT * FROM files WHERE id IN :ids").bindparams(bindparam("ids", expanding=True, type_=Text()))
_BY_EVENT = text("SELECT * FROM files WHERE event_id = :event_id ORDER BY id")
_LATEST = text("SELECT * FROM files WHERE lane = :lane ORDER BY id DESC LIMIT :limit")
_BEFORE = text("SELECT * FROM files WHERE lane = :lane AND id < :before ORDER BY id DESC LIMIT :limit")
_COUNT = text("SELECT count(*) FROM files WHERE lane = :lane")
_ACCESSED = text("UPDATE files SET access_count = access_count + 1 WHERE id = :id")
_LOG = text(
    "INSERT INTO file_accesses (id, file_id, war_room, at_ms, content)"
    " VALUES (:id, :file_id, :war_room, :at_ms, :content) ON CONFLICT (id) DO NOTHING"
)
_ACCESS = text("SELECT id, content FROM file_accesses WHERE id = :id")
_ACCESSES = text(
    "SELECT id, content FROM file_accesses WHERE file_id = :file_id ORDER BY id DESC LIMIT :limit OFFSET :skip"
)
_COUNT_ACCESSES = text("SELECT count(*) FROM file_accesses WHERE file_id = :file_id")
_FORGET = text("DELETE FROM files WHERE id = :id")


_AS_ROOM = 0
_LEVELS = tuple(Classification)
_AT_LEVELS = " OR ".join(f"(lane IN :lanes_{level.name} AND level <= {level:d})" for level in _LEVELS)
_WANTED = (
    f"FROM files WHERE ({_AT_LEVELS}) AND (withdrawn_ms IS NULL OR CAST(:withdrawn AS INTEGER) = 1)"
    " AND (CAST(:message_id AS TEXT) = '' OR message_id = :message_id)"
    " AND created_ms >= :from_ms AND created_ms <= :until_ms{seen}"
)


def _wanted(statement: str) -> Spanned:
    among = tuple(f"lanes_{level.name}" for level in _LEVELS)
    return Spanned(statement, lane="files.lane", began="files.created_ms", ended="files.created_ms", among=among)


def _page(order: str) -> Spanned:
    which = f"SELECT id {_WANTED} {order} LIMIT :limit OFFSET :skip"
    return _wanted(f"{{hidden}}SELECT * FROM files WHERE id IN ({which}) {order}")  # noqa: S608 - our own words


_AMONG = {True: _page("ORDER BY id"), False: _page("ORDER BY id DESC")}
"""By whether the oldest comes first."""
_COUNT_AMONG = _wanted(f"{{hidden}}SELECT count(*) {_WANTED}")
_UNLEVELLED = text("SELECT * FROM files WHERE level IS NULL ORDER BY id LIMIT :limit")


class SqlFiles:
    """`ports.Files`."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def put(self, file: ChatFile) -> None:
        """Sealed for its id."""

        def job(transaction: Transaction) -> None:
            scope = f"room:{file.war_room}"
            values = {
                "id": file.id,
                "war_room": file.war_room,
                "lane": file.lane,
                "message_id": file.message_id,
                "event_id": file.event_id,
                "created_ms": file.created_ms,
                "withdrawn_ms": file.withdrawn_ms,
                "level": _level(file.details),
                "details": transaction.keys.seal(scope, "file", "files", file.id, encode_file(file.details)),
                "access_count": file.access_count,
            }
            transaction.change(_PUT, values)

        self._desk.later(job)

    async def get(self, file_id: str) -> ChatFile | None:
        """Opened."""

        def job(transaction: Transaction) -> ChatFile | None:
            row = transaction.row(_GET, {"id": file_id})
            return None if row is None else _file(transaction, row)

        return await self._desk.ask(job, few=True)

    async def by_ids(self, file_ids: Collection[str]) -> Mapping[str, ChatFile]:
        """Opened."""
        if not file_ids:
            return {}
        return await self._desk.ask(
            lambda transaction: {
                row.id: _file(transaction, row) for row in transaction.rows_among(_BY_IDS, {"ids": list(file_ids)})
            }
        )

    async def by_event(self, event_id: EventId) -> Sequence[ChatFile]:
        """Opened."""
        values = {"event_id": event_id}
        return await self._desk.ask(
            lambda transaction: [_file(transaction, row) for row in transaction.rows(_BY_EVENT, values)]
        )

    async def latest(self, lane: str, before: str = "", limit: int = 50) -> Sequence[ChatFile]:
        """Opened."""
        values = {"lane": lane, "limit": limit}
        statement, wanted = (_BEFORE, {**values, "before": before}) if before else (_LATEST, values)
        return await self._desk.ask(
            lambda transaction: [_file(transaction, row) for row in transaction.rows(statement, wanted)]
        )

    async def among(
        self, wanted: FilesWanted, *, limit: int = 50, skip: int = 0, oldest_first: bool = False
    ) -> Sequence[ChatFile]:
        """Opened."""
        statement, values = _asked(_AMONG[oldest_first], wanted)
        values |= {"limit": limit, "skip": skip}
        return await self._desk.ask(
            lambda transaction: [_file(transaction, row) for row in transaction.rows_among(statement, values)]
        )

    async def count_among(self, wanted: FilesWanted) -> int:
        """From the plain columns alone."""
        statement, values = _asked(_COUNT_AMONG, wanted)
        return await self._desk.ask(lambda transaction: int(transaction.rows_among(statement, values)[0][0]))

    async def unlevelled(self, limit: int = 500) -> Sequence[ChatFile]:
        """Opened."""
        return await self._desk.ask(
            lambda transaction: [
                _file(transaction, row) for row in transaction.rows(_UNLEVELLED, {"limit": limit})
            ]
        )

    async def count(self, lane: str) -> int:
        """All of a lane."""
        return await self._desk.ask(lambda transaction: int(transaction.value(_COUNT, {"lane": lane})))

    async def log_access(self, access: FileAccess) -> bool:
        """Counted by the database, so that none is lost."""

        def job(transaction: Transaction) -> bool:
            scope = f"room:{access.war_room}"
            values = {
                "id": access.id,
                "file_id": access.file_id,
                "war_room": access.war_room,
                "at_ms": access.at_ms,
                "content": transaction.keys.seal(
                    scope, "file access", "file_accesses", access.id, encode_access(access)
                ),
            }
            if not transaction.change(_LOG, values):
                return False
            transaction.change(_ACCESSED, {"id": access.file_id})
            return True

        return await self._desk.write(job, few=True)

    async def access(self, access_id: str) -> FileAccess | None:
        """Opened."""

        def job(transaction: Transaction) -> FileAccess | None:
            row = transaction.row(_ACCESS, {"id": access_id})
            return None if row is None else _access(transaction, row)

        return await self._desk.ask(job, few=True)

    async def accesses(self, file_id: str, limit: int = 50, *, skip: int = 0) -> Sequence[FileAccess]:
        """Opened."""
        values = {"file_id": file_id, "limit": limit, "skip": skip}
        return await self._desk.ask(
            lambda transaction: [_access(transaction, row) for row in transaction.rows(_ACCESSES, values)]
        )

    async def count_accesses(self, file_id: str) -> int:
        """All of a file."""
        values = {"file_id": file_id}
        return await self._desk.ask(lambda transaction: int(transaction.value(_COUNT_ACCESSES, values)))

    async def forget(self, file_ids: Collection[str]) -> None:
        """The rows go."""
        ids = [{"id": one} for one in file_ids]
        self._desk.later(lambda transaction: transaction.change_each(_FORGET, ids))


def _asked(spanned: Spanned, wanted: FilesWanted) -> tuple[TextClause, Values]:
    statement, values = spanned.hiding(wanted.hidden)
    for level in _LEVELS:
        values[f"lanes_{level.name}"] = [lane for lane, up_to in wanted.up_to.items() if up_to is level]
    return statement, values | {
        "withdrawn": int(wanted.withdrawn),
        "message_id": wanted.message_id,
        "from_ms": wanted.from_ms,
        "until_ms": wanted.until_ms,
    }


def _level(details: FileDetails) -> int:
    known = {level.name: level for level in _LEVELS}
    return known.get(details.classification, _AS_ROOM)


def _file(transaction: Transaction, row: Row[Any]) -> ChatFile:
    return ChatFile(
        id=row.id,
        war_room=row.war_room,
        lane=row.lane,
        message_id=row.message_id,
        event_id=row.event_id,
        created_ms=row.created_ms,
        details=decode_file(transaction.keys.open("files", row.id, bytes(row.details))),
        access_count=row.access_count,
        withdrawn_ms=row.withdrawn_ms,
    )


def _access(transaction: Transaction, row: Row[Any]) -> FileAccess:
    return decode_access(transaction.keys.open("file_accesses", row.id, bytes(row.content)))

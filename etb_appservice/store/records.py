"""What is kept for the record: commands, the audit log; and what was done once or is owed to us.

Command names, arguments and results are sealed under their room's key. Must never change an audit entry.
"""

import json
from collections.abc import Collection, Sequence
from dataclasses import replace

import structlog
from sqlalchemy import LargeBinary, Row, bindparam, text

from etb_appservice.domain.audit import GENESIS, AuditEntry, AuditNote
from etb_appservice.domain.ids import EventId, IncidentId, RoomId, short_hash
from etb_appservice.domain.results import Outcome
from etb_appservice.ports import NO_TIME, CommandRun, CommandStatus, Expected, Hidden
from etb_appservice.store.codec import decode_outcome, encode_outcome, whole
from etb_appservice.store.desk import Desk, Transaction
from etb_appservice.store.inbox import see
from etb_appservice.store.spans import Spanned

# --- commands ---------------------------------------------------------------------------------------------

_ADD_COMMAND = text(
    "INSERT INTO commands (id, room_id, incident_id, event_id, caller, content, status, asked_ms, finished_ms)"
    " VALUES (:id, :room_id, :incident_id, :event_id, :caller, :content, :status, :asked_ms, :finished_ms)"
    " ON CONFLICT (event_id) DO NOTHING"
)
_COMMAND_OF = text("SELECT * FROM commands WHERE event_id = :event_id")
_COMMAND = text("SELECT * FROM commands WHERE id = :id")
_FINISH_COMMAND = text(
    "UPDATE commands SET content = :content, status = :status, finished_ms = :finished_ms WHERE id = :id"
)
_COMMANDS = text("SELECT * FROM commands WHERE room_id = :room_id ORDER BY asked_ms DESC, id DESC LIMIT :limit")
_IN = "FROM commands WHERE incident_id IN :incidents AND status IN :statuses{seen}"


_FIRST = 3
"""How much rows of the first version have sealed."""
_LATER = [None, None, True]
"""What stands for all that later versions have added. Of an early failure nobody knows where it was."""


def _within(statement: str) -> Spanned:
    return Spanned(
        statement, lane="incident_id", began="asked_ms", ended="finished_ms", among=("incidents", "statuses")
    )


_AMONG = {
    True: _within(f"{{hidden}}SELECT * {_IN} ORDER BY asked_ms, id LIMIT :limit OFFSET :skip"),
    False: _within(f"{{hidden}}SELECT * {_IN} ORDER BY asked_ms DESC, id DESC LIMIT :limit OFFSET :skip"),
}
"""By whether the oldest comes first."""
_HOW_MANY = _within(f"{{hidden}}SELECT count(*) {_IN}")


class SqlCommands:
    """`ports.Commands`."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def add(self, run: CommandRun) -> bool:
        """Name, arguments, result and outcome are sealed together."""

        def job(transaction: Transaction) -> bool:
            scope = transaction.room_scope(run.room_id)
            return (
                transaction.change(
                    _ADD_COMMAND,
                    {
                        "id": run.id,
                        "room_id": run.room_id,
                        "incident_id": run.incident_id,
                        "event_id": run.event_id,
                        "caller": run.caller,
                        "content": _sealed_command(transaction, run, scope),
                        "status": run.status,
                        "asked_ms": run.asked_ms,
                        "finished_ms": run.finished_ms,
                    },
                )
                > 0
            )

        return await self._desk.write(job, few=True)

    async def get(self, run_id: str) -> CommandRun | None:
        """Opened."""

        def job(transaction: Transaction) -> CommandRun | None:
            row = transaction.row(_COMMAND, {"id": run_id})
            return None if row is None else _command(transaction, row)

        return await self._desk.ask(job, few=True)

    async def of_event(self, event_id: EventId) -> CommandRun | None:
        """Opened."""

        def job(transaction: Transaction) -> CommandRun | None:
            row = transaction.row(_COMMAND_OF, {"event_id": event_id})
            return None if row is None else _command(transaction, row)

        return await self._desk.ask(job, few=True)

    async def finish(
        self,
        run_id: str,
        *,
        status: CommandStatus,
        result: str,
        finished_ms: int,
        outcome: Outcome | None = None,
        is_outside: bool = False,
    ) -> None:
        """Sealed anew, since the result stands with the arguments."""

        def job(transaction: Transaction) -> None:
            row = transaction.row(_COMMAND, {"id": run_id})
            if row is None:
                return
            run = replace(
                _command(transaction, row),
                status=status,
                result=result,
                finished_ms=finished_ms,
                outcome=outcome,
                is_outside=is_outside,
            )
            values = {
                "id": run_id,
                "content": _sealed_command(transaction, run, transaction.room_scope(run.room_id)),
                "status": status,
                "finished_ms": finished_ms,
            }
            transaction.change(_FINISH_COMMAND, values)

        self._desk.later(job)

    async def of_room(self, room_id: RoomId, limit: int = 50) -> Sequence[CommandRun]:
        """Opened, latest first."""
        return await self._desk.ask(
            lambda transaction: [
                _command(transaction, row)
                for row in transaction.rows(_COMMANDS, {"room_id": room_id, "limit": limit})
            ]
        )

    async def among(
        self,
        incidents: Collection[IncidentId],
        statuses: Collection[CommandStatus],
        *,
        limit: int = 50,
        skip: int = 0,
        oldest_first: bool = False,
        hidden: Hidden = NO_TIME,
    ) -> Sequence[CommandRun]:
        """Opened, latest first unless said otherwise."""
        statement, values = _AMONG[oldest_first].hiding(hidden)
        values |= {"incidents": list(incidents), "statuses": list(statuses), "limit": limit, "skip": skip}
        return await self._desk.ask(
            lambda transaction: [_command(transaction, row) for row in transaction.rows_among(statement, values)]
        )

    async def count(
        self,
        incidents: Collection[IncidentId],
        statuses: Collection[CommandStatus],
        hidden: Hidden = NO_TIME,
    ) -> int:
        """From the plain columns alone."""
        statement, values = _HOW_MANY.hiding(hidden)
        values |= {"incidents": list(incidents), "statuses": list(statuses)}
        return await self._desk.ask(lambda transaction: int(transaction.rows_among(statement, values)[0][0]))


def _sealed_command(transaction: Transaction, run: CommandRun, scope: str) -> bytes:
    outcome = encode_outcome(run.outcome) if run.outcome is not None else None
    content = [run.name, run.arguments, run.result, run.thread_root, outcome, run.is_outside]
    return transaction.keys.seal(scope, "command", "commands", run.id, json.dumps(content).encode("ascii"))


def _command(transaction: Transaction, row: Row[tuple[object, ...]]) -> CommandRun:
    content = json.loads(transaction.keys.open("commands", row.id, bytes(row.content)))
    content += _LATER[len(content) - _FIRST :]
    name, arguments, result, thread_root, outcome, is_outside = content
    return CommandRun(
        id=row.id,
        room_id=row.room_id,
        incident_id=row.incident_id,
        event_id=row.event_id,
        caller=row.caller,
        name=name,
        arguments=arguments,
        result=result,
        status=row.status,
        asked_ms=row.asked_ms,
        finished_ms=row.finished_ms,
        thread_root=thread_root,
        outcome=decode_outcome(outcome) if outcome is not None else None,
        is_outside=is_outside,
    )


# --- the audit log ----------------------------------------------------------------------------------------

_audit_log = structlog.get_logger("etb_appservice.audit")
"""Its level is a setting of its own (`ops.audit_log_level`, `CHAT_AUDIT_LOG_LEVEL`)."""
_HEAD = text("SELECT seq, digest FROM audit ORDER BY seq DESC LIMIT 1")
_APPEND = text(
    "INSERT INTO audit (seq, at_ms, tag, actor, subject, details, hashes, previous, digest)"
    " VALUES (:seq, :at_ms, :tag, :actor, :subject, :details, :hashes, :previous, :digest)"
)
_AUDIT = text("SELECT * FROM audit WHERE seq > :after ORDER BY seq LIMIT :limit")


class SqlAuditLog:
    """`ports.AuditLog`. Entries are chained right before the commit, under a lock that all writers share."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._notes: list[AuditNote] = []

    async def append(self, note: AuditNote) -> None:
        """All entries of one unit of work are written together."""
        if not self._notes:
            self._desk.last(self._write)
        self._notes.append(note)

    async def read(self, after_seq: int = 0, limit: int = 1000) -> Sequence[tuple[AuditEntry, bytes]]:
        """As stored; `domain.audit.first_break` says whether they are whole."""
        self._desk.hurry()
        values = {"after": after_seq, "limit": limit}
        return await self._desk.ask(
            lambda transaction: [
                (
                    AuditEntry(
                        seq=row.seq,
                        at_ms=row.at_ms,
                        tag=row.tag,
                        actor=row.actor,
                        subject=row.subject,
                        details=json.loads(row.details),
                        hashes=json.loads(row.hashes),
                        previous=bytes(row.previous),
                    ),
                    bytes(row.digest),
                )
                for row in transaction.rows(_AUDIT, values)
            ]
        )

    def _write(self, transaction: Transaction) -> None:
        notes, self._notes = self._notes, []
        transaction.lock("audit")
        head = transaction.row(_HEAD)
        seq, previous = (head.seq, bytes(head.digest)) if head is not None else (0, GENESIS)
        rows = []
        for note in notes:
            seq += 1
            entry = AuditEntry(
                seq=seq,
                at_ms=transaction.now_ms,
                tag=whole(note.tag),
                actor=whole(note.actor),
                subject=whole(note.subject),
                details=dict(note.details),
                hashes={name: transaction.vault.tag(content) for name, content in note.contents.items()},
                previous=previous,
            )
            previous = entry.digest()
            rows.append(
                {
                    "seq": seq,
                    "at_ms": entry.at_ms,
                    "tag": entry.tag,
                    "actor": entry.actor,
                    "subject": entry.subject,
                    "details": json.dumps(entry.details),
                    "hashes": json.dumps(entry.hashes),
                    "previous": entry.previous,
                    "digest": previous,
                }
            )
        transaction.change_each(_APPEND, rows)
        # Machine words only: who and what stand in the entries, for those who may read them.
        _audit_log.info("audit entries appended", last=seq, tags=" ".join(str(row["tag"]) for row in rows))


# --- once, and gaps ---------------------------------------------------------------------------------------


class SqlOnce:
    """`ports.Once`."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def first_time(self, *parts: str) -> bool:
        """Remembered among the seen keys, but for good: what was done once isn't done again a month later."""
        key = short_hash("once", *parts)
        return await self._desk.write(lambda transaction: bool(see(transaction, [key], for_good=True)), few=True)


_SEEN = text("SELECT key FROM seen WHERE key IN :keys").bindparams(
    bindparam("keys", expanding=True, type_=LargeBinary())
)
_EXPECT = text(
    "INSERT INTO gaps (key, room_id, event_id, due_ms) VALUES (:key, :room_id, :event_id, :due_ms)"
    " ON CONFLICT (key) DO NOTHING"
)
_COME = text("DELETE FROM gaps WHERE EXISTS (SELECT 1 FROM seen WHERE seen.key = gaps.key)")
_OVERDUE = text(
    "SELECT room_id, event_id, due_ms FROM gaps WHERE due_ms <= :now ORDER BY due_ms, key LIMIT :limit"
)
_SETTLE = text("DELETE FROM gaps WHERE key = :key")
_BATCH = 500


class SqlGaps:
    """`ports.Gaps`. The inbox key of a Matrix event is `short_hash("event", event_id)`, and so it is here."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def expect(self, events: Sequence[Expected]) -> int:
        """Counts those that were never accepted, also where they were expected before."""
        wanted = {short_hash("event", event.event_id): event for event in events}

        def job(transaction: Transaction) -> int:
            keys = list(wanted)
            come: set[bytes] = set()
            for start in range(0, len(keys), _BATCH):
                rows = transaction.rows_among(_SEEN, {"keys": keys[start : start + _BATCH]})
                come.update(bytes(row[0]) for row in rows)
            missing = [(key, event) for key, event in wanted.items() if key not in come]
            transaction.change_each(
                _EXPECT,
                [
                    {
                        "key": key,
                        "room_id": event.room_id,
                        "event_id": event.event_id,
                        "due_ms": event.due_ms,
                    }
                    for key, event in missing
                ],
            )
            return len(missing)

        return await self._desk.write(job) if wanted else 0

    async def overdue(self, now_ms: int, limit: int = 100) -> Sequence[Expected]:
        """Longest due first."""

        def job(transaction: Transaction) -> Sequence[Expected]:
            transaction.change(_COME)
            return [
                Expected(room_id=row.room_id, event_id=row.event_id, due_ms=row.due_ms)
                for row in transaction.rows(_OVERDUE, {"now": now_ms, "limit": limit})
            ]

        return await self._desk.write(job)

    async def settle(self, event_id: EventId) -> None:
        """No longer owed."""
        key = short_hash("event", event_id)
        self._desk.later(lambda transaction: transaction.change(_SETTLE, {"key": key}))

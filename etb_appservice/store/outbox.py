"""The outbox: effects to be carried out, sealed, in order per target.

    add ──> queued ──finish──> (gone; its key stays in `seen`)
              │ ^
              │ └──retry── parked | unknown ──drop──> (gone)
              └──park─────────^

Must never carry anything out, and never let a key in twice.
"""

from collections.abc import Sequence
from typing import Literal

from sqlalchemy import Row, text

from etb_appservice.domain.effects import Effect, target_of
from etb_appservice.domain.ids import short_hash
from etb_appservice.ports import OutboxRow, ParkedEffect, RowUnreadable
from etb_appservice.store.codec import decode_effect, encode_effect
from etb_appservice.store.desk import Desk, Transaction
from etb_appservice.store.errors import SEALED_FOR_GOOD
from etb_appservice.store.inbox import SCOPE, see

_CLASS = "outbox"
_LONGEST_ERROR = 500

_ADD = text(
    "INSERT INTO outbox (key, target, lane, effect, state, attempts, due_ms, created_ms, error)"
    " VALUES (:key, :target, :lane, :effect, 'queued', 0, 0, :now, '')"
)
_COLUMNS = "seq, key, target, lane, effect, state, attempts, due_ms, created_ms, first_tried_ms, device_id, error"
_NEXT = text(
    f"SELECT {_COLUMNS} FROM outbox WHERE state = 'queued' AND target = :target"  # noqa: S608 - constants
    " ORDER BY seq LIMIT 1"
)
_TARGETS = text("SELECT target FROM outbox WHERE state = 'queued' GROUP BY target ORDER BY min(seq)")
_SOONEST = text("SELECT min(due_ms) FROM outbox WHERE state = 'queued' AND due_ms > 0 AND due_ms > :now")
_TRYING = text(
    "UPDATE outbox SET first_tried_ms = coalesce(first_tried_ms, :now), device_id = coalesce(device_id, :device)"
    " WHERE seq = :seq"
)
_FINISH = text("DELETE FROM outbox WHERE seq = :seq")
_RETRY_LATER = text("UPDATE outbox SET attempts = attempts + 1, due_ms = :due, error = :error WHERE seq = :seq")
_PARK = text("UPDATE outbox SET state = :state, due_ms = 0, error = :error WHERE seq = :seq")
_ASIDE = text(f"SELECT {_COLUMNS} FROM outbox WHERE state <> 'queued' ORDER BY seq")  # noqa: S608 - constants
_RETRY = text(
    "UPDATE outbox SET state = 'queued', attempts = 0, due_ms = 0 WHERE state <> 'queued' AND seq = :seq"
)
_DROP = text("DELETE FROM outbox WHERE state <> 'queued' AND seq = :seq")
_QUEUED_DEPTH = text("SELECT count(*) AS queued, min(created_ms) AS oldest FROM outbox WHERE state = 'queued'")
_ASIDE_DEPTH = text("SELECT count(*) FROM outbox WHERE state <> 'queued'")


class SqlOutbox:
    """`ports.Outbox`."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def add(self, key: str, lane: str, effect: Effect) -> bool:
        """The key is remembered beyond the row, in `seen`."""
        known_as = short_hash("effect", key)

        def job(transaction: Transaction) -> bool:
            if not see(transaction, [known_as]):
                return False
            transaction.change(
                _ADD,
                {
                    "key": key,
                    "target": target_of(effect),
                    "lane": lane,
                    "effect": transaction.keys.seal(SCOPE, _CLASS, "outbox", key, encode_effect(effect)),
                    "now": transaction.now_ms,
                },
            )
            return True

        return await self._desk.write(job, few=True)

    async def next(self, target: str, now_ms: int) -> OutboxRow | float | None:
        """By the index of queued rows: one row is looked at, due or not."""

        def job(transaction: Transaction) -> OutboxRow | float | None:
            row = transaction.row(_NEXT, {"target": target})
            if row is None:
                return None
            if row.due_ms > now_ms:
                return float(row.due_ms - now_ms) / 1000
            try:
                effect = _effect(transaction, row)
            except SEALED_FOR_GOOD as error:
                raise RowUnreadable(row.seq, str(error)) from error
            return OutboxRow(
                seq=row.seq,
                key=row.key,
                target=row.target,
                lane=row.lane,
                effect=effect,
                state=row.state,
                attempts=row.attempts,
                due_ms=row.due_ms,
                created_ms=row.created_ms,
                first_tried_ms=row.first_tried_ms,
                device_id=row.device_id,
                error=row.error,
            )

        return await self._desk.ask(job, few=True)

    async def targets(self) -> Sequence[str]:
        """The longest waiting first."""
        return await self._desk.ask(lambda transaction: [row[0] for row in transaction.rows(_TARGETS)])

    async def soonest_ms(self) -> int | None:
        """None when no target is held."""
        return await self._desk.ask(
            lambda transaction: transaction.value(_SOONEST, {"now": transaction.now_ms}), few=True
        )

    async def trying(self, seq: int, *, device_id: str) -> None:
        """Only the first try writes anything."""
        values = {"seq": seq, "now": self._desk.now_ms, "device": device_id}
        self._desk.later(lambda transaction: transaction.change(_TRYING, values))

    async def finish(self, seq: int) -> None:
        """Forget the row."""
        self._desk.later(lambda transaction: transaction.change(_FINISH, {"seq": seq}))

    async def retry_later(self, seq: int, *, due_ms: int, error: str) -> None:
        """Hold the target."""
        values = {"seq": seq, "due": due_ms, "error": error[:_LONGEST_ERROR]}
        self._desk.later(lambda transaction: transaction.change(_RETRY_LATER, values))

    async def park(self, seq: int, *, state: Literal["parked", "unknown"], error: str) -> None:
        """Set aside for a person."""
        values = {"seq": seq, "state": state, "error": error[:_LONGEST_ERROR]}
        self._desk.later(lambda transaction: transaction.change(_PARK, values))

    async def parked(self) -> Sequence[ParkedEffect]:
        """With the kind of the effect, which an operator must see, and nothing of what it holds."""

        def job(transaction: Transaction) -> Sequence[ParkedEffect]:
            return [
                ParkedEffect(
                    seq=row.seq,
                    kind=_kind(transaction, row),
                    state=row.state,
                    attempts=row.attempts,
                    created_ms=row.created_ms,
                    error=row.error,
                )
                for row in transaction.rows(_ASIDE)
            ]

        return await self._desk.ask(job)

    async def retry(self, seq: int) -> bool:
        """Its tries are counted anew; the time and device of the first are kept."""
        return await self._desk.write(lambda transaction: transaction.change(_RETRY, {"seq": seq}) > 0)

    async def drop(self, seq: int) -> bool:
        """Only a row that was set aside can be dropped."""
        return await self._desk.write(lambda transaction: transaction.change(_DROP, {"seq": seq}) > 0)

    async def depth(self, now_ms: int) -> tuple[int, int, float]:
        """For the metrics."""

        def job(transaction: Transaction) -> tuple[int, int, float]:
            [row] = transaction.rows(_QUEUED_DEPTH)
            queued, oldest = int(row.queued), row.oldest
            age = max(0.0, (now_ms - oldest) / 1000) if queued else 0.0
            return queued, int(transaction.value(_ASIDE_DEPTH)), age

        return await self._desk.ask(job)


def _effect(transaction: Transaction, row: Row[tuple[object, ...]]) -> Effect:
    return decode_effect(transaction.keys.open("outbox", row.key, bytes(row.effect)))


def _kind(transaction: Transaction, row: Row[tuple[object, ...]]) -> str:
    try:
        return _effect(transaction, row).kind
    except SEALED_FOR_GOOD:
        return "unreadable"

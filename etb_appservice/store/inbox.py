"""The inbox: accepted input, sealed, in lanes.

    accept ──> ready ──finish──> (gone; its key stays in `seen`)
      │        │ ^ ^
      │        │ │ └──key_arrived── waiting ──stop_waiting──> (gone)
      │        │ └──────retry────── parked ───────drop──────> (gone)
      └──> timer ──lanes──> ready   (with a new seq, at the lane's end, keeping `place`)

Must never look into a payload, and never forget a key that could still come again.
"""

from collections.abc import Sequence
from functools import cache

from sqlalchemy import Row, TextClause, text

from etb_appservice.domain.ids import RoomId
from etb_appservice.ports import Arrival, InboxRow, RowUnreadable
from etb_appservice.store.desk import Desk, Transaction
from etb_appservice.store.errors import SEALED_FOR_GOOD

SCOPE = "queue"
_CLASS = "inbox"
_LONGEST_ERROR = 500
_KEYS_LIVE_MS = 76 * 3600 * 1000
"""A webhook may be sent again for as long as this; until then no key may be forgotten."""

_ADD = text(
    "INSERT INTO inbox (source, lane, key, payload, received_ms, attempts, state, due_ms, error)"
    " VALUES (:source, :lane, :key, :payload, :now, 0, :state, :due, :error)"
)
_COLUMNS = "seq, place, source, lane, key, received_ms, attempts, state, due_ms, error"
_NEXT = text(
    f"SELECT {_COLUMNS}, payload FROM inbox WHERE state = 'ready' AND lane = :lane"  # noqa: S608 - constants
    " ORDER BY seq LIMIT 1"
)
_DUE = text("SELECT 1 FROM inbox WHERE state = 'timer' AND due_ms <= :now LIMIT 1")
_TIMERS = "state = 'timer' AND due_ms <= :now"
_RING = (
    "INSERT INTO inbox (place, source, lane, key, payload, received_ms, attempts, state, due_ms, error)"
    " SELECT coalesce(place, seq), source, lane, key, payload, received_ms, attempts, 'ready', due_ms, ''"
)
_RING_COPIES = text(f"{_RING} FROM inbox WHERE {_TIMERS} ORDER BY due_ms, seq")
_RUNG = text(f"DELETE FROM inbox WHERE {_TIMERS}")  # noqa: S608 - constants
_RING_ON_POSTGRES = text(
    f"WITH rung AS (DELETE FROM inbox WHERE {_TIMERS} RETURNING *) {_RING} FROM rung ORDER BY due_ms, seq"  # noqa: S608
)
"""In one statement: a timer that was committed between two of them would be deleted and never rung."""
_LANES = text("SELECT lane FROM inbox WHERE state = 'ready' GROUP BY lane ORDER BY min(seq)")
_SOONEST_TIMER = text("SELECT min(due_ms) FROM inbox WHERE state = 'timer'")
_SOONEST_HELD = text("SELECT min(due_ms) FROM inbox WHERE state = 'ready' AND due_ms > 0 AND due_ms > :now")
_FINISH = text("DELETE FROM inbox WHERE seq = :seq")
_RETRY_LATER = text("UPDATE inbox SET attempts = attempts + 1, due_ms = :due, error = :error WHERE seq = :seq")
_PARK = text("UPDATE inbox SET state = 'parked', due_ms = 0, error = :error WHERE seq = :seq")
_WAIT = text(
    "UPDATE inbox SET state = 'waiting', due_ms = 0, room_id = :room_id, session_id = :session_id WHERE seq = :seq"
)
_THEIRS = "state = 'waiting' AND room_id = :room_id AND session_id = :session_id"
_WAITING = text(f"SELECT 1 FROM inbox WHERE {_THEIRS} LIMIT 1")  # noqa: S608 - constants
_WAITING_LANES = text(f"SELECT DISTINCT lane FROM inbox WHERE {_THEIRS} ORDER BY lane")  # noqa: S608
_WAKE = text(f"UPDATE inbox SET state = 'ready' WHERE {_THEIRS}")  # noqa: S608 - constants
_SESSIONS = text(
    "SELECT DISTINCT room_id, session_id FROM inbox WHERE state = 'waiting' ORDER BY room_id, session_id"
)
_STOP = text("DELETE FROM inbox WHERE state = 'waiting' AND key = :key")
_MOVE = text("UPDATE inbox SET lane = :new WHERE lane = :old")
_PARKED = text(f"SELECT {_COLUMNS} FROM inbox WHERE state = 'parked' ORDER BY seq")  # noqa: S608 - constants
_RETRY = text("UPDATE inbox SET state = 'ready', attempts = 0, due_ms = 0 WHERE state = 'parked' AND seq = :seq")
_DROP = text("DELETE FROM inbox WHERE state = 'parked' AND seq = :seq")
_READY_DEPTH = text("SELECT count(*) AS ready, min(received_ms) AS oldest FROM inbox WHERE state = 'ready'")
_PARKED_DEPTH = text("SELECT count(*) FROM inbox WHERE state = 'parked'")
_NEVER_MS = 1 << 62
_FORGET = text("DELETE FROM seen WHERE first_ms < :before")


def see(transaction: Transaction, keys: Sequence[bytes], *, for_good: bool = False) -> set[bytes]:
    """Remember keys; answers those that were new. In statements of 2^n keys, so that few forms are compiled.

    `for_good`: `forget_keys` never reaches them.
    """
    first_ms = _NEVER_MS if for_good else transaction.now_ms
    new: set[bytes] = set()
    start = 0
    while start < len(keys):
        size = min(512, 1 << ((len(keys) - start).bit_length() - 1))
        values = {f"k{number}": key for number, key in enumerate(keys[start : start + size])}
        rows = transaction.rows(_see(size), {**values, "now": first_ms})
        new.update(bytes(row[0]) for row in rows)
        start += size
    return new


@cache
def _see(size: int) -> TextClause:
    values = ", ".join(f"(:k{number}, :now)" for number in range(size))
    return text(
        f"INSERT INTO seen (key, first_ms) VALUES {values} ON CONFLICT DO NOTHING RETURNING key"  # noqa: S608
    )


class SqlInbox:
    """`ports.Inbox`."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def accept(self, arrivals: Sequence[Arrival]) -> int:
        """One statement for the keys of a whole transaction, one for its rows."""

        def job(transaction: Transaction) -> int:
            new = see(transaction, [arrival.key for arrival in arrivals])
            rows = []
            for arrival in arrivals:
                if arrival.key not in new:
                    continue
                new.discard(arrival.key)  # the same key twice in one batch is one row
                is_timer = arrival.due_ms is not None and arrival.due_ms > transaction.now_ms
                parked = arrival.park_reason is not None
                rows.append(
                    {
                        "source": arrival.source,
                        "lane": arrival.lane,
                        "key": arrival.key,
                        "payload": transaction.keys.seal(
                            SCOPE, _CLASS, "inbox", arrival.key.hex(), arrival.payload
                        ),
                        "now": transaction.now_ms,
                        "state": "parked" if parked else "timer" if is_timer else "ready",
                        "due": arrival.due_ms if is_timer and not parked else 0,
                        "error": (arrival.park_reason or "")[:_LONGEST_ERROR],
                    }
                )
            transaction.change_each(_ADD, rows)
            return len(rows)

        for arrival in arrivals:
            if len(arrival.key) != 16:  # noqa: PLR2004 - what `short_hash` makes
                raise ValueError("an inbox key is 16 bytes, as short_hash makes them")
        return await self._desk.write(job) if arrivals else 0

    async def next(self, lane: str, now_ms: int) -> InboxRow | float | None:
        """By the index of ready rows: one row is looked at."""

        def job(transaction: Transaction) -> InboxRow | float | None:
            row = transaction.row(_NEXT, {"lane": lane})
            if row is None:
                return None
            if row.due_ms > now_ms:
                return float(row.due_ms - now_ms) / 1000
            try:
                payload = transaction.keys.open("inbox", bytes(row.key).hex(), bytes(row.payload))
            except SEALED_FOR_GOOD as error:
                raise RowUnreadable(row.seq, str(error)) from error
            return _opened(row, payload)

        return await self._desk.ask(job, few=True)

    async def lanes(self, now_ms: int) -> Sequence[str]:
        """Lanes with a ready row, the longest waiting first. Writes when a timer is due, so it needs `work()`."""

        def job(transaction: Transaction) -> Sequence[str]:
            if transaction.value(_DUE, {"now": now_ms}):
                if transaction.is_postgres:
                    transaction.change(_RING_ON_POSTGRES, {"now": now_ms})
                else:  # one writer, and no DELETE in WITH
                    transaction.change(_RING_COPIES, {"now": now_ms})
                    transaction.change(_RUNG, {"now": now_ms})
            return [row[0] for row in transaction.rows(_LANES)]

        return await self._desk.write(job)

    async def soonest_ms(self) -> int | None:
        """Past where a timer is due already."""

        def job(transaction: Transaction) -> int | None:
            found = (
                transaction.value(_SOONEST_TIMER),
                transaction.value(_SOONEST_HELD, {"now": transaction.now_ms}),
            )
            return min((due for due in found if due is not None), default=None)

        return await self._desk.ask(job)

    async def finish(self, seq: int) -> None:
        """Forget the row."""
        self._desk.later(lambda transaction: transaction.change(_FINISH, {"seq": seq}))

    async def retry_later(self, seq: int, *, due_ms: int, error: str) -> None:
        """Hold the lane."""
        values = {"seq": seq, "due": due_ms, "error": error[:_LONGEST_ERROR]}
        self._desk.later(lambda transaction: transaction.change(_RETRY_LATER, values))

    async def park(self, seq: int, *, error: str) -> None:
        """Set aside for a person."""
        values = {"seq": seq, "error": error[:_LONGEST_ERROR]}
        self._desk.later(lambda transaction: transaction.change(_PARK, values))

    async def wait_for_key(self, seq: int, *, room_id: RoomId, session_id: str) -> None:
        """Set aside for a key."""
        values = {"seq": seq, "room_id": room_id, "session_id": session_id}
        self._desk.later(lambda transaction: transaction.change(_WAIT, values))

    async def key_arrived(self, room_id: RoomId, session_id: str) -> Sequence[str]:
        """They keep their seq, so what was said later can't overtake them."""
        values = {"room_id": room_id, "session_id": session_id}

        def job(transaction: Transaction) -> Sequence[str]:
            lanes = [row[0] for row in transaction.rows(_WAITING_LANES, values)]
            if lanes:
                transaction.change(_WAKE, values)
            return lanes

        return await self._desk.write(job)

    async def waiting(self) -> Sequence[tuple[RoomId, str]]:
        """Each session once."""
        return await self._desk.ask(
            lambda transaction: [(row.room_id, row.session_id) for row in transaction.rows(_SESSIONS)]
        )

    async def is_waiting(self, room_id: RoomId, session_id: str) -> bool:
        """Whether any row waits for the session."""
        values = {"room_id": room_id, "session_id": session_id}
        return await self._desk.ask(lambda transaction: transaction.value(_WAITING, values) is not None, few=True)

    async def stop_waiting(self, event_key: bytes) -> bool:
        """Forget the row that waits; its key stays."""
        return await self._desk.write(
            lambda transaction: transaction.change(_STOP, {"key": event_key}) > 0, few=True
        )

    async def move_lane(self, old: str, new: str) -> None:
        """Rows keep their seq, and so their order among each other."""
        self._desk.later(lambda transaction: transaction.change(_MOVE, {"old": old, "new": new}))

    async def parked(self) -> Sequence[InboxRow]:
        """Without payload: an operator sees why, not what."""
        return await self._desk.ask(lambda transaction: [_opened(row, b"") for row in transaction.rows(_PARKED)])

    async def retry(self, seq: int) -> bool:
        """Its tries are counted anew."""
        return await self._desk.write(lambda transaction: transaction.change(_RETRY, {"seq": seq}) > 0)

    async def drop(self, seq: int) -> bool:
        """Only a parked row can be dropped."""
        return await self._desk.write(lambda transaction: transaction.change(_DROP, {"seq": seq}) > 0)

    async def depth(self, now_ms: int) -> tuple[int, int, float]:
        """For the metrics."""

        def job(transaction: Transaction) -> tuple[int, int, float]:
            [row] = transaction.rows(_READY_DEPTH)
            ready, oldest = int(row.ready), row.oldest
            age = max(0.0, (now_ms - oldest) / 1000) if ready else 0.0
            return ready, int(transaction.value(_PARKED_DEPTH)), age

        return await self._desk.ask(job)

    async def forget_keys(self, before_ms: int) -> int:
        """Raises ValueError where `before_ms` is less than 76 hours ago."""
        if before_ms > self._desk.now_ms - _KEYS_LIVE_MS:
            raise ValueError("keys must be remembered for at least 76 hours")
        return await self._desk.write(lambda transaction: transaction.change(_FORGET, {"before": before_ms}))


def _opened(row: Row[tuple[object, ...]], payload: bytes) -> InboxRow:
    return InboxRow(
        seq=row.seq,
        place=row.seq if row.place is None else row.place,
        source=row.source,
        lane=row.lane,
        payload=payload,
        received_ms=row.received_ms,
        attempts=row.attempts,
        state=row.state,
        due_ms=row.due_ms,
        error=row.error,
    )

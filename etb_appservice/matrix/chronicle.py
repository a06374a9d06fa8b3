"""What is known of the room keys we hold: since when, whether they may be passed on, and how ours were used.

    etb_session        one row a room key, written with the key itself
    etb_session_hour   of our own: the index of the first message of each hour in which something was said

A key without a row is from before this record, and is never passed on. Indexes of other people's messages stand in
mautrix's `crypto_message_index`, with the time their sender claims.
"""

import time
from collections.abc import Sequence

from mautrix.util.async_db import Database

from etb_appservice.domain.classification import Classification
from etb_appservice.matrix.results import HELD_LIMIT, Held

NAMES = ("etb_session", "etb_session_hour")
TABLES = (
    """
    CREATE TABLE IF NOT EXISTS etb_session (
        account_id TEXT NOT NULL,
        session_id TEXT NOT NULL,
        room_id    TEXT NOT NULL,
        came_ms    BIGINT NOT NULL,
        is_marked  BOOLEAN NOT NULL,
        level      INTEGER,
        PRIMARY KEY (account_id, session_id)
    )
    """,
    "CREATE INDEX IF NOT EXISTS etb_session_room ON etb_session (account_id, room_id, came_ms)",
    """
    CREATE TABLE IF NOT EXISTS etb_session_hour (
        account_id  TEXT NOT NULL,
        session_id  TEXT NOT NULL,
        hour        BIGINT NOT NULL,
        first_index INTEGER NOT NULL,
        PRIMARY KEY (account_id, session_id, hour)
    )
    """,
)
_HOUR_MS = 3_600_000
_HELD = """
SELECT s.session_id, s.came_ms, s.is_marked, s.level, m.sender_key,
       (SELECT MIN(h.first_index) FROM etb_session_hour h
        WHERE h.account_id=s.account_id AND h.session_id=s.session_id AND h.hour>=$3) AS said_from,
       (SELECT MIN(i.timestamp) FROM crypto_message_index i
        WHERE i.sender_key=m.sender_key AND i.session_id=s.session_id) AS heard_ms,
       (SELECT MAX(i.timestamp) FROM crypto_message_index i
        WHERE i.sender_key=m.sender_key AND i.session_id=s.session_id) AS last_ms,
       (SELECT MAX(i."index") FROM crypto_message_index i
        WHERE i.sender_key=m.sender_key AND i.session_id=s.session_id AND i.timestamp<$4) AS older
FROM etb_session s JOIN crypto_megolm_inbound_session m
     ON m.account_id=s.account_id AND m.session_id=s.session_id AND m.room_id=s.room_id
WHERE s.account_id=$1 AND s.room_id=$2 AND m.session IS NOT NULL AND m.forwarding_chains=''
      AND (s.level IS NOT NULL OR EXISTS (SELECT 1 FROM crypto_message_index i
           WHERE i.sender_key=m.sender_key AND i.session_id=s.session_id))
ORDER BY s.came_ms DESC, s.session_id LIMIT $5
"""


def now_ms() -> int:
    """Our clock, UTC milliseconds."""
    return time.time_ns() // 1_000_000


def hour_of(ms: int) -> int:
    """The full hour in which a time lies, in hours."""
    return ms // _HOUR_MS


class Chronicle:
    """The record of one account. Use only inside `Keeper.run`, in the transaction of what it tells of."""

    def __init__(self, db: Database, account_id: str) -> None:
        self._db = db
        self._account_id = account_id

    async def made(self, room_id: str, session_id: str, *, is_marked: bool, level: Classification | None) -> int:
        """A session of ours begins; answers the hour that is written down with it."""
        await self._add(room_id, session_id, is_marked=is_marked, level=level)
        hour = hour_of(now_ms())
        await self.said(session_id, hour, 0)
        return hour

    async def said(self, session_id: str, hour: int, index: int) -> None:
        """Of our own session: the first message of an hour has this index."""
        await self._db.execute(
            """
            INSERT INTO etb_session_hour (account_id, session_id, hour, first_index) VALUES ($1, $2, $3, $4)
            ON CONFLICT (account_id, session_id, hour) DO NOTHING
            """,
            self._account_id,
            session_id,
            hour,
            index,
        )

    async def came(self, room_id: str, session_id: str, *, is_marked: bool, is_new: bool) -> None:
        """Somebody's room key came. Once it has come unmarked it stays so, whatever is said later."""
        if is_new:
            await self._add(room_id, session_id, is_marked=is_marked, level=None)
        elif not is_marked:
            await self._db.execute(
                "UPDATE etb_session SET is_marked=$1 WHERE account_id=$2 AND session_id=$3",
                False,
                self._account_id,
                session_id,
            )

    async def _add(self, room_id: str, session_id: str, *, is_marked: bool, level: Classification | None) -> None:
        await self._db.execute(
            """
            INSERT INTO etb_session (account_id, session_id, room_id, came_ms, is_marked, level)
            VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (account_id, session_id) DO NOTHING
            """,
            self._account_id,
            session_id,
            room_id,
            now_ms(),
            is_marked,
            None if level is None else int(level),
        )

    async def held(self, room_id: str, since_ms: int) -> Sequence[Held]:
        """See results.Crypto. Only what we made has a level, also when a device of ours made it that is gone."""
        since_hour = hour_of(since_ms)
        since_ms = since_hour * _HOUR_MS
        rows = await self._db.fetch(_HELD, self._account_id, room_id, since_hour, since_ms, HELD_LIMIT)
        return [
            Held(
                session_id=row["session_id"],
                device=row["sender_key"],
                is_ours=row["level"] is not None,
                is_marked=bool(row["is_marked"]),
                came_ms=row["came_ms"],
                level=Classification.read(row["level"]),
                heard_ms=row["heard_ms"],
                start=row["said_from"]
                if row["level"] is not None
                else _start(row["older"], row["last_ms"], since_ms),
            )
            for row in rows
        ]


def _start(older: int | None, last_ms: int | None, since_ms: int) -> int | None:
    """Where the messages from a time on begin: behind the last one that claims to be older."""
    if last_ms is None or last_ms < since_ms:
        return None
    return 0 if older is None else older + 1

"""The crypto database: mautrix's tables, plus some of ours, in a SQLite file or a PostgreSQL schema of their own.

It must never be used outside `keeper.Keeper.run`, and never together with another mautrix database in one task.
`synchronous=FULL`, because a ratchet rolled back by a power cut would use a message key twice.

Differences from mautrix's store, each for a reason:

- A device that its owner removed stays as a row with `deleted`: what it said before remains attributable.
- "Tracked" means "asked since the last change": a change or a departure untracks durably, so an outdated mark
  survives a restart and a failed query.
- Who sent a room key first keeps it: a second one can't move a session to another device or room.
- To-device events are remembered until the homeserver forgot them: a replay is neither an error nor a loss.
"""

import hashlib
import json
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
from mautrix.crypto import InboundGroupSession
from mautrix.crypto.store.asyncpg import PgCryptoStore
from mautrix.types import DeviceID, DeviceIdentity, IdentityKey, RoomID, SessionID, TrustState, UserID
from mautrix.util.async_db import Database, Scheme
from yarl import URL

from etb_appservice.matrix import chronicle

_SQLITE_PREFIXES = ("sqlite+aiosqlite:///", "sqlite:///")
_POSTGRES_PREFIXES = ("postgresql+asyncpg://", "postgresql+psycopg://", "postgresql://", "postgres://")
_OUR_TABLES = (
    """
    CREATE TABLE IF NOT EXISTS etb_to_device_seen (
        account_id TEXT NOT NULL,
        digest     TEXT NOT NULL,
        since      TEXT NOT NULL,
        room_id    TEXT NOT NULL,
        session_id TEXT NOT NULL,
        PRIMARY KEY (account_id, digest)
    )
    """,
    """
    CREATE TABLE IF NOT EXISTS etb_withheld (
        account_id TEXT NOT NULL,
        room_id    TEXT NOT NULL,
        session_id TEXT NOT NULL,
        sender     TEXT NOT NULL,
        code       TEXT NOT NULL,
        PRIMARY KEY (account_id, session_id, sender)
    )
    """,
    *chronicle.TABLES,
)
_WITHHELD_PER_SENDER = 2_000
"""More notices than this from one person are not kept: anyone can send them."""


async def open_crypto_database(url: str, *, schema: str = "crypto") -> Database:
    """Open, create or upgrade the crypto database.

    `url`: `sqlite:///relative.db`, `sqlite:////absolute.db` (SQLAlchemy's spelling) or `postgresql://…`; there the
    tables live in `schema`. Raises ValueError for any other scheme, and the driver's errors.
    """
    database = _sqlite(url) if url.startswith(_SQLITE_PREFIXES) else await _postgres(url, schema)
    await database.start()
    for statement in _OUR_TABLES:
        await database.execute(statement)
    return database


def _sqlite(url: str) -> Database:
    path = Path(url.split(":///", 1)[1]).absolute()
    return Database.create(
        URL.build(scheme="sqlite", path=str(path)),
        upgrade_table=PgCryptoStore.upgrade_table,
        db_args={
            "init_commands": [
                "PRAGMA journal_mode = WAL",
                "PRAGMA synchronous = FULL",
                "PRAGMA busy_timeout = 5000",
                "PRAGMA foreign_keys = ON",
            ]
        },
    )


async def _postgres(url: str, schema: str) -> Database:
    rest = next((url[len(prefix) :] for prefix in _POSTGRES_PREFIXES if url.startswith(prefix)), None)
    if rest is None:
        scheme = url.split(":", maxsplit=1)[0]
        raise ValueError(f"the crypto database must be sqlite:///… or postgresql://…, not {scheme}:…")
    if not schema.isidentifier():
        raise ValueError(f"the crypto schema's name must be a plain word, not {schema!r}")
    connection = await asyncpg.connect(f"postgresql://{rest}")
    try:
        await connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{schema}"')
    finally:
        await connection.close()
    return Database.create(
        f"postgres://{rest}",
        upgrade_table=PgCryptoStore.upgrade_table,
        db_args={
            "server_settings": {"search_path": schema},
            "min_size": 1,
            "max_size": 4,
            "meow_exit_on_ice": False,
        },
    )


def digest_of(event: Mapping[str, Any]) -> str:
    """What a to-device event is remembered by."""
    text = json.dumps(event, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.blake2b(text.encode("ascii"), digest_size=16).hexdigest()


class CryptoStore(PgCryptoStore):
    """mautrix's store with the differences told above."""

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:  # type: ignore[override]  # mautrix annotates no generator
        """One durable commit, or nothing; entering it twice in a task joins the outer one."""
        connection: Any
        async with self.db.acquire() as connection, connection.transaction():
            yield

    def forget_memory(self) -> None:
        """Read everything from the database again: what is in memory may be ahead of it."""
        self._account = None
        self._olm_cache.clear()

    async def reset(self, *, wipe: bool) -> None:
        """Forget the account and its Olm sessions; with `wipe` also the room keys, which nobody could open."""
        await self.delete()
        tables = ["etb_to_device_seen"]
        if wipe:
            tables += ["crypto_megolm_inbound_session", "etb_withheld", *chronicle.NAMES]
        for table in tables:
            await self.db.execute(f"DELETE FROM {table} WHERE account_id=$1", self.account_id)  # noqa: S608 - constants

    # --- devices ------------------------------------------------------------------------------------------

    async def get_devices(self, user_id: UserID) -> dict[DeviceID, DeviceIdentity]:
        """Living devices as last seen, also while outdated: keys stay pinned over a change."""
        return {device.device_id: device for device in await self.all_devices(user_id) if not device.deleted}

    async def all_devices(self, user_id: UserID) -> list[DeviceIdentity]:
        """Living and removed devices."""
        query = """
        SELECT device_id, identity_key, signing_key, trust, deleted, name FROM crypto_device WHERE user_id=$1
        """
        return [
            DeviceIdentity(
                user_id=user_id,
                device_id=row["device_id"],
                identity_key=row["identity_key"],
                signing_key=row["signing_key"],
                trust=TrustState(row["trust"]),
                deleted=bool(row["deleted"]),
                name=row["name"],
            )
            for row in await self.db.fetch(query, user_id)
        ]

    async def is_device_of_another(self, user_id: str, identity_key: str) -> bool:
        """Whether a device with this key is known, and of somebody else only."""
        query = "SELECT user_id FROM crypto_device WHERE identity_key=$1"
        owners = {row["user_id"] for row in await self.db.fetch(query, identity_key)}
        return bool(owners) and user_id not in owners

    async def put_devices(self, user_id: UserID, devices: dict[DeviceID, DeviceIdentity]) -> None:
        """Replace the list; who is missing in it stays as deleted. Marks the user as tracked."""
        async with self.transaction():
            await self.db.execute(
                "INSERT INTO crypto_tracked_user (user_id) VALUES ($1) ON CONFLICT (user_id) DO NOTHING", user_id
            )
            await self.db.execute("UPDATE crypto_device SET deleted=$1 WHERE user_id=$2", True, user_id)
            for device in devices.values():
                await self.db.execute(
                    """
                    INSERT INTO crypto_device (
                        user_id, device_id, identity_key, signing_key, trust, deleted, name
                    ) VALUES ($1, $2, $3, $4, $5, $6, $7)
                    ON CONFLICT (user_id, device_id) DO UPDATE
                    SET identity_key=excluded.identity_key, signing_key=excluded.signing_key,
                        trust=excluded.trust, deleted=excluded.deleted, name=excluded.name
                    """,
                    user_id,
                    device.device_id,
                    device.identity_key,
                    device.signing_key,
                    int(device.trust),
                    False,
                    device.name,
                )

    async def untrack(self, user_ids: Iterable[str]) -> None:
        """Mark device lists as outdated, until a query succeeds."""
        async with self.transaction():
            for user_id in user_ids:
                await self.db.execute("DELETE FROM crypto_tracked_user WHERE user_id=$1", user_id)

    async def tracked(self, user_ids: Sequence[str]) -> set[str]:
        """Those whose device list is up to date, as far as we were told."""
        if not user_ids:
            return set()
        return set(await self.filter_tracked_users([UserID(user_id) for user_id in user_ids]))

    async def accept_identity(self, user_id: str) -> None:
        """Take a person's present identity as the one to expect."""
        await self.db.execute("UPDATE crypto_cross_signing_keys SET first_seen_key=key WHERE user_id=$1", user_id)

    # --- room keys ----------------------------------------------------------------------------------------

    async def session_owner(self, session_id: str) -> tuple[str, str] | None:
        """(room id, sender key) of a known inbound session."""
        query = """
        SELECT room_id, sender_key FROM crypto_megolm_inbound_session WHERE session_id=$1 AND account_id=$2
        """
        row = await self.db.fetchrow(query, session_id, self.account_id)
        return None if row is None else (row["room_id"], row["sender_key"])

    @property
    def chronicle(self) -> chronicle.Chronicle:
        """What is known of the room keys we hold."""
        return chronicle.Chronicle(self.db, self.account_id)

    async def keep_room_key(self, session: InboundGroupSession, *, is_marked: bool = False) -> bool:
        """Store a received room key unless we have one as good; False when somebody else's holds its place.

        `is_marked`: its sender says that it may be passed on to people invited later.
        """
        owner = await self.session_owner(session.id)
        if owner is not None and owner != (session.room_id, session.sender_key):
            return False
        await self.chronicle.came(session.room_id, session.id, is_marked=is_marked, is_new=owner is None)
        if owner is not None:
            known = await self.get_group_session(session.room_id, SessionID(session.id))
            if known is not None and known.first_known_index <= session.first_known_index:
                return True
        await self.put_group_session(
            RoomID(session.room_id), IdentityKey(session.sender_key), SessionID(session.id), session
        )
        return True

    async def put_withheld(self, room_id: str, session_id: str, sender: str, code: str) -> bool:
        """Note that `sender` does not give us the key of a session; False when that sender told too much."""
        count = await self.db.fetchval(
            "SELECT COUNT(*) FROM etb_withheld WHERE account_id=$1 AND sender=$2", self.account_id, sender
        )
        if count >= _WITHHELD_PER_SENDER:
            return False
        await self.db.execute(
            """
            INSERT INTO etb_withheld (account_id, room_id, session_id, sender, code) VALUES ($1, $2, $3, $4, $5)
            ON CONFLICT (account_id, session_id, sender) DO UPDATE SET code=excluded.code
            """,
            self.account_id,
            room_id,
            session_id,
            sender,
            code,
        )
        return True

    async def withheld_code(self, session_id: str, sender: str) -> str | None:
        """Why `sender` does not give us this key, if it said so."""
        code: str | None = await self.db.fetchval(
            "SELECT code FROM etb_withheld WHERE account_id=$1 AND session_id=$2 AND sender=$3",
            self.account_id,
            session_id,
            sender,
        )
        return code

    # --- to-device events ---------------------------------------------------------------------------------

    async def seen(self, digest: str) -> tuple[str, str] | None:
        """(room id, session id), both "" for no room key, of a to-device event handled before."""
        row = await self.db.fetchrow(
            "SELECT room_id, session_id FROM etb_to_device_seen WHERE account_id=$1 AND digest=$2",
            self.account_id,
            digest,
        )
        return None if row is None else (row["room_id"], row["session_id"])

    async def mark_seen(self, digest: str, since: str, room_id: str, session_id: str) -> None:
        """Remember a handled to-device event; stands in the transaction of what it changed."""
        await self.db.execute(
            """
            INSERT INTO etb_to_device_seen (account_id, digest, since, room_id, session_id)
            VALUES ($1, $2, $3, $4, $5)
            """,
            self.account_id,
            digest,
            since,
            room_id,
            session_id,
        )

    async def forget_seen(self, since: str) -> None:
        """The homeserver was asked with `since`: what was handled for an older position can't come again."""
        await self.db.execute(
            "DELETE FROM etb_to_device_seen WHERE account_id=$1 AND since<>$2", self.account_id, since
        )


__all__ = ["CryptoStore", "Database", "Scheme", "digest_of", "open_crypto_database"]

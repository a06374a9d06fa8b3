"""A bare bot on the real crypto of etb_appservice: establish, sync keys, encrypt, send, read.

It has no inbox and no outbox: tests drive each step, and can stop between any two.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Self

import aiohttp
from mautrix.util.async_db import Database

from etb_appservice.matrix.api import Method, call
from etb_appservice.matrix.api import Path as Api
from etb_appservice.matrix.cipher import Cipher
from etb_appservice.matrix.identity import Established, Identity
from etb_appservice.matrix.keeper import Keeper
from etb_appservice.matrix.keysync import KeySync
from etb_appservice.matrix.results import Decrypted, KeyMissing, SyncResult, Undecryptable
from etb_appservice.matrix.store import open_crypto_database
from tests.harness.synapse import Slot

PICKLE_KEY = "a test's own key, as long as a real one is"


class DictKeepsakes:
    """Keepsakes in memory. They outlive a bot, as the database outlives a process."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}

    async def get(self, name: str) -> bytes | None:
        return self.values.get(name)

    async def put(self, name: str, value: bytes) -> None:
        self.values[name] = value


class RealClock:
    def now_ms(self) -> int:
        return int(time.time() * 1000)

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Bot:
    """One process's worth of bot. `stop` and `start` again with the same folder and keepsakes is a restart."""

    def __init__(
        self, http: aiohttp.ClientSession, database: Database, keeper: Keeper, identity: Identity
    ) -> None:
        self.http, self.database, self.keeper, self.identity = http, database, keeper, identity
        self.position: str | None = None
        self.results: list[SyncResult] = []
        self.established: Established | None = None
        self.as_token = ""
        self.identity_of: Callable[[str, Cipher | None], Identity]
        """Of any user of ours on the same databases."""
        self.keepsakes = DictKeepsakes()
        self._stack = AsyncExitStack()
        self._txn = 0

    @classmethod
    async def open(
        cls,
        url: str,
        slot: Slot,
        where: Path | str,
        keepsakes: DictKeepsakes,
        *,
        mxid: str | None = None,
        pickle_key: str = PICKLE_KEY,
    ) -> Self:
        """Open the databases; `where` is a folder for SQLite or a PostgreSQL address."""
        http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60))
        address = f"sqlite:///{where / 'crypto.db'}" if isinstance(where, Path) else where
        keeper = Keeper()
        database = await keeper.run(lambda: open_crypto_database(address))

        def identity_of(user_id: str, leader: Cipher | None = None) -> Identity:
            return Identity(
                homeserver_url=url,
                as_token=slot.as_token,
                http=http,
                mxid=user_id,
                database=database,
                pickle_key=pickle_key,
                keepsakes=keepsakes,
                keeper=keeper,
                display_name="" if leader else "ETB",
                bot=leader,
            )

        bot = cls(http, database, keeper, identity_of(mxid or slot.bot_mxid))
        bot.identity_of = identity_of
        bot.keepsakes = keepsakes
        bot.as_token = slot.as_token
        return bot

    @classmethod
    async def start(
        cls, url: str, slot: Slot, where: Path | str, keepsakes: DictKeepsakes, position: str | None = None
    ) -> Self:
        """Open, establish, and take the first position."""
        bot = await cls.open(url, slot, where, keepsakes)
        try:
            bot.established = await bot.identity.establish()
            bot.position = position
            if position is None:
                await bot.sync()
        except BaseException:
            await bot.stop()
            raise
        return bot

    async def stop(self) -> None:
        """End as a process ends."""
        await self.keeper.close()
        await self.database.stop()
        await self.http.close()

    @property
    def cipher(self) -> Cipher:
        assert self.established is not None
        return self.established.cipher

    @property
    def mxid(self) -> str:
        assert self.established is not None
        return self.established.actor.mxid

    async def request(
        self, method: Method, path: Any, body: dict[str, Any] | None = None, **query: str
    ) -> dict[str, Any]:
        assert self.established is not None
        return await call(self.established.actor.client, method, path, body, query)

    async def sync(self, *, wait_ms: int = 0) -> SyncResult:
        """One turn of the key loop."""
        assert self.established is not None

        async def handled(result: SyncResult, position: str) -> None:
            self.results.append(result)
            self.position = position

        loop = KeySync(
            self.established.actor.client, self.cipher, RealClock(), position=self.position, handled=handled
        )
        await loop.turn(wait_ms=wait_ms)
        return self.results[-1]

    async def create_room(self, *invite: str, visibility: str = "joined", **more: Any) -> str:
        state = {
            "m.room.encryption": {"algorithm": "m.megolm.v1.aes-sha2"},
            "m.room.history_visibility": {"history_visibility": visibility},
        }
        body = {
            "preset": "private_chat",
            "invite": list(invite),
            "initial_state": [{"type": name, "state_key": "", "content": state[name]} for name in state],
            **more,
        }
        return str((await self.request(Method.POST, Api.v3.createRoom, body))["room_id"])

    async def say(self, room: str, text: str, recipients: Sequence[str], **more: Any) -> str:
        """Encrypt and send a text; the event id."""
        sealed = await self.cipher.encrypt(
            room, "m.room.message", {"msgtype": "m.text", "body": text}, recipients, **more
        )
        return await self.send(room, "m.room.encrypted", sealed.content)

    async def send(self, room: str, event_type: str, content: dict[str, Any]) -> str:
        self._txn += 1
        path = Api.v3.rooms[room].send[event_type][f"t{time.time_ns()}{self._txn}"]
        return str((await self.request(Method.PUT, path, content))["event_id"])

    async def event(self, room: str, event_id: str) -> dict[str, Any]:
        return await self.request(Method.GET, Api.v3.rooms[room].event[event_id])

    async def read(
        self, room: str, event_id: str, *, seconds: float = 20
    ) -> Decrypted | Undecryptable | KeyMissing:
        """Decrypt an event, taking keys until it can be or the time is over."""
        event = await self.event(room, event_id)
        until = time.monotonic() + seconds
        while True:
            result = await self.cipher.decrypt(event)
            if not isinstance(result, KeyMissing) or time.monotonic() > until:
                return result
            await self.sync(wait_ms=1_000)

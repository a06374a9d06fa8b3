"""Actors on an in-memory key server, each with a real crypto store in a file."""

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from mautrix.util.async_db import Database

from etb_appservice.matrix import identity
from etb_appservice.matrix.cipher import Cipher
from etb_appservice.matrix.identity import Established, Identity
from etb_appservice.matrix.keeper import Keeper
from etb_appservice.matrix.results import SyncResult
from etb_appservice.matrix.store import open_crypto_database
from tests.harness.bot import PICKLE_KEY, DictKeepsakes
from tests.harness.keyserver import Crash, KeyServer

ROOM = "!room:test"


class Actor:
    """One process's worth of an actor; `reopen` is a restart with the same file and keepsakes."""

    def __init__(self, server: KeyServer, mxid: str, folder: Path) -> None:
        self.server, self.mxid, self.folder = server, mxid, folder
        self.keepsakes = DictKeepsakes()
        self.keeper = Keeper()
        self.database: Database | None = None
        self.established: Established | None = None
        self.since = ""
        self._batches = itertools.count(1)

    async def open(self, *, pickle_key: str = PICKLE_KEY, bot: Cipher | None = None) -> Identity:
        if self.database is None:
            self.keeper = Keeper()
            address = f"sqlite:///{self.folder / 'crypto.db'}"
            self.database = await self.keeper.run(lambda: open_crypto_database(address))
        return Identity(
            homeserver_url="", as_token="", http=None, mxid=self.mxid, database=self.database,  # type: ignore[arg-type]
            pickle_key=pickle_key, keepsakes=self.keepsakes, keeper=self.keeper, display_name="x",
            bot=bot,
        )  # fmt: skip

    async def start(self, *, bot: Cipher | None = None) -> "Actor":
        self.established = await (await self.open(bot=bot)).establish()
        await self.sync()
        return self

    async def close(self) -> None:
        await self.keeper.close()
        if self.database is not None:
            await self.database.stop()
        self.database = None
        self.established = None

    @property
    def cipher(self) -> Cipher:
        assert self.established is not None
        return self.established.cipher

    @property
    def device_id(self) -> str:
        assert self.established is not None
        return self.established.actor.device_id

    async def sync(self, **news: Any) -> SyncResult:
        """Handle one response and acknowledge it."""
        response = self.server.sync(self.mxid, self.device_id, **news)
        result = await self.cipher.handle_sync(response, since=self.since)
        self.server.acknowledge(self.mxid, self.device_id)
        self.since = f"s{next(self._batches)}"
        return result


_events = itertools.count(1)


def event(sender: str, content: dict[str, Any], room: str = ROOM) -> dict[str, Any]:
    """An event as the homeserver would show it."""
    number = next(_events)
    return {
        "type": "m.room.encrypted", "room_id": room, "event_id": f"$e{number}", "sender": sender,
        "origin_server_ts": 1_700_000_000_000 + number, "content": content,
    }  # fmt: skip


def text(body: str) -> dict[str, Any]:
    return {"msgtype": "m.text", "body": body}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> KeyServer:
    server = KeyServer()
    monkeypatch.setattr(identity, "make_client", server.client)
    return server


MakeActor = Callable[..., Awaitable[Actor]]


@pytest.fixture
async def actor(server: KeyServer, tmp_path: Path) -> AsyncIterator[MakeActor]:
    """`await actor("bot")`: a started actor; `start=False` for one that is not."""
    made: list[Actor] = []

    async def make(name: str, *, start: bool = True) -> Actor:
        folder = tmp_path / name
        folder.mkdir()
        one = Actor(server, f"@{name}:test", folder)
        made.append(one)
        return await one.start() if start else one

    yield make
    for one in made:
        await one.close()


__all__ = ["ROOM", "Actor", "Crash", "MakeActor", "event", "text"]

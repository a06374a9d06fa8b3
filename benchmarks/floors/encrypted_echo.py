"""A bare encrypted echo on mautrix: its own client, sync loop, OlmMachine and SQLite store, as its examples do it.

python -m benchmarks.floors.encrypted_echo HOMESERVER USER PASSWORD DATABASE
"""

import asyncio
import sys

from mautrix.client import Client
from mautrix.client.state_store import MemoryStateStore
from mautrix.crypto import OlmMachine
from mautrix.crypto.store.asyncpg import PgCryptoStore
from mautrix.types import (
    EncryptedEvent,
    EventType,
    LoginType,
    MessageType,
    RoomID,
    StateEvent,
    TextMessageEventContent,
    UserID,
)
from mautrix.util.async_db import Database


class Rooms(MemoryStateStore):
    """mautrix asks the crypto side which rooms are shared with somebody."""

    async def find_shared_rooms(self, user_id: UserID) -> list[RoomID]:
        return [room for room, members in self.members.items() if user_id in members]


async def main(homeserver: str, user: str, password: str, database: str) -> None:
    db = Database.create(f"sqlite:///{database}", upgrade_table=PgCryptoStore.upgrade_table)
    await db.start()
    store = PgCryptoStore("echo", "a floor may have a constant", db)
    await store.open()
    rooms = Rooms()
    client = Client(base_url=homeserver, mxid=UserID(user), state_store=rooms)
    await client.login(password=password, login_type=LoginType.PASSWORD, identifier=user)
    client.ignore_initial_sync = False
    machine = OlmMachine(client, store, rooms)
    await machine.load()
    await machine.share_keys()
    client.crypto = machine

    async def on_invite(event: StateEvent) -> None:
        if event.state_key == client.mxid and event.content.membership.value == "invite":
            await client.join_room_by_id(event.room_id)

    async def on_message(event: EncryptedEvent) -> None:
        if event.sender == client.mxid:
            return
        await machine.decrypt_megolm_event(event)
        # With `client.crypto` set, mautrix encrypts by itself, and shares the room's key when it must.
        await client.send_message(event.room_id, TextMessageEventContent(msgtype=MessageType.NOTICE, body="echo"))

    client.add_event_handler(EventType.ROOM_MEMBER, on_invite)
    client.add_event_handler(EventType.ROOM_ENCRYPTED, on_message)
    task = client.start(None)
    print("ready", flush=True)
    await task


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))

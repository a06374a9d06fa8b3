"""The way to the homeserver and the crypto store, opened and closed as one."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp

from etb_appservice.domain.ids import UserId
from etb_appservice.matrix.api import Actor, make_client
from etb_appservice.matrix.cipher import Cipher
from etb_appservice.matrix.identity import Identity
from etb_appservice.matrix.keeper import Keeper
from etb_appservice.matrix.server import Homeserver
from etb_appservice.matrix.store import open_crypto_database
from etb_appservice.matrix.tokens import Tokens
from etb_appservice.ports import Keepsakes


@dataclass(frozen=True, slots=True, repr=False)
class Door:
    """What a command of the program needs to become the bot."""

    identity: Identity
    anonymous: Homeserver
    """Speaks as the bot without a device: for tests of the connection, and for looking at rooms."""
    watcher: Actor
    """The bot without a device id, for the look at rooms, which must not take to-device events away."""
    ghost: Callable[[UserId, Cipher], Identity]
    """The identity of one of our ghosts, whose cipher follows the bot's."""


def watcher_of(homeserver_url: str, as_token: Tokens | str, bot: UserId, http: aiohttp.ClientSession) -> Actor:
    """The bot without a device."""
    return Actor(bot, "", make_client(homeserver_url, as_token, bot, "", http))


@asynccontextmanager
async def open_door(
    *,
    homeserver_url: str,
    as_token: Tokens | str,
    http: aiohttp.ClientSession,
    watcher: Actor,
    display_name: str,
    device_name: str,
    crypto_url: str,
    pickle_key: str,
    keepsakes: Keepsakes,
) -> AsyncIterator[Door]:
    """Open the crypto database and prepare the bot; closes them when the work that is under way has ended."""
    database = await open_crypto_database(crypto_url)
    keeper = Keeper()

    def identity(mxid: UserId, name: str, bot_cipher: Cipher | None = None) -> Identity:
        return Identity(
            homeserver_url=homeserver_url,
            as_token=as_token,
            http=http,
            mxid=mxid,
            database=database,
            pickle_key=pickle_key,
            keepsakes=keepsakes,
            keeper=keeper,
            display_name=name,
            device_name=device_name,
            bot=bot_cipher,
        )

    try:
        yield Door(
            identity=identity(UserId(watcher.mxid), display_name),
            anonymous=Homeserver(watcher),
            watcher=watcher,
            ghost=lambda mxid, bot_cipher: identity(mxid, "", bot_cipher),
        )
    finally:
        await keeper.close()
        await database.stop()

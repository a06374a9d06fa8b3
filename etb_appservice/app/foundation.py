"""What every command of the program stands on: clock, database, crypto database, one HTTP session, ETB's client.

Opened in this order and closed in the other. Must never talk to the homeserver or to ETB by itself.
"""

import base64
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields

import aiohttp

from etb_appservice.app.secrets import LiveSecrets
from etb_appservice.config import Settings, policy
from etb_appservice.domain.policy import Policy
from etb_appservice.etb.client import EtbClient
from etb_appservice.etb.connection import EtbConnection
from etb_appservice.etb.probe import Modules
from etb_appservice.etb.reads import EtbReader
from etb_appservice.flows.admin import RecordedAdmin
from etb_appservice.matrix.admin import SynapseAdmin
from etb_appservice.matrix.api import Actor
from etb_appservice.matrix.door import Door, open_door, watcher_of
from etb_appservice.ops.clock import SystemClock
from etb_appservice.ops.metrics import Metrics, trace
from etb_appservice.ports import Clock, HomeserverAdmin, Keepsakes
from etb_appservice.store.sql import SqlStore, open_store

_PICKLE_KEY = "matrix.pickle_key"
_LONG_POLL_S = 30.0
"""How long the homeserver may hold a `/sync` open (matrix/keysync.py)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What every process stands on, also one that never encrypts."""

    settings: Settings
    policy: Policy
    clock: Clock
    store: SqlStore
    keepsakes: Keepsakes
    http: aiohttp.ClientSession
    watcher: Actor
    """The bot without a device, which looks, fetches and uploads."""
    etb: EtbClient
    modules: Modules
    reader: EtbReader
    secrets: LiveSecrets


@dataclass(frozen=True, slots=True, kw_only=True)
class Foundation(Ground):
    """The same with the crypto store, which is for one process at a time."""

    door: Door
    """To the homeserver and the crypto store."""
    admin: HomeserverAdmin | None
    """Every call through it is recorded."""


@asynccontextmanager
async def ground(settings: Settings, metrics: Metrics | None = None) -> AsyncIterator[Ground]:
    """Open all but the crypto store. Raises StoreError with what to do when the database can't be used."""
    clock = SystemClock()
    connector = aiohttp.TCPConnector(limit=100)
    timeout = aiohttp.ClientTimeout(total=settings.homeserver.request_timeout_s + _LONG_POLL_S)
    async with (
        open_store(settings.database.etb_url, settings.encryption.key_bytes, clock) as store,
        _live(settings, store, clock) as secrets,
        aiohttp.ClientSession(
            connector=connector, timeout=timeout, trace_configs=[trace(metrics, "homeserver")] if metrics else []
        ) as http,
        EtbClient(etb_connection(settings), clock, traces=[trace(metrics, "etb")] if metrics else []) as etb,
    ):
        modules = Modules(etb)
        yield Ground(
            settings=settings,
            policy=policy(settings),
            clock=clock,
            store=store,
            keepsakes=store.keepsakes,
            http=http,
            watcher=watcher_of(settings.homeserver.url, secrets.tokens, settings.bot_id, http),
            etb=etb,
            modules=modules,
            reader=EtbReader(etb, modules, clock, limit_s=settings.etb.timeout_s),
            secrets=secrets,
        )


@asynccontextmanager
async def foundation(settings: Settings, metrics: Metrics | None = None) -> AsyncIterator[Foundation]:
    """Open everything. Raises StoreError with what to do when a database can't be used."""
    async with (
        ground(settings, metrics) as base,
        open_door(
            homeserver_url=settings.homeserver.url,
            as_token=base.secrets.tokens,
            http=base.http,
            watcher=base.watcher,
            display_name=settings.bot.displayname,
            device_name=settings.bot.device_name,
            crypto_url=settings.database.etb_crypto_url,
            pickle_key=await pickle_key(base.keepsakes),
            keepsakes=base.keepsakes,
        ) as door,
    ):
        parts = {one.name: getattr(base, one.name) for one in fields(base)}
        yield Foundation(**parts, door=door, admin=_admin(settings, base.store, base.http, base.clock))


def _admin(
    settings: Settings, store: SqlStore, http: aiohttp.ClientSession, clock: Clock
) -> HomeserverAdmin | None:
    server = settings.homeserver
    if server.admin_user is None or server.admin_token is None:
        return None
    token = server.admin_token.get_secret_value()
    admin = SynapseAdmin(server.url, token, server.admin_user, server.domain, http, clock)
    return RecordedAdmin(admin, store)


@asynccontextmanager
async def _live(settings: Settings, store: SqlStore, clock: Clock) -> AsyncIterator[LiveSecrets]:
    secrets = LiveSecrets(settings, store, clock)
    await secrets.begin()
    yield secrets


def etb_connection(settings: Settings) -> EtbConnection:
    """How ETB is reached."""
    return EtbConnection(
        base_url=settings.etb.base_url,
        token=settings.etb.token.get_secret_value(),
        auth_scheme=settings.etb.auth_scheme,
        timeout_s=settings.etb.timeout_s,
        verify_tls=settings.etb.verify_tls,
        paths=settings.etb.paths,
        enums=settings.etb.enums,
        web_url_template=settings.etb.web_url,
    )


async def pickle_key(keepsakes: Keepsakes) -> str:
    """The key of the crypto store: random, made once, kept sealed by the vault; never a constant."""
    kept = await keepsakes.get(_PICKLE_KEY)
    if kept is None:
        kept = base64.b64encode(os.urandom(32))
        await keepsakes.put(_PICKLE_KEY, kept)
    return kept.decode()

"""Short-lived tickets that open one WebSocket each, for browsers, which can't set headers (contract 1.2).

    give ─┬► in this process's memory ──────────────────────────────────────────► take, at this process
          └► where a Redis is named: there, sealed, gone after half a minute ───► take, at any process

A ticket stands for the token of whoever asked for it, who is asked about again (`Callers.of`) when it is taken: a
token that ended meanwhile opens nothing. Must never be good twice, and never show a token to Redis.
"""

import asyncio
import hashlib
import hmac
import os
import re
import secrets
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol

import structlog
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from redis.asyncio import Redis
from redis.exceptions import RedisError

from etb_appservice.gateway.redis_client import client_of
from etb_appservice.ports import Clock

_log = structlog.get_logger(__name__)
LASTS_S = 30.0
_MOST = 10_000
_SHAPE = re.compile(r"[A-Za-z0-9_-]{43}")
"""What `secrets.token_urlsafe(32)` makes: Redis is asked for nothing else."""
_NONCE = 12
_REDIS_S = 2.0
"""How long Redis is waited for, all in all."""
_AT_ONCE = 8
"""Connections to Redis; whoever gets none in time has no ticket."""


class Tickets(Protocol):
    """Given for a token, taken once."""

    @property
    def lasts_s(self) -> float:
        """For how long one is good."""
        ...

    async def give(self, token: str) -> str:
        """A new ticket for whoever has shown this token."""
        ...

    async def take(self, ticket: str) -> str | None:
        """The token for which a ticket stands, once; None for none, an old one, or one that was taken before."""
        ...


@dataclass(frozen=True, slots=True)
class _Given:
    token: str = field(repr=False)
    until_s: float


class OwnTickets:
    """In this process's memory."""

    def __init__(self, clock: Clock, *, lasts_s: float = LASTS_S) -> None:
        self.lasts_s = lasts_s
        self._clock = clock
        self._key = os.urandom(32)
        self._tickets: OrderedDict[bytes, _Given] = OrderedDict()

    async def give(self, token: str) -> str:
        """See Tickets."""
        self._forget_old()
        ticket = secrets.token_urlsafe(32)
        self._tickets[self._name(ticket)] = _Given(token, self._clock.monotonic() + self.lasts_s)
        while len(self._tickets) > _MOST:
            self._tickets.popitem(last=False)
        return ticket

    async def take(self, ticket: str) -> str | None:
        """See Tickets."""
        self._forget_old()
        found = self._tickets.pop(self._name(ticket), None)
        return None if found is None else found.token

    def _name(self, ticket: str) -> bytes:
        return hmac.digest(self._key, ticket.encode("utf-8", "surrogatepass"), "sha256")

    def _forget_old(self) -> None:
        now_s = self._clock.monotonic()
        while self._tickets and next(iter(self._tickets.values())).until_s <= now_s:
            self._tickets.popitem(last=False)


class SharedTickets:
    """In a Redis, sealed; while that is away in this process's memory, as `own`.

    A connection for each, and few at once: one that is kept would have to be looked after, and anybody may ask.
    """

    def __init__(self, own: OwnTickets, url: str, prefix: str, keys: Callable[[], Sequence[bytes]]) -> None:
        """`keys`: 32 bytes each, the present one first; any of them opens."""
        self._own = own
        self._url = url
        self._prefix = prefix
        self._keys = keys
        self._turn = asyncio.Semaphore(_AT_ONCE)

    def __repr__(self) -> str:
        return "SharedTickets()"

    @property
    def lasts_s(self) -> float:
        """See Tickets."""
        return self._own.lasts_s

    async def give(self, token: str) -> str:
        """See Tickets."""
        ticket = secrets.token_urlsafe(32)
        name, nonce = self._name(ticket), os.urandom(_NONCE)
        sealed = nonce + AESGCM(self._keys()[0]).encrypt(nonce, token.encode(), name)
        try:
            async with self._redis() as redis:
                await redis.set(name, sealed, px=round(self.lasts_s * 1000))
        except (RedisError, OSError, TimeoutError) as failure:
            _log.warning("a ticket is good at this process only", error=type(failure).__name__)
            return await self._own.give(token)
        return ticket

    async def take(self, ticket: str) -> str | None:
        """See Tickets."""
        own = await self._own.take(ticket)
        if own is not None or not _SHAPE.fullmatch(ticket):
            return own
        name = self._name(ticket)
        try:
            async with self._redis() as redis:
                sealed = await redis.getdel(name)
        except (RedisError, OSError, TimeoutError) as failure:
            _log.warning("a ticket could not be looked up", error=type(failure).__name__)
            return None
        return self._opened(name, sealed) if isinstance(sealed, bytes) else None

    def _opened(self, name: bytes, sealed: bytes) -> str | None:
        for key in self._keys():
            try:
                return AESGCM(key).decrypt(sealed[:_NONCE], sealed[_NONCE:], name).decode()
            except (InvalidTag, ValueError):
                continue
        return None

    def _name(self, ticket: str) -> bytes:
        """Whoever reads Redis can't make a ticket of it."""
        return f"{self._prefix}:ticket:{hashlib.sha256(ticket.encode()).hexdigest()}".encode()

    @asynccontextmanager
    async def _redis(self) -> AsyncIterator[Redis]:
        async with (
            asyncio.timeout(_REDIS_S),
            self._turn,
            client_of(self._url, answer_s=_REDIS_S, connect_s=_REDIS_S) as client,
        ):
            yield client

"""Who calls: an ETB user's own token, checked with ETB, remembered for a short time (docs/etb-contract.md 1.2).

    token ─► HMAC ─► confirmed less than `cache_s` ago ─► that caller
                 └─► ETB's profile endpoint ─┬─► the caller
                                             ├─► 401, 403: nobody, at once, whatever was remembered
                                             └─► away: the last confirmation, up to the age limit of rights

Must never keep, log or repeat a token: what is kept is its HMAC under a key of this process. ETB's profile tells
no roles, so these are ETB's last word on the user, asked for anew when that is old: as old as that is the caller.
"""

import asyncio
import hmac
import os
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

import structlog

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.ids import UserId, Username
from etb_appservice.domain.incident import EtbUser
from etb_appservice.domain.outcomes import Failure
from etb_appservice.domain.policy import Policy
from etb_appservice.flows.permitted import Copy
from etb_appservice.ports import Clock, EtbReads, Profiles, Store

_log = structlog.get_logger(__name__)

_SCHEMES = frozenset({"token", "bearer"})
_MOST_TOKEN = 4096
_MOST_KEPT = 10_000
_AT_ONCE = 8
"""Questions to ETB about tokens at once; unknown tokens are anybody's to send."""
_MOST_WAITING = 200
_ASK_AGAIN_S = 5.0
"""How soon an ETB that was away is asked about a token again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """An ETB user who calls, by HTTP or by WebSocket."""

    user: EtbUser
    user_id: UserId
    """Their Matrix id: the one that is linked to them, else their ghost's."""
    confirmed_ms: int
    """As of when ETB's word on them is, roles included, by our clock; the token may have been confirmed since."""

    @property
    def copy(self) -> Copy:
        """What ETB has said of them, and when."""
        return self.user, self.confirmed_ms


class Unconfirmed(Exception):
    """ETB can't be asked whose a token is, and has not said so before."""


def is_token(text: str) -> bool:
    """Whether this may become a header: printable ASCII without spaces, and not too long."""
    return 0 < len(text) <= _MOST_TOKEN and text.isascii() and text.isprintable() and " " not in text


def token_in(headers: Sequence[str]) -> str | None:
    """What stands in the one `Authorization` header, with either scheme of 1.2; None where that isn't so.

    >>> token_in(["Token abc"]), token_in(["bearer  abc "]), token_in(["Basic abc"]), token_in(["Token a"] * 2)
    ('abc', 'abc', None, None)
    """
    if len(headers) != 1:
        return None
    scheme, _, token = headers[0].strip().partition(" ")
    return token.strip() if scheme.lower() in _SCHEMES else None


@dataclass(slots=True)
class _Kept:
    caller: Caller
    fresh_until_s: float


class Callers:
    """Knows callers by their tokens. `learn` is told what ETB said of somebody; `cache_s` as in the settings."""

    def __init__(
        self,
        profiles: Profiles,
        etb: EtbReads,
        store: Store,
        policy: Policy,
        clock: Clock,
        *,
        user_id: Callable[[Username], UserId | None],
        learn: Callable[[EtbUser], Awaitable[None]],
        cache_s: float = 60.0,
    ) -> None:
        self._profiles = profiles
        self._etb = etb
        self._store = store
        self._policy = policy
        self._clock = clock
        self._user_id = user_id
        self._learn = learn
        self._cache_s = cache_s
        self._key = os.urandom(32)
        self._kept: OrderedDict[bytes, _Kept] = OrderedDict()
        self._asking: dict[bytes, asyncio.Task[Caller | None]] = {}
        self._turn = asyncio.Semaphore(_AT_ONCE)

    async def of(self, token: str) -> Caller | None:
        """Whose this token is; None for nobody. Raises Unconfirmed."""
        if not is_token(token):
            return None
        name = self._name(token)
        kept = self._kept.get(name)
        if kept is not None and self._clock.monotonic() < kept.fresh_until_s:
            self._kept.move_to_end(name)
            return kept.caller
        asking = self._asking.get(name)
        if asking is None:
            if kept is None and len(self._asking) >= _MOST_WAITING:
                raise Unconfirmed
            # A task of its own: who hangs up must not take the answer from others who wait for it.
            asking = self._asking[name] = asyncio.create_task(self._ask(token, name), name="whose token")
            asking.add_done_callback(lambda done: self._asked(name, done))
        return await asyncio.shield(asking)

    def _name(self, token: str) -> bytes:
        return hmac.digest(self._key, token.encode(), "sha256")

    def _asked(self, name: bytes, done: asyncio.Task[Caller | None]) -> None:
        self._asking.pop(name, None)
        if not done.cancelled():
            done.exception()  # whoever waits has it; nobody may

    async def _ask(self, token: str, name: bytes) -> Caller | None:
        try:
            async with self._turn:
                user = await self._profiles.whose(token)
        except Failure as failure:
            return self._while_away(name, failure)
        if user is None:
            self._kept.pop(name, None)
            return None
        user, said_ms = await self._whole(user)
        user_id = self._user_id(user.username)
        if user_id is None or not user.is_active:
            self._kept.pop(name, None)
            return None
        caller = Caller(user=user, user_id=user_id, confirmed_ms=said_ms)
        self._keep(name, caller, self._cache_s)
        return caller

    def _while_away(self, name: bytes, failure: Failure) -> Caller:
        """What ETB said last holds on for as long as its word on people does."""
        kept = self._kept.get(name)
        hold_ms = round(self._policy.clearance.hold_s * 1000)
        if kept is None or self._clock.now_ms() - kept.caller.confirmed_ms > hold_ms:
            self._kept.pop(name, None)
            _log.info("etb can't be asked whose a token is", reason=type(failure).__name__)
            raise Unconfirmed
        self._keep(name, kept.caller, min(self._cache_s, _ASK_AGAIN_S))
        return kept.caller

    def _keep(self, name: bytes, caller: Caller, fresh_s: float) -> None:
        self._kept[name] = _Kept(caller, self._clock.monotonic() + fresh_s)
        self._kept.move_to_end(name)
        while len(self._kept) > _MOST_KEPT:
            self._kept.popitem(last=False)

    async def _whole(self, user: EtbUser) -> Copy:
        """The user with their roles, and as of when. What is new is learned, so that rooms know it too."""
        said_ms = self._clock.now_ms()
        async with self._store.view() as view:
            known = await view.incidents.user(user.username)
        kept: Copy | None = None
        if known is not None:
            user = replace(user, id=user.id or known[0].id)
        if known is not None and _standing(known[0]) == _standing(user):
            # No younger than ETB's word on their roles, else asking would keep these for ever.
            kept = replace(known[0], id=user.id), known[1]
        if kept is not None and said_ms - kept[1] < self._policy.commands.rights_fresh_s * 1000:
            return kept
        try:
            async with asyncio.timeout(self._policy.commands.etb_wait_s):
                found = await self._etb.user(user.username)
        except (Failure, TimeoutError):
            return kept or (user, said_ms)  # without a copy nothing is known of their roles for sure
        if found is None:
            # As for everybody else: whom ETB doesn't show among its users is nobody.
            return EtbUser(user.username, user.display_name, Classification.PUBLIC, is_active=False), said_ms
        found = replace(
            found,
            id=found.id or user.id,
            clearance=min(found.clearance, user.clearance),
            is_active=found.is_active and user.is_active,
        )
        await self._learn(found)
        return found, said_ms


def _standing(user: EtbUser) -> tuple[Classification, bool]:
    """What the profile says of them itself."""
    return user.clearance, user.is_active

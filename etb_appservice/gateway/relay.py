"""Between processes, through Redis: news of what one of them commits, for the sockets of all, and errands.

    send, touch, link ─► a line, bounded ─► sealed ─► PUBLISH ──► SUBSCRIBE ─► opened ─► of another process ─► Ears
    work, decided, judged, sign ─┘ (errands)                              └─ a number is missing ─► missed

Redis is told nothing: what goes through it is sealed (AES-256-GCM), and names what changed by ids, so that each
process reads the record itself, under its own look at rights. Messages of one process are numbered: whoever sees a
gap, also after Redis was away, lets its sockets come back for the history; so does whoever hears of the process
that leads no more, or of another one that leads, since the last that the former committed may have been told to
nobody. Errands only make things quick, or show what nobody keeps: one that is lost is found in the database, or
never missed. Nothing durable depends on Redis.
"""

import asyncio
import contextlib
import os
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, NoReturn

import structlog
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import Field, TypeAdapter
from redis.asyncio import Redis
from redis.exceptions import RedisError

from etb_appservice.domain.ids import EventId, RoomId, UserId, Username
from etb_appservice.domain.news import News
from etb_appservice.domain.policy import Backoff
from etb_appservice.domain.verdicts import Verdict
from etb_appservice.gateway.redis_client import client_of
from etb_appservice.ports import Clock

_log = structlog.get_logger(__name__)
_NONCE = 12
_MOST_LINE = 1000
"""How many messages wait while Redis is away; older ones are lost, and seen to be."""
_BEAT_S = 5.0
"""How often a process says how far it is, whatever happens."""
_SILENT_S = 3 * _BEAT_S
"""After how long without a word the process that leads has ended."""
_DEAD_S = 20.0
"""Without a word from Redis, our own included, the connection is dead."""
_STALE_MS = 120_000
"""Older ones are a replay, or come from a clock that is wrong."""
_MOST_ORIGINS = 1000
_BACKOFF = Backoff(first_s=0.5, most_s=15.0)
_OPENING = (RedisError, OSError, TimeoutError)
Link = tuple[Username, UserId | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sign:
    """A web user types, has stopped typing, or (`event_id`) has read: to be shown in Matrix."""

    room_id: RoomId
    username: Username
    is_typing: bool = False
    event_id: EventId | None = None


def _unheard(_: object) -> None:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Ears:
    """What one process does about what it hears of others. Nothing of it may block or raise."""

    heard: Callable[[Sequence[News]], None]
    touched: Callable[[Collection[str]], None]
    """After which commits others may be where: scopes of `Store.stamp`."""
    missed: Callable[[], None]
    """News, touches or links of another process were lost."""
    linked: Callable[[Sequence[Link]], None] = _unheard
    """Whose Matrix account is which now, None: no longer."""
    work: Callable[[Sequence[str]], None] = _unheard
    """Lanes in which something was accepted; empty: somewhere."""
    decided: Callable[[Sequence[str]], None] = _unheard
    """Acts."""
    judged: Callable[[Verdict], None] = _unheard
    sign: Callable[[Sign], None] = _unheard


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sheet:
    """What goes through Redis, sealed. `number`: of those of its origin with news; a beat repeats the last."""

    origin: str
    number: int
    at_ms: int
    leads: bool = False
    """Whether its origin decides, and so is the one of whom there are news."""
    asks: bool = False
    """Who has just come wants to know at once how far everybody is."""
    news: tuple[Annotated[News, Field(discriminator="kind")], ...] = ()
    touched: tuple[str, ...] = ()
    linked: tuple[Link, ...] = ()
    work: tuple[str, ...] | None = None
    decided: tuple[str, ...] = ()
    judged: tuple[Verdict, ...] = ()
    signs: tuple[Sign, ...] = ()

    @property
    def counts(self) -> bool:
        """Whether it has a number of its own."""
        return bool(self.news or self.touched or self.linked)


_SHEETS = TypeAdapter(_Sheet)


class Relay:
    """`channel`: the same for all processes of one service, and no other's. `run` works until it is cancelled.

    `keys`: 32 bytes each, the present one first; any of them opens. `leads`: this process decides.
    """

    def __init__(
        self,
        url: str,
        channel: str,
        keys: Callable[[], Sequence[bytes]],
        clock: Clock,
        ears: Ears,
        *,
        leads: bool = False,
    ) -> None:
        self._url = url
        self._channel = channel
        self._keys = keys
        self._clock = clock
        self._ears = ears
        self._leads = leads
        self._origin = os.urandom(16).hex()
        self._number = 0
        self._line: deque[_Sheet] = deque(maxlen=_MOST_LINE)
        self._something = asyncio.Event()
        self._seen: dict[str, int] = {}
        self._led_s: float | None = None
        """When one that leads was last heard; None: never, or its silence was seen."""
        self.is_up = False
        """Whether Redis answers."""

    def __repr__(self) -> str:
        return "Relay()"

    def send(self, news: Sequence[News]) -> None:
        """Pass news on; never waits or raises."""
        if news:  # most commits have none, and a number without anything would seem to be missing
            self._number += 1
            self._put(self._sheet(tuple(news)))

    def touch(self, scopes: Collection[str]) -> None:
        """Others may be where these say; never waits or raises."""
        if scopes:
            self._number += 1
            self._put(replace(self._sheet(()), touched=tuple(sorted(scopes))))

    def link(self, links: Sequence[Link]) -> None:
        """Somebody is known by another Matrix account from now on; never waits or raises."""
        if links:
            self._number += 1
            self._put(replace(self._sheet(()), linked=tuple(links)))

    # Errands have no number: whoever misses one loses nothing.

    def work(self, lanes: Sequence[str] = ()) -> None:
        """Something was accepted, which the process that leads decides."""
        self._put(replace(self._sheet(()), work=tuple(lanes)))

    def decided(self, acts: Sequence[str]) -> None:
        """These were decided: whoever waits for one of them looks."""
        if acts:
            self._put(replace(self._sheet(()), decided=tuple(acts)))

    def judged(self, verdict: Verdict) -> None:
        """For whoever waits for it."""
        self._put(replace(self._sheet(()), judged=(verdict,)))

    def sign(self, sign: Sign) -> None:
        """For Matrix."""
        self._put(replace(self._sheet(()), signs=(sign,)))

    def _put(self, sheet: _Sheet) -> None:
        self._line.append(sheet)
        self._something.set()

    async def run(self) -> None:
        """Listen and speak, through every failure of Redis."""
        attempt = 0
        while True:
            began_s = self._clock.monotonic()
            try:
                await self._connected()
            except _OPENING as failure:
                reason = type(failure).__name__
            was_up, self.is_up = self.is_up, False
            attempt = 1 if was_up and self._clock.monotonic() - began_s > _BACKOFF.most_s else attempt + 1
            wait_s = _BACKOFF.wait_s(attempt, int.from_bytes(os.urandom(2), "big") / 65536)
            _log.warning("redis can't be reached", reason=reason, again_in_s=round(wait_s, 1))
            await self._clock.sleep(wait_s)

    async def _connected(self) -> NoReturn:
        """Until something fails, or it is cancelled. No TaskGroup: one whose child fails loses a cancellation."""
        async with self._client() as client:
            tasks = [asyncio.create_task(work) for work in (self._listen(client), self._speak(client))]
            try:
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
            raise next(failure for task in done if (failure := task.exception()) is not None)

    def _client(self) -> Redis:
        return client_of(self._url, answer_s=_DEAD_S, connect_s=_DEAD_S / 2)

    async def _listen(self, client: Redis) -> NoReturn:
        async with client.pubsub(ignore_subscribe_messages=True) as channel:
            await channel.subscribe(self._channel)
            await client.publish(self._channel, self._seal(self._sheet((), asks=True)))
            self.is_up = True
            self._something.set()
            _log.info("news go through redis")
            last_s = self._clock.monotonic()
            if self._led_s is not None:
                self._led_s = last_s  # while Redis was away nobody was heard
            while True:
                message = await channel.get_message(timeout=_DEAD_S)
                _end_if_cancelled()
                if message is not None:
                    self._read(message["data"])
                    last_s = self._clock.monotonic()
                elif self._clock.monotonic() - last_s >= _DEAD_S:
                    raise TimeoutError

    async def _speak(self, client: Redis) -> NoReturn:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_BEAT_S):
                    await self._something.wait()
            self._something.clear()
            _end_if_cancelled()
            if not self.is_up:
                continue
            while self._line:
                # Taken out only once Redis has it: a repetition is seen by its number.
                sheet = self._line[0]
                try:
                    sealed = self._seal(sheet)
                except ValueError as error:  # it says something that no JSON can: others will miss its number
                    _log.error("news can't be passed on", error=type(error).__name__)
                else:
                    await client.publish(self._channel, sealed)
                _end_if_cancelled()
                if self._line and self._line[0] is sheet:
                    self._line.popleft()
            await client.publish(self._channel, self._seal(self._sheet(())))
            _end_if_cancelled()

    # --- sheets -------------------------------------------------------------------------------------------

    def _sheet(self, news: tuple[News, ...], *, asks: bool = False) -> _Sheet:
        return _Sheet(
            origin=self._origin,
            number=self._number,
            at_ms=self._clock.now_ms(),
            leads=self._leads,
            asks=asks,
            news=news,
        )

    def _seal(self, sheet: _Sheet) -> bytes:
        nonce = os.urandom(_NONCE)
        return nonce + AESGCM(self._keys()[0]).encrypt(nonce, _SHEETS.dump_json(sheet), b"etb news 1")

    def _open(self, data: bytes) -> _Sheet | None:
        for key in self._keys():
            try:
                return _SHEETS.validate_json(AESGCM(key).decrypt(data[:_NONCE], data[_NONCE:], b"etb news 1"))
            except (InvalidTag, ValueError):
                continue
        return None

    def _read(self, data: object) -> None:
        sheet = self._open(data) if isinstance(data, bytes) else None
        if sheet is None or abs(self._clock.now_ms() - sheet.at_ms) > _STALE_MS:
            # Not ours, forged, replayed, or under a key that we don't have yet: then its number will be missed.
            _log.warning("something unreadable came through redis")
            return
        if sheet.origin == self._origin:
            self._look_for_silence()
            return
        if sheet.asks:
            self._something.set()
        # Of whom we have never heard we have missed everything, and the last of whoever may have led before them.
        last = self._seen.get(sheet.origin, 0)
        leads_anew = sheet.leads and sheet.origin not in self._seen
        if sheet.leads and not self._leads:
            self._led_s = self._clock.monotonic()
        if sheet.counts and sheet.number <= last:
            return
        if leads_anew or sheet.number > last + (1 if sheet.counts else 0):
            _log.info("news of another process were missed")
            self._ears.missed()
        if sheet.origin not in self._seen and len(self._seen) >= _MOST_ORIGINS:
            self._seen.clear()
        self._seen[sheet.origin] = max(sheet.number, last)
        # Who may be where comes first: nobody is told what was said after their right went.
        ears = self._ears
        if sheet.linked:
            ears.linked(sheet.linked)
        if sheet.touched:
            ears.touched(sheet.touched)
        if sheet.news:
            ears.heard(sheet.news)
        if sheet.work is not None:
            ears.work(sheet.work)
        if sheet.decided:
            ears.decided(sheet.decided)
        for verdict in sheet.judged:
            ears.judged(verdict)
        for sign in sheet.signs:
            ears.sign(sign)

    def _look_for_silence(self) -> None:
        """Our own word came back, so Redis answers, and all that was said before it is read."""
        if self._led_s is not None and self._clock.monotonic() - self._led_s > _SILENT_S:
            self._led_s = None
            _log.warning("the process that leads is silent")
            self._ears.missed()


def _end_if_cancelled() -> None:
    """A cancellation that arrives while redis-py (8.1) opens a connection is lost in it."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError

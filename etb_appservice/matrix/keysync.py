"""The bot's own /sync loops: one for keys, one that only looks which events there are.

    KeySync    with device_id, without rooms: keys and device lists; every second, and at once when a key is missed
    RoomWatch  without device_id, so it can't take to-device events away: event ids of our rooms, now and then

Two loops, because a thin timeline would make the homeserver work for every message of every room. Neither waits at
the server: Synapse works a waiting /sync out anew at each event of each of our rooms, even where the filter wants
none of them (measured: a tenth of what it spends on a command).
A position is handed over only after everything of its response was handled; what breaks in between comes again.
Neither may die of a bad event or a failing homeserver; a failing database ends them.
"""

import asyncio
import json
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Never, Protocol

import structlog
from mautrix.api import Method, Path
from mautrix.client import Client

from etb_appservice.domain.outcomes import Failure, Later
from etb_appservice.matrix.api import call, outcomes
from etb_appservice.matrix.results import SyncResult
from etb_appservice.ports import Clock

_log = structlog.get_logger(__name__)
_EVERY_S = 1.0
_SOONEST_S = 0.05
"""Between two requests, however many keys are missed."""
_KEEP_EVERY_S = 30.0
"""How often a position is handed over that brought nothing."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 30.0
_NOTHING = {"not_types": ["*"]}
_KEYS_ONLY = json.dumps({"room": {"rooms": []}, "presence": _NOTHING, "account_data": _NOTHING})
_FIRST = _KEYS_ONLY
MAILBOX_FULL = 100
"""So many answers empty any mailbox; the homeserver gives a hundred messages in each."""
_THIN = json.dumps(
    {
        "event_fields": ["event_id", "sender", "type"],
        "presence": _NOTHING,
        "account_data": _NOTHING,
        "room": {
            "account_data": _NOTHING,
            "ephemeral": _NOTHING,
            "state": _NOTHING,
            "timeline": {"limit": 50},
        },
    }
)


@dataclass(frozen=True, slots=True)
class SeenEvent:
    """An event that exists by /sync; `limited`: its room's timeline has a gap before `prev_batch`."""

    room_id: str
    event_id: str
    sender: str
    limited: bool
    prev_batch: str | None
    type: str = ""


class TakesKeys(Protocol):
    """What the key loop needs of a cipher."""

    async def handle_sync(self, sync: Mapping[str, Any], *, since: str) -> SyncResult:
        """See cipher.Cipher."""
        ...


_STOCK = ("device_one_time_keys_count", "device_unused_fallback_key_types")
KeysHandled = Callable[[SyncResult, str], Awaitable[None]]
"""Must make the next position durable before it returns, together with what follows from the result."""
EventsSeen = Callable[[tuple[SeenEvent, ...], str], Awaitable[None]]
"""The same for the events seen."""


class _Loop:
    """Asks, handles, hands over, and backs off when the homeserver fails."""

    def __init__(self, clock: Clock, name: str) -> None:
        self._clock = clock
        self._name = name
        self._pause = _FIRST_PAUSE_S

    async def turn(self, work: Callable[[], Awaitable[None]]) -> None:
        """One turn; waits with jitter after a failure of the homeserver. Other errors pass."""
        try:
            await work()
        except Failure as failure:
            asked = failure.after_s if isinstance(failure, Later) and failure.after_s else 0.0
            pause = max(asked, self._pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
            self._pause = min(2 * self._pause, _LONGEST_PAUSE_S)
            _log.warning("sync failed, trying again", loop=self._name, in_s=round(pause, 1), error=str(failure))
            await self._clock.sleep(pause)
        else:
            self._pause = _FIRST_PAUSE_S


class KeySync:
    """Takes keys for the bot's device. `client` must carry the device id; `position` is None at the very first."""

    def __init__(
        self, client: Client, cipher: TakesKeys, clock: Clock, *, position: str | None, handled: KeysHandled
    ) -> None:
        self._client, self._cipher, self._clock, self._handled = client, cipher, clock, handled
        self._loop = _Loop(clock, "keys")
        self._missed = asyncio.Event()
        self._kept = position
        self._kept_s = float("-inf")
        self._stock: object = None
        self.position = position

    def hurry(self) -> None:
        """A key is missed that may be there by now: ask at once. Never blocks."""
        self._missed.set()

    async def run(self) -> Never:
        """Until cancelled; raises the database's errors."""
        while True:
            self._missed.clear()
            await self._loop.turn(self.turn)
            await self._clock.sleep(_SOONEST_S)
            await self._until_missed(_EVERY_S - _SOONEST_S)

    async def turn(self, *, wait_ms: int = 0) -> None:
        """One request, handled and handed over. Raises the outcomes, and the database's errors.

        What brought nothing is asked on from, and handed over only now and then: nothing is lost by asking from an
        older position again.
        """
        answer = await _sync(self._client, self.position, _KEYS_ONLY, wait_ms)
        next_batch = _next_batch(answer)
        stock = [answer.get(name) for name in _STOCK]
        now = self._clock.monotonic()
        if stock != self._stock or now - self._kept_s >= _KEEP_EVERY_S or _brings_something(answer):
            # What comes again after a crash comes for the position that was kept, so it is handled for that one.
            result = await self._cipher.handle_sync(answer, since=self._kept or "")
            await self._handled(result, next_batch)
            self._kept, self._kept_s, self._stock = next_batch, now, stock
        self.position = next_batch

    async def _until_missed(self, seconds: float) -> None:
        missed = asyncio.ensure_future(self._missed.wait())
        pause = asyncio.ensure_future(self._clock.sleep(seconds))
        try:
            await asyncio.wait({missed, pause}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            missed.cancel()
            pause.cancel()


class RoomWatch:
    """Looks which events exist in our rooms. `client` must carry no device id."""

    def __init__(
        self,
        client: Client,
        clock: Clock,
        *,
        position: str | None,
        seen: EventsSeen,
        every_s: float = 10.0,
    ) -> None:
        if client.api.as_device_id:
            raise ValueError("the room watch must not carry a device id: it would delete to-device events unread")
        self._client, self._clock, self._seen, self._every_s = client, clock, seen, every_s
        self._loop = _Loop(clock, "rooms")
        self.position = position

    async def run(self) -> Never:
        """Until cancelled; raises the database's errors."""
        while True:
            await self._loop.turn(self.turn)
            await self._clock.sleep(self._every_s)

    async def turn(self) -> None:
        """One look, handed over. Raises the outcomes, and what `seen` raises."""
        if self.position is None:
            # From here on; what was before is history, fetched when a room is adopted (11 ms, not 9 s).
            answer = await _sync(self._client, None, _FIRST, 0)
        else:
            answer = await _sync(self._client, self.position, _THIN, 0)
        next_batch = _next_batch(answer)
        await self._seen(seen_events(answer), next_batch)
        self.position = next_batch


async def _sync(client: Client, since: str | None, sync_filter: str, wait_ms: int) -> dict[str, Any]:
    query = {"filter": sync_filter, "timeout": str(wait_ms), "set_presence": "offline"}
    if since is not None:
        query["since"] = since
    with outcomes():
        return await call(client, Method.GET, Path.v3.sync, query=query)


async def empty_mailbox(client: Client, position: str | None) -> tuple[str, bool]:
    """Take what was sent to a device that reads nothing: where to go on, and whether there was nothing.

    The homeserver deletes what it gave once it is asked on from there. Raises the four outcomes.
    """
    answer = await _sync(client, position, _KEYS_ONLY, 0)
    to_device = answer.get("to_device")
    return _next_batch(answer), not (isinstance(to_device, dict) and to_device.get("events"))


def _brings_something(answer: Mapping[str, Any]) -> bool:
    """Whether there are to-device events or changed device lists. Odd parts count: handling judges them."""
    to_device, lists = answer.get("to_device"), answer.get("device_lists")
    parts = [to_device.get("events")] if isinstance(to_device, dict) else [to_device]
    parts += [lists.get("changed"), lists.get("left")] if isinstance(lists, dict) else [lists]
    return any(parts)


def _next_batch(answer: Mapping[str, Any]) -> str:
    position = answer.get("next_batch")
    if not isinstance(position, str) or not position:
        raise Later("the homeserver's /sync answer has no next_batch")
    return position


def seen_events(answer: Mapping[str, Any]) -> tuple[SeenEvent, ...]:
    """Event ids of joined and left rooms in a thin response, in the server's order; odd parts are passed over."""
    rooms = answer.get("rooms")
    found: list[SeenEvent] = []
    for kind in ("join", "leave"):
        part = rooms.get(kind) if isinstance(rooms, dict) else None
        for room_id, room in part.items() if isinstance(part, dict) else ():
            timeline = room.get("timeline") if isinstance(room, dict) else None
            if not isinstance(timeline, dict):
                continue
            before = timeline.get("prev_batch")
            limited = timeline.get("limited") is True
            for event in timeline.get("events") or ():
                if isinstance(event, dict) and isinstance(event.get("event_id"), str):
                    sender = event.get("sender")
                    found.append(
                        SeenEvent(
                            room_id,
                            event["event_id"],
                            sender if isinstance(sender, str) else "",
                            limited,
                            before if isinstance(before, str) else None,
                            str(event.get("type", "")),
                        )
                    )
    return tuple(found)

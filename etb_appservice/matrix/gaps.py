"""Finds the events that Synapse never pushed, and fetches them.

Synapse's queue for application services doesn't survive every restart of its own. The bot's `/sync` shows the same
events by another way:

    /sync shows an event ──> did the transaction bring it? ──yes──> nothing to do, nothing written
                                │ not within a fifth of a second
                                └──> expected, durably ──grace──> still not here: fetch it, accept it

Must never let the position of `/sync` pass an event that was neither accepted nor noted: `saw` returns when the
note is durable. Must never stop the service for one room that can't be read. Must never bring back what was
accepted long ago, nor let a membership that was overtaken pass as news.
"""

from collections.abc import Sequence

import structlog

from etb_appservice.domain.ids import EventId, RoomId, UserId
from etb_appservice.domain.outcomes import Broken, Failure, Refused
from etb_appservice.matrix.arrivals import Intake, is_id, is_user_id
from etb_appservice.matrix.keysync import SeenEvent
from etb_appservice.matrix.server import Homeserver, Json
from etb_appservice.ports import Clock, Expected, Store

_log = structlog.get_logger(__name__)

GRACE_S = 10.0
"""How long a transaction may be behind `/sync` before we fetch an event ourselves."""
_MOMENT_S = 0.2
_LOOK_EVERY_S = 0.02
_PAGE = 100
_PAGES = 50
"""At most 5,000 events of one room are looked at after an absence."""
_OLDEST_MS = 3 * 86_400_000
"""What is older is never taken from a gap. Keys of what was accepted are kept for longer than that (76 hours at
the least), so nothing that was acted upon once can look new here."""
_ROUND_S = 2.0
_IDLE_ROUNDS = 30


class GapFinder:
    """Give it what `/sync` shows; run it beside."""

    def __init__(
        self, store: Store, server: Homeserver, intake: Intake, clock: Clock, *, grace_s: float = GRACE_S
    ) -> None:
        self._store = store
        self._server = server
        self._intake = intake
        self._clock = clock
        self._grace_s = grace_s
        self._busy_until = 0.0
        self.fetched = 0
        """Events that only we found, since the start."""

    async def saw(self, events: Sequence[SeenEvent], since: str | None = None) -> None:
        """Take what a look at the rooms showed; at return it is durable, and the position may be stored.

        `since` is the position from which it looked: what came before it is history.
        Raises Later or Unsure: then look again from the old position.
        """
        due_ms = self._clock.now_ms() + int(self._grace_s * 1000)
        others = [event for event in events if not self._intake.is_act_of_ours(event.sender, event.type)]
        await self._note([(event.room_id, event.event_id) for event in others], due_ms, patience_s=_MOMENT_S)
        holes = {event.room_id: event.prev_batch for event in events if event.limited and event.prev_batch}
        for room_id, before in holes.items():
            await self._look_back(RoomId(room_id), before, due_ms, since)

    async def _look_back(self, room_id: RoomId, before: str, due_ms: int, since: str | None) -> None:
        """Page back through what the look left out: as far as `since`, or until a page holds nothing new to us."""
        oldest_ms = self._clock.now_ms() - _OLDEST_MS
        for number in range(1, _PAGES + 1):
            try:
                page, before = await self._server.messages(room_id, start=before, limit=_PAGE, to=since or "")
            except (Refused, Broken) as failure:
                _log.warning("a gap can't be read", room_id=room_id, error=str(failure))
                return
            older = [
                (room_id, event.get("event_id"))
                for event in reversed(page)
                if not self._intake.is_echo(event) and not _is_older(event, oldest_ms)
            ]
            new = await self._note(older, due_ms - number * _PAGE)
            if not before or (older and new == 0) or (page and all(_is_older(one, oldest_ms) for one in page)):
                return
        _log.warning("a gap is larger than we look back", room_id=room_id, events=_PAGE * _PAGES)

    async def _note(self, events: Sequence[tuple[object, object]], due_ms: int, *, patience_s: float = 0.0) -> int:
        """Write down those that no transaction brings in a moment; answers how many were new to us.

        Each falls due a millisecond after the one before it, so that they are fetched in the room's order.
        """
        missing = [
            Expected(room_id=RoomId(str(room_id)), event_id=EventId(str(event_id)), due_ms=due_ms + number)
            for number, (room_id, event_id) in enumerate(events)
            if is_id(room_id) and is_id(event_id)
        ]
        until = self._clock.monotonic() + patience_s
        while missing := [one for one in missing if not self._intake.has_recent(one.event_id)]:
            if self._clock.monotonic() >= until:
                break
            await self._clock.sleep(_LOOK_EVERY_S)
        if not missing:
            return 0
        async with self._store.work() as work:
            new = await work.gaps.expect(missing)
        if new:
            self._busy_until = self._clock.monotonic() + self._grace_s + 2 * _ROUND_S
        return new

    async def run(self) -> None:
        """Fetch what is overdue, for ever. Idle, it looks into the database once a minute."""
        idle = 0
        while True:
            if self._clock.monotonic() <= self._busy_until or idle % _IDLE_ROUNDS == 0:
                while await self.look():
                    pass
            idle += 1
            await self._clock.sleep(_ROUND_S)

    async def look(self) -> int:
        """Fetch and accept what is overdue now; answers how many events that brought."""
        async with self._store.work() as work:
            overdue = await work.gaps.overdue(self._clock.now_ms())
        found = 0
        for expected in overdue:
            try:
                found += await self._fetch(expected)
            except Refused as refusal:
                _log.warning("a missing event can't be fetched", room_id=expected.room_id, error=str(refusal))
                await self._settle(expected)
            except Failure as failure:
                _log.warning("fetching missing events waits", error=str(failure))
                self._busy_until = self._clock.monotonic() + 2 * _ROUND_S
                break
        if found:
            self.fetched += found
            _log.warning("events fetched that the homeserver had not sent", events=found)
        return found

    async def _fetch(self, expected: Expected) -> int:
        event = await self._server.event(expected.room_id, expected.event_id)
        new = 0
        if (
            event is not None
            and event.get("event_id") == expected.event_id
            and await self._still_holds(expected.room_id, event)
        ):
            new = await self._intake.accept([{**event, "room_id": expected.room_id}])
        await self._settle(expected)
        return new

    async def _still_holds(self, room_id: RoomId, event: Json) -> bool:
        """Whether a membership is what the room says now: an old join, fetched late, would undo a removal."""
        if event.get("type") != "m.room.member":
            return True
        user_id, content = event.get("state_key"), event.get("content")
        if not is_user_id(user_id) or not isinstance(content, dict):
            return False
        return await self._server.membership(room_id, UserId(str(user_id))) == content.get("membership")

    async def _settle(self, expected: Expected) -> None:
        async with self._store.work() as work:
            await work.gaps.settle(expected.event_id)


def _is_older(event: Json, oldest_ms: int) -> bool:
    """By the word of its sender's server; one that gives no time is taken for new."""
    sent_ms = event.get("origin_server_ts")
    return isinstance(sent_ms, int) and sent_ms < oldest_ms

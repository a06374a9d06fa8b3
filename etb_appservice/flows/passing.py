"""What people do in Matrix for a moment only, told to the sockets of their war room: who types, who has read.

    transaction ─► offer (never waits) ─► the latest of each, bounded ─► round ─► one view ─► Typing, ReadUpTo
                                                └─ a message that isn't decided yet: a few times more

Nothing of it is stored, nothing waits for it, and what is lost is lost: no commit, no inbox, no outbox. Told only
of whoever is in the room by our tables and may be there, never of ghosts and the bot: what web users do was told
before it went to Matrix. Who may hear it is the hub's to see to, as with all news.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Never

import structlog

from etb_appservice.domain.conversation import Person
from etb_appservice.domain.ids import EventId, RoomId, UserId, WarRoomId
from etb_appservice.domain.news import News, ReadUpTo, Typing
from etb_appservice.domain.passing import ReadSeen, Sign, TypingSeen
from etb_appservice.domain.policy import CommandPolicy, Policy
from etb_appservice.flows.mistakes import told
from etb_appservice.flows.pace import Pace
from etb_appservice.flows.permitted import circle_of, permissions
from etb_appservice.flows.record import person_of
from etb_appservice.ports import SHOWN, Broadcast, Clock, Message, Room, Store, Work

_log = structlog.get_logger(__name__)
TYPING_S = 120.0
"""After how long without a word about them somebody types no more: the homeserver tells when they stop."""
_ROUND_S = 0.2
"""How often at most something is told."""
_LOOK_S = 1.0
"""How often what is to be tried again, or has ended, is looked for."""
_TRIES = 5
_AGAIN_S = 1.0
"""A message is read before it is decided, or before Matrix has named it here."""
_MOST_ROOMS = 2000
_MOST_READERS = 2000
_MOST_READ = 8
"""Of one reader at once; the latest count."""
_MOST_REMEMBERED = 10_000
_PACE = CommandPolicy(per_minute=60, burst=20)
"""Of each person, for typing and for reading: who goes beyond it isn't shown typing, and shown reading later."""

_Reader = tuple[RoomId, UserId]
_Thread = tuple[WarRoomId, UserId, EventId | None]
"""What somebody has read of a thread, or of what is in none, says nothing of the others."""


@dataclass(frozen=True, slots=True)
class _Read:
    """A receipt that isn't told yet."""

    seen: ReadSeen
    due_s: float
    tries: int = _TRIES


@dataclass(frozen=True, slots=True)
class _Typist:
    """Somebody who was told of as typing."""

    war_room: WarRoomId
    person: Person
    until_s: float

    def says(self, *, is_typing: bool) -> Typing:
        return Typing(war_room=self.war_room, person=self.person, is_typing=is_typing)


class Passing:
    """Belongs to one event loop."""

    def __init__(self, store: Store, policy: Policy, broadcast: Broadcast, clock: Clock) -> None:
        self._store = store
        self._policy = policy
        self._broadcast = broadcast
        self._clock = clock
        self._something = asyncio.Event()
        self._typing: dict[RoomId, frozenset[UserId]] = {}
        self._reading: dict[_Reader, dict[EventId, _Read]] = {}
        self._typists: dict[RoomId, dict[UserId, _Typist]] = {}
        self._read: OrderedDict[_Thread, int] = OrderedDict()
        """How far each was told to have read, by position."""
        self._paces = Pace(_PACE), Pace(_PACE)

    def offer(self, signs: Sequence[Sign]) -> None:
        """Take what a transaction told; never waits or raises. What is too much is dropped."""
        now_s = self._clock.monotonic()
        for sign in signs:
            if isinstance(sign, TypingSeen):
                if sign.room_id in self._typing or len(self._typing) < _MOST_ROOMS:
                    self._typing[sign.room_id] = sign.user_ids
            elif not self._policy.is_ours(sign.user_id):
                self._offer_read(sign, now_s)
        if self._typing or self._reading:
            self._something.set()

    async def run(self) -> Never:
        """Tell it, for ever; whatever fails, what was under way is lost and nothing else."""
        while True:
            await self._until_something()
            try:
                await self.round()
            except Exception as error:  # noqa: BLE001 - nobody may miss anything else for want of this
                _log.warning("what people do for a moment could not be told", **told(error))
            await self._clock.sleep(_ROUND_S)

    async def round(self) -> None:
        """Tell what waits, and that what has lasted too long is over."""
        now_s = self._clock.monotonic()
        typing, self._typing = self._typing, {}
        reading = self._due(now_s)
        news: list[News] = [*self._stopped(typing, now_s)]
        starting = {room_id: found for room_id, ids in typing.items() if (found := self._new(room_id, ids))}
        if starting or reading:
            async with self._store.view() as view:
                for room_id in dict.fromkeys((*starting, *reading)):
                    starts, reads = starting.get(room_id, ()), reading.get(room_id, ())
                    news += await self._in_room(view, room_id, starts, reads, now_s)
        if news:
            self._broadcast.tell(news)

    # --- what waits ---------------------------------------------------------------------------------------

    def _offer_read(self, seen: ReadSeen, now_s: float) -> None:
        reader = (seen.room_id, seen.user_id)
        waiting = self._reading.get(reader)
        if waiting is None:
            if len(self._reading) >= _MOST_READERS:
                return
            waiting = self._reading[reader] = {}
        waiting.pop(seen.event_id, None)
        waiting[seen.event_id] = _Read(seen, now_s)
        if len(waiting) > _MOST_READ:
            del waiting[next(iter(waiting))]

    def _due(self, now_s: float) -> Mapping[RoomId, Sequence[_Read]]:
        """Receipts whose time has come, taken out."""
        due: dict[RoomId, list[_Read]] = {}
        for (room_id, user_id), waiting in list(self._reading.items()):
            now = [one for one in waiting.values() if one.due_s <= now_s]
            if not now:
                continue
            is_allowed = self._paces[1].allows(user_id, now_s)
            for read in now:
                if is_allowed:
                    del waiting[read.seen.event_id]
                else:
                    waiting[read.seen.event_id] = replace(read, due_s=now_s + _AGAIN_S)
            if is_allowed:
                due.setdefault(room_id, []).extend(now)
            if not waiting:
                del self._reading[room_id, user_id]
        return due

    async def _until_something(self) -> None:
        try:
            async with asyncio.timeout(_LOOK_S if self._reading or self._typists else None):
                await self._something.wait()
        except TimeoutError:
            return
        self._something.clear()

    # --- typing -------------------------------------------------------------------------------------------

    def _stopped(self, typing: Mapping[RoomId, frozenset[UserId]], now_s: float) -> Iterator[Typing]:
        """Of whom it was told, and who types no more; the others go on."""
        for room_id, typists in list(self._typists.items()):
            listed = typing.get(room_id)
            for user_id, typist in list(typists.items()):
                if listed is not None and user_id in listed:
                    typists[user_id] = replace(typist, until_s=now_s + TYPING_S)
                elif listed is not None or typist.until_s <= now_s:
                    del typists[user_id]
                    yield typist.says(is_typing=False)
            if not typists:
                del self._typists[room_id]

    def _new(self, room_id: RoomId, user_ids: Collection[UserId]) -> Sequence[UserId]:
        """Of whom it wasn't told yet."""
        known = self._typists.get(room_id, {})
        return [one for one in sorted(user_ids) if one not in known and not self._policy.is_ours(one)]

    # --- telling ------------------------------------------------------------------------------------------

    async def _in_room(
        self, view: Work, room_id: RoomId, starting: Sequence[UserId], reading: Sequence[_Read], now_s: float
    ) -> Sequence[News]:
        room = await view.rooms.by_id(room_id)
        if room is None or room.kind != "incident" or not room.is_current or room.incident_id is None:
            return ()
        there = await self._there(view, room, {*starting, *(one.seen.user_id for one in reading)})
        typists = [self._typist(room, one, now_s) for one in starting if one in there]
        news: list[News] = [one.says(is_typing=True) for one in typists if one is not None]
        return [
            *news,
            *await self._reads(view, room, [one for one in reading if one.seen.user_id in there], now_s),
        ]

    async def _reads(self, view: Work, room: Room, reading: Sequence[_Read], now_s: float) -> Sequence[ReadUpTo]:
        messages = await view.messages.by_events({one.seen.event_id for one in reading})
        furthest: dict[_Thread, Message] = {}
        for read in reading:
            event_id = read.seen.event_id
            # Clients mark the last thing they show. Whoever has seen a reaction has read what it is to.
            message = messages.get(event_id) or await view.messages.of_reaction(event_id)
            if message is None:
                self._later(read, now_s)
            elif self._is_here(room, message):
                thread = (room.war_room, read.seen.user_id, message.thread_root)
                if message.position > max(self._read.get(thread, 0), _position(furthest.get(thread))):
                    furthest[thread] = message
        for thread, message in furthest.items():
            self._remember(thread, message.position)
        return [
            ReadUpTo(war_room=room.war_room, person=person_of(user_id, self._policy), message_id=message.id)
            for (_, user_id, _), message in furthest.items()
        ]

    async def _there(self, view: Work, room: Room, user_ids: Collection[UserId]) -> Collection[UserId]:
        """Those of them who are in the room and may be: a homeserver can name anybody of its own."""
        present = await view.rooms.present(room.room_id) if room.room_id else {}
        joined = {one for one in user_ids if present.get(one) == "join"}
        found = await permissions(view, await circle_of(view, room), joined, self._policy) if joined else {}
        return {user_id for user_id, one in found.items() if one.allowed}

    def _typist(self, room: Room, user_id: UserId, now_s: float) -> _Typist | None:
        """From now on they type; None where they begin too often."""
        if room.room_id is None or not self._paces[0].allows(user_id, now_s):
            return None
        if room.room_id not in self._typists and len(self._typists) >= _MOST_ROOMS:
            return None
        typist = _Typist(room.war_room, person_of(user_id, self._policy), now_s + TYPING_S)
        self._typists.setdefault(room.room_id, {})[user_id] = typist
        return typist

    def _later(self, read: _Read, now_s: float) -> None:
        """Try again a few times: it may be no message, and nobody is told of those."""
        if read.tries > 1:
            again = replace(read, tries=read.tries - 1, due_s=now_s + _AGAIN_S)
            waiting = self._reading.setdefault((read.seen.room_id, read.seen.user_id), {})
            waiting.setdefault(read.seen.event_id, again)

    def _remember(self, thread: _Thread, position: int) -> None:
        self._read[thread] = position
        self._read.move_to_end(thread)
        if len(self._read) > _MOST_REMEMBERED:
            self._read.popitem(last=False)

    @staticmethod
    def _is_here(room: Room, message: Message) -> bool:
        """Whether it is a message of this room that is shown."""
        is_of_it = message.lane == room.incident_id and message.room_id == room.room_id
        return is_of_it and message.state in SHOWN


def _position(message: Message | None) -> int:
    return message.position if message is not None else 0

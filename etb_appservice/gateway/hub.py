"""The hub: news of war rooms, to every socket that is open there. The real `ports.Broadcast`.

    commit ─► tell ─┬─► the war room's line, in order ─► one view ─► rights ─► a frame per distinct view ─► seats
                    └─► the relay, to other processes ─► heard ─► the same

A war room has a line of its own: a slow one holds up no other, a slow seat holds up nobody. Before anything is
shown, whoever may be there no longer is out. Nothing is kept: whoever missed something asks for the history.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import dataclass, field

import structlog

from etb_appservice.domain.ids import Username, WarRoomId
from etb_appservice.domain.news import News, RightsChanged
from etb_appservice.flows.mistakes import told
from etb_appservice.gateway.entry import Entered, Entry
from etb_appservice.gateway.readers import Telling
from etb_appservice.gateway.seat import FAULT, NO_ACCESS, Seat, rendered
from etb_appservice.gateway.telling import Shows, tellings_of
from etb_appservice.ports import Room, Store, Work

_log = structlog.get_logger(__name__)
_MOST_LINE = 2000
"""How much news of one war room may wait; beyond it its sockets are better off with the history."""
_AT_ONCE = 50
"""How much of it is read in one view."""
MISSED = "Some news was missed. Connect again and ask for the history."
WITHDRAWN = "You may no longer be in this room."
Relay = Callable[[Sequence[News]], None]
"""Passes news on to other processes; never waits or raises."""


@dataclass(eq=False, slots=True)
class _Line:
    """A war room in which somebody sits."""

    room: Room
    stamp: tuple[int, ...] | None
    """As of when everybody's right to be here was looked at; None: not everybody's."""
    seats: dict[Seat, None] = field(default_factory=dict)
    waiting: deque[News] = field(default_factory=deque)
    task: asyncio.Task[None] | None = None


class Hub:
    """Belongs to one event loop."""

    def __init__(self, store: Store, entry: Entry, shows: Shows) -> None:
        self._store = store
        self._entry = entry
        self._shows = shows
        self._relay: Relay | None = None
        self._lines: dict[WarRoomId, _Line] = {}

    def through(self, relay: Relay) -> None:
        """Tell other processes too."""
        self._relay = relay

    # --- who sits where -----------------------------------------------------------------------------------

    def join(self, seat: Seat, entered: Entered) -> None:
        """From now on it is told what happens."""
        line = self._lines.setdefault(seat.war_room, _Line(entered.room, entered.stamp))
        line.seats[seat] = None
        if line.stamp != entered.stamp:
            line.stamp = None
        if self._entry.stamp(entered.room) != entered.stamp:
            self.look_again(seat.war_room)

    def leave(self, seat: Seat) -> None:
        """It is told nothing any more; repeating is safe."""
        line = self._lines.get(seat.war_room)
        if line is None:
            return
        line.seats.pop(seat, None)
        if not line.seats:
            # A line that is still at work finds nobody and ends.
            del self._lines[seat.war_room]

    def online(self, war_room: WarRoomId) -> Collection[Username]:
        """Whose sockets are open in a war room, at this process."""
        line = self._lines.get(war_room)
        return {seat.username for seat in line.seats if seat.is_open} if line else ()

    # --- ports.Broadcast ----------------------------------------------------------------------------------

    def tell(self, news: Sequence[News]) -> None:
        """Of a commit of this process."""
        self.heard(news)
        if self._relay is not None:
            self._relay(news)

    def heard(self, news: Sequence[News]) -> None:
        """Of a commit of any process: to whoever sits here."""
        for one in news:
            line = self._lines.get(one.war_room)
            if line is None:
                continue
            if len(line.waiting) >= _MOST_LINE:
                self._clear(line)
                continue
            line.waiting.append(one)
            if line.task is None:
                line.task = asyncio.get_running_loop().create_task(self._work_off(one.war_room, line))

    def missed(self) -> None:
        """News of other processes was lost: only the history shows all of it."""
        for line in list(self._lines.values()):
            self._clear(line)

    def look_again(self, war_room: WarRoomId) -> None:
        """Ask whether everybody may still be there, for whatever reason of this process's own."""
        self.heard((RightsChanged(war_room=war_room),))

    def look(self, now_ms: int, *, everywhere: bool) -> None:
        """The same wherever the answer may have changed; `everywhere`: also where nothing shows that it has."""
        for war_room, line in list(self._lines.items()):
            is_overdue = any(seat.is_overdue(now_ms) for seat in line.seats)
            if everywhere or is_overdue or self._entry.stamp(line.room) != line.stamp:
                self.look_again(war_room)

    def _clear(self, line: _Line) -> None:
        line.waiting.clear()
        for seat in line.seats:
            seat.close(FAULT, MISSED)

    # --- the line of a war room ---------------------------------------------------------------------------

    async def _work_off(self, war_room: WarRoomId, line: _Line) -> None:
        try:
            while line.waiting and line.seats:
                news = [line.waiting.popleft() for _ in range(min(len(line.waiting), _AT_ONCE))]
                for telling in await self._read(war_room, line, news):
                    _tell(line, telling)
        except Exception as error:  # noqa: BLE001 - whatever failed: they are told to come back, and nobody waits
            _log.error("news could not be shown", **told(error))
            self._clear(line)
        finally:
            line.waiting.clear()
            line.task = None

    async def _read(self, war_room: WarRoomId, line: _Line, news: Sequence[News]) -> Sequence[Telling]:
        """What is told of it; whoever may be here no longer is out by then."""
        # Taken before the view in which the answer is read: a commit between the two shows at the next news.
        stamp = self._entry.stamp(line.room)
        async with self._store.view() as work:
            room = await work.rooms.by_war_room(war_room)
            if room is None:
                return ()
            is_due = stamp != line.stamp or any(isinstance(one, RightsChanged) for one in news)
            if is_due or any(seat.is_overdue(work.now_ms()) for seat in line.seats):
                await self._look(work, room, line)
                line.stamp = stamp
            return await tellings_of(work, room, news, self._shows)

    async def _look(self, work: Work, room: Room, line: _Line) -> None:
        """Close whoever may not be here."""
        seats = list(line.seats)
        found = await self._entry.still(work, room, [seat.caller for seat in seats])
        for seat in seats:
            now = found[seat.username]
            if now.allowed:
                seat.may(now)
            else:
                seat.close(NO_ACCESS, WITHDRAWN)


def _tell(line: _Line, telling: Telling) -> None:
    """Each distinct view is rendered once."""
    made: dict[Hashable, bytes] = {}
    for seat in line.seats:
        username = seat.username
        if not seat.is_open or not telling.is_for(username, seat.up_to):
            continue
        view = telling.view(username, seat.up_to)
        if view not in made:
            made[view] = rendered(telling.frame_for(username, seat.up_to))
        seat.offer(made[view])

"""The queues of a running service: who works on inbox and outbox, and how they learn that there is work.

    inbox (lanes) ─► intake.step        outbox, rooms ─► outbox.step        outbox, ETB ─► outbox.step, once ETB's
                                                                                           places were found
A wake before there is anybody to wake does nothing: whoever begins to work looks everywhere.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from etb_appservice.domain.effects import is_etb, urgency_of
from etb_appservice.domain.ids import RoomId
from etb_appservice.flows.gate import PATIENT, USUAL
from etb_appservice.flows.lanes import LaneRunner, Step
from etb_appservice.ops.metrics import Metrics
from etb_appservice.ports import Clock, Store

_UNTIL_FOUND_S = 5.0
_CALLS = 8
"""To the homeserver at once for what is to be done. Synapse works on one after another: more of them make no room
sooner, and all that people send and read later."""


def rank_of_target(target: str) -> int:
    """Rooms are opened by severity, and after everything that is to be said in rooms which are there."""
    urgency = urgency_of(target)
    return USUAL if urgency is None else PATIENT + urgency


@dataclass(slots=True)
class LaneMap:
    """Which lane a room's events belong to; a room that isn't here has a lane of its own until it is bound."""

    lanes: dict[RoomId, str] = field(default_factory=dict)

    def of(self, room_id: str) -> str:
        """The lane of a room."""
        return self.lanes.get(RoomId(room_id), room_id)

    def bind(self, room_id: RoomId, lane: str) -> None:
        """From now on the room's events go to this lane."""
        self.lanes[room_id] = lane

    async def load(self, store: Store) -> None:
        """After a start: the rooms of incidents."""
        async with store.view() as view:
            for room in await view.rooms.all_current():
                if room.room_id and room.incident_id:
                    self.bind(room.room_id, room.incident_id)


class Queues:
    """Two runners for the outbox: an ETB that answers slowly must not take the places of messages."""

    def __init__(self, store: Store, clock: Clock, *, is_found: Callable[[], bool]) -> None:
        """`is_found`: whether it is known where ETB has its incidents."""
        self._store = store
        self._clock = clock
        self._is_found = is_found
        self._inbox: LaneRunner | None = None
        self._outbox: LaneRunner | None = None
        self._etb_outbox: LaneRunner | None = None

    def open(self, intake: Step, outbox: Step) -> None:
        """Whose steps they are. From now on they can be woken, and work once they `begin`."""
        self._inbox = LaneRunner(intake, self._busy_lanes, self._soonest_in, self._clock)
        self._outbox = LaneRunner(
            outbox,
            self._busy_rooms,
            self._soonest_out,
            self._clock,
            most=_CALLS,
            most_patient=_CALLS // 2,
            rank_of=rank_of_target,
        )
        to_etb = self._once_found(outbox)
        self._etb_outbox = LaneRunner(to_etb, self._busy_etb, self._soonest_out, self._clock, most=4)

    def begin(self, group: asyncio.TaskGroup) -> None:
        """Work until the group is cancelled."""
        runners = {"inbox": self._inbox, "outbox": self._outbox, "outbox to etb": self._etb_outbox}
        for name, runner in runners.items():
            if runner:
                group.create_task(runner.run(), name=name)

    def wake_inbox(self, lanes: Sequence[str] = ()) -> None:
        """Something was accepted."""
        if self._inbox:
            self._inbox.wake(lanes)

    def wake_talk(self, lanes: Sequence[str]) -> None:
        """Something came from a room: people wait for answers, so it comes before what ETB reports."""
        if self._inbox:
            self._inbox.wake((), lanes)

    def wake(self, lanes: Sequence[str], targets: Sequence[str], urgent: Sequence[str] = ()) -> None:
        """Something is to be done in these lanes and at these targets; without any: look everywhere."""
        if lanes and self._inbox:
            self._inbox.wake(lanes)
        of_etb = [target for target in targets if is_etb(target)]
        of_rooms = [target for target in targets if not is_etb(target)]
        if of_rooms and self._outbox:
            self._outbox.wake(of_rooms, urgent)
        if of_etb and self._etb_outbox:
            self._etb_outbox.wake(of_etb)
        if not lanes and not targets:
            for runner in (self._inbox, self._outbox, self._etb_outbox):
                if runner:
                    runner.wake()

    async def measure(self, metrics: Metrics) -> None:
        """Depth and age of the queues, for the metrics; asked for by each scrape."""
        now = self._clock.now_ms()
        async with self._store.view() as view:
            inbox, outbox = await view.inbox.depth(now), await view.outbox.depth(now)
            metrics.rooms(await view.rooms.count())
        metrics.depth("inbox", *inbox)
        metrics.depth("outbox", *outbox)

    def _once_found(self, step: Step) -> Step:
        """Nothing is written to ETB by a guess where it belongs: a wrong place answers 404, which is final."""

        async def found_step(target: str) -> bool | float:
            return await step(target) if self._is_found() else _UNTIL_FOUND_S

        return found_step

    async def _busy_lanes(self) -> Sequence[str]:
        async with self._store.work() as work:
            return await work.inbox.lanes(self._clock.now_ms())

    async def _busy_rooms(self) -> Sequence[str]:
        async with self._store.view() as view:
            return [target for target in await view.outbox.targets() if not is_etb(target)]

    async def _busy_etb(self) -> Sequence[str]:
        async with self._store.view() as view:
            return [target for target in await view.outbox.targets() if is_etb(target)]

    async def _soonest_in(self) -> int | None:
        async with self._store.view() as view:
            return await view.inbox.soonest_ms()

    async def _soonest_out(self) -> int | None:
        async with self._store.view() as view:
            return await view.outbox.soonest_ms()

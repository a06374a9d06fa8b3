"""`etb-appservice setup`: a room for every open incident. Safe to repeat.

Runs beside a running service, which then does the work, or does it itself where none runs.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from etb_appservice.app.foundation import Foundation, foundation
from etb_appservice.app.house import House
from etb_appservice.app.run import become_bot, leadership_lost, listening
from etb_appservice.config import Settings
from etb_appservice.domain.ids import IncidentId
from etb_appservice.etb.codec import IncidentDecoder
from etb_appservice.ops.metrics import Metrics
from etb_appservice.store.errors import NotLeader
from etb_appservice.store.leader import leadership

_LOOK_EVERY_S = 0.25
_GIVE_UP_AFTER_S = 120.0
Progress = Callable[[int, int], None]
"""Told (done, all) as rooms come into being."""


@dataclass(frozen=True, slots=True)
class SetupReport:
    """What there is now. `missing`: open incidents whose room was not there when we stopped waiting."""

    rooms: int
    missing: int


async def setup(settings: Settings, *, progress: Progress) -> SetupReport:
    """Have them made; raises StoreError, Refused, Later and Broken with what to do."""
    try:
        async with (
            leadership(settings.database.etb_url, leadership_lost, wait=False),
            foundation(settings) as base,
        ):
            return await _alone(base, progress=progress)
    except NotLeader:
        async with foundation(settings) as base:
            return await _asked_for(base, progress=progress)


async def _alone(base: Foundation, *, progress: Progress) -> SetupReport:
    """No service runs: be it for as long as it takes."""
    house = House(base, Metrics())
    async with listening(base.settings, house):
        established = await become_bot(base)
        working = asyncio.ensure_future(house.run(established))
        asking = asyncio.ensure_future(_asked_for(base, progress=progress))
        try:
            await asyncio.wait({working, asking}, return_when=asyncio.FIRST_COMPLETED)
            return asking.result() if asking.done() else working.result() or await asking
        finally:
            for task in (asking, working):
                task.cancel()
            await asyncio.gather(working, asking, return_exceptions=True)


async def _asked_for(base: Foundation, *, progress: Progress) -> SetupReport:
    """Put the open incidents into the inbox, and watch the rooms come."""
    wanted = await _accept_open(base)
    there = await _watch(base, wanted, progress)
    return SetupReport(there, len(wanted) - there)


async def _accept_open(base: Foundation) -> Sequence[IncidentId]:
    """Every open incident of ETB, accepted as if it were seen now."""
    decoder = IncidentDecoder(base.etb.connection)
    now = str(base.clock.now_ms())
    wanted: list[IncidentId] = []
    await base.modules.settle()
    async for page in base.etb.pages(base.modules.paths.path("incidents.list"), {}):
        arrivals = []
        for row in page:
            if not decoder.is_open(row):
                continue
            arrival = decoder.arrival(row, via="setup", event="setup", moment=now)
            arrivals.append(arrival)
            if arrival.park_reason is None:
                wanted.append(IncidentId(arrival.lane))
        async with base.store.work() as work:
            await work.inbox.accept(arrivals)
    return wanted


async def _watch(base: Foundation, wanted: Sequence[IncidentId], progress: Progress) -> int:
    """Wait until each has its room, or nothing has come for a while."""
    there, last_came = -1, base.clock.monotonic()
    while True:
        count = 0
        async with base.store.view() as view:
            for incident_id in wanted:
                room = await view.rooms.of_incident(incident_id)
                count += room is not None and room.card_event is not None
        progress(count, len(wanted))
        if count > there:
            there, last_came = count, base.clock.monotonic()
        if count == len(wanted) or base.clock.monotonic() - last_came > _GIVE_UP_AFTER_S:
            return count
        await base.clock.sleep(_LOOK_EVERY_S)

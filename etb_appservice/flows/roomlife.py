"""A room's life besides its work: how it ends, comes back, is announced, goes on elsewhere, minds devices.

One door for `decide`, so that each part stays a flow of its own.
"""

from dataclasses import dataclass
from typing import assert_never

from etb_appservice.domain.facts import (
    AnnouncementDue,
    BreakGlassEnds,
    BreakGlassGiven,
    BreakGlassReviewDue,
    DeviceDue,
    DevicesSeen,
    DuplicateFound,
    EventDisowned,
    Fact,
    HoldsSeen,
    IncidentDoubted,
    ReadOnlyDue,
    RoomAsked,
    RoomChangeAsked,
    StateChanged,
    SweepDue,
    TombstoneSeen,
)
from etb_appservice.domain.ids import IncidentId
from etb_appservice.flows import holds
from etb_appservice.flows.announcements import announcement_due
from etb_appservice.flows.breakglass import BreakGlasses, GlassFact
from etb_appservice.flows.cadence import Cadences
from etb_appservice.flows.closings import Closings
from etb_appservice.flows.devices import DevicesNow, UnsignedDevices
from etb_appservice.flows.guard import StateGuard
from etb_appservice.flows.incidents import Fetched
from etb_appservice.flows.missing import Missing, Presence, Swept
from etb_appservice.flows.turn import Turn
from etb_appservice.flows.upgrades import Upgrades
from etb_appservice.flows.webrooms import WebRooms
from etb_appservice.ports import Store

LifeFact = (
    ReadOnlyDue
    | DuplicateFound
    | IncidentDoubted
    | SweepDue
    | AnnouncementDue
    | TombstoneSeen
    | StateChanged
    | DevicesSeen
    | DeviceDue
    | GlassFact
    | EventDisowned
    | RoomAsked
    | RoomChangeAsked
    | HoldsSeen
)
LifeLook = Presence | Swept | DevicesNow


@dataclass(frozen=True, slots=True)
class RoomLife:
    """Its parts."""

    store: Store
    closings: Closings
    missing: Missing
    upgrades: Upgrades
    guard: StateGuard
    devices: UnsignedDevices
    glass: BreakGlasses
    web: WebRooms
    cadences: Cadences

    async def look(self, fact: Fact) -> LifeLook | None:
        """What deciding needs from outside."""
        match fact:
            case IncidentDoubted(incident_id=incident_id):
                return await self.missing.look(incident_id)
            case SweepDue():
                async with self.store.view() as view:
                    return await self.missing.silent(view)
            case DeviceDue():
                return await self.devices.look(self.store, fact)
            case _:
                return None

    async def follow(self, turn: Turn, incident_id: IncidentId) -> None:
        """Bring the room to where its incident is: what depends on whether it is open. Repeatable."""
        await self.cadences.follow(turn, incident_id)
        await self.closings.follow(turn, incident_id)
        await holds.follow(turn, incident_id)

    async def due(self, turn: Turn, fact: LifeFact, looked: object) -> None:
        """Decide one of its facts."""
        match fact:
            case ReadOnlyDue():
                await self.closings.read_only_due(turn, fact)
            case DuplicateFound():
                await self.closings.duplicate_found(turn, fact)
            case IncidentDoubted():
                presence = looked if isinstance(looked, Presence) else Presence.UNKNOWN
                await self.missing.doubted(turn, fact, presence)
            case SweepDue():
                await self.missing.sweep_due(turn, looked if isinstance(looked, Swept) else Swept(()))
            case AnnouncementDue():
                await announcement_due(turn, fact)
            case BreakGlassGiven() | BreakGlassEnds() | BreakGlassReviewDue():
                await self.glass.due(turn, fact)
            case TombstoneSeen():
                await self.upgrades.replaced(turn, fact)
            case StateChanged():
                await self.guard.changed(turn, fact)
            case DevicesSeen():
                await self.devices.seen(turn, fact)
            case DeviceDue():
                await self.devices.due(turn, fact, looked if isinstance(looked, DevicesNow) else None)
            case EventDisowned():
                await self.guard.disowned(turn, fact)
            case RoomAsked():
                await self.web.asked(turn, fact, looked if isinstance(looked, Fetched) else None)
            case RoomChangeAsked():
                await self.web.changed(turn, fact)
            case HoldsSeen():
                await holds.seen(turn, fact)
            case _:
                assert_never(fact)

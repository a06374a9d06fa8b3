"""ETB in memory: `EtbReads` and `EtbHands` for tests of flows, with switches for bad days.

tests/contract/etb runs the same promises on this and on the real adapter.
"""

import asyncio
from dataclasses import dataclass, field, replace

from etb_appservice.domain.effects import AddTimelineEntry, EtbEffect
from etb_appservice.domain.facts import Done
from etb_appservice.domain.ids import IncidentId, Username
from etb_appservice.domain.incident import Deadline, EtbUser, Incident, OnCall
from etb_appservice.domain.outcomes import Failure, Later, Refused, Unsure
from etb_appservice.etb.parse import FINISHED_SLA
from etb_appservice.ports import Try


@dataclass
class FakeEtb:
    """Fill the tables; set `trouble` to have every call raise it, or `gate` to have every call wait for it."""

    incidents: dict[IncidentId, Incident] = field(default_factory=dict)
    sla: dict[IncidentId, list[Deadline]] = field(default_factory=dict)
    users: dict[Username, EtbUser] = field(default_factory=dict)
    duty: list[OnCall] = field(default_factory=list)
    timeline: list[AddTimelineEntry] = field(default_factory=list)
    trouble: Failure | None = None
    gate: asyncio.Event | None = None
    lose_answers: int = 0
    """So many writes are done, but their answers get lost: Unsure."""
    timeline_readable: bool = True
    calls: list[str] = field(default_factory=list)

    def down(self) -> None:
        """From now on ETB can't be reached."""
        self.trouble = Later("ETB can't be reached")

    def refuse(self, code: str = "403") -> None:
        """From now on ETB says no."""
        self.trouble = Refused("ETB said no", code=code)

    def up(self) -> None:
        self.trouble = None

    # --- EtbReads -----------------------------------------------------------------------------------------

    async def incident(self, incident_id: IncidentId) -> Incident:
        await self._enter("incident")
        if incident_id not in self.incidents:
            raise Refused("ETB knows no such incident", code="404")
        return self.incidents[incident_id]

    async def deadlines(self, incident_id: IncidentId) -> tuple[Deadline, ...]:
        await self._enter("deadlines")
        running = [found for found in self.sla.get(incident_id, []) if found.status not in FINISHED_SLA]
        return tuple(sorted(running, key=lambda found: (found.target_ms, found.name)))

    async def on_call(self) -> tuple[OnCall, ...]:
        await self._enter("on_call")
        return tuple(sorted(set(self.duty), key=lambda found: (found.rotation, found.username)))

    async def user(self, username: Username) -> EtbUser | None:
        await self._enter("user")
        return self.users.get(username)

    # --- EtbHands -----------------------------------------------------------------------------------------

    async def do(self, effect: EtbEffect, attempt: Try) -> Done:
        await self._enter("do")
        if attempt.attempts > 0 or attempt.first_tried_ms is not None:
            if not self.timeline_readable:
                raise Unsure("an earlier try may have taken effect and can't be read back")
            if any(known.external_ref == effect.external_ref for known in self.timeline):
                return Done(detail="found")
        if effect.incident_id not in self.incidents:
            raise Refused("ETB knows no such incident", code="404")
        self.timeline.append(replace(effect))
        if self.lose_answers:
            self.lose_answers -= 1
            raise Unsure("no answer")
        return Done(detail="created")

    async def _enter(self, call: str) -> None:
        self.calls.append(call)
        if self.gate is not None:
            await self.gate.wait()
        if self.trouble is not None:
            raise self.trouble

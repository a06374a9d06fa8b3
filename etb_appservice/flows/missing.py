"""Incidents that ETB may have no longer: deleted there, which no list of changes shows.

    a webhook says so, ETB refused a write, or nothing was heard of it for long ─► IncidentDoubted ─► ask ETB
        there ─► fine      no answer ─► asked again later      gone ─► asked again in some minutes ─► gone: deleted

Only a definite 404 for this very id counts, twice, while ETB's list of incidents answers and doesn't show it: an
outage, a wrong path or a module that is switched off must never end a room.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum

from etb_appservice.domain.facts import IncidentDoubted, PeopleDue, SweepDue
from etb_appservice.domain.ids import IncidentId
from etb_appservice.domain.outcomes import Failure, Refused
from etb_appservice.domain.policy import Policy
from etb_appservice.domain.text import plain
from etb_appservice.flows.turn import SERVICE_LANE, Turn
from etb_appservice.ports import EtbReads, Work

_CONFIRM_MS = 5 * 60_000
_ASK_AGAIN_MS = 10 * 60_000
_MOST_TRIES = 12
_SIGHTINGS = 2
_SWEEP_EVERY_MS = 3600 * 1000
_SILENT_MS = 6 * 3600 * 1000
_MOST_SWEPT = 50
_LIST_LIMIT_S = 10.0


class Presence(Enum):
    """What ETB says of an incident."""

    THERE = "there"
    GONE = "gone"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Swept:
    """Open incidents of which nothing was heard for long."""

    silent: tuple[IncidentId, ...]


async def doubt(turn: Turn, incident_id: IncidentId) -> None:
    """Something suggests that ETB has it no longer: looked at, at most once an hour."""
    hour = turn.now_ms // _SWEEP_EVERY_MS
    await turn.follow(
        IncidentDoubted(incident_id=incident_id), ("doubt", incident_id, str(hour)), lane=incident_id
    )


class Missing:
    """Finds incidents that were deleted. `etb` is read in `look` only, before the unit of work."""

    def __init__(self, etb: EtbReads, policy: Policy) -> None:
        self._etb = etb
        self._policy = policy

    async def look(self, incident_id: IncidentId) -> Presence:
        """Ask for the incident, and when it isn't there, whether ETB's incidents can be read at all."""
        try:
            async with asyncio.timeout(self._policy.commands.etb_wait_s):
                await self._etb.incident(incident_id)
        except Refused as no:
            if no.code != "404":
                return Presence.UNKNOWN
        except (Failure, TimeoutError):
            return Presence.UNKNOWN
        else:
            return Presence.THERE
        try:
            async with asyncio.timeout(_LIST_LIMIT_S):
                listed = await self._etb.incidents()
        except (Failure, TimeoutError):
            return Presence.UNKNOWN
        return Presence.UNKNOWN if any(one.id == incident_id for one in listed) else Presence.GONE

    async def silent(self, work: Work) -> Swept:
        """Open incidents that ETB has not confirmed for long, oldest first."""
        found: list[IncidentId] = []
        ids: Sequence[IncidentId] = await work.incidents.open_ids()
        for incident_id in ids:
            known = await work.incidents.get(incident_id)
            if known is not None and work.now_ms() - known.confirmed_ms > _SILENT_MS:
                found.append(incident_id)
            if len(found) == _MOST_SWEPT:
                break
        return Swept(tuple(found))

    async def keep_sweeping(self, turn: Turn) -> None:
        """The next sweep, at the next full hour; asked for twice, it comes once."""
        due = turn.now_ms // _SWEEP_EVERY_MS + 1
        await turn.follow(SweepDue(), ("sweep", str(due)), lane=SERVICE_LANE, due_ms=due * _SWEEP_EVERY_MS)

    async def sweep_due(self, turn: Turn, swept: Swept) -> None:
        """Ask ETB for what was silent, each in its own lane."""
        for incident_id in swept.silent:
            await doubt(turn, incident_id)
        await self.keep_sweeping(turn)

    async def doubted(self, turn: Turn, fact: IncidentDoubted, presence: Presence) -> None:
        """What ETB said when it was asked."""
        known = await turn.work.incidents.get(fact.incident_id)
        if known is None or known.incident.is_deleted:
            return
        match presence:
            case Presence.THERE:
                await turn.work.incidents.put(replace(known, confirmed_ms=turn.now_ms))
            case Presence.UNKNOWN if fact.tries + 1 < _MOST_TRIES:
                await self._again(turn, replace(fact, tries=fact.tries + 1), _ASK_AGAIN_MS)
            case Presence.UNKNOWN:
                pass
            case Presence.GONE if fact.sightings + 1 < _SIGHTINGS:
                await self._again(turn, replace(fact, sightings=fact.sightings + 1, tries=0), _CONFIRM_MS)
            case Presence.GONE:
                await turn.work.incidents.put(
                    replace(known, incident=replace(known.incident, is_deleted=True), confirmed_ms=turn.now_ms)
                )
                await turn.follow(PeopleDue(incident_id=fact.incident_id), ("people", turn.ref, "deleted"))
                await turn.note("incident.deleted", subject=fact.incident_id, details={"sightings": _SIGHTINGS})
                await turn.trouble(
                    ("deleted", fact.incident_id, turn.ref),
                    f"**{plain(known.incident.number)}** is no longer in ETB, or ETB no longer shows it to the "
                    "service's account. Its room is archived. If it should be there: give the account its rights "
                    "back, then `setup` brings the room back.",
                )

    async def _again(self, turn: Turn, fact: IncidentDoubted, after_ms: int) -> None:
        await turn.follow(fact, ("doubt again", turn.ref), lane=fact.incident_id, due_ms=turn.now_ms + after_ms)

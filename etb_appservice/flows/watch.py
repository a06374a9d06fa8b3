"""The watch over an open incident: when it is looked at next. Durable, and one look at a time.

    room opened, incident seen, page sent ─► plan n+1 ─► DutyDue(n+1) when it falls due ─► plan n+2 ...

Planning anew makes every earlier look void, so that however often a deadline moves, one look is to come.
"""

from dataclasses import replace

from etb_appservice.domain.facts import DutyDue
from etb_appservice.domain.ids import IncidentId, WarRoomId
from etb_appservice.domain.pages import WATCH, Watch
from etb_appservice.flows.turn import Turn
from etb_appservice.ports import Room

FIRST_LOOK_MS = 30_000
"""ETB may attach SLA targets a moment after it shows an incident."""
_LATE_MS = 60_000
"""A look that is later than this has been lost, such as by an operator's `queue drop`."""


async def begin(turn: Turn, room: Room, wait_ms: int = FIRST_LOOK_MS) -> None:
    """Watch an open incident from now on, unless it is watched already; a reopened one is watched again."""
    before = await turn.work.cases.get(room.war_room, Watch, WATCH)
    if room.incident_id is None or (before is not None and before.is_open):
        return
    watch = replace(before, is_open=True, due_ms=0) if before else Watch(opened_ms=turn.now_ms)
    await put_plan(turn, room.war_room, room.incident_id, watch, turn.now_ms + wait_ms)


async def look_soon(turn: Turn, room: Room) -> None:
    """ETB showed the incident: look at its deadlines at once."""
    if room.incident_id is None:
        return
    watch = await turn.work.cases.get(room.war_room, Watch, WATCH) or Watch(opened_ms=turn.now_ms)
    await put_plan(turn, room.war_room, room.incident_id, replace(watch, is_open=True), None)


async def look_by(turn: Turn, room: Room, due_ms: int) -> None:
    """See to it that the next look is not later than this."""
    watch = await turn.work.cases.get(room.war_room, Watch, WATCH)
    if watch is None or not watch.is_open or room.incident_id is None:
        return
    if not turn.now_ms - _LATE_MS < watch.due_ms <= due_ms:
        await put_plan(turn, room.war_room, room.incident_id, watch, due_ms)


async def put_plan(
    turn: Turn, war_room: WarRoomId, incident_id: IncidentId, watch: Watch, due_ms: int | None
) -> None:
    """Keep the watch, with its next look at `due_ms`; None: at once."""
    watch = replace(watch, plan=watch.plan + 1, due_ms=turn.now_ms if due_ms is None else due_ms)
    await turn.work.cases.put(war_room, watch)
    await turn.follow(
        DutyDue(incident_id=incident_id, plan=watch.plan),
        ("duty", war_room, str(watch.plan)),
        lane=incident_id,
        due_ms=due_ms,
    )

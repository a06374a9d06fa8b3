"""What an invitation may carry of the past: up to which level, and what that level is measured by.

A room's levels are written down in the commit that changes them, so that none is missed; of a room that is older
than this record, the time before its first entry is unknown and never shared.
"""

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.ids import Username, WarRoomId
from etb_appservice.domain.past import Levels
from etb_appservice.domain.policy import Policy
from etb_appservice.flows.turn import Turn
from etb_appservice.ports import Room


async def begins(turn: Turn, war_room: WarRoomId, level: Classification) -> None:
    """A room is asked for: it never had another level."""
    await turn.work.cases.put(war_room, Levels().then(0, level))


async def reclassified(turn: Turn, war_room: WarRoomId, level: Classification) -> None:
    """A room has another level from now on."""
    before = await turn.work.cases.get(war_room, Levels, Levels().id)
    await turn.work.cases.put(war_room, (before or Levels()).then(turn.now_ms, level))


async def history_up_to(turn: Turn, room: Room, username: Username, policy: Policy) -> Classification | None:
    """The clearance up to which somebody who is invited now may read what was said before; None: nothing."""
    if not room.encrypted or room.visibility != "shared" or policy.history_hours <= 0:
        return None
    if await turn.work.cases.get(room.war_room, Levels, Levels().id) is None:
        await reclassified(turn, room.war_room, room.classification)
    known = await turn.work.incidents.user(username)
    if known is None or turn.now_ms - known[1] > policy.commands.rights_hold_s * 1000:
        return None
    return known[0].clearance

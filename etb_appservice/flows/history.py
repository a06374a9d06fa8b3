"""What an invitation may carry of the past: up to which level, and what that level is measured by.

A room's levels are written down in the commit that changes them, so that none is missed; of a room that is older
than this record, the time before its first entry is unknown and never shared.
"""

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.ids import UserId, WarRoomId
from etb_appservice.domain.past import Levels
from etb_appservice.domain.policy import Policy
from etb_appservice.flows.permitted import permission
from etb_appservice.flows.turn import Turn
from etb_appservice.ports import Room

_NOTHING = frozenset({"clearance", "inactive", "outdated", "role"})


async def begins(turn: Turn, war_room: WarRoomId, level: Classification) -> None:
    """A room is asked for: it never had another level."""
    await turn.work.cases.put(war_room, Levels().then(0, level))


async def reclassified(turn: Turn, war_room: WarRoomId, level: Classification) -> None:
    """A room has another level from now on."""
    before = await turn.work.cases.get(war_room, Levels, Levels().id)
    await turn.work.cases.put(war_room, (before or Levels()).then(turn.now_ms, level))


async def history_up_to(turn: Turn, room: Room, user_id: UserId, policy: Policy) -> Classification | None:
    """Up to which level somebody whom we invite now may read what was said before; None: nothing of it."""
    if not room.encrypted or room.visibility != "shared" or policy.history_hours <= 0:
        return None
    if await turn.work.cases.get(room.war_room, Levels, Levels().id) is None:
        await reclassified(turn, room.war_room, room.classification)
    person = await permission(turn.work, room, user_id, policy)
    return None if person.why in _NOTHING else person.up_to

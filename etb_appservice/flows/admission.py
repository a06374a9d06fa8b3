"""Letting somebody into an incident whom ETB doesn't name for it, and inviting them at once.

Whether they may must have been decided before. Whoever was let in is looked at with everybody else from then on: a
clearance or an account that ETB takes away removes them.
"""

from typing import Literal

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.effects import Invite
from etb_appservice.domain.ids import RoomId, UserId, Username, WarRoomId
from etb_appservice.domain.roles import Admitted
from etb_appservice.flows.turn import Turn
from etb_appservice.ports import Room

Came = Literal["joined", "invited before", "banned", "invited"]


async def admit(
    turn: Turn,
    war_room: WarRoomId,
    username: Username,
    *,
    by: UserId,
    why: str,
    by_role: bool = False,
    by_web: bool = False,
) -> bool:
    """Count somebody among the incident's people; False when they were let in before.

    `by_role`: for a role in ETB alone, and for as long as they have it. `by_web`: they have no Matrix id.
    """
    before = await turn.work.cases.get(war_room, Admitted, username)
    if before is not None and before.is_open and (by_role or not before.by_role):
        return False
    entry = Admitted(
        id=username, username=username, by=by, at_ms=turn.now_ms, why=why, by_role=by_role, by_web=by_web
    )
    await turn.work.cases.put(war_room, entry)
    await turn.note("person.admitted", actor=by, subject=war_room, details={"user": username, "why": why})
    return True


async def bring_in(
    turn: Turn,
    room: Room,
    room_id: RoomId,
    user_id: UserId,
    *,
    by: UserId,
    history_up_to: Classification | None = None,
) -> Came:
    """Invite them, unless they are there, invited or banned; also whoever had left before."""
    match await turn.work.rooms.membership(room_id, user_id):
        case "join":
            return "joined"
        case "invite":
            return "invited before"
        case "ban":
            return "banned"
        case _:
            await turn.work.rooms.set_member(room_id, user_id, "invite")
            invite = Invite(room_id=room_id, user_id=user_id, history_up_to=history_up_to)
            await turn.emit(f"invite/{user_id}", invite)
            await turn.note(
                "person.invited", actor=by, subject=room.war_room, details={"user": user_id, "roles": "let in"}
            )
            return "invited"

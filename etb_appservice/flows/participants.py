"""Somebody is let into an incident, or put out of it, by whoever may do that: by command and by ETB's web pages.

Whether they may was decided before. Who has no Matrix id of their own takes part by ETB's pages alone.
"""

from dataclasses import replace

from etb_appservice.domain.breakglass import BreakGlass
from etb_appservice.domain.facts import PeopleDue
from etb_appservice.domain.guests import Guest
from etb_appservice.domain.ids import IncidentId, RoomId, UserId, Username, WarRoomId
from etb_appservice.domain.policy import Policy
from etb_appservice.domain.roles import Admitted
from etb_appservice.domain.rooms import INSIDE
from etb_appservice.flows.admission import Came, admit, bring_in
from etb_appservice.flows.comings import is_in, tell_of_change
from etb_appservice.flows.history import history_up_to
from etb_appservice.flows.removals import remove
from etb_appservice.flows.turn import Turn
from etb_appservice.ports import Room, Work

_REASON = "You were removed by whoever leads this incident. Ask them if you think that is a mistake."


async def let_in(
    turn: Turn, room: Room, room_id: RoomId, name: Username, user_id: UserId, policy: Policy, *, by: UserId
) -> Came:
    """Count them among the incident's people and invite them."""
    await count_in(turn, room, name, by=by)
    up_to = await history_up_to(turn, room, user_id, policy)
    return await bring_in(turn, room, room_id, user_id, by=by, history_up_to=up_to)


async def let_in_by_web(turn: Turn, room: Room, name: Username, policy: Policy, *, by: UserId) -> None:
    """Count somebody among the incident's people whom nothing can invite: they are in from now on."""
    was_in = await is_in(turn.work, room, name, policy)
    await count_in(turn, room, name, by=by, by_web=True)
    await tell_of_change(turn, room, name, policy, was_in=was_in)


async def count_in(turn: Turn, room: Room, name: Username, *, by: UserId, by_web: bool = False) -> None:
    """Count them among the incident's people, and have everybody looked at who belongs in its room."""
    incident_id = room.incident_id or IncidentId("")
    if await admit(turn, room.war_room, name, by=by, why="invited", by_web=by_web):
        await turn.follow(PeopleDue(incident_id=incident_id), ("people", turn.ref, "invites"))


async def put_out(
    turn: Turn, room: Room, user_id: UserId, username: Username | None, policy: Policy, *, by: UserId
) -> tuple[bool, bool]:
    """Out of the room, also as a ghost, and let in no longer.

    Answers whether they were in it, and whether they had been let in.
    """
    was_in = username is not None and await is_in(turn.work, room, username, policy)
    was_let_in = await _close(turn.work, room.war_room, user_id, username)
    if username is not None:
        await tell_of_change(turn, room, username, policy, was_in=was_in)
    is_service = policy.is_ours(user_id) and policy.ghosts.username(user_id) is None
    if room.room_id is None or is_service or user_id in policy.rooms.additional_creators:
        return False, was_let_in
    ghost = policy.ghosts.user_id(username) if username else None
    if ghost and ghost != user_id and await turn.work.rooms.membership(room.room_id, ghost) in INSIDE:
        await remove(turn, room.room_id, ghost, _REASON, policy)
    if await turn.work.rooms.membership(room.room_id, user_id) not in INSIDE:
        return False, was_let_in
    await remove(turn, room.room_id, user_id, _REASON, policy)
    await turn.note(
        "person.removed",
        actor=by,
        subject=room.war_room,
        details={"user": user_id, "why": "by command"},
    )
    return True, was_let_in


async def _close(work: Work, war_room: WarRoomId, user_id: UserId, username: Username | None) -> bool:
    """Undo by what they were let in; whether there was anything."""
    found = False
    grant = await work.cases.get(war_room, BreakGlass, user_id)
    if grant is not None and grant.is_open:
        await work.cases.put(war_room, replace(grant, is_open=False))
        found = True
    if username is None:
        return found
    admitted = await work.cases.get(war_room, Admitted, username)
    if admitted is not None and admitted.is_open:
        await work.cases.put(war_room, replace(admitted, is_open=False))
        found = True
    guest = await work.cases.get(war_room, Guest, username)
    if guest is not None:
        roles = tuple(role for role in guest.roles if role != "let in")
        await work.cases.put(war_room, replace(guest, roles=roles, stays=False))
    return found

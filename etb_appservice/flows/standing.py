"""How somebody stands to a room and its incident by our tables: what `clearance.decide` asks for."""

from etb_appservice.domain.clearance import Actor
from etb_appservice.domain.ids import UserId
from etb_appservice.domain.policy import Policy
from etb_appservice.domain.roles import shown
from etb_appservice.flows.surroundings import Surroundings, responders
from etb_appservice.ports import Room, Work


async def actor_of(
    work: Work, room: Room, user_id: UserId, policy: Policy, *, is_cross_signed: bool = False
) -> Actor:
    """Who acts. `is_cross_signed`: whether by a device that their own identity has signed."""
    username = policy.people.username(user_id)
    known = await work.incidents.user(username) if username else None
    if known and work.now_ms() - known[1] > policy.commands.rights_hold_s * 1000:
        known = None
    belongs = leads = False
    etb_roles = known[0].roles if known else ()
    incident = await work.incidents.get(room.incident_id) if room.incident_id else None
    if username and incident:
        people = await responders(work, incident.incident, room.classification, policy, Surroundings())
        held = {role for person in people if person.username == username for role in person.roles}
        belongs = bool(held) or policy.roles.lets_in(etb_roles, incident.incident.category)
        leads = shown("INCIDENT_COMMANDER") in held
    return Actor(
        user_id=user_id,
        username=username if known else None,
        clearance=known[0].clearance if known else None,
        is_active=known[0].is_active if known else False,
        is_operator=user_id in policy.operators,
        is_cross_signed=is_cross_signed,
        is_joined=room.room_id is not None and await work.rooms.membership(room.room_id, user_id) == "join",
        is_responder=belongs,
        is_commander=leads,
        roles=policy.roles.of(etb_roles),
    )

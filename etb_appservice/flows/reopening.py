"""Reopening an incident from elsewhere: where its room can't be written in any more, no command can be sent there.

Whoever may not know of the incident learns nothing: an unknown number and a forbidden one answer the same.
"""

from etb_appservice.domain.clearance import Actor, Right, decide
from etb_appservice.domain.closing import Closing
from etb_appservice.domain.effects import ChangeIncident
from etb_appservice.domain.incident import Incident
from etb_appservice.domain.policy import Policy
from etb_appservice.domain.text import plain
from etb_appservice.flows.call import Call
from etb_appservice.flows.commands import Answer
from etb_appservice.flows.standing import actor_of, subject_of
from etb_appservice.ports import Room, Work

OPEN = "OPEN"
_NONE = (
    "There is no closed incident of this number that you may reopen. That needs the role responder of the "
    "incident, or the role commander or admin, and a clearance that reaches its level."
)


async def reopen_elsewhere(call: Call, number: str) -> Answer:
    """For a command in the control room or a direct chat; its `then` answers once ETB has reopened it."""
    is_operator = call.room.kind == "control"
    found = [
        incident
        for room, incident in await ended(call.work)
        if incident.is_called(number) and (is_operator or await _may(call.work, room, call.actor, call.policy))
    ]
    if not found:
        return Answer(_NONE, "REFUSED")
    if len(found) > 1:
        return Answer(f"{len(found)} incidents have the number **{plain(number)}**. Reopen it in ETB.", "FAILED")
    [incident] = found
    match incident.ending:
        case "deleted":
            return Answer(f"**{plain(incident.number)}** is no longer in ETB.", "FAILED")
        case "duplicate":
            return Answer(f"**{plain(incident.number)}** is a duplicate. That is changed in ETB.", "FAILED")
        case _:
            return await call.etb(ChangeIncident(incident_id=incident.id, status=OPEN))


async def ended(work: Work) -> list[tuple[Room, Incident]]:
    """Every incident with a room that has ended, the longest ago first."""
    found: list[tuple[Room, Incident]] = []
    for war_room, _ in await work.cases.all_open(Closing):
        room = await work.rooms.by_war_room(war_room)
        known = await work.incidents.get(room.incident_id) if room and room.incident_id else None
        if room is not None and known is not None and known.incident.ending:
            found.append((room, known.incident))
    return found


async def _may(work: Work, room: Room, asker: Actor, policy: Policy) -> bool:
    actor = await actor_of(work, room, asker.user_id, policy, is_cross_signed=asker.is_cross_signed)
    return decide(actor, Right.RESPONDER, subject_of(room, policy)).allowed

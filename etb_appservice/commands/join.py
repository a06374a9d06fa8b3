"""`join`: into the room of an incident, for whoever is permitted."""

from etb_appservice.domain.clearance import Right
from etb_appservice.domain.facts import PeopleDue
from etb_appservice.domain.ids import war_room_id
from etb_appservice.domain.text import plain
from etb_appservice.flows.admission import admit, bring_in
from etb_appservice.flows.call import Call
from etb_appservice.flows.commands import CONTROL, DIRECT, Answer, command
from etb_appservice.flows.declared import room_link
from etb_appservice.flows.history import history_up_to
from etb_appservice.flows.partners import bring_in_theirs
from etb_appservice.flows.permitted import people_of
from etb_appservice.flows.standing import open_to

_REFUSAL = (
    "There is no open incident of this number that you may join. That needs the role responder of the incident, "
    "or the role commander or admin, and a clearance that reaches its level."
)


@command(needs=Right.MEMBER, where=CONTROL | DIRECT, example="join INC-1042")
async def join(call: Call, number: str) -> Answer:
    """Be invited to the room of an incident that you may join.

    Permitted are whoever belongs to it, and holders of the ETB roles that the configuration names for its category
    or calls commander or admin; all of them if their clearance reaches its level.
    """
    found = [one for one in await open_to(call.work, call.policy, call.actor) if one.is_called(number)]
    if len(found) > 1:
        return Answer(
            f"{len(found)} open incidents have the number **{plain(number)}**. Ask an operator.", "FAILED"
        )
    if not found:
        # An unknown number and a forbidden one answer the same: neither says what there is.
        return Answer(_REFUSAL, "REFUSED")
    [incident] = found
    turn, asker = call.turn, call.actor.user_id
    by_role = not call.actor.partner and call.username not in await people_of(call.work, incident)
    if not call.actor.partner and await admit(
        turn, war_room_id(incident.id), call.username, by=asker, why="asked to join", by_role=by_role
    ):
        await turn.follow(PeopleDue(incident_id=incident.id), ("people", turn.ref, "joins"), lane=incident.id)
    room = await call.work.rooms.of_incident(incident.id)
    name = plain(incident.number)
    if room is None or room.room_id is None:
        return Answer(f"The room of **{name}** is being opened. You are invited as soon as it is there.")
    link = f"[{name}]({room_link(room.room_id, call.policy)})"
    if call.actor.partner:
        came = await bring_in_theirs(turn, room, asker, call.policy, by=asker)
    else:
        up_to = await history_up_to(turn, room, asker, call.policy)
        came = await bring_in(turn, room, room.room_id, asker, by=asker, history_up_to=up_to)
    match came:
        case "later":
            return Answer(f"The room of **{name}** is being replaced. You are invited as soon as that is done.")
        case "joined":
            return Answer(f"You are in the room of {link} already.")
        case "invited before":
            return Answer(f"You are invited to the room of {link} already.")
        case "banned":
            return Answer(f"You were banned from the room of {link}. Ask an operator.", "FAILED")
        case "invited":
            return Answer(f"You are invited to the room of {link}.")

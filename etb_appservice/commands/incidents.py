"""`incidents`: the open incidents that the asker may know of, and no trace of the others."""

from etb_appservice.domain.clearance import Right
from etb_appservice.domain.incident import Incident, urgency
from etb_appservice.domain.text import plain
from etb_appservice.flows.call import Call
from etb_appservice.flows.commands import CONTROL, DIRECT, Answer, command
from etb_appservice.flows.declared import room_link
from etb_appservice.flows.standing import open_to
from etb_appservice.flows.surroundings import level_of

_MOST = 30


@command(needs=Right.MEMBER, where=CONTROL | DIRECT, reads_only=True)
async def incidents(call: Call) -> Answer:
    """List the open incidents that you may know of, most severe first.

    These are the ones you are a responder of and cleared for. `join` brings you into the room of one.
    """
    found = await open_to(call.work, call.policy, call.actor, to_operators=True)
    if not found:
        return Answer("There is no open incident that you may know of.")
    found.sort(key=lambda one: (urgency(one.severity), one.number))
    lines = [await _line(call, one) for one in found[:_MOST]]
    more = [f"… and {len(found) - _MOST} less severe ones."] if len(found) > _MOST else []
    rules = call.policy.rooms
    signed = any(rules.signed_devices_only("incident", level_of(one, call.policy)) for one in found)
    return Answer("\n".join(["**Open incidents**", "", *lines, "", *more]).rstrip(), signed_only=signed)


async def _line(call: Call, one: Incident) -> str:
    room = await call.work.rooms.of_incident(one.id)
    where = f"[room]({room_link(room.room_id, call.policy)})" if room and room.room_id else "room not open yet"
    status = plain(one.status).replace("\\_", " ")
    return f"- **{plain(one.number)}** {plain(one.severity)}, {status}: {plain(one.title)} ({where})"

"""Asking for a room: it stands in our tables before anybody can be sent there, and is asked for once.

The key names the war room and its generation, so that every other trigger would ask under the same one.
"""

from collections.abc import Mapping

from etb_appservice.domain.effects import OpenRoom
from etb_appservice.domain.ids import IncidentId, UserId
from etb_appservice.domain.rooms import RoomSpec
from etb_appservice.flows.turn import Turn
from etb_appservice.ports import Room


async def ask_for(
    turn: Turn,
    spec: RoomSpec,
    details: Mapping[str, str | int | bool | None],
    *,
    incident_id: IncidentId | None = None,
    person: UserId | None = None,
    urgency: int = 0,
) -> None:
    """Have a room made that no table knows yet; `details` are kept in the audit log."""
    room = room_of(spec, incident_id, person)
    await turn.work.rooms.put(room)
    effect = OpenRoom(war_room=spec.war_room, spec=spec, urgency=urgency)
    await turn.emit_as(f"open/{spec.war_room}/{spec.generation}", effect)
    await turn.note("room.asked", subject=spec.war_room, details=details)


def room_of(spec: RoomSpec, incident_id: IncidentId | None = None, person: UserId | None = None) -> Room:
    """A room as it is before it was made."""
    return Room(
        war_room=spec.war_room,
        generation=spec.generation,
        kind=spec.kind,
        incident_id=incident_id,
        classification=spec.classification,
        visibility=spec.visibility,
        keys_to_invited=spec.keys_to_invited,
        encrypted=spec.encrypted,
        name=spec.name,
        person=person,
        federates=spec.federates,
        hosts=spec.hosts,
    )

"""The room of an incident, by the number that people use for it. ETB may give a number twice."""

from etb_appservice.domain.incident import Incident
from etb_appservice.domain.text import code
from etb_appservice.flows.grammar import UsageError
from etb_appservice.ports import Room, Work


async def room_numbered(work: Work, word: str, *, instead: str) -> tuple[Room, Incident] | None:
    """The room, also of an incident that has ended or while it is being opened; None where there is none.

    Raises UsageError where several incidents have the number; `instead`: what its reader can do then.
    """
    found: list[tuple[Room, Incident]] = []
    for listed in await work.rooms.all_current():
        known = await work.incidents.get(listed.incident_id) if listed.incident_id else None
        if known is not None and known.incident.is_called(word):
            # The list is without names and cards.
            found.append((await work.rooms.by_war_room(listed.war_room) or listed, known.incident))
    if len(found) > 1:
        raise UsageError(f"{len(found)} incidents have the number {code(word, 40)}. {instead}")
    return found[0] if found else None

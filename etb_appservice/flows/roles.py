"""Roles within an incident: who holds which, and what follows when somebody else does."""

from etb_appservice.domain.facts import PeopleDue
from etb_appservice.domain.ids import EventId, Username
from etb_appservice.domain.policy import Policy
from etb_appservice.domain.roles import ROLE_WORDS, Role, RoleName, shown
from etb_appservice.domain.text import code
from etb_appservice.flows import cadence
from etb_appservice.flows.timeline import write_down
from etb_appservice.flows.turn import Turn
from etb_appservice.ports import Room, Work


async def holder(work: Work, room: Room, role: RoleName) -> Username | None:
    """Who holds it now."""
    held = await work.cases.get(room.war_room, Role, role)
    return held.username if held is not None and held.is_open else None


async def give(
    turn: Turn, room: Room, role: RoleName, to: Username, *, by: Username, policy: Policy, event_id: EventId
) -> Username | None:
    """From now on `to` holds it, and nobody else, and is let in if need be; answers who did before."""
    before = await holder(turn.work, room, role)
    held = Role(id=role, role=role, username=to, since_ms=turn.now_ms, by=by)
    await turn.work.cases.put(room.war_room, held)
    await write_down(
        turn,
        room,
        "ASSIGNED",
        f"{shown(role).capitalize()}: {to} (was {before or 'nobody'})",
        server=policy.server_name,
        by=by,
        event_id=event_id,
    )
    if room.incident_id is not None:
        await turn.follow(PeopleDue(incident_id=room.incident_id), ("people", turn.ref, "role"))
    if role == cadence.COMMANDER:
        await cadence.commander_changed(turn, room, policy)
    return before


async def listed(work: Work, room: Room) -> str:
    """Every role and who holds it."""
    lines = []
    for role in dict.fromkeys(ROLE_WORDS.values()):
        who = await holder(work, room, role)
        lines.append(f"- {shown(role).capitalize()}: {code(who) if who else 'nobody'}")
    return "\n".join(["**Roles**", "", *lines])

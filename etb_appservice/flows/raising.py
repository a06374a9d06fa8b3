"""What a raised level would do to a room, shown before somebody asks for it: who would lose access, by name."""

from collections.abc import Sequence
from dataclasses import replace

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.ids import UserId
from etb_appservice.domain.text import code, some_of
from etb_appservice.flows.call import Call
from etb_appservice.flows.removals import would_lose
from etb_appservice.flows.surroundings import level_here, level_of
from etb_appservice.ports import Room

SURE = "sure"
"""Known once the asker has seen what a raise would do, and wants it."""


async def raise_plan(call: Call, present: Classification, after: Classification) -> str:
    """What follows from raising the level, as Markdown."""
    return _plan(call.room, present, after, await would_lose(call.work, call.room, after, call.policy))


def _plan(room: Room, present: Classification, after: Classification, losing: Sequence[UserId]) -> str:
    lines = [f"raise the classification from **{present.name}** to **{after.name}**", ""]
    if losing:
        many = "person loses" if len(losing) == 1 else "people lose"
        names = some_of([code(one) for one in losing])
        lines.append(f"- {len(losing)} {many} access and would be removed: {names}")
    else:
        lines.append("- Nobody in this room loses access")
    if room.federates:
        lines.append("- Whether a room is open to other homeservers can't be changed: this one is, and stays so")
    lines.append("- What was said until now stays with those who have read it")
    return "\n".join(lines)


async def raised_by_severity(call: Call, severity: str) -> str:
    """What a severity would do to the level by the configured map; empty where nobody would lose access."""
    incident = (await call.known()).incident
    present = level_here(call.room, incident, call.policy)
    after = level_of(replace(incident, severity=severity), call.policy)
    if after <= present:
        return ""
    losing = await would_lose(call.work, call.room, after, call.policy)
    return _plan(call.room, present, after, losing) if losing else ""

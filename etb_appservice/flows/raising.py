"""What a raised level would do to a room, shown before somebody asks for it: who would lose access, by name."""

from dataclasses import replace

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.ids import UserId
from etb_appservice.domain.text import code
from etb_appservice.flows.commands import Call
from etb_appservice.flows.removals import would_lose
from etb_appservice.flows.surroundings import level_of

SURE = "sure"
"""Known once the asker has seen what a raise would do, and wants it."""
_MOST_NAMED = 20


async def raise_plan(call: Call, present: Classification, after: Classification) -> str:
    """What follows from raising the level, as Markdown."""
    losing = await would_lose(call.work, call.room, after, call.policy)
    lines = [f"raise the classification from **{present.name}** to **{after.name}**", ""]
    if losing:
        many = "person loses" if len(losing) == 1 else "people lose"
        lines.append(f"- {len(losing)} {many} access and would be removed: {names_of(losing)}")
    else:
        lines.append("- Nobody in this room loses access")
    if call.room.federates:
        lines.append("- Whether a room is open to other homeservers can't be changed: this one is, and stays so")
    lines.append("- What was said until now stays with those who have read it")
    return "\n".join(lines)


async def raised_by_severity(call: Call, severity: str) -> str:
    """What a severity would do to the level by the configured map; empty where nobody would lose access."""
    incident = (await call.known()).incident
    present = max(call.room.classification, level_of(incident, call.policy))
    after = level_of(replace(incident, severity=severity), call.policy)
    if after <= present or not await would_lose(call.work, call.room, after, call.policy):
        return ""
    return await raise_plan(call, present, after)


def names_of(people: tuple[UserId, ...]) -> str:
    """People by name, the first of them."""
    more = f" and {len(people) - _MOST_NAMED} more" if len(people) > _MOST_NAMED else ""
    return ", ".join(code(one) for one in people[:_MOST_NAMED]) + more

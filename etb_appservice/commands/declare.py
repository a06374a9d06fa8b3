"""`declare`: something is wrong, and there shall be an incident."""

from etb_appservice.domain.clearance import Right
from etb_appservice.domain.effects import DeclareIncident
from etb_appservice.domain.ids import IncidentId
from etb_appservice.domain.text import plain
from etb_appservice.flows.call import NOT_FOR_PARTNERS, Call
from etb_appservice.flows.changes import hint, word
from etb_appservice.flows.commands import CONTROL, DIRECT, Answer, Reply, command
from etb_appservice.flows.declared import await_room
from etb_appservice.flows.grammar import Rest, UsageError

_LONGEST_TITLE = 200


async def told(reply: Reply) -> Answer:
    """Its number at once; its room once that is open, in a message of its own."""
    found, effect = reply.done.found, reply.effect
    number = found.get("number") or found.get("id", "")[:8]
    if found.get("id"):
        await await_room(reply.turn, reply.run, IncidentId(found["id"]), number, reply.policy)
    title = plain(effect.title) if isinstance(effect, DeclareIncident) else ""
    return Answer(f"Declared **{plain(number)}**: {title}. I will name its room here as soon as it is open.")


@command(
    needs=Right.MEMBER,
    where=CONTROL | DIRECT,
    then=told,
    hint=hint,
    example="declare high mail is down in all offices",
)
async def declare(call: Call, severity: str, title: Rest) -> Answer:
    """Open an incident in ETB; its room is made at once.

    The answer names its number; a second one names its room, to which you are invited if you are cleared for it.
    """
    if call.actor.partner:
        return Answer(NOT_FOR_PARTNERS, "REFUSED")
    level, name = word(severity, "severity"), " ".join(title.split())
    if len(name) > _LONGEST_TITLE:
        raise UsageError(f"That title is too long: at most {_LONGEST_TITLE} characters.")
    by = f"{call.actor.username} ({call.actor.user_id})" if call.actor.username else call.actor.user_id
    return await call.etb(
        DeclareIncident(
            title=name,
            severity=level,
            description=f"Declared by {by} in the incident chat.",
            category=call.policy.commands.declared_category,
            ref=call.run_id,
        )
    )

"""`role`: claim a role, or hand it over."""

from etb_appservice.domain.clearance import Right
from etb_appservice.domain.roles import ROLE_WORDS, shown
from etb_appservice.domain.text import code
from etb_appservice.flows.call import Call
from etb_appservice.flows.commands import INCIDENT, Answer, Asking, command
from etb_appservice.flows.grammar import Person, UsageError, person
from etb_appservice.flows.named import Found, look_up, why_not
from etb_appservice.flows.roles import give, holder, listed


async def ask_etb(asking: Asking) -> Found | None:
    """Who is named, if anybody is."""
    return await look_up(asking, asking.arguments.get("user"))


@command(needs=Right.RESPONDER, where=INCIDENT, prepare=ask_etb, example="role commander bob")
async def role(call: Call, role: str | None = None, user: Person | None = None) -> Answer:
    """Claim a role, or hand it to somebody; alone, list who holds which.

    Roles are commander, scribe, comms, technical, business and observer. Responders claim what nobody holds and
    hand over what they hold; the commander may give any role to anybody. Whoever gets one is invited to this room.
    """
    if role is None:
        return Answer(await listed(call.work, call.room))
    name = ROLE_WORDS.get(role.casefold())
    if name is None:
        words = ", ".join(f"`{word}`" for word in ROLE_WORDS)
        raise UsageError(f"`role` is one of {words}.")
    to = person(call.policy, user) if user else call.username
    before = await holder(call.work, call.room, name)
    if before == to:
        return Answer(f"{code(to)} is {shown(name)} already.")
    if before not in {None, call.username}:
        decision = call.may(Right.COMMANDER)
        if not decision.allowed:
            told = f"{code(before or '')} is {shown(name)} and can hand that over. Otherwise: {decision.reason}"
            return Answer(told, "REFUSED")
    obstacle = "" if to == call.username else await why_not(call, to)
    if obstacle:
        return Answer(obstacle, "FAILED")
    await give(call.turn, call.room, name, to, by=call.username, policy=call.policy, event_id=call.event_id)
    was = f"was {code(before)}" if before else "was nobody"
    return Answer(f"{shown(name).capitalize()} is {code(to)} ({was}).")

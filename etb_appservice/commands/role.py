"""`role`: claim a role, or hand it over."""

from dataclasses import dataclass

from etb_appservice.domain.clearance import Right, may_enter
from etb_appservice.domain.ids import Username
from etb_appservice.domain.incident import EtbUser
from etb_appservice.domain.roles import ROLE_WORDS, shown
from etb_appservice.domain.text import code
from etb_appservice.flows.commands import (
    INCIDENT,
    Answer,
    Asking,
    Call,
    Person,
    UsageError,
    answered,
    command,
    person,
)
from etb_appservice.flows.roles import give, holder, listed

_FIXES = {
    "clearance": "is not cleared for the level of this incident. Clearance and level are set in ETB.",
    "inactive": "has an ETB account that is locked or not active.",
}


@dataclass(frozen=True, slots=True)
class Found:
    """What ETB said of the name that was given; `user` None: it knows no such user."""

    user: EtbUser | None


async def look_up(asking: Asking) -> Found | None:
    """The user as ETB has them; None when nobody is named, or ETB didn't answer."""
    if "user" not in asking.arguments:
        return None
    try:
        username = person(asking.policy, asking.arguments["user"])
    except UsageError:
        return None
    return await answered(asking, asking.etb.user(username), Found)


@command(needs=Right.RESPONDER, where=INCIDENT, prepare=look_up, example="role commander bob")
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
    obstacle = "" if to == call.username else await _obstacle(call, to)
    if obstacle:
        return Answer(obstacle, "FAILED")
    await give(call.turn, call.room, name, to, by=call.username, policy=call.policy, event_id=call.event_id)
    was = f"was {code(before)}" if before else "was nobody"
    return Answer(f"{shown(name).capitalize()} is {code(to)} ({was}).")


async def _obstacle(call: Call, name: Username) -> str:
    """What keeps somebody out of this room, with the fix; nothing when they may be there."""
    if isinstance(call.before, Found):
        user = call.before.user
        if user is None:
            return f"ETB knows no user {code(name)}."
        await call.work.incidents.put_user(user, call.turn.now_ms)
    else:
        kept = await call.work.incidents.user(name)
        if kept is None:
            return f"ETB does not answer, and I don't know {code(name)} yet. Try again later."
        user = kept[0]
    if call.policy.people.user_id(name) is None:
        return (
            f"{code(name)} has no Matrix account here. An operator adds it under `people.entries` in the "
            "configuration."
        )
    decision = may_enter(user.clearance, is_active=user.is_active, level=call.room.classification)
    return "" if decision.allowed else f"{code(name)} {_FIXES[decision.reason]}"

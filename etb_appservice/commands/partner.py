"""`partner`: which partner organisations take part in this incident."""

from typing import Literal

from etb_appservice.domain.clearance import Right
from etb_appservice.domain.partners import Partner, PartnerAdmitted
from etb_appservice.domain.text import code, plain
from etb_appservice.flows import partners
from etb_appservice.flows.call import APPROVED, Call
from etb_appservice.flows.commands import INCIDENT, Answer, command
from etb_appservice.flows.grammar import UsageError
from etb_appservice.flows.surroundings import level_here

_TERMS = "terms"


@command(
    needs=Right.RESPONDER,
    where=INCIDENT,
    example="partner admit cert",
    aliases=("partners",),
    asks_approval=True,
)
async def partner(
    call: Call, action: Literal["list", "admit", "revoke"] = "list", name: str | None = None
) -> Answer:
    """Show which partner organisations are let in; `admit` or `revoke` one.

    Both are for the incident's commander. `admit` needs approval by somebody else, and shows before what it would
    do; `revoke` removes the partner's people and shuts their homeservers out at once.
    """
    if action == "list":
        return Answer(await partners.listed(call.work, call.room, call.policy))
    decision = call.may(Right.COMMANDER)
    if not decision.allowed:
        return Answer(decision.reason, "REFUSED")
    if call.actor.partner:
        return Answer("People of a partner let nobody in, and put nobody out.", "REFUSED")
    if name is None:
        raise UsageError("`name` is missing.")
    admitted = await call.work.cases.get(call.room.war_room, PartnerAdmitted, name.casefold())
    if action == "revoke":
        if admitted is None or not admitted.is_open:
            return Answer(f"Partner {code(name, 40)} is not let in here.", "FAILED")
        return Answer(await partners.revoke(call.turn, call.room, admitted, call.policy, by=call.actor.user_id))
    one = next((each for each in call.policy.partners if each.name == name.casefold()), None)
    if one is None:
        known = ", ".join(code(each.name) for each in call.policy.partners)
        hint = f"There are {known}." if known else "An operator adds them under `partners` in the configuration."
        return Answer(f"There is no partner {code(name, 40)}. {hint}", "FAILED")
    if admitted is not None and admitted.is_open:
        return Answer(f"Partner {code(one.name)} is let in here already.", "FAILED")
    return await _admit(call, one)


async def _admit(call: Call, one: Partner) -> Answer:
    """Above its ceiling: no. Else what was shown to whoever approved is done, and nothing else."""
    incident = (await call.known()).incident
    if incident.is_over:
        return Answer(f"**{plain(incident.number)}** has ended: nobody is let in any more.", "FAILED")
    level = level_here(call.room, incident, call.policy)
    if one.ceiling < level:
        return Answer(
            f"Partner {code(one.name)} may know incidents up to {one.ceiling.name}, and this one is {level.name}. "
            "An operator sets the ceiling under `partners` in the configuration.",
            "FAILED",
        )
    terms = partners.terms(call.room, incident, one, call.policy)
    if not call.is_approved:
        return await call.hold(partners.preview(call.room, incident, one, call.policy), {_TERMS: terms})
    if call.learned.get(_TERMS) != terms:
        return Answer("What was approved has changed meanwhile. Nothing was done: ask again.", "FAILED")
    return Answer(
        await partners.let_in(
            call.turn,
            call.room,
            incident,
            one,
            call.policy,
            by=call.actor.user_id,
            approved_by=call.learned[APPROVED],
        )
    )

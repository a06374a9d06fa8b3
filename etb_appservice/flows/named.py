"""Somebody who is named in a command: as ETB has them, and what keeps them out of the incident's room."""

from dataclasses import dataclass

from etb_appservice.domain.clearance import may_enter
from etb_appservice.domain.ids import Username
from etb_appservice.domain.incident import EtbUser, Incident
from etb_appservice.domain.text import code
from etb_appservice.flows.call import Call
from etb_appservice.flows.commands import Asking, answered
from etb_appservice.flows.grammar import UsageError, person
from etb_appservice.flows.removals import learned
from etb_appservice.flows.surroundings import FIXES, Surroundings, level_here, look_around


@dataclass(frozen=True, slots=True)
class Found:
    """What ETB said of the name that was given; `user` None: it knows no such user."""

    user: EtbUser | None


async def look_up(asking: Asking, word: str | None) -> Found | None:
    """The user as ETB has them; None when nobody is named, or ETB didn't answer. For `prepare`."""
    if not word:
        return None
    try:
        username = person(asking.policy, word)
    except UsageError:
        return None
    return await answered(asking, asking.etb.user(username), Found)


async def look_up_all(asking: Asking) -> Surroundings:
    """Everybody who is in an incident's room, as ETB has them: who is named there. For `prepare`."""
    incident = await answered(asking, asking.etb.incident(asking.incident_id), _same)
    if incident is None:
        return Surroundings()
    return await look_around(asking.etb, incident, asking.limit_s)


def _same(incident: Incident) -> Incident:
    return incident


async def why_not(call: Call, name: Username) -> str:
    """What keeps somebody out of this room, with the fix; nothing when they may be there.

    By ETB's word of just now (`call.before`), else by the last known copy while that holds.
    """
    if isinstance(call.before, Found):
        user = call.before.user
        if user is None:
            return f"ETB knows no user {code(name)}."
        await learned(call.turn, user, call.policy)
    else:
        kept = await call.work.incidents.user(name)
        if kept is None or call.turn.now_ms - kept[1] > call.policy.clearance.hold_s * 1000:
            return f"ETB does not answer, so I can't see whether {code(name)} may come in. Try again."
        user = kept[0]
    user_id = call.policy.people.user_id(name)
    if user_id is None:
        return f"ETB user {code(name)} {FIXES['unmapped']}"
    if not call.policy.is_at_home(user_id):
        return f"ETB user {code(name)} {FIXES['server']}"
    last = await call.work.incidents.get(call.incident_id)
    level = level_here(call.room, last.incident, call.policy) if last is not None else call.room.classification
    decision = may_enter(user.clearance, is_active=user.is_active, level=level)
    return "" if decision.allowed else f"ETB user {code(name)} {FIXES[decision.reason]}"

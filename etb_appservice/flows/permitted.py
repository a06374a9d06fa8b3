"""Who may be in an incident's room now, be given its keys and be shown what is said there.

    ours, or a configured creator ────────────────────────────────► yes
    let in by break-glass, for now ───────────────────────────────► yes
    of a partner that was let in, the level at most its ceiling ──► yes
    an ETB user, active, cleared, confirmed not too long ago ─┬───► yes, while they belong to the incident
                                                              └───► or came in rightly, and may stay
    everybody else ───────────────────────────────────────────────► no

Asked of our own tables inside the unit of work, so that the answer and what follows from it are one moment's. Must
never say yes for want of knowledge.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from etb_appservice.domain.breakglass import BreakGlass
from etb_appservice.domain.classification import Classification
from etb_appservice.domain.clearance import may_enter
from etb_appservice.domain.ids import UserId, Username, war_room_id
from etb_appservice.domain.incident import Incident
from etb_appservice.domain.partners import PartnerAdmitted
from etb_appservice.domain.policy import Policy
from etb_appservice.flows.surroundings import named
from etb_appservice.ports import Room, Work

Why = Literal[
    "ours", "break-glass", "partner", "belongs", "stays", "stranger", "clearance", "inactive", "outdated"
]
"""Of the last four each is a no: not known here or not of this incident; below its level; locked or not active in
ETB; not confirmed by ETB for too long."""


@dataclass(frozen=True, slots=True)
class Permission:
    """Whether somebody may be there, why, and up to which level they may know what was said."""

    why: Why
    up_to: Classification | None = None
    """None where they may know nothing."""

    @property
    def allowed(self) -> bool:
        """Whether they may be in the room."""
        return self.why in {"ours", "break-glass", "partner", "belongs", "stays"}


async def permission(work: Work, room: Room, user_id: UserId, policy: Policy) -> Permission:
    """Whether somebody may be in an incident's room, as far as our tables know at this moment."""
    if policy.is_ours(user_id) or user_id in policy.rooms.additional_creators:
        return Permission("ours", Classification.TOP_SECRET)
    grant = await work.cases.get(room.war_room, BreakGlass, user_id)
    if grant is not None and grant.holds(work.now_ms()):
        return Permission("break-glass", room.classification)
    username = policy.people.username(user_id)
    if username is None:
        return await _as_partner(work, room, user_id, policy)
    known = await work.incidents.user(username)
    if known is None:
        return Permission("stranger")
    user, confirmed_ms = known
    if work.now_ms() - confirmed_ms > policy.commands.rights_hold_s * 1000:
        return Permission("outdated")
    decision = may_enter(user.clearance, is_active=user.is_active, level=room.classification)
    if not decision.allowed:
        return Permission("inactive" if decision.reason == "inactive" else "clearance", user.clearance)
    incident = await work.incidents.get(room.incident_id) if room.incident_id else None
    if incident is None:
        return Permission("stranger", user.clearance)
    if username in await people_of(work, incident.incident):
        return Permission("belongs", user.clearance)
    if policy.roles.lets_in(user.roles, incident.incident.category):
        return Permission("belongs", user.clearance)
    return Permission("stranger", user.clearance)


async def people_of(work: Work, incident: Incident) -> Collection[Username]:
    """Whom ETB or the room's own case names for an incident."""
    on_call = await work.incidents.on_call()
    standing = await work.cases.standing(war_room_id(incident.id))
    return named(incident, on_call[0] if on_call else (), standing)


async def _as_partner(work: Work, room: Room, user_id: UserId, policy: Policy) -> Permission:
    for partner in policy.partners:
        if not partner.includes(user_id):
            continue
        admitted = await work.cases.get(room.war_room, PartnerAdmitted, partner.name)
        if admitted is None or not admitted.is_open:
            continue
        if partner.ceiling < room.classification:
            return Permission("clearance", partner.ceiling)
        return Permission("partner", partner.ceiling)
    return Permission("stranger")

"""How somebody stands to a room and its incident, as far as our tables know: what `clearance.decide` asks for.

Whoever must be confirmed by ETB was confirmed before. Every room asks here alike.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from etb_appservice.domain.clearance import Actor, Subject, may_know
from etb_appservice.domain.ids import IncidentId, UserId, Username, WarRoomId, war_room_id
from etb_appservice.domain.incident import EtbUser, Incident, OnCall
from etb_appservice.domain.partners import Partner, PartnerAdmitted
from etb_appservice.domain.policy import Policy
from etb_appservice.domain.roles import Admitted, Role, shown
from etb_appservice.flows.permitted import Circle, Copy, Why, circle_of, permission
from etb_appservice.flows.surroundings import level_here, named
from etb_appservice.ports import Room, Work

BARRED: Mapping[Why, str] = {
    "stranger": "You are not among the people of this incident. Ask one of them to have you invited.",
    "outdated": "ETB has not confirmed your account for too long: nothing is done for you here until it does.",
    "role": "You no longer have the role in ETB by which you were let into this room.",
    "clearance": "Your clearance does not reach the level of this incident.",
}
"""What somebody reads who is in a room and may not be, where `decide` has no better word for it."""


async def actor_of(
    work: Work,
    room: Room,
    user_id: UserId,
    policy: Policy,
    *,
    is_cross_signed: bool = False,
    has_token: bool = False,
) -> Actor:
    """Who acts in a room. `is_cross_signed`: whether by a device that their own identity has signed.

    `has_token`: whether by ETB's web pages, where whoever may be in the room is in it.
    """
    username = policy.people.username(user_id)
    copy = await work.incidents.user(username) if username else None
    actor = _known(user_id, username, copy, work.now_ms(), policy)
    barred, is_let_in = "", False
    if room.incident_id is None:
        if actor.username is None and policy.partners:
            # What they may do is of one incident; elsewhere they may ask which there are.
            partner = _as_partner(actor, policy, await _let_in_anywhere(work))
            actor = replace(partner, is_responder=False, roles=frozenset())
    else:
        circle = await circle_of(work, room)
        if username:
            circle = circle.about(username)
        if actor.username and circle.incident is not None:
            actor = _toward(actor, circle.incident, circle.held_by(actor.username), policy)
        elif actor.username is None and policy.partners:
            actor = _as_partner(actor, policy, circle.partners())
        if room.kind == "incident":
            found = await permission(work, room, user_id, policy, known=(circle, copy))
            # Who isn't linked is told that; the room may lag behind its incident's level for a moment.
            barred = BARRED.get(found.why, "") if username or found.why == "clearance" else ""
            is_let_in = found.why == "break-glass"
    is_joined = has_token or (
        room.room_id is not None and await work.rooms.membership(room.room_id, user_id) == "join"
    )
    return replace(
        actor,
        barred=barred,
        is_cross_signed=is_cross_signed,
        has_token=has_token,
        is_joined=is_joined,
        is_let_in=is_let_in,
    )


def web_actor(
    circle: Circle, incident: Incident, user: EtbUser, user_id: UserId, now_ms: int, policy: Policy
) -> Actor:
    """Who acts by ETB's web pages, where `user` is ETB's word of now and they were found permitted there."""
    actor = replace(
        _known(user_id, user.username, (user, now_ms), now_ms, policy), is_joined=True, is_operator=False
    )
    toward = _toward(actor, incident, circle.held_by(user.username), policy)
    return replace(toward, is_let_in=circle.grant(user_id, now_ms) is not None)


def subject_of(room: Room, policy: Policy, *, by_reaction: bool = False) -> Subject:
    """What a command in a room is about. A reaction names no device, and serves only what does no harm."""
    signed = policy.rooms.signed_devices_only(room.kind, room.classification)
    return Subject(
        classification=room.classification,
        is_control_room=room.kind == "control",
        needs_signed_device=signed and not by_reaction,
    )


async def open_to(work: Work, policy: Policy, actor: Actor, *, to_operators: bool = False) -> list[Incident]:
    """The open incidents that somebody may know of and be let into, oldest first, whatever room they ask from.

    Those of a level that asks for it only from a device that they have verified. `to_operators`: an operator who
    is cleared for an incident may know of it without being its responder.
    """
    everyone = await _everyone(work)
    found = []
    for incident_id in await work.incidents.open_ids():
        incident = await _if_permitted(work, policy, actor, incident_id, everyone, to_operators=to_operators)
        if incident is not None:
            found.append(incident)
    return found


@dataclass(frozen=True, slots=True)
class _Everyone:
    """Who belongs where, read once for looking through all incidents."""

    on_call: tuple[OnCall, ...]
    standing: Mapping[WarRoomId, list[Role | Admitted]]
    let_in: Mapping[WarRoomId, set[str]]
    """Names of partners."""

    def roles(self, incident: Incident, username: Username | None) -> Collection[str]:
        """As what somebody belongs to an incident."""
        people = named(incident, self.on_call, self.standing.get(war_room_id(incident.id), ()))
        return people.get(username, ()) if username else ()


async def _everyone(work: Work) -> _Everyone:
    on_call = await work.incidents.on_call()
    standing: dict[WarRoomId, list[Role | Admitted]] = defaultdict(list)
    for war_room, role in await work.cases.all_open(Role):
        standing[war_room].append(role)
    for war_room, admitted in await work.cases.all_open(Admitted):
        standing[war_room].append(admitted)
    return _Everyone(tuple(on_call[0]) if on_call else (), standing, await _let_in(work))


async def _if_permitted(
    work: Work,
    policy: Policy,
    actor: Actor,
    incident_id: IncidentId,
    everyone: _Everyone,
    *,
    to_operators: bool,
) -> Incident | None:
    known = await work.incidents.get(incident_id)
    if known is None:
        return None
    incident = known.incident
    if actor.partner:
        # Of several incidents each may know another partner of theirs; into what it was let, they may come.
        here = everyone.let_in.get(war_room_id(incident.id), set())
        actor = replace(_as_partner(actor, policy, here), is_responder=True)
    else:
        actor = _toward(actor, incident, everyone.roles(incident, actor.username), policy)
    if to_operators and actor.is_operator:
        actor = replace(actor, is_responder=True)
    room = await work.rooms.of_incident(incident_id)
    level = level_here(room, incident, policy)
    if policy.rooms.signed_devices_only("incident", level) and not actor.is_cross_signed:
        return None
    return incident if may_know(actor, level).allowed else None


def _known(user_id: UserId, username: Username | None, known: Copy | None, now_ms: int, policy: Policy) -> Actor:
    """Somebody without regard to any room. ETB's word on them holds for a while only."""
    if known and now_ms - known[1] > policy.clearance.hold_s * 1000:
        known = None
    etb_roles = known[0].roles if known else ()
    roles = policy.roles.of(etb_roles)
    is_operator = user_id in policy.operators
    is_active = known[0].is_active if known else False
    # Whom the configuration names holds a break-glass role by that alone; whom only ETB knows, by its word.
    also = [*(roles if is_active else ()), *(("operator",) if is_operator else ())]
    return Actor(
        user_id=user_id,
        username=username if known else None,
        clearance=known[0].clearance if known else None,
        is_active=is_active,
        is_operator=is_operator,
        roles=roles,
        etb_roles=etb_roles,
        glass=policy.break_glass.held(user_id, also),
    )


def _toward(actor: Actor, incident: Incident, held: Collection[str], policy: Policy) -> Actor:
    """The same person as they stand to one incident; `held`: as what they belong to it."""
    return replace(
        actor,
        is_responder=bool(held) or policy.roles.lets_in(actor.etb_roles, incident.category),
        is_commander=shown("INCIDENT_COMMANDER") in held,
    )


async def is_let_in(work: Work, user_id: UserId, policy: Policy) -> bool:
    """Whether somebody is of a partner that was let into any incident."""
    if not any(one.includes(user_id) for one in policy.partners):
        return False
    return _partner_of(user_id, policy, await _let_in_anywhere(work)) is not None


async def _let_in_anywhere(work: Work) -> set[str]:
    return {name for names in (await _let_in(work)).values() for name in names}


async def _let_in(work: Work) -> Mapping[WarRoomId, set[str]]:
    """The names of partners by the war room into which they were let."""
    found: dict[WarRoomId, set[str]] = defaultdict(set)
    for war_room, admitted in await work.cases.all_open(PartnerAdmitted):
        found[war_room].add(admitted.id)
    return found


def _as_partner(actor: Actor, policy: Policy, let_in: Collection[str]) -> Actor:
    """Somebody of a partner, if one of theirs is let in; what they may do is configured with it."""
    if policy.people.username(actor.user_id) is not None:
        return actor
    partner = _partner_of(actor.user_id, policy, let_in)
    if partner is None:
        return replace(actor, partner="", clearance=None, is_active=False, roles=frozenset())
    return replace(
        actor,
        partner=partner.name,
        clearance=partner.ceiling,
        is_active=True,
        is_responder="responder" in partner.roles,
        roles=partner.roles,
    )


def _partner_of(user_id: UserId, policy: Policy, let_in: Collection[str]) -> Partner | None:
    return next((one for one in policy.partners if one.name in let_in and one.includes(user_id)), None)

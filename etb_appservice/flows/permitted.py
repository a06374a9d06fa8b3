"""Who may be in a room now, be given its keys and be shown what is said there.

    ours, or a configured creator ────────────────────────────────► yes
    let in by break-glass, for now ───────────────────────────────► yes
    of a partner that was let in, the level at most its ceiling ──► yes
    an ETB user, active, cleared, confirmed not too long ago ─┬───► yes, while they belong to the incident
                                                              └───► or came in rightly, up to a level
    everybody else ───────────────────────────────────────────────► no

A ghost is judged as the ETB user for whom it speaks, and in the rooms of incidents only.

That is for the rooms of incidents; the service's own rooms are for whom the configuration names, a direct chat
for its one person. Asked of our own tables inside the unit of work, so that the answer and what follows from it
are one moment's. Must never say yes for want of knowledge.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from etb_appservice.domain.breakglass import BreakGlass
from etb_appservice.domain.case import Standing
from etb_appservice.domain.classification import Classification
from etb_appservice.domain.clearance import may_enter
from etb_appservice.domain.guests import Guest
from etb_appservice.domain.ids import UserId, Username, war_room_id
from etb_appservice.domain.incident import EtbUser, Incident, OnCall
from etb_appservice.domain.partners import PartnerAdmitted
from etb_appservice.domain.policy import Policy
from etb_appservice.domain.roles import Admitted
from etb_appservice.flows.surroundings import level_here, named
from etb_appservice.ports import Room, Work

Why = Literal[
    "ours",
    "break-glass",
    "partner",
    "belongs",
    "stays",
    "stranger",
    "clearance",
    "inactive",
    "role",
    "outdated",
]
"""Of the last five each is a no: not known here or not of this incident; below its level; locked or not active in
ETB; let in for a role in ETB which they have no longer; not confirmed by ETB for too long."""

PUT_OUT = frozenset[Why]({"stranger", "clearance", "inactive", "role"})
"""For what somebody is removed. For want of ETB's word nobody is: an outage must not empty every room."""

Copy = tuple[EtbUser, int]
"""A user as ETB had them, and when it said so."""


def newer(kept: Copy | None, said: Copy) -> Copy:
    """ETB's last word on somebody: that of our tables, or what it has just said of who calls."""
    return kept if kept is not None and kept[1] >= said[1] else said


@dataclass(frozen=True, slots=True)
class Permission:
    """Whether somebody may be there, why, and up to which level they may know what was said."""

    why: Why
    up_to: Classification | None = None
    """None where they may know nothing."""
    until_ms: int | None = None
    """When it ends by itself; None where it doesn't."""

    @property
    def allowed(self) -> bool:
        """Whether they may be in the room."""
        return self.why in {"ours", "break-glass", "partner", "belongs", "stays"}


@dataclass(frozen=True, slots=True)
class Circle:
    """What our tables say of a room, whoever is asked about."""

    room: Room
    incident: Incident | None
    on_call: Sequence[OnCall]
    standing: Sequence[Standing]
    names: Mapping[Username, Sequence[str]] | None = None
    """Whom ETB or the room's own case names, and as what; None: found for each who is asked about."""
    only: Username | None = None
    """Whom alone the names are about; None: everybody."""

    def level(self, policy: Policy) -> Classification:
        """The level that somebody must reach: see `level_here`."""
        return self.room.classification if self.incident is None else level_here(self.room, self.incident, policy)

    def held_by(self, username: Username) -> Sequence[str]:
        """As what somebody belongs to the incident; empty where they don't."""
        if self.names is not None and self.only in (None, username):
            return self.names.get(username, ())
        return self._names(username).get(username, ())

    def for_many(self) -> "Circle":
        """The same, for asking about more people than one."""
        return replace(self, names=self._names(), only=None)

    def about(self, username: Username) -> "Circle":
        """The same, for asking about one person more than once."""
        names = self._names(username)
        # Each command asks this: dataclasses.replace would cost more than what is saved.
        return Circle(self.room, self.incident, self.on_call, self.standing, names, username)

    def _names(self, only: Username | None = None) -> Mapping[Username, Sequence[str]]:
        if self.incident is None:
            return {}
        return named(self.incident, self.on_call, self.standing, by_role=False, only=only)

    def grant(self, user_id: UserId, now_ms: int) -> BreakGlass | None:
        """By what somebody is let in for now, whatever ETB says."""
        for one in self.standing:
            if isinstance(one, BreakGlass) and one.id == user_id and one.holds(now_ms):
                return one
        return None

    def partners(self) -> Collection[str]:
        """The names of partners that were let in."""
        return {one.id for one in self.standing if isinstance(one, PartnerAdmitted)}


async def circle_of(work: Work, room: Room) -> Circle:
    """Read it, for as many people as are asked about."""
    known = await work.incidents.get(room.incident_id) if room.incident_id else None
    standing = await work.cases.standing(room.war_room)
    if known is None:
        return Circle(room, None, (), standing)
    on_call = await work.incidents.on_call()
    return Circle(room, known.incident, on_call[0] if on_call else (), standing)


async def permission(
    work: Work, room: Room, user_id: UserId, policy: Policy, *, known: tuple[Circle, Copy | None] | None = None
) -> Permission:
    """Whether somebody may be in a room, as far as our tables know at this moment.

    `known`: the room's circle and ETB's word on them, where both were just read.
    """
    username = policy.people.username(user_id)
    if known is None:
        known = await circle_of(work, room), await work.incidents.user(username) if username else None
    circle, copy = known
    found = judge(circle, user_id, username, copy, work.now_ms(), policy)
    if username and _might_stay(found, circle, policy):
        guest = await work.cases.get(room.war_room, Guest, username)
        return _staying(found, guest, _own_id(user_id, username, policy))
    return found


async def permissions(
    work: Work, circle: Circle, user_ids: Collection[UserId], policy: Policy
) -> Mapping[UserId, Permission]:
    """The same of several people, in as many questions as for one."""
    circle = circle.for_many()
    usernames = {user_id: policy.people.username(user_id) for user_id in user_ids}
    copies = await work.incidents.users([name for name in usernames.values() if name is not None])
    now_ms = work.now_ms()
    found = {
        user_id: judge(circle, user_id, name, copies.get(name) if name else None, now_ms, policy)
        for user_id, name in usernames.items()
    }
    if any(usernames[user_id] and _might_stay(one, circle, policy) for user_id, one in found.items()):
        guests = {guest.id: guest for guest in await work.cases.of(circle.room.war_room, Guest)}
        for user_id, name in usernames.items():
            if name and _might_stay(found[user_id], circle, policy):
                found[user_id] = _staying(found[user_id], guests.get(name), _own_id(user_id, name, policy))
    return found


def judge(
    circle: Circle, user_id: UserId, username: Username | None, known: Copy | None, now_ms: int, policy: Policy
) -> Permission:
    """The rule, but for whether somebody who doesn't belong may stay. Pure.

    `username`: who that is in ETB, as the mapping says; `known`: ETB's word on them, None where there is no copy.
    """
    room = circle.room
    ghost_of = policy.ghosts.username(user_id)
    if ghost_of is None and (policy.is_ours(user_id) or user_id in policy.rooms.additional_creators):
        return Permission("ours", Classification.TOP_SECRET)
    if room.kind != "incident":
        is_named = ghost_of is None and _is_configured(room, user_id, policy)
        return Permission("belongs", room.classification) if is_named else Permission("stranger")
    level = circle.level(policy)
    grant = circle.grant(_own_id(user_id, ghost_of, policy) if ghost_of else user_id, now_ms)
    if grant is not None:
        return Permission("break-glass", level, grant.until_ms)
    if username is None:
        return _as_partner(circle, user_id, level, policy)
    if ghost_of is None and not policy.is_at_home(user_id):
        return Permission("stranger")
    return _by_etb(circle, username, known, now_ms, policy)


def _by_etb(circle: Circle, username: Username, known: Copy | None, now_ms: int, policy: Policy) -> Permission:
    """What ETB's word on a user comes to in the room of an incident, whichever Matrix id they use."""
    if known is None:
        # Named and never looked up: nothing speaks against them, and nothing for them.
        return Permission("outdated" if circle.held_by(username) else "stranger")
    user, confirmed_ms = known
    until_ms = confirmed_ms + round(policy.clearance.hold_s * 1000)
    if now_ms > until_ms:
        return Permission("outdated")
    decision = may_enter(user.clearance, is_active=user.is_active, level=circle.level(policy))
    if not decision.allowed:
        return Permission("inactive" if decision.reason == "inactive" else "clearance", user.clearance)
    incident = circle.incident
    if incident is None:
        return Permission("stranger")
    if circle.held_by(username) or policy.roles.lets_in(user.roles, incident.category):
        return Permission("belongs", user.clearance, until_ms)
    if any(isinstance(one, Admitted) and one.by_role and one.username == username for one in circle.standing):
        leads = not policy.roles.of(user.roles).isdisjoint({"commander", "admin"})
        return Permission("belongs", user.clearance, until_ms) if leads else Permission("role", user.clearance)
    return Permission("stranger", user.clearance, until_ms)


async def permission_of(
    work: Work, room: Room, username: Username, policy: Policy, *, known: tuple[Circle, Copy | None] | None = None
) -> Permission:
    """Whether an ETB user who comes by ETB's web pages may see and use the room of an incident.

    As `permission`, but by their name: they need no Matrix id of their own, nor one on a homeserver of ours.
    """
    if known is None:
        known = await circle_of(work, room), await work.incidents.user(username)
    circle, copy = known
    now_ms = work.now_ms()
    linked = policy.people.user_id(username)
    for user_id in (linked, policy.ghosts.user_id(username)):
        grant = circle.grant(user_id, now_ms) if user_id is not None else None
        if grant is not None:
            return Permission("break-glass", circle.level(policy), grant.until_ms)
    found = _by_etb(circle, username, copy, now_ms, policy)
    if linked is not None and _might_stay(found, circle, policy):
        return _staying(found, await work.cases.get(room.war_room, Guest, username), linked)
    return found


async def people_of(work: Work, incident: Incident) -> Collection[Username]:
    """Whom ETB or the room's own case names for an incident; not those who are in it by a role in ETB alone."""
    on_call = await work.incidents.on_call()
    standing = await work.cases.standing(war_room_id(incident.id))
    return named(incident, on_call[0] if on_call else (), standing, by_role=False)


def _might_stay(found: Permission, circle: Circle, policy: Policy) -> bool:
    """Whether it depends on how they came in: cleared for the room, but of its incident no longer."""
    is_cleared = found.why == "stranger" and found.up_to is not None
    return is_cleared and circle.level(policy) <= policy.clearance.stay_up_to


def _own_id(user_id: UserId, username: Username, policy: Policy) -> UserId:
    """Whose coming in counts for somebody: for a ghost, that of its person."""
    is_ghost = policy.ghosts.username(user_id) is not None
    return (policy.people.user_id(username) if is_ghost else None) or user_id


def _staying(found: Permission, guest: Guest | None, user_id: UserId) -> Permission:
    if guest is not None and guest.came_in(user_id):
        return Permission("stays", found.up_to, found.until_ms)
    return found


def _is_configured(room: Room, user_id: UserId, policy: Policy) -> bool:
    match room.kind:
        case "control" | "space":
            # Nothing is said in the Space; its rooms are shown to their own people only.
            return room.kind == "space" or user_id in policy.operators
        case "announce":
            return user_id in policy.announcements.members
        case _:
            return user_id == room.person


def _as_partner(circle: Circle, user_id: UserId, level: Classification, policy: Policy) -> Permission:
    admitted = circle.partners()
    for partner in policy.partners:
        if partner.name not in admitted or not partner.includes(user_id):
            continue
        if partner.ceiling < level:
            return Permission("clearance", partner.ceiling)
        return Permission("partner", partner.ceiling)
    return Permission("stranger")

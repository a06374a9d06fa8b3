"""Who belongs to an incident and by when it must be solved: read from ETB before the unit of work, or remembered.

ETB is asked within a limit; what it doesn't answer comes from the last known copy. Nobody is let in on no copy at
all: an unknown user is an obstacle, and it is looked at again soon.
"""

import asyncio
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

import structlog

from etb_appservice.domain.case import Standing
from etb_appservice.domain.classification import Classification
from etb_appservice.domain.clearance import may_enter
from etb_appservice.domain.ids import Username, war_room_id
from etb_appservice.domain.incident import Card, Deadline, EtbUser, Incident, OnCall, Responder
from etb_appservice.domain.outcomes import Failure
from etb_appservice.domain.policy import Policy
from etb_appservice.domain.roles import Admitted, Role, shown
from etb_appservice.ports import EtbReads, Room, Work

log = structlog.get_logger(__name__)
T = TypeVar("T")
FIXES = {
    "unmapped": "has no Matrix account here. Add it under `people.entries` in the configuration and restart.",
    "clearance": "is not cleared for the level of this incident. Clearance and level are set in ETB; "
    "this is looked at every five minutes.",
    "inactive": "has an ETB account that is locked or not active; this is looked at every five minutes.",
    "server": "has a Matrix account on a homeserver that is not one of ours. Add it under `rooms.servers` in the "
    "configuration and restart.",
    "unknown": "could not be looked up in ETB yet; this is tried again every minute.",
    "stranger": "is not among its people: ETB doesn't name them, and nobody has let them in.",
    "role": "no longer has the role in ETB by which they were let in.",
}
"""What keeps somebody out of a room, by `Responder.obstacle` or `Permission.why`, and who changes that."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What ETB answered just now; None where it didn't."""

    on_call: tuple[OnCall, ...] | None = None
    deadlines: tuple[Deadline, ...] | None = None
    users: dict[Username, EtbUser | None] = field(default_factory=dict)
    """Users that ETB was asked for; None: ETB knows no such user. A name that is absent wasn't answered."""


async def look_around(etb: EtbReads, incident: Incident, limit_s: float) -> Surroundings:
    """Ask ETB for everything at once, for at most `limit_s` seconds twice (people on call, then the users)."""
    on_call, deadlines = await asyncio.gather(
        answer_within(etb.on_call(), limit_s), answer_within(etb.deadlines(incident.id), limit_s)
    )
    names = {row.username for row in on_call.value} if on_call else set()
    names |= {name for name in (incident.reporter, incident.assignee) if name}
    ordered = sorted(names)
    users = await asyncio.gather(*(answer_within(etb.user(name), limit_s) for name in ordered))
    return Surroundings(
        on_call.value if on_call else None,
        deadlines.value if deadlines else None,
        {name: user.value for name, user in zip(ordered, users, strict=True) if user},
    )


async def remember(work: Work, incident: Incident, around: Surroundings) -> None:
    """Keep what ETB answered as the last known copy; what it says of people is learned elsewhere."""
    if around.on_call is not None:
        await work.incidents.put_on_call(around.on_call, work.now_ms())
    known = await work.incidents.get(incident.id)
    if known and around.deadlines is not None and around.deadlines != known.deadlines:
        await work.incidents.put(replace(known, deadlines=around.deadlines))


async def responders(
    work: Work, incident: Incident, level: Classification, policy: Policy, around: Surroundings
) -> tuple[Responder, ...]:
    """Reporter, assignee, people on call, holders of roles, who was let in; and what keeps each of them out."""
    if around.on_call is not None:
        on_call = around.on_call
    else:
        remembered = await work.incidents.on_call()
        on_call = tuple(remembered[0]) if remembered else ()
    roles = named(incident, on_call, await work.cases.standing(war_room_id(incident.id)))
    return tuple(
        [
            Responder(
                name,
                tuple(held),
                policy.people.user_id(name),
                await obstacle(work, name, level, policy, around),
            )
            for name, held in roles.items()
        ]
    )


def named(
    incident: Incident,
    on_call: Iterable[OnCall],
    standing: Sequence[Standing],
    *,
    by_role: bool = True,
    only: Username | None = None,
) -> dict[Username, list[str]]:
    """Who belongs to an incident, and as what. Pure: the one place that says so.

    `by_role=False` leaves out those who were let in only for a role in ETB, which they must still have. `only`:
    nobody else is asked about, which a room of many people makes worth saying.
    """
    # One pass: each command asks this.
    held: list[Role] = []
    let_in: list[Admitted] = []
    for one in standing:
        if isinstance(one, Admitted):
            if (only is None or one.username == only) and (by_role or not one.by_role):
                let_in.append(one)
        elif isinstance(one, Role):
            held.append(one)
    roles: dict[Username, list[str]] = {}
    for name, role in (
        (incident.reporter, "reporter"),
        (incident.assignee, "assignee"),
        *((row.username, "on call") for row in on_call),
        *((one.username, shown(one.role)) for one in held),
        *((one.username, "let in") for one in let_in),
    ):
        if name and (only is None or name == only) and role not in roles.setdefault(name, []):
            roles[name].append(role)
    return roles


def card_of(
    incident: Incident,
    level: Classification,
    people: tuple[Responder, ...],
    deadlines: tuple[Deadline, ...],
    *,
    is_drill: bool = False,
) -> Card:
    """What the incident's card shows now."""
    return Card(
        number=incident.number,
        title=incident.title,
        severity=incident.severity,
        status=incident.status,
        category=incident.category,
        priority=incident.priority,
        classification=level,
        responders=people,
        deadlines=deadlines,
        url=incident.url,
        is_drill=is_drill,
    )


def level_of(incident: Incident, policy: Policy) -> Classification:
    """ETB's word, else the configured map; never unknown, and at least `sensitive` where ETB says so."""
    return policy.classification.level(
        stated=incident.stated,
        severity=incident.severity,
        category=incident.category,
        is_sensitive=incident.is_sensitive,
    )


def level_here(room: Room | None, incident: Incident, policy: Policy) -> Classification:
    """What counts for an incident and its room: the room may lag behind, so the stricter of both."""
    level = level_of(incident, policy)
    return level if room is None else max(level, room.classification)


async def number_of(work: Work, room: Room) -> str:
    """How people call the incident of a room; any other room is called by its name."""
    known = await work.incidents.get(room.incident_id) if room.incident_id else None
    return known.incident.number if known else room.name


async def obstacle(work: Work, name: Username, level: Classification, policy: Policy, around: Surroundings) -> str:
    """What keeps somebody out of a room of this level: see `Responder.obstacle`; empty when nothing does."""
    user_id = policy.people.user_id(name)
    if user_id is None:
        return "unmapped"
    if not policy.is_at_home(user_id):
        return "server"
    if name in around.users:
        user = around.users[name]
    else:
        remembered = await work.incidents.user(name)
        user = remembered[0] if remembered else None
    if user is None:
        return "unknown"
    decision = may_enter(user.clearance, is_active=user.is_active, level=level)
    return "" if decision.allowed else decision.reason


@dataclass(frozen=True, slots=True)
class Answered(Generic[T]):
    """What a read answered."""

    value: T


async def answer_within(read: Awaitable[T], limit_s: float) -> Answered[T] | None:
    """What a read answered; None when it failed or took too long."""
    try:
        async with asyncio.timeout(limit_s):
            return Answered(await read)
    except (Failure, TimeoutError) as error:
        log.info("etb did not answer a read", reason=type(error).__name__)
        return None

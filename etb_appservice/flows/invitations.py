"""Who is invited to an incident's room, who is put out, and when that is looked at again.

    a role is held that wasn't ──► Invite, once ──► left by themselves: not asked again for the same roles
    a role is lost             ──► forgotten: whoever holds it anew is invited anew; who is inside may stay
    ETB says no                ──► the operators told ──► looked at again every few minutes
    nobody mapped, or refused  ──► the operators told ──► looked at again when the service starts

Who must go is decided in `removals`. Must never pull back somebody who left, and never let anybody in whom ETB
keeps out.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from etb_appservice.domain.effects import Invite
from etb_appservice.domain.facts import KeptOutDue, PeopleDue
from etb_appservice.domain.guests import Guest
from etb_appservice.domain.ids import IncidentId, RoomId, UserId, short_hash, war_room_id
from etb_appservice.domain.incident import Incident, Responder
from etb_appservice.domain.policy import Policy
from etb_appservice.domain.rooms import INSIDE, SPACE
from etb_appservice.domain.text import code, plain, some_of
from etb_appservice.flows.history import history_up_to
from etb_appservice.flows.surroundings import FIXES
from etb_appservice.flows.turn import Turn
from etb_appservice.ports import Room

_SOON_MS = 60_000
_SLOWLY_MS = 5 * 60_000
_LOOK_AGAIN_MS = {"unknown": _SOON_MS, "clearance": _SLOWLY_MS, "inactive": _SLOWLY_MS}
"""By obstacle. One that only another configuration can remove is looked at when the service starts."""
_START_BATCH = 50
_START_PACE_MS = 100
"""Between one incident and the next after a start: each costs a few calls to ETB."""


async def bring_in(
    turn: Turn,
    room: Room,
    room_id: RoomId,
    incident: Incident,
    people: Sequence[Responder],
    policy: Policy,
    *,
    afresh: bool = False,
) -> None:
    """Invite each responder once for the roles they hold, or say why they can't be invited.

    Nobody is invited any more once the room has ended. Whoever may not be in the room was put out before.
    `afresh`: the configuration or the homeserver may have been mended, so refused invitations are tried again.
    """
    guests = {guest.id: guest for guest in await turn.work.cases.of(room.war_room, Guest)}
    space = await turn.work.rooms.by_war_room(SPACE)
    kept_out: dict[str, list[Responder]] = defaultdict(list)
    for person in people:
        before = guests.pop(person.username, Guest(id=person.username))
        if person.obstacle or person.user_id is None:
            if before.obstacle != person.obstacle:
                kept_out[person.obstacle].append(person)
            roles = tuple(role for role in before.roles if role in person.roles)
            after = replace(before, roles=roles, obstacle=person.obstacle)
        elif incident.is_over:
            after = before
        else:
            after = await _let_in(turn, room, room_id, person, person.user_id, before, policy, afresh=afresh)
            if space is not None and space.room_id is not None:
                await _show_space(turn, space.room_id, person.user_id, policy)
        await _keep(turn, room, before, replace(after, is_open=bool(after.obstacle) and incident.is_open))
    for obstacle, those in kept_out.items():
        await _tell(turn, incident, obstacle, those)
    for gone in guests.values():
        stays = gone.user_id is not None and gone.came_in(gone.user_id)
        stays = stays and await turn.work.rooms.membership(room_id, gone.user_id or UserId("")) in INSIDE
        await _keep(turn, room, gone, Guest(id=gone.id, user_id=gone.user_id if stays else None, stays=stays))
    if incident.is_open:
        await _look_again(turn, incident.id, people)


async def forget_invitations(turn: Turn, room: Room) -> None:
    """At the next look whoever belongs to the incident and isn't in its room is invited as if anew."""
    for guest in await turn.work.cases.of(room.war_room, Guest):
        await turn.work.cases.put(room.war_room, replace(guest, roles=()))


async def refused(turn: Turn, room: Room, user_id: UserId) -> bool:
    """The homeserver took no invitation for this person; answers whether that is news."""
    is_news = True
    for guest in await turn.work.cases.of(room.war_room, Guest):
        if guest.user_id == user_id:
            is_news = guest.obstacle != "refused"
            await turn.work.cases.put(room.war_room, replace(guest, obstacle="refused", is_open=True))
    return is_news


async def look_where_kept_out(turn: Turn, after: str = "") -> None:
    """After a start: every open incident that somebody is kept out of, one after another, in its own lane.

    A batch at a time, so that no commit is long however many there are.
    """
    kept_out = set(await turn.work.cases.where_open(Guest))
    if not kept_out:
        return
    open_ids = sorted(one for one in await turn.work.incidents.open_ids() if one > after)
    waiting = [one for one in open_ids if war_room_id(one) in kept_out]
    batch = waiting[:_START_BATCH]
    for number, incident_id in enumerate(batch):
        await turn.follow(
            PeopleDue(incident_id=incident_id, afresh=True),
            ("people", turn.ref, incident_id),
            lane=incident_id,
            due_ms=turn.now_ms + number * _START_PACE_MS,
        )
    if len(waiting) > len(batch):
        due_ms = turn.now_ms + len(batch) * _START_PACE_MS
        await turn.follow(KeptOutDue(after=batch[-1]), ("kept out", turn.ref), due_ms=due_ms)


async def _let_in(
    turn: Turn,
    room: Room,
    room_id: RoomId,
    person: Responder,
    user_id: UserId,
    before: Guest,
    policy: Policy,
    *,
    afresh: bool,
) -> Guest:
    now = Guest(id=person.username, user_id=user_id, roles=person.roles)
    if await turn.work.rooms.membership(room_id, user_id) in INSIDE:
        return now
    if before.user_id == user_id and set(person.roles) <= set(before.roles):
        if before.obstacle != "refused":
            return now
        now = replace(now, obstacle="refused")
        if not afresh:
            return now
    await turn.work.rooms.set_member(room_id, user_id, "invite")
    up_to = await history_up_to(turn, room, user_id, policy)
    await turn.emit(f"invite/{user_id}", Invite(room_id=room_id, user_id=user_id, history_up_to=up_to))
    await turn.note(
        "person.invited", subject=room.war_room, details={"user": user_id, "roles": ",".join(person.roles)}
    )
    return now


async def _tell(turn: Turn, incident: Incident, obstacle: str, those: Sequence[Responder]) -> None:
    """The operators, of all whom the same thing keeps out at once."""
    shown = [f"{code(one.username)} ({', '.join(one.roles)})" for one in those]
    if len(those) == 1:
        who = f"ETB user {shown[0]} was not invited: the person"
    else:
        who = f"{len(those)} people of ETB were not invited ({some_of(shown)}): each"
    await turn.trouble(
        ("responder", turn.ref, obstacle, those[0].username),
        f"**{plain(incident.number)}**: {who} {FIXES[obstacle]}",
    )


async def _show_space(turn: Turn, space_id: RoomId, user_id: UserId, policy: Policy) -> None:
    """Responders of our own homeserver see their rooms gathered in the Space; it isn't federated."""
    if not user_id.endswith(f":{policy.server_name}"):
        return
    if await turn.work.rooms.membership(space_id, user_id) in INSIDE:
        return
    if await turn.work.once.first_time("space", space_id, user_id):
        await turn.work.rooms.set_member(space_id, user_id, "invite")
        await turn.emit(f"space/{user_id}", Invite(room_id=space_id, user_id=user_id))


async def _keep(turn: Turn, room: Room, before: Guest, after: Guest) -> None:
    if after != before:
        await turn.work.cases.put(room.war_room, after)


async def _look_again(turn: Turn, incident_id: IncidentId, people: Sequence[Responder]) -> None:
    """When ETB may have changed its mind about somebody.

    However often an incident changes meanwhile, there is one look in each stretch of time; where a stretch begins
    differs from incident to incident, so that not all of them ask ETB at once.
    """
    every_ms = min((_LOOK_AGAIN_MS[one.obstacle] for one in people if one.obstacle in _LOOK_AGAIN_MS), default=0)
    if not every_ms:
        return
    shift = int.from_bytes(short_hash("people", incident_id)[:4], "big") % every_ms
    number = (turn.now_ms - shift) // every_ms + 1
    await turn.follow(
        PeopleDue(incident_id=incident_id),
        ("people", incident_id, str(every_ms), str(number)),
        due_ms=number * every_ms + shift,
    )

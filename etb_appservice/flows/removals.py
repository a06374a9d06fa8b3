"""Whoever may not be in a room is out of it, before anything else is said there.

    a join or an invitation by whoever ─► permitted? ─no─► Remove, recorded as a violation, the operators told
    ETB takes a right away ─► RightsDue for each room they are in ─► permitted? ─no─► Remove, recorded, told
    an incident's level or people change ─► everybody in its room is asked about, first of all

Until the homeserver has carried it out they get no keys: the hands ask the same question for each message
(matrix/audience.py). For want of ETB's word nobody is removed; they get no keys until it comes.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import assert_never

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.effects import Remove
from etb_appservice.domain.facts import MembershipChanged, RightsDoubted, RightsDue, RightsSweepDue, UsersSeen
from etb_appservice.domain.guests import Guest
from etb_appservice.domain.ids import RoomId, UserId
from etb_appservice.domain.incident import EtbUser
from etb_appservice.domain.news import RightsChanged
from etb_appservice.domain.policy import Policy
from etb_appservice.domain.roles import Admitted
from etb_appservice.domain.text import code, plain, some_of
from etb_appservice.flows.comings import tell_of_move
from etb_appservice.flows.permitted import (
    PUT_OUT,
    Copy,
    Permission,
    Why,
    circle_of,
    newer,
    permission,
    permissions,
)
from etb_appservice.flows.surroundings import FIXES, number_of
from etb_appservice.flows.turn import Turn
from etb_appservice.ports import Room, Work

RightsFact = UsersSeen | RightsDoubted | RightsDue | RightsSweepDue
_REASONS: dict[Why, str] = {
    "stranger": "You are not among the people of this room. Ask one of them to have you invited.",
}
_REASON = "You are no longer permitted to be in this room."
"""What the removed person reads. Every homeserver in the room reads it too: nothing of clearances."""
_BATCH = 50
_PACE_MS = 100


async def decided(turn: Turn, fact: RightsFact, policy: Policy) -> None:
    """What ETB says of people, and what follows from that."""
    match fact:
        case UsersSeen():
            await learned_all(turn, fact.users, policy)
        case RightsDoubted():
            await _doubted(turn, fact, policy)
        case RightsDue():
            await _due(turn, fact, policy)
        case RightsSweepDue(after=after):
            await sweep_rooms(turn, after)
        case _:
            assert_never(fact)


async def learned(turn: Turn, user: EtbUser, policy: Policy) -> None:
    """ETB has said who somebody is: kept, and where that is news each room they are in is looked at."""
    await _keep(turn, await turn.work.incidents.user(user.username), (user, turn.now_ms), policy)


async def vouched(turn: Turn, user: EtbUser, said_ms: int, policy: Policy) -> Copy:
    """As `learned`, of a caller as ETB confirmed them at `said_ms`: never over a newer word.

    Answers what counts, and since when.
    """
    before = await turn.work.incidents.user(user.username)
    word, since_ms = newer(before, (user, said_ms))
    return await _keep(turn, before, (replace(word, id=word.id or user.id), since_ms), policy)


async def _keep(turn: Turn, before: Copy | None, now: Copy, policy: Policy) -> Copy:
    """Instead of what was known before; an id that only their profile tells stays with them."""
    user, since_ms = now
    if before is not None:
        user = replace(user, id=user.id or before[0].id)
        if before == (user, since_ms) and before[0].id == user.id:
            return before
    await turn.work.incidents.put_user(user, since_ms)
    if before is None or replace(before[0], display_name="") != replace(user, display_name=""):
        for user_id in (policy.people.user_id(user.username), policy.ghosts.user_id(user.username)):
            if user_id is not None:
                await doubt_rights(turn, user_id)
    return user, since_ms


async def doubt_rights(turn: Turn, user_id: UserId, *, due_ms: int | None = None) -> None:
    """Something has changed about somebody: each incident's room that they are in looks whether they may be."""
    for room_id in await turn.work.rooms.shared_with(user_id):
        room = await turn.work.rooms.by_id(room_id)
        if room is not None and room.kind == "incident":
            turn.tell(RightsChanged(war_room=room.war_room))
            fact = RightsDue(room_id=room_id, user_id=user_id)
            lane = room.incident_id or room_id
            await turn.follow(fact, ("rights", turn.ref, room_id, user_id), lane=lane, due_ms=due_ms)


async def learned_all(turn: Turn, users: Iterable[EtbUser | None], policy: Policy) -> None:
    """The same of several people; None: ETB knows no such user."""
    for user in users:
        if user is not None:
            await learned(turn, user, policy)


async def _doubted(turn: Turn, fact: RightsDoubted, policy: Policy) -> None:
    """ETB refuses to tell us about people: what it said before doesn't hold on for want of a new word."""
    await turn.work.incidents.doubt_users(fact.before_ms)
    if await turn.work.once.first_time("rights doubted", str(fact.since_ms)):
        await turn.note("rights.doubted", subject="etb", details={"before": fact.before_ms})
        prefix = policy.commands.prefixes[0]
        await turn.trouble(
            ("rights doubted", str(fact.since_ms)),
            "ETB answers 401 when I ask about people: it doesn't take the token any more. Nobody's rights are "
            "confirmed, so people get no keys of incident rooms and no answers; nobody is removed. Set a valid "
            f"`etb.token` and restart; `{prefix}health` shows whether it works.",
        )


async def sweep_rooms(turn: Turn, after: str = "") -> None:
    """After a start: the configuration may map and name other people. A batch at a time, each in its lane."""
    rooms = [
        room
        for room in await turn.work.rooms.all_current()
        if room.room_id is not None and room.kind != "space" and room.war_room > after
    ]
    rooms.sort(key=lambda room: room.war_room)
    batch = rooms[:_BATCH]
    for number, room in enumerate(batch):
        assert room.room_id is not None  # noqa: S101 - chosen so
        await turn.follow(
            RightsDue(room_id=room.room_id),
            ("rights", turn.ref, room.room_id),
            lane=room.incident_id or room.room_id,
            due_ms=turn.now_ms + number * _PACE_MS,
        )
    if len(rooms) > len(batch):
        due_ms = turn.now_ms + len(batch) * _PACE_MS
        await turn.follow(RightsSweepDue(after=batch[-1].war_room), ("rights", turn.ref), due_ms=due_ms)


async def _due(turn: Turn, fact: RightsDue, policy: Policy) -> None:
    """Look at one person in a room, or at everybody there."""
    room = await turn.work.rooms.by_id(fact.room_id)
    if room is not None:
        await put_out_whom_it_must(turn, room, policy, only=[fact.user_id] if fact.user_id else None)


async def came(turn: Turn, room: Room, fact: MembershipChanged, policy: Policy) -> bool:
    """Somebody is in a room or invited to it: whether they may be. Whoever may not is put out at once."""
    found = await permission(turn.work, room, fact.user_id, policy)
    if found.why not in PUT_OUT:
        return True
    is_ours = policy.is_ours(fact.sender)
    if not is_ours:
        await turn.note(
            "violation.membership",
            actor=fact.sender,
            subject=room.war_room,
            details={"user": fact.user_id, "membership": fact.membership, "why": found.why},
        )
    how = "has joined" if fact.membership == "join" else f"was invited by {code(fact.sender)}"
    await _put_out(turn, room, fact.user_id, found, policy)
    await _tell(turn, room, [fact.user_id], found.why, how="" if is_ours else how)
    return False


async def put_out_whom_it_must(
    turn: Turn, room: Room, policy: Policy, *, only: Collection[UserId] | None = None
) -> tuple[UserId, ...]:
    """Everybody in the room who may not be there is put out, and answered; `only`: nobody else is looked at."""
    if room.room_id is None:
        return ()
    present = await turn.work.rooms.present(room.room_id)
    asked = sorted(present if only is None else [one for one in only if one in present])
    found = await permissions(turn.work, await circle_of(turn.work, room), asked, policy)
    going = tuple(user_id for user_id in asked if found[user_id].why in PUT_OUT)
    for user_id in going:
        if found[user_id].why == "stranger":
            # In by an old membership, another mapping, or a homeserver's own doing: nobody had let them in.
            details = {"user": user_id, "membership": present[user_id], "why": "stranger"}
            await turn.note("violation.membership", subject=room.war_room, details=details)
        await _put_out(turn, room, user_id, found[user_id], policy)
    for why in sorted({found[user_id].why for user_id in going}):
        await _tell(turn, room, [user_id for user_id in going if found[user_id].why == why], why)
    return going


async def would_lose(work: Work, room: Room, level: Classification, policy: Policy) -> tuple[UserId, ...]:
    """Who is in the room and could not stay, were its level this one."""
    if room.room_id is None:
        return ()
    present = sorted(await work.rooms.present(room.room_id))
    circle = await circle_of(work, room)
    raised = replace(circle, room=replace(room, classification=max(level, room.classification)))
    now = await permissions(work, circle, present, policy)
    then = await permissions(work, raised, present, policy)
    return tuple(one for one in present if now[one].allowed and not then[one].allowed)


async def remove(turn: Turn, room_id: RoomId, user_id: UserId, reason: str, policy: Policy) -> None:
    """Out of our tables and of the room. From this commit on they are nobody to whom a key is given."""
    before = await turn.work.rooms.set_member(room_id, user_id, "leave")
    room = await turn.work.rooms.by_id(room_id)
    if room is not None:
        await tell_of_move(turn, room, user_id, before, "leave", policy)
        turn.tell(RightsChanged(war_room=room.war_room))
    await turn.emit(f"remove/{room_id}/{user_id}", Remove(room_id=room_id, user_id=user_id, reason=reason))
    # Rotated at once, not only when the homeserver has carried it out.
    turn.moved.append((room_id, user_id))


async def _put_out(turn: Turn, room: Room, user_id: UserId, found: Permission, policy: Policy) -> None:
    assert room.room_id is not None  # noqa: S101 - somebody is in it
    await remove(turn, room.room_id, user_id, _REASONS.get(found.why, _REASON), policy)
    username = policy.people.username(user_id)
    if username is not None:
        guest = await turn.work.cases.get(room.war_room, Guest, username)
        if guest is not None:
            await turn.work.cases.put(room.war_room, replace(guest, roles=(), stays=False))
        admitted = await turn.work.cases.get(room.war_room, Admitted, username)
        if found.why == "role" and admitted is not None:
            await turn.work.cases.put(room.war_room, replace(admitted, is_open=False))
    await turn.note("person.removed", subject=room.war_room, details={"user": user_id, "why": found.why})


async def _tell(turn: Turn, room: Room, gone: Sequence[UserId], why: Why, *, how: str = "") -> None:
    """The operators, of all at once: a raise that empties a room is one thing to read."""
    name = await number_of(turn.work, room)
    came_how = f"{how} and " if how else ""
    one = f"{code(gone[0])} {came_how}was removed from the room, since the person"
    many = f"{len(gone)} people were removed from the room ({some_of([code(user) for user in gone])}), since each"
    await turn.trouble(
        ("removed", turn.ref, room.war_room, why, *gone[:1]),
        f"**{plain(name)}**: {one if len(gone) == 1 else many} {FIXES[why]}",
    )

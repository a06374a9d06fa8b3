"""Letting a partner into an incident, and out again.

    let_in ─► the room federates ────► said, ACL, those named by id invited
          └─► it doesn't, for good ──► OpenRoom of the next generation ─► (upgrades.py) ─► people moved
    revoke ─► theirs removed, ACL ─► said to whoever is left, under a new key

Whether it may be let in must have been decided before, and approved. Must never invite anybody of theirs whom
`permission` keeps out, nor say anything between a removal and the key that follows it.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from etb_appservice.domain.effects import OpenRoom, Say
from etb_appservice.domain.ids import RoomId, UserId
from etb_appservice.domain.incident import Incident, urgency
from etb_appservice.domain.partners import Partner, PartnerAdmitted
from etb_appservice.domain.policy import Policy
from etb_appservice.domain.text import code, plain, some_of
from etb_appservice.domain.upgrades import Upgrade
from etb_appservice.flows.admission import Came, bring_in
from etb_appservice.flows.federation import partner_servers, partners_in, put_acl
from etb_appservice.flows.incidents import room_spec
from etb_appservice.flows.permitted import permission
from etb_appservice.flows.removals import remove
from etb_appservice.flows.surroundings import level_here
from etb_appservice.flows.timeline import write_down
from etb_appservice.flows.turn import Turn
from etb_appservice.ports import Room, Work

_READS = {
    "shared": "what is said from now on, and what was said before as far as their clients are given its keys",
    "invited": "what is said from the moment on in which each of them is invited",
    "joined": "what is said from the moment on in which each of them joins",
}


def preview(room: Room, incident: Incident, partner: Partner, policy: Policy) -> str:
    """What letting a partner in would do, as Markdown: who comes, and what they and their servers can read."""
    level = level_here(room, incident, policy)
    rules = policy.rooms.rules[level]
    prefix, server = policy.commands.prefixes[0], min(partner.servers)
    named = some_of([code(one) for one in sorted(partner.people)])
    later = f"`{prefix}invite @name:{server}` invites others of theirs"
    title = (
        "the room's name with the incident's title" if rules.title_in_state else "the room's name, a number only"
    )
    lines = [
        f"let partner **{plain(partner.name)}** into **{plain(incident.number)}**",
        f"  - Homeservers: {_servers(partner)}",
        f"  - Invited at once: {named}; {later}" if named else f"  - Invited at once: nobody; {later}",
        f"  - They read {_READS[rules.visibility]}",
        f"  - Whoever runs these homeservers sees {title}, who is here, who writes when, reactions, pins; no text",
        f"  - They may know up to {partner.ceiling.name}; this incident is {level.name}",
    ]
    if not room.federates:
        lines.append(
            "  - This room is closed to other homeservers for good: a new one takes its place, linked from here, "
            "and everybody here is invited there. What was said here stays here"
        )
    return "\n".join(lines)


def terms(room: Room, incident: Incident, partner: Partner, policy: Policy) -> str:
    """What an approval of letting a partner in was given for; when it is another since, it doesn't hold."""
    level = level_here(room, incident, policy)
    parts = [level.name, partner.ceiling.name, str(room.federates), *sorted(partner.servers)]
    return "/".join([*parts, *sorted(partner.people), *sorted(partner.patterns), *sorted(partner.roles)])


async def let_in(
    turn: Turn, room: Room, incident: Incident, partner: Partner, policy: Policy, *, by: UserId, approved_by: str
) -> str:
    """Let a partner in; answers what to say to whoever asked."""
    people = tuple(sorted(partner.people))
    await turn.work.cases.put(
        room.war_room, PartnerAdmitted(id=partner.name, by=by, at_ms=turn.now_ms, people=people)
    )
    await turn.note(
        "partner.admitted",
        actor=by,
        subject=room.war_room,
        details={"partner": partner.name, "approved_by": approved_by, "federates": room.federates},
    )
    await write_down(
        turn,
        room,
        "OTHER",
        f"Partner let in: {partner.name}",
        server=policy.server_name,
        description=f"Homeservers: {', '.join(sorted(partner.servers))}. Approved by {approved_by}.",
        by=by,
    )
    room_id = room.room_id
    assert room_id is not None  # noqa: S101 - the command came from it
    head = f"**Partner {plain(partner.name)} is let in** ({_servers(partner)}), asked for by {code(by)}, approved "
    head += f"by {code(approved_by)}."
    if not room.federates:
        await _replace(turn, room, incident, policy)
        text = f"{head} This room is closed to other homeservers: a new one takes its place, and a link follows."
        await turn.emit("partner", Say(room_id=room_id, content=text, purpose="notice"))
        return "Let in. The new room is being opened."
    text = f"{head} They read {_READS[policy.rooms.rules[level_here(room, incident, policy)].visibility]}."
    await turn.emit("partner", Say(room_id=room_id, content=text, purpose="notice"))
    room = await put_acl(turn, room, policy)
    count = await invite_theirs(turn, room, room_id, policy, by=by)
    return f"Let in. {count} of theirs {'is' if count == 1 else 'are'} invited."


async def invite_theirs(turn: Turn, room: Room, room_id: RoomId, policy: Policy, *, by: UserId) -> int:
    """Invite everybody of partners let in here whom they name by id, or who was invited by name; how many."""
    count = 0
    for _, admitted in await partners_in(turn.work, room.war_room, room.classification, policy):
        for user_id in admitted.people:
            if (await permission(turn.work, room, user_id, policy)).allowed:
                count += await bring_in(turn, room, room_id, user_id, by=by) == "invited"
    return count


async def bring_in_theirs(
    turn: Turn, room: Room, user_id: UserId, policy: Policy, *, by: UserId
) -> Came | Literal["later"]:
    """Invite somebody of a partner that was let in; `later`: the room that federates is still being opened."""
    for partner, admitted in await partners_in(turn.work, room.war_room, room.classification, policy):
        if partner.includes(user_id) and user_id not in admitted.people:
            await turn.work.cases.put(room.war_room, replace(admitted, people=(*admitted.people, user_id)))
            break
    if room.room_id is None or not room.federates:
        return "later"
    return await bring_in(turn, room, room.room_id, user_id, by=by)


async def revoke(turn: Turn, room: Room, admitted: PartnerAdmitted, policy: Policy, *, by: UserId) -> str:
    """Put a partner out; answers what to say to whoever asked."""
    room_id = room.room_id
    assert room_id is not None  # noqa: S101 - the command came from it
    await turn.work.cases.put(room.war_room, replace(admitted, is_open=False))
    gone: set[UserId] = set()
    for place in [room, *await _before(turn.work, room)]:
        gone |= await _put_out(turn, place, admitted, policy, by=by)
        await put_acl(turn, place, policy)
    await turn.note(
        "partner.revoked", actor=by, subject=room.war_room, details={"partner": admitted.id, "people": len(gone)}
    )
    await write_down(
        turn, room, "OTHER", f"Partner revoked: {admitted.id}", server=policy.server_name, by=by,
        description=f"{len(gone)} of its people removed.",
    )  # fmt: skip
    text = f"**Partner {plain(admitted.id)} is no longer let in**, by {code(by)}. They can't read what follows."
    await turn.emit("partner", Say(room_id=room_id, content=text, purpose="notice"))
    return f"Revoked. {len(gone)} of theirs removed, their homeservers shut out."


async def _before(work: Work, room: Room) -> list[Room]:
    """The rooms that this one has followed: theirs may still sit there."""
    found = [await work.rooms.by_id(one.before) for one in await work.cases.of(room.war_room, Upgrade)]
    return [one for one in found if one is not None and not one.is_current]


async def _put_out(
    turn: Turn, room: Room, admitted: PartnerAdmitted, policy: Policy, *, by: UserId
) -> set[UserId]:
    """Remove a partner's people from one room, but for whoever may stay for another reason; who was removed."""
    if room.room_id is None:
        return set()
    partner = next((one for one in policy.partners if one.name == admitted.id), None)
    gone: set[UserId] = set()
    for user_id in await turn.work.rooms.members(room.room_id, "join", "invite"):
        is_theirs = user_id in admitted.people or (partner is not None and partner.includes(user_id))
        if not is_theirs or (await permission(turn.work, room, user_id, policy)).allowed:
            continue
        gone.add(user_id)
        await remove(
            turn, room.room_id, user_id, "Your organisation no longer takes part in this incident.", policy
        )
        await turn.note(
            "person.removed", actor=by, subject=room.war_room, details={"user": user_id, "why": "partner revoked"}
        )
    return gone


async def listed(work: Work, room: Room, policy: Policy) -> str:
    """Every partner and how it stands to this incident."""
    if not policy.partners:
        return "No partner is configured. An operator adds them under `partners` in the configuration."
    entries = {one.id: one for one in await work.cases.of(room.war_room, PartnerAdmitted, only_open=True)}
    present = await work.rooms.members(room.room_id, "join", "invite") if room.room_id else ()
    lines = []
    for partner in policy.partners:
        line = f"- **{plain(partner.name)}** ({_servers(partner)}), up to {partner.ceiling.name}: "
        admitted = entries.get(partner.name)
        if admitted is None:
            lines.append(f"{line}not let in")
            continue
        count = sum(1 for one in present if partner.includes(one))
        state = f"let in by {code(admitted.by)}, {count} of theirs here"
        if partner.ceiling < room.classification:
            state += "; shut out while this incident is above its ceiling"
        elif not room.federates:
            state += "; the room that takes this one's place is being opened"
        lines.append(line + state)
    return "\n".join(["**Partners**", "", *lines])


async def _replace(turn: Turn, room: Room, incident: Incident, policy: Policy) -> None:
    """Ask for the next generation, open to other homeservers. What follows is decided when it is there."""
    level = level_here(room, incident, policy)
    spec = room_spec(
        incident,
        level,
        policy,
        generation=room.generation + 1,
        servers=await partner_servers(turn.work, room.war_room, level, policy),
        is_for_partners=True,
        predecessor=room.room_id,
    )
    asked = OpenRoom(war_room=room.war_room, spec=spec, urgency=urgency(incident.severity))
    await turn.emit("replace", asked)
    await turn.note("room.asked", subject=room.war_room, details={"generation": spec.generation, "why": "partner"})


def _servers(partner: Partner) -> str:
    return ", ".join(code(one) for one in sorted(partner.servers))


def theirs(policy: Policy, user_id: UserId) -> Sequence[Partner]:
    """The partners to which somebody belongs, as configured; nobody whom ETB knows belongs to one."""
    if policy.people.username(user_id) is not None:
        return ()
    return [one for one in policy.partners if one.includes(user_id)]

"""Which homeservers may take part in a room: our own, those of our organisation, those of partners let in there.

    partner let in, revoked, level raised ──► settle ──► another ACL than asked for last ──► PutState
    service started, other settings ────────► AclsDue, a batch of rooms at a time ─────────► the same

A room that doesn't federate needs no ACL. What a room's ACL is to be, only `wanted_hosts` says.
"""

from collections.abc import Sequence
from dataclasses import replace

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.effects import PutState
from etb_appservice.domain.facts import AclsDue
from etb_appservice.domain.ids import RoomId, WarRoomId
from etb_appservice.domain.partners import SERVER_ACL, Partner, PartnerAdmitted, acl_hosts, server_acl, server_of
from etb_appservice.domain.policy import Policy
from etb_appservice.flows.turn import SERVICE_LANE, Turn
from etb_appservice.ports import Room, Work

_BATCH = 500


async def partners_in(
    work: Work, war_room: WarRoomId, level: Classification, policy: Policy
) -> Sequence[tuple[Partner, PartnerAdmitted]]:
    """Partners that were let into an incident and may know its level."""
    if not policy.partners:
        return ()
    let_in = {one.id: one for one in await work.cases.of(war_room, PartnerAdmitted, only_open=True)}
    return [(one, let_in[one.name]) for one in policy.partners if one.name in let_in and level <= one.ceiling]


async def partner_servers(work: Work, war_room: WarRoomId, level: Classification, policy: Policy) -> list[str]:
    """The homeservers of these."""
    return sorted(
        {server for one, _ in await partners_in(work, war_room, level, policy) for server in one.servers}
    )


async def wanted_hosts(work: Work, room: Room, policy: Policy) -> tuple[str, ...] | None:
    """The homeservers that a room's ACL shall name; None for a room that doesn't federate."""
    if not room.federates:
        return None
    own = server_of(policy.rooms.bot)
    match room.kind:
        case "incident":
            theirs = await partner_servers(work, room.war_room, room.classification, policy)
            return acl_hosts(own, (*policy.rooms.servers, *theirs))
        case "direct" if room.person is not None:
            return acl_hosts(own, (server_of(room.person),))
        case "announce":
            return acl_hosts(own, map(server_of, policy.announcements.members))
        case _:
            return acl_hosts(own)


async def put_acl(turn: Turn, room: Room, policy: Policy) -> Room:
    """Have the room's ACL say what it shall, unless that was asked for already; answers the room, put."""
    hosts = await wanted_hosts(turn.work, room, policy)
    if room.room_id is None or hosts is None or hosts == room.hosts:
        return room
    changed = replace(room, hosts=hosts)
    await turn.work.rooms.put(changed)
    await turn.emit(f"acl/{room.room_id}/{'/'.join(hosts)}", acl_state(room.room_id, hosts))
    await turn.note("room.acl", subject=room.war_room, details={"hosts": ",".join(hosts)})
    return changed


async def acl_refused(turn: Turn, effect: PutState) -> None:
    """The homeserver took no ACL, which operators are told: it is asked for again at the next look."""
    room = await turn.work.rooms.by_id(effect.room_id)
    if effect.event_type == SERVER_ACL and room is not None:
        await turn.work.rooms.put(replace(room, hosts=None))


def acl_state(room_id: RoomId, hosts: Sequence[str]) -> PutState:
    """Sets a room's ACL."""
    return PutState(room_id=room_id, event_type=SERVER_ACL, state_key="", content=server_acl(hosts))


async def look_at_acls(turn: Turn, policy: Policy, after: str = "") -> None:
    """Every room of ours: settings may be others now, and a room older than ACLs has none. A batch at a time."""
    rooms = sorted(one.war_room for one in await turn.work.rooms.all_current() if one.war_room > after)
    for war_room in rooms[:_BATCH]:
        room = await turn.work.rooms.by_war_room(war_room)
        if (
            room is None
            or room.room_id is None
            or await wanted_hosts(turn.work, room, policy) in {None, room.hosts}
        ):
            continue
        # In its own lane: there the room may just be changing.
        lane = room.incident_id or room.room_id
        await turn.follow(AclsDue(war_room=war_room), ("acl", turn.ref, war_room), lane=lane)
    if len(rooms) > _BATCH:
        await turn.follow(AclsDue(after=rooms[_BATCH - 1]), ("acls", turn.ref), lane=SERVICE_LANE)


async def acls_due(turn: Turn, fact: AclsDue, policy: Policy) -> None:
    """One room, or the next batch of them."""
    if fact.war_room is None:
        await look_at_acls(turn, policy, fact.after)
        return
    room = await turn.work.rooms.by_war_room(fact.war_room)
    if room is not None:
        await put_acl(turn, room, policy)

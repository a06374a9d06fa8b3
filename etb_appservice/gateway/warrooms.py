"""War rooms and who takes part in them, as the API shows them (docs/etb-contract.md 3.3, 3.5)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from etb_appservice.domain.closing import Closing
from etb_appservice.domain.files import kept_until_ms
from etb_appservice.domain.ids import UserId, Username
from etb_appservice.domain.incident import EtbUser, Incident
from etb_appservice.domain.policy import Policy
from etb_appservice.domain.rooms import MEGOLM, incident_room
from etb_appservice.domain.webroom import WebRoom
from etb_appservice.flows.closings import closing_of
from etb_appservice.flows.keeping import is_held
from etb_appservice.flows.permitted import Permission, permission_of, permissions
from etb_appservice.flows.webrooms import privacy_of
from etb_appservice.gateway.doors import Sight
from etb_appservice.gateway.gate import Gate
from etb_appservice.gateway.links import Links
from etb_appservice.gateway.objects import (
    AllowedUser,
    MatrixRoom,
    Participant,
    Privacy,
    RoomStatus,
    WarRoomDetail,
    WarRoomItem,
    clean,
    level_name,
    moment,
    moment_or_none,
)
from etb_appservice.gateway.reading import hidden_from
from etb_appservice.gateway.shows import users_of
from etb_appservice.ports import Tally, Work


def default_name(incident: Incident) -> str:
    """What a war room is called where nobody named it."""
    return f"Incident {incident.number} - {incident.title}"


@dataclass(frozen=True, slots=True)
class Standing:
    """What lists filter and order by."""

    sight: Sight
    closing: Closing | None
    web: WebRoom
    tally: Tally

    @property
    def status(self) -> RoomStatus:
        """Archived by somebody, closed with its incident, or neither."""
        if self.closing is None or not self.closing.is_open:
            return "ACTIVE"
        if self.closing.archived_ms is not None:
            return "ARCHIVED"
        return "CLOSED" if self.sight.incident.is_over else "ACTIVE"

    @property
    def name(self) -> str:
        """As somebody named it, or as its incident is called."""
        return clean(self.web.name or default_name(self.sight.incident))

    @property
    def privacy(self) -> Privacy:
        """By the incident's sensitivity."""
        return privacy_of(self.sight.incident, self.sight.level)


async def tallies_of(work: Work, sights: Sequence[Sight]) -> Mapping[str, Tally]:
    """What the caller may read of each, by incident."""
    return await work.messages.tally([one.incident_id for one in sights], await hidden_from(work, sights))


async def standing_of(work: Work, sight: Sight, tallies: Mapping[str, Tally]) -> Standing:
    """Read it. `tallies`: by incident."""
    closing = await closing_of(work, sight.room)
    web = await work.cases.get(sight.room.war_room, WebRoom, WebRoom().id)
    return Standing(sight, closing, web or WebRoom(), tallies.get(sight.incident_id, Tally()))


async def item(work: Work, gate: Gate, standing: Standing) -> WarRoomItem:
    """As a list shows it."""
    people = await taking_part(work, gate, standing.sight)
    return WarRoomItem(**_item(standing, people))


async def detail(work: Work, gate: Gate, standing: Standing, links: Links) -> WarRoomDetail:
    """The whole of it."""
    sight = standing.sight
    room, incident = sight.room, sight.incident
    people = await taking_part(work, gate, sight)
    rooms, closing = gate.policy.rooms, standing.closing
    alias = incident_room(incident, room.classification, rooms, generation=room.generation).alias_localpart
    latest_ms = max(room.created_ms, min(incident.updated_at_ms, work.now_ms()), standing.tally.latest_ms)
    makers = await users_of(work, {standing.web.created_by} if standing.web.created_by else ())
    maker = makers.get(standing.web.created_by)
    level = level_name(sight.level)
    return WarRoomDetail(
        **_item(standing, people),
        description=clean(standing.web.description or incident.description),
        incident_status=incident.status,
        incident_category=incident.category,
        incident_priority=incident.priority,
        allowed_users=[
            AllowedUser(
                id=one.id,
                username=one.username,
                display_name=one.display_name,
                clearance_level=one.clearance_level,
                is_online=one.is_online,
            )
            for one in people
            if one.is_cleared
        ],
        created_by=(maker.id or None) if maker is not None else None,
        created_by_username=standing.web.created_by or None,
        updated_at=moment(latest_ms),
        archived_at=moment_or_none(closing.archived_ms if closing is not None and closing.is_open else None),
        slack_channel_id=None,
        teams_channel_id=None,
        chat_room_id=room.war_room,
        websocket_url=links.socket(room.war_room),
        data_classification=level,
        required_clearance=level,
        is_encrypted=True,
        legal_hold=await is_held(work, room.war_room),
        retention_until=_kept_until(standing),
        matrix=MatrixRoom(
            room_id=room.room_id,
            room_alias=f"#{alias}:{gate.policy.server_name}" if room.room_id is not None else None,
            encryption_algorithm=MEGOLM,
            rotation_period_ms=rooms.rotation_period_ms,
        ),
    )


def _kept_until(standing: Standing) -> str | None:
    """Until when what was said there is kept, by the room's level, from its incident's end on; None before it."""
    closing = standing.closing
    if closing is None or not closing.is_open:
        return None
    return moment(kept_until_ms(closing.ended_ms, standing.sight.level))


def _item(standing: Standing, people: Sequence[Participant]) -> dict[str, object]:
    sight = standing.sight
    return {
        "id": sight.room.war_room,
        "name": standing.name,
        "incident": sight.incident_id,
        "incident_title": clean(sight.incident.title),
        "incident_severity": sight.incident.severity,
        "status": standing.status,
        "privacy_level": standing.privacy,
        "message_count": standing.tally.count,
        "last_activity": moment_or_none(standing.tally.latest_ms or None),
        "participant_count": sum(one.is_cleared for one in people),
        "created_at": moment(sight.room.created_ms),
    }


# --- people -----------------------------------------------------------------------------------------------


async def taking_part(work: Work, gate: Gate, sight: Sight) -> list[Participant]:
    """Everybody who is in the room or named for its incident: ETB's users by name, then partners by Matrix id."""
    policy, circle = gate.policy, sight.circle.for_many()
    present = await work.rooms.present(sight.room.room_id) if sight.room.room_id is not None else {}
    names = set(circle.names or ())
    partners: list[UserId] = []
    for user_id in sorted(present):
        if policy.is_ours(user_id) and policy.ghosts.username(user_id) is None:
            continue
        name = policy.people.username(user_id)
        if name is not None:
            names.add(name)
        else:
            partners.append(user_id)
    copies = await work.incidents.users(names)
    online = gate.online(sight.room.war_room)
    found: list[Participant] = []
    for name in sorted(names):
        copy = copies.get(name)
        allowed = await permission_of(work, sight.room, name, policy, known=(circle, copy))
        user = None if copy is None else copy[0]
        found.append(_user(policy, name, user, present, circle.held_by(name), allowed, is_online=name in online))
    let_in = await permissions(work, circle, partners, policy)
    return [*found, *(_partner(user_id, present[user_id], let_in[user_id]) for user_id in partners)]


def _user(
    policy: Policy,
    name: Username,
    user: EtbUser | None,
    present: Mapping[UserId, str],
    roles: Sequence[str],
    allowed: Permission,
    *,
    is_online: bool,
) -> Participant:
    linked, ghost = policy.people.user_id(name), policy.ghosts.user_id(name)
    here = next((present[one] for one in (linked, ghost) if one is not None and one in present), None)
    return Participant(
        id=(user.id or None) if user is not None else None,
        username=name,
        display_name=clean(user.display_name if user is not None else name),
        matrix_id=linked or ghost or "",
        membership="none" if here is None else _membership(here),
        roles=list(roles),
        clearance_level=level_name(user.clearance) if user is not None else None,
        is_cleared=allowed.allowed,
        is_online=is_online,
    )


def _partner(user_id: UserId, membership: str, allowed: Permission) -> Participant:
    return Participant(
        id=None,
        username=user_id,
        display_name=user_id,
        matrix_id=user_id,
        membership=_membership(membership),
        roles=[],
        clearance_level=level_name(allowed.up_to) if allowed.up_to is not None else None,
        is_cleared=allowed.allowed,
        is_online=False,
    )


def _membership(present: str) -> Literal["join", "invite"]:
    return "join" if present == "join" else "invite"

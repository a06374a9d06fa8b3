"""Every parameter of a room, from one pure function of what it is for and how sensitive that is.

What servers can read of a room (name, topic, alias, state) is limited by classification: above `INTERNAL` only
the incident's number. Encryption never hides state events (Matrix specification, "End-to-End Encryption").
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.ids import IncidentId, RoomId, UserId, WarRoomId, direct_id, war_room_id
from etb_appservice.domain.incident import Incident
from etb_appservice.domain.partners import SERVER_ACL, acl_hosts, server_acl, server_of

Visibility = Literal["shared", "invited", "joined"]
RoomKind = Literal["incident", "control", "space", "direct", "announce"]

CONTROL_ROOM = WarRoomId("control")
SPACE = WarRoomId("space")
ANNOUNCEMENTS = WarRoomId("announcements")
INSIDE = frozenset({"join", "invite"})
"""Memberships of whoever is in a room, or may enter it as they like."""
INCIDENT_FIELD = "org.etb.incident"
"""In `creation_content`: binds a room to its incident before its creation is answered."""
GENERATION_FIELD = "org.etb.generation"
MEGOLM = "m.megolm.v1.aes-sha2"

_MEMBER = 0
_OPERATOR = 50
_BOT_ONLY = 100
_ABOVE_ALL = 150
_PINS = "m.room.pinned_events"
_REDACTION = "m.room.redaction"
_VOICES: Mapping[str, int] = {
    _PINS: _MEMBER,
    "m.reaction": _MEMBER,
    _REDACTION: _MEMBER,
}
"""What members may do besides talking, and from which level on."""


@dataclass(frozen=True, slots=True)
class RoomRules:
    """What one classification allows a room to be."""

    visibility: Visibility
    federate: bool
    title_in_state: bool
    """Whether the room's name may carry the incident's title, which every homeserver in the room can read."""
    keys_to_invited: bool
    """Whether people who are invited but haven't joined are given room keys."""
    signed_devices_only: bool
    """Whether only devices that their owners have verified are given keys, and may command."""


DEFAULT_RULES: Mapping[Classification, RoomRules] = {
    Classification.PUBLIC: RoomRules("shared", True, True, True, False),
    Classification.INTERNAL: RoomRules("shared", True, True, True, False),
    Classification.CONFIDENTIAL: RoomRules("joined", True, False, False, True),
    Classification.RESTRICTED: RoomRules("joined", False, False, False, True),
    Classification.TOP_SECRET: RoomRules("joined", False, False, False, True),
}


@dataclass(frozen=True, slots=True)
class RoomPolicy:
    """The operator's choices for rooms."""

    bot: UserId
    version: str = "12"
    alias_prefix: str = "_etb_"
    additional_creators: tuple[UserId, ...] = ()
    """A break-glass account; a creator in room version 12, power level 100 before it."""
    rotation_period_ms: int = 7 * 24 * 3600 * 1000
    rotation_period_msgs: int = 100
    servers: frozenset[str] = frozenset()
    """Further homeservers of our own organisation."""
    rules: Mapping[Classification, RoomRules] = field(default_factory=lambda: dict(DEFAULT_RULES))

    def signed_devices_only(self, kind: RoomKind, level: Classification) -> bool:
        """Whether a room of this kind and level is for devices only that their owners have verified.

        Never a direct chat: there people are told how to verify the device that they have. What must not reach
        that one is said there by the rule of the room it comes from.

        >>> policy = RoomPolicy(bot=UserId("@etb:x.org"))
        >>> policy.signed_devices_only("incident", Classification.CONFIDENTIAL)
        True
        >>> policy.signed_devices_only("direct", Classification.CONFIDENTIAL)
        False
        """
        return kind != "direct" and self.rules[level].signed_devices_only


@dataclass(frozen=True, slots=True)
class RoomSpec:
    """What a room shall be; enough to create it, and to tell whether one that exists is ours and complete."""

    kind: RoomKind
    war_room: WarRoomId
    generation: int
    version: str
    alias_localpart: str
    name: str
    topic: str
    creation_content: dict[str, Any]
    initial_state: tuple[dict[str, Any], ...]
    """State events (`type`, `state_key`, `content`) in the order in which they must stand, encryption first."""
    power_levels: dict[str, Any]
    encrypted: bool
    visibility: Visibility
    keys_to_invited: bool
    classification: Classification

    @property
    def federates(self) -> bool:
        """Whether users of other homeservers can be in it, for as long as it exists."""
        return bool(self.creation_content["m.federate"])

    @property
    def hosts(self) -> tuple[str, ...] | None:
        """The homeservers that its ACL admits; None for a room that needs none."""
        found = [one["content"]["allow"] for one in self.initial_state if one["type"] == SERVER_ACL]
        return tuple(found[0]) if found else None


def incident_room(
    incident: Incident,
    classification: Classification,
    policy: RoomPolicy,
    *,
    generation: int = 1,
    mark: str = "",
    servers: Iterable[str] = (),
    is_for_partners: bool = False,
    predecessor: RoomId | None = None,
) -> RoomSpec:
    """The room of an incident. Name and topic hold the title only where the rules let servers read it.

    `mark`: a word before the name, such as that it is a drill; no more for servers to read than the title.
    `servers`: homeservers of partners that were let in. `is_for_partners`: it federates whatever its level's rule
    says, for it takes the place of one that didn't, `predecessor`.
    """
    rules = policy.rules[classification]
    if is_for_partners:
        rules = replace(rules, federate=True)
    before = {"predecessor": {"room_id": predecessor}} if predecessor else {}
    words = [mark, incident.number, incident.title] if rules.title_in_state else [incident.number]
    open_title = " ".join(filter(None, words))[:200]
    return _spec(
        kind="incident",
        war_room=war_room_id(incident.id),
        alias=_alias(policy, incident.id, generation),
        name=open_title,
        topic=f"Incident {incident.number}. Send !help for what the bot can do." if rules.title_in_state else "",
        extra={INCIDENT_FIELD: incident.id, GENERATION_FIELD: generation, **before},
        servers=(*policy.servers, *servers),
        generation=generation,
        rules=rules,
        classification=classification,
        policy=policy,
    )


def control_room(policy: RoomPolicy) -> RoomSpec:
    """The room in which operators command the service. Not federated; nobody joins who wasn't invited."""
    return _spec(
        kind="control",
        war_room=CONTROL_ROOM,
        alias=f"{policy.alias_prefix}control",
        name="ETB control room",
        topic="Send !help for what the service can do.",
        extra={INCIDENT_FIELD: CONTROL_ROOM, GENERATION_FIELD: 1},
        generation=1,
        rules=RoomRules("joined", False, True, False, True),
        classification=Classification.TOP_SECRET,
        policy=policy,
    )


def incidents_space(policy: RoomPolicy) -> RoomSpec:
    """The Space whose children are the incident rooms. It carries no messages and isn't federated."""
    return _spec(
        kind="space",
        war_room=SPACE,
        alias=f"{policy.alias_prefix}incidents",
        name="ETB incidents",
        topic="",
        extra={"type": "m.space", INCIDENT_FIELD: SPACE, GENERATION_FIELD: 1},
        generation=1,
        rules=RoomRules("joined", False, True, False, False),
        classification=Classification.INTERNAL,
        policy=policy,
    )


def direct_room(user_id: UserId, policy: RoomPolicy) -> RoomSpec:
    """The chat with one person alone, for what only they are told. Its alias names nobody.

    It counts as `PUBLIC`, so that whoever is known may ask there; what is said in it is chosen for its reader.
    Their homeserver is the only other one in it.
    """
    war_room = direct_id(user_id)
    return _spec(
        kind="direct",
        war_room=war_room,
        alias=f"{policy.alias_prefix}direct_{war_room}",
        name="ETB",
        topic="Send !help for what the bot can do here.",
        extra={INCIDENT_FIELD: war_room, GENERATION_FIELD: 1},
        generation=1,
        rules=RoomRules("invited", True, True, True, False),
        servers=(server_of(user_id),),
        classification=Classification.PUBLIC,
        policy=policy,
    )


def announcement_room(
    classification: Classification, policy: RoomPolicy, members: Iterable[UserId] = ()
) -> RoomSpec:
    """Where stakeholders read of incidents up to this level, on their homeservers. Only the bot speaks there."""
    spec = _spec(
        kind="announce",
        war_room=ANNOUNCEMENTS,
        alias=f"{policy.alias_prefix}announcements",
        name="ETB announcements",
        topic="Incidents and how they stand. Only the bot writes here.",
        extra={INCIDENT_FIELD: ANNOUNCEMENTS, GENERATION_FIELD: 1},
        generation=1,
        rules=policy.rules[classification],
        servers=map(server_of, members),
        classification=classification,
        policy=policy,
    )
    return replace(spec, power_levels=voiced(spec.power_levels, is_read_only=True))


def _alias(policy: RoomPolicy, incident: IncidentId, generation: int) -> str:
    """Deterministic, and says nothing but ETB's UUID; later generations have a suffix until the alias moves."""
    return f"{policy.alias_prefix}{incident}" + (f".{generation}" if generation > 1 else "")


def _spec(
    *,
    kind: RoomKind,
    war_room: WarRoomId,
    alias: str,
    name: str,
    topic: str,
    extra: dict[str, Any],
    generation: int,
    rules: RoomRules,
    classification: Classification,
    policy: RoomPolicy,
    servers: Iterable[str] = (),
) -> RoomSpec:
    creation: dict[str, Any] = {"m.federate": rules.federate, **extra}
    if policy.additional_creators and has_privileged_creators(policy.version):
        creation["additional_creators"] = list(policy.additional_creators)
    encrypted = kind != "space"
    state: list[dict[str, Any]] = []
    if encrypted:
        state.append(
            _state(
                "m.room.encryption",
                {
                    "algorithm": MEGOLM,
                    "rotation_period_ms": policy.rotation_period_ms,
                    "rotation_period_msgs": policy.rotation_period_msgs,
                },
            )
        )
    state += [
        _state("m.room.join_rules", {"join_rule": "invite"}),
        _state("m.room.history_visibility", {"history_visibility": rules.visibility}),
        _state("m.room.guest_access", {"guest_access": "forbidden"}),
    ]
    if rules.federate:
        state.append(_state(SERVER_ACL, server_acl(acl_hosts(server_of(policy.bot), servers))))
    return RoomSpec(
        kind=kind,
        war_room=war_room,
        generation=generation,
        version=policy.version,
        alias_localpart=alias,
        name=name,
        topic=topic,
        creation_content=creation,
        initial_state=tuple(state),
        power_levels=power_levels(policy),
        encrypted=encrypted,
        visibility=rules.visibility,
        keys_to_invited=rules.keys_to_invited,
        classification=classification,
    )


def power_levels(policy: RoomPolicy) -> dict[str, Any]:
    """Only the bot invites, removes, and sets state.

    From version 12 creators stand above this table and must not be named in it (MSC4289); a tombstone then
    needs 150.
    """
    privileged = has_privileged_creators(policy.version)
    users = {} if privileged else dict.fromkeys((policy.bot, *policy.additional_creators), _BOT_ONLY)
    return {
        "users": users,
        "users_default": _MEMBER,
        "events_default": _MEMBER,
        "state_default": _BOT_ONLY,
        "invite": _BOT_ONLY,
        "kick": _BOT_ONLY,
        "ban": _BOT_ONLY,
        "redact": _OPERATOR,
        "events": {
            **_VOICES,
            "m.room.tombstone": _ABOVE_ALL if privileged else _BOT_ONLY,
            "m.room.encryption": _BOT_ONLY,
        },
        "notifications": {"room": _BOT_ONLY},
    }


def voiced(present: Mapping[str, Any], *, is_read_only: bool, is_held: bool = False) -> dict[str, Any]:
    """A room's power levels, but that nobody except the bot may write, react or redact; or that they may again.

    `is_held`: that nobody may redact, whatever else they may.

    `present` as it stands in the room: who has which level and what a tombstone needs belong to the room's own
    version and to whom it was given, and are kept.

    >>> voiced({"users": {"@a:x": 50}}, is_read_only=True)["events_default"]
    100
    """
    events = present.get("events")
    changed = {name: _BOT_ONLY if is_read_only else level for name, level in _VOICES.items()}
    if is_held:
        changed[_REDACTION] = _BOT_ONLY
    return {
        **present,
        "events_default": _BOT_ONLY if is_read_only else _MEMBER,
        "redact": _BOT_ONLY if is_read_only or is_held else _OPERATOR,
        "events": {**(events if isinstance(events, dict) else {}), **changed},
    }


def pinnable(present: Mapping[str, Any]) -> dict[str, Any]:
    """A room's power levels, but that members may pin where nobody has changed the level that this once needed.

    >>> pinnable({"events": {"m.room.pinned_events": 50, "m.reaction": 0}})["events"]
    {'m.room.pinned_events': 0, 'm.reaction': 0}
    >>> pinnable({"events": {"m.room.pinned_events": 100}})["events"]
    {'m.room.pinned_events': 100}
    """
    events = present.get("events")
    if not isinstance(events, dict) or events.get(_PINS) != _OPERATOR:
        return dict(present)
    return {**present, "events": {**events, _PINS: _MEMBER}}


def only_the_bot_sets(event_type: str) -> bool:
    """Whether state of this type is set by nobody below the bot, in rooms as they are made here.

    >>> only_the_bot_sets("m.room.name"), only_the_bot_sets("m.room.pinned_events")
    (True, False)
    """
    return _VOICES.get(event_type, _BOT_ONLY) >= _BOT_ONLY


def has_privileged_creators(version: str) -> bool:
    """Whether creators of this room version outrank everyone and are absent from power levels (MSC4289)."""
    return not (version.isdigit() and int(version) < 12)  # noqa: PLR2004 - the version that brought it


def _state(event_type: str, content: dict[str, Any]) -> dict[str, Any]:
    return {"type": event_type, "state_key": "", "content": content}

"""ETB's objects into ours: tolerant of what is new or missing, strict about what is there but wrong.

Unknown fields are ignored, missing optional ones allowed, unknown enum words pass through as text. A wrong type
raises `Unreadable` that names the field and never shows its value.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.ids import IncidentId
from etb_appservice.domain.incident import Deadline, EtbUser, Incident, OnCall
from etb_appservice.etb import fields
from etb_appservice.etb.spelling import Spelling
from etb_appservice.etb.wire import JsonObject, Unreadable

TITLE_LIMIT = 512
DESCRIPTION_LIMIT_BYTES = 16 * 1024
FINISHED_SLA = frozenset({"MET", "BREACHED", "CANCELLED", "CANCELED", "PAUSED", "COMPLETED", "CLOSED", "EXPIRED"})
"""SLA states in which no clock runs; an unknown state counts as running, so that no deadline is hidden."""
_MOST_ROLES = 50
_MOST_SERVICES = 50
_MOST_TAGS = 50
NOT_ON_CALL = frozenset({"SCHEDULED", "COMPLETED", "CANCELLED", "CANCELED"})


def incident(row: Mapping[str, Any], spelling: Spelling, *, web_url_template: str = "") -> Incident:
    """An incident (docs/etb-contract.md 7.2). Needs `id`, `title`, `severity` and `status`.

    `updated_at_ms` is 0 where ETB gives none. A classification in words we don't know makes it sensitive,
    also beside one that we know: it may be the stricter one.
    The title of an original (`duplicate_of_title`) is left out: people of the duplicate may not be cleared for it.
    """
    found = fields.identifier(row)
    number = fields.line(row, "incident_number", limit=fields.WORD_LIMIT, numbers=True) or found[:8]
    stated, is_unclear = _classification(row, spelling)
    original = fields.related(row, "original_incident")
    return Incident(
        id=found,
        number=number,
        title=fields.line(row, "title", limit=TITLE_LIMIT, needed=True),
        severity=spelling.read("severity", fields.line(row, "severity", limit=fields.WORD_LIMIT, needed=True)),
        status=spelling.read("status", fields.line(row, "status", limit=fields.WORD_LIMIT, needed=True)),
        updated_at_ms=fields.moment_ms(row, "updated_at") or 0,
        category=spelling.read("category", fields.line(row, "category", limit=fields.WORD_LIMIT)),
        priority=spelling.read("priority", fields.line(row, "priority", limit=fields.WORD_LIMIT, numbers=True)),
        description=fields.cut(fields.text(row, "description"), DESCRIPTION_LIMIT_BYTES),
        assignee=fields.username(row, "assigned_to"),
        reporter=fields.username(row, "reporter"),
        stated=stated,
        is_sensitive=fields.flag(row, "is_sensitive", default=False) or is_unclear,
        url=web_url_template.replace("{id}", found).replace("{number}", quote(number, safe="")),
        services=fields.names(row, "affected_services", most=_MOST_SERVICES),
        created_ms=fields.moment_ms(row, "created_at"),
        resolved_ms=fields.moment_ms(row, "resolved_at"),
        closed_ms=fields.moment_ms(row, "closed_at"),
        is_duplicate=fields.flag(row, "is_duplicate", default=original not in {"", found}),
        original=IncidentId(original) if original and original != found else None,
        tags=fields.names(row, "tags", most=_MOST_TAGS),
    )


def user(row: Mapping[str, Any]) -> EtbUser:
    """A user (10.3). Needs `username`; no clearance, or one that can't be read, is the lowest."""
    username = fields.username(row, "")
    if username is None:
        raise Unreadable("username is missing")
    names = [fields.line(row, name, limit=fields.NAME_LIMIT) for name in ("first_name", "last_name")]
    return EtbUser(
        username=username,
        display_name=" ".join(filter(None, names)) or username,
        clearance=clearance(row),
        is_active=fields.flag(row, "is_active", default=True) and not fields.flag(row, "is_locked", default=False),
        roles=fields.names(row, "roles", most=_MOST_ROLES),
        id=_user_id(row),
    )


def _user_id(row: Mapping[str, Any]) -> str:
    """A user without a UUID is still a user."""
    try:
        return fields.identifier(row)
    except Unreadable:
        return ""


def clearance(row: Mapping[str, Any]) -> Classification:
    """`clearance_level` as an object, a name, a number, or a number in text (1.1, 10.3)."""
    for name in ("clearance_level", "clearance"):
        value = row.get(name)
        if isinstance(value, list):
            raise Unreadable(f"{name} must be an object, a name or a number, not a list")
        if value is not None:
            return _level(value) or Classification.PUBLIC
    return Classification.PUBLIC


def deadline(row: Mapping[str, Any], spelling: Spelling) -> Deadline | None:
    """An SLA instance (8.4) whose clock runs; None for one that is met, breached, paused or cancelled."""
    status = spelling.read("sla_status", fields.line(row, "status", limit=fields.WORD_LIMIT, needed=True))
    target_ms = fields.moment_ms(row, "target_time")
    if status.upper() in FINISHED_SLA or fields.moment_ms(row, "met_at") is not None:
        return None
    if target_ms is None:
        raise Unreadable("target_time is missing")
    kind = spelling.read("sla_type", fields.line(row, "sla_type", limit=fields.WORD_LIMIT))
    return Deadline(
        name=fields.line(row, "sla_definition_name", limit=fields.NAME_LIMIT) or kind or "SLA",
        kind=kind,
        status=status,
        target_ms=target_ms,
    )


@dataclass(frozen=True, slots=True)
class Assignment:
    """A turn on call (8.6). Times in UTC milliseconds; None where ETB gives none."""

    on_call: OnCall
    status: str
    start_ms: int | None
    end_ms: int | None

    def covers(self, now_ms: int) -> bool:
        """Whether this turn is now: not over, not called off, not still to come."""
        return (
            (self.status or "ACTIVE").upper() not in NOT_ON_CALL
            and (self.start_ms is None or self.start_ms <= now_ms)
            and (self.end_ms is None or now_ms < self.end_ms)
        )


def assignment(row: Mapping[str, Any], spelling: Spelling, *, rotation: str = "", team: str = "") -> Assignment:
    """An on-call assignment (8.6). Needs `user_username`, or `user` as an object with `username`."""
    username = fields.username(row, "user")
    if username is None:
        raise Unreadable("user_username is missing")
    name = fields.line(row, "rotation_name", limit=fields.NAME_LIMIT) or rotation
    if not name and isinstance(row.get("rotation"), str):
        name = fields.line(row, "rotation", limit=fields.NAME_LIMIT)
    return Assignment(
        on_call=OnCall(rotation=name, username=username, team=team),
        status=spelling.read("oncall_status", fields.line(row, "status", limit=fields.WORD_LIMIT)),
        start_ms=fields.moment_ms(row, "start_time"),
        end_ms=fields.moment_ms(row, "end_time"),
    )


@dataclass(frozen=True, slots=True)
class Rotation:
    """An on-call rotation (8.6); `current` is the embedded assignment, where ETB embeds one."""

    id: IncidentId
    name: str
    is_active: bool
    current: JsonObject | None
    team: str = ""


def rotation(row: Mapping[str, Any], spelling: Spelling) -> Rotation:
    """A rotation needs only its `id`; without a status it counts as active."""
    status = spelling.read("oncall_status", fields.line(row, "status", limit=fields.WORD_LIMIT)) or "ACTIVE"
    current = row.get("current_oncall")
    return Rotation(
        id=fields.identifier(row),
        name=fields.line(row, "name", limit=fields.NAME_LIMIT),
        is_active=status == "ACTIVE",
        current=current if isinstance(current, dict) and current else None,
        team=fields.line(row, "team_name", limit=fields.NAME_LIMIT),
    )


def _level(value: object) -> Classification | None:
    """A level in any spelling, numbers in text included."""
    match value:
        case str() if value.strip().isdecimal() and len(value) < fields.WORD_LIMIT:
            return Classification.read(int(value))
        case {"level": str(level), **rest}:
            return _level(level) or Classification.read(rest)
        case _:
            return Classification.read(value)


def _classification(row: Mapping[str, Any], spelling: Spelling) -> tuple[Classification | None, bool]:
    """The strictest level that ETB states, and whether it states one in words we don't know (2.5, 7.2)."""
    stated: list[Classification] = []
    is_unclear = False
    for name in ("data_classification", "required_clearance"):
        value = row.get(name)
        if isinstance(value, list):
            raise Unreadable(f"{name} must be a name, a number or an object, not a list")
        if value is None or value == "":
            continue
        level = _level(spelling.read("data_classification", value) if isinstance(value, str) else value)
        if level is None:
            is_unclear = True
        else:
            stated.append(level)
    if row.get("privacy_level") == "RESTRICTED":
        stated.append(Classification.RESTRICTED)
    return max(stated, default=None), is_unclear

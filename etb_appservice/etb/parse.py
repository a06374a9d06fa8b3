"""ETB's objects into ours: tolerant of what is new or missing, strict about what is there but wrong.

Unknown fields are ignored, missing optional ones allowed, unknown enum words pass through as text. A wrong type
raises `Unreadable` that names the field and never shows its value. Texts are cut to limits; NUL and lone
surrogates become U+FFFD, since neither a database nor a Matrix event can hold them.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.ids import IncidentId, Username, incident_id
from etb_appservice.domain.incident import Deadline, EtbUser, Incident, OnCall
from etb_appservice.etb.spelling import Spelling
from etb_appservice.etb.wire import JsonObject, Unreadable, kind_of

TITLE_LIMIT = 512
DESCRIPTION_LIMIT_BYTES = 16 * 1024
_WORD_LIMIT = 64
_NAME_LIMIT = 200
_USERNAME_LIMIT = 150
"""Django's own limit for a username."""

FINISHED_SLA = frozenset({"MET", "BREACHED", "CANCELLED", "CANCELED", "PAUSED", "COMPLETED", "CLOSED", "EXPIRED"})
"""SLA states in which no clock runs; an unknown state counts as running, so that no deadline is hidden."""
NOT_ON_CALL = frozenset({"SCHEDULED", "COMPLETED", "CANCELLED", "CANCELED"})

_UNFIT = re.compile("[\x00\ud800-\udfff]")
_NUMBER = re.compile(r"-?\d{1,15}(?:\.\d{1,9})?")
_CLOCK = re.compile(r"(-)?(?:(\d{1,9}) )?(\d{1,9}):(\d{2}):(\d{2}(?:\.\d{1,9})?)")
_ISO = re.compile(
    r"(-)?P(?:(\d{1,9})W)?(?:(\d{1,9})D)?(?:T(?:(\d{1,9})H)?(?:(\d{1,9})M)?(?:(\d{1,9}(?:\.\d{1,9})?)S)?)?"
)
_ISO_SECONDS = (7 * 86_400, 86_400, 3600, 60, 1)


def incident(row: Mapping[str, Any], spelling: Spelling, *, web_url_template: str = "") -> Incident:
    """An incident (docs/etb-contract.md 7.2). Needs `id`, `title`, `severity` and `status`.

    `updated_at_ms` is 0 where ETB gives none. A classification in words we don't know makes it sensitive.
    """
    found = identifier(row)
    number = _line(row, "incident_number", limit=_WORD_LIMIT, numbers=True) or found[:8]
    stated, is_unclear = _classification(row, spelling)
    return Incident(
        id=found,
        number=number,
        title=_line(row, "title", limit=TITLE_LIMIT, needed=True),
        severity=spelling.read("severity", _line(row, "severity", limit=_WORD_LIMIT, needed=True)),
        status=spelling.read("status", _line(row, "status", limit=_WORD_LIMIT, needed=True)),
        updated_at_ms=moment_ms(row, "updated_at") or 0,
        category=spelling.read("category", _line(row, "category", limit=_WORD_LIMIT)),
        priority=spelling.read("priority", _line(row, "priority", limit=_WORD_LIMIT, numbers=True)),
        description=_cut(_text(row, "description"), DESCRIPTION_LIMIT_BYTES),
        assignee=_username(row, "assigned_to"),
        reporter=_username(row, "reporter"),
        stated=stated,
        is_sensitive=_flag(row, "is_sensitive", default=False) or is_unclear,
        url=web_url_template.replace("{id}", found).replace("{number}", quote(number, safe="")),
    )


def identifier(row: Mapping[str, Any], name: str = "id") -> IncidentId:
    """A UUID (1.1), in lower case with hyphens."""
    value = row.get(name)
    if not isinstance(value, str):
        raise Unreadable(f"{name} is missing" if value is None else f"{name} must be text, not {kind_of(value)}")
    try:
        return incident_id(value)
    except ValueError:
        raise Unreadable(f"{name} must be a UUID") from None


def user(row: Mapping[str, Any]) -> EtbUser:
    """A user (10.3). Needs `username`; no clearance, or one that can't be read, is the lowest."""
    username = _username(row, "")
    if username is None:
        raise Unreadable("username is missing")
    names = [_line(row, name, limit=_NAME_LIMIT) for name in ("first_name", "last_name")]
    return EtbUser(
        username=username,
        display_name=" ".join(filter(None, names)) or username,
        clearance=clearance(row),
        is_active=_flag(row, "is_active", default=True) and not _flag(row, "is_locked", default=False),
    )


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
    status = spelling.read("sla_status", _line(row, "status", limit=_WORD_LIMIT, needed=True))
    target_ms = moment_ms(row, "target_time")
    if status.upper() in FINISHED_SLA or moment_ms(row, "met_at") is not None:
        return None
    if target_ms is None:
        raise Unreadable("target_time is missing")
    kind = spelling.read("sla_type", _line(row, "sla_type", limit=_WORD_LIMIT))
    return Deadline(
        name=_line(row, "sla_definition_name", limit=_NAME_LIMIT) or kind or "SLA",
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


def assignment(row: Mapping[str, Any], spelling: Spelling, *, rotation: str = "") -> Assignment:
    """An on-call assignment (8.6). Needs `user_username`, or `user` as an object with `username`."""
    username = _username(row, "user")
    if username is None:
        raise Unreadable("user_username is missing")
    name = _line(row, "rotation_name", limit=_NAME_LIMIT) or rotation
    if not name and isinstance(row.get("rotation"), str):
        name = _line(row, "rotation", limit=_NAME_LIMIT)
    return Assignment(
        on_call=OnCall(rotation=name, username=username),
        status=spelling.read("oncall_status", _line(row, "status", limit=_WORD_LIMIT)),
        start_ms=moment_ms(row, "start_time"),
        end_ms=moment_ms(row, "end_time"),
    )


@dataclass(frozen=True, slots=True)
class Rotation:
    """An on-call rotation (8.6); `current` is the embedded assignment, where ETB embeds one."""

    id: IncidentId
    name: str
    is_active: bool
    current: JsonObject | None


def rotation(row: Mapping[str, Any], spelling: Spelling) -> Rotation:
    """A rotation needs only its `id`; without a status it counts as active."""
    status = spelling.read("oncall_status", _line(row, "status", limit=_WORD_LIMIT)) or "ACTIVE"
    current = row.get("current_oncall")
    return Rotation(
        id=identifier(row),
        name=_line(row, "name", limit=_NAME_LIMIT),
        is_active=status == "ACTIVE",
        current=current if isinstance(current, dict) and current else None,
    )


def moment_ms(row: Mapping[str, Any], name: str) -> int | None:
    """An ISO 8601 time (1.1) in UTC milliseconds; None when absent. A time without zone is UTC."""
    value = row.get(name)
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise Unreadable(f"{name} must be an ISO 8601 time, not {kind_of(value)}")
    try:
        moment = datetime.fromisoformat(value)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise Unreadable(f"{name} must be an ISO 8601 time") from None
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return since.days * 86_400_000 + since.seconds * 1000 + since.microseconds // 1000


def duration_ms(row: Mapping[str, Any], name: str) -> int | None:
    """A duration in any of its three spellings (7.2): ISO 8601, `[DD ]HH:MM:SS`, or seconds."""
    value = row.get(name)
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise Unreadable(f"{name} must be a duration, not {kind_of(value)}")
    text = str(value) if isinstance(value, int | float) else value.strip()
    if _NUMBER.fullmatch(text):
        return round(float(text) * 1000)
    if match := _CLOCK.fullmatch(text):
        sign, days, hours, minutes, seconds = match.groups()
        total = int(days or 0) * 86_400 + int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    elif (match := _ISO.fullmatch(text)) and any(match.groups()[1:]):
        sign, *parts = match.groups()
        total = sum(float(part or 0) * unit for part, unit in zip(parts, _ISO_SECONDS, strict=True))
    else:
        raise Unreadable(f"{name} must be a duration: ISO 8601, [DD ]HH:MM:SS, or seconds")
    return round(total * 1000) * (-1 if sign else 1)


def clean(text: str) -> str:
    """Text that a database and a Matrix event can hold."""
    return _UNFIT.sub("\ufffd", text)


def _cut(text: str, limit_bytes: int) -> str:
    """At most so many bytes of UTF-8, never half a character."""
    return text.encode("utf-8")[:limit_bytes].decode("utf-8", "ignore")


def _text(row: Mapping[str, Any], name: str, *, numbers: bool = False) -> str:
    value = row.get(name)
    if value is None:
        return ""
    if numbers and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise Unreadable(f"{name} must be text, not {kind_of(value)}")
    return clean(value)


def _line(row: Mapping[str, Any], name: str, *, limit: int, needed: bool = False, numbers: bool = False) -> str:
    """One line of at most `limit` characters; runs of white space become one space."""
    text = " ".join(_text(row, name, numbers=numbers)[: 4 * limit].split())[:limit].rstrip()
    if needed and not text:
        raise Unreadable(f"{name} is missing")
    return text


def _flag(row: Mapping[str, Any], name: str, *, default: bool) -> bool:
    value = row.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise Unreadable(f"{name} must be true or false, not {kind_of(value)}")
    return value


def _username(row: Mapping[str, Any], relation: str) -> Username | None:
    """`<relation>_username` (1.5), else the relation as an object with `username`; None when empty.

    Never altered or cut: half of a name could be another person's.
    """
    name = f"{relation}_username" if relation else "username"
    value = row.get(name)
    related = row.get(relation) if relation else None
    if value is None and isinstance(related, Mapping):
        name, value = f"{relation}.username", related.get("username")
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise Unreadable(f"{name} must be text, not {kind_of(value)}")
    if len(value) > _USERNAME_LIMIT or not value.isprintable() or _UNFIT.search(value):
        raise Unreadable(f"{name} must be at most {_USERNAME_LIMIT} printable characters")
    return Username(value)


def _level(value: object) -> Classification | None:
    """A level in any spelling, numbers in text included."""
    match value:
        case str() if value.strip().isdecimal() and len(value) < _WORD_LIMIT:
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

"""The fields of ETB's objects, each read with suspicion: absent is one thing, of the wrong type another.

A wrong type raises `Unreadable` that names the field and never shows its value. Texts are cut to limits; NUL and
lone surrogates become U+FFFD, since neither a database nor a Matrix event can hold them.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from etb_appservice.domain.ids import IncidentId, Username, incident_id
from etb_appservice.etb.wire import Unreadable, kind_of

WORD_LIMIT = 64
NAME_LIMIT = 200
_USERNAME_LIMIT = 150
"""Django's own limit for a username."""

_UNFIT = re.compile("[\x00\ud800-\udfff]")
_NUMBER = re.compile(r"-?\d{1,15}(?:\.\d{1,9})?")
_CLOCK = re.compile(r"(-)?(?:(\d{1,9}) )?(\d{1,9}):(\d{2}):(\d{2}(?:\.\d{1,9})?)")
_ISO = re.compile(
    r"(-)?P(?:(\d{1,9})W)?(?:(\d{1,9})D)?(?:T(?:(\d{1,9})H)?(?:(\d{1,9})M)?(?:(\d{1,9}(?:\.\d{1,9})?)S)?)?"
)
_DIGITS = 9
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MOST = 999_999_999
_ISO_SECONDS = (7 * 86_400, 86_400, 3600, 60, 1)


def identifier(row: Mapping[str, Any], name: str = "id") -> IncidentId:
    """A UUID (1.1), in lower case with hyphens."""
    value = row.get(name)
    if not isinstance(value, str):
        raise Unreadable(f"{name} is missing" if value is None else f"{name} must be text, not {kind_of(value)}")
    try:
        return incident_id(value)
    except ValueError:
        raise Unreadable(f"{name} must be a UUID") from None


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
    since = moment - _EPOCH
    return since.days * 86_400_000 + since.seconds * 1000 + since.microseconds // 1000


def iso(at_ms: int) -> str:
    """UTC with milliseconds and `Z` (1.1), as ETB is told a time.

    >>> iso(1_760_000_000_000)
    '2025-10-09T08:53:20.000Z'
    """
    moment = _EPOCH + timedelta(milliseconds=at_ms)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def duration_ms(row: Mapping[str, Any], name: str) -> int | None:
    """A duration in any of its three spellings (7.2): ISO 8601, `[DD ]HH:MM:SS`, or seconds."""
    value = row.get(name)
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise Unreadable(f"{name} must be a duration, not {kind_of(value)}")
    written = str(value) if isinstance(value, int | float) else value.strip()
    if _NUMBER.fullmatch(written):
        return round(float(written) * 1000)
    if match := _CLOCK.fullmatch(written):
        sign, days, hours, minutes, seconds = match.groups()
        total = int(days or 0) * 86_400 + int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    elif (match := _ISO.fullmatch(written)) and any(match.groups()[1:]):
        sign, *parts = match.groups()
        total = sum(float(part or 0) * unit for part, unit in zip(parts, _ISO_SECONDS, strict=True))
    else:
        raise Unreadable(f"{name} must be a duration: ISO 8601, [DD ]HH:MM:SS, or seconds")
    return round(total * 1000) * (-1 if sign else 1)


def clean(value: str) -> str:
    """Text that a database and a Matrix event can hold."""
    return _UNFIT.sub("\ufffd", value)


def cut(value: str, limit_bytes: int) -> str:
    """At most so many bytes of UTF-8, never half a character."""
    return value.encode("utf-8")[:limit_bytes].decode("utf-8", "ignore")


def text(row: Mapping[str, Any], name: str, *, numbers: bool = False) -> str:
    """Text of any length; empty when absent. `numbers`: an integer counts as its digits."""
    value = row.get(name)
    if value is None:
        return ""
    if numbers and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise Unreadable(f"{name} must be text, not {kind_of(value)}")
    return clean(value)


def line(row: Mapping[str, Any], name: str, *, limit: int, needed: bool = False, numbers: bool = False) -> str:
    """One line of at most `limit` characters; runs of white space become one space."""
    found = " ".join(text(row, name, numbers=numbers)[: 4 * limit].split())[:limit].rstrip()
    if needed and not found:
        raise Unreadable(f"{name} is missing")
    return found


def flag(row: Mapping[str, Any], name: str, *, default: bool) -> bool:
    """True or false, and nothing that only looks like it."""
    value = row.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise Unreadable(f"{name} must be true or false, not {kind_of(value)}")
    return value


def username(row: Mapping[str, Any], relation: str) -> Username | None:
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


def count(row: Mapping[str, Any], name: str) -> int:
    """A number from 0 up, also in text; 0 when absent."""
    value = row.get(name)
    if value is None or value == "":
        return 0
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < _DIGITS:
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise Unreadable(f"{name} must be a whole number, not {kind_of(value)}")
    return min(max(value, 0), _MOST)


def items(row: Mapping[str, Any], name: str) -> list[Any]:
    """A list, whatever is in it; empty when absent."""
    value = row.get(name)
    if value is None or value == "":
        return []
    if not isinstance(value, list):
        raise Unreadable(f"{name} must be a list, not {kind_of(value)}")
    return value


def mapping(row: Mapping[str, Any], name: str) -> dict[str, Any]:
    """An object, whatever is in it; empty when absent."""
    value = row.get(name)
    if value is None or value == "":
        return {}
    if not isinstance(value, dict):
        raise Unreadable(f"{name} must be an object, not {kind_of(value)}")
    return value


def names(row: Mapping[str, Any], name: str, *, most: int, inside: tuple[str, ...] = ("name",)) -> tuple[str, ...]:
    """A list of texts, or of objects that hold one under a name of `inside`; each once, in ETB's order.

    What is empty or longer than a name may be is left out rather than cut: half of it could be another's.
    """
    found: dict[str, None] = {}
    for item in items(row, name):
        value = item
        if isinstance(item, dict):
            value = next((item[key] for key in inside if item.get(key) is not None), "")
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)  # a relation by its key
        if not isinstance(value, str):
            raise Unreadable(f"{name} must be a list of texts, not of {kind_of(value)}")
        one = " ".join(clean(value[: 4 * NAME_LIMIT]).split())
        if one and len(one) <= NAME_LIMIT:
            found[one] = None
        if len(found) == most:
            break
    return tuple(found)


def related(row: Mapping[str, Any], name: str) -> str:
    """The id of a related row, there as a UUID or as an object with `id`; empty when there is none."""
    value = row.get(name)
    if value is None or value == "":
        return ""
    return identifier(value) if isinstance(value, dict) else identifier(row, name)

"""What an answer of ETB means: an HTTP status becomes one of the four outcomes (docs/etb-contract.md 1.6).

Messages name method and path and what to do. They must never hold the token or a query; of a body, they hold the
names of the fields that ETB found fault with, and for what a person asked for ETB's own words about it, cut and
cleaned.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime

from etb_appservice.domain.outcomes import Broken, Failure, Later, Refused, Unsure
from etb_appservice.etb.wire import Unreadable, read_json

RETRIED = frozenset({429, 502, 503, 504})
"""What a read tries again at once, with jitter."""
MOST_WAIT_S = 3600.0
_FIELD = re.compile(r"[a-z][a-z0-9_]{0,39}")
_FIELDS_SHOWN = 5
_SAID_SHOWN = 3
_SAID_LIMIT = 200
_GENERAL = frozenset({"detail", "error", "message", "non_field_errors"})
_DEPTH = 4


def failure(
    status: int,
    *,
    method: str,
    path: str,
    body: bytes = b"",
    after_s: float | None = None,
    asked: bool = False,
    secret: str = "",
) -> Failure:
    """The outcome of a status that isn't 2xx. A 5xx to anything but a GET may have taken effect.

    `asked`: a person asked for this, so what ETB finds fault with is theirs to read and no mistake of ours;
    `secret` is taken out of its words, should ETB echo it.
    """
    where = f"{method} {path}"
    said = _said(body, secret) if asked else ""
    match status:
        case 400 | 409 | 422 | 423 if said:
            return Refused(f"ETB says{said}", code=str(status))
        case 400 | 422 if asked:
            return Refused(f"ETB answered {status} to {where}: it can't use what we sent", code=str(status))
        case 401 | 403:
            reason = f"ETB answered {status} to {where}: check etb.token and its permissions"
            return Refused(f"{reason}; it says{said}" if said else reason, code=str(status))
        case 404:
            return Refused(f"ETB answered 404 to {where}: it isn't there; check etb.paths", code="404")
        case 400 | 415 | 422 if method != "GET":
            return Broken(f"ETB answered {status} to {where}: it can't use what we sent{_fields(body)}")
        case 408 | 425 | 429:
            return Later(f"ETB answered {status} to {where}: it asks us to wait", after_s=after_s)
        case _ if 300 <= status < 400:  # noqa: PLR2004
            return Refused(
                f"ETB answered {status} to {where}: redirects aren't followed: check etb.base_url",
                code=str(status),
            )
        case _ if status >= 500 and method == "GET":  # noqa: PLR2004
            return Later(f"ETB answered {status} to {where}", after_s=after_s)
        case _ if status >= 500:  # noqa: PLR2004
            return Unsure(f"ETB answered {status} to {where}: it may have taken effect")
        case _:
            return Refused(f"ETB answered {status} to {where}{_fields(body)}", code=str(status))


def retry_after_s(headers: Mapping[str, str], now_ms: int) -> float | None:
    """`Retry-After` in seconds or as HTTP date (RFC 9110 section 10.2.3), 0 to an hour; None if unreadable."""
    value = headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdigit():
        return min(float(value[:9]), MOST_WAIT_S)
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, TypeError):
        return None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    return min(max(moment.timestamp() - now_ms / 1000, 0.0), MOST_WAIT_S)


def _fields(body: bytes) -> str:
    """The names of the fields of a 400 (Django REST Framework names them as keys), and nothing else of it."""
    try:
        answer = read_json(body)
    except Unreadable:
        return ""
    if not isinstance(answer, dict):
        return ""
    names = [name for name in answer if _FIELD.fullmatch(name) and name not in {"detail", "code", "error"}]
    return f" (fields: {', '.join(names[:_FIELDS_SHOWN])})" if names else ""


def _said(body: bytes, secret: str) -> str:
    """ETB's words about our own input: ` of status: "FOO" is not a valid choice.`; empty when it says nothing.

    Django REST Framework's shapes (1.6): messages by field, possibly nested, a list of them, or one for all.
    """
    try:
        answer = read_json(body)
    except Unreadable:
        return ""
    found = [(f"of {field}: " if field else "", text) for field, text in _messages(answer, "", _DEPTH)]
    if not found:
        return ""
    shown = (" " if found[0][0] else ": ") + "; ".join(of + text for of, text in found[:_SAID_SHOWN])
    shown = shown.replace(secret, "…") if secret else shown
    return shown if len(shown) <= _SAID_LIMIT else f"{shown[: _SAID_LIMIT - 1]}…"


def _messages(answer: object, field: str, depth: int) -> Iterator[tuple[str, str]]:
    """(field, message), the field empty for what is said of the whole."""
    match answer:
        case str() if text := " ".join("".join(sign if sign.isprintable() else " " for sign in answer).split()):
            yield field, text
        case list() if depth:
            for one in answer:
                yield from _messages(one, field, depth - 1)
        case dict() if depth:
            for name, one in answer.items():
                if name in _GENERAL:
                    yield from _messages(one, field, depth - 1)
                elif name != "code" and _FIELD.fullmatch(name):
                    yield from _messages(one, f"{field}.{name}" if field else name, depth - 1)
        case _:
            return

"""JSON from outside, read with suspicion. Must hand on nothing that JSON forbids, and show no body in an error."""

import json
from typing import Any, NoReturn
from urllib.parse import quote

JsonObject = dict[str, Any]
_PRINTABLE = "".join(map(chr, range(0x20, 0x7F)))


class Unreadable(ValueError):
    """What was read is not what the contract says; the message names the field, and never its value."""


def read_json(body: bytes) -> Any:
    """Parse UTF-8 JSON; raises Unreadable for anything else, NaN and bottomless nesting included."""
    try:
        return json.loads(body.decode("utf-8"), parse_constant=_no_constant)
    except Unreadable:
        raise
    except RecursionError:
        raise Unreadable("it is nested too deeply") from None
    except ValueError as error:
        looks_like_html = body.lstrip()[:1] == b"<"
        reason = "it is HTML, not JSON" if looks_like_html else f"it is not JSON ({_why(error)})"
        raise Unreadable(reason) from None


def write_json(value: object) -> bytes:
    """Compact ASCII with sorted keys: equal values, equal bytes; lone surrogates survive as escapes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode("ascii")


def kind_of(value: object) -> str:
    """What a JSON value is, for an error message."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case list():
            return "a list"
        case _:
            return "an object"


def _no_constant(name: str) -> NoReturn:
    raise Unreadable(f"{name} is no JSON number")


def _why(error: ValueError) -> str:
    match error:
        case json.JSONDecodeError():
            return f"line {error.lineno}, column {error.colno}"
        case UnicodeDecodeError():
            return "not UTF-8"
        case _:
            return "a number that can't be read"


def in_header(text: str) -> str:
    r"""A text as the value of a header: what isn't printable ASCII is escaped, so that it can't end the line.

    >>> in_header("f1/assign/alice"), in_header("a\r\nX-Evil: 1")
    ('f1/assign/alice', 'a%0D%0AX-Evil: 1')
    """
    return quote(text, safe=_PRINTABLE, errors="replace")

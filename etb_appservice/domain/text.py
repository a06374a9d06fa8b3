"""Texts of others within our Markdown. Nothing here may let a title look like one of our sentences or a link."""

import re
import unicodedata
from collections.abc import Sequence
from datetime import UTC, datetime
from urllib.parse import quote

from etb_appservice.domain.ids import UserId

_SIGNS = frozenset("\\`*_[]<>#~|")
_UNSEEN = re.compile("[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u202a-\u202e\u2066-\u2069]")
"""Controls, and what makes text read backwards: a name must not turn round the sentence it stands in."""


def code(text: str, most: int = 300) -> str:
    """A text from outside as code: Markdown escapes nothing there, so the signs that would end it go.

    >>> code("a`b_c")
    '`ab_c`'
    """
    flat = " ".join(_UNSEEN.sub("", text).replace("`", "").split()) or "?"
    return f"`{flat if len(flat) <= most else f'{flat[: most - 1]}…'}`"


def folded(name: str) -> str:
    """A name as it is compared: case, spaces and the ways to write an accent don't matter.

    >>> folded("  Müll  Abfuhr ") == folded("mu\u0308ll abfuhr")
    True
    """
    return unicodedata.normalize("NFC", " ".join(name.split()).casefold())


def plain(text: str, most: int = 300) -> str:
    r"""A text from outside, on one line, its Markdown signs shown as they are, cut to `most` characters.

    >>> plain("*a*\n[b](c)")
    '\\*a\\* \\[b\\](c)'
    """
    flat = " ".join(_UNSEEN.sub("", text).split())
    cut = flat if len(flat) <= most else f"{flat[: most - 1]}…"
    return "".join(f"\\{sign}" if sign in _SIGNS else sign for sign in cut)


def capital(sentence: str) -> str:
    """A sentence with its first letter large; the rest as it is.

    >>> capital("the homeserver of ETB")
    'The homeserver of ETB'
    """
    return sentence[:1].upper() + sentence[1:]


def some_of(shown: Sequence[str], most: int = 20) -> str:
    """The first of several things, and how many there are besides.

    >>> some_of(["`a`", "`b`", "`c`"], 2), some_of([], 2)
    ('`a`, `b` and 1 more', '')
    """
    more = f" and {len(shown) - most} more" if len(shown) > most else ""
    return ", ".join(shown[:most]) + more


def moment(at_ms: int) -> str:
    """A time as everybody reads it the same, whatever zone they are in.

    >>> moment(0), moment(10**18)
    ('1970-01-01 00:00 UTC', 'a time nobody can read')
    """
    try:
        return f"{datetime.fromtimestamp(at_ms / 1000, tz=UTC):%Y-%m-%d %H:%M} UTC"
    except (ValueError, OverflowError, OSError):
        return "a time nobody can read"


def lasting(seconds: float) -> str:
    """A length of time, in its two largest units, to the minute.

    >>> lasting(29), lasting(3599), lasting(95_000)
    ('less than a minute', '1 h', '1 d 2 h')
    """
    minutes = int((seconds + 30) // 60)
    if minutes < 1:
        return "less than a minute"
    parts = [(minutes // 1440, "d"), (minutes // 60 % 24, "h"), (minutes % 60, "min")]
    first = next(place for place, (count, _) in enumerate(parts) if count)
    return " ".join(f"{count} {unit}" for count, unit in parts[first : first + 2] if count)


def mention(user_id: UserId) -> str:
    """Somebody as a link that clients show as a person (Matrix specification, "matrix.to navigation").

    >>> mention(UserId("@a:x.org"))
    '[@a:x.org](https://matrix.to/#/@a:x.org)'
    """
    return f"[{plain(user_id)}](https://matrix.to/#/{quote(user_id, safe='@:')})"

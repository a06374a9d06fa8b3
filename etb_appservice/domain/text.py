"""Texts of others within our Markdown. Nothing here may let a title look like one of our sentences or a link."""

import unicodedata
from datetime import UTC, datetime

_SIGNS = frozenset("\\`*_[]<>#~|")


def code(text: str, most: int = 300) -> str:
    """A text from outside as code: Markdown escapes nothing there, so the signs that would end it go.

    >>> code("a`b_c")
    '`ab_c`'
    """
    flat = " ".join(text.replace("`", "").split()) or "?"
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
    flat = " ".join(text.split())
    cut = flat if len(flat) <= most else f"{flat[: most - 1]}…"
    return "".join(f"\\{sign}" if sign in _SIGNS else sign for sign in cut)


def moment(ms: int) -> str:
    """A moment as people read it.

    >>> moment(0)
    '1970-01-01 00:00 UTC'
    """
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")

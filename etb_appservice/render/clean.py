"""Makes foreign text harmless: no control or direction characters, no ping of a whole room. Pure.

Titles and names come from ETB and from strangers; none of them may look like something else, or ring.
"""

import re
import unicodedata

_LINES = frozenset("\n\t")
_DIRECTION = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff")
_HIDDEN = frozenset({"Cc", "Cs", "Zl", "Zp", "Co", "Cn"})
_ROOM = re.compile(r"@(?=room\b)", re.IGNORECASE)


def clean(text: str) -> str:
    r"""Text without control, direction and unassigned characters, whose `@room` rings nobody.

    Direction characters would let a title turn the rest of its line around ("Trojan Source", CVE-2021-42574).

    >>> clean("a\u202eb @room")
    'ab @\u200broom'
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\u2028", "\n").replace("\u2029", "\n")
    kept = "".join(
        char
        for char in text
        if char in _LINES or (char not in _DIRECTION and unicodedata.category(char) not in _HIDDEN)
    )
    return _ROOM.sub("@\u200b", kept)


def one_line(text: str, most: int = 300) -> str:
    """The same on one line, cut to `most` characters."""
    flat = " ".join(clean(text).split())
    return flat if len(flat) <= most else flat[: most - 1].rstrip() + "…"

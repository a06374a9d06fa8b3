"""A picture for somebody of whom ETB has none: initials on a colour of their own. Pure.

The same again of the same. The colour is that of the username, dark enough for white letters (WCAG 2.2,
1.4.3: a contrast of 4.5 at least). Pillow's own font draws Latin letters without marks alone: another first letter
is drawn as its plain one, or the username's initial stands instead, or else a figure.
"""

import colorsys
import hashlib
import io
import unicodedata
from collections.abc import Iterator
from typing import Final

from PIL import Image, ImageDraw, ImageFont

SIDE: Final = 256
_CONTRAST: Final = 4.5
_LINEAR: Final = 0.04045
_SATURATION: Final = 0.55
_STEPS = range(60, 10, -1)
"""Lightness in hundredths, the lightest first."""
_HUES: Final = 36
_LETTERS = {1: 136, 2: 108}
"""How large, by how many there are."""
Colour = tuple[int, int, int]


def face(name: str, username: str) -> bytes:
    """A PNG of SIDE x SIDE."""
    image = Image.new("RGB", (SIDE, SIDE), ground(username))
    draw = ImageDraw.Draw(image)
    letters = initials(name) or initials(username)[:1]
    if letters:
        font = ImageFont.load_default(size=_LETTERS[len(letters)])
        draw.text((SIDE / 2, SIDE / 2), letters, "white", font, anchor="mm")
    else:
        draw.circle((SIDE / 2, 100), 44, "white")
        draw.ellipse((48, 164, SIDE - 48, SIDE + 92), "white")
    out = io.BytesIO()
    image.save(out, "PNG", optimize=True)
    return out.getvalue()


def initials(name: str) -> str:
    """Of the first word and the last, as far as all of them can be drawn; what is no word doesn't count.

    >>> initials("Alice Maria Lindqvist (ETB)"), initials("Åsa"), initials("李 小龍"), initials("ops-team")
    ('AL', 'A', '', 'O')
    """
    first = [word[0] for word in name.split() if word[0].isalnum()]
    wanted = first[:1] + first[1:][-1:]
    drawn = [_plain(letter) for letter in wanted]
    return "".join(drawn) if all(drawn) else ""


def ground(username: str) -> Colour:
    """The colour of a username."""
    hue = (
        int.from_bytes(hashlib.blake2b(username.encode("utf-8", "replace"), digest_size=4).digest())
        % _HUES
        / _HUES
    )
    return next(colour for colour in _shades(hue) if contrast_with_white(colour) >= _CONTRAST)


def contrast_with_white(colour: Colour) -> float:
    """As WCAG has it: 1 for white, 21 for black."""
    red, green, blue = (
        part / 12.92 if part <= _LINEAR else ((part + 0.055) / 1.055) ** 2.4
        for part in (value / 255 for value in colour)
    )
    return 1.05 / (0.2126 * red + 0.7152 * green + 0.0722 * blue + 0.05)


def _shades(hue: float) -> Iterator[Colour]:
    for lightness in _STEPS:
        red, green, blue = colorsys.hls_to_rgb(hue, lightness / 100, _SATURATION)
        yield round(red * 255), round(green * 255), round(blue * 255)


def _plain(letter: str) -> str:
    """The letter as the font has it, large; empty where it has none."""
    base = unicodedata.normalize("NFKD", letter)[0]
    return base.upper() if base.isascii() and base.isalnum() else ""

"""Looks at pictures that people have sent: how large they are, and a small one of each. Pure.

A picture says how large it is before it is unpacked: one that would take too much memory is refused at its first
bytes. Only formats that every client shows are opened; whatever goes wrong with one, it is no picture.
"""

import io
import struct
from typing import BinaryIO, Final

from PIL import Image, ImageOps

from etb_appservice.ports import Seen, TooManyPixels

MOST_PIXELS: Final = 50_000_000
"""Of a picture; unpacked it takes four bytes for each."""
_FORMATS = ("PNG", "JPEG", "GIF", "WEBP")
_SIDE = 800
"""Of a thumbnail, at most; clients ask for about so much."""
_QUALITY = 75
_TURNED = frozenset({5, 6, 7, 8})
_ORIENTATION = 0x0112


class PillowPictures:
    """`ports.Pictures`."""

    def look(self, source: BinaryIO) -> Seen | None:
        """Of an animation the first picture."""
        try:
            with Image.open(source, formats=_FORMATS) as picture:
                width, height = picture.size
                if width * height > MOST_PIXELS:
                    raise TooManyPixels(width, height)
                if picture.getexif().get(_ORIENTATION) in _TURNED:
                    width, height = height, width
                picture.draft("RGB", (2 * _SIDE, 2 * _SIDE))  # a JPEG is unpacked no larger than it is needed
                picture.thumbnail((_SIDE, _SIDE))  # before anything else: each copy of the whole is 200 MiB more
                small = _opaque(ImageOps.exif_transpose(picture))
                out = io.BytesIO()
                small.save(out, "JPEG", quality=_QUALITY)
        except (Image.DecompressionBombError, Image.DecompressionBombWarning):
            # Pillow's own limit is at most four times ours, and it doesn't say the size.
            raise TooManyPixels(0, 0) from None
        except (OSError, ValueError, TypeError, SyntaxError, EOFError, KeyError, IndexError, struct.error):
            return None
        return Seen(
            width=width,
            height=height,
            thumbnail=out.getvalue(),
            thumbnail_width=small.width,
            thumbnail_height=small.height,
        )


def _opaque(picture: Image.Image) -> Image.Image:
    """On white, where it lets something through."""
    if picture.has_transparency_data:
        ground = Image.new("RGBA", picture.size, "white")
        ground.alpha_composite(picture.convert("RGBA"))
        return ground.convert("RGB")
    return picture.convert("RGB")

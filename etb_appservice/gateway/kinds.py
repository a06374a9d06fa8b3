"""What a file is, found in its bytes. What its sender says of it is not asked; its name only tells like from like.

text? ─yes─► by what it begins with, else by the ending of its name: one of the harmless kinds of text
└─no─► by its signature; where several kinds share one (ZIP and what is made of it), by its name
"""

import codecs
import re
from collections.abc import Mapping
from typing import Final

import puremagic

UNKNOWN: Final = "application/octet-stream"
_TEXTS: Mapping[str, str] = {
    "csv": "text/csv",
    "json": "application/json",
    "md": "text/markdown",
    "xml": "application/xml",
    "yaml": "application/yaml",
    "yml": "application/yaml",
    "ics": "text/calendar",
    "eml": "message/rfc822",
}
_PROGRAMS: Mapping[bytes, str] = {
    b"\x7fELF": "application/x-elf",
    b"\xfe\xed\xfa\xce": "application/x-mach-binary",
    b"\xfe\xed\xfa\xcf": "application/x-mach-binary",
    b"\xce\xfa\xed\xfe": "application/x-mach-binary",
    b"\xcf\xfa\xed\xfe": "application/x-mach-binary",
    b"MZ": "application/vnd.microsoft.portable-executable",
}
"""Of these the library knows no type, or it knows several."""
_MARKUP = re.compile(
    rb"^(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*>\s*|<!--.*?-->\s*)*<(!doctype\s+html|html|svg|script|body|head)\b",
    re.IGNORECASE | re.DOTALL,
)
_CONTROLS = frozenset(range(32)) - {9, 10, 12, 13, 27}
_SURE = 0.3
_CONTAINERS = frozenset({"video/webm", "video/ogg", "video/mp4"})
"""A signature of fewer bytes is everybody's."""
_SHOWN: Final = frozenset(
    {"image/png", "image/jpeg", "image/gif", "image/webp", "video/mp4", "video/webm"}
    | {"audio/mpeg", "audio/ogg", "audio/mp4", "audio/wav", "audio/x-wav", "audio/webm"}
    | {"application/pdf", "application/json", "text/plain", "text/csv"}
)
_MIME = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,126}/[a-z0-9][a-z0-9!#$&^_.+-]{0,126}")


def kind_of(head: bytes, name: str) -> str:
    r"""The MIME type of a file that begins so; UNKNOWN where nothing tells it.

    >>> kind_of(b"a,b\n", "x.csv"), kind_of(b"MZ\x90\x00\x03", "x.png"), kind_of(b"<SVG onload=x>", "x.txt")
    ('text/csv', 'application/vnd.microsoft.portable-executable', 'image/svg+xml')
    """
    for signature, mime in _PROGRAMS.items():
        if head.startswith(signature):
            return mime
    if is_text(head):
        found = _MARKUP.match(head)
        if found is not None:
            return "image/svg+xml" if found.group(1).lower() == b"svg" else "text/html"
        return _TEXTS.get(name.rpartition(".")[2].lower(), "text/plain")
    try:
        matches = puremagic.magic_string(head, name)
    except (puremagic.PureError, ValueError):
        return UNKNOWN
    likely = (one.mime_type.lower() for one in matches if one.confidence >= _SURE)
    return next((mime for mime in likely if _MIME.fullmatch(mime)), UNKNOWN)


def as_sound(mime: str) -> str | None:
    """The type of a file that its sender calls a sound; None where it can't be one.

    What browsers record is in a container that could hold a film as well, and looks like one.

    >>> as_sound("video/webm"), as_sound("audio/mpeg"), as_sound("image/png")
    ('audio/webm', 'audio/mpeg', None)
    """
    if mime.startswith("audio/"):
        return mime
    return mime.replace("video/", "audio/", 1) if mime in _CONTAINERS else None


def is_text(head: bytes) -> bool:
    """Whether it is UTF-8 without control characters; it may end within a letter."""
    if not _CONTROLS.isdisjoint(head):
        return False
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return True


def shown_as(mime: str) -> str:
    r"""What a download says it is: what a browser may show, or nothing in particular.

    >>> shown_as("image/png"), shown_as("text/html"), shown_as("x\r\ny: z")
    ('image/png', 'application/octet-stream', 'application/octet-stream')
    """
    plain = mime.lower().partition(";")[0].strip()
    return plain if plain in _SHOWN else UNKNOWN

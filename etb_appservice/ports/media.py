"""Files that come in and go out, in pieces, as protocols. No plain text of them is ever on a disk."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from etb_appservice.domain.conversation import EncryptedFile

HEAD = 8192
"""How much of a file's beginning is kept in memory, to see what it is."""


class TooBig(Exception):
    """A file is larger than it may be."""


class TooManyPixels(Exception):
    """A picture would take more memory than a picture may."""

    def __init__(self, width: int, height: int) -> None:
        super().__init__(f"{width} x {height}")
        self.width = width
        self.height = height


class Incoming(Protocol):
    """A file that comes in. It is encrypted piece by piece, and gone when its context ends."""

    @property
    def size(self) -> int:
        """Bytes so far."""
        ...

    @property
    def head(self) -> bytes:
        """The first HEAD bytes of its plain text, or as many as came."""
        ...

    @property
    def sha256(self) -> str:
        """Hex, of its plain text so far; all of it after `end`."""
        ...

    async def write(self, piece: bytes) -> None:
        """The next piece. Raises TooBig."""
        ...

    async def end(self) -> None:
        """That was all of it. MUST come before what follows."""
        ...

    def plain(self) -> BinaryIO:
        """Its plain text, to be read at any place, in a thread, before its context ends."""
        ...

    async def upload(self) -> EncryptedFile:
        """Give the ciphertext to the homeserver. A repetition makes another copy. All four outcomes."""
        ...


class Content(Protocol):
    """A file that was fetched and checked: what it gives out is what its sender has encrypted."""

    @property
    def head(self) -> bytes:
        """The first HEAD bytes of its plain text."""
        ...

    @property
    def size(self) -> int:
        """Bytes."""
        ...

    @property
    def sha256(self) -> str:
        """Hex, of the plain text."""
        ...

    def pieces(self) -> AsyncIterator[bytes]:
        """The plain text."""
        ...


class MediaStore(Protocol):
    """The homeserver's media store, and a place for what is under way. MUST NOT keep plain text or keys there."""

    def incoming(self, most: int) -> AbstractAsyncContextManager[Incoming]:
        """A new file of at most so many bytes."""
        ...

    def fetch(self, file: EncryptedFile, most: int) -> AbstractAsyncContextManager[Content]:
        """A file of at most so many bytes, whose hash is the one that its sender gave.

        Raises TooBig, and all four outcomes; Refused `damaged` where it isn't, before anything is given out.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A picture: its size as it is shown, and a small JPEG of it."""

    width: int
    height: int
    thumbnail: bytes
    thumbnail_width: int
    thumbnail_height: int


class Pictures(Protocol):
    """Looks at pictures. May take a second: call it in a thread."""

    def look(self, source: BinaryIO) -> Seen | None:
        """None for what is no picture, or a broken one. Raises TooManyPixels before it takes the memory."""
        ...

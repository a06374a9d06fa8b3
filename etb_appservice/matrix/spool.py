"""Where a file lies while it comes in or goes out: a file without a name, whose content is encrypted throughout.

    plain text ──AES-CTR──► nameless file on disk ──► the homeserver        (an upload)
    the homeserver ──► nameless file on disk ──AES-CTR──► plain text         (a download, once its hash is right)

The key is in memory alone and the file has no name: a crash leaves nothing, a look at the disk shows nothing.
Source: client-server API, "Sending encrypted attachments".
"""

import asyncio
import base64
import hashlib
import io
import os
import tempfile
from collections.abc import AsyncGenerator
from typing import BinaryIO, Self

from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

from etb_appservice.domain.outcomes import Refused

PIECE = 256 * 1024
"""Bytes that are encrypted, hashed or written at once, in a thread."""
_BLOCK = 16
_KEY = 32


def base64_of(text: str) -> bytes:
    """Base64 of either alphabet, with padding or without. Raises Refused."""
    bare = text.replace("-", "+").replace("_", "/").rstrip("=")
    try:
        return base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)
    except ValueError:
        raise Refused("what decrypts this file can't be read", code="damaged") from None


def unpadded(data: bytes, *, url: bool = False) -> str:
    """Base64 as Matrix writes it."""
    return (base64.urlsafe_b64encode if url else base64.b64encode)(data).decode().rstrip("=")


class Spool:
    """One file under way. Its methods but `pieces` belong into a thread."""

    def __init__(self, file: BinaryIO, key: bytes, iv: bytes) -> None:
        self._file = file
        self.key = key
        self.iv = iv
        self._cipher = self._at(0)
        self._plain_hash = hashlib.sha256()
        self._cipher_hash = hashlib.sha256()
        self.size = 0

    @classmethod
    def new(cls) -> Self:
        """Under a key of its own; the counter's half of the IV is zero, as the specification asks."""
        return cls(_nameless(), os.urandom(_KEY), os.urandom(_BLOCK // 2) + bytes(_BLOCK // 2))

    @classmethod
    def of(cls, key: bytes, iv: bytes) -> Self:
        """For what somebody else has encrypted. Raises Refused."""
        if len(key) != _KEY or len(iv) != _BLOCK:
            raise Refused("what decrypts this file has a wrong length", code="damaged")
        return cls(_nameless(), key, iv)

    def close(self) -> None:
        """It is gone with that."""
        self._file.close()

    @property
    def plain_sha256(self) -> str:
        """Hex."""
        return self._plain_hash.hexdigest()

    @property
    def cipher_sha256(self) -> bytes:
        """Of what lies there."""
        return self._cipher_hash.digest()

    def add_plain(self, piece: bytes) -> None:
        """The next piece of plain text."""
        self._plain_hash.update(piece)
        self._append(self._cipher.update(piece))

    def add_cipher(self, piece: bytes) -> None:
        """The next piece of ciphertext."""
        self._plain_hash.update(self._cipher.update(piece))
        self._append(piece)

    def read_cipher(self, start: int, size: int) -> bytes:
        """What lies there."""
        self._file.seek(start)
        return self._file.read(size)

    def read_plain(self, start: int, size: int) -> bytes:
        """The plain text of any place."""
        before = start % _BLOCK
        cipher = self._at(start // _BLOCK)
        cipher.update(bytes(before))
        return cipher.update(self.read_cipher(start, size))

    def plain(self) -> BinaryIO:
        """The same as a file that is read in one thread."""
        return io.BufferedReader(_Plain(self), PIECE)

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """All of the plain text."""
        for start in range(0, self.size, PIECE):
            yield await asyncio.to_thread(self.read_plain, start, PIECE)

    async def ciphertext(self) -> AsyncGenerator[bytes, None]:
        """All that lies there."""
        for start in range(0, self.size, PIECE):
            yield await asyncio.to_thread(self.read_cipher, start, PIECE)

    def _append(self, ciphertext: bytes) -> None:
        self._cipher_hash.update(ciphertext)
        self._file.seek(0, os.SEEK_END)
        self._file.write(ciphertext)
        self.size += len(ciphertext)

    def _at(self, block: int) -> CipherContext:
        counter = (int.from_bytes(self.iv, "big") + block) % (1 << 8 * _BLOCK)
        # Counter mode: to encrypt and to decrypt are the same.
        return Cipher(AES(self.key), CTR(counter.to_bytes(_BLOCK, "big"))).encryptor()


class _Plain(io.RawIOBase):
    """A spool as a raw file."""

    def __init__(self, spool: Spool) -> None:
        super().__init__()
        self._spool = spool
        self._place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._spool.size}[whence]
        self._place = max(0, start + offset)
        return self._place

    def readinto(self, buffer: "bytearray | memoryview[int]") -> int:  # type: ignore[override]
        piece = self._spool.read_plain(self._place, len(buffer))
        buffer[: len(piece)] = piece
        self._place += len(piece)
        return len(piece)


def _nameless() -> BinaryIO:
    return tempfile.TemporaryFile()

"""The homeserver's media store, for files of any size in little memory.

    upload    pieces ─► spool (encrypted) ─► POST upload, as long as it is ─► EncryptedFile
    download  GET download ─► spool (as it lies there) ─► its hash is the sender's? ─► pieces of plain text

Must never hand the homeserver a clear byte, a name or a type, nor anybody a byte whose hash wasn't looked at.
Source: client-server API, "Content repository", "Sending encrypted attachments".
"""

import asyncio
import hmac
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import BinaryIO, Protocol

from etb_appservice.domain.conversation import EncryptedFile
from etb_appservice.domain.outcomes import Refused
from etb_appservice.matrix.spool import PIECE, Spool, base64_of, unpadded
from etb_appservice.ports import HEAD, TooBig


class Blobs(Protocol):
    """What this needs of the homeserver; see server.Homeserver. Both raise the four outcomes."""

    async def upload_pieces(self, pieces: AsyncGenerator[bytes, None], size: int) -> str:
        """Their `mxc:` address."""
        ...

    def download(self, mxc: str) -> AsyncGenerator[bytes, None]:
        """What lies there."""
        ...


class HomeserverMedia:
    """`ports.MediaStore`."""

    def __init__(self, server: Blobs) -> None:
        self._server = server

    @asynccontextmanager
    async def incoming(self, most: int) -> AsyncIterator["Arriving"]:
        """Gone at the end, whatever became of it."""
        spool = await asyncio.to_thread(Spool.new)
        try:
            yield Arriving(self._server, spool, most)
        finally:
            spool.close()

    @asynccontextmanager
    async def fetch(self, file: EncryptedFile, most: int) -> AsyncIterator["Fetched"]:
        """All of it is here, and checked, before the first piece is given out."""
        spool = await asyncio.to_thread(_spool_for, file)
        add = spool.add_cipher if file.key else spool.add_plain
        try:
            async with aclosing(self._server.download(file.mxc)) as body:
                waiting = bytearray()
                async for chunk in body:
                    waiting += chunk
                    if spool.size + len(waiting) > most:
                        raise TooBig
                    if len(waiting) >= PIECE:
                        await asyncio.to_thread(add, bytes(waiting))
                        waiting.clear()
                await asyncio.to_thread(add, bytes(waiting))
            if file.key and not hmac.compare_digest(spool.cipher_sha256, base64_of(file.sha256)):
                raise Refused("what lies on the homeserver isn't what was sent", code="damaged")
            yield Fetched(spool, await asyncio.to_thread(spool.read_plain, 0, HEAD))
        finally:
            spool.close()


class Arriving:
    """`ports.Incoming`."""

    def __init__(self, server: Blobs, spool: Spool, most: int) -> None:
        self._server = server
        self._spool = spool
        self._most = most
        self._waiting = bytearray()
        self._head = b""

    @property
    def size(self) -> int:
        """What waits to be encrypted, too."""
        return self._spool.size + len(self._waiting)

    @property
    def head(self) -> bytes:
        """Kept in clear, in memory."""
        return self._head

    @property
    def sha256(self) -> str:
        """Hex."""
        return self._spool.plain_sha256

    async def write(self, piece: bytes) -> None:
        """Encrypted some pieces at once."""
        if len(self._head) < HEAD:
            self._head += piece[: HEAD - len(self._head)]
        self._waiting += piece
        if self.size > self._most:
            raise TooBig
        if len(self._waiting) >= PIECE:
            await self.end()

    async def end(self) -> None:
        """What waits is encrypted."""
        piece = bytes(self._waiting)
        self._waiting.clear()
        await asyncio.to_thread(self._spool.add_plain, piece)

    def plain(self) -> BinaryIO:
        """Decrypted as it is read."""
        return self._spool.plain()

    async def upload(self) -> EncryptedFile:
        """Under the key with which it lies here."""
        spool = self._spool
        return EncryptedFile(
            mxc=await self._server.upload_pieces(spool.ciphertext(), spool.size),
            key=unpadded(spool.key, url=True),
            iv=unpadded(spool.iv),
            sha256=unpadded(spool.cipher_sha256),
        )


class Fetched:
    """`ports.Content`."""

    def __init__(self, spool: Spool, head: bytes) -> None:
        self._spool = spool
        self.head = head

    @property
    def size(self) -> int:
        """Bytes."""
        return self._spool.size

    @property
    def sha256(self) -> str:
        """Hex."""
        return self._spool.plain_sha256

    def pieces(self) -> AsyncIterator[bytes]:
        """Decrypted one by one."""
        return self._spool.pieces()


def _spool_for(file: EncryptedFile) -> Spool:
    """What lies in clear on the homeserver doesn't lie so here."""
    return Spool.of(base64_of(file.key), base64_of(file.iv)) if file.key else Spool.new()

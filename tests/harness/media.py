"""A homeserver's media store in memory, behind the real spool: what it holds is what the real one would hold."""

from collections.abc import AsyncGenerator
from contextlib import closing
from dataclasses import dataclass, field

from etb_appservice.domain.conversation import EncryptedFile
from etb_appservice.domain.outcomes import Failure, Refused
from etb_appservice.matrix.media import HomeserverMedia
from etb_appservice.matrix.spool import Spool, base64_of, unpadded


@dataclass
class _Server:
    """What `HomeserverMedia` needs of `matrix.server.Homeserver`."""

    blobs: dict[str, bytes] = field(default_factory=dict)
    trouble: Failure | None = None

    async def upload_pieces(self, pieces: AsyncGenerator[bytes, None], size: int) -> str:
        if self.trouble is not None:
            raise self.trouble
        content = b"".join([piece async for piece in pieces])
        assert len(content) == size
        mxc = f"mxc://x.org/blob{len(self.blobs) + 1}"
        self.blobs[mxc] = content
        return mxc

    async def download(self, mxc: str) -> AsyncGenerator[bytes, None]:
        if self.trouble is not None:
            raise self.trouble
        if mxc not in self.blobs:
            raise Refused("there is no such file", code="M_NOT_FOUND")
        content = self.blobs[mxc]
        for start in range(0, len(content), 1000):
            yield content[start : start + 1000]


class MediaInMemory(HomeserverMedia):
    """`ports.MediaStore`. Set `trouble` to have every call raise it; `blobs` are the ciphertexts."""

    def __init__(self) -> None:
        self.server = _Server()
        super().__init__(self.server)

    @property
    def blobs(self) -> dict[str, bytes]:
        return self.server.blobs

    def plain(self, file: EncryptedFile) -> bytes:
        """What somebody with the key reads; its hash is looked at."""
        with closing(Spool.of(base64_of(file.key), base64_of(file.iv))) as spool:
            spool.add_cipher(self.blobs[file.mxc])
            assert unpadded(spool.cipher_sha256) == file.sha256
            return spool.read_plain(0, spool.size)

    def put(self, content: bytes) -> EncryptedFile:
        """As a client of somebody's does it."""
        with closing(Spool.new()) as spool:
            spool.add_plain(content)
            mxc = f"mxc://y.org/theirs{len(self.blobs) + 1}"
            self.blobs[mxc] = spool.read_cipher(0, spool.size)
            return EncryptedFile(
                mxc=mxc,
                key=unpadded(spool.key, url=True),
                iv=unpadded(spool.iv),
                sha256=unpadded(spool.cipher_sha256),
            )

"""Files under way: what lies on the disk is ciphertext, and any client decrypts what was encrypted here."""

import hashlib
import os
import random
from contextlib import aclosing, closing

import pytest
from mautrix.crypto.attachments import decrypt_attachment, encrypt_attachment

from etb_appservice.domain.conversation import EncryptedFile
from etb_appservice.domain.outcomes import Refused
from etb_appservice.matrix.spool import PIECE, Spool, base64_of, unpadded
from etb_appservice.ports import TooBig
from tests.harness.media import MediaInMemory

CONTENT = os.urandom(2 * PIECE + 77)


async def encrypted(media: MediaInMemory, content: bytes) -> EncryptedFile:
    async with media.incoming(len(content)) as incoming:
        for start in range(0, len(content), 10_007):
            await incoming.write(content[start : start + 10_007])
        await incoming.end()
        assert (incoming.size, incoming.head) == (len(content), content[:8192])
        assert incoming.sha256 == hashlib.sha256(content).hexdigest()
        return await incoming.upload()


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, PIECE, PIECE + 1, len(CONTENT)])
async def test_another_implementation_decrypts_what_was_encrypted_in_pieces(size: int) -> None:
    media = MediaInMemory()
    file = await encrypted(media, CONTENT[:size])
    sealed = media.blobs[file.mxc]
    assert decrypt_attachment(sealed, file.key, file.sha256, file.iv) == CONTENT[:size]
    assert size < 16 or sealed != CONTENT[:size]


async def test_what_another_implementation_encrypted_is_given_out_in_pieces() -> None:
    media = MediaInMemory()
    sealed, made = encrypt_attachment(CONTENT)
    media.blobs["mxc://y.org/1"] = sealed
    told = made.serialize()
    file = EncryptedFile(
        mxc="mxc://y.org/1", key=told["key"]["k"], iv=told["iv"], sha256=told["hashes"]["sha256"] + "="
    )
    async with media.fetch(file, len(CONTENT)) as content:
        assert (content.size, content.head) == (len(CONTENT), CONTENT[:8192])
        assert b"".join([piece async for piece in content.pieces()]) == CONTENT
        assert content.sha256 == hashlib.sha256(CONTENT).hexdigest()


async def test_a_byte_too_many_is_too_big_in_both_directions() -> None:
    media = MediaInMemory()
    with pytest.raises(TooBig):
        async with media.incoming(10) as incoming:
            await incoming.write(bytes(11))
    file = await encrypted(media, CONTENT)
    with pytest.raises(TooBig):
        async with media.fetch(file, len(CONTENT) - 1):
            pass


async def test_what_lies_in_clear_on_the_homeserver_does_not_lie_so_here() -> None:
    media = MediaInMemory()
    media.blobs["mxc://y.org/1"] = CONTENT
    async with media.fetch(EncryptedFile(mxc="mxc://y.org/1"), len(CONTENT)) as content:
        spool = content._spool
        assert spool.read_cipher(0, 64) != CONTENT[:64]
        assert b"".join([piece async for piece in content.pieces()]) == CONTENT


def test_any_place_is_read_as_it_is() -> None:
    with closing(Spool.new()) as spool:
        for start in range(0, len(CONTENT), 100_003):
            spool.add_plain(CONTENT[start : start + 100_003])
        assert spool.plain_sha256 == hashlib.sha256(CONTENT).hexdigest()
        chance = random.Random(5)
        for _ in range(200):
            start, size = chance.randrange(len(CONTENT)), chance.randrange(5000)
            assert spool.read_plain(start, size) == CONTENT[start : start + size]
        with spool.plain() as file:
            assert file.seek(-10, os.SEEK_END) == len(CONTENT) - 10
            assert file.read() == CONTENT[-10:]
            assert file.seek(5) == 5
            assert file.read(7) == CONTENT[5:12]
            assert file.read(0) == b""
            file.seek(0)
            assert file.read() == CONTENT


def test_the_file_has_no_name_and_holds_no_clear_byte() -> None:
    with closing(Spool.new()) as spool:
        spool.add_plain(b"the password is hunter2" * 1000)
        descriptor = spool._file.fileno()
        assert os.fstat(descriptor).st_nlink == 0
        spool._file.flush()
        assert b"hunter2" not in os.pread(descriptor, 1 << 20, 0)


@pytest.mark.parametrize("text", ["%%%", "a", "\u00e4"])
def test_what_is_no_base64_opens_nothing(text: str) -> None:
    with pytest.raises(Refused):
        base64_of(text)


@pytest.mark.parametrize(("key", "iv"), [(b"", bytes(16)), (bytes(16), bytes(16)), (bytes(32), bytes(8))])
def test_a_key_of_another_length_opens_nothing(key: bytes, iv: bytes) -> None:
    with pytest.raises(Refused):
        Spool.of(key, iv)


def test_base64_is_unpadded_in_either_alphabet() -> None:
    assert (unpadded(b"\xff\xef"), unpadded(b"\xff\xef", url=True)) == ("/+8", "_-8")
    assert base64_of("_-8=") == base64_of("/+8") == b"\xff\xef"


async def test_a_download_that_nobody_takes_is_closed() -> None:
    media = MediaInMemory()
    file = await encrypted(media, CONTENT)
    async with media.fetch(file, len(CONTENT)) as content, aclosing(content._spool.pieces()) as pieces:
        async for _ in pieces:
            break
    assert content._spool._file.closed

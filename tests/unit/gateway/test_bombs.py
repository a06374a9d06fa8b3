"""Bodies that are a few bytes on the wire and would be gigabytes: refused as too large, in bounded memory."""

import json
import tracemalloc
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from etb_appservice.gateway.bodies import BODY_LIMIT
from tests.harness.api import Api
from tests.unit.gateway.test_files import BEGUN, FILES, ROOM, api, left

__all__ = ["api"]

pytestmark = pytest.mark.enable_socket
SIZE = 128 * 1024 * 1024
MUCH = 8 * 1024 * 1024
"""What may be held meanwhile, a sixteenth of what it would be."""
PIECE = bytes(1024 * 1024)
KINDS = {"gzip": 31, "deflate": 15}


def packed(encoding: str, before: bytes, size: int = SIZE) -> bytes:
    """`before`, and then nothing but zeros."""
    press = zlib.compressobj(9, wbits=KINDS[encoding])
    pieces = [press.compress(before)]
    pieces += [press.compress(PIECE) for _ in range(size // len(PIECE))]
    return b"".join([*pieces, press.flush()])


@contextmanager
def bounded() -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < MUCH
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("encoding", KINDS)
async def test_a_packed_body_is_measured_by_what_it_holds(api: Api, encoding: str) -> None:
    sent = packed(encoding, b'{"content": "')
    assert len(sent) < BODY_LIMIT, "it looks as if it fitted"
    headers = {"Content-Encoding": encoding, "Content-Type": "application/json"}
    with bounded():
        answer = await api.call("POST", "alice", "war-room-messages/", data=sent, headers=headers)
    assert (answer.status, answer.body["code"]) == (413, "too_large")


@pytest.mark.parametrize("encoding", KINDS)
async def test_a_packed_upload_is_measured_by_what_it_holds(api: Api, encoding: str) -> None:
    sent = packed(encoding, BEGUN)
    headers = {"Content-Encoding": encoding, "Content-Type": "multipart/form-data; boundary=b"}
    with bounded():
        answer = await api.call("POST", "alice", FILES, data=sent, headers=headers)
    assert (answer.status, answer.body["code"]) == (413, "too_large")
    assert await left(api.house) == (0, 0)


@pytest.mark.parametrize("encoding", KINDS)
async def test_a_packed_body_that_is_small_is_read(api: Api, encoding: str) -> None:
    sent = packed(encoding, json.dumps({"war_room_id": ROOM, "content": "the disk is full"}).encode(), 0)
    headers = {"Content-Encoding": encoding, "Content-Type": "application/json"}
    answer = await api.call("POST", "alice", "war-room-messages/", data=sent, headers=headers)
    assert (answer.status, answer.body["content"]) == (201, "the disk is full")


@pytest.mark.parametrize("encoding", KINDS)
@pytest.mark.parametrize("path", ["war-room-messages/", FILES])
async def test_what_is_not_packed_as_it_says_can_not_be_read(api: Api, encoding: str, path: str) -> None:
    kind = "multipart/form-data; boundary=b" if path == FILES else "application/json"
    sent = b"\xff" * 300
    headers = {"Content-Encoding": encoding, "Content-Type": kind}
    answer = await api.call("POST", "alice", path, data=sent, headers=headers)
    assert (answer.status, answer.body["code"]) == (400, "parse_error")

"""Senders who trickle, against a real server on loopback: each gets so much time, and its place is free again."""

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from etb_appservice.app.run import listen
from etb_appservice.config.values import Address
from etb_appservice.domain.policy import FilePolicy
from etb_appservice.etb.codec import IncidentDecoder
from etb_appservice.etb.connection import EtbConnection
from etb_appservice.etb.webhook import PATH, WebhookIntake
from tests.harness.api import Api, api_of, token_of
from tests.harness.cast import NO_1, policy_of
from tests.harness.house import House
from tests.harness.kit import MakeHouse
from tests.harness.processes import free_port
from tests.unit.gateway.test_files import BEGUN, FILES, ROOM, upload

pytestmark = pytest.mark.enable_socket
DONE = b"}"
"""Ends an answer."""


@pytest.fixture
async def api(make_house: MakeHouse) -> AsyncIterator[Api]:
    """INC-1's room; one file may be under way at once."""
    house = await make_house(policy=policy_of(files=FilePolicy(at_once=1)))
    await house.open_for_alice()
    async with api_of(house) as served:
        yield served


async def trickled(host: str, port: int, head: bytes, until: bytes = b"\0") -> bytes:
    """What comes back, up to `until`, from a server that is sent a byte at a time behind `head`."""
    reader, writer = await asyncio.open_connection(host, port)

    async def trickle() -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.02)

    writer.write(head)
    going = asyncio.create_task(trickle())
    try:
        async with asyncio.timeout(30):
            answer = b""
            with contextlib.suppress(ConnectionError):
                while until not in answer and (piece := await reader.read(65_536)):
                    answer += piece
            return answer
    finally:
        going.cancel()
        writer.close()


def request(path: str, kind: str, length: int) -> bytes:
    return (
        f"POST /api/collaboration-war-rooms/{path} HTTP/1.1\r\nHost: x\r\n"
        f"Authorization: Token {token_of('alice')}\r\n"
        f"Content-Type: {kind}\r\nContent-Length: {length}\r\n\r\n"
    ).encode()


async def test_a_body_that_trickles_has_its_time_and_no_more(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("etb_appservice.gateway.bodies.BODY_S", 0.3)
    head = request("war-room-messages/", "application/json", 100_000)
    answer = await trickled(str(api.client.host), api.client.port or 0, head, DONE)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"code":"timeout"' in answer
    assert (await api.post("alice", "war-rooms/", {"incident_id": NO_1})).status == 200


async def test_a_webhook_that_trickles_has_its_time_and_no_more(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("etb_appservice.etb.webhook._BODY_S", 0.3)
    connection = EtbConnection(base_url="https://etb.example.org", token="t")
    app = web.Application()
    secret = "whsec_" + base64.b64encode(bytes(32)).decode()
    app.add_routes(WebhookIntake(house.db, IncidentDecoder(connection), [secret]).routes())
    async with TestServer(app) as server:
        head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n".encode()
        assert (await trickled(str(server.host), server.port or 0, head, DONE)).startswith(b"HTTP/1.1 408 ")


async def test_an_upload_that_trickles_gives_its_place_back(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("etb_appservice.gateway.uploads.GRACE_S", 0.3)
    field = f'--b\r\nContent-Disposition: form-data; name="war_room_id"\r\n\r\n{ROOM}\r\n'.encode()
    for begun in (field + BEGUN, field, b""):
        head = request(FILES, "multipart/form-data; boundary=b", 1_000_000) + begun
        answer = await trickled(str(api.client.host), api.client.port or 0, head, DONE)
        assert answer.startswith(b"HTTP/1.1 408 "), begun
        assert b'"code":"timeout"' in answer
        assert api.frame.gate.files.taken == 0
    assert (await upload(api, "alice")).status == 201


async def test_an_upload_that_comes_steadily_has_as_long_as_it_takes(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("etb_appservice.gateway.uploads.GRACE_S", 2.0)
    piece = bytes(64 * 1024)

    async def pieces() -> AsyncIterator[bytes]:
        yield f'--b\r\nContent-Disposition: form-data; name="war_room_id"\r\n\r\n{ROOM}\r\n'.encode() + BEGUN
        for _ in range(8):
            yield piece
            await asyncio.sleep(0.3)
        yield b"\r\n--b--\r\n"

    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    answer = await api.call("POST", "alice", FILES, data=pieces(), headers=headers)
    assert (answer.status, answer.body["file_size"]) == (201, 8 * len(piece))


@pytest.mark.parametrize(
    "begun",
    [
        b"",
        b"GET / HTTP/1.1\r\nHost: x\r\nX-A: ",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nX-A: ",
    ],
)
async def test_who_never_ends_the_head_of_a_request_is_hung_up_on(begun: bytes) -> None:
    async def hello(_: web.Request) -> web.Response:
        return web.Response(text="hello")

    app = web.Application()
    app.router.add_get("/", hello)
    port = free_port()
    runner = await listen(app, Address("127.0.0.1", port), "gateway.listen", idle_s=0.3)
    try:
        answer = await trickled("127.0.0.1", port, begun)
        assert answer.count(b"hello") == begun.count(b"\r\n\r\n")
    finally:
        await runner.cleanup()

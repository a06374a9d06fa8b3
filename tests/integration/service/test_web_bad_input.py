"""What ETB's pages send and shouldn't, to the running service: each a clear error, and nothing is stored of it.

Held before and after: the tables, what the API shows, and what stands in the room. A half-open socket takes a
minute to be found; tests/unit/gateway/test_socket.py moves the clock for it.
"""

import asyncio
import io
import json
import sqlite3
import struct
import zlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from etb_appservice.domain.ids import IncidentId, war_room_id
from etb_appservice.gateway.links import PREFIXES
from tests.harness.sandbox import token_of
from tests.harness.scene import Scene, eventually
from tests.integration.service.test_both_ways import THUMB, Both
from tests.integration.service.test_chat_api import web
from tests.integration.service.test_sockets import Socket, connected, ready, seated
from tests.integration.service.test_web_files import FILES, headers, uploaded

SECTIONS = {"gateway": {"token_cache_s": 1.0}, "files": {"most_mib": 1}}
STORED = ("messages", "reactions", "files", "file_accesses", "commands", "cases", "documents", "outbox")
NOWHERE = "00000000-0000-4000-8000-000000000000"


@dataclass
class Stand:
    """A room with a message of alice's by the web, one that was deleted, and one in another room."""

    both: Both
    hers: str
    deleted: str
    elsewhere: str

    async def kept(self) -> dict[str, Any]:
        """What is stored and shown."""
        await self.both.scene.idle()
        path = self.both.scene.service.config.parent / "etb.db"
        counted = await asyncio.to_thread(_counts, str(path))
        one, page = self.both.war_room, self.both.page
        shown = {
            where: (await page.get("bob", where))["results"]
            for where in (f"war-rooms/{one}/messages/", f"war-rooms/{one}/pinned_messages/", "chat-files/")
        }
        seen = [event.event_id for event in await self.both.alice.timeline(self.both.room, last=500)]
        return {"counted": counted, "shown": shown, "seen": seen}


def _counts(path: str) -> dict[str, int]:
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as db:
        return {name: db.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in STORED}


@pytest.fixture(scope="module")
async def stand(scene: Scene) -> AsyncIterator[Stand]:
    async with web(scene) as page:
        other = await scene.etb.declare(title="Another one", severity="LOW", reporter="alice", assignee="bob")
        both = await ready(scene, page, "Bad input")
        await scene.room_of(other)
        await scene.idle()
        hers = await both.do("POST", "", {"war_room_id": both.war_room, "content": "alice's"}, who="alice")
        deleted = await both.post("deleted")
        await both.do("DELETE", f"{deleted['id']}/")
        there = {"war_room_id": war_room_id(IncidentId(other["id"])), "content": "elsewhere"}
        elsewhere = await both.do("POST", "", there)
        yield Stand(both, hers["id"], deleted["id"], elsewhere["id"])


@pytest.fixture
async def nothing_stored(stand: Stand) -> AsyncIterator[None]:
    before = await stand.kept()
    yield
    assert await stand.kept() == before


@pytest.mark.usefixtures("nothing_stored")
async def test_frames_that_are_none_or_name_what_is_not_there(stand: Stand) -> None:
    scene, one = stand.both.scene, stand.both.war_room
    bad: list[tuple[str | dict[str, Any], str]] = [
        ("no json", "invalid_json"),
        ("[]", "invalid_json"),
        ('{"type": "chat_message", "content": "half of', "invalid_json"),
        ({"type": "launch"}, "unknown_type"),
        ({"content": "x"}, "unknown_type"),
        ({"type": "chat_message"}, "validation_error"),
        ({"type": "chat_message", "content": "  "}, "validation_error"),
        ({"type": "chat_message", "content": "x", "message_type": "SYSTEM"}, "validation_error"),
        ({"type": "chat_message", "content": "x" * 70_000}, "validation_error"),
        ({"type": "chat_message", "content": "x", "attachment_ids": [NOWHERE]}, "not_found"),
        ({"type": "chat_message", "content": "x", "reply_to_id": stand.deleted}, "not_found"),
        ({"type": "reaction", "message_id": stand.hers, "emoji": "ok"}, "validation_error"),
        ({"type": "reaction", "message_id": stand.hers, "emoji": THUMB * 2}, "validation_error"),
        ({"type": "reaction", "message_id": stand.deleted, "emoji": THUMB}, "not_found"),
        ({"type": "edit_message", "message_id": stand.hers, "content": "mine"}, "forbidden"),
        ({"type": "edit_message", "message_id": stand.deleted, "content": "back"}, "not_found"),
        ({"type": "pin_message", "message_id": stand.deleted}, "not_found"),
        *(
            ({"type": kind, "message_id": name, **more}, "not_found")
            for name in (stand.elsewhere, NOWHERE)
            for kind, more in (
                ("reaction", {"emoji": THUMB}),
                ("edit_message", {"content": "x"}),
                ("pin_message", {}),
                ("unpin_message", {}),
                ("read", {}),
                ("command", {}),
            )
        ),
        ({"type": "chat_message", "content": "x", "reply_to_id": stand.elsewhere}, "not_found"),
        ({"type": "history", "before": stand.elsewhere}, "not_found"),
        ({"type": "command", "message_id": stand.hers}, "validation_error"),
    ]
    for number in range(0, len(bad), 15):  # a socket takes twenty frames in ten seconds
        async with connected(scene, "bob", one) as bob:
            await bob.hears("connection_established")
            for frame, code in bad[number : number + 15]:
                await bob.sends(frame if isinstance(frame, str) else json.dumps({**frame, "client_id": "c"}))
                assert (await refused(bob), frame) == (code, frame)


async def refused(socket: Socket) -> str:
    """The code of the next frame, which is an error with words, and nothing of ours in them."""
    told = await socket.next()
    assert told["type"] == "error", told
    assert told["detail"]
    assert "Traceback" not in json.dumps(told)
    return str(told["code"])


@pytest.mark.usefixtures("nothing_stored")
async def test_floods_and_frames_far_too_big_end_their_own_socket_alone(stand: Stand) -> None:
    scene, one = stand.both.scene, stand.both.war_room
    async with seated(scene, "alice", one) as hers:
        async with connected(scene, "bob", one) as bob:
            for _ in range(60):
                await bob.sends('{"type": "launch"}')
            assert await bob.ends() == 4429
        async with connected(scene, "bob", one) as bob:
            await bob.sends("x" * 1_000_000)
            assert await bob.ends() == 1009
        await hers.says("ping", nonce="here")
        assert (await hers.hears("pong"))["nonce"] == "here"


@pytest.mark.usefixtures("nothing_stored")
async def test_calls_that_ask_for_what_can_not_be(stand: Stand) -> None:
    page, one = stand.both.page, stand.both.war_room
    hers, gone = f"war-room-messages/{stand.hers}/", f"war-room-messages/{stand.deleted}/"
    said = {"war_room_id": one, "content": "x"}
    calls: list[tuple[str, str, dict[str, Any], int, str]] = [
        ("POST", f"{hers}add_reaction/", {"emoji": "ok"}, 400, "emoji"),
        ("POST", f"{hers}add_reaction/", {"emoji": ""}, 400, "emoji"),
        ("POST", f"{hers}add_reaction/", {"emoji": THUMB + "x" * 70}, 400, "emoji"),
        ("POST", f"{gone}add_reaction/", {"emoji": THUMB}, 404, "detail"),
        ("POST", "war-room-messages/", {**said, "reply_to_id": stand.deleted}, 400, "reply_to_id"),
        ("POST", "war-room-messages/", {**said, "reply_to_id": stand.elsewhere}, 400, "reply_to_id"),
        ("POST", "war-room-messages/", {**said, "attachment_ids": [NOWHERE]}, 400, "attachment_ids"),
        ("PATCH", hers, {"content": "mine"}, 403, "detail"),
        ("DELETE", hers, {}, 403, "detail"),
        ("PATCH", gone, {"content": "back"}, 404, "detail"),
        ("POST", f"{gone}pin_message/", {}, 404, "detail"),
        ("POST", f"{hers}execute_command/", {}, 400, "command_text"),
    ]
    for method, path, body, status, field in calls:
        found, answer = await page.call("bob", method, path, body)
        assert (found, field in answer) == (status, True), (method, path, answer)


@pytest.mark.usefixtures("nothing_stored")
async def test_files_that_are_too_big_empty_false_or_bombs(stand: Stand) -> None:
    scene, one = stand.both.scene, stand.both.war_room
    for content, name, status in (
        (b"", "empty.txt", 400),
        (bytes(2 << 20), "big.bin", 413),
        (b"MZ\x90\x00" + bytes(99), "report.pdf", 415),
        (bomb(), "picture.png", 400),
    ):
        found, answer = await uploaded(scene, "bob", content, name, war_room_id=one)
        assert (found, bool(answer)) == (status, True), (name, answer)
    body = form(one, 'filename="a\x00\x1b\x07"') + b"x\r\n--b--\r\n"
    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    address = f"http://127.0.0.1:{scene.service.public_port}{FILES}"
    async with (
        aiohttp.ClientSession() as http,
        http.post(address, data=io.BytesIO(body), headers=headers("bob") | kind) as answered,
    ):
        assert answered.status == 400
        assert await answered.json()


def bomb() -> bytes:
    """A picture of a few bytes that says it has billions of pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    rows = chunk(b"IDAT", zlib.compress(bytes(9)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + rows + chunk(b"IEND", b"")


def form(war_room: str, name: str) -> bytes:
    return (
        f'--b\r\nContent-Disposition: form-data; name="war_room_id"\r\n\r\n{war_room}\r\n'
        f'--b\r\nContent-Disposition: form-data; name="file"; {name}\r\n\r\n'
    ).encode()


@pytest.mark.usefixtures("nothing_stored")
async def test_an_upload_that_stops_half_way(stand: Stand) -> None:
    scene = stand.both.scene
    begun = form(stand.both.war_room, 'filename="half.bin"') + bytes(300_000)
    head = (
        f"POST {PREFIXES[0]}chat-files/ HTTP/1.1\r\nHost: localhost\r\nAuthorization: Token {token_of('bob')}\r\n"
        f"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {len(begun) + 500_000}\r\n\r\n"
    )
    _, writer = await asyncio.open_connection("127.0.0.1", scene.service.public_port)
    writer.write(head.encode() + begun)
    await writer.drain()
    writer.transport.abort()

    async def served() -> bool:
        status, _ = await uploaded(scene, "bob", b"", "empty.txt", war_room_id=stand.both.war_room)
        return status == 400

    await eventually(served, "the next upload to be looked at")


async def test_a_name_with_a_path_is_only_a_name(stand: Stand) -> None:
    """Last: this one is stored."""
    one = stand.both.war_room
    status, file = await uploaded(stand.both.scene, "bob", b"x\n", "../../etc/cron.d/x\u202etxt", war_room_id=one)
    assert (status, file["filename"]) == (201, "xtxt")

"""Files by the chat API: what is taken, what is refused, who sees it, and that nothing is left of what failed."""

import asyncio
import hashlib
import io
import struct
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from PIL import Image

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.conversation import FileDetails
from etb_appservice.domain.effects import DeleteMedia, Redact, SendFile
from etb_appservice.domain.ids import RoomId, Username, new_id, war_room_id
from etb_appservice.domain.media import Media
from etb_appservice.domain.news import FileShared, MessageAdded
from etb_appservice.domain.outcomes import Later, Refused
from etb_appservice.domain.policy import FilePolicy, RolePolicy
from etb_appservice.domain.verdicts import Verdict
from etb_appservice.flows.sharing import sending
from etb_appservice.gateway.routes.files import disposition
from etb_appservice.gateway.streaming import LOOK_S
from etb_appservice.matrix.files import Attachments
from etb_appservice.ports import ChatFile
from etb_appservice.render.pictures import MOST_PIXELS
from tests.harness.api import Answered, Api, api_of, token_of
from tests.harness.cast import ALICE, NO_1, policy_of
from tests.harness.house import House
from tests.harness.kit import MakeHouse
from tests.harness.web import WebUser
from tests.unit.flows.test_upgrades import NEW, upgrades

pytestmark = pytest.mark.enable_socket
ROOM = war_room_id(NO_1)
FILES = "chat-files/"
TEXT = b"2026-11-26 mail: connection refused\n" * 20
BEGUN = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
MOST = 2 * 1024 * 1024
BLOCKED = frozenset({"application/vnd.microsoft.portable-executable"})


@pytest.fixture
async def api(make_house: MakeHouse) -> AsyncIterator[Api]:
    """INC-1's room is there; alice, bob and carol are known, carol as auditor and for compliance."""
    roles = RolePolicy(meaning={"Audit": "auditor", "DPO": "compliance"})
    files = FilePolicy(most_bytes=MOST, blocked=BLOCKED, alone_after_s=60, at_once=2)
    house = await make_house(policy=policy_of(roles=roles, files=files))
    await house.open_for_alice()
    await house.let_in("carol")
    carol = Username("carol")
    house.etb.users[carol] = replace(house.etb.users[carol], roles=("Audit", "DPO"))
    async with house.db.work() as work:
        await work.incidents.put_user(house.etb.users[carol], house.clock.now_ms())
    async with api_of(house) as served:
        yield served


async def upload(
    api: Api,
    who: str,
    content: bytes = TEXT,
    name: str = "mail.log",
    mime: str = "text/plain",
    key: str = "",
    **fields: str,
) -> Answered:
    form = aiohttp.FormData(quote_fields=False)
    for field, value in ({"war_room_id": ROOM} | fields).items():
        if value:
            form.add_field(field, value)
    form.add_field("file", io.BytesIO(content), filename=name, content_type=mime)
    return await api.call("POST", who, FILES, data=form, headers={"Idempotency-Key": key} if key else None)


async def download(api: Api, who: str, file_id: str) -> Answered:
    return await api.get(who, f"{FILES}{file_id}/download/")


def png(width: int = 40, height: int = 30, kind: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (width, height), "red").save(out, kind)
    return out.getvalue()


def bomb(side: int = 60_000) -> bytes:
    """A picture of a few bytes that says it has billions of pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(9))) + chunk(b"IEND", b"")
    )


async def left(house: House) -> tuple[int, int]:
    """How many files are known, and how many lie on the homeserver."""
    async with house.db.view() as view:
        return await view.files.count(NO_1), len(house.media.blobs)


async def kept(house: House, file_id: str) -> ChatFile:
    async with house.db.view() as view:
        found = await view.files.get(file_id)
    assert found is not None
    return found


# --- coming in --------------------------------------------------------------------------------------------


async def test_an_upload_is_kept_encrypted_and_told_as_it_is(api: Api) -> None:
    answer = await upload(api, "alice", description="What the relay says")
    assert answer.status == 201
    one = answer.body
    assert (one["filename"], one["mime_type"], one["file_type"]) == ("mail.log", "text/plain", "LOG")
    assert (one["file_size"], one["file_hash"]) == (len(TEXT), hashlib.sha256(TEXT).hexdigest())
    assert (one["uploaded_by_username"], one["message"], one["access_count"]) == ("alice", None, 0)
    assert (one["data_classification"], one["classification_source"]) == ("INTERNAL", "AUTO")
    file = await kept(api.house, one["id"])
    assert file.details.file is not None
    assert api.house.media.plain(file.details.file) == TEXT
    assert all(b"connection refused" not in blob for blob in api.house.media.blobs.values())
    assert "file.uploaded" in await api.house.tags()


async def test_an_upload_with_the_same_key_is_the_first_file(api: Api) -> None:
    first = await upload(api, "alice", key="k")
    before = await left(api.house)
    again = await upload(api, "alice", key="k")
    assert (again.status, again.body["id"]) == (201, first.body["id"])
    assert await left(api.house) == before
    assert (await upload(api, "bob", key="k")).body["id"] != first.body["id"]
    assert (await upload(api, "alice", key="l")).body["id"] != first.body["id"]


@pytest.mark.parametrize("how", ["at once", "after the decision"])
async def test_uploads_with_the_same_key_that_overlap_are_one_file_and_one_event(
    api: Api, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Both are past the look for an earlier file when either is asked for."""
    both, decided = asyncio.Barrier(2), asyncio.Event()
    upload_pieces = api.house.media.server.upload_pieces

    async def overlapping(pieces: AsyncGenerator[bytes, None], size: int) -> str:
        mxc = await upload_pieces(pieces, size)
        if await both.wait() and how == "after the decision":
            await decided.wait()
        return mxc

    async def one() -> Answered:
        answer = await upload(api, "alice", key="k", send_now="true")
        decided.set()
        return answer

    monkeypatch.setattr(api.frame.gate.files, "places", 8)
    monkeypatch.setattr(api.house.media.server, "upload_pieces", overlapping)
    first, second = await asyncio.gather(one(), one())
    assert (first.status, second.status) == (201, 201)
    assert first.body["id"] == second.body["id"]
    assert (await left(api.house))[0] == 1
    assert len(api.house.world.shared) == 1
    assert (await api.house.tags()).count("file.uploaded") == 1


async def test_an_upload_whose_verdict_is_lost_is_shown_when_it_stands(
    api: Api,
) -> None:
    def time_is_over(verdict: Verdict) -> None:
        api.frame.gate.asking._waiting[verdict.ref].set_exception(TimeoutError())

    api.house.verdict = time_is_over
    answer = await upload(api, "alice")
    assert answer.status == 201
    assert (await kept(api.house, answer.body["id"])).id == answer.body["id"]


async def test_a_key_shows_no_file_that_may_not_be_known_by_now(api: Api) -> None:
    for who, level in (("alice", ""), ("bob", "RESTRICTED")):
        made = await upload(api, who, key="k", send_now="true")
        if level:
            raised = await api.call(
                "PATCH", "carol", f"{FILES}{made.body['id']}/", json={"data_classification": level}
            )
            assert raised.status == 200
            api.house.know(who, clearance=Classification.INTERNAL)
            async with api.house.db.work() as work:
                await work.incidents.put_user(api.house.etb.users[Username(who)], api.house.clock.now_ms())
        else:
            await WebUser(api.house, who).delete((await kept(api.house, made.body["id"])).message_id or "")
        before = await left(api.house)
        assert (await upload(api, who, key="k")).status == 404
        assert await left(api.house) == before


async def test_an_upload_of_which_nothing_came_is_done_by_its_second_try(api: Api) -> None:
    api.house.media.server.trouble = Later("away")
    assert (await upload(api, "alice", key="k")).status == 503
    api.house.media.server.trouble = None
    assert (await upload(api, "alice", key="k")).status == 201
    assert (await left(api.house))[0] == 1


async def test_what_was_uploaded_comes_back_as_something_to_save_and_it_is_written_down(api: Api) -> None:
    file_id = (await upload(api, "alice", name="r\u00e9sum\u00e9 1;.log")).body["id"]
    answer = await download(api, "bob", file_id)
    assert (answer.status, answer.raw) == (200, TEXT)
    assert answer.headers["Content-Type"] == "text/plain"
    assert answer.headers["Content-Disposition"] == disposition("r\u00e9sum\u00e9 1;.log")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Security-Policy"] == "sandbox; default-src 'none'"
    assert answer.headers["Cache-Control"] == "no-store"
    log = (await api.get("carol", f"{FILES}{file_id}/access_log/")).body
    assert [(row["user_username"], row["access_type"]) for row in log["results"]] == [("bob", "DOWNLOAD")]
    assert (await api.get("alice", f"{FILES}{file_id}/")).body["access_count"] == 1


async def test_a_picture_has_its_size_and_a_small_one_beside_it(api: Api) -> None:
    answer = await upload(api, "alice", png(1600, 900), "shot.txt", "text/html")
    assert (answer.body["mime_type"], answer.body["file_type"]) == ("image/png", "IMAGE")
    details = (await kept(api.house, answer.body["id"])).details
    assert (details.width, details.height) == (1600, 900)
    assert (details.thumbnail_width, details.thumbnail_height) == (800, 450)
    assert details.thumbnail is not None
    small = api.house.media.plain(details.thumbnail)
    assert len(small) == details.thumbnail_size
    with Image.open(io.BytesIO(small)) as picture:
        assert (picture.format, picture.size) == ("JPEG", (800, 450))


@pytest.mark.parametrize(
    ("content", "name", "claimed", "found"),
    [
        (b"<html><script>alert(1)</script>", "x.png", "image/png", "text/html"),
        (b"<svg onload=alert(1)>", "x.png", "image/png", "image/svg+xml"),
        (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3", "x.txt", "text/plain", "application/pdf"),
        (b'{"a": 1}', "a.json", "text/html", "application/json"),
        (b"\x93\x10\x88" * 9, "x.png", "image/png", "application/octet-stream"),
        (png(9, 9, "JPEG"), "x.png", "image/png", "image/jpeg"),
    ],
)
async def test_what_a_file_is_is_found_in_its_bytes(
    api: Api, content: bytes, name: str, claimed: str, found: str
) -> None:
    answer = await upload(api, "alice", content, name, claimed)
    assert (answer.status, answer.body["mime_type"]) == (201, found)
    fetched = await download(api, "alice", answer.body["id"])
    assert fetched.raw == content
    assert "html" not in fetched.headers["Content-Type"]
    assert "svg" not in fetched.headers["Content-Type"]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("../../etc/passwd", "passwd"),
        ("..\\..\\boot.ini", "boot.ini"),
        ("a\x00b\x1b[2J.log", "ab[2J.log"),
        ("\u202egnp.exe", "gnp.exe"),
        ("..", "file"),
        ("", "file"),
        ("x" * 900 + ".log", "x" * 196 + ".log"),
    ],
)
async def test_a_name_is_only_a_name(api: Api, name: str, shown: str) -> None:
    boundary = "b0undary"
    quoted = quote(name, safe="")
    body = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="war_room_id"\r\n\r\n{ROOM}\r\n'
        f"--{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename*=UTF-8''{quoted}\r\n\r\nhi\r\n"
        f"--{boundary}--\r\n"
    ).encode()
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    answer = await api.call("POST", "alice", FILES, data=body, headers=headers)
    assert (answer.status, answer.body["filename"]) == (201, shown)
    fetched = await download(api, "alice", answer.body["id"])
    assert "\n" not in fetched.headers["Content-Disposition"]


# --- refused ----------------------------------------------------------------------------------------------


async def test_a_file_above_the_limit_is_413_whether_it_says_so_or_not(api: Api) -> None:
    assert (await upload(api, "alice", bytes(MOST + 200_000))).status == 413

    async def pieces() -> AsyncIterator[bytes]:
        yield (
            f'--b\r\nContent-Disposition: form-data; name="war_room_id"\r\n\r\n{ROOM}\r\n'
            '--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        ).encode()
        for _ in range(MOST // 65_536 + 2):
            yield bytes(65_536)

    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    answer = await api.call("POST", "alice", FILES, data=pieces(), headers=headers)
    assert (answer.status, answer.body["code"]) == (413, "too_large")
    assert await left(api.house) == (0, 0)


@pytest.mark.parametrize(
    ("content", "fields", "status", "field"),
    [
        (b"", {}, 400, "file"),
        (TEXT, {"war_room_id": ""}, 400, "war_room_id"),
        (TEXT, {"war_room_id": "x"}, 400, "war_room_id"),
        (TEXT, {"file_type": "POEM"}, 400, "file_type"),
        (TEXT, {"data_classification": "SECRET"}, 400, "data_classification"),
        (TEXT, {"data_classification": "RESTRICTED"}, 400, "data_classification"),
        (TEXT, {"data_classification": "PUBLIC"}, 400, "data_classification"),
        (TEXT, {"description": "x" * 5000}, 400, "description"),
        (bomb(), {}, 400, "file"),
        (TEXT, {"war_room_id": new_id(1)}, 404, "detail"),
        (TEXT, {"message_id": new_id(1)}, 404, "detail"),
        (b"MZ\x90\x00" + bytes(99), {}, 415, "detail"),
    ],
)
async def test_what_is_wrong_is_said_and_nothing_is_left(
    api: Api, content: bytes, fields: dict[str, str], status: int, field: str
) -> None:
    answer = await upload(api, "alice", content, **fields)
    assert answer.status == status
    assert field in answer.body
    assert await left(api.house) == (0, 0)


async def test_a_picture_that_would_unpack_to_too_much_is_named_so(api: Api) -> None:
    side = int(MOST_PIXELS**0.5) + 10
    answer = await upload(api, "alice", bomb(side))
    assert f"{side} x {side}" in answer.body["file"][0]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--b\r\n",
        b"nonsense",
        b"--b--\r\n",
        BEGUN.replace(b'"a"', b'"a\x00\x1b"') + b"x\r\n--b--\r\n",
        b'--b\r\nContent-Disposition: form-data; name="war_room_id"\r\n\r\nx\r\n--b--\r\n',
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nhalf of it',
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nhello\r\n--b',
        b'--b\r\nContent-Disposition: form-data; filename="a"\r\n\r\nhello\r\n--b--\r\n',
        BEGUN.rstrip(b"\r\n") + b"\r\nContent-Transfer-Encoding: base64\r\n\r\naGVsbG8=\r\n--b--\r\n",
        BEGUN + b"x\r\n" + BEGUN + b"y\r\n--b--\r\n",
        b"--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c--\r\n--b--\r\n",
        b'--b\r\nContent-Disposition: form-data; name="war_room_id"\r\n\r\n\xff\xfe\r\n--b--\r\n',
        b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\nx\r\n' * 30 + b"--b--\r\n",
        b"--b\r\n" + b"X: y\r\n" * 500 + b"\r\nx\r\n--b--\r\n",
    ],
)
async def test_a_form_that_is_none_or_not_whole_is_400(api: Api, body: bytes) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    answer = await api.call("POST", "alice", FILES, data=body, headers=headers)
    assert answer.status == 400
    assert await left(api.house) == (0, 0)


@pytest.mark.parametrize(
    "kind", ["application/json", "multipart/form-data", "text/plain", "multipart/mixed; boundary=b"]
)
async def test_another_kind_of_body_is_refused(api: Api, kind: str) -> None:
    answer = await api.call("POST", "alice", FILES, data=b"{}", headers={"Content-Type": kind})
    assert answer.status in {400, 415}


async def test_an_upload_that_stops_half_way_leaves_nothing(api: Api) -> None:
    begun = asyncio.Event()

    async def pieces() -> AsyncIterator[bytes]:
        yield (
            f'--b\r\nContent-Disposition: form-data; name="war_room_id"\r\n\r\n{ROOM}\r\n'
            '--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        ).encode() + bytes(100_000)
        begun.set()
        await asyncio.Event().wait()

    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    going = asyncio.create_task(api.call("POST", "alice", FILES, data=pieces(), headers=headers))
    await begun.wait()
    going.cancel()
    await asyncio.gather(going, return_exceptions=True)
    assert (await upload(api, "alice")).status == 201
    assert (await upload(api, "alice")).status == 201
    assert await left(api.house) == (2, 2)


@pytest.mark.parametrize(
    ("trouble", "status"),
    [(Later("away"), 503), (Refused("no", code="M_TOO_LARGE"), 413), (Refused("no", code="M_FORBIDDEN"), 502)],
)
async def test_a_homeserver_that_takes_nothing_leaves_nothing(api: Api, trouble: Any, status: int) -> None:
    api.house.media.server.trouble = trouble
    assert (await upload(api, "alice")).status == status
    assert await left(api.house) == (0, 0)


async def test_only_so_many_are_under_way_at_once(api: Api) -> None:
    room = api.frame.gate.files
    alice, bob = Username("alice"), Username("bob")
    async with room.place(bob):
        assert (await upload(api, "bob")).status == 429
        async with room.place(alice):
            answer = await upload(api, "carol")
            assert (answer.status, answer.headers["Retry-After"]) == (429, "5")
    assert (await upload(api, "alice")).status == 201


# --- who may ----------------------------------------------------------------------------------------------


async def test_whoever_may_not_enter_the_room_learns_nothing_of_its_files(api: Api) -> None:
    file_id = (await upload(api, "alice")).body["id"]
    api.house.know("mallory")
    one = f"{FILES}{file_id}/"
    for method, path, body in [
        ("GET", one, None),
        ("GET", f"{one}download/", None),
        ("GET", f"{one}access_log/", None),
        ("POST", f"{one}log_access/", {}),
        ("PATCH", one, {"data_classification": "PUBLIC"}),
        ("DELETE", one, None),
    ]:
        answer = await api.call(method, "mallory", path, **({"json": body} if body is not None else {}))
        assert (answer.status, answer.body["code"]) == (404, "not_found")
    assert (await api.get("mallory", FILES)).body["count"] == 0
    assert (await upload(api, "mallory")).status == 404
    assert "file.access" not in await api.house.tags()


async def test_a_file_above_a_clearance_is_not_there(api: Api) -> None:
    api.house.know("bob", clearance=Classification.INTERNAL)
    async with api.house.db.work() as work:
        await work.incidents.put_user(api.house.etb.users[Username("bob")], api.house.clock.now_ms())
    file_id = (await upload(api, "alice")).body["id"]
    assert (await download(api, "bob", file_id)).status == 200
    raised = await api.call("PATCH", "carol", f"{FILES}{file_id}/", json={"data_classification": "RESTRICTED"})
    assert (raised.status, raised.body["data_classification"]) == (200, "RESTRICTED")
    assert raised.body["classification_source"] == "USER"
    assert (await download(api, "bob", file_id)).status == 404
    assert (await download(api, "alice", file_id)).status == 200


async def test_only_compliance_classifies_and_never_above_its_own_clearance(api: Api) -> None:
    file_id = (await upload(api, "alice")).body["id"]
    one = f"{FILES}{file_id}/"
    assert (await api.call("PATCH", "alice", one, json={"data_classification": "PUBLIC"})).status == 403
    assert (await api.call("PATCH", "carol", one, json={"data_classification": "TOP_SECRET"})).status == 400
    assert (await api.call("PATCH", "carol", one, json={"data_classification": "PUBLIC"})).status == 200
    assert (await upload(api, "carol", data_classification="PUBLIC")).status == 201


# --- the access log ---------------------------------------------------------------------------------------


async def test_an_access_is_recorded_with_user_and_time_and_read_by_auditors_alone(api: Api) -> None:
    file_id = (await upload(api, "alice")).body["id"]
    one = f"{FILES}{file_id}/"
    told = await api.post("bob", f"{one}log_access/", {"access_type": "SHARE", "reason": "for the vendor"})
    assert told.status == 201
    assert (told.body["user_username"], told.body["access_type"]) == ("bob", "SHARE")
    assert told.body["ip_address"] == "127.0.0.1"
    assert (await api.post("alice", f"{one}log_access/")).body["access_type"] == "VIEW"
    assert (await api.post("alice", f"{one}log_access/", {"access_type": "EAT"})).status == 400
    assert (await api.get("alice", f"{one}access_log/")).status == 403
    log = (await api.get("carol", f"{one}access_log/", page_size=1)).body
    assert (log["count"], log["results"][0]["user_username"]) == (2, "alice")
    second = (await api.get("carol", f"{one}access_log/", page_size=1, page=2)).body
    assert [one | {"user": told.body["user"]} for one in second["results"]] == [told.body]
    entries = [entry for entry in await api.house.audit() if entry.tag == "file.access"]
    assert [entry.actor for entry in entries] == ["bob", "alice"]
    assert "vendor" not in repr(entries)


# --- to the room ------------------------------------------------------------------------------------------


async def test_an_uploaded_file_is_sent_by_its_ghost_once_no_message_has_named_it(api: Api) -> None:
    house = api.house
    answer = await upload(api, "alice", png(), "shot.png", description="The mail queue")
    assert house.world.shared == []
    await house.advance(61)
    [(event_id, sent)] = house.world.shared
    assert (sent.speaker, sent.msgtype, sent.caption) == ("alice", "m.image", "The mail queue")
    assert (sent.width, sent.height, sent.filename, sent.mime) == (40, 30, "shot.png", "image/png")
    assert (await kept(house, answer.body["id"])).event_id == event_id
    messages = (await api.get("alice", f"war-rooms/{ROOM}/messages/", message_type="FILE")).body["results"]
    [message] = messages
    assert (message["content"], message["sender_username"]) == ("The mail queue", "alice")
    assert (message["external_message_id"], message["attachments"][0]["id"]) == (event_id, answer.body["id"])
    assert message["external_data"]["matrix_sender"] == "@_etb_u_alice:x.org"
    assert house.news.of(FileShared)[-1].file_id == answer.body["id"]
    assert house.news.of(MessageAdded)[-1].message_id == message["id"]
    await house.advance(3600)
    assert len(house.world.shared) == 1
    room = await house.room()
    async with house.db.view() as view:
        media = await view.cases.of(room.war_room, Media)
    assert [one.event_id for one in media] == [event_id, event_id]


async def test_a_file_with_a_message_goes_with_it_at_once(api: Api) -> None:
    house = api.house
    said = await house.says(ALICE, "Look at this")
    await house.settle()
    [message] = (await api.get("alice", f"war-rooms/{ROOM}/messages/", search="Look at this")).body["results"]
    assert message["external_message_id"] == said
    answer = await upload(api, "alice", war_room_id="", message_id=message["id"])
    assert answer.body["message"] == message["id"]
    assert len(house.world.shared) == 1
    [message] = (await api.get("alice", f"war-rooms/{ROOM}/messages/", search="Look at this")).body["results"]
    assert [one["id"] for one in message["attachments"]] == [answer.body["id"]]
    await house.advance(3600)
    assert len(house.world.shared) == 1


async def test_a_file_goes_with_a_message_of_ones_own_alone(api: Api) -> None:
    await api.house.says(ALICE, "Look at this")
    await api.house.settle()
    [message] = (await api.get("alice", f"war-rooms/{ROOM}/messages/", search="Look at this")).body["results"]
    assert (await upload(api, "bob", war_room_id="", message_id=message["id"])).status == 403
    wrong = await upload(api, "alice", war_room_id=new_id(1), message_id=message["id"])
    assert (wrong.status, list(wrong.body)) == (400, ["message_id"])
    await api.house.redacts(ALICE, message["external_message_id"])
    assert (await upload(api, "alice", war_room_id="", message_id=message["id"])).status == 400
    assert await left(api.house) == (0, 0)


async def test_what_is_sent_at_once_is_a_message_at_once(api: Api) -> None:
    await upload(api, "alice", send_now="true")
    assert len(api.house.world.shared) == 1


@pytest.mark.parametrize(
    ("content", "name", "mime"),
    [
        (b"OggS" + bytes(20) + b"OpusHead" + bytes(400), "a.ogg", "audio/ogg"),
        (b"\x1aE\xdf\xa3" + bytes(400), "recorded", "audio/webm"),
        (b"\x00\x00\x00\x20ftypM4A " + bytes(400), "a.m4a", "audio/mp4"),
    ],
)
async def test_a_voice_message_is_marked_as_one(api: Api, content: bytes, name: str, mime: str) -> None:
    said = {"is_voice": "true", "duration_ms": "2500", "send_now": "true"}
    one = (await upload(api, "alice", content, name, **said)).body
    assert (one["mime_type"], one["external_data"]["is_voice"], one["external_data"]["duration_ms"]) == (
        mime,
        True,
        2500,
    )
    [sent] = [sent for _, sent in api.house.world.shared]
    assert (sent.msgtype, sent.is_voice, sent.duration_ms, sent.mime) == ("m.audio", True, 2500, mime)


async def test_what_is_no_sound_is_no_voice_message(api: Api) -> None:
    for content in (TEXT, png()):
        answer = await upload(api, "alice", content, is_voice="true")
        assert (answer.status, list(answer.body)) == (400, ["is_voice"])
    assert (await upload(api, "alice", duration_ms="-1")).status == 400
    one = (await upload(api, "alice", png(), duration_ms="5")).body
    assert "duration_ms" not in one["external_data"], "a picture lasts no time"
    assert await left(api.house) == (1, 2)


async def test_a_file_that_can_not_be_sent_is_told_to_the_operators(api: Api) -> None:
    api.house.world.fail(SendFile, Refused("no", code="M_FORBIDDEN"))
    await upload(api, "alice", send_now="true")
    assert any("could not be sent" in text for text in api.house.troubles())


async def test_who_lost_the_right_meanwhile_sends_nothing(api: Api) -> None:
    house = api.house
    await upload(api, "alice")
    house.know("alice", clearance=Classification.PUBLIC)
    async with house.db.work() as work:
        await work.incidents.put_user(house.etb.users[Username("alice")], house.clock.now_ms())
    await house.advance(61)
    assert house.world.shared == []


# --- from the room ----------------------------------------------------------------------------------------


async def from_the_room(house: House, content: bytes, **changes: Any) -> str:
    details = FileDetails(
        name="evil.png",
        original_name="evil.png",
        mime="image/png",
        size=7,
        file=house.media.put(content),
        uploaded_by=Username("alice"),
    )
    file = ChatFile(
        id=new_id(house.clock.now_ms()),
        war_room=ROOM,
        lane=NO_1,
        created_ms=house.clock.now_ms(),
        details=replace(details, **changes),
    )
    async with house.db.work() as work:
        await work.files.put(file)
    return file.id


async def test_a_file_from_the_room_is_fetched_when_asked_for_and_known_from_then_on(api: Api) -> None:
    content = b"<html>not a picture</html>"
    file_id = await from_the_room(api.house, content)
    answer = await download(api, "bob", file_id)
    assert (answer.status, answer.raw) == (200, content)
    assert answer.headers["Content-Type"] == "application/octet-stream"
    shown = (await api.get("bob", f"{FILES}{file_id}/")).body
    assert shown["file_hash"] == hashlib.sha256(content).hexdigest()
    assert (shown["file_size"], shown["mime_type"]) == (len(content), "text/html")


async def test_a_file_that_the_homeserver_has_changed_or_lost_is_not_given_out(api: Api) -> None:
    house = api.house
    file_id = await from_the_room(house, b"as it was sent" * 100)
    mxc = (await kept(house, file_id)).details.file
    assert mxc is not None
    whole = house.media.blobs[mxc.mxc]
    for changed in (b"x" + whole[1:], whole[:-1], whole + b"x", None):
        house.media.blobs.pop(mxc.mxc, None)
        if changed is not None:
            house.media.blobs[mxc.mxc] = changed
        answer = await download(api, "bob", file_id)
        assert (answer.status, answer.body["code"]) == (502, "upstream_error")
    assert (await api.get("carol", f"{FILES}{file_id}/access_log/")).body["count"] == 0


async def test_a_file_from_the_room_above_the_limit_is_413(api: Api) -> None:
    file_id = await from_the_room(api.house, bytes(MOST + 1))
    assert (await download(api, "bob", file_id)).status == 413


async def test_a_homeserver_that_is_away_is_503(api: Api) -> None:
    file_id = await from_the_room(api.house, TEXT)
    api.house.media.server.trouble = Later("away")
    assert (await download(api, "bob", file_id)).status == 503


@pytest.mark.parametrize("broken", [{"key": "AAAA"}, {"iv": "%%%"}, {"key": "A" * 44}])
async def test_a_key_that_can_not_be_one_opens_nothing(api: Api, broken: dict[str, str]) -> None:
    file_id = await from_the_room(api.house, TEXT)
    file = await kept(api.house, file_id)
    assert file.details.file is not None
    spoilt = replace(file, details=replace(file.details, file=replace(file.details.file, **broken)))
    async with api.house.db.work() as work:
        await work.files.put(spoilt)
    assert (await download(api, "bob", file_id)).status == 502


# --- going ------------------------------------------------------------------------------------------------


async def test_a_file_is_kept_until_its_retention_ends(api: Api) -> None:
    house = api.house
    file_id = (await upload(api, "alice", send_now="true")).body["id"]
    one = f"{FILES}{file_id}/"
    assert (await api.call("DELETE", "bob", one)).status == 403
    answer = await api.call("DELETE", "alice", one)
    assert (answer.status, answer.body["code"]) == (423, "retention")
    assert (await api.get("alice", one)).status == 200
    house.clock.advance(1096 * 86_400)
    async with house.db.work() as work:
        for name in ("alice", "bob"):
            await work.incidents.put_user(house.etb.users[Username(name)], house.clock.now_ms())
    answer = await api.call("DELETE", "alice", one)
    assert (answer.status, answer.raw) == (204, b"")
    assert (await api.get("alice", one)).status == 404
    [(event_id, _)] = house.world.shared
    redacted = [effect.event_id for effect in house.world.order if isinstance(effect, Redact)]
    assert redacted == [event_id]
    assert not any(isinstance(effect, DeleteMedia) for effect in house.world.order)
    assert "file.deleted" in await house.tags()


async def withdrawn(api: Api, file_id: str) -> None:
    """Nobody is shown it but auditors and compliance, and its bytes are there."""
    one = f"{FILES}{file_id}/"
    calls = (("GET", one), ("GET", f"{one}download/"), ("POST", f"{one}log_access/"), ("DELETE", one))
    for who in ("alice", "bob"):
        for method, path in calls:
            assert (await api.call(method, who, path)).status == 404
        assert (await api.get(who, FILES)).body["count"] == 0
    [shown] = (await api.get("carol", FILES)).body["results"]
    assert (shown["id"], shown["external_data"]["state"]) == (file_id, "withdrawn")
    assert (await download(api, "carol", file_id)).raw == TEXT
    assert (await api.get("carol", f"{one}access_log/")).body["count"] == 1


async def years_pass(api: Api) -> None:
    """Every retention ends, and ETB has just said the same of everybody."""
    api.house.clock.advance(3651 * 86_400)
    async with api.house.db.work() as work:
        for name in ("alice", "carol"):
            await work.incidents.put_user(api.house.etb.users[Username(name)], api.house.clock.now_ms())
    await api.house.settle()


async def test_a_file_stays_for_auditors_when_its_message_goes_until_its_retention_ends(api: Api) -> None:
    file_id = (await upload(api, "alice")).body["id"]
    message_id = await WebUser(api.house, "alice").post("Look at this", attachments=(file_id,))
    await WebUser(api.house, "alice").delete(message_id)
    await withdrawn(api, file_id)
    [(event_id, _)] = api.house.world.shared
    assert event_id in {one.event_id for one in api.house.world.order if isinstance(one, Redact)}
    assert "file.withdrawn" in await api.house.tags()
    await api.house.redacts(ALICE, event_id)
    await api.house.advance(1094 * 86_400)
    assert "file.deleted" not in await api.house.tags()
    await years_pass(api)
    assert (await api.get("carol", FILES)).body["count"] == 0
    assert (await api.house.tags()).count("file.deleted") == 1


async def test_what_is_classified_anew_while_it_is_kept_is_kept_as_long_as_that_says(api: Api) -> None:
    file_id = (await upload(api, "alice", send_now="true")).body["id"]
    [message] = (await api.get("alice", f"war-rooms/{ROOM}/messages/", message_type="FILE")).body["results"]
    await WebUser(api.house, "alice").delete(message["id"])
    raised = await api.call("PATCH", "carol", f"{FILES}{file_id}/", json={"data_classification": "RESTRICTED"})
    assert raised.status == 200
    await api.house.advance(1100 * 86_400)
    assert (await kept(api.house, file_id)).withdrawn_ms is not None
    await years_pass(api)
    assert await left(api.house) == (0, 1)


@pytest.mark.parametrize("what", ["the message", "the file's event"])
async def test_a_file_stays_by_the_same_rule_whatever_is_redacted_in_matrix(api: Api, what: str) -> None:
    house = api.house
    said = await house.says(ALICE, "Look at this")
    await house.settle()
    [message] = (await api.get("alice", f"war-rooms/{ROOM}/messages/", search="Look at this")).body["results"]
    file_id = (await upload(api, "alice", war_room_id="", message_id=message["id"])).body["id"]
    [(event_id, _)] = house.world.shared
    await house.redacts(ALICE, said if what == "the message" else event_id)
    await withdrawn(api, file_id)
    found = await api.get("bob", f"war-room-messages/{message['id']}/")
    assert found.status == 404 if what == "the message" else found.body["attachments"] == []


async def test_a_file_whose_retention_is_over_goes_with_its_message(api: Api) -> None:
    house = api.house
    await upload(api, "alice", send_now="true")
    [message] = (await api.get("alice", f"war-rooms/{ROOM}/messages/", message_type="FILE")).body["results"]
    await years_pass(api)
    await WebUser(house, "alice").delete(message["id"])
    assert await left(house) == (0, 1)


async def test_a_file_that_was_deleted_before_it_could_be_sent_is_kept_and_not_sent(api: Api) -> None:
    house = api.house
    house.world.fail(SendFile, Later("away"))
    file_id = (await upload(api, "alice")).body["id"]
    message_id = await WebUser(house, "alice").post("Look at this", attachments=(file_id,))
    await WebUser(house, "alice").delete(message_id)
    await house.advance(60)
    redacted = [one.event_id for one in house.world.order if isinstance(one, Redact)]
    assert [event_id for event_id, _ in house.world.shared if event_id not in redacted] == []
    assert not any("could not be sent" in text for text in house.troubles())
    nothing: Any = None
    with pytest.raises(Refused, match="deleted before it could be sent"):
        await Attachments(house.db, nothing).encrypted_file(
            sending(RoomId("!r:x.org"), await kept(house, file_id))
        )
    await withdrawn(api, file_id)


async def test_a_file_is_taken_back_in_the_room_where_it_was_said(api: Api) -> None:
    house = api.house
    alone = (await upload(api, "alice", send_now="true")).body["id"]
    with_text = (await upload(api, "alice")).body["id"]
    message_id = await WebUser(house, "alice").post("Look at this", attachments=(with_text,))
    before = await house.room_id()
    said = [event_id for event_id, _ in house.world.shared]
    await upgrades(house, before)
    assert await house.room_id() == NEW
    await upload(api, "alice", war_room_id="", message_id=message_id)
    [*_, (late, sent)] = house.world.shared
    assert (sent.room_id, sent.thread_root) == (NEW, None)
    await years_pass(api)
    for file_id in (alone, with_text):
        assert (await api.call("DELETE", "alice", f"{FILES}{file_id}/")).status == 204
    await WebUser(house, "alice").delete(message_id)
    redacted = {one.event_id: one.room_id for one in house.world.order if isinstance(one, Redact)}
    assert {event_id: redacted[event_id] for event_id in said} == dict.fromkeys(said, before)
    assert redacted[late] == NEW


async def test_an_upload_needs_the_callers_token(api: Api) -> None:
    assert (await api.call("POST", None, FILES, data=b"x")).status == 401


# --- a right that goes while it is given out --------------------------------------------------------------

BIG = 24 * 1024 * 1024
"""More than any two sockets of this machine hold between them."""


@pytest.fixture
async def big(make_house: MakeHouse) -> AsyncIterator[Api]:
    """INC-1's room, in which larger files are taken; alice and bob are known."""
    house = await make_house(policy=policy_of(files=FilePolicy(most_bytes=2 * BIG, at_once=4)))
    await house.open_for_alice()
    async with api_of(house, cache_s=4.0) as served:
        yield served


async def begun(api: Api, who: str, file_id: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, int]:
    """A download of which only the beginning was read, and how long it says it is."""
    reader, writer = await asyncio.open_connection(api.client.host, api.client.port)
    path, token = f"{api.prefix}{FILES}{file_id}/download/", f"Authorization: Token {token_of(who)}"
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n{token}\r\nConnection: close\r\n\r\n".encode())
    head = b""
    async with asyncio.timeout(10):
        while b"\r\n\r\n" not in head:
            head += await reader.read(1)
    await asyncio.gather(*api.working)
    assert head.startswith(b"HTTP/1.1 200 ")
    return reader, writer, int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])


async def rest(reader: asyncio.StreamReader) -> int:
    """How much more came before the connection ended, in whatever way."""
    count = 0
    async with asyncio.timeout(20):
        try:
            while piece := await reader.read(65_536):
                count += len(piece)
        except ConnectionError:
            pass
    return count


async def looked_again(api: Api, most: int = 4) -> None:
    """Time passes in which it is asked whether the caller still may, `most` times."""
    for _ in range(most):
        async with asyncio.timeout(10):
            while api.frame.gate.files.taken and not api.house.clock.sleeping:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0)
        api.house.clock.advance(LOOK_S)


def lose_clearance(api: Api) -> None:
    api.house.know("bob", clearance=Classification.PUBLIC)


def lose_account(api: Api) -> None:
    api.profiles.revoked.add("bob")


@pytest.mark.parametrize("loses", [lose_clearance, lose_account])
async def test_a_download_under_way_ends_when_the_right_to_it_goes(big: Api, loses: Callable[[Api], None]) -> None:
    file_id = await from_the_room(big.house, bytes(BIG))
    reader, writer, size = await begun(big, "bob", file_id)
    assert size == BIG
    loses(big)
    await looked_again(big)
    assert await rest(reader) < size
    writer.close()
    assert (await big.get("alice", f"{FILES}{file_id}/")).status == 200


async def test_a_download_of_a_file_that_is_raised_above_a_clearance_ends(big: Api) -> None:
    file_id = await from_the_room(big.house, bytes(BIG))
    reader, writer, size = await begun(big, "bob", file_id)
    file = await kept(big.house, file_id)
    async with big.house.db.work() as work:
        await work.files.put(replace(file, details=replace(file.details, classification="TOP_SECRET")))
    await looked_again(big, 1)
    assert await rest(reader) < size
    writer.close()


async def test_a_download_goes_on_while_the_right_to_it_stands_and_etb_is_away(big: Api) -> None:
    file_id = await from_the_room(big.house, bytes(BIG))
    reader, writer, size = await begun(big, "bob", file_id)
    big.profiles.trouble = Later("away")
    await looked_again(big)
    assert await rest(reader) == size
    writer.close()
    assert not big.frame.gate.files.taken


# --- with a message of the web ----------------------------------------------------------------------------


async def test_a_message_of_the_web_carries_what_was_uploaded_before_and_it_is_sent_once(api: Api) -> None:
    house = api.house
    file = (await upload(api, "alice", png(), "shot.png", description="The mail queue")).body["id"]
    message_id = await WebUser(house, "alice").post("Look at this", attachments=(file,))
    [(event_id, sent)] = house.world.shared
    assert (sent.speaker, sent.msgtype, sent.caption) == ("alice", "m.image", "The mail queue")
    assert (await kept(house, file)).message_id == message_id
    await house.advance(3600)
    assert len(house.world.shared) == 1
    assert house.world.sent == []
    assert (await kept(house, file)).event_id == event_id
    async with house.db.view() as view:
        media = await view.cases.of(ROOM, Media)
    assert [one.event_id for one in media] == [event_id, event_id]
    assert (await download(api, "bob", file)).raw == png()


async def test_files_are_listed_in_both_orders(api: Api) -> None:
    names = []
    for number in range(3):
        names.append((await upload(api, "alice", name=f"{number}.log")).body["id"])
        api.house.clock.advance(1)

    async def listed(query: str) -> list[str]:
        return [one["id"] for one in (await api.get("alice", f"{FILES}?{query}")).body["results"]]

    assert await listed("") == names[::-1]
    for more in ("", "&file_type=LOG"):
        assert await listed(f"ordering=-uploaded_at{more}") == names[::-1]
        assert await listed(f"ordering=uploaded_at{more}") == names
        assert await listed(f"ordering=uploaded_at&page=2&page_size=2{more}") == names[2:]
    assert (await api.get("alice", f"{FILES}?ordering=filename")).status == 400

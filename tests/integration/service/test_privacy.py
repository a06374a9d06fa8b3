"""What others can read: the homeserver's operator in its database, and whoever gets hold of our own files."""

import asyncio
from pathlib import Path

import pytest

from etb_appservice.gateway.links import PREFIXES
from tests.harness.jsclient import JsError
from tests.harness.sandbox import token_of
from tests.harness.scene import Scene, eventually
from tests.integration.service.test_both_ways import Both, begun
from tests.integration.service.test_chat_api import web
from tests.integration.service.test_web_bad_input import form
from tests.integration.service.test_web_files import fetched, uploaded

TITLE = "Zephyrquartz ledger copied"
DESCRIPTION = "Moonstonelane was seen in the cellar"
SAID = "Gallowglass knows the way"
SECRETS = (b"Zephyrquartz", b"Moonstonelane", b"Gallowglass")
POSTED, EDITED, LONG, COMMAND = "Thistlewharf", "Quillbramble", "Hollowfennel", "Larkspurgate"
CONTENT, NAME, CAPTION, REASON = "Cinderwillow", "Brackenmoor", "Tamarisk", "Foxglovehill"
BY_WEB = tuple(one.encode() for one in (POSTED, EDITED, LONG, COMMAND, CONTENT, NAME, CAPTION, REASON))


FEDERATES = {"CONFIDENTIAL": True, "RESTRICTED": False, "TOP_SECRET": False}
"""The levels above `INTERNAL`."""
CATEGORIES = {"CONFIDENTIAL": "Data", "RESTRICTED": "Security", "TOP_SECRET": "Integration"}
BY_CATEGORY = {category: level for level, category in CATEGORIES.items()}
SECTIONS = {"classification": {"default": "INTERNAL", "by_category": BY_CATEGORY}}


def held_in(folder: Path, pattern: str) -> bytes:
    """Every byte of the files of a database, its write-ahead log included."""
    files = sorted(folder.glob(pattern))
    assert files
    return b"".join(path.read_bytes() for path in files)


@pytest.mark.parametrize("level", FEDERATES)
async def test_above_internal_servers_are_shown_the_number_and_our_own_files_are_sealed(
    scene: Scene, level: str
) -> None:
    await scene.account("alice", "carol", "bob")
    await scene.etb.set_clearance("alice", "TOP_SECRET")
    if scene.service.child is None or not scene.service.child.running:
        await scene.service.run()
    alice = await scene.person("alice")
    incident = await scene.etb.declare(
        title=TITLE, description=DESCRIPTION, severity="HIGH", reporter="alice", category=CATEGORIES[level]
    )
    number = incident["incident_number"]
    room = await scene.join(alice, incident)
    card = await scene.card(alice, room, body=TITLE)
    assert f"Classification: {level.replace('_', ' ')}" in card.body
    answer = await scene.ask(alice, room, "!status")
    assert TITLE in answer.body
    await alice.send(room, SAID)
    await scene.ask(alice, room, "!help Gallowglass")
    await scene.etb.patch(incident["id"], severity="CRITICAL", title=TITLE + " twice")
    await scene.card(alice, room, body="twice")

    # The homeserver: its tables, and every byte of its files.
    events = scene.synapse.stored_events(room)
    by_type = {event["type"]: event for event in events if "state_key" in event}
    assert by_type["m.room.create"]["content"]["m.federate"] is FEDERATES[level]
    assert by_type["m.room.history_visibility"]["content"] == {"history_visibility": "joined"}
    assert by_type["m.room.join_rules"]["content"] == {"join_rule": "invite"}
    assert by_type["m.room.name"]["content"] == {"name": number}
    assert "m.room.avatar" not in by_type
    assert by_type.get("m.room.topic", {"content": {"topic": ""}})["content"]["topic"] == ""
    assert {event["type"] for event in events if "state_key" not in event} == {"m.room.encrypted"}
    aliases = scene.synapse.query("SELECT room_alias FROM room_aliases WHERE room_id = ?", room)
    assert aliases == [(scene.alias(incident),)]
    for (text,) in scene.synapse.query("SELECT json FROM event_json"):
        for secret in SECRETS:
            assert secret.decode() not in text
    kept = held_in(scene.synapse.directory, "homeserver.db*")
    assert number.encode() in kept, "the search finds what is there"
    for secret in (*SECRETS, b"not invited", b"What you can ask me here"):
        assert secret not in kept

    # Only the bot invites.
    levels = by_type["m.room.power_levels"]["content"]
    assert levels["invite"] > levels["users_default"]
    with pytest.raises(JsError) as refusal:
        await alice.invite(room, scene.mxid("carol"))
    assert refusal.value.errcode == "M_FORBIDDEN"

    # Our own files, while the service runs and after.
    scene.assert_quiet()
    await scene.service.stop()
    ours = held_in(scene.service.folder, "*.db*")
    assert room.encode() in ours, "the search finds what is there"
    config = scene.service.settings()
    for secret in (
        *SECRETS,
        answer.body.splitlines()[0].encode(),
        b"What you can ask me here",
        scene.slot.as_token.encode(),
        scene.slot.hs_token.encode(),
        scene.etb.token.encode(),
        scene.service.webhook_secret.encode(),
        config["encryption"]["key"].encode(),
    ):
        assert secret not in ours
    for secret in SECRETS:
        assert secret.decode() not in scene.service.log()


async def test_what_web_users_say_and_upload_lies_nowhere_as_plain_text(scene: Scene) -> None:
    """Neither in a database nor beside it, nor in what is under way; not in logs and not in metrics."""
    if scene.service.child is None or not scene.service.child.running:
        await scene.service.run()
    async with web(scene) as page:
        both = await begun(scene, page, "By the web")
        first = await both.post(f"{POSTED} knows the way")
        await both.do("PATCH", f"{first['id']}/", {"content": f"{EDITED} knows it"})
        await both.post(f"{LONG} on every line of it\n" * 4000)
        await both.do("POST", f"{first['id']}/execute_command/", {"command_text": f"/post {COMMAND} is fixed"})
        name, caption = f"{NAME}.log", f"{CAPTION} saw it"
        content = f"{CONTENT} was here\n".encode() * 30_000
        fields = {"war_room_id": both.war_room, "description": caption, "send_now": "true"}
        status, file = await uploaded(scene, "bob", content, name, **fields)
        assert (status, file["filename"]) == (201, name)
        looked = {"access_type": "VIEW", "reason": REASON}
        assert (await page.call("bob", "POST", f"chat-files/{file['id']}/log_access/", looked))[0] == 201
        assert await fetched(scene, "bob", f"{file['id']}/download/") == (200, content)
        under_way = await half_uploaded(both, content)
        await both.heard(f"* {EDITED} knows it")
        await both.alice.wait_for(room=both.room, body=caption, timeout=60)
        shown = await page.get("bob", f"war-rooms/{both.war_room}/messages/?page_size=100")
        assert all(one in str(shown) for one in (EDITED, LONG, NAME)), "it has been said"
    await scene.idle()
    running = held_in(scene.service.folder, "*.db*")
    _, metrics = await scene.service.get("/metrics")
    scene.assert_quiet()
    await scene.service.stop()
    stopped = b"".join(one.read_bytes() for one in sorted(scene.service.folder.rglob("*")) if one.is_file())
    synapse = b"".join(one.read_bytes() for one in sorted(scene.synapse.directory.rglob("*")) if one.is_file())
    for kept in (running, stopped, synapse):
        assert both.room.encode() in kept, "the search finds what is there"
    log = scene.service.log().encode()
    assert log
    for secret in BY_WEB:
        for kept in (running, stopped, synapse, under_way, log, metrics.encode()):
            assert secret not in kept


async def half_uploaded(both: Both, content: bytes) -> bytes:
    """What lies on the disk of an upload that goes no further: files that have no name any more."""
    child = both.scene.service.child
    assert child is not None
    begun_form = form(both.war_room, f'filename="{NAME}.log"') + content
    head = (
        f"POST {PREFIXES[0]}chat-files/ HTTP/1.1\r\nHost: localhost\r\nAuthorization: Token {token_of('bob')}\r\n"
        f"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {len(begun_form) + 500_000}\r\n\r\n"
    )
    _, writer = await asyncio.open_connection("127.0.0.1", both.scene.service.public_port)
    writer.write(head.encode() + begun_form)
    await writer.drain()

    async def lies() -> bytes | None:
        found = await asyncio.to_thread(nameless, child.pid)
        return found if len(found) > len(content) // 2 else None

    try:
        return await eventually(lies, "a part of the upload to lie on the disk")
    finally:
        writer.transport.abort()


def nameless(pid: int) -> bytes:
    """The files that a process has open, and nobody else can."""
    found = bytearray()
    for one in Path(f"/proc/{pid}/fd").iterdir():
        if str(one.readlink()).endswith(" (deleted)"):
            found += one.read_bytes()
    return bytes(found)

"""Files of the bot on a real homeserver: another client downloads and decrypts them, and the digests agree."""

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import jsonschema
from PIL import Image

from tests.harness.jsclient import Event, JsClient
from tests.harness.scene import Scene, eventually, replied_to

SCHEMA = json.loads((Path(__file__).parents[3] / "docs" / "transcript.schema.json").read_text())


async def downloaded(person: JsClient, event: Event) -> bytes:
    """What a client shows of a file, after it has compared the digest of the ciphertext."""
    file = event.content["file"]
    assert file["v"] == "v2"
    assert set(file) >= {"url", "key", "iv", "hashes"}
    return await person.download(file)


async def test_a_transcript_is_downloaded_and_its_digests_are_what_etb_has(scene: Scene) -> None:
    incident = await scene.etb.declare(title="Search is down", reporter="alice", assignee="carol")
    alice, room = await scene.enter("alice", incident)
    carol, _ = await scene.enter("carol", incident)
    said = await alice.send(room, "The index is corrupt <since noon>")
    gone = await carol.send(room, "my password is hunter2")
    await carol.redact(room, gone)
    await scene.ask(alice, room, "!task add Tell the branch offices")
    asked = await alice.send(room, "!export")
    answer = await carol.wait_for(room=room, sender=scene.bot, reply_to=asked, body="Transcript")
    files = [
        one
        for one in await scene.answers(carol, room, asked)
        if one.content.get("msgtype") == "m.file" and one.failure is None
    ]
    assert len(files) == 2
    contents: dict[str, bytes] = {}
    for one in files:
        assert one.wire_type == "m.room.encrypted"
        assert (await carol.shield(room, one.event_id)).clean
        content = await downloaded(carol, one)
        assert one.content["info"]["size"] == len(content)
        assert f"SHA-256 {hashlib.sha256(content).hexdigest()}" in answer.body
        contents[one.content["info"]["mimetype"]] = content
    told = json.loads(contents["application/json"])
    jsonschema.validate(told, SCHEMA)
    by_event = {one["event_id"]: one for one in told["messages"]}
    assert by_event[said]["body"] == "The index is corrupt <since noon>"
    assert by_event[gone]["state"] == "removed"
    assert "The index is corrupt &lt;since noon&gt;" in contents["text/html"].decode()
    assert all(b"hunter2" not in content for content in contents.values())

    async def registered() -> list[dict[str, Any]]:
        rows = await scene.etb.rows("/api/compliance/evidence/", incident=incident["id"])
        return rows if len(rows) == 2 else []

    rows = await eventually(registered, "two rows of evidence")
    assert {row["file_hash"] for row in rows} == {hashlib.sha256(one).hexdigest() for one in contents.values()}
    assert {row["evidence_type"] for row in rows} == {"CHAT_LOG"}
    assert all(row["source_reference"].startswith("etb-appservice/transcript/") for row in rows)


async def test_the_homeserver_keeps_nothing_readable_of_a_file(scene: Scene) -> None:
    incident = await scene.etb.declare(title="Printers jam", reporter="alice")
    alice, room = await scene.enter("alice", incident)
    asked = await alice.send(room, "!export")
    await alice.wait_for(room=room, sender=scene.bot, reply_to=asked, body="Transcript")
    [first, *_] = [
        one for one in await scene.answers(alice, room, asked) if one.content.get("msgtype") == "m.file"
    ]
    raw = await alice.download({"url": first.content["file"]["url"]})
    assert b"Printers" not in raw
    assert hashlib.sha256(raw).digest() != hashlib.sha256(await downloaded(alice, first)).digest()


async def test_a_picture_is_downloaded_and_is_the_one_that_was_drawn(scene: Scene) -> None:
    incident = await scene.etb.declare(title="VPN drops", severity="HIGH", reporter="alice")
    alice, room = await scene.enter("alice", incident)
    await scene.ask(alice, room, "!post We know why and are on it")
    root = await alice.send(room, "How does it look?")
    asked = await alice.send(room, "!timeline chart", thread=root)
    event = await alice.wait_for(room=room, sender=scene.bot, thread=root, body="Timeline of")
    content = event.content
    assert (content["msgtype"], content["filename"]) == ("m.image", "timeline.png")
    assert "We know why and are on it" in content["body"]
    assert replied_to(event) == asked
    assert (await alice.shield(room, event.event_id)).clean
    image = Image.open(io.BytesIO(await downloaded(alice, event)))
    image.load()
    assert image.size == (content["info"]["w"], content["info"]["h"]) == (1200, 600)

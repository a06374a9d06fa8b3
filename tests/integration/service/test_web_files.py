"""Files both ways, byte for byte: from the chat API to a client with Rust crypto, and from there to the API."""

import hashlib
import io
import json
from typing import Any

import aiohttp
from PIL import Image

from etb_appservice.domain.ids import IncidentId, war_room_id
from etb_appservice.gateway.links import PREFIXES
from tests.harness.sandbox import token_of
from tests.harness.scene import Scene, eventually

SECTIONS = {"gateway": {"token_cache_s": 1.0}, "files": {"alone_after_s": 2.0, "most_mib": 2}}
FILES = f"{PREFIXES[0]}chat-files/"


def picture() -> bytes:
    out = io.BytesIO()
    Image.effect_noise((900, 300), 60).save(out, "PNG")
    return out.getvalue()


def headers(who: str) -> dict[str, str]:
    return {"Authorization": f"Token {token_of(who)}"}


async def uploaded(scene: Scene, who: str, content: bytes, name: str, **fields: str) -> tuple[int, Any]:
    form = aiohttp.FormData(fields, quote_fields=False)
    form.add_field("file", io.BytesIO(content), filename=name, content_type="application/octet-stream")
    address = f"http://127.0.0.1:{scene.service.public_port}{FILES}"
    async with aiohttp.ClientSession() as http, http.post(address, data=form, headers=headers(who)) as answer:
        return answer.status, await answer.json()


async def fetched(scene: Scene, who: str, path: str) -> tuple[int, bytes]:
    address = f"http://127.0.0.1:{scene.service.public_port}{FILES}{path}"
    async with aiohttp.ClientSession() as http, http.get(address, headers=headers(who)) as answer:
        return answer.status, await answer.read()


async def test_what_is_uploaded_by_the_web_is_decrypted_by_a_client(scene: Scene) -> None:
    incident = await scene.etb.declare(title="Mail is down", severity="LOW", reporter="alice", assignee="bob")
    alice, room = await scene.enter("alice", incident)
    content = picture()
    one = war_room_id(IncidentId(incident["id"]))
    status, file = await uploaded(scene, "bob", content, "../queue.png", war_room_id=one, description="The queue")
    assert (status, file["filename"], file["mime_type"]) == (201, "queue.png", "image/png")
    event = await alice.wait_for(room=room, body="The queue", timeout=60)
    assert event.wire_type == "m.room.encrypted"
    assert (await alice.shield(room, event.event_id)).clean
    info = event.content["info"]
    assert (event.content["msgtype"], event.content["filename"]) == ("m.image", "queue.png")
    assert (info["w"], info["h"], info["size"], info["mimetype"]) == (900, 300, len(content), "image/png")
    assert info["org.etb.file"] == {"id": file["id"], "sha256": hashlib.sha256(content).hexdigest()}
    assert await alice.download(event.content["file"]) == content
    small = await alice.download(info["thumbnail_file"])
    assert len(small) == info["thumbnail_info"]["size"]
    with Image.open(io.BytesIO(small)) as shown:
        assert shown.size == (info["thumbnail_info"]["w"], info["thumbnail_info"]["h"])
    assert content[:64] not in await alice.download({"url": event.content["file"]["url"]})
    assert await fetched(scene, "alice", f"{file['id']}/download/") == (200, content)
    assert (await uploaded(scene, "heidi", content, "a.png", war_room_id=one))[0] == 404
    assert (await uploaded(scene, "bob", bytes(3 << 20), "a.bin", war_room_id=one))[0] == 413


async def test_what_a_client_sends_is_downloaded_by_the_web(scene: Scene) -> None:
    incident = await scene.etb.declare(title="Search is slow", severity="LOW", reporter="alice", assignee="bob")
    alice, room = await scene.enter("alice", incident)
    content = picture()
    sent = await alice.upload(content, name="graph.png", mime="text/html")
    voice = await alice.upload(b"OggS" + bytes(500), name="voice.ogg", mime="audio/ogg")
    too_big = await alice.upload(bytes(3 << 20), name="dump.bin", mime="application/x-tar")
    await alice.send(
        room,
        {
            "msgtype": "m.image",
            "body": "graph.png",
            "file": sent,
            "info": {"w": 900, "h": 300, "size": len(content), "mimetype": "text/html"},
        },
    )
    await alice.send(
        room,
        {
            "msgtype": "m.audio",
            "body": "voice.ogg",
            "file": voice,
            "info": {"duration": 1500, "mimetype": "audio/ogg"},
            "org.matrix.msc3245.voice": {},
        },
    )
    await alice.send(room, {"msgtype": "m.file", "body": "dump.bin", "file": too_big, "info": {}})

    async def listed() -> dict[str, Any] | None:
        path = f"?war_room={war_room_id(IncidentId(incident['id']))}"
        status, body = await fetched(scene, "bob", path)
        assert status == 200
        found = {one["filename"]: one for one in json.loads(body)["results"]}
        return found if len(found) == 3 else None

    files = await eventually(listed, "three files")
    one = files["graph.png"]
    assert (one["file_hash"], one["file_type"], one["uploaded_by_username"]) == ("", "IMAGE", "alice")
    assert await fetched(scene, "bob", f"{one['id']}/download/") == (200, content)
    _, body = await fetched(scene, "bob", f"{one['id']}/")
    known = json.loads(body)
    assert known["file_hash"] == hashlib.sha256(content).hexdigest()
    assert (known["mime_type"], known["access_count"]) == ("image/png", 1)
    assert (await fetched(scene, "bob", f"{files['dump.bin']['id']}/download/"))[0] == 413
    assert (await fetched(scene, "heidi", f"{one['id']}/download/"))[0] == 404

"""Each thing that people do, both ways, by REST and by socket, in one room: what docs/both-ways.md says.

Alice is at a client with Rust crypto that excludes insecure devices, bob on ETB's pages; in one test alice too.
"""

import asyncio
import io
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import quote

import pytest
from PIL import Image

from tests.harness.http import MatrixUser
from tests.harness.jsclient import Event
from tests.harness.pushes import PushGateway
from tests.harness.scene import Scene, eventually, replied_to
from tests.integration.service.test_both_ways import CHECK, THUMB, Both
from tests.integration.service.test_chat_api import web
from tests.integration.service.test_sockets import PINS, Holds, Socket, ready, seated
from tests.integration.service.test_web_files import fetched, uploaded

SECTIONS = {"gateway": {"token_cache_s": 1.0}, "files": {"alone_after_s": 60.0}}
POLL = "org.matrix.msc3381.poll"
TEXT = "org.matrix.msc1767.text"


@pytest.fixture(scope="module")
async def both(scene: Scene) -> AsyncIterator[Both]:
    async with web(scene) as page:
        made = await ready(scene, page, "Everything both ways")
        await made.alice.exclude_insecure_devices()
        yield made


@pytest.fixture
async def bob(both: Both) -> AsyncIterator[Socket]:
    async with seated(both.scene, "bob", both.war_room) as socket:
        yield socket


@pytest.fixture
async def hers(both: Both) -> AsyncIterator[Socket]:
    async with seated(both.scene, "alice", both.war_room) as socket:
        yield socket


async def event_of(both: Both, message: Mapping[str, Any]) -> Event:
    """A message of the web as the client reads it, without a shield."""
    found = await both.until(message["id"], "its event", lambda one: one["external_message_id"])
    event = await both.alice.wait_for(room=both.room, event_id=found["external_message_id"])
    assert event.wire_type == "m.room.encrypted"
    assert (await both.alice.shield(both.room, event.event_id)).clean, event
    return event


def relation(event: Event) -> dict[str, Any]:
    return dict(event.relates_to or event.content["m.relates_to"])


async def replies(both: Both, message_id: str) -> list[str]:
    found = await both.page.get("bob", f"war-room-messages/{message_id}/replies/")
    return [one["content"] for one in found["results"]]


async def deleted(both: Both, message_id: str) -> None:
    async def look() -> bool:
        return (await both.page.call("bob", "GET", f"war-room-messages/{message_id}/"))[0] == 404

    await eventually(look, "the message to go")


async def test_texts_with_markdown_and_code(both: Both, bob: Socket, hers: Socket) -> None:
    text = "{} **loud** `x < 1`\n\n```py\nif x < 1:\n    pass\n```"
    posted = await both.post(text.format("posted"))
    await bob.says("chat_message", content=text.format("framed"))
    for name, message in (("posted", posted), ("framed", await hers.hears_message("framed"))):
        assert message["content"] == text.format(name)
        event = await event_of(both, message)
        assert event.content["format"] == "org.matrix.custom.html"
        for html in (
            f"{name} <strong>loud</strong> <code>x &lt; 1</code>",
            "if x &lt; 1:\n    pass\n</code></pre>",
        ):
            assert html in event.content["formatted_body"]
        assert "if x < 1:" in event.body
    native = {"msgtype": "m.text", "body": text.format("native"), "format": "org.matrix.custom.html"}
    await both.alice.send(both.room, native | {"formatted_body": "native <strong>loud</strong>"})
    told = await bob.hears_message("native")
    assert (told["content"], told["sender_username"]) == (native["body"], "alice")
    assert (await both.by_text("native **loud**"))["id"] == told["id"]


async def test_edits_and_deletions(both: Both, bob: Socket, hers: Socket) -> None:
    posted = await both.post("to be edited by REST")
    first = await event_of(both, posted)
    await both.do("PATCH", f"{posted['id']}/", {"content": "edited by REST"})
    told = await hers.hears("message_updated", lambda one: one["message"]["is_edited"])
    assert told["message"]["content"] == "edited by REST"
    await bob.says("edit_message", message_id=posted["id"], content="edited by a frame")
    edit = await both.alice.wait_for(room=both.room, edit_of=first.event_id, body="edited by a frame")
    assert edit.content["m.new_content"]["body"] == "edited by a frame"
    await both.do("DELETE", f"{posted['id']}/")
    assert (await hers.hears("message_deleted"))["message_id"] == posted["id"]

    async def gone() -> bool:
        seen = await both.alice.timeline(both.room, last=300)
        return any(one.event_id == first.event_id and one.redacted for one in seen)

    await eventually(gone, "the redaction in the room")

    sent = await both.alice.send(both.room, "native to be edited")
    one = (await bob.hears_message("native to be edited"))["id"]
    await both.alice.edit(both.room, sent, "native edited")
    await bob.hears("message_updated", lambda frame: frame["message"]["content"] == "native edited")
    assert (await both.page.get("bob", f"war-room-messages/{one}/"))["is_edited"]
    await both.alice.redact(both.room, sent)
    told = await bob.hears("message_deleted", lambda frame: frame["message_id"] == one)
    assert told["deleted_by_username"] == "alice"
    await deleted(both, one)


async def test_replies_and_threads_begun_on_either_side(both: Both, bob: Socket) -> None:
    alice, room = both.alice, both.room
    root = await alice.send(room, "native root")
    one = (await bob.hears_message("native root"))["id"]
    await alice.send(room, "plain reply", reply_to=root)
    assert (await bob.hears_message("plain reply"))["reply_to"] == one
    inside = await alice.send(room, "native in thread", thread=root)
    in_thread = await bob.hears_message("native in thread")
    assert in_thread["reply_to"] == one

    below = await event_of(both, await both.post("posted in thread", reply_to_id=one))
    assert (relation(below)["rel_type"], relation(below)["event_id"]) == ("m.thread", root)
    await bob.says("chat_message", content="framed to one in it", reply_to_id=in_thread["id"])
    framed = await bob.hears_message("framed to one in it")
    told = relation(await event_of(both, framed))
    assert (told["rel_type"], told["event_id"], told["m.in_reply_to"]) == ("m.thread", root, {"event_id": inside})
    assert not told.get("is_falling_back")
    await alice.send(room, "native back", thread=root)
    assert (await bob.hears_message("native back"))["reply_to"] == one
    found = await both.page.get("bob", f"war-room-messages/{one}/")
    said = ["plain reply", "native in thread", "posted in thread", "framed to one in it", "native back"]
    assert (await replies(both, one), found["reply_count"]) == (said, len(said))

    ours = await both.post("web root")
    its_event = (await event_of(both, ours)).event_id
    answer = await alice.send(room, "native answer", reply_to=its_event)
    assert replied_to(await alice.wait_for(room=room, event_id=answer)) == its_event
    await alice.send(room, "native below", thread=its_event)
    assert (await bob.hears_message("native below"))["reply_to"] == ours["id"]
    assert await replies(both, ours["id"]) == ["native answer", "native below"]


async def test_reactions_one_per_person_and_emoji(both: Both, bob: Socket, hers: Socket) -> None:
    alice, room = both.alice, both.room
    sent = await alice.send(room, "worth a sign")
    one = (await bob.hears_message("worth a sign"))["id"]
    path = f"war-room-messages/{one}"
    assert [(await both.page.call("bob", "POST", f"{path}/add_reaction/", {"emoji": THUMB}))[0] for _ in "12"] == [
        201,
        200,
    ]
    ghosts = await alice.wait_for(room=room, sender=both.ghost, type="m.reaction", relates_to=sent)
    hers_too = await alice.react(room, sent, THUMB)
    await bob.hears("reaction", lambda frame: frame["user"]["username"] == "alice")
    assert (await both.page.call("alice", "POST", f"{path}/add_reaction/", {"emoji": THUMB}))[0] == 200
    await alice.react(room, sent, CHECK)
    told = await hers.hears("reaction", lambda frame: frame["emoji"] == CHECK)
    assert [(group["emoji"], group["users"], group["reacted_by_me"]) for group in told["reactions"]] == [
        (THUMB, ["bob", "alice"], True),
        (CHECK, ["alice"], True),
    ]
    await both.do("POST", f"{path.removeprefix('war-room-messages/')}/remove_reaction/", {"emoji": THUMB})
    await until_gone(both, ghosts.event_id)
    await hers.says("reaction", message_id=one, emoji=THUMB, action="remove")
    await until_gone(both, hers_too)
    found = await both.until(one, "one sign", lambda shown: len(shown["reactions"]) == 1)
    assert (found["reactions"][0]["emoji"], found["reactions"][0]["count"]) == (CHECK, 1)


async def until_gone(both: Both, event_id: str) -> None:
    async def look() -> bool:
        seen = await both.alice.timeline(both.room, last=300)
        return any(one.event_id == event_id and one.redacted for one in seen)

    await eventually(look, f"the redaction of {event_id}")


async def pinned(both: Both) -> list[str]:
    found: list[str] = (await both.alice.room_state(both.room, PINS))["pinned"]
    return found


async def pin(both: Both, events: list[str]) -> None:
    """As Element does: all of the list, as this client knows it."""
    await both.alice.http("PUT", f"/rooms/{quote(both.room)}/state/{PINS}", body={"pinned": events})


async def test_pins_of_both_sides_are_merged_in_order(both: Both, bob: Socket) -> None:
    [card] = await pinned(both)
    sent = await both.alice.send(both.room, "pinned natively")
    one = (await bob.hears_message("pinned natively"))["id"]
    await pin(both, [card, sent])
    told = await bob.hears("message_pinned", lambda frame: frame["message_id"] == one)
    assert (told["is_pinned"], told["user"]["username"]) == (True, "alice")
    web = [await both.post(f"pinned by the web {number}") for number in range(4)]
    events = [(await event_of(both, message)).event_id for message in web]
    more = [await both.alice.send(both.room, f"pinned meanwhile {number}") for number in range(2)]

    async def natively() -> None:
        # Each over the list from before any of it.
        for event_id in more:
            await pin(both, [card, sent, event_id])

    await asyncio.gather(natively(), *(both.do("POST", f"{row['id']}/pin_message/") for row in web))
    wanted = {card, sent, *events, *more}

    async def merged() -> bool:
        rows = (await both.page.get("bob", f"war-rooms/{both.war_room}/pinned_messages/"))["results"]
        ids = {row["external_message_id"] for row in rows}
        return set(await pinned(both)) == ids == wanted

    await eventually(merged, "all pins on both sides")
    await both.scene.idle()
    assert (await pinned(both))[:2] == [card, sent]
    rows = (await both.page.get("bob", f"war-rooms/{both.war_room}/pinned_messages/"))["results"]
    by = {row["external_message_id"]: row["pinned_by_username"] for row in rows}
    assert [by[event_id] for event_id in (*events, *more)] == ["bob"] * 4 + ["alice"] * 2
    at = [row["pinned_at"] for row in rows]
    assert at == sorted(at, reverse=True), "the latest first"

    await pin(both, [one for one in await pinned(both) if one != sent])
    told = await bob.hears("message_pinned", lambda frame: frame["message_id"] == one and not frame["is_pinned"])
    assert told["user"]["username"] == "alice"
    rows = (await both.page.get("bob", f"war-rooms/{both.war_room}/pinned_messages/"))["results"]
    assert one not in {row["id"] for row in rows}

    await pin(both, [one for one in await pinned(both) if one != card])

    async def put_back() -> bool:
        shown = await pinned(both)
        return shown[0] == card

    await eventually(put_back, "the card to be put back")
    await both.do("POST", f"{web[0]['id']}/unpin_message/")

    async def unpinned() -> bool:
        return events[0] not in await pinned(both)

    await eventually(unpinned, "the unpin in the room")


async def test_mentions_ring_on_both_sides(both: Both, bob: Socket, hers: Socket) -> None:
    alice, room, scene = both.alice, both.room, both.scene
    async with PushGateway.open() as phone, scene.plain("alice") as plain:
        await phone.register(plain)
        posted = await both.post("@alice posted this")
        await bob.says("chat_message", content="@alice framed this")
        for message in (posted, await hers.hears_message("framed this")):
            assert [one["username"] for one in message["mentioned_users"]] == ["alice"]
            event = await event_of(both, message)
            assert event.content["m.mentions"] == {"user_ids": [alice.user_id]}
            await phone.until(event.event_id)
            told = await hers.hears("notification")
            assert (told["notification_type"], told["data"]["message_id"]) == ("MENTION", message["id"])
        await _forget(plain)
    for number, user_id in enumerate((both.ghost, scene.mxid("bob"))):
        text = f"bob, look {number}"
        await alice.send(room, {"msgtype": "m.text", "body": text, "m.mentions": {"user_ids": [user_id]}})
        message = await bob.hears_message(text)
        assert [one["username"] for one in message["mentioned_users"]] == ["bob"]
        assert message["notify_mentioned"]
        told = await bob.hears("notification")
        assert (told["notification_type"], told["data"]["message_id"]) == ("MENTION", message["id"])
        assert "look" not in json.dumps(told)
        assert (await both.by_text(text))["mentioned_users"] == message["mentioned_users"]


async def _forget(person: MatrixUser) -> None:
    body = {"kind": None, "app_id": "org.etb.test", "pushkey": f"phone of {person.user_id}"}
    await person.request("POST", "/_matrix/client/v3/pushers/set", body)


def png() -> bytes:
    out = io.BytesIO()
    Image.effect_noise((900, 300), 60).save(out, "PNG")
    return out.getvalue()


def of_file(name: str) -> Holds:
    return lambda one: one["file"]["filename"] == name


async def test_files_images_and_voice(both: Both, bob: Socket, hers: Socket) -> None:
    alice, room, content = both.alice, both.room, png()
    for number, by_frame in enumerate((False, True)):
        status, file = await uploaded(both.scene, "bob", content, f"web{number}.png", war_room_id=both.war_room)
        assert status == 201
        assert (file["external_data"]["width"], file["external_data"]["height"]) == (900, 300)
        text = f"see the picture {number}"
        if by_frame:
            await bob.says("chat_message", content=text, message_type="FILE", attachment_ids=[file["id"]])
        else:
            await both.post(text, message_type="FILE", attachment_ids=[file["id"]])
        message = await hers.hears_message(text)
        assert [one["id"] for one in message["attachments"]] == [file["id"]]
        assert (await hers.hears("file_shared", of_file(file["filename"])))["message_id"] == message["id"]
        await event_of(both, message)
        event = await alice.wait_for(room=room, sender=both.ghost, body=f"web{number}.png")
        assert (await alice.shield(room, event.event_id)).clean
        info = event.content["info"]
        assert (event.content["msgtype"], info["w"], info["h"]) == ("m.image", 900, 300)
        assert await alice.download(event.content["file"]) == content
        with Image.open(io.BytesIO(await alice.download(info["thumbnail_file"]))) as small:
            assert small.size == (info["thumbnail_info"]["w"], info["thumbnail_info"]["h"])

    sound = b"OggS" + bytes(400)
    said = {"war_room_id": both.war_room, "send_now": "true", "is_voice": "true", "duration_ms": "2500"}
    status, file = await uploaded(both.scene, "bob", sound, "spoken.ogg", **said)
    assert (status, file["mime_type"]) == (201, "audio/ogg")
    assert {"duration_ms": 2500, "is_voice": True}.items() <= file["external_data"].items()
    event = await alice.wait_for(room=room, sender=both.ghost, body="spoken.ogg")
    assert (event.content["msgtype"], event.content["info"]["duration"]) == ("m.audio", 2500)
    assert event.content["org.matrix.msc3245.voice"] == {}
    assert await alice.download(event.content["file"]) == sound

    thumbnail = await alice.upload(b"small", name="t.png", mime="image/png")
    native = {
        "msgtype": "m.image",
        "body": "what I see",
        "filename": "native.png",
        "file": await alice.upload(content, name="native.png", mime="image/png"),
        "info": {
            "w": 900,
            "h": 300,
            "size": len(content),
            "mimetype": "image/png",
            "thumbnail_file": thumbnail,
        },
    }
    await alice.send(room, native)
    voice = {
        "msgtype": "m.audio",
        "body": "voice.ogg",
        "file": await alice.upload(b"OggS" + bytes(500), name="voice.ogg", mime="audio/ogg"),
        "info": {"duration": 1500, "mimetype": "audio/ogg"},
        "org.matrix.msc3245.voice": {},
    }
    await alice.send(room, voice)
    for text, name, kept in (
        ("what I see", "native.png", content),
        ("voice.ogg", "voice.ogg", b"OggS" + bytes(500)),
    ):
        message = await bob.hears_message(text)
        assert message["message_type"] == "FILE"
        told = await bob.hears("file_shared", of_file(name))
        [file] = (await both.page.get("bob", f"war-room-messages/{message['id']}/"))["attachments"]
        assert (told["message_id"], told["file"]["id"]) == (message["id"], file["id"])
        about = {key: value for key, value in file["external_data"].items() if key not in {"url", "permalink"}}
        is_picture = name == "native.png"
        assert about == ({"width": 900, "height": 300} if is_picture else {"duration_ms": 1500, "is_voice": True})
        assert await fetched(both.scene, "bob", f"{file['id']}/download/") == (200, kept)


async def test_polls_and_places_are_readable_texts(both: Both, bob: Socket) -> None:
    alice, room = both.alice, both.room
    await alice.send(room, {"msgtype": "m.location", "body": "Hall 4", "geo_uri": "geo:52.5,13.4"})
    place = await bob.hears_message("Hall 4")
    assert place["content"] == "Location: Hall 4 (geo:52.5,13.4)"
    answers = [{"id": name, TEXT: text} for name, text in (("y", "Yes"), ("n", "No"))]
    start = {"kind": f"{POLL}.disclosed", "question": {TEXT: "Roll back?"}, "answers": answers}
    asked = await alice.send(room, {f"{POLL}.start": start, TEXT: "Roll back?"}, type=f"{POLL}.start")
    poll = await bob.hears_message("Roll back?")
    assert poll["content"] == "Poll: Roll back?\n1. Yes\n2. No"
    about = {"m.relates_to": {"rel_type": "m.reference", "event_id": asked}}
    await alice.send(room, about | {f"{POLL}.response": {"answers": ["y"]}}, type=f"{POLL}.response")
    await bob.hears("message_updated", lambda one: "1. Yes (1)" in one["message"]["content"])
    await alice.send(room, about | {f"{POLL}.end": {}, TEXT: "ended"}, type=f"{POLL}.end")
    found = await both.until(poll["id"], "the end", lambda one: one["content"].endswith("The poll has ended."))
    assert "1. Yes (1)\n2. No (0)" in found["content"]
    assert (await both.by_text("Hall 4"))["content"] == place["content"]


async def test_long_texts(both: Both, bob: Socket, hers: Socket) -> None:
    text = "a line of a log\n" * 3800
    await bob.says("chat_message", content=text)
    message = (await hers.hears("chat_message", lambda one: one["message"]["message_type"] == "FILE"))["message"]
    event = await event_of(both, message)
    assert (await both.alice.download(event.content["file"])).decode() == text
    [file] = (await both.page.get("bob", f"war-room-messages/{message['id']}/"))["attachments"]
    assert await fetched(both.scene, "alice", f"{file['id']}/download/") == (200, text.encode())
    native = "a native line\n" * 2800
    await both.alice.send(both.room, native)
    assert (await bob.hears_message("a native line"))["content"] == native
    assert (await both.by_text("a native line"))["content"] == native


async def test_nothing_of_a_ghost_has_a_shield_or_comes_back(both: Both) -> None:
    """With insecure devices excluded, and without: what isn't clean isn't read at all by the first."""
    message = await both.post("the last word")
    await event_of(both, message)
    for excludes in (True, False):
        await both.alice.exclude_insecure_devices(on=excludes)
        seen = await both.alice.timeline(both.room, last=500)
        said = [one for one in seen if one.sender == both.ghost and one.encrypted and not one.redacted]
        assert said
        for one in said:
            assert one.failure is None
            assert (await both.alice.shield(both.room, one.event_id)).clean, one
    texts = [one.body for one in said if one.body == "the last word"]
    assert texts == ["the last word"]
    rows = (await both.page.get("bob", f"war-rooms/{both.war_room}/messages/?page_size=100"))["results"]
    named = [row["external_message_id"] for row in rows if row["external_message_id"]]
    assert len(named) == len(set(named))
    assert [row["content"] for row in rows].count("the last word") == 1

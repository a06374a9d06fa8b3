"""The WebSocket of a running service, against a client with Rust crypto, and every call of the seed.

What is seen here is seen by the served socket, the served API or matrix-js-sdk; nothing looks into the service.
"""

import asyncio
import io
import itertools
import json
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from PIL import Image

from etb_appservice.domain.ids import IncidentId, war_room_id
from etb_appservice.gateway.links import PREFIXES
from tests.harness.jsclient import JsClient
from tests.harness.sandbox import seeded_id, token_of
from tests.harness.scene import Scene, eventually
from tests.integration.service.test_both_ways import CHECK, THUMB, Both, begun
from tests.integration.service.test_chat_api import Web, web

WAIT_S = 30.0
PINS = "m.room.pinned_events"
_LOOKS = itertools.count(1)
Holds = Callable[[dict[str, Any]], object]


def of_text(text: str) -> Holds:
    """Frames of messages in which this stands."""
    return lambda one: text in one["message"]["content"]


class Socket:
    """ETB's page at an open socket."""

    def __init__(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        self._ws = ws
        self.rest: list[dict[str, Any]] = []
        """What it was told and nobody has asked for."""
        self.order: list[str] = []
        """Ids of messages, as they were told of."""

    async def says(self, kind: str, **frame: Any) -> None:
        await self._ws.send_json({"type": kind, **frame})

    async def sends(self, text: str) -> None:
        """A frame as it stands."""
        await self._ws.send_str(text)

    async def hears(self, kind: str | Collection[str], holds: Holds = bool) -> Any:
        """The first frame of a kind that fits, also one that came before others that were asked for."""
        kinds = {kind} if isinstance(kind, str) else kind
        for number, frame in enumerate(self.rest):
            if frame["type"] in kinds and holds(frame):
                return self.rest.pop(number)
        try:
            async with asyncio.timeout(WAIT_S):
                while (frame := await self.next())["type"] not in kinds or not holds(frame):
                    assert frame["type"] != "error", frame
                    self.rest.append(frame)
        except TimeoutError:
            raise AssertionError(f"waited in vain for {kind}; there came {self.rest}") from None
        return frame

    async def hears_message(self, text: str) -> Any:
        """A message with this text, whose key may have come after it."""
        kinds = {"chat_message", "message_updated"}
        return (await self.hears(kinds, of_text(text)))["message"]

    async def ends(self) -> int:
        """The code it is closed with, whatever was told before."""
        async with asyncio.timeout(WAIT_S):
            while (message := await self._ws.receive()).type is aiohttp.WSMsgType.TEXT:
                pass
        assert message.type is aiohttp.WSMsgType.CLOSE, message
        return int(message.data)

    async def next(self) -> dict[str, Any]:
        """The next frame, whatever it is."""
        message = await self._ws.receive()
        assert message.type is aiohttp.WSMsgType.TEXT, (message, self._ws.close_code)
        frame: dict[str, Any] = json.loads(message.data)
        if frame["type"] == "chat_message":
            self.order.append(frame["message"]["id"])
        return frame


@asynccontextmanager
async def connected(scene: Scene, who: str, war_room: str) -> AsyncIterator[Socket]:
    """Upgraded, whatever is told then."""
    address = f"http://127.0.0.1:{scene.service.public_port}/ws/chat/{war_room}/"
    headers = {"Authorization": f"Token {token_of(who)}"}
    async with aiohttp.ClientSession() as http, http.ws_connect(address, headers=headers) as ws:
        yield Socket(ws)


@asynccontextmanager
async def seated(scene: Scene, who: str, war_room: str) -> AsyncIterator[Socket]:
    """Let in."""
    async with connected(scene, who, war_room) as socket:
        first = await socket.hears("connection_established")
        assert (first["room_id"], first["protocol"]) == (war_room, 1)
        assert first["user"] == {"id": seeded_id("user", who), "username": who}
        yield socket


async def ready(scene: Scene, page: Web, title: str) -> Both:
    """A room with alice in it, of which nothing is told any more unless somebody does something."""
    both = await begun(scene, page, title)
    await scene.card(both.alice, both.room)
    await scene.idle()
    return both


async def passing(client: JsClient, room: str) -> dict[str, Any]:
    """What is not kept of a room, by type: who types, who has read.

    Each look is another question: Synapse answers the same one from its memory. None goes on from where another
    one ended: the keys that wait for the device stay for its own sync.
    """
    wanted = {"room": {"rooms": [room], "timeline": {"limit": next(_LOOKS)}}}
    found = await client.http("GET", "/sync", query={"filter": json.dumps(wanted), "timeout": "0"})
    return {one["type"]: one["content"] for one in found["rooms"]["join"][room]["ephemeral"]["events"]}


# --- from the socket to Matrix ------------------------------------------------------------------------------


async def test_the_seeds_samples_are_served_as_they_stand_and_native_in_matrix(scene: Scene) -> None:
    async with web(scene) as page:
        both = await ready(scene, page, "Checkout is slow")
        alice, room = both.alice, both.room
        async with seated(scene, "bob", both.war_room) as bob, seated(scene, "alice", both.war_room) as hers:
            await bob.sends('{"type": "chat_message", "content": "Hello team!", "message_type": "TEXT"}')
            frame = await bob.hears("chat_message", of_text("Hello team!"))
            message = frame["message"]
            assert (message["content"], message["message_type"]) == ("Hello team!", "TEXT")
            assert (message["sender_username"], message["war_room"]) == ("bob", both.war_room)
            assert "client_id" not in frame
            assert (await hers.hears_message("Hello team!"))["id"] == message["id"]
            heard = await both.heard("Hello team!")
            assert (heard.content["msgtype"], heard.wire_type) == ("m.text", "m.room.encrypted")

            # He has come in with his first word, in Matrix by his ghost.
            told = await hers.hears("user_joined")
            assert told["user"] == person("bob")

            await bob.sends(
                f'{{"type": "reaction", "message_id": "{message["id"]}", "emoji": "{THUMB}", "action": "add"}}'
            )
            for socket, is_mine in ((bob, True), (hers, False)):
                told = await socket.hears("reaction")
                assert (told["message_id"], told["emoji"], told["action"]) == (message["id"], THUMB, "add")
                assert told["user"] == {"id": seeded_id("user", "bob"), "username": "bob"}
                group = {"emoji": THUMB, "count": 1, "users": ["bob"], "reacted_by_me": is_mine}
                assert told["reactions"] == [group]
            reaction = await alice.wait_for(room=room, sender=both.ghost, type="m.reaction")
            relation = reaction.relates_to or reaction.content["m.relates_to"]
            assert relation == {"rel_type": "m.annotation", "event_id": heard.event_id, "key": THUMB}
            assert (await alice.shield(room, reaction.event_id)).colour in {None, "NONE"}

            await bob.says("reaction", message_id=message["id"], emoji=THUMB, action="remove")
            told = await hers.hears("reaction")
            assert (told["action"], told["reactions"]) == ("remove", [])
            await until_redacted(alice, room, reaction.event_id)
            assert [one for one in hers.rest if one["type"] in {"user_joined", "user_left"}] == []


async def until_redacted(client: JsClient, room: str, event_id: str) -> None:
    async def look() -> bool:
        return any(one.event_id == event_id and one.redacted for one in await client.timeline(room, last=100))

    await eventually(look, f"the redaction of {event_id}")


async def test_what_is_asked_for_by_frames_is_done_in_matrix(scene: Scene) -> None:
    async with web(scene) as page:
        both = await ready(scene, page, "Search is slow")
        alice, room = both.alice, both.room
        async with seated(scene, "bob", both.war_room) as bob, seated(scene, "alice", both.war_room) as hers:
            await bob.says("chat_message", content="first", client_id="mine")
            frame = await bob.hears("chat_message", of_text("first"))
            assert frame["client_id"] == "mine"
            assert "client_id" not in await hers.hears("chat_message", of_text("first"))
            first = frame["message"]["id"]
            heard = await both.heard("first")
            await bob.says("chat_message", content="below @alice", reply_to_id=first)
            below = await hers.hears_message("below @alice")
            assert (below["reply_to"], [one["username"] for one in below["mentioned_users"]]) == (first, ["alice"])
            threaded = await both.heard("below @alice")
            relation = threaded.relates_to or threaded.content["m.relates_to"]
            assert (relation["rel_type"], relation["event_id"]) == ("m.thread", heard.event_id)
            assert threaded.content["m.mentions"] == {"user_ids": [alice.user_id]}

            await bob.says("edit_message", message_id=first, content="first of all")
            await hers.hears("message_updated", lambda one: one["message"]["content"] == "first of all")
            edit = await alice.wait_for(room=room, sender=both.ghost, edit_of=heard.event_id)
            assert edit.content["m.new_content"]["body"] == "first of all"
            assert (await alice.shield(room, edit.event_id)).clean

            for kind, is_pinned in (("pin_message", True), ("unpin_message", False)):
                await bob.says(kind, message_id=first)
                told = await hers.hears("message_pinned", lambda one: one["message_id"] == first)
                assert (told["is_pinned"], told["user"]["username"]) == (is_pinned, "bob")

                async def shows(is_pinned: bool = is_pinned) -> bool:
                    pinned = (await alice.room_state(room, PINS))["pinned"]
                    return (heard.event_id in pinned) is is_pinned

                await eventually(shows, f"{kind} in the room")

            await bob.says("typing", is_typing=True)
            assert (await hers.hears("typing"))["is_typing"]

            await eventually(lambda: shows_typing(alice, room, [both.ghost]), "bob to type in the room")
            await bob.says("typing", is_typing=False)
            assert not (await hers.hears("typing"))["is_typing"]
            await eventually(lambda: shows_typing(alice, room, []), "bob to type no more")

            await bob.says("read", message_id=below["id"])
            told = await hers.hears("read")
            assert (told["user"]["username"], told["message_id"]) == ("bob", below["id"])

            async def read() -> bool:
                receipts = (await passing(alice, room)).get("m.receipt", {})
                return both.ghost in receipts.get(threaded.event_id, {}).get("m.read", {})

            await eventually(read, "bob's receipt in the room")


async def test_commands_and_the_history_are_asked_for_by_frames(scene: Scene) -> None:
    async with web(scene) as page:
        both = await ready(scene, page, "Mail is slow")
        alice, room = both.alice, both.room
        async with seated(scene, "bob", both.war_room) as bob:
            await bob.says("ping", nonce=7)
            assert (await bob.hears("pong"))["nonce"] == 7

            await bob.says("command", command_text="/status")
            run = (await bob.hears("command_result"))["command"]
            assert (run["command_type"], run["execution_status"]) == ("STATUS", "SUCCESS")
            assert (run["executed_by_username"], run["command_text"]) == ("bob", "/status")
            asked = await both.heard("/status")
            answer = await alice.wait_for(room=room, sender=scene.bot, reply_to=asked.event_id)
            assert "Mail is slow" in answer.body
            told = await bob.hears("chat_message", lambda one: one["message"]["message_type"] == "BOT")
            assert "Mail is slow" in told["message"]["content"]

            await bob.says("chat_message", content="/help")
            kept = await bob.hears_message("/help")
            assert kept["message_type"] == "COMMAND"
            await bob.says("execute_command", message_id=kept["id"])
            run = (await bob.hears("command_result"))["command"]
            assert (run["message"], run["execution_status"]) == (kept["id"], "SUCCESS")
            asked = await both.heard("/help")
            await alice.wait_for(room=room, sender=scene.bot, reply_to=asked.event_id)
            helped = await bob.hears("chat_message", lambda one: one["message"]["message_type"] == "BOT")

            await bob.says("history", before=None, limit=2, client_id="page")
            page_1 = await bob.hears("history")
            assert (page_1["has_more"], page_1["client_id"]) == (True, "page")
            assert [one["id"] for one in page_1["messages"]] == [kept["id"], helped["message"]["id"]]
            await bob.says("history", before=kept["id"], limit=100)
            page_2 = await bob.hears("history")
            assert not page_2["has_more"]
            ids = [one["id"] for one in page_2["messages"] + page_1["messages"]]
            assert ids[-len(bob.order) :] == bob.order, "told in the order of the record"


# --- from Matrix to the socket ------------------------------------------------------------------------------


async def test_what_a_client_does_in_matrix_is_told_on_the_socket(scene: Scene) -> None:
    async with web(scene) as page:
        both = await ready(scene, page, "Queue is full")
        alice, room = both.alice, both.room
        async with seated(scene, "bob", both.war_room) as bob:
            sent = await alice.send(room, "from my client")
            message = await bob.hears_message("from my client")
            assert (message["sender_username"], message["external_message_id"]) == ("alice", sent)
            assert (message["message_type"], message["sender"]) == ("TEXT", seeded_id("user", "alice"))
            one = message["id"]

            await alice.send(room, "in its thread", thread=sent)
            assert (await bob.hears_message("in its thread"))["reply_to"] == one

            await alice.edit(room, sent, "as I meant it")
            told = await bob.hears("message_updated", lambda frame: frame["message"]["is_edited"])
            assert (told["message"]["id"], told["message"]["content"]) == (one, "as I meant it")

            reaction = await alice.react(room, sent, CHECK)
            told = await bob.hears("reaction")
            assert (told["message_id"], told["emoji"], told["action"]) == (one, CHECK, "add")
            assert told["user"]["username"] == "alice"
            await alice.redact(room, reaction)
            told = await bob.hears("reaction")
            assert (told["action"], told["reactions"]) == ("remove", [])

            await pins(alice, room, sent)
            told = await bob.hears("message_pinned", lambda frame: frame["message_id"] == one)
            assert (told["is_pinned"], told["user"]["username"]) == (True, "alice")

            asked = await alice.send(room, "!status")
            run = (await bob.hears("command_result"))["command"]
            assert (run["command_type"], run["executed_by_username"]) == ("STATUS", "alice")
            command = await bob.hears_message("!status")
            assert (command["message_type"], command["external_message_id"]) == ("COMMAND", asked)

            await alice.redact(room, sent)
            told = await bob.hears("message_deleted")
            assert (told["message_id"], told["deleted_by_username"]) == (one, "alice")

            await alice.leave(room)
            told = await bob.hears("user_left")
            assert told["user"] == person("alice")

            incident = (await page.get("bob", f"war-rooms/{both.war_room}/"))["incident"]
            await scene.etb.patch(incident, status="IN_PROGRESS")
            told = await bob.hears("incident_updated")
            assert (told["incident"]["id"], told["incident"]["status"]) == (incident, "IN_PROGRESS")
            assert told["changed"] == ["status"]
            told = await bob.hears("notification", lambda one: one["notification_type"] != "MENTION")
            assert told["notification_type"] == "INCIDENT_STATUS_CHANGED"


async def test_who_types_and_reads_in_matrix_is_told_on_the_socket(scene: Scene) -> None:
    async with web(scene) as page:
        both = await ready(scene, page, "Backup is late")
        alice, room = both.alice, both.room
        async with seated(scene, "bob", both.war_room) as bob, seated(scene, "alice", both.war_room) as hers:
            await bob.says("chat_message", content="look at this")
            one = (await hers.hears_message("look at this"))["id"]
            heard = await both.heard("look at this")
            below = await both.post("and at this", reply_to_id=one)
            threaded = await both.heard("and at this")

            await alice.typing(room)
            told = await bob.hears("typing")
            assert told == {"type": "typing", "user": person("alice"), "is_typing": True}
            await alice.typing(room, is_typing=False)
            assert not (await bob.hears("typing"))["is_typing"]

            await alice.read(room, heard.event_id, private=True)
            await alice.read(room, threaded.event_id, thread=heard.event_id)
            told = await bob.hears("read")
            assert told == {"type": "read", "user": person("alice"), "message_id": below["id"]}
            await alice.read(room, heard.event_id, thread="main")
            assert (await bob.hears("read"))["message_id"] == one

            # What bob does goes to Matrix as his ghost's, and must not come back from there as somebody's.
            await bob.says("typing", is_typing=True)
            assert (await hers.hears("typing"))["user"] == person("bob")
            await eventually(lambda: shows_typing(alice, room, [both.ghost]), "bob to type in the room")
            await bob.says("read", message_id=below["id"])
            await hers.hears("read", lambda one: one["user"] == person("bob"))
            await bob.says("typing", is_typing=False)
            await eventually(lambda: shows_typing(alice, room, []), "bob to type no more")
            last = await alice.send(room, "the end")
            end = (await bob.hears_message("the end"))["id"]
            await alice.read(room, last)
            for socket in (bob, hers):
                told = await socket.hears("read", lambda one: one["message_id"] == end)
                assert told["user"] == person("alice")
            assert [
                one for one in bob.rest if one["type"] in {"typing", "read"} and one["user"] != person("bob")
            ] == []
            typed = [one for one in hers.rest if one["type"] == "typing"]
            assert [(one["user"]["username"], one["is_typing"]) for one in typed] == [("bob", False)], (
                "not told of herself, and of bob by his socket alone"
            )
        status, text = await scene.service.get("/ready")
        assert (status, json.loads(text)["parts"]["typing"]["well"]) == (200, True)


async def test_a_ghost_that_was_made_before_a_restart_types_and_reads_at_once(scene: Scene) -> None:
    async with web(scene) as page:
        both = await ready(scene, page, "Cache is cold")
        said = await both.post("before the restart")
        heard = await both.heard("before the restart")
        picture = await picture_of(both.alice, both.ghost)
        with Image.open(io.BytesIO(await both.alice.download({"url": picture}))) as image:
            assert (image.format, image.size) == ("PNG", (256, 256))
        await scene.idle()
    await scene.service.stop()
    await scene.service.run()
    async with seated(scene, "bob", both.war_room) as bob, seated(scene, "alice", both.war_room) as hers:
        await bob.says("typing", is_typing=True)
        await eventually(lambda: shows_typing(both.alice, both.room, [both.ghost]), "bob to type in the room")
        await bob.says("read", message_id=said["id"])
        await hers.hears("read")

        async def read() -> bool:
            receipts = (await passing(both.alice, both.room)).get("m.receipt", {})
            return both.ghost in receipts.get(heard.event_id, {}).get("m.read", {})

        await eventually(read, "bob's receipt in the room")
        await hers.says("typing", is_typing=True)
        await bob.hears("typing", lambda one: one["user"] == person("alice"))
        assert await shows_typing(both.alice, both.room, [both.ghost]), "alice has no ghost and gets none for that"
        await bob.says("chat_message", content="after the restart")
        await both.heard("after the restart")
        assert await picture_of(both.alice, both.ghost) == picture


async def picture_of(client: JsClient, user_id: str) -> str:
    return str((await client.http("GET", f"/profile/{quote(user_id)}"))["avatar_url"])


def person(username: str) -> dict[str, str]:
    return {"id": seeded_id("user", username), "username": username}


async def shows_typing(client: JsClient, room: str, who: list[str]) -> bool:
    return bool((await passing(client, room)).get("m.typing", {"user_ids": []})["user_ids"] == who)


async def pins(client: JsClient, room: str, event_id: str) -> None:
    """Any member pins one more message, as Element does."""
    shown = (await client.room_state(room, PINS))["pinned"]
    await client.http("PUT", f"/rooms/{quote(room)}/state/{PINS}", body={"pinned": [*shown, event_id]})


# --- a right that is withdrawn ------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["clearance", "account", "level"])
async def test_a_right_that_etb_takes_away_ends_the_socket_within_a_poll(scene: Scene, what: str) -> None:
    """A token is asked about once a minute here, so that it is the poll that ends it."""
    incident = await scene.etb.declare(title=f"Down: {what}", severity="LOW", reporter="alice", assignee="bob")
    await scene.room_of(incident)
    one = war_room_id(IncidentId(incident["id"]))
    async with web(scene) as page, seated(scene, "bob", one) as bob, seated(scene, "alice", one) as hers:
        await page.get("bob", f"war-rooms/{one}/messages/")
        try:
            match what:
                case "clearance":
                    await scene.etb.set_clearance("bob", "PUBLIC")
                case "account":
                    await scene.etb.set_user("bob", is_locked=True)
                case _:
                    await scene.etb.patch(incident["id"], data_classification="RESTRICTED")
            assert await bob.ends() == 4403
            for path in (f"war-rooms/{one}/", f"war-rooms/{one}/messages/"):
                status, answer = await page.call("bob", "GET", path)
                assert (status, answer["code"]) == (404, "not_found")
            body = {"war_room_id": one, "content": "still here"}
            assert (await page.call("bob", "POST", "war-room-messages/", body))[0] in {400, 404}
            async with connected(scene, "bob", one) as again:
                assert await again.ends() == 4403
            await hers.says("ping", nonce="here")
            assert (await hers.hears("pong"))["nonce"] == "here"
        finally:
            await scene.etb.set_user("bob", is_locked=False, clearance="CONFIDENTIAL")


# --- the calls of the seed ----------------------------------------------------------------------------------


async def upload(scene: Scene, prefix: str, war_room: str) -> tuple[int, Any]:
    form = aiohttp.FormData({"war_room_id": war_room}, quote_fields=False)
    form.add_field("file", io.BytesIO(b"queue: full\n"), filename="queue.log", content_type="text/plain")
    address = f"http://127.0.0.1:{scene.service.public_port}{prefix}chat-files/"
    headers = {"Authorization": f"Token {token_of('bob')}"}
    async with aiohttp.ClientSession() as http, http.post(address, data=form, headers=headers) as answer:
        return answer.status, await answer.json()


@pytest.mark.parametrize("prefix", PREFIXES)
async def test_all_twelve_calls_of_the_seed_answer(scene: Scene, prefix: str) -> None:
    incident = await scene.etb.declare(title="Wiki is slow", severity="LOW", reporter="alice", assignee="bob")
    one = war_room_id(IncidentId(incident["id"]))
    await scene.room_of(incident)
    await scene.idle()  # its creation has been answered
    async with web(scene, prefix) as page:
        posts = Posts(page)
        listed = await page.get("bob", f"war-rooms/?incident={incident['id']}")
        assert [row["id"] for row in listed["results"]] == [one]
        assert (await posts(f"war-rooms/{one}/create_chat_room/", 200))["id"] == one

        said = {"war_room_id": one, "content": "/status", "message_type": "TEXT"}
        message = await posts("war-room-messages/", 201, said)
        here = f"war-room-messages/{message['id']}"
        found = await page.get("bob", f"war-rooms/{one}/messages/?search=/status")
        assert message["id"] in {row["id"] for row in found["results"]}
        assert (await posts(f"{here}/pin_message/", 200))["is_pinned"] is True
        pinned = await page.get("bob", f"war-rooms/{one}/pinned_messages/")
        assert message["id"] in {row["id"] for row in pinned["results"]}
        reaction = await posts(f"{here}/add_reaction/", 201, {"emoji": THUMB})
        assert (reaction["message"], reaction["emoji"], reaction["user_username"]) == (message["id"], THUMB, "bob")
        run = await posts(f"{here}/execute_command/", 200)
        assert (run["command_type"], run["execution_status"]) == ("STATUS", "SUCCESS")

        status, file = await upload(scene, prefix, one)
        assert (status, file["filename"], file["war_room"]) == (201, "queue.log", one)
        assert file["file_url"].startswith(prefix)
        access = await posts(f"chat-files/{file['id']}/log_access/", 201, {"access_type": "VIEW"})
        assert (access["file"], access["user_username"], access["access_type"]) == (file["id"], "bob", "VIEW")

        bots = await page.get("bob", "chat-bots/")
        answer = await posts(f"chat-bots/{bots['results'][0]['id']}/generate_response/", 503, {"message": "why?"})
        assert answer["code"] == "no_knowledge_source"


class Posts:
    """Bob's calls that do something, and what is expected of them."""

    def __init__(self, page: Web) -> None:
        self._page = page

    async def __call__(self, path: str, expected: int, body: dict[str, Any] | None = None) -> Any:
        status, found = await self._page.call("bob", "POST", path, body)
        assert status == expected, (path, status, found)
        return found

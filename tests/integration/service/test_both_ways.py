"""What is done on ETB's pages is seen natively in Matrix, and the other way round: a real service and client."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from etb_appservice.domain.ids import IncidentId, war_room_id
from tests.harness.jsclient import Event, JsClient
from tests.harness.scene import Scene, eventually
from tests.integration.service.test_chat_api import Web, shown, web

THUMB = "\N{THUMBS UP SIGN}"
CHECK = "\N{WHITE HEAVY CHECK MARK}"


@dataclass
class Both:
    """Alice at her client, bob on ETB's pages, in one room."""

    scene: Scene
    page: Web
    alice: JsClient
    room: str
    war_room: str

    @property
    def ghost(self) -> str:
        """Bob, as Matrix sees him."""
        return self.scene.synapse.mxid(f"{self.scene.slot.user_prefix.lstrip('@')}u_bob")

    async def do(self, method: str, path: str, body: Mapping[str, Any] | None = None, *, who: str = "bob") -> Any:
        status, found = await self.page.call(who, method, f"war-room-messages/{path}", body)
        assert status in {200, 201, 202}, (path, status, found)
        return found

    async def post(self, content: str, **more: Any) -> Any:
        return await self.do("POST", "", {"war_room_id": self.war_room, "content": content, **more})

    async def heard(self, body: str) -> Event:
        """What the client has read, without a shield."""
        event = await self.alice.wait_for(room=self.room, sender=self.ghost, body=body)
        shield = await self.alice.shield(self.room, event.event_id)
        assert shield.clean, (body, shield)
        return event

    async def by_text(self, text: str) -> Any:
        """A message as the API shows it."""
        found = await shown(self.page, "bob", f"war-rooms/{self.war_room}/messages/?page_size=100", text)
        return next(one for one in found["results"] if text in one["content"])

    async def until(self, message_id: str, what: str, holds: Any) -> Any:
        """The message, once it is so."""

        async def look() -> Any:
            found = await self.page.get("bob", f"war-room-messages/{message_id}/")
            return found if holds(found) else None

        return await eventually(look, what)


async def begun(scene: Scene, page: Web, title: str) -> Both:
    incident = await scene.etb.declare(title=title, severity="LOW", reporter="alice", assignee="bob")
    alice, room = await scene.enter("alice", incident)
    return Both(scene, page, alice, room, war_room_id(IncidentId(incident["id"])))


@pytest.mark.parametrize("excludes", [False, True])
async def test_what_is_done_on_etbs_pages_is_native_in_matrix(scene: Scene, excludes: bool) -> None:
    async with web(scene) as page:
        both = await begun(scene, page, f"Checkout is slow {excludes}")
        alice, room = both.alice, both.room
        await alice.exclude_insecure_devices(on=excludes)
        try:
            message = await both.post("**Hello** `world` @alice")
            heard = await both.heard("Hello world @alice")
            assert "<strong>Hello</strong>" in heard.content["formatted_body"]
            assert heard.content["m.mentions"] == {"user_ids": [alice.user_id]}
            answer = await both.post("in a thread", reply_to_id=message["id"])
            threaded = await both.heard("in a thread")
            relation = threaded.relates_to or threaded.content["m.relates_to"]
            assert (relation["rel_type"], relation["event_id"]) == ("m.thread", heard.event_id)
            assert answer["reply_to"] == message["id"]

            await both.do("PATCH", f"{message['id']}/", {"content": "Hello again"})
            edit = await alice.wait_for(room=room, sender=both.ghost, body="* Hello again")
            assert (edit.relates_to or edit.content["m.relates_to"])["event_id"] == heard.event_id
            assert (await alice.shield(room, edit.event_id)).clean

            await both.do("POST", f"{message['id']}/add_reaction/", {"emoji": THUMB})
            reaction = await alice.wait_for(room=room, sender=both.ghost, type="m.reaction")
            assert (reaction.relates_to or reaction.content["m.relates_to"])["key"] == THUMB

            await both.do("POST", f"{message['id']}/pin_message/")

            async def pinned() -> bool:
                return heard.event_id in (await alice.room_state(room, "m.room.pinned_events"))["pinned"]

            await eventually(pinned, "the pin in the room")
            shown_now = await both.do("POST", f"{message['id']}/unpin_message/")
            assert shown_now["is_pinned"] is False

            await both.do("DELETE", f"{answer['id']}/")

            async def gone() -> bool:
                seen = await alice.timeline(room, last=50)
                return any(one.event_id == threaded.event_id and one.redacted for one in seen)

            await eventually(gone, "the redaction in the room")
        finally:
            await alice.exclude_insecure_devices(on=False)


async def test_what_is_done_in_matrix_is_seen_on_etbs_pages(scene: Scene) -> None:
    async with web(scene) as page:
        both = await begun(scene, page, "Search is slow")
        alice, room = both.alice, both.room
        sent = await alice.send(room, "native")
        message = await both.by_text("native")
        assert (message["sender_username"], message["external_message_id"]) == ("alice", sent)
        await alice.edit(room, sent, "native still")
        await both.until(message["id"], "the edit", lambda one: one["content"] == "native still")
        reaction = await alice.react(room, sent, CHECK)
        await both.until(
            message["id"], "the reaction", lambda one: [r["users"] for r in one["reactions"]] == [["alice"]]
        )
        await both.do("POST", f"{message['id']}/add_reaction/", {"emoji": CHECK})
        found = await both.until(message["id"], "both", lambda one: one["reactions"][0]["count"] == 2)
        assert found["reactions"][0]["users"] == ["alice", "bob"]
        await alice.redact(room, reaction)
        await both.until(message["id"], "one", lambda one: one["reactions"][0]["users"] == ["bob"])
        await alice.redact(room, sent)

        async def gone() -> bool:
            return (await page.call("bob", "GET", f"war-room-messages/{message['id']}/"))[0] == 404

        await eventually(gone, "the message to go")


async def test_a_command_of_the_web_is_answered_in_the_room_and_here(scene: Scene) -> None:
    async with web(scene) as page:
        both = await begun(scene, page, "Mail is slow")
        message = await both.post("/status")
        run = await both.do("POST", f"{message['id']}/execute_command/")
        assert (run["command_type"], run["execution_status"]) == ("STATUS", "SUCCESS")
        heard = await both.heard("/status")
        answer = await both.alice.wait_for(room=both.room, sender=scene.bot, reply_to=heard.event_id)
        assert "Mail is slow" in str(answer.body)


async def test_a_long_text_is_a_file_that_the_client_reads(scene: Scene) -> None:
    async with web(scene) as page:
        both = await begun(scene, page, "Logs are long")
        text = "a line of a log\n" * 4000
        message = await both.post(text)
        assert message["message_type"] == "FILE"
        found = await both.until(message["id"], "its event", lambda one: one["external_message_id"])
        heard = await both.alice.wait_for(room=both.room, event_id=found["external_message_id"])
        assert heard.content["filename"] == "message.md"
        assert (await both.alice.download(heard.content["file"])).decode() == text
        assert (await both.alice.shield(both.room, heard.event_id)).clean
        [file] = found["attachments"]
        assert (file["file_size"], file["uploaded_by_username"]) == (len(text), "bob")

"""An ETB user proves which Matrix account is theirs, by a code, and is one person from then on."""

from typing import Any

from etb_appservice.domain.ids import IncidentId, war_room_id
from tests.harness.scene import Scene, eventually
from tests.integration.service.test_chat_api import shown, web

SECTIONS = {"people": {"template": ""}}
"""Nobody is known by a Matrix account before they have proved it."""


async def test_whoever_types_the_code_of_their_page_is_one_person_on_both_sides(scene: Scene) -> None:
    incident = await scene.etb.declare(title="Search is slow", severity="LOW", reporter="alice", assignee="bob")
    room = await scene.room_of(incident)
    here = f"war-rooms/{war_room_id(IncidentId(incident['id']))}"
    alice = await scene.person("alice")
    async with web(scene) as page:

        async def says(who: str, content: str) -> Any:
            body = {"war_room_id": here.rpartition("/")[2], "content": content}
            status, said = await page.call(who, "POST", "war-room-messages/", body)
            assert status == 201, said
            return said

        await says("alice", "from my page")
        assert (await page.get("alice", "link-codes/"))["source"] == "NONE"
        _, code = await page.call("alice", "POST", "link-codes/")
        assert code["bot"] == scene.bot

        await alice.create_room(is_direct=True, invite=[code["bot"]])
        direct = (await alice.wait_for_invite(inviter=scene.bot)).room_id
        await alice.join(direct)
        wrong = await scene.ask(alice, direct, "!link AAAA-BBBB-CCCC")
        assert "That is no code" in wrong.content["body"]
        answer = await scene.ask(alice, direct, code["command"])
        assert "linked to your ETB user now" in answer.content["body"]
        linked = {"username": "alice", "matrix_user_id": alice.user_id, "source": "LINKED"}
        assert await page.get("alice", "link-codes/") == linked

        assert await scene.join(alice, incident) == room
        sent = await alice.send(room, "from my client")
        rows = (await shown(page, "bob", f"{here}/messages/", "from my client"))["results"]
        by = {row["content"]: (row["sender_username"], row["external_message_id"]) for row in rows}
        assert by["from my client"] == ("alice", sent)
        assert by["from my page"][0] == "alice"
        named = await says("bob", "@alice which of the two?")
        heard = await alice.wait_for(room=room, body="@alice which of the two?")
        assert heard.content["m.mentions"] == {"user_ids": [alice.user_id]}
        assert [one["username"] for one in named["mentioned_users"]] == ["alice"]
        people = (await page.get("bob", f"{here}/participants/"))["results"]
        assert [one["matrix_id"] for one in people if one["username"] == "alice"] == [alice.user_id]

        assert (await page.call("alice", "DELETE", "link-codes/"))[0] == 200

        async def is_out() -> bool:
            return room not in (await alice.http("GET", "/joined_rooms"))["joined_rooms"]

        await eventually(is_out, "an account that is nobody's to be out of the room")

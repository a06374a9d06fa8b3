"""The chat API of a running service: people's own ETB tokens, rooms that Synapse holds, on both prefixes."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from etb_appservice.domain.ids import IncidentId, war_room_id
from etb_appservice.gateway.links import PREFIXES
from tests.harness.sandbox import seeded_id, token_of
from tests.harness.scene import Scene, eventually

SECTIONS = {"gateway": {"token_cache_s": 1.0}}
"""A short memory, so that no test waits a minute."""


class Web:
    """ETB's web pages, as far as they call the service."""

    def __init__(self, http: aiohttp.ClientSession, prefix: str) -> None:
        self._http = http
        self._prefix = prefix

    async def call(
        self, who: str, method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> tuple[int, Any]:
        headers = {"Authorization": f"Token {token_of(who)}"}
        where = self._prefix + path
        async with self._http.request(method, where, json=body, headers=headers, allow_redirects=False) as answer:
            return answer.status, await answer.json()

    async def get(self, who: str, path: str) -> Any:
        status, found = await self.call(who, "GET", path)
        assert status == 200, (path, status, found)
        return found


@asynccontextmanager
async def web(scene: Scene, prefix: str = PREFIXES[0]) -> AsyncIterator[Web]:
    async with aiohttp.ClientSession(f"http://127.0.0.1:{scene.service.public_port}") as http:
        yield Web(http, prefix)


async def shown(page: Web, who: str, path: str, text: str) -> Any:
    """A list, once it holds a message with this text."""

    async def look() -> Any:
        found = await page.get(who, path)
        return found if any(text in one["content"] for one in found["results"]) else None

    return await eventually(look, f"{text!r} in {path}")


async def test_the_calls_of_the_seed_that_read_answer_on_both_prefixes(scene: Scene) -> None:
    incident = await scene.etb.declare(title="Checkout is slow", severity="LOW", reporter="alice", assignee="bob")
    alice, room = await scene.enter("alice", incident)
    await alice.send(room, "the queue is full")
    await scene.ask(alice, room, "!status")
    one = war_room_id(IncidentId(incident["id"]))
    for prefix in PREFIXES:
        async with web(scene, prefix) as page:
            listed = await page.get("alice", f"war-rooms/?incident={incident['id']}")
            assert [row["id"] for row in listed["results"]] == [one]
            assert listed["results"][0]["incident_title"] == "Checkout is slow"
            detail = await page.get("bob", f"war-rooms/{one}")
            assert detail["matrix"]["room_id"] == room
            assert {"alice", "bob"} <= {user["username"] for user in detail["allowed_users"]}
            assert seeded_id("user", "alice") in {user["id"] for user in detail["allowed_users"]}
            messages = await shown(page, "bob", f"war-rooms/{one}/messages/", "the queue is full")
            said = next(row for row in messages["results"] if row["content"] == "the queue is full")
            assert (said["sender_username"], said["sender"]) == ("alice", seeded_id("user", "alice"))
            assert await page.get("bob", f"war-room-messages/{said['id']}/") == said
            assert (await page.get("bob", f"war-room-messages/{said['id']}/replies/"))["count"] == 0
            found = await page.get("bob", f"war-rooms/{one}/messages/?search=QUEUE")
            assert [row["id"] for row in found["results"]] == [said["id"]]
            pinned = await page.get("alice", f"war-rooms/{one}/pinned_messages/")
            assert pinned["count"] == len(pinned["results"])
            [command] = (await page.get("alice", f"chat-commands/?war_room={one}"))["results"]
            assert (command["command_type"], command["execution_status"]) == ("STATUS", "SUCCESS")
            assert (await page.get("alice", f"chat-files/?war_room={one}"))["count"] == 0
            bots = await page.get("alice", "chat-bots/")
            path = f"chat-bots/{bots['results'][0]['id']}/generate_response/"
            status, answer = await page.call("alice", "POST", path, {"message": "why?"})
            assert (status, answer["code"]) == (503, "no_knowledge_source")
            assert (await page.get("alice", "schema/"))["openapi"] == "3.1.0"


async def test_whoever_is_below_the_level_sees_nothing_of_the_room(scene: Scene) -> None:
    incident = await scene.etb.declare(
        title="Leak", severity="LOW", reporter="alice", assignee="dave", data_classification="RESTRICTED"
    )
    await scene.enter("alice", incident)
    one = war_room_id(IncidentId(incident["id"]))
    async with web(scene) as page:
        assert (await page.get("alice", f"war-rooms/?incident={incident['id']}"))["count"] == 1
        for who in ("dave", "heidi"):  # named, but not cleared; neither
            assert (await page.get(who, f"war-rooms/?incident={incident['id']}"))["count"] == 0
            assert (await page.get(who, "war-rooms/?search=Leak"))["count"] == 0
            for path in ("", "messages/", "participants/", "pinned_messages/"):
                status, answer = await page.call(who, "GET", f"war-rooms/{one}/{path}")
                assert (status, answer["code"]) == (404, "not_found")
            status, _ = await page.call(who, "POST", f"war-rooms/{one}/create_chat_room/")
            assert status == 403


async def test_a_revoked_token_and_a_lost_clearance_end_within_the_cache_and_a_poll(scene: Scene) -> None:
    incident = await scene.etb.declare(title="Mail is down", severity="LOW", reporter="alice", assignee="carol")
    await scene.enter("alice", incident)
    path = f"war-rooms/{war_room_id(IncidentId(incident['id']))}/"
    async with web(scene) as page:
        await page.get("carol", path)

        async def refused(status: int) -> bool:
            return (await page.call("carol", "GET", path))[0] == status

        try:
            await scene.etb.set_clearance("carol", "PUBLIC")
            await eventually(lambda: refused(404), "carol's clearance to be lost")
            await scene.etb.set_user("carol", is_active=False)
            await eventually(lambda: refused(401), "carol's token to end")
        finally:
            await scene.etb.set_user("carol", is_active=True, clearance="RESTRICTED")


async def test_rooms_are_opened_and_people_let_in_by_the_web(scene: Scene) -> None:
    incident = await scene.etb.declare(title="Search is old", severity="LOW", reporter="alice")
    one = war_room_id(IncidentId(incident["id"]))
    async with web(scene) as page:
        status, made = await page.call("alice", "POST", "war-rooms/", {"incident_id": incident["id"]})
        assert status in {200, 201}  # the poll may have been first
        assert made["id"] == one
        assert (await page.call("alice", "POST", f"war-rooms/{incident['id']}/create_chat_room/"))[0] == 200
        assert (await page.call("dave", "GET", f"war-rooms/{one}/"))[0] == 404
        dave = await scene.person("dave")
        body = {"user_id": seeded_id("user", "dave")}
        status, changed = await page.call("alice", "POST", f"war-rooms/{one}/add_participant/", body)
        assert status == 200
        assert "dave" in {user["username"] for user in changed["allowed_users"]}
        invite = await dave.wait_for_invite(room=made["matrix"]["room_id"])
        assert invite.inviter == scene.bot
        await page.get("dave", f"war-rooms/{one}/")

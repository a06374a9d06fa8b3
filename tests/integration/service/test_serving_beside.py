"""Two processes serve the same rooms: the one that leads, and one beside it that ETB's pages are at."""

import asyncio
import io
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from etb_appservice.gateway.links import PREFIXES
from etb_appservice.gateway.seat import FAULT
from tests.harness.postgres import Postgres
from tests.harness.processes import Child, free_port
from tests.harness.redis import RedisServer
from tests.harness.sandbox import Sandbox, seeded_id, token_of
from tests.harness.scene import Scene, eventually
from tests.harness.service import ROOT
from tests.harness.synapse import Slot, Synapse
from tests.integration.service.test_both_ways import THUMB, Both, begun
from tests.integration.service.test_chat_api import Web
from tests.integration.service.test_sockets import Socket, passing


@dataclass
class Beside:
    """The second process."""

    scene: Scene
    config: Path
    public: int
    private: int
    child: Child | None = None

    async def run(self) -> None:
        self.child = await Child.start(
            [*self.scene.service.program, "--config", str(self.config), "serve"],
            name="beside",
            log=self.config.with_suffix(".log"),
            env=self.scene.service.environment,
            cwd=ROOT,
        )
        await self.child.wait_for_http(f"http://127.0.0.1:{self.private}/ready", timeout=60)

    async def stop(self) -> None:
        if self.child is not None:
            await self.child.stop()

    async def parts(self) -> dict[str, Any]:
        async with aiohttp.ClientSession() as http, http.get(f"http://127.0.0.1:{self.private}/ready") as answer:
            return {"status": answer.status, **(await answer.json())["parts"]}


@asynccontextmanager
async def at(port: int, who: str, war_room: str, **query: str) -> AsyncIterator[Socket]:
    """A socket at one of the processes, by the header, or by what the URL says."""
    headers = {} if query else {"Authorization": f"Token {token_of(who)}"}
    address = f"http://127.0.0.1:{port}/ws/chat/{war_room}/"
    async with aiohttp.ClientSession() as http, http.ws_connect(address, headers=headers, params=query) as ws:
        socket = Socket(ws)
        await socket.hears("connection_established")
        yield socket


@dataclass
class Pair:
    beside: Beside
    redis: RedisServer
    both: Both

    @property
    def leading(self) -> int:
        return self.beside.scene.service.public_port


@pytest.fixture(params=["postgresql", "sqlite"])
async def pair(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    synapse: Synapse,
    take_slot: Callable[[], Slot],
    etb: Sandbox,
    postgres: Postgres,
) -> AsyncIterator[Pair]:
    """Bob's pages are at the process beside the one that leads; alice is at a Matrix client."""
    database = await postgres.fresh_database() if request.param == "postgresql" else "sqlite:///etb.db"
    async with AsyncExitStack() as stack:
        redis = await RedisServer.start()
        stack.push_async_callback(redis.stop)
        sections: dict[str, Any] = {"sockets": {"redis_url": redis.url}, "gateway": {"token_cache_s": 1.0}}
        scene = await stack.enter_async_context(
            Scene.open(tmp_path / "service", synapse, take_slot(), etb, database=database, **sections)
        )
        public, private = free_port(), free_port()
        scene.service.copy(
            "beside.yaml",
            gateway={"listen": f"127.0.0.1:{public}"},
            appservice={"listen": f"127.0.0.1:{private}"},
        )
        beside = Beside(scene, scene.service.folder / "beside.yaml", public, private)
        stack.push_async_callback(beside.stop)
        await beside.run()
        http = await stack.enter_async_context(aiohttp.ClientSession(f"http://127.0.0.1:{public}"))
        both = await begun(scene, Web(http, PREFIXES[1]), "Checkout is slow")
        yield Pair(beside, redis, both)


async def test_pages_at_a_second_process_see_and_do_all_of_it(pair: Pair) -> None:
    both, beside = pair.both, pair.beside
    alice, room, war_room = both.alice, both.room, both.war_room
    async with at(beside.public, "bob", war_room) as bob, at(pair.leading, "alice", war_room) as hers:
        # From the second process, by REST and by the socket, decided by the first one and said in Matrix.
        began = asyncio.get_running_loop().time()
        posted = await both.post("posted beside")
        assert asyncio.get_running_loop().time() - began < 10, "what is accepted beside wakes who leads"
        await both.heard("posted beside")
        await bob.says("chat_message", content="said beside", message_type="TEXT")
        await both.heard("said beside")
        for socket in (bob, hers):
            await socket.hears_message("posted beside")
            await socket.hears_message("said beside")
        # From Matrix, to the sockets of both.
        sent = await alice.send(room, "from a client")
        seen = [await socket.hears_message("from a client") for socket in (bob, hers)]
        assert {one["external_message_id"] for one in seen} == {sent}
        await both.do("POST", f"{posted['id']}/add_reaction/", {"emoji": THUMB})
        assert (await hers.hears("reaction"))["emoji"] == THUMB

        # What nobody keeps: typing, both ways.
        await bob.says("typing", is_typing=True)
        assert (await hers.hears("typing"))["user"]["username"] == "bob"

        async def types() -> bool:
            return both.ghost in (await passing(alice, room)).get("m.typing", {}).get("user_ids", ())

        await eventually(types, "bob's ghost to type")
        await alice.typing(room)
        assert (await bob.hears("typing", lambda one: one["user"]["username"] == "alice"))["is_typing"]

        # A file: its verdict comes from the process that leads.
        form = aiohttp.FormData()
        form.add_field("war_room_id", war_room)
        form.add_field("send_now", "true")
        form.add_field("file", io.BytesIO(b"beside\n"), filename="beside.log", content_type="text/plain")
        headers = {"Authorization": f"Token {token_of('bob')}"}
        address = f"http://127.0.0.1:{beside.public}{PREFIXES[1]}chat-files/"
        async with aiohttp.ClientSession(headers=headers) as http:
            async with http.post(address, data=form) as answer:
                assert answer.status == 201, await answer.text()
                file = await answer.json()
            async with http.get(f"{address}{file['id']}/download/") as answer:
                assert await answer.read() == b"beside\n"

        # A ticket of one process opens a socket at the other, once.
        _, ticket = await both.page.call("bob", "POST", "ws-tickets/")
        async with at(pair.leading, "bob", war_room, ticket=ticket["ticket"]) as there:
            await alice.send(room, "to the ticket")
            await there.hears_message("to the ticket")
        with pytest.raises(AssertionError, match="4401"):
            async with at(beside.public, "bob", war_room, ticket=ticket["ticket"]):
                pass

        # What ETB takes away is gone there too.
        await beside.scene.etb.set_clearance("bob", "PUBLIC")
        try:
            assert await bob.ends() == 4403
            assert (await both.page.call("bob", "GET", f"war-rooms/{war_room}/"))[0] == 404
        finally:
            await beside.scene.etb.set_clearance("bob", "CONFIDENTIAL")


async def test_without_redis_it_is_not_ready_and_what_was_asked_for_is_done(pair: Pair) -> None:
    both, beside = pair.both, pair.beside
    assert (await beside.parts())["status"] == 200
    await pair.redis.kill()

    async def is_unready() -> bool:
        found = await beside.parts()
        return found["status"] == 503 and not found["redis"]["well"]

    await eventually(is_unready, "the process beside to say that it hears nothing", timeout=40)
    await both.post("while redis is away")
    await both.heard("while redis is away")
    await pair.redis.start_again()

    async def is_ready() -> bool:
        return bool((await beside.parts())["status"] == 200)

    await eventually(is_ready, "redis to be heard again", timeout=60)
    for look in range(10):
        # The other process comes back when it does, and whoever sits here then looks at the history.
        async with at(beside.public, "bob", both.war_room) as bob:
            await both.alice.send(both.room, f"heard again {look}")
            try:
                await bob.hears_message(f"heard again {look}")
            except AssertionError as ended:
                assert "Some news was missed" in str(ended)  # noqa: PT017 - nothing else may end it
            else:
                break
    else:
        raise AssertionError("news are missed again and again")


async def test_who_is_killed_and_who_leads_anew_find_each_other_again(pair: Pair) -> None:
    both, beside, scene = pair.both, pair.beside, pair.beside.scene
    assert beside.child is not None
    async with at(beside.public, "bob", both.war_room) as bob:
        await scene.service.kill()
        # Accepted here while nobody leads; decided once somebody does.
        posting = asyncio.create_task(
            both.page.call(
                "bob", "POST", "war-room-messages/", {"war_room_id": both.war_room, "content": "while nobody led"}
            )
        )
        await scene.service.run()
        status, _ = await posting
        assert status in {201, 202}
        await both.heard("while nobody led")
        # What the one before committed last may have been told to nobody: the page comes back for it.
        assert await bob.ends() == FAULT
    async with at(beside.public, "bob", both.war_room) as bob:
        await bob.says("history", before=None, limit=10)
        history = (await bob.hears("history"))["messages"]
        assert "while nobody led" in [one["content"] for one in history]
        await both.alice.send(both.room, "after it")
        await bob.hears_message("after it")
    await beside.child.kill()
    await both.alice.send(both.room, "meanwhile")
    await beside.run()
    found = await both.by_text("meanwhile")
    assert found["sender"] == seeded_id("user", "alice")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sockets": {"redis_url": None}}, "set sockets.redis_url"),
        ({"gateway": {"enabled": False}}, "gateway.enabled is off"),
    ],
)
async def test_what_the_settings_lack_is_said(
    tmp_path: Path, synapse: Synapse, take_slot: Callable[[], Slot], etb: Sandbox, changes: Any, said: str
) -> None:
    async with Scene.open(tmp_path / "service", synapse, take_slot(), etb, run=False) as scene:
        scene.service.copy("beside.yaml", **{"sockets": {"redis_url": "redis://127.0.0.1:1/0"}} | changes)
        ended = await scene.service.cli("serve", config="beside.yaml")
        assert ended.returncode == 1
        assert said in ended.stderr
        assert json.loads((scene.service.folder / "beside.yaml").read_text())

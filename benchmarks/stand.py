"""The parts a row needs, on loopback, stopped afterwards: Synapse, the service, the floors, a person."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp

from benchmarks.etb_at_once import EtbAtOnce
from tests.harness.jsclient import JsClient
from tests.harness.processes import Child
from tests.harness.service import ROOT, Service
from tests.harness.synapse import Slot, Synapse, write_slot

PASSWORD = "a password for a minute"
Get = Callable[[str], Awaitable[Any]]
"""Reads a path of the client-server API."""
FAST = {"per_minute": 1_000_000, "burst": 1_000_000}


@dataclass(slots=True)
class Stand:
    """What is running. `ours`, `floor` and `more` are application services that Synapse knows."""

    folder: Path
    synapse: Synapse
    ours: Slot
    floor: Slot
    etb: EtbAtOnce
    stack: AsyncExitStack
    more: tuple[Slot, ...] = ()

    async def service(self, slot: Slot | None = None, **sections: dict[str, Any]) -> Service:
        """The service, ready; polls ETB only now and then, so that webhooks and commands are what is measured.

        As `slot` says it is one of several, each with a database and a bot of its own.
        """
        slot = slot or self.ours
        service = await Service.start(
            self.folder / f"service-{slot.id}",
            self.synapse,
            slot,
            self.etb,  # type: ignore[arg-type] # has the two attributes that the configuration names
            commands=FAST,
            etb={"base_url": self.etb.url, "token": self.etb.token, "poll_interval_s": 3600},
            **sections,
        )
        self.stack.push_async_callback(service.stop)
        return service

    async def person(self, name: str) -> JsClient:
        """Somebody with matrix-js-sdk."""
        await self.synapse.register(name, PASSWORD)
        return await self.stack.enter_async_context(await JsClient.start(self.synapse.url, name, PASSWORD))

    async def child(self, module: str, *arguments: str, wait_for: str = "ready") -> Child:
        """A floor, as a process of its own."""
        child = await Child.start(
            [sys.executable, "-m", module, *arguments], log=self.folder / f"{module}.log", cwd=ROOT
        )
        self.stack.push_async_callback(child.stop)
        await child.wait_for_line(wait_for)
        return child

    async def plain_floor(self) -> Child:
        """The bare echo in clear text."""
        slot = self.floor
        await self.register_bot(slot)
        arguments = (self.synapse.url, slot.as_token, slot.hs_token, slot.bot_mxid, str(slot.port))
        return await self.child("benchmarks.floors.echo", *arguments)

    async def register_bot(self, slot: Slot) -> None:
        """An application service's user, for a floor."""
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {slot.as_token}"}) as http:
            body = {"type": "m.login.application_service", "username": slot.bot_localpart, "inhibit_login": True}
            async with http.post(f"{self.synapse.url}/_matrix/client/v3/register", json=body) as response:
                await response.read()

    async def join(self, token: str, room: str) -> None:
        """Somebody of no application service accepts an invitation, without a client."""
        headers = {"Authorization": f"Bearer {token}"}
        url = f"{self.synapse.url}/_matrix/client/v3/join/{quote(room)}"
        async with aiohttp.ClientSession(headers=headers) as http, http.post(url, json={}) as response:
            response.raise_for_status()

    @asynccontextmanager
    async def as_ours(self) -> AsyncIterator[Get]:
        """Reads of the homeserver as the service's own user, over one connection; None for what isn't there."""
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {self.ours.as_token}"}) as http:

            async def get(path: str) -> Any:
                url = f"{self.synapse.url}/_matrix/client/v3/{path}"
                async with http.get(url, params={"user_id": self.ours.bot_mxid}) as response:
                    return await response.json() if response.status < 300 else None

            yield get

    async def room_of(self, get: Get, name: str) -> str:
        """The room that an alias of the service names, as soon as it does: an incident's id, or a word."""
        alias = quote(f"#{self.ours.alias_prefix}{name}:localhost")
        found = await until(lambda: get(f"directory/room/{alias}"), f"the room {name}")
        return str(found["room_id"])

    async def enter(self, person: JsClient, incident: dict[str, Any]) -> str:
        """A person joins the room of an incident that was reported, and has read its card; the room's id."""
        async with self.as_ours() as get:
            room = await self.room_of(get, incident["id"])
        await person.wait_for_invite(room=room)
        await person.join(room)
        await person.wait_for(room=room, sender=self.ours.bot_mxid, type="m.room.message")
        return room

    async def as_floor_bot(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """A call as the floor's bot."""
        headers = {"Authorization": f"Bearer {self.floor.as_token}"}
        async with (
            aiohttp.ClientSession(headers=headers) as http,
            http.request(
                method,
                f"{self.synapse.url}/_matrix/client/v3/{path}",
                params={"user_id": self.floor.bot_mxid},
                json=body if body is not None or method == "GET" else {},
            ) as response,
        ):
            response.raise_for_status()
            return dict(await response.json())


@asynccontextmanager
async def stand(folder: Path, *, more: int = 0) -> AsyncIterator[Stand]:
    """Synapse with two application services (and as many `more`), and an ETB that answers at once."""
    async with AsyncExitStack() as stack:
        folder.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240 - before anything runs
        ours, floor = write_slot(folder, "localhost", "etb1"), write_slot(folder, "localhost", "floor1")
        others = tuple([write_slot(folder, "localhost", f"more{number}") for number in range(1, more + 1)])
        paths = [slot.registration_path for slot in (ours, floor, *others)]
        synapse = await Synapse.start(folder, registrations=paths)
        stack.push_async_callback(synapse.stop)
        etb = EtbAtOnce()
        await etb.start()
        stack.push_async_callback(etb.stop)
        yield Stand(folder, synapse, ours, floor, etb, stack, others)


async def until(look: Callable[[], Awaitable[Any]], what: str, seconds: float = 60, every_s: float = 0.02) -> Any:
    """The first truthy answer of `look`. Where the homeserver's work is measured, look seldom."""
    try:
        async with asyncio.timeout(seconds):
            while not (found := await look()):
                await asyncio.sleep(every_s)
            return found
    except TimeoutError:
        raise RuntimeError(f"waited {seconds:g} s in vain for {what}") from None

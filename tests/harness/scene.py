"""A whole scene: homeserver, ETB, the service as a process, and people with clients of their own.

People are ETB's users; each has a Matrix account of the scene's own, mapped by `people.template`, so that scenes
share a homeserver without meeting. The service's log is part of the scene: `assert_quiet` fails on a traceback, an
error, or a warning that nobody announced.
"""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar

from tests.harness.http import MatrixError, MatrixUser
from tests.harness.jsclient import Event, JsClient
from tests.harness.sandbox import Sandbox
from tests.harness.service import Service
from tests.harness.synapse import Slot, Synapse, write_slot

T = TypeVar("T")
PASSWORD = "correct horse battery staple"
OPERATOR = "olivia"
_LOOK_EVERY_S = 0.05
ALWAYS_ALLOWED = (r"nobody has seen the bot's recovery key", r'took [\d.]+ seconds", "logger": "mau\.db"')
"""Warnings that any start may write, or any busy machine causes."""


async def eventually(
    look: Callable[[], Awaitable[T | None]],
    what: str,
    *,
    timeout: float = 20,  # noqa: ASYNC109
) -> T:
    """What `look` answers once that is true; AssertionError naming `what` after `timeout` seconds."""
    limit = time.monotonic() + timeout
    while not (found := await look()):
        if time.monotonic() > limit:
            raise AssertionError(f"waited {timeout:g} s in vain for {what}")
        await asyncio.sleep(_LOOK_EVERY_S)
    return found


@dataclass(slots=True)
class Scene:
    """One running service with everything around it."""

    synapse: Synapse
    slot: Slot
    etb: Sandbox
    service: Service
    people: dict[str, JsClient] = field(default_factory=dict)
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    _read_from: int = 0

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        folder: Path,
        synapse: Synapse,
        slot: Slot,
        etb: Sandbox,
        /,
        *,
        run: bool = True,
        database: str = "sqlite:///etb.db",
        **sections: Mapping[str, Any],
    ) -> AsyncIterator[Self]:
        """Set the scene; the service runs (unless `run` is off) and is stopped at the end, with the clients.

        `sections` are laid over the service's configuration.
        """
        given: dict[str, Mapping[str, Any]] = dict(sections)
        template = {"template": f"@{{username}}-{slot.id}:{synapse.server_name}"}
        given["people"] = template | dict(given.get("people", {}))
        given["ops"] = {"json_logs": True} | dict(given.get("ops", {}))
        given["commands"] = {"per_minute": 600, "burst": 100} | dict(given.get("commands", {}))
        operators = [f"@{OPERATOR}-{slot.id}:{synapse.server_name}"]
        await synapse.register(f"{OPERATOR}-{slot.id}", PASSWORD)
        service = await Service.start(
            folder, synapse, slot, etb, operators=operators, database=database, run=run, **given
        )
        scene = cls(synapse, slot, etb, service)
        try:
            yield scene
        finally:
            await scene._stack.aclose()
            await service.stop()

    @classmethod
    @asynccontextmanager
    async def alone(cls, folder: Path, etb: Sandbox) -> AsyncIterator[Self]:
        """The same with a homeserver of its own, that may be stopped, and an ETB without incidents."""
        await etb.reset(incidents=False)
        slot = write_slot(folder, "localhost", "etb")
        synapse = await Synapse.start(folder / "synapse", registrations=[slot.registration_path])
        try:
            async with cls.open(folder / "service", synapse, slot, etb) as scene:
                yield scene
        finally:
            await synapse.stop()

    # --- people -------------------------------------------------------------------------------------------

    @property
    def bot(self) -> str:
        return self.slot.bot_mxid

    def mxid(self, username: str) -> str:
        """The Matrix id to which the configuration maps an ETB user."""
        return self.synapse.mxid(f"{username}-{self.slot.id}")

    async def account(self, *usernames: str) -> None:
        """Make Matrix accounts that nobody uses yet; those that exist stay."""
        for username in usernames:
            try:
                await self.synapse.register(f"{username}-{self.slot.id}", PASSWORD)
            except MatrixError as error:
                if error.errcode != "M_USER_IN_USE":
                    raise

    async def person(self, username: str, **options: Any) -> JsClient:
        """An ETB user at their client, the same one at each call; made at the first."""
        if username not in self.people:
            await self.account(username)
            client = await JsClient.start(self.synapse.url, f"{username}-{self.slot.id}", PASSWORD, **options)
            self.people[username] = await self._stack.enter_async_context(client)
        return self.people[username]

    @asynccontextmanager
    async def plain(self, username: str) -> AsyncIterator[MatrixUser]:
        """An ETB user on a device without encryption."""
        await self.account(username)
        user = await MatrixUser.login(self.synapse.url, f"{username}-{self.slot.id}", PASSWORD)
        async with user:
            yield user

    @asynccontextmanager
    async def as_bot(self) -> AsyncIterator[MatrixUser]:
        """The bot by the application service's token: what the homeserver shows the service."""
        async with MatrixUser(self.synapse.url, self.slot.as_token, as_user=self.bot) as user:
            yield user

    # --- rooms --------------------------------------------------------------------------------------------

    def alias(self, incident: Mapping[str, Any] | str) -> str:
        """The alias of an incident's room (or of `control`, `incidents`)."""
        name = incident if isinstance(incident, str) else incident["id"]
        return f"#{self.slot.alias_prefix}{name}:{self.synapse.server_name}"

    async def room_of(self, incident: Mapping[str, Any] | str, *, timeout: float = 20) -> str:  # noqa: ASYNC109
        """The id of the room, once it is made: it has its name, not only its alias."""
        async with self.as_bot() as bot:

            async def look() -> str:
                try:
                    room = await bot.resolve_alias(self.alias(incident))
                    await bot.get_state(room, "m.room.name")
                except MatrixError as error:
                    if error.status not in {403, 404}:
                        raise
                    return ""
                return room

            return await eventually(look, f"a room {self.alias(incident)}", timeout=timeout)

    async def join(self, person: JsClient, incident: Mapping[str, Any] | str) -> str:
        """Wait for the invite to an incident's room and accept it; the room's id."""
        room = await self.room_of(incident)
        invite = await person.wait_for_invite(room=room)
        assert invite.inviter == self.bot
        return await person.join(room)

    async def card(self, person: JsClient, room: str, *, body: str | None = None) -> Event:
        """The incident's card as this person reads it: the pinned message, decrypted, with `body` after edits."""

        async def look() -> Event | None:
            async with self.as_bot() as bot:
                try:
                    pinned = (await bot.get_state(room, "m.room.pinned_events"))["pinned"]
                except MatrixError as error:
                    if error.status != 404:
                        raise
                    return None
            seen = await person.timeline(room, last=200)
            if not any(one.event_id in pinned for one in seen):
                # Said before this person's homeserver came to the room: it is fetched by looking back.
                await person.scrollback(room)
            for one in seen:
                if one.event_id in pinned and one.failure is None and one.type == "m.room.message":
                    text = str(one.current_content.get("body", ""))
                    return one if body is None or body in text else None
            return None

        what = f"a pinned card that {person.user_id} can read with {body or 'any text'}"
        try:
            return await eventually(look, what, timeout=40)
        except AssertionError as error:
            seen = [(one.event_id, one.type, one.failure) for one in await person.timeline(room, last=20)]
            raise AssertionError(f"{error}; the client has {seen}") from None

    async def enter(self, username: str, incident: Mapping[str, Any] | str) -> tuple[JsClient, str]:
        """An ETB user at their client, joined to an incident's room."""
        client = await self.person(username)
        return client, await self.join(client, incident)

    async def ask(self, person: JsClient, room: str, text: str, **more: Any) -> Event:
        """Send a command and wait for the answer that replies to it."""
        sent = await person.send(room, text, **more)
        return await person.wait_for(room=room, sender=self.bot, reply_to=sent, timeout=30)

    async def answers(self, person: JsClient, room: str, event_id: str) -> list[Event]:
        """What the bot answered to an event so far, as this person sees it."""
        return [
            one
            for one in await person.timeline(room, last=200)
            if one.sender == self.bot and replied_to(one) == event_id
        ]

    async def operator(self) -> tuple[JsClient, str]:
        """The operator at their client, in the control room."""
        client = await self.person(OPERATOR)
        room = await self.room_of("control")
        joined = (await client.http("GET", "/joined_rooms"))["joined_rooms"]
        if room not in joined:
            await client.wait_for_invite(room=room)
            await client.join(room)
        return client, room

    # --- the service's own words --------------------------------------------------------------------------

    async def depth(self) -> float | None:
        """How much waits in inbox and outbox; None where the service doesn't tell."""
        _, text = await self.service.get("/metrics")
        depths = re.findall(r"^etb_queue_depth\S*\s+(\S+)$", text, re.MULTILINE)
        return sum(map(float, depths)) if depths else None

    async def idle(self, *, timeout: float = 20) -> None:  # noqa: ASYNC109
        """Wait until inbox and outbox are empty."""

        async def look() -> bool:
            return await self.depth() == 0

        await eventually(look, "empty queues", timeout=timeout)

    def assert_quiet(self, *allowed: str) -> None:
        """No traceback, no error, no warning but the `allowed` (regular expressions) since the last look."""
        text = self.service.log()
        new, self._read_from = text[self._read_from :], len(text)
        odd = [line for line in complaints(new) if not any(re.search(p, line) for p in allowed)]
        assert not odd, "the service complained:\n" + "\n".join(odd)


def complaints(log: str) -> Sequence[str]:
    """The lines of a log that nobody wants to see."""
    found = []
    for line in log.splitlines():
        if "Traceback" in line:
            found.append(line)
            continue
        try:
            level = json.loads(line).get("level", "")
        except (json.JSONDecodeError, AttributeError):
            found.append(line)
            continue
        if level in {"warning", "error", "critical"} and not any(re.search(p, line) for p in ALWAYS_ALLOWED):
            found.append(line)
    return found


def replied_to(event: Event) -> str | None:
    """The event a message replies to."""
    relates = event.relates_to or event.content.get("m.relates_to") or {}
    found = (relates.get("m.in_reply_to") or {}).get("event_id")
    return str(found) if found else None

"""Open sockets against a house: real store and rights, real hub and upgrade, a desk that writes the record.

`FakeDesk` stands for the flows behind the real one: it does just as much as a socket can see.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import aiohttp
from aiohttp import web
from aiohttp.test_utils import BaseTestServer, TestServer

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.conversation import MessageDetails, Person, Reacted
from etb_appservice.domain.ids import EventId, UserId, Username, WarRoomId
from etb_appservice.domain.incident import EtbUser
from etb_appservice.domain.news import (
    CommandFinished,
    MessageAdded,
    MessageDeleted,
    MessagePinned,
    MessageUpdated,
    ReactionChanged,
    ReadUpTo,
    Typing,
)
from etb_appservice.domain.policy import Policy
from etb_appservice.gateway import objects
from etb_appservice.gateway.acts import Acts
from etb_appservice.gateway.callers import Caller, Unconfirmed
from etb_appservice.gateway.desk import Act, Draft, Order, Refusal
from etb_appservice.gateway.entry import Entry
from etb_appservice.gateway.frame import Public
from etb_appservice.gateway.hub import Hub
from etb_appservice.gateway.links import PREFIXES, Links
from etb_appservice.gateway.shows import Shows
from etb_appservice.gateway.socket import Sockets, SocketTerms
from etb_appservice.gateway.tickets import OwnTickets, Tickets
from etb_appservice.ports import Broadcast, Clock, CommandRun, Message, Room, Store, Work, unsent
from tests.harness.cast import etb_user

WAIT_S = 5.0
ORIGIN = "https://etb.example.org"
UUID_OF = {
    name: f"00000000-0000-4000-8000-00000000000{number}"
    for number, name in enumerate(("alice", "bob", "carol"), start=1)
}


def user_called(name: str, clearance: Classification = Classification.RESTRICTED) -> EtbUser:
    """A user as ETB's profile shows them."""
    return replace(etb_user(name, clearance), id=UUID_OF.get(name, ""))


@dataclass
class FakeCallers:
    """Knows tokens: `t-alice` is alice's. `away`: ETB can't be asked."""

    clock: Clock
    users: dict[str, EtbUser] = field(
        default_factory=lambda: {f"t-{name}": user_called(name) for name in ("alice", "bob", "carol")}
    )
    away: bool = False
    slow: asyncio.Event | None = None
    """Nobody is answered before it is set."""
    asked: list[str] = field(default_factory=list)

    async def of(self, token: str) -> Caller | None:
        """Whose it is."""
        self.asked.append(token)
        if self.slow is not None:
            await self.slow.wait()
        if self.away:
            raise Unconfirmed
        user = self.users.get(token)
        if user is None:
            return None
        who = UserId(f"@{user.username}:x.org")
        return Caller(user=user, user_id=who, confirmed_ms=self.clock.now_ms())


@dataclass
class FakeDesk:
    """Writes the record at once and tells of it, as after a commit. `refuses`: what the next call raises."""

    store: Store
    clock: Clock
    broadcast: Broadcast | None = None
    calls: list[tuple[str, Any]] = field(default_factory=list)
    refuses: BaseException | None = None

    async def post(self, caller: Caller, war_room: WarRoomId, act: Act, draft: Draft) -> str:
        """Stored as sent."""
        self._called("post", draft)
        async with self.store.work() as work:
            room = await self._room(work, war_room)
            assert room.room_id is not None
            assert room.incident_id is not None
            if draft.reply_to is not None:
                await self._message(work, room, draft.reply_to)
            now_ms = self.clock.now_ms()
            details = MessageDetails(username=caller.user.username, client_id=draft.client_id)
            await work.messages.put(
                Message(
                    id=act.id,
                    room_id=room.room_id,
                    lane=room.incident_id,
                    event_id=unsent(act.id),
                    sender=caller.user_id,
                    state="open",
                    origin_ms=now_ms,
                    received_ms=now_ms,
                    decided_ms=now_ms,
                    body=draft.content,
                    details=details,
                )
            )
        self._tell(MessageAdded(war_room=war_room, message_id=act.id, client_id=draft.client_id))
        return act.id

    async def edit(self, caller: Caller, war_room: WarRoomId, act: Act, message_id: str, content: str) -> None:
        """One's own."""
        self._called("edit", (message_id, content))
        async with self.store.work() as work:
            message = await self._message(work, await self._room(work, war_room), message_id)
            if message.details.username != caller.user.username:
                raise Refusal("forbidden", "This is somebody else's message.")
            details = replace(message.details, edited_ms=self.clock.now_ms())
            await work.messages.put(replace(message, body=content, details=details))
        self._tell(MessageUpdated(war_room=war_room, message_id=message_id))

    async def delete(self, caller: Caller, war_room: WarRoomId, act: Act, message_id: str) -> None:
        """Gone."""
        self._called("delete", message_id)
        async with self.store.work() as work:
            message = await self._message(work, await self._room(work, war_room), message_id)
            await work.messages.redact(message.event_id)
        self._tell(MessageDeleted(war_room=war_room, message_id=message_id, by=self._person(caller)))

    async def react(
        self, caller: Caller, war_room: WarRoomId, act: Act, message_id: str, emoji: str, *, is_added: bool
    ) -> None:
        """Kept with the message."""
        self._called("react", (message_id, emoji, is_added))
        who = self._person(caller)
        async with self.store.work() as work:
            message = await self._message(work, await self._room(work, war_room), message_id)
            event_id = EventId(f"~{caller.user.username}{emoji}")
            reaction = Reacted(emoji=emoji, user_id=who.user_id, username=who.username, event_id=event_id, at_ms=1)
            details = message.details
            changed = details.with_reaction(reaction) if is_added else details.without_reaction(event_id)
            await work.messages.put(replace(message, details=changed))
        self._tell(
            ReactionChanged(war_room=war_room, message_id=message_id, emoji=emoji, is_added=is_added, by=who)
        )

    async def pin(
        self, caller: Caller, war_room: WarRoomId, act: Act, message_id: str, *, is_pinned: bool
    ) -> None:
        """Only told."""
        self._called("pin", (message_id, is_pinned))
        async with self.store.view() as work:
            await self._message(work, await self._room(work, war_room), message_id)
        by = self._person(caller)
        self._tell(MessagePinned(war_room=war_room, message_id=message_id, is_pinned=is_pinned, by=by))

    async def run(self, caller: Caller, war_room: WarRoomId, act: Act, order: Order) -> str:
        """It succeeds at once."""
        self._called("run", order)
        now_ms = self.clock.now_ms()
        async with self.store.work() as work:
            room = await self._room(work, war_room)
            assert room.room_id is not None
            await work.commands.add(
                CommandRun(
                    id=act.id,
                    room_id=room.room_id,
                    incident_id=room.incident_id,
                    event_id=unsent(act.id),
                    caller=caller.user_id,
                    name="status",
                    arguments="",
                    result="It is open.",
                    status="SUCCESS",
                    asked_ms=now_ms,
                    finished_ms=now_ms,
                )
            )
        self._tell(CommandFinished(war_room=war_room, run_id=act.id))
        return act.id

    async def typing(self, caller: Caller, war_room: WarRoomId, *, is_typing: bool) -> None:
        """Only told."""
        self._called("typing", is_typing)
        self._tell(Typing(war_room=war_room, person=self._person(caller), is_typing=is_typing))

    async def read(self, caller: Caller, war_room: WarRoomId, act: Act, message_id: str) -> None:
        """Only told."""
        self._called("read", message_id)
        async with self.store.view() as work:
            await self._message(work, await self._room(work, war_room), message_id)
        self._tell(ReadUpTo(war_room=war_room, person=self._person(caller), message_id=message_id))

    def _called(self, name: str, what: object) -> None:
        if self.refuses is not None:
            raise self.refuses
        self.calls.append((name, what))

    async def _room(self, work: Work, war_room: WarRoomId) -> Room:
        room = await work.rooms.by_war_room(war_room)
        assert room is not None
        return room

    async def _message(self, work: Work, room: Room, message_id: str) -> Message:
        message = await work.messages.get(message_id)
        if message is None or message.lane != room.incident_id:
            raise Refusal("not_found", "There is no such message in this room.")
        return message

    def _person(self, caller: Caller) -> Person:
        return Person(caller.user_id, caller.user.username)

    def _tell(self, news: Any) -> None:
        if self.broadcast is not None:
            self.broadcast.tell((news,))


class SeenShows(Shows):
    """The real ones, which say how much they made."""

    def __init__(self, policy: Policy) -> None:
        super().__init__(policy, Links("", PREFIXES[0]))
        self.made = 0
        self.levels: dict[str, objects.Level] = {}
        """Of messages that have another one than the room had."""

    async def messages(
        self,
        work: Work,
        room: Room,
        messages: Sequence[Message],
        reader: Username | None,
        up_to: Classification,
    ) -> list[objects.Message]:
        self.made += len(messages)
        return [
            one.model_copy(update={"data_classification": self.levels.get(one.id, one.data_classification)})
            for one in await super().messages(work, room, messages, reader, up_to)
        ]


class Client:
    """One socket as a web page sees it."""

    def __init__(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        self.ws = ws

    async def says(self, **frame: Any) -> None:
        """Send a frame."""
        await self.ws.send_str(json.dumps(frame))

    async def hears(self, kind: str | None = None) -> dict[str, Any]:
        """The next frame, which is of this type."""
        message = await self.ws.receive(timeout=WAIT_S)
        assert message.type is aiohttp.WSMsgType.TEXT, (message, self.ws.close_code)
        frame: dict[str, Any] = json.loads(message.data)
        assert kind in {None, frame["type"]}, frame
        return frame

    async def until(self, kind: str) -> dict[str, Any]:
        """The next frame of this type, whatever comes before."""
        while True:
            frame = await self.hears()
            if frame["type"] == kind:
                return frame

    async def quiet(self) -> None:
        """Nothing waits to be heard: the answer to a ping is the next that comes."""
        await self.says(type="ping", nonce="quiet")
        assert (await self.hears())["type"] == "pong"

    async def ends(self) -> int | None:
        """It is closed, whatever was told before; answers the code."""
        while (message := await self.ws.receive(timeout=WAIT_S)).type is aiohttp.WSMsgType.TEXT:
            pass
        # aiohttp's own word is 1006 where the other side was gone before we could agree.
        return int(message.data) if message.type is aiohttp.WSMsgType.CLOSE else self.ws.close_code


@dataclass
class Scene:
    """A served gateway. `opens` and `sits` open sockets of it; all are closed with it."""

    store: Store
    clock: Clock
    callers: FakeCallers
    desk: FakeDesk
    shows: SeenShows
    hub: Hub
    tickets: Tickets
    sockets: Sockets
    server: BaseTestServer
    http: aiohttp.ClientSession
    opened: list[Client] = field(default_factory=list)
    """Kept: a client that is forgotten closes its socket."""

    async def opens(self, name: str | None, room: str, **options: Any) -> Client:
        """A socket as it is after the upgrade, whatever comes then; `name`: whose token goes into the header."""
        headers = {"Authorization": f"Token t-{name}"} if name else {}
        headers |= options.pop("headers", {})
        query = options.pop("query", "")
        url = str(self.server.make_url("/")).rstrip("/") + f"/ws/chat/{room}/{query}"
        client = Client(await self.http.ws_connect(url, headers=headers, **options))
        self.opened.append(client)
        return client

    async def sits(self, name: str, room: str, **options: Any) -> Client:
        """A socket that was let in."""
        client = await self.opens(name, room, **options)
        await client.hears("connection_established")
        return client

    async def refused(self, name: str | None, room: str, **options: Any) -> int | None:
        """The code with which a socket was closed that was told nothing."""
        client = await self.opens(name, room, **options)
        message = await client.ws.receive(timeout=WAIT_S)
        assert message.type is aiohttp.WSMsgType.CLOSE, message
        return int(message.data)


@asynccontextmanager
async def scene(
    store: Store, policy: Policy, clock: Clock, terms: SocketTerms | None = None
) -> AsyncIterator[Scene]:
    """Serve sockets on loopback."""
    entry = Entry(store, policy)
    shows = SeenShows(policy)
    hub = Hub(store, entry, shows)
    desk = FakeDesk(store, clock, hub)
    callers = FakeCallers(clock)
    tickets = OwnTickets(clock)
    acts = Acts(store=store, entry=entry, shows=shows, desk=desk, clock=clock)
    sockets = Sockets(
        hub, acts, callers, tickets, clock, terms or SocketTerms(public=Public(origins=frozenset({ORIGIN})))
    )
    app = web.Application()
    sockets.mount(app)
    async with TestServer(app) as server, aiohttp.ClientSession() as http:
        yield Scene(store, clock, callers, desk, shows, hub, tickets, sockets, server, http)

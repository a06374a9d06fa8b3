"""People of a mixed run at a WebSocket, and what their page shows: it is what they were told since they came back.

connected ─► history ─► frames ─► the service dies ─► connected again ─► history, as far back as people look
"""

import asyncio
import contextlib
import json
import random
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from etb_appservice.gateway.links import PREFIXES
from tests.chaos.mixed.acts import EMOJI, sentence
from tests.chaos.mixed.book import YES, Book, Operation
from tests.chaos.mixed.people import PATIENCE_S, Address
from tests.harness.sandbox import token_of

_PACE_S = 0.55
"""A socket may send twenty frames in ten seconds."""
_ANSWER_S = 30.0
_LOOKS_BACK = 400
_PAGE = 100


class Broken(Exception):
    """The socket ended before it was answered."""


@dataclass(slots=True)
class Seat:
    """Somebody's page of one room at an open socket."""

    http: aiohttp.ClientSession
    where: Address
    book: Book
    who: str
    room: int
    chance: random.Random
    shown: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The page: messages by id."""
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    reconnects: int = -1
    _ws: aiohttp.ClientWebSocketResponse | None = None
    _waiting: list[tuple[Callable[[dict[str, Any]], bool], asyncio.Future[dict[str, Any]]]] = field(
        default_factory=list
    )
    _said_at: float = 0.0
    _pins_told: set[str] = field(default_factory=set)
    """Messages of which a frame has said since the list of pins was asked for whether they are pinned."""
    _staying: asyncio.Task[None] | None = None

    def sit_down(self) -> asyncio.Task[None]:
        """From now on they are there, until the task is cancelled."""
        self._staying = asyncio.create_task(self._stay())
        return self._staying

    async def here(self) -> None:
        """Wait until the page is open and shows everything."""
        assert self._staying is not None
        ready = asyncio.create_task(self.ready.wait())
        try:
            async with asyncio.timeout(PATIENCE_S):
                await asyncio.wait({ready, self._staying}, return_when=asyncio.FIRST_COMPLETED)
            if self._staying.done():
                self._staying.result()
        finally:
            ready.cancel()

    async def _stay(self) -> None:
        """Be connected, and again whenever the socket ends."""
        url = f"{self.where.base.replace('http', 'ws')}/ws/chat/{self.where.war_rooms[self.room]}/"
        headers = {"Authorization": f"Token {token_of(self.who)}"}
        while True:
            with contextlib.suppress(aiohttp.ClientError, ConnectionError, TimeoutError, Broken):
                async with self.http.ws_connect(url, headers=headers, max_msg_size=0) as ws:
                    self._ws = ws
                    reading = asyncio.create_task(self._read(ws))
                    try:
                        await self._look_back()
                        self.reconnects += 1
                        self.ready.set()
                        await reading
                    finally:
                        self.ready.clear()
                        self._ws = None
                        self._break()
                        reading.cancel()
            await asyncio.sleep(0.2)

    async def _read(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        async for message in ws:
            if message.type is not aiohttp.WSMsgType.TEXT:
                break
            self._take(json.loads(message.data))
        self._break()

    def _break(self) -> None:
        for _, future in self._waiting:
            if not future.done():
                future.set_exception(Broken())
        self._waiting.clear()

    def _take(self, frame: dict[str, Any]) -> None:
        match frame["type"]:
            case "chat_message" | "message_updated":
                self._show(frame["message"])
            case "message_deleted":
                self.shown.pop(frame["message_id"], None)
            case "message_pinned":
                self._pins_told.add(frame["message_id"])
                if frame["message_id"] in self.shown:
                    self.shown[frame["message_id"]]["is_pinned"] = frame["is_pinned"]
            case "reaction" if frame["message_id"] in self.shown:
                self.shown[frame["message_id"]]["reactions"] = frame["reactions"]
            case _:
                pass
        for one in list(self._waiting):
            fits, future = one
            if not future.done() and fits(frame):
                future.set_result(frame)
                self._waiting.remove(one)

    def _show(self, message: dict[str, Any]) -> None:
        self.book.learn(message)
        self.shown[message["id"]] = message

    async def _look_back(self) -> None:
        """What the page shows is what is so by now; what isn't there any more goes."""
        before, seen, known = None, set[str](), set(self.shown)
        while len(seen) < _LOOKS_BACK:
            page = await self._ask({"type": "history", "before": before, "limit": _PAGE}, _is("history"))
            for message in page["messages"]:
                self._show(message)
                seen.add(message["id"])
            if not page["has_more"] or not page["messages"]:
                break
            before = page["messages"][0]["id"]
        else:
            known = {one for one in known if one >= min(seen)}
        for one in sorted(known - seen):
            await self._look_up(one)
        await self._look_at_pins()

    async def _look_at_pins(self) -> None:
        """What is pinned is shown apart, however long ago it was said."""
        self._pins_told.clear()
        path = f"war-rooms/{self.where.war_rooms[self.room]}/pinned_messages/?page_size=100"
        async with self._asked(path) as answer:
            if answer.status != 200:
                raise Broken
            found = await answer.json()
        assert found["next"] is None, "no more than a hundred are pinned"
        pinned = {one["id"] for one in found["results"]}
        for one in self.shown.keys() - self._pins_told:
            self.shown[one]["is_pinned"] = one in pinned

    def _asked(self, path: str) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        headers = {"Authorization": f"Token {token_of(self.who)}"}
        return self.http.get(f"{self.where.base}{PREFIXES[0]}{path}", headers=headers)

    async def _look_up(self, message_id: str) -> None:
        """It may be gone, or lie beyond what was looked at: ids are not quite in the history's order."""
        async with self._asked(f"war-room-messages/{message_id}/") as answer:
            match answer.status:
                case 200:
                    self._show(await answer.json())
                case 404:
                    self.shown.pop(message_id, None)
                case _:
                    raise Broken

    async def _say(self, frame: dict[str, Any]) -> None:
        now = time.monotonic()
        self._said_at = max(now, self._said_at + _PACE_S)
        await asyncio.sleep(self._said_at - now)
        if self._ws is None:
            raise Broken
        try:
            await self._ws.send_json(frame)
        except (ConnectionError, aiohttp.ClientError) as error:
            raise Broken from error

    async def _ask(self, frame: dict[str, Any], fits: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The frame that answers. Raises Broken when the socket ends first."""
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        name = f"{self.who}-{time.monotonic_ns()}"
        waiting = (lambda told: fits(told) or (told["type"] == "error" and told.get("client_id") == name), answer)
        self._waiting.append(waiting)
        try:
            await self._say({**frame, "client_id": frame.get("client_id", name)})
            async with asyncio.timeout(_ANSWER_S):
                return await answer
        finally:
            answer.cancel()
            if waiting in self._waiting:
                self._waiting.remove(waiting)

    # --- what they do -------------------------------------------------------------------------------------

    async def act(self, operation: Operation) -> None:
        """Something that people do there."""
        await self.here()
        acts = ((45, self._post), (10, self._answer), (25, self._react), (10, self._type), (10, self._has_read))
        act = self.chance.choices([one for _, one in acts], [weight for weight, _ in acts])[0]
        if not await act(operation):
            await self._post(operation)

    async def _post(self, operation: Operation, reply_to: str = "") -> bool:
        about = self.book.by_message.get(reply_to)
        said = self.book.says(operation, sentence(self.chance, operation.number), answers=about)
        name = f"op-{operation.number}"
        frame = {"type": "chat_message", "content": said.text, "client_id": name}
        if reply_to:
            frame["reply_to_id"] = reply_to
        with self.book.does(operation, "answer" if about else "say", about), contextlib.suppress(Broken):
            told = await self._ask(frame, lambda one: one.get("client_id") == name)
            if told["type"] == "chat_message":
                said.is_sure = True
            elif told["code"] == "upstream_error":
                pass  # accepted, and not decided in time: as good as no answer
            elif about is None or not about.is_leaving:
                self.book.fault(operation, f"was told {told}")
        return True

    async def _answer(self, operation: Operation) -> bool:
        about = self.book.pick(self.chance, self.room, lambda one: bool(one.message_id))
        return about is not None and await self._post(operation, about.message_id)

    async def _react(self, operation: Operation) -> bool:
        about = self.book.pick(self.chance, self.room, lambda one: one.message_id in self.shown)
        if about is None:
            return False
        mine = [emoji for who, emoji in about.reactions if who == self.who]
        emoji = self.chance.choice(mine or EMOJI)
        is_wanted = not mine
        frame = {"type": "reaction", "message_id": about.message_id, "emoji": emoji}
        frame["action"] = "add" if is_wanted else "remove"

        def fits(told: dict[str, Any]) -> bool:
            is_it = told["type"] == "reaction" and told["message_id"] == about.message_id
            return bool(is_it and told["user"]["username"] == self.who)

        with self.book.does(operation, f"reaction {frame['action']}", about):
            while not about.is_leaving and self._stands(about.message_id, emoji) is not is_wanted:
                try:
                    told = await self._ask(frame, fits)
                except (Broken, TimeoutError):  # after a death it may be so already, of which no news comes
                    await self.here()
                    continue
                if told["type"] == "error" and told["code"] != "upstream_error":
                    if not about.is_leaving:
                        self.book.fault(operation, f"was told {told}")
                    break
            if not about.is_leaving:
                if is_wanted:
                    about.reactions[self.who, emoji] = YES
                else:
                    about.reactions.pop((self.who, emoji), None)
        return True

    def _stands(self, message_id: str, emoji: str) -> bool:
        groups = self.shown.get(message_id, {}).get("reactions", [])
        return any(one["emoji"] == emoji and self.who in one["users"] for one in groups)

    async def _type(self, operation: Operation) -> bool:
        with self.book.does(operation, "typing"), contextlib.suppress(Broken):
            await self._say({"type": "typing", "is_typing": self.chance.random() < 0.5})
        return True

    async def _has_read(self, operation: Operation) -> bool:
        about = self.book.pick(self.chance, self.room, lambda one: one.message_id in self.shown)
        if about is None:
            return False
        with self.book.does(operation, "read"), contextlib.suppress(Broken):
            await self._say({"type": "read", "message_id": about.message_id})
        return True


def _is(kind: str) -> Callable[[dict[str, Any]], bool]:
    return lambda frame: bool(frame["type"] == kind)

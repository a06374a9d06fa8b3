"""People of a mixed run on ETB's pages: by REST with a key for each thing asked for, and at sockets.

Each does one thing after another in a room, as people do, and goes on where they were when the service comes back:
the same request under the same key; a socket that connects again and looks back.
"""

import asyncio
import hashlib
import io
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from etb_appservice.gateway.links import PREFIXES
from tests.chaos.mixed.acts import EMOJI, content_of, edit, sentence, take_away
from tests.chaos.mixed.book import YES, Book, Operation, Said
from tests.harness.sandbox import token_of

PATIENCE_S = 120.0
_AGAIN_S = 0.1
_AWAY = frozenset({429, 502, 503, 504})
_GONE = frozenset({400, 404, 409})
"""How something is refused whose message was taken away meanwhile."""


@dataclass(slots=True)
class Address:
    """Where the service is, and what each room is called by the web."""

    base: str
    war_rooms: list[str]


class Unanswered(Exception):
    """The service was away for longer than anybody waits."""


@dataclass(slots=True)
class Page:
    """Somebody's page: calls that are repeated until they are answered."""

    http: aiohttp.ClientSession
    where: Address
    who: str

    async def call(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, *, key: str = "", file: bytes = b""
    ) -> tuple[int, Any]:
        """The first answer that isn't that the service is away."""
        headers = {"Authorization": f"Token {token_of(self.who)}"} | ({"Idempotency-Key": key} if key else {})
        limit = time.monotonic() + PATIENCE_S
        last = ""
        while time.monotonic() < limit:
            data: dict[str, Any] = {"json": body}
            if file:
                form = aiohttp.FormData({one: str(value) for one, value in (body or {}).items()})
                form.add_field("file", io.BytesIO(file), filename=f"{key}.bin")
                data = {"data": form}
            url = self.where.base + PREFIXES[0] + path
            try:
                async with self.http.request(method, url, headers=headers, **data) as answer:
                    if answer.status not in _AWAY:
                        return answer.status, await answer.json()
                    last = f"{answer.status} {await answer.text()}"
            except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
                last = repr(error)
            await asyncio.sleep(_AGAIN_S)
        raise Unanswered(f"{method} {path}: {last}")

    async def fetch(self, path: str) -> bytes:
        """The bytes of a file."""
        headers = {"Authorization": f"Token {token_of(self.who)}"}
        async with self.http.get(self.where.base + PREFIXES[0] + path, headers=headers) as answer:
            assert answer.status == 200, (path, answer.status)
            return await answer.read()


@dataclass(slots=True)
class WebPerson:
    """Somebody on ETB's pages in one room; their ghost speaks for them."""

    page: Page
    book: Book
    room: int
    chance: random.Random
    sent: int = field(default=0)

    async def act(self, operation: Operation) -> None:
        """Something that people do there."""
        acts = (
            (30, self._post), (14, self._reply), (12, self._edit), (6, self._delete), (16, self._react),
            (10, self._pin), (6, self._file), (6, self._command),
        )  # fmt: skip
        act = self.chance.choices([one for _, one in acts], [weight for weight, _ in acts])[0]
        if not await act(operation):
            await self._post(operation)

    @property
    def who(self) -> str:
        return self.page.who

    async def _do(
        self, operation: Operation, method: str, path: str, body: Mapping[str, Any] | None, about: Said | None
    ) -> Any:
        """The answer; None where it came too late, which may only be for what somebody takes away."""
        status, found = await self.page.call(method, f"war-room-messages/{path}", body, key=self._key(operation))
        if status in {200, 201, 202}:
            return found
        if about is not None and about.is_leaving and status in _GONE:
            self.book.refused += 1
        else:
            self.book.fault(operation, f"{method} {path} was answered {status}: {found}")
        return None

    def _key(self, operation: Operation) -> str:
        return f"op-{operation.number}"

    async def _said(self, operation: Operation, said: Said, what: str, **more: Any) -> bool:
        body = {"war_room_id": self.page.where.war_rooms[self.room], "content": said.text, **more}
        with self.book.does(operation, what, said.answers):
            found = await self._do(operation, "POST", "", body, said.answers)
        if found is not None:
            self.book.names(said, message_id=found["id"], event_id=found["external_message_id"] or "")
            said.is_sure = True
        return True

    async def _post(self, operation: Operation) -> bool:
        said = self.book.says(operation, sentence(self.chance, operation.number))
        return await self._said(operation, said, "post")

    async def _reply(self, operation: Operation) -> bool:
        about = self.book.pick(self.chance, self.room, lambda one: bool(one.message_id))
        if about is None:
            return False
        said = self.book.says(operation, sentence(self.chance, operation.number), answers=about)
        return await self._said(operation, said, "reply", reply_to_id=about.message_id)

    def _own(self, one: Said) -> bool:
        return one.by == self.who and bool(one.message_id) and not one.is_command

    async def _edit(self, operation: Operation) -> bool:
        async def change(about: Said, text: str) -> bool:
            body = {"content": text}
            return await self._do(operation, "PATCH", f"{about.message_id}/", body, about) is not None

        return await edit(self.book, self.chance, operation, self._own, change)

    async def _delete(self, operation: Operation) -> bool:
        async def remove(about: Said) -> bool:
            path = f"war-room-messages/{about.message_id}/"
            status, found = await self.page.call("DELETE", path, key=self._key(operation))
            if status != 200:
                self.book.fault(operation, f"DELETE was answered {status}: {found}")
            return status == 200

        return await take_away(self.book, self.chance, operation, self._own, "delete", remove)

    async def _react(self, operation: Operation) -> bool:
        about = self.book.pick(self.chance, self.room, lambda one: bool(one.message_id))
        if about is None:
            return False
        mine = [emoji for who, emoji in about.reactions if who == self.who]
        emoji = self.chance.choice(mine or EMOJI)
        verb = "remove_reaction" if mine else "add_reaction"
        with self.book.does(operation, verb, about):
            found = await self._do(operation, "POST", f"{about.message_id}/{verb}/", {"emoji": emoji}, about)
            if found is not None and mine:
                del about.reactions[self.who, emoji]
            elif found is not None:
                about.reactions[self.who, emoji] = YES
        return True

    async def _pin(self, operation: Operation) -> bool:
        about = self.book.pick_for_pins(
            self.chance, self.room, lambda one: bool(one.message_id) and not one.is_busy and one.number % 2 == 0
        )
        if about is None:
            return False
        verb = "unpin_message" if about.is_pinned else "pin_message"
        about.is_busy = True
        with self.book.does(operation, verb, about):
            found = await self._do(operation, "POST", f"{about.message_id}/{verb}/", None, about)
        if found is not None:
            about.is_pinned = verb == "pin_message"
        about.is_busy = False
        return True

    async def _file(self, operation: Operation) -> bool:
        content = content_of(self.chance)
        where = {"war_room_id": self.page.where.war_rooms[self.room]}
        text = sentence(self.chance, operation.number)
        said = self.book.says(operation, text, sha256=hashlib.sha256(content).hexdigest())
        with self.book.does(operation, "upload"):
            status, file = await self.page.call(
                "POST", "chat-files/", where, key=self._key(operation), file=content
            )
            if status != 201:
                self.book.fault(operation, f"an upload was answered {status}: {file}")
                return True
            body = {**where, "content": text, "attachment_ids": [file["id"]]}
            found = await self._do(operation, "POST", "", body, None)
        if found is not None:
            self.book.names(said, message_id=found["id"], event_id=found["external_message_id"] or "")
            said.is_sure = True
        return True

    async def _command(self, operation: Operation) -> bool:
        said = self.book.says(operation, "/status", is_command=True)
        await self._said(operation, said, "command")
        if said.is_sure:
            with self.book.does(operation, "execute_command", said):
                found = await self._do(operation, "POST", f"{said.message_id}/execute_command/", {}, said)
            said.runs = 1
            if found is not None and found["execution_status"] not in {"SUCCESS", "RUNNING"}:
                self.book.fault(operation, f"the command ended {found['execution_status']}")
        return True

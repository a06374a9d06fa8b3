"""People of a mixed run at their own Matrix clients (matrix-js-sdk, Rust crypto). The homeserver lives on."""

import hashlib
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from tests.chaos.mixed.acts import EMOJI, content_of, edit, sentence, take_away
from tests.chaos.mixed.book import Book, Operation, Said
from tests.harness.jsclient import JsClient

PINS = "m.room.pinned_events"
_FRESH_S = 15.0


@dataclass(slots=True)
class ClientPerson:
    """Somebody at their client in one room. `pins`: whether the room lets them pin."""

    client: JsClient
    book: Book
    who: str
    room: int
    room_id: str
    chance: random.Random
    pins: bool = False

    async def act(self, operation: Operation) -> None:
        """Something that people do there."""
        acts = [
            (30, self._send), (14, self._thread), (14, self._edit), (7, self._redact), (18, self._react),
            (6, self._file), (5, self._command),
        ]  # fmt: skip
        if self.pins:
            acts.append((12, self._pin))
        act = self.chance.choices([one for _, one in acts], [weight for weight, _ in acts])[0]
        if not await act(operation):
            await self._send(operation)

    def _sent(self, said: Said, event_id: str) -> bool:
        self.book.names(said, event_id=event_id)
        said.is_sure = True
        return True

    async def _send(self, operation: Operation) -> bool:
        said = self.book.says(operation, sentence(self.chance, operation.number))
        with self.book.does(operation, "send"):
            return self._sent(said, await self.client.send(self.room_id, said.text))

    async def _thread(self, operation: Operation) -> bool:
        about = self.book.pick(self.chance, self.room, lambda one: bool(one.root.event_id))
        if about is None:
            return False
        said = self.book.says(operation, sentence(self.chance, operation.number), answers=about.root)
        with self.book.does(operation, "answer in a thread", about):
            return self._sent(said, await self.client.send(self.room_id, said.text, thread=about.root.event_id))

    def _own(self, one: Said) -> bool:
        return one.by == self.who and one.side == "matrix" and not one.is_command

    async def _edit(self, operation: Operation) -> bool:
        async def change(about: Said, text: str) -> bool:
            await self.client.edit(self.room_id, about.event_id, text)
            return True

        return await edit(self.book, self.chance, operation, self._own, change)

    async def _redact(self, operation: Operation) -> bool:
        async def remove(about: Said) -> bool:
            await self.client.redact(self.room_id, about.event_id)
            return True

        return await take_away(self.book, self.chance, operation, self._own, "redact", remove)

    async def _react(self, operation: Operation) -> bool:
        about = self.book.pick(self.chance, self.room, lambda one: bool(one.event_id))
        if about is None:
            return False
        mine = [emoji for who, emoji in about.reactions if who == self.who]
        if mine:
            with self.book.does(operation, "un-react", about):
                await self.client.redact(self.room_id, about.reactions.pop((self.who, mine[0])))
            return True
        emoji = self.chance.choice(EMOJI)
        with self.book.does(operation, "react", about):
            about.reactions[self.who, emoji] = await self.client.react(self.room_id, about.event_id, emoji)
        return True

    async def _file(self, operation: Operation) -> bool:
        content = content_of(self.chance)
        text = sentence(self.chance, operation.number)
        said = self.book.says(operation, text, sha256=hashlib.sha256(content).hexdigest())
        with self.book.does(operation, "file"):
            name = f"op-{operation.number}.bin"
            file = await self.client.upload(content, name=name, mime="application/octet-stream")
            info = {"size": len(content), "mimetype": "application/octet-stream"}
            body = {"msgtype": "m.file", "body": text, "filename": name, "file": file, "info": info}
            return self._sent(said, await self.client.send(self.room_id, body))

    async def _command(self, operation: Operation) -> bool:
        said = self.book.says(operation, "!status", is_command=True, runs=1)
        with self.book.does(operation, "command"):
            return self._sent(said, await self.client.send(self.room_id, said.text))

    # --- pins ---------------------------------------------------------------------------------------------

    async def _pin(self, operation: Operation) -> bool:
        about = self.book.pick_for_pins(
            self.chance,
            self.room,
            # Sooner it could be taken for what another list has overwritten (docs/decisions, 0032).
            lambda one: (
                bool(one.event_id)
                and not one.is_busy
                and one.number % 2 == 1
                and time.monotonic() - one.pinned_s > _FRESH_S
            ),
        )
        if about is None:
            return False
        is_wanted = not about.is_pinned
        about.is_busy = True
        with self.book.does(operation, "pin" if is_wanted else "unpin", about):
            await self._set_pin(about.event_id, is_wanted=is_wanted)
        about.is_pinned, about.pinned_s = is_wanted, time.monotonic()
        about.is_busy = False
        return True

    async def _set_pin(self, event_id: str, *, is_wanted: bool) -> None:
        """As a careful client does: what it replaced without having seen it is put back, with its own change."""
        state = await self._get(f"state/{quote(PINS)}", query={"format": "event"})
        read: str = state["event_id"]
        pinned: Sequence[str] = state["content"]["pinned"]
        while True:
            wanted = [one for one in pinned if one != event_id] + ([event_id] if is_wanted else [])
            if wanted == pinned:
                return
            path = f"/rooms/{quote(self.room_id)}/state/{quote(PINS)}/"
            made = (await self.client.http("PUT", path, body={"pinned": wanted}))["event_id"]
            replaced = (await self._get(f"event/{quote(made)}"))["unsigned"]["replaces_state"]
            if replaced in {read, made}:
                return
            read, pinned = made, (await self._get(f"event/{quote(replaced)}"))["content"]["pinned"]

    async def _get(self, what: str, query: dict[str, Any] | None = None) -> dict[str, Any]:
        return await self.client.http("GET", f"/rooms/{quote(self.room_id)}/{what}", query=query)

"""The desk: what a caller may do in a war room, for the chat API and the WebSocket alike.

    REST call, frame ─► Desk ─► one commit: the fact, decided ─► News, to every socket; effects, to Matrix
                          └───► Refusal: nothing was stored

Each act has an id, a UUIDv7 that whoever calls has minted, and may have a key of the caller's own: it happens
once, however often it is asked for with the same id, or by the same caller with the same key. Text from outside
comes in as it was sent; that it can be stored and sent is the desk's to see to.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from pydantic import JsonValue

from etb_appservice.domain.ids import WarRoomId
from etb_appservice.domain.web import DraftType, RefusalCode
from etb_appservice.gateway.callers import Caller

__all__ = [
    "Act",
    "Desk",
    "Draft",
    "DraftType",
    "Order",
    "Refusal",
    "RefusalCode",
    "Undecided",
]


class Refusal(Exception):
    """It was not done, and nothing of it is stored. `detail` is for a person and discloses nothing."""

    def __init__(self, code: RefusalCode, detail: str, *, field: str = "") -> None:
        """`field`: what was wrong with which part of the input, where it was that."""
        super().__init__(detail)
        self.code: RefusalCode = code
        self.detail = detail
        self.field = field


class Undecided(Refusal):
    """It was accepted and isn't decided yet, but will be: the same key asked again answers what became of it."""

    def __init__(self) -> None:
        """Whoever had no key can only look into the room."""
        detail = "This was accepted but could not be done in time. Ask again with the same Idempotency-Key."
        super().__init__("upstream_error", detail)


@dataclass(frozen=True, slots=True)
class Act:
    """One thing that is asked for. `key`: the caller's `Idempotency-Key` (4.2), empty where there is none."""

    id: str
    key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A message to be posted (4.2). Ids are of our own messages and files, and of ETB's users."""

    content: str
    message_type: DraftType = "TEXT"
    reply_to: str | None = None
    mentioned: tuple[str, ...] = ()
    """ETB's ids of users; who is mentioned in the text by `@username` is found there."""
    attachments: tuple[str, ...] = ()
    client_id: str = ""
    """The client's own name of it, told back to its sender."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A command to be run (4.4): by its text, or the one that a message is.

    `parameters` go into its text; with any, it is a command of its own, said anew.
    """

    command_text: str = ""
    message_id: str | None = None
    parameters: Mapping[str, JsonValue] = field(default_factory=dict)


class Desk(Protocol):
    """What callers do in war rooms. Every call MUST ask `flows/permitted` in its own unit of work.

    Each returns when its decision is committed and raises nothing but Refusal; repeating with the same id is safe.
    A message or a file of another war room MUST be `not_found`, and so a war room that the caller may not enter:
    which of both it is, whoever serves it has said already.
    """

    async def post(self, caller: Caller, war_room: WarRoomId, act: Act, draft: Draft) -> str:
        """Post a message; answers its id: the act's, or the first one's where the same key was used before."""
        ...

    async def edit(self, caller: Caller, war_room: WarRoomId, act: Act, message_id: str, content: str) -> None:
        """Change the text of one's own message."""
        ...

    async def delete(self, caller: Caller, war_room: WarRoomId, act: Act, message_id: str) -> None:
        """Take away one's own message, or as moderator somebody else's. One that is gone is no refusal."""
        ...

    async def react(
        self, caller: Caller, war_room: WarRoomId, act: Act, message_id: str, emoji: str, *, is_added: bool
    ) -> None:
        """Give or withdraw a reaction, one a person, message and emoji. What is so already is no refusal."""
        ...

    async def pin(
        self, caller: Caller, war_room: WarRoomId, act: Act, message_id: str, *, is_pinned: bool
    ) -> None:
        """Pin or unpin a message. What is so already is no refusal."""
        ...

    async def run(self, caller: Caller, war_room: WarRoomId, act: Act, order: Order) -> str:
        """Have a command run; answers the id of its run, as `post` does. How it went comes as news."""
        ...

    async def typing(self, caller: Caller, war_room: WarRoomId, *, is_typing: bool) -> None:
        """Say that the caller types, or no longer. Kept nowhere."""
        ...

    async def read(self, caller: Caller, war_room: WarRoomId, act: Act, message_id: str) -> None:
        """Say how far the caller has read."""
        ...

"""Facts of ETB's web users: what they have asked for by the chat API or the WebSocket. `facts` knows them all.

Each is an act with an id of its own, a UUIDv7 that was minted when it was accepted, and ends in a ruling: done,
or refused with a sentence for whoever asked. It is proven by the ETB token that came with it, not by a device.
Facts are stored and read again by later versions: give new fields a default.
"""

from dataclasses import dataclass
from typing import Literal

from etb_appservice.domain.ids import WarRoomId
from etb_appservice.domain.incident import EtbUser

RefusalCode = Literal[
    "validation_error",
    "not_found",
    "forbidden",
    "rate_limited",
    "room_closed",
    "legal_hold",
    "upstream_error",
]
"""Those of the error frame (docs/etb-contract.md 6.3) that tell of the act itself.

For want of clearance an act is `not_found`: whoever asks isn't told what there is above theirs.
"""
DraftType = Literal["TEXT", "COMMAND", "UPDATE", "FILE"]
"""What a client may create (4.2)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebAct:
    """Who asked, by what call, for which war room. `confirmed_ms`: when ETB confirmed token and user."""

    act: str
    war_room: WarRoomId
    by: EtbUser
    confirmed_ms: int
    key: str = ""
    """Hash of the caller's `Idempotency-Key`, hex; empty where there was none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSaid(WebAct):
    """A message (4.2). Its id is the act's. Ids are of our own messages and files, and of ETB's users."""

    kind: Literal["WebSaid"] = "WebSaid"
    content: str
    message_type: DraftType = "TEXT"
    reply_to: str | None = None
    mentioned: tuple[str, ...] = ()
    """ETB's ids of users; who is mentioned by `@username` is found in the text."""
    attachments: tuple[str, ...] = ()
    client_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebEdited(WebAct):
    """Another text for a message of one's own."""

    kind: Literal["WebEdited"] = "WebEdited"
    message_id: str
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WebDeleted(WebAct):
    """A message is to go: one's own, or as moderator somebody else's."""

    kind: Literal["WebDeleted"] = "WebDeleted"
    message_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WebReacted(WebAct):
    """An emoji on a message, or its withdrawal."""

    kind: Literal["WebReacted"] = "WebReacted"
    message_id: str
    emoji: str
    is_added: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class WebPinned(WebAct):
    """A message pinned, or pinned no longer."""

    kind: Literal["WebPinned"] = "WebPinned"
    message_id: str
    is_pinned: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class WebRan(WebAct):
    """A command to be run (4.4). Its run has the act's id.

    By its text, which is then said in the room as the message `new_message`; or the one that a message is.
    """

    kind: Literal["WebRan"] = "WebRan"
    text: str = ""
    message_id: str | None = None
    new_message: str = ""


WebFact = WebSaid | WebEdited | WebDeleted | WebReacted | WebPinned | WebRan


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    """How an act was decided. `code` None: done. It holds nothing of what anybody wrote."""

    result: str = ""
    """The id of what was made: a message, a run."""
    code: RefusalCode | None = None
    detail: str = ""
    """For a person; discloses nothing."""
    field: str = ""
    """Which part of the input was wrong, where it was that."""

"""Events of rooms as tests make them, and what they say. Known to `World` alone; nothing of Matrix is in them."""

from collections.abc import Callable
from typing import Any

from etb_appservice.domain.conversation import EncryptedFile, FileDetails
from etb_appservice.domain.facts import (
    EventRedacted,
    Fact,
    Loss,
    MembershipChanged,
    MessageReceived,
    MessageUnreadable,
    PinsSet,
    PlainMessageReceived,
    PollAsked,
    PollEnded,
    PollVoted,
    ReactionReceived,
    StateChanged,
    TombstoneSeen,
    Trust,
)
from etb_appservice.ports import KeyMissing, Nothing


def event(what: str, room_id: str, sender: str, *, event_id: str, **fields: Any) -> dict[str, Any]:
    """An event of a room, as `World.decode` reads it."""
    return {"is": what, "room_id": room_id, "sender": sender, "event_id": event_id, "origin_ms": 5, **fields}


def member(room_id: str, user_id: str, membership: str, *, sender: str, event_id: str) -> dict[str, Any]:
    """Somebody came or went."""
    return event("member", room_id, sender, event_id=event_id, user_id=user_id, membership=membership)


def read(content: dict[str, Any], opens: Callable[[str, str, int], bool]) -> Fact | KeyMissing | Nothing:
    """What an event says; `opens`: whether the key of (room, session, index) is here."""
    origin = {name: content[name] for name in ("room_id", "event_id", "sender", "origin_ms")}
    session = content.get("session")
    if session is not None and not opens(content["room_id"], session, content.get("index", 0)):
        return KeyMissing(**origin, session_id=session, thread_root=content.get("thread_root"))
    rest = {name: content[name] for name in content.keys() - origin.keys() - {"is", "session", "index"}}
    match content["is"]:
        case "message":
            return MessageReceived(**origin, device_id="PHONE", session_id=session or "", **_typed(rest))
        case "plain":
            return PlainMessageReceived(**origin, event_type="m.room.message")
        case "unreadable":
            return MessageUnreadable(**origin, loss=Loss(content["loss"]))
        case "member":
            return MembershipChanged(**origin, **rest)
        case "reaction":
            return ReactionReceived(**origin, **rest)
        case "redaction":
            return EventRedacted(**origin, **rest)
        case "pins":
            return PinsSet(**origin, pinned=tuple(rest["pinned"]))
        case "vote":
            return PollVoted(**origin, poll=rest["poll"], answers=tuple(rest["answers"]))
        case "poll ends":
            return PollEnded(**origin, poll=rest["poll"])
        case "state":
            return StateChanged(**origin, **rest)
        case "tombstone":
            return TombstoneSeen(**origin, **rest)
        case _:
            return Nothing("not for us")


def _typed(fields: dict[str, Any]) -> dict[str, Any]:
    """What JSON has made of the fields of a message, as they were."""
    file, poll = fields.pop("file", None), fields.pop("poll", None)
    trust = Trust(fields.pop("trust", Trust.CROSS_SIGNED))
    mentions = tuple(fields.pop("mentions", ()))
    if file is not None:
        known = file.pop("file", None)
        file = FileDetails(**file, file=EncryptedFile(**known) if known else None)
    if poll is not None:
        poll = PollAsked(**{**poll, "answers": tuple(tuple(one) for one in poll["answers"])})
    return {**fields, "trust": trust, "mentions": mentions, "file": file, "poll": poll}

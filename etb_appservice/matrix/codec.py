"""Reads a room event into a Fact. Repeatable: the same event reads the same again, also after a restart.

    m.room.encrypted ──decrypt──> MessageReceived | MessageUnreadable | KeyMissing (also while the sender's devices
                                  can't be asked for: a message must not hold up everybody else's)
    of a ghost ──> the same, and the key of the effect that said it
    plain message in an encrypted room of ours ──> PlainMessageReceived (never acted upon)
    m.room.member ──> MembershipChanged     m.room.redaction ──> EventRedacted     other state ──> StateChanged
    m.room.tombstone that names a room ──> TombstoneSeen
    m.reaction ──> ReactionReceived     m.room.pinned_events ──> PinsSet
    decrypted votes in polls, and their ends ──> PollVoted, PollEnded

Every field is a stranger's word until its type was looked at. Must raise nothing but Broken (no event at all),
whatever stands in the event.
"""

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from etb_appservice.domain.facts import (
    EventRedacted,
    Fact,
    Loss,
    MembershipChanged,
    MessageReceived,
    MessageUnreadable,
    Origin,
    PinsSet,
    PlainMessageReceived,
    PollEnded,
    PollVoted,
    ReactionReceived,
    StateChanged,
    TombstoneSeen,
    Trust,
)
from etb_appservice.domain.ghosts import Ghosts
from etb_appservice.domain.ids import EventId, RoomId, UserId
from etb_appservice.domain.outcomes import Broken
from etb_appservice.domain.reactions import bare
from etb_appservice.matrix import results
from etb_appservice.matrix.arrivals import is_id, is_user_id
from etb_appservice.matrix.contents import POLL_STARTS, ballot_of, clean, file_of, mentions_of, place_of, poll_of
from etb_appservice.matrix.messages import EFFECT_FIELD, RELATION
from etb_appservice.matrix.results import Crypto, Decrypted, Undecryptable
from etb_appservice.ports import ASK_AGAIN, KeyMissing, Nothing, Store

Json = Mapping[str, Any]
IsEncrypted = Callable[[RoomId], Awaitable[bool]]
"""Whether a room is an encrypted room of ours."""

_LATEST_MS = 1 << 53
_LONGEST_KEY = 100
_MOST_PINS = 1000
_MEMBERSHIPS = frozenset({"invite", "join", "knock", "leave", "ban"})
_TEXT_TYPES = frozenset({"m.room.message", "m.message", "m.sticker"}) | POLL_STARTS
_TEXT_FIELDS = frozenset(
    {"body", "formatted_body", "msgtype", "m.text", "m.new_content", "org.matrix.msc1767.text"}
)
_SURROGATES = re.compile("[\ud800-\udfff]")
_TRUST = {
    results.Trust.CROSS_SIGNED: Trust.CROSS_SIGNED,
    results.Trust.IDENTITY_CHANGED: Trust.UNSIGNED,
    results.Trust.UNSIGNED: Trust.UNSIGNED,
    results.Trust.DELETED: Trust.UNSIGNED,
}
_LOSS = {
    results.Unreadable.WITHHELD: Loss.WITHHELD,
    results.Unreadable.WRONG_SENDER: Loss.WRONG_SENDER,
    results.Unreadable.DUPLICATE_INDEX: Loss.REPLAYED,
    results.Unreadable.MALFORMED: Loss.MALFORMED,
    results.Unreadable.UNKNOWN_ALGORITHM: Loss.UNKNOWN_ALGORITHM,
}


def encrypted_rooms(store: Store) -> IsEncrypted:
    """Asks the tables."""

    async def is_encrypted(room_id: RoomId) -> bool:
        async with store.view() as work:
            room = await work.rooms.by_id(room_id)
        return room is not None and room.encrypted

    return is_encrypted


class Decoder:
    """`MatrixDecoder` with the bot's own keys. `is_ours`: whose encrypted messages need no reading."""

    def __init__(
        self,
        crypto: Crypto,
        is_encrypted: IsEncrypted,
        is_ours: Callable[[UserId], bool],
        *,
        missed: Callable[[], None],
        ghosts: Ghosts | None = None,
    ) -> None:
        """`missed` is called when a key isn't here that may have come to the homeserver by now."""
        self._ghosts = ghosts or Ghosts()
        self._missed = missed
        self._crypto = crypto
        self._is_encrypted = is_encrypted
        self._is_ours = is_ours

    async def decode(self, payload: bytes) -> Fact | KeyMissing | Nothing:
        """Read one event as JSON."""
        try:
            event = json.loads(payload)
        except (ValueError, RecursionError):
            raise Broken("the event is not JSON that can be read") from None
        if not isinstance(event, dict):
            raise Broken("the event is not a JSON object")
        origin = _origin(event)
        event_type, content = event.get("type"), event.get("content")
        if not is_id(event_type) or not isinstance(content, dict):
            return Nothing("the event's type or content is not of the right kind")
        if "state_key" in event:
            return _state(event, str(event_type), content, origin)
        if event_type == "m.room.redaction":
            return _redaction(event, content, origin)
        if not content:
            return Nothing("the event is empty, as a redacted one is")
        if event_type == "m.room.encrypted":
            return await self._encrypted(event, content, origin)
        if event_type in _TEXT_TYPES or not _TEXT_FIELDS.isdisjoint(content):
            if await self._is_encrypted(origin.room_id):
                return PlainMessageReceived(**_of(origin), event_type=str(event_type))
            return Nothing("a message outside the encrypted rooms of ours")
        if event_type == "m.reaction":
            return _reaction(content, origin)
        return Nothing("an event that carries no message")

    async def _encrypted(self, event: Json, content: Json, origin: Origin) -> Fact | KeyMissing | Nothing:
        if self._is_ours(origin.sender) and self._ghosts.username(origin.sender) is None:
            return Nothing("the echo of what we have said ourselves")
        match await self._crypto.decrypt(event):
            case results.KeyMissing(session_id=session_id):
                self._missed()
                return _waits(origin, session_id, content)
            case Undecryptable(reason=reason):
                named = content.get("session_id")
                return MessageUnreadable(
                    **_of(origin), loss=_LOSS[reason], session_id=str(named) if is_id(named) else ""
                )
            case Decrypted(trust=results.Trust.UNKNOWN):
                return _waits(origin, f"{ASK_AGAIN}{content.get('session_id')}", content)
            case Decrypted() as inner:
                is_ghost = self._ghosts.username(origin.sender) is not None
                return _message(inner, content, origin, is_ours=is_ghost)


def _waits(origin: Origin, session_id: str, envelope: Json) -> KeyMissing:
    thread_root = _thread(_relation(envelope))
    return KeyMissing(origin.room_id, origin.event_id, origin.sender, origin.origin_ms, session_id, thread_root)


def _relation(envelope: Json) -> Json:
    relation = envelope.get(RELATION)
    return relation if isinstance(relation, dict) else {}


def _thread(relation: Json) -> EventId | None:
    return _event_id(relation.get("event_id")) if relation.get("rel_type") == "m.thread" else None


def _message(
    inner: Decrypted, envelope: Json, origin: Origin, *, is_ours: bool = False
) -> MessageReceived | PollVoted | PollEnded | Nothing:
    """A decrypted message. The relation counts as it stands in clear text beside the ciphertext."""
    relation = _relation(envelope)
    content = inner.content
    ballot = ballot_of(inner.type, content, relation)
    if ballot is not None:
        where = _of(origin)
        return (
            PollEnded(**where, poll=ballot.poll)
            if ballot.is_end
            else PollVoted(**where, poll=ballot.poll, answers=ballot.answers)
        )
    replaces = _event_id(relation.get("event_id")) if relation.get("rel_type") == "m.replace" else None
    new = content.get("m.new_content")
    if (replaces is None) != (new is None):
        # Either could make an edit run as a command, or a command pass as an edit.
        return Nothing("half of an edit: m.replace and m.new_content don't stand together")
    if isinstance(new, dict):
        content = new
    elif new is not None:
        return Nothing("an edit whose m.new_content is not an object")
    key = inner.content.get(EFFECT_FIELD)
    body, msgtype = content.get("body"), content.get("msgtype", inner.type)
    poll = poll_of(inner.type, content) if replaces is None else None
    if poll is not None:
        body, msgtype = poll.question, inner.type
    if not isinstance(body, str) or not is_id(msgtype):
        return Nothing("an encrypted event that carries no text")
    reply_to, is_fallback = _reply(relation)
    if reply_to is not None:
        body = without_quote(body)
    mentions, mentions_room = mentions_of(content)
    return MessageReceived(
        **_of(origin),
        device_id=inner.sender_device or "",
        trust=_TRUST[inner.trust],
        msgtype=msgtype,
        body=clean(body),
        thread_root=_thread(relation),
        reply_to=None if is_fallback else reply_to,
        replaces=replaces,
        effect_key=key if is_ours and isinstance(key, str) else None,
        session_id=str(envelope["session_id"]) if is_id(envelope.get("session_id")) else "",
        mentions=mentions,
        mentions_room=mentions_room,
        file=file_of(msgtype, content),
        place=place_of(msgtype, content),
        poll=poll,
    )


def _reply(relation: Json) -> tuple[EventId | None, bool]:
    """What a message answers, and whether that only stands there for clients that know no threads."""
    reply = relation.get("m.in_reply_to")
    target = _event_id(reply.get("event_id")) if isinstance(reply, dict) else None
    return target, relation.get("rel_type") == "m.thread" and relation.get("is_falling_back") is True


def without_quote(body: str) -> str:
    r"""A reply's body without the quotation that older clients put before it (up to specification v1.12).

    >>> without_quote("> <@a:x> hello\n> there\n\n!status"), without_quote("plain")
    ('!status', 'plain')
    """
    lines = body.split("\n")
    quoted = 0
    while quoted < len(lines) and lines[quoted].startswith("> "):
        quoted += 1
    if not quoted:
        return body
    if quoted < len(lines) and not lines[quoted]:
        quoted += 1
    return "\n".join(lines[quoted:])


def _state(
    event: Json, event_type: str, content: Json, origin: Origin
) -> MembershipChanged | StateChanged | TombstoneSeen | PinsSet | Nothing:
    state_key = event["state_key"]
    successor = content.get("replacement_room")
    if event_type == "m.room.tombstone" and state_key == "" and is_id(successor):
        return TombstoneSeen(**_of(origin), replacement=RoomId(str(successor)))
    if event_type == "m.room.pinned_events" and state_key == "":
        return PinsSet(**_of(origin), pinned=_pinned(content))
    if event_type != "m.room.member":
        if state_key != "" and not is_id(state_key):
            return Nothing("a state event whose state_key is unusable")
        return StateChanged(**_of(origin), event_type=event_type, state_key=state_key)
    membership = _membership(content)
    if not is_user_id(state_key) or not membership:
        return Nothing("a membership of nobody, or of an unknown kind")
    unsigned = event.get("unsigned")
    before = unsigned.get("prev_content") if isinstance(unsigned, dict) else None
    return MembershipChanged(
        **_of(origin),
        user_id=UserId(state_key),
        membership=membership,
        previous=_membership(before) or "leave",
    )


def _pinned(content: Json) -> tuple[EventId, ...]:
    pinned = content.get("pinned")
    rows = pinned[:_MOST_PINS] if isinstance(pinned, list) else []
    return tuple(dict.fromkeys(found for one in rows if (found := _event_id(one)) is not None))


def _membership(content: object) -> str:
    """A known membership, or nothing."""
    word = content.get("membership") if isinstance(content, dict) else None
    return word if isinstance(word, str) and word in _MEMBERSHIPS else ""


def _redaction(event: Json, content: Json, origin: Origin) -> EventRedacted | Nothing:
    """`redacts` stands beside the content up to room version 10, in it from 11 (MSC2174)."""
    target = _event_id(event.get("redacts")) or _event_id(content.get("redacts"))
    if target is None:
        return Nothing("a redaction of nothing")
    return EventRedacted(**_of(origin), redacts=target)


def _reaction(content: Json, origin: Origin) -> ReactionReceived | Nothing:
    """Matrix specification, "Annotating other events"."""
    relation = content.get(RELATION)
    relation = relation if isinstance(relation, dict) else {}
    target, key = _event_id(relation.get("event_id")), relation.get("key")
    if relation.get("rel_type") != "m.annotation" or target is None:
        return Nothing("a reaction to nothing")
    if not isinstance(key, str) or not bare(key) or len(key) > _LONGEST_KEY or _SURROGATES.search(key):
        return Nothing("a reaction whose key is unusable")
    return ReactionReceived(
        **_of(origin), key=bare(key), relates_to=target, shown="" if bare(key) == key.strip() else key.strip()
    )


def _origin(event: Json) -> Origin:
    for name in ("event_id", "room_id"):
        if not is_id(event.get(name)):
            raise Broken(f"the event's {name} is missing or unusable")
    if not is_user_id(event.get("sender")):
        raise Broken("the event's sender is no user id")
    sent = event.get("origin_server_ts")
    valid = isinstance(sent, int) and not isinstance(sent, bool) and 0 <= sent < _LATEST_MS
    return Origin(
        room_id=RoomId(event["room_id"]),
        event_id=EventId(event["event_id"]),
        sender=UserId(event["sender"]),
        origin_ms=sent if valid and isinstance(sent, int) else 0,
    )


def _of(origin: Origin) -> dict[str, Any]:
    return {
        "room_id": origin.room_id,
        "event_id": origin.event_id,
        "sender": origin.sender,
        "origin_ms": origin.origin_ms,
    }


def _event_id(value: object) -> EventId | None:
    return EventId(value) if isinstance(value, str) and is_id(value) else None

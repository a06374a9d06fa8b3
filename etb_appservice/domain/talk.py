"""Facts of the conversation: what was said, and what became of it. `facts` knows them all.

Every fact that came from a room says whether it was decrypted; what counts comes only from a decrypted event of
a device of its sender. Facts are stored and read again by later versions: give new fields a default.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Literal

from etb_appservice.domain.conversation import FileDetails
from etb_appservice.domain.ids import EventId, RoomId, UserId


class Trust(Enum):
    """How far the device that encrypted a message vouches for its sender. Compare by `is`, never by order."""

    CROSS_SIGNED = "cross-signed"
    """The sender's own identity has signed the device."""
    UNSIGNED = "unsigned"
    """A device of the sender, known to their server, but not signed by their identity."""
    TOKEN = "etb token"  # noqa: S105 - its name
    """No device: a web user, by their own token of ETB."""


class Loss(Enum):
    """Why a message can never be read."""

    WITHHELD = "withheld"
    """Its sender's client told us that it won't give us the key."""
    WRONG_SENDER = "wrong sender"
    """The key doesn't belong to a device of whoever the server says sent it."""
    REPLAYED = "replayed"
    """The message index was used before by another event."""
    MALFORMED = "malformed"
    UNKNOWN_ALGORITHM = "unknown algorithm"


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where an event of a room came from. `origin_ms` is the sender's word and proves nothing."""

    room_id: RoomId
    event_id: EventId
    sender: UserId
    origin_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PollAsked:
    """What a poll asks (MSC3381); the fields are those of `conversation.Poll`."""

    question: str
    answers: tuple[tuple[str, str], ...]
    is_disclosed: bool = True
    most: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageReceived(Origin):
    """A decrypted `m.room.message` (or another room event that carries text)."""

    kind: Literal["MessageReceived"] = "MessageReceived"
    device_id: str
    trust: Trust
    msgtype: str
    body: str
    """As the client sent it, without the quoted fallback of a reply; at most 64 KiB by the event's size."""
    thread_root: EventId | None = None
    reply_to: EventId | None = None
    replaces: EventId | None = None
    """The event that this one edits."""
    effect_key: str | None = None
    """The key of our own effect, when this is the echo of something we sent."""
    session_id: str = ""
    """The Megolm session it was encrypted with: what was said in it is decided in order."""
    mentions: tuple[UserId, ...] = ()
    mentions_room: bool = False
    file: FileDetails | None = None
    """The attachment that it is; `body` is its caption, or its name where it has none."""
    place: str = ""
    """Where `m.location` points to (RFC 5870)."""
    poll: PollAsked | None = None
    """The question that it is; `body` is that question."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainMessageReceived(Origin):
    """A message in clear text in an encrypted room.

    It is never acted upon: whoever runs a homeserver can inject one as any of its users.
    """

    kind: Literal["PlainMessageReceived"] = "PlainMessageReceived"
    event_type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageUnreadable(Origin):
    """An encrypted message that will never be decrypted."""

    kind: Literal["MessageUnreadable"] = "MessageUnreadable"
    loss: Loss
    session_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyAwaited(Origin):
    """An encrypted message whose key isn't here yet, and has been awaited for a while.

    `waited_s` counts from our own receipt. Looked at twice: when the room is to be told, and when we give up.
    """

    kind: Literal["KeyAwaited"] = "KeyAwaited"
    session_id: str
    waited_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ReactionReceived(Origin):
    """A reaction to a message; readable and forgeable by the sender's server, so only for what does no harm."""

    kind: Literal["ReactionReceived"] = "ReactionReceived"
    key: str
    """The emoji, without variation selectors."""
    relates_to: EventId
    shown: str = ""
    """The emoji as it was sent; empty where that is the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRedacted(Origin):
    """A redaction; readable and forgeable by the sender's server, so it only ever removes."""

    kind: Literal["EventRedacted"] = "EventRedacted"
    redacts: EventId


@dataclass(frozen=True, slots=True, kw_only=True)
class PinsSet(Origin):
    """Somebody set what is pinned in a room (`m.room.pinned_events`): all of it, in order."""

    kind: Literal["PinsSet"] = "PinsSet"
    pinned: tuple[EventId, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PollVoted(Origin):
    """A decrypted vote in a poll; an earlier one of the same person counts no longer."""

    kind: Literal["PollVoted"] = "PollVoted"
    poll: EventId
    answers: tuple[str, ...]
    """Ids of answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PollEnded(Origin):
    """A decrypted event by which somebody ended a poll; it counts from whoever began it."""

    kind: Literal["PollEnded"] = "PollEnded"
    poll: EventId


Early = MessageReceived | ReactionReceived | PollVoted | PollEnded
"""What may come before that which it is about: an edit, a reaction, a vote, a poll's end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CameTooEarly(Origin):
    """Something was about an event that wasn't in the record yet; it is looked at again, some times."""

    kind: Literal["CameTooEarly"] = "CameTooEarly"
    what: Early
    came_ms: int
    """When it came first, by our clock."""
    looks: int = 1


TalkFact = (
    MessageReceived
    | PlainMessageReceived
    | MessageUnreadable
    | KeyAwaited
    | ReactionReceived
    | CameTooEarly
    | EventRedacted
    | PinsSet
    | PollVoted
    | PollEnded
)

"""What the bot's encryption answers, and the shape others code against: no I/O, no mautrix.

    encrypt ──> Encrypted
    decrypt ──> Decrypted | KeyMissing | Undecryptable
    handle_sync ──> SyncResult

Nothing that a stranger sends makes decrypting raise. Encrypting raises the four outcomes of domain/outcomes.py. A
failing crypto database raises its own errors from all of them and is fatal.

Trust has no order on purpose: mautrix ranks "unknown device" above "unverified", so a comparison by size lets a
stranger through. Ask for the one value you need.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

from etb_appservice.domain.classification import Classification

HELD_LIMIT = 1_000
"""More keys of one room than this are never looked through: anyone in a room can make any number."""


class Trust(Enum):
    """What is known of the device a message was encrypted by. Always a device of the event's own sender."""

    CROSS_SIGNED = "cross_signed"
    """Signed by its owner's identity, the one first seen for this person."""
    IDENTITY_CHANGED = "identity_changed"
    """Signed by its owner's identity, but that identity was replaced since it was first seen."""
    UNSIGNED = "unsigned"
    """A device of the sender which its owner never signed; clients show a red shield."""
    DELETED = "deleted"
    """Was a device of the sender when we last saw it; its owner removed it since."""
    UNKNOWN = "unknown"
    """The sender's devices could not be asked for now. Proves nothing; ask again later."""


class Unreadable(Enum):
    """Why an event will never be readable to us."""

    WITHHELD = "withheld"
    """Its sender told us that we are not given the key."""
    WRONG_SENDER = "wrong_sender"
    """The key belongs to no device of the event's sender: a replay of somebody else's ciphertext, or a forgery."""
    DUPLICATE_INDEX = "duplicate_index"
    """The same ciphertext was seen under another event id: a replay."""
    MALFORMED = "malformed"
    UNKNOWN_ALGORITHM = "unknown_algorithm"


@dataclass(frozen=True, slots=True)
class Rotation:
    """When a room's key is replaced although nobody came or went: `m.room.encryption` of the room."""

    messages: int = 100
    period_ms: int = 604_800_000


@dataclass(frozen=True, slots=True)
class Refusal:
    """A device that was not given a room key, why in one word, and how often it was tried."""

    room_id: str
    user_id: str
    device_id: str
    reason: str
    tries: int


@dataclass(frozen=True, slots=True)
class Unsigned:
    """A living device that its owner's accepted identity has not signed."""

    user_id: str
    device_id: str
    name: str
    """As its owner, or their homeserver, calls it; shown to people, and proof of nothing."""
    is_replaced: bool
    """Whether an identity of the owner's has signed it that is not the one first seen (Trust.IDENTITY_CHANGED)."""


@dataclass(frozen=True, slots=True)
class Encrypted:
    """Content for an `m.room.encrypted` event.

    `refused`: devices that could not be given this session's key (all of them, not only new ones).
    `without_devices`: recipients of whom we know no device, or none that could be given the key.
    `withheld`: devices that are not given this session's key, since their owner has not signed them.
    """

    content: dict[str, Any]
    session_id: str
    refused: int = 0
    without_devices: tuple[str, ...] = ()
    withheld: int = 0


@dataclass(frozen=True, slots=True)
class Decrypted:
    """The inner event of a message whose session belongs to a device of its sender."""

    type: str
    content: dict[str, Any]
    sender_device: str | None
    """None only with Trust.UNKNOWN."""
    trust: Trust


@dataclass(frozen=True, slots=True)
class KeyMissing:
    """No key yet; `SyncResult.new_sessions` names the session when it comes."""

    session_id: str


@dataclass(frozen=True, slots=True)
class Undecryptable:
    """Final."""

    reason: Unreadable
    detail: str = ""
    """For logs and operators: a withheld code, a field's name. Never content."""


@dataclass(frozen=True, slots=True)
class SyncResult:
    """What a sync response brought to the keys. A replayed response reports the same sessions again.

    `withheld`: sessions of which a sender said that we are not given the key: their events are final now.
    """

    new_sessions: tuple[tuple[str, str], ...] = ()
    withheld: tuple[tuple[str, str], ...] = ()
    key_requests_refused: int = 0
    olm_failures: int = 0


@dataclass(frozen=True, slots=True)
class Held:
    """A room key that we hold, and what we know of its use. Times are UTC milliseconds."""

    session_id: str
    device: str
    """The identity key of the device whose session it is."""
    is_ours: bool
    is_marked: bool
    """Whether whoever made it says that it may be passed on to people invited later (MSC3061, MSC4268)."""
    came_ms: int
    """When it was made or came, by our clock."""
    level: Classification | None
    """Ours alone: the room's classification while it was used; None: not known."""
    heard_ms: int | None
    """Others' alone: the earliest message in it, by its sender's clock; None: none was ever read."""
    start: int | None
    """The index of the first message from the asked time on; None: there is none."""


@dataclass(frozen=True, slots=True)
class Told:
    """How many devices were sent something, and how many were not: not signed by their owner, or without keys."""

    reached: int
    passed_over: int


class Crypto(Protocol):
    """The bot's encryption. One per actor; `cipher.Cipher` is the real one.

    A caller may be cancelled at any await; the work goes on to its end, so that ratchets and the database never
    part ways.
    """

    async def encrypt(
        self,
        room_id: str,
        event_type: str,
        content: Mapping[str, Any],
        recipients: Sequence[str],
        *,
        rotation: Rotation | None = None,
        shared_history: bool = False,
        signed_only: bool = False,
        level: Classification | None = None,
    ) -> Encrypted:
        """Encrypt for all devices of `recipients` (our own tables; the bot itself may be among them).

        A session whose recipients or their devices changed is dropped and made anew; so is one that was made at
        another `level` of the room. Raises the four outcomes.

        `signed_only`: only for devices of Trust.CROSS_SIGNED. Every other one is told once a session that it is
        not given the key (`m.room_key.withheld`, code `m.unverified`), and gets the key it was due once it is
        signed, by `retry_refused`; the next message makes a new session for it. A session never serves both kinds.
        """
        ...

    async def unsigned_devices(self, user_ids: Sequence[str], *, afresh: bool = False) -> tuple[Unsigned, ...]:
        """Which devices of these people would be left out by `signed_only`, by owner and device.

        `afresh` asks the homeserver even where nothing is known to have changed: of people who share no room with
        us it tells no changes.
        Of whom the homeserver can't be asked now, what was seen last is told. Raises no outcome.
        """
        ...

    async def accept_identity(self, user_id: str) -> None:
        """An operator has made sure that a person's replaced identity is theirs: it counts from now on.

        Devices that it has signed are Trust.CROSS_SIGNED again. Repeating is safe.
        """
        ...

    async def decrypt(self, event: Mapping[str, Any]) -> Decrypted | KeyMissing | Undecryptable:
        """Read an `m.room.encrypted` event. Repeatable, also after a restart. Raises no outcome."""
        ...

    async def has_session(self, room_id: str, session_id: str) -> bool:
        """Whether a key is here: for what waits across a restart."""
        ...

    async def forget_sessions(self, room_id: str) -> None:
        """The room's next message gets a new key: call it at each membership change, our own ones included."""
        ...

    async def members_changed(self, user_ids: Sequence[str]) -> None:
        """These joined, were invited or left: ask for their devices again before the next message to them."""
        ...

    async def settle_refused(self, room_id: str, recipients: Sequence[str]) -> None:
        """Who may be given the room's keys now: whoever may not is due none of the earlier ones either."""
        ...

    async def retry_refused(self) -> tuple[Refusal, ...]:
        """Try once more, for devices whose turn it is, to hand over keys; answers who is still without one.

        Devices that were told that they get none are given them once they are signed, and not named in the answer.
        Raises no outcome: what the homeserver can't do now is tried at the next call.
        """
        ...

    async def held(self, room_id: str, since_ms: int) -> Sequence[Held]:
        """The keys of a room, latest first, at most HELD_LIMIT: our own, and those in which somebody was heard.

        `since_ms` is taken down to the full hour. Raises no outcome.
        """
        ...

    async def export(self, room_id: str, starts: Mapping[str, int]) -> Sequence[dict[str, Any]]:
        """These sessions (by id), each from an index on, as MSC4268 writes them. Some may be missing.

        Must never give out what comes before the index. Raises no outcome.
        """
        ...

    async def tell(self, user_id: str, event_type: str, content: Mapping[str, Any]) -> Told:
        """Send an Olm-encrypted event to each device that this person's identity, as first seen, has signed.

        Repeating is safe for whoever can take it twice. Raises Later when their devices can't be asked for or
        reached now.
        """
        ...

    def refused_devices(self) -> tuple[Refusal, ...]:
        """Devices without the key of something that was said, each once a room.

        Those whose owner has not signed them among them: `reason` is `unsigned`, and they were never tried.
        """
        ...

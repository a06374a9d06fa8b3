"""What is needed of Matrix, as protocols."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from etb_appservice.domain.devices import SeenDevice
from etb_appservice.domain.effects import MatrixEffect
from etb_appservice.domain.facts import Done, Fact
from etb_appservice.domain.ids import EventId, RoomId, UserId, Username

ASK_AGAIN = "?"
"""Stands before the session of an event whose sender's devices can't be asked for: no key will come to wake it."""


@dataclass(frozen=True, slots=True)
class KeyMissing:
    """An event that can't be decoded yet; `session_id` begins with ASK_AGAIN when it is no key that is missing."""

    room_id: RoomId
    event_id: EventId
    sender: UserId
    origin_ms: int
    session_id: str
    thread_root: EventId | None = None
    """In which thread it stands, which is in clear text beside it."""


@dataclass(frozen=True, slots=True)
class Nothing:
    """An event from which nothing follows; `why` is for the log."""

    why: str


class MatrixDecoder(Protocol):
    """Reads a room event. MUST be repeatable: the same event decodes to the same again, also after a restart."""

    async def decode(self, payload: bytes) -> Fact | KeyMissing | Nothing:
        """Read one event.

        Raises Broken for an event that can't be read at all, Later where the homeserver must be asked about one
        and is away. One whose sender's devices can't be asked for now is KeyMissing with ASK_AGAIN.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Try:
    """What is known of earlier tries of an effect."""

    key: str
    now_ms: int
    attempts: int
    first_tried_ms: int | None
    device_id: str | None


class MatrixHands(Protocol):
    """Carries out effects in Matrix. Repeating is safe by transaction id and by read-back; raises all four."""

    async def do(self, effect: MatrixEffect, attempt: Try) -> Done: ...

    @property
    def device_id(self) -> str:
        """The device whose transaction ids these are."""
        ...

    async def membership_changed(self, room_id: RoomId, user_id: UserId) -> None:
        """Room keys must rotate before the next message; who shares no room is no longer tracked."""
        ...


class Devices(Protocol):
    """People's devices, as far as their homeservers tell."""

    async def unsigned(self, user_ids: Collection[UserId], *, afresh: bool = False) -> Sequence[SeenDevice]:
        """Those that their owner's accepted identity has not signed, by owner and device.

        `afresh`: homeservers are asked, whatever is known; of whoever shares no room with us they tell nothing.
        Of whom can't be asked now, what was seen last is told. Raises no outcome; may take a homeserver's time.
        """
        ...


class HomeserverAdmin(Protocol):
    """What only an administrator of the homeserver may do. Raises all four outcomes.

    Each call is recorded before it is made and after it: MUST NOT be called past `flows.admin.RecordedAdmin`.
    """

    async def is_admin(self) -> bool:
        """Whether the configured user is who the token says, and is promoted."""
        ...

    async def delete_media(self, mxc: str) -> int:
        """How many files were deleted; 0 when it was gone. Repeating is safe."""
        ...

    async def purge_history(self, room_id: RoomId, before_ms: int) -> bool:
        """Delete what was said before a moment, and wait for it; False for nothing. Repeating is safe."""
        ...


class Signals(Protocol):
    """What is true of somebody for a moment only, shown in Matrix by their ghost; never worth a second try.

    Of whoever has never said anything nothing is shown: no ghost is made for it. No outcome.
    """

    async def typing(self, room_id: RoomId, username: Username, *, is_typing: bool) -> None:
        """They are writing something, for half a minute at most, or no longer."""
        ...

    async def read_up_to(self, room_id: RoomId, username: Username, event_id: EventId) -> None:
        """They have read so far."""
        ...

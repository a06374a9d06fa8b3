"""Time, facts of our own, counting and looking after the service, as protocols."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from etb_appservice.domain.facts import Fact
from etb_appservice.domain.ids import RoomId, UserId


class Clock(Protocol):
    """The only source of time. Tests move it."""

    def now_ms(self) -> int:
        """UTC milliseconds. May step; MUST NOT be used to measure a duration."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait; returns early only by cancellation."""
        ...


class FactCodec(Protocol):
    """Writes and reads facts of our own. Both directions are total for every type in `facts.Fact`."""

    def encode(self, fact: Fact) -> bytes: ...

    def decode(self, payload: bytes) -> Fact:
        """Raises Broken for bytes that are no fact."""
        ...


class Meter(Protocol):
    """Counts. MUST NOT raise, MUST NOT be given texts or ids as labels."""

    def fact(self, kind: str, seconds: float) -> None:
        """A fact was decided."""
        ...

    def effect(self, kind: str, outcome: str, seconds: float) -> None:
        """A try of an effect ended: `done`, `refused`, `later`, `unsure`, `broken`."""
        ...

    def command(self, name: str, status: str, seconds: float) -> None: ...

    def undecryptable(self, reason: str) -> None: ...

    def parked(self, where: Literal["inbox", "outbox"]) -> None: ...


@dataclass(frozen=True, slots=True)
class Vital:
    """How one part of the service does; `text` is for operators."""

    name: str
    is_well: bool
    text: str


class Vitals(Protocol):
    """Looks at every part, without waiting for anything outside."""

    def look(self) -> Sequence[Vital]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedDevice:
    """A device that could not be given the key of a room's messages; `reason` is a machine word."""

    room_id: RoomId
    user_id: UserId
    device_id: str
    reason: str
    tries: int


class Refusals(Protocol):
    """Which devices lack a room key, as far as is known since the start; waits for nothing outside."""

    def of_room(self, room_id: RoomId) -> Sequence[RefusedDevice]:
        """Each device once."""
        ...

    def everywhere(self) -> Sequence[RefusedDevice]:
        """Each device once a room."""
        ...

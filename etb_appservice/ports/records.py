"""What else the store keeps: cases, documents, the audit log, once and gaps, as protocols."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from etb_appservice.domain.audit import AuditEntry, AuditNote
from etb_appservice.domain.case import Entry, Standing
from etb_appservice.domain.ids import EventId, RoomId, WarRoomId

E = TypeVar("E", bound=Entry)


class Cases(Protocol):
    """What people agreed on in a war room, and what the service does for them; sealed."""

    async def put(self, war_room: WarRoomId, entry: Entry) -> None:
        """Add, or replace by (war room, kind, id); the place among the others is kept."""
        ...

    async def get(self, war_room: WarRoomId, kind: type[E], entry_id: str) -> E | None: ...

    async def of(self, war_room: WarRoomId, kind: type[E], *, only_open: bool = False) -> Sequence[E]:
        """Oldest first."""
        ...

    async def standing(self, war_room: WarRoomId) -> Sequence[Standing]:
        """Open roles and who was let in, oldest first: one read, since every command asks for it."""
        ...

    async def all_open(self, kind: type[E]) -> Sequence[tuple[WarRoomId, E]]:
        """Of every war room, oldest first."""
        ...

    async def where_open(self, kind: type[E]) -> Sequence[WarRoomId]:
        """The war rooms that have an open entry of this kind, in any order; opens none of them."""
        ...


MOST_DOCUMENT_BYTES = 20 * 1024 * 1024
"""What a document may hold; homeservers take 50 MiB by default."""


class TooLarge(ValueError):
    """A document holds more than MOST_DOCUMENT_BYTES."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A file of ours that waits to be sent."""

    id: str
    war_room: WarRoomId
    content: bytes
    upload: bytes | None = None
    """Where it was uploaded to and how to decrypt it there, as whoever uploaded it wrote that down."""


class Documents(Protocol):
    """Files that effects refer to, sealed, until they were sent."""

    async def put(self, document_id: str, war_room: WarRoomId, content: bytes) -> None:
        """Add one; a document is never changed. Raises TooLarge."""
        ...

    async def get(self, document_id: str) -> Document | None: ...

    async def uploaded(self, document_id: str, upload: bytes) -> None:
        """Remember the upload, so that a repetition refers to the same one."""
        ...

    async def forget(self, document_id: str) -> None:
        """It was sent, or never will be."""
        ...

    async def forget_before(self, before_ms: int) -> int:
        """Forget what was put before then; answers how many. For what an operator has dropped."""
        ...


class AuditLog(Protocol):
    """Append only."""

    async def append(self, note: AuditNote) -> None:
        """Chain and store an entry; contents enter as keyed hashes."""
        ...

    async def read(self, after_seq: int = 0, limit: int = 1000) -> Sequence[tuple[AuditEntry, bytes]]:
        """Entries with their stored digests, ascending."""
        ...


class Once(Protocol):
    """Things that are done once, such as a notice; shares the memory of seen keys."""

    async def first_time(self, *parts: str) -> bool:
        """True exactly once for these parts, within the commit of this unit of work."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """An event that `/sync` showed and no transaction has brought yet."""

    room_id: RoomId
    event_id: EventId
    due_ms: int


class Gaps(Protocol):
    """What Synapse owes us."""

    async def expect(self, events: Sequence[Expected]) -> int:
        """Note those whose key was never accepted; answers how many."""
        ...

    async def overdue(self, now_ms: int, limit: int = 100) -> Sequence[Expected]:
        """Expected, due, and still not accepted; also forgets those that have come meanwhile."""
        ...

    async def settle(self, event_id: EventId) -> None:
        """It was fetched, or the server says that it doesn't exist or that we may not see it."""
        ...

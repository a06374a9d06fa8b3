"""The record of what was said and run, as protocols."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from etb_appservice.domain.ids import EventId, IncidentId, RoomId, UserId

MessageState = Literal["open", "sealed", "plain", "unreadable", "redacted"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message of a room. `body` is stored through the vault; None unless `state` is `open`.

    `position` is dense per lane, for paging; 0 asks the store to give the next one.
    """

    id: str
    room_id: RoomId
    lane: str
    event_id: EventId
    sender: UserId
    state: MessageState
    origin_ms: int
    received_ms: int
    decided_ms: int
    body: str | None = None
    position: int = 0
    thread_root: EventId | None = None
    replaces: EventId | None = None


class Messages(Protocol):
    """The record of the conversation."""

    async def put(self, message: Message) -> None:
        """Add, or replace by `event_id` keeping id, lane and position. What was redacted stays redacted."""
        ...

    async def by_event(self, event_id: EventId) -> Message | None: ...

    async def page(self, lane: str, after: int = 0, limit: int = 500) -> Sequence[Message]:
        """Of a lane, by position: those behind `after`."""
        ...

    async def redact(self, event_id: EventId) -> bool:
        """Forget the body; False when the event is unknown."""
        ...


CommandStatus = Literal["RUNNING", "SUCCESS", "FAILED", "REFUSED", "CANCELLED"]
"""As docs/etb-contract.md 2.4 has them, and `REFUSED`: the asker may not. `RUNNING` waits for ETB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandRun:
    """A command that was run or refused (docs/etb-contract.md 4.4). Arguments and result are stored sealed."""

    id: str
    room_id: RoomId
    incident_id: IncidentId | None
    event_id: EventId
    caller: UserId
    name: str
    arguments: str
    result: str
    status: CommandStatus
    asked_ms: int
    finished_ms: int
    thread_root: EventId | None = None
    """The thread in which it was asked, so that a late answer goes there too."""


class Commands(Protocol):
    """The command log."""

    async def get(self, run_id: str) -> CommandRun | None: ...

    async def finish(self, run_id: str, *, status: CommandStatus, result: str, finished_ms: int) -> None:
        """How a command that was `RUNNING` ended."""
        ...

    async def add(self, run: CommandRun) -> bool:
        """False when a command of this event was recorded before: it must not run again."""
        ...

    async def of_room(self, room_id: RoomId, limit: int = 50) -> Sequence[CommandRun]:
        """Latest first."""
        ...

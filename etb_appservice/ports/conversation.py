"""The record of what was said and run, as protocols."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, Protocol

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.conversation import FileDetails, MessageDetails
from etb_appservice.domain.files import FileAccess
from etb_appservice.domain.ids import EventId, IncidentId, RoomId, UserId, WarRoomId
from etb_appservice.domain.news import News
from etb_appservice.domain.past import ALWAYS, Span
from etb_appservice.domain.results import Outcome

MessageState = Literal["open", "sealed", "plain", "unreadable", "redacted"]
SHOWN: frozenset[MessageState] = frozenset({"open", "sealed", "unreadable"})
"""What a reader of the conversation is shown; `sealed` and `unreadable` as places without a text."""


def unsent(message_id: str) -> EventId:
    """What a message is called by its event until Matrix knows it; no event id of Matrix begins so."""
    return EventId(f"~{message_id}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message of a room. `body` and `details` are stored through the vault; a body needs the state `open`.

    `position` is dense per lane, for paging; 0 asks the store to give the next one.
    """

    id: str
    room_id: RoomId
    lane: str
    event_id: EventId
    """`unsent(id)` until Matrix knows it."""
    sender: UserId
    state: MessageState
    origin_ms: int
    received_ms: int
    decided_ms: int
    body: str | None = None
    position: int = 0
    thread_root: EventId | None = None
    replaces: EventId | None = None
    details: MessageDetails = field(default_factory=MessageDetails)

    @property
    def parent(self) -> EventId | None:
        """The message under which a reader finds it: its thread's root, else what it answers."""
        return self.thread_root or self.details.reply_to


@dataclass(frozen=True, slots=True)
class Tally:
    """How many messages of a lane are shown, and when the latest of them was decided; 0 for never."""

    count: int = 0
    latest_ms: int = 0


Hidden = Mapping[str, Sequence[Span]]
"""By lane, when what is found touches none of these times: from when it came until it could be read."""
NO_TIME: Hidden = MappingProxyType({})


class Messages(Protocol):
    """The record of the conversation."""

    async def put(self, message: Message) -> None:
        """Add, or replace by `event_id` keeping id, lane and position. What was redacted stays redacted."""
        ...

    async def sent(self, message_id: str, event_id: EventId) -> bool:
        """Matrix knows it by now, under this event; False when there is no such message that is unsent.

        What answers it follows.
        """
        ...

    async def get(self, message_id: str) -> Message | None: ...

    async def by_ids(self, message_ids: Collection[str]) -> Mapping[str, Message]:
        """Absent are those that aren't known."""
        ...

    async def by_event(self, event_id: EventId) -> Message | None:
        """An unsent name is understood also after `sent`."""
        ...

    async def by_events(self, event_ids: Collection[EventId]) -> Mapping[EventId, Message]:
        """Absent are those that aren't known."""
        ...

    async def ids_of(self, event_ids: Collection[EventId], hidden: Hidden = NO_TIME) -> Mapping[EventId, str]:
        """The same, but only their ids; opens nothing. `hidden`: of which nothing may be known."""
        ...

    async def page(
        self,
        lane: str,
        after: int = 0,
        limit: int = 500,
        *,
        only_shown: bool = False,
        skip: int = 0,
        hidden: Hidden = NO_TIME,
    ) -> Sequence[Message]:
        """Of a lane, by position: those behind `after`, at the same cost at any depth.

        `skip` passes over so many of them, for whoever counts pages; it costs a little for each.
        """
        ...

    async def latest(
        self,
        lane: str,
        before: int | None = None,
        limit: int = 50,
        *,
        only_shown: bool = True,
        skip: int = 0,
        hidden: Hidden = NO_TIME,
    ) -> Sequence[Message]:
        """Of a lane, latest first: those before this position."""
        ...

    async def replies(
        self, root: EventId, after: int = 0, limit: int = 500, *, skip: int = 0, hidden: Hidden = NO_TIME
    ) -> Sequence[Message]:
        """Those shown whose `parent` this is, by position."""
        ...

    async def latest_replies(
        self,
        root: EventId,
        before: int | None = None,
        limit: int = 500,
        *,
        skip: int = 0,
        hidden: Hidden = NO_TIME,
    ) -> Sequence[Message]:
        """The same, latest first: those with a position before this one."""
        ...

    async def reply_counts(self, roots: Collection[EventId], hidden: Hidden = NO_TIME) -> Mapping[EventId, int]:
        """How many those are; absent are those without any."""
        ...

    async def tally(self, lanes: Collection[str], hidden: Hidden = NO_TIME) -> Mapping[str, Tally]:
        """For each of these lanes."""
        ...

    async def of_reaction(self, event_id: EventId) -> Message | None:
        """The message to which a reaction belongs or belonged; None when it was never recorded."""
        ...

    async def redact(self, event_id: EventId) -> bool:
        """Forget body and details; the place stays. False when the event is unknown."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatFile:
    """A file of a war room. Its details are stored sealed; its bytes lie on the homeserver, encrypted."""

    id: str
    """UUIDv7: sorts by time."""
    war_room: WarRoomId
    lane: str
    message_id: str | None = None
    """None while no message carries it."""
    event_id: EventId | None = None
    """None until Matrix knows it."""
    created_ms: int
    details: FileDetails
    access_count: int = 0
    withdrawn_ms: int | None = None
    """When what carried it was taken back, while it must be kept; nothing else shows it then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FilesWanted:
    """Which files, of how many war rooms ever."""

    up_to: Mapping[str, Classification]
    """By lane, which level a file may have."""
    hidden: Hidden = field(default_factory=dict)
    withdrawn: bool = False
    """Those too that were withdrawn."""
    message_id: str = ""
    """Only of this message."""
    from_ms: int = 0
    until_ms: int = ALWAYS
    """When they came; both count in."""


class Files(Protocol):
    """What is known of the files of war rooms."""

    async def put(self, file: ChatFile) -> None:
        """Add, or replace by id; the count of accesses is kept."""
        ...

    async def get(self, file_id: str) -> ChatFile | None: ...

    async def by_ids(self, file_ids: Collection[str]) -> Mapping[str, ChatFile]:
        """Absent are those that aren't known."""
        ...

    async def by_event(self, event_id: EventId) -> Sequence[ChatFile]:
        """What an event carries."""
        ...

    async def latest(self, lane: str, before: str = "", limit: int = 50) -> Sequence[ChatFile]:
        """Of a lane, latest first: those with an id before this one."""
        ...

    async def among(
        self, wanted: FilesWanted, *, limit: int = 50, skip: int = 0, oldest_first: bool = False
    ) -> Sequence[ChatFile]:
        """Latest first, unless said otherwise. Only what is answered is opened."""
        ...

    async def count_among(self, wanted: FilesWanted) -> int:
        """How many those are; opens nothing."""
        ...

    async def unlevelled(self, limit: int = 500) -> Sequence[ChatFile]:
        """Some that an older program has put, of which `among` finds none; `put` mends that."""
        ...

    async def count(self, lane: str) -> int: ...

    async def log_access(self, access: FileAccess) -> bool:
        """Somebody looked at it: one more entry, and one more access counted. False when it stood there already.

        Entries are never changed, and outlive their file.
        """
        ...

    async def access(self, access_id: str) -> FileAccess | None: ...

    async def accesses(self, file_id: str, limit: int = 50, *, skip: int = 0) -> Sequence[FileAccess]:
        """Of a file, latest first."""
        ...

    async def count_accesses(self, file_id: str) -> int: ...

    async def forget(self, file_ids: Collection[str]) -> None:
        """Nothing of them is kept; entries of who looked at them are."""
        ...


class Broadcast(Protocol):
    """Passes news on to whoever looks at a war room now. Told right after a commit, in order."""

    def tell(self, news: Sequence[News]) -> None:
        """MUST NOT block or raise; what can't be passed on is lost, and its reader asks for the history."""
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
    outcome: Outcome | None = None
    """What it did or found; None where that isn't kept, or it did nothing. Stored sealed."""
    is_outside: bool = False
    """Whether it failed outside, at ETB or the homeserver, and not for what was asked."""


class Commands(Protocol):
    """The command log."""

    async def get(self, run_id: str) -> CommandRun | None: ...

    async def of_event(self, event_id: EventId) -> CommandRun | None:
        """The run of the message that is this event."""
        ...

    async def finish(
        self,
        run_id: str,
        *,
        status: CommandStatus,
        result: str,
        finished_ms: int,
        outcome: Outcome | None = None,
        is_outside: bool = False,
    ) -> None:
        """How a command that was `RUNNING` ended."""
        ...

    async def add(self, run: CommandRun) -> bool:
        """False when a command of this event was recorded before: it must not run again."""
        ...

    async def of_room(self, room_id: RoomId, limit: int = 50) -> Sequence[CommandRun]:
        """Latest first."""
        ...

    async def among(
        self,
        incidents: Collection[IncidentId],
        statuses: Collection[CommandStatus],
        *,
        limit: int = 50,
        skip: int = 0,
        oldest_first: bool = False,
        hidden: Hidden = NO_TIME,
    ) -> Sequence[CommandRun]:
        """Of several incidents and of these statuses, latest first unless said otherwise."""
        ...

    async def count(
        self,
        incidents: Collection[IncidentId],
        statuses: Collection[CommandStatus],
        hidden: Hidden = NO_TIME,
    ) -> int:
        """How many those are."""
        ...

"""The doors of the house: what flows need from outside, as protocols. Nothing here does anything.

Each says what an implementation MUST and MUST NOT do, whether repeating is safe, and which of the four outcomes
(domain/outcomes.py) it raises. Nothing else may be raised by an adapter, except cancellation.
"""

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

from etb_appservice.domain.audit import AuditEntry, AuditNote
from etb_appservice.domain.case import Entry, Standing
from etb_appservice.domain.classification import Classification
from etb_appservice.domain.devices import SeenDevice
from etb_appservice.domain.duty import Escalation, Execution, Maintenance, Runbook, Sla, TimelineRow
from etb_appservice.domain.effects import Effect, EtbEffect, MatrixEffect
from etb_appservice.domain.facts import Done, Fact
from etb_appservice.domain.ids import EventId, IncidentId, RoomId, UserId, Username, WarRoomId
from etb_appservice.domain.incident import Card, Deadline, EtbUser, Incident, OnCall
from etb_appservice.domain.media import Media
from etb_appservice.domain.posts import Post
from etb_appservice.domain.roles import Role
from etb_appservice.domain.rooms import RoomKind, Visibility
from etb_appservice.domain.runbooks import RunbookRun
from etb_appservice.domain.story import Story
from etb_appservice.domain.tasks import Task
from etb_appservice.domain.timeline import TimelineItem

# --- time -------------------------------------------------------------------------------------------------


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


# --- the store --------------------------------------------------------------------------------------------

Source = Literal["matrix", "etb", "own"]
"""Where a row of the inbox came from: a room event as JSON, ETB's JSON, or a fact of ours."""
InboxState = Literal["ready", "timer", "waiting", "parked"]
OutboxState = Literal["queued", "parked", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """Something to accept into the inbox. Same `key`, same row: what was seen before is dropped.

    The key of a Matrix event is always `short_hash("event", event_id)`, whichever way it came.

    `key` is 16 bytes (`ids.short_hash`), remembered long after the row is gone. `due_ms` in the future makes it
    a timer, which takes its place in the lane when it falls due.
    """

    source: Source
    lane: str
    key: bytes
    payload: bytes
    due_ms: int | None = None
    park_reason: str | None = None
    """Set when it is accepted but can't be worked on, such as an event without an id: parked at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InboxRow:
    """One row of the inbox, opened. `place` is the row's first `seq`: where it belongs in the conversation."""

    seq: int
    place: int
    source: Source
    lane: str
    payload: bytes
    received_ms: int
    attempts: int
    state: InboxState
    due_ms: int
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxRow:
    """One effect to be carried out.

    `first_tried_ms` and `device_id` are of the first try that may have reached the other side; None before it.
    """

    seq: int
    key: str
    target: str
    lane: str
    effect: Effect
    state: OutboxState
    attempts: int
    due_ms: int
    created_ms: int
    first_tried_ms: int | None = None
    device_id: str | None = None
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParkedEffect:
    """An effect that waits for an operator. `kind` is `unreadable` when the effect itself can't be opened."""

    seq: int
    kind: str
    state: OutboxState
    attempts: int
    created_ms: int
    error: str


class RowUnreadable(Exception):
    """The oldest row of a line can't be opened: changed, its key destroyed, or written by a newer version.

    Raised by `next` of inbox and outbox, and by nothing else; whoever asked parks the row, and the line goes on.
    """

    def __init__(self, seq: int, reason: str) -> None:
        """`reason` is for operators; it holds nothing of the row."""
        super().__init__(reason)
        self.seq = seq


class Inbox(Protocol):
    """Accepted input, sealed. A row leaves only by `finish`, or by an operator's `drop`."""

    async def accept(self, arrivals: Sequence[Arrival]) -> int:
        """Store what wasn't seen before, in this order; answers how many were new. Repeating is safe."""
        ...

    async def next(self, lane: str, now_ms: int) -> InboxRow | float | None:
        """The oldest ready row of a lane; the seconds until it is due (a failed row holds its lane); or None.

        Raises RowUnreadable.
        """
        ...

    async def lanes(self, now_ms: int) -> Sequence[str]:
        """Lanes that hold a ready row; first makes timers that fell due ready, at their lane's end."""
        ...

    async def soonest_ms(self) -> int | None:
        """When the next timer or held lane falls due; None when there is neither."""
        ...

    async def finish(self, seq: int) -> None:
        """The row's fact is decided: forget the row (its key stays)."""
        ...

    async def retry_later(self, seq: int, *, due_ms: int, error: str) -> None:
        """Its handler failed: count the attempt and hold its lane until `due_ms`."""
        ...

    async def park(self, seq: int, *, error: str) -> None:
        """Set it aside for a person; the lane goes on."""
        ...

    async def wait_for_key(self, seq: int, *, room_id: RoomId, session_id: str) -> None:
        """Set it aside until `key_arrived`; the lane goes on. Keeps `place`."""
        ...

    async def key_arrived(self, room_id: RoomId, session_id: str) -> Sequence[str]:
        """Make rows that wait for this session ready again; answers their lanes.

        They keep their `seq` and so come next in their lane, in their old order: what was said later with the same
        key can't overtake them.
        """
        ...

    async def waiting(self) -> Sequence[tuple[RoomId, str]]:
        """Every (room, session) that rows wait for; looked at again after a start."""
        ...

    async def is_waiting(self, room_id: RoomId, session_id: str) -> bool:
        """Whether earlier events of this session wait: later ones must wait with them."""
        ...

    async def stop_waiting(self, event_key: bytes) -> bool:
        """A redaction ends the wait of the event with this key; answers whether one waited."""
        ...

    async def move_lane(self, old: str, new: str) -> None:
        """The rows of a room whose incident became known go to the incident's lane."""
        ...

    async def parked(self) -> Sequence[InboxRow]:
        """What waits for an operator, oldest first, without payload."""
        ...

    async def retry(self, seq: int) -> bool:
        """An operator's wish: make a parked row ready; False when there is none."""
        ...

    async def drop(self, seq: int) -> bool:
        """An operator's wish: forget a parked row; False when there is none."""
        ...

    async def depth(self, now_ms: int) -> tuple[int, int, float]:
        """(ready, parked, age of the oldest ready row in seconds)."""
        ...

    async def forget_keys(self, before_ms: int) -> int:
        """Forget keys first seen before then; answers how many. MUST NOT be called for less than 76 hours."""
        ...


class Outbox(Protocol):
    """Effects to carry out, sealed, in order per target. Same key, same effect: a second one is dropped."""

    async def add(self, key: str, lane: str, effect: Effect) -> bool:
        """Queue an effect at the end of its target; False when its key is known already."""
        ...

    async def next(self, target: str, now_ms: int) -> OutboxRow | float | None:
        """The oldest queued row of a target; the seconds until it is due; or None. Raises RowUnreadable."""
        ...

    async def targets(self) -> Sequence[str]:
        """Targets that hold a queued row."""
        ...

    async def soonest_ms(self) -> int | None:
        """When the next held target falls due."""
        ...

    async def trying(self, seq: int, *, device_id: str) -> None:
        """Write down that a try begins, before it begins; keeps the first try's time and device."""
        ...

    async def finish(self, seq: int) -> None:
        """It took effect or was refused: forget the row (its key stays)."""
        ...

    async def retry_later(self, seq: int, *, due_ms: int, error: str) -> None:
        """Count the attempt and hold its target until `due_ms`."""
        ...

    async def park(self, seq: int, *, state: Literal["parked", "unknown"], error: str) -> None:
        """Set it aside for a person; the target goes on."""
        ...

    async def parked(self) -> Sequence[ParkedEffect]:
        """What waits for an operator, oldest first."""
        ...

    async def retry(self, seq: int) -> bool:
        """Queue a parked row again; False when there is none."""
        ...

    async def drop(self, seq: int) -> bool:
        """Forget a parked row; False when there is none."""
        ...

    async def depth(self, now_ms: int) -> tuple[int, int, float]:
        """(queued, parked or unknown, age of the oldest queued row in seconds)."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """A room of ours. `room_id` None while it is being opened."""

    war_room: WarRoomId
    generation: int
    kind: RoomKind
    incident_id: IncidentId | None
    classification: Classification
    visibility: Visibility
    keys_to_invited: bool
    encrypted: bool
    room_id: RoomId | None = None
    is_current: bool = True
    name: str = ""
    """What servers can read as its name, as last asked for; stored sealed."""
    card_event: EventId | None = None
    """The event that carries the card; None until it was sent."""
    card: Card | None = None
    """The card as it was last asked for; stored sealed."""
    card_holders: tuple[UserId, ...] = ()
    """Who was given the key of the event that carries the card."""
    person: UserId | None = None
    """Whose direct chat it is; stored sealed."""
    federates: bool = True
    """Whether users of other homeservers can be in it, fixed when it was made; stored sealed."""
    hosts: tuple[str, ...] | None = None
    """The homeservers that its ACL admits, as last asked for; None when it has no ACL; stored sealed."""


class Rooms(Protocol):
    """Our rooms and who is in them."""

    async def put(self, room: Room) -> None:
        """Add or replace by (war_room, generation)."""
        ...

    async def of_incident(self, incident_id: IncidentId) -> Room | None:
        """The current room of an incident."""
        ...

    async def by_war_room(self, war_room: WarRoomId) -> Room | None:
        """The current generation of a war room, the control room or the Space."""
        ...

    async def by_id(self, room_id: RoomId) -> Room | None: ...

    async def all_current(self) -> Sequence[Room]:
        """Current rooms, oldest first, without their cards."""
        ...

    async def count(self) -> int: ...

    async def set_member(self, room_id: RoomId, user_id: UserId, membership: str) -> str:
        """Record a membership; answers the one before (`leave` when there was none)."""
        ...

    async def members(self, room_id: RoomId, *memberships: str) -> Sequence[UserId]:
        """User ids with one of these memberships, two at most, sorted."""
        ...

    async def present(self, room_id: RoomId) -> Mapping[UserId, str]:
        """Who is joined or invited, and which of both; asked for each message, so it MUST be cheap."""
        ...

    async def inside(self, kind: RoomKind) -> Sequence[UserId]:
        """Everybody who is joined or invited in any room of this kind."""
        ...

    async def membership(self, room_id: RoomId, user_id: UserId) -> str: ...

    async def joined(self, levels: Collection[Classification]) -> Mapping[RoomId, Sequence[UserId]]:
        """Who is in the current encrypted rooms of these levels, in one read; each room's people sorted."""
        ...

    async def shared_with(self, user_id: UserId) -> Sequence[RoomId]:
        """Encrypted rooms of ours in which a person is joined or invited."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """Our last copy of an incident, and when ETB last confirmed it (UTC milliseconds by our clock)."""

    incident: Incident
    confirmed_ms: int
    deadlines: tuple[Deadline, ...] = ()


class Incidents(Protocol):
    """Last known copies of what ETB owns, sealed."""

    async def put(self, known: Known) -> None: ...

    async def get(self, incident_id: IncidentId) -> Known | None: ...

    async def open_ids(self) -> Sequence[IncidentId]:
        """Incidents that are not closed, oldest first."""
        ...

    async def put_user(self, user: EtbUser, confirmed_ms: int) -> None: ...

    async def user(self, username: Username) -> tuple[EtbUser, int] | None:
        """The last copy of a user and when it was confirmed."""
        ...

    async def users(self, usernames: Collection[Username]) -> Mapping[Username, tuple[EtbUser, int]]:
        """The same of several; absent are those of whom there is no copy."""
        ...

    async def doubt_users(self, before_ms: int) -> None:
        """What was confirmed before then counts as never confirmed, until it is put again."""
        ...

    async def put_on_call(self, on_call: Sequence[OnCall], confirmed_ms: int) -> None: ...

    async def on_call(self) -> tuple[Sequence[OnCall], int] | None: ...


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


class Work(Protocol):
    """One open unit of work."""

    inbox: Inbox
    outbox: Outbox
    rooms: Rooms
    incidents: Incidents
    messages: Messages
    commands: Commands
    cases: Cases
    documents: Documents
    audit: AuditLog
    once: Once
    gaps: Gaps

    def now_ms(self) -> int:
        """The moment at which this unit of work began."""
        ...


USERS = "users"
"""The scope of `Store.stamp` for what ETB says of people."""
ON_CALL = "on-call"


class Store(Protocol):
    """The database `etb`. Raises nothing of the four outcomes: a failing database is fatal to its caller.

    A task that holds a unit of work or a view MUST NOT open another one: it could wait for itself.
    """

    def work(self) -> AbstractAsyncContextManager[Work]:
        """A unit of work: committed and durable at exit, rolled back on any exception and on cancellation."""
        ...

    def view(self) -> AbstractAsyncContextManager[Work]:
        """Read only; never waits for a writer. Writing through it is an error."""
        ...

    def stamp(self, *scopes: str) -> tuple[int, ...]:
        """Numbers that change with every commit after which other people may be in a room; reads nothing.

        The scopes are USERS, ON_CALL, incidents and war rooms. What was read after a stamp was taken holds for as
        long as the stamp stays the same, but for time; commits of other processes don't show: it is for the
        leader, who decides everything.
        """
        ...


class Keepsakes(Protocol):
    """Small things to remember, sealed by the vault: positions, seeds, the recovery key."""

    async def get(self, name: str) -> bytes | None: ...

    async def put(self, name: str, value: bytes) -> None:
        """Durable at return."""
        ...


# --- Matrix -----------------------------------------------------------------------------------------------

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


# --- ETB --------------------------------------------------------------------------------------------------


class EtbDecoder(Protocol):
    """Reads what a webhook or the poll stored."""

    def decode(self, payload: bytes) -> Fact | Nothing:
        """Raises Broken for what can't be read as an incident."""
        ...


class EtbReads(Protocol):
    """Reads of ETB, each within its own limit; repeating is safe. Raises Later or Refused."""

    async def incident(self, incident_id: IncidentId) -> Incident: ...

    async def deadlines(self, incident_id: IncidentId) -> tuple[Deadline, ...]:
        """Running SLA targets, soonest first; empty where the module is switched off."""
        ...

    async def on_call(self) -> tuple[OnCall, ...]:
        """Everybody on call now; empty when nobody is or the module is switched off."""
        ...

    async def user(self, username: Username) -> EtbUser | None:
        """None when ETB knows no such user."""
        ...

    async def incidents(self, *, search: str = "") -> tuple[Incident, ...]:
        """Open incidents, latest change first, at most 200; `search` looks for ETB's free text."""
        ...

    async def slas(self, incident_id: IncidentId) -> tuple[Sla, ...]:
        """Every SLA instance, soonest target first, those that ended too; empty where the module is off."""
        ...

    async def escalations(self, incident_id: IncidentId) -> tuple[Escalation, ...]:
        """Oldest first; empty where the module is switched off."""
        ...

    async def runbooks(self, search: str) -> tuple[Runbook, ...]:
        """Active runbooks whose name or description hold every word of `search`, at most 50.

        One of exactly that name (case aside) comes first, then by name; empty where the module is switched off.
        """
        ...

    async def execution(self, execution_id: str) -> Execution: ...

    async def maintenance(self) -> tuple[Maintenance, ...]:
        """Windows that are under way now; empty where the module is switched off."""
        ...

    async def timeline(self, incident_id: IncidentId) -> tuple[TimelineRow, ...]:
        """ETB's own timeline, oldest first, the latest 1,000 entries; empty where ETB keeps none."""
        ...


class EtbHands(Protocol):
    """Carries out effects in ETB. An unsafe POST is read back before any repetition; raises all four."""

    async def do(self, effect: EtbEffect, attempt: Try) -> Done: ...


# --- facts of our own -------------------------------------------------------------------------------------


class FactCodec(Protocol):
    """Writes and reads facts of our own. Both directions are total for every type in `facts.Fact`."""

    def encode(self, fact: Fact) -> bytes: ...

    def decode(self, payload: bytes) -> Fact:
        """Raises Broken for bytes that are no fact."""
        ...


# --- documents --------------------------------------------------------------------------------------------

MOST_MESSAGES = 20_000
"""What one transcript holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcript:
    """Everything that is kept of a war room, as it stood at one moment. Each list is oldest first."""

    export: str
    at_ms: int
    by: str
    room: Room
    incident: Incident | None
    usernames: Mapping[UserId, Username]
    """Who is who, of those whom ETB knows."""
    bot: UserId
    messages: Sequence[Message]
    timeline: Sequence[TimelineItem]
    roles: Sequence[Role]
    tasks: Sequence[Task]
    posts: Sequence[Post]
    runs: Sequence[RunbookRun]
    commands: Sequence[CommandRun]
    media: Sequence[Media]
    is_whole: bool = True
    """False: there are more messages than were read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Printed:
    """A document, ready to be sent."""

    filename: str
    mime: str
    content: bytes
    sha256: str
    """Hex."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrintedTranscript:
    """The same in two forms, and how much of it went in."""

    html: Printed
    json: Printed
    messages: int
    stopped: str = ""
    """Where it stops and why; empty when everything is in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A PNG, ready to be sent."""

    content: bytes
    width: int
    height: int


class Press(Protocol):
    """Makes documents. Pure: the same again of the same. May take a second: call it in a thread."""

    def transcript(self, transcript: Transcript) -> PrintedTranscript:
        """Each form holds at most MOST_DOCUMENT_BYTES; what doesn't fit is left out, and `stopped` says so."""
        ...

    def chart(self, story: Story) -> Picture:
        """The course of an incident."""
        ...


# --- operations -------------------------------------------------------------------------------------------


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

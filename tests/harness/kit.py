"""A whole house for tests of flows: the real store on SQLite, real flows, and fakes at every other port.

    test ──accept──► inbox (real) ──Intake──► Decider ──► outbox (real) ──Outbox──► World (a homeserver in memory)
                        ^                                                       └─► FakeEtb
                        └───────────── echoes of what the bot did ──────────────────┘

`World` and `FakeEtb` are the outside: they outlive a crash of ours, and their ledgers say what was done.
`House.crash` drops everything in memory and builds the house anew on the same database.
"""

import itertools
import json
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import pytest
import structlog

import etb_appservice.commands
from etb_appservice.app.flows import decider_of
from etb_appservice.domain.audit import AuditEntry, first_break
from etb_appservice.domain.breakglass import BreakGlass
from etb_appservice.domain.classification import Classification, ClassificationMap
from etb_appservice.domain.conversation import EncryptedFile, FileDetails
from etb_appservice.domain.devices import SeenDevice
from etb_appservice.domain.effects import (
    AcceptIdentity,
    AdminEffect,
    Effect,
    FollowUpgrade,
    Invite,
    LeaveRoom,
    LetMembersPin,
    MatrixEffect,
    MendPins,
    OpenRoom,
    Pin,
    PutState,
    React,
    Redact,
    Remove,
    RestoreState,
    RoomEffect,
    Say,
    SendFile,
    SetVoice,
    Spoken,
)
from etb_appservice.domain.facts import (
    Done,
    EventRedacted,
    Fact,
    IncidentSeen,
    LetterDue,
    Loss,
    MembershipChanged,
    MessageReceived,
    MessageUnreadable,
    OnCallSeen,
    PinsSet,
    PlainMessageReceived,
    PollAsked,
    PollEnded,
    PollVoted,
    ReactionReceived,
    ServiceStarted,
    StateChanged,
    TombstoneSeen,
    Trust,
)
from etb_appservice.domain.ghosts import Ghosts
from etb_appservice.domain.guests import Guest
from etb_appservice.domain.ids import EventId, IncidentId, RoomId, UserId, Username, short_hash
from etb_appservice.domain.incident import Card, EtbUser, Incident, OnCall
from etb_appservice.domain.news import News
from etb_appservice.domain.outcomes import Broken, Failure, Later, Unsure
from etb_appservice.domain.people import PeopleMap
from etb_appservice.domain.policy import Backoff, CadencePolicy, CommandPolicy, KeyPolicy, Policy
from etb_appservice.domain.reactions import bare
from etb_appservice.domain.roles import Admitted
from etb_appservice.domain.rooms import RoomPolicy
from etb_appservice.domain.verdicts import Verdict
from etb_appservice.flows.commands import Command, find
from etb_appservice.flows.decide import Decider
from etb_appservice.flows.intake import Intake
from etb_appservice.flows.links import load_links
from etb_appservice.flows.outbox import Outbox
from etb_appservice.flows.turn import SERVICE_LANE
from etb_appservice.flows.waiting import Waiting
from etb_appservice.ports import Arrival, KeyMissing, Nothing, RefusedDevice, Room, Store, Try, Vital, Work
from etb_appservice.store.codec import FactJson
from etb_appservice.store.migrate import upgrade
from etb_appservice.store.sql import SqlStore, open_store
from tests.harness.clock import MovedClock
from tests.harness.fakes_etb import FakeEtb
from tests.harness.media import MediaInMemory

BOT = UserId("@etb:x.org")
ALICE = UserId("@alice:x.org")
BOB = UserId("@bob:x.org")
CAROL = UserId("@carol:x.org")
OPERATOR = UserId("@op:x.org")
STRANGER = UserId("@mallory:evil.example")
GHOSTS = Ghosts("@_etb_u_", "x.org")
ROOT_KEY = bytes(range(32))
NO_1 = IncidentId("11111111-1111-4111-8111-111111111111")
NO_2 = IncidentId("22222222-2222-4222-8222-222222222222")
SILENT = CadencePolicy(update_minutes={}, commander_minutes=0, catch_up_minutes=366 * 24 * 60)
"""Nothing is said by itself as time passes: tests of that ask for the defaults."""
_MOST_ROUNDS = 500
MakeHouse = Callable[..., Awaitable["House"]]
N = TypeVar("N", bound=News)


def incident(**changes: Any) -> Incident:
    """INC-1: reported by alice, assigned to bob."""
    first = Incident(
        id=NO_1,
        number="INC-1",
        title="Mail is down",
        severity="HIGH",
        status="OPEN",
        updated_at_ms=1000,
        category="NETWORK",
        priority="P1",
        description="Nobody can send mail.",
        assignee=Username("bob"),
        reporter=Username("alice"),
    )
    return replace(first, **changes)


def etb_user(name: str, clearance: Classification = Classification.RESTRICTED, *, active: bool = True) -> EtbUser:
    """A user as ETB knows them."""
    return EtbUser(Username(name), name.title(), clearance, active)


def policy_of(**changes: Any) -> Policy:
    """What the operator of the house has decided."""
    policy = Policy(
        rooms=RoomPolicy(bot=BOT),
        people=PeopleMap(
            "", {Username(name): UserId(f"@{name}:x.org") for name in ("alice", "bob", "carol")}, GHOSTS
        ),
        classification=ClassificationMap(default=Classification.INTERNAL),
        operators=frozenset({OPERATOR}),
        server_name="x.org",
        commands=CommandPolicy(burst=5),
        cadence=SILENT,
        keys=KeyPolicy(tell_after_s=30, give_up_after_s=3600),
        intake=Backoff(first_s=1, most_s=4, tries=3),
        outbox=Backoff(first_s=1, most_s=4, tries=4),
    )
    return replace(policy, **changes)


class Crash(BaseException):
    """The process died. Not an Exception: nothing may catch it and go on."""


@dataclass
class Fault:
    """The next `times` effects that `hits` says yes to fail; `lands`: they take effect all the same."""

    hits: Callable[[Effect], bool]
    failure: Exception
    times: int = 1
    lands: bool = False


@dataclass
class World:
    """A homeserver in memory, and what the bot did on it. `echo`: it tells us what happens in our rooms."""

    echo: bool = True
    aliases: dict[str, RoomId] = field(default_factory=dict)
    opened: list[OpenRoom] = field(default_factory=list)
    said: list[tuple[EventId, Say]] = field(default_factory=list)
    sent: list[tuple[EventId, SendFile, bytes]] = field(default_factory=list)
    """Files, with what a person would read in them."""
    shared: list[tuple[EventId, SendFile]] = field(default_factory=list)
    """Files that people have uploaded."""
    documents: Callable[[str], Awaitable[bytes | None]] | None = None
    """Where the bytes of files wait; the house sets it."""
    invited: list[tuple[RoomId, UserId]] = field(default_factory=list)
    history: dict[UserId, dict[str, str]] = field(default_factory=dict)
    """What of the past an invitation carries to somebody, where it may carry any."""
    left: list[RoomId] = field(default_factory=list)
    reacted: list[tuple[EventId, React]] = field(default_factory=list)
    accepted: list[UserId] = field(default_factory=list)
    """Whose replaced identity counts."""
    pinned: dict[RoomId, list[EventId]] = field(default_factory=dict)
    state: dict[tuple[RoomId, str, str], dict[str, Any]] = field(default_factory=dict)
    forged: set[tuple[RoomId, str, str]] = field(default_factory=set)
    """State that somebody else than the bot has set, until it is set back."""
    silenced: dict[RoomId, bool] = field(default_factory=dict)
    held: dict[RoomId, bool] = field(default_factory=dict)
    """Rooms whose members were ever kept from writing, and whether they are."""
    order: list[Effect] = field(default_factory=list)
    """What took effect, in this order."""
    tries: list[tuple[Effect, Try]] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    keys: set[tuple[str, str]] = field(default_factory=set)
    """(room, session) whose room key the bot's device holds."""
    reach: dict[tuple[str, str], int] = field(default_factory=dict)
    """The first index that a room key opens, where that isn't 0."""
    rotated: list[tuple[RoomId, UserId]] = field(default_factory=list)
    without_devices: set[UserId] = field(default_factory=set)
    """People of whom no device is known, so that nothing said can reach them."""
    admin_says: str = "purged"
    """How the homeserver's administration answers."""
    rotation_failure: Exception | None = None
    queue: list[dict[str, Any]] = field(default_factory=list)
    """Events that wait to be pushed to us."""
    done: dict[str, Done] = field(default_factory=dict)
    decoder_trouble: dict[str, Exception] = field(default_factory=dict)
    """By event id: what decoding raises."""
    device_id: str = "DEVICE"
    members: dict[RoomId, dict[UserId, str]] = field(default_factory=dict)
    """Who was in a room before we asked."""
    ghosts: dict[RoomId, set[UserId]] = field(default_factory=dict)
    """Which ghosts are in a room."""

    def fail(
        self,
        kind: type[Any],
        failure: Exception,
        *,
        times: int = 1,
        lands: bool = False,
        only: Callable[[Any], bool] = lambda _: True,
    ) -> None:
        """Make effects of a kind fail."""
        self.faults.append(Fault(lambda one: isinstance(one, kind) and only(one), failure, times, lands))

    def guests(self, room_id: RoomId) -> list[UserId]:
        """Who was invited to a room, in order."""
        return [user_id for room, user_id in self.invited if room == room_id]

    def texts(self, room_id: RoomId | None = None) -> list[str]:
        """What was said as text, in order."""
        return [
            say.content for _, say in self.said if isinstance(say.content, str) and room_id in {None, say.room_id}
        ]

    def cards(self, room_id: RoomId | None = None) -> list[tuple[EventId, Say, Card]]:
        """Cards that were sent, edits among them."""
        return [
            (event_id, say, say.content)
            for event_id, say in self.said
            if isinstance(say.content, Card) and room_id in {None, say.room_id}
        ]

    # --- ports.MatrixHands --------------------------------------------------------------------------------

    async def do(self, effect: MatrixEffect, attempt: Try) -> Done:
        """Transaction ids make every repetition harmless, as on the real side."""
        self.tries.append((effect, attempt))
        fault = next((one for one in self.faults if one.times > 0 and one.hits(effect)), None)
        if fault is not None:
            fault.times -= 1
            if not fault.lands:
                raise fault.failure
        if attempt.key not in self.done:
            if isinstance(effect, SendFile) and effect.document:
                content = await self.documents(effect.document) if self.documents else b""
                if content is None:
                    raise Broken("the bytes of a file are not there any more")
                self.sent.append((EventId(f"$own{len(self.order) + 1}"), effect, content))
            self.done[attempt.key] = self._take_effect(effect)
            self.order.append(effect)
        if fault is not None:
            raise fault.failure
        return self.done[attempt.key]

    async def membership_changed(self, room_id: RoomId, user_id: UserId) -> None:
        """Noted."""
        if self.rotation_failure is not None:
            raise self.rotation_failure
        self.rotated.append((room_id, user_id))

    def _take_effect(self, effect: MatrixEffect) -> Done:
        if isinstance(effect, AdminEffect):
            return Done(detail=self.admin_says)
        return self._in_rooms(effect)

    def _in_rooms(self, effect: RoomEffect) -> Done:
        number = len(self.order) + 1
        event_id = EventId(f"$own{number}")
        match effect:
            case OpenRoom():
                return self._open(effect, number)
            case Say() | SendFile() | React() | Redact():
                return self._speak(effect, event_id, number)
            case Invite(room_id=room_id, user_id=user_id) if user_id in self.members.get(room_id, {}):
                return Done(detail=f"was there: {self.members[room_id][user_id]}")
            case Invite(room_id=room_id, user_id=user_id):
                self.invited.append((room_id, user_id))
                found = self.history.get(user_id, {}) if effect.history_up_to is not None else {}
                self._push(member(room_id, user_id, "invite", sender=BOT, event_id=f"$invite{number}"))
                return Done(detail="invited", found=found)
            case Pin() | MendPins() | LetMembersPin():
                self._pin(effect)
                return Done(event_id=event_id)
            case PutState(room_id=room_id, event_type=event_type, state_key=state_key, content=content):
                self.state[room_id, event_type, state_key] = content
                return Done(event_id=event_id)
            case RestoreState():
                return self._restore(effect, event_id)
            case SetVoice(room_id=room_id, is_read_only=is_read_only, is_held=is_held):
                self.silenced[room_id] = is_read_only
                self.held[room_id] = is_held
                return Done(event_id=event_id)
            case FollowUpgrade(replacement=replacement, spec=spec):
                self.aliases[spec.alias_localpart] = replacement
                self.state.update({(replacement, one["type"], ""): one["content"] for one in spec.initial_state})
                there = tuple(sorted(self.members.get(replacement, {}).items()))
                return Done(room_id=replacement, detail="followed", members=((BOT, "join"), *there))
            case LeaveRoom() | AcceptIdentity():
                return self._write_down(effect)
            case Remove(room_id=room_id, user_id=user_id):
                self.ghosts.get(room_id, set()).discard(user_id)
                self._push(member(room_id, user_id, "leave", sender=BOT, event_id=f"$kick{number}"))
                return Done(detail="removed")

    def _pin(self, effect: Pin | MendPins | LetMembersPin) -> None:
        pins = self.pinned.setdefault(effect.room_id, [])
        match effect:
            case Pin(event_id=unpinned, is_pinned=False):
                pins[:] = [pin for pin in pins if pin != unpinned]
            case Pin(event_id=pinned, instead_of=before) if pinned in pins:
                pins[:] = [pin for pin in pins if pin == pinned or pin != before]
            case Pin(event_id=pinned, instead_of=before) if before in pins:
                pins[pins.index(before)] = pinned
            case Pin(event_id=pinned):
                pins.append(pinned)
            case MendPins(pinned=wanted, gone=gone):
                pins[:] = [*wanted, *(pin for pin in pins if pin not in wanted and pin not in gone)]
            case LetMembersPin():
                pass

    def _speak(self, effect: Spoken, event_id: EventId, number: int) -> Done:
        if effect.speaker and not isinstance(effect, Redact):
            self._let_in(effect.room_id, effect.speaker, number)
        match effect:
            case Say():
                self.said.append((event_id, effect))
                return Done(event_id=event_id, unread_by=tuple(sorted(self.without_devices)))
            case SendFile():
                if effect.file_id:
                    self.shared.append((event_id, effect))
                return Done(event_id=event_id, found={"mxc": f"mxc://x.org/{effect.document}"})
            case React() if any(one == effect for _, one in self.reacted):
                return Done(detail="was there")
            case React():
                self.reacted.append((event_id, effect))
                return Done(event_id=event_id)
            case Redact(event_id=gone):
                self.reacted[:] = [one for one in self.reacted if one[0] != gone]
                return Done(event_id=event_id)

    def _let_in(self, room_id: RoomId, speaker: Username, number: int) -> None:
        """A ghost that isn't in a room is let in before it says something there."""
        ghost = GHOSTS.user_id(speaker)
        assert ghost is not None
        if ghost not in self.ghosts.setdefault(room_id, set()):
            self.ghosts[room_id].add(ghost)
            self._push(member(room_id, ghost, "invite", sender=BOT, event_id=f"$bid{number}"))
            self._push(member(room_id, ghost, "join", sender=ghost, event_id=f"$come{number}"))

    def _write_down(self, effect: LeaveRoom | AcceptIdentity) -> Done:
        if isinstance(effect, AcceptIdentity):
            self.accepted.append(effect.user_id)
            return Done(detail="accepted")
        if effect.speaker:
            ghost = GHOSTS.user_id(effect.speaker)
            assert ghost is not None
            if not any(ghost in there for there in self.ghosts.values()):
                return Done(detail="was out")
            self.ghosts.get(effect.room_id, set()).discard(ghost)
            left = f"$left{len(self.order) + 1}"
            self._push(member(effect.room_id, ghost, "leave", sender=ghost, event_id=left))
            return Done(detail="left")
        self.left.append(effect.room_id)
        return Done(detail="left")

    def _restore(self, effect: RestoreState, event_id: EventId) -> Done:
        where = (effect.room_id, effect.event_type, effect.state_key)
        if where not in self.forged:
            return Done(detail="stands as it should")
        self.forged.remove(where)
        return Done(event_id=event_id, detail="set back")

    def _open(self, effect: OpenRoom, number: int) -> Done:
        self.opened.append(effect)
        known = self.aliases.get(effect.spec.alias_localpart)
        if known is not None:
            there = tuple(sorted(self.members.get(known, {}).items()))
            return Done(room_id=known, detail="adopted", members=((BOT, "join"), *there))
        room_id = self.aliases[effect.spec.alias_localpart] = RoomId(f"!room{number}")
        self._push(member(room_id, BOT, "join", sender=BOT, event_id=f"$join{number}"))
        return Done(room_id=room_id, detail="created")

    def _push(self, event: dict[str, Any]) -> None:
        if self.echo:
            self.queue.append(event)

    # --- ports.MatrixDecoder ------------------------------------------------------------------------------

    async def decode(self, payload: bytes) -> Fact | KeyMissing | Nothing:
        """An event of this module's own making; see `message`, `member`."""
        event = json.loads(payload)
        if event["event_id"] in self.decoder_trouble:
            raise self.decoder_trouble[event["event_id"]]
        origin = {name: event[name] for name in ("room_id", "event_id", "sender", "origin_ms")}
        session = event.get("session")
        where = (event["room_id"], session)
        if session is not None and (where not in self.keys or event.get("index", 0) < self.reach.get(where, 0)):
            return KeyMissing(**origin, session_id=session)
        rest = {name: event[name] for name in event.keys() - origin.keys() - {"is", "session", "index"}}
        match event["is"]:
            case "message":
                return MessageReceived(**origin, device_id="PHONE", session_id=session or "", **_typed(rest))
            case "plain":
                return PlainMessageReceived(**origin, event_type="m.room.message")
            case "unreadable":
                return MessageUnreadable(**origin, loss=Loss(event["loss"]))
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


def event(what: str, room_id: str, sender: str, *, event_id: str, **fields: Any) -> dict[str, Any]:
    """An event of a room, as `World.decode` reads it."""
    return {"is": what, "room_id": room_id, "sender": sender, "event_id": event_id, "origin_ms": 5, **fields}


def member(room_id: str, user_id: str, membership: str, *, sender: str, event_id: str) -> dict[str, Any]:
    """Somebody came or went."""
    return event("member", room_id, sender, event_id=event_id, user_id=user_id, membership=membership)


@dataclass
class Counts:
    """`ports.Meter`."""

    facts: list[str] = field(default_factory=list)
    effects: list[tuple[str, str]] = field(default_factory=list)
    commands: list[tuple[str, str]] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    parkings: list[str] = field(default_factory=list)

    def fact(self, kind: str, seconds: float) -> None:
        self.facts.append(kind)

    def effect(self, kind: str, outcome: str, seconds: float) -> None:
        self.effects.append((kind, outcome))

    def command(self, name: str, status: str, seconds: float) -> None:
        self.commands.append((name, status))

    def undecryptable(self, reason: str) -> None:
        self.lost.append(reason)

    def parked(self, where: Literal["inbox", "outbox"]) -> None:
        self.parkings.append(where)


@dataclass
class Signs:
    """`ports.Vitals`."""

    vitals: list[Vital] = field(default_factory=lambda: [Vital("Matrix", True, "syncing")])

    def look(self) -> Sequence[Vital]:
        return self.vitals


@dataclass
class Keyless:
    """`ports.Refusals`."""

    devices: list[RefusedDevice] = field(default_factory=list)

    def of_room(self, room_id: RoomId) -> Sequence[RefusedDevice]:
        return [one for one in self.devices if one.room_id == room_id]

    def everywhere(self) -> Sequence[RefusedDevice]:
        return self.devices


@dataclass
class Verified:
    """`ports.Devices`: everybody's devices are signed, but for these."""

    doubted: list[SeenDevice] = field(default_factory=list)
    asked_afresh: list[UserId] = field(default_factory=list)

    async def unsigned(self, user_ids: Collection[UserId], *, afresh: bool = False) -> Sequence[SeenDevice]:
        self.asked_afresh += sorted(user_ids) if afresh else ()
        return [one for one in self.doubted if one.user_id in user_ids]


@dataclass
class Told:
    """`ports.Broadcast` that remembers."""

    all: list[News] = field(default_factory=list)

    def tell(self, news: Sequence[News]) -> None:
        self.all += news

    def of(self, kind: type[N]) -> list[N]:
        """Those of a kind, in order."""
        return [one for one in self.all if isinstance(one, kind)]


class CrashingStore:
    """The store of a process that dies at its commit number `at`: before it (rolled back) or right after it."""

    def __init__(self, inner: SqlStore, at: int | None, *, before: bool) -> None:
        self._inner = inner
        self._left = at
        self._before = before

    def view(self) -> AbstractAsyncContextManager[Work]:
        return self._inner.view()

    def stamp(self, *scopes: str) -> tuple[int, ...]:
        return self._inner.stamp(*scopes)

    @asynccontextmanager
    async def work(self) -> AsyncIterator[Work]:
        if self._left is not None:
            self._left -= 1
        async with self._inner.work() as work:
            yield work
            if self._left == 0 and self._before:
                raise Crash
        if self._left == 0:
            raise Crash


class _EtbJson:
    """`ports.EtbDecoder`: what ETB brought is stored as a fact here."""

    def decode(self, payload: bytes) -> Fact | Nothing:
        if payload == b"nothing":
            return Nothing("not an incident")
        return FactJson().decode(payload)


class House:
    """The service, without its edges. Make it with `house_at`."""

    def __init__(
        self,
        folder: Path,
        *,
        clock: MovedClock,
        world: World,
        etb: FakeEtb,
        policy: Policy,
        commands: dict[str, Command],
    ) -> None:
        self.folder = folder
        self.clock = clock
        self.world = world
        self.etb = etb
        self.policy = policy
        self.commands = commands
        self.meter = Counts()
        self.signs = Signs()
        self.keyless = Keyless()
        self.devices = Verified()
        self.news = Told()
        self.waiting = Waiting()
        self.media = MediaInMemory()
        self.lane_of: dict[str, str] = {}
        self.woken: list[tuple[tuple[str, ...], tuple[str, ...]]] = []
        self.verdict: Callable[[Verdict], None] = lambda _: None
        """Told of verdicts."""
        self.crashes = 0
        self._lives: Iterator[int] | None = None
        self._die_before = False
        self._number = 0
        self._stack = AsyncExitStack()
        self.db: SqlStore
        self.store: Store
        self.intake: Intake
        self.outbox: Outbox
        self.decider: Decider

    # --- life and death -----------------------------------------------------------------------------------

    async def start(self) -> None:
        """Everything that lives in memory, built anew on the database in `folder`."""
        url = f"sqlite:///{self.folder / 'etb.db'}"
        self.db = await self._stack.enter_async_context(open_store(url, ROOT_KEY, self.clock))
        commits = None if self._lives is None else next(self._lives) + self._die_before
        self.store = CrashingStore(self.db, commits, before=self._die_before)
        self.lane_of.clear()
        self.policy.people.links.forget()
        await load_links(self.db, self.policy)
        self.world.documents = self._document
        self.decider = decider_of(
            store=self.store,
            etb=self.etb,
            policy=self.policy,
            clock=self.clock,
            commands=self.commands,
            vitals=self.signs,
            meter=self.meter,
            refusals=self.keyless,
            devices=self.devices,
        )
        self.intake = Intake(
            self.store,
            self.world,
            self.world,
            _EtbJson(),
            FactJson(),
            self.decider,
            self.policy,
            self.clock,
            self.meter,
            self._wake,
            self.lane_of.__setitem__,
            self.news,
            verdict=self._judged,
            decided=self.waiting.decided,
        )
        self.outbox = Outbox(
            self.store,
            self.world,
            self.etb,
            FactJson(),
            self.policy,
            self.clock,
            self.meter,
            self._wake,
            self.decider.answers.record,
            self.news,
            started_ms=self.clock.now_ms(),
        )

    async def _document(self, document_id: str) -> bytes | None:
        """As the real hands read it, when they send it."""
        async with self.db.view() as view:
            found = await view.documents.get(document_id)
        return found.content if found else None

    async def stop(self) -> None:
        """Close the database."""
        await self._stack.aclose()
        self._stack = AsyncExitStack()

    async def crash(self) -> None:
        """Die now and come back."""
        await self.stop()
        await self.start()

    async def die_again_and_again(self, lives: Sequence[int], *, before: bool) -> None:
        """From now on each process lives for so many commits, in turn; `before`: one more is tried and lost."""
        self._lives = itertools.cycle(lives)
        self._die_before = before
        await self.crash()

    async def die_no_more(self) -> None:
        """From now on a process lives."""
        self._lives = None
        await self.crash()

    async def settle(self) -> None:
        """Work until nothing is due any more, through crashes if there are any."""
        for _ in range(_MOST_ROUNDS):
            try:
                if not await self._round():
                    return
            except Crash:
                self.crashes += 1
                await self.crash()
        raise AssertionError("the house does not come to rest")

    async def advance(self, seconds: float) -> None:
        """Let time pass, then do what fell due."""
        self.clock.advance(seconds)
        await self.settle()

    async def _round(self) -> bool:
        """One step of every lane and target that has work."""
        self.clock.advance(0.001)
        while self.world.queue:
            await self.accept_event(self.world.queue[0])
            del self.world.queue[0]
        async with self.db.work() as work:
            lanes = await work.inbox.lanes(self.clock.now_ms())
        went = [await self.intake.step(lane) for lane in lanes]
        async with self.db.view() as view:
            targets = await view.outbox.targets()
        went += [await self.outbox.step(target) for target in targets]
        return any(one is True for one in went)

    def _wake(self, lanes: Sequence[str], targets: Sequence[str], urgent: Sequence[str] = ()) -> None:
        self.woken.append((tuple(lanes), tuple(targets)))

    def _judged(self, one: Verdict) -> None:
        self.verdict(one)

    async def key_comes(self, session: str, room_id: str | None = None) -> None:
        """The bot's device is given a room key; then at rest."""
        where = room_id or await self.room_id()
        self.world.keys.add((where, session))
        while True:
            try:
                await self.intake.keys_arrived([(RoomId(where), session)])
                break
            except Crash:
                self.crashes += 1
                await self.crash()
                if not self._die_before:
                    break
        await self.settle()

    # --- what comes in ------------------------------------------------------------------------------------

    async def accept(self, *arrivals: Arrival) -> int:
        """As an edge does it: one commit; answers how many were new."""
        async with self.db.work() as work:
            return await work.inbox.accept(arrivals)

    async def accept_event(self, content: dict[str, Any]) -> int:
        """A room event, by a transaction or fetched."""
        lane = self.lane_of.get(content["room_id"], content["room_id"])
        key = short_hash("event", content["event_id"])
        payload = json.dumps(content).encode()
        return await self.accept(Arrival(source="matrix", lane=lane, key=key, payload=payload))

    async def report(
        self, seen: Incident, via: Literal["webhook", "poll"] = "webhook", *, delivery: str = ""
    ) -> int:
        """ETB shows an incident."""
        self.etb.known.setdefault(seen.id, seen)
        payload = FactJson().encode(IncidentSeen(incident=seen, via=via))
        key = short_hash(via, delivery or repr(seen))
        return await self.accept(Arrival(source="etb", lane=seen.id, key=key, payload=payload))

    async def own(self, fact: Fact, *, lane: str = SERVICE_LANE) -> None:
        """A fact of the service's own."""
        self._number += 1
        key = short_hash("test", str(self._number), str(self.clock.now_ms()))
        await self.accept(Arrival(source="own", lane=lane, key=key, payload=FactJson().encode(fact)))

    async def wants(self, effect: Effect, *, lane: str = NO_1) -> str:
        """An effect is asked for, as if by a decision; answers its key. At rest."""
        self._number += 1
        key = f"test/{self._number}"
        async with self.db.work() as work:
            await work.outbox.add(key, lane, effect)
        await self.settle()
        return key

    async def start_service(self) -> None:
        """As at every start; then at rest."""
        await self.own(ServiceStarted())
        await self.settle()

    async def on_call(self, *names: str, rotation: str = "") -> None:
        """Other people are on call."""
        usernames = tuple(Username(name) for name in names)
        rows = tuple(OnCall(rotation, name) for name in usernames) if rotation else ()
        await self.own(OnCallSeen(usernames=usernames, on_call=rows))

    async def says(self, sender: str, body: str, room_id: str | None = None, **fields: Any) -> str:
        """Somebody writes; answers the event id. Not yet worked on."""
        self._number += 1
        event_id: str = fields.pop("event_id", f"$said{self._number}")
        what = fields.pop("what", "message")
        if what == "message":
            fields = {"msgtype": "m.text", "body": body, "origin_ms": self.clock.now_ms(), **fields}
        where = room_id or await self.room_id()
        await self.accept_event(event(what, where, sender, event_id=event_id, **fields))
        return event_id

    async def reacts(self, sender: str, event_id: str, key: str, room_id: str | None = None) -> str:
        """Somebody reacts to a message; answers the reaction's own event id. At rest."""
        fields = {"key": bare(key), "relates_to": event_id, "shown": key}
        made = await self.says(sender, "", room_id, what="reaction", **fields)
        await self.settle()
        return made

    async def redacts(self, sender: str, event_id: str, room_id: str | None = None) -> None:
        """Somebody takes an event away. At rest."""
        await self.says(sender, "", room_id, what="redaction", redacts=event_id)
        await self.settle()

    async def moves(self, user_id: str, membership: str, room_id: str | None = None, *, sender: str = "") -> None:
        """Somebody joins, leaves or is invited; then at rest."""
        self._number += 1
        await self.accept_event(
            member(
                room_id or await self.room_id(),
                user_id,
                membership,
                sender=sender or user_id,
                event_id=f"$member{self._number}",
            )
        )
        await self.settle()

    # --- what stands --------------------------------------------------------------------------------------

    async def room(self, incident_id: IncidentId = NO_1) -> Room:
        """The incident's room."""
        async with self.db.view() as view:
            room = await view.rooms.of_incident(incident_id)
        assert room is not None, "the incident has no room"
        return room

    async def room_id(self, incident_id: IncidentId = NO_1) -> RoomId:
        """Its Matrix id."""
        room = await self.room(incident_id)
        assert room.room_id is not None, "the room isn't open yet"
        return room.room_id

    def control_room(self) -> RoomId:
        """Where operators command."""
        return self.world.aliases["_etb_control"]

    def space(self) -> RoomId:
        """Where incident rooms are gathered."""
        return self.world.aliases["_etb_incidents"]

    def troubles(self) -> list[str]:
        """What the operators were told, in order."""
        return [
            say.content
            for _, say in self.world.said
            if isinstance(say.content, str) and say.room_id == self.control_room() and say.reply_to is None
        ]

    def answers(self, event_id: str) -> list[str]:
        """What was answered to a message."""
        return [str(say.content) for _, say in self.world.said if say.reply_to == event_id]

    async def ask(self, sender: str, body: str, room_id: str | None = None, **fields: Any) -> str:
        """Send a command, let it be worked on, and answer the one answer to it."""
        event_id = await self.says(sender, body, room_id, **fields)
        await self.settle()
        [answer] = self.answers(event_id)
        return answer

    async def audit(self) -> list[AuditEntry]:
        """The whole log, after a look whether its chain holds."""
        async with self.db.view() as view:
            rows = await view.audit.read(limit=100_000)
        assert first_break([entry for entry, _ in rows], [digest for _, digest in rows]) is None
        return [entry for entry, _ in rows]

    async def tags(self) -> list[str]:
        """Tags of the log, in order."""
        return [entry.tag for entry in await self.audit()]

    async def open_for_alice(self, **changes: Any) -> RoomId:
        """The control room and INC-1's room, opened and settled; alice has joined."""
        self.know("alice", "bob", "carol")
        await self.start_service()
        await self.moves(OPERATOR, "join", self.control_room())
        await self.report(incident(**changes))
        await self.settle()
        room_id = await self.room_id()
        await self.moves(ALICE, "join")
        await self.advance(10)
        return room_id

    async def chat_with(self, user_id: UserId) -> RoomId:
        """The direct chat with somebody, opened and joined."""
        before = set(self.world.aliases)
        await self.own(LetterDue(user_id=user_id, text="Hello."), lane=f"direct/{user_id}")
        await self.settle()
        [alias] = self.world.aliases.keys() - before
        room_id = self.world.aliases[alias]
        await self.moves(user_id, "join", room_id)
        return room_id

    async def let_in(self, *names: str) -> None:
        """Somebody has let these people in, before they join."""
        room = await self.room()
        async with self.db.work() as work:
            for name in names:
                entry = Admitted(id=name, username=Username(name), by=OPERATOR, at_ms=self.clock.now_ms())
                await work.cases.put(room.war_room, entry)
                if name in self.etb.users:
                    await work.incidents.put_user(self.etb.users[Username(name)], self.clock.now_ms())

    async def break_glass(self, user_id: UserId) -> None:
        """Somebody was let in whatever ETB says, for a year."""
        now_ms = self.clock.now_ms()
        grant = BreakGlass(
            id=user_id, by=(ALICE, OPERATOR), reason="a test", from_ms=now_ms, until_ms=now_ms + 365 * 86_400_000
        )
        room = await self.room()
        async with self.db.work() as work:
            await work.cases.put(room.war_room, grant)

    async def leave_over(self, *names: str) -> None:
        """These people came in rightly, and are of the incident no longer: they stay, up to a level."""
        room = await self.room()
        async with self.db.work() as work:
            for name in names:
                user_id = self.policy.people.user_id(Username(name))
                await work.cases.put(room.war_room, Guest(id=Username(name), user_id=user_id, stays=True))
                if name in self.etb.users:
                    await work.incidents.put_user(self.etb.users[Username(name)], self.clock.now_ms())

    def know(self, *names: str, clearance: Classification = Classification.RESTRICTED) -> None:
        """ETB knows these people."""
        for name in names:
            self.etb.users[Username(name)] = etb_user(name, clearance)


@pytest.fixture(autouse=True)
def logged() -> Iterator[list[Any]]:
    """What was logged in this test, as data: nothing is spent on printing it."""
    with structlog.testing.capture_logs() as entries:
        yield entries


@pytest.fixture(scope="session")
def fast_folder() -> Iterator[Path]:
    """In memory where the system has such a place: every commit is an fsync."""
    shm = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shm if os.access(shm, os.W_OK) else None) as folder:
        yield Path(folder)


@pytest.fixture
async def make_house(fast_folder: Path) -> AsyncIterator[MakeHouse]:
    """`await make_house(policy=…)`: a house on a new database."""
    async with AsyncExitStack() as stack:

        async def make(**parts: Any) -> House:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=fast_folder)))
            house = await house_at(folder, fast_folder / "template.db", **parts)
            stack.push_async_callback(house.stop)
            return house

        yield make


@pytest.fixture
async def house(make_house: MakeHouse) -> House:
    """The usual one."""
    return await make_house()


async def house_at(folder: Path, template: Path, **parts: Any) -> House:
    """A house on a new database in `folder`; `template` is where the empty tables are kept for all tests."""
    if not template.exists():  # noqa: ASYNC240 - a test waits for nothing else
        await upgrade(f"sqlite:///{template}")
    shutil.copyfile(template, folder / "etb.db")
    house = House(
        folder,
        clock=parts.get("clock") or MovedClock(),
        world=parts.get("world") or World(),
        etb=parts.get("etb") or FakeEtb(),
        policy=parts.get("policy") or policy_of(),
        commands=parts.get("commands") or find(etb_appservice.commands),
    )
    await house.start()
    return house


def unsure() -> Failure:
    """No answer came."""
    return Unsure("no answer came")


def later(after_s: float | None = None) -> Failure:
    """Not now."""
    return Later("the homeserver is away", after_s=after_s)


def broken() -> Failure:
    """Our fault."""
    return Broken("a request that can't be right")

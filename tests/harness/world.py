"""A homeserver in memory, and what the bot did on it: outlives a crash of ours, and tells what was done."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

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
from etb_appservice.domain.facts import Done, Fact
from etb_appservice.domain.ids import EventId, RoomId, UserId, Username
from etb_appservice.domain.incident import Card
from etb_appservice.domain.outcomes import Broken, Failure, Later, Unsure
from etb_appservice.ports import KeyMissing, Nothing, Try
from tests.harness.cast import BOT, GHOSTS
from tests.harness.events import member, read


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
    """Rooms whose members were ever kept from writing, and whether they are."""
    held: dict[RoomId, bool] = field(default_factory=dict)
    """Whether members are kept from taking messages away, in the same rooms."""
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
        """An event of the tests' own making (events.py)."""
        event = json.loads(payload)
        if event["event_id"] in self.decoder_trouble:
            raise self.decoder_trouble[event["event_id"]]
        return read(event, self._opens)

    def _opens(self, room_id: str, session: str, index: int) -> bool:
        return (room_id, session) in self.keys and index >= self.reach.get((room_id, session), 0)


def unsure() -> Failure:
    """No answer came."""
    return Unsure("no answer came")


def later(after_s: float | None = None) -> Failure:
    """Not now."""
    return Later("the homeserver is away", after_s=after_s)


def broken() -> Failure:
    """Our fault."""
    return Broken("a request that can't be right")

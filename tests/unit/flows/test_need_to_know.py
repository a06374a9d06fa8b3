"""No actor of ours ever gives a key above the clearance held at that time, whatever happens in whatever order.

The house of the kit, with the real hands, the real list of recipients and the real crypto on a key server in
memory. The rule is stated once more here, by itself: by what the service knows of a person at that moment.
"""

import itertools
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.effects import Say
from etb_appservice.domain.facts import UsersSeen
from etb_appservice.domain.ids import NOBODY, RoomId, UserId, Username
from etb_appservice.domain.incident import EtbUser, OnCall
from etb_appservice.matrix.audience import audience_from
from etb_appservice.matrix.cipher import Cipher
from etb_appservice.ports import Work as Tables
from tests.harness.cast import ALICE, GHOSTS, NO_1, etb_user, incident, policy_of
from tests.harness.house import House
from tests.harness.keyserver import KeyServer
from tests.harness.kit import house_at
from tests.harness.phones import SealedWorld, add_phone
from tests.unit.matrix.conftest import Actor

NAMES = ("alice", "bob", "carol")
OURS = {"@bot:test", "@ghost:test"}
STRANGER = UserId("@mallory:evil.example")
PEOPLE = (*(UserId(f"@{name}:x.org") for name in NAMES), STRANGER)
LEVELS = tuple(Classification)
_DEVICES = itertools.count(1)


@dataclass(frozen=True)
class Clear:
    """ETB says something else of somebody, and the poll sees it."""

    name: str
    level: Classification
    active: bool = True


@dataclass(frozen=True)
class Level:
    """The incident's level is another."""

    level: Classification


@dataclass(frozen=True)
class Move:
    """Somebody joins, by whatever means, or leaves."""

    who: UserId
    word: str


@dataclass(frozen=True)
class OnDuty:
    names: tuple[str, ...]


@dataclass(frozen=True)
class Device:
    who: UserId
    comes: bool


@dataclass(frozen=True)
class Speak:
    """The service says something, or somebody through their ghost."""

    who: Username = NOBODY


@dataclass(frozen=True)
class Hours:
    """Time passes without a word of ETB's."""

    hours: int


@dataclass(frozen=True)
class Stock:
    """Nobody can begin to talk to a person's devices, or one can again."""

    who: UserId
    is_there: bool


@dataclass(frozen=True)
class Retry:
    """Devices without keys are tried again."""


@dataclass(frozen=True)
class Etb:
    """ETB can be reached, or can't."""

    is_up: bool


@dataclass(frozen=True)
class Work:
    """So many steps of work are done, and then the next thing happens."""

    rounds: int


Event = Clear | Level | Move | OnDuty | Device | Speak | Hours | Etb | Stock | Retry | Work
EVENTS = st.one_of(
    st.builds(Clear, st.sampled_from(NAMES), st.sampled_from(LEVELS), st.booleans()),
    st.builds(Level, st.sampled_from(LEVELS)),
    st.builds(Move, st.sampled_from(PEOPLE), st.sampled_from(("join", "join", "leave", "invite"))),
    st.builds(OnDuty, st.sets(st.sampled_from(NAMES)).map(lambda names: tuple(sorted(names)))),
    st.builds(Device, st.sampled_from(PEOPLE), st.booleans()),
    st.builds(Speak),
    st.builds(Speak, st.sampled_from(tuple(Username(name) for name in NAMES))),
    st.builds(Hours, st.sampled_from((1, 25))),
    st.builds(Etb, st.booleans()),
    st.builds(Stock, st.sampled_from(PEOPLE), st.booleans()),
    st.builds(Retry),
    st.builds(Work, st.integers(0, 3)),
)


@pytest.fixture(scope="module")
async def crypto(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[KeyServer, Cipher, Cipher]]:
    """The bot and a ghost with devices, for all sequences: to make one takes longer than to play one."""
    patch = pytest.MonkeyPatch()
    server = KeyServer()
    patch.setattr("etb_appservice.matrix.identity.make_client", server.client)
    actor = await Actor(server, "@bot:test", tmp_path_factory.mktemp("crypto")).start()
    ghost = Actor(server, "@ghost:test", tmp_path_factory.mktemp("ghost"))
    ghost.database, ghost.keeper = actor.database, actor.keeper
    await ghost.start(bot=actor.cipher)
    patch.undo()
    yield server, actor.cipher, ghost.cipher
    await actor.close()


class Play:
    """One sequence of events on one house."""

    def __init__(self, house: House, world: SealedWorld, server: KeyServer, cipher: Cipher, ghost: Cipher) -> None:
        self.ghost = ghost
        self.house, self.world, self.server, self.cipher = house, world, server, cipher
        self.kept: dict[tuple[str, str], tuple[str, dict[str, Any]]] = {}
        self.changes = 1000
        self.number = 0

    async def begin(self) -> None:
        for user_id in PEOPLE:
            self.server.devices[user_id].clear()
            add_phone(self.server, user_id, f"PHONE{next(_DEVICES)}")
        await self.cipher.members_changed(list(PEOPLE))
        audience_of = audience_from(self.house.store, self.house.policy)
        self.world.wire_up(self.cipher, self.server, audience_of, self.may, self.ghost)
        await self.house.open_for_alice()
        await self.house.moves(UserId("@bob:x.org"), "join")
        await self.happen(Speak(Username("alice")))
        await self.house.settle()

    async def may(self, room_id: RoomId, holders: frozenset[str]) -> list[str]:
        """Everybody who can read this message may, by what is known of them at this moment; else what is wrong."""
        async with self.house.db.view() as view:
            room = await view.rooms.by_id(room_id)
            known = await view.incidents.get(NO_1)
            if room is None or room.kind != "incident" or known is None:
                return []
            level = max(room.classification, known.incident.stated or Classification.INTERNAL)
            found = [await self._wrong(view, room_id, one, level) for one in holders - OURS]
        return [one for one in found if one]

    async def _wrong(self, view: Tables, room_id: RoomId, user_id: str, level: Classification) -> str:
        username = self.house.policy.people.username(UserId(user_id))
        copy = await view.incidents.user(username) if username else None
        if copy is None:
            return f"{user_id} is nobody we know"
        user, confirmed_ms = copy
        if not user.is_active:
            return f"the account of {user_id} is locked"
        if user.clearance < level:
            return f"{user_id} is cleared for {user.clearance.name}, it is {level.name}"
        if view.now_ms() - confirmed_ms > self.house.policy.clearance.hold_s * 1000:
            return f"{user_id} was not confirmed for too long"
        is_ghost = GHOSTS.username(UserId(user_id)) is not None
        if not is_ghost and await view.rooms.membership(room_id, UserId(user_id)) not in {"join", "invite"}:
            return f"{user_id} is not in the room"
        return ""

    async def happen(self, what: Event) -> None:
        house = self.house
        match what:
            case Clear(name, level, active):
                user = replace(etb_user(name, level), is_active=active)
                house.etb.users[Username(name)] = user
                await self._seen(user)
            case Level(level):
                self.changes += 1
                await house.report(incident(stated=level, updated_at_ms=self.changes))
            case Move(who, word):
                self.number += 1
                sender = STRANGER if word == "invite" else who
                moved: dict[str, Any] = {"is": "member", "room_id": await house.room_id(), "sender": sender}
                moved |= {"event_id": f"$moved{self.number}", "origin_ms": 5, "user_id": who, "membership": word}
                await house.accept_event(moved)
            case OnDuty(names):
                house.etb.duty = [OnCall("r", Username(name)) for name in names]
                await house.on_call(*names, rotation="r")
            case Speak(who):
                self.number += 1
                said = Say(room_id=await house.room_id(), content="Something.", purpose="notice", speaker=who)
                async with house.db.work() as work:
                    # As if it had been decided just before: what is decided now would look at everybody first.
                    await work.outbox.add(f"said/{self.number}", NO_1, said)
            case Etb(is_up):
                if is_up:
                    house.etb.up()
                else:
                    house.etb.down()
            case Hours(hours):
                house.clock.advance(hours * 3600)
            case Device() | Stock() | Retry():
                await self._with_devices(what)
            case Work(rounds):
                for _ in range(rounds):
                    await house._round()

    async def _with_devices(self, what: Device | Stock | Retry) -> None:
        match what:
            case Device(who, comes):
                if comes:
                    add_phone(self.server, who, f"PHONE{next(_DEVICES)}")
                elif self.server.devices[who]:
                    self.server.devices[who].popitem()
                response = self.server.sync("@bot:test", "", changed=(who,))
                await self.cipher.handle_sync({"device_lists": response["device_lists"]}, since="s")
            case Stock(who, is_there):
                self._stock(who, is_there=is_there)
            case Retry():
                for memory in self.cipher.courier.memories:
                    for item in memory._items.values():  # their pauses are over
                        item.next_try = 0.0
                assert self.world.hands is not None
                await self.world.hands.retry_refused()

    def _stock(self, who: UserId, *, is_there: bool) -> None:
        for target in [one for one in (*self.server.fallback, *self.kept) if one[0] == who]:
            here, there = (self.kept, self.server.fallback) if is_there else (self.server.fallback, self.kept)
            if target in here:
                there[target] = here.pop(target)

    async def _seen(self, user: EtbUser) -> None:
        await self.house.own(UsersSeen(users=(user,)), lane="users")


@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(events=st.lists(EVENTS, min_size=5, max_size=25))
async def test_no_key_goes_above_the_clearance_held_at_that_time(
    fast_folder: Path, crypto: tuple[KeyServer, Cipher, Cipher], events: list[Event]
) -> None:
    server, cipher, ghost = crypto
    world = SealedWorld()
    with tempfile.TemporaryDirectory(dir=fast_folder) as folder:
        house = await house_at(Path(folder), fast_folder / "template.db", world=world, policy=policy_of())
        try:
            play = Play(house, world, server, cipher, ghost)
            await play.begin()
            for what in events:
                await play.happen(what)
            await play.happen(Speak())
            await house.settle()
            assert world.leaks == []
            assert world.messages > 1
            assert world.by_ghosts
            assert ALICE in set().union(*world.holders.values()), "somebody was given keys at all"
        finally:
            await house.stop()
            for room_id in list(world.aliases.values()):
                await cipher.forget_sessions(room_id)

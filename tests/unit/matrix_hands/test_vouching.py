"""Events of people who aren't in the room count only if the homeserver shows them."""

from typing import Any

import pytest

from etb_appservice.domain.facts import EventDisowned, Fact, MembershipChanged, PlainMessageReceived, StateChanged
from etb_appservice.domain.ids import EventId, RoomId, UserId
from etb_appservice.domain.outcomes import Later
from etb_appservice.matrix.vouching import Vouching
from etb_appservice.ports import KeyMissing, Nothing
from tests.harness.cast import ALICE, BOT, STRANGER
from tests.harness.house import House
from tests.harness.kit import fast_folder, house, logged, make_house

__all__ = ["fast_folder", "house", "logged", "make_house"]

CAROL = UserId("@carol:partner.example")


class Server:
    """Shows what a test says, and counts the questions."""

    def __init__(self) -> None:
        self.shown: set[str] = set()
        self.asked: list[str] = []
        self.failure: Exception | None = None

    async def event(self, room_id: RoomId, event_id: EventId) -> dict[str, Any] | None:
        self.asked.append(event_id)
        if self.failure is not None:
            raise self.failure
        return {"event_id": event_id} if event_id in self.shown else None


class Reader:
    """Reads every event as what a test says."""

    def __init__(self) -> None:
        self.answer: Fact | KeyMissing | Nothing = Nothing("odd")

    async def decode(self, payload: bytes) -> Fact | KeyMissing | Nothing:
        return self.answer


class Bench:
    def __init__(self, house: House, room_id: RoomId) -> None:
        self.house, self.room_id = house, room_id
        self.server, self.reader = Server(), Reader()
        self.vouching = Vouching(self.reader, house.db, self.server, BOT)

    def origin(self, sender: UserId) -> dict[str, Any]:
        return {"room_id": self.room_id, "event_id": EventId("$e"), "sender": sender, "origin_ms": 5}

    async def read(self, answer: Fact | KeyMissing | Nothing) -> Fact | KeyMissing | Nothing:
        self.reader.answer = answer
        return await self.vouching.decode(b"{}")

    def says(self, sender: UserId) -> PlainMessageReceived:
        return PlainMessageReceived(**self.origin(sender), event_type="m.room.message")

    def joins(self, user_id: UserId) -> MembershipChanged:
        return MembershipChanged(**self.origin(user_id), user_id=user_id, membership="join")


@pytest.fixture
async def bench(house: House) -> Bench:
    """INC-1's room: alice is in it, bob is invited, carol was removed."""
    room_id = await house.open_for_alice()
    await house.moves(CAROL, "join")
    await house.moves(CAROL, "ban", sender=BOT)
    return Bench(house, room_id)


async def test_of_members_and_of_the_bot_nothing_is_asked(bench: Bench) -> None:
    for fact in (bench.says(ALICE), bench.says(BOT), bench.joins(ALICE), bench.joins(UserId("@bob:x.org"))):
        assert await bench.read(fact) == fact
    assert await bench.read(Nothing("odd")) == Nothing("odd")
    assert bench.server.asked == []


@pytest.mark.parametrize("what", ["message", "join", "state", "key missing"])
async def test_what_the_homeserver_shows_to_nobody_is_disowned(bench: Bench, what: str) -> None:
    origin = bench.origin(CAROL)
    made: dict[str, Fact | KeyMissing] = {
        "message": bench.says(CAROL),
        "join": bench.joins(CAROL),
        "state": StateChanged(**origin, event_type="m.room.name", state_key=""),
        "key missing": KeyMissing(**origin, session_id="s"),
    }
    assert await bench.read(made[what]) == EventDisowned(**origin)
    bench.server.shown.add("$e")
    assert await bench.read(made[what]) == made[what]
    assert bench.server.asked == ["$e", "$e"]


async def test_who_was_a_member_is_asked_about_as_soon_as_an_event_says_otherwise(bench: Bench) -> None:
    assert await bench.read(bench.says(ALICE)) == bench.says(ALICE)
    ban = MembershipChanged(**bench.origin(BOT), user_id=ALICE, membership="ban")
    assert await bench.read(ban) == ban
    await bench.house.moves(ALICE, "ban", sender=BOT)
    assert await bench.read(bench.says(ALICE)) == EventDisowned(**bench.origin(ALICE))


async def test_only_so_many_members_are_remembered(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("etb_appservice.matrix.vouching._REMEMBERED", 1)
    await bench.house.moves(UserId("@bob:x.org"), "join")
    for sender in (ALICE, UserId("@bob:x.org"), ALICE):
        assert await bench.read(bench.says(sender)) == bench.says(sender)
    assert len(bench.vouching._joined) == 1


async def test_an_invitation_vouches_for_its_answer_and_for_nothing_else(bench: Bench) -> None:
    bob = UserId("@bob:x.org")
    assert await bench.read(bench.says(bob)) == EventDisowned(**bench.origin(bob))


async def test_rooms_of_others_are_left_to_the_flows(bench: Bench) -> None:
    bench.room_id = RoomId("!theirs")
    assert await bench.read(bench.says(STRANGER)) == bench.says(STRANGER)
    assert bench.server.asked == []


async def test_while_the_homeserver_is_away_the_event_waits(bench: Bench) -> None:
    bench.server.failure = Later("away")
    with pytest.raises(Later):
        await bench.read(bench.joins(CAROL))


async def test_a_disowned_event_is_recorded_and_told_once_and_changes_nothing(house: House) -> None:
    room_id = await house.open_for_alice()
    await house.moves(CAROL, "join")
    await house.moves(CAROL, "ban", sender=BOT)
    for number in range(3):
        fact = EventDisowned(room_id=room_id, event_id=EventId(f"$forged{number}"), sender=CAROL, origin_ms=5)
        await house.own(fact, lane=house.lane_of[room_id])
    await house.settle()
    assert (await house.tags()).count("violation.not_in_room") == 3
    [told] = [text for text in house.troubles() if "though they are not in the room" in text]
    assert told.startswith(f"The homeserver of `{CAROL}`")
    async with house.db.view() as view:
        assert await view.rooms.membership(room_id, CAROL) == "ban"

"""Who types and who has read in Matrix: told of whom it may be told, bounded, and kept nowhere."""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from etb_appservice.domain.ids import EventId, RoomId, UserId, Username
from etb_appservice.domain.news import News, ReadUpTo, Typing
from etb_appservice.domain.passing import ReadSeen, TypingSeen
from etb_appservice.flows.passing import TYPING_S, Passing
from tests.harness.cast import ALICE, BOB, BOT, CAROL, GHOSTS
from tests.harness.house import House

ALICES_GHOST = GHOSTS.user_id(Username("alice")) or UserId("")
FOREIGN = UserId("@mallory:evil.example")


@dataclass
class Room:
    """INC-1's room, and what was told of it."""

    house: House
    room_id: RoomId
    passing: Passing

    async def types(self, *user_ids: UserId, room_id: RoomId | None = None) -> list[tuple[str, bool]]:
        """The homeserver says that these type there now; what is told of it."""
        self.passing.offer([TypingSeen(room_id=room_id or self.room_id, user_ids=frozenset(user_ids))])
        return await self.typing()

    async def typing(self) -> list[tuple[str, bool]]:
        before = len(self.house.news.of(Typing))
        await self.passing.round()
        return [(one.person.username, one.is_typing) for one in self.house.news.of(Typing)[before:]]

    def read(self, user_id: UserId, event_id: str) -> ReadSeen:
        return ReadSeen(room_id=self.room_id, user_id=user_id, event_id=EventId(event_id))

    async def reads(self, *seen: ReadSeen) -> list[tuple[str, str]]:
        """Who is told to have read which message, by its text."""
        self.passing.offer(seen)
        return await self.reading()

    async def reading(self) -> list[tuple[str, str]]:
        before = len(self.house.news.of(ReadUpTo))
        await self.passing.round()
        news = self.house.news.of(ReadUpTo)[before:]
        async with self.house.db.view() as view:
            found = await view.messages.by_ids([one.message_id for one in news])
        return [(one.person.username, found[one.message_id].body or "") for one in news]


@pytest.fixture
async def room(house: House) -> Room:
    """Alice and bob are in it; carol has nothing to do with it."""
    room_id = await house.open_for_alice()
    await house.moves(BOB, "join")
    return Room(house, room_id, Passing(house.store, house.policy, house.news, house.clock))


async def said(room: Room, body: str) -> str:
    event_id = await room.house.says(ALICE, body)
    await room.house.settle()
    return event_id


async def test_who_begins_and_who_stops_is_told_once_each(room: Room) -> None:
    assert await room.types(ALICE) == [("alice", True)]
    assert await room.types(ALICE) == []
    assert await room.types(ALICE, BOB) == [("bob", True)]
    assert await room.types(BOB) == [("alice", False)]
    assert await room.types() == [("bob", False)]
    assert await room.types() == []


async def test_of_ghosts_and_the_bot_nothing_is_told_back(room: Room) -> None:
    event_id = await said(room, "Hello")
    assert await room.types(BOT, ALICES_GHOST) == []
    assert await room.reads(room.read(ALICES_GHOST, event_id), room.read(BOT, event_id)) == []
    assert room.passing._reading == {}


async def test_of_whoever_is_not_there_or_may_not_be_nothing_is_told(room: Room) -> None:
    event_id = await said(room, "Hello")
    assert await room.types(CAROL, FOREIGN) == [], "a homeserver can name anybody of its own"
    assert await room.reads(room.read(CAROL, event_id), room.read(FOREIGN, event_id)) == []
    room.house.world.faults.clear()
    await room.house.moves(CAROL, "join", sender=CAROL)
    assert await room.types(CAROL) == []


async def test_what_a_removed_person_did_is_not_told(room: Room) -> None:
    await room.house.moves(BOB, "leave", sender=BOT)
    assert await room.types(BOB) == []


async def test_rooms_that_are_no_war_rooms_have_no_sockets_to_tell(room: Room) -> None:
    assert await room.types(ALICE, room_id=room.house.control_room()) == []
    assert await room.types(ALICE, room_id=RoomId("!strange")) == []


async def test_typing_of_which_nothing_is_heard_for_long_is_over(room: Room) -> None:
    assert await room.types(ALICE) == [("alice", True)]
    room.house.clock.advance(TYPING_S - 1)
    assert await room.types(ALICE) == [], "a word about them"
    room.house.clock.advance(TYPING_S - 1)
    assert await room.typing() == []
    room.house.clock.advance(1)
    assert await room.typing() == [("alice", False)]
    assert room.passing._typists == {}


async def test_who_has_seen_a_reaction_has_read_what_it_is_to(room: Room) -> None:
    first, second = await said(room, "one"), await said(room, "two")
    newest = await room.house.reacts(ALICE, second, "\N{THUMBS UP SIGN}")
    assert await room.reads(room.read(BOB, newest)) == [("bob", "two")]
    older = await room.house.reacts(ALICE, first, "\N{THUMBS UP SIGN}")
    assert await room.reads(room.read(BOB, older)) == [], "no step back"


async def test_a_reader_is_told_once_and_only_further(room: Room) -> None:
    first, second = await said(room, "one"), await said(room, "two")
    assert await room.reads(room.read(BOB, first)) == [("bob", "one")]
    assert await room.reads(room.read(BOB, first)) == []
    assert await room.reads(room.read(BOB, second), room.read(ALICE, first)) == [("bob", "two"), ("alice", "one")]
    assert await room.reads(room.read(BOB, first)) == [], "a transaction that came again, or later"


async def test_of_several_receipts_of_one_person_the_last_is_told(room: Room) -> None:
    first, second = await said(room, "one"), await said(room, "two")
    assert await room.reads(room.read(BOB, first), room.read(BOB, second)) == [("bob", "two")]


async def test_a_thread_is_read_by_itself(room: Room) -> None:
    root, last = await said(room, "root"), await said(room, "last")
    below = await room.house.says(ALICE, "below", thread_root=root)
    await room.house.settle()
    assert await room.reads(room.read(BOB, below)) == [("bob", "below")]
    assert await room.reads(room.read(BOB, last)) == [("bob", "last")], "what is below says nothing of the others"
    assert await room.reads(room.read(BOB, below), room.read(BOB, root)) == []


async def test_what_is_read_before_it_is_decided_is_told_when_it_is(room: Room) -> None:
    assert await room.reads(room.read(BOB, "$later")) == []
    await room.house.says(ALICE, "quick", event_id="$later")
    await room.house.settle()
    assert await room.reading() == [], "not at once"
    room.house.clock.advance(1)
    assert await room.reading() == [("bob", "quick")]
    assert room.passing._reading == {}


async def test_what_is_no_message_is_given_up(room: Room) -> None:
    await room.reads(room.read(BOB, "$state"))
    for _ in range(5):
        room.house.clock.advance(1)
        await room.reading()
    assert room.passing._reading == {}
    assert room.house.news.of(ReadUpTo) == []


async def test_messages_of_other_rooms_are_not_told_of(room: Room) -> None:
    elsewhere = await room.house.says(ALICE, "x", room.house.control_room())
    await room.house.settle()
    assert await room.reads(room.read(BOB, elsewhere)) == []


async def test_whoever_begins_to_type_all_the_time_is_told_of_no_more(room: Room) -> None:
    told = 0
    for _ in range(100):
        told += len(await room.types(ALICE)) + len(await room.types())
    assert told == 2 * 20
    room.house.clock.advance(60)
    assert await room.types(ALICE) == [("alice", True)]


async def test_whoever_reads_all_the_time_is_told_of_at_the_end(room: Room) -> None:
    events = [await said(room, str(number)) for number in range(25)]
    told = [one for event_id in events for one in await room.reads(room.read(BOB, event_id))]
    assert [body for _, body in told] == [str(number) for number in range(20)]
    room.house.clock.advance(1)
    assert await room.reading() == [("bob", "24")]


async def test_a_flood_is_dropped_and_costs_bounded_memory(room: Room) -> None:
    many = [RoomId(f"!{number}") for number in range(10_000)]
    room.passing.offer([TypingSeen(room_id=one, user_ids=frozenset({ALICE})) for one in many])
    room.passing.offer([room.read(UserId(f"@{number}:x.org"), "$x") for number in range(10_000)])
    room.passing.offer([room.read(UserId("@0:x.org"), f"${number}") for number in range(10_000)])
    assert len(room.passing._typing) == 2000
    assert len(room.passing._reading) == 2000
    assert len(room.passing._reading[room.room_id, UserId("@0:x.org")]) == 8
    room.passing.offer([room.read(ALICE, "$x")])
    assert (room.room_id, ALICE) not in room.passing._reading
    await room.passing.round()
    assert not any(
        (room.passing._typing, room.passing._reading, room.passing._typists, room.house.news.of(Typing))
    )


async def test_nothing_of_it_is_written(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    event_id = await said(room, "Hello")

    def refuse() -> None:
        raise AssertionError("a unit of work was begun")

    monkeypatch.setattr(room.house.store, "work", refuse)
    assert await room.types(ALICE) == [("alice", True)]
    assert await room.reads(room.read(BOB, event_id)) == [("bob", "Hello")]


async def test_what_fails_is_lost_and_the_next_is_told(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    heard = asyncio.Event()
    failed = asyncio.Event()
    tell = room.house.news.tell

    def once(news: Sequence[News]) -> None:
        if not failed.is_set():
            failed.set()
            raise OSError("the disk is full")
        tell(news)
        heard.set()

    monkeypatch.setattr(room.house.news, "tell", once)
    running = asyncio.create_task(room.passing.run())
    try:
        async with asyncio.timeout(10):
            room.passing.offer([TypingSeen(room_id=room.room_id, user_ids=frozenset({ALICE}))])
            await failed.wait()
            room.passing.offer([TypingSeen(room_id=room.room_id, user_ids=frozenset({BOB}))])
            while not heard.is_set():
                room.house.clock.advance(1)
                await asyncio.sleep(0)
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
    assert ("bob", True) in [(one.person.username, one.is_typing) for one in room.house.news.of(Typing)]

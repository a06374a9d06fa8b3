"""Looking for what was never pushed: on the real store, with a homeserver that answers what a test says."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from etb_appservice.domain.ids import EventId, RoomId
from etb_appservice.domain.outcomes import Failure, Later, Refused, Unsure
from etb_appservice.matrix.arrivals import Intake
from etb_appservice.matrix.gaps import GapFinder
from etb_appservice.matrix.keysync import SeenEvent
from etb_appservice.store.migrate import upgrade
from etb_appservice.store.sql import SqlStore, open_store

ROOM = RoomId("!room")
DAY_S = 86_400


class Moved:
    """A clock that moves only when somebody waits."""

    def __init__(self) -> None:
        self.seconds = 1_000.0

    def now_ms(self) -> int:
        return int(self.seconds * 1000)

    def monotonic(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self.seconds += seconds


class Server:
    def __init__(self) -> None:
        self.events: dict[str, Any] = {}
        self.pages: dict[str, tuple[list[Any], str]] = {}
        self.failure: Failure | None = None
        self.asked: list[str] = []
        self.bounds: list[str] = []
        self.members: dict[str, str] = {}

    async def event(self, _room_id: RoomId, event_id: EventId) -> Any:
        self.asked.append(event_id)
        if self.failure is not None:
            raise self.failure
        return self.events.get(event_id)

    async def membership(self, _room_id: RoomId, user_id: str) -> str:
        return self.members.get(user_id, "leave")

    async def messages(self, _room_id: RoomId, *, start: str, limit: int, to: str) -> tuple[list[Any], str]:
        self.asked.append(start)
        self.bounds.append(to)
        if self.failure is not None:
            raise self.failure
        return self.pages[start]


class Bench:
    def __init__(self, store: SqlStore, clock: Moved) -> None:
        self.store, self.clock, self.server = store, clock, Server()
        self.intake = Intake(store, str, lambda lanes: None)
        self.gaps = GapFinder(store, self.server, self.intake, clock)  # type: ignore[arg-type]

    async def rows(self) -> list[str]:
        found: list[str] = []
        while True:
            async with self.store.work() as work:
                row = await work.inbox.next(ROOM, self.clock.now_ms())
                if row is None or isinstance(row, float):
                    return found
                found.append(str(json.loads(row.payload)["event_id"]))
                await work.inbox.finish(row.seq)


def seen(event_id: str, before: str | None = None) -> SeenEvent:
    return SeenEvent(ROOM, event_id, "@a:x", before is not None, before)


def event(event_id: str) -> dict[str, Any]:
    return {"event_id": event_id, "type": "m.room.message", "sender": "@a:x", "content": {}}


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    url, clock = f"sqlite:///{tmp_path / 'etb.db'}", Moved()
    await upgrade(url)
    async with open_store(url, bytes(32 * [7]), clock) as store:
        yield Bench(store, clock)


async def test_a_missing_event_is_fetched_after_the_grace_and_not_before(bench: Bench) -> None:
    bench.server.events["$a"] = event("$a")
    await bench.gaps.saw([seen("$a")])
    assert await bench.gaps.look() == 0
    await bench.clock.sleep(11)
    assert await bench.gaps.look() == 1
    assert await bench.rows() == ["$a"]
    assert await bench.gaps.look() == 0
    assert bench.gaps.fetched == 1


async def test_missing_events_are_fetched_in_the_order_of_the_room(bench: Bench) -> None:
    names = [f"${number}" for number in (5, 3, 9, 1, 7)]
    bench.server.events = {name: event(name) for name in names}
    await bench.gaps.saw([seen(name) for name in names])
    await bench.clock.sleep(11)
    assert await bench.gaps.look() == 5
    assert await bench.rows() == names


async def test_an_event_that_comes_late_by_itself_is_not_fetched(bench: Bench) -> None:
    await bench.gaps.saw([seen("$a")])
    await bench.intake.accept([event("$a") | {"room_id": ROOM}])
    await bench.clock.sleep(11)
    assert await bench.gaps.look() == 0
    assert bench.server.asked == []


async def test_what_was_accepted_a_moment_ago_is_not_written_down(bench: Bench) -> None:
    await bench.intake.accept([event("$a") | {"room_id": ROOM}])
    began = bench.clock.seconds
    await bench.gaps.saw([seen("$a")])
    assert bench.clock.seconds == began


@pytest.mark.parametrize("failure", [Later("down"), Unsure("cut off")])
async def test_a_homeserver_that_fails_is_asked_again(bench: Bench, failure: Failure) -> None:
    bench.server.events["$a"] = event("$a")
    await bench.gaps.saw([seen("$a"), seen("$b")])
    await bench.clock.sleep(11)
    bench.server.failure = failure
    assert await bench.gaps.look() == 0
    assert bench.server.asked == ["$a"]
    bench.server.failure = None
    assert await bench.gaps.look() == 1


async def test_a_refused_event_is_given_up_and_the_next_one_fetched(bench: Bench) -> None:
    await bench.gaps.saw([seen("$a")])
    await bench.clock.sleep(11)
    bench.server.failure = Refused("no", code="M_INVALID_PARAM")
    assert await bench.gaps.look() == 0
    bench.server.failure = None
    assert await bench.gaps.look() == 0
    assert bench.server.asked == ["$a"]


async def test_another_event_than_was_asked_for_is_not_taken(bench: Bench) -> None:
    bench.server.events["$a"] = event("$other")
    await bench.gaps.saw([seen("$a")])
    await bench.clock.sleep(11)
    assert await bench.gaps.look() == 0
    assert await bench.rows() == []


async def test_a_hole_is_paged_back_until_a_page_holds_nothing_new(bench: Bench) -> None:
    await bench.intake.accept([event(f"$old{number}") | {"room_id": ROOM} for number in range(3)])
    bench.server.pages = {
        "t3": ([event("$c"), event("$b")], "t2"),
        "t2": ([event("$a"), event("$old2")], "t1"),
        "t1": ([event("$old1"), event("$old0")], "t0"),
    }
    await bench.gaps.saw([seen("$d", "t3")])
    assert bench.server.asked == ["t3", "t2", "t1"]
    await bench.clock.sleep(11)
    bench.server.events = {name: event(name) for name in ("$a", "$b", "$c", "$d")}
    assert await bench.gaps.look() == 4
    assert await bench.rows() == ["$old0", "$old1", "$old2", "$a", "$b", "$c", "$d"]


async def test_a_hole_that_can_not_be_read_now_keeps_the_old_position(bench: Bench) -> None:
    bench.server.failure = Later("down")
    with pytest.raises(Later):
        await bench.gaps.saw([seen("$d", "t3")])


async def test_a_hole_in_a_room_we_may_not_read_is_passed_over(bench: Bench) -> None:
    bench.server.failure = Refused("no", code="M_FORBIDDEN")
    await bench.gaps.saw([seen("$d", "t3")])
    assert bench.server.asked == ["t3"]


async def test_a_hole_without_end_is_looked_into_only_so_far(bench: Bench) -> None:
    class Endless(dict[str, Any]):
        def __missing__(self, start: str) -> tuple[list[Any], str]:
            return [event(f"$-{start}")], f"{start}x"

    bench.server.pages = Endless()
    await bench.gaps.saw([seen("$d", "t")])
    assert len(bench.server.asked) == 50


async def test_unusable_ids_are_passed_over(bench: Bench) -> None:
    await bench.gaps.saw([seen(""), seen("$" + "x" * 300), SeenEvent("!a\x00", "$a", "", False, None)])
    await bench.clock.sleep(11)
    assert await bench.gaps.look() == 0


async def test_a_hole_is_paged_back_as_far_as_the_look_before_and_no_further(bench: Bench) -> None:
    bench.server.pages = {"t3": ([event("$c"), event("$b")], "t2"), "t2": ([], "")}
    await bench.gaps.saw([seen("$d", "t3")], "s1")
    assert bench.server.asked == ["t3", "t2"]
    assert bench.server.bounds == ["s1", "s1"]


async def test_what_is_older_than_the_keys_that_are_remembered_is_never_taken_from_a_hole(bench: Bench) -> None:
    bench.clock.seconds = 10 * DAY_S
    new = event("$new") | {"origin_server_ts": int(7.1 * DAY_S * 1000)}
    old = [event(f"$old{number}") | {"origin_server_ts": int(6.9 * DAY_S * 1000)} for number in range(3)]
    bench.server.pages = {"t3": ([new, old[2]], "t2"), "t2": (old[:2], "t1"), "t1": ([], "")}
    bench.server.events = {one["event_id"]: one for one in (new, *old)}
    await bench.gaps.saw([seen("$d", "t3")])
    assert bench.server.asked == ["t3", "t2"]
    await bench.clock.sleep(11)
    assert await bench.gaps.look() == 1
    assert await bench.rows() == ["$new"]


@pytest.mark.parametrize(("now", "taken"), [("join", ["$join"]), ("ban", []), ("leave", [])])
async def test_a_membership_fetched_late_counts_only_while_the_room_says_the_same(
    bench: Bench, now: str, taken: list[str]
) -> None:
    joined = {"type": "m.room.member", "state_key": "@b:x", "content": {"membership": "join"}}
    bench.server.events["$join"] = event("$join") | joined
    bench.server.members["@b:x"] = now
    await bench.gaps.saw([seen("$join")])
    await bench.clock.sleep(11)
    assert await bench.gaps.look() == len(taken)
    assert await bench.rows() == taken
    bench.server.asked.clear()
    assert await bench.gaps.look() == 0
    assert bench.server.asked == [], "it is settled either way"

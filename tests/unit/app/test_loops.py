"""The background loops, turned by a clock that is moved, on a real database."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from etb_appservice.app import loops
from etb_appservice.app.vitals import HouseVitals
from etb_appservice.domain.facts import Troubled
from etb_appservice.domain.ids import RoomId
from etb_appservice.etb.poll import PollerState
from etb_appservice.flows.turn import SERVICE_LANE
from etb_appservice.matrix.results import Refusal
from etb_appservice.ops.metrics import Metrics
from etb_appservice.ports import Arrival, InboxRow, Vital
from etb_appservice.store.codec import FactJson
from tests.harness.clock import MovedClock
from tests.harness.house import House

DAY_MS = 86_400_000
WELL = Vital("sync", True, "answers")
BAD = Vital("sync", False, "doesn't answer: look at *homeserver.url*")
PROVEN = Vital("events", True, "came back")


@asynccontextmanager
async def turning(loop: Coroutine[Any, Any, None]) -> AsyncIterator[asyncio.Task[None]]:
    """The loop as a task; what it raised is raised here."""
    task = asyncio.get_running_loop().create_task(loop)
    try:
        yield task
    finally:
        if not task.done():
            task.cancel()
        await asyncio.gather(task, return_exceptions=not task.done())


async def pass_time(house: House, seconds: float, task: asyncio.Task[None]) -> None:
    """Let the loop come to rest, and the clock strike."""
    await rest(house.clock, task)
    house.clock.advance(seconds)
    await rest(house.clock, task)


async def rest(clock: MovedClock, task: asyncio.Task[None]) -> None:
    """Until the loop waits for the clock, or has ended."""
    async with asyncio.timeout(20):
        while not clock.sleeping and not task.done():  # noqa: ASYNC110 - the clock tells nobody who sleeps
            await asyncio.sleep(0)


def own(house: House) -> loops.Own:
    return loops.Own(house.db, FactJson(), house.clock, lambda lanes: None)


@pytest.fixture
def vitals(house: House) -> HouseVitals:
    return HouseVitals(house.clock, watched=PollerState, modules=tuple, watched_every_s=15)


# --- refused keys -----------------------------------------------------------------------------------------


@dataclass
class Cipher:
    """Answers by script; the last answer for ever."""

    answers: list[tuple[Refusal, ...]] = field(default_factory=list)

    async def retry_refused(self) -> tuple[Refusal, ...]:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def refused(tries: int, *, room: str = "!a:x.org", device: str = "PHONE", reason: str = "no_olm") -> Refusal:
    return Refusal(room, "@alice:x.org", device, reason, tries)


async def test_a_device_without_keys_is_told_at_the_third_try_and_once(house: House, vitals: HouseVitals) -> None:
    await house.open_for_alice()
    cipher = Cipher([(refused(1),), (refused(2),), (refused(3),), (refused(4), refused(3, room="!b:x.org"))])
    told = []
    async with turning(loops.retry_keys(cipher, own(house), house.clock, vitals, Metrics(process=False))) as task:
        for _ in range(5):
            await pass_time(house, 30, task)
            await house.settle()
            told.append(len(house.troubles()))
    assert told == [0, 0, 1, 1, 1]
    assert "`PHONE` of `@alice:x.org` can't be given room keys: no_olm" in house.troubles()[0]
    assert vitals.refused_devices == 2


async def test_a_refusal_is_counted_when_it_comes_and_not_while_it_stays(
    house: House, vitals: HouseVitals
) -> None:
    metrics = Metrics(process=False)
    cipher = Cipher([(refused(1),), (refused(2), refused(1, device="LAPTOP")), (refused(3),), (), (refused(1),)])
    counted = []
    async with turning(loops.retry_keys(cipher, own(house), house.clock, vitals, metrics)) as task:
        for _ in range(6):
            await pass_time(house, 30, task)
            text = metrics.exposition().decode()
            lines = [line for line in text.splitlines() if line.startswith("etb_keys_refused_total")]
            counted.append(sum(float(line.rpartition(" ")[2]) for line in lines))
    assert counted == [1, 2, 2, 2, 3, 3]
    assert vitals.refused_devices == 1


# --- self-test --------------------------------------------------------------------------------------------


@dataclass
class Test:
    """The self-test by script: `runs` as `SelfTest.run` answers, `proofs` as `prove_events` does."""

    __test__ = False
    runs: list[tuple[Vital, ...]]
    proofs: list[Vital] = field(default_factory=lambda: [PROVEN])
    asked: list[RoomId] = field(default_factory=list)

    async def run(self) -> tuple[Vital, ...]:
        return self.runs.pop(0) if len(self.runs) > 1 else self.runs[0]

    async def prove_events(self, room_id: RoomId) -> Vital:
        self.asked.append(room_id)
        return self.proofs.pop(0) if len(self.proofs) > 1 else self.proofs[0]


def self_test(test: Test, house: House, vitals: HouseVitals) -> Coroutine[Any, Any, None]:
    return loops.self_test(test.run, test.prove_events, own(house), house.clock, vitals)


async def test_a_self_test_that_is_well_ends_and_tells_nobody(house: House, vitals: HouseVitals) -> None:
    await house.open_for_alice()
    test = Test([(WELL,)])
    async with turning(self_test(test, house, vitals)) as task:
        await rest(house.clock, task)
        assert task.done()
    assert vitals.self_test == (WELL, PROVEN)
    assert test.asked == [house.control_room()]
    await house.settle()
    assert house.troubles() == []


async def test_one_bad_moment_calls_nobody(house: House, vitals: HouseVitals, logged: list[Any]) -> None:
    await house.open_for_alice()
    test = Test([(BAD,), (WELL,)])
    async with turning(self_test(test, house, vitals)) as task:
        await rest(house.clock, task)
        assert vitals.self_test == (BAD, PROVEN)
        await pass_time(house, 60, task)
        assert task.done()
    await house.settle()
    assert house.troubles() == []
    levels = [entry["log_level"] for entry in logged if entry["event"].startswith("self-test failed")]
    assert levels == ["info"]


async def test_what_fails_a_second_time_is_told_once_until_it_fails_otherwise(
    house: House, vitals: HouseVitals
) -> None:
    await house.open_for_alice()
    other = Vital("sync", False, "says 403")
    test = Test([(BAD,), (BAD,), (BAD,), (other,), (WELL,), (BAD,)])
    told = []
    async with turning(self_test(test, house, vitals)) as task:
        await rest(house.clock, task)
        for _ in range(4):
            await house.settle()
            told.append(len(house.troubles()))
            await pass_time(house, 60, task)
        assert task.done()
    assert told == [0, 1, 1, 2]
    assert house.troubles()[0].startswith("Self-test **sync**: ")


async def test_another_part_that_fails_then_is_a_first_failure_of_its_own(
    house: House, vitals: HouseVitals
) -> None:
    await house.open_for_alice()
    test = Test([(BAD,), (Vital("sending", False, "refused"),), (WELL,)])
    async with turning(self_test(test, house, vitals)) as task:
        await pass_time(house, 60, task)
        await pass_time(house, 60, task)
        assert task.done()
    await house.settle()
    assert house.troubles() == []


async def test_without_a_control_room_nothing_is_proven(house: House, vitals: HouseVitals) -> None:
    test = Test([(WELL,)])
    async with turning(self_test(test, house, vitals)) as task:
        for _ in range(30):
            await pass_time(house, 1, task)
        assert not task.done()
        assert [vital.name for vital in vitals.self_test if not vital.is_well] == ["events"]
        assert "control room" in vitals.self_test[-1].text
        await house.start_service()
        await pass_time(house, 60, task)
        assert task.done()
    assert test.asked == [house.control_room()]
    assert vitals.self_test == (WELL, PROVEN)


async def test_a_control_room_that_comes_a_little_later_is_waited_for(house: House, vitals: HouseVitals) -> None:
    test = Test([(WELL,)])
    async with turning(self_test(test, house, vitals)) as task:
        await pass_time(house, 1, task)
        await house.start_service()
        await pass_time(house, 1, task)
        assert task.done()
    assert vitals.self_test == (WELL, PROVEN)


# --- the others -------------------------------------------------------------------------------------------


async def test_keys_are_forgotten_once_their_time_is_over(house: House) -> None:
    arrival = Arrival(source="own", lane="x", key=b"k" * 16, payload=b"{}")
    async with house.db.work() as work:
        assert await work.inbox.accept([arrival]) == 1
        assert await work.inbox.lanes(house.clock.now_ms()) == ["x"]
        row = await work.inbox.next("x", house.clock.now_ms())
        assert isinstance(row, InboxRow)
        await work.inbox.finish(row.seq)
    known = []
    async with turning(loops.clean(house.db, house.clock, keep_ms=4 * DAY_MS)) as task:
        for seconds in (3600, 86_400, 2 * 86_400, 86_400):
            await pass_time(house, seconds, task)
            async with house.db.work() as work:
                known.append(await work.inbox.accept([arrival]) == 0)
    assert known == [True, True, True, False]


async def test_senders_without_an_answer_are_asked_for_every_half_minute(house: House) -> None:
    asked: list[int] = []

    class Intake:
        async def ask_again(self) -> None:
            asked.append(house.clock.now_ms())

    start = house.clock.now_ms()
    async with turning(loops.ask_again(Intake(), house.clock)) as task:
        for _ in range(3):
            await pass_time(house, 30, task)
    assert asked == [start + 30_000, start + 60_000, start + 90_000]


async def test_a_fact_of_our_own_is_accepted_once_per_key_and_wakes_its_lane(house: House) -> None:
    woken: list[tuple[str, ...]] = []
    mine = loops.Own(house.db, FactJson(), house.clock, lambda lanes: woken.append(tuple(lanes)))
    fact = Troubled(key="k", text="t")
    for key in (("a", "b"), ("a", "b"), ("ab",)):
        await mine.accept(fact, *key)
    async with house.db.view() as view:
        depth, _, _ = await view.inbox.depth(house.clock.now_ms())
    assert depth == 2
    assert woken == [(SERVICE_LANE,)] * 3

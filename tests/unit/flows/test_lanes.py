"""The runner of lanes over a table in memory: serial within a lane, side by side across, no wake lost."""

import asyncio
from collections import Counter, defaultdict, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etb_appservice.flows.lanes import LaneRunner
from tests.harness.clock import MovedClock


class Table:
    """Rows in lanes, and a step that takes the oldest; `gate` holds steps, `due` holds lanes."""

    def __init__(self) -> None:
        self.clock = MovedClock()
        self.rows: dict[str, deque[int]] = defaultdict(deque)
        self.did: list[tuple[str, int]] = []
        self.steps: Counter[str] = Counter()
        self.active: Counter[str] = Counter()
        self.most_active = 0
        self.most_in_a_lane = 0
        self.gates: dict[str, asyncio.Event] = {}
        self.due: dict[str, float] = {}
        self.looks = 0
        self.seen = asyncio.Event()
        self.trouble: Exception | None = None

    async def step(self, lane: str) -> bool | float:
        self.steps[lane] += 1
        self.active[lane] += 1
        self.most_active = max(self.most_active, self.active.total())
        self.most_in_a_lane = max(self.most_in_a_lane, self.active[lane])
        try:
            await asyncio.sleep(0)
            if lane in self.gates:
                await self.gates[lane].wait()
            if self.trouble:
                raise self.trouble
            if not self.rows[lane]:
                return False
            if self.due.get(lane, 0) > self.clock.monotonic():
                return self.due[lane] - self.clock.monotonic()
            self.did.append((lane, self.rows[lane].popleft()))
            return True
        finally:
            self.active[lane] -= 1
            self.seen.set()

    async def busy(self) -> list[str]:
        self.looks += 1
        await asyncio.sleep(0)
        return [lane for lane, rows in self.rows.items() if rows]

    async def soonest_ms(self) -> int | None:
        held = [due for lane, due in self.due.items() if due > self.clock.monotonic()]
        return self.clock.now_ms() + round((min(held) - self.clock.monotonic()) * 1000) if held else None

    @asynccontextmanager
    async def running(self, **options: Any) -> AsyncIterator[LaneRunner]:
        runner = LaneRunner(self.step, self.busy, self.soonest_ms, self.clock, look_every_s=5, **options)
        task = asyncio.create_task(runner.run())
        try:
            yield runner
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def until(self, holds: Callable[[], bool]) -> None:
        """Let others run until it holds; time stands still meanwhile."""
        for _ in range(2000):
            if holds():
                return
            await asyncio.sleep(0)
        raise AssertionError("it never came to that")

    async def at_rest(self) -> None:
        """Until the runner sleeps and nothing happens any more."""
        for _ in range(2000):
            before = (self.looks, self.steps.total())
            for _ in range(20):
                await asyncio.sleep(0)
            if before == (self.looks, self.steps.total()) and self.clock.sleeping:
                return
        raise AssertionError("it does not come to rest")


async def test_rows_of_a_lane_are_done_one_after_another_in_order() -> None:
    table = Table()
    table.rows["a"].extend(range(20))
    async with table.running():
        await table.until(lambda: len(table.did) == 20)
    assert table.did == [("a", number) for number in range(20)]
    assert table.most_in_a_lane == 1


async def test_a_lane_that_stands_still_holds_up_no_other() -> None:
    table = Table()
    table.gates["a"] = asyncio.Event()
    for lane in "abc":
        table.rows[lane].extend(range(3))
    async with table.running():
        await table.until(lambda: len(table.did) == 6)
        assert {lane for lane, _ in table.did} == {"b", "c"}
        table.gates["a"].set()
        await table.until(lambda: len(table.did) == 9)


async def test_at_most_so_many_steps_run_at_a_time() -> None:
    table = Table()
    gate = asyncio.Event()
    for number in range(10):
        table.rows[f"l{number}"].append(0)
        table.gates[f"l{number}"] = gate
    async with table.running(most=3):
        await table.until(lambda: table.most_active == 3)
        await table.until(lambda: table.clock.sleeping == 1)
        gate.set()
        await table.until(lambda: len(table.did) == 10)
    assert table.most_active == 3


async def test_a_wake_makes_a_lane_run_at_once() -> None:
    table = Table()
    async with table.running() as runner:
        await table.at_rest()
        table.rows["a"].append(1)
        runner.wake(["a"])
        await table.until(lambda: table.did == [("a", 1)])


async def test_a_wake_during_a_step_is_not_lost() -> None:
    table = Table()
    table.gates["a"] = asyncio.Event()
    async with table.running() as runner:
        await table.at_rest()
        runner.wake(["a"])
        await table.until(lambda: table.active["a"] == 1)
        runner.wake(["a"])
        table.gates["a"].set()
        await table.until(lambda: table.steps["a"] == 2)
        await table.at_rest()
    assert table.steps["a"] == 2
    assert table.most_in_a_lane == 1


async def test_what_no_wake_told_is_found_by_the_look_out() -> None:
    table = Table()
    async with table.running():
        await table.at_rest()
        table.rows["a"].append(1)
        await table.at_rest()
        assert table.did == []
        table.clock.advance(5)
        await table.until(lambda: table.did == [("a", 1)])


async def test_a_wake_without_lanes_looks_everywhere() -> None:
    table = Table()
    async with table.running() as runner:
        await table.at_rest()
        table.rows["a"].append(1)
        runner.wake()
        await table.until(lambda: table.did == [("a", 1)])


async def test_a_wake_before_the_runner_runs_is_kept() -> None:
    table = Table()
    runner = LaneRunner(table.step, table.busy, table.soonest_ms, table.clock)
    runner.wake(["a"])
    table.rows["a"].append(1)
    task = asyncio.create_task(runner.run())
    await table.until(lambda: table.did == [("a", 1)])
    task.cancel()
    await asyncio.wait([task])


async def test_a_held_lane_is_left_alone_until_it_is_due() -> None:
    table = Table()
    table.rows["a"].append(1)
    table.due["a"] = table.clock.monotonic() + 3
    async with table.running() as runner:
        await table.at_rest()
        assert table.steps["a"] == 1
        runner.wake()
        await table.at_rest()
        assert table.steps["a"] == 1, "a look must not try a held lane again"
        table.clock.advance(2.9)
        await table.at_rest()
        assert table.did == []
        table.clock.advance(0.2)
        await table.until(lambda: table.did == [("a", 1)])


async def test_a_wake_of_a_held_lane_looks_at_once() -> None:
    table = Table()
    table.rows["a"].append(1)
    table.due["a"] = table.clock.monotonic() + 60
    async with table.running() as runner:
        await table.at_rest()
        table.due["a"] = 0
        runner.wake(["a"])
        await table.until(lambda: table.did == [("a", 1)])


async def test_a_lane_may_become_due_long_after_the_runner_would_have_looked() -> None:
    table = Table()
    table.rows["a"].append(1)
    table.due["a"] = table.clock.monotonic() + 3600
    async with table.running():
        for _ in range(60):
            await table.at_rest()
            table.clock.advance(60)
        await table.until(lambda: table.did == [("a", 1)])
    assert table.steps["a"] <= 3


async def test_what_a_step_raises_ends_the_runner() -> None:
    table = Table()
    table.rows["a"].append(1)
    table.trouble = RuntimeError("the database is gone")
    runner = LaneRunner(table.step, table.busy, table.soonest_ms, table.clock)
    with pytest.raises(ExceptionGroup) as raised:
        await runner.run()
    assert raised.group_contains(RuntimeError, match="the database is gone")


async def test_a_wake_after_the_end_is_harmless() -> None:
    table = Table()
    async with table.running() as runner:
        await table.at_rest()
    runner.wake(["a"])
    runner.wake()


async def test_a_step_that_wakes_others_while_the_runner_falls_adds_no_trouble_of_its_own() -> None:
    table = Table()
    gate = asyncio.Event()

    async def step(lane: str) -> bool:
        if lane == "bad":
            raise RuntimeError("the database is gone")
        try:
            await gate.wait()
        finally:
            runner.wake(["third"])
        return False

    async def busy() -> list[str]:
        return ["good", "bad"]

    runner = LaneRunner(step, busy, table.soonest_ms, table.clock)
    with pytest.raises(ExceptionGroup) as raised:
        await runner.run()
    assert [str(error) for error in raised.value.exceptions] == ["the database is gone"]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("add"), st.sampled_from("abc")),
            st.tuples(st.just("silently"), st.sampled_from("abc")),
            st.tuples(st.just("turns"), st.sampled_from("abcdefgh")),
        ),
        max_size=40,
    )
)
def test_whatever_comes_whenever_everything_is_done_once_and_in_order(moves: list[tuple[str, str]]) -> None:
    async def scenario() -> None:
        table = Table()
        added: dict[str, list[int]] = defaultdict(list)
        async with table.running(most=2) as runner:
            for number, (move, lane) in enumerate(moves):
                if move == "turns":
                    for _ in range(ord(lane) - ord("a")):
                        await asyncio.sleep(0)
                    continue
                table.rows[lane].append(number)
                added[lane].append(number)
                if move == "add":
                    runner.wake([lane])
            await table.at_rest()
            table.clock.advance(5)
            await table.until(lambda: len(table.did) == sum(map(len, added.values())))
        for lane, numbers in added.items():
            assert [number for where, number in table.did if where == lane] == numbers
        assert table.most_in_a_lane <= 1

    asyncio.run(scenario())


async def test_what_somebody_waits_for_comes_before_what_can_wait() -> None:
    table = Table()
    for lane in ("open/3", "open/1", "open/2", "room", "asked"):
        table.rows[lane].extend([1, 2])
    table.gates["first"] = asyncio.Event()
    table.rows["first"].append(1)
    ranks = {"open/1": 11, "open/2": 12, "open/3": 13}
    async with table.running(most=1, most_patient=1, rank_of=lambda lane: ranks.get(lane, 0)) as runner:
        await table.until(lambda: table.looks > 0)
        table.gates["first"].set()
        runner.wake(["room"], ["asked"])
        await table.until(lambda: len(table.did) == 11)
    order = [lane for lane, _ in table.did]
    assert order.index("asked") < order.index("room") < order.index("open/1")
    assert [lane for lane in order if lane.startswith("open")] == [
        "open/1", "open/1", "open/2", "open/2", "open/3", "open/3",
    ]  # fmt: skip


async def test_a_lane_is_urgent_only_until_it_is_empty() -> None:
    table = Table()
    table.rows["asked"].append(1)
    async with table.running(most=1, most_patient=1) as runner:
        runner.wake((), ["asked"])
        await table.until(lambda: len(table.did) == 1 and not runner._working)
        assert runner._urgent == set()

"""A unit of work is all or nothing, whatever ends it."""

import asyncio
import signal
import sys
from pathlib import Path

import pytest
from sqlalchemy import text

from etb_appservice.domain.ids import short_hash
from etb_appservice.ports import Arrival, InboxRow, Work
from etb_appservice.store.desk import ReadOnly
from etb_appservice.store.errors import DatabaseFailed
from etb_appservice.store.sql import SqlStore, open_store
from tests.contract.store.conftest import NOON, ROOT, Clock, Reopen


def arrival(name: str, lane: str = "lane") -> Arrival:
    return Arrival(source="own", lane=lane, key=short_hash("own", name), payload=name.encode())


async def ready(store: SqlStore) -> int:
    async with store.view() as view:
        return (await view.inbox.depth(NOON))[0]


async def test_what_was_committed_is_there_after_a_restart(store: SqlStore, reopen: Reopen) -> None:
    async with store.work() as work:
        await work.inbox.accept([arrival("a")])
    async with reopen() as again:
        assert await ready(again) == 1


async def test_an_exception_rolls_everything_back(store: SqlStore) -> None:
    with pytest.raises(ZeroDivisionError):  # noqa: PT012 - the unit is what raises
        async with store.work() as work:
            await work.inbox.accept([arrival("a")])
            await work.once.first_time("a notice")
            raise ZeroDivisionError
    assert await ready(store) == 0
    async with store.work() as work:
        assert await work.inbox.accept([arrival("a")]) == 1
        assert await work.once.first_time("a notice")


async def test_writes_that_were_put_off_are_rolled_back_too(store: SqlStore) -> None:
    async with store.work() as work:
        await work.inbox.accept([arrival("a")])
    with pytest.raises(ZeroDivisionError):  # noqa: PT012 - the unit is what raises
        async with store.work() as work:
            await work.inbox.finish(1)
            raise ZeroDivisionError
    assert await ready(store) == 1


async def test_a_question_sees_what_was_put_off_before_it(store: SqlStore) -> None:
    async with store.work() as work:
        await work.inbox.accept([arrival("a")])
        row = await work.inbox.next("lane", NOON)
        assert isinstance(row, InboxRow)
        await work.inbox.finish(row.seq)
        assert await work.inbox.next("lane", NOON) is None


async def test_cancellation_in_the_middle_rolls_back_and_frees_the_writer(store: SqlStore) -> None:
    inside = asyncio.Event()

    async def stuck() -> None:
        async with store.work() as work:
            await work.inbox.accept([arrival("a")])
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(stuck())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(5), store.work() as work:
        assert await work.inbox.accept([arrival("a")]) == 1
    assert await ready(store) == 1


async def test_cancellation_at_any_step_leaves_all_or_nothing(store: SqlStore) -> None:
    for steps in range(40):
        name = f"row {steps}"

        async def unit(name: str = name) -> None:
            async with store.work() as work:
                await work.inbox.accept([arrival(name, lane=name)])
                await work.outbox.targets()
                await work.inbox.accept([arrival(name + " too", lane=name)])

        task = asyncio.create_task(unit())
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        async with asyncio.timeout(5), store.work() as work:
            lanes = await work.inbox.lanes(NOON)
            rows = []
            while isinstance(row := await work.inbox.next(name, NOON), InboxRow):
                rows.append(row.payload)
                await work.inbox.finish(row.seq)
        assert (rows != []) == (name in lanes)
        assert rows in ([], [name.encode(), f"{name} too".encode()])


async def test_a_unit_in_which_a_statement_failed_cannot_be_committed(store: SqlStore) -> None:
    with pytest.raises(RuntimeError, match="can't be committed"):  # noqa: PT012 - the unit is what raises
        async with store.work() as work:
            await work.inbox.accept([arrival("a")])
            with pytest.raises(DatabaseFailed, match=r"no such table|does not exist"):
                await work.desk.ask(  # type: ignore[attr-defined]
                    lambda transaction: transaction.value(text("SELECT 1 FROM nowhere"))
                )
    assert await ready(store) == 0


async def test_a_view_cannot_write(store: SqlStore) -> None:
    async with store.view() as view:
        with pytest.raises(ReadOnly):
            await view.inbox.accept([arrival("a")])
        with pytest.raises(ReadOnly):
            await view.inbox.finish(1)
    async with store.view() as view:
        with pytest.raises(DatabaseFailed, match=r"readonly|read-only"):
            await view.desk.ask(  # type: ignore[attr-defined]
                lambda transaction: transaction.change(text("DELETE FROM inbox"))
            )


async def test_a_view_does_not_wait_for_a_writer_and_sees_only_what_is_committed(store: SqlStore) -> None:
    async with store.work() as work:
        await work.inbox.accept([arrival("a")])
        async with asyncio.timeout(5):
            assert await ready(store) == 0
    assert await ready(store) == 1


async def test_a_view_sees_one_moment(store: SqlStore) -> None:
    async with store.view() as view:
        assert (await view.inbox.depth(NOON))[0] == 0
        async with store.work() as work:
            await work.inbox.accept([arrival("a")])
        assert (await view.inbox.depth(NOON))[0] == 0


async def test_units_of_many_tasks_do_not_disturb_each_other(store: SqlStore) -> None:
    async def add(number: int) -> None:
        async with store.work() as work:
            await work.inbox.accept([arrival(f"{number}", lane=f"lane {number}")])
            await asyncio.sleep(0)
            await work.inbox.accept([arrival(f"{number} too", lane=f"lane {number}")])

    async with asyncio.TaskGroup() as group:
        for number in range(40):
            group.create_task(add(number))
    assert await ready(store) == 80


async def test_a_unit_that_has_ended_refuses_more(store: SqlStore) -> None:
    async with store.work() as work:
        kept: Work = work
    with pytest.raises(RuntimeError, match="has ended"):
        await kept.inbox.accept([arrival("a")])


async def test_a_unit_of_work_keeps_the_moment_at_which_it_began(store: SqlStore, clock: Clock) -> None:
    async with store.work() as work:
        clock.now += 5_000
        assert work.now_ms() == NOON


_VICTIM = """
import asyncio, sys
from etb_appservice.domain.ids import short_hash
from etb_appservice.ports import Arrival
from etb_appservice.store.sql import open_store
from tests.contract.store.conftest import ROOT, Clock

def arrival(name):
    return Arrival(source="own", lane=name, key=short_hash("own", name), payload=b"x")

async def main():
    async with open_store(sys.argv[1], ROOT, Clock()) as store:
        async with store.work() as work:
            await work.inbox.accept([arrival("committed")])
        async with store.work() as work:
            await work.inbox.accept([arrival("lost")])
            print("in the middle", flush=True)
            await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_a_kill_in_the_middle_of_a_unit_loses_that_unit_alone(url: str, clock: Clock) -> None:
    victim = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _VICTIM, url, stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[3]
    )
    assert victim.stdout is not None
    async with asyncio.timeout(60):
        assert await victim.stdout.readline() == b"in the middle\n"
    victim.send_signal(signal.SIGKILL)
    await victim.wait()
    async with open_store(url, ROOT, clock) as store, store.work() as work:
        assert await work.inbox.lanes(NOON) == ["committed"]


async def test_a_store_opened_for_reading_beside_another_sees_it_and_cannot_write(
    store: SqlStore, url: str, clock: Clock
) -> None:
    async with store.work() as work:
        await work.inbox.accept([arrival("a")])
    async with open_store(url, ROOT, clock, readonly=True) as beside:
        assert await ready(beside) == 1
        with pytest.raises(Exception, match=r"reading only|read-only"):
            async with beside.work() as work:
                await work.inbox.accept([arrival("b")])


async def test_keepsakes_are_durable_at_return_and_replaced(store: SqlStore, reopen: Reopen) -> None:
    assert await store.keepsakes.get("sync position") is None
    await store.keepsakes.put("sync position", b"s1")
    await store.keepsakes.put("sync position", b"s2\x00\xff")
    async with reopen() as again:
        assert await again.keepsakes.get("sync position") == b"s2\x00\xff"

"""The outbox keeps each effect once, in order per target, until it is answered."""

import asyncio

import pytest
from sqlalchemy import text

from etb_appservice.domain.effects import AddTimelineEntry, Effect, Invite, Say
from etb_appservice.domain.ids import IncidentId, RoomId, UserId
from etb_appservice.ports import OutboxRow, ParkedEffect, RowUnreadable
from etb_appservice.store.sql import SqlStore
from tests.contract.store.conftest import NOON, Clock, Reopen

TARGET = "matrix/!a"


def say(text: str, room: str = "!a") -> Effect:
    return Say(room_id=RoomId(room), content=text)


async def test_effects_of_a_target_come_in_the_order_in_which_they_were_added(store: SqlStore) -> None:
    invite = Invite(room_id=RoomId("!a"), user_id=UserId("@x:y"))
    async with store.work() as work:
        assert await work.outbox.add("k1", "lane", say("one"))
        assert await work.outbox.add("k2", "lane", say("other", "!b"))
        assert await work.outbox.add("k3", "lane", invite)
        assert await work.outbox.targets() == [TARGET, "matrix/!b"]
    async with store.work() as work:
        row = await work.outbox.next(TARGET, NOON)
        assert row == OutboxRow(
            seq=1, key="k1", target=TARGET, lane="lane", effect=say("one"), state="queued", attempts=0, due_ms=0,
            created_ms=NOON,
        )  # fmt: skip
        await work.outbox.finish(1)
        row = await work.outbox.next(TARGET, NOON)
        assert isinstance(row, OutboxRow)
        assert row.effect == invite


async def test_a_key_is_used_once_also_after_its_row_is_gone(store: SqlStore, reopen: Reopen) -> None:
    async with store.work() as work:
        assert await work.outbox.add("k", "lane", say("one"))
        assert not await work.outbox.add("k", "lane", say("two"))
        await work.outbox.finish(1)
    async with reopen() as again, again.work() as work:
        assert not await work.outbox.add("k", "lane", say("one"))
        assert await work.outbox.next(TARGET, NOON) is None


async def test_two_units_at_once_add_a_key_once(store: SqlStore) -> None:
    async def add() -> bool:
        async with store.work() as work:
            return await work.outbox.add("k", "lane", say("one"))

    assert sorted(await asyncio.gather(*(add() for _ in range(8)))) == [False] * 7 + [True]


async def test_a_held_row_holds_its_target_alone(store: SqlStore) -> None:
    async with store.work() as work:
        await work.outbox.add("k1", "lane", say("one"))
        await work.outbox.add("k2", "lane", say("two"))
        await work.outbox.add("k3", "lane", say("three", "!b"))
        assert await work.outbox.soonest_ms() is None
        await work.outbox.retry_later(1, due_ms=NOON + 3000, error="busy")
        assert await work.outbox.next(TARGET, NOON + 1000) == 2.0
        assert isinstance(await work.outbox.next("matrix/!b", NOON), OutboxRow)
        assert await work.outbox.soonest_ms() == NOON + 3000
        row = await work.outbox.next(TARGET, NOON + 3000)
        assert isinstance(row, OutboxRow)
        assert (row.key, row.attempts, row.error) == ("k1", 1, "busy")


async def test_the_first_try_is_on_record_and_later_ones_do_not_change_it(store: SqlStore, clock: Clock) -> None:
    async with store.work() as work:
        await work.outbox.add("k1", "lane", say("one"))
        await work.outbox.trying(1, device_id="FIRST")
    clock.now += 1000
    async with store.work() as work:
        await work.outbox.trying(1, device_id="SECOND")
    async with store.view() as view:
        row = await view.outbox.next(TARGET, NOON)
    assert isinstance(row, OutboxRow)
    assert (row.first_tried_ms, row.device_id) == (NOON, "FIRST")


async def test_a_row_set_aside_lets_its_target_go_on_and_an_operator_decides(store: SqlStore) -> None:
    entry = AddTimelineEntry(
        incident_id=IncidentId("i"), event_type="t", title="t", description="d", event_time_ms=1,
        external_ref="r", event_data={"a": "b"},
    )  # fmt: skip
    async with store.work() as work:
        for key in ("k1", "k2", "k3"):
            await work.outbox.add(key, "lane", entry)
        await work.outbox.trying(1, device_id="D")
        await work.outbox.park(1, state="unknown", error="no answer")
        await work.outbox.park(2, state="parked", error="refused")
        row = await work.outbox.next("etb/i", NOON)
        assert isinstance(row, OutboxRow)
        assert row.key == "k3"
        parked = await work.outbox.parked()
        assert parked == [
            ParkedEffect(
                seq=1, kind="AddTimelineEntry", state="unknown", attempts=0, created_ms=NOON, error="no answer"
            ),
            ParkedEffect(
                seq=2, kind="AddTimelineEntry", state="parked", attempts=0, created_ms=NOON, error="refused"
            ),
        ]
        assert await work.outbox.depth(NOON) == (1, 2, 0.0)
        assert not await work.outbox.retry(3)
        assert not await work.outbox.drop(3)
        assert await work.outbox.drop(2)
        assert await work.outbox.retry(1)
        again = await work.outbox.next("etb/i", NOON)
        assert isinstance(again, OutboxRow)
        assert (again.key, again.attempts, again.first_tried_ms) == ("k1", 0, NOON)


async def test_an_effect_that_can_not_be_opened_is_named_listed_and_can_be_dropped(store: SqlStore) -> None:
    async with store.work() as work:
        await work.outbox.add("k1", "lane", say("one"))
        await work.outbox.add("k2", "lane", say("two"))
    async with store.desk() as desk:
        values = {"effect": b"changed"}
        await desk.write(lambda t: t.change(text("UPDATE outbox SET effect = :effect WHERE seq = 1"), values))
    async with store.view() as view:
        with pytest.raises(RowUnreadable) as unreadable:
            await view.outbox.next(TARGET, NOON)
    assert unreadable.value.seq == 1
    async with store.work() as work:
        await work.outbox.park(1, state="parked", error=str(unreadable.value))
        row = await work.outbox.next(TARGET, NOON)
        assert isinstance(row, OutboxRow)
        assert row.effect == say("two"), "the target goes on"
        [parked] = await work.outbox.parked()
        assert (parked.seq, parked.kind, parked.error) == (1, "unreadable", str(unreadable.value))
        assert await work.outbox.drop(1)
        assert await work.outbox.parked() == []


async def test_depth_tells_the_age_of_the_oldest(store: SqlStore) -> None:
    async with store.work() as work:
        assert await work.outbox.depth(NOON) == (0, 0, 0.0)
        await work.outbox.add("k1", "lane", say("one"))
        assert await work.outbox.depth(NOON + 1500) == (1, 0, 1.5)

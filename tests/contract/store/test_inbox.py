"""The inbox keeps what was accepted, once, in order, until it is finished."""

import asyncio

import pytest
from sqlalchemy import text

from etb_appservice.domain.ids import RoomId, short_hash
from etb_appservice.ports import Arrival, Inbox, InboxRow, RowUnreadable
from etb_appservice.store.sql import SqlStore
from tests.contract.store.conftest import NOON, Clock, Reopen

ROOM = RoomId("!room")


def event(name: str, lane: str = "lane", due_ms: int | None = None) -> Arrival:
    return Arrival(source="matrix", lane=lane, key=short_hash("event", name), payload=name.encode(), due_ms=due_ms)


async def taken(inbox: Inbox, lane: str = "lane", now_ms: int = NOON) -> list[str]:
    """Finish every ready row of a lane; their payloads in order."""
    names = []
    while isinstance(row := await inbox.next(lane, now_ms), InboxRow):
        names.append(row.payload.decode())
        await inbox.finish(row.seq)
    return names


async def first(inbox: Inbox, lane: str = "lane") -> InboxRow:
    row = await inbox.next(lane, NOON)
    assert isinstance(row, InboxRow)
    return row


async def test_rows_come_back_in_the_order_in_which_they_were_accepted(store: SqlStore) -> None:
    names = [f"${number}" for number in range(100)]
    async with store.work() as work:
        assert await work.inbox.accept([event(name) for name in names]) == 100
    async with store.work() as work:
        assert await taken(work.inbox) == names


async def test_a_row_comes_back_as_it_was_accepted(store: SqlStore) -> None:
    payload = b'{"a": "\\u0000"}\x00\xff'
    async with store.work() as work:
        await work.inbox.accept([Arrival(source="etb", lane="l\x00\ud800", key=bytes(16), payload=payload)])
    async with store.work() as work:
        row = await work.inbox.next("l\x00\ud800", NOON)
    assert row == InboxRow(
        seq=1, place=1, source="etb", lane="l\ufffd\ufffd", payload=payload, received_ms=NOON, attempts=0,
        state="ready", due_ms=0,
    )  # fmt: skip


async def test_what_was_seen_before_is_dropped_also_after_it_was_finished_and_after_a_restart(
    store: SqlStore, reopen: Reopen
) -> None:
    async with store.work() as work:
        assert await work.inbox.accept([event("$a"), event("$b"), event("$a")]) == 2
        assert await taken(work.inbox) == ["$a", "$b"]
    async with reopen() as again, again.work() as work:
        assert await work.inbox.accept([event("$b"), event("$c"), event("$a")]) == 1
        assert await taken(work.inbox) == ["$c"]


async def test_nothing_to_accept_is_nothing_new(store: SqlStore) -> None:
    async with store.work() as work:
        assert await work.inbox.accept([]) == 0


async def test_a_key_that_is_not_sixteen_bytes_is_refused(store: SqlStore) -> None:
    async with store.work() as work:
        with pytest.raises(ValueError, match="16 bytes"):
            await work.inbox.accept([Arrival(source="own", lane="l", key=b"short", payload=b"")])


async def test_lanes_are_named_longest_waiting_first(store: SqlStore) -> None:
    async with store.work() as work:
        await work.inbox.accept([event("$1", "b"), event("$2", "a"), event("$3", "b")])
        assert await work.inbox.lanes(NOON) == ["b", "a"]


async def test_a_failed_row_holds_its_lane_and_counts_its_tries(store: SqlStore) -> None:
    async with store.work() as work:
        await work.inbox.accept([event("$1"), event("$2"), event("$3", "other")])
        row = await first(work.inbox)
        await work.inbox.retry_later(row.seq, due_ms=NOON + 1500, error="x" * 1000)
    async with store.work() as work:
        assert await work.inbox.next("lane", NOON) == 1.5
        assert await taken(work.inbox, "other") == ["$3"]
        assert await work.inbox.soonest_ms() == NOON + 1500
        row2 = await work.inbox.next("lane", NOON + 1500)
        assert isinstance(row2, InboxRow)
        assert (row2.payload, row2.attempts, row2.error) == (b"$1", 1, "x" * 500)


async def test_nothing_falls_due_where_nothing_is_held(store: SqlStore) -> None:
    async with store.work() as work:
        await work.inbox.accept([event("$1")])
        assert await work.inbox.soonest_ms() is None


async def test_a_timer_takes_its_place_at_the_lanes_end_when_it_falls_due(store: SqlStore, clock: Clock) -> None:
    async with store.work() as work:
        await work.inbox.accept([event("late", due_ms=NOON + 2000), event("soon", due_ms=NOON + 1000)])
        await work.inbox.accept([event("now"), event("past", due_ms=NOON - 1)])
        assert await work.inbox.soonest_ms() == NOON + 1000
        assert await work.inbox.lanes(NOON) == ["lane"]
        assert await taken(work.inbox) == ["now", "past"]
        assert await work.inbox.lanes(NOON + 999) == []
    clock.now += 2000
    async with store.work() as work:
        assert await work.inbox.soonest_ms() == NOON + 1000
        await work.inbox.accept([event("before")])
        assert await work.inbox.lanes(clock.now) == ["lane"]
        await work.inbox.accept([event("after")])
        places = []
        while isinstance(row := await work.inbox.next("lane", clock.now), InboxRow):
            places.append((row.payload.decode(), row.place))
            await work.inbox.finish(row.seq)
    assert places == [("before", 5), ("soon", 2), ("late", 1), ("after", 8)]


async def test_a_timer_that_is_committed_while_others_ring_is_not_lost(
    store: SqlStore, reopen: Reopen, clock: Clock
) -> None:
    """Somebody else commits one that is due by then, at whatever moment of the unit that rings."""

    async def accept(whose: SqlStore, name: str) -> None:
        async with whose.work() as work:
            await work.inbox.accept([event(name, due_ms=NOON + 1)])

    async def ring() -> None:
        async with store.work() as work:
            await work.inbox.lanes(NOON + 1)

    names = [f"{whose}{number}" for number in range(100) for whose in ("ours", "theirs")]
    async with reopen() as other:
        for ours, theirs in zip(names[::2], names[1::2], strict=True):
            await accept(store, ours)
            await asyncio.gather(accept(other, theirs), ring())
    await ring()
    async with store.work() as work:
        assert sorted(await taken(work.inbox, now_ms=NOON + 1)) == sorted(names)


async def test_a_row_that_waits_for_a_key_lets_the_lane_go_on_and_then_comes_next(store: SqlStore) -> None:
    async with store.work() as work:
        await work.inbox.accept([event("$1"), event("$2"), event("$3"), event("$4")])
        for _ in range(2):
            row = await first(work.inbox)
            await work.inbox.wait_for_key(row.seq, room_id=ROOM, session_id="s")
        assert await work.inbox.is_waiting(ROOM, "s")
        assert not await work.inbox.is_waiting(ROOM, "t")
        assert await work.inbox.waiting() == [(ROOM, "s")]
        await work.inbox.finish((await first(work.inbox)).seq)
    async with store.work() as work:
        assert await work.inbox.key_arrived(ROOM, "t") == []
        assert await work.inbox.key_arrived(ROOM, "s") == ["lane"]
        assert await work.inbox.key_arrived(ROOM, "s") == []
        row = await first(work.inbox)
        assert (row.seq, row.place, row.received_ms) == (1, 1, NOON)
        assert await taken(work.inbox) == ["$1", "$2", "$4"]
        assert await work.inbox.waiting() == []


async def test_a_redaction_ends_the_wait_and_its_event_stays_known(store: SqlStore) -> None:
    async with store.work() as work:
        await work.inbox.accept([event("$1"), event("$2")])
        assert not await work.inbox.stop_waiting(short_hash("event", "$1"))
        await work.inbox.wait_for_key((await first(work.inbox)).seq, room_id=ROOM, session_id="s")
        assert await work.inbox.stop_waiting(short_hash("event", "$1"))
        assert not await work.inbox.stop_waiting(short_hash("event", "$1"))
        assert await work.inbox.key_arrived(ROOM, "s") == []
        assert await work.inbox.accept([event("$1")]) == 0
        assert await taken(work.inbox) == ["$2"]


async def test_rows_of_every_state_move_with_their_lane(store: SqlStore) -> None:
    async with store.work() as work:
        await work.inbox.accept([event("$1", "!room"), event("$2", "!room"), event("t", "!room", NOON + 5)])
        row = await first(work.inbox, "!room")
        await work.inbox.wait_for_key(row.seq, room_id=ROOM, session_id="s")
        await work.inbox.move_lane("!room", "incident")
        assert await work.inbox.key_arrived(ROOM, "s") == ["incident"]
        assert await work.inbox.lanes(NOON + 5) == ["incident"]
        assert await taken(work.inbox, "incident", NOON + 5) == ["$1", "$2", "t"]


async def test_a_parked_row_waits_for_an_operator(store: SqlStore) -> None:
    odd = Arrival(source="matrix", lane="odd", key=bytes(16), payload=b"secret", park_reason="no event id")
    async with store.work() as work:
        await work.inbox.accept([event("$1"), event("$2"), odd])
        row = await first(work.inbox)
        await work.inbox.retry_later(row.seq, due_ms=NOON, error="once")
        await work.inbox.park(row.seq, error="gave up")
        assert await work.inbox.next("odd", NOON) is None
        parked = await work.inbox.parked()
        assert [(row.seq, row.error, row.payload, row.state) for row in parked] == [
            (1, "gave up", b"", "parked"),
            (3, "no event id", b"", "parked"),
        ]
        assert not await work.inbox.drop(2)
        assert not await work.inbox.retry(2)
        assert await work.inbox.drop(3)
        assert await work.inbox.retry(1)
        assert await work.inbox.parked() == []
        again = await first(work.inbox)
        assert (again.payload, again.attempts) == (b"$1", 0)


async def test_depth_counts_ready_and_parked_rows_and_the_oldest_age(store: SqlStore, clock: Clock) -> None:
    async with store.work() as work:
        assert await work.inbox.depth(NOON) == (0, 0, 0.0)
        await work.inbox.accept([event("$1"), event("$2"), event("t", due_ms=NOON + 5)])
        await work.inbox.park((await first(work.inbox)).seq, error="e")
    clock.now += 2500
    async with store.work() as work:
        await work.inbox.accept([event("$3")])
    async with store.view() as view:
        assert await view.inbox.depth(clock.now) == (2, 1, 2.5)


async def test_keys_are_remembered_for_at_least_76_hours_and_then_forgotten(store: SqlStore, clock: Clock) -> None:
    async with store.work() as work:
        await work.inbox.accept([event("$1")])
    clock.now += 76 * 3600 * 1000
    async with store.work() as work:
        await work.inbox.accept([event("$2")])
        with pytest.raises(ValueError, match="76 hours"):
            await work.inbox.forget_keys(NOON + 1)
        assert await work.inbox.forget_keys(NOON) == 0
        assert await work.inbox.accept([event("$1")]) == 0
    clock.now += 1
    async with store.work() as work:
        assert await work.inbox.forget_keys(NOON + 1) == 1
        assert await work.inbox.accept([event("$1"), event("$2")]) == 1


async def test_a_row_that_can_not_be_opened_is_named_and_its_lane_goes_on_without_it(store: SqlStore) -> None:
    async with store.work() as work:
        await work.inbox.accept([event("$a"), event("$b")])
    async with store.desk() as desk:
        values = {"payload": b"changed"}
        await desk.write(lambda t: t.change(text("UPDATE inbox SET payload = :payload WHERE seq = 1"), values))
    async with store.view() as view:
        with pytest.raises(RowUnreadable) as unreadable:
            await view.inbox.next("lane", NOON)
    assert unreadable.value.seq == 1
    async with store.work() as work:
        await work.inbox.park(1, error=str(unreadable.value))
        assert await taken(work.inbox) == ["$b"]
        assert [row.seq for row in await work.inbox.parked()] == [1]

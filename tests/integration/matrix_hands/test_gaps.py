"""What Synapse never pushed is found by /sync and fetched."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from etb_appservice.domain.effects import Say
from etb_appservice.domain.ids import EventId, RoomId
from etb_appservice.matrix.api import make_client
from etb_appservice.matrix.keysync import RoomWatch, SeenEvent
from etb_appservice.ports import Expected
from tests.harness.hands import Workbench, eventually
from tests.harness.synapse import Slot, Synapse


@pytest.fixture
async def deaf(synapse: Synapse, take_slot: Callable[[], Slot], tmp_path: Path) -> AsyncIterator[Workbench]:
    """A service that no transaction reaches."""
    started = await Workbench.start(synapse, take_slot(), tmp_path, listen=False)
    yield started
    await started.stop()


def watch(bench: Workbench, position: str | None = None) -> RoomWatch:
    before = position

    async def seen(events: tuple[SeenEvent, ...], reached: str) -> None:
        nonlocal before
        await bench.gaps.saw(events, before)
        before = reached

    client = make_client(bench.synapse.url, bench.slot.as_token, bench.server.user_id, "", bench.bot.http)
    return RoomWatch(client, bench.clock, position=position, seen=seen)


async def rows(bench: Workbench, room_id: RoomId) -> int:
    return len(await bench.payloads(room_id))


async def test_an_event_no_transaction_brought_is_fetched_once(deaf: Workbench) -> None:
    room_id = await deaf.open(deaf.spec(1))
    loop = watch(deaf)
    await loop.turn()
    said = await deaf.do(Say(room_id=room_id, content="x"), "g/1")
    await loop.turn()
    assert await deaf.gaps.look() == 1
    assert await deaf.gaps.look() == 0
    [payload] = await deaf.payloads(room_id)
    assert f'"{said.event_id}"'.encode() in payload
    assert b'"room_id"' in payload
    await loop.turn()
    assert await deaf.gaps.look() == 0


async def test_a_gap_larger_than_the_timeline_is_paged_back(deaf: Workbench) -> None:
    room_id = await deaf.open(deaf.spec(2))
    loop = watch(deaf)
    await loop.turn()
    for number in range(170):
        await deaf.server.send(room_id, "org.example.note", f"n{number}", {"n": number})
    await loop.turn()
    found = 0
    while brought := await deaf.gaps.look():
        found += brought
    assert found == 170, "what stood before the first look is history"
    assert await rows(deaf, room_id) == found


async def test_what_a_transaction_brought_is_not_expected(shared: Workbench) -> None:
    room_id = await shared.open(shared.spec(3))
    loop = watch(shared)
    await loop.turn()
    said = await shared.do(Say(room_id=room_id, content="x"), "g/3")
    assert said.event_id is not None
    event_id = said.event_id
    await eventually(lambda: shared.intake.has_recent(event_id), "the transaction")
    await loop.turn()
    assert await shared.gaps.look() == 0


async def test_an_event_that_does_not_exist_or_may_not_be_seen_is_settled(deaf: Workbench) -> None:
    room_id = await deaf.open(deaf.spec(4))
    stranger = await deaf.synapse.user(f"hidden-{deaf.slot.id}")
    try:
        hidden_room = RoomId(await stranger.create_room())
        hidden = EventId(await stranger.send(hidden_room, "private"))
    finally:
        await stranger.close()
    async with deaf.store.work() as work:
        expected = [
            Expected(room_id=room_id, event_id=EventId("$nothing"), due_ms=1),
            Expected(room_id=hidden_room, event_id=hidden, due_ms=1),
        ]
        assert await work.gaps.expect(expected) == 2
    assert await deaf.gaps.look() == 0
    async with deaf.store.work() as work:
        assert list(await work.gaps.overdue(deaf.clock.now_ms())) == []

"""Acts of web users: accepted once per key, ruled on once."""

import asyncio

from etb_appservice.domain.ids import new_id
from etb_appservice.domain.web import Ruling
from etb_appservice.store.sql import SqlStore
from tests.contract.store.conftest import NOON, Clock

KEY = b"0123456789abcdef"
_DAY_MS = 86_400_000


async def accept(store: SqlStore, act: str, key: bytes | None = KEY, since_ms: int = 0) -> str:
    async with store.work() as work:
        return await work.acts.accept(act, key, since_ms)


async def test_of_acts_with_one_key_the_first_counts(store: SqlStore) -> None:
    assert await accept(store, "a") == "a"
    assert await accept(store, "a") == "a"
    assert await accept(store, "b") == "a"
    assert await accept(store, "c", b"another") == "c"
    assert await accept(store, "d", None) == "d"
    assert await accept(store, "e", None) == "e"


async def test_at_the_same_moment_one_is_the_first(store: SqlStore) -> None:
    found = await asyncio.gather(*(accept(store, new_id(number)) for number in range(8)))
    assert len(set(found)) == 1


async def test_a_ruling_stands_from_its_commit_on(store: SqlStore) -> None:
    await accept(store, "a")
    async with store.work() as work:
        assert await work.acts.ruling("a") is None
        await work.acts.decide("a", Ruling(code="forbidden", detail="No.", field="content"))
        await work.acts.decide("a", Ruling(result="m"))
    async with store.view() as view:
        assert await view.acts.ruling("a") == Ruling(code="forbidden", detail="No.", field="content")
        assert await view.acts.ruling("nothing") is None


async def test_a_key_counts_for_a_while_and_what_is_ruled_on_is_forgotten(store: SqlStore, clock: Clock) -> None:
    await accept(store, "a")
    await accept(store, "undecided", None)
    async with store.work() as work:
        await work.acts.decide("a", Ruling(result="m"))
    clock.now += _DAY_MS
    assert await accept(store, "b", since_ms=NOON + 1) == "b"
    async with store.work() as work:
        assert await work.acts.forget(NOON + 1) == 1
        assert await work.acts.ruling("a") is None
    async with store.work() as work:
        await work.acts.decide("undecided", Ruling(result="n"))
        assert await work.acts.ruling("undecided") == Ruling(result="n")

"""Work on the crypto database comes to its end, and each database is its own."""

import asyncio
import sqlite3
from pathlib import Path

import pytest
from mautrix.util.async_db import Database

from etb_appservice.matrix.keeper import Keeper
from etb_appservice.matrix.store import CryptoStore, open_crypto_database


async def _open(keeper: Keeper, path: Path) -> Database:
    return await keeper.run(lambda: open_crypto_database(f"sqlite:///{path}"))


async def test_a_cancelled_caller_does_not_poison_the_database(tmp_path: Path) -> None:
    keeper = Keeper()
    database = await _open(keeper, tmp_path / "crypto.db")
    store = CryptoStore("@bot:test", "k" * 32, database)
    inside, go_on = asyncio.Event(), asyncio.Event()

    async def write() -> None:
        async with store.transaction():
            await store.put_withheld("!r:test", "s" * 43, "@a:test", "m.unverified")
            inside.set()
            await go_on.wait()

    caller = asyncio.create_task(keeper.run(write))
    await inside.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    go_on.set()
    await keeper.run(lambda: store.put_withheld("!r:test", "t" * 43, "@a:test", "m.unverified"))
    with sqlite3.connect(tmp_path / "crypto.db", timeout=0.1) as other:
        assert other.execute("SELECT COUNT(*) FROM etb_withheld").fetchone() == (2,), (
            "both writes reached the disk"
        )
        other.execute("DELETE FROM etb_withheld")  # nobody is locked out
    await keeper.close()
    await database.stop()


async def test_two_databases_nested_in_one_task_stay_apart(tmp_path: Path) -> None:
    keeper = Keeper()
    ours = await _open(keeper, tmp_path / "ours.db")
    other = Database.create(f"sqlite:///{tmp_path / 'other.db'}")
    await other.start()
    store = CryptoStore("@bot:test", "k" * 32, ours)
    async with other.acquire():
        await keeper.run(lambda: store.put_withheld("!r:test", "s" * 43, "@a:test", "m.unverified"))
        assert await keeper.run(lambda: store.withheld_code("s" * 43, "@a:test")) == "m.unverified"
    await keeper.close()
    await ours.stop()
    await other.stop()


async def test_closing_waits_for_what_is_under_way_and_takes_nothing_new() -> None:
    keeper = Keeper()
    go_on, done = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        await go_on.wait()
        done.set()

    task = keeper.start(work)
    closing = asyncio.create_task(keeper.close())
    await asyncio.sleep(0)
    assert not closing.done()
    go_on.set()
    await closing
    assert done.is_set()
    assert task.done()
    with pytest.raises(RuntimeError, match="closed"):
        keeper.start(work)


async def test_the_crypto_database_is_fully_synchronous(tmp_path: Path) -> None:
    keeper = Keeper()
    database = await _open(keeper, tmp_path / "crypto.db")

    async def ask() -> tuple[int, str]:
        level = await database.fetchval("PRAGMA synchronous")
        return level, await database.fetchval("PRAGMA journal_mode")

    assert await keeper.run(ask) == (2, "wal")
    await keeper.close()
    await database.stop()


async def test_an_unknown_kind_of_database_is_refused() -> None:
    with pytest.raises(ValueError, match="sqlite:///… or postgresql://…, not mysql"):
        await open_crypto_database("mysql://x")

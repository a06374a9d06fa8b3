"""Files that wait to be sent, on both databases."""

import os

import pytest

from etb_appservice.domain.ids import WarRoomId
from etb_appservice.ports import MOST_DOCUMENT_BYTES, Document, TooLarge
from etb_appservice.store.errors import Tampered
from etb_appservice.store.sql import SqlStore
from tests.contract.store.conftest import NOON, Clock, Reopen

HERE = WarRoomId("here")
MIB = 1024 * 1024


@pytest.mark.parametrize("size", [0, 1, MIB, MIB + 1, 3 * MIB + 7])
async def test_a_document_comes_back_as_it_was(store: SqlStore, reopen: Reopen, size: int) -> None:
    content = os.urandom(size)
    async with store.work() as work:
        await work.documents.put("d", HERE, content)
        await work.documents.put("other", HERE, b"other")
    async with reopen() as again, again.view() as view:
        assert await view.documents.get("d") == Document(id="d", war_room=HERE, content=content)
        assert await view.documents.get("no such") is None


async def test_the_largest_document_fits_and_a_larger_one_is_refused(store: SqlStore) -> None:
    content = bytes(MOST_DOCUMENT_BYTES)
    async with store.work() as work:
        await work.documents.put("d", HERE, content)
        with pytest.raises(TooLarge, match="20971521 bytes"):
            await work.documents.put("e", HERE, content + b"x")
    async with store.view() as view:
        kept = await view.documents.get("d")
        assert kept is not None
        assert kept.content == content
        assert await view.documents.get("e") is None


async def test_where_it_was_uploaded_is_remembered_and_sealed(store: SqlStore) -> None:
    async with store.work() as work:
        await work.documents.put("d", HERE, b"content of it")
        await work.documents.uploaded("d", b'{"url":"mxc://x/m"}')
        await work.documents.uploaded("no such", b"nothing")
    async with store.view() as view:
        kept = await view.documents.get("d")
    assert kept is not None
    assert kept.upload == b'{"url":"mxc://x/m"}'
    async with store.desk() as desk:
        [row] = await desk.ask(
            lambda transaction: transaction.connection.exec_driver_sql(
                "SELECT content, upload FROM documents"
            ).all()
        )
    assert b"content of it" not in bytes(row[0])
    assert b"mxc" not in bytes(row[1])


async def test_what_was_forgotten_is_gone(store: SqlStore) -> None:
    async with store.work() as work:
        await work.documents.put("d", HERE, bytes(2 * MIB))
        await work.documents.put("e", HERE, b"e")
    async with store.work() as work:
        await work.documents.forget("d")
        await work.documents.forget("no such")
    async with store.view() as view:
        assert await view.documents.get("d") is None
        assert await view.documents.get("e") is not None


async def test_what_is_old_is_forgotten_and_counted_by_documents(store: SqlStore, clock: Clock) -> None:
    async with store.work() as work:
        await work.documents.put("old", HERE, bytes(2 * MIB))
    clock.now = NOON + 10
    async with store.work() as work:
        await work.documents.put("new", HERE, b"new")
    async with store.work() as work:
        assert await work.documents.forget_before(NOON + 10) == 1
        assert await work.documents.forget_before(NOON + 10) == 0
    async with store.view() as view:
        assert await view.documents.get("old") is None
        assert await view.documents.get("new") is not None


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM documents WHERE part = 2",
        "DELETE FROM documents WHERE part = 0",
        "UPDATE documents SET part = 5 - part WHERE part > 0",
        "UPDATE documents SET id = 'e'",
    ],
)
async def test_a_part_that_was_taken_away_or_moved_is_seen(store: SqlStore, change: str) -> None:
    async with store.work() as work:
        await work.documents.put("d", HERE, os.urandom(3 * MIB))
    async with store.desk() as desk:
        await desk.write(lambda transaction: transaction.connection.exec_driver_sql(change))
    with pytest.raises(Tampered):
        async with store.view() as view:
            await view.documents.get("e" if "'e'" in change else "d")

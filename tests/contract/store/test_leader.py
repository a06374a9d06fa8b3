"""One process leads."""

import asyncio

import asyncpg
import pytest

from etb_appservice.store.errors import NotLeader
from etb_appservice.store.leader import leadership


def never() -> None:
    raise AssertionError("the lock was lost")


async def test_a_second_one_is_refused_and_leads_when_the_first_has_ended(empty_url: str) -> None:
    async with leadership(empty_url, never):
        with pytest.raises(NotLeader, match="another etb-appservice leads"):
            async with leadership(empty_url, never, wait=False):
                pass
    async with leadership(empty_url, never, wait=False):
        pass


async def test_a_second_one_that_waits_takes_over(empty_url: str) -> None:
    leads = asyncio.Event()

    async def stand_by() -> None:
        async with leadership(empty_url, never):
            leads.set()

    async with leadership(empty_url, never):
        second = asyncio.create_task(stand_by())
        await asyncio.wait([second], timeout=1)
        assert not leads.is_set()
    async with asyncio.timeout(10):
        await second
    assert leads.is_set()


async def test_waiting_can_be_cancelled(empty_url: str) -> None:
    async with leadership(empty_url, never):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1), leadership(empty_url, never):
                pass


async def test_a_lost_session_is_noticed_and_told_once(empty_url: str) -> None:
    if empty_url.startswith("sqlite"):
        return  # the kernel holds a file's lock for as long as the process lives
    told = asyncio.Queue[str]()
    async with leadership(empty_url, lambda: told.put_nowait("lost")):
        other = await asyncpg.connect(empty_url)
        try:
            await other.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'etb-appservice leader' AND datname = current_database()"
            )
        finally:
            await other.close()
        async with asyncio.timeout(15):
            assert await told.get() == "lost"
    assert told.empty()

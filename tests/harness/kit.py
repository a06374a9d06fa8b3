"""Fixtures of tests of flows: a house on a new database for each."""

import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import structlog

import etb_appservice.commands
from etb_appservice.flows.commands import find
from etb_appservice.store.migrate import upgrade
from tests.harness.cast import policy_of
from tests.harness.clock import MovedClock
from tests.harness.fakes_etb import FakeEtb
from tests.harness.house import House
from tests.harness.world import World

MakeHouse = Callable[..., Awaitable["House"]]


@pytest.fixture(autouse=True)
def logged() -> Iterator[list[Any]]:
    """What was logged in this test, as data: nothing is spent on printing it."""
    with structlog.testing.capture_logs() as entries:
        yield entries


@pytest.fixture(scope="session")
def fast_folder() -> Iterator[Path]:
    """In memory where the system has such a place: every commit is an fsync."""
    shm = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shm if os.access(shm, os.W_OK) else None) as folder:
        yield Path(folder)


@pytest.fixture
async def make_house(fast_folder: Path) -> AsyncIterator[MakeHouse]:
    """`await make_house(policy=…)`: a house on a new database."""
    async with AsyncExitStack() as stack:

        async def make(**parts: Any) -> House:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=fast_folder)))
            house = await house_at(folder, fast_folder / "template.db", **parts)
            stack.push_async_callback(house.stop)
            return house

        yield make


@pytest.fixture
async def house(make_house: MakeHouse) -> House:
    """The usual one."""
    return await make_house()


async def house_at(folder: Path, template: Path, **parts: Any) -> House:
    """A house on a new database in `folder`; `template` is where the empty tables are kept for all tests."""
    if not template.exists():  # noqa: ASYNC240 - a test waits for nothing else
        await upgrade(f"sqlite:///{template}")
    shutil.copyfile(template, folder / "etb.db")
    house = House(
        folder,
        clock=parts.get("clock") or MovedClock(),
        world=parts.get("world") or World(),
        etb=parts.get("etb") or FakeEtb(),
        policy=parts.get("policy") or policy_of(),
        commands=parts.get("commands") or find(etb_appservice.commands),
    )
    await house.start()
    return house

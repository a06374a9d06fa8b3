"""Fixtures that many tests share: one PostgreSQL and one Synapse for the whole session, a slot for each module.

In CI (`CI` set) a skipped test fails: a part that is missing there is an error, not an excuse.
"""

import itertools
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from tests.harness.jsclient import JsClient
from tests.harness.postgres import Postgres
from tests.harness.seed import how_to_repeat
from tests.harness.service import Service
from tests.harness.synapse import Slot, Synapse, write_slot
from tests.harness.warm import Warm

SLOT_COUNT = 96
Person = Callable[..., Awaitable[JsClient]]
PASSWORD = "correct horse battery staple"


def pytest_report_header() -> str:
    """What chooses the seams at which the service dies."""
    return f"seed of tests/chaos: {how_to_repeat()}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    report: pytest.TestReport = yield
    if report.skipped and os.environ.get("CI") and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, which is a failure in CI: {reason}"
    return report


@pytest.fixture(scope="session", autouse=True)
def _warm_start() -> Iterator[None]:
    """The service starts by a fork (tests/harness/warm.py): seconds of imports saved, hundreds of times."""
    Service.warm = warm = Warm()
    yield
    Service.warm = None
    warm.stop()


@pytest.fixture(scope="session")
async def postgres() -> AsyncIterator[Postgres]:
    """One server; take a database of your own from `await postgres.fresh_database()`."""
    server = await Postgres.start()
    yield server
    await server.stop()


@pytest.fixture(scope="session")
async def synapse(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Synapse]:
    """One homeserver `localhost` that knows many application services (`slots`); don't stop or kill this one."""
    folder = tmp_path_factory.mktemp("synapse")
    slots = [write_slot(folder, "localhost", f"etb{number}") for number in range(1, SLOT_COUNT + 1)]
    server = await Synapse.start(folder, registrations=[slot.registration_path for slot in slots])
    server.slots = slots
    yield server
    await server.stop()


@pytest.fixture(scope="session")
def _free_slots(synapse: Synapse) -> Iterator[Slot]:
    return iter(synapse.slots)


@pytest.fixture(scope="session")
def take_slot(_free_slots: Iterator[Slot]) -> Callable[[], Slot]:
    """Call it for one more application service that nobody has used."""

    def take() -> Slot:
        try:
            return next(_free_slots)
        except StopIteration:
            raise RuntimeError(f"all {SLOT_COUNT} slots are taken: raise SLOT_COUNT here") from None

    return take


@pytest.fixture(scope="module")
def slot(take_slot: Callable[[], Slot]) -> Slot:
    """The module's own application service on the shared Synapse."""
    return take_slot()


@pytest.fixture(scope="session")
def new_name() -> Callable[[str], str]:
    """A localpart nobody has, from a stem: `alice` gives `alice-1`, `alice-2`..."""
    numbers = itertools.count(1)
    return lambda stem: f"{stem}-{next(numbers)}"


@pytest.fixture
async def person(synapse: Synapse, new_name: Callable[[str], str]) -> AsyncIterator[Person]:
    """`await person("alice")`: a new user with a client in Node on the shared Synapse; stopped after the test.

    Keywords go to `JsClient.start`.
    """
    async with AsyncExitStack() as stack:

        async def make(stem: str = "person", **options: Any) -> JsClient:
            name = new_name(stem)
            await synapse.register(name, PASSWORD)
            return await stack.enter_async_context(await JsClient.start(synapse.url, name, PASSWORD, **options))

        yield make

"""A workbench of its own for each test: a fresh bot, a fresh store, a listener, on the shared Synapse."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.harness.hands import Workbench
from tests.harness.synapse import Slot, Synapse


@pytest.fixture
async def bench(synapse: Synapse, take_slot: Callable[[], Slot], tmp_path: Path) -> AsyncIterator[Workbench]:
    started = await Workbench.start(synapse, take_slot(), tmp_path)
    yield started
    await started.stop()


@pytest.fixture(scope="module")
async def shared(
    synapse: Synapse, take_slot: Callable[[], Slot], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Workbench]:
    """One for a whole module; give rooms numbers of their own."""
    started = await Workbench.start(synapse, take_slot(), tmp_path_factory.mktemp("bench"))
    yield started
    await started.stop()

"""A bot with a crypto store of its own for each test, on the shared Synapse."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from tests.harness.bot import Bot, DictKeepsakes
from tests.harness.synapse import Slot, Synapse

StartBot = Callable[..., Awaitable[Bot]]


@pytest.fixture
def keepsakes() -> DictKeepsakes:
    return DictKeepsakes()


@pytest.fixture
def own_slot(take_slot: Callable[[], Slot]) -> Slot:
    """An application service whose bot no other test has made."""
    return take_slot()


@pytest.fixture
async def bot(synapse: Synapse, own_slot: Slot, tmp_path: Path, keepsakes: DictKeepsakes) -> AsyncIterator[Bot]:
    started = await Bot.start(synapse.url, own_slot, tmp_path, keepsakes)
    yield started
    await started.stop()

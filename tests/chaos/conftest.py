"""One homeserver and one ETB for all chaos, apart from everybody else's, since both are killed here too."""

from collections.abc import AsyncIterator, Callable

import pytest

from tests.harness.sandbox import Sandbox
from tests.harness.synapse import Slot, Synapse, write_slot

SLOTS = 24


@pytest.fixture(scope="session")
async def synapse(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Synapse]:
    folder = tmp_path_factory.mktemp("synapse")
    slots = [write_slot(folder, "localhost", f"doomed{number}") for number in range(1, SLOTS + 1)]
    server = await Synapse.start(folder, registrations=[slot.registration_path for slot in slots])
    server.slots = slots
    yield server
    await server.stop()


@pytest.fixture(scope="session")
def take_slot(synapse: Synapse) -> Callable[[], Slot]:
    slots = iter(synapse.slots)
    return lambda: next(slots)


@pytest.fixture(scope="module")
async def etb(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Sandbox]:
    async with await Sandbox.start(tmp_path_factory.mktemp("etb"), incidents=False) as sandbox:
        yield sandbox

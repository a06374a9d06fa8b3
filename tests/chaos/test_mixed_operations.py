"""A thousand mixed operations from both sides at once, and four kills among them: both sides end equal."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chaos.mixed.storm import Storm, told
from tests.harness.sandbox import Sandbox
from tests.harness.seed import how_to_repeat, seed
from tests.harness.synapse import Slot, Synapse

pytestmark = pytest.mark.timeout(900)
OPERATIONS = 1000
KILL_EVERY = 250


async def test_mixed_operations_with_kills_end_with_both_sides_equal(
    tmp_path: Path, synapse: Synapse, take_slot: Callable[[], Slot], etb: Sandbox
) -> None:
    await etb.reset(incidents=False)
    async with Storm.on(
        tmp_path, synapse, take_slot(), etb, total=OPERATIONS, kill_every=KILL_EVERY, seed=seed(), say=print
    ) as storm:
        await storm.run()
        assert len(storm.book.killed) == OPERATIONS // KILL_EVERY
        found = await storm.compare()
        assert not found, f"{told(storm, found)}\n({how_to_repeat()})"

"""SIGKILL at twenty steps of a run of a runbook: one execution in ETB, one message in the room, each time."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.chaos.doomed import Doomed, chosen
from tests.chaos.scenarios import RunbookToEnd
from tests.harness.sandbox import Sandbox
from tests.harness.seed import how_to_repeat, seed
from tests.harness.synapse import Slot, Synapse

pytestmark = pytest.mark.timeout(480)
OF_A_RUN = (
    "store commit Intake._decide(MessageReceived)#1",
    "etb POST /api/automation/runbooks/*/execute/#1",
    "etb GET /api/automation/runbook-executions/*#1",
    "store commit Intake._decide(EffectAnswered)#1",
    "store commit Intake._decide(RunbookDue)#1",
    "send/m.room.encrypted#1",
    "send/m.room.encrypted#2",
)
TWENTY = 20


@pytest.fixture
async def doomed(
    tmp_path: Path, synapse: Synapse, take_slot: Callable[[], Slot], etb: Sandbox
) -> AsyncIterator[Doomed]:
    async with Doomed.open(tmp_path, synapse, take_slot(), etb, run=False) as doomed:
        # After a try whose answer nobody heard, ETB is given three times this before it is asked again.
        doomed.scene.service.change(etb={"timeout_s": 2.0})
        await doomed.start()
        await doomed.scene.account("bob")
        yield doomed


async def test_a_runbook_runs_once_and_ends_once_wherever_the_service_is_killed(doomed: Doomed) -> None:
    scenario = await RunbookToEnd.set(doomed, await doomed.scene.person("alice"))
    seams = chosen(await scenario.seams(), OF_A_RUN, most=TWENTY, by=seed())
    assert len(seams) >= TWENTY
    missed = []
    for seam in seams:
        try:
            if not await scenario.die(seam):
                missed.append(seam)
        except AssertionError as error:
            raise AssertionError(f"after death at: {seam} ({how_to_repeat()})\n{error}") from error
    assert len(missed) <= len(seams) // 4, f"seams that were not passed again: {missed}"

"""The homeserver and ETB die in the middle of a call of ours: the ledger is the same on all sides.

The service tells the moment: it passes a seam and lets its neighbour die, a few milliseconds into the call.
"""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from tests.chaos import ledger
from tests.chaos.doomed import Doomed
from tests.chaos.scenarios import CommandToAnswer, IncidentToRoom
from tests.harness.sandbox import Sandbox
from tests.harness.scene import eventually
from tests.harness.synapse import Slot, Synapse

pytestmark = pytest.mark.timeout(300)
BACK_WITHIN_S = 120
"""Both sides back off while the other is away."""
REPLACED = "!%"
"""What came of a room that was replaced waits in a lane of its own for a minute: it could still become ours."""


@pytest.fixture(scope="module")
async def doomed(
    tmp_path_factory: pytest.TempPathFactory, synapse: Synapse, take_slot: Callable[[], Slot], etb: Sandbox
) -> AsyncIterator[Doomed]:
    async with Doomed.open(tmp_path_factory.mktemp("doomed"), synapse, take_slot(), etb) as doomed:
        await doomed.scene.account("bob", "carol")
        yield doomed


async def back(synapse: Synapse) -> None:
    """Wait for Synapse's death, and start it again."""

    async def dead() -> bool:
        return not synapse.running

    await eventually(dead, "the homeserver's death", timeout=30)
    await synapse.launch()


async def at_once() -> bool:
    """For a wait until the service has nothing left to do."""
    return True


@pytest.mark.parametrize("after_s", [0.0, 0.03, 0.08])
async def test_the_homeserver_dies_while_a_room_is_made(doomed: Doomed, after_s: float) -> None:
    scene = doomed.scene
    scenario = IncidentToRoom(doomed, await scene.person("alice"))
    doomed.arm(
        ["before homeserver POST /_matrix/client/v3/createRoom#1"], victim=scene.synapse.pid, after_s=after_s
    )
    await scenario.declare()
    await back(scene.synapse)
    doomed.disarm()
    await doomed.settle(scenario.is_done, within_s=BACK_WITHIN_S, but_for=REPLACED)
    await scenario.compare(may_replace=True)


@pytest.mark.parametrize("after_s", [0.0, 0.005, 0.02])
async def test_the_homeserver_dies_while_an_answer_is_sent(doomed: Doomed, after_s: float) -> None:
    scene = doomed.scene
    alice = await scene.person("alice")
    incident = await scene.etb.declare(title="Asked about", reporter="alice")
    room = await scene.join(alice, incident)
    scenario = CommandToAnswer(doomed, alice, room, incident["incident_number"])
    await scene.card(alice, room)
    await doomed.settle(at_once, but_for=REPLACED)
    before = ledger.said(doomed, room)
    doomed.arm(
        ["before homeserver PUT /_matrix/client/v3/rooms/*/send/m.room.encrypted#1"],
        victim=scene.synapse.pid,
        after_s=after_s,
    )
    asking = asyncio.create_task(scenario.ask())  # her client goes on trying while the homeserver is away
    await back(scene.synapse)
    await asking
    doomed.disarm()
    await doomed.settle(scenario.is_done, within_s=BACK_WITHIN_S, but_for=REPLACED)
    await scenario.compare(before)


@pytest.mark.parametrize("after_s", [0.0, 0.01])
async def test_etb_dies_while_it_writes(doomed: Doomed, etb: Sandbox, after_s: float) -> None:
    scenario = IncidentToRoom(doomed, await doomed.scene.person("alice"))
    doomed.arm(["before etb POST /api/incidents/incidents/*/timeline/#1"], victim=etb.child.pid, after_s=after_s)
    await scenario.declare()

    async def dead() -> bool:
        return not etb.child.running

    await eventually(dead, "the death of ETB", timeout=30)
    doomed.disarm()
    await etb.restart()
    await doomed.settle(scenario.is_done, within_s=BACK_WITHIN_S, but_for=REPLACED)
    await scenario.compare()


async def test_etb_writes_and_never_answers_and_then_the_service_dies(doomed: Doomed, etb: Sandbox) -> None:
    scenario = IncidentToRoom(doomed, await doomed.scene.person("alice"))
    fault = await etb.fault("drop_after_write", "timeline", count=1, methods=["POST"])
    assert fault
    assert await scenario.die("before store commit Outbox._failed(AddTimelineEntry)#1")
    assert any(entry["dropped"] for entry in await etb.log("timeline", "POST"))

"""SIGKILL at the steps of "incident to room", "command to answer" and of a first start, then the ledger.

Every run dies at the seams that can double or lose something, and at others that each commit picks anew;
`ETB_CHAOS_SEED` repeats a choice (a failure names it), and `./sweep` beside this file dies at every single one.
"""

import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from tests.chaos.doomed import Doomed, chosen
from tests.chaos.scenarios import CommandToAnswer, FirstStart, IncidentToRoom, Scenario
from tests.harness.jsclient import JsClient
from tests.harness.sandbox import Sandbox
from tests.harness.seed import how_to_repeat, seed
from tests.harness.synapse import Slot, Synapse

pytestmark = pytest.mark.timeout(400)
PASSWORD = "correct horse battery staple"
OF_AN_INCIDENT = (
    "createRoom#1",
    "after homeserver POST /_matrix/client/v3/rooms/*/invite#1",
    "send/m.room.encrypted#1",
    "after homeserver PUT /_matrix/client/v3/rooms/*/state/m.room.pinned_events/#1",
    "after homeserver PUT /_matrix/client/v3/rooms/*/state/m.space.child/*#1",
    "etb POST /api/incidents/incidents/*/timeline/#1",
    "after store commit Intake._decide(IncidentSeen)#1",
    "before store commit Poller.poll_incidents()#1",
)
OF_A_COMMAND = (
    "after homeserver GET /_matrix/client/v3/sync for keys#1",
    "after crypto commit Machine.take()#1",
    "after store commit Intake.keys_arrived()#1",
    "after store commit Intake.accept_arrivals()#1",
    "store commit Intake._decide(MessageReceived)#1",
    "send/m.room.encrypted#1",
)
OF_A_FIRST_START = (
    "after store commit pickle_key()#2",
    "after crypto commit Identity._replace_account()#1",
    "after store commit Identity._put()#1",
    "after homeserver PUT /_matrix/client/v3/devices/*#1",
    "after homeserver POST /_matrix/client/v3/keys/upload#1",
    "after crypto statement Identity._mark_shared()#1",
    "after homeserver POST /_matrix/client/v3/keys/device_signing/upload#1",
    "after homeserver POST /_matrix/client/v3/keys/signatures/upload#1",
    "before store commit Identity._put()#2",
    "before homeserver POST /_matrix/client/v3/keys/upload#2",
    "after homeserver POST /_matrix/client/v3/keys/upload#2",
    "after homeserver POST /_matrix/client/v3/createRoom#1",
)
OF_A_STOP = (
    "before crypto commit Machine.take()#1",
    "before crypto commit Courier.deliver()#1",
    "after homeserver PUT /_matrix/client/v3/sendToDevice/m.room.encrypted#1",
    "before homeserver PUT /_matrix/client/v3/rooms/*/send/m.room.encrypted#1",
)
ALONE = (
    "after crypto commit Identity._replace_account()#1",
    "after homeserver POST /_matrix/client/v3/keys/device_signing/upload#1",
    "after homeserver POST /_matrix/client/v3/keys/upload#2",
)


@pytest.fixture(scope="module")
async def doomed(
    tmp_path_factory: pytest.TempPathFactory, synapse: Synapse, take_slot: Callable[[], Slot], etb: Sandbox
) -> AsyncIterator[Doomed]:
    folder = tmp_path_factory.mktemp("doomed")
    async with Doomed.open(folder, synapse, take_slot(), etb, rooms={"rotation_messages": 1}) as doomed:
        await doomed.scene.account("bob", "carol")
        yield doomed


@pytest.fixture(scope="module")
async def operator(synapse: Synapse) -> AsyncIterator[JsClient]:
    await synapse.register("olivia", PASSWORD)
    async with await JsClient.start(synapse.url, "olivia", PASSWORD) as operator:
        yield operator


async def die_at(scenario: Scenario, seams: list[str]) -> None:
    """Die at each; every failure is told with its seam, and at least most of the seams must have been passed."""
    assert seams
    missed = []
    for seam in seams:
        try:
            if not await scenario.die(seam):
                missed.append(seam)
        except Exception as error:
            raise AssertionError(f"after death at: {seam} ({how_to_repeat()})\n{error}") from error
    assert len(missed) <= len(seams) // 3, f"seams that were not passed again: {missed} ({how_to_repeat()})"


async def test_an_incident_becomes_one_room_wherever_the_service_is_killed(doomed: Doomed) -> None:
    scenario = IncidentToRoom(doomed, await doomed.scene.person("alice"))
    await die_at(scenario, chosen(await scenario.seams(), OF_AN_INCIDENT, most=14, by=seed()))


async def test_a_command_is_answered_once_wherever_the_service_is_killed(doomed: Doomed) -> None:
    alice = await doomed.scene.person("alice")
    incident = await doomed.scene.etb.declare(title="Asked about", reporter="alice")
    room = await doomed.scene.join(alice, incident)
    await doomed.scene.card(alice, room)
    await doomed.settle(doomed.is_idle)
    scenario = CommandToAnswer(doomed, alice, room, incident["incident_number"])
    await die_at(scenario, chosen(await scenario.seams(), OF_A_COMMAND, most=12, by=seed()))


async def test_a_command_is_answered_once_wherever_the_service_is_told_to_stop(doomed: Doomed) -> None:
    """A stop cancels what is under way; were that to reach the crypto database, later writes would be lost."""
    alice = await doomed.scene.person("alice")
    incident = await doomed.scene.etb.declare(title="Asked about", reporter="alice")
    room = await doomed.scene.join(alice, incident)
    await doomed.scene.card(alice, room)
    await doomed.settle(doomed.is_idle)
    scenario = CommandToAnswer(doomed, alice, room, incident["incident_number"])
    for seam in OF_A_STOP:
        assert await scenario.die(seam, by=signal.SIGTERM), seam


async def test_a_first_start_makes_one_identity_wherever_it_is_killed(
    tmp_path: Path, synapse: Synapse, take_slot: Callable[[], Slot], etb: Sandbox, operator: JsClient
) -> None:
    def new() -> AbstractAsyncContextManager[Doomed]:
        slot = take_slot()
        section = {"operators": [operator.user_id]}
        return Doomed.open(tmp_path / slot.id, synapse, slot, etb, run=False, control_room=section)

    await etb.reset(incidents=False)  # each service of this test would make rooms for what others reported
    scenario = FirstStart(new, operator)
    seams = chosen(await scenario.seams(), OF_A_FIRST_START, most=len(OF_A_FIRST_START), by=seed())
    # Parts start side by side, so the last of these seams may come after the operator was invited.
    missing = [seam for seam in OF_A_FIRST_START if seam not in seams]
    assert len(missing) <= len(OF_A_FIRST_START) // 4, f"seams that are no more: {missing}"
    assert len(await scenario.die_in_turn(seams)) > len(seams) // 2
    await die_at(scenario, [seam for seam in seams if seam in ALONE])

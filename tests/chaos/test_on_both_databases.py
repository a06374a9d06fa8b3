"""SIGKILL around the commits of a command, on SQLite and on PostgreSQL: each command is answered once."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chaos.doomed import Doomed
from tests.harness.postgres import Postgres
from tests.harness.sandbox import Sandbox
from tests.harness.scene import eventually
from tests.harness.synapse import Slot, Synapse

SEAMS = (
    "after store commit Intake.accept_arrivals()#1",
    "before store commit Intake._decide(MessageReceived)#1",
    "after store commit Intake._decide(MessageReceived)#1",
    "before homeserver PUT /_matrix/client/v3/rooms/*/send/m.room.encrypted#1",
    "after homeserver PUT /_matrix/client/v3/rooms/*/send/m.room.encrypted#1",
)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_a_command_is_answered_once_wherever_the_service_is_killed(
    tmp_path: Path, synapse: Synapse, take_slot: Callable[[], Slot], etb: Sandbox, postgres: Postgres, kind: str
) -> None:
    await etb.reset(incidents=False)
    database = await postgres.fresh_database() if kind == "postgresql" else "sqlite:///etb.db"
    async with Doomed.open(tmp_path, synapse, take_slot(), etb, run=False, database=database) as doomed:
        scene = doomed.scene
        await scene.service.run()
        incident = await scene.etb.declare(title="Asked about", reporter="alice")
        alice, room = await scene.enter("alice", incident)
        await scene.card(alice, room)
        device = await alice.devices(scene.bot)
        asked: list[str] = []
        for seam in SEAMS:
            doomed.arm([seam])
            asked.append(await alice.send(room, "!status"))

            async def dead() -> bool:
                return doomed.is_dead

            await eventually(dead, f"death at {seam}", timeout=30)
            doomed.disarm()
            await scene.service.run()
            await alice.wait_for(room=room, sender=scene.bot, reply_to=asked[-1], timeout=45)
        await scene.ask(alice, room, "!help")
        for event_id in asked:
            assert len(await scene.answers(alice, room, event_id)) == 1
        assert await alice.devices(scene.bot) == device

"""After a long absence Synapse tries again only after minutes; a service that starts doesn't wait for that."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.harness.sandbox import Sandbox
from tests.harness.scene import Scene, eventually
from tests.harness.synapse import Synapse, write_slot

PATIENT = '''
"""Makes this Synapse wait from the first failed transaction on as long as it does after its ninth: 512 seconds."""

from synapse.appservice.scheduler import _Recoverer

_begin = _Recoverer.__init__


def _begin_late(self, *args, **kwargs):
    _begin(self, *args, **kwargs)
    self.backoff_counter = 9


class Patient:
    def __init__(self, config, api):
        _Recoverer.__init__ = _begin_late
'''


@pytest.fixture(scope="module")
async def scene(tmp_path_factory: pytest.TempPathFactory, running_sandbox: Sandbox) -> AsyncIterator[Scene]:
    """A scene whose homeserver has lost its patience with the service."""
    folder: Path = tmp_path_factory.mktemp("ping")
    await running_sandbox.reset(incidents=False)
    slot = write_slot(folder, "localhost", "etb")
    home = folder / "synapse"
    home.mkdir()
    (home / "patient.py").write_text(PATIENT)  # Synapse runs in this folder
    synapse = await Synapse.start(
        home,
        registrations=[slot.registration_path],
        log_level="INFO",
        extra={"modules": [{"module": "patient.Patient", "config": {}}]},
    )
    try:
        async with Scene.open(folder / "service", synapse, slot, running_sandbox) as scene:
            yield scene
    finally:
        await synapse.stop()


async def test_what_waited_arrives_at_the_start_and_not_after_the_homeservers_back_off(scene: Scene) -> None:
    await scene.account("alice")
    await scene.person("alice")
    incident = await scene.etb.declare(title="Checkout is slow", reporter="alice")
    alice, room = await scene.enter("alice", incident)
    await scene.card(alice, room)
    await scene.idle()
    await scene.service.stop()
    sent = await alice.send(room, "!status")

    async def backs_off() -> bool:
        return f"Scheduling retries on {scene.slot.id} in 512" in scene.synapse.log_path.read_text()

    await eventually(backs_off, "Synapse to back off")
    await scene.service.run()
    await alice.wait_for(room=room, sender=scene.bot, reply_to=sent, timeout=45)
    # The gap detector would have fetched it too, later; it says so when it does.
    assert "events fetched" not in scene.service.log()

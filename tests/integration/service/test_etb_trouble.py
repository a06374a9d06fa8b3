"""ETB is away, slow, or answers oddly: people are answered from what is known, and nothing doubles."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.harness.sandbox import INCIDENTS, Sandbox
from tests.harness.scene import Scene, eventually
from tests.harness.synapse import Slot, Synapse

AWAY = "etb|ETB"


async def opened(scene: Scene, incident_id: str) -> list[dict[str, object]]:
    """The entries about the room in ETB's timeline."""
    return [one for one in await scene.etb.timeline(incident_id) if one["title"] == "Chat room opened"]


@pytest.mark.complaints(AWAY)
@pytest.mark.parametrize("fault", ["drop_after_write", "drop_before_write", "error", "throttle"])
async def test_the_timeline_entry_stands_once_whatever_happens_to_its_write(scene: Scene, fault: str) -> None:
    await scene.account("alice")
    own = {"error": {"status": 503}, "throttle": {"retry_after": 1}}.get(fault, {})
    await scene.etb.fault(fault, "timeline", methods=["POST"], count=2, **own)
    incident = await scene.etb.declare(title="Disk is full", reporter="alice")
    await scene.room_of(incident)

    async def look() -> list[dict[str, object]]:
        return await opened(scene, incident["id"])

    await eventually(look, "the entry", timeout=30)
    await scene.idle(timeout=30)
    assert len(await opened(scene, incident["id"])) == 1
    await scene.etb.clear_faults()


@pytest.mark.complaints(AWAY)
async def test_an_etb_that_fails_now_and_then_or_adds_fields_still_gets_its_room(scene: Scene) -> None:
    await scene.account("alice")
    alice = await scene.person("alice")
    await scene.etb.fault("extra_fields")
    await scene.etb.fault("error", INCIDENTS, methods=["GET"], count=3, status=500)
    await scene.etb.fault("throttle", INCIDENTS, methods=["GET"], count=1, skip=3, retry_after=1)
    incident = await scene.etb.declare(title="Disk is full", reporter="alice")
    room = await scene.join(alice, incident)
    await scene.card(alice, room)
    await scene.etb.fault("unknown_enums", fields=["status"], value="SIMMERING")
    assert "SIMMERING" in (await scene.ask(alice, room, "!status")).body
    await scene.etb.clear_faults()
    await scene.etb.fault("slow", incident["id"], seconds=8)
    answer = await scene.ask(alice, room, "!status")
    assert "ETB can't be reached" in answer.body
    assert incident["incident_number"] in answer.body
    await scene.etb.clear_faults()


@pytest.fixture
async def lonely(tmp_path: Path) -> AsyncIterator[Sandbox]:
    """An ETB that a test may stop."""
    sandbox = await Sandbox.start(tmp_path / "etb", incidents=False)
    yield sandbox
    await sandbox.stop()


async def test_etb_away_at_the_start_and_later(
    tmp_path: Path, synapse: Synapse, take_slot: Callable[[], Slot], lonely: Sandbox
) -> None:
    port = urlsplit(lonely.url).port or 0
    await lonely.stop()
    async with Scene.open(tmp_path / "service", synapse, take_slot(), lonely) as scene:
        operator, control = await scene.operator()
        health = (await scene.ask(operator, control, "!health")).body
        assert "etb" in health
        assert "All is well" not in health
        scene.etb = await Sandbox.start(tmp_path / "etb", incidents=False, port=port)
        try:
            await scene.account("alice")
            alice = await scene.person("alice")
            incident = await scene.etb.declare(title="Disk is full", reporter="alice")
            room = await scene.room_of(incident, timeout=60)
            await scene.join(alice, incident)
            await scene.card(alice, room)
        finally:
            await scene.etb.stop()
        answer = await scene.ask(alice, room, "!status")
        assert "ETB can't be reached; this is what it said" in answer.body
        assert "Disk is full" in answer.body
        scene.assert_quiet(AWAY)

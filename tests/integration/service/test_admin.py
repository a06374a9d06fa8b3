"""Operators let the running service delete history and files: approved, recorded, as the promoted user alone."""

import asyncio
import json
import re
import secrets
from collections.abc import Callable
from typing import Any

from etb_appservice.config import load
from etb_appservice.ops.clock import SystemClock
from etb_appservice.store.sql import open_store
from tests.harness.jsclient import JsClient
from tests.harness.scene import Scene, eventually
from tests.harness.stage import OpenScene
from tests.harness.synapse import Slot, Synapse


async def approved(scene: Scene, asker: JsClient, other: JsClient, control: str, body: str) -> str:
    """One operator asks, another approves; what the asker reads at the end."""
    sent = await asker.send(control, body)
    request = await asker.wait_for(room=control, sender=scene.bot, reply_to=sent, body="Approval needed")
    code = re.search(r"Approval needed: `?([0-9A-Z]{4})", request.body)
    assert code, request.body
    await scene.ask(other, control, f"!approve {code[1]}")

    async def told() -> str:
        said = [one.body for one in await scene.answers(asker, control, sent)]
        return next((one for one in said if "Approval needed" not in one), "")

    return await eventually(told, f"an answer to {body}")


async def test_history_and_files_are_deleted_by_the_promoted_user_alone(
    open_scene: OpenScene, synapse: Synapse, take_slot: Callable[[], Slot]
) -> None:
    slot = take_slot()
    name = f"root-{slot.id}"
    token = await synapse.register(name, secrets.token_hex(16), admin=True)
    operators = [synapse.mxid(f"{person}-{slot.id}") for person in ("olivia", "oscar")]
    options: dict[str, Any] = {
        "homeserver": {"admin_user": synapse.mxid(name), "admin_token": token},
        "control_room": {"operators": operators},
    }
    scene = await open_scene(slot=slot, **options)
    await scene.account("alice")
    incident = await scene.etb.declare(title="Checkout is slow", reporter="alice")
    alice, room = await scene.enter("alice", incident)
    said = [await alice.send(room, f"a thing that was said {number}") for number in range(3)]
    file = await alice.upload(b"bytes", name="x.bin", mime="application/octet-stream")
    olivia, control = await scene.operator()
    oscar = await scene.person("oscar")
    await oscar.wait_for_invite(room=control)
    await oscar.join(control)
    await scene.ask(alice, room, "!status")

    text = await approved(scene, olivia, oscar, control, f"!media delete {file['url']}")
    assert "is deleted" in text
    text = await approved(scene, olivia, oscar, control, f"!purge {incident['incident_number']}")
    assert "Deleted from the homeserver" in text
    left = {row[0] for row in synapse.query("SELECT event_id FROM events WHERE room_id = ?", room)}
    assert not left & set(said)
    await alice.wait_for(room=room, sender=scene.bot, body="Operators delete what was said here")
    await scene.ask(alice, room, "!status")

    done = await scene.service.cli("check")
    assert done.returncode == 0, done.stdout
    assert f"✓ homeserver admin: {synapse.mxid(name)}" in done.stdout
    await scene.service.stop()
    settings = (await asyncio.to_thread(load, scene.service.config, {})).settings
    key = settings.encryption.key_bytes
    async with open_store(settings.database.etb_url, key, SystemClock()) as store, store.view() as view:
        entries = [entry for entry, _ in await view.audit.read(limit=10_000)]
    calls = [(entry.tag, entry.details["call"]) for entry in entries if entry.tag.startswith("admin.")]
    for what in ("delete_media", "purge_history", "is_admin"):
        assert calls.count(("admin.call", what)) == calls.count(("admin.answer", what)) >= 1
    assert token not in json.dumps([entry.details for entry in entries])
    assert token not in scene.service.log() + done.stdout + done.stderr


async def test_without_a_promoted_user_it_is_said_to_be_off(open_scene: OpenScene) -> None:
    scene = await open_scene()
    olivia, control = await scene.operator()
    answer = await scene.ask(olivia, control, "!media delete mxc://localhost/x")
    assert "administration is off" in answer.body
    done = await scene.service.cli("check")
    assert "homeserver admin: off" in done.stdout

"""Homeserver and service come and go; what people wrote meanwhile is answered once, all of it."""

import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing

import aiohttp
import pytest

from tests.harness.jsclient import JsClient
from tests.harness.sandbox import Sandbox
from tests.harness.scene import Scene, eventually

AWAY = r"sync failed|can't be reached|not reached|homeserver"
"""What the service may say of a homeserver that is away."""


@pytest.fixture(scope="module")
async def scene(tmp_path_factory: pytest.TempPathFactory, running_sandbox: Sandbox) -> AsyncIterator[Scene]:
    """A scene with a homeserver of its own, that may be stopped."""
    async with Scene.alone(tmp_path_factory.mktemp("restarts"), running_sandbox) as scene:
        yield scene


@pytest.fixture(scope="module")
async def talk(scene: Scene) -> tuple[JsClient, str]:
    """Alice in an incident's room."""
    await scene.account("alice")
    await scene.person("alice")
    incident = await scene.etb.declare(title="Checkout is slow", reporter="alice")
    alice, room = await scene.enter("alice", incident)
    await scene.card(alice, room)
    return alice, room


async def answered_once(scene: Scene, alice: JsClient, room: str, sent: list[str]) -> None:
    """Every command has its one answer; a command more proves that nothing follows."""
    for event_id in sent:
        await alice.wait_for(room=room, sender=scene.bot, reply_to=event_id, timeout=45)
    await scene.ask(alice, room, "!help")
    for event_id in sent:
        assert len(await scene.answers(alice, room, event_id)) == 1


async def test_what_was_sent_while_the_service_was_away_is_answered_once(
    scene: Scene, talk: tuple[JsClient, str]
) -> None:
    alice, room = talk
    await scene.service.stop()
    sent = [await alice.send(room, "!status") for _ in range(5)]
    await scene.service.run()
    await answered_once(scene, alice, room, sent)


@pytest.mark.complaints(AWAY)
async def test_a_restarted_homeserver_changes_nothing(scene: Scene, talk: tuple[JsClient, str]) -> None:
    alice, room = talk
    await scene.synapse.restart()
    sent = [await alice.send(room, "!status")]
    await answered_once(scene, alice, room, sent)


@pytest.mark.complaints(AWAY)
async def test_a_homeserver_that_is_away_at_the_start_is_waited_for(
    scene: Scene, talk: tuple[JsClient, str]
) -> None:
    alice, room = talk
    await scene.service.stop()
    sent = [await alice.send(room, "!status")]
    await scene.synapse.stop()
    await scene.service.run(ready=False)

    async def complained() -> bool:
        return "can't be reached yet" in scene.service.log()

    await eventually(complained, "a word about the homeserver")
    status, text = await scene.service.get("/ready")
    assert status == 503
    assert "Traceback" not in text
    await scene.synapse.launch()
    await scene.service.until_ready()
    await answered_once(scene, alice, room, sent)


async def test_an_event_in_a_new_transaction_runs_nothing_again(scene: Scene, talk: tuple[JsClient, str]) -> None:
    alice, room = talk
    answer = await scene.ask(alice, room, "!status")
    question = (answer.relates_to or {})["m.in_reply_to"]["event_id"]
    ((stored,),) = scene.synapse.query("SELECT json FROM event_json WHERE event_id = ?", question)
    event = {**json.loads(stored), "event_id": question}
    headers = {"Authorization": f"Bearer {scene.slot.hs_token}"}
    async with aiohttp.ClientSession(headers=headers) as http:
        for txn in ("again-1", "again-2", "again-2"):
            url = f"{scene.service.url}/_matrix/app/v1/transactions/{txn}"
            async with http.put(url, json={"events": [event]}) as response:
                assert response.status == 200
    await answered_once(scene, alice, room, [question])


@pytest.mark.complaints(AWAY, "events fetched")
async def test_an_event_that_the_homeserver_never_sent_is_found(scene: Scene, talk: tuple[JsClient, str]) -> None:
    """Synapse's queue of a service that is away doesn't survive everything: here its rows are gone."""
    alice, room = talk
    await scene.service.stop()
    sent = [await alice.send(room, "!status"), await alice.send(room, "!help")]

    async def queued() -> bool:
        return bool(scene.synapse.query("SELECT 1 FROM application_services_txns WHERE as_id = ?", scene.slot.id))

    await eventually(queued, "Synapse to queue the events")
    await scene.synapse.stop()
    with closing(sqlite3.connect(scene.synapse.database_path)) as database:
        gone = database.execute("DELETE FROM application_services_txns WHERE as_id = ?", [scene.slot.id]).rowcount
        database.execute("UPDATE application_services_state SET state = NULL WHERE as_id = ?", [scene.slot.id])
        database.commit()
    assert gone > 0
    await scene.synapse.launch()
    await scene.service.run()
    await answered_once(scene, alice, room, sent)
    assert "events fetched that the homeserver had not sent" in scene.service.log()

"""Runbooks are run from the room, on a real homeserver, by clients of others, against the sandbox."""

import re
from typing import Any

from tests.harness.jsclient import Event, JsClient
from tests.harness.scene import Scene, eventually

SECTIONS = {"roles": {"meaning": {"Incident Commander": "commander"}}}


async def executions(scene: Scene, incident: dict[str, Any]) -> list[dict[str, Any]]:
    status, answer = await scene.etb.call("GET", "/api/automation/runbook-executions/", incident=incident["id"])
    assert status == 200
    found: list[dict[str, Any]] = answer["results"] if isinstance(answer, dict) else answer
    return found


async def becomes(scene: Scene, person: JsClient, room: str, living: Event, text: str) -> str:
    """Wait until the living message shows `text`; what it shows then."""
    edit = await person.wait_for(room=room, sender=scene.bot, edit_of=living.event_id, body=text, timeout=60)
    assert (await person.shield(room, edit.event_id)).clean
    shown = await person.wait_for(room=room, event_id=living.event_id)
    return str(shown.current_content["body"])


async def test_a_runbook_runs_to_its_end_in_one_message_with_its_log_in_a_thread(scene: Scene) -> None:
    incident = await scene.etb.declare(title="Gateway is slow", reporter="alice")
    alice, room = await scene.enter("alice", incident)
    living = await scene.ask(alice, room, "!run playbook restart api GATEWAY")
    assert living.content["msgtype"] == "m.notice"
    assert living.body.startswith("Runbook Restart API gateway waits for ETB to start it")
    shown = await becomes(scene, alice, room, living, "has succeeded")
    assert "Asked by alice" in shown
    assert "Took" in shown
    log = await alice.wait_for(room=room, sender=scene.bot, thread=living.event_id, body="Step 'Drain node' done.")
    assert log.content["msgtype"] == "m.notice"
    [execution] = await executions(scene, incident)
    assert (execution["status"], execution["trigger_type"]) == ("COMPLETED", "CHATOPS")
    assert execution["trigger_data"]["username"] == "alice"
    listed = (await scene.ask(alice, room, "!timeline all")).body
    assert "Runbook Restart API gateway has succeeded" in listed


async def test_a_failure_names_its_step(scene: Scene) -> None:
    incident = await scene.etb.declare(title="Certificates expire", reporter="alice")
    alice, room = await scene.enter("alice", incident)
    living = await scene.ask(alice, room, '!run runbook "Rotate edge certificates"')
    shown = await becomes(scene, alice, room, living, "has failed")
    assert "Failed at step 2 of 2: Deploy" in shown
    assert "Step 'Deploy' ended with exit status 1." in shown
    assert [one["status"] for one in await executions(scene, incident)] == ["FAILED"]


async def test_an_ambiguous_name_is_asked_about_and_answered_with_a_number(scene: Scene) -> None:
    incident = await scene.etb.declare(title="Billing hangs", reporter="alice")
    alice, room = await scene.enter("alice", incident)
    question = await scene.ask(alice, room, "!run playbook restart billing")
    assert "Which runbook do you mean?" in question.body
    number = re.search(r"(\d)\. Restart Billing", question.body)
    assert number
    sent = await alice.send(room, number[1])
    living = await alice.wait_for(room=room, sender=scene.bot, body="Runbook Restart Billing waits")
    assert living.event_id
    await becomes(scene, alice, room, living, "has succeeded")
    assert await scene.answers(alice, room, sent) == []
    assert len(await executions(scene, incident)) == 1


async def test_a_run_that_never_ends_is_cancelled(scene: Scene) -> None:
    incident = await scene.etb.declare(title="Search is empty", reporter="alice")
    alice, room = await scene.enter("alice", incident)
    living = await scene.ask(alice, room, "!run playbook Rebuild search index")
    await becomes(scene, alice, room, living, "is running")
    answer = await scene.ask(alice, room, "!cancel rebuild")
    assert answer.body == "Rebuild search index is cancelled."
    shown = await becomes(scene, alice, room, living, "was cancelled")
    assert "Cancelled by alice" in shown
    assert [one["status"] for one in await executions(scene, incident)] == ["CANCELLED"]


async def test_a_dangerous_runbook_waits_for_the_approval_of_another(scene: Scene) -> None:
    incident = await scene.etb.declare(title="Billing database dies", reporter="alice", assignee="carol")
    alice, room = await scene.enter("alice", incident)
    carol, _ = await scene.enter("carol", incident)
    question = await scene.ask(carol, room, "!run playbook Failover billing database")
    assert "needs confirm" in question.body
    await carol.send(room, "yes")
    request = await carol.wait_for(room=room, sender=scene.bot, body="Approval needed:")
    found = re.search(r"Approval needed: (\w{4})", request.body)
    assert found
    code = found[1]
    assert "Asked by carol" in request.body
    assert "Needs 1 person with the role commander" in request.body
    await alice.react(room, request.event_id, "✅")
    refused = await scene.ask(carol, room, f"!approve {code}")
    assert refused.body == "You asked for it: somebody else has to approve."
    assert await executions(scene, incident) == []
    approved = await scene.ask(alice, room, f"!approve {code}")
    assert approved.body == "Approved. It runs now."
    shown = await becomes(scene, alice, room, request, "Approved by: alice (1 of 1)")
    assert shown.startswith("Approved")
    living = await alice.wait_for(room=room, sender=scene.bot, body="Runbook Failover billing database waits")
    ended = await becomes(scene, alice, room, living, "has succeeded")
    assert "Asked by carol, approved by alice" in ended
    [execution] = await executions(scene, incident)
    assert execution["parameters"] == {"confirm": True}
    assert execution["trigger_data"]["username"] == "carol"


async def test_a_run_survives_a_restart_of_the_service(scene: Scene) -> None:
    incident = await scene.etb.declare(title="Index is stale", reporter="alice")
    alice, room = await scene.enter("alice", incident)
    living = await scene.ask(alice, room, "!run playbook Rebuild search index")
    await becomes(scene, alice, room, living, "is running")
    await scene.service.kill()
    await scene.service.run()

    async def one() -> list[dict[str, Any]]:
        return await executions(scene, incident)

    [execution] = await eventually(one, "an execution")
    await scene.etb.end_execution(execution["id"], "COMPLETED")
    await becomes(scene, alice, room, living, "has succeeded")
    assert len(await one()) == 1
    own = [
        event
        for event in await alice.timeline(room, last=200)
        if event.sender == scene.bot and event.body.startswith("Runbook Rebuild") and not _is_edit(event)
    ]
    assert [event.event_id for event in own] == [living.event_id]


def _is_edit(event: Event) -> bool:
    return (event.relates_to or {}).get("rel_type") == "m.replace" or event.body.startswith("* ")

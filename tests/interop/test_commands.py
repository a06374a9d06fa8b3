"""ChatOps as a responder with matrix-js-sdk sees it: the seed's five commands word for word, and the others."""

import re
from typing import Any

import pytest

from etb_appservice.domain.ids import UserId, direct_id
from tests.harness.jsclient import Event, JsClient
from tests.harness.scene import Scene, eventually

SECTIONS = {"roles": {"meaning": {"Incident Commander": "commander"}}}


async def clean(person: JsClient, room: str, answer: Event) -> str:
    """What an answer says, which no client shows with a shield."""
    assert (await person.shield(room, answer.event_id)).clean
    return answer.body


@pytest.mark.parametrize("prefix", ["!", "/"])
async def test_the_seeds_five_commands(scene: Scene, prefix: str) -> None:
    incident = await scene.etb.declare(title="Queue grows", severity="HIGH", reporter="alice")
    alice, room = await scene.enter("alice", incident)

    async def ask(text: str) -> str:
        return await clean(alice, room, await scene.ask(alice, room, f"{prefix}{text}"))

    said = await ask("status")
    assert incident["incident_number"] in said
    assert "OPEN" in said
    assert await ask("assign bob") == "Assigned to bob (was nobody)."
    said = await ask("update status in progress")
    assert "OPEN" in said
    assert "IN_PROGRESS" in said
    said = await ask("escalate the queue doubles every hour")
    assert said.startswith("Escalated to level 1. ETB told bob")
    living = await scene.ask(alice, room, f"{prefix}run playbook Restart API gateway")
    assert living.body.startswith("Runbook Restart API gateway")
    await alice.wait_for(room=room, sender=scene.bot, edit_of=living.event_id, body="has succeeded", timeout=60)
    now = await scene.etb.incident(incident["id"])
    assert (now["status"], now["assigned_to_username"]) == ("IN_PROGRESS", "bob")
    [escalation] = await rows(scene, "/api/sla-oncall/api/v1/escalation-instances/", incident)
    assert escalation["reason"].startswith("the queue doubles every hour (asked for by alice")
    [run] = await rows(scene, "/api/automation/runbook-executions/", incident)
    assert run["status"] == "COMPLETED"


async def test_a_responder_runs_an_incident_from_its_room(scene: Scene) -> None:
    incident = await scene.etb.declare(title="Mail bounces", severity="HIGH", reporter="alice")
    alice, room = await scene.enter("alice", incident)
    for text, expected in (
        ("help", "!escalate [reason]"),
        ("help escalate", "For responders of the incident"),
        ("role commander", "Incident commander is alice (was nobody)."),
        ("roles", "Incident commander: alice"),
        ("severity critical", "CRITICAL"),
        ("sla", "High resolution: active, due"),
        ("oncall", "bob"),
        ("task add look at the relay", "look at the relay"),
        ("task done 1", "1"),
        ("task list", "look at the relay"),
        ("post Relays are drained.", "Status update"),
        ("timeline add Relay two is out", "On the timeline: Relay two is out"),
        ("timeline", "Relay two is out"),
        ("timeline all", "CRITICAL"),
        ("escalate", "Escalated to level 1"),
        ("ack", "acknowledge"),
        ("who", "alice"),
        ("keys", "key"),
        ("invite carol", "carol"),
        ("resolve", "RESOLVED"),
        ("reopen", "OPEN"),
        ("catchup", "chat"),
        ("statsu", "Did you mean"),
    ):
        said = await clean(alice, room, await scene.ask(alice, room, f"!{text}"))
        assert expected.casefold() in said.casefold(), (text, said)
    async with scene.as_bot() as bot:
        member = await bot.get_state(room, "m.room.member", scene.mxid("carol"))
    assert member["membership"] == "invite"


async def test_an_incident_is_declared_from_a_direct_chat_and_joined_from_another(scene: Scene) -> None:
    await scene.account("alice", "carol")
    alice = await scene.person("alice")
    own = await alice.create_room()
    await alice.invite(own, scene.bot)
    chat = await scene.room_of(f"direct_{direct_id(UserId(alice.user_id))}")
    await alice.wait_for_invite(room=chat)
    await alice.join(chat)
    told = await scene.ask(alice, chat, "!declare high Nobody can log in")
    number = re.search(r"Declared (INC-\d+): Nobody can log in", told.body)
    assert number
    opened = await alice.wait_for(room=chat, sender=scene.bot, body="is open. You are invited.", timeout=60)
    assert number[1] in opened.body
    listed = await scene.ask(alice, chat, "!incidents")
    assert f"{number[1]} HIGH, OPEN: Nobody can log in" in listed.body
    refused = await scene.ask(alice, chat, "!join INC-999999")
    assert "There is no open incident of this number that you may join." in refused.body

    async def declared() -> list[dict[str, Any]]:
        found = await scene.etb.rows("/api/incidents/incidents/", search="Nobody can log in")
        return [one for one in found if one["title"] == "Nobody can log in"]

    [incident] = await eventually(declared, "the incident in ETB")
    assert incident["severity"] == "HIGH"
    room = await scene.room_of(incident["id"])
    await alice.join(room)
    answer = await scene.ask(alice, room, "!status")
    assert number[1] in answer.body


async def rows(scene: Scene, path: str, incident: dict[str, Any]) -> list[dict[str, Any]]:
    """What ETB lists of an incident."""
    return await scene.etb.rows(path, incident=incident["id"])

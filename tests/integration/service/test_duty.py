"""Deadlines, escalations, pages and hand-overs, with a real ETB sandbox and people at their clients."""

from typing import Any

from tests.harness.jsclient import Event, JsClient
from tests.harness.sandbox import token_of
from tests.harness.scene import Scene, eventually

SECTIONS = {"duty": {"look_every_s": 0.5}}
_ESCALATIONS = "/api/sla-oncall/api/v1/escalation-instances/"


async def escalations(scene: Scene, incident: dict[str, Any]) -> list[dict[str, Any]]:
    """What ETB has for an incident."""
    return await scene.etb.rows(_ESCALATIONS, incident=incident["id"])


async def hears(scene: Scene, person: JsClient, room: str, text: str) -> Event:
    """The notice with this text, when it comes."""
    return await person.wait_for(room=room, sender=scene.bot, body=text, timeout=45)


async def count(scene: Scene, person: JsClient, room: str, text: str) -> int:
    """How often the bot has said something."""
    seen = await person.timeline(room, last=200)
    return sum(one.sender == scene.bot and text in str(one.content.get("body", "")) for one in seen)


async def test_a_breach_and_its_escalation_are_said_once_also_across_a_restart(scene: Scene) -> None:
    incident = await scene.etb.declare(title="Checkout is slow", severity="CRITICAL", reporter="alice")
    alice, room = await scene.enter("alice", incident)
    await scene.etb.put_sla_at(80, incident["id"])
    await hears(scene, alice, room, "75 % of its time has passed")
    await scene.etb.put_sla_at(120, incident["id"])
    await hears(scene, alice, room, "is breached")
    started = await hears(scene, alice, room, "Escalation started")
    assert started.content["msgtype"] == "m.notice"
    for row in await escalations(scene, incident):
        status, _ = await scene.etb.call(
            "POST", f"{_ESCALATIONS}{row['id']}/acknowledge/", token=token_of("alice")
        )
        assert status == 200
    await hears(scene, alice, room, "The escalation was acknowledged by alice")
    said = await count(scene, alice, room, "SLA ")
    await scene.service.stop()
    await scene.service.run()
    for row in await escalations(scene, incident):
        await scene.etb.call("POST", f"{_ESCALATIONS}{row['id']}/resolve/", token=token_of("alice"))
    await hears(scene, alice, room, "The escalation was resolved")
    assert await count(scene, alice, room, "SLA ") == said
    assert await count(scene, alice, room, "75 %") == 1
    assert await count(scene, alice, room, "50 %") == 0


async def test_a_page_is_one_escalation_in_etb_that_a_reaction_acknowledges(scene: Scene) -> None:
    await scene.account("carol")
    incident = await scene.etb.declare(title="Search is stale", severity="LOW", reporter="alice")
    alice, room = await scene.enter("alice", incident)
    carol = await scene.person("carol")
    answer = await scene.ask(alice, room, "!page carol the index is old")
    assert "Paged carol" in answer.body
    await carol.wait_for_invite(room=room)
    await carol.join(room)
    page = await hears(scene, alice, room, "Acknowledge with")
    [row] = await escalations(scene, incident)
    assert row["reason"].startswith("alice pages carol: the index is old [")
    await carol.react(room, page.event_id, "✅")
    await hears(scene, alice, room, "was acknowledged by carol")

    async def acknowledged() -> bool:
        return [one["status"] for one in await escalations(scene, incident)] == ["ACKNOWLEDGED"]

    await eventually(acknowledged, "the acknowledgement in ETB")
    await scene.idle()
    assert await count(scene, alice, room, "Escalation started") == 0


async def test_a_hand_over_is_said_in_open_rooms(scene: Scene) -> None:
    await scene.account("grace")
    incident = await scene.etb.declare(title="Mail is late", severity="LOW", reporter="alice")
    alice, room = await scene.enter("alice", incident)
    await scene.etb.set_oncall("grace")
    try:
        told = await hears(scene, alice, room, "On call for")
        assert told.body == "On call for Platform primary is now grace, was bob."
    finally:
        await scene.etb.set_oncall("bob")

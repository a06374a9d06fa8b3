"""By webhook, by polling, or by both: one room, one card, every change."""

from typing import Any

import pytest

from tests.harness.sandbox import seeded_id
from tests.harness.scene import Scene, eventually
from tests.harness.stage import OpenScene

MOVED = "/api/incident-intelligence/incidents/"
WAYS: dict[str, dict[str, Any]] = {
    "webhook": {"etb": {"poll": False}},
    "both": {"etb": {"poll": True}},
    "poll": {"webhook": {"enabled": False, "secrets": []}},
}


@pytest.mark.parametrize("way", list(WAYS))
async def test_each_way_is_enough_and_both_double_nothing(scene: Scene, way: str) -> None:
    await scene.service.stop()
    scene.service.change(**WAYS[way])
    await scene.service.run()
    await scene.account("alice", "carol")
    alice = await scene.person("alice")
    url = "" if way == "poll" else scene.service.webhook_url
    await scene.etb.webhook(url, scene.service.webhook_secret)
    incident = await scene.etb.declare(title="Checkout is slow", severity="LOW", reporter="alice")
    room = await scene.join(alice, incident)
    card = await scene.card(alice, room, body="LOW")
    await scene.etb.patch(incident["id"], severity="CRITICAL", assignee="carol")
    assert (await scene.card(alice, room, body="CRITICAL")).event_id == card.event_id
    if way != "poll":
        pushed = await scene.etb.webhooks()
        assert pushed
        for sent in pushed:
            await scene.etb.repeat_webhook(sent["id"])
    await scene.ask(alice, room, "!status")
    seen = await alice.timeline(room, last=200)
    said = [one for one in seen if one.sender == scene.bot and one.type == "m.room.message"]
    assert len([one for one in said if "m.relates_to" not in one.content]) == 1
    edits = [one for one in said if (one.relates_to or {}).get("rel_type") == "m.replace"]
    assert {(one.relates_to or {})["event_id"] for one in edits} == {card.event_id}
    assert len([one for one in seen if one.state_key == scene.mxid("carol")]) == 1
    rooms = scene.synapse.query("SELECT room_id FROM room_aliases WHERE room_alias = ?", scene.alias(incident))
    assert rooms == [(room,)]


async def test_with_webhooks_alone_modules_are_found_and_people_on_call_are_fetched(
    open_scene: OpenScene,
) -> None:
    scene = await open_scene(run=False, etb={"poll": False, "poll_interval_s": 0.5})
    # Neither is at its default place, so that nothing works before they were looked for.
    await scene.etb.move("incidents", "/api/incident-intelligence/")
    await scene.etb.move("security", "/api/security/")
    await scene.etb.set_oncall("bob")
    await scene.service.run()
    await scene.etb.webhook(scene.service.webhook_url, scene.service.webhook_secret)
    await scene.account("alice", "bob", "carol")
    body = {"title": "Checkout is slow", "severity": "LOW", "reporter_id": seeded_id("user", "alice")}
    status, incident = await scene.etb.call("POST", MOVED, body)
    assert status == 201, incident
    alice, room = await scene.enter("alice", incident)
    bob = await scene.person("bob")
    await bob.wait_for_invite(room=room)
    await scene.etb.set_oncall("carol")
    carol = await scene.person("carol")
    await carol.wait_for_invite(room=room)
    await scene.card(alice, room, body="carol")
    operator, control = await scene.operator()
    assert "All is well" in (await scene.ask(operator, control, "!health")).body
    await scene.etb.fault("error", "incident-intelligence", methods=["GET"], status=401)

    async def look() -> bool:
        return "All is well" not in (await scene.ask(operator, control, "!health")).body

    await eventually(look, "a health line that says what is wrong")
    assert "check etb.token" in (await scene.ask(operator, control, "!health")).body
    scene.assert_quiet("etb poll failed")

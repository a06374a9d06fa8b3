"""By webhook, by polling, or by both: one room, one card, every change."""

from typing import Any

import pytest

from tests.harness.scene import Scene

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

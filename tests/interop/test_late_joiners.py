"""What matrix-js-sdk shows of the past to somebody who is invited late: by classification and by clearance.

People's clients mark their room keys by the room's visibility and share nothing on invite themselves, since only
the bot invites; so whatever is read of the past came with the bot's invitation.
"""

from typing import Any

from tests.harness.jsclient import Event, JsClient
from tests.harness.scene import Scene, eventually

SECTIONS = {"classification": {"default": "INTERNAL", "by_category": {"Security": "CONFIDENTIAL"}}}


async def read(person: JsClient, room: str, event_id: str) -> Event:
    """An event of the past, once it could be read."""
    await person.scrollback(room)
    return await person.wait_for(room=room, event_id=event_id, type="m.room.message")


async def assert_closed(person: JsClient, room: str, *event_ids: str) -> None:
    """Events of the past that are there, and can't be read."""
    await person.scrollback(room)
    for event_id in event_ids:
        failed = await person.wait_for(room=room, event_id=event_id, failure=True)
        assert failed.failure is not None


async def invited_late(scene: Scene, username: str, incident: dict[str, Any], room: str) -> JsClient:
    """Somebody who becomes responsible for an incident in whose room others have talked, and joins it."""
    late = await scene.person(username)
    await scene.etb.patch(incident["id"], assignee=username)
    await late.wait_for_invite(room=room, inviter=scene.bot)
    await late.join(room)
    return late


async def given(scene: Scene, outcome: str) -> float:
    """How often an invitation has carried the past, by the metric."""
    _, text = await scene.service.get("/metrics")
    name = f'etb_history_bundles_total{{outcome="{outcome}"}} '
    return sum(float(line.removeprefix(name)) for line in text.splitlines() if line.startswith(name))


async def level_is(scene: Scene, alice: JsClient, room: str, level: str) -> None:
    """Wait until the bot says that the room has this level."""

    async def look() -> bool:
        return f"Classification: {level}" in (await scene.ask(alice, room, "!status")).body

    await eventually(look, f"{level} in {room}")


async def test_who_is_invited_late_reads_what_the_bot_and_others_said_before(scene: Scene) -> None:
    incident = await scene.etb.declare(title="Checkout is slow", reporter="alice")
    alice, room = await scene.enter("alice", incident)
    card = await scene.card(alice, room)
    theirs = await alice.send(room, "It is the cache.")
    ours = await scene.ask(alice, room, "!status")
    before = await given(scene, "shared")
    dave = await invited_late(scene, "dave", incident, room)
    assert (await read(dave, room, theirs)).body == "It is the cache."
    assert (await read(dave, room, ours.event_id)).body == ours.body
    assert incident["incident_number"] in (await read(dave, room, card.event_id)).body
    assert await given(scene, "shared") == before + 1
    for event_id in (theirs, ours.event_id):
        shield = await dave.shield(room, event_id)
        assert (shield.colour, shield.reason) == ("GREY", "AUTHENTICITY_NOT_GUARANTEED")
    fresh = await scene.ask(dave, room, "!status")
    assert (await dave.shield(room, fresh.event_id)).clean
    answered = await alice.send(room, "Look at the cache's log.")
    assert (await read(dave, room, answered)).body == "Look at the cache's log."
    assert (await dave.shield(room, answered)).clean


async def test_who_does_not_reach_the_level_of_the_past_reads_none_of_it(scene: Scene) -> None:
    incident = await scene.etb.declare(title="Badge printer", reporter="alice", data_classification="INTERNAL")
    alice, room = await scene.enter("alice", incident)
    theirs = await alice.send(room, "The printer is in room seven.")
    ours = await scene.ask(alice, room, "!status")
    await scene.etb.patch(incident["id"], data_classification="PUBLIC")
    await level_is(scene, alice, room, "PUBLIC")
    public = await scene.ask(alice, room, "!status")
    await scene.etb.set_clearance("mallory", "PUBLIC")
    mallory = await invited_late(scene, "mallory", incident, room)
    assert (await read(mallory, room, public.event_id)).body == public.body
    await assert_closed(mallory, room, theirs, ours.event_id)
    dave = await invited_late(scene, "dave", incident, room)
    assert (await read(dave, room, theirs)).body == "The printer is in room seven."
    assert (await read(dave, room, ours.event_id)).body == ours.body


async def test_in_a_room_that_shows_nobody_the_past_no_key_of_it_is_given(scene: Scene) -> None:
    incident = await scene.etb.declare(title="Stolen laptop", reporter="alice", category="Security")
    alice, room = await scene.enter("alice", incident)
    theirs = await alice.send(room, "It had the plans on it.")
    ours = await scene.ask(alice, room, "!status")
    before = await given(scene, "shared")
    frank = await invited_late(scene, "frank", incident, room)
    await scene.card(frank, room)
    said = await frank.timeline(room, last=200)
    assert {theirs, ours.event_id}.isdisjoint(one.event_id for one in said if one.failure is None)
    assert await given(scene, "shared") == before


async def test_a_request_for_keys_is_refused_counted_and_shown(scene: Scene) -> None:
    incident = await scene.etb.declare(title="Mail is late", reporter="alice")
    alice, room = await scene.enter("alice", incident)
    ours = await scene.ask(alice, room, "!status")
    stranger = await scene.person("heidi")
    async with scene.as_bot() as bot:
        events = await bot.messages(room)
    [event] = [one for one in events if one["event_id"] == ours.event_id]
    [device] = (await stranger.devices(scene.bot)).devices
    body = {
        "algorithm": "m.megolm.v1.aes-sha2",
        "room_id": room,
        "session_id": event["content"]["session_id"],
        "sender_key": device.identity_key,
    }
    asked = {
        "action": "request",
        "request_id": "1",
        "requesting_device_id": stranger.device_id,
        "body": body,
    }
    await stranger.http(
        "PUT",
        "/sendToDevice/m.room_key_request/one",
        body={"messages": {scene.bot: {device.device_id: asked}}},
    )

    async def counted() -> bool:
        return "etb_key_requests_refused_total 1.0" in (await scene.service.get("/metrics"))[1]

    await eventually(counted, "a refused request in the metrics")
    operator, control = await scene.operator()
    health = await scene.ask(operator, control, "!health")
    assert "requests of others for keys, all refused: 1" in health.body


async def test_who_is_let_in_by_a_command_reads_the_past_too(scene: Scene) -> None:
    incident = await scene.etb.declare(title="Search is stale", reporter="alice")
    alice, room = await scene.enter("alice", incident)
    theirs = await alice.send(room, "The index is from May.")
    frank = await scene.person("frank")
    assert "Invited" in (await scene.ask(alice, room, "!invite frank")).body
    await frank.wait_for_invite(room=room, inviter=scene.bot)
    await frank.join(room)
    assert (await read(frank, room, theirs)).body == "The index is from May."

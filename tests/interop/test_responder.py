"""A responder at matrix-js-sdk with its Rust crypto, which shares no code with us: what it reads, and its shields.

Alice and bob are in a scene of their own, in which nobody else changes anything.
"""

from tests.harness.jsclient import JsClient
from tests.harness.scene import PASSWORD, Scene, replied_to
from tests.harness.stage import OpenScene


async def test_every_event_of_ours_is_shown_without_a_shield(scene: Scene) -> None:
    alice = await scene.person("alice")
    incident = await scene.etb.declare(title="Checkout is slow", severity="HIGH", reporter="alice")
    room = await scene.join(alice, incident)
    await scene.card(alice, room)
    await scene.ask(alice, room, "!status")
    await scene.ask(alice, room, "!help")
    await scene.etb.patch(incident["id"], severity="LOW")
    await scene.card(alice, room, body="LOW")
    seen = 0
    for event in await alice.timeline(room, last=200):
        if event.sender == scene.bot and event.type == "m.room.message":
            seen += 1
            shield = await alice.shield(room, event.event_id)
            assert shield.clean, (event.body[:40], shield)
            assert event.encrypted
            assert event.wire_type == "m.room.encrypted"
    assert seen >= 4
    identity = await alice.devices(scene.bot)
    assert identity.cross_signing
    assert [device.signed_by_owner for device in identity.devices] == [True]


async def test_a_client_that_excludes_insecure_devices_talks_to_the_bot(scene: Scene) -> None:
    incident = await scene.etb.declare(title="Search is stale", reporter="alice")
    alice = await scene.person("alice")
    await alice.exclude_insecure_devices()
    try:
        room = await scene.join(alice, incident)
        card = await scene.card(alice, room)
        assert (await alice.shield(room, card.event_id)).clean
        answer = await scene.ask(alice, room, "!status")
        assert incident["incident_number"] in answer.body
    finally:
        await alice.exclude_insecure_devices(on=False)


async def test_a_client_without_cross_signing_gets_answers(scene: Scene) -> None:
    incident = await scene.etb.declare(title="Mail is late", reporter="alice", assignee="frank")
    await scene.account("frank")
    frank = await scene.person("frank", cross_signing=False)
    room = await scene.join(frank, incident)
    await scene.card(frank, room)
    answer = await scene.ask(frank, room, "!status")
    assert incident["incident_number"] in answer.body


async def test_a_late_joiner_of_a_closed_room_gets_the_card_anew_and_pinned(scene: Scene) -> None:
    incident = await scene.etb.declare(title="Stolen laptop", reporter="alice", category="Security")
    alice, room = await scene.enter("alice", incident)
    first = await scene.card(alice, room)
    async with scene.as_bot() as bot:
        assert await bot.get_state(room, "m.room.history_visibility") == {"history_visibility": "joined"}
    carol = await scene.person("carol")
    await scene.etb.patch(incident["id"], assignee="carol")
    await carol.wait_for_invite(room=room, inviter=scene.bot)
    await carol.join(room)
    again = await scene.card(carol, room)
    assert again.event_id != first.event_id
    assert "Stolen laptop" in again.current_content["body"]
    assert (await carol.shield(room, again.event_id)).clean
    async with scene.as_bot() as bot:
        assert (await bot.get_state(room, "m.room.pinned_events"))["pinned"] == [again.event_id]
    assert first.event_id not in [
        event.event_id for event in await carol.timeline(room, last=200) if not event.failure
    ]


async def test_a_plain_text_command_is_answered_with_one_notice_and_never_run(scene: Scene) -> None:
    incident = await scene.etb.declare(title="Login loops", reporter="alice")
    alice, room = await scene.enter("alice", incident)
    injected = await alice.send_plain(room, "!status")
    notice = await alice.wait_for(room=room, sender=scene.bot, body="was not encrypted")
    assert (await alice.shield(room, notice.event_id)).clean
    second = await alice.send_plain(room, "!status")
    fence = await scene.ask(alice, room, "!help")
    said = [one for one in await alice.timeline(room, last=200) if one.sender == scene.bot]
    assert [one.event_id for one in said if "was not encrypted" in one.body] == [notice.event_id]
    assert [replied_to(one) for one in said if replied_to(one)] == [replied_to(fence)]
    assert not await scene.answers(alice, room, injected)
    assert not await scene.answers(alice, room, second)


async def test_a_second_device_reads_and_is_answered(scene: Scene) -> None:
    await scene.account("grace")
    incident = await scene.etb.declare(title="Disk is full", reporter="grace")
    name = f"grace-{scene.slot.id}"
    async with await JsClient.start(scene.synapse.url, name, PASSWORD, create_recovery_key=True) as phone:
        room = await scene.join(phone, incident)
        await scene.card(phone, room)
        async with await JsClient.start(
            scene.synapse.url, name, PASSWORD, recovery_key=phone.recovery_key
        ) as laptop:
            sent = await laptop.send(room, "!status")
            answer = await laptop.wait_for(room=room, sender=scene.bot, reply_to=sent)
            assert incident["incident_number"] in answer.body
            same = await phone.wait_for(room=room, sender=scene.bot, reply_to=sent)
            assert same.event_id == answer.event_id


async def test_after_a_restart_the_identity_is_the_same_and_messages_flow_both_ways(open_scene: OpenScene) -> None:
    scene = await open_scene()
    incident = await scene.etb.declare(title="Checkout is slow", reporter="alice")
    alice, room = await scene.enter("alice", incident)
    card = await scene.card(alice, room)
    before = await alice.devices(scene.bot)
    for end in (scene.service.stop, scene.service.kill):
        await end()
        await scene.service.run()
        answer = await scene.ask(alice, room, "!status")
        assert (await alice.shield(room, answer.event_id)).clean
        after = await alice.devices(scene.bot)
        assert after == before
        assert not after.identity_changed
    await scene.etb.patch(incident["id"], severity="CRITICAL")
    assert (await scene.card(alice, room, body="CRITICAL")).event_id == card.event_id
    scene.assert_quiet()

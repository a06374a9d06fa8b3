"""Who doesn't verify a device in a room that asks for it is removed, and comes back once they have."""

from tests.harness.scene import Scene, eventually

SECTIONS = {"devices": {"look_every_s": 0.3, "remove_after_hours": 0.002}}


async def test_an_unverified_device_costs_the_room_until_it_is_verified(scene: Scene) -> None:
    await scene.etb.set_clearance("frank", "TOP_SECRET")
    await scene.account("frank")
    incident = await scene.etb.declare(
        title="Stolen laptop", reporter="alice", assignee="frank", category="Security"
    )
    operator, control = await scene.operator()
    alice, room = await scene.enter("alice", incident)
    frank = await scene.person("frank", cross_signing=False)
    await scene.join(frank, incident)

    async def is_out() -> bool:
        async with scene.as_bot() as bot:
            return bool((await bot.get_state(room, "m.room.member", frank.user_id))["membership"] == "leave")

    await eventually(is_out, "a removal", timeout=40)
    async with scene.as_bot() as bot:
        member = await bot.get_state(room, "m.room.member", frank.user_id)
    assert member["reason"].startswith("A device of yours is not verified.")
    told = await operator.wait_for(room=control, sender=scene.bot, body="was removed from the room")
    assert frank.device_id in told.body
    await frank.verify()
    again = await frank.wait_for_invite(room=room, timeout=40)
    assert again.inviter == scene.bot
    await frank.join(room)
    answer = await scene.ask(frank, room, "!status")
    assert incident["incident_number"] in answer.body
    same = await alice.wait_for(room=room, event_id=answer.event_id, type="m.room.message")
    assert same.body == answer.body

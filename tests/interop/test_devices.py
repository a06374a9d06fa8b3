"""Rooms for verified devices, as matrix-js-sdk and its Rust crypto live with them."""

from etb_appservice.domain.ids import UserId, direct_id
from tests.harness.jsclient import Event, JsClient
from tests.harness.scene import PASSWORD, Scene, eventually

SECTIONS = {"devices": {"look_every_s": 0.5}}
UNVERIFIED = "MEGOLM_KEY_WITHHELD_FOR_UNVERIFIED_DEVICE"
"""matrix-js-sdk `DecryptionFailureCode`: the sender said `m.unverified`."""


async def test_a_device_without_verification_is_locked_out_until_it_has_it(scene: Scene) -> None:
    incident = await scene.etb.declare(title="Stolen laptop", reporter="alice", category="Security")
    number = incident["incident_number"]
    await scene.account("alice")
    url, name = scene.synapse.url, f"alice-{scene.slot.id}"
    async with await JsClient.start(url, name, PASSWORD, create_recovery_key=True) as phone:
        room = await scene.join(phone, incident)
        assert (await phone.shield(room, (await scene.card(phone, room)).event_id)).clean
        async with await JsClient.start(
            url, name, PASSWORD, cross_signing=False, device_name="Old laptop"
        ) as laptop:
            # In private, where the unsigned device reads it too.
            chat = await scene.room_of(f"direct_{direct_id(UserId(phone.user_id))}")
            await phone.wait_for_invite(room=chat)
            await phone.join(chat)
            letter = await laptop.wait_for(room=chat, sender=scene.bot, body="is not verified")
            assert f"Your device {laptop.device_id} (Old laptop) is not verified. In {number}" in letter.body
            assert (await laptop.shield(chat, letter.event_id)).clean

            missed = await scene.ask(phone, room, "!status")
            assert number in missed.body
            assert await failure(laptop, room, missed) == UNVERIFIED
            sent = await laptop.send(room, "!status")
            refused = await phone.wait_for(room=room, sender=scene.bot, reply_to=sent)
            assert "Here a command counts only from a device that you have verified" in refused.body
            assert await failure(laptop, room, refused) == UNVERIFIED
            keys = await scene.ask(phone, room, "!keys")
            assert f"{laptop.device_id} (Old laptop) of {phone.user_id}: not verified by its owner" in keys.body
            operator, control = await scene.operator()
            told = await scene.ask(operator, control, f"!keys {number}")
            assert laptop.device_id in told.body
            assert "its owner is removed" in told.body

            await laptop.verify(phone.recovery_key)

            async def answered() -> Event | None:
                asked = await laptop.send(room, "!status")
                answer = await phone.wait_for(room=room, sender=scene.bot, reply_to=asked)
                return answer if number in answer.body else None

            answer = await eventually(answered, "a command of the verified device that counts", timeout=30)
            read = await laptop.wait_for(room=room, event_id=answer.event_id, type="m.room.message")
            assert read.body == answer.body
            assert (await laptop.shield(room, read.event_id)).clean
            late = await laptop.wait_for(room=room, event_id=missed.event_id, type="m.room.message", timeout=60)
            assert late.body == missed.body, "the key it was due is handed over"

            async def settled() -> bool:
                return "Every device in this room" in (await scene.ask(phone, room, "!keys")).body

            await eventually(settled, "keys for every device")


async def test_a_raised_level_locks_unverified_devices_out_with_the_next_message(scene: Scene) -> None:
    await scene.etb.set_clearance("frank", "TOP_SECRET")
    incident = await scene.etb.declare(title="Mail is late", reporter="alice", assignee="frank")
    await scene.account("frank")
    frank = await scene.person("frank", cross_signing=False)
    room = await scene.join(frank, incident)
    carol = await scene.person("carol")
    await scene.etb.patch(incident["id"], assignee="carol")
    await scene.join(carol, incident)
    before = await scene.ask(carol, room, "!status")
    assert (await frank.wait_for(room=room, event_id=before.event_id, type="m.room.message")).body == before.body
    await scene.etb.patch(incident["id"], category="Security")
    await scene.card(carol, room, body="CONFIDENTIAL")
    after = await scene.ask(carol, room, "!status")
    assert await failure(frank, room, after) == UNVERIFIED


async def failure(person: JsClient, room: str, event: Event) -> str | None:
    """Why somebody's client can't read an event."""
    seen = await person.wait_for(room=room, event_id=event.event_id, failure=True)
    return seen.failure

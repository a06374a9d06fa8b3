"""The independent clients of the harness talk to each other on a real Synapse, and say what they see."""

from collections.abc import Awaitable, Callable

import pytest

from tests.harness.http import MatrixError, MatrixUser
from tests.harness.jsclient import JsClient, JsError
from tests.harness.synapse import Slot, Synapse

Person = Callable[..., Awaitable[JsClient]]


async def test_two_clients_talk_encrypted_without_shields(person: Person, synapse: Synapse) -> None:
    alice, bob = await person("alice"), await person("bob")
    room = await alice.create_room(name="drill", preset="private_chat")
    await alice.invite(room, bob.user_id)
    invite = await bob.wait_for_invite(room=room)
    assert (invite.inviter, invite.encrypted) == (alice.user_id, True)
    assert await bob.join(room) == room

    asked = await alice.send(room, "who is there?")
    heard = await bob.wait_for(room=room, sender=alice.user_id, body="who is there?")
    assert heard.event_id == asked
    assert heard.encrypted
    answered = await bob.send(room, "me", thread=asked)
    await alice.wait_for(room=room, thread=asked, body="me")
    edit = await bob.edit(room, answered, "me, bob")
    assert (await alice.wait_for(edit_of=answered, body="me, bob")).event_id == edit
    reaction = await alice.react(room, answered, "👍")
    assert (await bob.wait_for(type="m.reaction", relates_to=answered)).event_id == reaction

    shield = await alice.shield(room, answered)
    assert shield.clean
    assert shield.device_id == bob.device_id
    assert "who is there?" not in str(synapse.stored_events(room))


async def test_a_plain_message_in_an_encrypted_room_arrives_as_plain(person: Person) -> None:
    alice = await person("alice")
    room = await alice.create_room()
    sent = await alice.send_plain(room, "!status")
    heard = await alice.wait_for(event_id=sent)
    assert not heard.encrypted
    assert not (await alice.shield(room, sent)).clean


async def test_an_unsigned_device_shows_a_red_shield_and_is_excluded_on_demand(person: Person) -> None:
    alice, mallory = await person("alice"), await person("mallory", cross_signing=False)
    room = await alice.create_room(invite=[mallory.user_id])
    await mallory.join(room)
    sent = await mallory.send(room, "trust me")
    await alice.wait_for(event_id=sent)
    shield = await alice.shield(room, sent)
    assert (shield.colour, shield.reason) == ("RED", "UNSIGNED_DEVICE")
    assert not (await alice.devices(mallory.user_id)).cross_signing

    await alice.exclude_insecure_devices()
    unread = await mallory.send(room, "trust me again")
    assert (await alice.wait_for(event_id=unread, failure=True)).failure == "UNSIGNED_SENDER_DEVICE"


async def test_a_second_device_with_the_recovery_key_keeps_the_identity(
    synapse: Synapse, person: Person, new_name: Callable[[str], str]
) -> None:
    name = new_name("alice")
    await synapse.register(name, "secret")
    bob = await person("bob")
    async with await JsClient.start(synapse.url, name, "secret", create_recovery_key=True) as first:
        room = await first.create_room(invite=[bob.user_id])
        await bob.join(room)
        key = first.recovery_key
        async with await JsClient.start(synapse.url, name, "secret", recovery_key=key) as second:
            identity = await second.devices(second.user_id)
            signed = {device.device_id for device in identity.devices if device.signed_by_owner}
            assert {first.device_id, second.device_id} <= signed
            await second.wait_for(room=room, type="m.room.member", state_key=bob.user_id)
            sent = await second.send(room, "from my other device")
            for reader in (first, bob):
                assert (await reader.wait_for(event_id=sent)).body == "from my other device"
                assert (await reader.shield(room, sent)).clean
            assert not (await bob.devices(first.user_id)).identity_changed


async def test_files_come_back_as_they_went(person: Person) -> None:
    alice = await person("alice")
    data = bytes(range(256)) * 40
    sealed = await alice.upload(data, name="log.bin", mime="application/octet-stream")
    assert "key" in sealed
    assert await alice.download(sealed) == data
    plain = await alice.upload(data, name="log.bin", mime="application/octet-stream", encrypted=False)
    assert await alice.download(plain) == data


async def test_what_does_not_come_is_an_error_that_names_it(person: Person) -> None:
    alice = await person("alice")
    with pytest.raises(JsError, match="never said"):
        await alice.wait_for(body="never said", timeout=0.1)
    with pytest.raises(JsError, match="unknown op dance"):
        await alice.call("dance")


async def test_a_slot_acts_for_its_names_and_no_others(synapse: Synapse, slot: Slot) -> None:
    async with MatrixUser(synapse.url, slot.as_token) as service:
        body = {"type": "m.login.application_service", "username": slot.bot_localpart, "inhibit_login": True}
        assert (await service.request("POST", "/_matrix/client/v3/register", body))["user_id"] == slot.bot_mxid
        with pytest.raises(MatrixError, match="M_EXCLUSIVE"):
            await service.request("POST", "/_matrix/client/v3/register", {**body, "username": "not-ours"})
    async with MatrixUser(synapse.url, slot.as_token, as_user=slot.bot_mxid) as bot:
        room = await bot.create_room(room_alias_name=f"{slot.alias_prefix}one")
        assert await bot.resolve_alias(f"#{slot.alias_prefix}one:{synapse.server_name}") == room
        assert (await bot.sync())["rooms"]["join"].keys() == {room}

"""The bot and matrix-js-sdk understand each other, and nobody sees a shield."""

from pathlib import Path
from typing import Any

from mautrix.api import Method
from mautrix.api import Path as Api

from etb_appservice.matrix.api import make_client
from etb_appservice.matrix.keysync import RoomWatch
from etb_appservice.matrix.results import Decrypted, KeyMissing, Trust, Undecryptable, Unreadable
from tests.conftest import PASSWORD, Person
from tests.harness.bot import Bot, DictKeepsakes, RealClock
from tests.harness.jsclient import JsClient
from tests.harness.postgres import Postgres
from tests.harness.synapse import Slot, Synapse


async def _room_with(bot: Bot, *people: JsClient, visibility: str = "joined") -> str:
    room = await bot.create_room(*(one.user_id for one in people), visibility=visibility)
    for one in people:
        await one.wait_for_invite(room=room)
        await one.join(room)
    return room


async def _assert_talk(bot: Bot, alice: JsClient, room: str) -> None:
    said = await bot.say(room, "hello alice", [alice.user_id])
    heard = await alice.wait_for(room=room, event_id=said, type="m.room.message")
    assert heard.body == "hello alice"
    shield = await alice.shield(room, said)
    assert shield.clean, shield
    read = await bot.read(room, await alice.send(room, "hello bot"))
    assert isinstance(read, Decrypted), read
    assert read.content["body"] == "hello bot"
    assert (read.trust, read.sender_device) == (Trust.CROSS_SIGNED, alice.device_id)


async def test_both_sides_read_each_other_without_a_shield(bot: Bot, person: Person) -> None:
    alice = await person("alice")
    await _assert_talk(bot, alice, await _room_with(bot, alice))


async def test_a_client_that_excludes_insecure_devices_talks_to_the_bot(bot: Bot, person: Person) -> None:
    alice = await person("alice")
    await alice.exclude_insecure_devices()
    await _assert_talk(bot, alice, await _room_with(bot, alice))


async def test_on_postgresql_both_sides_read_each_other_and_keys_survive_a_restart(
    synapse: Synapse, own_slot: Slot, postgres: Postgres, person: Person
) -> None:
    alice, keepsakes, url = await person("alice"), DictKeepsakes(), await postgres.fresh_database()
    bot = await Bot.start(synapse.url, own_slot, url, keepsakes)
    room = await _room_with(bot, alice)
    await _assert_talk(bot, alice, room)
    answer = await alice.send(room, "before the restart")
    assert isinstance(await bot.read(room, answer), Decrypted)
    position = bot.position
    await bot.stop()
    bot = await Bot.start(synapse.url, own_slot, url, keepsakes, position)
    assert isinstance(await bot.cipher.decrypt(await bot.event(room, answer)), Decrypted)
    await _assert_talk(bot, alice, room)
    await bot.stop()


async def test_keys_sent_while_the_bot_was_away_are_there_after_its_start(
    bot: Bot, person: Person, synapse: Synapse, own_slot: Slot, tmp_path: Path, keepsakes: DictKeepsakes
) -> None:
    alice = await person("alice")
    room = await _room_with(bot, alice)
    await _assert_talk(bot, alice, room)
    position = bot.position
    await bot.stop()
    sent = await alice.send(room, "while you were away")
    again = await Bot.start(synapse.url, own_slot, tmp_path, keepsakes, position)
    read = await again.read(room, sent)
    assert isinstance(read, Decrypted)
    assert not (await alice.devices(again.mxid)).identity_changed
    await _assert_talk(again, alice, room)
    await again.stop()


async def test_who_was_kicked_reads_nothing_that_follows(bot: Bot, person: Person) -> None:
    alice, kicked = await person("alice"), await person("kicked")
    room = await _room_with(bot, alice, kicked, visibility="shared")
    everybody = [alice.user_id, kicked.user_id]
    await kicked.wait_for(room=room, event_id=await bot.say(room, "all", everybody), type="m.room.message")
    await bot.request(Method.POST, Api.v3.rooms[room].kick, {"user_id": kicked.user_id})
    await bot.cipher.forget_sessions(room)
    said = await bot.say(room, "the rest", [alice.user_id])
    await alice.wait_for(room=room, event_id=said, type="m.room.message")
    await bot.request(Method.POST, Api.v3.rooms[room].invite, {"user_id": kicked.user_id})
    await kicked.wait_for_invite(room=room)
    await kicked.join(room, accept_history=False)
    await kicked.scrollback(room)
    unread = await kicked.wait_for(room=room, event_id=said, failure=True)
    assert unread.failure


async def test_a_new_device_of_a_member_reads_the_next_message(bot: Bot, person: Person, synapse: Synapse) -> None:
    alice = await person("alice", create_recovery_key=True)
    room = await _room_with(bot, alice)
    await bot.say(room, "one device", [alice.user_id])
    await bot.sync()
    name = alice.user_id[1:].partition(":")[0]
    async with await JsClient.start(synapse.url, name, PASSWORD, recovery_key=alice.recovery_key) as laptop:
        await bot.sync(wait_ms=5_000)
        said = await bot.say(room, "two devices", [alice.user_id])
        heard = await laptop.wait_for(room=room, event_id=said, type="m.room.message")
        assert heard.body == "two devices"


async def test_a_ciphertext_sent_again_by_another_member_is_refused(bot: Bot, person: Person) -> None:
    alice, mallory = await person("alice"), await person("mallory")
    room = await _room_with(bot, alice, mallory)
    sent = await alice.send(room, "!status")
    content = (await bot.event(room, sent))["content"]
    replayed = await mallory.send_plain(room, content, type="m.room.encrypted")
    assert isinstance(await bot.read(room, sent), Decrypted)
    assert await bot.read(room, replayed) == Undecryptable(Unreadable.WRONG_SENDER)
    own = await bot.say(room, "by the bot", [mallory.user_id])
    content = (await bot.event(room, own))["content"]
    replayed = await mallory.send_plain(room, content, type="m.room.encrypted")
    assert await bot.read(room, replayed) == Undecryptable(Unreadable.WRONG_SENDER)


async def test_a_device_without_a_signature_of_its_owner_is_told_apart(bot: Bot, person: Person) -> None:
    alice = await person("alice", cross_signing=False)
    room = await _room_with(bot, alice)
    read = await bot.read(room, await alice.send(room, "who am I"))
    assert isinstance(read, Decrypted)
    assert read.trust is Trust.UNSIGNED


async def test_keys_come_although_all_one_time_keys_are_gone(bot: Bot, person: Person) -> None:
    alice, carol = await person("alice"), await person("carol")
    room = await _room_with(bot, alice, carol)
    assert bot.established is not None
    wanted = {bot.mxid: {bot.established.actor.device_id: "signed_curve25519"}}
    for _ in range(55):
        given = await carol.http("POST", "/keys/claim", body={"one_time_keys": wanted})
    (key,) = given["one_time_keys"][bot.mxid][bot.established.actor.device_id].values()
    assert key.get("fallback") is True
    assert isinstance(await bot.read(room, await alice.send(room, "by the fallback key")), Decrypted)


async def test_the_room_watch_sees_events_and_leaves_keys_alone(
    bot: Bot, person: Person, synapse: Synapse, own_slot: Slot
) -> None:
    alice = await person("alice")
    room = await _room_with(bot, alice)
    seen: list[Any] = []

    async def note(events: Any, _position: str) -> None:
        seen.extend(events)

    client = make_client(synapse.url, own_slot.as_token, bot.mxid, "", bot.http)
    watch = RoomWatch(client, RealClock(), position=None, seen=note)
    await watch.turn()
    sent = await alice.send(room, "seen by both")
    for _ in range(3):
        await watch.turn()
    assert sent in [one.event_id for one in seen if one.room_id == room]
    assert isinstance(await bot.cipher.decrypt(await bot.event(room, sent)), KeyMissing)
    assert isinstance(await bot.read(room, sent), Decrypted)


async def test_recovery_gives_a_device_that_nobody_needs_to_verify(
    bot: Bot, person: Person, synapse: Synapse, own_slot: Slot, tmp_path: Path, keepsakes: DictKeepsakes
) -> None:
    alice = await person("alice")
    room = await _room_with(bot, alice)
    await _assert_talk(bot, alice, room)
    assert bot.established is not None
    old = bot.established.actor.device_id
    await bot.stop()
    (tmp_path / "crypto.db").unlink()
    again = await Bot.open(synapse.url, own_slot, tmp_path, keepsakes)
    again.established = await again.identity.recover()
    await again.sync()
    identity = await alice.devices(again.mxid)
    assert not identity.identity_changed
    assert [device.device_id for device in identity.devices] == [again.established.actor.device_id] != [old]
    assert identity.devices[0].signed_by_owner
    await _assert_talk(again, alice, room)
    await again.stop()


async def test_only_the_recovery_key_is_needed_when_everything_here_is_lost(
    bot: Bot, synapse: Synapse, own_slot: Slot, tmp_path: Path
) -> None:
    assert bot.established is not None
    key = bot.established.recovery_key
    old_position = bot.position
    again = await Bot.open(synapse.url, own_slot, f"sqlite:///{tmp_path / 'other.db'}", DictKeepsakes())
    again.established = await again.identity.recover(key)
    await again.sync()
    assert again.established.actor.device_id != bot.established.actor.device_id
    assert old_position
    await again.stop()


async def test_only_signed_devices_are_given_a_key_where_that_is_asked_for(bot: Bot, person: Person) -> None:
    alice, bob = await person("alice"), await person("bob", cross_signing=False)
    room = await _room_with(bot, alice, bob)
    everybody = [alice.user_id, bob.user_id]
    said = await bot.say(room, "for signed devices", everybody, signed_only=True)
    assert (await alice.wait_for(room=room, event_id=said, type="m.room.message")).body == "for signed devices"
    unread = await bob.wait_for(room=room, event_id=said, failure=True)
    assert unread.failure == "MEGOLM_KEY_WITHHELD_FOR_UNVERIFIED_DEVICE"
    assert [one.device_id for one in await bot.cipher.unsigned_devices(everybody)] == [bob.device_id]
    await bob.verify()
    while await bot.cipher.unsigned_devices(everybody):
        await bot.sync(wait_ms=1_000)
    said_later = await bot.say(room, "now you too", everybody, signed_only=True)
    assert (await bob.wait_for(room=room, event_id=said_later, type="m.room.message")).body == "now you too"
    await bot.cipher.retry_refused()
    handed_over = await bob.wait_for(room=room, event_id=said, type="m.room.message")
    assert handed_over.body == "for signed devices"

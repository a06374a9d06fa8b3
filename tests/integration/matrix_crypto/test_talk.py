"""The bot and matrix-js-sdk understand each other, and nobody sees a shield."""

from etb_appservice.matrix.results import Decrypted, Trust
from tests.conftest import Person
from tests.harness.bot import Bot


async def test_both_sides_read_each_other_without_a_shield(bot: Bot, person: Person) -> None:
    alice = await person("alice")
    room = await bot.create_room(alice.user_id)
    await alice.wait_for_invite(room=room)
    await alice.join(room)
    said = await bot.say(room, "hello alice", [alice.user_id])
    heard = await alice.wait_for(room=room, event_id=said, type="m.room.message")
    assert heard.body == "hello alice"
    shield = await alice.shield(room, said)
    assert shield.clean, shield

    answer = await alice.send(room, "hello bot")
    read = await bot.read(room, answer)
    assert isinstance(read, Decrypted), read
    assert read.content["body"] == "hello bot"
    assert read.trust is Trust.CROSS_SIGNED
    assert read.sender_device == alice.device_id

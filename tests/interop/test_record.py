"""What a person does with matrix-js-sdk stands in the record, as the chat API will show it."""

import asyncio
import hashlib
from collections.abc import Sequence

from etb_appservice.config import load
from etb_appservice.domain.conversation import grouped
from etb_appservice.domain.ids import EventId, RoomId
from etb_appservice.domain.pins import PINS, Pins
from etb_appservice.ops.clock import SystemClock
from etb_appservice.ports import Message
from etb_appservice.store.sql import open_store
from tests.harness.scene import Scene

POLL = {
    "org.matrix.msc3381.poll.start": {
        "kind": "org.matrix.msc3381.poll.disclosed",
        "max_selections": 1,
        "question": {"org.matrix.msc1767.text": "Roll back?"},
        "answers": [
            {"id": "y", "org.matrix.msc1767.text": "Yes"},
            {"id": "n", "org.matrix.msc1767.text": "No"},
        ],
    },
    "org.matrix.msc1767.text": "Roll back?\n1. Yes\n2. No",
}


async def test_each_kind_of_thing_that_a_client_sends_lands_in_the_record(scene: Scene) -> None:
    incident = await scene.etb.declare(title="Record", severity="HIGH", reporter="alice", assigned_to="bob")
    alice, room = await scene.enter("alice", incident)
    bob, _ = await scene.enter("bob", incident)
    bob_id = scene.mxid("bob")

    named = await alice.send(
        room, {"msgtype": "m.text", "body": "look, bob", "m.mentions": {"user_ids": [bob_id]}}
    )
    reply = await bob.send(room, "I look", reply_to=named)
    threaded = await bob.send(room, "and found it", thread=named)
    await alice.react(room, reply, "⭐️")
    await bob.react(room, reply, "⭐️")
    taken_back = await bob.react(room, named, "👍")
    await bob.redact(room, taken_back)
    edited = await alice.send(room, "tpyo")
    await alice.edit(room, edited, "typo")
    regretted = await alice.send(room, "regretted")
    await alice.redact(room, regretted)
    content = b"a picture"
    file = await alice.upload(content, name="shot.png", mime="image/png")
    picture = await alice.send(
        room,
        {
            "msgtype": "m.image",
            "body": "what I see",
            "filename": "shot.png",
            "info": {"mimetype": "image/png", "size": len(content), "w": 3, "h": 4},
            "file": file,
        },
    )
    voice_file = await alice.upload(b"sound", name="voice.ogg", mime="audio/ogg")
    voice = await alice.send(
        room,
        {
            "msgtype": "m.audio",
            "body": "voice.ogg",
            "info": {"mimetype": "audio/ogg", "duration": 900},
            "file": voice_file,
            "org.matrix.msc3245.voice": {},
        },
    )
    place = await alice.send(room, {"msgtype": "m.location", "body": "Hall 4", "geo_uri": "geo:52.5,13.4"})
    emote = await alice.send(room, "waves", msgtype="m.emote")
    poll = await alice.send(room, POLL, type="org.matrix.msc3381.poll.start")
    about = {"rel_type": "m.reference", "event_id": poll}
    await bob.send(
        room,
        {"m.relates_to": about, "org.matrix.msc3381.poll.response": {"answers": ["y"]}},
        type="org.matrix.msc3381.poll.response",
    )
    await scene.ask(bob, room, "!help")
    asked = await alice.send(room, "!status")
    answer = await alice.wait_for(room=room, sender=scene.bot, reply_to=asked)

    await scene.service.stop()
    settings = (await asyncio.to_thread(load, scene.service.config, {})).settings
    async with (
        open_store(settings.database.etb_url, settings.encryption.key_bytes, SystemClock()) as store,
        store.view() as view,
    ):
        its_room = await view.rooms.by_id(RoomId(room))
        assert its_room is not None
        shown = await view.messages.page(str(incident["id"]), only_shown=True)
        of = {one.event_id: one for one in shown}
        pins = await view.cases.get(its_room.war_room, Pins, PINS)
        files = {one.details.name: one for one in await view.files.latest(str(incident["id"]))}
        assert (await view.messages.reply_counts([EventId(named)])) == {named: 2}
        tally = await view.messages.tally([str(incident["id"])])
        gone = await view.messages.by_event(EventId(regretted))

    def one(event_id: str) -> Message:
        return of[EventId(event_id)]

    def people(message: Message) -> Sequence[tuple[str, list[str]]]:
        found = grouped(message.details.reactions)
        return [(one.emoji, [who.username for who in one.people]) for one in found]

    assert (one(named).body, one(named).details.username) == ("look, bob", "alice")
    assert (one(named).details.mentions, one(named).details.mentioned) == ((bob_id,), ("bob",))
    assert people(one(named)) == []
    assert (one(reply).body, one(reply).details.reply_to, one(reply).thread_root) == ("I look", named, None)
    assert people(one(reply)) == [("⭐️", ["alice", "bob"])]
    assert (one(threaded).thread_root, one(threaded).details.reply_to) == (named, None)
    assert one(edited).body == "typo"
    assert one(edited).details.edited_ms is not None
    assert gone is not None
    assert (gone.state, gone.body) == ("redacted", None)
    assert EventId(regretted) not in of
    assert (one(picture).body, one(picture).details.message_type) == ("what I see", "FILE")
    kept = files["shot.png"].details
    assert (kept.mime, kept.size, kept.width, kept.height, kept.file_type) == ("image/png", 9, 3, 4, "IMAGE")
    assert kept.file is not None
    assert (kept.file.mxc, kept.file.key, kept.file.iv) == (file["url"], file["key"]["k"], file["iv"])
    assert hashlib.sha256(content).hexdigest() != kept.sha256, "nobody has looked into it"
    assert files["voice.ogg"].details.is_voice
    assert files["voice.ogg"].message_id == one(voice).id
    assert one(place).body == "Location: Hall 4 (geo:52.5,13.4)"
    assert str(one(emote).body).endswith(" waves")
    assert one(poll).body == "Poll: Roll back?\n1. Yes (1)\n2. No (0)"
    assert one(asked).details.message_type == "COMMAND"
    assert (one(answer.event_id).details.message_type, one(answer.event_id).details.reply_to) == ("BOT", asked)
    assert its_room.card_event is not None
    assert one(its_room.card_event).details.message_type == "SYSTEM"
    assert pins is not None
    assert [pin.event_id for pin in pins.pinned] == [its_room.card_event]
    assert tally[str(incident["id"])].count == len(shown)

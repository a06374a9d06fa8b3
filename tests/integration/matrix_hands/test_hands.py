"""Effects on a real homeserver, with real keys."""

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.effects import Invite, LeaveRoom, Pin, PutState, Remove, Say
from etb_appservice.domain.ids import EventId, RoomId, UserId
from etb_appservice.domain.outcomes import Broken, Refused, Unsure
from etb_appservice.matrix.messages import EFFECT_FIELD
from etb_appservice.matrix.results import Decrypted, KeyMissing, Undecryptable
from tests.conftest import Person
from tests.harness.bot import Bot, DictKeepsakes
from tests.harness.hands import Workbench, eventually
from tests.harness.synapse import Slot, Synapse

HOURS = 3600 * 1000


@pytest.fixture(scope="module")
async def alice(
    synapse: Synapse, take_slot: Callable[[], Slot], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Bot]:
    """A person with keys of her own."""
    person = await Bot.start(synapse.url, take_slot(), tmp_path_factory.mktemp("alice"), DictKeepsakes())
    yield person
    await person.stop()


async def inner(bench: Workbench, room_id: RoomId, event_id: str | None) -> Decrypted:
    """What a message of ours says, by our own keys."""
    event = await bench.server.event(room_id, EventId(str(event_id)))
    assert event is not None
    read = await bench.bot.cipher.decrypt(event)
    assert isinstance(read, Decrypted)
    return read


async def own_messages(bench: Workbench, room_id: RoomId) -> list[dict[str, Any]]:
    events, _ = await bench.server.messages(room_id, limit=100)
    return [event for event in events if event["type"] == "m.room.encrypted"]


async def joins(bench: Workbench, room_id: RoomId, person: Bot) -> None:
    assert person.established is not None
    async with bench.as_person(person) as http:
        await http.join(room_id)
    await bench.member(room_id, person.mxid, "join")


async def test_a_message_is_encrypted_and_holds_its_effects_key(shared: Workbench) -> None:
    room_id = await shared.open(shared.spec(1))
    done = await shared.do(
        Say(room_id=room_id, content="hello", notify=True, mentions=(UserId("@a:x"),)), "fact/answer"
    )
    event = await shared.server.event(room_id, EventId(str(done.event_id)))
    assert event is not None
    assert event["type"] == "m.room.encrypted"
    assert set(event["content"]) == {"algorithm", "ciphertext", "device_id", "sender_key", "session_id"}
    read = await inner(shared, room_id, done.event_id)
    assert read.content == {
        "msgtype": "m.text",
        "body": "hello",
        "format": "org.matrix.custom.html",
        "formatted_body": "<p>hello</p>",
        "m.mentions": {"user_ids": ["@a:x"]},
        EFFECT_FIELD: "fact/answer",
    }


async def test_relations_stand_beside_the_ciphertext(shared: Workbench) -> None:
    room_id = await shared.open(shared.spec(2))
    first = (await shared.do(Say(room_id=room_id, content="card"), "r/1")).event_id
    assert first is not None
    says = {
        "reply": Say(room_id=room_id, content="x", reply_to=first),
        "thread": Say(room_id=room_id, content="x", thread_root=first),
        "answer in thread": Say(room_id=room_id, content="x", thread_root=first, reply_to=first),
        "edit": Say(room_id=room_id, content="x", edits=first),
    }
    wanted: dict[str, Any] = {
        "reply": {"m.in_reply_to": {"event_id": first}},
        "thread": {
            "rel_type": "m.thread", "event_id": first, "is_falling_back": True,
            "m.in_reply_to": {"event_id": first},
        },
        "answer in thread": {
            "rel_type": "m.thread", "event_id": first, "is_falling_back": False,
            "m.in_reply_to": {"event_id": first},
        },
        "edit": {"rel_type": "m.replace", "event_id": first},
    }  # fmt: skip
    for name, say in says.items():
        done = await shared.do(say, f"r/{name}")
        event = await shared.server.event(room_id, EventId(str(done.event_id)))
        assert event is not None
        assert event["content"]["m.relates_to"] == wanted[name]
    edit = (await inner(shared, room_id, done.event_id)).content
    assert (edit["body"], edit["m.new_content"]["body"]) == ("* x", "x")


async def test_nothing_is_said_where_it_would_be_in_clear_text(shared: Workbench) -> None:
    with pytest.raises(Broken, match="not a room of ours"):
        await shared.do(Say(room_id=RoomId("!stranger"), content="secret"), "p/1")
    spec = shared.spec(3)
    room_id = await shared.open(spec)
    await shared.know(replace(spec, encrypted=False), room_id)
    with pytest.raises(Broken, match="not encrypted"):
        await shared.do(Say(room_id=room_id, content="secret"), "p/2")
    assert await own_messages(shared, room_id) == []


async def test_a_message_tried_again_is_there_once(shared: Workbench) -> None:
    room_id = await shared.open(shared.spec(4))
    say = Say(room_id=room_id, content="once")
    first = await shared.do(say, "once/1")
    now = shared.clock.now_ms()
    again = await shared.do(say, "once/1", attempts=1, first_tried_ms=now, device_id=shared.hands.device_id)
    assert again.event_id == first.event_id
    assert len(await own_messages(shared, room_id)) == 1


@pytest.mark.parametrize("why", ["another device", "long ago"])
async def test_a_message_is_looked_for_before_it_is_sent_from_another_device_or_after_a_day(
    shared: Workbench, why: str
) -> None:
    number = 5 if why == "long ago" else 6
    room_id = await shared.open(shared.spec(number))
    say = Say(room_id=room_id, content="once")
    now = shared.clock.now_ms()
    for other in range(3):
        await shared.do(Say(room_id=room_id, content="other"), f"{why}/{other}")
    lost = await shared.do(say, "key/sent")
    await shared.do(Say(room_id=room_id, content="other"), f"{why}/after")

    def tried(key: str) -> dict[str, Any]:
        if why == "another device":
            return {"attempts": 1, "first_tried_ms": now, "device_id": "GONE"}
        ago = now - 21 * HOURS
        return {"attempts": 1, "first_tried_ms": ago, "device_id": shared.hands.device_id}

    found = await shared.do(say, "key/sent", **tried("key/sent"))
    assert (found.event_id, found.detail) == (lost.event_id, "found")
    assert len(await own_messages(shared, room_id)) == 5
    sent = await shared.do(say, "key/never", **tried("key/never"))
    assert sent.detail == ""
    assert len(await own_messages(shared, room_id)) == 6


async def test_a_resend_is_left_to_a_person_where_our_own_messages_can_not_be_read(shared: Workbench) -> None:
    room_id = await shared.open(shared.spec(7))
    before = shared.clock.now_ms()
    lost = {
        "algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "AwgAEnACgAkLmt6qF84IK++J7UDH2Za1YVchHyprqTqsg",
        "session_id": "X3lUlvLELLYxeTx4yOVu6UDpasGEVO0Jbu+QFnm0cKQ", "device_id": "GONE", "sender_key": "x",
    }  # fmt: skip
    await shared.server.send(room_id, "m.room.encrypted", "an-old-device", lost)
    with pytest.raises(Unsure, match="can't be read"):
        await shared.do(
            Say(room_id=room_id, content="x"), "u/1", attempts=1, first_tried_ms=before, device_id="GONE"
        )


async def test_pins_are_merged_in_their_order(shared: Workbench) -> None:
    room_id = await shared.open(shared.spec(8))

    async def pinned() -> list[str]:
        return list((await shared.server.state_content(room_id, "m.room.pinned_events") or {})["pinned"])

    for name in ("$a", "$b", "$c"):
        await shared.do(Pin(room_id=room_id, event_id=EventId(name)), f"pin/{name}")
    assert await pinned() == ["$a", "$b", "$c"]
    swap = Pin(room_id=room_id, event_id=EventId("$d"), instead_of=EventId("$b"))
    assert (await shared.do(swap, "pin/d")).event_id is not None
    assert await pinned() == ["$a", "$d", "$c"]
    assert (await shared.do(swap, "pin/d")).event_id is None
    assert await pinned() == ["$a", "$d", "$c"]


async def test_state_that_stands_already_is_not_set_twice(shared: Workbench) -> None:
    room_id = await shared.open(shared.spec(9))
    put = PutState(room_id=room_id, event_type="org.etb.x", state_key="k", content={"a": 1})
    assert (await shared.do(put, "s/1")).event_id == (await shared.do(put, "s/2")).event_id


async def test_an_invite_is_good_twice_and_for_who_is_there_already(shared: Workbench, alice: Bot) -> None:
    room_id = await shared.open(shared.spec(10))
    invite = Invite(room_id=room_id, user_id=UserId(alice.mxid), reason="on call")
    assert (await shared.do(invite, "i/1")).detail == "invited"
    assert (await shared.do(invite, "i/2")).detail in {"invited", "was there: invite"}
    await joins(shared, room_id, alice)
    assert (await shared.do(invite, "i/3")).detail == "was there: join"
    assert (
        await shared.do(Invite(room_id=room_id, user_id=shared.server.user_id), "i/4")
    ).detail == "was there: join"


async def test_a_direct_invitation_says_so_to_the_invited_client(shared: Workbench, alice: Bot) -> None:
    room_id = await shared.open(shared.spec(91))
    invite = Invite(room_id=room_id, user_id=UserId(alice.mxid), is_direct=True)
    assert (await shared.do(invite, "direct/1")).detail == "invited"
    state = await shared.server.state(room_id)
    [member] = [one for one in state if one["type"] == "m.room.member" and one["state_key"] == alice.mxid]
    assert member["content"]["is_direct"] is True
    await joins(shared, room_id, alice)
    assert (await shared.do(invite, "direct/2")).detail == "was there: join"


async def test_an_invite_of_somebody_banned_says_so(shared: Workbench, alice: Bot) -> None:
    room_id = await shared.open(shared.spec(11))
    await shared.server.act(room_id, "ban", {"user_id": alice.mxid})
    with pytest.raises(Refused, match="banned"):
        await shared.do(Invite(room_id=room_id, user_id=UserId(alice.mxid)), "b/1")


@pytest.mark.parametrize("user_id", ["@a:nowhere.invalid", "nobody", "@:"])
async def test_an_invite_of_nobody_is_refused_by_name(shared: Workbench, user_id: str) -> None:
    room_id = await shared.open(shared.spec(12))
    with pytest.raises(Refused) as refusal:
        await shared.do(Invite(room_id=room_id, user_id=UserId(user_id)), "n/1", attempts=2)
    assert user_id in str(refusal.value)


async def test_who_is_removed_reads_nothing_said_after(shared: Workbench, alice: Bot) -> None:
    """Also before the tables have heard of it."""
    room_id = await shared.open(shared.spec(13))
    await shared.do(Invite(room_id=room_id, user_id=UserId(alice.mxid)), "k/1")
    await joins(shared, room_id, alice)
    before = await shared.do(Say(room_id=room_id, content="before"), "k/2")
    assert isinstance(await alice.read(room_id, str(before.event_id)), Decrypted)

    removed = await shared.do(Remove(room_id=room_id, user_id=UserId(alice.mxid), reason="left the team"), "k/3")
    assert removed.detail == "removed"
    after = await shared.do(Say(room_id=room_id, content="after"), "k/4")
    event = await shared.server.event(room_id, EventId(str(after.event_id)))
    assert event is not None
    await alice.sync()
    assert isinstance(await alice.cipher.decrypt(event), KeyMissing | Undecryptable)
    assert (await shared.do(Remove(room_id=room_id, user_id=UserId(alice.mxid), reason="x"), "k/5")).detail in {
        "was gone",
        "removed",
    }


@pytest.mark.parametrize(
    ("level", "can_read"), [(Classification.INTERNAL, True), (Classification.CONFIDENTIAL, False)]
)
async def test_who_is_invited_holds_keys_only_where_the_level_allows(
    shared: Workbench, alice: Bot, level: Classification, can_read: bool
) -> None:
    room_id = await shared.open(shared.spec(14 + int(can_read), level=level))
    await shared.member(room_id, alice.mxid, "invite")
    await shared.do(Invite(room_id=room_id, user_id=UserId(alice.mxid)), f"h/{level}")
    said = await shared.do(Say(room_id=room_id, content="card"), f"h/{level}/card")
    event = await shared.server.event(room_id, EventId(str(said.event_id)))
    assert event is not None
    await alice.sync()
    assert isinstance(await alice.cipher.decrypt(event), Decrypted) is can_read


@pytest.mark.parametrize("level", [Classification.INTERNAL, Classification.CONFIDENTIAL])
async def test_an_unverified_device_reads_only_what_the_room_and_the_message_allow(
    shared: Workbench, person: Person, level: Classification
) -> None:
    bob = await person("bob", cross_signing=False)
    room_id = await shared.open(shared.spec(16 + int(level), level=level))
    await shared.do(Invite(room_id=room_id, user_id=UserId(bob.user_id)), f"v/{level}")
    await bob.wait_for_invite(room=room_id)
    await bob.join(room_id)
    await shared.member(room_id, bob.user_id, "join")
    for_all = await shared.do(Say(room_id=room_id, content="for all"), f"v/{level}/all")
    for_signed = await shared.do(Say(room_id=room_id, content="x", signed_only=True), f"v/{level}/signed")
    is_strict = level is Classification.CONFIDENTIAL
    assert (for_all.unread_by == (bob.user_id,)) is is_strict
    assert for_signed.unread_by == (bob.user_id,)
    seen = await bob.wait_for(room=room_id, event_id=for_all.event_id, failure=is_strict)
    withheld = await bob.wait_for(room=room_id, event_id=for_signed.event_id, failure=True)
    assert withheld.failure == "MEGOLM_KEY_WITHHELD_FOR_UNVERIFIED_DEVICE"
    assert (withheld.failure if is_strict else None) == seen.failure


async def test_a_strangers_room_is_left_and_an_invitation_declined(shared: Workbench) -> None:
    stranger = await shared.synapse.user(f"stranger-{shared.slot.id}")
    try:
        room = RoomId(await stranger.create_room(invite=[shared.server.user_id]))
        assert (await shared.do(LeaveRoom(room_id=room), "l/1")).detail == "left"
        assert (await stranger.members(room))[shared.server.user_id] == "leave"
        assert (await shared.do(LeaveRoom(room_id=room), "l/2")).detail in {"left", "was out"}
        assert (await shared.do(LeaveRoom(room_id=RoomId("!unknown")), "l/3")).detail == "was out"
    finally:
        await stranger.close()


async def test_what_was_said_comes_back_and_reads_as_an_echo(shared: Workbench) -> None:
    room_id = await shared.open(shared.spec(20))
    done = await shared.do(Say(room_id=room_id, content="x"), "e/1")
    assert done.event_id is not None
    event_id = done.event_id
    await eventually(lambda: shared.intake.has_recent(event_id), "the echo")
    kinds = [type(await shared.decoder.decode(row)).__name__ for row in await shared.payloads(room_id)]
    assert kinds[-1] == "Nothing"
    assert "MembershipChanged" in kinds
    assert "StateChanged" in kinds

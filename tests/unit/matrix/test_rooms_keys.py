"""Who gets a room key, when it is replaced, and who is still without one."""

from collections.abc import Callable
from typing import Any

from etb_appservice.matrix.results import Decrypted, KeyMissing, Rotation, Trust
from tests.harness.keyserver import KeyServer
from tests.unit.matrix.conftest import ROOM, Actor, MakeActor, event, text


async def _said(bot: Actor, *people: Actor, body: str = "hello", **more: Any) -> dict[str, Any]:
    sealed = await bot.cipher.encrypt(ROOM, "m.room.message", text(body), [p.mxid for p in people], **more)
    return event(bot.mxid, sealed.content)


async def test_a_message_is_read_by_its_recipients_and_proves_its_device(actor: MakeActor) -> None:
    bot, alice = await actor("bot"), await actor("alice")
    said = await _said(bot, alice)
    result = await alice.sync()
    assert result.new_sessions == ((ROOM, said["content"]["session_id"]),)
    read = await alice.cipher.decrypt(said)
    assert read == Decrypted("m.room.message", text("hello"), bot.device_id, Trust.CROSS_SIGNED)


async def test_the_bot_reads_its_own_messages_again_after_a_restart(actor: MakeActor) -> None:
    bot = await actor("bot")
    said = await _said(bot)
    await bot.close()
    await bot.start()
    read = await bot.cipher.decrypt(said)
    assert isinstance(read, Decrypted)
    assert read.trust is Trust.CROSS_SIGNED


async def test_received_keys_survive_a_restart(actor: MakeActor) -> None:
    bot, alice = await actor("bot"), await actor("alice")
    said = await _said(alice, bot)
    await bot.sync()
    await bot.close()
    await bot.start()
    assert isinstance(await bot.cipher.decrypt(said), Decrypted)
    assert await bot.cipher.has_session(ROOM, said["content"]["session_id"])


async def test_only_the_recipients_given_get_the_key(actor: MakeActor) -> None:
    bot, alice, mallory = await actor("bot"), await actor("alice"), await actor("mallory")
    said = await _said(bot, alice)
    await mallory.sync()
    assert isinstance(await mallory.cipher.decrypt(said), KeyMissing)


async def test_a_person_who_was_only_invited_can_read_when_the_caller_says_so(actor: MakeActor) -> None:
    bot, invited = await actor("bot"), await actor("invited")
    said = await _said(bot, invited)  # no membership is known anywhere: recipients are the caller's word
    await invited.sync()
    assert isinstance(await invited.cipher.decrypt(said), Decrypted)


async def test_who_was_kicked_does_not_get_the_next_key(actor: MakeActor) -> None:
    bot, alice, kicked = await actor("bot"), await actor("alice"), await actor("kicked")
    for _ in range(3):
        first = await _said(bot, alice, kicked)
    after = await _said(bot, alice)
    assert first["content"]["session_id"] != after["content"]["session_id"]
    await kicked.sync()
    assert isinstance(await kicked.cipher.decrypt(after), KeyMissing)


async def test_a_kick_and_a_return_between_two_messages_still_replace_the_key(actor: MakeActor) -> None:
    bot, alice = await actor("bot"), await actor("alice")
    first = await _said(bot, alice)
    same = await _said(bot, alice)
    await bot.cipher.forget_sessions(ROOM)
    after = await _said(bot, alice)
    assert first["content"]["session_id"] == same["content"]["session_id"] != after["content"]["session_id"]


async def test_a_key_is_replaced_by_the_rooms_rotation_rule(actor: MakeActor) -> None:
    bot, alice = await actor("bot"), await actor("alice")
    ids = [(await _said(bot, alice, rotation=Rotation(messages=2)))["content"]["session_id"] for _ in range(4)]
    assert ids[0] == ids[1] != ids[2] == ids[3]
    late = (await _said(bot, alice, rotation=Rotation(messages=99, period_ms=0)))["content"]["session_id"]
    assert late not in ids


async def test_a_new_device_makes_a_new_key_for_every_actor_on_the_database(
    actor: MakeActor, server: KeyServer
) -> None:
    bot, alice = await actor("bot"), await actor("alice")
    ghost = await actor("ghost", start=False)
    ghost.database, ghost.keeper = bot.database, bot.keeper
    await ghost.start(bot=bot.cipher)
    before = [await _said(one, alice) for one in (bot, ghost)]
    await bot.sync(changed=(alice.mxid,))
    unchanged = [await _said(one, alice) for one in (bot, ghost)]
    assert [e["content"]["session_id"] for e in unchanged] == [e["content"]["session_id"] for e in before]
    server.devices[alice.mxid].pop(alice.device_id)
    await bot.sync(changed=(alice.mxid,))
    after = [await _said(one, alice) for one in (bot, ghost)]
    for old, new in zip(before, after, strict=True):
        assert old["content"]["session_id"] != new["content"]["session_id"]
    ghost.database = None


async def test_a_device_added_while_its_owner_was_away_gets_keys_after_the_return(
    actor: MakeActor, server: KeyServer
) -> None:
    bot, alice = await actor("bot"), await actor("alice")
    await _said(bot, alice)
    laptop = await _second_device(actor, server, alice)
    await bot.cipher.members_changed([alice.mxid])  # the join; no device_lists tells of it
    said = await _said(bot, alice)
    await laptop.sync()
    assert isinstance(await laptop.cipher.decrypt(said), Decrypted)


async def test_who_left_is_asked_for_again(actor: MakeActor, server: KeyServer) -> None:
    bot, alice = await actor("bot"), await actor("alice")
    await _said(bot, alice)
    laptop = await _second_device(actor, server, alice)
    await bot.sync(left=(alice.mxid,))
    said = await _said(bot, alice)
    await laptop.sync()
    assert isinstance(await laptop.cipher.decrypt(said), Decrypted)


async def test_an_outdated_mark_survives_a_failed_query_and_a_restart(actor: MakeActor, server: KeyServer) -> None:
    bot, alice = await actor("bot"), await actor("alice")
    await _said(bot, alice)
    laptop = await _second_device(actor, server, alice)
    server.unreachable.add("keys/query")
    await bot.sync(changed=(alice.mxid,))
    missed = await _said(bot, alice)  # goes to the devices as last seen
    await alice.sync()
    assert isinstance(await alice.cipher.decrypt(missed), Decrypted)
    await laptop.sync()
    assert isinstance(await laptop.cipher.decrypt(missed), KeyMissing)
    server.unreachable.clear()
    await bot.close()
    await bot.start()
    said = await _said(bot, alice)
    await laptop.sync()
    assert isinstance(await laptop.cipher.decrypt(said), Decrypted)


async def test_a_device_without_one_time_keys_is_counted_and_gets_the_key_later(
    actor: MakeActor, server: KeyServer, monkeypatch: Any
) -> None:
    bot, alice = await actor("bot"), await actor("alice")
    here = (alice.mxid, alice.device_id)
    kept, server.one_time[here] = dict(server.one_time[here]), {}
    fallback = server.fallback.pop(here)
    sealed = await bot.cipher.encrypt(ROOM, "m.room.message", text("missed?"), [alice.mxid])
    assert sealed.refused == 1
    (refusal,) = bot.cipher.refused_devices()
    assert (refusal.user_id, refusal.device_id, refusal.reason, refusal.tries) == (*here, "no_one_time_key", 1)
    monkeypatch.setattr("etb_appservice.matrix.share.time.monotonic", lambda: 10.0**9)
    server.unreachable.add("keys/claim")
    assert await bot.cipher.retry_refused() == (refusal,), "a homeserver that fails is no try and no error"
    server.unreachable.clear()
    (again,) = await bot.cipher.retry_refused()
    assert again.tries == 2
    server.one_time[here], server.fallback[here] = kept, fallback
    monkeypatch.setattr("etb_appservice.matrix.share.time.monotonic", lambda: 2 * 10.0**9)
    assert await bot.cipher.retry_refused() == ()
    await alice.sync()
    assert isinstance(await alice.cipher.decrypt(event(bot.mxid, sealed.content)), Decrypted)


def _without_one_time_keys(server: KeyServer, one: Actor) -> Callable[[], None]:
    """Nobody can begin to talk to this device, until the answer is called."""
    here = (one.mxid, one.device_id)
    kept, server.one_time[here] = dict(server.one_time[here]), {}
    fallback = server.fallback.pop(here)

    def restock() -> None:
        server.one_time[here], server.fallback[here] = kept, fallback

    return restock


def _an_hour_later(monkeypatch: Any) -> None:
    monkeypatch.setattr("etb_appservice.matrix.share.time.monotonic", lambda: 10.0**9)


async def test_a_device_gets_the_keys_it_missed_also_after_they_were_replaced(
    actor: MakeActor, server: KeyServer, monkeypatch: Any
) -> None:
    bot, alice, bob = await actor("bot"), await actor("alice"), await actor("bob")
    restock = _without_one_time_keys(server, alice)
    missed = [await _said(bot, alice), await _said(bot, alice, bob)]
    await bot.cipher.forget_sessions(ROOM)
    assert len(bot.cipher.refused_devices()) == 1, "one device, however many keys it lacks"
    restock()
    _an_hour_later(monkeypatch)
    assert await bot.cipher.retry_refused() == ()
    await alice.sync()
    for said in missed:
        assert isinstance(await alice.cipher.decrypt(said), Decrypted)


async def test_who_left_is_not_given_the_keys_they_missed(
    actor: MakeActor, server: KeyServer, monkeypatch: Any
) -> None:
    bot, alice = await actor("bot"), await actor("alice")
    restock = _without_one_time_keys(server, alice)
    missed = await _said(bot, alice)
    await bot.cipher.forget_sessions(ROOM)
    await bot.cipher.members_changed([alice.mxid])
    restock()
    _an_hour_later(monkeypatch)
    assert len(await bot.cipher.retry_refused()) == 1, "nobody knows yet whether she came or went"
    await _said(bot)
    assert bot.cipher.refused_devices() == ()
    await bot.cipher.retry_refused()
    await alice.sync()
    assert isinstance(await alice.cipher.decrypt(missed), KeyMissing)


async def test_who_may_not_have_a_rooms_keys_now_is_not_given_those_they_missed(
    actor: MakeActor, server: KeyServer, monkeypatch: Any
) -> None:
    bot, alice = await actor("bot"), await actor("alice")
    restock = _without_one_time_keys(server, alice)
    missed = await _said(bot, alice)
    restock()
    await bot.cipher.settle_refused(ROOM, [bot.mxid])
    assert bot.cipher.refused_devices() == ()
    _an_hour_later(monkeypatch)
    await bot.cipher.retry_refused()
    await alice.sync()
    assert isinstance(await alice.cipher.decrypt(missed), KeyMissing)


async def test_who_turns_out_to_be_in_the_room_still_is_given_the_keys_they_missed(
    actor: MakeActor, server: KeyServer, monkeypatch: Any
) -> None:
    bot, alice = await actor("bot"), await actor("alice")
    restock = _without_one_time_keys(server, alice)
    missed = await _said(bot, alice)
    await bot.cipher.forget_sessions(ROOM)
    await bot.cipher.members_changed([alice.mxid])
    restock()
    await _said(bot, alice)
    _an_hour_later(monkeypatch)
    assert await bot.cipher.retry_refused() == ()
    await alice.sync()
    assert isinstance(await alice.cipher.decrypt(missed), Decrypted)


async def test_a_device_that_is_gone_is_due_no_key(actor: MakeActor, server: KeyServer, monkeypatch: Any) -> None:
    bot, alice = await actor("bot"), await actor("alice")
    _without_one_time_keys(server, alice)
    await _said(bot, alice)
    server.devices[alice.mxid].pop(alice.device_id)
    await bot.sync(changed=(alice.mxid,))
    _an_hour_later(monkeypatch)
    assert await bot.cipher.retry_refused() == ()


async def test_only_so_many_refusals_are_remembered(actor: MakeActor, server: KeyServer, monkeypatch: Any) -> None:
    monkeypatch.setattr("etb_appservice.matrix.refusals._REFUSED_LIMIT", 2)
    bot, alice = await actor("bot"), await actor("alice")
    _without_one_time_keys(server, alice)
    for number in range(3):
        await bot.cipher.encrypt(f"!{number}:test", "m.room.message", text("x"), [alice.mxid])
    assert [one.room_id for one in bot.cipher.refused_devices()] == ["!1:test", "!2:test"]


async def test_who_could_be_given_the_key_on_no_device_is_named_until_one_has_it(
    actor: MakeActor, server: KeyServer, monkeypatch: Any
) -> None:
    bot, alice = await actor("bot"), await actor("alice")
    restock = _without_one_time_keys(server, alice)

    async def say() -> tuple[str, ...]:
        sealed = await bot.cipher.encrypt(ROOM, "m.room.message", text("x"), [alice.mxid])
        return sealed.without_devices

    assert await say() == (alice.mxid,)
    restock()
    _an_hour_later(monkeypatch)
    await bot.cipher.retry_refused()
    monkeypatch.undo()
    assert await say() == ()


async def test_recipients_without_any_device_are_named(actor: MakeActor) -> None:
    bot = await actor("bot")
    sealed = await bot.cipher.encrypt(ROOM, "m.room.message", text("hello?"), ["@nobody:test"])
    assert sealed.without_devices == ("@nobody:test",)


async def test_room_keys_are_marked_as_shared_history_only_when_asked(actor: MakeActor, monkeypatch: Any) -> None:
    bot, alice = await actor("bot"), await actor("alice")
    seen: list[Any] = []
    deliver = bot.cipher.courier.deliver

    async def spy(targets: Any, kind: str, content: Any, **more: Any) -> Any:
        seen.append(content)
        return await deliver(targets, kind, content, **more)

    monkeypatch.setattr(bot.cipher.courier, "deliver", spy)
    await _said(bot, alice)
    await _said(bot, alice, shared_history=True)
    assert [content.get("org.matrix.msc3061.shared_history") for content in seen] == [None, True]
    assert "m.shared_history" not in seen[1]


async def test_a_room_key_carries_the_signed_keys_of_our_device(actor: MakeActor, monkeypatch: Any) -> None:
    bot, alice = await actor("bot"), await actor("alice")
    payloads: list[Any] = []
    apply = alice.cipher._machine._apply

    async def spy(sender: str, key: str, payload: Any) -> Any:
        payloads.append(payload)
        return await apply(sender, key, payload)

    monkeypatch.setattr(alice.cipher._machine, "_apply", spy)
    await _said(bot, alice)
    await alice.sync()
    keys = payloads[0]["sender_device_keys"]
    published = bot.server.devices[bot.mxid][bot.device_id]
    assert keys == published, "with the signature of the bot's identity"
    assert len(keys["signatures"][bot.mxid]) == 2


async def test_a_relation_stands_in_clear_text_too(actor: MakeActor) -> None:
    bot = await actor("bot")
    relation = {"rel_type": "m.thread", "event_id": "$root"}
    sealed = await bot.cipher.encrypt(ROOM, "m.room.message", {**text("x"), "m.relates_to": relation}, [])
    assert sealed.content["m.relates_to"] == relation


async def _second_device(actor: MakeActor, server: KeyServer, owner: Actor) -> Actor:
    """Another device of `owner`, signed by the same identity."""
    other = await actor("laptop", start=False)
    other.mxid = owner.mxid
    record = owner.keepsakes.values[f"matrix.identity.{owner.mxid}"]
    other.keepsakes.values[f"matrix.identity.{owner.mxid}"] = record
    before = dict(server.devices[owner.mxid])
    other.established = await (await other.open()).recover()
    server.devices[owner.mxid] |= before
    await other.sync()
    return other

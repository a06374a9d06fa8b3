"""Rooms whose keys only signed devices are given: who gets one, who is told why not, and what follows."""

import random
from collections.abc import Callable
from typing import Any

import pytest

from etb_appservice.matrix.results import (
    Decrypted,
    Encrypted,
    KeyMissing,
    Refusal,
    Undecryptable,
    Unreadable,
    Unsigned,
)
from tests.harness.keyserver import KeyServer
from tests.unit.matrix.conftest import ROOM, Actor, MakeActor, event, text

WITHHELD = Undecryptable(Unreadable.WITHHELD, "m.unverified")


def unsign(server: KeyServer, one: Actor) -> Callable[[], None]:
    """Take away what its owner's identity has signed, until the answer is called."""
    keys = server.devices[one.mxid][one.device_id]
    assert keys is not None
    signatures = keys["signatures"][one.mxid]
    kept = dict(signatures)
    for name in kept.keys() - {f"ed25519:{one.device_id}"}:
        del signatures[name]
    return lambda: signatures.update(kept)


async def say(bot: Actor, *people: Actor, signed_only: bool = True, **more: Any) -> Encrypted:
    recipients = [one.mxid for one in people]
    return await bot.cipher.encrypt(ROOM, "m.room.message", text("x"), recipients, signed_only=signed_only, **more)


def told(server: KeyServer, one: Actor) -> list[dict[str, Any]]:
    """Which keys a device was told are withheld, since its last sync."""
    return [
        item["content"]
        for item in server.inbox[one.mxid, one.device_id]
        if item["type"].endswith("room_key.withheld")
    ]


async def test_a_signed_device_reads_and_an_unsigned_one_is_told_why_not(
    actor: MakeActor, server: KeyServer
) -> None:
    bot, alice, bob = await actor("bot"), await actor("alice"), await actor("bob")
    unsign(server, bob)
    sealed = await say(bot, alice, bob)
    assert (sealed.withheld, sealed.refused, sealed.without_devices) == (1, 0, (bob.mxid,))
    [content] = told(server, bob)
    assert content == {
        "algorithm": "m.megolm.v1.aes-sha2",
        "room_id": ROOM,
        "session_id": sealed.session_id,
        "sender_key": sealed.content["sender_key"],
        "code": "m.unverified",
        "reason": "This device has not been verified by its owner.",
    }
    said = event(bot.mxid, sealed.content)
    await alice.sync()
    await bob.sync()
    assert isinstance(await alice.cipher.decrypt(said), Decrypted)
    assert await bob.cipher.decrypt(said) == WITHHELD


async def test_nothing_is_claimed_of_an_unsigned_device(actor: MakeActor, server: KeyServer) -> None:
    bot, bob = await actor("bot"), await actor("bob")
    unsign(server, bob)
    before = dict(server.one_time[bob.mxid, bob.device_id])
    await say(bot, bob)
    assert server.one_time[bob.mxid, bob.device_id] == before


async def test_a_device_is_told_once_a_session(actor: MakeActor, server: KeyServer) -> None:
    bot, alice, bob = await actor("bot"), await actor("alice"), await actor("bob")
    unsign(server, bob)
    first = await say(bot, alice, bob)
    await bot.sync(changed=(alice.mxid, bob.mxid))
    again = await say(bot, alice, bob)
    assert again.session_id == first.session_id
    assert len(told(server, bob)) == 1
    await bot.cipher.forget_sessions(ROOM)
    await say(bot, alice, bob)
    assert len(told(server, bob)) == 2


async def test_who_could_not_be_told_is_told_with_the_next_message(actor: MakeActor, server: KeyServer) -> None:
    bot, bob = await actor("bot"), await actor("bob")
    unsign(server, bob)
    server.unreachable.add("sendToDevice/m.room_key.withheld")
    first = await say(bot, bob)
    assert (told(server, bob), first.withheld) == ([], 0)
    server.unreachable.clear()
    again = await say(bot, bob)
    assert again.session_id == first.session_id
    assert len(told(server, bob)) == 1


async def test_an_unsigned_device_that_comes_in_between_makes_no_new_key(
    actor: MakeActor, server: KeyServer
) -> None:
    bot, alice = await actor("bot"), await actor("alice")
    first = await say(bot, alice)
    laptop = await second_device(actor, server, alice)
    unsign(server, laptop)
    await bot.sync(changed=(alice.mxid,))
    again = await say(bot, alice)
    assert again.session_id == first.session_id
    await laptop.sync()
    assert await laptop.cipher.decrypt(event(bot.mxid, again.content)) == WITHHELD


async def test_a_device_that_is_signed_later_reads_what_follows_and_what_it_missed(
    actor: MakeActor, server: KeyServer
) -> None:
    bot, bob = await actor("bot"), await actor("bob")
    sign = unsign(server, bob)
    missed = [await say(bot, bob)]
    await bot.cipher.forget_sessions(ROOM)
    missed.append(await say(bot, bob))
    assert bot.cipher.refused_devices() == (Refusal(ROOM, bob.mxid, bob.device_id, "unsigned", 0),)
    assert await bot.cipher.retry_refused() == (), "it was not refused: it is not due yet"
    await bob.sync()
    assert await bob.cipher.decrypt(event(bot.mxid, missed[0].content)) == WITHHELD
    sign()
    await bot.sync(changed=(bob.mxid,))
    after = await say(bot, bob)
    assert after.session_id not in {one.session_id for one in missed}
    assert (after.withheld, after.without_devices) == (0, ())
    await bot.cipher.retry_refused()
    assert bot.cipher.refused_devices() == ()
    await bob.sync()
    for sealed in (*missed, after):
        assert isinstance(await bob.cipher.decrypt(event(bot.mxid, sealed.content)), Decrypted)


async def test_who_left_is_handed_nothing_when_their_device_is_signed(actor: MakeActor, server: KeyServer) -> None:
    bot, alice, bob = await actor("bot"), await actor("alice"), await actor("bob")
    sign = unsign(server, bob)
    missed = await say(bot, alice, bob)
    await bot.cipher.forget_sessions(ROOM)
    await bot.cipher.members_changed([bob.mxid])
    sign()
    await bot.sync(changed=(bob.mxid,))
    await bot.cipher.retry_refused()
    await say(bot, alice)
    await bot.cipher.retry_refused()
    await bob.sync()
    assert await bob.cipher.decrypt(event(bot.mxid, missed.content)) == WITHHELD
    assert bot.cipher.refused_devices() == ()


async def test_a_device_that_is_gone_is_due_nothing(actor: MakeActor, server: KeyServer) -> None:
    bot, bob = await actor("bot"), await actor("bob")
    unsign(server, bob)
    await say(bot, bob)
    server.devices[bob.mxid].pop(bob.device_id)
    await bot.sync(changed=(bob.mxid,))
    await bot.cipher.retry_refused()
    assert bot.cipher.refused_devices() == ()


async def test_a_key_that_can_not_be_handed_over_is_tried_again(
    actor: MakeActor, server: KeyServer, monkeypatch: Any
) -> None:
    bot, bob = await actor("bot"), await actor("bob")
    sign = unsign(server, bob)
    missed = await say(bot, bob)
    sign()
    await bot.sync(changed=(bob.mxid,))
    server.unreachable.add("keys/claim")
    await bot.cipher.retry_refused()
    server.unreachable.clear()
    here = (bob.mxid, bob.device_id)
    kept, server.one_time[here] = dict(server.one_time[here]), {}
    fallback = server.fallback.pop(here)
    [refusal] = await bot.cipher.retry_refused()
    assert refusal.reason == "no_one_time_key"
    server.one_time[here], server.fallback[here] = kept, fallback
    monkeypatch.setattr("etb_appservice.matrix.share.time.monotonic", lambda: 10.0**9)
    assert await bot.cipher.retry_refused() == ()
    await bob.sync()
    assert isinstance(await bob.cipher.decrypt(event(bot.mxid, missed.content)), Decrypted)


async def test_a_rule_that_changes_makes_a_new_key(actor: MakeActor, server: KeyServer) -> None:
    bot, alice, bob = await actor("bot"), await actor("alice"), await actor("bob")
    unsign(server, bob)
    open_to_all = await say(bot, alice, bob, signed_only=False)
    strict = await say(bot, alice, bob)
    again = await say(bot, alice, bob, signed_only=False)
    assert len({open_to_all.session_id, strict.session_id, again.session_id}) == 3
    await bob.sync()
    read = [await bob.cipher.decrypt(event(bot.mxid, one.content)) for one in (open_to_all, strict, again)]
    assert read[1] == WITHHELD
    assert isinstance(read[0], Decrypted)
    assert isinstance(read[2], Decrypted)


async def test_a_replaced_identity_signs_for_nobody_until_it_is_accepted(
    actor: MakeActor, server: KeyServer
) -> None:
    bot, bob = await actor("bot"), await actor("bob")
    await say(bot, bob)
    first = bob.device_id
    server.cross_signing.pop(bob.mxid)
    await bob.close()
    bob.keepsakes.values.clear()
    (bob.folder / "crypto.db").unlink()
    await bob.start()
    await bot.sync(changed=(bob.mxid,))
    sealed = await say(bot, bob)
    await bob.sync()
    assert await bob.cipher.decrypt(event(bot.mxid, sealed.content)) == WITHHELD
    found = await bot.cipher.unsigned_devices([bob.mxid])
    assert {one.device_id: one.is_replaced for one in found} == {first: False, bob.device_id: True}
    await bot.cipher.accept_identity(bob.mxid)
    assert [one.device_id for one in await bot.cipher.unsigned_devices([bob.mxid])] == [first]
    after = await say(bot, bob)
    assert after.session_id != sealed.session_id
    await bob.sync()
    assert isinstance(await bob.cipher.decrypt(event(bot.mxid, after.content)), Decrypted)


async def test_somebody_whose_devices_were_never_seen_gets_nothing_and_is_told_nothing(
    actor: MakeActor, server: KeyServer
) -> None:
    bot, bob = await actor("bot"), await actor("bob")
    server.silent.add(bob.mxid)
    sealed = await say(bot, bob)
    assert sealed.without_devices == (bob.mxid,)
    assert await bot.cipher.unsigned_devices([bob.mxid]) == ()
    await bob.sync()
    assert isinstance(await bob.cipher.decrypt(event(bot.mxid, sealed.content)), KeyMissing)


async def test_unsigned_devices_are_named_and_our_own_is_none_of_them(actor: MakeActor, server: KeyServer) -> None:
    bot, alice, bob = await actor("bot"), await actor("alice"), await actor("bob")
    sign = unsign(server, bob)
    keys = server.devices[bob.mxid][bob.device_id]
    assert keys is not None
    keys["unsigned"] = {"device_display_name": "Bob's\x07 phone"}
    everybody = [bot.mxid, alice.mxid, bob.mxid]
    found = await bot.cipher.unsigned_devices(everybody)
    assert found == (Unsigned(bob.mxid, bob.device_id, "Bob's phone", is_replaced=False),)
    sign()
    await bot.sync(changed=(bob.mxid,))
    assert await bot.cipher.unsigned_devices(everybody) == ()


async def test_who_shares_no_room_with_us_is_asked_for_afresh(actor: MakeActor, server: KeyServer) -> None:
    bot, bob = await actor("bot"), await actor("bob")
    sign = unsign(server, bob)
    assert len(await bot.cipher.unsigned_devices([bob.mxid])) == 1
    sign()
    assert len(await bot.cipher.unsigned_devices([bob.mxid])) == 1, "no sync tells of it"
    assert await bot.cipher.unsigned_devices([bob.mxid], afresh=True) == ()


async def test_many_unsigned_devices_drive_out_nobody_who_was_refused_by_mishap(
    actor: MakeActor, server: KeyServer, monkeypatch: Any
) -> None:
    monkeypatch.setattr("etb_appservice.matrix.refusals._REFUSED_LIMIT", 1)
    bot, alice, bob = await actor("bot"), await actor("alice"), await actor("bob")
    unsign(server, bob)
    here = (alice.mxid, alice.device_id)
    server.one_time[here] = {}
    server.fallback.pop(here)
    for _ in range(3):
        await say(bot, alice, bob)
        await bot.cipher.forget_sessions(ROOM)
    assert {one.reason for one in bot.cipher.refused_devices()} == {"no_one_time_key", "unsigned"}


@pytest.mark.parametrize("seed", range(6))
async def test_whatever_happens_nobody_holds_a_key_above_what_their_device_was_worth(
    actor: MakeActor, server: KeyServer, seed: int
) -> None:
    """People come and go, devices are signed, rules change, keys are handed over, in any order."""
    chance = random.Random(seed)
    bot = await actor("bot")
    people = {name: await actor(name) for name in ("alice", "bob", "carol")}
    sign = {name: unsign(server, people[name]) for name in ("bob", "carol")}
    inside = set(people)
    said: list[tuple[Encrypted, bool, frozenset[str], frozenset[str]]] = []
    for _ in range(40):
        match chance.choice(["say", "say", "say", "open", "sign", "move", "retry", "news"]):
            case "say" | "open" as how:
                there = [people[name] for name in sorted(inside)]
                is_strict = how == "say"
                sealed = await say(bot, *there, signed_only=is_strict)
                said.append((sealed, is_strict, frozenset(inside), frozenset(people.keys() - sign.keys())))
            case "sign" if sign and chance.random() < 0.5:
                name = chance.choice(sorted(sign))
                sign.pop(name)()
                await bot.sync(changed=(people[name].mxid,))
            case "move":
                name = chance.choice(sorted(people))
                inside ^= {name}
                await bot.cipher.forget_sessions(ROOM)
                await bot.cipher.members_changed([people[name].mxid])
            case "retry":
                await bot.cipher.retry_refused()
            case _:
                await bot.sync(changed=tuple(one.mxid for one in people.values()))
    for name, person in people.items():
        await person.sync()
        for sealed, is_strict, there_then, signed_then in said:
            reads = isinstance(await person.cipher.decrypt(event(bot.mxid, sealed.content)), Decrypted)
            if name not in there_then or (is_strict and name in sign):
                assert not reads, f"{name} was not there, or never signed their device"
            elif not is_strict or name in signed_then:
                assert reads, f"{name} was there, on a device that was good enough"


async def second_device(actor: MakeActor, server: KeyServer, owner: Actor) -> Actor:
    """Another device of `owner`, signed by the same identity."""
    other = await actor("laptop", start=False)
    other.mxid = owner.mxid
    name = f"matrix.identity.{owner.mxid}"
    other.keepsakes.values[name] = owner.keepsakes.values[name]
    before = dict(server.devices[owner.mxid])
    other.established = await (await other.open()).recover()
    server.devices[owner.mxid] |= before
    await other.sync()
    return other

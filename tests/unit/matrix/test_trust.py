"""A message counts for its sender only when it was encrypted by a device of that sender."""

from typing import Any

import pytest
from mautrix.types import UserID

from etb_appservice.domain.outcomes import Later
from etb_appservice.matrix import api, trust
from etb_appservice.matrix.results import Decrypted, KeyMissing, Trust, Undecryptable, Unreadable
from tests.harness.keyserver import KeyServer
from tests.unit.matrix.conftest import ROOM, Actor, MakeActor, event, text


async def _heard(bot: Actor, alice: Actor) -> dict[str, Any]:
    sealed = await alice.cipher.encrypt(ROOM, "m.room.message", text("!status"), [bot.mxid])
    await bot.sync()
    return event(alice.mxid, sealed.content)


async def test_a_ciphertext_of_one_person_sent_by_another_is_refused(actor: MakeActor) -> None:
    bot, alice, mallory = await actor("bot"), await actor("alice"), await actor("mallory")
    said = await _heard(bot, alice)
    replayed = event(mallory.mxid, said["content"])
    assert await bot.cipher.decrypt(replayed) == Undecryptable(Unreadable.WRONG_SENDER)
    assert isinstance(await bot.cipher.decrypt(said), Decrypted), "the replay must not use up its index"


async def test_the_bots_own_ciphertext_sent_by_another_is_refused(actor: MakeActor) -> None:
    bot, mallory = await actor("bot"), await actor("mallory")
    sealed = await bot.cipher.encrypt(ROOM, "m.room.message", text("!close"), [mallory.mxid])
    replayed = event(mallory.mxid, sealed.content)
    assert await bot.cipher.decrypt(replayed) == Undecryptable(Unreadable.WRONG_SENDER)


async def test_a_replay_by_the_same_sender_under_another_id_is_refused(actor: MakeActor) -> None:
    bot, alice = await actor("bot"), await actor("alice")
    said = await _heard(bot, alice)
    assert isinstance(await bot.cipher.decrypt(said), Decrypted)
    assert isinstance(await bot.cipher.decrypt(said), Decrypted), "the same event may be read again"
    again = event(alice.mxid, said["content"])
    assert await bot.cipher.decrypt(again) == Undecryptable(Unreadable.DUPLICATE_INDEX)


def test_trust_can_not_be_compared_by_size() -> None:
    with pytest.raises(TypeError):
        _ = Trust.UNKNOWN >= Trust.UNSIGNED  # type: ignore[operator]


async def test_a_device_that_its_owner_never_signed_is_told_apart(actor: MakeActor, server: KeyServer) -> None:
    bot, alice = await actor("bot"), await actor("alice")
    _unsign(server, alice)
    read = await bot.cipher.decrypt(await _heard(bot, alice))
    assert isinstance(read, Decrypted)
    assert read.trust is Trust.UNSIGNED


async def test_a_replaced_identity_is_told_until_an_operator_accepts_it(
    actor: MakeActor, server: KeyServer
) -> None:
    bot, alice = await actor("bot"), await actor("alice")
    first = await bot.cipher.decrypt(await _heard(bot, alice))
    assert isinstance(first, Decrypted)
    assert first.trust is Trust.CROSS_SIGNED
    server.cross_signing.pop(alice.mxid)
    await alice.close()
    alice.keepsakes.values.clear()
    (alice.folder / "crypto.db").unlink()
    await alice.start()
    await bot.sync(changed=(alice.mxid,))
    changed = await bot.cipher.decrypt(await _heard(bot, alice))
    assert isinstance(changed, Decrypted)
    assert changed.trust is Trust.IDENTITY_CHANGED
    await bot.keeper.run(lambda: bot.cipher.directory.accept_identity(alice.mxid))
    accepted = await bot.cipher.decrypt(await _heard(bot, alice))
    assert isinstance(accepted, Decrypted)
    assert accepted.trust is Trust.CROSS_SIGNED


async def test_what_a_removed_device_said_stays_attributable(actor: MakeActor, server: KeyServer) -> None:
    bot, alice = await actor("bot"), await actor("alice")
    said = await _heard(bot, alice)
    device = alice.device_id
    assert isinstance(await bot.cipher.decrypt(said), Decrypted)
    server.devices[alice.mxid].pop(device)
    await bot.sync(changed=(alice.mxid,))
    read = await bot.cipher.decrypt(said)
    assert isinstance(read, Decrypted)
    assert (read.sender_device, read.trust) == (device, Trust.DELETED)


async def test_a_sender_who_can_not_be_asked_about_proves_nothing_yet(actor: MakeActor, server: KeyServer) -> None:
    bot, alice = await actor("bot"), await actor("alice")
    said = await _heard(bot, alice)
    server.unreachable.add("keys/query")
    read = await bot.cipher.decrypt(said)
    assert isinstance(read, Decrypted)
    assert read.trust is Trust.UNKNOWN
    server.unreachable.clear()
    bot.cipher.directory._pauses[alice.mxid].until = 0.0
    read = await bot.cipher.decrypt(said)
    assert isinstance(read, Decrypted)
    assert read.trust is Trust.CROSS_SIGNED


async def test_nothing_is_said_past_somebody_whose_devices_the_homeserver_never_told(
    actor: MakeActor, server: KeyServer
) -> None:
    bot, alice, bob = await actor("bot"), await actor("alice"), await actor("bob")
    server.unreachable.add("keys/query")
    with pytest.raises(Later, match="which devices"):
        await bot.cipher.encrypt(ROOM, "m.room.message", text("hello"), [alice.mxid])
    server.unreachable.clear()
    for pause in bot.cipher.directory._pauses.values():
        pause.until = 0.0
    sealed = await bot.cipher.encrypt(ROOM, "m.room.message", text("hello"), [alice.mxid])
    await alice.sync()
    assert isinstance(await alice.cipher.decrypt(event(bot.mxid, sealed.content)), Decrypted)
    # Who was seen before is told as last seen, and a stranger of whom another server says nothing holds up nobody.
    server.unreachable.add("keys/query")
    await bot.sync(changed=(alice.mxid,))
    assert (await bot.cipher.encrypt(ROOM, "m.room.message", text("more"), [alice.mxid])).session_id
    server.unreachable.clear()
    for one in (alice.mxid, bob.mxid):
        bot.cipher.directory._pauses.pop(one, None)
    server.silent.add(bob.mxid)
    assert (await bot.cipher.encrypt(ROOM, "m.room.message", text("more"), [alice.mxid, bob.mxid])).session_id


def _queries(server: KeyServer) -> int:
    return sum("keys/query" in request for request in server.requests)


async def test_news_that_comes_while_a_list_is_asked_for_is_not_lost(
    actor: MakeActor, server: KeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    bot, alice = await actor("bot"), await actor("alice")
    directory = bot.cipher.directory

    async def answered_late(*request: Any) -> Any:
        answer = await api.call(*request)
        await directory.outdate([alice.mxid])
        return answer

    with monkeypatch.context() as patched:
        patched.setattr(trust, "call", answered_late)
        await bot.keeper.run(lambda: directory.devices_of([alice.mxid]))
    before = _queries(server)
    for _ in range(2):
        found = await bot.keeper.run(lambda: directory.devices_of([alice.mxid]))
        assert list(found[alice.mxid]) == [alice.device_id]
    assert _queries(server) == before + 1


async def test_news_that_comes_between_a_query_and_the_reading_of_its_answer_is_not_lost(
    actor: MakeActor, server: KeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    bot, alice, bob = await actor("bot"), await actor("alice"), await actor("bob")
    directory = bot.cipher.directory
    read = directory._store.all_devices

    async def slowly(user_id: UserID) -> Any:
        if user_id == alice.mxid:
            await directory.outdate([bob.mxid])
        return await read(user_id)

    with monkeypatch.context() as patched:
        patched.setattr(directory._store, "all_devices", slowly)
        await bot.keeper.run(lambda: directory.devices_of([alice.mxid, bob.mxid]))
    before = _queries(server)
    for _ in range(2):
        await bot.keeper.run(lambda: directory.devices_of([alice.mxid, bob.mxid]))
    assert _queries(server) == before + 1


async def test_news_that_comes_while_a_device_is_judged_is_not_lost(
    actor: MakeActor, server: KeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    bot, alice = await actor("bot"), await actor("alice")
    directory = bot.cipher.directory
    keys = server.devices[alice.mxid][alice.device_id]
    assert keys is not None
    signatures = dict(keys["signatures"][alice.mxid])
    _unsign(server, alice)
    judge = directory._judge

    async def slowly(device: Any) -> Trust:
        verdict = await judge(device)
        keys["signatures"][alice.mxid].update(signatures)
        await directory.outdate([alice.mxid])
        return verdict

    with monkeypatch.context() as patched:
        patched.setattr(directory, "_judge", slowly)
        assert [one.device_id for one in await bot.cipher.unsigned_devices([alice.mxid])] == [alice.device_id]
    assert await bot.cipher.unsigned_devices([alice.mxid]) == ()


async def test_rooms_full_of_strangers_leave_little_in_memory(actor: MakeActor) -> None:
    bot = await actor("bot")
    directory = bot.cipher.directory

    async def pass_by(strangers: list[str]) -> None:
        async with directory._store.transaction():
            await directory.outdate(strangers)

    for start in range(0, 12_000, 2_000):
        strangers = [f"@stranger{number}:test" for number in range(start, start + 2_000)]
        await bot.keeper.run(lambda strangers=strangers: pass_by(strangers))  # type: ignore[misc]
        for stranger in strangers:
            directory._pause(stranger)
    kept = (directory._lists, directory._trust, directory._asked, directory._pauses, directory._watches)
    assert max(len(container) for container in kept) <= trust._CACHE_LIMIT
    held = [name for name in vars(directory) if hasattr(getattr(directory, name), "__len__")]
    assert len(held) == len(kept), "a container that this test doesn't know"


async def test_a_list_is_never_taken_for_fresh_because_a_pause_was_forgotten(
    actor: MakeActor, server: KeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    bot, alice = await actor("bot"), await actor("alice")
    directory = bot.cipher.directory
    monkeypatch.setattr(trust, "_CACHE_LIMIT", 4)
    await bot.keeper.run(lambda: directory.devices_of([alice.mxid]))
    server.unreachable.add("keys/query")
    await bot.sync(changed=(alice.mxid,))
    await bot.keeper.run(lambda: directory.devices_of([alice.mxid]))  # as last seen: nobody can be asked
    for number in range(8):
        directory._pause(f"@stranger{number}:test")
    assert alice.mxid not in directory._pauses
    server.unreachable.clear()
    before = _queries(server)
    await bot.keeper.run(lambda: directory.devices_of([alice.mxid]))
    assert _queries(server) == before + 1


async def test_one_hostile_device_list_does_not_spoil_the_others(actor: MakeActor, server: KeyServer) -> None:
    bot, alice = await actor("bot"), await actor("alice")
    odd: Any = {"D1": {"user_id": 7}, "D2": [], "D\x00": {}, "D3": {"keys": {"curve25519:D3": "x" * 43}}}
    server.devices["@odd:test"] = odd
    server.cross_signing["@odd:test"] = {"master_key": {"keys": []}, "self_signing_key": 3}
    sealed = await bot.cipher.encrypt(ROOM, "m.room.message", text("x"), [alice.mxid, "@odd:test"])
    assert sealed.without_devices == ("@odd:test",)
    await alice.sync()
    assert isinstance(await alice.cipher.decrypt(event(bot.mxid, sealed.content)), Decrypted)


async def test_a_device_that_did_not_sign_its_keys_is_ignored(actor: MakeActor, server: KeyServer) -> None:
    bot, alice, mallory = await actor("bot"), await actor("alice"), await actor("mallory")
    keys = server.devices[alice.mxid][alice.device_id]
    assert keys is not None
    forged = mallory.cipher.device_keys()["keys"][f"curve25519:{mallory.device_id}"]
    keys["keys"][f"curve25519:{alice.device_id}"] = forged
    sealed = await bot.cipher.encrypt(ROOM, "m.room.message", text("x"), [alice.mxid])
    assert sealed.without_devices == (alice.mxid,)


async def test_a_device_can_not_change_its_keys(actor: MakeActor, server: KeyServer) -> None:
    bot, alice, mallory = await actor("bot"), await actor("alice"), await actor("mallory")
    await _heard(bot, alice)
    await bot.cipher.encrypt(ROOM, "m.room.message", text("x"), [alice.mxid])
    stolen = mallory.cipher._machine.account
    assert stolen is not None
    forged = stolen.get_device_keys(alice.mxid, alice.device_id).serialize()  # type: ignore[arg-type]
    server.devices[alice.mxid][alice.device_id] = forged
    await bot.sync(changed=(alice.mxid,))
    sealed = await bot.cipher.encrypt(ROOM, "m.room.message", text("x"), [alice.mxid])
    assert sealed.without_devices == (alice.mxid,)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"content": {"algorithm": "m.olm.v1.curve25519-aes-sha2"}}, Unreadable.UNKNOWN_ALGORITHM),
        ({"content": None}, Unreadable.MALFORMED),
        ({"sender": None}, Unreadable.MALFORMED),
        ({"room_id": "!a\x00b"}, Unreadable.MALFORMED),
        ({"origin_server_ts": "now"}, Unreadable.MALFORMED),
        ({"event_id": 7}, Unreadable.MALFORMED),
    ],
)
async def test_an_event_with_odd_fields_is_final_and_raises_nothing(
    actor: MakeActor, change: dict[str, Any], reason: Unreadable
) -> None:
    bot = await actor("bot")
    sealed = await bot.cipher.encrypt(ROOM, "m.room.message", text("x"), [])
    read = await bot.cipher.decrypt({**event(bot.mxid, sealed.content), **change})
    assert isinstance(read, Undecryptable)
    assert read.reason is reason


async def test_a_garbled_ciphertext_is_final(actor: MakeActor) -> None:
    bot = await actor("bot")
    sealed = await bot.cipher.encrypt(ROOM, "m.room.message", text("x"), [])
    garbled = {**sealed.content, "ciphertext": sealed.content["ciphertext"][:-8] + "AAAAAAAA"}
    read = await bot.cipher.decrypt(event(bot.mxid, garbled))
    assert isinstance(read, Undecryptable)
    assert read.reason is Unreadable.MALFORMED


async def test_a_payload_of_another_room_is_refused(actor: MakeActor) -> None:
    bot = await actor("bot")
    sealed = await bot.cipher.encrypt(ROOM, "m.room.message", text("x"), [])
    moved = event(bot.mxid, sealed.content, room="!other:test")
    assert await bot.cipher.decrypt(moved) == KeyMissing(sealed.session_id)


def _unsign(server: KeyServer, owner: Actor) -> None:
    keys = server.devices[owner.mxid][owner.device_id]
    assert keys is not None
    signatures = keys["signatures"][owner.mxid]
    for name in [name for name in signatures if name != f"ed25519:{owner.device_id}"]:
        del signatures[name]

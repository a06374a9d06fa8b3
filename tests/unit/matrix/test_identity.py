"""One identity for ever: made once, whatever dies in between, and refused when the places don't agree."""

from typing import Any

import pytest
from mautrix.crypto.signature import verify_signature_json
from mautrix.errors import make_request_error
from mautrix.types import SigningKey

from etb_appservice.domain.outcomes import Broken, Refused
from etb_appservice.matrix.identity import StoreLost, StoreMismatch
from etb_appservice.matrix.results import Decrypted
from tests.harness.bot import DictKeepsakes
from tests.harness.keyserver import Crash, KeyServer
from tests.unit.matrix.conftest import ROOM, Actor, MakeActor, event, text


async def _start(bot: Actor) -> None:
    bot.established = await (await bot.open()).establish()


async def _requests_of_a_first_start(actor: MakeActor, server: KeyServer) -> int:
    await _start(await actor("probe", start=False))
    return len(server.requests)


@pytest.mark.parametrize("after", [False, True], ids=["before the request", "after the request"])
async def test_a_process_that_dies_at_any_request_comes_back_with_the_same_identity(
    actor: MakeActor, server: KeyServer, after: bool
) -> None:
    total = await _requests_of_a_first_start(actor, server)
    assert total > 10
    for step in range(1, total + 1):
        bot = await actor(f"bot{step}", start=False)
        server.crash_at, server.crash_after = len(server.requests) + step, after
        with pytest.raises(Crash):
            await _start(bot)
        server.crash_at = None
        await bot.close()
        await _start(bot)
        masters = [key for key in server.masters_uploaded if key in _masters(server, bot)]
        assert set(masters) == set(_masters(server, bot)), "the identity shown is the only one ever uploaded"
        assert len(server.devices[bot.mxid]) == 1
        _assert_signed(server, bot)
    assert len(set(server.masters_uploaded)) == total + 1, "one identity for each bot and the probe, no more"


async def test_a_process_that_dies_at_any_keepsake_comes_back_with_the_same_identity(
    actor: MakeActor, server: KeyServer
) -> None:
    for step, stored in ((1, False), (1, True), (2, False), (2, True)):
        bot = await actor(f"bot{step}{stored}", start=False)
        bot.keepsakes = _MortalKeepsakes(step, stored=stored)
        with pytest.raises(Crash):
            await _start(bot)
        await bot.close()
        await _start(bot)
        assert len(server.devices[bot.mxid]) == 1
        _assert_signed(server, bot)
    assert len(set(server.masters_uploaded)) == 4


async def test_seeds_are_kept_before_anything_is_published(actor: MakeActor, server: KeyServer) -> None:
    bot = await actor("bot", start=False)
    bot.keepsakes = _MortalKeepsakes(1, stored=False)
    with pytest.raises(Crash):
        await _start(bot)
    assert not server.devices[bot.mxid]
    assert not server.cross_signing
    assert not server.account_data


async def test_a_restart_publishes_nothing_again(actor: MakeActor, server: KeyServer) -> None:
    bot = await actor("bot")
    await bot.close()
    before = len(server.requests)
    await bot.start()
    assert [line for line in server.requests[before:] if "keys/query" not in line and "register" not in line] == []


async def test_the_recovery_key_is_answered_until_it_was_shown(actor: MakeActor) -> None:
    bot = await actor("bot")
    assert bot.established is not None
    first = bot.established.recovery_key
    assert first
    await bot.close()
    await bot.start()
    assert bot.established.recovery_key == first
    await (await bot.open()).recovery_key_shown()
    await bot.close()
    await bot.start()
    assert bot.established.recovery_key is None


async def test_nothing_shows_a_secret_in_its_repr(actor: MakeActor) -> None:
    bot = await actor("bot")
    assert bot.established is not None
    assert bot.established.recovery_key is not None
    assert bot.established.recovery_key not in repr(bot.established)


async def test_an_empty_store_is_refused_and_names_recover(actor: MakeActor) -> None:
    bot = await actor("bot")
    await bot.close()
    (bot.folder / "crypto.db").unlink()
    with pytest.raises(StoreLost, match="etb-appservice recover"):
        await bot.start()


async def test_a_store_of_another_device_is_refused_and_names_recover(actor: MakeActor) -> None:
    bot, other = await actor("bot"), await actor("other")
    record = other.keepsakes.values["matrix.identity.@other:test"]
    bot.keepsakes.values["matrix.identity.@bot:test"] = record
    await bot.close()
    with pytest.raises(StoreMismatch, match="etb-appservice recover"):
        await bot.start()


async def test_a_store_without_its_seeds_is_refused(actor: MakeActor) -> None:
    bot = await actor("bot")
    await bot.close()
    bot.keepsakes.values.clear()
    with pytest.raises(StoreMismatch, match="seeds"):
        await bot.start()


async def test_a_store_that_another_key_locked_is_refused(actor: MakeActor) -> None:
    bot = await actor("bot")
    await bot.close()
    identity = await bot.open(pickle_key="another key, which is also of a good length")
    with pytest.raises(StoreMismatch, match="can't be opened"):
        await identity.establish()


async def test_a_short_pickle_key_is_refused(actor: MakeActor) -> None:
    bot = await actor("bot", start=False)
    with pytest.raises(ValueError, match="random"):
        await bot.open(pickle_key="constant")


async def test_an_identity_known_to_the_server_alone_is_never_replaced(
    actor: MakeActor, server: KeyServer
) -> None:
    bot = await actor("bot")
    await bot.close()
    bot.keepsakes.values.clear()
    (bot.folder / "crypto.db").unlink()
    before = list(server.masters_uploaded)
    with pytest.raises(StoreLost, match="etb-appservice recover"):
        await bot.start()
    assert server.masters_uploaded == before


async def test_other_device_keys_on_the_server_are_refused(actor: MakeActor, server: KeyServer) -> None:
    bot = await actor("bot")
    keys = server.devices[bot.mxid][bot.device_id]
    assert keys is not None
    keys["keys"][f"curve25519:{bot.device_id}"] = "A" * 43
    await bot.close()
    with pytest.raises(StoreMismatch, match="other keys"):
        await bot.start()


async def test_another_identity_on_the_server_is_refused(actor: MakeActor, server: KeyServer) -> None:
    bot, other = await actor("bot"), await actor("other")
    server.cross_signing[bot.mxid] = server.cross_signing[other.mxid]
    await bot.close()
    with pytest.raises(StoreMismatch, match="another identity"):
        await bot.start()


async def test_a_device_that_the_server_forgot_is_published_again(actor: MakeActor, server: KeyServer) -> None:
    bot = await actor("bot")
    device = bot.device_id
    server.devices[bot.mxid].clear()
    await bot.close()
    await bot.start()
    assert bot.device_id == device
    _assert_signed(server, bot)


async def test_recovery_makes_a_new_device_of_the_same_identity(actor: MakeActor, server: KeyServer) -> None:
    bot, alice = await actor("bot"), await actor("alice")
    old = bot.device_id
    await bot.close()
    (bot.folder / "crypto.db").unlink()
    bot.established = await (await bot.open()).recover()
    await bot.sync()
    assert bot.device_id != old
    assert list(server.devices[bot.mxid]) == [bot.device_id]
    _assert_signed(server, bot)
    assert len(set(server.masters_uploaded)) == 2
    sealed = await alice.cipher.encrypt(ROOM, "m.room.message", text("welcome back"), [bot.mxid])
    await bot.sync()
    assert isinstance(await bot.cipher.decrypt(event(alice.mxid, sealed.content)), Decrypted)


async def test_recovery_needs_only_the_recovery_key(actor: MakeActor, server: KeyServer) -> None:
    bot = await actor("bot")
    assert bot.established is not None
    key = bot.established.recovery_key
    await bot.close()
    (bot.folder / "crypto.db").unlink()
    bot.keepsakes.values.clear()
    with pytest.raises(Refused, match="give the recovery key"):
        await (await bot.open()).recover()
    with pytest.raises(Refused, match="does not open"):
        await (await bot.open()).recover("EsTb 1234")
    bot.established = await (await bot.open()).recover(key)
    _assert_signed(server, bot)
    assert len(set(server.masters_uploaded)) == 1
    assert bot.established.recovery_key is None


async def test_recovery_that_dies_at_any_request_is_finished_by_the_next_start_or_try(
    actor: MakeActor, server: KeyServer
) -> None:
    probe = await actor("probe")
    before = len(server.requests)
    await (await probe.open()).recover()
    total = len(server.requests) - before
    for step in range(1, total + 1):
        bot = await actor(f"bot{step}")
        server.crash_at, server.crash_after = len(server.requests) + step, step % 2 == 0
        with pytest.raises(Crash):
            await (await bot.open()).recover()
        server.crash_at = None
        await bot.close()
        await bot.start()
        assert list(server.devices[bot.mxid]) == [bot.device_id]
        _assert_signed(server, bot)


async def test_room_keys_of_a_readable_store_survive_recovery(actor: MakeActor) -> None:
    bot, alice = await actor("bot"), await actor("alice")
    sealed = await alice.cipher.encrypt(ROOM, "m.room.message", text("before"), [bot.mxid])
    await bot.sync()
    bot.established = await (await bot.open()).recover()
    assert isinstance(await bot.cipher.decrypt(event(alice.mxid, sealed.content)), Decrypted)


async def test_a_registration_without_devices_names_the_flag(
    actor: MakeActor, server: KeyServer, monkeypatch: Any
) -> None:
    answer = server.answer

    def refuse(mxid: str, device: str, method: Any, path: str, body: Any) -> Any:
        if "devices/" in path:
            raise make_request_error(404, "", "M_UNRECOGNIZED", "no")
        return answer(mxid, device, method, path, body)

    monkeypatch.setattr(server, "answer", refuse)
    with pytest.raises(Broken, match=r"io\.element\.msc4190"):
        await actor("bot")


class _MortalKeepsakes(DictKeepsakes):
    """Dies at the n-th put, before or after it is durable; lives on afterwards."""

    def __init__(self, step: int, *, stored: bool) -> None:
        super().__init__()
        self._left, self._stored = step, stored

    async def put(self, name: str, value: bytes) -> None:
        self._left -= 1
        if self._left == 0:
            if self._stored:
                await super().put(name, value)
            raise Crash(name)
        await super().put(name, value)


def _masters(server: KeyServer, bot: Actor) -> list[str]:
    return list(server.cross_signing[bot.mxid]["master_key"]["keys"].values())


def _assert_signed(server: KeyServer, bot: Actor) -> None:
    """The device on the server carries a valid signature of the identity on the server."""
    keys = server.devices[bot.mxid][bot.device_id]
    assert keys is not None
    (own,) = server.cross_signing[bot.mxid]["self_signing_key"]["keys"].values()
    (master,) = _masters(server, bot)
    mxid: Any = bot.mxid
    assert verify_signature_json(keys, mxid, own, own)  # type: ignore[arg-type]
    own_key = server.cross_signing[bot.mxid]["self_signing_key"]
    assert verify_signature_json(own_key, mxid, master, SigningKey(master))

"""Ghosts: made once whatever dies in between, kept few, emptied, retired, and in step with the bot."""

import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from etb_appservice.domain.ghosts import Ghosts
from etb_appservice.domain.ids import EventId, RoomId, UserId, Username
from etb_appservice.domain.outcomes import Broken, Refused
from etb_appservice.matrix.ghosts import GhostActors, GhostRules
from etb_appservice.matrix.identity import Identity
from etb_appservice.matrix.results import Decrypted
from tests.harness.bot import PICKLE_KEY, DictKeepsakes
from tests.harness.clock import MovedClock
from tests.harness.keyserver import Crash, KeyServer
from tests.unit.matrix.conftest import ROOM, Actor, MakeActor, event, text

IDS = Ghosts("@_etb_u_", "test")
BEA, CARL, DORA = Username("bea"), Username("carl"), Username("dora")
DAY_MS = 86_400_000


def id_of(name: Username) -> UserId:
    user_id = IDS.user_id(name)
    assert user_id is not None
    return user_id


@asynccontextmanager
async def house(
    bot: Actor,
    clock: MovedClock | None = None,
    rules: GhostRules | None = None,
    *,
    keepsakes: DictKeepsakes | None = None,
    names: dict[str, str] | None = None,
    face_of: Callable[[str, Username], bytes] | None = None,
) -> AsyncIterator[GhostActors]:
    """The ghosts of one process; the bot's database and keepsakes outlive it."""
    if bot.established is None:
        await bot.start()
    database = bot.database
    assert database is not None
    kept = keepsakes or bot.keepsakes

    def identity_of(user_id: UserId) -> Identity:
        return Identity(
            homeserver_url="", as_token="", http=None, mxid=user_id, database=database, pickle_key=PICKLE_KEY,  # type: ignore[arg-type]
            keepsakes=kept, keeper=bot.keeper, display_name="", bot=bot.cipher,
        )  # fmt: skip

    async def name_of(username: Username) -> str:
        return (names or {}).get(username, username.title())

    yield GhostActors(
        identity_of,
        bot.cipher,
        kept,
        ids=IDS,
        name_of=name_of,
        clock=clock or MovedClock(),
        rules=rules or GhostRules(),
        face_of=face_of,
    )
    await bot.close()


async def devices(server: KeyServer, name: Username) -> list[str]:
    return list(server.devices[id_of(name)])


async def test_a_ghost_has_a_signed_device_a_fallback_key_and_nothing_else(
    actor: MakeActor, server: KeyServer
) -> None:
    bot = await actor("bot")
    async with house(bot) as ghosts:
        voice = await ghosts.voice(BEA)
        me = (id_of(BEA), voice.server.device_id)
        assert me in server.fallback
        assert not server.one_time[me]
        assert not [name for user, name in server.account_data if user == id_of(BEA)]
        assert server.names[id_of(BEA)] == "Bea"
        assert await ghosts.voice(BEA) is voice
        assert list(server.devices[id_of(BEA)]) == [voice.server.device_id]


@pytest.mark.parametrize("after", [False, True], ids=["before the request", "after the request"])
async def test_a_process_that_dies_at_any_request_of_a_ghost_s_making_goes_on_with_the_same_ghost(
    actor: MakeActor, server: KeyServer, after: bool
) -> None:
    async with house(await actor("bot0")) as ghosts:
        before = len(server.requests)
        await ghosts.voice(Username("probe"))
        total = len(server.requests) - before
    assert total >= 8
    for step in range(1, total + 1):
        bot, name = await actor(f"bot{step}"), Username(f"ghost{step}")
        async with house(bot) as ghosts:
            server.crash_at, server.crash_after = len(server.requests) + step, after
            with pytest.raises(Crash):
                await ghosts.voice(name)
            server.crash_at = None
            assert id_of(name) in json.loads(bot.keepsakes.values["matrix.ghosts"]), "it will be tended"
        async with house(bot) as ghosts:
            voice = await ghosts.voice(name)
            assert await devices(server, name) == [voice.server.device_id]
            assert (id_of(name), voice.server.device_id) in server.fallback
            (master,) = server.cross_signing[id_of(name)]["master_key"]["keys"].values()
            assert server.masters_uploaded.count(master) >= 1
            keys = server.devices[id_of(name)][voice.server.device_id]
            assert keys is not None
            assert len(keys["signatures"][id_of(name)]) == 2, "by the device, and by the identity"
    assert len(set(server.masters_uploaded)) == 2 * (total + 1), (
        "one identity for each ghost and each bot, no more"
    )


async def test_a_process_that_dies_at_any_keepsake_goes_on_with_the_same_ghost(
    actor: MakeActor, server: KeyServer
) -> None:
    for step in range(1, 5):
        for stored in (False, True):
            bot, name = await actor(f"bot{step}{stored}"), Username(f"g{step}{stored}")
            dying = _Mortal(bot.keepsakes, step, stored=stored)
            async with house(bot, keepsakes=dying) as ghosts:
                with pytest.raises(Crash):
                    await ghosts.voice(name)
            async with house(bot) as ghosts:
                voice = await ghosts.voice(name)
                assert await devices(server, name) == [voice.server.device_id]
                assert server.names[id_of(name)] == name.title()


async def test_what_a_ghost_says_is_read_by_people_and_by_the_bot_alone_of_ours(
    actor: MakeActor, server: KeyServer
) -> None:
    bot, alice = await actor("bot"), await actor("alice")
    async with house(bot) as ghosts:
        bea, carl = await ghosts.voice(BEA), await ghosts.voice(CARL)
        said = event(
            id_of(BEA),
            (await bea.crypto.encrypt(ROOM, "m.room.message", text("hello"), [alice.mxid, bot.mxid])).content,
        )
        await alice.sync()
        for reader in (alice.cipher, bot.cipher):
            read = await reader.decrypt(said)
            assert isinstance(read, Decrypted)
            assert (read.content["body"], read.sender_device) == ("hello", bea.server.device_id)
        assert not server.inbox[bot.mxid, bot.device_id], "its key is in the bot's store already"
        assert not server.inbox[id_of(CARL), carl.server.device_id], "nobody reads with a ghost's device"
        held = await bot.cipher.held(ROOM, 0)
        assert [one.session_id for one in held] == [said["content"]["session_id"]]
    async with house(bot):
        assert isinstance(await bot.cipher.decrypt(said), Decrypted), "also after a restart"


async def test_what_ends_the_bot_s_session_of_a_room_ends_every_ghost_s(actor: MakeActor) -> None:
    bot, alice = await actor("bot"), await actor("alice")
    async with house(bot) as ghosts:
        crypto = (await ghosts.voice(BEA)).crypto

        async def session(room: str = ROOM) -> str:
            return (await crypto.encrypt(room, "m.room.message", text("x"), [alice.mxid])).session_id

        first, other = await session(), await session("!other:test")
        assert await session() == first
        await bot.cipher.forget_sessions(ROOM)
        assert await session() != first
        assert await session("!other:test") == other


async def test_a_device_that_a_ghost_could_not_reach_is_told_of_and_tried_again(
    actor: MakeActor, server: KeyServer
) -> None:
    bot, alice = await actor("bot"), await actor("alice")
    async with house(bot) as ghosts:
        voice = await ghosts.voice(BEA)
        me = (alice.mxid, alice.device_id)
        keys, fallback = dict(server.one_time[me]), server.fallback.pop(me)
        server.one_time[me].clear()
        await bot.cipher.encrypt(ROOM, "m.room.message", text("x"), [alice.mxid])
        said = event(
            id_of(BEA), (await voice.crypto.encrypt(ROOM, "m.room.message", text("x"), [alice.mxid])).content
        )
        assert [one.device_id for one in bot.cipher.refused_devices()] == [alice.device_id]
        server.one_time[me].update(keys)
        server.fallback[me] = fallback
        with pytest.MonkeyPatch.context() as later:
            later.setattr("time.monotonic", _later())
            assert await bot.cipher.retry_refused() == ()
        await alice.sync()
        assert isinstance(await alice.cipher.decrypt(said), Decrypted)
        await voice.crypto.settle_refused(ROOM, [])


async def test_what_comes_to_a_ghost_is_thrown_away_however_much_it_is(
    actor: MakeActor, server: KeyServer
) -> None:
    bot = await actor("bot")
    async with house(bot) as ghosts:
        me = (id_of(BEA), (await ghosts.voice(BEA)).server.device_id)
        for lot in (250, 3):
            server.inbox[me] += [{"type": "m.room.encrypted"}] * lot
            await ghosts.tend()
            assert not server.inbox[me]
    server.inbox[me] += [{"type": "m.room.encrypted"}] * 2
    async with house(bot) as ghosts:
        await ghosts.tend()
        assert not server.inbox[me], "also of a ghost that hasn't spoken since the start"


async def test_a_device_that_nobody_uses_is_deleted_and_made_again_at_the_next_word(
    actor: MakeActor, server: KeyServer
) -> None:
    bot, clock = await actor("bot"), MovedClock()
    async with house(bot, clock) as ghosts:
        first = await ghosts.voice(BEA)
        master = server.cross_signing[id_of(BEA)]["master_key"]
        clock.advance(29 * 86_400)
        await ghosts.voice(CARL)
        await ghosts.tend()
        assert await devices(server, BEA)
        clock.advance(86_400)
        await ghosts.tend()
        assert not await devices(server, BEA)
        assert await devices(server, CARL)
        assert await ghosts.exists(id_of(BEA)), "its name is taken for ever"
        assert list(json.loads(bot.keepsakes.values["matrix.ghosts"])) == [id_of(CARL)]
        again = await ghosts.voice(BEA)
        assert again is not first
        assert again.server.device_id == first.server.device_id
        assert server.cross_signing[id_of(BEA)]["master_key"] == master
        assert (id_of(BEA), again.server.device_id) in server.fallback


async def test_of_too_many_devices_those_unused_for_the_longest_time_go_first(
    actor: MakeActor, server: KeyServer
) -> None:
    bot, clock = await actor("bot"), MovedClock()
    async with house(bot, clock, GhostRules(most_devices=2)) as ghosts:
        for name in (BEA, CARL, DORA):
            await ghosts.voice(name)
            clock.advance(60)
        await ghosts.voice(BEA)
        await ghosts.tend()
        assert all([await devices(server, name) for name in (BEA, CARL, DORA)]), "whoever speaks keeps theirs"
        clock.advance(3600)
        await ghosts.tend()
        assert [bool(await devices(server, name)) for name in (BEA, CARL, DORA)] == [True, False, True]


async def test_a_homeserver_that_is_away_keeps_a_device_on_the_roster(actor: MakeActor, server: KeyServer) -> None:
    bot, clock = await actor("bot"), MovedClock()
    async with house(bot, clock) as ghosts:
        await ghosts.voice(BEA)
        clock.advance(31 * 86_400)
        server.unreachable.add("devices")
        await ghosts.tend()
        server.unreachable.clear()
        assert await devices(server, BEA)
        await ghosts.tend()
        assert not await devices(server, BEA)


async def test_a_ghost_whose_keys_are_lost_gets_a_new_device_of_the_same_identity(
    actor: MakeActor, server: KeyServer
) -> None:
    bot, clock = await actor("bot"), MovedClock()
    async with house(bot, clock) as ghosts:
        first = await ghosts.voice(BEA)
        master = server.cross_signing[id_of(BEA)]["master_key"]
        assert bot.database is not None
        await bot.database.execute("DELETE FROM crypto_account WHERE account_id=$1", id_of(BEA))
    async with house(bot, clock) as ghosts:
        second = await ghosts.voice(BEA)
        assert await devices(server, BEA) == [second.server.device_id] != [first.server.device_id]
        assert server.cross_signing[id_of(BEA)]["master_key"] == master
        assert second.since_ms > 0 == first.since_ms


async def test_an_identity_that_the_database_doesn_t_know_is_never_replaced(
    actor: MakeActor, server: KeyServer
) -> None:
    bot = await actor("bot")
    async with house(bot) as ghosts:
        await ghosts.voice(BEA)
    uploaded = len(server.masters_uploaded)
    bot.keepsakes.values = {name: kept for name, kept in bot.keepsakes.values.items() if "_etb_u_" not in name}
    async with house(bot) as ghosts:
        with pytest.raises(Broken, match="holds no keys of it"):
            await ghosts.voice(BEA)
    assert len(server.masters_uploaded) == uploaded


async def test_a_name_is_given_anew_when_etb_has_another(actor: MakeActor, server: KeyServer) -> None:
    bot, clock, names = await actor("bot"), MovedClock(), {"bea": "Bea"}
    async with house(bot, clock, names=names) as ghosts:
        server.unreachable.add("profile")
        await ghosts.voice(BEA)
        assert id_of(BEA) not in server.names, "that holds nobody up"
        server.unreachable.clear()
        await ghosts.voice(BEA)
        assert server.names[id_of(BEA)] == "Bea"
        asked = len(server.requests)
        clock.advance(3600)
        await ghosts.voice(BEA)
        assert len(server.requests) == asked
        names["bea"] = "Beatrix"
        clock.advance(3600)
        await ghosts.voice(BEA)
        assert server.names[id_of(BEA)] == "Beatrix"


def drawn(name: str, username: str) -> bytes:
    return f"{name[:1]} of {username}".encode()


async def test_a_ghost_s_picture_is_uploaded_once_also_over_restarts_and_retirement(
    actor: MakeActor, server: KeyServer
) -> None:
    bot, clock, names = await actor("bot"), MovedClock(), dict[str, str]()
    for _ in range(2):
        async with house(bot, clock, names=names, face_of=drawn) as ghosts:
            await ghosts.voice(BEA)
            assert server.media == {server.pictures[id_of(BEA)]: b"B of bea"}
            clock.advance(31 * DAY_MS / 1000)
            await ghosts.tend()
            assert await devices(server, BEA) == []
            await ghosts.voice(BEA)
            assert len(server.media) == 1
    shown = [asked for asked in server.requests if asked.endswith("avatar_url")]
    assert len(shown) == 1
    async with house(bot, clock, names=names, face_of=drawn) as ghosts:
        names["bea"] = "Beatrix"
        await ghosts.voice(BEA)
        assert len(server.media) == 1, "the same picture for another name"
        names["bea"] = "Zoe"
        clock.advance(3600)
        await ghosts.voice(BEA)
        assert server.media[server.pictures[id_of(BEA)]] == b"Z of bea"
        assert len(server.media) == 2


@pytest.mark.parametrize("part", ["media/v3/upload", "avatar_url"])
async def test_a_picture_that_can_not_be_given_holds_nobody_up_and_is_tried_again(
    actor: MakeActor, server: KeyServer, part: str
) -> None:
    clock = MovedClock()
    async with house(await actor("bot"), clock, face_of=drawn) as ghosts:
        server.unreachable.add(part)
        await ghosts.voice(BEA)
        assert (server.names[id_of(BEA)], server.pictures) == ("Bea", {})
        server.unreachable.clear()
        await ghosts.voice(BEA)
        assert server.pictures == {}, "not at each word"
        clock.advance(3600)
        await ghosts.voice(BEA)
        assert server.media[server.pictures[id_of(BEA)]] == b"B of bea"
        assert len(server.media) == 1


async def test_without_pictures_none_is_drawn(actor: MakeActor, server: KeyServer) -> None:
    async with house(await actor("bot")) as ghosts:
        await ghosts.voice(BEA)
    assert (server.media, server.pictures) == ({}, {})


async def test_a_name_that_makes_no_id_speaks_for_nobody(actor: MakeActor) -> None:
    async with house(await actor("bot")) as ghosts:
        with pytest.raises(Refused, match="no Matrix user id"):
            await ghosts.voice(Username(""))
        assert await ghosts.without_device(Username("")) is None
        assert await ghosts.without_device(BEA) is None
        assert not await ghosts.exists(UserId("@alice:test"))
        assert ghosts.is_ghost(id_of(BEA))


async def test_signals_are_sent_for_whoever_has_spoken_and_cost_no_ghost(
    actor: MakeActor, server: KeyServer
) -> None:
    async with house(await actor("bot")) as ghosts:
        room = RoomId(ROOM)
        await ghosts.typing(room, BEA, is_typing=True)
        assert await devices(server, BEA) == []
        await ghosts.voice(BEA)
        before = len(server.requests)
        await ghosts.typing(room, BEA, is_typing=True)
        await ghosts.read_up_to(room, BEA, EventId("$e"))
        server.unreachable.add("typing")
        await ghosts.typing(room, BEA, is_typing=False)
        assert len(server.requests) == before + 3


async def test_a_ghost_that_has_not_spoken_since_a_restart_types_without_a_device(
    actor: MakeActor, server: KeyServer
) -> None:
    bot = await actor("bot")
    async with house(bot) as ghosts:
        await ghosts.voice(BEA)
    async with house(bot) as ghosts:
        before = len(server.requests)
        await ghosts.typing(RoomId(ROOM), BEA, is_typing=True)
        await ghosts.read_up_to(RoomId(ROOM), BEA, EventId("$e"))
        assert [asked.split("/")[5] for asked in server.requests[before:]] == ["typing", "receipt"]
        await ghosts.typing(RoomId(ROOM), CARL, is_typing=True)
        assert len(server.requests) == before + 2
        assert await devices(server, CARL) == []


class _Mortal(DictKeepsakes):
    """Dies at the n-th put, before or after it is durable."""

    def __init__(self, kept: DictKeepsakes, step: int, *, stored: bool) -> None:
        super().__init__()
        self.values = kept.values
        self._left, self._stored = step, stored

    async def put(self, name: str, value: bytes) -> None:
        self._left -= 1
        if self._left == 0 and not self._stored:
            raise Crash(name)
        await super().put(name, value)
        if self._left == 0:
            raise Crash(name)


def _later() -> Callable[[], float]:
    now = time.monotonic  # before it is replaced
    return lambda: now() + 3600

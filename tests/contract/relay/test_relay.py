"""News between two processes through a real Redis: sealed, in order, once, and nothing missed in silence."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace

import pytest
from redis.asyncio import Redis

from etb_appservice.app.sockets import relayed
from etb_appservice.domain.classification import Classification
from etb_appservice.domain.ids import EventId, RoomId, UserId, Username, WarRoomId
from etb_appservice.domain.incident import EtbUser
from etb_appservice.domain.news import News, Notified
from etb_appservice.domain.verdicts import Verdict
from etb_appservice.gateway import relay as relays
from etb_appservice.gateway.callers import Caller
from etb_appservice.gateway.doors import Doors
from etb_appservice.gateway.relay import Ears, Relay, Sign
from etb_appservice.ports import Clock
from etb_appservice.store.sql import SqlStore, open_store
from tests.harness.cast import etb_user
from tests.harness.house import House
from tests.harness.redis import RedisServer
from tests.harness.running import ROOT_KEY
from tests.harness.sockets import Scene, scene

KEY = bytes(range(32))
CHANNEL = "etb-appservice:test"
ROOM = WarRoomId("11111111-2222-5333-8444-555555555555")


@pytest.fixture(scope="module")
async def module_redis() -> AsyncIterator[RedisServer]:
    server = await RedisServer.start()
    yield server
    await server.stop()


@pytest.fixture
async def own_redis() -> AsyncIterator[RedisServer]:
    """One that a test may kill."""
    server = await RedisServer.start()
    yield server
    await server.stop()


@dataclass
class End:
    """One process's end of it, and what came out."""

    relay: Relay
    heard: list[str]
    missed: list[None]


class Soon:
    """A clock on which no wait for Redis is long."""

    def __init__(self, now_ms: int = 1_790_000_000_000) -> None:
        self._now_ms = now_ms
        self.skipped_s = 0.0

    def now_ms(self) -> int:
        return self._now_ms

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time() + self.skipped_s

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(min(seconds, 0.05))


@asynccontextmanager
async def end(
    url: str,
    keys: Callable[[], Sequence[bytes]] = lambda: (KEY,),
    clock: Clock | None = None,
    *,
    waits: bool = True,
    leads: bool = False,
) -> AsyncIterator[End]:
    heard: list[str] = []
    missed: list[None] = []
    relay = Relay(
        url,
        CHANNEL,
        keys,
        clock or Soon(),
        ears=Ears(
            heard=lambda news: heard.extend(one.title for one in news if isinstance(one, Notified)),
            touched=lambda scopes: heard.append(" ".join(scopes)),
            missed=lambda: missed.append(None),
            linked=lambda links: heard.extend(f"{name} is {user_id}" for name, user_id in links),
            work=lambda lanes: heard.append(f"work {' '.join(lanes)}"),
            decided=lambda acts: heard.append(f"decided {' '.join(acts)}"),
            judged=lambda verdict: heard.append(f"{verdict.ref} {verdict.outcome}"),
            sign=lambda sign: heard.append(f"{sign.username} {sign.is_typing} {sign.event_id}"),
        ),
        leads=leads,
    )
    async with running(relay):
        if waits:
            await until_up(relay)
        yield End(relay, heard, missed)


@asynccontextmanager
async def running(relay: Relay) -> AsyncIterator[None]:
    task = asyncio.create_task(relay.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 - another process tells of nothing
            await asyncio.sleep(0.005)


async def until_up(relay: Relay) -> None:
    await until(lambda: relay.is_up)


def notice(title: str) -> tuple[News, ...]:
    return (Notified(war_room=ROOM, notice="MENTION", title=title),)


async def test_news_come_to_the_other_process_once_and_in_their_order(module_redis: RedisServer) -> None:
    async with end(module_redis.url) as one, end(module_redis.url) as other:
        for number in range(300):
            one.relay.send(notice(str(number)))
        await until(lambda: len(other.heard) >= 300)

        assert other.heard == [str(number) for number in range(300)]
        assert (one.heard, one.missed) == ([], [])


async def test_nothing_is_in_plain_text_in_redis(module_redis: RedisServer) -> None:
    client = Redis.from_url(module_redis.url)
    async with client, client.monitor() as monitor, end(module_redis.url) as one, end(module_redis.url) as other:
        one.relay.send(notice("a secret title"))
        await until(lambda: other.heard == ["a secret title"])
        seen: list[str] = []
        while sum("PUBLISH" in one for one in seen) < 4:  # two hellos, the news, a beat
            seen.append(str(await monitor.next_command()))
        text = "".join(seen)
        for word in ("secret", ROOM, ROOM[:8], "Notified", "war_room", "MENTION"):
            assert word not in text


async def test_whoever_has_another_key_hears_nothing_even_on_the_same_channel(
    module_redis: RedisServer, logged: list[dict[str, object]]
) -> None:
    other_key = bytes(32)
    async with end(module_redis.url) as one, end(module_redis.url, lambda: (other_key,)) as other:
        async with Redis.from_url(module_redis.url) as client:
            for junk in (b"", b"x", b"x" * 500, json.dumps({"news": []}).encode()):
                await client.publish(CHANNEL, junk)
        one.relay.send(notice("x"))
        await until(lambda: sum("unreadable" in str(entry) for entry in logged) >= 5)

        assert (other.heard, other.missed) == ([], [])


async def test_what_is_repeated_or_old_is_not_heard_again(module_redis: RedisServer) -> None:
    clock = Soon()
    async with end(module_redis.url) as one, end(module_redis.url, clock=clock) as other:
        before = one.relay._seal(one.relay._sheet(notice("before")))
        one.relay.send(notice("first"))
        again = one.relay._seal(one.relay._line[0])
        await until(lambda: other.heard == ["first"])
        async with Redis.from_url(module_redis.url) as client:
            for _ in range(3):
                await client.publish(CHANNEL, again)
            await client.publish(CHANNEL, before)
            clock._now_ms += 180_000
            await client.publish(CHANNEL, one.relay._seal(one.relay._sheet(notice("late"))))
        clock._now_ms -= 180_000
        one.relay.send(notice("second"))
        await until(lambda: len(other.heard) > 1)

        assert other.heard == ["first", "second"]


async def test_while_the_secret_is_replaced_both_keys_open(module_redis: RedisServer) -> None:
    new = bytes(reversed(KEY))
    keys = [KEY]
    async with end(module_redis.url, lambda: keys) as one, end(module_redis.url, lambda: (new, KEY)) as other:
        one.relay.send(notice("under the old one"))
        await until(lambda: other.heard == ["under the old one"])
        other.relay._number += 1  # a message that came before the new key did, which nobody could read
        keys[:] = [new, KEY]
        other.relay.send(notice("under the new one"))
        await until(lambda: one.heard == ["under the new one"])
        assert one.missed


async def test_through_a_restart_of_redis_news_come_or_are_known_to_be_missed(own_redis: RedisServer) -> None:
    async with end(own_redis.url) as one, end(own_redis.url) as other:
        one.relay.send(notice("before"))
        await until(lambda: other.heard == ["before"])

        await own_redis.kill()
        await until(lambda: not one.relay.is_up and not other.relay.is_up)
        for number in range(20):
            one.relay.send(notice(f"while away {number}"))
        await own_redis.start_again()
        await until(lambda: one.relay.is_up and other.relay.is_up)
        one.relay.send(notice("after"))

        await until(lambda: "after" in other.heard)
        late = [title for title in other.heard if title.startswith("while")]
        assert late == [f"while away {number}" for number in range(20)] or other.missed
        assert other.heard == sorted(set(other.heard), key=other.heard.index)


async def test_what_was_too_much_to_keep_is_known_to_be_missed(own_redis: RedisServer) -> None:
    async with end(own_redis.url) as one, end(own_redis.url) as other:
        await own_redis.kill()
        await until(lambda: not one.relay.is_up and not other.relay.is_up)
        for number in range(relays._MOST_LINE + 5):
            one.relay.send(notice(str(number)))
        await own_redis.start_again()

        await until(lambda: bool(other.missed))


async def test_whoever_comes_later_knows_that_they_missed_what_was_before(module_redis: RedisServer) -> None:
    async with end(module_redis.url) as one:
        one.relay.send(notice("before"))
        async with end(module_redis.url) as other:
            await until(lambda: bool(other.missed))

            one.relay.send(notice("now"))
            await until(lambda: other.heard == ["now"])
            assert other.missed == [None]


async def heard_from(one: End, other: End) -> None:
    """What one has said by now is heard."""
    one.relay.work(["a sign of life"])
    await until(lambda: "work a sign of life" in other.heard)
    other.heard.clear()


async def passed(seconds: float, clock: Soon, other: End, one: End) -> None:
    """So much time is over for the other, whose own word has come back to it."""
    clock.skipped_s += seconds
    other.relay.decided(["own"])
    await until(lambda: "decided own" in one.heard)
    one.heard.clear()
    await heard_from(one, other)


async def test_what_a_process_that_led_told_nobody_is_missed_when_another_one_leads(
    module_redis: RedisServer,
) -> None:
    async with end(module_redis.url) as beside:
        async with end(module_redis.url, leads=True) as one:
            await heard_from(one, beside)
        before = len(beside.missed)  # how it has ended isn't known yet
        async with end(module_redis.url, leads=True) as other:
            await heard_from(other, beside)
            assert len(beside.missed) == before + 1
            other.relay.send(notice("after"))
            await until(lambda: beside.heard == ["after"])
            late = replace(one.relay._sheet(()), number=0)
            async with Redis.from_url(module_redis.url) as redis:
                await redis.publish(CHANNEL, one.relay._seal(late))
            other.relay.send(notice("more"))
            await until(lambda: beside.heard[-1] == "more")
            assert len(beside.missed) == before + 1, "once for each that leads anew"


async def test_before_the_first_one_that_is_heard_to_lead_another_may_have_led(module_redis: RedisServer) -> None:
    async with end(module_redis.url) as one, end(module_redis.url) as beside:
        await heard_from(one, beside)
        assert beside.missed == []
        async with end(module_redis.url, leads=True) as leader:
            await heard_from(leader, beside)
            assert beside.missed == [None]


async def test_a_process_that_leads_and_is_silent_is_missed_once(module_redis: RedisServer) -> None:
    clock = Soon()
    async with end(module_redis.url) as one, end(module_redis.url, clock=clock) as beside:
        async with end(module_redis.url, leads=True) as leader:
            await heard_from(leader, beside)
            for _ in range(3):
                await passed(10, clock, beside, one)
                await heard_from(leader, beside)
            assert len(beside.missed) == 1, "it says now and then how far it is"
        await passed(0, clock, beside, one)  # its last beat was read
        await passed(10, clock, beside, one)
        assert len(beside.missed) == 1
        for _ in range(3):
            await passed(10, clock, beside, one)
            assert len(beside.missed) == 2

        # It was only cut off, and nothing of it is missing.
        async with running(leader.relay):
            await until_up(leader.relay)
            leader.relay.send(notice("late"))
            await until(lambda: "late" in beside.heard)
            assert len(beside.missed) == 2
        assert leader.missed == []


async def test_one_that_was_silent_may_have_led_on_until_another_one_leads(module_redis: RedisServer) -> None:
    clock = Soon()
    async with end(module_redis.url) as one, end(module_redis.url, clock=clock) as beside:
        async with end(module_redis.url, leads=True) as paused:
            await heard_from(paused, beside)
        await passed(0, clock, beside, one)
        await passed(20, clock, beside, one)
        before = len(beside.missed)
        async with end(module_redis.url, leads=True) as leader:
            await heard_from(leader, beside)
            assert len(beside.missed) == before + 1
            # The one before wakes up and ends, having said a word more.
            async with Redis.from_url(module_redis.url) as redis:
                await redis.publish(CHANNEL, paused.relay._seal(paused.relay._sheet(())))
            for _ in range(3):
                await heard_from(leader, beside)
                await passed(10, clock, beside, one)
            assert len(beside.missed) == before + 1
        await passed(0, clock, beside, one)
        await passed(20, clock, beside, one)
        assert len(beside.missed) == before + 2
        async with end(module_redis.url, leads=True) as last:
            await heard_from(last, beside)
            assert len(beside.missed) == before + 3


async def test_while_redis_is_away_nobody_is_silent(own_redis: RedisServer) -> None:
    clock = Soon()
    async with end(own_redis.url) as one, end(own_redis.url, clock=clock) as beside:
        async with end(own_redis.url, leads=True) as leader:
            await heard_from(leader, beside)
        await passed(0, clock, beside, one)
        before = len(beside.missed)
        await own_redis.kill()
        await until(lambda: not one.relay.is_up and not beside.relay.is_up)
        clock.skipped_s += 60
        await own_redis.start_again()
        await until(lambda: one.relay.is_up and beside.relay.is_up)
        await passed(10, clock, beside, one)
        assert len(beside.missed) == before
        await passed(10, clock, beside, one)
        assert len(beside.missed) == before + 1


async def test_what_can_not_be_written_holds_nothing_up(module_redis: RedisServer) -> None:
    async with end(module_redis.url) as one, end(module_redis.url) as other:
        one.relay.send(notice("half \ud83d"))
        one.relay.send(notice("whole"))
        await until(lambda: "whole" in other.heard)
        assert other.heard == ["whole"]
        assert other.missed == [None]


@pytest.mark.parametrize("after_s", [0.0, 0.001, 0.003, 0.01])
async def test_it_ends_at_once_whenever_it_is_cancelled(module_redis: RedisServer, after_s: float) -> None:
    async with asyncio.timeout(2):
        async with end(module_redis.url, waits=False) as one:
            one.relay.send(notice("x"))
            await asyncio.sleep(after_s)


async def test_without_a_redis_a_process_goes_on_alone(own_redis: RedisServer) -> None:
    await own_redis.kill()
    async with end(own_redis.url, waits=False) as one:
        for _ in range(5000):
            one.relay.send(notice("x"))
        assert len(one.relay._line) == relays._MOST_LINE
        assert not one.relay.is_up


async def test_sockets_of_two_processes_are_told_the_same(module_redis: RedisServer, house: House) -> None:
    await house.open_for_alice()
    room = (await house.room()).war_room
    async with AsyncExitStack() as stack:
        scenes: list[Scene] = []
        for _ in range(2):
            one = await stack.enter_async_context(scene(house.store, house.policy, house.clock))
            relay = Relay(
                module_redis.url,
                "etb-appservice:hubs",
                lambda: (KEY,),
                Soon(house.clock.now_ms()),
                ears=Ears(heard=one.hub.heard, touched=house.db.touched, missed=one.hub.missed),
            )
            one.hub.through(relay.send)
            task = asyncio.create_task(relay.run())
            stack.callback(task.cancel)
            await until_up(relay)
            scenes.append(one)
        first, second = scenes
        alice, bob = await first.sits("alice", room), await second.sits("bob", room)

        for number in range(15):
            await alice.says(type="chat_message", content=str(number), client_id=f"c{number}")
        for client in (alice, bob):
            told = [await client.hears("chat_message") for _ in range(15)]
            assert [one["message"]["content"] for one in told] == [str(number) for number in range(15)]
            assert ("client_id" in told[0]) is (client is alice)
        await bob.quiet()


async def test_what_a_commit_touches_comes_once_and_before_the_news_of_it(module_redis: RedisServer) -> None:
    async with end(module_redis.url) as one, end(module_redis.url) as other:
        one.relay.touch({"users", ROOM})
        one.relay.send(notice("after"))
        again = one.relay._seal(one.relay._line[0])
        await until(lambda: "after" in other.heard)
        async with Redis.from_url(module_redis.url) as client:
            await client.publish(CHANNEL, again)
        one.relay.touch({"on-call"})
        await until(lambda: len(other.heard) > 2)

        assert other.heard == [f"{ROOM} users", "after", "on-call"]
        assert not other.missed


async def test_what_holds_nothing_is_no_number_that_others_miss(module_redis: RedisServer) -> None:
    async with end(module_redis.url) as one, end(module_redis.url) as other:
        one.relay.send(notice("first"))
        await until(lambda: other.heard == ["first"])
        missed = len(other.missed)
        for _ in range(20):
            one.relay.send(())
            one.relay.touch(())
            one.relay.link(())
            one.relay.decided(())
        one.relay.send(notice("second"))
        await until(lambda: other.heard == ["first", "second"])
        assert len(other.missed) == missed


async def test_errands_and_links_come_to_the_other_process_and_not_back(module_redis: RedisServer) -> None:
    async with end(module_redis.url) as one, end(module_redis.url) as other:
        alice, room = Username("alice"), RoomId("!r:x.org")
        one.relay.work(["lane 1", "lane 2"])
        one.relay.work()
        one.relay.decided(["act"])
        one.relay.judged(Verdict(ref="ref", outcome="done"))
        one.relay.sign(Sign(room_id=room, username=alice, is_typing=True))
        one.relay.sign(Sign(room_id=room, username=alice, event_id=EventId("$e")))
        one.relay.link([(alice, UserId("@a:x.org")), (Username("bob"), None)])
        await until(lambda: len(other.heard) == 8)
        assert other.heard == [
            "work lane 1 lane 2",
            "work ",
            "decided act",
            "ref done",
            "alice True None",
            "alice False $e",
            "alice is @a:x.org",
            "bob is None",
        ]
        assert one.heard == []
        assert other.missed == []


@dataclass
class Process:
    """One of those that serve: a store of its own over the one database, what it remembers, its sockets."""

    store: SqlStore
    doors: Doors
    scene: Scene
    relay: Relay

    async def sees(self, name: str, rights: EtbUser) -> int:
        """In how many war rooms, by a token that was confirmed long ago."""
        caller = Caller(user=rights, user_id=UserId(f"@{name}:x.org"), confirmed_ms=1)
        return len(await self.doors.visible(caller))


@asynccontextmanager
async def two_processes(redis: RedisServer, house: House) -> AsyncIterator[tuple[Process, Process]]:
    async with AsyncExitStack() as stack:
        made: list[Process] = []
        for _ in range(2):
            url = f"sqlite:///{house.folder / 'etb.db'}"
            store = await stack.enter_async_context(open_store(url, ROOT_KEY, Soon(house.clock.now_ms())))
            one = await stack.enter_async_context(scene(store, house.policy, store.clock))
            relay = relayed(redis.url, "etb-appservice:two", lambda: (KEY,), store, one.hub)
            task = asyncio.create_task(relay.run())
            stack.callback(task.cancel)
            await until_up(relay)
            made.append(Process(store, Doors(store, house.policy), one, relay))
        yield made[0], made[1]


async def withdrawn(house: House, store: SqlStore) -> None:
    """ETB has taken bob's clearance away, and this process has heard of it."""
    async with store.work() as work:
        await work.incidents.put_user(etb_user("bob", Classification.PUBLIC), house.clock.now_ms() + 5000)


async def test_a_right_that_one_process_takes_away_is_gone_at_once_at_the_other(
    own_redis: RedisServer, house: House
) -> None:
    await house.open_for_alice()
    room, bob = (await house.room()).war_room, etb_user("bob")
    async with two_processes(own_redis, house) as (first, second):
        sitting = await second.scene.sits("bob", room)
        assert [await second.sees("bob", bob) for _ in range(2)] == [1, 1]
        await withdrawn(house, first.store)

        assert await sitting.ends() == 4403
        assert await second.sees("bob", bob) == 0


async def test_after_a_redis_that_was_away_nothing_that_is_remembered_counts(
    own_redis: RedisServer, house: House
) -> None:
    await house.open_for_alice()
    bob = etb_user("bob")
    async with two_processes(own_redis, house) as (first, second):
        assert [await second.sees("bob", bob) for _ in range(2)] == [1, 1]
        await own_redis.kill()
        await until(lambda: not first.relay.is_up and not second.relay.is_up)
        await withdrawn(house, first.store)
        assert await second.sees("bob", bob) == 1
        for number in range(relays._MOST_LINE + 5):
            first.relay.send(notice(str(number)))
        await own_redis.start_again()

        async with asyncio.timeout(10):
            while await second.sees("bob", bob):  # noqa: ASYNC110 - another process tells of nothing
                await asyncio.sleep(0.01)


async def test_without_a_redis_what_is_remembered_counts_for_a_minute(house: House) -> None:
    await house.open_for_alice()
    bob, url = etb_user("bob"), f"sqlite:///{house.folder / 'etb.db'}"
    async with open_store(url, ROOT_KEY, house.clock) as store:
        doors = Doors(store, house.policy)
        caller = Caller(user=bob, user_id=UserId("@bob:x.org"), confirmed_ms=1)
        assert [len(await doors.visible(caller)) for _ in range(2)] == [1, 1]
        await withdrawn(house, house.db)
        assert len(await doors.visible(caller)) == 1
        house.clock.advance(61)
        assert await doors.visible(caller) == []

"""Tickets, in one process's memory and in a real Redis: good once, for a short while, and sealed there."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress

import pytest
from redis.asyncio import Redis

from etb_appservice.gateway.tickets import OwnTickets, SharedTickets, Tickets
from tests.harness.etb_parts import HandClock
from tests.harness.redis import RedisServer

KEY, FORMER = bytes(range(32)), bytes(range(1, 33))
TOKEN = "the token of alice"


@pytest.fixture
async def redis() -> AsyncIterator[RedisServer]:
    server = await RedisServer.start()
    yield server
    await server.stop()


def shared(
    redis: RedisServer,
    keys: Callable[[], Sequence[bytes]] = lambda: (KEY,),
    *,
    lasts_s: float = 30.0,
    name: str = "etb",
) -> SharedTickets:
    return SharedTickets(OwnTickets(HandClock(), lasts_s=lasts_s), redis.url, name, keys)


async def in_redis(redis: RedisServer) -> list[tuple[bytes, bytes]]:
    found = []
    async with Redis.from_url(redis.url) as client:
        for name in await client.keys():
            sealed = await client.get(name)
            assert isinstance(name, bytes)
            assert isinstance(sealed, bytes)
            found.append((name, sealed))
    return found


@pytest.fixture(params=["own", "shared"])
async def tickets(request: pytest.FixtureRequest, redis: RedisServer) -> Tickets:
    return shared(redis) if request.param == "shared" else OwnTickets(HandClock())


async def test_a_ticket_stands_for_its_token_once(tickets: Tickets) -> None:
    one, other = await tickets.give(TOKEN), await tickets.give(TOKEN)
    assert one != other
    assert await tickets.take(one) == TOKEN
    assert await tickets.take(one) is None
    assert await tickets.take(other) == TOKEN


@pytest.mark.parametrize("odd", ["", "x", "A" * 43, "A" * 44, "\ud800" * 43, "*" * 43, "a\n" * 22, "../" * 15])
async def test_what_was_never_given_is_none(tickets: Tickets, odd: str) -> None:
    await tickets.give(TOKEN)
    assert await tickets.take(odd) is None


async def test_one_of_any_process_is_good_at_every_other_once(redis: RedisServer) -> None:
    first, second = shared(redis), shared(redis)
    ticket = await first.give(TOKEN)
    assert await second.take(ticket) == TOKEN
    assert await first.take(ticket) is None
    assert await in_redis(redis) == []


async def test_redis_is_shown_neither_token_nor_ticket_and_forgets(redis: RedisServer) -> None:
    ticket = await shared(redis, lasts_s=0.2).give(TOKEN)
    [(name, sealed)] = await in_redis(redis)
    assert ticket.encode() not in name + sealed
    assert TOKEN.encode() not in name + sealed
    async with Redis.from_url(redis.url) as client:
        assert 0 < await client.pttl(name) <= 200


async def test_another_service_or_another_key_opens_nothing(redis: RedisServer) -> None:
    assert await shared(redis, name="other").take(await shared(redis).give(TOKEN)) is None
    assert await shared(redis, lambda: (FORMER,)).take(await shared(redis).give(TOKEN)) is None


async def test_a_ticket_outlives_the_rotation_of_the_key(redis: RedisServer) -> None:
    ticket = await shared(redis, lambda: (FORMER,)).give(TOKEN)
    assert await shared(redis, lambda: (KEY, FORMER)).take(ticket) == TOKEN


async def test_one_that_was_tampered_with_opens_nothing(redis: RedisServer) -> None:
    tickets = shared(redis)
    ticket = await tickets.give(TOKEN)
    [(name, sealed)] = await in_redis(redis)
    async with Redis.from_url(redis.url) as client:
        await client.set(name, sealed[:-1] + bytes([sealed[-1] ^ 1]))
    assert await tickets.take(ticket) is None


async def test_while_redis_is_away_tickets_are_good_where_they_were_given(redis: RedisServer) -> None:
    here, there = shared(redis), shared(redis)
    before = await here.give(TOKEN)
    await redis.kill()
    ticket = await here.give(TOKEN)
    assert await there.take(ticket) is None
    assert await here.take(before) is None
    assert await here.take(ticket) == TOKEN


@asynccontextmanager
async def mute() -> AsyncIterator[tuple[str, list[int]]]:
    """Something that takes connections and never answers; how many were open whenever one came."""
    came: list[int] = []
    here: set[asyncio.StreamWriter] = set()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        here.add(writer)
        came.append(len(here))
        await reader.read()
        here.discard(writer)
        writer.close()

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    yield f"redis://127.0.0.1:{port}/0", came
    server.close()


@asynccontextmanager
async def slow(each_s: float) -> AsyncIterator[str]:
    """A Redis that takes so long for each step."""

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while asked := await reader.read(1000):
                await asyncio.sleep(each_s)
                writer.write(b"%1\r\n+proto\r\n:3\r\n" if b"HELLO" in asked else b"+OK\r\n")
        writer.close()

    async with await asyncio.start_server(take, "127.0.0.1", 0) as server:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/5?client_name=etb"


async def test_a_redis_that_is_slow_is_waited_for_a_moment_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("etb_appservice.gateway.tickets._REDIS_S", 1.0)
    async with slow(0.45) as url:
        tickets = SharedTickets(OwnTickets(HandClock()), url, "etb", lambda: (KEY,))
        async with asyncio.timeout(2):
            ticket = await tickets.give(TOKEN)
        assert await tickets.take(ticket) == TOKEN, "good where it was given"
        async with asyncio.timeout(2):
            assert await tickets.take("A" * 43) is None


async def test_many_at_once_wait_for_their_turn(redis: RedisServer) -> None:
    here, there = shared(redis), shared(redis)
    given = await asyncio.gather(*(here.give(f"token {number}") for number in range(50)))
    taken = await asyncio.gather(*(there.take(one) for ticket in given for one in (ticket, ticket[::-1])))
    assert [one for one in taken if one is not None] == [f"token {number}" for number in range(50)]


async def test_a_redis_that_hangs_is_waited_for_a_moment_and_by_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("etb_appservice.gateway.tickets._REDIS_S", 0.5)
    async with mute() as (url, came), asyncio.timeout(5):
        tickets = SharedTickets(OwnTickets(HandClock()), url, "etb", lambda: (KEY,))
        ticket = await tickets.give(TOKEN)
        assert await tickets.take(ticket) == TOKEN, "good where it was given"
        assert came == [1], "tried once"
        asked = await asyncio.gather(*(tickets.take("A" * 43) for _ in range(100)))
        assert asked == [None] * 100
        assert max(came) == 8

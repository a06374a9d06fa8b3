"""Who may open a socket, what they are told, and how it ends."""

from urllib.parse import quote

import aiohttp
import pytest
from multidict import CIMultiDict

from etb_appservice.domain.classification import Classification
from etb_appservice.gateway.socket import SocketTerms
from etb_appservice.gateway.watch import Patience
from tests.harness.cast import NO_1, NO_2, incident
from tests.harness.house import House
from tests.harness.sockets import ORIGIN, UUID_OF, Scene, scene, user_called

# --- the upgrade ----------------------------------------------------------------------------------------------


async def test_whoever_connects_is_told_first_where_and_who_they_are(here: Scene, war_room: str) -> None:
    client = await here.opens("alice", war_room)

    told = await client.hears("connection_established")

    assert told["room_id"] == war_room
    assert told["user"] == {"id": UUID_OF["alice"], "username": "alice"}
    assert told["protocol"] == 1
    assert told["server_time"].endswith("Z")


@pytest.mark.parametrize("scheme", ["Token", "Bearer", "token"])
async def test_the_token_comes_in_the_header(here: Scene, war_room: str, scheme: str) -> None:
    client = await here.opens(None, war_room, headers={"Authorization": f"{scheme} t-alice"})

    assert (await client.hears())["user"]["username"] == "alice"


async def test_browsers_show_the_token_as_a_subprotocol(here: Scene, war_room: str) -> None:
    client = await here.opens(None, war_room, protocols=("etb.token", "t-alice"))

    assert client.ws.protocol == "etb.token"
    assert (await client.hears())["user"]["username"] == "alice"


@pytest.mark.parametrize("way", ["query", "subprotocol"])
async def test_a_ticket_opens_one_socket_and_no_second_one(here: Scene, war_room: str, way: str) -> None:
    ticket = await here.tickets.give("t-bob")
    options = {"query": f"?ticket={ticket}"} if way == "query" else {"protocols": ("etb.ticket", ticket)}

    client = await here.opens(None, war_room, **options)
    assert (await client.hears())["user"]["username"] == "bob"

    assert await here.refused(None, war_room, **options) == 4401


async def test_an_old_ticket_opens_nothing(here: Scene, opened: House, war_room: str) -> None:
    ticket = await here.tickets.give("t-bob")
    opened.clock.advance(31)

    assert await here.refused(None, war_room, query=f"?ticket={ticket}") == 4401


async def test_a_token_in_the_url_counts_only_where_that_is_configured(opened: House, war_room: str) -> None:
    async with scene(opened.store, opened.policy, opened.clock) as here:
        assert await here.refused(None, war_room, query="?token=t-alice") == 4401
        assert here.callers.asked == []
    async with scene(opened.store, opened.policy, opened.clock, SocketTerms(token_in_url=True)) as here:
        client = await here.opens(None, war_room, query="?token=t-alice")
        await client.hears("connection_established")


@pytest.mark.parametrize(
    "headers", [{}, {"Authorization": "Token nobody"}, {"Authorization": "Basic t-alice"}, {"Authorization": "x"}]
)
async def test_without_a_token_that_counts_it_is_closed_with_4401(
    here: Scene, war_room: str, headers: dict[str, str]
) -> None:
    assert await here.refused(None, war_room, headers=headers) == 4401


async def test_two_tokens_are_none(here: Scene, war_room: str) -> None:
    headers = CIMultiDict([("Authorization", "Token t-alice"), ("Authorization", "Token t-bob")])
    url = here.server.make_url(f"/ws/chat/{war_room}/")
    async with here.http.ws_connect(url, headers=headers) as ws:
        message = await ws.receive(timeout=5)
        assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 4401)


async def test_an_etb_that_never_confirmed_the_token_and_is_away_now_opens_nothing(
    here: Scene, war_room: str
) -> None:
    here.callers.away = True

    assert await here.refused("alice", war_room) == 1011


async def test_pages_connect_from_configured_origins_only(here: Scene, war_room: str) -> None:
    assert await here.refused("alice", war_room, headers={"Origin": "https://evil.example"}) == 4403
    assert await here.refused("alice", war_room, headers={"Origin": "null"}) == 4403
    assert here.callers.asked == []
    await here.sits("alice", war_room, headers={"Origin": ORIGIN})


async def test_a_bare_token_among_the_subprotocols_is_neither_taken_nor_logged(
    here: Scene, war_room: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        await here.opens(None, war_room, protocols=("t-alice",))

    assert caught.value.status == 400
    assert "t-alice" not in caplog.text


async def test_what_is_no_upgrade_is_told_so(here: Scene, war_room: str) -> None:
    for path in (f"/ws/chat/{war_room}/", f"/ws/chat/{war_room}"):
        async with here.http.get(here.server.make_url(path)) as answer:
            assert answer.status == 426
            assert (await answer.json())["code"] == "upgrade_required"


# --- which room -----------------------------------------------------------------------------------------------


async def test_a_room_has_several_names(here: Scene, opened: House, war_room: str) -> None:
    room_id = await opened.room_id()
    alias = f"#_etb_{NO_1}:x.org"
    for name in (war_room, war_room.upper(), NO_1, quote(room_id, safe=""), quote(alias, safe=""), "inc-1"):
        client = await here.opens("alice", name)
        assert (await client.hears())["room_id"] == war_room, name


@pytest.mark.parametrize(
    "name",
    [
        "test-room",
        "00000000-0000-4000-8000-000000000000",
        "!nothing:x.org",
        "%23_etb_nothing%3Ax.org",
        f"%23_etb_{NO_1}%3Aevil.example",
        "control",
        "space",
        "x" * 300,
        "%00",
        "%F0%9F%8E%89",
    ],
)
async def test_no_such_room_is_4404(here: Scene, name: str) -> None:
    assert await here.refused("alice", name) == 4404


async def test_a_number_that_two_incidents_have_names_neither(here: Scene, opened: House) -> None:
    await opened.report(incident(id=NO_2, number="INC-1"))
    await opened.settle()

    assert await here.refused("alice", "INC-1") == 4404


async def test_a_store_that_fails_opens_nothing(
    here: Scene, war_room: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*_: object) -> None:
        raise RuntimeError("away")

    monkeypatch.setattr(here.callers, "of", fails)

    assert await here.refused("alice", war_room) == 1011


async def test_the_services_own_rooms_are_no_war_rooms(here: Scene, opened: House) -> None:
    assert await here.refused("alice", quote(opened.control_room(), safe="")) == 4404


async def test_whoever_may_not_be_there_learns_of_no_incident_by_guessing(
    here: Scene, opened: House, war_room: str
) -> None:
    assert await here.refused("carol", war_room) == 4403
    assert await here.refused("carol", quote(await opened.room_id(), safe="")) == 4403
    assert await here.refused("carol", "INC-1") == 4404
    assert await here.refused("carol", "INC-2") == 4404


async def test_whoever_is_not_cleared_is_refused(here: Scene, opened: House, war_room: str) -> None:
    here.callers.users["t-alice"] = user_called("alice", Classification.PUBLIC)
    opened.clock.advance(1)

    assert await here.refused("alice", war_room) == 4403


# --- how many -------------------------------------------------------------------------------------------------


async def test_nobody_has_more_sockets_than_is_allowed(opened: House, war_room: str) -> None:
    async with scene(opened.store, opened.policy, opened.clock, SocketTerms(per_caller=2)) as here:
        first, _ = await here.sits("alice", war_room), await here.sits("alice", war_room)
        assert await here.refused("alice", war_room) == 4429
        await here.sits("bob", war_room)

        await first.ws.close()
        await here.sits("alice", war_room)


async def test_a_full_house_takes_nobody_more(opened: House, war_room: str) -> None:
    async with scene(opened.store, opened.policy, opened.clock, SocketTerms(most=1)) as here:
        await here.sits("alice", war_room)
        assert await here.refused("bob", war_room) == 4429


async def test_whoever_tries_names_of_rooms_is_slowed_down(here: Scene, opened: House, war_room: str) -> None:
    for number in range(30):
        assert await here.refused("carol", f"INC-{number}") == 4404
    assert await here.refused("carol", "INC-31") == 4429
    await here.sits("alice", war_room)

    opened.clock.advance(60)
    assert await here.refused("carol", "INC-32") == 4404


# --- how it ends ----------------------------------------------------------------------------------------------


async def test_a_socket_that_answers_pings_stays_and_one_that_does_not_is_closed(
    here: Scene, opened: House, war_room: str
) -> None:
    alive = await here.sits("alice", war_room)
    dead = await here.sits("bob", war_room, autoping=False)

    opened.clock.advance(26)
    here.sockets.watch.look()
    assert (await dead.ws.receive(timeout=5)).type is aiohttp.WSMsgType.PING
    await alive.quiet()
    opened.clock.advance(35)
    here.sockets.watch.look()

    assert await dead.ends() == 4408
    await alive.quiet()


async def test_whoever_asks_for_nothing_for_long_is_closed(opened: House, war_room: str) -> None:
    terms = SocketTerms(patience=Patience(dead_s=1000, idle_s=100))
    async with scene(opened.store, opened.policy, opened.clock, terms) as here:
        client = await here.sits("alice", war_room)
        opened.clock.advance(99)
        here.sockets.watch.look()
        await client.quiet()
        opened.clock.advance(100)
        here.sockets.watch.look()

        assert await client.ends() == 4408


async def test_everybody_is_told_to_come_back_when_the_service_ends(here: Scene, war_room: str) -> None:
    client = await here.sits("alice", war_room)

    await here.sockets.close()

    assert await client.ends() == 1001
    assert len(here.sockets) == 0


async def test_a_failing_store_closes_the_socket_and_no_other(
    here: Scene, war_room: str, logged: list[dict[str, object]]
) -> None:
    alice, bob = await here.sits("alice", war_room), await here.sits("bob", war_room)
    here.desk.refuses = RuntimeError("a text that nobody may see")

    await alice.says(type="chat_message", content="hello", message_type="TEXT")

    assert await alice.ends() == 1011
    here.desk.refuses = None
    await bob.says(type="ping", nonce=1)
    await bob.hears("pong")
    assert "nobody may see" not in str(logged)

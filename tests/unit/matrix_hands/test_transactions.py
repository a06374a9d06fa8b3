"""What the homeserver may send, and what it is answered. The store is the real one, on SQLite."""

import io
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from etb_appservice.domain.ids import EventId, RoomId, UserId
from etb_appservice.domain.passing import Sign, TypingSeen
from etb_appservice.matrix.arrivals import ODD_LANE, Intake
from etb_appservice.matrix.transactions import BODY_LIMIT, Transactions
from etb_appservice.ports import Work
from etb_appservice.store.migrate import upgrade
from etb_appservice.store.sql import SqlStore, open_store
from tests.harness.bot import RealClock

pytestmark = pytest.mark.enable_socket

TOKEN = {"Authorization": "Bearer right"}
TXN = "/_matrix/app/v1/transactions/"
BOT = UserId("@etb:x")
TYPING = [{"type": "m.typing", "room_id": "!room", "content": {"user_ids": ["@a:x"]}}]
Client = TestClient[Any, Any]


def an_event(number: int = 1, **more: Any) -> dict[str, Any]:
    return {
        "event_id": f"$e{number}",
        "room_id": "!room",
        "sender": "@a:x",
        "type": "m.room.message",
        "origin_server_ts": 1,
        "content": {"body": "hello"},
    } | more


class Broken:
    """A store whose commit fails while `broken`."""

    def __init__(self, store: SqlStore) -> None:
        self.store, self.broken = store, False

    @asynccontextmanager
    async def work(self) -> AsyncIterator[Work]:
        async with self.store.work() as work:
            yield work
            if self.broken:
                raise OSError("disk full")

    def stamp(self, *scopes: str) -> tuple[int, ...]:
        return self.store.stamp(*scopes)

    def view(self) -> Any:
        return self.store.view()


class Fixture:
    def __init__(
        self,
        client: Client,
        store: Broken,
        woken: list[str],
        transactions: Transactions,
        intake: Intake,
        passed: list[Sign],
    ) -> None:
        self.client, self.store, self.woken, self.transactions = client, store, woken, transactions
        self.intake = intake
        self.passed = passed

    async def put(
        self, body: bytes | Any, txn: str = "1", headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        async with self.client.put(
            TXN + txn, data=io.BytesIO(data), headers=TOKEN if headers is None else headers
        ) as answer:
            return answer.status, await answer.json()

    async def rows(self, lane: str = "!room") -> list[Any]:
        found: list[Any] = []
        while True:
            async with self.store.store.work() as work:
                row = await work.inbox.next(lane, RealClock().now_ms())
                if row is None or isinstance(row, float):
                    return found
                found.append(json.loads(row.payload))
                await work.inbox.finish(row.seq)

    async def parked(self) -> Sequence[Any]:
        async with self.store.view() as work:
            return list(await work.inbox.parked())


async def only_the_bot(name: str) -> bool:
    return name in {"@etb:x", "#_etb_1:x"}


@pytest.fixture
async def hs(tmp_path: Path) -> AsyncIterator[Fixture]:
    url = f"sqlite:///{tmp_path / 'etb.db'}"
    await upgrade(url)
    async with open_store(url, bytes(32 * [7]), RealClock()) as real:
        store, woken = Broken(real), list[str]()
        lanes = {"!known": "incident-1"}
        intake = Intake(store, lambda room_id: lanes.get(room_id, room_id), woken.extend, bot=BOT)
        passed: list[Sign] = []
        transactions = Transactions(
            intake,
            ["right", "next"],
            user_exists=only_the_bot,
            alias_exists=only_the_bot,
            passing=passed.extend,
        )
        async with TestClient(TestServer(transactions.app())) as client:
            yield Fixture(client, store, woken, transactions, intake, passed)


async def test_events_are_stored_in_order_and_their_lanes_woken(hs: Fixture) -> None:
    status, _ = await hs.put({"events": [an_event(1), an_event(2), an_event(3, room_id="!known")]})
    assert status == 200
    assert [event["event_id"] for event in await hs.rows()] == ["$e1", "$e2"]
    assert [event["event_id"] for event in await hs.rows("incident-1")] == ["$e3"]
    assert hs.woken == ["!room", "incident-1"]


async def test_the_path_without_prefix_is_served_too(hs: Fixture) -> None:
    async with hs.client.put("/transactions/1", json={"events": [an_event()]}, headers=TOKEN) as answer:
        assert answer.status == 200
    assert len(await hs.rows()) == 1


async def test_an_event_sent_again_in_another_transaction_is_stored_once(hs: Fixture) -> None:
    await hs.put({"events": [an_event(1)]}, "1")
    await hs.put({"events": [an_event(1), an_event(2)]}, "2")
    await hs.put({"events": [an_event(1, unsigned={"age": 9})]}, "3")
    assert [event["event_id"] for event in await hs.rows()] == ["$e1", "$e2"]


async def test_a_transaction_sent_again_is_acknowledged_without_work(hs: Fixture) -> None:
    await hs.put({"events": [an_event(1)]})
    hs.store.broken = True
    assert (await hs.put({"events": [an_event(1)]}))[0] == 200


async def test_a_transaction_id_used_again_for_other_events_is_stored(hs: Fixture) -> None:
    """A homeserver whose database was made anew counts from 1 again."""
    await hs.put({"events": [an_event(1)]})
    await hs.put({"events": [an_event(2)]})
    assert len(await hs.rows()) == 2


async def test_a_failed_commit_is_answered_503_and_the_repetition_is_stored(hs: Fixture) -> None:
    hs.store.broken = True
    status, body = await hs.put({"events": [an_event()]})
    assert (status, body["errcode"]) == (503, "M_UNKNOWN")
    assert "disk" not in json.dumps(body)
    assert hs.woken == []
    hs.store.broken = False
    assert (await hs.put({"events": [an_event()]}))[0] == 200
    assert len(await hs.rows()) == 1


@pytest.mark.parametrize(
    ("headers", "status", "errcode"),
    [
        ({}, 401, "M_MISSING_TOKEN"),
        ({"Authorization": "Bearer "}, 401, "M_MISSING_TOKEN"),
        ({"Authorization": "Basic cmlnaHQ="}, 401, "M_MISSING_TOKEN"),
        ({"Authorization": "Bearer wrong"}, 403, "M_FORBIDDEN"),
        ({"Authorization": "Bearer righ"}, 403, "M_FORBIDDEN"),
        ({"Authorization": "Bearer right2"}, 403, "M_FORBIDDEN"),
    ],
)
async def test_a_missing_or_wrong_token_stores_nothing(
    hs: Fixture, headers: dict[str, str], status: int, errcode: str
) -> None:
    got, body = await hs.put({"events": [an_event()]}, headers=headers)
    assert (got, body["errcode"]) == (status, errcode)
    assert await hs.rows() == []


async def test_a_token_in_the_url_counts_for_nothing(hs: Fixture) -> None:
    async with hs.client.put(TXN + "1?access_token=right", json={"events": []}) as answer:
        assert answer.status == 401


async def test_the_next_token_is_accepted_while_tokens_are_rotated(hs: Fixture) -> None:
    assert (await hs.put({"events": [an_event()]}, headers={"Authorization": "bearer next"}))[0] == 200


@pytest.mark.parametrize("body", [b"", b"{", b"not json", b"\xff\xfe\xfd", b"{'events': []}"])
async def test_a_body_that_is_not_json_is_refused_by_name(hs: Fixture, body: bytes) -> None:
    status, answer = await hs.put(body)
    assert (status, answer["errcode"]) == (400, "M_NOT_JSON")


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"null",
        b"7",
        b'"events"',
        b'{"events": {}}',
        b'{"events": null}',
        b'{"somethingelse": []}',
        b"[" * 100_000 + b"]" * 100_000,
        b'{"events": [' + b"[" * 100_000 + b"]" * 100_000 + b"]}",
    ],
    ids=range(9),
)
async def test_an_unknown_shape_is_parked_as_a_whole_and_acknowledged(hs: Fixture, body: bytes) -> None:
    assert (await hs.put(body))[0] == 200
    assert (await hs.put(body, "2"))[0] == 200
    [row] = await hs.parked()
    assert row.lane == ODD_LANE
    assert hs.woken == []


@pytest.mark.parametrize(
    "odd",
    [
        7,
        None,
        "text",
        [],
        {},
        {"event_id": "$x"},
        {"room_id": "!room", "event_id": 7},
        {"room_id": "!room", "event_id": ""},
        {"room_id": "!room", "event_id": "$" + "x" * 255},
        {"room_id": ["!room"], "event_id": "$x"},
        {"room_id": "!a\x00b", "event_id": "$x"},
        {"room_id": "!room", "event_id": "$\ud800"},
        {"room_id": "!room", "event_id": "$a\nb"},
    ],
    ids=range(13),
)
async def test_an_odd_event_is_parked_alone_and_its_neighbours_go_on(hs: Fixture, odd: Any) -> None:
    status, _ = await hs.put({"events": [an_event(1), odd, an_event(2)]})
    assert status == 200
    assert [event["event_id"] for event in await hs.rows()] == ["$e1", "$e2"]
    assert len(await hs.parked()) == 1


@pytest.mark.parametrize("text", ["\ud800 lone", "nul \x00 nul", "\u2028", "e" * 70_000], ids=range(4))
async def test_hostile_text_survives_as_it_is(hs: Fixture, text: str) -> None:
    event = an_event(1, content={"body": text, text[:9]: text})
    assert (await hs.put({"events": [event]}))[0] == 200
    assert await hs.rows() == [event]


@pytest.mark.parametrize("number", ["9" * 5000, "1e999", "-0", "NaN", "1" + "0" * 400])
async def test_numbers_no_event_may_hold_are_stored(hs: Fixture, number: str) -> None:
    body = json.dumps({"events": [an_event(1, depth="@")]}).replace('"@"', number).encode()
    assert (await hs.put(body))[0] == 200
    assert len(await hs.rows()) == 1


async def test_a_transaction_of_many_megabytes_is_stored(hs: Fixture) -> None:
    events = [an_event(number, content={"body": "x" * 64_000}) for number in range(100)]
    assert (await hs.put({"events": events}))[0] == 200
    assert len(await hs.rows()) == 100


async def test_a_body_over_the_limit_is_refused_with_its_limit(hs: Fixture) -> None:
    status, body = await hs.put(b'{"events": []' + b" " * BODY_LIMIT + b"}")
    assert (status, body["errcode"]) == (413, "M_TOO_LARGE")


async def test_ephemeral_and_to_device_parts_are_not_stored(hs: Fixture) -> None:
    part = [{"type": "m.room_key", "content": {"a": 1}}]
    for number, name in enumerate(("ephemeral", "to_device", "de.sorunome.msc2409.to_device"), start=1):
        assert (await hs.put({"events": [an_event(number)], name: part}, str(number)))[0] == 200
        assert (await hs.put({name: part}, f"only-{number}"))[0] == 200
    assert [event["event_id"] for event in await hs.rows()] == ["$e1", "$e2", "$e3"]
    assert await hs.parked() == []


async def test_who_types_and_who_has_read_is_passed_on_without_a_commit(hs: Fixture) -> None:
    assert hs.transactions.tells_passing is None
    assert (await hs.put({"events": []}, "0"))[0] == 200
    assert hs.transactions.tells_passing is False
    hs.store.broken = True
    for number, name in enumerate(("ephemeral", "de.sorunome.msc2409.ephemeral"), start=1):
        assert (await hs.put({"events": [], name: TYPING}, str(number)))[0] == 200, "nothing was to be stored"
        assert hs.passed == [TypingSeen(room_id=RoomId("!room"), user_ids=frozenset({UserId("@a:x")}))]
        hs.passed.clear()
        assert (await hs.put({"events": [], name: TYPING}, str(number)))[0] == 200
        assert hs.passed == [], "the same transaction again"
    assert hs.transactions.tells_passing is True
    assert (await hs.put({"events": [], "ephemeral": []}, "3"))[0] == 200
    assert hs.passed == []


async def test_an_event_beside_who_types_is_stored_first(hs: Fixture) -> None:
    both = {"events": [an_event()], "ephemeral": TYPING}
    hs.store.broken = True
    assert (await hs.put(both))[0] == 503
    assert hs.passed == []
    hs.store.broken = False
    assert (await hs.put(both))[0] == 200
    assert (len(hs.passed), len(await hs.rows())) == (1, 1)


@pytest.mark.parametrize("part", [None, 5, "x", {}, [5], [{"type": 5}], [{"type": "m.typing", "content": 7}]])
async def test_whatever_the_passing_part_is_the_events_are_taken(hs: Fixture, part: Any) -> None:
    assert (await hs.put({"events": [an_event()], "ephemeral": part}))[0] == 200
    assert len(await hs.rows()) == 1
    assert hs.passed == []
    assert await hs.parked() == []


async def test_the_memory_of_transactions_stays_bounded(hs: Fixture) -> None:
    for number in range(1100):
        assert (await hs.put({"events": []}, str(number)))[0] == 200
    assert len(hs.transactions._done) == 1024


async def test_the_ping_needs_the_token(hs: Fixture) -> None:
    async with hs.client.post("/_matrix/app/v1/ping", json={"transaction_id": "x"}, headers=TOKEN) as answer:
        assert (answer.status, await answer.json()) == (200, {})
    async with hs.client.post("/_matrix/app/v1/ping", json={}) as answer:
        assert answer.status == 401
    assert hs.transactions.pings == 1


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("users/%40etb%3Ax", 200),
        ("users/%40_etb_ghost%3Ax", 404),
        ("rooms/%23_etb_1%3Ax", 200),
        ("rooms/%23_etb_2%3Ax", 404),
    ],
)
async def test_only_what_exists_is_answered_as_existing(hs: Fixture, path: str, status: int) -> None:
    for prefix in ("/_matrix/app/v1/", "/"):
        async with hs.client.get(prefix + path, headers=TOKEN) as answer:
            assert answer.status == status
            assert status == 200 or (await answer.json())["errcode"] == "M_NOT_FOUND"
        async with hs.client.get(prefix + path) as answer:
            assert answer.status == 401


async def test_an_unknown_endpoint_is_answered_in_the_words_of_matrix(hs: Fixture) -> None:
    async with hs.client.get("/_matrix/app/v1/thirdparty/protocol/x", headers=TOKEN) as answer:
        assert (answer.status, (await answer.json())["errcode"]) == (404, "M_UNRECOGNIZED")
    async with hs.client.post(TXN + "1", headers=TOKEN) as answer:
        assert (answer.status, (await answer.json())["errcode"]) == (405, "M_UNRECOGNIZED")


async def test_a_failure_of_our_own_shows_no_traceback_and_no_secret(hs: Fixture) -> None:
    async def fails(_name: str) -> bool:
        raise RuntimeError("secret inside")

    hs.transactions._user_exists = fails
    async with hs.client.get("/users/@a:x", headers=TOKEN) as answer:
        assert answer.status == 500
        assert "secret" not in await answer.text()


def test_an_empty_token_is_no_token() -> None:
    with pytest.raises(ValueError, match="hs_token"):
        Transactions(None, [""], user_exists=only_the_bot, alias_exists=only_the_bot)  # type: ignore[arg-type]


async def test_our_own_messages_that_come_back_are_not_stored_and_all_else_is(hs: Fixture) -> None:
    member = {"type": "m.room.member", "state_key": "@a:x", "content": {"membership": "invite"}}
    events = [
        an_event(1, type="m.room.encrypted", sender=BOT),
        an_event(2, type="m.room.encrypted"),
        an_event(3, sender=BOT, **member),
    ]
    assert await hs.put({"events": events}) == (200, {})
    assert [row["event_id"] for row in await hs.rows()] == ["$e2", "$e3"]


async def test_who_is_in_a_room_counts_also_when_somebody_acts_in_the_bots_name(hs: Fixture) -> None:
    kick = an_event(1, sender=BOT, type="m.room.member", state_key="@a:x", content={"membership": "leave"})
    name = an_event(2, sender=BOT, type="m.room.name", state_key="", content={"name": "n"})
    status, _ = await hs.put({"events": [kick, name]})
    assert status == 200
    assert [event["event_id"] for event in await hs.rows()] == ["$e1"]


async def test_what_is_pinned_is_read_whoever_pinned_it(hs: Fixture) -> None:
    pins = an_event(1, sender=BOT, type="m.room.pinned_events", state_key="", content={"pinned": ["$a"]})
    assert await hs.put({"events": [pins]}) == (200, {})
    assert [event["event_id"] for event in await hs.rows()] == ["$e1"]


async def test_an_act_of_the_bot_that_came_back_is_remembered_for_the_self_test(hs: Fixture) -> None:
    await hs.put({"events": [an_event(1, sender=BOT, type="org.etb.selftest", state_key="")]})
    assert hs.intake.has_recent(EventId("$e1"))
    assert not hs.intake.has_recent(EventId("$e2"))


async def test_a_transaction_just_under_the_limit_is_stored_whole(hs: Fixture) -> None:
    size = 64 * 1024 * 1024 - 4096
    status, _ = await hs.put({"events": [an_event(1, content={"body": "a" * size}), an_event(2)]})
    assert status == 200
    [large, small] = await hs.rows()
    assert len(large["content"]["body"]) == size
    assert small["event_id"] == "$e2"

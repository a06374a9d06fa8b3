"""The watch over people in rooms, against an ETB by script."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.facts import Fact, RightsDoubted, Troubled, UsersSeen
from etb_appservice.domain.ids import Username
from etb_appservice.domain.incident import EtbUser
from etb_appservice.domain.outcomes import Later, Refused
from etb_appservice.etb.client import EtbClient
from etb_appservice.etb.probe import Modules
from etb_appservice.etb.reads import EtbReader
from etb_appservice.etb.watched import PeopleWatch
from tests.harness.etb_parts import HandClock, KeptStore, ScriptedEtb, json_answer, page

Connect = Callable[..., EtbClient]
USERS = "/security/api/users/"
HOUR_MS = 3_600_000


def row(name: str, level: str | None = "CONFIDENTIAL", **more: Any) -> dict[str, Any]:
    return {"id": name, "username": name, "clearance_level": level, **more}


def user(name: str, level: Classification = Classification.CONFIDENTIAL, *, active: bool = True) -> EtbUser:
    return EtbUser(Username(name), name, level, active)


class Watch:
    def __init__(self, etb: ScriptedEtb, client: EtbClient, clock: HandClock, store: KeptStore, most: int) -> None:
        self.etb, self.clock, self.store = etb, clock, store
        self.facts: list[Fact] = []
        self.inside = ["alice", "bob"]
        self.people = PeopleWatch(
            client=client,
            modules=Modules(client),
            reads=EtbReader(client, Modules(client), clock),
            store=store,
            clock=clock,
            encode_fact=self._encode,
            inside=self._inside,
            most=most,
        )

    def _encode(self, fact: Fact) -> bytes:
        self.facts.append(fact)
        return repr(fact).encode()

    async def _inside(self) -> list[Username]:
        return [Username(name) for name in self.inside]

    async def know(self, *users: EtbUser, ago_ms: int = 0) -> None:
        async with self.store.work() as work:
            for one in users:
                await work.incidents.put_user(one, self.clock.now_ms() - ago_ms)

    async def seen(self) -> list[tuple[str, Classification, bool]]:
        self.facts.clear()
        await self.people.look()
        return [
            (one.username, one.clearance, one.is_active)
            for fact in self.facts
            if isinstance(fact, UsersSeen)
            for one in fact.users
        ]


@pytest.fixture
def watch(etb: ScriptedEtb, connect: Connect, clock: HandClock, store: KeptStore) -> Watch:
    return Watch(etb, connect(), clock, store, most=6)


async def test_with_nobody_in_a_room_nothing_is_asked(watch: Watch) -> None:
    watch.inside = []
    assert await watch.people.look() == 0
    assert watch.etb.requests == []


async def test_one_page_tells_of_everybody_and_only_news_is_accepted(watch: Watch) -> None:
    await watch.know(user("alice"), user("bob"))
    watch.etb.on(USERS, page([row("alice"), row("bob"), row("zoe")]))
    assert await watch.seen() == []
    watch.etb.on(USERS, page([row("alice", "INTERNAL"), row("bob", is_locked=True)]))
    assert await watch.seen() == [
        ("alice", Classification.INTERNAL, True),
        ("bob", Classification.CONFIDENTIAL, False),
    ]
    assert len(watch.etb.asked(USERS)) == 2


async def test_no_clearance_is_the_lowest(watch: Watch) -> None:
    await watch.know(user("alice"), user("bob"))
    watch.etb.on(USERS, page([row("alice", None), row("bob")]))
    assert await watch.seen() == [("alice", Classification.PUBLIC, True)]


async def test_what_was_confirmed_a_while_ago_is_confirmed_again(watch: Watch) -> None:
    await watch.know(user("alice"), user("bob"), ago_ms=250_000)
    watch.etb.on(USERS, page([row("alice"), row("bob")]))
    assert [name for name, _, _ in await watch.seen()] == ["alice", "bob"]


async def test_who_is_missing_in_the_list_is_asked_for_by_name_before_they_are_gone(watch: Watch) -> None:
    await watch.know(user("alice"), user("bob"))
    watch.etb.on(USERS, page([row("alice")]), page([row("bob")]))
    assert await watch.seen() == []
    watch.etb.on(USERS, page([row("alice")]), page([]))
    assert await watch.seen() == [("bob", Classification.PUBLIC, False)]


async def test_a_list_that_is_too_long_is_left_for_questions_by_name_in_turn(watch: Watch) -> None:
    watch.inside = [f"u{number:02}" for number in range(20)]
    await watch.know(*(user(name) for name in watch.inside))
    many = [row(f"a{number:03}") for number in range(100)]
    pages = [page(many, f"{watch.etb.url}{USERS}?page={number}") for number in (2, 3, 4)]
    watch.etb.on(USERS, *pages, page([]))
    await watch.people.look()
    assert len(watch.etb.asked(USERS)) == 6
    asked: list[str] = []
    for _ in range(4):
        watch.etb.requests.clear()
        watch.etb.on(USERS, page([]))
        await watch.people.look()
        queries = watch.etb.asked(USERS)
        assert len(queries) <= 6
        asked += [query["username"] for query in queries if "username" in query]
    assert set(asked) == set(watch.inside), "everybody is looked at in turn"


async def test_an_etb_that_is_away_changes_nothing_until_the_hold_ends_and_then_tells_once(watch: Watch) -> None:
    await watch.know(user("alice"), user("bob"), ago_ms=HOUR_MS)
    watch.etb.on(USERS, json_answer({}, 404))
    with pytest.raises(Refused):
        await watch.people.look()
    assert watch.facts == []
    await watch.know(user("alice"), ago_ms=25 * HOUR_MS)
    for _ in range(2):
        with pytest.raises(Refused):
            await watch.people.look()
    assert all(isinstance(fact, Troubled) and "alice" in fact.text for fact in watch.facts)
    assert len([one for one in await watch.store.rows() if one.lane == "service"]) == 1


async def test_a_refused_token_is_told_from_an_etb_that_is_away(watch: Watch) -> None:
    await watch.know(user("alice"))
    watch.etb.on(USERS, json_answer({"detail": "Invalid token."}, 401))
    with pytest.raises(Refused, match="401"):
        await watch.people.look()
    [fact] = watch.facts
    assert isinstance(fact, RightsDoubted)
    assert fact.before_ms == watch.clock.now_ms() - 300_000
    assert json.dumps(fact.since_ms) == str(watch.clock.now_ms())


async def test_a_busy_etb_is_asked_again_later(watch: Watch) -> None:
    watch.etb.on(USERS, json_answer({}, 429, Retry_After="60"))
    with pytest.raises(Later):
        await watch.people.look()
    assert watch.facts == []

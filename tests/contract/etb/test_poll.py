"""The poll against an ETB by script."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from etb_appservice.domain.facts import Fact, OnCallSeen
from etb_appservice.domain.ids import Username
from etb_appservice.domain.incident import OnCall
from etb_appservice.domain.outcomes import Later, Refused
from etb_appservice.etb.client import EtbClient
from etb_appservice.etb.codec import IncidentDecoder
from etb_appservice.etb.poll import CURSOR, ON_CALL_LANE, Poller
from etb_appservice.etb.poll import ON_CALL as KEPT_ON_CALL
from etb_appservice.etb.probe import Modules
from tests.harness.etb_parts import (
    NOW_MS,
    Enough,
    HandClock,
    KeptStore,
    ScriptedEtb,
    incident_row,
    json_answer,
    page,
)
from tests.harness.fakes_etb import FakeEtb

Connect = Callable[..., EtbClient]
LIST = "/api/incidents/incidents/"
ON_CALL = "/api/sla-oncall/api/v1/oncall-assignments/"


both = pytest.mark.parametrize("database", ["sqlite", "postgres"], indirect=True)


def at(seconds_ago: float) -> str:
    return datetime.fromtimestamp(NOW_MS / 1000 - seconds_ago, UTC).isoformat().replace("+00:00", "Z")


@dataclass
class Desk:
    """A poller and everything around it."""

    etb: ScriptedEtb
    client: EtbClient
    clock: HandClock
    store: KeptStore
    duty: FakeEtb
    facts: list[Fact]
    poller: Poller

    async def titles(self) -> list[str]:
        rows = await self.store.rows()
        return [json.loads(row.payload)["incident"]["title"] for row in rows if row.source == "etb"]

    async def cursor(self) -> Any:
        kept = await self.store.keepsakes.get(CURSOR)
        return None if kept is None else json.loads(kept)

    def restarted(self) -> "Desk":
        """A new process: what was in memory is gone, what was stored is not."""
        return desk_of(self.etb, self.client, self.clock, self.store, self.duty)


def desk_of(
    etb: ScriptedEtb,
    client: EtbClient,
    clock: HandClock,
    store: KeptStore,
    duty: FakeEtb,
    *,
    with_incidents: bool = True,
) -> Desk:
    facts: list[Fact] = []

    def encode(fact: Fact) -> bytes:
        facts.append(fact)
        return repr(fact).encode()

    poller = Poller(
        client=client,
        modules=Modules(client),
        reads=duty,
        decoder=IncidentDecoder(client.connection),
        store=store,
        keepsakes=store.keepsakes,
        clock=clock,
        encode_fact=encode,
        with_incidents=with_incidents,
        dice=lambda: 0.5,
    )
    return Desk(etb, client, clock, store, duty, facts, poller)


@pytest.fixture
def desk(etb: ScriptedEtb, connect: Connect, clock: HandClock, store: KeptStore) -> Desk:
    return desk_of(etb, connect(), clock, store, FakeEtb())


def row(number: int, ago: float, **changes: Any) -> dict[str, Any]:
    return incident_row(number, **({"title": f"t{number}", "updated_at": at(ago)} | changes))


@both
async def test_the_first_poll_ever_takes_every_open_incident(desk: Desk) -> None:
    following = f"{desk.etb.url}{LIST}?page=2"
    first = page([row(1, 10), row(2, 20, status="CLOSED")], following)
    desk.etb.on(LIST, first, page([row(3, 9e6), row(4, 9e7, status="FROZEN")]))
    assert await desk.poller.poll_incidents() == 3
    assert await desk.titles() == ["t1", "t3", "t4"]
    assert desk.etb.asked(LIST)[0] == {"page_size": "100", "ordering": "-updated_at"}
    assert await desk.cursor() == {"updated_ms": NOW_MS - 10_000, "id": row(1, 10)["id"]}


@both
async def test_later_polls_take_what_changed_also_closed_ones_and_double_nothing(desk: Desk) -> None:
    desk.etb.on(LIST, page([row(1, 10)]))
    await desk.poller.poll_incidents()
    desk.etb.on(LIST, page([row(2, 5, status="CLOSED"), row(1, 10)]))
    assert await desk.poller.poll_incidents() == 1
    commits = desk.store.commits
    assert await desk.poller.poll_incidents() == 0
    assert desk.store.commits == commits
    assert await desk.titles() == ["t1", "t2"]
    assert desk.etb.asked(LIST)[1]["updated_after"] == at(130)
    assert await desk.restarted().poller.poll_incidents() == 0


async def test_a_poll_stops_at_the_cursor_when_etb_ignores_the_filter(desk: Desk) -> None:
    following = f"{desk.etb.url}{LIST}?page=2"
    desk.etb.on(LIST, page([row(1, 10)]))
    await desk.poller.poll_incidents()
    desk.etb.on(LIST, page([row(2, 5), row(1, 10), row(3, 9e6)], following))
    assert await desk.poller.poll_incidents() == 1
    assert len(desk.etb.asked(LIST)) == 2
    assert await desk.titles() == ["t1", "t2"]


async def test_a_list_in_another_order_is_read_to_its_end(desk: Desk) -> None:
    following = f"{desk.etb.url}{LIST}?page=2"
    desk.etb.on(LIST, page([row(1, 10)]))
    await desk.poller.poll_incidents()
    desk.etb.on(LIST, page([row(3, 9e6), row(1, 10), row(4, 8e6)], following), page([row(2, 5)]))
    assert await desk.poller.poll_incidents() == 1
    assert await desk.titles() == ["t1", "t2"]


@both
async def test_the_cursor_stays_when_the_commit_fails(desk: Desk) -> None:
    desk.etb.on(LIST, page([row(1, 10)]))
    desk.store.broken = True
    with pytest.raises(OSError, match="disk full"):
        await desk.poller.round()
    assert await desk.cursor() is None
    desk.store.broken = False
    await desk.poller.round()
    assert await desk.titles() == ["t1"]


async def test_the_cursor_stays_when_a_later_page_fails(desk: Desk) -> None:
    following = f"{desk.etb.url}{LIST}?page=2"
    desk.etb.on(LIST, page([row(1, 10)], following), json_answer({}, 403))
    with pytest.raises(Refused):
        await desk.poller.poll_incidents()
    assert await desk.titles() == ["t1"]
    assert await desk.cursor() is None


async def test_a_change_dated_in_the_future_hides_nothing_that_follows(desk: Desk) -> None:
    desk.etb.on(LIST, page([row(1, -1e9)]))
    await desk.poller.poll_incidents()
    assert (await desk.cursor())["updated_ms"] == NOW_MS
    desk.clock.ms += 30_000
    desk.etb.on(LIST, page([row(1, -1e9), row(2, -20)]))
    assert await desk.poller.poll_incidents() == 1
    assert await desk.titles() == ["t1", "t2"]


async def test_a_row_that_cannot_be_read_is_kept_for_a_person_and_the_rest_goes_on(desk: Desk) -> None:
    odd = [row(1, 10, id=["x"]), row(2, 11, title=7), row(3, 12, updated_at=5), row(4, 13)]
    desk.etb.on(LIST, page(odd))
    assert await desk.poller.poll_incidents() == 4
    assert [arrival.state == "parked" for arrival in await desk.store.rows()] == [True, False, False, False]
    assert await desk.poller.poll_incidents() == 0


async def test_incidents_without_a_time_are_told_by_their_content(desk: Desk) -> None:
    plain = incident_row(1, updated_at=...)
    closed = incident_row(1, updated_at=..., status="CLOSED")
    desk.etb.on(LIST, page([plain]), page([plain]), page([closed]), page([plain]))
    new = []
    for _ in range(4):
        desk.clock.ms += 1000
        new.append(await desk.poller.poll_incidents())
    assert new == [1, 0, 1, 1]


async def test_a_cursor_that_cannot_be_read_means_a_first_poll(desk: Desk) -> None:
    await desk.store.keepsakes.put(CURSOR, b'{"updated_ms": "x"}')
    desk.etb.on(LIST, page([row(3, 9e6)]))
    assert await desk.poller.poll_incidents() == 1


@both
async def test_who_is_on_call_is_told_when_it_changes_and_each_time(desk: Desk) -> None:
    alice, bob = OnCall("Platform", Username("alice")), OnCall("Platform", Username("bob"))
    assert not await desk.poller.poll_on_call()
    for duty in ([alice], [alice], [bob, alice], [alice], [alice, OnCall("Web", Username("alice"))]):
        desk.duty.duty = duty
        await desk.poller.poll_on_call()
    told = [fact for fact in desk.facts if isinstance(fact, OnCallSeen)]
    assert [fact.usernames for fact in told] == [("alice",), ("alice", "bob"), ("alice",), ("alice",)]
    assert told[-1].on_call == (alice, OnCall("Web", Username("alice")))
    assert [(arrival.source, arrival.lane) for arrival in await desk.store.rows()] == [("own", ON_CALL_LANE)] * 4
    assert not await desk.restarted().poller.poll_on_call()


async def test_who_was_on_call_is_known_as_an_earlier_version_kept_it(desk: Desk) -> None:
    await desk.store.keepsakes.put(KEPT_ON_CALL, b'{"usernames": ["alice"], "change": 3}')
    desk.duty.duty = [OnCall("Platform", Username("alice"))]
    assert not await desk.poller.poll_on_call()
    desk.duty.duty = [OnCall("Platform", Username("bob"))]
    assert await desk.poller.poll_on_call()


async def test_a_poll_outlives_every_failure_and_tells_health(desk: Desk) -> None:
    desk.etb.on(LIST, json_answer({}, 401))
    desk.etb.on(ON_CALL, page([]))
    desk.duty.down()
    await desk.poller.round()
    await desk.poller.round()
    assert desk.poller.state.failures == 2
    assert "check etb.token" in desk.poller.state.trouble
    assert "can't be reached" in desk.poller.state.on_call_trouble
    assert desk.poller.state.last_success_ms is None
    desk.etb.on(LIST, page([row(1, 10)]))
    desk.duty.up()
    await desk.poller.round()
    assert (desk.poller.state.failures, desk.poller.state.trouble, desk.poller.state.on_call_trouble) == (
        0,
        "",
        "",
    )
    assert desk.poller.state.last_success_ms == desk.clock.ms
    assert desk.poller.state.accepted == 1


async def test_the_poll_waits_its_interval_and_longer_after_failures(desk: Desk) -> None:
    desk.etb.on(LIST, page([]), page([]), json_answer({}, 401))
    desk.clock.enough = 6
    with pytest.raises(Enough):
        await desk.poller.run()
    assert desk.clock.slept == [30.0, 30.0, 60.0, 120.0, 240.0, 300.0]


async def test_an_etb_that_asks_us_to_wait_is_left_alone_for_so_long(desk: Desk) -> None:
    desk.etb.on(LIST, page([]), page([]), json_answer({}, 429, Retry_After="600"), page([]))
    desk.clock.enough = 4
    desk.duty.duty = [OnCall("Platform", Username("alice"))]
    with pytest.raises(Enough):
        await desk.poller.run()
    assert desk.clock.slept == [30.0, 600.0, 30.0, 30.0]


async def test_nobody_asks_who_is_on_call_while_etb_wants_to_be_left_alone(desk: Desk) -> None:
    desk.etb.on(LIST, page([]), json_answer({}, 429, Retry_After="600"), page([]))
    desk.etb.on(ON_CALL, page([]))
    desk.duty.duty = [OnCall("Platform", Username("alice"))]
    await desk.poller.round()
    assert desk.poller.state.wait_s == 600.0
    assert desk.facts == []
    await desk.poller.round()
    assert desk.poller.state.wait_s == 0.0
    assert len(desk.facts) == 1


async def test_the_wait_that_on_call_was_answered_counts_too(desk: Desk) -> None:
    desk.etb.on(LIST, page([]))
    desk.etb.on(ON_CALL, page([]))
    desk.duty.trouble = Later("ETB asks us to wait", after_s=400)
    desk.clock.enough = 1
    with pytest.raises(Enough):
        await desk.poller.run()
    assert desk.clock.slept == [400.0]
    assert "asks us to wait" in desk.poller.state.on_call_trouble


async def test_without_the_poll_modules_and_people_on_call_are_watched_all_the_same(
    etb: ScriptedEtb, connect: Connect, clock: HandClock, store: KeptStore
) -> None:
    moved = "/api/incident-intelligence/incidents/"
    etb.on(moved, page([row(1, 10)]), page([row(1, 10)]), json_answer({}, 401), page([row(1, 10)]))
    etb.on(ON_CALL, page([]))
    client, duty = connect(), FakeEtb()
    desk = desk_of(etb, client, clock, store, duty, with_incidents=False)
    duty.duty = [OnCall("Platform", Username("alice"))]
    await desk.poller.round()
    on_call = (OnCall("Platform", Username("alice")),)
    assert desk.facts == [OnCallSeen(usernames=(Username("alice"),), on_call=on_call)]
    assert [arrival.source for arrival in await desk.store.rows()] == ["own"]
    assert desk.poller.state.last_success_ms == clock.ms
    assert etb.asked(moved) == [{"page_size": "1"}] * 2
    assert await desk.cursor() is None
    await desk.poller.round()
    assert "check etb.token" in desk.poller.state.trouble
    await desk.poller.round()
    assert desk.poller.state.trouble == ""

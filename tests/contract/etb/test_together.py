"""Webhook and poll before the sandbox and the real store: either alone is enough, both double nothing."""

import asyncio
import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.facts import IncidentSeen, OnCallSeen
from etb_appservice.domain.ids import Username
from etb_appservice.etb.client import EtbClient
from etb_appservice.etb.codec import IncidentDecoder
from etb_appservice.etb.connection import EtbConnection
from etb_appservice.etb.poll import Poller
from etb_appservice.etb.probe import Modules, Presence
from etb_appservice.etb.reads import EtbReader
from etb_appservice.etb.webhook import PATH, WebhookIntake
from etb_appservice.ports import InboxRow
from etb_appservice.store import migrate
from etb_appservice.store.codec import decode_fact, encode_fact
from etb_appservice.store.sql import SqlKeepsakes, SqlStore, open_store
from tests.harness.etb_worlds import RealClock
from tests.harness.sandbox import Sandbox

SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()


@dataclass
class Desk:
    sandbox: Sandbox
    client: EtbClient
    modules: Modules
    store: SqlStore
    decoder: IncidentDecoder
    hook: str

    def poller(self) -> Poller:
        """A new process's poller: only what is stored remains."""
        clock = RealClock()
        return Poller(
            client=self.client,
            modules=self.modules,
            reads=self.reader(),
            decoder=self.decoder,
            store=self.store,
            keepsakes=SqlKeepsakes(self.store),
            clock=clock,
            encode_fact=encode_fact,
        )

    def reader(self) -> EtbReader:
        return EtbReader(self.client, self.modules, RealClock())

    async def take(self) -> list[InboxRow]:
        """Every row that waits, oldest first in its lane; each is finished."""
        now_ms = RealClock().now_ms()
        taken: list[InboxRow] = []
        async with self.store.work() as work:
            for lane in await work.inbox.lanes(now_ms):
                while isinstance(row := await work.inbox.next(lane, now_ms), InboxRow):
                    taken.append(row)
                    await work.inbox.finish(row.seq)
        return taken

    async def seen(self) -> list[tuple[str, str, str]]:
        """(id, status, via) of the incidents that were taken."""
        facts = [self.decoder.decode(row.payload) for row in await self.take() if row.source == "etb"]
        return [
            (fact.incident.id, fact.incident.status, fact.via) for fact in facts if isinstance(fact, IncidentSeen)
        ]

    async def delivered(self, count: int) -> None:
        """Wait until the sandbox has had an answer to so many deliveries."""
        async with asyncio.timeout(20):
            while sum(bool(each["statuses"]) for each in await self.sandbox.webhooks()) < count:  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.02)


@pytest.fixture(scope="module")
async def sandbox(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Sandbox]:
    async with await Sandbox.start(tmp_path_factory.mktemp("sandbox"), incidents=False) as running:
        yield running


@pytest.fixture
async def desk(tmp_path: Path, sandbox: Sandbox) -> AsyncIterator[Desk]:
    await sandbox.reset(incidents=False)
    url = f"sqlite:///{tmp_path}/etb.db"
    await migrate.upgrade(url)
    async with (
        open_store(url, bytes(range(32)), RealClock()) as store,
        EtbClient(EtbConnection(base_url=sandbox.url, token=sandbox.token), RealClock()) as client,
    ):
        decoder = IncidentDecoder(client.connection)
        app = web.Application()
        app.add_routes(WebhookIntake(store, decoder, [SECRET]).routes())
        server = TestServer(app)
        await server.start_server()
        hook = f"http://127.0.0.1:{server.port}{PATH}"
        yield Desk(sandbox, client, Modules(client), store, decoder, hook)
        await server.close()


async def test_both_together_double_nothing(desk: Desk) -> None:
    await desk.sandbox.webhook(desk.hook, SECRET)
    made = await desk.sandbox.declare("Checkout is slow")
    await desk.delivered(1)
    poller = desk.poller()
    await poller.round()
    assert poller.state.trouble == ""
    assert await desk.seen() == [(made["id"], "OPEN", "webhook")]

    await desk.sandbox.patch(made["id"], status="RESOLVED")
    await desk.delivered(2)
    await poller.round()
    await desk.poller().round()
    await desk.sandbox.repeat_webhook((await desk.sandbox.webhooks())[0]["id"])
    await desk.delivered(3)
    assert await desk.seen() == [(made["id"], "RESOLVED", "webhook")]


async def test_the_poll_alone_is_enough(desk: Desk) -> None:
    poller = desk.poller()
    await poller.round()
    made = await desk.sandbox.declare("Checkout is slow")
    await poller.round()
    await desk.sandbox.patch(made["id"], status="RESOLVED")
    await desk.poller().round()
    assert await desk.seen() == [(made["id"], "OPEN", "poll"), (made["id"], "RESOLVED", "poll")]


async def test_the_poll_goes_on_where_a_fault_stopped_it(desk: Desk) -> None:
    poller = desk.poller()
    await poller.round()
    await desk.sandbox.add_incidents(250)
    await desk.sandbox.fault("error", "/incidents/$", count=1, skip=1, status=403)
    await poller.round()
    assert poller.state.failures == 1
    await desk.sandbox.fault("foreign_next", "/incidents/$")
    await poller.round()
    assert (poller.state.failures, poller.state.accepted) == (0, 250)
    assert len(await desk.seen()) == 250


@pytest.mark.parametrize("kind", ["extra_fields", "missing_fields", "unknown_enums", "bare_lists"])
async def test_what_the_contract_forgives_stops_nothing(desk: Desk, kind: str) -> None:
    await desk.sandbox.fault(kind)
    made = await desk.sandbox.declare("Checkout is slow")
    poller = desk.poller()
    await poller.round()
    assert (poller.state.trouble, poller.state.on_call_trouble) == ("", "")
    assert [incident_id for incident_id, _, _ in await desk.seen()] == [made["id"]]


@pytest.mark.parametrize("kind", ["not_json", "drop_before_write", "throttle"])
async def test_what_it_does_not_forgive_is_told_and_outlived(desk: Desk, kind: str) -> None:
    poller = desk.poller()
    await poller.round()
    given: dict[str, Any] = {"methods": ["GET"]} | ({"retry_after": 60} if kind == "throttle" else {})
    await desk.sandbox.fault(kind, **given)
    await poller.round()
    assert "/api/incidents/incidents/" in poller.state.trouble
    await desk.sandbox.clear_faults()
    made = await desk.sandbox.declare("Checkout is slow")
    await poller.round()
    assert poller.state.trouble == ""
    assert await desk.seen() == [(made["id"], "OPEN", "poll")]


async def test_wrong_types_are_parked_and_stop_nothing_else(desk: Desk) -> None:
    await desk.sandbox.declare("Checkout is slow")
    await desk.sandbox.fault("wrong_types", "/incidents/$", fields=["id", "title"])
    poller = desk.poller()
    await poller.round()
    async with desk.store.view() as work:
        (parked,) = await work.inbox.parked()
    assert parked.error == "ETB's incident can't be read: id must be text, not an object"
    await desk.sandbox.clear_faults()
    await poller.round()
    assert len(await desk.seen()) == 1


async def test_who_is_on_call_reaches_the_inbox(desk: Desk) -> None:
    poller = desk.poller()
    await poller.round()
    await desk.take()
    await desk.sandbox.set_oncall("dave")
    await poller.round()
    await poller.round()
    (row,) = await desk.take()
    fact = decode_fact(row.payload)
    assert isinstance(fact, OnCallSeen)
    assert "dave" in fact.usernames


INCIDENT_BASES = (
    "/api/incidents/",
    "/api/incident-intelligence/",
    "/api/incident_intelligence/api/",
    "/api/incident-intelligence/api/v1/",
)
AUTOMATION_BASES = (
    "/api/automation/",
    "/api/automation-orchestration/",
    "/api/automation_orchestration/api/",
    "/api/automation-orchestration/api/v1/",
)
USERS = ("/security/api/users/", "/api/security/users/", "/api/users/")
"""As docs/etb-contract.md names them (1.7, 10.3), and not as paths.py does."""


@pytest.mark.parametrize("base", INCIDENT_BASES)
async def test_incidents_are_found_at_each_place_of_the_contract(desk: Desk, base: str) -> None:
    await desk.sandbox.move("incidents", base)
    report = await desk.modules.probe()
    assert {each.presence for each in report.modules} == {Presence.FOUND}
    assert desk.modules.paths.path("incidents.list") == f"{base}incidents/"
    body = {"title": "t", "severity": "LOW"}
    _, made = await desk.sandbox.call("POST", f"{base}incidents/", body)
    await desk.poller().round()
    assert [incident_id for incident_id, _, _ in await desk.seen()] == [made["id"]]
    assert (await desk.reader().incident(made["id"])).title == "t"
    timeline = desk.modules.paths.path("incidents.timeline", id=made["id"])
    assert timeline == f"{base}incidents/{made['id']}/timeline/"
    assert (await desk.client.get_object(timeline))["count"] >= 0


@pytest.mark.parametrize("base", AUTOMATION_BASES)
async def test_runbooks_are_found_at_each_place_of_the_contract(desk: Desk, base: str) -> None:
    await desk.sandbox.move("automation", base)
    report = await desk.modules.probe()
    assert report.off == frozenset()
    assert desk.modules.paths.path("automation.runbooks") == f"{base}runbooks/"
    assert desk.modules.paths.path("automation.execute", id="x") == f"{base}runbooks/x/execute/"
    for key in ("automation.runbooks", "automation.executions", "automation.maintenance"):
        assert "results" in await desk.client.get_object(desk.modules.paths.path(key))


@pytest.mark.parametrize("path", USERS)
async def test_users_are_found_at_each_place_of_the_contract(desk: Desk, path: str) -> None:
    await desk.sandbox.move(USERS[0], path)
    report = await desk.modules.probe()
    assert report.off == frozenset()
    assert desk.modules.paths.path("security.users") == path
    alice = await desk.reader().user(Username("alice"))
    assert alice is not None
    assert alice.clearance is Classification.RESTRICTED


async def test_a_module_that_is_nowhere_is_off_and_the_others_are_found(desk: Desk) -> None:
    await desk.sandbox.move("automation", None)
    report = await desk.modules.probe()
    assert report.off == {"automation"}
    assert {each.presence for each in report.modules if each.module != "automation"} == {Presence.FOUND}


async def test_a_wrong_token_names_the_setting(desk: Desk) -> None:
    connection = EtbConnection(base_url=desk.sandbox.url, token="wrong")
    async with EtbClient(connection, RealClock()) as client:
        report = await Modules(client).probe()
    assert {each.presence for each in report.modules} == {Presence.FORBIDDEN}
    assert all("check etb.token" in each.detail for each in report.modules)

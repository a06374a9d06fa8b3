"""The promises of `EtbReads` and `EtbHands`, on the fake and on the real adapter before the sandbox."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Protocol

import pytest

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.effects import AddTimelineEntry
from etb_appservice.domain.ids import IncidentId, Username
from etb_appservice.domain.incident import Deadline, EtbUser, Incident, OnCall
from etb_appservice.domain.outcomes import Later, Refused, Unsure
from etb_appservice.etb import parse
from etb_appservice.etb.client import EtbClient
from etb_appservice.etb.connection import EtbConnection
from etb_appservice.etb.hands import EtbWriter
from etb_appservice.etb.probe import Modules
from etb_appservice.etb.reads import EtbReader
from etb_appservice.etb.spelling import Spelling
from etb_appservice.ports import EtbHands, EtbReads, Try
from tests.harness.fakes_etb import FakeEtb
from tests.harness.sandbox import Sandbox

NOBODY = IncidentId("00000000-0000-4000-8000-0000000000ff")


class RealClock:
    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(min(seconds, 0.01))


class World(Protocol):
    """One side of the comparison: what a test does to ETB, and our two doors to it."""

    reads: EtbReads
    hands: EtbHands

    async def declare(self, title: str) -> Incident: ...

    async def close_incident(self, incident_id: IncidentId) -> None: ...

    async def set_user(self, username: str, clearance: Classification, *, is_active: bool) -> None: ...

    async def set_on_call(self, username: str | None) -> None: ...

    async def timeline_titles(self, incident_id: IncidentId) -> list[str]: ...

    async def go_down(self) -> None: ...

    async def forbid(self) -> None: ...

    async def lose_next_answer(self) -> None: ...

    async def hide_timeline(self) -> None: ...


class FakeWorld:
    def __init__(self) -> None:
        self.etb = FakeEtb()
        self.reads: EtbReads = self.etb
        self.hands: EtbHands = self.etb

    async def declare(self, title: str) -> Incident:
        number = len(self.etb.known) + 1
        made = IncidentId(f"00000000-0000-4000-8000-{number:012d}")
        self.etb.known[made] = Incident(made, "INC-1", title, "HIGH", "OPEN", 1, reporter=Username("alice"))
        self.etb.sla[made] = [
            Deadline(name, "RESPONSE_TIME", "ACTIVE", at) for name, at in (("late", 9), ("soon", 5))
        ]
        return self.etb.known[made]

    async def close_incident(self, incident_id: IncidentId) -> None:
        self.etb.sla[incident_id] = [Deadline("late", "RESPONSE_TIME", "MET", 9)]

    async def set_user(self, username: str, clearance: Classification, *, is_active: bool) -> None:
        self.etb.users[Username(username)] = EtbUser(Username(username), username, clearance, is_active)

    async def set_on_call(self, username: str | None) -> None:
        self.etb.duty = [OnCall("Platform primary", Username(username))] if username else []

    async def timeline_titles(self, incident_id: IncidentId) -> list[str]:
        return [entry.title for entry in self.etb.entries if entry.incident_id == incident_id]

    async def go_down(self) -> None:
        self.etb.down()

    async def forbid(self) -> None:
        self.etb.refuse()

    async def lose_next_answer(self) -> None:
        self.etb.lose_answers = 1

    async def hide_timeline(self) -> None:
        self.etb.timeline_readable = False


class SandboxWorld:
    def __init__(self, sandbox: Sandbox, client: EtbClient) -> None:
        modules = Modules(client)
        self.sandbox = sandbox
        self.reads: EtbReads = EtbReader(client, modules, RealClock())
        self.hands: EtbHands = EtbWriter(client, modules)

    async def declare(self, title: str) -> Incident:
        return parse.incident(await self.sandbox.declare(title), Spelling())

    async def close_incident(self, incident_id: IncidentId) -> None:
        await self.sandbox.patch(incident_id, status="RESOLVED")

    async def set_user(self, username: str, clearance: Classification, *, is_active: bool) -> None:
        await self.sandbox.set_user(username, clearance=clearance.name, is_active=is_active)

    async def set_on_call(self, username: str | None) -> None:
        for rotation in await self.sandbox.rows("/api/sla-oncall/api/v1/oncall-rotations/"):
            await self.sandbox.set_oncall(None, rotation=rotation["name"])
        await self.sandbox.set_oncall(username)

    async def timeline_titles(self, incident_id: IncidentId) -> list[str]:
        return [
            row["title"] for row in await self.sandbox.timeline(incident_id) if row["source_type"] == "INTEGRATION"
        ]

    async def go_down(self) -> None:
        await self.sandbox.fault("error", status=503)

    async def forbid(self) -> None:
        await self.sandbox.fault("error", status=403)

    async def lose_next_answer(self) -> None:
        await self.sandbox.fault("drop_after_write", "timeline", count=1)

    async def hide_timeline(self) -> None:
        await self.sandbox.fault("error", "timeline", methods=["GET"], status=403)


@pytest.fixture(scope="module")
async def sandbox(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Sandbox]:
    async with await Sandbox.start(tmp_path_factory.mktemp("sandbox")) as running:
        yield running


@pytest.fixture(params=["fake", "sandbox"])
async def world(request: pytest.FixtureRequest, sandbox: Sandbox) -> AsyncIterator[World]:
    if request.param == "fake":
        yield FakeWorld()
        return
    await sandbox.reset()
    connection = EtbConnection(base_url=sandbox.url, token=sandbox.token)
    async with EtbClient(connection, RealClock()) as client:
        yield SandboxWorld(sandbox, client)


def entry(incident_id: IncidentId, title: str = "Command run: status") -> AddTimelineEntry:
    return AddTimelineEntry(
        incident_id=incident_id,
        event_type="NOTE",
        title=title,
        description="",
        event_time_ms=1_760_000_000_000,
        external_ref=f"ref:{title}",
        event_data={"matrix_event_id": "$e"},
    )


def attempt(attempts: int) -> Try:
    first_ms = 1_760_000_000_000 if attempts else None
    return Try(key="k", now_ms=1_760_000_000_000, attempts=attempts, first_tried_ms=first_ms, device_id=None)


async def test_an_incident_is_answered_as_it_was_declared(world: World) -> None:
    made = await world.declare("Checkout is slow")
    found = await world.reads.incident(made.id)
    assert (found.id, found.title, found.severity, found.status) == (made.id, "Checkout is slow", "HIGH", "OPEN")
    assert (found.reporter, found.number, found.is_open) == ("alice", made.number, True)


async def test_an_incident_that_etb_does_not_know_is_refused_with_404(world: World) -> None:
    with pytest.raises(Refused) as caught:
        await world.reads.incident(NOBODY)
    assert caught.value.code == "404"


async def test_running_deadlines_come_soonest_first_and_met_ones_not_at_all(world: World) -> None:
    made = await world.declare("Checkout is slow")
    running = await world.reads.deadlines(made.id)
    assert len(running) >= 2
    assert list(running) == sorted(running, key=lambda deadline: deadline.target_ms)
    assert {deadline.status for deadline in running} == {"ACTIVE"}
    await world.close_incident(made.id)
    assert await world.reads.deadlines(made.id) == ()
    assert await world.reads.deadlines(NOBODY) == ()


async def test_a_user_is_found_by_exactly_their_name(world: World) -> None:
    await world.set_user("carol", Classification.RESTRICTED, is_active=False)
    found = await world.reads.user(Username("carol"))
    assert found is not None
    assert (found.username, found.clearance, found.is_active) == ("carol", Classification.RESTRICTED, False)
    for stranger in ("Carol", "caro", "carol ", "nobody-at-all"):
        assert await world.reads.user(Username(stranger)) is None


async def test_who_is_on_call_follows_the_rotation(world: World) -> None:
    await world.set_user("bob", Classification.INTERNAL, is_active=True)
    await world.set_on_call("bob")
    assert await world.reads.on_call() == (OnCall("Platform primary", Username("bob")),)
    await world.set_on_call(None)
    assert await world.reads.on_call() == ()


async def test_an_etb_that_is_down_is_later_everywhere(world: World) -> None:
    made = await world.declare("Checkout is slow")
    await world.go_down()
    for call in (
        world.reads.incident(made.id),
        world.reads.deadlines(made.id),
        world.reads.user(Username("alice")),
        world.reads.on_call(),
        world.hands.do(entry(made.id), attempt(1)),
    ):
        with pytest.raises(Later):
            await call


async def test_an_etb_that_says_no_is_refused_everywhere(world: World) -> None:
    made = await world.declare("Checkout is slow")
    await world.forbid()
    for call in (
        world.reads.incident(made.id),
        world.reads.deadlines(made.id),
        world.reads.user(Username("alice")),
        world.reads.on_call(),
        world.hands.do(entry(made.id), attempt(0)),
    ):
        with pytest.raises(Refused):
            await call


async def test_an_entry_is_written_and_a_repetition_finds_it(world: World) -> None:
    made = await world.declare("Checkout is slow")
    assert (await world.hands.do(entry(made.id), attempt(0))).detail == "created"
    assert (await world.hands.do(entry(made.id), attempt(1))).detail == "found"
    assert (await world.hands.do(entry(made.id, "Another"), attempt(1))).detail == "created"
    assert await world.timeline_titles(made.id) == ["Command run: status", "Another"]


async def test_a_lost_answer_is_unsure_and_doubles_nothing(world: World) -> None:
    made = await world.declare("Checkout is slow")
    await world.lose_next_answer()
    with pytest.raises(Unsure):
        await world.hands.do(entry(made.id), attempt(0))
    assert (await world.hands.do(entry(made.id), attempt(1))).detail == "found"
    assert await world.timeline_titles(made.id) == ["Command run: status"]


async def test_a_repetition_that_cannot_be_read_back_is_unsure(world: World) -> None:
    made = await world.declare("Checkout is slow")
    await world.hide_timeline()
    with pytest.raises(Unsure):
        await world.hands.do(entry(made.id), attempt(1))


async def test_an_entry_for_an_incident_that_is_gone_is_refused(world: World) -> None:
    with pytest.raises(Refused):
        await world.hands.do(entry(NOBODY), attempt(0))

"""The promises of what people see and do from a room, on the fake and on the real adapter before the sandbox."""

import uuid
from collections.abc import Awaitable, Callable

import pytest

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.effects import (
    AddTimelineEntry,
    CancelRunbook,
    ChangeIncident,
    DeclareIncident,
    EtbEffect,
    MoveEscalation,
    RegisterEvidence,
    StartRunbook,
    TriggerEscalation,
)
from etb_appservice.domain.ids import IncidentId, Username
from etb_appservice.domain.outcomes import Later, Refused, Unsure
from etb_appservice.etb.client import EtbClient
from etb_appservice.etb.connection import EtbConnection
from etb_appservice.ports import Try
from tests.harness.etb_worlds import RealClock, SandboxWorld, World
from tests.harness.sandbox import Sandbox

NOBODY = IncidentId("00000000-0000-4000-8000-0000000000ff")
NOW_MS = 1_760_000_000_000


def attempt(attempts: int = 0, key: str = "k") -> Try:
    """A later try comes long after the first, so that ETB has surely ended its work."""
    first_ms = NOW_MS - 3_600_000 if attempts else None
    return Try(key=key, now_ms=NOW_MS, attempts=attempts, first_tried_ms=first_ms, device_id=None)


def started(world: World, incident_id: IncidentId, name: str = "Rebuild search index") -> StartRunbook:
    return StartRunbook(
        incident_id=incident_id,
        runbook_id=world.runbook_id(name),
        parameters={"service": "web"},
        ref=str(uuid.uuid4()),
        trigger_data={"war_room_id": "w", "message_id": "m", "username": "alice"},
    )


def escalated(incident_id: IncidentId) -> TriggerEscalation:
    return TriggerEscalation(incident_id=incident_id, reason="no one answers", ref=str(uuid.uuid4()))


def declared(title: str = "Mail is down") -> DeclareIncident:
    return DeclareIncident(
        title=title, severity="HIGH", description="since noon", category="Application", ref=str(uuid.uuid4())
    )


# --- reads ------------------------------------------------------------------------------------------------


async def test_open_incidents_come_latest_change_first(world: World) -> None:
    one, other, gone = [await world.declare(f"Zebra {name}") for name in ("one", "other", "gone")]
    await world.close_incident(gone.id)
    await world.hands.do(ChangeIncident(incident_id=one.id, status="IN_PROGRESS"), attempt())
    found = [incident.id for incident in await world.reads.incidents()]
    assert found.index(one.id) < found.index(other.id)
    assert gone.id not in found
    assert [incident.id for incident in await world.reads.incidents(search="zebra")] == [one.id, other.id]
    assert await world.reads.incidents(search="no such words anywhere") == ()


async def test_every_sla_is_shown_soonest_first_and_says_how_it_ended(world: World) -> None:
    made = await world.declare("Checkout is slow")
    running = await world.reads.slas(made.id)
    assert [(sla.kind, sla.status, sla.is_business_hours) for sla in running] == [
        ("ACKNOWLEDGMENT_TIME", "ACTIVE", False),
        ("RESOLUTION_TIME", "ACTIVE", False),
    ]
    assert all(sla.started_ms and sla.target_ms and sla.remaining_s for sla in running)
    await world.close_incident(made.id)
    ended = await world.reads.slas(made.id)
    assert {(sla.status, sla.met_ms is not None) for sla in ended} == {("MET", True)}
    assert await world.reads.slas(NOBODY) == ()


async def test_runbooks_are_found_by_words_and_one_of_that_very_name_comes_first(world: World) -> None:
    names = [book.name.casefold() for book in await world.reads.runbooks("billing")]
    assert names == ["failover billing database", "restart billing", "restart billing"]
    assert {book.name for book in await world.reads.runbooks("BILLING 'restart'")} == {
        "Restart billing",
        "Restart Billing",
    }
    assert (await world.reads.runbooks("rebuild  search index"))[0].name == "Rebuild search index"
    assert await world.reads.runbooks("Old cache purge") == ()
    assert await world.reads.runbooks("no such runbook") == ()
    assert await world.reads.runbooks("x" * 5000) == ()


async def test_a_runbook_says_what_it_asks_for_and_whether_it_needs_approval(world: World) -> None:
    [failover] = await world.reads.runbooks("Failover billing database")
    assert failover.requires_approval
    assert failover.steps == ("Fence primary", "Promote replica", "Repoint services", "Verify")
    [confirm] = failover.parameters
    assert (confirm.name, confirm.kind, confirm.is_required) == ("confirm", "boolean", True)
    [scale] = await world.reads.runbooks("Scale out a service")
    assert not scale.requires_approval
    service, nodes = scale.parameters
    assert (service.title, service.is_required) == ("Which service", True)
    assert service.options == ("api-gateway", "search", "web")
    assert (nodes.kind, nodes.default, nodes.is_required) == ("integer", "2", False)


async def test_only_maintenance_under_way_is_shown(world: World) -> None:
    [window] = await world.reads.maintenance()
    assert (window.name, window.services) == ("Storage firmware", ("archive-storage",))
    assert window.mutes_notifications
    assert window.mutes_escalations


async def test_the_timeline_shows_what_was_written_with_its_links(world: World) -> None:
    made = await world.declare("Checkout is slow")
    for place, at_ms in enumerate((NOW_MS + 1000, NOW_MS)):
        entry = AddTimelineEntry(
            incident_id=made.id,
            event_type="NOTE",
            title=f"Note {place}",
            description="told",
            event_time_ms=at_ms,
            external_ref=f"ref:{place}",
            event_data={"matrix_event_id": f"$e{place}"},
        )
        await world.hands.do(entry, attempt(key=f"k{place}"))
    rows = [row for row in await world.reads.timeline(made.id) if row.external_ref]
    assert sorted(row.external_ref for row in rows) == ["ref:0", "ref:1"]
    late = next(row for row in rows if row.external_ref == "ref:0")
    assert (late.incident_id, late.event_type, late.title) == (made.id, "NOTE", "Note 0")
    assert (late.at_ms, late.description, late.data["matrix_event_id"]) == (NOW_MS + 1000, "told", "$e0")
    assert await world.reads.timeline(NOBODY) == ()


async def test_a_run_that_etb_does_not_know_is_refused_with_404(world: World) -> None:
    with pytest.raises(Refused) as caught:
        await world.reads.execution(NOBODY)
    assert caught.value.code == "404"


def reads_of(world: World, incident_id: IncidentId, run: str = NOBODY) -> list[Callable[[], Awaitable[object]]]:
    return [
        world.reads.incidents,
        lambda: world.reads.slas(incident_id),
        lambda: world.reads.escalations(incident_id),
        lambda: world.reads.runbooks("restart"),
        lambda: world.reads.execution(run),
        world.reads.maintenance,
        lambda: world.reads.timeline(incident_id),
    ]


async def test_an_etb_that_is_down_is_later_everywhere(world: World) -> None:
    made = await world.declare("Checkout is slow")
    await world.go_down()
    for call in reads_of(world, made.id):
        with pytest.raises(Later):
            await call()


async def test_an_etb_that_says_no_is_refused_everywhere(world: World) -> None:
    made = await world.declare("Checkout is slow")
    await world.forbid()
    for call in reads_of(world, made.id):
        with pytest.raises(Refused):
            await call()


# --- changes ----------------------------------------------------------------------------------------------


async def test_a_level_is_changed_and_changed_back_and_says_what_was(world: World) -> None:
    incident_id = (await world.declare("Mail is down")).id
    up = ChangeIncident(incident_id=incident_id, classification=Classification.RESTRICTED)
    done = await world.hands.do(up, attempt(key="up"))
    assert done.found["classification"] == "RESTRICTED"
    assert (await world.reads.incident(incident_id)).stated is Classification.RESTRICTED
    down = ChangeIncident(incident_id=incident_id, classification=Classification.INTERNAL)
    done = await world.hands.do(down, attempt(key="down"))
    assert (done.found["old_classification"], done.found["classification"]) == ("RESTRICTED", "INTERNAL")
    again = await world.hands.do(down, attempt(1, key="down"))
    assert (again.detail, again.found["classification"]) == ("found", "INTERNAL")


async def test_a_change_says_what_is_and_what_was(world: World) -> None:
    made = await world.declare("Checkout is slow")
    done = await world.hands.do(
        ChangeIncident(incident_id=made.id, status="IN_PROGRESS", severity="CRITICAL", assignee=Username("carol")),
        attempt(),
    )
    assert done.detail == "changed"
    assert done.found == {
        "status": "IN_PROGRESS",
        "severity": "CRITICAL",
        "assignee": "carol",
        "old_status": "OPEN",
        "old_severity": "HIGH",
        "old_assignee": "",
    }
    found = await world.reads.incident(made.id)
    assert (found.status, found.severity, found.assignee) == ("IN_PROGRESS", "CRITICAL", "carol")
    done = await world.hands.do(ChangeIncident(incident_id=made.id, assignee=Username("bob")), attempt(key="k2"))
    assert (done.found["assignee"], done.found["old_assignee"]) == ("bob", "carol")
    done = await world.hands.do(ChangeIncident(incident_id=made.id, severity="CRITICAL"), attempt(key="k3"))
    assert done.detail == "found"
    assert done.found["severity"] == done.found["old_severity"] == "CRITICAL"


async def test_a_change_whose_answer_was_lost_still_knows_what_was(world: World) -> None:
    made = await world.declare("Checkout is slow")
    effect = ChangeIncident(incident_id=made.id, status="RESOLVED")
    await world.lose_next_answer()
    with pytest.raises(Unsure):
        await world.hands.do(effect, attempt())
    done = await world.hands.do(effect, attempt(1))
    assert done.detail == "found"
    assert (done.found["status"], done.found["old_status"]) == ("RESOLVED", "OPEN")


async def test_a_change_that_did_not_arrive_is_made_by_the_next_try(world: World) -> None:
    made = await world.declare("Checkout is slow")
    effect = ChangeIncident(incident_id=made.id, status="IN_PROGRESS")
    await world.lose_next_request()
    with pytest.raises(Unsure):
        await world.hands.do(effect, attempt())
    done = await world.hands.do(effect, attempt(1))
    assert (done.detail, done.found["old_status"]) == ("changed", "OPEN")
    assert (await world.reads.incident(made.id)).status == "IN_PROGRESS"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"status": "FOO"}, 'ETB says of status: "FOO" is not a valid choice.'),
        ({"severity": "AWFUL"}, 'ETB says of severity: "AWFUL" is not a valid choice.'),
        ({"assignee": "nobody-at-all"}, "ETB says of username: No such active user."),
    ],
)
async def test_a_change_that_etb_refuses_says_why_in_its_words(
    world: World, change: dict[str, str], said: str
) -> None:
    made = await world.declare("Checkout is slow")
    effect = ChangeIncident(
        incident_id=made.id,
        status=change.get("status"),
        severity=change.get("severity"),
        assignee=Username(change["assignee"]) if "assignee" in change else None,
    )
    with pytest.raises(Refused) as caught:
        await world.hands.do(effect, attempt())
    assert (str(caught.value), caught.value.code) == (said, "400")
    found = await world.reads.incident(made.id)
    assert (found.status, found.severity, found.assignee) == ("OPEN", "HIGH", None)


async def test_a_declared_incident_is_opened_once(world: World) -> None:
    effect = declared("Zebra is down")
    done = await world.hands.do(effect, attempt())
    assert done.detail == "created"
    again = await world.hands.do(effect, attempt(1))
    assert (again.detail, again.found) == ("found", done.found)
    [found] = await world.reads.incidents(search="Zebra is down")
    assert {"id": found.id, "number": found.number} == done.found
    assert (found.severity, found.status, found.category) == ("HIGH", "OPEN", "Application")
    assert found.description.startswith("since noon")


async def test_a_declaration_that_etb_refuses_says_why(world: World) -> None:
    effect = DeclareIncident(title="t", severity="AWFUL", description="", category="", ref="r")
    with pytest.raises(Refused, match=r'ETB says of severity: "AWFUL" is not a valid choice\.'):
        await world.hands.do(effect, attempt())


# --- escalations ------------------------------------------------------------------------------------------


async def test_an_escalation_is_triggered_once_and_tells_whom_etb_told(world: World) -> None:
    made = await world.declare("Checkout is slow")
    await world.set_user("bob", Classification.INTERNAL, is_active=True)
    await world.set_on_call("bob")
    effect = escalated(made.id)
    done = await world.hands.do(effect, attempt())
    assert (done.detail, done.found["level"], done.found["notified"]) == ("created", "1", "bob")
    again = await world.hands.do(effect, attempt(1))
    assert (again.detail, again.found) == ("found", done.found)
    [shown] = await world.reads.escalations(made.id)
    assert (shown.id, shown.status, shown.level, shown.reason) == (
        done.found["id"], "TRIGGERED", 1, "no one answers",
    )  # fmt: skip
    assert (shown.notified, shown.is_running) == (("bob",), True)
    second = await world.hands.do(escalated(made.id), attempt(key="k2"))
    assert second.found["level"] == "2"
    assert [one.level for one in await world.reads.escalations(made.id)] == [1, 2]
    assert await world.reads.escalations(NOBODY) == ()


async def test_an_escalation_is_acknowledged_and_resolved_and_repeats_do_nothing(world: World) -> None:
    made = await world.declare("Checkout is slow")
    escalation_id = (await world.hands.do(escalated(made.id), attempt())).found["id"]
    ack = MoveEscalation(incident_id=made.id, escalation_id=escalation_id, to="ACKNOWLEDGED")
    resolve = MoveEscalation(incident_id=made.id, escalation_id=escalation_id, to="RESOLVED")
    done = await world.hands.do(ack, attempt(key="a"))
    assert (done.detail, done.found) == ("changed", {"id": escalation_id, "status": "ACKNOWLEDGED", "level": "1"})
    for key, attempts in (("a", 1), ("b", 0)):
        assert (await world.hands.do(ack, attempt(attempts, key))).detail == "found"
    done = await world.hands.do(resolve, attempt(key="r"))
    assert (done.detail, done.found["status"]) == ("changed", "RESOLVED")
    assert (await world.hands.do(resolve, attempt(key="s"))).found["status"] == "RESOLVED"
    late = await world.hands.do(ack, attempt(key="late"))
    assert (late.detail, late.found["status"]) == ("found", "RESOLVED")
    with pytest.raises(Refused, match="ETB knows no such escalation") as caught:
        await world.hands.do(
            MoveEscalation(incident_id=made.id, escalation_id=NOBODY, to="RESOLVED"), attempt(key="n")
        )
    assert caught.value.code == "404"


# --- evidence ---------------------------------------------------------------------------------------------


def evidence(incident_id: IncidentId) -> RegisterEvidence:
    return RegisterEvidence(
        incident_id=incident_id,
        evidence_type="CHAT_LOG",
        title="Transcript",
        description="of the room",
        file_hash="ab" * 32,
        file_size=17,
        mime="text/html",
        source_reference=str(uuid.uuid4()),
        classification="INTERNAL",
    )


async def test_evidence_is_registered_once_with_its_digest(world: World) -> None:
    made = await world.declare("Checkout is slow")
    effect = evidence(made.id)
    done = await world.hands.do(effect, attempt())
    assert done.detail == "created"
    again = await world.hands.do(effect, attempt(1))
    assert (again.detail, again.found) == ("found", done.found)
    other = await world.hands.do(evidence(made.id), attempt(1, key="k2"))
    assert other.found["id"] != done.found["id"]
    first, _ = await world.evidence(made.id)
    assert first == {
        "evidence_type": "CHAT_LOG",
        "file_hash": "ab" * 32,
        "mime_type": "text/html",
        "source_reference": effect.source_reference,
        "data_classification": "INTERNAL",
    }


# --- runbooks ---------------------------------------------------------------------------------------------


async def test_a_runbook_is_started_once_and_its_run_can_be_watched(world: World) -> None:
    made = await world.declare("Checkout is slow")
    effect = started(world, made.id)
    done = await world.hands.do(effect, attempt())
    assert (done.detail, done.found["total_steps"]) == ("created", "3")
    assert done.found["status"] in {"PENDING", "RUNNING"}
    again = await world.hands.do(effect, attempt(1))
    assert (again.detail, again.found["id"]) == ("found", done.found["id"])
    run = await world.reads.execution(done.found["id"])
    assert (run.id, run.runbook_id, run.total_steps) == (done.found["id"], effect.runbook_id, 3)
    assert run.status in {"PENDING", "RUNNING"}
    await world.end_execution(run.id, "FAILED")
    run = await world.reads.execution(run.id)
    assert (run.status, run.error) == ("FAILED", "It ended badly.")
    assert await world.executions() == [run.id]


async def test_two_requests_are_two_runs(world: World) -> None:
    made = await world.declare("Checkout is slow")
    first = await world.hands.do(started(world, made.id), attempt(key="a"))
    second = await world.hands.do(started(world, made.id), attempt(1, "b"))
    assert first.found["id"] != second.found["id"]
    assert second.detail == "created"


async def test_a_run_is_cancelled_and_one_that_has_ended_stays_as_it_ended(world: World) -> None:
    made = await world.declare("Checkout is slow")
    run_id = (await world.hands.do(started(world, made.id), attempt(key="a"))).found["id"]
    cancel = CancelRunbook(incident_id=made.id, execution_id=run_id)
    done = await world.hands.do(cancel, attempt(key="c"))
    assert (done.detail, done.found) == ("changed", {"id": run_id, "status": "CANCELLED"})
    for key, attempts in (("c", 1), ("d", 0)):
        assert (await world.hands.do(cancel, attempt(attempts, key))).detail == "found"
    other_id = (await world.hands.do(started(world, made.id), attempt(key="b"))).found["id"]
    await world.end_execution(other_id, "COMPLETED")
    done = await world.hands.do(CancelRunbook(incident_id=made.id, execution_id=other_id), attempt(key="e"))
    assert (done.detail, done.found["status"]) == ("found", "COMPLETED")
    with pytest.raises(Refused, match="ETB knows no such execution"):
        await world.hands.do(CancelRunbook(incident_id=made.id, execution_id=NOBODY), attempt(key="n"))


async def test_a_runbook_that_etb_does_not_know_is_refused(world: World) -> None:
    made = await world.declare("Checkout is slow")
    effect = StartRunbook(incident_id=made.id, runbook_id=NOBODY, parameters={}, ref="r", trigger_data={})
    with pytest.raises(Refused, match="ETB knows no such runbook") as caught:
        await world.hands.do(effect, attempt())
    assert caught.value.code == "404"


# --- what all of them promise -----------------------------------------------------------------------------


Make = Callable[[World, IncidentId], EtbEffect]
STARTS: list[Make] = [
    lambda _, incident_id: declared(f"Zebra of {incident_id}"),
    lambda _, incident_id: escalated(incident_id),
    started,
    lambda _, incident_id: evidence(incident_id),
]


async def made_by(world: World, effect: EtbEffect, incident_id: IncidentId) -> int:
    match effect:
        case DeclareIncident(title=title):
            return len(await world.reads.incidents(search=title))
        case TriggerEscalation():
            return len(await world.reads.escalations(incident_id))
        case RegisterEvidence():
            return len(await world.evidence(incident_id))
        case _:
            return len(await world.executions())


@pytest.mark.parametrize("make", STARTS)
async def test_a_start_whose_answer_was_lost_is_not_repeated(world: World, make: Make) -> None:
    made = await world.declare("Checkout is slow")
    effect = make(world, made.id)
    await world.lose_next_answer()
    with pytest.raises(Unsure):
        await world.hands.do(effect, attempt())
    assert (await world.hands.do(effect, attempt(1))).detail == "found"
    assert await made_by(world, effect, made.id) == 1


@pytest.mark.parametrize("make", STARTS)
async def test_a_start_that_did_not_arrive_is_repeated(world: World, make: Make) -> None:
    made = await world.declare("Checkout is slow")
    effect = make(world, made.id)
    await world.lose_next_request()
    with pytest.raises(Unsure):
        await world.hands.do(effect, attempt(key="first process"))
    assert (await world.hands.do(effect, attempt(1))).detail == "created"
    assert await made_by(world, effect, made.id) == 1


@pytest.mark.parametrize("make", STARTS)
async def test_a_start_that_cannot_be_looked_for_is_unsure(world: World, make: Make) -> None:
    made = await world.declare("Checkout is slow")
    effect = make(world, made.id)
    await world.hide()
    with pytest.raises(Unsure):
        await world.hands.do(effect, attempt(1))


@pytest.mark.parametrize(
    "make",
    [
        lambda _, __: ChangeIncident(incident_id=NOBODY, status="RESOLVED"),
        lambda _, __: escalated(NOBODY),
        lambda world, __: started(world, NOBODY),
        lambda _, __: evidence(NOBODY),
    ],
)
async def test_an_incident_that_is_gone_is_refused_in_plain_words(world: World, make: Make) -> None:
    with pytest.raises(Refused, match=r"^ETB knows no such incident$") as caught:
        await world.hands.do(make(world, NOBODY), attempt())
    assert caught.value.code == "404"


@pytest.mark.parametrize("kind", ["extra_fields", "missing_fields", "unknown_enums", "bare_lists", "foreign_next"])
async def test_what_is_new_missing_or_unknown_in_etb_does_no_harm(sandbox: Sandbox, kind: str) -> None:
    await sandbox.reset()
    connection = EtbConnection(base_url=sandbox.url, token=sandbox.token)
    async with EtbClient(connection, RealClock()) as client:
        world = SandboxWorld(sandbox, client)
        made = await world.declare("Checkout is slow")
        await sandbox.fault(kind)
        done = await world.hands.do(escalated(made.id), attempt(key="e"))
        assert len(await world.reads.escalations(made.id)) == 1
        await world.hands.do(
            MoveEscalation(incident_id=made.id, escalation_id=done.found["id"], to="RESOLVED"), attempt(key="m")
        )
        done = await world.hands.do(started(world, made.id), attempt(key="s"))
        assert (await world.reads.execution(done.found["id"])).id == done.found["id"]
        await world.hands.do(CancelRunbook(incident_id=made.id, execution_id=done.found["id"]), attempt(key="c"))
        await world.hands.do(ChangeIncident(incident_id=made.id, assignee=Username("bob")), attempt(key="a"))
        await world.hands.do(declared(), attempt(key="d"))
        assert len(await world.reads.slas(made.id)) == 2
        assert len(await world.reads.incidents()) >= 10
        assert len(await world.reads.timeline(made.id)) >= 4
        assert len(await world.reads.runbooks("")) == (0 if kind == "unknown_enums" else 8)
        assert len(await world.reads.maintenance()) == 1


async def test_what_is_of_the_wrong_type_is_named_and_never_shown(sandbox: Sandbox) -> None:
    await sandbox.reset()
    connection = EtbConnection(base_url=sandbox.url, token=sandbox.token)
    async with EtbClient(connection, RealClock()) as client:
        world = SandboxWorld(sandbox, client)
        made = await world.declare("Checkout is slow")
        await world.hands.do(escalated(made.id), attempt())
        run = (await world.hands.do(started(world, made.id), attempt(key="r"))).found["id"]
        await sandbox.fault("wrong_types")
        for call in reads_of(world, made.id, run):
            with pytest.raises(Refused, match=r"must be|is missing") as caught:
                await call()
            assert "unexpected" not in str(caught.value)
        with pytest.raises(Unsure, match="can't be used"):
            await world.hands.do(started(world, made.id), attempt(key="s"))


async def test_a_module_that_is_off_shows_nothing_and_takes_nothing(world: World) -> None:
    made = await world.declare("Checkout is slow")
    start = started(world, made.id)
    await world.go_off("sla")
    await world.go_off("automation")
    await world.go_off("compliance")
    assert await world.reads.slas(made.id) == ()
    assert await world.reads.escalations(made.id) == ()
    assert await world.reads.runbooks("") == ()
    assert await world.reads.maintenance() == ()
    for call in (
        world.reads.execution(NOBODY),
        world.hands.do(escalated(made.id), attempt()),
        world.hands.do(MoveEscalation(incident_id=made.id, escalation_id=NOBODY, to="RESOLVED"), attempt()),
        world.hands.do(start, attempt()),
        world.hands.do(evidence(made.id), attempt()),
        world.hands.do(CancelRunbook(incident_id=made.id, execution_id=NOBODY), attempt()),
    ):
        with pytest.raises(Refused, match="is not available") as caught:
            await call
        assert caught.value.code == "off"

"""What people are shown, of an ETB that lacks paths, ignores filters, keeps much, or says odd things."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from etb_appservice.domain.ids import IncidentId
from etb_appservice.domain.outcomes import Later, Refused
from etb_appservice.etb.client import EtbClient
from etb_appservice.etb.probe import Modules
from etb_appservice.etb.reads import EtbReader
from tests.harness.etb_parts import HandClock, ScriptedEtb, held, incident_row, json_answer, page, text_answer

Connect = Callable[..., EtbClient]
SOME = IncidentId("00000000-0000-4000-8000-000000000001")
OTHER = "00000000-0000-4000-8000-000000000002"
ID = "00000000-0000-4000-8000-00000000000a"
INCIDENTS = "/api/incidents/incidents/"
TIMELINE = f"{INCIDENTS}{SOME}/timeline/"
FALLBACK = "/api/collaboration-war-rooms/timeline-events/"
SLAS = "/api/sla-oncall/api/v1/sla-instances/"
DEFINITION = f"/api/sla-oncall/api/v1/sla-definitions/{OTHER}/"
ESCALATIONS = "/api/sla-oncall/api/v1/escalation-instances/"
BOOKS = "/api/automation/runbooks/"
RUNS = "/api/automation/runbook-executions/"
WINDOWS = "/api/automation/maintenance-windows/"

SLA = {"id": ID, "incident": SOME, "status": "ACTIVE", "sla_definition": OTHER, "time_remaining": 60}
EARLY, LATE = "2025-10-09T08:00:00Z", "2025-10-09T09:00:00Z"


@pytest.fixture
def reads(connect: Connect, clock: HandClock) -> EtbReader:
    client = connect(web_url_template="https://etb.example.org/i/{id}/")
    return EtbReader(client, Modules(client), clock, limit_s=30)


@pytest.fixture
def hasty(connect: Connect, clock: HandClock) -> EtbReader:
    client = connect()
    return EtbReader(client, Modules(client), clock, limit_s=0.5)


async def test_one_page_of_incidents_is_enough_where_there_are_no_more(etb: ScriptedEtb, reads: EtbReader) -> None:
    rows = [
        incident_row(1, updated_at=EARLY),
        incident_row(2, updated_at=LATE),
        incident_row(3, status="CLOSED"),
        incident_row(4, status="FROZEN", updated_at=...),
    ]
    etb.on(INCIDENTS, page(rows))
    found = await reads.incidents()
    assert [one.number for one in found] == ["INC-000002", "INC-000001", "INC-000004"]
    assert found[0].url.startswith("https://etb.example.org/i/")
    [asked] = etb.asked(INCIDENTS)
    assert asked["ordering"] == "-updated_at"
    assert "search" not in asked


async def test_each_open_status_is_asked_for_where_most_incidents_are_closed(
    etb: ScriptedEtb, reads: EtbReader
) -> None:
    closed = page([incident_row(9, status="CLOSED")], f"{etb.url}{INCIDENTS}?page=2")
    second = page([incident_row(9, status="CLOSED")], f"{etb.url}{INCIDENTS}?page=3")
    third = page([incident_row(9, status="CLOSED"), incident_row(8)], f"{etb.url}{INCIDENTS}?page=4")
    unknown = json_answer({"status": ["Not one of the available choices."]}, 400)
    etb.on(
        INCIDENTS, closed, second, third, page([incident_row(1)]), unknown, page([incident_row(2, status="NEW")])
    )
    found = await reads.incidents()
    assert {one.number for one in found} == {"INC-000008", "INC-000001", "INC-000002"}
    statuses = [asked["status"] for asked in etb.asked(INCIDENTS) if "status" in asked]
    assert set(statuses) == {"OPEN", "IN_PROGRESS", "NEW", "ACKNOWLEDGED", "INVESTIGATING", "ON_HOLD", "REOPENED"}


async def test_no_more_than_two_hundred_incidents_are_shown(etb: ScriptedEtb, reads: EtbReader) -> None:
    etb.on(INCIDENTS, page([incident_row(number) for number in range(1, 251)]))
    assert len(await reads.incidents()) == 200


@pytest.mark.parametrize(
    ("search", "sent"),
    [
        ("mail is  down", "mail is down"),
        ("\"mail\", 'is' down\x00", "mail is down"),
        ("Straße", "Straße"),
        ("x" * 5000, "x" * 200),
    ],
)
async def test_a_search_is_sent_as_words_without_signs(
    etb: ScriptedEtb, reads: EtbReader, search: str, sent: str
) -> None:
    etb.on(INCIDENTS, page([]))
    await reads.incidents(search=search)
    assert etb.asked(INCIDENTS)[0]["search"] == sent


async def test_business_hours_are_read_from_the_definition_once(
    etb: ScriptedEtb, reads: EtbReader, clock: HandClock
) -> None:
    etb.on(SLAS, page([SLA, SLA | {"incident": OTHER}, SLA | {"target_time": EARLY}]))
    etb.on(DEFINITION, json_answer({"id": OTHER, "business_hours_only": True}))
    found = await reads.slas(SOME)
    assert [(one.target_ms is None, one.is_business_hours, one.remaining_s) for one in found] == [
        (False, True, 60.0),
        (True, True, 60.0),
    ]
    await reads.slas(SOME)
    assert len(etb.asked(DEFINITION)) == 1
    clock.ms += 601_000
    await reads.slas(SOME)
    assert len(etb.asked(DEFINITION)) == 2


async def test_a_definition_that_cannot_be_read_means_plain_hours_and_one_that_is_away_waits(
    etb: ScriptedEtb, reads: EtbReader
) -> None:
    etb.on(SLAS, page([SLA]))
    etb.on(DEFINITION, json_answer({}, 503))
    with pytest.raises(Later):
        await reads.slas(SOME)
    etb.on(DEFINITION, json_answer({}, 404))
    [one] = await reads.slas(SOME)
    assert not one.is_business_hours


async def test_the_instance_has_the_word_on_business_hours(etb: ScriptedEtb, reads: EtbReader) -> None:
    etb.on(SLAS, page([SLA | {"business_hours_only": True}]))
    [one] = await reads.slas(SOME)
    assert one.is_business_hours
    assert etb.asked(DEFINITION) == []


async def test_escalations_of_other_incidents_are_left_out(etb: ScriptedEtb, reads: EtbReader) -> None:
    row = {"id": ID, "incident": SOME, "status": "TRIGGERED", "triggered_at": LATE, "escalation_level": 2}
    first = row | {"id": OTHER, "triggered_at": EARLY, "escalation_level": 1}
    etb.on(ESCALATIONS, page([row, row | {"incident": OTHER}, first]))
    assert [one.level for one in await reads.escalations(SOME)] == [1, 2]
    assert etb.asked(ESCALATIONS)[0]["incident"] == SOME


async def test_only_active_runbooks_that_hold_the_words_are_shown_when_filters_are_ignored(
    etb: ScriptedEtb, reads: EtbReader
) -> None:
    def book(number: int, name: str, **more: Any) -> dict[str, Any]:
        return {"id": f"00000000-0000-4000-8000-{number:012d}", "name": name, **more}

    etb.on(
        BOOKS,
        page(
            [
                book(1, "A restart of mail"),
                book(2, "Mail"),
                book(3, "mail purge", status="DRAFT"),
                book(4, "Web", description="and mail"),
                book(5, "Search"),
            ]
        ),
    )
    assert [one.name for one in await reads.runbooks("MAIL")] == ["Mail", "A restart of mail", "Web"]
    assert etb.asked(BOOKS)[0]["status"] == "ACTIVE"
    etb.on(BOOKS, page([book(number, f"mail {number:03d}") for number in range(80)] + [book(99, "mail")]))
    found = await reads.runbooks("mail")
    assert (len(found), found[0].name) == (50, "mail")


async def test_the_run_that_is_shown_is_the_one_that_was_asked_for(etb: ScriptedEtb, reads: EtbReader) -> None:
    etb.on(f"{RUNS}{ID}/", json_answer({"id": ID, "status": "SUCCESS"}))
    assert (await reads.execution(ID)).status == "COMPLETED"
    etb.on(f"{RUNS}{ID}/", json_answer({"id": OTHER, "status": "RUNNING"}))
    with pytest.raises(Refused, match="id is not the one that was asked for"):
        await reads.execution(ID)
    etb.on(f"{RUNS}{ID}/", json_answer({"id": ID, "status": "RUNNING", "execution_log": "s3cret"}))
    with pytest.raises(Refused, match="execution_log must be a list, not text") as caught:
        await reads.execution(ID)
    assert "s3cret" not in str(caught.value)


async def test_a_planned_window_that_has_begun_is_under_way(etb: ScriptedEtb, reads: EtbReader) -> None:
    planned = {"id": ID, "name": "Upgrade", "status": "SCHEDULED", "start_time": EARLY, "end_time": LATE}
    later = planned | {"id": SOME, "start_time": LATE, "end_time": "2025-10-09T10:00:00Z"}
    active = planned | {"id": OTHER, "status": "ACTIVE", "start_time": "2025-10-09T07:00:00Z"}
    etb.on(WINDOWS, page([active]), page([planned, later, active]))
    assert [one.id for one in await reads.maintenance()] == [OTHER, ID]
    assert [asked["status"] for asked in etb.asked(WINDOWS)] == ["ACTIVE", "SCHEDULED"]


async def test_the_war_rooms_timeline_stands_in_for_a_missing_one(etb: ScriptedEtb, reads: EtbReader) -> None:
    row = {"id": ID, "incident": SOME, "event_type": "NOTE", "title": "late", "event_time": LATE}
    rows = [row, row | {"incident": OTHER}, row | {"title": "early", "event_time": EARLY}]
    etb.on(FALLBACK, page(rows))
    assert [one.title for one in await reads.timeline(SOME)] == ["early", "late"]
    assert etb.asked(FALLBACK)[0]["incident"] == SOME
    etb.on(TIMELINE, page([{"id": ID, "title": "its own"}]))
    assert [one.title for one in await reads.timeline(SOME)] == ["its own"]


async def test_a_long_timeline_shows_its_latest_thousand(etb: ScriptedEtb, reads: EtbReader) -> None:
    rows = [{"id": ID, "title": str(number), "event_time": LATE} for number in range(1200, 0, -1)]
    etb.on(TIMELINE, page(rows))
    found = await reads.timeline(SOME)
    assert (len(found), found[0].title, found[-1].title) == (1000, "201", "1200")


async def test_a_timeline_that_is_forbidden_is_not_empty(etb: ScriptedEtb, reads: EtbReader) -> None:
    etb.on(TIMELINE, json_answer({}, 403))
    with pytest.raises(Refused, match="403"):
        await reads.timeline(SOME)


async def test_a_slow_answer_is_later_within_the_limit(etb: ScriptedEtb, hasty: EtbReader) -> None:
    gate = asyncio.Event()
    for path in (INCIDENTS, SLAS, ESCALATIONS, BOOKS, f"{RUNS}{ID}/", WINDOWS, TIMELINE):
        etb.on(path, held(gate))
    for call in (
        hasty.incidents(),
        hasty.slas(SOME),
        hasty.escalations(SOME),
        hasty.runbooks("x"),
        hasty.execution(ID),
        hasty.maintenance(),
        hasty.timeline(SOME),
    ):
        with pytest.raises(Later, match=r"gave no answer within 0\.5 s"):
            await call
    gate.set()


async def test_an_odd_answer_is_refused_with_its_path(etb: ScriptedEtb, reads: EtbReader) -> None:
    for path, call in (
        (INCIDENTS, reads.incidents),
        (WINDOWS, reads.maintenance),
        (BOOKS, lambda: reads.runbooks("")),
        (SLAS, lambda: reads.slas(SOME)),
        (TIMELINE, lambda: reads.timeline(SOME)),
    ):
        for answer in (
            text_answer("<html>s3cret"),
            json_answer("s3cret"),
            page([{"id": {"s3cret": 1}, "status": "ACTIVE"}]),
        ):
            etb.on(path, answer)
            with pytest.raises(Refused, match=path) as caught:
                await call()
            assert "s3cret" not in str(caught.value)

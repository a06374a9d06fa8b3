"""Service levels, escalations, runbooks, runs, maintenance and timeline rows into ours."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from etb_appservice.domain.duty import RunbookParameter
from etb_appservice.domain.ids import IncidentId
from etb_appservice.etb import parse, parse_duty
from etb_appservice.etb.spelling import Spelling
from etb_appservice.etb.wire import Unreadable

PLAIN = Spelling()
ID = "00000000-0000-4000-8000-000000000001"
OTHER = "00000000-0000-4000-8000-000000000002"
INCIDENT = IncidentId(ID)
TIME, MS = "2025-10-09T08:00:00Z", 1_759_996_800_000

SLA = {
    "id": ID,
    "incident": ID,
    "sla_definition": OTHER,
    "sla_definition_name": "Critical response",
    "sla_type": "RESPONSE_TIME",
    "escalation_policy": OTHER,
    "status": "ACTIVE",
    "started_at": TIME,
    "target_time": TIME,
    "met_at": None,
    "breached_at": None,
    "time_remaining": 90,
    "business_hours_only": True,
}
ESCALATION = {
    "id": ID,
    "status": "TRIGGERED",
    "escalation_level": 2,
    "reason": "no one answers",
    "escalation_policy_name": "Critical",
    "triggered_at": TIME,
    "acknowledged_by_username": "bob",
    "notifications_sent": [
        {"channel": "SMS", "target": "bob", "sent_at": TIME},
        {"channel": "EMAIL", "target": "bob", "sent_at": TIME},
        {"channel": "EMAIL", "target": {"username": "carol"}},
        {"channel": "EMAIL"},
        "dave",
    ],
}
BOOK = {
    "id": ID,
    "name": "Restart  billing",
    "description": "Restarts it.",
    "status": "ACTIVE",
    "requires_approval": False,
    "steps": [{"name": "Stop"}, {"action": "start"}, {}, "Verify"],
    "parameters_schema": {},
}
RUN = {
    "id": ID,
    "runbook": OTHER,
    "status": "RUNNING",
    "current_step": 1,
    "total_steps": 3,
    "execution_log": [
        {"timestamp": TIME, "step": 0, "level": "info", "message": "Started\n by alice."},
        {"step": "Drain node", "message": "Drained."},
        {"step": "2", "level": "ERROR", "message": "Failed."},
        "A plain line.",
    ],
    "error_message": "",
}
WINDOW = {
    "id": ID,
    "name": "Firmware",
    "status": "ACTIVE",
    "start_time": TIME,
    "end_time": "2025-10-09T10:00:00Z",
    "affected_services": ["mail", {"id": 1, "name": "web"}],
    "suppress_notifications": True,
}
ROW = {
    "id": ID,
    "incident": ID,
    "event_type": "note",
    "title": "A  note",
    "event_time": TIME,
    "description": "two\nlines",
    "created_by_username": "alice",
    "event_data": {"permalink": "https://matrix.to/", "n": 3, "deep": {"a": 1}, "long": "x" * 9000},
}

Read = Callable[[dict[str, Any]], object]
READERS: dict[str, tuple[dict[str, Any], Read]] = {
    "sla": (SLA, lambda row: parse_duty.sla(row, PLAIN)),
    "escalation": (ESCALATION, lambda row: parse_duty.escalation(row, PLAIN)),
    "runbook": (BOOK, parse_duty.runbook),
    "execution": (RUN, lambda row: parse_duty.execution(row, PLAIN)),
    "maintenance": (WINDOW, lambda row: parse_duty.maintenance(row, PLAIN, MS)),
    "timeline": (ROW, lambda row: parse_duty.timeline_row(row, PLAIN, INCIDENT)),
}


def without(row: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in names}


# --- each of them -----------------------------------------------------------------------------------------


def test_an_sla_is_read_whole() -> None:
    found = parse_duty.sla(SLA, PLAIN)
    assert (found.id, found.name, found.kind, found.status) == (ID, "Critical response", "RESPONSE_TIME", "ACTIVE")
    assert (found.started_ms, found.target_ms, found.met_ms, found.breached_ms) == (MS, MS, None, None)
    assert (found.remaining_s, found.is_business_hours, found.policy_id) == (90.0, True, OTHER)


@pytest.mark.parametrize(("left", "seconds"), [("01:00:00", 3600.0), ("PT5M", 300.0), (-5, -5.0), (None, None)])
def test_what_is_left_may_be_any_duration(left: object, seconds: float | None) -> None:
    assert parse_duty.sla(SLA | {"time_remaining": left}, PLAIN).remaining_s == seconds


def test_business_hours_come_from_the_definition_when_the_instance_is_silent() -> None:
    silent = without(SLA, "business_hours_only")
    assert parse_duty.sla(silent, PLAIN, is_business_hours=True).is_business_hours
    assert not parse_duty.sla(silent, PLAIN).is_business_hours
    assert not parse_duty.sla(
        SLA | {"business_hours_only": False}, PLAIN, is_business_hours=True
    ).is_business_hours


def test_an_sla_needs_little() -> None:
    found = parse_duty.sla({"id": ID, "status": "Canceled"}, PLAIN)
    assert (found.name, found.status, found.target_ms, found.policy_id) == ("SLA", "CANCELLED", None, "")


def test_an_escalation_is_read_whole_and_names_each_target_once() -> None:
    found = parse_duty.escalation(ESCALATION, PLAIN)
    assert (found.id, found.status, found.level, found.reason) == (ID, "TRIGGERED", 2, "no one answers")
    assert (found.policy, found.triggered_ms, found.acknowledged_by) == ("Critical", MS, "bob")
    assert found.notified == ("bob", "carol", "dave")
    assert found.is_running


@pytest.mark.parametrize(
    ("reason", "shown", "ref"),
    [
        (f"no one answers [{OTHER}]", "no one answers", OTHER),
        (f"no one answers [{OTHER}/again]", "no one answers", f"{OTHER}/again"),
        (f"[{OTHER}]", "", OTHER),
        ("see [PROD-DB-01]", "see [PROD-DB-01]", ""),
        (f"[{OTHER}] first", f"[{OTHER}] first", ""),
    ],
)
def test_our_reference_is_no_part_of_a_reason(reason: str, shown: str, ref: str) -> None:
    found = parse_duty.escalation(ESCALATION | {"reason": reason}, PLAIN)
    assert (found.reason, found.ref) == (shown, ref)


def test_a_status_is_read_by_the_map_and_unknown_words_pass() -> None:
    mapped = Spelling({"escalation_status": {"Bestätigt": "ACKNOWLEDGED"}})
    assert parse_duty.escalation(ESCALATION | {"status": "bestätigt"}, mapped).status == "ACKNOWLEDGED"
    assert parse_duty.escalation(ESCALATION | {"status": "SNOOZED"}, mapped).status == "SNOOZED"
    assert parse_duty.execution(RUN | {"status": "success"}, PLAIN).status == "COMPLETED"
    assert parse_duty.execution(RUN | {"status": "waiting approval"}, PLAIN).status == "WAITING_APPROVAL"


def test_a_runbook_is_read_with_its_steps() -> None:
    found = parse_duty.runbook(BOOK)
    assert (found.id, found.name, found.description) == (ID, "Restart billing", "Restarts it.")
    assert found.steps == ("Stop", "start", "Step 3", "Verify")
    assert (found.parameters, found.requires_approval) == ((), False)


@pytest.mark.parametrize("status", ["ACTIVE", "active", None, ""])
def test_a_runbook_is_active_unless_it_says_otherwise(status: str | None) -> None:
    assert parse_duty.runbook_is_active({"status": status}, PLAIN)
    assert not parse_duty.runbook_is_active({"status": "DEPRECATED"}, PLAIN)


def test_one_step_that_needs_approval_is_enough() -> None:
    assert parse_duty.runbook(BOOK | {"steps": [{"name": "a"}, {"requires_approval": True}]}).requires_approval
    assert parse_duty.runbook(BOOK | {"requires_approval": True, "steps": None}).requires_approval


def test_parameters_follow_the_schema() -> None:
    schema = {
        "type": "object",
        "properties": {
            "service": {"type": "string", "title": "Which service", "enum": ["web", 2, True, None, {}]},
            "nodes": {"type": ["null", "integer"], "default": 2},
            "share": {"type": "number", "default": 0.5},
            "force": {"type": "boolean", "default": False},
            "names": {"type": "array", "default": []},
            "any": True,
            "odd\nname": {},
        },
        "required": ["service", "unlisted", 7],
    }
    assert parse_duty.runbook(BOOK | {"parameters_schema": schema}).parameters == (
        RunbookParameter(name="service", title="Which service", is_required=True, options=("web", "2", "true")),
        RunbookParameter(name="nodes", kind="integer", default="2"),
        RunbookParameter(name="share", kind="number", default="0.5"),
        RunbookParameter(name="force", kind="boolean", default="false"),
        RunbookParameter(name="names"),
        RunbookParameter(name="any"),
        RunbookParameter(name="unlisted", is_required=True),
    )


def test_a_run_is_read_with_its_log() -> None:
    found = parse_duty.execution(RUN, PLAIN)
    assert (found.id, found.runbook_id, found.status) == (ID, OTHER, "RUNNING")
    assert (found.current_step, found.total_steps, found.error) == (1, 3, "")
    assert found.log == (
        (0, "INFO", "Started by alice."),
        (0, "INFO", "Drained."),
        (2, "ERROR", "Failed."),
        (0, "INFO", "A plain line."),
    )


def test_a_long_log_keeps_its_end_and_cuts_its_lines() -> None:
    log = [{"step": place, "message": f"{place} " + "x" * 9000} for place in range(1000)]
    found = parse_duty.execution(RUN | {"execution_log": log}, PLAIN).log
    assert (len(found), found[0][0], found[-1][0]) == (200, 800, 999)
    assert max(len(message) for _, _, message in found) == 500


def test_the_short_answer_to_a_start_is_enough() -> None:
    found = parse_duty.execution({"execution_id": ID, "status": "PENDING"}, PLAIN)
    assert (found.id, found.status, found.runbook_id, found.total_steps) == (ID, "PENDING", "", 0)


def test_a_window_under_way_is_read_whole() -> None:
    found = parse_duty.maintenance(WINDOW, PLAIN, MS)
    assert found is not None
    assert (found.name, found.services) == ("Firmware", ("mail", "web"))
    assert (found.mutes_notifications, found.mutes_escalations) == (True, False)


@pytest.mark.parametrize(
    ("changes", "now_ms", "is_on"),
    [
        ({}, MS, True),
        ({"start_time": "2025-10-09T09:00:00Z"}, MS, True),  # ETB says it has begun
        ({"end_time": None}, MS, True),
        ({}, MS + 7_200_000, False),  # nobody closed it
        ({"status": "SCHEDULED"}, MS, True),
        ({"status": "SCHEDULED"}, MS - 1, False),
        ({"status": "SCHEDULED", "end_time": None}, MS, False),
        ({"status": "PLANNED"}, MS, True),
        ({"status": None}, MS, True),
        ({"status": "COMPLETED"}, MS, False),
        ({"status": "cancelled"}, MS, False),
    ],
)
def test_a_window_counts_while_it_is_under_way(changes: dict[str, Any], now_ms: int, is_on: bool) -> None:
    assert (parse_duty.maintenance(WINDOW | changes, PLAIN, now_ms) is not None) is is_on


def test_services_that_cannot_be_read_are_not_all_services() -> None:
    with pytest.raises(Unreadable, match="affected_services holds no name"):
        parse_duty.maintenance(WINDOW | {"affected_services": [{"id": 1}]}, PLAIN, MS)
    found = parse_duty.maintenance(WINDOW | {"affected_services": []}, PLAIN, MS)
    assert found is not None
    assert found.services == ()


def test_a_timeline_row_keeps_the_plain_part_of_its_data() -> None:
    found = parse_duty.timeline_row(ROW, PLAIN, INCIDENT)
    assert (found.id, found.incident_id, found.event_type, found.title) == (ID, ID, "NOTE", "A note")
    assert (found.at_ms, found.description, found.by) == (MS, "two\nlines", "alice")
    assert found.data == {"permalink": "https://matrix.to/", "n": 3}


def test_a_reference_is_found_in_the_free_object_too() -> None:
    assert parse_duty.timeline_row(ROW | {"external_ref": "a"}, PLAIN, INCIDENT).external_ref == "a"
    kept = ROW | {"event_data": {"external_ref": "b"}}
    assert parse_duty.timeline_row(kept, PLAIN, INCIDENT).external_ref == "b"
    bare = parse_duty.timeline_row({"id": ID}, PLAIN, INCIDENT)
    assert (bare.event_type, bare.title, bare.at_ms, bare.external_ref) == ("OTHER", "OTHER", None, "")


def test_roles_are_names_or_objects_each_once_and_bounded() -> None:
    row = {"username": "alice"}
    roles = ["Responder", {"id": 3, "name": "Incident  Commander"}, "Responder", {"id": 4}, "", "x" * 201]
    assert parse.user(row | {"roles": roles}).roles == ("Responder", "Incident Commander")
    assert parse.user(row | {"roles": None}).roles == parse.user(row).roles == ()
    assert len(parse.user(row | {"roles": [f"role {n}" for n in range(1000)]}).roles) == 50
    with pytest.raises(Unreadable, match="roles must be a list, not text"):
        parse.user(row | {"roles": "Admin"})
    assert parse.user(row | {"roles": [7, "Admin"]}).roles == ("7", "Admin")
    with pytest.raises(Unreadable, match="roles must be a list of texts, not of a list"):
        parse.user(row | {"roles": [["Admin"]]})


# --- all of them ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", READERS)
def test_unknown_fields_and_surprises_in_texts_do_no_harm(kind: str) -> None:
    row, read = READERS[kind]
    assert read(row | {"x_new": {"a": [1]}, "": None}) == read(row)
    assert "\x00" not in repr(read(row | {"name": "a\x00b\ud800", "reason": "\x00", "title": "\x00"}))


WRONG = [
    ("sla", "id", 7),
    ("sla", "id", "../../etc"),
    ("sla", "status", 7),
    ("sla", "sla_type", []),
    ("sla", "started_at", "soon"),
    ("sla", "target_time", 7),
    ("sla", "time_remaining", {}),
    ("sla", "business_hours_only", "yes"),
    ("sla", "escalation_policy", 7),
    ("escalation", "status", None),
    ("escalation", "escalation_level", "high"),
    ("escalation", "escalation_level", True),
    ("escalation", "escalation_level", 1.5),
    ("escalation", "reason", ["s3cret"]),
    ("escalation", "triggered_at", "s3cret"),
    ("escalation", "notifications_sent", "s3cret"),
    ("escalation", "notifications_sent", [[7]]),
    ("escalation", "acknowledged_by_username", 7),
    ("runbook", "name", None),
    ("runbook", "name", ["s3cret"]),
    ("runbook", "steps", "s3cret"),
    ("runbook", "steps", [7]),
    ("runbook", "requires_approval", "no"),
    ("runbook", "parameters_schema", ["s3cret"]),
    ("execution", "id", None),
    ("execution", "status", {"s3cret": 1}),
    ("execution", "runbook", "s3cret"),
    ("execution", "current_step", -1.0),
    ("execution", "execution_log", {"s3cret": 1}),
    ("execution", "execution_log", [["s3cret"]]),
    ("execution", "error_message", ["s3cret"]),
    ("maintenance", "start_time", "s3cret"),
    ("maintenance", "affected_services", "mail"),
    ("maintenance", "suppress_notifications", "s3cret"),
    ("timeline", "event_data", ["s3cret"]),
    ("timeline", "title", {"s3cret": 1}),
    ("timeline", "event_time", 7),
]


@pytest.mark.parametrize(("kind", "name", "value"), WRONG)
def test_a_wrong_type_is_named_and_never_shown(kind: str, name: str, value: object) -> None:
    row, read = READERS[kind]
    with pytest.raises(Unreadable) as caught:
        read(row | {name: value})
    told = str(caught.value)
    assert name in told or (kind, name) == ("execution", "id")
    assert "s3cret" not in told


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ({"properties": []}, "properties must be an object"),
        ({"properties": {}, "required": "s3cret"}, "required must be a list"),
        ({"properties": {"a": {"enum": "s3cret"}}}, "enum must be a list"),
        ({"properties": {"a": {"title": ["s3cret"]}}}, "title must be text"),
    ],
)
def test_a_schema_that_is_none_is_named_and_never_shown(schema: dict[str, Any], why: str) -> None:
    with pytest.raises(Unreadable, match=why) as caught:
        parse_duty.runbook(BOOK | {"parameters_schema": schema})
    assert "s3cret" not in str(caught.value)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda leaf: st.lists(leaf, max_size=3) | st.dictionaries(st.text(max_size=8), leaf, max_size=3),
    max_leaves=6,
)
INNER = st.sampled_from(
    ["name", "target", "step", "message", "properties", "required", "enum", "default", "type", "username"]
)
NESTED = st.dictionaries(INNER, st.dictionaries(INNER, ANYTHING, max_size=3) | ANYTHING, max_size=4)


@pytest.mark.parametrize("kind", READERS)
@settings(deadline=None, database=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_no_answer_of_etb_raises_anything_but_unreadable(kind: str, data: st.DataObject) -> None:
    row, read = READERS[kind]
    changes = data.draw(
        st.dictionaries(st.sampled_from(sorted(row)), ANYTHING | NESTED | st.lists(NESTED, max_size=3))
    )
    try:
        found = read(row | changes)
    except Unreadable:
        return
    assert len(repr(found)) < 200_000

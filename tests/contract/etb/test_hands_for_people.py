"""Writes that people asked for, to an ETB that lacks paths, keeps little, answers oddly, or takes its time."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.effects import (
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
from etb_appservice.etb.hands import EtbWriter
from etb_appservice.etb.probe import Modules
from etb_appservice.ports import Try
from tests.contract.etb.conftest import TOKEN
from tests.harness.etb_parts import (
    NOW_MS,
    Answer,
    ScriptedEtb,
    dropped,
    incident_row,
    json_answer,
    page,
    text_answer,
)

Connect = Callable[..., EtbClient]
SOME = IncidentId("00000000-0000-4000-8000-000000000001")
ID = "00000000-0000-4000-8000-00000000000a"
USER = "00000000-0000-4000-8000-00000000000b"
INCIDENTS = "/api/incidents/incidents/"
INCIDENT = f"{INCIDENTS}{SOME}/"
ASSIGN = f"{INCIDENT}assign/"
USERS = "/security/api/users/"
ESCALATIONS = "/api/sla-oncall/api/v1/escalation-instances/"
BOOKS = "/api/automation/runbooks/"
RUNS = "/api/automation/runbook-executions/"
EVIDENCE = "/api/compliance/evidence/"
EXECUTE = f"{BOOKS}{ID}/execute/"
REF = "00000000-0000-7000-8000-000000000077"

RAISE = ChangeIncident(incident_id=SOME, classification=Classification.RESTRICTED)
STATUS = ChangeIncident(incident_id=SOME, status="RESOLVED")
TO_BOB = ChangeIncident(incident_id=SOME, assignee=Username("bob"))
DECLARE = DeclareIncident(
    title="Mail is down", severity="HIGH", description="since noon", category="Data", ref=REF
)
ESCALATE = TriggerEscalation(incident_id=SOME, reason="no one answers", ref=REF, policy_id=ID)
START = StartRunbook(
    incident_id=SOME, runbook_id=ID, parameters={"n": 1}, ref=REF, trigger_data={"username": "alice"}
)
REGISTER = RegisterEvidence(
    incident_id=SOME,
    evidence_type="CHAT_LOG",
    title="Transcript",
    description="of the room",
    file_hash="ab" * 32,
    file_size=17,
    mime="text/html",
    source_reference=REF,
    classification="INTERNAL",
)
ESCALATION = {"id": ID, "status": "TRIGGERED", "escalation_level": 1, "reason": f"no one answers [{REF}]"}
RUN = {"id": ID, "status": "RUNNING", "total_steps": 3, "trigger_data": {"command_id": REF}}
DECLARED = incident_row(7, description=f"since noon\n\nReference: etb-appservice/{REF}")
STARTS: list[tuple[EtbEffect, str, str, dict[str, Any]]] = [
    (DECLARE, INCIDENTS, INCIDENTS, DECLARED),
    (ESCALATE, ESCALATIONS, ESCALATIONS, ESCALATION),
    (START, EXECUTE, RUNS, RUN),
    (REGISTER, EVIDENCE, EVIDENCE, {"id": ID, "status": "COLLECTED", "source_reference": REF}),
]
"""Effect, where it is posted, where it is looked for, and what ETB makes of it."""


def attempt(attempts: int = 0, *, ago_s: float = 3600.0, now_ms: int = NOW_MS) -> Try:
    first_ms = now_ms - round(ago_s * 1000) if attempts else None
    return Try(key="effect-7", now_ms=now_ms, attempts=attempts, first_tried_ms=first_ms, device_id=None)


@pytest.fixture
def hands(connect: Connect) -> EtbWriter:
    enums = {"status": {"Gelöst": "RESOLVED"}, "severity": {"Hoch": "HIGH"}, "trigger_type": {"CHAT": "CHATOPS"}}
    client = connect(enums=enums)
    return EtbWriter(client, Modules(client))


def sent(etb: ScriptedEtb, method: str, path: str) -> list[Any]:
    return [json.loads(body) for kind, where, _, _, body in etb.requests if (kind, where) == (method, path)]


# --- changing an incident ---------------------------------------------------------------------------------


async def test_only_what_differs_is_sent_and_in_etbs_spelling(etb: ScriptedEtb, hands: EtbWriter) -> None:
    etb.on(INCIDENT, json_answer(incident_row(severity="Hoch")))
    etb.on(INCIDENT, json_answer(incident_row(status="Gelöst")), method="PATCH")
    effect = ChangeIncident(incident_id=SOME, status="resolved", severity="HIGH")
    done = await hands.do(effect, attempt())
    assert sent(etb, "PATCH", INCIDENT) == [{"status": "Gelöst"}]
    assert (done.found["old_status"], done.found["status"]) == ("OPEN", "RESOLVED")
    assert etb.requests[-1][3]["Idempotency-Key"] == "effect-7"


async def test_after_a_restart_nothing_is_said_of_what_an_earlier_try_may_have_changed(
    etb: ScriptedEtb, hands: EtbWriter
) -> None:
    etb.on(INCIDENT, json_answer(incident_row(status="Gelöst", assigned_to_username="alice")))
    done = await hands.do(STATUS, attempt(1))
    assert (done.detail, done.found["status"]) == ("found", "RESOLVED")
    assert (done.found.get("old_status"), done.found["old_assignee"]) == (None, "alice")


async def test_an_escalation_says_of_itself_no_more_than_etb_did(etb: ScriptedEtb, hands: EtbWriter) -> None:
    etb.on(ESCALATIONS, json_answer(ESCALATION | {"escalation_level": None}, 201), method="POST")
    assert (await hands.do(ESCALATE, attempt())).found == {"id": ID}
    told = {"notifications_sent": [{"target": "bob"}, {"target": {"username": "carol"}}]}
    etb.on(ESCALATIONS, json_answer(ESCALATION | told, 201), method="POST")
    assert (await hands.do(ESCALATE, attempt())).found == {"id": ID, "level": "1", "notified": "bob, carol"}


async def test_what_is_as_wanted_is_not_sent(etb: ScriptedEtb, hands: EtbWriter) -> None:
    etb.on(INCIDENT, json_answer(incident_row(status="Gelöst")))
    done = await hands.do(STATUS, attempt(1))
    assert done.detail == "found"
    assert {method for method, *_ in etb.requests} == {"GET"}


@pytest.mark.parametrize("answer", [json_answer({}), text_answer("", 204), json_answer({"ok": True})])
async def test_an_answer_that_shows_no_incident_is_followed_by_a_look(
    etb: ScriptedEtb, hands: EtbWriter, answer: Answer
) -> None:
    etb.on(INCIDENT, json_answer(incident_row()), json_answer(incident_row(status="Gelöst")))
    etb.on(INCIDENT, answer, method="PATCH")
    assert (await hands.do(STATUS, attempt())).found["status"] == "RESOLVED"


async def test_a_change_that_etb_quietly_ignores_is_refused(etb: ScriptedEtb, hands: EtbWriter) -> None:
    etb.on(INCIDENT, json_answer(incident_row()))
    etb.on(INCIDENT, json_answer(incident_row()), method="PATCH")
    with pytest.raises(Refused, match="without a complaint, but status is still OPEN"):
        await hands.do(STATUS, attempt())


async def test_what_etb_makes_of_a_change_is_what_is_told(etb: ScriptedEtb, hands: EtbWriter) -> None:
    etb.on(INCIDENT, json_answer(incident_row()))
    etb.on(INCIDENT, json_answer(incident_row(status="CLOSED")), method="PATCH")
    assert (await hands.do(STATUS, attempt())).found["status"] == "CLOSED"


@pytest.mark.parametrize(
    ("answer", "outcome", "why"),
    [
        (json_answer({"status": ["No way back."]}, 400), Refused, "^ETB says of status: No way back.$"),
        (json_answer({"detail": "It is closed."}, 409), Refused, "^ETB says: It is closed.$"),
        (json_answer({"detail": "No."}, 403), Refused, "check etb.token and its permissions; it says: No."),
        (json_answer({}, 405), Refused, "405"),
        (json_answer({}, 429), Later, "wait"),
        (json_answer({}, 500), Unsure, "may have taken effect"),
        (dropped, Unsure, "may have taken effect"),
        (text_answer("<html>"), Unsure, "can't be read"),
    ],
)
async def test_a_change_ends_in_one_of_the_outcomes(
    etb: ScriptedEtb, hands: EtbWriter, answer: Answer, outcome: type[Exception], why: str
) -> None:
    etb.on(INCIDENT, json_answer(incident_row()))
    etb.on(INCIDENT, answer, method="PATCH")
    with pytest.raises(outcome, match=why):
        await hands.do(STATUS, attempt())


async def test_the_token_is_never_in_a_refusal(etb: ScriptedEtb, hands: EtbWriter) -> None:
    etb.on(INCIDENT, json_answer(incident_row()))
    etb.on(INCIDENT, json_answer({"status": [f"You sent {TOKEN}."]}, 400), method="PATCH")
    with pytest.raises(Refused) as caught:
        await hands.do(STATUS, attempt())
    assert str(caught.value) == "ETB says of status: You sent …."


async def test_an_incident_that_is_another_is_not_changed(etb: ScriptedEtb, hands: EtbWriter) -> None:
    etb.on(INCIDENT, json_answer(incident_row(2)))
    with pytest.raises(Refused, match="id is not the one that was asked for"):
        await hands.do(STATUS, attempt())
    assert sent(etb, "PATCH", INCIDENT) == []


async def test_an_assignee_is_set_by_their_id(etb: ScriptedEtb, hands: EtbWriter) -> None:
    etb.on(INCIDENT, json_answer(incident_row()))
    etb.on(USERS, page([{"username": "Bob", "id": SOME}, {"username": "bob", "id": USER}]))
    etb.on(INCIDENT, json_answer(incident_row(assigned_to_username="bob")), method="PATCH")
    done = await hands.do(TO_BOB, attempt())
    assert sent(etb, "PATCH", INCIDENT) == [{"assigned_to_id": USER}]
    assert (done.found["assignee"], done.found["old_assignee"]) == ("bob", "alice")


@pytest.mark.parametrize(
    "patched",
    [
        json_answer({"assigned_to_id": ["Unknown field."]}, 400),
        json_answer({}, 405),
        json_answer(incident_row()),  # a field that a serializer doesn't know is dropped without a word
    ],
)
async def test_the_assign_action_stands_in_where_patch_does_not_assign(
    etb: ScriptedEtb, hands: EtbWriter, patched: Answer
) -> None:
    etb.on(INCIDENT, json_answer(incident_row()))
    etb.on(USERS, page([{"username": "bob", "id": USER}]))
    etb.on(INCIDENT, patched, method="PATCH")
    etb.on(ASSIGN, json_answer(incident_row(assigned_to_username="bob")), method="POST")
    assert (await hands.do(TO_BOB, attempt())).found["assignee"] == "bob"
    assert sent(etb, "POST", ASSIGN) == [{"username": "bob"}]


@pytest.mark.parametrize(
    "users", [json_answer({}, 403), json_answer({}, 404), page([{"username": "bob", "id": 7}])]
)
async def test_the_assign_action_stands_in_where_users_are_not_shown(
    etb: ScriptedEtb, hands: EtbWriter, users: Answer
) -> None:
    etb.on(INCIDENT, json_answer(incident_row()))
    etb.on(USERS, users)
    etb.on(ASSIGN, json_answer(incident_row(assigned_to_username="bob")), method="POST")
    assert (await hands.do(TO_BOB, attempt())).found["assignee"] == "bob"
    assert sent(etb, "PATCH", INCIDENT) == []


@pytest.mark.parametrize(
    ("shown", "is_done"),
    [({"assigned_to": USER}, True), ({"assigned_to": ...}, True), ({"assigned_to": SOME}, False)],
)
async def test_where_etb_shows_no_usernames_the_id_tells(
    etb: ScriptedEtb, hands: EtbWriter, shown: dict[str, Any], is_done: bool
) -> None:
    etb.on(INCIDENT, json_answer(incident_row(assigned_to_username=...)))
    etb.on(USERS, page([{"username": "bob", "id": USER}]))
    etb.on(INCIDENT, json_answer(incident_row(assigned_to_username=..., **shown)), method="PATCH")
    if is_done:
        assert (await hands.do(TO_BOB, attempt())).found["assignee"] == "bob"
        return
    with pytest.raises(Refused, match="but the assignee is still nobody"):
        await hands.do(TO_BOB, attempt())


async def test_without_any_way_to_assign_the_first_refusal_is_told(etb: ScriptedEtb, hands: EtbWriter) -> None:
    etb.on(INCIDENT, json_answer(incident_row()))
    etb.on(USERS, page([]))
    with pytest.raises(Refused, match="ETB knows no user bob"):
        await hands.do(TO_BOB, attempt())
    etb.on(USERS, page([{"username": "bob", "id": USER}]))
    etb.on(INCIDENT, json_answer({"assigned_to_id": ["Not you."]}, 400), method="PATCH")
    with pytest.raises(Refused, match=r"ETB says of assigned_to_id: Not you\."):
        await hands.do(TO_BOB, attempt())
    etb.on(INCIDENT, json_answer(incident_row()), method="PATCH")
    with pytest.raises(Refused, match="but the assignee is still alice"):
        await hands.do(TO_BOB, attempt())
    etb.on(ASSIGN, json_answer(incident_row()), method="POST")
    with pytest.raises(Refused, match="but the assignee is still alice"):
        await hands.do(TO_BOB, attempt())


# --- what makes a new row ---------------------------------------------------------------------------------


async def test_what_is_sent_carries_its_reference(etb: ScriptedEtb, hands: EtbWriter) -> None:
    for effect, path, _, row in STARTS:
        etb.on(path, json_answer(row, 201), method="POST")
        assert (await hands.do(effect, attempt())).detail == "created"
    assert sent(etb, "POST", INCIDENTS) == [
        {
            "title": "Mail is down",
            "description": f"since noon\n\nReference: etb-appservice/{REF}",
            "severity": "Hoch",
            "category": "Data",
        }
    ]
    assert sent(etb, "POST", ESCALATIONS) == [
        {"incident_id": SOME, "escalation_policy_id": ID, "reason": f"no one answers [{REF}]"}
    ]
    assert sent(etb, "POST", EXECUTE) == [
        {
            "trigger_type": "CHAT",
            "trigger_data": {"username": "alice", "command_id": REF},
            "incident_id": SOME,
            "parameters": {"n": 1},
        }
    ]
    assert sent(etb, "POST", EVIDENCE) == [
        {
            "incident_id": SOME,
            "title": "Transcript",
            "description": "of the room",
            "evidence_type": "CHAT_LOG",
            "file_hash": "ab" * 32,
            "file_size": 17,
            "mime_type": "text/html",
            "source": "etb-appservice",
            "source_reference": REF,
            "data_classification": "INTERNAL",
        }
    ]


async def test_long_texts_leave_the_reference_whole(etb: ScriptedEtb, hands: EtbWriter) -> None:
    etb.on(INCIDENTS, json_answer(DECLARED, 201), method="POST")
    long = DeclareIncident(title="t" * 9000, severity="HIGH", description="d" * 90_000, category="", ref=REF)
    await hands.do(long, attempt())
    [body] = sent(etb, "POST", INCIDENTS)
    assert len(body["title"]) == 255
    assert body["description"].endswith(f"d\n\nReference: etb-appservice/{REF}")
    assert "category" not in body
    etb.on(ESCALATIONS, json_answer(ESCALATION, 201), method="POST")
    await hands.do(TriggerEscalation(incident_id=SOME, reason="r" * 9000, ref=REF), attempt())
    [body] = sent(etb, "POST", ESCALATIONS)
    assert body["reason"].endswith(f"r [{REF}]")
    assert len(body["reason"]) < 1100
    assert "escalation_policy_id" not in body


@pytest.mark.parametrize(("effect", "path", "place", "row"), STARTS)
async def test_a_repetition_finds_its_row_on_a_later_page(
    etb: ScriptedEtb, hands: EtbWriter, effect: EtbEffect, path: str, place: str, row: dict[str, Any]
) -> None:
    others = [
        row
        | {
            "id": SOME,
            "description": f"{REF}",
            "reason": f"[{REF}] x",
            "trigger_data": {},
            "source_reference": "x",
        }
    ]
    etb.on(place, page(others, f"{etb.url}{place}?page=2"), page([row]))
    done = await hands.do(effect, attempt(1))
    assert (done.detail, done.found["id"]) == ("found", row["id"])
    assert sent(etb, "POST", path) == []


@pytest.mark.parametrize(("effect", "path", "place", "row"), STARTS)
async def test_a_list_that_shows_too_little_is_followed_by_a_look_at_each(
    etb: ScriptedEtb, hands: EtbWriter, effect: EtbEffect, path: str, place: str, row: dict[str, Any]
) -> None:
    slim = {"id": row["id"], "status": row["status"]}
    etb.on(place, page([slim]))
    etb.on(f"{place}{row['id']}/", json_answer(row))
    assert (await hands.do(effect, attempt(1))).detail == "found"
    etb.on(f"{place}{row['id']}/", json_answer(slim))
    with pytest.raises(Unsure, match="don't tell"):
        await hands.do(effect, attempt(1))
    assert sent(etb, "POST", path) == []


@pytest.mark.parametrize(("effect", "path", "place", "row"), STARTS)
@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (json_answer({}, 403), Unsure),
        (json_answer({}, 404), Unsure),
        (text_answer("<html>"), Unsure),
        (page([{"id": 7}]), Unsure),
        (json_answer({}, 503), Later),
    ],
)
async def test_a_repetition_never_posts_unless_the_rows_were_read(
    etb: ScriptedEtb,
    hands: EtbWriter,
    effect: EtbEffect,
    path: str,
    place: str,
    row: dict[str, Any],
    answer: Answer,
    outcome: type[Exception],
) -> None:
    etb.on(place, answer)
    etb.on(path, json_answer(row, 201), method="POST")
    with pytest.raises(outcome):
        await hands.do(effect, attempt(1))
    assert {method for method, *_ in etb.requests} == {"GET"}


@pytest.mark.parametrize(("effect", "path", "place", "row"), STARTS)
async def test_a_repetition_waits_while_etb_may_be_at_work_on_the_first_try(
    etb: ScriptedEtb, hands: EtbWriter, effect: EtbEffect, path: str, place: str, row: dict[str, Any]
) -> None:
    etb.on(place, page([]))
    etb.on(path, json_answer(row, 201), method="POST")
    with pytest.raises(Later, match="may still be at work") as caught:
        await hands.do(effect, attempt(1, ago_s=5))
    assert caught.value.after_s == pytest.approx(10.0)  # three times the limit of five seconds, less five
    assert sent(etb, "POST", path) == []
    assert (await hands.do(effect, attempt(1, ago_s=15))).detail == "created"


@pytest.mark.parametrize(("effect", "path", "place", "row"), STARTS)
async def test_a_later_try_that_was_lost_is_waited_for_too(
    etb: ScriptedEtb, hands: EtbWriter, effect: EtbEffect, path: str, place: str, row: dict[str, Any]
) -> None:
    etb.on(place, page([]))
    etb.on(path, dropped, json_answer(row, 201), method="POST")
    with pytest.raises(Unsure):
        await hands.do(effect, attempt(1, ago_s=3600))
    with pytest.raises(Later, match="may still be at work"):
        await hands.do(effect, attempt(2, ago_s=3601, now_ms=NOW_MS + 1000))
    assert len(sent(etb, "POST", path)) == 1
    assert (await hands.do(effect, attempt(3, ago_s=3616, now_ms=NOW_MS + 16_000))).detail == "created"


@pytest.mark.parametrize(("effect", "path", "place", "row"), STARTS)
async def test_a_try_that_surely_did_nothing_is_not_waited_for(
    etb: ScriptedEtb, hands: EtbWriter, effect: EtbEffect, path: str, place: str, row: dict[str, Any]
) -> None:
    etb.on(place, page([]))
    etb.on(path, json_answer({}, 429), json_answer(row, 201), method="POST")
    with pytest.raises(Later, match="asks us to wait"):
        await hands.do(effect, attempt())
    assert (await hands.do(effect, attempt(1, ago_s=1))).detail == "created"


@pytest.mark.parametrize(("effect", "path", "place", "row"), STARTS)
@pytest.mark.parametrize("answer", [json_answer({}, 201), json_answer({"id": "x"}, 201), text_answer("", 201)])
async def test_an_answer_that_cannot_be_used_is_looked_into_by_the_next_try(
    etb: ScriptedEtb,
    hands: EtbWriter,
    effect: EtbEffect,
    path: str,
    place: str,
    row: dict[str, Any],
    answer: Answer,
) -> None:
    etb.on(path, answer, method="POST")
    with pytest.raises(Unsure, match="can't be used"):
        await hands.do(effect, attempt())
    etb.on(place, page([row]))
    assert (await hands.do(effect, attempt(1, ago_s=1))).detail == "found"
    assert len(sent(etb, "POST", path)) == 1


async def test_a_declaration_is_looked_for_by_search_and_then_among_the_latest(
    etb: ScriptedEtb, hands: EtbWriter
) -> None:
    stranger = incident_row(3, description=f"quotes etb-appservice/{REF} in a sentence")
    etb.on(INCIDENTS, page([stranger]), page([stranger, DECLARED]))
    done = await hands.do(DECLARE, attempt(1))
    assert done.found == {"id": DECLARED["id"], "number": DECLARED["incident_number"]}
    searched, latest = etb.asked(INCIDENTS)
    assert (searched["search"], searched["ordering"]) == (REF, "-created_at")
    assert latest["created_after"] == "2025-10-09T07:38:20.000Z"


async def test_the_look_for_an_earlier_try_ends_where_its_time_begins(etb: ScriptedEtb, hands: EtbWriter) -> None:
    old = RUN | {"trigger_data": {}, "started_at": "2025-10-01T08:00:00Z"}
    etb.on(RUNS, page([old], f"{etb.url}{RUNS}?page=2"))
    etb.on(EXECUTE, json_answer(RUN, 201), method="POST")
    assert (await hands.do(START, attempt(1))).detail == "created"
    assert len(etb.asked(RUNS)) == 1


# --- escalations and runs ---------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [404, 405])
async def test_the_incidents_own_action_stands_in_for_escalations(
    etb: ScriptedEtb, hands: EtbWriter, status: int
) -> None:
    etb.on(ESCALATIONS, json_answer({}, status), method="POST")
    etb.on(f"{INCIDENT}escalate/", json_answer(ESCALATION, 201), method="POST")
    done = await hands.do(ESCALATE, attempt())
    assert done.found == {"id": ID, "level": "1"}, "ETB doesn't say whom it has told"
    assert sent(etb, "POST", f"{INCIDENT}escalate/") == [{"reason": f"no one answers [{REF}]"}]


async def test_without_any_way_to_escalate_it_is_refused_with_the_fix(etb: ScriptedEtb, hands: EtbWriter) -> None:
    with pytest.raises(Refused, match="ETB knows no such incident"):
        await hands.do(ESCALATE, attempt())
    etb.on(INCIDENT, json_answer(incident_row()))
    with pytest.raises(Refused, match=r"set etb\.paths\.sla\.escalations"):
        await hands.do(ESCALATE, attempt())


async def test_what_etb_refuses_to_start_is_told_in_its_words(etb: ScriptedEtb, hands: EtbWriter) -> None:
    etb.on(INCIDENT, json_answer(incident_row()))
    etb.on(EXECUTE, json_answer({"error": "Runbook is DEPRECATED."}, 400), method="POST")
    with pytest.raises(Refused, match=r"^ETB says: Runbook is DEPRECATED\.$"):
        await hands.do(START, attempt())
    etb.on(ESCALATIONS, json_answer({"reason": ["Too short."]}, 400), method="POST")
    with pytest.raises(Refused, match=r"^ETB says of reason: Too short\.$"):
        await hands.do(ESCALATE, attempt())


async def test_the_short_answer_to_a_start_is_enough(etb: ScriptedEtb, hands: EtbWriter) -> None:
    etb.on(EXECUTE, json_answer({"execution_id": ID, "status": "PENDING"}, 202), method="POST")
    done = await hands.do(START, attempt())
    assert done.found == {"id": ID, "status": "PENDING", "total_steps": "0"}


MOVE = MoveEscalation(incident_id=SOME, escalation_id=ID, to="ACKNOWLEDGED")
CANCEL = CancelRunbook(incident_id=SOME, execution_id=ID)
MOVES = [
    (MOVE, f"{ESCALATIONS}{ID}/acknowledge/", f"{ESCALATIONS}{ID}/", ESCALATION, "ACKNOWLEDGED"),
    (CANCEL, f"{RUNS}{ID}/cancel/", f"{RUNS}{ID}/", RUN, "CANCELLED"),
]


@pytest.mark.parametrize(("effect", "path", "place", "row", "end"), MOVES)
@pytest.mark.parametrize("status", [400, 409])
async def test_a_move_that_is_refused_is_looked_at(
    etb: ScriptedEtb,
    hands: EtbWriter,
    effect: EtbEffect,
    path: str,
    place: str,
    row: dict[str, Any],
    end: str,
    status: int,
) -> None:
    etb.on(path, json_answer({"detail": "Not from there."}, status), method="POST")
    etb.on(place, json_answer(row | {"status": end}))
    done = await hands.do(effect, attempt())
    assert (done.detail, done.found["status"]) == ("found", end)
    etb.on(place, json_answer(row))
    with pytest.raises(Refused, match=r"^ETB says: Not from there\.$"):
        await hands.do(effect, attempt())


@pytest.mark.parametrize(("effect", "path", "place", "row", "end"), MOVES)
async def test_a_move_is_looked_at_before_it_is_repeated_and_after_a_bare_answer(
    etb: ScriptedEtb, hands: EtbWriter, effect: EtbEffect, path: str, place: str, row: dict[str, Any], end: str
) -> None:
    etb.on(path, text_answer("", 204), method="POST")
    etb.on(place, json_answer(row), json_answer(row | {"status": end}))
    done = await hands.do(effect, attempt(1))
    assert (done.detail, done.found["status"]) == ("changed", end)
    assert (await hands.do(effect, attempt(1))).detail == "found"
    assert len(sent(etb, "POST", path)) == 1


@pytest.mark.parametrize(("effect", "path", "place", "row", "end"), MOVES)
async def test_a_move_whose_state_cannot_be_read_is_refused(
    etb: ScriptedEtb, hands: EtbWriter, effect: EtbEffect, path: str, place: str, row: dict[str, Any], end: str
) -> None:
    etb.on(path, json_answer({"detail": "Not from there."}, 409), method="POST")
    etb.on(place, json_answer(row | {"status": ["s3cret"]}))
    with pytest.raises(Refused, match="status must be text, not a list"):
        await hands.do(effect, attempt())
    etb.on(place, json_answer({}, 404))
    with pytest.raises(Refused, match="ETB knows no such"):
        await hands.do(effect, attempt())
    etb.on(path, json_answer({"detail": "No."}, 403), method="POST")
    with pytest.raises(Refused, match=r"check etb\.token"):
        await hands.do(effect, attempt())


# --- classifying an incident ------------------------------------------------------------------------------


async def test_a_level_is_set_in_both_places_where_an_incident_states_one(
    etb: ScriptedEtb, hands: EtbWriter
) -> None:
    before: dict[str, Any] = {"data_classification": "INTERNAL", "required_clearance": "CONFIDENTIAL"}
    after: dict[str, Any] = {"data_classification": "RESTRICTED", "required_clearance": "RESTRICTED"}
    etb.on(INCIDENT, json_answer(incident_row(**before)))
    etb.on(INCIDENT, json_answer(incident_row(**after)), method="PATCH")
    done = await hands.do(RAISE, attempt())
    assert sent(etb, "PATCH", INCIDENT) == [after]
    assert (done.found["old_classification"], done.found["classification"]) == ("CONFIDENTIAL", "RESTRICTED")
    etb.on(INCIDENT, json_answer(incident_row()))
    etb.on(INCIDENT, json_answer(incident_row(data_classification="RESTRICTED")), method="PATCH")
    done = await hands.do(RAISE, attempt())
    assert sent(etb, "PATCH", INCIDENT)[1] == {"data_classification": "RESTRICTED"}
    assert done.found["old_classification"] == ""


async def test_a_level_that_stands_already_is_not_sent(etb: ScriptedEtb, hands: EtbWriter) -> None:
    etb.on(INCIDENT, json_answer(incident_row(data_classification="RESTRICTED")))
    assert (await hands.do(RAISE, attempt(1))).detail == "found"
    assert sent(etb, "PATCH", INCIDENT) == []


async def test_a_level_that_etb_quietly_ignores_is_refused(etb: ScriptedEtb, hands: EtbWriter) -> None:
    etb.on(INCIDENT, json_answer(incident_row(data_classification="INTERNAL")))
    etb.on(INCIDENT, json_answer(incident_row(data_classification="INTERNAL")), method="PATCH")
    with pytest.raises(Refused, match="the classification is still INTERNAL"):
        await hands.do(RAISE, attempt())

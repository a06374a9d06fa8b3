"""The sandbox keeps to docs/etb-contract.md: paths, token, pages, filters, errors, and what the actions do."""

import asyncio
import uuid
from datetime import datetime

import aiohttp
import pytest

from tests.harness.sandbox import INCIDENTS, Sandbox, seeded_id, token_of

S, U, C, K, Q = "/api/sla-oncall/api/v1", "/api/automation", "/api/compliance", "/api/knowledge", "/security/api"

# path: fields every row must have (sections 7 to 10)
LISTS = {
    INCIDENTS: "id incident_number title description severity priority category subcategory status "
    "assigned_to assigned_to_username reporter reporter_username affected_users business_impact "
    "estimated_downtime is_duplicate original_incident duplicate_of_title is_sensitive data_classification "
    "required_clearance tags affected_services created_at updated_at acknowledged_at resolved_at closed_at "
    "classification_confidence",
    f"{S}/business-hours/": "id name description timezone is_active is_default",
    f"{S}/sla-definitions/": "id name sla_type incident_categories incident_severities "
    "target_duration_minutes business_hours_only business_hours escalation_enabled "
    "escalation_threshold_percent is_active is_default",
    f"{S}/sla-instances/": "id incident incident_title sla_definition sla_definition_name sla_type "
    "escalation_policy status started_at target_time met_at breached_at response_time time_remaining "
    "breach_time is_breached escalation_triggered escalation_triggered_at escalation_level",
    f"{S}/escalation-policies/": "id name escalation_type trigger_condition trigger_delay_minutes "
    "escalation_steps notification_channels is_active is_default",
    f"{S}/oncall-rotations/": "id name team_name rotation_type timezone external_system status current_oncall",
    f"{S}/oncall-assignments/": "id rotation rotation_name user user_username user_email start_time end_time "
    "status handoff_notes handed_off_from handoff_time incidents_handled response_time_avg",
    f"{S}/notification-templates/": "id name",
    f"{U}/runbooks/": "id name description version trigger_type steps status requires_approval "
    "parameters_schema estimated_duration execution_count success_rate last_executed_at created_by_username",
    f"{U}/maintenance-windows/": "id name start_time end_time affected_services suppress_notifications status",
    f"{U}/chatops-commands/": "id command platform allowed_users allowed_channels status",
    f"{C}/frameworks/": "id name framework_type framework_type_display version applicable_regions "
    "industry_sectors is_active effective_date review_date requirements_count created_at updated_at",
    f"{C}/evidence/": "id incident incident_title title evidence_type file file_hash file_size mime_type "
    "source collected_by_username collected_at status chain_of_custody data_classification retention_until",
    f"{C}/retention-policies/": "id name data_type data_classification retention_period_days action "
    "auto_apply applicable_frameworks is_active",
    f"{C}/legal-holds/": "id name case_number reason status scope incidents custodians data_types "
    "effective_date expiry_date issued_by_username released_at released_by_username created_at",
    f"{K}/knowledge-articles/": "id title slug summary content article_type category tags status "
    "difficulty_level related_services author_username data_classification view_count average_rating "
    "rating_count published_at",
    f"{K}/recommendations/": "id incident incident_title recommendation_type title related_incident "
    "knowledge_article suggested_expert suggested_expert_username suggested_actions similarity_score "
    "confidence_score confidence_level",
    f"{K}/postmortems/": "id title incident incident_title status severity owner_username "
    "completion_percentage is_overdue created_at due_date",
    f"{Q}/users/": "id username email first_name last_name department job_title employee_id is_active "
    "is_locked mfa_enabled roles clearance_level last_login",
    f"{Q}/data-classifications/": "id name level description requires_clearance",
    "/api/analytics/kpi-metrics/": "id name metric_type aggregation_type incident_categories "
    "incident_severities time_window_hours measurement_count latest_measurement",
}
EMPTY = (
    f"{S}/escalation-instances/",
    f"{U}/runbook-executions/",
    f"{C}/audit-logs/",
    f"{Q}/audit-logs/",
    f"{Q}/device-postures/",
)


@pytest.mark.parametrize("path", LISTS)
async def test_a_list_answers_in_pages_with_the_contracts_fields(running_sandbox: Sandbox, path: str) -> None:
    status, page = await running_sandbox.call("GET", path, page_size=100)
    assert status == 200
    assert set(page) == {"count", "next", "previous", "results"}
    assert page["results"]
    for row in page["results"]:
        assert set(LISTS[path].split()) <= set(row)
        uuid.UUID(row["id"])
    status, detail = await running_sandbox.call("GET", f"{path}{page['results'][0]['id']}/")
    assert (status, detail["id"]) == (200, page["results"][0]["id"])


async def test_the_other_lists_answer_too(etb: Sandbox) -> None:
    for path in (*EMPTY, f"{S}/oncall-assignments/current/", f"{S}/oncall-rotations/current/"):
        status, page = await etb.call("GET", path)
        assert (status, type(page["results"])) == (200, list), path
    status, summary = await etb.call("GET", "/api/monitoring/health-checks/summary/")
    assert (status, summary["overall_status"], summary["health_percentage"]) == (200, "HEALTHY", 91.67)


@pytest.mark.parametrize("path", [*LISTS, *EMPTY, "/api/monitoring/health-checks/summary/"])
async def test_without_a_token_the_answer_is_401_and_nothing_is_deleted(
    running_sandbox: Sandbox, path: str
) -> None:
    async with aiohttp.ClientSession() as http:
        for headers in ({}, {"Authorization": "Token nonsense"}):
            async with http.get(running_sandbox.url + path, headers=headers) as answer:
                assert answer.status == 401
                assert answer.headers["WWW-Authenticate"] == "Token"
                assert "detail" in await answer.json()
    assert (await running_sandbox.call("DELETE", path))[0] == 405


async def test_pages_are_followed_and_bounded(etb: Sandbox) -> None:
    await etb.control("POST", "bulk", {"incidents": 120})
    status, first = await etb.call("GET", INCIDENTS, page_size=50)
    assert (status, first["count"], len(first["results"]), first["previous"]) == (200, 130, 50, None)
    assert first["next"].startswith(etb.url)
    seen = [row["id"] for row in first["results"]]
    for page in (2, 3):
        status, answer = await etb.call("GET", INCIDENTS, page_size=50, page=page)
        seen += [row["id"] for row in answer["results"]]
    assert (answer["next"], len(set(seen))) == (None, 130)
    assert len((await etb.call("GET", INCIDENTS))[1]["results"]) == 20
    assert len((await etb.call("GET", INCIDENTS, page_size=5000))[1]["results"]) == 100
    assert (await etb.call("GET", INCIDENTS, page=99))[0] == 404


async def test_filters_search_and_order(etb: Sandbox) -> None:
    rows = await etb.rows(INCIDENTS, ordering="-updated_at")
    times = [row["updated_at"] for row in rows]
    assert times == sorted(times, reverse=True)
    assert all(time.endswith("Z") for time in times)
    newer = await etb.rows(INCIDENTS, updated_after=times[3])
    assert {row["id"] for row in newer} == {row["id"] for row in rows[:4]}
    assert {row["severity"] for row in await etb.rows(INCIDENTS, severity="HIGH")} == {"HIGH"}
    assert len(await etb.rows(INCIDENTS, search="phishing")) == 1
    assert len(await etb.rows(INCIDENTS, assigned_to=seeded_id("user", "carol"))) == 2
    assert (await etb.call("GET", INCIDENTS, assigned_to="carol"))[0] == 400
    assert [row["username"] for row in await etb.rows(f"{Q}/users/", username="bob")] == ["bob"]
    assert [row["username"] for row in await etb.rows(f"{Q}/users/", is_active="false")] == ["ivan"]
    assert len(await etb.rows(f"{K}/knowledge-articles/", tags="security", status="PUBLISHED")) == 2
    assert len(await etb.rows(f"{C}/legal-holds/", incident=seeded_id("Incident", "leak"), status="ACTIVE")) == 1
    assert [row["owner_username"] for row in await etb.rows(f"{K}/postmortems/", owner="bob")] == ["bob"]
    assert len(await etb.rows(f"{C}/frameworks/", effective_date_after="2020-01-01")) == 1
    severities = {row["severity"] for row in rows}
    assert severities >= {"INFO", "LOW", "MEDIUM", "HIGH", "CRITICAL", "EMERGENCY"}


async def test_a_reported_incident_gets_number_slas_and_a_timeline(etb: Sandbox) -> None:
    incident = await etb.declare("Checkout is down", "CRITICAL", reporter="bob", assignee="alice", priority="P1")
    assert incident["incident_number"] == "INC-001010"
    assert (incident["reporter_username"], incident["assigned_to_username"]) == ("bob", "alice")
    slas = await etb.rows(f"{S}/sla-instances/", incident=incident["id"], ordering="target_time")
    assert [sla["sla_type"] for sla in slas] == ["ACKNOWLEDGMENT_TIME", "RESOLUTION_TIME"]
    assert slas[0]["started_at"] == incident["created_at"]
    assert slas[0]["escalation_policy_name"] == "Critical escalation"
    await etb.patch(incident["id"], status="IN_PROGRESS", severity="HIGH", assignee="bob")
    changed = await etb.incident(incident["id"])
    assert changed["updated_at"] > incident["updated_at"]
    assert changed["acknowledged_at"]
    assert [event["event_type"] for event in await etb.timeline(incident["id"])] == [
        "INCIDENT_CREATED",
        "STATUS_CHANGED",
        "SEVERITY_CHANGED",
        "ASSIGNED",
    ]
    closed = await etb.patch(incident["id"], status="CLOSED")
    assert closed["resolved_at"]
    assert closed["closed_at"]
    slas = await etb.rows(f"{S}/sla-instances/", incident=incident["id"])
    assert {sla["status"] for sla in slas} == {"MET"}


async def test_wrong_bodies_are_refused_by_field(etb: Sandbox) -> None:
    status, answer = await etb.call("POST", INCIDENTS, {"severity": "VERY BAD"})
    assert (status, set(answer)) == (400, {"title", "severity"})
    one = INCIDENTS + seeded_id("Incident", "gateway") + "/"
    assert (await etb.call("PATCH", one, {"status": "NONSENSE"}))[0] == 400
    assert (await etb.call("PATCH", one, {"assigned_to_id": "bob"}))[0] == 400
    assert (await etb.call("PUT", one, {}))[0] == 405
    assert (await etb.call("GET", f"{INCIDENTS}{uuid.uuid4()}/"))[0] == 404
    assert (await etb.call("POST", INCIDENTS, {"title": "x"}, headers={"Content-Type": "text/plain"}))[0] == 415
    assert len(await etb.rows(INCIDENTS)) == 10


async def test_clearance_hides_incidents_from_a_users_own_token(etb: Sandbox) -> None:
    leak = f"{INCIDENTS}{seeded_id('Incident', 'leak')}/"
    assert (await etb.call("GET", leak, token=token_of("mallory")))[0] == 404
    assert (await etb.call("GET", leak, token=token_of("carol")))[0] == 200
    await etb.set_clearance("mallory", "RESTRICTED")
    assert (await etb.call("GET", leak, token=token_of("mallory")))[0] == 200


async def test_the_timeline_takes_notes(etb: Sandbox) -> None:
    incident = await etb.declare()
    path = f"{INCIDENTS}{incident['id']}/timeline/"
    note = {"event_type": "NOTE", "title": "Gateway drained", "event_data": {"matrix_event_id": "$x"}}
    status, row = await etb.call("POST", path, note | {"external_ref": "etb-appservice:1"})
    assert (status, row["created_by_username"], row["incident"]) == (201, "etb-chat", incident["id"])
    assert (await etb.rows(path, external_ref="etb-appservice:1"))[0]["event_data"] == {"matrix_event_id": "$x"}
    assert (await etb.call("POST", path, {"title": "x", "event_data": "no object"}))[0] == 400
    other = "/api/collaboration-war-rooms/timeline-events/"
    assert (await etb.call("POST", other, note | {"incident_id": incident["id"]}))[0] == 201
    assert len(await etb.rows(other, incident=incident["id"], ordering="event_time")) == 3
    assert (await etb.call("POST", other, note))[0] == 400


async def test_escalation_by_both_ways_and_its_life(etb: Sandbox) -> None:
    incident = await etb.declare(severity="CRITICAL")
    status, one = await etb.call("POST", f"{INCIDENTS}{incident['id']}/escalate/", {"reason": "No one answers"})
    assert (status, one["status"], one["reason"], one["escalation_level"]) == (
        201,
        "TRIGGERED",
        "No one answers",
        1,
    )
    assert {sent["target"] for sent in one["notifications_sent"]} == {"bob"}
    policy = (await etb.rows(f"{S}/escalation-policies/", is_default="true"))[0]["id"]
    body = {"incident_id": incident["id"], "escalation_policy_id": policy, "reason": "Still none"}
    status, two = await etb.call("POST", f"{S}/escalation-instances/", body)
    assert (status, two["escalation_level"], two["escalation_policy"]) == (201, 2, policy)
    status, two = await etb.call("POST", f"{S}/escalation-instances/{two['id']}/acknowledge/")
    assert (status, two["status"], two["acknowledged_by_username"]) == (200, "ACKNOWLEDGED", "etb-chat")
    assert (await etb.call("POST", f"{S}/escalation-instances/{two['id']}/acknowledge/"))[0] == 409
    assert (await etb.call("POST", f"{S}/escalation-instances/{two['id']}/resolve/"))[1]["status"] == "RESOLVED"
    await etb.patch(incident["id"], status="CLOSED")
    assert (await etb.call("POST", f"{INCIDENTS}{incident['id']}/escalate/", {}))[0] == 400


async def test_the_fallback_assigns_by_name_or_id(etb: Sandbox) -> None:
    path = f"{INCIDENTS}{seeded_id('Incident', 'search')}/assign/"
    for body, name in (({"username": "alice"}, "alice"), ({"user_id": seeded_id("user", "dave")}, "dave")):
        status, incident = await etb.call("POST", path, body)
        assert (status, incident["assigned_to_username"]) == (200, name)
    for body in ({"username": "nobody"}, {"user_id": "x"}, {"username": "ivan"}, {}):
        assert (await etb.call("POST", path, body))[0] == 400


async def test_slas_pass_their_thresholds_and_a_breach_escalates(etb: Sandbox) -> None:
    incident = await etb.declare(severity="CRITICAL")
    await etb.put_sla_at(76, incident["id"])
    at_risk = {sla["incident"] for sla in await etb.rows(f"{S}/sla-instances/at_risk/")}
    assert incident["id"] in at_risk
    await etb.pass_time(600, incident["id"])
    slas = await etb.rows(f"{S}/sla-instances/", incident=incident["id"], ordering="target_time")
    assert [(sla["status"], sla["is_breached"], sla["escalation_triggered"]) for sla in slas] == [
        ("BREACHED", True, True),
        ("ACTIVE", False, False),
    ]
    assert slas[0]["breach_time"] > 300
    assert [
        row["sla_instance"] for row in await etb.rows(f"{S}/escalation-instances/", incident=incident["id"])
    ] == [slas[0]["id"]]
    assert {"SLA_BREACHED", "ESCALATED"} <= {event["event_type"] for event in await etb.timeline(incident["id"])}


async def test_the_person_on_call_changes_and_may_be_nobody(etb: Sandbox) -> None:
    rotation = f"{S}/oncall-rotations/{seeded_id('OncallRotation', 'Platform primary')}"
    status, now = await etb.call("GET", f"{rotation}/current_oncall/")
    assert (status, now["user_username"], now["user_email"]) == (200, "bob", "bob@etb.example")
    await etb.set_oncall("carol")
    assert (await etb.call("GET", f"{rotation}/current_oncall/"))[1]["user_username"] == "carol"
    current = await etb.rows(f"{S}/oncall-assignments/current/")
    assert [row["user_username"] for row in current] == ["carol"]
    handoff = {"to_user_id": seeded_id("user", "dave"), "notes": "Good luck"}
    status, row = await etb.call("POST", f"{S}/oncall-assignments/{current[0]['id']}/handoff/", handoff)
    assert (status, row["user_username"], row["handoff_notes"]) == (201, "dave", "Good luck")
    assert (await etb.call("POST", f"{S}/oncall-assignments/{row['id']}/handoff/", {"to_user_id": "x"}))[0] == 400
    await etb.set_oncall(None)
    assert (await etb.call("GET", f"{rotation}/current_oncall/"))[0] == 404
    assert (await etb.call("GET", f"{rotation}/"))[1]["current_oncall"] is None


async def run(etb: Sandbox, runbook: str, **body: object) -> dict[str, object]:
    status, row = await etb.call("POST", f"{U}/runbooks/{seeded_id('Runbook', runbook)}/execute/", body)
    assert status == 201
    assert row["status"] == "PENDING"
    return row


async def ended(etb: Sandbox, execution: str) -> dict[str, object]:
    async with asyncio.timeout(10):
        while True:
            _, row = await etb.call("GET", f"{U}/runbook-executions/{execution}/")
            if row["status"] not in ("PENDING", "RUNNING"):
                return row


async def test_runbooks_come_to_their_end_fail_or_never_end(etb: Sandbox) -> None:
    await etb.options(step_seconds=0.02)
    incident = await etb.declare()
    trigger = {"username": "alice", "command_id": "c1"}
    good = await run(
        etb, "Restart API gateway", trigger_type="CHATOPS", incident_id=incident["id"], trigger_data=trigger
    )
    done = await ended(etb, good["id"])
    assert (done["status"], done["current_step"], done["total_steps"], done["trigger_data"]) == (
        "COMPLETED",
        3,
        3,
        trigger,
    )
    assert len(done["execution_log"]) == 5
    kinds = [event["event_type"] for event in await etb.timeline(incident["id"])]
    assert kinds == ["INCIDENT_CREATED", "RUNBOOK_STARTED", "RUNBOOK_COMPLETED"]
    bad = await ended(etb, (await run(etb, "Rotate edge certificates"))["id"])
    assert (bad["status"], bad["error_message"]) == ("FAILED", "Step 'Deploy' ended with exit status 1.")
    endless = await run(etb, "Rebuild search index")
    assert (await etb.call("POST", f"{U}/runbook-executions/{endless['id']}/cancel/"))[1]["status"] == "CANCELLED"
    assert (await etb.call("POST", f"{U}/runbook-executions/{endless['id']}/cancel/"))[0] == 400
    forced = await run(etb, "Rebuild search index")
    await etb.end_execution(forced["id"], "TIMEOUT", "Took too long.")
    assert (await ended(etb, forced["id"]))["error_message"] == "Took too long."


async def test_runbook_names_can_be_ambiguous_and_old_ones_refuse(etb: Sandbox) -> None:
    names = [row["name"] for row in await etb.rows(f"{U}/runbooks/", search="restart billing", status="ACTIVE")]
    assert sorted(names) == ["Restart Billing", "Restart billing"]
    old = seeded_id("Runbook", "Old cache purge")
    assert (await etb.call("POST", f"{U}/runbooks/{old}/execute/", {}))[0] == 400
    assert "outcome" not in (await etb.call("GET", f"{U}/runbooks/{old}/"))[1]


async def test_evidence_comes_as_json_or_as_a_file(etb: Sandbox) -> None:
    incident = await etb.declare()
    digest = {
        "incident_id": incident["id"],
        "title": "Transcript",
        "evidence_type": "CHAT_LOG",
        "file_hash": "ab" * 32,
    }
    status, row = await etb.call("POST", f"{C}/evidence/", digest)
    assert (status, row["file"], row["collected_by_username"]) == (201, None, "etb-chat")
    form = aiohttp.FormData({"incident_id": incident["id"], "title": "Log"})
    form.add_field("file", b"line\n", filename="a.log", content_type="text/plain")
    headers = {"Authorization": f"Token {etb.token}"}
    async with aiohttp.ClientSession() as http:
        async with http.post(f"{etb.url}{C}/evidence/", data=form, headers=headers) as answer:
            row = await answer.json()
            assert (answer.status, row["file_size"], row["mime_type"]) == (201, 5, "text/plain")
        async with http.get(row["file"]) as answer:
            assert await answer.read() == b"line\n"


async def test_a_legal_hold_is_placed_and_released(etb: Sandbox) -> None:
    incident = await etb.declare()
    body = {"name": "Court order", "incident_ids": [incident["id"]], "data_types": ["ALL"]}
    status, hold = await etb.call("POST", f"{C}/legal-holds/", body)
    assert (status, hold["incidents"], hold["status"]) == (201, [incident["id"]], "ACTIVE")
    status, hold = await etb.call("POST", f"{C}/legal-holds/{hold['id']}/release/")
    assert (status, hold["status"], hold["released_by_username"]) == (200, "RELEASED", "etb-chat")
    assert (await etb.call("POST", f"{C}/legal-holds/{hold['id']}/release/"))[0] == 409


async def test_audit_entries_are_chained_and_final(etb: Sandbox) -> None:
    rows = [
        (await etb.call("POST", path, {"action_type": "command.run", "details": {"n": n}}))[1]
        for n, path in enumerate((f"{C}/audit-logs/", f"{Q}/audit-logs/"))
    ]
    assert rows[1]["previous_hash"] == rows[0]["entry_hash"] != rows[1]["entry_hash"]
    assert (await etb.call("PATCH", f"{C}/audit-logs/{rows[0]['id']}/", {}))[0] == 405


async def test_knowledge_is_searched_rated_and_made(etb: Sandbox) -> None:
    articles = f"{K}/knowledge-articles/"
    assert (await etb.rows(articles, search="connection pool"))[0]["title"] == "Database connection pool exhausted"
    status, found = await etb.call("POST", f"{articles}search/", {"query": "gateway 502", "limit": 2})
    assert (status, found["results"][0]["relevance_score"]) == (200, 1.0)
    status, rated = await etb.call("POST", f"{articles}{found['results'][0]['id']}/rate/", {"rating": 5})
    assert (status, rated["rating_count"]) == (200, 1)
    assert "content" in found["results"][0]
    body = {"incident_id": seeded_id("Incident", "gateway")}
    assert len((await etb.call("POST", f"{K}/recommendations/generate_for_incident/", body))[1]) == 2
    status, made = await etb.call("POST", f"{K}/postmortems/generate_automated/", body)
    assert (status, made["is_automated"], made["timeline"][0]["event"]) == (201, True, "INCIDENT_CREATED")
    assert (await etb.call("POST", f"{K}/postmortems/generate_automated/", {"incident_id": "x"}))[0] == 400
    assert "executive_summary" not in (await etb.rows(f"{K}/postmortems/"))[0]
    for name in ("similar", "correlations", "duplicates", "classification"):
        status, answer = await etb.call("GET", f"{INCIDENTS}{body['incident_id']}/{name}/")
        assert (status, type(answer)) == (200, dict if name == "classification" else list)


async def test_people_log_in_and_see_themselves(etb: Sandbox) -> None:
    login = f"{Q}/auth/login/"
    headers = {"Authorization": ""}
    status, answer = await etb.call(
        "POST", login, {"username": "erin", "password": "erin-sandbox"}, headers=headers
    )
    assert (status, answer["user"]["clearance_level"]) == (200, {"name": "TOP_SECRET", "level": 5})
    assert set(answer["user"]) == {"id", "username", "email", "mfa_enabled", "clearance_level"}
    assert (await etb.call("GET", f"{Q}/auth/profile/", token=answer["token"]))[1] == answer["user"]
    assert (await etb.call("GET", f"{Q}/users/me/", token=answer["token"]))[1]["username"] == "erin"
    assert (await etb.call("POST", f"{Q}/auth/logout/", token=answer["token"]))[0] == 200
    assert (await etb.call("GET", f"{Q}/auth/profile/", token=answer["token"]))[0] == 401
    wrong = {"username": "erin", "password": "wrong"}
    assert (await etb.call("POST", login, wrong, headers=headers))[0] == 401
    frank = {"username": "frank", "password": "frank-sandbox"}
    assert (await etb.call("POST", login, frank, headers=headers))[0] == 400
    assert (await etb.call("POST", login, frank | {"mfa_token": "000000"}, headers=headers))[0] == 200
    assert (await etb.call("GET", f"{Q}/auth/mfa-status/", token=token_of("frank")))[1] == {"mfa_enabled": True}


async def test_devices_belong_to_their_owner(etb: Sandbox) -> None:
    device = {"device_id": "d1", "device_name": "Laptop", "encryption_enabled": True}
    status, row = await etb.call("POST", f"{Q}/device-postures/register_device/", device, token=token_of("bob"))
    assert (status, row["risk_score"]) == (201, 80)
    path = f"{Q}/device-postures/{row['id']}/update_posture/"
    status, row = await etb.call("POST", path, {"firewall_enabled": True}, token=token_of("bob"))
    assert (status, row["risk_score"]) == (200, 60)
    assert await etb.rows(f"{Q}/device-postures/") == []


async def test_decimals_and_durations_are_rendered_as_django_does(etb: Sandbox) -> None:
    metric = (await etb.rows("/api/analytics/kpi-metrics/", metric_type="MTTA"))[0]
    assert metric["latest_measurement"]["value"] == "15.5"
    leak = await etb.incident(seeded_id("Incident", "leak"))
    assert leak["estimated_downtime"] == "02:00:00"
    assert datetime.fromisoformat(leak["created_at"]).tzinfo is not None

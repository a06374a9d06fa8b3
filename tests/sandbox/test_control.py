"""Every fault switch does what it says, and nothing else does; the webhook is signed; the log counts."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from standardwebhooks import Webhook

from tests.harness.sandbox import INCIDENTS, Sandbox, SandboxError, seeded_id, token_of

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


async def test_control_calls_need_the_key(etb: Sandbox) -> None:
    async with aiohttp.ClientSession() as http:
        for headers in ({}, {"X-Sandbox-Key": "wrong"}, {"Authorization": f"Token {etb.token}"}):
            async with http.get(f"{etb.url}/_sandbox/log/", headers=headers) as answer:
                assert answer.status == 404


async def test_a_control_call_that_cannot_be_meant_is_refused(etb: Sandbox) -> None:
    for method, call, body in (
        ("POST", "faults", {"kind": "meteor"}),
        ("POST", "faults", {"kind": "slow", "secnods": 1}),
        ("POST", "faults", {"kind": "slow", "path": "("}),
        ("POST", "options", {"latency": 1}),
        ("POST", "options", {"webhook_url": "ftp://x", "webhook_secret": SECRET}),
        ("POST", "options", {"webhook_url": "http://x"}),
        ("POST", "move", {"nonsense": "/x/"}),
        ("POST", "oncall", {"username": "nobody"}),
        ("POST", "users", {"username": "bob", "clearance": "COSMIC"}),
        ("POST", "users", {"username": "bob", "shoe_size": 44}),
        ("POST", "nonsense", {}),
    ):
        with pytest.raises(SandboxError):
            await etb.control(method, call, body)


async def test_answers_gain_lose_and_change_fields(etb: Sandbox) -> None:
    await etb.fault("extra_fields", "/incidents/", count=1)
    assert "x_new_in_2031" in (await etb.rows(INCIDENTS))[0]
    assert "x_new_in_2031" not in (await etb.rows(INCIDENTS))[0]
    await etb.fault("missing_fields", "/incidents/", count=1)
    row = (await etb.rows(INCIDENTS))[0]
    assert {"id", "title", "severity", "status", "updated_at"} <= set(row)
    assert "incident_number" not in row
    await etb.fault("missing_fields", count=1, fields=["title"])
    assert "title" not in (await etb.rows(INCIDENTS))[0]
    await etb.fault("unknown_enums", count=1)
    row = (await etb.rows(INCIDENTS))[0]
    assert row["status"] == row["severity"] == "QUANTUM_FLUX"
    await etb.fault("wrong_types", count=1, fields=["title"])
    row = (await etb.rows(INCIDENTS))[0]
    assert isinstance(row["title"], dict)
    assert isinstance(row["severity"], str)


async def test_lists_come_bare_or_with_a_foreign_next(etb: Sandbox) -> None:
    await etb.fault("bare_lists", count=1)
    _, answer = await etb.call("GET", INCIDENTS, page_size=3)
    assert len(answer) == 3
    await etb.fault("foreign_next", count=1, host="http://127.0.0.1:9")
    _, answer = await etb.call("GET", INCIDENTS, page_size=3)
    assert answer["next"].startswith("http://127.0.0.1:9/api/incidents/incidents/?page=2")
    await etb.fault("ignore_params", count=1, params=["severity"])
    assert len(await etb.rows(INCIDENTS, severity="LOW")) == 10
    assert len(await etb.rows(INCIDENTS, severity="LOW")) == 1


async def test_refusals_are_given_where_and_as_often_as_asked(etb: Sandbox) -> None:
    await etb.fault("throttle", "/runbooks/", count=2, skip=1, retry_after=7)
    runbooks = "/api/automation/runbooks/"
    async with aiohttp.ClientSession(headers={"Authorization": f"Token {etb.token}"}) as http:
        statuses = []
        for _ in range(4):
            async with http.get(etb.url + runbooks) as answer:
                statuses.append((answer.status, answer.headers.get("Retry-After")))
    assert statuses == [(200, None), (429, "7"), (429, "7"), (200, None)]
    await etb.fault("error", methods=["PATCH"], status=405)
    with pytest.raises(SandboxError, match="405"):
        await etb.patch(seeded_id("Incident", "gateway"), status="CLOSED")
    assert (await etb.incident(seeded_id("Incident", "gateway")))["status"] == "OPEN"
    await etb.fault("error")
    assert (await etb.call("GET", INCIDENTS))[0] == 500
    await etb.clear_faults()
    await etb.fault("not_json", count=1)
    status, answer = await etb.call("GET", INCIDENTS)
    assert (status, type(answer)) == (200, str)
    assert (await etb.call("GET", INCIDENTS))[0] == 200


async def test_slow_answers_run_into_a_callers_limit(etb: Sandbox) -> None:
    await etb.fault("slow", seconds=5, count=1)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await etb.call("GET", INCIDENTS)
    await etb.options(latency_ms=1)
    assert (await etb.call("GET", INCIDENTS))[0] == 200


async def test_a_connection_dropped_after_the_write_leaves_the_write(etb: Sandbox) -> None:
    await etb.fault("drop_after_write", "/incidents/", count=1)
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await etb.declare("Lost answer")
    assert [row["title"] for row in await etb.rows(INCIDENTS, search="Lost answer")] == ["Lost answer"]
    entries = await etb.log("/incidents/", "POST")
    assert [(entry["status"], entry["dropped"]) for entry in entries] == [(201, True)]


async def test_a_connection_dropped_before_the_write_leaves_nothing(etb: Sandbox) -> None:
    await etb.fault("drop_before_write", count=1)
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await etb.declare("Never arrived")
    assert await etb.rows(INCIDENTS, search="Never arrived") == []


async def test_idempotency_keys_count_only_when_switched_on(etb: Sandbox) -> None:
    body, headers = {"title": "Twice", "severity": "LOW"}, {"Idempotency-Key": "k1"}
    first, second = [(await etb.call("POST", INCIDENTS, body, headers=headers))[1]["id"] for _ in range(2)]
    assert first != second
    await etb.options(honour_idempotency_keys=True)
    third, fourth = [(await etb.call("POST", INCIDENTS, body, headers=headers))[1]["id"] for _ in range(2)]
    assert third == fourth
    assert (await etb.call("POST", INCIDENTS, body | {"severity": "HIGH"}, headers=headers))[0] == 422
    assert {entry["idempotency_key"] for entry in await etb.log(INCIDENTS, "POST")} == {"k1"}


@pytest.mark.parametrize(
    ("module", "default", "base", "resource"),
    [
        ("incidents", "/api/incidents/", base, "incidents")
        for base in (
            "/api/incident-intelligence/",
            "/api/incident_intelligence/api/",
            "/api/incident-intelligence/api/v1/",
        )
    ]
    + [
        ("automation", "/api/automation/", base, "runbooks")
        for base in (
            "/api/automation-orchestration/",
            "/api/automation_orchestration/api/",
            "/api/automation-orchestration/api/v1/",
        )
    ]
    + [
        ("/security/api/users/", "/security/api/users/", base, "")
        for base in ("/api/users/", "/api/security/users/")
    ],
)
async def test_a_module_moves_to_each_candidate_base(
    etb: Sandbox, module: str, default: str, base: str, resource: str
) -> None:
    await etb.move(module, base)
    tail = f"{resource}/" if resource else ""
    assert (await etb.call("GET", default + tail, page_size=1))[0] == 404
    status, page = await etb.call("GET", base + tail, page_size=1)
    assert (status, len(page["results"])) == (200, 1)
    assert page["next"].startswith(etb.url + base)
    await etb.move(module, None)
    assert (await etb.call("GET", base + tail))[0] == 404
    await etb.move(module, default)
    assert (await etb.call("GET", default + tail))[0] == 200


async def test_the_scheme_of_the_token_can_be_switched(etb: Sandbox) -> None:
    await etb.options(auth_scheme="Bearer")
    assert (await etb.call("GET", INCIDENTS))[0] == 401
    assert (await etb.call("GET", INCIDENTS, headers={"Authorization": f"Bearer {etb.token}"}))[0] == 200


async def test_the_log_keeps_no_bodies_and_no_tokens(etb: Sandbox) -> None:
    await etb.declare("A very secret title")
    entries = await etb.log()
    assert [(entry["method"], entry["path"], entry["status"]) for entry in entries] == [("POST", INCIDENTS, 201)]
    assert "secret" not in str(entries)
    assert etb.token not in str(entries)


async def test_users_are_made_and_ids_stay_the_same(etb: Sandbox) -> None:
    token = await etb.set_user("trent", clearance="CONFIDENTIAL", email="trent@etb.example")
    _, me = await etb.call("GET", "/security/api/auth/profile/", token=token)
    assert (me["username"], me["id"], token) == ("trent", seeded_id("user", "trent"), token_of("trent"))
    assert me["clearance_level"] == {"name": "CONFIDENTIAL", "level": 3}
    incident = await etb.declare(reporter="trent")
    assert incident["reporter_username"] == "trent"
    await etb.set_clearance("trent", None)
    assert (await etb.call("GET", "/security/api/auth/profile/", token=token))[1]["clearance_level"] is None


async def test_a_reset_can_leave_no_incident(etb: Sandbox) -> None:
    await etb.reset(incidents=False)
    assert await etb.rows(INCIDENTS) == []
    assert await etb.rows("/api/automation/runbooks/")
    assert (await etb.declare())["incident_number"] == "INC-001000"


async def test_many_writers_at_once_lose_nothing(etb: Sandbox) -> None:
    made = await asyncio.gather(*(etb.declare(f"Parallel {n}") for n in range(20)))
    assert len({row["incident_number"] for row in made}) == 20


class Receiver:
    def __init__(self) -> None:
        self.got: asyncio.Queue[tuple[dict[str, str], bytes]] = asyncio.Queue()
        self.refuse = 0
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.got.put_nowait((headers, await request.read()))
        self.refuse -= 1
        return web.Response(status=503 if self.refuse >= 0 else 204)

    async def next(self) -> tuple[dict[str, str], bytes]:
        return await asyncio.wait_for(self.got.get(), 10)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    here = Receiver()
    app = web.Application()
    app.router.add_post("/hooks/etb/incident/", here.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    here.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hooks/etb/incident/"
    yield here
    await runner.cleanup()


async def test_incidents_are_pushed_signed_and_again_when_refused(etb: Sandbox, receiver: Receiver) -> None:
    await etb.webhook(receiver.url, SECRET)
    receiver.refuse = 1
    incident = await etb.declare("Pushed", assignee="bob")
    refused, (headers, body) = await receiver.next(), await receiver.next()
    assert refused[0]["webhook-id"] == headers["webhook-id"]
    message = Webhook(SECRET).verify(body, headers)
    assert message == {"event": "incident.created", "incident": incident}
    changed = await etb.patch(incident["id"], status="RESOLVED")
    headers, body = await receiver.next()
    assert Webhook(SECRET).verify(body, headers) == {"event": "incident.updated", "incident": changed}
    await etb.repeat_webhook(headers["webhook-id"])
    assert (await receiver.next())[0]["webhook-id"] == headers["webhook-id"]
    assert [sent["event"] for sent in await etb.webhooks()][:2] == ["incident.created", "incident.updated"]


async def test_a_refused_write_pushes_nothing(etb: Sandbox, receiver: Receiver) -> None:
    await etb.webhook(receiver.url, SECRET)
    gateway = seeded_id("Incident", "gateway")
    assert (await etb.call("PATCH", f"{INCIDENTS}{gateway}/", {"status": "NONSENSE"}))[0] == 400
    await etb.patch(gateway, status="CLOSED")
    pushed = json.loads((await receiver.next())[1])
    assert (pushed["event"], pushed["incident"]["status"]) == ("incident.updated", "CLOSED")
    assert len(await etb.webhooks()) == 1


async def test_a_second_start_finds_the_data_of_the_first(tmp_path: Path) -> None:
    async with await Sandbox.start(tmp_path, incidents=False, token="a" * 40) as first:
        incident = await first.declare("Kept")
    async with await Sandbox.start(tmp_path, token="b" * 40) as second:
        assert second.token == "b" * 40
        assert [row["id"] for row in await second.rows(INCIDENTS)] == [incident["id"]]
        assert (await second.call("GET", INCIDENTS, token="a" * 40))[0] == 401

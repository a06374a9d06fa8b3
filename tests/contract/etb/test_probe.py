"""Finding ETB's modules at start."""

import asyncio
from collections.abc import Callable

import pytest

from etb_appservice.domain.ids import IncidentId, Username
from etb_appservice.domain.outcomes import Refused
from etb_appservice.etb.client import EtbClient
from etb_appservice.etb.probe import Modules, Presence
from etb_appservice.etb.reads import EtbReader
from tests.harness.etb_parts import HandClock, ScriptedEtb, json_answer, page, text_answer
from tests.harness.processes import free_port

Connect = Callable[..., EtbClient]
SOME = IncidentId("00000000-0000-4000-8000-000000000001")


async def test_each_module_is_found_forbidden_or_absent(etb: ScriptedEtb, connect: Connect) -> None:
    etb.on("/api/incident-intelligence/incidents/", page([]))
    etb.on("/api/sla-oncall/api/v1/sla-instances/", json_answer({"detail": "no"}, 403))
    etb.on("/api/sla-oncall/api/v1/on-call-assignments/", json_answer([]))
    etb.on("/api/knowledge/knowledge-articles/", text_answer("<html>log in</html>"))
    etb.on("/api/monitoring/health-checks/summary/", json_answer({"overall_status": "HEALTHY"}))
    etb.on("/api/analytics/kpi-metrics/", json_answer({"not": "a list"}))
    modules = Modules(connect())
    report = await modules.probe()
    found = {each.module: each for each in report.modules}
    assert {name: each.presence for name, each in found.items()} == {
        "incidents": Presence.FOUND,
        "sla": Presence.FORBIDDEN,
        "oncall": Presence.FOUND,
        "automation": Presence.ABSENT,
        "compliance": Presence.ABSENT,
        "knowledge": Presence.ABSENT,
        "security": Presence.ABSENT,
        "monitoring": Presence.FOUND,
        "analytics": Presence.ABSENT,
    }
    assert modules.paths.table["incidents.timeline"] == "/api/incident-intelligence/incidents/{id}/timeline/"
    assert modules.paths.path("oncall.rotations") == "/api/sla-oncall/api/v1/on-call-rotations/"
    assert "check etb.token" in found["sla"].detail
    assert "HTML" in found["knowledge"].detail
    assert "set etb.paths.automation.runbooks" in found["automation"].detail
    assert etb.asked("/api/incident-intelligence/incidents/") == [{"page_size": "1"}]
    assert {kind for kind, *_ in etb.requests} == {"GET"}
    assert {name for name, each in found.items() if not each.is_well} == {"sla", "security"}
    assert "etb.base_url" in found["security"].detail
    assert "etb.base_url" not in found["automation"].detail


async def test_what_is_switched_off_answers_empty_or_says_so(
    etb: ScriptedEtb, connect: Connect, clock: HandClock
) -> None:
    client = connect()
    modules = Modules(client)
    await modules.probe()
    reads = EtbReader(client, modules, clock)
    asked = len(etb.requests)
    assert await reads.deadlines(SOME) == ()
    assert await reads.on_call() == ()
    with pytest.raises(Refused, match="module incidents is not available"):
        await reads.incident(SOME)
    with pytest.raises(Refused, match="module security is not available"):
        await reads.user(Username("alice"))
    assert len(etb.requests) == asked


async def test_an_etb_that_is_away_switches_nothing_off_and_is_asked_again(
    etb: ScriptedEtb, connect: Connect
) -> None:
    modules = Modules(connect(base_url=f"http://127.0.0.1:{free_port()}"))
    report = await modules.probe()
    assert {each.presence for each in report.modules} == {Presence.UNREACHABLE}
    assert report.off == frozenset()
    assert modules.paths.path("incidents.list") == "/api/incidents/incidents/"

    etb.on("/api/incidents/incidents/", json_answer({}, 500), page([]))
    etb.on("/security/api/users/", page([]))
    modules = Modules(connect())
    await modules.settle()
    assert modules.report.unsettled == {"incidents"}
    assert not modules.is_found("incidents")
    asked = len(etb.requests)
    await modules.settle()
    assert modules.report.unsettled == frozenset()
    assert modules.is_found("incidents")
    assert len(etb.requests) == asked + 1
    await modules.settle()
    assert len(etb.requests) == asked + 1


async def test_what_the_operator_set_is_not_second_guessed(etb: ScriptedEtb, connect: Connect) -> None:
    etb.on("/api/incidents/incidents/", page([]))
    modules = Modules(connect(paths={"incidents.list": "/mine/"}))
    report = await modules.probe()
    assert "incidents" in report.off
    assert modules.paths.path("incidents.list") == "/mine/"
    assert etb.asked("/api/incidents/incidents/") == []


async def test_what_a_proxy_denied_while_etb_started_is_found_later(etb: ScriptedEtb, connect: Connect) -> None:
    etb.on("/security/api/users/", json_answer({}, 403), page([]))
    modules = Modules(connect())
    await modules.settle()
    assert {"incidents", "automation"} < modules.report.off
    assert not modules.is_found("incidents")
    etb.on("/api/incident-intelligence/incidents/", page([]))
    etb.on("/api/automation/runbooks/", page([]))
    await modules.settle()
    # Nothing works without incidents, so they are looked for at once; the rest can wait.
    assert not modules.is_off("incidents")
    assert modules.paths.path("incidents.list") == "/api/incident-intelligence/incidents/"
    assert modules.is_off("automation")
    assert len(etb.asked("/api/automation/runbooks/")) == 1
    for _ in range(9):
        await modules.settle()
    assert not modules.is_off("automation")
    found = {each.module: each.presence for each in modules.report.modules}
    assert found["security"] is Presence.FOUND
    assert len(etb.asked("/security/api/users/")) == 2
    assert found["analytics"] is Presence.ABSENT


async def test_two_who_settle_at_once_ask_once(etb: ScriptedEtb, connect: Connect) -> None:
    modules = Modules(connect())
    etb.on("/api/incidents/incidents/", page([]))
    etb.on("/security/api/users/", page([]))
    await asyncio.gather(modules.settle(), modules.settle())
    assert len(etb.asked("/api/incidents/incidents/")) == 1

"""Finding ETB's modules at start."""

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
    modules = Modules(connect())
    await modules.settle()
    assert modules.report.unsettled == {"incidents"}
    asked = len(etb.requests)
    await modules.settle()
    assert modules.report.unsettled == frozenset()
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

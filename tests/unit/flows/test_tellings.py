"""What is worth more than a line in the room is told to clients as well: once each, to whom it is for."""

from dataclasses import replace

import pytest

from etb_appservice.domain.duty import Escalation, Maintenance
from etb_appservice.domain.facts import HoldsSeen
from etb_appservice.domain.news import Notified
from etb_appservice.domain.policy import DutyPolicy
from tests.harness.cast import ALICE, NO_1, policy_of
from tests.harness.house import House
from tests.harness.kit import MakeHouse
from tests.harness.web import WebUser
from tests.unit.commands.test_run import goes_on, room_with
from tests.unit.flows.test_duty import MINUTE, sla, watched
from tests.unit.flows.test_pages import escalation, shows


def told(house: House, kind: str = "") -> list[Notified]:
    return [one for one in house.news.of(Notified) if one.notice.startswith(kind) and one.notice != "MENTION"]


def titles(house: House, kind: str) -> list[tuple[str, str]]:
    return [(one.notice, one.title) for one in told(house, kind)]


# --- service levels, escalations, on call -----------------------------------------------------------------


async def test_a_threshold_a_breach_and_a_met_target_are_told_to_everybody_once(make_house: MakeHouse) -> None:
    house = await make_house(policy=policy_of(duty=DutyPolicy(thresholds=(50,), join_minutes=0)))
    first = sla(house, minutes=100)
    await watched(house, first, sla(house, id="sla-2", name="Resolution", minutes=1000))
    await house.advance(60 * MINUTE)
    await house.crash()
    await house.advance(5 * MINUTE)
    house.etb.levels[NO_1] = [
        replace(first, status="BREACHED", breached_ms=house.clock.now_ms()),
        sla(house, id="sla-2", name="Resolution", status="MET", met_ms=house.clock.now_ms()),
    ]
    await house.advance(60 * MINUTE)
    assert titles(house, "SLA_") == [
        ("SLA_WARNING", "SLA Response has used 50 % of its time"),
        ("SLA_BREACHED", "SLA Response is breached"),
        ("SLA_MET", "SLA Resolution was met"),
    ]
    assert {one.usernames for one in told(house)} == {()}


async def test_each_step_of_an_escalation_is_told_once(house: House) -> None:
    await house.open_for_alice()
    await shows(house, escalation())
    await shows(house, escalation(level=2))
    await shows(house, escalation(level=2, status="ACKNOWLEDGED", acknowledged_by="bob"))
    await house.crash()
    await house.start_service()
    await shows(house, escalation(level=2, status="RESOLVED", acknowledged_by="bob"))
    assert titles(house, "ESCALATION_") == [
        ("ESCALATION_TRIGGERED", "The escalation is at level 1"),
        ("ESCALATION_TRIGGERED", "The escalation is at level 2"),
        ("ESCALATION_ACKNOWLEDGED", "The escalation is acknowledged"),
        ("ESCALATION_RESOLVED", "The escalation is resolved"),
    ]


async def test_an_escalation_that_a_command_started_and_acknowledged_is_told_too(house: House) -> None:
    await house.open_for_alice()
    await house.ask(ALICE, "!escalate the disk is full")
    [begun] = told(house, "ESCALATION_")
    assert (begun.notice, begun.body) == ("ESCALATION_TRIGGERED", "")
    await house.advance(300)
    await house.ask(ALICE, "!ack")
    await house.advance(300)
    assert [one.notice for one in told(house, "ESCALATION_")] == [
        "ESCALATION_TRIGGERED",
        "ESCALATION_ACKNOWLEDGED",
    ]


async def test_one_of_ours_that_is_seen_before_etb_has_answered_is_told_once(house: House) -> None:
    await house.open_for_alice()
    await house.ask(ALICE, "!status")
    async with house.db.view() as view:
        [run, *_] = await view.commands.of_room(await house.room_id())
    await shows(house, Escalation(id="e", status="TRIGGERED", level=1, reason="the disk", ref=run.id))
    await shows(house, Escalation(id="e", status="TRIGGERED", level=1, reason="the disk", ref=run.id))
    assert [(one.notice, one.body) for one in told(house, "ESCALATION_")] == [("ESCALATION_TRIGGERED", "")]


async def test_maintenance_that_mutes_keeps_escalations_from_clients(house: House) -> None:
    await house.open_for_alice()
    house.etb.windows = [Maintenance(id="m", name="Upgrade", start_ms=0, end_ms=None, mutes_escalations=True)]
    await shows(house, escalation())
    assert told(house, "ESCALATION_") == []


async def test_a_hand_over_is_told_without_names(house: House) -> None:
    await house.open_for_alice()
    await house.on_call("bob", rotation="Platform")
    await house.settle()
    assert told(house, "ONCALL_") == []
    await house.on_call("carol", rotation="Platform")
    await house.settle()
    assert [(one.title, one.body) for one in told(house, "ONCALL_")] == [("Others are on call", "")]


# --- commands ---------------------------------------------------------------------------------------------


async def test_a_command_that_is_answered_at_once_is_told_by_its_result_alone(house: House) -> None:
    await house.open_for_alice()
    alice = WebUser(house, "alice")
    await alice.run("/status")
    await alice.run("/remove bob")
    assert told(house, "COMMAND_") == []


async def test_the_end_of_a_command_that_waited_for_etb_is_told_to_its_asker(house: House) -> None:
    await house.open_for_alice()
    run_id = await WebUser(house, "alice").run("/update status in progress")
    [ended] = told(house, "COMMAND_")
    assert (ended.notice, ended.usernames, ended.run_id) == ("COMMAND_COMPLETED", ("alice",), run_id)
    assert (ended.title, ended.body) == ("Your command update is done", "")


async def test_what_etb_refuses_has_failed_whichever_side_it_was_asked_from(house: House) -> None:
    await house.open_for_alice()
    house.etb.known.clear()
    await house.ask(ALICE, "!update status in progress")
    [ended] = told(house, "COMMAND_")
    assert (ended.notice, ended.usernames) == ("COMMAND_FAILED", ("alice",))
    assert (ended.title, ended.body) == ("Your command update has failed", "")


@pytest.mark.parametrize(
    ("end", "notices"), [("COMPLETED", ["COMMAND_COMPLETED"]), ("FAILED", ["COMMAND_FAILED"]), ("CANCELLED", [])]
)
async def test_a_runbook_that_ends_is_told_to_whoever_started_it(
    house: House, end: str, notices: list[str]
) -> None:
    await room_with(house)
    await WebUser(house, "alice").run("/run playbook restart mail")
    await house.advance(3)
    assert told(house, "COMMAND_") == []
    goes_on(house, end)
    await house.advance(60)
    assert [one.notice for one in told(house, "COMMAND_")] == notices
    assert {one.usernames for one in told(house, "COMMAND_")} <= {("alice",)}


# --- legal holds ------------------------------------------------------------------------------------------


async def sees(house: House, *holds: str) -> None:
    await house.own(HoldsSeen(incident_id=NO_1, holds=holds), lane=NO_1)
    await house.settle()


async def test_a_hold_and_its_release_are_told_to_everybody_once_and_by_no_name(house: House) -> None:
    await house.open_for_alice()
    await sees(house, "case-4711")
    await sees(house, "case-4711", "case-4712")
    await house.crash()
    await sees(house, "case-4712")
    await sees(house)
    assert titles(house, "LEGAL_HOLD_") == [
        ("LEGAL_HOLD_PLACED", "INC-1 is under legal hold"),
        ("LEGAL_HOLD_RELEASED", "INC-1 is under legal hold no longer"),
    ]
    assert {one.usernames for one in told(house, "LEGAL_HOLD_")} == {()}
    assert not [one for one in told(house) if "4711" in one.body]


async def test_a_hold_on_an_incident_without_a_room_is_told_to_nobody(house: House) -> None:
    await house.start_service()
    await sees(house, "h1")
    assert told(house) == []

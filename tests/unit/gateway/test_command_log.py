"""What the command log and `execute_command` show of a run (docs/etb-contract.md 2.4, 4.4)."""

from dataclasses import replace
from typing import Any

import pytest

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.duty import Runbook, RunbookParameter
from etb_appservice.domain.effects import ChangeIncident
from etb_appservice.domain.ids import Username, war_room_id
from etb_appservice.domain.incident import Deadline, OnCall
from etb_appservice.domain.past import Levels
from etb_appservice.ports import Known
from tests.harness.api import Api
from tests.harness.cast import ALICE, NO_1, incident

pytestmark = pytest.mark.enable_socket
ROOM = war_room_id(NO_1)
DUE_MS = 1_790_000_900_000
STATUS = ("incident_id", "title", "status", "severity", "priority", "assigned_to_username", "sla", "oncall")


@pytest.fixture
async def opened(api: Api) -> Api:
    """INC-1 has its room; bob has it, carol is on call."""
    api.house.etb.duty = [OnCall("first line", Username("carol"))]
    await api.house.open_for_alice()
    return api


async def logged(api: Api, line: str) -> dict[str, Any]:
    """Type it in the room; what the log shows of it."""
    await api.house.ask(ALICE, line)
    return await last(api)


async def last(api: Api) -> dict[str, Any]:
    found: dict[str, Any] = (await api.get("alice", "chat-commands/")).body["results"][0]
    return found


# --- what came of it --------------------------------------------------------------------------------------


async def test_status_is_told_in_fields_too(opened: Api) -> None:
    opened.house.etb.sla[NO_1] = [Deadline("Response", "RESPONSE_TIME", "AT_RISK", DUE_MS)]
    found = await logged(opened, "!status")
    result = found["execution_result"]
    assert result.pop("text").startswith("**INC-1: Mail is down**")
    assert result == {
        "incident_id": NO_1,
        "title": "Mail is down",
        "status": "OPEN",
        "severity": "HIGH",
        "priority": "P1",
        "assigned_to_username": "bob",
        "sla": [
            {
                "name": "Response",
                "sla_type": "RESPONSE_TIME",
                "status": "AT_RISK",
                "target_time": "2026-09-21T14:28:20Z",
            }
        ],
        "oncall": [{"rotation_name": "first line", "username": "carol"}],
        "confirmed_at": found["completed_at"],
    }


async def test_status_stays_what_it_was_when_it_was_asked(opened: Api) -> None:
    before = await logged(opened, "!status")
    await opened.house.report(incident(status="RESOLVED", title="Other", updated_at_ms=2000))
    await opened.house.settle()
    assert await last(opened) == before


async def test_what_is_not_known_of_an_incident_is_null(opened: Api) -> None:
    """ETB is away, and gave neither a priority nor an assignee; whether there are deadlines was never answered."""
    house = opened.house
    async with house.db.work() as work:
        known = await work.incidents.get(NO_1)
        assert known is not None
        bare = replace(known.incident, priority="", assignee=None)
        await work.incidents.put(Known(incident=bare, confirmed_ms=known.confirmed_ms))
    house.etb.down()
    house.clock.advance(70)
    found = await logged(opened, "!status")
    result = found["execution_result"]
    assert result["title"] == "Mail is down"
    assert (result["priority"], result["assigned_to_username"], result["sla"]) == (None, None, None)
    assert result["confirmed_at"] < found["executed_at"], "it is an old copy"


async def test_an_assignment_says_who_has_it_and_who_had(opened: Api) -> None:
    assert (await logged(opened, "!assign carol"))["execution_result"] == {
        "text": "Assigned to `carol` (was `bob`).",
        "assigned_to_username": "carol",
        "previous_username": "bob",
    }


async def test_nobody_is_said_to_have_had_it_where_nobody_knows(opened: Api) -> None:
    take = opened.house.etb._take_effect

    def forgetful(effect: Any) -> Any:
        done = take(effect)
        if isinstance(effect, ChangeIncident):
            return replace(done, found={name: one for name, one in done.found.items() if name[:4] != "old_"})
        return done

    opened.house.etb._take_effect = forgetful  # type: ignore[method-assign]
    assert (await logged(opened, "!assign carol"))["execution_result"] == {
        "text": "Assigned to `carol`.",
        "assigned_to_username": "carol",
        "previous_username": None,
    }


@pytest.mark.parametrize(
    ("line", "field", "old", "new"),
    [
        ("!update status in progress", "status", "OPEN", "IN_PROGRESS"),
        ("!update status open", "status", "OPEN", "OPEN"),
        ("!severity critical", "severity", "HIGH", "CRITICAL"),
        ("!resolve", "status", "OPEN", "RESOLVED"),
    ],
)
async def test_a_change_says_what_was_and_what_is(opened: Api, line: str, field: str, old: str, new: str) -> None:
    result = (await logged(opened, line))["execution_result"]
    assert result.pop("text")
    assert result == {"field": field, "old": old, "new": new}


async def test_an_escalation_says_its_level_and_who_was_told(opened: Api) -> None:
    result = (await logged(opened, "!escalate nobody answers"))["execution_result"]
    [made] = opened.house.etb.escalated[NO_1]
    assert result.pop("text")
    assert result == {"escalation_id": made.id, "level": 1, "notified": ["carol"]}


async def test_a_runbook_says_how_far_it_is(opened: Api) -> None:
    opened.house.etb.library = [Runbook(id="book-1", name="Restart mail", steps=("Drain", "Restart"))]
    await opened.house.ask(ALICE, "!run playbook Restart mail")
    found = await last(opened)
    [execution] = opened.house.etb.executions
    result = found["execution_result"]
    assert result.pop("text") == ""
    assert result == {
        "runbook_id": "book-1",
        "runbook_name": "Restart mail",
        "execution_id": execution,
        "status": "RUNNING",
        "current_step": 0,
        "total_steps": 2,
    }
    assert found["automation_execution"] == execution


@pytest.mark.parametrize(
    ("line", "fields"),
    [
        ("!status now", (*STATUS, "confirmed_at")),
        ("!assign nobody-knows", ("assigned_to_username", "previous_username")),
        ("!update status", ("field", "old", "new")),
        ("!escalate", ("escalation_id", "level", "notified")),
        (
            "!run playbook xyzzy",
            ("runbook_id", "runbook_name", "execution_id", "status", "current_step", "total_steps"),
        ),
        ("!who", ()),
    ],
)
async def test_what_a_command_did_not_do_is_null(opened: Api, line: str, fields: tuple[str, ...]) -> None:
    if line == "!escalate":
        opened.house.etb.off.add("sla")
    result = (await logged(opened, line))["execution_result"]
    assert result.pop("text")
    assert result == dict.fromkeys(fields)


async def test_what_was_found_at_a_higher_level_stays_there(opened: Api) -> None:
    """Bob, cleared for less than the room was when it was asked, learns of neither the run nor what it found."""
    house = opened.house
    now_ms = house.clock.now_ms
    async with house.db.work() as work:
        past = Levels().then(now_ms(), Classification.CONFIDENTIAL)
        await work.cases.put(ROOM, past)
    house.clock.advance(1)
    found = await logged(opened, "!status")
    house.clock.advance(1)
    async with house.db.work() as work:
        await work.cases.put(ROOM, past.then(now_ms(), Classification.INTERNAL))
    house.know("bob", clearance=Classification.INTERNAL)
    assert (await opened.get("alice", f"chat-commands/{found['id']}/")).body == found
    assert (await opened.get("bob", f"chat-commands/{found['id']}/")).status == 404
    assert (await opened.get("bob", "chat-commands/")).body["count"] == 0


# --- what was typed ---------------------------------------------------------------------------------------

HOST = RunbookParameter(name="host")
NOTE = RunbookParameter(name="note")
BOOKS = [
    Runbook(id="book-1", name="Restart mail", parameters=(HOST, NOTE)),
    Runbook(id="book-2", name="Set n=3"),
]


@pytest.mark.parametrize(
    ("typed", "name", "parameters"),
    [
        ("playbook Restart mail", "Restart mail", {}),
        ("runbook restart  MAIL", "restart  MAIL", {}),
        ("Playbook 'Restart mail'", "Restart mail", {}),
        (
            'playbook Restart mail host=mx1 note="all of it"',
            "Restart mail",
            {"host": "mx1", "note": "all of it"},
        ),
        ('playbook "Restart mail" host=mx1', "Restart mail", {"host": "mx1"}),
        ("playbook restart host=mx1", "restart", {"host": "mx1"}),
        ("playbook Set n=3", "Set n=3", {}),
        ("playbook Restart mail host='mx1", "Restart mail host='mx1", {}),
        ("playbook host=mx1", "host=mx1", {}),
        ("playbook", "", {}),
        ("playbook  Restart mail  ", "Restart mail", {}),
        ("mail", "mail", {}),
        ("", "", {}),
    ],
)
async def test_a_runbook_is_shown_by_its_name_and_its_parameters(
    opened: Api, typed: str, name: str, parameters: dict[str, str]
) -> None:
    opened.house.etb.library = BOOKS
    found = await logged(opened, f"!run {typed}")
    assert (found["command_type"], found["command_text"]) == ("RUNBOOK", f"/run {typed}".rstrip())
    assert found["parameters"] == {"name": name, "parameters": parameters}


async def test_an_unknown_command_is_shown_as_it_was_typed(opened: Api) -> None:
    found = await logged(opened, "!nonsense x  y")
    assert (found["command_type"], found["command_text"]) == ("CUSTOM", "/nonsense x  y")
    assert found["parameters"] == {"raw": "/nonsense x  y"}
    assert found["error_message"].startswith("I don't know `nonsense`.")


async def test_what_was_typed_too_fast_is_shown_as_it_was_typed(opened: Api) -> None:
    for _ in range(6):
        await opened.house.says(ALICE, "!assign bob")
    await opened.house.settle()
    found = await last(opened)
    assert (found["command_type"], found["command_text"]) == ("ASSIGN", "/assign bob")
    assert (found["parameters"], found["execution_status"]) == ({"username": "bob"}, "FAILED")
    assert found["error_message"].startswith("That is too fast")


async def test_a_command_whose_message_was_removed_tells_nothing_that_was_typed(opened: Api) -> None:
    opened.house.etb.duty = []
    for number, line in enumerate(("!hunter2 secret", "!escalate hunter2")):
        await opened.house.ask(ALICE, line, event_id=f"${number}")
        await opened.house.redacts(ALICE, f"${number}")
    answer = await opened.get("alice", "chat-commands/")
    assert b"hunter2" not in answer.raw
    escalated, unknown = answer.body["results"]
    assert (unknown["command_type"], unknown["command_text"], unknown["parameters"]) == ("CUSTOM", "", {})
    assert (unknown["execution_status"], unknown["error_message"]) == ("FAILED", "")
    assert (escalated["command_type"], escalated["execution_result"]["level"]) == ("ESCALATE", 1)

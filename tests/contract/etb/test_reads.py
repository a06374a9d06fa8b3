"""Reads of an ETB that lacks paths, ignores filters, is slow, or says odd things."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from etb_appservice.domain.ids import IncidentId, Username
from etb_appservice.domain.incident import OnCall
from etb_appservice.domain.outcomes import Later, Refused
from etb_appservice.etb.client import EtbClient
from etb_appservice.etb.probe import Modules
from etb_appservice.etb.reads import EtbReader
from tests.harness.etb_parts import (
    Answer,
    HandClock,
    ScriptedEtb,
    held,
    incident_row,
    json_answer,
    page,
    text_answer,
)

Connect = Callable[..., EtbClient]
SOME = IncidentId("00000000-0000-4000-8000-000000000001")
OTHER = "00000000-0000-4000-8000-000000000002"
INCIDENT = f"/api/incidents/incidents/{SOME}/"
SLA = "/api/sla-oncall/api/v1/sla-instances/"
USERS = "/security/api/users/"
ROTATIONS = "/api/sla-oncall/api/v1/oncall-rotations/"
ASSIGNMENTS = "/api/sla-oncall/api/v1/oncall-assignments/"
BOB = OnCall("Platform", Username("bob"))


@pytest.fixture
def reads(connect: Connect, clock: HandClock) -> EtbReader:
    client = connect(web_url_template="https://etb.example.org/i/{id}/")
    return EtbReader(client, Modules(client), clock, limit_s=30)


@pytest.fixture
def hasty(connect: Connect, clock: HandClock) -> EtbReader:
    client = connect()
    return EtbReader(client, Modules(client), clock, limit_s=0.3)


def turn(username: str = "bob", **changes: Any) -> dict[str, Any]:
    row = {"rotation_name": "Platform", "user_username": username, "status": "ACTIVE"}
    times = {"start_time": "2025-10-09T00:00:00Z", "end_time": "2025-10-10T00:00:00Z"}
    return row | times | changes


def rotation(number: int = 1, **changes: Any) -> dict[str, Any]:
    row = {"id": f"00000000-0000-4000-9000-{number:012d}", "name": "Platform", "status": "ACTIVE"}
    return row | changes


async def test_the_incident_read_is_the_one_that_was_asked_for(etb: ScriptedEtb, reads: EtbReader) -> None:
    etb.on(INCIDENT, json_answer(incident_row()))
    assert (await reads.incident(SOME)).url == f"https://etb.example.org/i/{SOME}/"
    etb.on(INCIDENT, json_answer(incident_row(2)))
    with pytest.raises(Refused, match="id is not the one that was asked for"):
        await reads.incident(SOME)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (json_answer(incident_row(title={"s3cret": 1})), "title must be text, not an object"),
        (json_answer(incident_row(title=...)), "title is missing"),
        (json_answer([incident_row()]), "must be an object, not a list"),
        (text_answer("<html>s3cret"), "HTML, not JSON"),
        (text_answer("", 302, Location="/login/?next=/"), "redirects aren't followed"),
    ],
)
async def test_an_odd_answer_is_refused_with_path_and_field(
    etb: ScriptedEtb, reads: EtbReader, answer: Answer, why: str
) -> None:
    etb.on(INCIDENT, answer)
    with pytest.raises(Refused, match=why) as caught:
        await reads.incident(SOME)
    assert INCIDENT in str(caught.value)
    assert "s3cret" not in str(caught.value)


async def test_a_slow_answer_is_later_within_the_limit(etb: ScriptedEtb, hasty: EtbReader) -> None:
    gate = asyncio.Event()
    for path in (INCIDENT, SLA, USERS, ROTATIONS):
        etb.on(path, held(gate))
    for call in (hasty.incident(SOME), hasty.deadlines(SOME), hasty.user(Username("x")), hasty.on_call()):
        with pytest.raises(Later, match=r"gave no answer within 0\.3 s"):
            await call
    gate.set()


async def test_deadlines_of_other_incidents_are_left_out_when_the_filter_is_ignored(
    etb: ScriptedEtb, reads: EtbReader
) -> None:
    row = {"incident": SOME, "status": "ACTIVE", "sla_type": "RESPONSE_TIME"}
    late, soon = row | {"target_time": "2025-10-09T09:00:00Z"}, row | {"target_time": "2025-10-09T08:00:00Z"}
    etb.on(SLA, page([late, late | {"incident": OTHER}, soon, soon | {"status": "MET"}]))
    found = await reads.deadlines(SOME)
    assert [deadline.target_ms for deadline in found] == [1_759_996_800_000, 1_760_000_400_000]
    assert etb.asked(SLA)[0]["incident"] == SOME
    etb.on(SLA, page([{"status": "ACTIVE"}]))
    with pytest.raises(Refused, match="incident is missing"):
        await reads.deadlines(SOME)


async def test_a_user_is_found_on_a_later_page_when_the_filter_is_ignored(
    etb: ScriptedEtb, reads: EtbReader
) -> None:
    others = [{"username": name} for name in ("Bob", "bobby", " bob", None)]
    etb.on(USERS, page([*others, {}], f"{etb.url}{USERS}?page=2"), page([{"username": "bob", "is_active": False}]))
    found = await reads.user(Username("bob"))
    assert found is not None
    assert (found.username, found.is_active) == ("bob", False)
    assert etb.asked(USERS)[0]["username"] == "bob"


async def test_each_active_rotation_is_asked(etb: ScriptedEtb, reads: EtbReader) -> None:
    rows = [rotation(1), rotation(2, name="Web"), rotation(3, name="Old", status="PAUSED")]
    etb.on(f"{ROTATIONS}{rows[0]['id']}/current_oncall/", json_answer(turn(rotation_name="")))
    etb.on(f"{ROTATIONS}{rows[2]['id']}/current_oncall/", json_answer(turn("mallory")))
    etb.on(
        ROTATIONS,
        page([*rows, rotation(4, name="Data", team_name="Data team", current_oncall={"user_username": "eve"})]),
    )
    found = await reads.on_call()
    assert found == (OnCall("Data", Username("eve")), BOB)
    assert [one.team for one in found] == ["Data team", ""]


@pytest.mark.parametrize("rotations", [None, [rotation()]])
@pytest.mark.parametrize("place", [f"{ASSIGNMENTS}current/", f"{ROTATIONS}current/", ASSIGNMENTS])
@pytest.mark.parametrize("as_page", [True, False])
async def test_the_fallbacks_are_tried_in_their_order(
    etb: ScriptedEtb, reads: EtbReader, rotations: list[dict[str, Any]] | None, place: str, as_page: bool
) -> None:
    if rotations is not None:
        etb.on(ROTATIONS, page(rotations))
    over = turn("old", end_time="2025-10-09T08:00:00Z")
    to_come = turn("new", start_time="2025-10-09T12:00:00Z")
    rows = [over, turn(), to_come, turn("off", status="CANCELLED"), turn()]
    etb.on(place, page(rows) if as_page else json_answer(rows))
    assert await reads.on_call() == (BOB,)


async def test_nobody_on_call_is_empty(etb: ScriptedEtb, reads: EtbReader) -> None:
    assert await reads.on_call() == ()
    etb.on(ROTATIONS, page([rotation()]))
    etb.on(f"{ROTATIONS}{rotation()['id']}/current_oncall/", json_answer(None))
    etb.on(ASSIGNMENTS, page([]))
    assert await reads.on_call() == ()


@pytest.mark.parametrize(
    ("answer", "outcome", "why"),
    [
        (json_answer({}, 503), Later, "503"),
        (json_answer({}, 403), Refused, "check etb.token"),
        (json_answer(turn(user_username=7)), Refused, "user_username must be text"),
        (json_answer(["bob"]), Refused, "a row must be an object, not text"),
        (json_answer("bob"), Refused, "an assignment or a list"),
    ],
)
async def test_a_rotation_that_cannot_be_asked_spoils_the_answer_rather_than_shorten_it(
    etb: ScriptedEtb, reads: EtbReader, answer: Answer, outcome: type[Exception], why: str
) -> None:
    etb.on(ROTATIONS, page([rotation(1), rotation(2)]))
    etb.on(f"{ROTATIONS}{rotation(1)['id']}/current_oncall/", json_answer(turn()))
    etb.on(f"{ROTATIONS}{rotation(2)['id']}/current_oncall/", answer)
    with pytest.raises(outcome, match=why):
        await reads.on_call()

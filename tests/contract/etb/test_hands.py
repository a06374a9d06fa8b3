"""Writes to ETB: once in effect, proved by reading back."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from etb_appservice.domain.effects import AddTimelineEntry
from etb_appservice.domain.ids import IncidentId
from etb_appservice.domain.outcomes import Broken, Failure, Later, Refused, Unsure
from etb_appservice.etb.client import EtbClient
from etb_appservice.etb.hands import EtbWriter
from etb_appservice.etb.probe import Modules
from etb_appservice.ports import Try
from tests.harness.etb_parts import NOW_MS, Answer, ScriptedEtb, dropped, json_answer, page, text_answer

Connect = Callable[..., EtbClient]
SOME = IncidentId("00000000-0000-4000-8000-000000000001")
PRIMARY = f"/api/incidents/incidents/{SOME}/timeline/"
FALLBACK = "/api/collaboration-war-rooms/timeline-events/"
ENTRY = AddTimelineEntry(
    incident_id=SOME,
    event_type="NOTE",
    title="Command run: status",
    description="by alice",
    event_time_ms=NOW_MS,
    external_ref="etb-appservice:7",
    event_data={"matrix_event_id": "$e"},
)
FIRST = Try(key="effect-7", now_ms=NOW_MS, attempts=0, first_tried_ms=None, device_id=None)
AGAIN = Try(key="effect-7", now_ms=NOW_MS, attempts=1, first_tried_ms=NOW_MS, device_id="D")
TRIED = Try(key="effect-7", now_ms=NOW_MS, attempts=0, first_tried_ms=NOW_MS, device_id="D")
MADE = json_answer({"id": "x", "external_ref": "etb-appservice:7"}, 201)
TIME = "2025-10-09T08:53:20.000Z"


@pytest.fixture
def hands(connect: Connect) -> EtbWriter:
    client = connect(enums={"event_type": {"Notiz": "NOTE"}})
    return EtbWriter(client, Modules(client))


async def test_the_first_try_posts_at_once_with_key_and_reference(etb: ScriptedEtb, hands: EtbWriter) -> None:
    etb.on(PRIMARY, MADE, method="POST")
    assert (await hands.do(ENTRY, FIRST)).detail == "created"
    ((method, path, _, headers, body),) = etb.requests
    assert (method, path, headers["Idempotency-Key"]) == ("POST", PRIMARY, "effect-7")
    assert json.loads(body) == {
        "event_type": "Notiz",
        "title": "Command run: status",
        "description": "by alice",
        "source_type": "INTEGRATION",
        "event_time": TIME,
        "event_data": {"matrix_event_id": "$e", "external_ref": "etb-appservice:7"},
        "external_ref": "etb-appservice:7",
    }


@pytest.mark.parametrize("attempt", [AGAIN, TRIED])
@pytest.mark.parametrize(
    "known",
    [
        {"external_ref": "etb-appservice:7"},
        {"event_data": {"external_ref": "etb-appservice:7"}},
        {"title": "Command run: status", "event_type": "Notiz", "event_time": "2025-10-09T10:53:20+02:00"},
    ],
)
async def test_a_repetition_finds_what_an_earlier_try_wrote(
    etb: ScriptedEtb, hands: EtbWriter, attempt: Try, known: dict[str, Any]
) -> None:
    etb.on(PRIMARY, page([{"external_ref": "another"}], f"{etb.url}{PRIMARY}?page=2"), page([known]))
    assert (await hands.do(ENTRY, attempt)).detail == "found"
    assert etb.asked(PRIMARY, "POST") == []


@pytest.mark.parametrize(
    "other",
    [
        {"external_ref": "etb-appservice:70"},
        {"external_ref": "x", "title": "Command run: status", "event_type": "Notiz", "event_time": TIME},
        {"title": "Command run: status", "event_type": "Notiz", "event_time": "2025-10-09T08:53:20.001Z"},
        {"title": ["x"], "event_time": 5, "event_data": "none"},
    ],
)
async def test_a_repetition_posts_when_nothing_was_written(
    etb: ScriptedEtb, hands: EtbWriter, other: dict[str, Any]
) -> None:
    etb.on(PRIMARY, page([other]))
    etb.on(PRIMARY, MADE, method="POST")
    assert (await hands.do(ENTRY, AGAIN)).detail == "created"


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (json_answer({}, 403), Unsure),
        (json_answer({}, 405), Unsure),
        (text_answer("<html>"), Unsure),
        (text_answer("", 302, Location="/login/"), Unsure),
        (json_answer({}, 503), Later),
    ],
)
async def test_a_repetition_never_posts_unless_the_timeline_was_read(
    etb: ScriptedEtb, hands: EtbWriter, answer: Answer, outcome: type[Failure]
) -> None:
    etb.on(PRIMARY, answer)
    etb.on(PRIMARY, MADE, method="POST")
    etb.on(FALLBACK, MADE, method="POST")
    with pytest.raises(outcome):
        await hands.do(ENTRY, AGAIN)
    assert {method for method, *_ in etb.requests} == {"GET"}


async def test_it_tells_what_etb_calls_the_entry_where_etb_says_so(etb: ScriptedEtb, hands: EtbWriter) -> None:
    row = {"id": SOME.upper(), "external_ref": "etb-appservice:7"}
    etb.on(PRIMARY, json_answer(row, 201), method="POST")
    assert (await hands.do(ENTRY, FIRST)).found == {"id": SOME}
    etb.on(PRIMARY, page([row]))
    again = await hands.do(ENTRY, AGAIN)
    assert (again.detail, again.found) == ("found", {"id": SOME})
    etb.on(PRIMARY, MADE, method="POST")
    assert (await hands.do(ENTRY, FIRST)).found == {}


async def test_a_lost_answer_is_unsure_and_the_next_try_doubles_nothing(
    etb: ScriptedEtb, hands: EtbWriter
) -> None:
    etb.on(PRIMARY, dropped, method="POST")
    with pytest.raises(Unsure):
        await hands.do(ENTRY, FIRST)
    etb.on(PRIMARY, page([json.loads(etb.requests[0][4])]))
    assert (await hands.do(ENTRY, AGAIN)).detail == "found"
    assert len(etb.asked(PRIMARY, "POST")) == 1


@pytest.mark.parametrize("status", [404, 405])
async def test_the_war_rooms_timeline_stands_in_for_a_missing_one(
    etb: ScriptedEtb, hands: EtbWriter, status: int
) -> None:
    etb.on(PRIMARY, json_answer({}, status), method="POST")
    etb.on(FALLBACK, MADE, method="POST")
    assert (await hands.do(ENTRY, FIRST)).detail == "created"
    assert json.loads(etb.requests[-1][4])["incident_id"] == SOME


async def test_a_repetition_reads_the_stand_in_before_it_posts_there(etb: ScriptedEtb, hands: EtbWriter) -> None:
    etb.on(PRIMARY, page([]))
    etb.on(PRIMARY, json_answer({}, 405), method="POST")
    etb.on(FALLBACK, page([{"external_ref": "etb-appservice:7"}]))
    assert (await hands.do(ENTRY, AGAIN)).detail == "found"
    assert etb.asked(FALLBACK)[0]["incident"] == SOME
    assert etb.asked(FALLBACK, "POST") == []


async def test_without_any_timeline_it_is_refused_with_the_fix(hands: EtbWriter) -> None:
    for attempt in (FIRST, AGAIN):
        with pytest.raises(Refused, match=r"set etb\.paths\.incidents\.timeline") as caught:
            await hands.do(ENTRY, attempt)
        assert caught.value.code == "404"


async def test_what_etb_cannot_use_is_ours_to_mend(etb: ScriptedEtb, hands: EtbWriter) -> None:
    etb.on(PRIMARY, json_answer({"event_type": ["bad"]}, 400), method="POST")
    with pytest.raises(Broken, match=r"can't use what we sent \(fields: event_type\)"):
        await hands.do(ENTRY, FIRST)


async def test_an_incident_that_is_gone_is_told_from_a_mistake_of_ours(etb: ScriptedEtb, hands: EtbWriter) -> None:
    etb.on(FALLBACK, json_answer({"incident_id": ["does not exist"]}, 400), method="POST")
    with pytest.raises(Refused, match="404"):
        await hands.do(ENTRY, FIRST)
    etb.on(f"/api/incidents/incidents/{SOME}/", json_answer({"id": SOME}))
    with pytest.raises(Broken, match="incident_id"):
        await hands.do(ENTRY, FIRST)

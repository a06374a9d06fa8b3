"""ETB's objects into ours."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.ids import Username
from etb_appservice.domain.incident import Deadline, EtbUser, OnCall
from etb_appservice.etb import fields, parse
from etb_appservice.etb.spelling import Spelling
from etb_appservice.etb.wire import Unreadable, read_json, write_json
from tests.harness.etb_parts import NOW_MS, incident_row

PLAIN = Spelling()


def test_an_incident_is_read_whole() -> None:
    found = parse.incident(incident_row(), PLAIN, web_url_template="https://etb.example/i/{id}?n={number}")
    assert found.id == "00000000-0000-4000-8000-000000000001"
    assert (found.number, found.title) == ("INC-000001", "Checkout is slow (1)")
    assert (found.severity, found.status, found.category, found.priority) == ("HIGH", "OPEN", "Application", "P2")
    assert (found.assignee, found.reporter) == ("alice", "bob")
    assert found.updated_at_ms == 1_759_996_800_123
    assert found.stated is None
    assert found.url == f"https://etb.example/i/{found.id}?n=INC-000001"


def test_an_incident_s_own_times_its_tags_and_its_original_are_read() -> None:
    original = "00000000-0000-4000-8000-0000000000AA"
    times: dict[str, Any] = {
        "created_at": "1970-01-01T00:00:01Z",
        "resolved_at": "1970-01-01T00:00:02Z",
        "closed_at": None,
    }
    row = incident_row(is_duplicate=True, original_incident=original, tags=["Drill", {"name": "b"}, ""], **times)
    found = parse.incident(row, PLAIN)
    assert (found.created_ms, found.resolved_ms, found.closed_ms) == (1000, 2000, None)
    assert (found.is_duplicate, found.original, found.tags) == (True, original.lower(), ("Drill", "b"))
    assert (found.ending, found.is_open, found.is_over) == ("duplicate", False, True)


def test_an_original_makes_a_duplicate_unless_etb_says_no() -> None:
    original = "00000000-0000-4000-8000-0000000000aa"
    assert parse.incident(incident_row(is_duplicate=..., original_incident=original), PLAIN).is_duplicate
    assert not parse.incident(incident_row(is_duplicate=False, original_incident=original), PLAIN).is_duplicate
    assert parse.incident(incident_row(is_duplicate=True, original_incident=None), PLAIN).original is None


def test_no_incident_is_a_duplicate_of_itself() -> None:
    row = incident_row()
    found = parse.incident({**row, "is_duplicate": None, "original_incident": row["id"]}, PLAIN)
    assert (found.is_duplicate, found.original) == (False, None)


def test_of_many_tags_the_first_fifty_are_kept() -> None:
    found = parse.incident(incident_row(tags=[f"t{number}" for number in range(80)]), PLAIN)
    assert len(found.tags) == 50


def test_unknown_fields_and_words_do_no_harm() -> None:
    found = parse.incident(incident_row(x_new={"a": 1}, severity="QUANTUM", category="USER_EXPERIENCE"), PLAIN)
    assert (found.severity, found.category) == ("QUANTUM", "User Experience")


def test_what_is_optional_may_be_missing() -> None:
    row = {"id": incident_row()["id"].upper(), "title": "t", "severity": "low", "status": "in progress"}
    found = parse.incident(row, PLAIN)
    assert (found.number, found.severity, found.status) == ("00000000", "LOW", "IN_PROGRESS")
    assert (found.assignee, found.updated_at_ms, found.description) == (None, 0, "")


@pytest.mark.parametrize("name", ["id", "title", "severity", "status"])
def test_what_is_needed_is_named_when_it_is_missing(name: str) -> None:
    with pytest.raises(Unreadable, match=f"^{name} is missing$"):
        parse.incident(incident_row(1, **{name: ...}), PLAIN)


@pytest.mark.parametrize("value", [{"secret": "s3cret"}, ["s3cret"], 1.5, True])
@pytest.mark.parametrize(
    "name", ["id", "title", "severity", "status", "description", "updated_at", "assigned_to_username"]
)
def test_a_wrong_type_is_named_and_never_shown(name: str, value: object) -> None:
    with pytest.raises(Unreadable, match=rf"^{name} must be ") as caught:
        parse.incident(incident_row(1, **{name: value}), PLAIN)
    assert "s3cret" not in str(caught.value)


@settings(deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.dictionaries(
        st.sampled_from(sorted(incident_row())),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
            lambda leaf: st.lists(leaf, max_size=3) | st.dictionaries(st.text(max_size=8), leaf, max_size=3),
            max_leaves=5,
        ),
    )
)
def test_no_answer_of_etb_raises_anything_but_unreadable(changes: dict[str, Any]) -> None:
    try:
        found = parse.incident(incident_row(**changes), PLAIN)
    except Unreadable:
        return
    assert len(found.title) <= parse.TITLE_LIMIT
    assert "\x00" not in found.title + found.description


def test_texts_are_cut_and_made_fit_to_store() -> None:
    found = parse.incident(incident_row(title="a\x00b\n \ud800c" + "x" * 600, description="é" * 20_000), PLAIN)
    assert found.title.startswith("a\ufffdb \ufffdcx")
    assert len(found.title) == 512
    assert found.description == "é" * 8192


def test_a_username_is_never_cut_to_fit() -> None:
    with pytest.raises(Unreadable, match="assigned_to_username must be at most 150"):
        parse.incident(incident_row(assigned_to_username="a" * 151), PLAIN)


def test_a_number_may_be_an_integer() -> None:
    assert parse.incident(incident_row(incident_number=1042), PLAIN).number == "1042"


@pytest.mark.parametrize(
    ("changes", "stated", "is_sensitive"),
    [
        ({"data_classification": "Top Secret"}, Classification.TOP_SECRET, False),
        ({"data_classification": 3}, Classification.CONFIDENTIAL, False),
        (
            {"data_classification": "INTERNAL", "required_clearance": "RESTRICTED"},
            Classification.RESTRICTED,
            False,
        ),
        ({"privacy_level": "RESTRICTED"}, Classification.RESTRICTED, False),
        ({"data_classification": "COSMIC"}, None, True),
        ({"data_classification": None, "is_sensitive": True}, None, True),
        ({"data_classification": "INTERNAL", "is_sensitive": True}, Classification.INTERNAL, True),
        ({"data_classification": "Eyes only", "required_clearance": "INTERNAL"}, Classification.INTERNAL, True),
        ({"data_classification": 2, "required_clearance": {"name": "COSMIC"}}, Classification.INTERNAL, True),
        ({"privacy_level": "RESTRICTED", "data_classification": "Eyes only"}, Classification.RESTRICTED, True),
        ({}, None, False),
    ],
)
def test_the_strictest_stated_level_wins_and_an_unknown_one_is_sensitive(
    changes: dict[str, Any], stated: Classification | None, is_sensitive: bool
) -> None:
    found = parse.incident(incident_row(**changes), PLAIN)
    assert (found.stated, found.is_sensitive) == (stated, is_sensitive)


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("2025-10-09T08:00:00Z", 1_759_996_800_000),
        ("2025-10-09T10:00:00.5+02:00", 1_759_996_800_500),
        ("2025-10-09T08:00:00", 1_759_996_800_000),
        ("2025-10-09", 1_759_968_000_000),
        ("1969-12-31T23:59:59.999Z", -1),
        (None, None),
        ("", None),
    ],
)
def test_times_become_utc_milliseconds(text: str | None, ms: int | None) -> None:
    assert fields.moment_ms({"at": text}, "at") == ms


@pytest.mark.parametrize("value", ["yesterday", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", 5, []])
def test_a_time_that_is_none_is_named(value: object) -> None:
    with pytest.raises(Unreadable, match="at must be an ISO 8601 time"):
        fields.moment_ms({"at": value}, "at")


@pytest.mark.parametrize(
    ("value", "ms"),
    [
        ("PT1H30M", 5_400_000),
        ("P1DT0.5S", 86_400_500),
        ("P2W", 1_209_600_000),
        ("-PT5S", -5000),
        ("01:30:00", 5_400_000),
        ("3 00:00:01.500000", 259_201_500),
        ("-1 00:00:01", -86_401_000),
        (90, 90_000),
        (1.5, 1500),
        ("15.5", 15_500),
        (None, None),
    ],
)
def test_a_duration_is_read_in_all_three_spellings(value: object, ms: int | None) -> None:
    assert fields.duration_ms({"d": value}, "d") == ms


@pytest.mark.parametrize("value", ["P", "PT", "soon", True, {}, float("inf"), "1e9", "9" * 40])
def test_a_duration_that_is_none_is_named(value: object) -> None:
    with pytest.raises(Unreadable, match="d must be a duration"):
        fields.duration_ms({"d": value}, "d")


@pytest.mark.parametrize(
    ("given_level", "clearance"),
    [
        ({"id": "x", "name": "TOP_SECRET", "level": 5}, 5),
        ({"name": "Confidential"}, 3),
        ({"name": "odd", "level": "4"}, 4),
        ("RESTRICTED", 4),
        (2, 2),
        ("2", 2),
        (None, 1),
        (99, 1),
        ("COSMIC", 1),
        (True, 1),
    ],
)
def test_a_clearance_is_read_in_all_spellings_and_is_lowest_when_unknown(
    given_level: object, clearance: int
) -> None:
    assert parse.user({"username": "alice", "clearance_level": given_level}).clearance == clearance


def test_a_locked_account_is_not_active() -> None:
    row = {"username": "alice", "first_name": "Alice", "last_name": "Ames", "is_active": True}
    assert parse.user(row) == EtbUser(Username("alice"), "Alice Ames", Classification.PUBLIC, is_active=True)
    assert not parse.user(row | {"is_locked": True}).is_active
    assert not parse.user(row | {"is_active": False}).is_active
    with pytest.raises(Unreadable, match="is_active must be true or false, not text"):
        parse.user(row | {"is_active": "yes"})


@pytest.mark.parametrize("status", ["MET", "BREACHED", "CANCELLED", "PAUSED", "met"])
def test_a_deadline_whose_clock_stands_is_none(status: str) -> None:
    assert parse.deadline({"status": status, "target_time": "2025-10-09T08:00:00Z"}, PLAIN) is None


def test_a_running_deadline_is_an_absolute_time() -> None:
    row = {"status": "ACTIVE", "sla_type": "RESPONSE_TIME", "sla_definition_name": "P1 response"}
    found = parse.deadline(row | {"target_time": "2025-10-09T08:00:00Z"}, PLAIN)
    assert found == Deadline("P1 response", "RESPONSE_TIME", "ACTIVE", 1_759_996_800_000)
    with pytest.raises(Unreadable, match="target_time is missing"):
        parse.deadline(row, PLAIN)


def test_the_services_that_suffer_are_names() -> None:
    given = incident_row(affected_services=["mail ", {"name": "web"}, "mail", ""])
    assert parse.incident(given, PLAIN).services == ("mail", "web")
    assert parse.incident(incident_row(), PLAIN).services == ()
    with pytest.raises(Unreadable, match="affected_services must be a list"):
        parse.incident(incident_row(affected_services="mail"), PLAIN)


def test_a_turn_on_call_covers_only_its_time() -> None:
    row = {"rotation_name": "Platform", "user_username": "bob", "status": "ACTIVE"}
    turn = parse.assignment(
        row | {"start_time": "2025-10-09T08:00:00Z", "end_time": "2025-10-09T16:00:00Z"}, PLAIN
    )
    assert turn.on_call == OnCall("Platform", Username("bob"))
    assert turn.start_ms is not None
    assert turn.end_ms is not None
    assert turn.covers(turn.start_ms)
    assert not turn.covers(turn.start_ms - 1)
    assert not turn.covers(turn.end_ms)
    assert parse.assignment(row, PLAIN).covers(NOW_MS)
    assert not parse.assignment(row | {"status": "Cancelled"}, PLAIN).covers(NOW_MS)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"<html>", "HTML"),
        (b"", "line 1"),
        (b"\xff", "UTF-8"),
        (b"[NaN]", "NaN is no JSON number"),
        (b"[" * 100_000, "nested"),
        (b"[" + b"9" * 5000 + b"]", "number"),
    ],
)
def test_what_is_no_json_is_told_without_its_text(body: bytes, why: str) -> None:
    with pytest.raises(Unreadable, match=why):
        read_json(body)


def test_lone_surrogates_survive_being_written() -> None:
    assert read_json(write_json({"t": "\ud800\x00"})) == {"t": "\ud800\x00"}

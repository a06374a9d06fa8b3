"""The two tables in which everything inferred about ETB stands."""

import re
from pathlib import Path

import pytest

from etb_appservice.etb.connection import EtbConnection
from etb_appservice.etb.paths import DEFAULTS, PROBED, EtbPaths
from etb_appservice.etb.spelling import Spelling


def test_the_defaults_are_those_of_the_contract() -> None:
    assert DEFAULTS["incidents.list"] == "/api/incidents/incidents/"
    assert DEFAULTS["oncall.assignments"] == "/api/sla-oncall/api/v1/oncall-assignments/"
    assert DEFAULTS["security.users"] == "/security/api/users/"
    assert DEFAULTS["monitoring.summary"] == "/api/monitoring/health-checks/summary/"


def test_every_path_of_the_contract_is_a_default_and_the_other_way_round() -> None:
    contract = (Path(__file__).resolve().parents[3] / "docs" / "etb-contract.md").read_text()
    table = contract.split("## 12.")[1].split("## 13.")[0]
    assert dict(re.findall(r"^\| `([a-z_]+\.[a-z_]+)` \| `([^`]+)`", table, flags=re.MULTILINE)) == dict(DEFAULTS)


def test_actions_move_with_their_module_and_can_be_set() -> None:
    moved = list(EtbPaths.with_overrides({"automation.cancel": "/stop/{id}/"}).candidates("automation"))[1]
    assert moved.path("automation.cancel", id="7") == "/stop/7/"
    assert moved.path("automation.execute", id="7") == "/api/automation-orchestration/runbooks/7/execute/"


def test_ids_are_quoted_and_the_slash_is_added() -> None:
    paths = EtbPaths.with_overrides({"incidents.timeline": "/x/{id}/events"})
    assert paths.path("incidents.timeline", id="a/b?c") == "/x/a%2Fb%3Fc/events/"
    assert paths.below("incidents.list", "../7") == "/api/incidents/incidents/..%2F7/"


@pytest.mark.parametrize(
    ("overrides", "why"),
    [
        ({"incidents.lists": "/x/"}, "has no key 'incidents.lists'"),
        ({"incidents.list": "x/"}, "begins with one slash"),
        ({"incidents.list": "//evil.example/x/"}, "begins with one slash"),
        ({"incidents.list": "/x/?a=b"}, "without a query"),
        ({"incidents.list": "/x/{id}/"}, "no placeholder"),
        ({"incidents.timeline": "/x/"}, r"\{id\} once"),
        ({"incidents.timeline": "/x/{id}/{number}/"}, r"\{id\} once"),
    ],
)
def test_a_wrong_path_is_refused_by_name(overrides: dict[str, str], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        EtbPaths.with_overrides(overrides)


def test_a_module_that_moves_takes_its_resources_along() -> None:
    tables = list(EtbPaths.with_overrides({}).candidates("incidents"))
    assert [table.path("incidents.list") for table in tables] == [
        "/api/incidents/incidents/",
        "/api/incident-intelligence/incidents/",
        "/api/incident_intelligence/api/incidents/",
        "/api/incident-intelligence/api/v1/incidents/",
    ]
    assert tables[2].table["incidents.timeline"] == "/api/incident_intelligence/api/incidents/{id}/timeline/"


def test_other_names_of_resources_are_tried_too() -> None:
    found = [table.path("oncall.rotations") for table in EtbPaths.with_overrides({}).candidates("oncall")]
    assert found == ["/api/sla-oncall/api/v1/oncall-rotations/", "/api/sla-oncall/api/v1/on-call-rotations/"]
    users = [table.path("security.users") for table in EtbPaths.with_overrides({}).candidates("security")]
    assert users == ["/security/api/users/", "/api/security/users/", "/api/users/"]


@pytest.mark.parametrize("module", PROBED)
def test_what_the_operator_set_is_the_only_candidate(module: str) -> None:
    key = f"{module}.{PROBED[module]}"
    found = list(EtbPaths.with_overrides({key: "/mine/"}).candidates(module))
    assert [table.path(key) for table in found] == ["/mine/"]


def test_an_enum_map_works_in_both_directions() -> None:
    spelling = Spelling({"status": {"Offen": "OPEN", "Neu": "OPEN"}})
    assert spelling.read("status", " offen ") == spelling.read("status", "NEU") == "OPEN"
    assert spelling.write("status", "OPEN") == "Offen"
    assert spelling.write("status", "CLOSED") == "CLOSED"
    assert spelling.write("status", "in progress") == "IN_PROGRESS"
    assert spelling.write("status", "Neu") == "Neu"
    assert spelling.write("status", "eingefroren") == "eingefroren"
    assert spelling.read("status", "Eingefroren") == "Eingefroren"
    with pytest.raises(ValueError, match="no field stauts"):
        Spelling({"stauts": {}})


@pytest.mark.parametrize(
    ("name", "word", "read"),
    [
        ("execution_status", "Success", "COMPLETED"),
        ("execution_status", "canceled", "CANCELLED"),
        ("execution_status", "timeout", "TIMEOUT"),
        ("escalation_status", "acknowledged", "ACKNOWLEDGED"),
        ("status", "on-hold", "ON_HOLD"),
    ],
)
def test_other_words_for_the_same_are_read(name: str, word: str, read: str) -> None:
    assert Spelling().read(name, word) == read


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"base_url": "etb.example.org"}, "base_url must begin"),
        ({"base_url": "ftp://etb.example.org"}, "base_url must begin"),
        ({"base_url": "https://me:pw@etb.example.org"}, "neither a user"),
        ({"token": ""}, "token must be"),
        ({"token": "s3cret\r\nX: y"}, "token must be"),
        ({"auth_scheme": "Token "}, "auth_scheme must be"),
        ({"timeout_s": 0}, "timeout_s must be above zero"),
        ({"paths": {"x": "/"}}, "etb.paths has no key 'x'"),
    ],
)
def test_a_connection_that_cannot_work_is_refused_without_showing_the_token(
    changes: dict[str, object], why: str
) -> None:
    good: dict[str, object] = {"base_url": "https://etb.example.org", "token": "s3cret"}
    with pytest.raises(ValueError, match=why) as caught:
        EtbConnection(**(good | changes))  # type: ignore[arg-type]
    assert "s3cret" not in str(caught.value)
    assert "s3cret" not in repr(EtbConnection(**good))  # type: ignore[arg-type]

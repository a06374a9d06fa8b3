"""What webhook and poll store, and what is read from it."""

import pytest

from etb_appservice.domain.facts import IncidentDoubted, IncidentSeen
from etb_appservice.domain.ids import IncidentId
from etb_appservice.domain.outcomes import Broken
from etb_appservice.etb.codec import STRAY_LANE, IncidentDecoder
from etb_appservice.etb.connection import EtbConnection
from etb_appservice.etb.wire import write_json
from tests.harness.etb_parts import incident_row

CONNECTION = EtbConnection(
    base_url="https://etb.example.org",
    token="t",
    enums={"status": {"Offen": "OPEN"}},
    web_url_template="https://etb.example.org/i/{id}/",
)
DECODER = IncidentDecoder(CONNECTION)


def test_what_was_stored_is_read_again_with_the_operators_spelling() -> None:
    arrival = DECODER.arrival(incident_row(status="Offen"), via="webhook", event="incident.created", moment="m")
    assert (arrival.source, arrival.lane, arrival.park_reason) == ("etb", incident_row()["id"], None)
    fact = DECODER.decode(arrival.payload)
    assert isinstance(fact, IncidentSeen)
    assert (fact.via, fact.incident.status, fact.incident.title) == ("webhook", "OPEN", "Checkout is slow (1)")
    assert fact.incident.url == f"https://etb.example.org/i/{incident_row()['id']}/"
    assert DECODER.decode(arrival.payload) == fact


def test_webhook_and_poll_give_one_sighting_one_key() -> None:
    seen = DECODER.arrival(incident_row(), via="webhook", event="incident.updated", moment="msg_1")
    polled = DECODER.arrival(
        incident_row(updated_at="2025-10-09T08:00:00.123456+00:00", x_list_only=1),
        via="poll",
        event="",
        moment="2",
    )
    assert seen.key == polled.key


@pytest.mark.parametrize(
    "changes", [{"status": "CLOSED"}, {"updated_at": "2025-10-09T08:00:00.123457Z"}, {"id": incident_row(2)["id"]}]
)
def test_another_content_time_or_incident_is_another_key(changes: dict[str, str]) -> None:
    one = DECODER.arrival(incident_row(), via="poll", event="", moment="m")
    other = DECODER.arrival(incident_row(1, **changes), via="poll", event="", moment="m")
    assert one.key != other.key


def test_without_a_time_of_change_a_change_back_is_still_a_change() -> None:
    row = incident_row(updated_at=...)
    first = DECODER.arrival(row, via="webhook", event="e", moment="msg_1")
    third = DECODER.arrival(row, via="webhook", event="e", moment="msg_3")
    assert first.key != third.key


def test_a_row_without_a_readable_id_is_accepted_and_parks() -> None:
    arrival = DECODER.arrival(incident_row(id=7), via="poll", event="", moment="m")
    assert arrival.lane == STRAY_LANE
    assert arrival.park_reason == "ETB's incident can't be read: id must be text, not a number"


def test_an_incident_that_was_deleted_is_only_doubted() -> None:
    arrival = DECODER.arrival(incident_row(), via="webhook", event="incident.deleted", moment="m")
    assert DECODER.decode(arrival.payload) == IncidentDoubted(incident_id=IncidentId(incident_row()["id"]))


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        (b"<html>", "HTML"),
        (b"[]", "incident must be an object"),
        (write_json({"incident": [], "via": "poll"}), "incident must be an object"),
        (write_json({"incident": incident_row(), "via": "pigeon"}), "via is unknown"),
        (
            write_json({"incident": incident_row(title=["s3cret"]), "via": "poll"}),
            "title must be text, not a list",
        ),
    ],
)
def test_what_cannot_be_read_is_broken_by_name(payload: bytes, why: str) -> None:
    with pytest.raises(Broken, match=why) as caught:
        DECODER.decode(payload)
    assert "s3cret" not in str(caught.value)


def test_a_set_up_looks_again_at_what_did_not_change() -> None:
    polled = {DECODER.arrival(incident_row(), via="poll", event="", moment=moment).key for moment in "12"}
    set_up = {DECODER.arrival(incident_row(), via="setup", event="", moment=moment).key for moment in "12"}
    assert (len(polled), len(set_up), len(polled | set_up)) == (1, 2, 3)


def test_what_cannot_be_read_counts_as_open() -> None:
    assert DECODER.is_open(incident_row())
    assert not DECODER.is_open(incident_row(status="CLOSED"))
    assert DECODER.is_open(incident_row(status={}))

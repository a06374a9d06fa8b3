"""What a refusal of ETB says to a person, and what it must not."""

import json

import pytest

from etb_appservice.domain.outcomes import Broken, Later, Refused, Unsure
from etb_appservice.etb.answers import failure

WHERE = "/api/incidents/incidents/x/"


def told(body: object, status: int = 400, secret: str = "") -> Refused:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    found = failure(status, method="PATCH", path=WHERE, body=raw, asked=True, secret=secret)
    assert isinstance(found, Refused)
    return found


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"status": ['"FOO" is not a valid choice.']}, 'ETB says of status: "FOO" is not a valid choice.'),
        ({"status": "Not that one."}, "ETB says of status: Not that one."),
        ({"non_field_errors": ["Give user_id."]}, "ETB says: Give user_id."),
        ({"detail": "No.", "code": "conflict"}, "ETB says: No."),
        ({"error": "Runbook is DEPRECATED."}, "ETB says: Runbook is DEPRECATED."),
        (["One.", "Two."], "ETB says: One.; Two."),
        ({"parameters": {"nodes": ["Too many."]}}, "ETB says of parameters.nodes: Too many."),
        ({"a": ["1."], "b": ["2."], "c": ["3."], "d": ["4."]}, "ETB says of a: 1.; of b: 2.; of c: 3."),
        ({"status": ["a\u0000b\n\u202e\u001bc   d"]}, "ETB says of status: a b c d"),
    ],
)
def test_a_person_reads_etbs_own_words(body: object, said: str) -> None:
    found = told(body)
    assert (str(found), found.code) == (said, "400")


def test_long_words_are_cut() -> None:
    found = str(told({"status": ["x" * 5000]}))
    assert len(found) < 220
    assert found.endswith("…")


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[" * 9000, {}, [], 7, {"status": []}, {"Bad Field!": ["x"]}, {"a": {"b": {"c": [["x"]]}}}],
)
def test_what_says_nothing_says_where_it_was(body: object) -> None:
    assert str(told(body)) == f"ETB answered 400 to PATCH {WHERE}: it can't use what we sent"


def test_the_token_does_not_come_back_in_any_spelling() -> None:
    for body in ({"detail": "bad s3cret-token here"}, b'{"detail": "bad \\u00733cret-token here"}'):
        assert str(told(body, secret="s3cret-token")) == "ETB says: bad … here"


@pytest.mark.parametrize("status", [409, 422, 423])
def test_a_conflict_is_told_in_etbs_words_too(status: int) -> None:
    found = told({"detail": "It is closed."}, status)
    assert (str(found), found.code) == ("ETB says: It is closed.", str(status))


def test_a_missing_right_is_told_to_person_and_operator() -> None:
    found = str(told({"detail": "You do not have permission."}, 403))
    assert found.startswith(f"ETB answered 403 to PATCH {WHERE}: check etb.token and its permissions")
    assert found.endswith("; it says: You do not have permission.")


def test_what_nobody_asked_for_stays_a_mistake_of_ours_without_its_words() -> None:
    found = failure(400, method="POST", path=WHERE, body=b'{"event_type": ["s3cret"]}')
    assert isinstance(found, Broken)
    assert str(found) == f"ETB answered 400 to POST {WHERE}: it can't use what we sent (fields: event_type)"


@pytest.mark.parametrize(("status", "outcome"), [(429, Later), (503, Unsure), (500, Unsure), (404, Refused)])
def test_the_other_outcomes_are_the_same_for_what_was_asked_for(status: int, outcome: type[Exception]) -> None:
    assert isinstance(failure(status, method="PATCH", path=WHERE, asked=True), outcome)

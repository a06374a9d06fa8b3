import pytest
from hypothesis import given
from hypothesis import strategies as st

from etb_appservice.domain.incident import SEVERITIES
from etb_appservice.domain.vocabulary import STATUSES, nearest_word, written


@pytest.mark.parametrize(
    ("typed", "word"),
    [
        ("in progress", "IN_PROGRESS"),
        ("In-Progress", "IN_PROGRESS"),
        ("  IN_PROGRESS\n", "IN_PROGRESS"),
        ("in - progress", "IN_PROGRESS"),
        ("„on hold“", "ON_HOLD"),
        ("'resolved'", "RESOLVED"),
        ("gelöst", "GELÖST"),
        ("", ""),
        (" _-_ ", ""),
        ('""', ""),
    ],
)
def test_a_word_is_read_however_it_is_typed(typed: str, word: str) -> None:
    assert written(typed) == word


@given(st.sampled_from([*SEVERITIES, *STATUSES]), st.sampled_from([str.lower, str.title, str.upper]))
def test_every_word_of_the_contract_is_its_own_spelling(word: str, case: object) -> None:
    assert callable(case)
    assert written(case(word)) == written(case(word).replace("_", " ")) == word


def test_the_nearest_word_is_named_only_when_it_is_near() -> None:
    assert nearest_word("RESOVLED", STATUSES) == "RESOLVED"
    assert nearest_word("CRITCAL", SEVERITIES) == "CRITICAL"
    assert nearest_word("XYZZY", STATUSES) is None
    assert nearest_word("X" * 60_000, STATUSES) is None

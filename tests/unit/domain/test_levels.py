"""How much of a service level has passed, by the clock or by ETB's word."""

from dataclasses import replace

import pytest

from etb_appservice.domain.duty import Sla
from etb_appservice.domain.levels import budget_s, next_ms, passed, state_of

MINUTE = 60_000
THRESHOLDS = (50, 75, 90, 100)
WALL = Sla(id="1", name="Response", kind="RESPONSE", status="ACTIVE", started_ms=0, target_ms=100 * MINUTE)
OFFICE = replace(WALL, is_business_hours=True, remaining_s=1000.0)


@pytest.mark.parametrize(
    ("minute", "highest", "next_minute"),
    [
        (-5, 0, 50), (0, 0, 50), (49, 0, 50), (50, 50, 75), (74, 50, 75), (75, 75, 90), (90, 90, 100),
        (99, 90, 100), (100, 100, None), (500, 100, None),
    ],
)  # fmt: skip
def test_the_clock_passes_thresholds(minute: int, highest: int, next_minute: int | None) -> None:
    now_ms = minute * MINUTE
    assert passed(WALL, now_ms, None, THRESHOLDS) == highest
    due_ms = next_ms(WALL, now_ms, None, THRESHOLDS)
    assert due_ms == (None if next_minute is None else next_minute * MINUTE)


def test_a_threshold_between_milliseconds_has_passed_when_it_is_due() -> None:
    odd = replace(WALL, started_ms=1, target_ms=8)
    due_ms = next_ms(odd, 1, None, (33,))
    assert due_ms == 4
    assert passed(odd, 3, None, (33,)) == 0
    assert passed(odd, 4, None, (33,)) == 33


@pytest.mark.parametrize("started_ms", [None, 100 * MINUTE, 200 * MINUTE])
def test_without_a_beginning_only_the_target_counts(started_ms: int | None) -> None:
    odd = replace(WALL, started_ms=started_ms)
    assert passed(odd, 99 * MINUTE, None, THRESHOLDS) == 0
    assert passed(odd, 100 * MINUTE, None, THRESHOLDS) == 100


def test_without_a_target_nothing_is_ever_due() -> None:
    odd = replace(WALL, target_ms=None)
    assert passed(odd, 10**12, None, THRESHOLDS) == 0
    assert next_ms(odd, 0, None, THRESHOLDS) is None


def test_business_time_is_etbs_word_and_not_the_clock() -> None:
    night = 10 * 3600 * 1000
    assert passed(OFFICE, night, 2000.0, THRESHOLDS) == 50
    assert passed(replace(OFFICE, remaining_s=1001.0), night, 2000.0, THRESHOLDS) == 0
    assert passed(replace(OFFICE, remaining_s=-5.0), night, 2000.0, THRESHOLDS) == 100
    assert next_ms(OFFICE, 0, 2000.0, THRESHOLDS) == 500_000
    assert next_ms(replace(OFFICE, remaining_s=500.001), 0, 2000.0, THRESHOLDS) == 30_000


def test_how_much_business_time_there_is_gets_closer_and_never_less_than_what_is_left() -> None:
    first = budget_s(OFFICE, 600_000, None)
    assert first == 1600.0
    assert budget_s(replace(OFFICE, remaining_s=900.0), 5_000_000, first) == 1600.0
    assert budget_s(replace(OFFICE, remaining_s=1700.0), 0, first) == 1700.0
    assert budget_s(replace(OFFICE, remaining_s=5900.0), 600_000, None) == 6000.0
    assert budget_s(replace(OFFICE, started_ms=None), 0, None) == 1000.0
    assert budget_s(replace(OFFICE, remaining_s=None), 0, None) is None
    assert budget_s(WALL, 0, None) is None


@pytest.mark.parametrize(
    ("status", "met_ms", "breached_ms", "state"),
    [
        ("ACTIVE", None, None, "running"),
        ("SOMETHING NEW", None, None, "running"),
        ("ACTIVE", None, 5, "breached"),
        ("BREACHED", None, 5, "breached"),
        ("BREACHED", 6, 5, "met"),
        ("MET", 6, None, "met"),
        ("met", None, None, "met"),
        ("PAUSED", None, None, "still"),
        ("CANCELLED", 6, None, "still"),
    ],
)
def test_what_state_an_instance_is_in(
    status: str, met_ms: int | None, breached_ms: int | None, state: str
) -> None:
    assert state_of(replace(WALL, status=status, met_ms=met_ms, breached_ms=breached_ms)) == state

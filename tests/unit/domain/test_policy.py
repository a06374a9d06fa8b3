from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etb_appservice.domain.classification import Classification, ClassificationMap
from etb_appservice.domain.ids import UserId
from etb_appservice.domain.outcomes import Later, Refused
from etb_appservice.domain.people import PeopleMap
from etb_appservice.domain.policy import Backoff, Policy
from etb_appservice.domain.rooms import RoomPolicy


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_a_wait_is_at_least_half_of_its_step_and_never_more_than_the_most(attempt: int, jitter: float) -> None:
    wait = Backoff(first_s=2, most_s=60).wait_s(attempt, jitter)
    step = min(60.0, 2.0 * 2 ** min(attempt - 1, 30))
    assert step / 2 <= wait <= step


def test_steps_double_until_the_most() -> None:
    steps = [Backoff(first_s=1, most_s=30).wait_s(attempt, 1.0) for attempt in range(1, 9)]
    assert steps == [1, 2, 4, 8, 16, 30, 30, 30]
    assert all(before <= after for before, after in pairwise(steps))


@pytest.mark.parametrize(
    ("user_id", "ours"),
    [
        ("@etb:x.org", True),
        ("@_etb_alice:x.org", True),
        ("@_etb_alice:evil.org", False),
        ("@etb:evil.org", False),
        ("@alice:x.org", False),
        ("@_etb_alice:x.org.evil.org", False),
        ("@_etb_alice:evil.x.org", False),
    ],
)
def test_ours_are_the_bot_and_the_ghosts_of_this_server_only(user_id: str, ours: bool) -> None:
    policy = Policy(
        rooms=RoomPolicy(bot=UserId("@etb:x.org")),
        people=PeopleMap(),
        classification=ClassificationMap(default=Classification.INTERNAL),
        server_name="x.org",
    )
    assert policy.is_ours(UserId(user_id)) is ours


def test_outcomes_carry_what_the_other_side_said() -> None:
    assert Refused("no", code="M_FORBIDDEN").code == "M_FORBIDDEN"
    assert (Refused("no").code, Later("wait").after_s, Later("wait", after_s=3).after_s) == ("", None, 3)

"""Which level a room had when: never too low, and unknown where nobody wrote it down."""

from hypothesis import given
from hypothesis import strategies as st

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.past import Levels

PUBLIC, INTERNAL, SECRET = Classification.PUBLIC, Classification.INTERNAL, Classification.TOP_SECRET


def test_the_highest_level_of_a_time_counts_the_one_it_begins_with() -> None:
    past = Levels().then(0, PUBLIC).then(100, SECRET).then(200, INTERNAL)
    assert past.highest(0, 99) is PUBLIC
    assert past.highest(50, 100) is SECRET
    assert past.highest(150, 150) is SECRET
    assert past.highest(200, 300) is INTERNAL


def test_before_the_first_entry_nothing_is_known() -> None:
    assert Levels().highest(1, 2) is None
    assert Levels().then(100, PUBLIC).highest(99, 200) is None


def test_the_same_level_again_is_no_step() -> None:
    past = Levels().then(0, PUBLIC)
    assert past.then(5, PUBLIC) is past


def test_a_clock_that_was_set_back_shortens_no_level() -> None:
    past = Levels().then(0, PUBLIC).then(100, SECRET).then(50, PUBLIC)
    assert past.highest(60, 99) is PUBLIC
    assert past.highest(60, 100) is SECRET
    assert past.highest(100, 200) is PUBLIC


def test_of_many_changes_the_oldest_are_forgotten_and_unknown_then() -> None:
    past = Levels()
    for number in range(300):
        past = past.then(number, (PUBLIC, INTERNAL)[number % 2])
    assert len(past.steps) == 100
    assert past.highest(0, 300) is None
    assert past.highest(250, 300) is INTERNAL


@given(
    st.lists(st.tuples(st.integers(1, 9), st.sampled_from(Classification)), min_size=1, max_size=12),
    st.integers(0, 120),
    st.integers(0, 120),
)
def test_no_moment_of_a_time_is_above_its_highest_level(
    changes: list[tuple[int, Classification]], first: int, second: int
) -> None:
    past, now, at = Levels().then(0, PUBLIC), 0, {}
    for wait, level in changes:
        now += wait
        past = past.then(now, level)
        at[now] = level
    start, end = sorted((first, second))
    highest = past.highest(start, end)
    assert highest is not None
    held = PUBLIC
    for moment in range(end + 1):
        held = at.get(moment, held)
        assert moment < start or held <= highest


@given(
    st.lists(st.tuples(st.integers(-3, 9), st.sampled_from(Classification)), max_size=12),
    st.sampled_from(Classification),
    st.integers(0, 60),
    st.integers(0, 60),
)
def test_what_touches_no_time_above_a_level_was_never_above_it(
    changes: list[tuple[int, Classification]], level: Classification, first: int, second: int
) -> None:
    past, now = Levels(), 0
    for wait, other in changes:
        now += wait
        past = past.then(now, other)
    start, end = sorted((first, second))
    highest = past.highest(start, end) or SECRET
    touches = any(start < span.until_ms and end >= span.from_ms for span in past.above(level))
    assert touches is (highest > level)

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etb_appservice.domain.classification import Classification, ClassificationMap

LEVELS = st.sampled_from(Classification)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["level", "name"]), inner),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("value", "level"),
    [
        ("PUBLIC", Classification.PUBLIC),
        (" internal ", Classification.INTERNAL),
        ("Top Secret", Classification.TOP_SECRET),
        ("top-secret", Classification.TOP_SECRET),
        (4, Classification.RESTRICTED),
        ({"level": 3, "name": "whatever"}, Classification.CONFIDENTIAL),
        ({"level": 99, "name": "restricted"}, Classification.RESTRICTED),
        ({"name": "public"}, Classification.PUBLIC),
    ],
)
def test_a_level_is_read_in_every_spelling_of_etb(value: object, level: Classification) -> None:
    assert Classification.read(value) is level


@pytest.mark.parametrize(
    "value",
    [None, True, False, 0, 6, -1, 2.0, "", "SECRET", "3", [], {}, {"level": True}, {"level": "3"}, {"name": 3}],
)
def test_what_names_no_level_is_no_level(value: object) -> None:
    assert Classification.read(value) is None


@given(JSON)
def test_reading_a_level_never_fails(value: object) -> None:
    assert Classification.read(value) in {None, *Classification}


def test_the_highest_level_that_anything_asks_for_counts() -> None:
    table = ClassificationMap(
        default=Classification.INTERNAL,
        by_category={"Security": Classification.RESTRICTED, "lunch": Classification.PUBLIC},
        by_severity={"CRITICAL": Classification.CONFIDENTIAL, "low": Classification.PUBLIC},
        sensitive=Classification.TOP_SECRET,
    )
    ask = table.level
    assert ask(severity="critical", category="", is_sensitive=False) is Classification.CONFIDENTIAL
    assert ask(severity="CRITICAL", category="SECURITY", is_sensitive=False) is Classification.RESTRICTED
    assert ask(severity="LOW", category="lunch", is_sensitive=False) is Classification.PUBLIC
    assert ask(severity="LOW", category="lunch", is_sensitive=True) is Classification.TOP_SECRET
    assert ask(severity="?", category="?", is_sensitive=False) is Classification.INTERNAL

    assert ask(severity="CRITICAL", category="Security", is_sensitive=False, stated=Classification.PUBLIC) is (
        Classification.PUBLIC
    )


@pytest.mark.parametrize("level", Classification)
def test_what_etb_calls_sensitive_is_never_lower_for_it(level: Classification) -> None:
    for table in (
        ClassificationMap(level, sensitive=Classification.CONFIDENTIAL),
        ClassificationMap(Classification.PUBLIC, {"x": level}, sensitive=Classification.CONFIDENTIAL),
    ):
        found = table.level(severity="", category="x", is_sensitive=True)
        assert found is max(level, Classification.CONFIDENTIAL)
    stated = table.level(severity="", category="", is_sensitive=True, stated=level)
    assert stated is max(level, Classification.CONFIDENTIAL)


@given(LEVELS, st.dictionaries(st.text(), LEVELS), st.dictionaries(st.text(), LEVELS), st.data())
def test_a_classification_is_never_unknown_and_never_below_what_a_rule_asks(
    default: Classification,
    categories: dict[str, Classification],
    severities: dict[str, Classification],
    data: st.DataObject,
) -> None:
    table = ClassificationMap(default, categories, severities)
    category = data.draw(st.sampled_from([*categories, "none of them"]))
    severity = data.draw(st.sampled_from([*severities, "none of them"]))
    sensitive = data.draw(st.booleans())
    level = table.level(severity=severity, category=category, is_sensitive=sensitive)
    assert level in Classification
    assert level >= max(categories.get(category, 1), severities.get(severity, 1), 3 if sensitive else 1)

"""What a word is worth as a runbook's parameter."""

from typing import Literal

import pytest

from etb_appservice.domain.duty import RunbookParameter
from etb_appservice.domain.runbooks import NoValue, read_value


@pytest.mark.parametrize(
    ("kind", "word", "value"),
    [
        ("integer", " -3 ", -3), ("number", "1.5", 1.5), ("number", "-2", -2.0), ("boolean", "YES", True),
        ("boolean", "off", False), ("string", " as it is ", " as it is "),
    ],
)  # fmt: skip
def test_a_word_is_read(
    kind: Literal["string", "integer", "number", "boolean"], word: str, value: str | float | bool
) -> None:
    found = read_value(RunbookParameter(name="p", kind=kind), word)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        ("integer", "1.0"), ("integer", "٣"), ("integer", "1" * 19), ("number", "nan"), ("number", "inf"),
        ("number", "1e999"), ("number", "x"), ("boolean", "maybe"), ("string", "   "),
    ],
)  # fmt: skip
def test_a_word_is_no_value(kind: Literal["string", "integer", "number", "boolean"], word: str) -> None:
    with pytest.raises(NoValue):
        read_value(RunbookParameter(name="p", kind=kind), word)


def test_an_option_has_its_type() -> None:
    parameter = RunbookParameter(name="p", kind="integer", options=("1", "2"))
    assert read_value(parameter, " 2 ") == 2
    with pytest.raises(NoValue, match="1, 2"):
        read_value(parameter, "3")

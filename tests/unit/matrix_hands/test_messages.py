"""Small pure parts: transaction ids, pins, quotations."""

import pytest

from etb_appservice.matrix.codec import without_quote
from etb_appservice.matrix.hands import merged_pins
from etb_appservice.matrix.messages import transaction_id


def test_a_transaction_id_is_the_same_for_every_try_from_one_device_and_no_other() -> None:
    one = transaction_id("key", "@etb:x", "DEV")
    assert one == transaction_id("key", "@etb:x", "DEV")
    others = {
        transaction_id("key2", "@etb:x", "DEV"),
        transaction_id("key", "@_etb_ghost:x", "DEV"),
        transaction_id("key", "@etb:x", "DEV2"),
    }
    assert len(others | {one}) == 4


@pytest.mark.parametrize(
    ("pinned", "event_id", "instead_of", "wanted"),
    [
        ([], "$a", None, ["$a"]),
        (["$a", "$b"], "$c", None, ["$a", "$b", "$c"]),
        (["$a", "$b"], "$c", "$a", ["$c", "$b"]),
        (["$a", "$b"], "$a", None, ["$a", "$b"]),
        (["$a", "$b"], "$b", "$a", ["$b"]),
        (["$a"], "$a", "$a", ["$a"]),
        (["$a"], "$c", "$gone", ["$a", "$c"]),
    ],
)
def test_pins_are_merged(pinned: list[str], event_id: str, instead_of: str | None, wanted: list[str]) -> None:
    assert merged_pins(pinned, event_id, instead_of) == wanted


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        ("plain", "plain"),
        ("> <@a:x> hi\n\nanswer", "answer"),
        ("> <@a:x> hi\n> there\n\nanswer\n> mine", "answer\n> mine"),
        ("> only quoted", ""),
        (">not a quote", ">not a quote"),
        ("", ""),
    ],
)
def test_a_quotation_before_an_answer_is_taken_away(body: str, wanted: str) -> None:
    assert without_quote(body) == wanted

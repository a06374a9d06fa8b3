"""Small pure parts: transaction ids, pins, quotations."""

from dataclasses import replace

import pytest

from etb_appservice.domain.effects import SendFile
from etb_appservice.domain.ids import RoomId
from etb_appservice.matrix.codec import without_quote
from etb_appservice.matrix.contents import file_of
from etb_appservice.matrix.hands import merged_pins
from etb_appservice.matrix.messages import content_of_file, transaction_id
from tests.unit.matrix_hands.test_contents import SEALED


def test_a_transaction_id_is_the_same_for_every_try_from_one_device_and_no_other() -> None:
    one = transaction_id("key", "@etb:x", "DEV")
    assert one == transaction_id("key", "@etb:x", "DEV")
    others = {
        transaction_id("key2", "@etb:x", "DEV"),
        transaction_id("key", "@_etb_ghost:x", "DEV"),
        transaction_id("key", "@etb:x", "DEV2"),
    }
    assert len(others | {one}) == 4


def test_a_voice_message_says_so_and_how_long_it_is_and_comes_back_as_one() -> None:
    sent = SendFile(
        room_id=RoomId("!r"),
        file_id="f",
        filename="a.ogg",
        mime="audio/ogg",
        size=3,
        msgtype="m.audio",
        duration_ms=2500,
        is_voice=True,
    )
    content = content_of_file(sent, SEALED, "key")
    assert content["org.matrix.msc3245.voice"] == {}
    assert content["org.matrix.msc1767.audio"] == {"duration": 2500}
    assert content["info"]["duration"] == 2500
    found = file_of("m.audio", content)
    assert found is not None
    assert (found.is_voice, found.duration_ms) == (True, 2500)
    plain = content_of_file(replace(sent, is_voice=False), SEALED, "key")
    assert "org.matrix.msc3245.voice" not in plain


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

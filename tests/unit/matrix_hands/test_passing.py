"""The passing part of a transaction, read: what is as it must be, and nothing else."""

import json
import random
from collections.abc import Iterator
from typing import Any

import pytest

from etb_appservice.domain.passing import ReadSeen, Sign, TypingSeen
from etb_appservice.matrix.passing import MOST_SIGNS, part_of, signs_of

ROOM = "!room"
TYPING = {"type": "m.typing", "room_id": ROOM, "content": {"user_ids": ["@a:x", "@b:x"]}}
RECEIPT = {
    "type": "m.receipt",
    "room_id": ROOM,
    "content": {
        "$one": {"m.read": {"@a:x": {"ts": 1}, "@b:x": {"ts": 1, "thread_id": "main"}}},
        "$two": {"m.read": {"@c:x": {"ts": 1, "thread_id": "$root"}}, "m.read.private": {"@d:x": {"ts": 1}}},
    },
}


def test_typing_and_receipts_are_read() -> None:
    assert signs_of([TYPING, RECEIPT]) == [
        TypingSeen(room_id="!room", user_ids=frozenset({"@a:x", "@b:x"})),  # type: ignore[arg-type]
        ReadSeen(room_id="!room", user_id="@a:x", event_id="$one"),  # type: ignore[arg-type]
        ReadSeen(room_id="!room", user_id="@b:x", event_id="$one"),  # type: ignore[arg-type]
        ReadSeen(room_id="!room", user_id="@c:x", event_id="$two"),  # type: ignore[arg-type]
    ]


def test_a_private_receipt_is_nobody_s_business() -> None:
    private = {"$e": {"m.read.private": {"@a:x": {"ts": 1}}, "m.fully_read": {"@a:x": {}}}}
    assert signs_of([RECEIPT | {"content": private}]) == []


def test_the_part_is_known_by_both_of_its_names() -> None:
    assert part_of({"events": []}) is None
    assert part_of({"events": [], "ephemeral": []}) == []
    assert part_of({"de.sorunome.msc2409.ephemeral": [TYPING]}) == [TYPING]
    both = {"de.sorunome.msc2409.ephemeral": [TYPING], "ephemeral": []}
    assert part_of(both) == [], "not twice"


@pytest.mark.parametrize(
    "part",
    [
        None, 5, "text", {}, [None, 5, [], "x"], [{"type": "m.presence", "sender": "@a:x", "content": {}}],
        [TYPING | {"room_id": None}], [TYPING | {"room_id": "!\ud800"}], [TYPING | {"room_id": ["!room"]}],
        [TYPING | {"content": None}], [TYPING | {"content": {"user_ids": {"@a:x": 1}}}],
        [TYPING | {"type": ["m.typing"]}],
        [RECEIPT | {"content": {"$e": None}}], [RECEIPT | {"content": {"$e": {"m.read": ["@a:x"]}}}],
        [RECEIPT | {"content": {"$e": {"m.read": {"@a:x": None}}}}],
        [RECEIPT | {"content": {"$e": {"m.read": {"nobody": {}}}}}],
        [RECEIPT | {"content": {"$e": {"m.read": {"@a\x00:x": {}}}}}],
        [RECEIPT | {"content": {"$\n": {"m.read": {"@a:x": {}}}}}],
        [RECEIPT | {"content": {"$" + "e" * 300: {"m.read": {"@a:x": {}}}}}],
    ],
)  # fmt: skip
def test_what_is_not_as_it_must_be_is_passed_over(part: Any) -> None:
    assert signs_of(part) == []


def test_whoever_is_no_user_types_nowhere() -> None:
    [found] = signs_of([TYPING | {"content": {"user_ids": ["@a:x", 5, None, "nobody", "@\ud800:x", ["@b:x"]]}}])
    assert found == TypingSeen(room_id="!room", user_ids=frozenset({"@a:x"}))  # type: ignore[arg-type]


def test_a_flood_is_cut_off() -> None:
    readers = {f"@{number}:x": {"ts": 1} for number in range(100_000)}
    assert len(signs_of([RECEIPT | {"content": {"$e": {"m.read": readers}}}])) == MOST_SIGNS
    assert len(signs_of([TYPING] * 100_000)) == MOST_SIGNS
    [found] = signs_of([TYPING | {"content": {"user_ids": list(readers)}}])
    assert isinstance(found, TypingSeen)
    assert len(found.user_ids) == 100


def test_whatever_is_changed_at_random_nothing_but_signs_come_out() -> None:
    chance = random.Random(2409)
    read = 0
    for _ in range(3000):
        part = json.loads(json.dumps([TYPING, RECEIPT, TYPING]))
        for _ in range(chance.randint(1, 4)):
            part = _changed(part, chance)
        for sign in signs_of(part):
            read += 1
            assert isinstance(sign, TypingSeen | ReadSeen)
            assert all(_is_sound(text) for text in _texts(sign))
    assert read > 1000, "what isn't touched is still read"


ODD: list[Any] = [
    None, True, -1, 10**400, 1.5, "", "\x00", "\ud800", "x" * 500, [], {}, [[[]]], {"m.read": 1},
    {"@a:x": {"ts": []}},
]  # fmt: skip


def _changed(value: Any, chance: random.Random) -> Any:
    """The same with something odd somewhere."""
    if isinstance(value, list) and value and chance.random() < 0.85:
        place = chance.randrange(len(value))
        return [_changed(one, chance) if number == place else one for number, one in enumerate(value)]
    if isinstance(value, dict) and value and chance.random() < 0.85:
        name = chance.choice(list(value))
        if chance.random() < 0.2:
            return {
                chance.choice(["", "\x00", "\ud800", "$" * 300]) if key == name else key: value[key]
                for key in value
            }
        return {key: _changed(one, chance) if key == name else one for key, one in value.items()}
    return chance.choice(ODD)


def _texts(sign: Sign) -> Iterator[str]:
    yield sign.room_id
    if isinstance(sign, TypingSeen):
        yield from sign.user_ids
    else:
        yield sign.user_id
        yield sign.event_id


def _is_sound(text: str) -> bool:
    return isinstance(text, str) and text.isprintable() and 0 < len(text.encode()) <= 255

"""The picture of a timeline: a PNG of its size whatever the story holds, and the same in words."""

import io
from dataclasses import replace
from typing import Any

import pytest
from PIL import Image

from etb_appservice.domain.story import Limit, Mark, Phase, Story, in_words
from etb_appservice.render.chart import HEIGHT, WIDTH, chart

MINUTE = 60_000
NOON = 1_790_000_000_000
STORY = Story(
    number="INC-1",
    title="Mail is down",
    from_ms=NOON,
    to_ms=NOON + 120 * MINUTE,
    phases=(
        Phase(status="OPEN", from_ms=NOON, to_ms=NOON + 30 * MINUTE),
        Phase(status="RESOLVED", from_ms=NOON + 30 * MINUTE, to_ms=NOON + 120 * MINUTE),
    ),
    marks=(
        Mark(kind="escalation", at_ms=NOON + 5 * MINUTE, label="Level 1: bob"),
        Mark(kind="update", at_ms=NOON + 20 * MINUTE, label="We are on it"),
        Mark(kind="runbook", at_ms=NOON + 22 * MINUTE, to_ms=NOON + 25 * MINUTE, label="Restart: COMPLETED"),
    ),
    limits=(Limit(name="Response", at_ms=NOON + 60 * MINUTE, state="breached"),),
)


def opened(content: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(content))
    image.load()
    return image


def test_it_is_a_png_of_its_size_and_the_same_again() -> None:
    image = opened(chart(STORY))
    assert (image.format, image.size, image.mode) == ("PNG", (WIDTH, HEIGHT), "RGB")
    assert (WIDTH, HEIGHT) == (1200, 600)
    assert chart(STORY) == chart(STORY)


def test_each_kind_of_thing_is_drawn_in_its_colour() -> None:
    everything = {colour for _, colour in opened(chart(STORY)).getcolors(WIDTH * HEIGHT) or []}
    for colour in ("#56b4e9", "#009e73", "#0072b2", "#d55e00"):
        assert tuple(bytes.fromhex(colour[1:])) in everything


@pytest.mark.parametrize(
    "changes",
    [
        {"to_ms": NOON},
        {"phases": (), "marks": (), "limits": ()},
        {"to_ms": NOON + 400 * 86_400_000},
        {"title": "x" * 5000, "number": "y" * 5000},
        {"title": "\x00\u202e\ud83d 日本 🧯 \n", "is_away": True},
        {"title": ""},
        {"marks": tuple(Mark(kind="update", at_ms=NOON + n * 1000, label=f"{n}") for n in range(3000))},
        {"marks": (Mark(kind="runbook", at_ms=NOON - MINUTE, to_ms=NOON + 9999 * MINUTE, label="z" * 999),)},
        {"limits": tuple(Limit(name="L" * 99, at_ms=NOON + n * MINUTE, state="running") for n in range(99))},
        {"phases": tuple(Phase(status=f"S{n}", from_ms=NOON + n, to_ms=NOON + n + 1) for n in range(500))},
    ],
)
def test_an_odd_story_is_drawn_too(changes: dict[str, Any]) -> None:
    assert opened(chart(replace(STORY, **changes))).size == (WIDTH, HEIGHT)


def test_the_words_hold_what_the_picture_shows() -> None:
    words = in_words(STORY)
    for part in (
        "Timeline of INC-1 from 2026-09-21 14:13 UTC to 2026-09-21 16:13 UTC.",
        "OPEN from 2026-09-21 14:13 UTC, RESOLVED from 2026-09-21 14:43 UTC",
        "Updates: We are on it (2026-09-21 14:33 UTC).",
        "Escalations: Level 1: bob",
        "Runbooks: Restart: COMPLETED",
        "Response by 2026-09-21 15:13 UTC, breached",
    ):
        assert part in words
    assert "missing" in in_words(replace(STORY, is_away=True))


def test_many_updates_are_told_by_their_latest() -> None:
    marks = tuple(Mark(kind="update", at_ms=NOON + n, label=f"no {n}") for n in range(40))
    words = in_words(replace(STORY, marks=marks))
    assert "no 39" in words
    assert "no 27 " not in words
    assert "and 28 earlier ones" in words

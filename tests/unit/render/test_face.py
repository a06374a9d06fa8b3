"""Pictures of people of whom there is none: always the same, always readable, whatever somebody is called."""

import io

import pytest
from PIL import Image

from etb_appservice.render.face import SIDE, contrast_with_white, face, ground, initials


def colours(picture: bytes) -> dict[tuple[int, int, int], int]:
    with Image.open(io.BytesIO(picture)) as image:
        assert (image.format, image.size, image.mode) == ("PNG", (SIDE, SIDE), "RGB")
        found = image.getcolors(1 << 16)
    assert found is not None
    return {colour: count for count, colour in found}  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Alice Lindqvist", "AL"),
        ("alice", "A"),
        ("Wanda Maximoff (ETB)", "WM"),
        ("Åsa von der Öhe", "AO"),
        ("4chan user", "4U"),
        ("李 小龍", ""),
        ("Anna 李", ""),
        ("Øystein", ""),
        ("", ""),
        ("  !!  ", ""),
        ("\u202e\x00", ""),
        ("ﬁona", "F"),
    ],
)
def test_initials_are_those_that_the_font_can_draw(name: str, expected: str) -> None:
    assert initials(name) == expected


def test_every_colour_carries_white_letters() -> None:
    names = [f"user{number}" for number in range(500)]
    assert all(contrast_with_white(ground(name)) >= 4.5 for name in names)
    assert len({ground(name) for name in names}) > 30
    assert contrast_with_white((0, 0, 0)) == pytest.approx(21)
    assert contrast_with_white((255, 255, 255)) == pytest.approx(1)


@pytest.mark.parametrize(
    ("name", "username"),
    [
        ("Alice Lindqvist", "alice"),
        ("李 小龍", "li.wei"),
        ("李", "李"),
        ("", ""),
        ("\ud800", "\ud800"),
        ("W" * 99, "w"),
    ],
)
def test_a_picture_shows_something_white_on_the_colour_of_the_username(name: str, username: str) -> None:
    picture = face(name, username)
    found = colours(picture)
    assert found[255, 255, 255] > 1000
    assert max(found, key=found.__getitem__) == ground(username)
    assert len(picture) < 10_000
    assert face(name, username) == picture


def test_the_username_s_initial_stands_where_the_name_has_none_and_else_a_figure() -> None:
    assert face("李 小龍", "li.wei") == face("Li", "li.wei")
    assert face("李", "李") != face("L", "李")

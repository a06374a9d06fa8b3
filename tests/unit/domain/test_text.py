import pytest
from hypothesis import given
from hypothesis import strategies as st

from etb_appservice.domain.text import plain
from etb_appservice.render.render import render


@given(st.text(max_size=400), st.integers(1, 60))
def test_a_foreign_text_is_one_line_of_at_most_so_many_characters(text: str, most: int) -> None:
    shown = plain(text, most)
    assert "\n" not in shown
    assert len(shown.replace("\\", "")) <= most
    assert len(shown) <= 2 * most


@pytest.mark.parametrize(
    "text",
    [
        "**bold** _it_ `code`",
        "[click](https://evil.example)",
        "<b>html</b> <https://evil.example>",
        "~~gone~~ | table #1 a\\b",
        "# not a heading",
        "> not a quote",
        "![image](x)",
    ],
)
def test_a_foreign_text_is_shown_as_it_is_within_our_markdown(text: str) -> None:
    body, html = render(f"Title: {plain(text)}.")
    assert body == f"Title: {text}."
    assert not any(tag in html for tag in ("<a", "<strong", "<em", "<code", "<del", "<b>"))


def test_a_long_text_ends_in_an_ellipsis() -> None:
    assert plain("x" * 500) == "x" * 299 + "…"
    assert plain("a  b\t\nc") == "a b c"

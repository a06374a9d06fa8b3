import pytest
from hypothesis import given
from hypothesis import strategies as st

from etb_appservice.domain.text import code, plain
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


@given(st.text(alphabet=st.sampled_from("a \x00\x1b\x85\u202e\u2066\u2029\u200d\u2764`*\n"), max_size=60))
def test_a_foreign_text_holds_no_controls_and_turns_no_sentence_round(text: str) -> None:
    for shown in (plain(text), code(text)):
        assert not set(shown) & set("\x00\x1b\x85\u202e\u2066\u2029\n")
    assert "\u200d" in plain("\u2764\u200d\u2764"), "what joins emoji stays"


@pytest.mark.parametrize(
    "name",
    [
        "</code><img src=x>",
        "[bot](https://matrix.to/#/@etb:x.org)",
        "@room",
        "a`b**c**`",
        "https://matrix.to/#/@etb:x",
    ],
)
def test_a_name_as_code_is_text_and_nothing_else(name: str) -> None:
    _, html = render(f"{code(name)} has joined.")
    assert html.startswith("<p><code>")
    assert not any(tag in html for tag in ("<a", "<img", "<strong"))


def test_a_long_text_ends_in_an_ellipsis() -> None:
    assert plain("x" * 500) == "x" * 299 + "…"
    assert plain("a  b\t\nc") == "a b c"

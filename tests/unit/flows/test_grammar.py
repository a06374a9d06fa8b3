import contextlib
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etb_appservice.domain.clearance import Right
from etb_appservice.flows.call import Call
from etb_appservice.flows.commands import CONTROL, EVERYWHERE, INCIDENT, Answer, Command, command
from etb_appservice.flows.grammar import Rest, UsageError, split_command

PREFIXES = ("!", "/")


@command(needs=Right.MEMBER, where=INCIDENT)
async def none_at_all(call: Call) -> Answer:
    """Take nothing."""
    return Answer("")


@command(needs=Right.OPERATOR, where=CONTROL, aliases=("t",), example="two a b")
async def two(call: Call, first: str, second: str | None = None) -> Answer:
    """Take one word or two.

    And here is more
    about it.
    """
    return Answer("")


@command(needs=Right.MEMBER, where=EVERYWHERE)
async def choose(call: Call, way: Literal["up", "Down"], often: int = 1) -> Answer:
    """Choose a way."""
    return Answer("")


@command(needs=Right.MEMBER, where=EVERYWHERE)
async def set_(call: Call, field: Literal["status"], value: Rest) -> Answer:
    """Set what has one way only."""
    return Answer("")


@command(needs=Right.MEMBER, where=EVERYWHERE)
async def perhaps(call: Call, way: Literal["up", "down"] | None = None, often: int | None = None) -> Answer:
    """Choose a way, or none."""
    return Answer("")


@command(needs=Right.MEMBER, where=EVERYWHERE)
async def tell(call: Call, whom: str, text: Rest) -> Answer:
    """Tell somebody something."""
    return Answer("")


@command(needs=Right.MEMBER, where=EVERYWHERE)
async def import_(call: Call, text: Rest | None = None) -> Answer:
    """Have a name that is a word of Python."""
    return Answer("")


# --- is it a command? -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "split"),
    [
        ("!status", ("status", "")),
        ("/status", ("status", "")),
        ("//status", ("status", "")),
        ("  !status", ("status", "")),
        ("  /status  ", ("status", "")),
        ("\n\t!status\n", ("status", "")),
        ("\u00a0!status", ("status", "")),
        ("!STATUS Now", ("status", "Now")),
        ("!page  alice   at once ", ("page", "alice   at once")),
        ("!page\talice", ("page", "alice")),
        ("!page\u00a0alice", ("page", "alice")),
        ("!note first line\nsecond line", ("note", "first line\nsecond line")),
        ("!note\nfirst line", ("note", "first line")),
        ("!note\r\nfirst line", ("note", "first line")),
        ("!on-call", ("on-call", "")),
        ("!état", ("état", "")),
        ("!STRASSE", ("strasse", "")),
        ("!Straße", ("strasse", "")),
        ("!übergabe 🚀", ("übergabe", "🚀")),
    ],
)
def test_a_line_that_begins_with_a_prefix_and_a_word_is_a_command(body: str, split: tuple[str, str]) -> None:
    assert split_command(body, PREFIXES) == split


@pytest.mark.parametrize(
    "body",
    [
        "",
        " ",
        "!",
        "/",
        "//",
        "! ",
        "/ ",
        "! status",
        "/ status",
        "!\nstatus",
        "!!status",
        "!!x",
        "!//status",
        "///status",
        "/!status",
        "//!status",
        "> !status",
        "```\n!status\n```",
        "`!status`",
        "**!status**",
        "status",
        "please !status",
        "!?",
        "!1st",
        "!-x",
        "!_x",
        "!important: read this",
        "!sta.tus",
        "!sta\u200btus",
        "!🚀",
        "/home/user/file",
        "…!status",
        "\uff01status",
    ],
)
def test_anything_else_is_talk(body: str) -> None:
    assert split_command(body, PREFIXES) is None


def test_only_the_configured_prefixes_count() -> None:
    assert split_command("!status", ("/",)) is None
    assert split_command("/status", ("!",)) is None
    assert split_command("etb: status", ("etb:",)) is None
    assert split_command("etb:status", ("etb:",)) == ("status", "")
    assert split_command("!status", ()) is None


@given(st.text(st.characters(exclude_categories=[])))
def test_whatever_is_written_splitting_it_never_fails(body: str) -> None:
    for text in (body, f"!{body}", f"/{body}", f"!a {body}"):
        split = split_command(text, PREFIXES)
        if split is not None:
            name, rest = split
            assert name
            assert not any(letter.isspace() for letter in name)
            assert rest == rest.strip()


# --- its arguments ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "text", "values"),
    [
        (none_at_all, "", {}),
        (none_at_all, "   ", {}),
        (two, "a", {"first": "a"}),
        (two, "a b", {"first": "a", "second": "b"}),
        (two, "a\nb", {"first": "a", "second": "b"}),
        (two, "a\tb", {"first": "a", "second": "b"}),
        (two, '"a b" c', {"first": "a b", "second": "c"}),
        (two, '"a b"c', {"first": "a b", "second": "c"}),
        (two, "'a \"x\" b'", {"first": 'a "x" b'}),
        (two, "“a b” „c d“", {"first": "a b", "second": "c d"}),
        (two, "«a b» don't", {"first": "a b", "second": "don't"}),
        (two, '"" x', {"first": "", "second": "x"}),
        (choose, "UP", {"way": "up"}),
        (choose, "down -3", {"way": "Down", "often": -3}),
        (perhaps, "", {}),
        (perhaps, "Down 2", {"way": "down", "often": 2}),
        (tell, 'bob it\'s  "on" fire', {"whom": "bob", "text": 'it\'s  "on" fire'}),
        (tell, "bob two\nlines", {"whom": "bob", "text": "two\nlines"}),
        (import_, "a b", {"text": "a b"}),
        (import_, "", {}),
    ],
)
def test_words_become_arguments(one: Command, text: str, values: dict[str, Any]) -> None:
    assert one.signature.read(text) == values


@pytest.mark.parametrize(
    ("one", "text", "mistake"),
    [
        (none_at_all, "x", "I don't know what to do with “x”."),
        (none_at_all, "x" * 200, f"I don't know what to do with “{'x' * 79}…”."),
        (two, "", "`first` is missing."),
        (two, "a b c", "I don't know what to do with “c”."),
        (two, '"a b', 'The quote " is never closed.'),
        (two, "a “b", "The quote “ is never closed."),
        (choose, "left", "`way` is one of `up`, `Down`."),
        (choose, "up often", "`often` is a number."),
        (choose, "up --5", "`often` is a number."),
        (choose, "up -", "`often` is a number."),
        (choose, "up ٣", "`often` is a number."),
        (choose, "up 1.5", "`often` is a number."),
        (perhaps, "left", "`way` is one of `up`, `down`."),
        (perhaps, "up x", "`often` is a number."),
        (tell, "bob", "`text` is missing."),
        (tell, "x" * 65536, "That is too long: at most 4096 characters."),
    ],
)
def test_words_that_do_not_fit_are_named(one: Command, text: str, mistake: str) -> None:
    with pytest.raises(UsageError) as raised:
        one.signature.read(text)
    assert str(raised.value) == mistake


@given(st.sampled_from([none_at_all, two, choose, perhaps, tell, import_]), st.text(max_size=60))
def test_whatever_is_typed_only_a_usage_error_comes_of_it(one: Command, text: str) -> None:
    with contextlib.suppress(UsageError):
        values = one.signature.read(text)
        assert values.keys() <= {parameter.name for parameter in one.signature.parameters}
        assert values.get("way") in {None, "up", "down", "Down"}
        assert isinstance(values.get("often", 0), int)


# --- its usage -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "usage"),
    [
        (set_, "set status <value>"),
        (none_at_all, "none_at_all"),
        (two, "two <first> [second]"),
        (choose, "choose up|Down [often]"),
        (perhaps, "perhaps [up|down] [often]"),
        (tell, "tell <whom> <text>"),
        (import_, "import [text]"),
    ],
)
def test_the_signature_is_the_usage(one: Command, usage: str) -> None:
    assert one.usage == usage

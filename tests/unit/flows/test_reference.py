"""The commands in words: pages and tables made from them."""

from etb_appservice.domain.clearance import Right
from etb_appservice.flows.call import Call
from etb_appservice.flows.commands import CONTROL, EVERYWHERE, INCIDENT, Answer, command
from etb_appservice.flows.reference import page, people, places, table, with_tables


@command(needs=Right.COMMANDER, where=INCIDENT, aliases=("l",))
async def lead(call: Call, way: str) -> Answer:
    """Lead.

    On and on.
    """
    return Answer("")


@command(needs=Right.MEMBER, where=EVERYWHERE, example="ask x | y")
async def ask(call: Call, what: str | None = None) -> Answer:
    """Ask | answer."""
    return Answer("")


@command(needs=Right.OPERATOR, where=CONTROL)
async def rule(call: Call) -> Answer:
    """Rule."""
    return Answer("")


COMMANDS = {"lead": lead, "l": lead, "ask": ask, "rule": rule}


def test_who_may_and_where() -> None:
    assert people(lead) == "the incident's commander"
    assert people(ask) == "everybody in the room who is linked to an ETB account; in the control room operators"
    assert people(rule) == "operators"
    assert places(lead) == "the incident's room"
    assert places(ask) == "the incident's room and the control room and a direct chat with the bot"


def test_the_page_has_a_section_for_each_once() -> None:
    text = page(COMMANDS)
    assert [line for line in text.splitlines() if line.startswith("## ")] == ["## ask", "## lead", "## rule"]
    assert "    !lead <way>\n\nLead.\n\nOn and on.\n\nExample: `!lead`\n\nAlso called `l`.\n\n" in text


def test_a_table_lists_one_kind_of_room() -> None:
    assert table(COMMANDS, "direct").splitlines() == [
        "| send | what happens |",
        "|---|---|",
        "| `!ask [what]` | Ask \\| answer. |",
    ]


def test_tables_are_made_anew_between_their_marks_and_nothing_else_is_touched() -> None:
    text = "a\n<!-- commands: direct -->\nold\n<!-- end -->\nb\n<!-- commands: control -->\n\n<!-- end -->\n"
    once = with_tables(text, COMMANDS)
    assert once.startswith("a\n<!-- commands: direct -->\n| send |")
    assert "old" not in once
    assert "`!rule`" in once.split("b\n")[1]
    assert once.endswith("<!-- end -->\n")
    assert with_tables(once, COMMANDS) == once
    assert with_tables("nothing here", COMMANDS) == "nothing here"

"""The commands in words, made from them: `help`, `docs/reference/commands.md` and the tables of the README."""

from collections.abc import Iterable, Mapping

from etb_appservice.domain.clearance import Right
from etb_appservice.flows.commands import Command, Place

WHO = {
    Right.ANYBODY: "everybody in the room",
    Right.MEMBER: "everybody in the room who is linked to an ETB account",
    Right.RESPONDER: "responders of the incident",
    Right.COMMANDER: "the incident's commander",
    Right.OPERATOR: "operators",
    Right.WITNESS: "everybody in the room who is linked to an ETB account, and holders of a break-glass role",
    Right.BREAK_GLASS: "holders of a break-glass role",
}
_WHERE: dict[Place, str] = {
    "incident": "the incident's room",
    "control": "the control room",
    "direct": "a direct chat with the bot",
}
_HEAD = """\
# Commands

Written from the code by `make docs`; change it there.

A command is a message that begins with `!` or `/` (see [clients.md](../clients.md) for what clients make of `/`).
`<word>` must be given, `[word]` may be left out. Several words in one are put in quotes, except at the end of a
line. In the control room every command is for operators, from a device of theirs that they have verified.
"""


def places(one: Command) -> str:
    """Where a command works."""
    return " and ".join(says for place, says in _WHERE.items() if place in one.where)


def people(one: Command) -> str:
    """Who may run it, there."""
    if one.where == {"control"}:
        return WHO[Right.OPERATOR]
    return WHO[one.needs] + ("; in the control room operators" if "control" in one.where else "")


def each(commands: Mapping[str, Command]) -> list[Command]:
    """Every command once, by name."""
    return [one for name, one in sorted(commands.items()) if name == one.name]


def page(commands: Mapping[str, Command]) -> str:
    """`docs/reference/commands.md`."""
    return "\n".join([_HEAD, *(_section(one) for one in each(commands))])


def table(commands: Mapping[str, Command], place: Place) -> str:
    """The commands of one kind of room, as rows of Markdown."""
    rows = [f"| `!{_cell(one.usage)}` | {_cell(one.help)} |" for one in each(commands) if place in one.where]
    return "\n".join(["| send | what happens |", "|---|---|", *rows])


def with_tables(text: str, commands: Mapping[str, Command]) -> str:
    """A page whose tables between `<!-- commands: PLACE -->` and `<!-- end -->` are made anew."""
    for place in _WHERE:
        begin, end = f"<!-- commands: {place} -->\n", "\n<!-- end -->"
        if begin in text:
            head, rest = text.split(begin, 1)
            text = head + begin + table(commands, place) + end + rest.split(end, 1)[1]
    return text


def _section(one: Command) -> str:
    return "\n".join([f"## {one.name}", "", f"    !{one.usage}", "", *_paragraphs(one), ""])


def _paragraphs(one: Command) -> Iterable[str]:
    yield one.help
    if one.details:
        yield from ("", one.details)
    yield from ("", f"Example: `!{one.example or one.name}`")
    if one.aliases:
        yield from ("", f"Also called {', '.join(f'`{name}`' for name in one.aliases)}.")
    yield from ("", f"For {people(one)}. Works in {places(one)}.")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")

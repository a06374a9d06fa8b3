import sys
import types
from collections.abc import Iterator
from typing import Any, Literal

import pytest

import etb_appservice.commands
from etb_appservice.domain.clearance import Right
from etb_appservice.flows.call import Call
from etb_appservice.flows.commands import CONTROL, EVERYWHERE, INCIDENT, Answer, command, find, nearest

BUILT_INTO_ELEMENT = frozenset({"leave", "part", "me", "topic", "nick", "ban", "kick"})
"""`join`, `invite` and `remove` are too, and ours all the same: they are sent with `!` (docs/clients.md)."""


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


def test_the_docstring_is_the_help() -> None:
    assert two.help == "Take one word or two."
    assert two.details == "And here is more\nabout it."
    assert (two.needs, two.where, two.example, two.aliases) == (Right.OPERATOR, CONTROL, "two a b", ("t",))


def test_a_command_without_help_is_an_error_at_start() -> None:
    async def silent(call: Call) -> Answer:
        return Answer("")

    with pytest.raises(TypeError, match="silent has no docstring"):
        command(needs=Right.MEMBER, where=INCIDENT)(silent)


@pytest.fixture
def package() -> Iterator[types.ModuleType]:
    """A package of two modules that tests fill."""
    made = types.ModuleType("made_up")
    made.__path__ = []
    yield made
    for name in [name for name in sys.modules if name.startswith("made_up")]:
        del sys.modules[name]


def fill(package: types.ModuleType, monkeypatch: pytest.MonkeyPatch, **modules: dict[str, Any]) -> None:
    for name, content in modules.items():
        module = types.ModuleType(f"made_up.{name}")
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, module.__name__, module)
    listed = [types.SimpleNamespace(name=name) for name in modules]
    monkeypatch.setattr("etb_appservice.flows.commands.pkgutil.iter_modules", lambda _path: listed)


def test_commands_are_found_by_name_and_alias(package: types.ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(package, monkeypatch, one={"two": two, "number": 7}, other={"choose": choose})
    assert find(package) == {"two": two, "t": two, "choose": choose}


def test_a_command_that_one_module_imports_from_another_is_one_command(
    package: types.ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(package, monkeypatch, one={"two": two}, other={"two": two})
    assert find(package)["two"] is two


def test_two_commands_of_one_name_are_an_error_at_start(
    package: types.ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    @command(needs=Right.MEMBER, where=INCIDENT, aliases=("two",))
    async def deux(call: Call) -> Answer:
        """Be called like another."""
        return Answer("")

    fill(package, monkeypatch, one={"two": two}, other={"deux": deux})
    with pytest.raises(TypeError, match="two commands are called two"):
        find(package)


def test_the_house_has_these_commands() -> None:
    found = find(etb_appservice.commands)
    assert {one.usage for one in found.values()} >= {
        "help [about]",
        "status",
        "health",
        "rooms",
        "queue [retry|drop] [row]",
    }
    for one in found.values():
        assert one.help.endswith("."), one.name
        assert one.name not in BUILT_INTO_ELEMENT


def test_the_nearest_name_is_suggested_only_when_it_is_near() -> None:
    assert nearest("statsu", ["help", "status"]) == "status"
    assert nearest("xyzzy", ["help", "status"]) is None
    assert nearest("a" * 60_000, ["help", "status"]) is None
    assert nearest("x", []) is None

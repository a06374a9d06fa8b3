"""How a command is typed: is a line one, what are its words, do they fit the signature of its function.

One word a parameter, quotes for several, `Rest` for the rest of the line, a default for what may be left out.
Knows nothing of what commands do.
"""

import inspect
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NewType

from etb_appservice.domain.ids import UserId, Username
from etb_appservice.domain.policy import Policy
from etb_appservice.domain.text import plain

Rest = NewType("Rest", str)
"""A parameter that takes the rest of the line as it is."""
Person = NewType("Person", str)
"""A parameter that names somebody: an ETB username or a Matrix id, as `policy.people` maps them to one another."""
MOST_ARGUMENT_CHARACTERS = 4096
QUOTES = {'"': '"', "'": "'", "“": "”", "„": "“", "«": "»"}


class UsageError(ValueError):
    """The words don't fit the command; the message says which and why."""


@dataclass(frozen=True, slots=True)
class Signature:
    """What may stand behind the name of a command, as the signature of its function says it."""

    parameters: tuple[inspect.Parameter, ...]
    kinds: Mapping[str, Any]

    @property
    def usage(self) -> str:
        """How it is typed, such as `[retry|drop] [row]`."""
        return " ".join(_shown(p, self.kinds[p.name]) for p in self.parameters)

    def read(self, text: str) -> dict[str, Any]:
        """The arguments of a call by parameter name; UsageError says what doesn't fit."""
        if len(text) > MOST_ARGUMENT_CHARACTERS:
            raise UsageError(f"That is too long: at most {MOST_ARGUMENT_CHARACTERS} characters.")
        values: dict[str, Any] = {}
        left = text.strip()
        for parameter in self.parameters:
            kind = _plain(self.kinds[parameter.name])
            if not left:
                if parameter.default is inspect.Parameter.empty:
                    raise UsageError(f"`{parameter.name}` is missing.")
                continue
            if kind is Rest:
                word, left = left, ""
            else:
                word, left = _word(left)
            values[parameter.name] = _value(word, kind, parameter.name)
        if left:
            raise UsageError(f"I don't know what to do with “{plain(left, 80)}”.")
        return values


def signature_of(function: Callable[..., object]) -> Signature:
    """That of a command's function; its first parameter is the call."""
    hints = typing.get_type_hints(function)
    parameters = tuple(inspect.signature(function).parameters.values())[1:]
    return Signature(parameters, {p.name: hints[p.name] for p in parameters})


def split_command(body: str, prefixes: Sequence[str]) -> tuple[str, str] | None:
    """The name and the rest of a line that is a command; None for anything else.

    Leading spaces and a doubled slash are forgiven (clients differ, see docs/clients.md); a quote, a code block
    or a prefix alone is talk.

    >>> split_command("  !status", "!/"), split_command("//run x y", "!/"), split_command("> !status", "!/")
    (('status', ''), ('run', 'x y'), None)
    """
    text = body.lstrip()
    prefix = next((p for p in prefixes if text.startswith(p)), None)
    if prefix is None:
        return None
    text = text[len(prefix) :]
    if prefix == "/" and text.startswith("/"):
        text = text[1:]
    if not text[:1].isalpha():
        return None
    name = text.split(maxsplit=1)[0]
    if not name.replace("-", "").isalnum():
        return None
    return name.casefold(), text[len(name) :].strip()


def person(policy: Policy, word: str) -> Username:
    """The ETB user somebody means: a username, with or without an at sign, or a Matrix id. Raises UsageError."""
    if word.startswith("@") and ":" in word:
        username = policy.people.username(UserId(word))
        if username is None:
            raise UsageError(f"`{plain(word, 80)}` is not linked to an ETB user.")
        return username
    name = word.removeprefix("@")
    if not name:
        raise UsageError("That names nobody.")
    return Username(name)


def _word(text: str) -> tuple[str, str]:
    """The first word, which quotes may hold together, and what follows."""
    if text[0] in QUOTES:
        end = text.find(QUOTES[text[0]], 1)
        if end == -1:
            raise UsageError(f"The quote {text[0]} is never closed.")
        return text[1:end], text[end + 1 :].strip()
    word = text.split(maxsplit=1)[0]
    return word, text[len(word) :].strip()


def _plain(kind: Any) -> Any:
    """A parameter's type without `| None`; `Literal[…] | None` is a `typing.Union`, `int | None` is not."""
    if typing.get_origin(kind) in {types.UnionType, typing.Union}:
        return next(one for one in typing.get_args(kind) if one is not type(None))
    return kind


def _value(word: str, kind: Any, name: str) -> Any:
    if typing.get_origin(kind) is Literal:
        options = typing.get_args(kind)
        for option in options:
            if option.casefold() == word.casefold():
                return option
        raise UsageError(f"`{name}` is one of {', '.join(f'`{o}`' for o in options)}.")
    if kind is int:
        if not word.isascii() or not word.removeprefix("-").isdigit():
            raise UsageError(f"`{name}` is a number.")
        return int(word)
    return word


def _shown(parameter: inspect.Parameter, kind: Any) -> str:
    kind = _plain(kind)
    is_literal = typing.get_origin(kind) is Literal
    word = "|".join(typing.get_args(kind)) if is_literal else parameter.name
    if parameter.default is not inspect.Parameter.empty:
        return f"[{word}]"
    return word if is_literal else f"<{word}>"

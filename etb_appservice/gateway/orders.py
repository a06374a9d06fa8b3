"""A command of the API as it would be typed (docs/etb-contract.md 2.4): its text, with parameters put in."""

from collections.abc import Mapping, Sequence

from pydantic import JsonValue

from etb_appservice.flows.grammar import split_command
from etb_appservice.gateway.desk import Refusal

_PLACES: Mapping[str, tuple[str, ...]] = {
    "run": ("name",),
    "escalate": ("reason",),
    "assign": ("username",),
    "update": ("field", "value"),
}
"""Which parameters a command takes, in the order in which they are typed."""
_FIELD = "parameters"


def typed(text: str, parameters: Mapping[str, JsonValue], prefixes: Sequence[str]) -> str:
    """The line to run; "" for none. Raises Refusal where parameters don't fit the command, or say it twice.

    >>> typed("/assign", {"username": "bob"}, "!/"), typed("status", {}, "!/")
    ('/assign bob', '/status')
    """
    line = text.strip()
    if not line:
        if those_of(parameters):
            raise _no("Parameters need command_text, which says of what.")
        return ""
    if not line.startswith(tuple(prefixes)):
        line = f"{prefixes[-1]}{line}"
    given = those_of(parameters)
    split = split_command(line, prefixes)
    if not given or split is None:
        return line
    name, rest = split
    places = _PLACES.get(name, ())
    more = given.pop("parameters", {}) if name == "run" else {}
    if unknown := given.keys() - set(places):
        raise _no(f"{name} takes no {', '.join(sorted(unknown))[:80]}.")
    words = [_word(given[one], one) for one in places if one in given]
    if words and rest and not (name == "run" and rest in {"playbook", "runbook"}):
        raise _no("Say it in command_text or in parameters, not in both.")
    if name == "run" and words and not rest:
        words.insert(0, "playbook")
    if not isinstance(more, dict):
        raise _no("parameters.parameters is an object.")
    words += [f"{key}={_quoted(_word(value, key))}" for key, value in more.items()]
    return " ".join([line, *words])


def those_of(parameters: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """Without those that say nothing.

    >>> those_of({"name": "x", "parameters": {}})
    {'name': 'x'}
    """
    return {name: value for name, value in parameters.items() if value not in (None, "", {}, [])}


def _word(value: JsonValue, name: str) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise _no(f"{name[:80]} is a text or a number.")
    return " ".join(str(value).split())


def _quoted(word: str) -> str:
    return f'"{word}"' if " " in word and '"' not in word else word


def _no(detail: str) -> Refusal:
    return Refusal("validation_error", detail, field=_FIELD)

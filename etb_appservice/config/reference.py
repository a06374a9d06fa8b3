"""Writes `docs/reference/configuration.md` from the models, so that it can say nothing else than they do."""

import types
from collections.abc import Iterator
from enum import Enum
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from etb_appservice.config.environment import OWN_NAMES, PREFIX
from etb_appservice.config.sections.section import Section
from etb_appservice.config.settings import Settings
from etb_appservice.config.shape import section_in
from etb_appservice.config.values import Address
from etb_appservice.domain.classification import Classification

_HEAD = """\
# Configuration

Written from the code by `make docs`; change it there. A commented example is `config.example.yaml`.

Settings are a YAML file, `config.yaml` by default. Unknown keys, keys given twice, anchors and tags are errors,
and all errors are reported at once, each with its line. `etb-appservice check` says what is wrong.

A key that is secret may stand in a file of its own: `token_file: /run/secrets/etb_token` instead of `token`.
Exactly one of the two is given. Such a file should be readable by the service's user only; one that others can
write is refused. Relative paths start at the folder of the settings file.
"""


def configuration() -> str:
    """The whole page."""
    parts = [_HEAD, *(_section(name, info) for name, info in Settings.model_fields.items()), _environment()]
    return "\n".join(parts)


def key_paths(model: type[Section] = Settings, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every key there is; the keys of a mapping of sections stand below `*`."""
    for name, info in model.model_fields.items():
        here = (*above, name)
        inner = section_in(info.annotation)
        if inner is None:
            yield here
        else:
            yield from key_paths(inner, (*here, "*") if get_origin(info.annotation) is dict else here)


def _section(name: str, info: FieldInfo) -> str:
    model = section_in(info.annotation)
    if model is None:
        return ""
    lines = [f"## {name}\n", _prose(model.__doc__), "", "| key | value | default | meaning |", "|---|---|---|---|"]
    above = "<name>." if get_origin(info.annotation) is dict else ""
    for key, field in model.model_fields.items():
        inner = section_in(field.annotation)
        lines.append(
            f"| `{above}{key}` | {_kind(field)} | {_default(model, key, field)} | {_prose(field.description)} |"
        )
        if inner is not None:
            lines += [
                f"| `{key}.<level>.{deep}` | {_kind(below)} | | {_prose(below.description)} |"
                for deep, below in inner.model_fields.items()
            ]
    return "\n".join(lines) + "\n"


def _prose(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|")


def _default(model: type[Section], key: str, field: FieldInfo) -> str:
    if field.is_required():
        return "*required*"
    value = field.get_default(call_default_factory=True)
    if value is None or value == "" or (isinstance(value, (tuple, dict)) and not value):
        return "*built in*" if section_in(field.annotation) and model is not Settings and key == "rules" else ""
    return f"`{_spell(value)}`"


def _spell(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case Enum():
            return value.name
        case float() if value == int(value):
            return str(int(value))
        case dict():
            return "{" + ", ".join(f"{_spell(key)}: {_spell(item)}" for key, item in value.items()) + "}"
        case tuple():
            return "[" + ", ".join(_spell(item) for item in value) + "]"
        case _:
            return str(value)


_KINDS: dict[Any, str] = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "`true` or `false`",
    SecretStr: "secret",
    Address: "`host:port`",
}


def _kind(field: FieldInfo) -> str:
    return _words(field.annotation)


def _words(annotation: Any) -> str:
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _words(inner[0])
    if origin in {Union, types.UnionType}:
        return " or ".join(_words(kind) for kind in inner if kind is not type(None))
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in inner)
    if origin is tuple:
        return f"list of {_words(inner[0])}"
    if origin is dict:
        return f"mapping: {_words(inner[0])} to {'keys' if section_in(inner[1]) else _words(inner[1])}"
    if annotation is Classification:
        return "level"
    supertype = getattr(annotation, "__supertype__", None)
    if supertype is not None:
        return _words(supertype)
    return _KINDS.get(annotation, "file" if getattr(annotation, "__name__", "") == "Path" else "text")


_ENVIRONMENT = f"""\
## The environment

Each key can be set as `{PREFIX}SECTION__KEY`, such as `{PREFIX}ETB__POLL_INTERVAL_S=5`;
lists and mappings as JSON. The environment wins over the file. A variable that is set to nothing counts as not
set. Some keys have a name of their own as well, over which the long form wins:

| variable | key |
|---|---|
"""
_SEED = """
`MEDIA_ROOT` and `DEFAULT_FILE_STORAGE`, which an ETB deployment sets, are accepted and checked, and change nothing
today: files stay on the homeserver. `etb-appservice check` says so when they are set.
"""


def _environment() -> str:
    rows = "".join(f"| `{name}` | `{section}.{key}` |\n" for name, (section, key) in OWN_NAMES.items())
    return _ENVIRONMENT + rows + _SEED

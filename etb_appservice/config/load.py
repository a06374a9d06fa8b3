"""From a file and the environment to settings, with every mistake named at once.

    YAML ──> environment over it ──> secrets from files ──> models ──> Loaded
                                                              └──> ConfigError: one line for each mistake

Never prints, and never puts a value into an error text.
"""

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel, SecretStr, ValidationError

from etb_appservice.config.environment import Override, SeedVariables, overrides, seed_variables
from etb_appservice.config.guarded import Unguarded, check_mode, read_secret
from etb_appservice.config.sections.section import Section
from etb_appservice.config.settings import Settings
from etb_appservice.config.shape import model_at, sections
from etb_appservice.config.source import Path as KeyPath
from etb_appservice.config.source import Source, Unreadable, read_yaml, spell

_SECTIONS = frozenset(name for name, _ in sections(Settings))
_WORDS = {
    "missing": "is missing",
    "string_type": "must be text (put it in quotes)",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "dict_type": "must be a mapping (`key: value` lines)",
    "model_type": "must be a section with keys of its own",
    "model_attributes_type": "must be a section with keys of its own",
    "tuple_type": "must be a list (`- item` lines)",
    "path_type": "must be the path of a file",
}


class ConfigError(Exception):
    """The settings can't be used; `problems` says what is wrong, where, and what to do."""

    def __init__(self, where: str, problems: list[str]) -> None:
        super().__init__(f"{where}: " + "; ".join(problems))
        self.where = where
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings that hold together; `warnings` are for the operator; `seed` are ETB's own variables."""

    settings: Settings
    warnings: tuple[str, ...] = ()
    seed: SeedVariables = field(default_factory=SeedVariables)


def load(path: Path, environ: Mapping[str, str]) -> Loaded:
    """Read the settings. Raises ConfigError with all that is wrong; relative paths start at the file's folder."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            str(path), [f"can't be read: {error.strerror}; `etb-appservice init` makes one"]
        ) from None
    try:
        source = read_yaml(raw)
    except Unreadable as error:
        raise ConfigError(str(path), error.problems) from None
    return _assemble(source, path, environ)


def _assemble(source: Source, path: Path, environ: Mapping[str, str]) -> Loaded:
    given, problems = overrides(environ)
    seed, seed_problems = seed_variables(environ)
    problems += seed_problems
    if _holds_secrets(source.data):
        problems += _mode_of_settings(path, environ)
    # A section whose keys are all commented out reads as null; it has its defaults.
    data = {name: part for name, part in source.data.items() if part is not None or name not in _SECTIONS}
    origins: dict[KeyPath, str] = {}
    for override in given:
        problems += _lay_over(data, override, origins)
    where = _Where(source.lines, origins)
    unread = _read_secrets(data, path.parent, where, problems, environ)
    _anchor_sqlite(data, path.parent)
    settings = None
    try:
        settings = Settings.model_validate(data)
    except ValidationError as error:
        found = error.errors()
        longer = {item["loc"][:end] for item in found for end in range(len(item["loc"]))}
        # A list with a wrong item is also "too short" in pydantic's eyes: the item says it all.
        deepest = [item for item in found if item["loc"] not in longer]
        problems += [text for item in deepest if (text := _explain(dict(item), where, unread))]
    if problems or settings is None:
        raise ConfigError(str(path), problems)
    warnings: list[str] = []
    if not settings.control_room.operators:
        warnings.append("control_room.operators is empty: nobody hears of parked work or unmapped people")
    if not settings.etb.verify_tls:
        warnings.append("etb.verify_tls is false: anyone between here and ETB can read its token")
    return Loaded(settings, tuple(warnings), seed)


# --- where something was written --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Where:
    lines: Mapping[KeyPath, int]
    origins: Mapping[KeyPath, str]

    def says(self, path: KeyPath) -> str:
        """The nearest place that was written: an environment variable, or a line of the file."""
        for length in range(len(path), 0, -1):
            if name := self.origins.get(path[:length]):
                return f"environment variable {name}: "
            if line := self.lines.get(path[:length]):
                return f"line {line}: "
        return ""


def _explain(item: dict[str, Any], where: _Where, unread: set[KeyPath]) -> str:
    path: KeyPath = tuple(part for part in item["loc"] if part != "[key]")
    if path in unread:
        return ""
    place = where.says(path)
    if item["type"] == "extra_forbidden":
        model = model_at(path[:-1])
        near = difflib.get_close_matches(str(path[-1]), model.model_fields if model else (), n=1)
        hint = f"; did you mean {spell((*path[:-1], near[0]))}?" if near else ""
        return f"{place}unknown key {spell(path)}{hint}"
    words = _WORDS.get(item["type"]) or str(item["msg"]).removeprefix("Value error, ")
    words = re.sub("^(Input|String|Tuple) should", "should", words)
    if item["type"] == "missing" and (model := model_at(path[:-1])) and str(path[-1]) in model.secret_keys:
        words = f"is missing; give it, or the file that holds it as {path[-1]}_file"
    gap = " " if words.startswith(("is ", "must ", "may ", "should ")) else ": "
    return f"{place}{spell(path)}{gap if path else ''}{words}"


# --- the environment over the file ------------------------------------------------------------------------


def _lay_over(data: dict[str, Any], override: Override, origins: dict[KeyPath, str]) -> list[str]:
    *parents, last = override.path
    inner = data
    for part in parents:
        inner = inner.setdefault(part, {})
        if not isinstance(inner, dict):
            return [f"environment variable {override.name}: {part} is not a section in the file"]
    inner[last] = override.value
    origins[override.path] = override.name
    # A value from the environment replaces the file's own, however that was given.
    other = last.removesuffix("_file") if last.endswith("_file") else f"{last}_file"
    model = model_at(tuple(parents))
    if model and {last, other} & set(model.secret_keys) and (*parents, other) not in origins:
        inner.pop(other, None)
    return []


# --- secrets from files -----------------------------------------------------------------------------------


def _holds_secrets(data: Mapping[str, Any]) -> bool:
    """Whether the file itself holds a secret. The address of a database is one only with a password in it."""
    held = [
        part[key]
        for name, part, model in _secret_sections(data)
        for key in model.secret_keys
        if part.get(key) is not None and (name != "database" or _has_password(part[key]))
    ]
    webhook = data.get("webhook")
    return bool(held) or (isinstance(webhook, dict) and bool(webhook.get("secrets")))


def _has_password(url: Any) -> bool:
    if not isinstance(url, str) or url.startswith("sqlite:"):
        return False
    try:
        parts = urlsplit(url)
    except ValueError:
        return True
    return parts.password is not None or "password" in parts.query


def _mode_of_settings(path: Path, environ: Mapping[str, str]) -> list[str]:
    try:
        check_mode(path, path.stat().st_mode, environ)
    except Unguarded as problem:
        return [f"{problem}, or give every secret in it as a `*_file` of its own"]
    return []


def _secret_sections(data: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any], type[Section]]]:
    for name, model in sections(Settings):
        part = data.get(name)
        if isinstance(part, dict):
            yield name, part, model


def _read_secrets(
    data: dict[str, Any], folder: Path, where: _Where, problems: list[str], environ: Mapping[str, str]
) -> set[KeyPath]:
    """Put the contents of `*_file` beside them; answers the keys that could not be read, already complained of."""
    unread: set[KeyPath] = set()
    for name, part, model in _secret_sections(data):
        for key in model.secret_keys:
            file = part.get(f"{key}_file")
            if file is None:
                continue
            here = (name, f"{key}_file")
            if key in part:
                problems.append(f"{where.says(here)}give {name}.{key} or {spell(here)}, not both")
                unread.add((name, key))
                continue
            text = _read_secret(file, folder, here, where, problems, environ)
            unread |= {(name, key)} if text is None else set()
            if text is not None:
                part[key] = text
    webhook = data.get("webhook")
    if isinstance(webhook, dict) and isinstance(webhook.get("secret_files"), list):
        found = [
            _read_secret(file, folder, ("webhook", "secret_files", index), where, problems, environ)
            for index, file in enumerate(webhook["secret_files"])
        ]
        own = webhook.get("secrets") or []
        if isinstance(own, list):
            webhook["secrets"] = [*own, *(text for text in found if text is not None)]
        unread |= {("webhook",)} if None in found else set()
    return unread


def _read_secret(
    file: Any, folder: Path, here: KeyPath, where: _Where, problems: list[str], environ: Mapping[str, str]
) -> str | None:
    place = f"{where.says(here)}{spell(here)}"
    if not isinstance(file, str) or not file or "\0" in file:
        problems.append(f"{place} must be the path of a file")
        return None
    try:
        return read_secret(folder / file, environ)
    except Unguarded as problem:
        problems.append(f"{place}: {problem}")
        return None


def _anchor_sqlite(data: dict[str, Any], folder: Path) -> None:
    """`sqlite:///etb.db` means the file beside the settings, wherever the service is started from."""
    database = data.get("database")
    if not isinstance(database, dict):
        return
    for key in ("url", "crypto_url"):
        url = database.get(key)
        if isinstance(url, str) and url.startswith("sqlite:///") and urlsplit(url).path.strip("/"):
            path = url.removeprefix("sqlite:///")
            if ":memory:" not in path:
                database[key] = f"sqlite:///{(folder / path).absolute()}"


def secrets_of(settings: BaseModel) -> list[str]:
    """Every secret value of these settings, for the net that keeps them out of the logs."""
    found: list[str] = []
    for value in vars(settings).values():
        for item in value if isinstance(value, tuple) else (value,):
            if isinstance(item, SecretStr):
                found.append(item.get_secret_value())
            elif isinstance(item, BaseModel):
                found += secrets_of(item)
    return found

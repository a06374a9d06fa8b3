"""Reads a YAML file into plain data, with the line of every key. Refuses what could mean two things or grow.

No error text may repeat a value of the file: any of them could be a secret.
"""

import re
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent
from ruamel.yaml.nodes import MappingNode, Node, SequenceNode

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 16
Path = tuple[str | int, ...]


class Unreadable(Exception):
    """The text is not usable YAML; `problems` are whole sentences, each with its line."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Source:
    """Plain data and the line (from 1) on which each key or item stands."""

    data: dict[str, Any] = field(default_factory=dict)
    lines: dict[Path, int] = field(default_factory=dict)


def read_yaml(raw: bytes) -> Source:
    """Data and lines of one YAML document whose top is a mapping. Raises Unreadable."""
    if len(raw) > MAX_BYTES:
        raise Unreadable([f"the file is larger than {MAX_BYTES} bytes"])
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Unreadable([f"the file is not UTF-8 at byte {error.start}"]) from None
    try:
        return _read(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        # A scanner's problem may quote a piece of the file; short quotes are punctuation, long ones may be values.
        words = re.sub(r"(['\"]).{3,}\1", "something", str(error.problem or "this is not YAML"))
        raise Unreadable([f"{where}{words}"]) from None
    except (YAMLError, ValueError):
        raise Unreadable(["the file holds a character or a value that YAML forbids"]) from None


def _read(text: str) -> Source:
    problems: list[str] = []
    depth = 0
    for event in YAML(typ="safe", pure=True).parse(text):
        line = event.start_mark.line + 1 if event.start_mark else 0
        depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise Unreadable([f"line {line}: the file is nested too deeply"])
        if isinstance(event, AliasEvent) or getattr(event, "anchor", None):
            problems.append(f"line {line}: & and * have no use here; put such a value in quotes")
        elif getattr(event, "tag", None):
            problems.append(f"line {line}: ! has no use here; put such a value in quotes")
    if problems:
        raise Unreadable(problems)
    root = YAML(typ="safe", pure=True).compose(text)
    if root is None:
        return Source()
    if not isinstance(root, MappingNode):
        raise Unreadable([f"line {root.start_mark.line + 1}: the file must consist of sections, `name:` each"])
    lines: dict[Path, int] = {}
    _walk(root, (), lines, problems)
    if problems:
        raise Unreadable(problems)
    data = YAML(typ="safe", pure=True).load(text)
    return Source(_plain(data), lines)


def _walk(node: Node, path: Path, lines: dict[Path, int], problems: list[str]) -> None:
    if isinstance(node, MappingNode):
        for key, value in node.value:
            here = (*path, str(key.value))
            line = key.start_mark.line + 1
            if not isinstance(key.value, str):
                problems.append(f"line {line}: a key must be a word")
            elif here in lines:
                problems.append(f"line {line}: {spell(here)} is given twice, first on line {lines[here]}")
            else:
                lines[here] = line
            _walk(value, here, lines, problems)
    elif isinstance(node, SequenceNode):
        for index, item in enumerate(node.value):
            lines[*path, index] = item.start_mark.line + 1
            _walk(item, (*path, index), lines, problems)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value


def spell(path: Path) -> str:
    """A path as a person writes it: `people.entries`, `webhook.secrets[1]` (counted from 1)."""
    text = ""
    for part in path:
        text += f"[{part + 1}]" if isinstance(part, int) else f".{part}" if text else part
    return text

"""Where a secret of the settings stands, and how another one is put there. Never shows a value.

an environment variable ──> can't be written from here: NotHere says what to do
a file of its own ────────> the file, replaced as a whole
config.yaml ──────────────> its one place in the text; comments, order and quotes stay as they are
"""

import json
import os
import secrets
import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from etb_appservice.config.environment import overrides
from etb_appservice.config.registration import registration
from etb_appservice.config.settings import Settings
from etb_appservice.config.source import Path as KeyPath
from etb_appservice.config.source import Unreadable, read_yaml, spell

_PRIVATE = 0o600
CHOSEN = 0o644
"""The most that a file may allow that the operator names: what is handed to a container must be readable there."""
_GROUP_MAY_READ = 0o640
"""The most that a registration may allow: the homeserver's own group, if it is set up so."""
WEBHOOK: KeyPath = ("webhook", "secrets")


class NotHere(Exception):
    """A secret can't be written where it stands; the message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Place:
    """A file, and the key in it whose value is the secret; no key where the file holds nothing else."""

    file: Path
    key: KeyPath = ()
    most: int = _PRIVATE
    """The most that its mode may allow; what it allows now is kept within that."""

    def said(self) -> str:
        """For people."""
        return f"{spell(self.key)} in {self.file}" if self.key else str(self.file)


def place_of(config: Path, environ: Mapping[str, str], key: KeyPath) -> Place:
    """Where the value of a key such as `("appservice", "hs_token")` stands. Raises NotHere and Unreadable."""
    section, name = str(key[0]), str(key[1])
    for override in overrides(environ)[0]:
        if override.path in {(section, name), (section, f"{name}_file"), (section, "secret_files")}:
            raise NotHere(
                f"{spell(key)} is set by the environment variable {override.name}, which can't be changed from "
                f"here. Put it into a file and name that as {section}.{name}_file; or repeat this with --to FILE, "
                "set the variable to what is in FILE then, and restart the service before the overlap ends."
            )
    part = read_yaml(config.read_bytes()).data.get(section)
    part = part if isinstance(part, dict) else {}
    if key == WEBHOOK:
        return _webhook(config, part)
    if isinstance(file := part.get(f"{name}_file"), str):
        return Place(config.parent / file)
    return Place(config, key)


def _webhook(config: Path, part: Mapping[str, object]) -> Place:
    inline, files = part.get("secrets") or [], part.get("secret_files") or []
    if not isinstance(inline, list) or not isinstance(files, list) or len(inline) + len(files) != 1:
        raise NotHere(
            "webhook.secrets and webhook.secret_files must hold one secret to be rotated: leave the one that ETB "
            "signs with. The former one is kept by this command, for the overlap"
        )
    return Place(config.parent / str(files[0])) if files else Place(config, (*WEBHOOK, 0))


@dataclass(frozen=True, slots=True)
class Draft:
    """A file as it shall become, written and durable beside it."""

    path: Path
    draft: Path

    def put(self) -> None:
        """Take the file's place, at once and as a whole. Raises OSError."""
        self.draft.replace(self.path)
        _sync(self.path.parent)

    def drop(self) -> None:
        """Leave nothing behind; does nothing once it was put."""
        with suppress(OSError):
            self.draft.unlink(missing_ok=True)


def draft_of(place: Place, value: str) -> Draft:
    """The file of a place with another value in it, for its owner alone. Raises NotHere and OSError."""
    text = with_value(place.file.read_text(encoding="utf-8"), place.key, value) if place.key else value + "\n"
    return draft(place.file, text, most=place.most)


def draft_of_registration(path: Path, settings: Settings, changed: Mapping[str, str]) -> Draft:
    """The registration with other tokens in it, or a new one where there is none. Raises NotHere and OSError."""
    if not path.exists():
        whole = {**registration(settings), **changed}
        lines = [f"{key}: {json.dumps(value)}" for key, value in whole.items()]
        return draft(path, "\n".join(lines) + "\n")
    text = path.read_text(encoding="utf-8")
    try:
        found = read_yaml(text.encode()).data.get("id")
    except Unreadable as error:
        raise NotHere(f"{path} can't be read as a registration: {error}") from None
    if found != settings.appservice.id:
        raise NotHere(
            f"{path} is not the registration of {settings.appservice.id!r}; name the right one with --registration"
        )
    for key, value in changed.items():
        text = with_value(text, (key,), value)
    return draft(path, text, most=_GROUP_MAY_READ)


def draft(path: Path, text: str, *, most: int = _PRIVATE) -> Draft:
    """Write a file's new text beside it, with its owner and at most these rights. Raises OSError."""
    path = path.resolve()
    mode, owner = _PRIVATE, None
    with suppress(FileNotFoundError):
        found = path.stat()
        mode, owner = _PRIVATE | (stat.S_IMODE(found.st_mode) & most), (found.st_uid, found.st_gid)
    beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, _PRIVATE)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            if owner is not None and owner != (os.geteuid(), os.getegid()):
                # Only root may give a file away; anybody else keeps what they write.
                with suppress(PermissionError):
                    os.fchown(file.fileno(), *owner)
            os.fchmod(file.fileno(), mode)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    return Draft(path, beside)


def with_value(text: str, key: KeyPath, value: str) -> str:
    """YAML with one scalar replaced and nothing else touched. Raises NotHere when there is none at that place."""
    node = _node(YAML(typ="safe", pure=True).compose(text), key)
    if node is None or node.style in {"|", ">"}:
        raise NotHere(f"{spell(key)} doesn't stand there as one plain value; write it in one line, in quotes")
    changed = text[: node.start_mark.index] + json.dumps(value) + text[node.end_mark.index :]
    before, after = read_yaml(text.encode()).data, read_yaml(changed.encode()).data
    if _set(before, key, value) != after:
        raise NotHere(f"{spell(key)} can't be replaced in this file without changing more; do it by hand")
    return changed


def _node(root: Node | None, key: KeyPath) -> ScalarNode | None:
    here = root
    for part in key:
        match here:
            case MappingNode():
                here = next((value for name, value in here.value if name.value == part), None)
            case SequenceNode() if isinstance(part, int) and part < len(here.value):
                here = here.value[part]
            case _:
                return None
    return here if isinstance(here, ScalarNode) else None


def _set(data: dict[str, object], key: KeyPath, value: str) -> dict[str, object]:
    inner: object = data
    for part in key[:-1]:
        inner = inner[part]  # type: ignore[index]
    inner[key[-1]] = value  # type: ignore[index]
    return data


def _sync(folder: Path) -> None:
    """Make a rename durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

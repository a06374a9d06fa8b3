"""Writes the first settings of an installation, with fresh secrets. Never overwrites, never shows a secret."""

import base64
import json
import os
import secrets
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from etb_appservice.config.load import ConfigError, load
from etb_appservice.config.registration import registration

CONFIG, REGISTRATION, TOKEN = "config.yaml", "registration.yaml", "etb-token"
_PRIVATE = 0o600


class AlreadyThere(Exception):
    """A file that would be written exists."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What only the operator knows. Empty leaves a key out, so that its default holds."""

    homeserver: str
    domain: str
    etb_url: str
    etb_token_file: str = ""
    etb_token: str = field(default="", repr=False)
    """Instead of a file that is there already: written to one beside the settings."""
    appservice_url: str = ""
    listen: str = ""
    public_listen: str = ""
    database: str = "sqlite:///etb.db"
    operators: tuple[str, ...] = ()
    people_template: str = ""
    poll_interval_s: float | None = None
    web_url: str = ""
    room_version: str = ""
    classification: str = "INTERNAL"
    webhook: bool = False


def write(folder: Path, answers: Answers) -> tuple[Path, Path]:
    """Write the files, readable by their owner only; answers where settings and registration are.

    Raises AlreadyThere when one exists, ConfigError when an answer can't be right (nothing is left behind then),
    and OSError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config, registered, token = folder / CONFIG, folder / REGISTRATION, folder / TOKEN
    if answers.etb_token and (token.exists() or token.is_symlink()):
        raise AlreadyThere(f"{token} exists; name it with --etb-token-file, or take it away first")
    for path in (config, registered):
        if path.exists() or path.is_symlink():
            raise AlreadyThere(
                f"{path} exists; it holds secrets that can't be made again, so it isn't overwritten"
            )
    wanted = [token, config, registered] if answers.etb_token else [config, registered]
    drafts = {path: folder / f".{path.name}.{secrets.token_hex(8)}" for path in wanted}
    try:
        if answers.etb_token:
            _put(drafts[token], answers.etb_token + "\n")
            answers = replace(answers, etb_token_file=drafts[token].name)
        text = config_yaml(answers)
        _put(drafts[config], text)
        try:
            settings = load(drafts[config], {}).settings
        except ConfigError as error:
            # Line numbers of a draft that is gone would lead nowhere.
            raise ConfigError("these answers", [p.partition(": ")[2] or p for p in error.problems]) from None
        if answers.etb_token:
            drafts[config].unlink()
            _put(drafts[config], text.replace(json.dumps(drafts[token].name), json.dumps(TOKEN)))
        _put(drafts[registered], _REGISTRATION_HEAD + _yaml(registration(settings)))
        for path, draft in drafts.items():
            try:
                os.link(draft, path)
            except FileExistsError:
                raise AlreadyThere(f"{path} exists; it isn't overwritten") from None
    finally:
        for draft in drafts.values():
            draft.unlink(missing_ok=True)
    return config, registered


def _put(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, _PRIVATE)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


_CONFIG_HEAD = """\
# Settings of etb-appservice, written by `etb-appservice init`. What isn't here has its default: see
# config.example.yaml and docs/reference/configuration.md. This file holds secrets; keep a copy of encryption.key
# in a safe place, for without it nothing that is stored can be read again.

"""
_REGISTRATION_HEAD = """\
# What the homeserver must know of etb-appservice. Add its path to app_service_config_files in Synapse's
# homeserver.yaml, make it readable by Synapse, and restart Synapse.

"""


def config_yaml(answers: Answers) -> str:
    """The text of config.yaml, with fresh tokens and a fresh key."""
    listen = answers.listen or "127.0.0.1:29333"
    host, _, port = listen.rpartition(":")
    reached = "127.0.0.1" if host in {"0.0.0.0", "[::]"} else host  # noqa: S104 - only compared
    sections: dict[str, dict[str, Any]] = {
        "homeserver": {"url": answers.homeserver, "domain": answers.domain},
        "appservice": {
            "url": answers.appservice_url or f"http://{reached}:{port}",
            "listen": listen,
            "as_token": new_token(),
            "hs_token": new_token(),
        },
        "database": {"url": answers.database},
        "encryption": {"key": new_key()},
        "etb": {
            "base_url": answers.etb_url,
            "token_file": answers.etb_token_file,
            "poll_interval_s": answers.poll_interval_s,
            "web_url": answers.web_url,
        },
        "webhook": {"enabled": True, "secrets": [new_webhook_secret()]} if answers.webhook else {},
        "gateway": {"listen": answers.public_listen},
        "rooms": {"version": answers.room_version},
        "people": {"template": answers.people_template},
        "control_room": {"operators": list(answers.operators)},
        "classification": {"default": answers.classification},
    }
    given = {
        name: {key: value for key, value in section.items() if value not in (None, "", [])}
        for name, section in sections.items()
    }
    return _CONFIG_HEAD + _yaml({name: section for name, section in given.items() if section})


def new_token() -> str:
    """A token between the homeserver and this service."""
    return secrets.token_hex(32)


def new_key() -> str:
    """A CHAT_ENCRYPTION_KEY."""
    return base64.b64encode(secrets.token_bytes(32)).decode()


def new_webhook_secret() -> str:
    """A secret by Standard Webhooks."""
    return "whsec_" + new_key()


def _yaml(data: dict[str, Any]) -> str:
    """Block mappings for people, JSON (which is YAML) for what stands in them."""
    lines: list[str] = []
    for name, value in data.items():
        if isinstance(value, dict):
            lines += [f"{name}:", *(f"  {key}: {json.dumps(item)}" for key, item in value.items())]
        else:
            lines.append(f"{name}: {json.dumps(value)}")
    return "\n".join(lines) + "\n"

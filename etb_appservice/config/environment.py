"""What the environment says: `ETB_APPSERVICE__SECTION__KEY`, and the names that ETB itself uses.

A variable that is set to nothing counts as not set. No error text may repeat a value.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from etb_appservice.config.shape import field_at, is_many
from etb_appservice.config.source import Unreadable, read_yaml

PREFIX = "ETB_APPSERVICE__"
OWN_NAMES: Mapping[str, tuple[str, str]] = {
    "CHAT_ENCRYPTION_KEY": ("encryption", "key"),
    "CHAT_AUDIT_LOG_LEVEL": ("ops", "audit_log_level"),
    "CHANNEL_LAYERS_REDIS_URL": ("sockets", "redis_url"),
    "ETB_BASE_URL": ("etb", "base_url"),
    "ETB_TOKEN": ("etb", "token"),
    "ETB_TOKEN_FILE": ("etb", "token_file"),
    "ETB_AUTH_SCHEME": ("etb", "auth_scheme"),
    "ETB_TIMEOUT_S": ("etb", "timeout_s"),
    "ETB_VERIFY_TLS": ("etb", "verify_tls"),
    "ETB_PATHS": ("etb", "paths"),
    "ETB_ENUM_MAP": ("etb", "enums"),
    "ETB_POLL_INTERVAL_S": ("etb", "poll_interval_s"),
}
"""Variables with names of their own, and the key that each one sets."""
_MOST_VARIABLES = 500


@dataclass(frozen=True, slots=True)
class Override:
    """One key from the environment."""

    name: str
    path: tuple[str, ...]
    value: Any


@dataclass(frozen=True, slots=True)
class SeedVariables:
    """ETB's deployment variables for things that this version doesn't do; empty where not set."""

    media_root: str = ""
    default_file_storage: str = ""

    def notes(self) -> tuple[str, ...]:
        """One plain sentence for each that is set."""
        said = {
            "MEDIA_ROOT": (self.media_root, "accepted; files stay on the homeserver, nothing is stored there"),
            "DEFAULT_FILE_STORAGE": (
                self.default_file_storage,
                "accepted; files stay on the homeserver, no storage class is loaded",
            ),
        }
        return tuple(f"{name}: {words}" for name, (value, words) in said.items() if value)


def overrides(environ: Mapping[str, str]) -> tuple[list[Override], list[str]]:
    """Keys from the environment, those that win last, and what is wrong with them."""
    found: list[Override] = []
    problems: list[str] = []
    own = [(name, path) for name, path in OWN_NAMES.items() if environ.get(name)]
    prefixed = [
        (name, tuple(part.lower() for part in name.removeprefix(PREFIX).split("__")))
        for name in sorted(environ)
        if name.startswith(PREFIX) and environ[name]
    ]
    for name, path in (own + prefixed)[:_MOST_VARIABLES]:
        try:
            found.append(Override(name, path, _value(environ[name], path)))
        except Unreadable:
            problems.append(f"environment variable {name}: must hold a list or a mapping as JSON or YAML")
    return found, problems


def _value(text: str, path: tuple[str, ...]) -> Any:
    info = field_at(path)
    if info is None or not is_many(info):
        return text
    return read_yaml(b"value: " + text.encode("utf-8", "surrogateescape")).data["value"]


def seed_variables(environ: Mapping[str, str]) -> tuple[SeedVariables, list[str]]:
    """ETB's deployment variables, checked, and what is wrong with them."""
    seed = SeedVariables(
        media_root=environ.get("MEDIA_ROOT", ""),
        default_file_storage=environ.get("DEFAULT_FILE_STORAGE", ""),
    )
    problems = []
    if seed.media_root and not seed.media_root.startswith("/"):
        problems.append("environment variable MEDIA_ROOT: must be an absolute path")
    if seed.default_file_storage and not all(p.isidentifier() for p in seed.default_file_storage.split(".")):
        problems.append("environment variable DEFAULT_FILE_STORAGE: must be a dotted Python name")
    return seed, problems

import base64
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

import etb_appservice.commands
from etb_appservice.config import load, registration
from etb_appservice.config.reference import configuration, key_paths
from etb_appservice.config.source import read_yaml
from etb_appservice.flows.commands import find
from etb_appservice.flows.reference import page as commands_page
from etb_appservice.flows.reference import with_tables
from etb_appservice.ops.reference import metrics

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "config.example.yaml"
LEVELS = {"PUBLIC", "INTERNAL", "CONFIDENTIAL", "RESTRICTED", "TOP_SECRET"}


def uncommented() -> str:
    """The example with every key switched on: a `#` directly before a word or an item is a key, `# ` is prose."""
    text = EXAMPLE.read_text(encoding="utf-8")
    return re.sub(r"^( *)#(?=[a-z]|  [A-Z_]+: )", r"\1", text, flags=re.MULTILINE)


def paths(data: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    known = {path[: len(above) + 1] for path in key_paths() if len(path) > len(above) + 1}
    for key, value in data.items():
        here = (*above, "*" if above in {("rooms", "rules"), ("partners",)} else key)
        if here in known and isinstance(value, dict):
            yield from paths(value, here)
        else:
            yield here


def with_key(text: str) -> str:
    return text.replace("key: CHANGE-ME\n", f"key: {base64.b64encode(bytes(32)).decode()}\n")


def test_the_program_accepts_the_example(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(with_key(EXAMPLE.read_text(encoding="utf-8")))
    path.chmod(0o600)
    assert load(path, {}).settings.bot_id == "@etb:example.org"


def test_the_example_can_not_be_run_without_a_key_of_ones_own() -> None:
    with pytest.raises(Exception, match=r"encryption\.key"):
        load(EXAMPLE, {})


def test_the_program_accepts_every_key_of_the_example(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    # Of a secret and its file only one may be given; files that would have to exist stay out.
    text = re.sub(r"^ *[a-z_]+_files?: .*\n", "", with_key(uncommented()), flags=re.MULTILINE)
    path.write_text(text.replace("crypto_url: sqlite:///etb-crypto.db", "crypto_url: sqlite:///other.db"))
    path.chmod(0o600)
    loaded = load(path, {})
    assert loaded.settings.people.entries == {"alice": "@alice.smith:example.org"}
    assert {level.name for level in loaded.settings.rooms.rules} == LEVELS


def test_every_key_is_in_the_example_and_nothing_else_is() -> None:
    found = set(paths(read_yaml(uncommented().encode()).data))
    assert found == set(key_paths())


def test_defaults_in_the_example_are_the_defaults(tmp_path: Path) -> None:
    plain, full = tmp_path / "plain.yaml", tmp_path / "full.yaml"
    plain.write_text(with_key(EXAMPLE.read_text(encoding="utf-8")))
    full.write_text(re.sub(r"^ *[a-z_]+_files?: .*\n", "", with_key(uncommented()), flags=re.MULTILINE))
    for path in (plain, full):
        path.chmod(0o600)
    examples = {
        ("homeserver", "admin_user"), ("homeserver", "admin_token"),
        ("database", "crypto_url"), ("etb", "web_url"), ("etb", "paths"), ("etb", "enums"), ("webhook", "secrets"),
        ("gateway", "public_url"), ("gateway", "origins"), ("gateway", "trusted_proxies"),
        ("sockets", "redis_url"),
        ("rooms", "additional_creators"), ("rooms", "rules"), ("people", "template"), ("people", "entries"),
        ("control_room", "operators"), ("classification", "by_severity"), ("roles", "meaning"),
        ("roles", "by_category"), ("approvals", "commands"), ("approvals", "runbooks"),
        ("roles", "by_category"), ("announcements", "members"), ("partners", "cert"), ("rooms", "servers"),
        ("break_glass", "first"), ("break_glass", "second"),
    }  # fmt: skip
    shown, default = load(full, {}).settings.model_dump(), load(plain, {}).settings.model_dump()
    different = {
        (section, key)
        for section in shown
        for key in shown[section]
        if shown[section][key] != default[section].get(key)
    }
    assert different == examples
    assert load(full, {}).settings.rooms.rule_table() == load(plain, {}).settings.rooms.rule_table()


def test_the_example_of_a_registration_is_the_one_of_the_example(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(with_key(EXAMPLE.read_text(encoding="utf-8")))
    path.chmod(0o600)
    example = YAML(typ="safe", pure=True).load((ROOT / "registration.yaml.example").read_text(encoding="utf-8"))
    assert example == registration(load(path, {}).settings)


def test_synapse_accepts_the_registration(tmp_path: Path) -> None:
    from synapse.config.appservice import load_appservices  # noqa: PLC0415 - imports Twisted

    (service,) = load_appservices("example.org", [str(ROOT / "registration.yaml.example")])
    assert service.sender.to_string() == "@_etb:example.org"
    assert service.is_exclusive_user("@etb:example.org")
    assert service.is_exclusive_user("@_etb_alice:example.org")
    assert service.is_exclusive_alias("#_etb_1:example.org")
    assert not service.is_interested_in_user("@etbx:example.org")
    assert service.msc4190_device_management
    assert service.supports_ephemeral


def commands() -> str:
    return commands_page(find(etb_appservice.commands))


@pytest.mark.parametrize(
    ("page", "made"), [("configuration.md", configuration), ("metrics.md", metrics), ("commands.md", commands)]
)
def test_the_reference_says_what_the_code_says(page: str, made: Any) -> None:
    written = (ROOT / "docs" / "reference" / page).read_text(encoding="utf-8")
    assert written == made(), "run `make docs`"


def test_the_readme_lists_the_commands_that_there_are() -> None:
    written = (ROOT / "README.md").read_text(encoding="utf-8")
    assert written == with_tables(written, find(etb_appservice.commands)), "run `make docs`"
    for place in ("incident", "direct", "control"):
        assert f"<!-- commands: {place} -->" in written


def test_every_key_stands_in_the_reference_with_a_meaning() -> None:
    for line in configuration().splitlines():
        if line.startswith("| `") and line.count("|") == 5:
            assert line.rstrip(" |").endswith((".", ")")), line

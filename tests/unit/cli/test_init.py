import stat
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from ruamel.yaml import YAML

from etb_appservice.cli import main
from etb_appservice.config import load, registration


@pytest.fixture
def token(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text("0123456789abcdef\n")
    path.chmod(0o600)
    return path


def init(folder: Path, token: Path, *more: str) -> Result:
    given = {
        "--directory": str(folder),
        "--homeserver": "http://127.0.0.1:8008",
        "--domain": "example.org",
        "--etb-url": "https://etb.example.org",
        "--etb-token-file": str(token),
    }
    return CliRunner().invoke(main, ["init", *(word for pair in given.items() for word in pair), *more])


def test_init_writes_settings_and_a_registration_that_fit_together(tmp_path: Path, token: Path) -> None:
    done = init(
        tmp_path / "new", token, "--listen", "0.0.0.0:29000", "--public-listen", "127.0.0.1:0", "--operator",
        "@op:example.org", "--operator", "@two:example.org", "--people-template", "@{username}:example.org",
        "--poll-interval", "0.5", "--database", "postgresql://u:p@db/etb", "--room-version", "11", "--webhook",
        "--web-url", "https://etb.example.org/i/{id}", "--classification", "RESTRICTED",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    loaded = load(tmp_path / "new" / "config.yaml", {})
    settings = loaded.settings
    assert loaded.warnings == ()
    assert settings.etb.token.get_secret_value() == "0123456789abcdef"
    assert settings.appservice.url == "http://127.0.0.1:29000"
    assert str(settings.appservice.listen) == "0.0.0.0:29000"
    assert settings.control_room.operators == ("@op:example.org", "@two:example.org")
    assert (settings.etb.poll_interval_s, settings.rooms.version, len(settings.webhook.secrets)) == (0.5, "11", 1)
    assert settings.classification.default.name == "RESTRICTED"
    written = YAML(typ="safe", pure=True).load((tmp_path / "new" / "registration.yaml").read_text())
    assert written == registration(settings)


def test_files_are_private_and_nothing_else_is_left(tmp_path: Path, token: Path) -> None:
    init(tmp_path / "new", token)
    found = sorted((tmp_path / "new").iterdir())
    assert [path.name for path in found] == ["config.yaml", "registration.yaml"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in found} == {0o600}


def test_secrets_are_fresh_each_time_and_never_shown(tmp_path: Path, token: Path) -> None:
    outputs = [init(tmp_path / name, token).output for name in ("a", "b")]
    one, two = (load(tmp_path / name / "config.yaml", {}).settings for name in ("a", "b"))
    for settings in (one, two):
        assert settings.appservice.as_token.get_secret_value() not in "".join(outputs)
        assert settings.encryption.key.get_secret_value() not in "".join(outputs)
    assert one.appservice.as_token != two.appservice.as_token
    assert one.encryption.key != two.encryption.key


@pytest.mark.parametrize("name", ["config.yaml", "registration.yaml"])
def test_init_refuses_to_overwrite_either_file(tmp_path: Path, token: Path, name: str) -> None:
    folder = tmp_path / "new"
    folder.mkdir()
    (folder / name).write_text("mine")
    done = init(folder, token)
    assert done.exit_code == 2
    assert f"{name} exists" in done.output
    assert [path.name for path in folder.iterdir()] == [name]
    assert (folder / name).read_text() == "mine"


def test_a_wrong_answer_is_named_and_leaves_nothing_behind(tmp_path: Path, token: Path) -> None:
    done = init(tmp_path / "new", token, "--operator", "nobody", "--listen", "here")
    assert done.exit_code == 2
    assert "control_room.operators[1] must be a Matrix user id" in done.output
    assert "appservice.listen must be an address" in done.output
    assert "Traceback" not in done.output
    assert list((tmp_path / "new").iterdir()) == []


def answering(folder: Path, monkeypatch: pytest.MonkeyPatch, *answers: str) -> Result:
    """`init` at a terminal, at which these lines are typed."""
    monkeypatch.setattr("etb_appservice.cli.at_terminal", lambda: True)
    return CliRunner().invoke(main, ["init", "--directory", str(folder)], input="\n".join(answers) + "\n")


def test_a_mistyped_answer_can_be_given_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "new"
    good = ("http://127.0.0.1:8008", "example.org", "https://etb.example.org", "0123456789abcdef")
    done = answering(folder, monkeypatch, *good, "nobody")
    assert done.exit_code == 2
    assert "control_room.operators[1] must be a Matrix user id" in done.output
    assert list(folder.iterdir()) == []
    done = answering(folder, monkeypatch, *good, "@op:example.org")
    assert done.exit_code == 0, done.output
    assert "0123456789abcdef" not in done.output
    found = sorted(folder.iterdir())
    assert [path.name for path in found] == ["config.yaml", "etb-token", "registration.yaml"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in found} == {0o600}
    assert 'token_file: "etb-token"' in (folder / "config.yaml").read_text()
    assert load(folder / "config.yaml", {}).settings.etb.token.get_secret_value() == "0123456789abcdef"


def test_a_token_of_another_installation_is_not_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "etb-token").write_text("mine")
    good = ("http://127.0.0.1:8008", "example.org", "https://etb.example.org", "0123456789abcdef", "")
    done = answering(tmp_path, monkeypatch, *good)
    assert done.exit_code == 2
    assert "--etb-token-file" in done.output
    assert [path.name for path in tmp_path.iterdir()] == ["etb-token"]
    assert (tmp_path / "etb-token").read_text() == "mine"


def test_without_a_terminal_missing_answers_are_named_at_once(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["init", "--directory", str(tmp_path / "new"), "--domain", "example.org"])
    assert done.exit_code == 2
    assert "--homeserver, --etb-url, --etb-token-file" in done.output
    assert not (tmp_path / "new").exists()


def test_hostile_answers_stay_values(tmp_path: Path, token: Path) -> None:
    done = init(tmp_path / "new", token, "--people-template", '@{username}:example.org"\nops: {log_level: DEBUG}')
    assert done.exit_code == 2
    assert "people.template" in done.output

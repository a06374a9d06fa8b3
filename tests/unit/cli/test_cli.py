import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from etb_appservice import app, cli
from etb_appservice.app import Finding, RecoveryReport, SetupReport
from etb_appservice.config import Settings
from etb_appservice.domain.outcomes import Later
from etb_appservice.ops import logs
from etb_appservice.store.errors import NotCurrent
from tests.unit.config.test_load import MINIMAL, SECRET, write

REPO = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def _leave_the_process_as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(logs, "configure", lambda **_: None)
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return write(tmp_path, MINIMAL)


def call(config: Path, *words: str, **environ: str) -> Result:
    return CliRunner().invoke(cli.main, ["-c", str(config), *words], env=environ)


def answering(value: Any) -> Callable[..., Any]:
    async def work(*_: Any, **__: Any) -> Any:
        if isinstance(value, Exception):
            raise value
        return value

    return work


def test_check_shows_each_finding_and_fails_when_one_is_not_well(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [Finding("database", True, "sqlite"), Finding("homeserver", False, "refuses [as_token]: see it")]
    monkeypatch.setattr(app, "check", answering(found))
    done = call(config, "check", MEDIA_ROOT="/srv/media")
    assert done.exit_code == 1
    assert "✗ homeserver: refuses [as_token]: see it" in done.output
    assert "MEDIA_ROOT: accepted; files stay on the homeserver" in done.output
    monkeypatch.setattr(app, "check", answering(found[:1]))
    assert call(config, "check").exit_code == 0


def test_the_openapi_document_is_printed_without_any_settings(tmp_path: Path) -> None:
    done = call(tmp_path / "none.yaml", "openapi")
    assert done.exit_code == 0
    assert json.loads(done.output)["openapi"] == "3.1.0"


def test_wrong_settings_are_listed_and_end_with_status_2(tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL.replace("domain", "domian"))
    for command in (["check"], ["run"], ["recover"], ["db", "upgrade"], ["setup", "--create-bots"]):
        done = call(path, *command)
        assert done.exit_code == 2, command
        assert "line 3: unknown key homeserver.domian; did you mean homeserver.domain?" in done.output
        assert "Traceback" not in done.output
        assert SECRET not in done.output


def test_a_path_of_etb_that_does_not_exist_is_a_mistake_in_the_settings(tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL)
    done = call(path, "check", ETB_PATHS='{"incidents.nosuch": "/x/"}')
    assert done.exit_code == 2
    assert "incidents.nosuch" in done.output


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (Later("the homeserver doesn't answer"), "the homeserver doesn't answer"),
        (NotCurrent("run `etb-appservice db upgrade`"), "db upgrade"),
        (OSError("appservice.listen can't be listened on"), "can't be listened on"),
        (ExceptionGroup("many", [NotCurrent("too old")]), "too old"),
        (RuntimeError(f"unforeseen {SECRET}"), "RuntimeError"),
    ],
)
def test_a_failure_is_one_message_and_status_1(
    config: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    monkeypatch.setattr(app, "upgrade", answering(error))
    done = call(config, "db", "upgrade")
    assert done.exit_code == 1
    assert said in done.output
    assert "Traceback" not in done.output
    assert SECRET not in done.output


def test_files_that_a_command_makes_are_for_its_user_alone(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def upgrade(_settings: Settings) -> None:
        (config.parent / "made.db").touch()

    monkeypatch.setattr(app, "upgrade", upgrade)
    assert call(config, "db", "upgrade").exit_code == 0
    assert (config.parent / "made.db").stat().st_mode & 0o077 == 0


def test_setup_wants_to_know_what_to_set_up(config: Path) -> None:
    done = call(config, "setup")
    assert done.exit_code == 2
    assert "--create-war-rooms" in done.output


def test_setup_shows_the_records_of_the_bots_and_makes_nothing(config: Path) -> None:
    before = set(config.parent.iterdir())
    first, second = (call(config, "setup", "--create-bots") for _ in range(2))
    assert first.exit_code == 0, first.output
    assert first.output == second.output
    assert first.output.splitlines() == [
        "bots: 4",
        *(f"  {one.id}  {one.bot_type}" for one in app.bot_records()),
    ]
    assert set(config.parent.iterdir()) == before


def test_setup_tells_how_many_there_are(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def setup(_settings: Settings, *, progress: Callable[[int, int], None]) -> SetupReport:
        progress(1, 2)
        progress(2, 2)
        return SetupReport(2, 0)

    monkeypatch.setattr(app, "setup", setup)
    done = call(config, "setup", "--create-bots", "--create-war-rooms")
    assert done.exit_code == 0, done.output
    assert "bots: 4" in done.output
    assert "rooms: 2" in done.output


def test_setup_fails_when_rooms_are_missing(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "setup", answering(SetupReport(1, 3)))
    done = call(config, "setup", "--create-war-rooms")
    assert done.exit_code == 1
    assert "3 open incidents have no room yet" in done.output


def test_recover_lists_what_can_not_be_read(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys: list[str | None] = []

    async def recover(_settings: Settings, key: str | None) -> RecoveryReport:
        keys.append(key)
        return RecoveryReport("NEWDEVICE", (("!room:example.org", 3),))

    monkeypatch.setattr(app, "recover", recover)
    done = call(config, "recover", "--recovery-key-file", str(write(tmp_path, "EsTc abcd\n", "key")))
    assert done.exit_code == 0, done.output
    assert keys == ["EsTc abcd"]
    assert "NEWDEVICE" in done.output
    assert "!room:example.org: messages of 3 sessions" in done.output


def test_the_recovery_key_is_shown_once(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = ["EsTc abcd"]

    async def recovery_key(_settings: Settings, show: Callable[[str], None]) -> bool:
        if keys:
            show(keys.pop())
            return True
        return False

    monkeypatch.setattr(app, "recovery_key", recovery_key)
    done = call(config, "recovery-key")
    assert (done.exit_code, "EsTc abcd" in done.output) == (0, True)
    done = call(config, "recovery-key")
    assert (done.exit_code, "shown before" in done.output) == (1, True)


# --- run: in a process of its own, since it ends the process ----------------------------------------------

_PROGRAM = """
import asyncio, sys, threading, time
from etb_appservice import app, cli
from etb_appservice.store.errors import NotLeader

async def run(settings):
    # A thread that isn't a daemon keeps a Python process alive for ever.
    threading.Thread(target=lambda: time.sleep(600)).start()
    print("serving", flush=True)
    {work}

cli.app.run = run
cli.main(["-c", sys.argv[1], *sys.argv[2:], "run"])
"""


def started(config: Path, work: str, *words: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", _PROGRAM.format(work=work), str(config), *words],
        cwd=REPO, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(REPO)},
    )  # fmt: skip


def ended(process: "subprocess.Popen[str]") -> tuple[int, str]:
    try:
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    return process.returncode, err


def test_a_fatal_error_ends_the_process_at_once_though_threads_live(config: Path) -> None:
    status, err = ended(started(config, "raise RuntimeError('has-a-secret')"))
    assert status == 1
    assert "RuntimeError" in err
    assert "Traceback" not in err
    assert "has-a-secret" not in err


def test_with_debug_an_error_shows_where_it_comes_from(config: Path) -> None:
    status, err = ended(started(config, "raise RuntimeError('x')", "--debug"))
    assert (status, "Traceback" in err) == (1, True)


def test_a_signal_stops_it_in_order_and_well(config: Path) -> None:
    work = "\n    try: await asyncio.sleep(600)\n    finally: print('closed', file=sys.stderr, flush=True)"
    process = started(config, work)
    assert process.stdout is not None
    assert process.stdout.readline() == "serving\n"
    process.send_signal(signal.SIGINT)
    status, err = ended(process)
    assert (status, "closed" in err) == (0, True)


def test_a_second_signal_does_not_wait(config: Path) -> None:
    work = (
        "\n    try: await asyncio.sleep(600)\n    finally: print('closing', flush=True); await asyncio.sleep(600)"
    )
    process = started(config, work)
    assert process.stdout is not None
    assert process.stdout.readline() == "serving\n"
    process.send_signal(signal.SIGTERM)
    assert process.stdout.readline() == "closing\n"
    process.send_signal(signal.SIGTERM)
    assert ended(process)[0] == 1


def test_explaining_an_unforeseen_error_says_where_and_never_its_message() -> None:
    with pytest.raises(ValueError, match=SECRET) as failed:
        raise ValueError(SECRET)
    message, status = cli.explain(failed.value)
    assert SECRET not in message
    assert "(ValueError at test_cli.py:" in message
    assert status == 1


def test_a_failing_crypto_database_is_named() -> None:
    message, status = cli.explain(BaseExceptionGroup("tasks", [sqlite3.OperationalError("disk I/O error")]))
    assert message == "the crypto database failed: disk I/O error"
    assert status == 1


@pytest.mark.parametrize(
    ("what", "function"),
    [
        ("hs-token", "rotate"),
        ("as-token", "rotate"),
        ("webhook-secret", "rotate"),
        ("encryption-key", "rotate_encryption_key"),
        ("recovery-key", "rotate_recovery_key"),
    ],
)
def test_rotate_says_what_was_done(
    config: Path, monkeypatch: pytest.MonkeyPatch, what: str, function: str
) -> None:
    monkeypatch.setattr(app, function, answering(["rotated.", "restart [it]"]))
    done = call(config, "rotate", what, "--overlap", "0.5")
    assert done.exit_code == 0, done.output
    assert done.output.splitlines() == ["rotated.", "restart [it]"]


def test_rotate_takes_the_overlap_and_the_files_as_they_are_given(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Any] = []

    async def noted(_settings: Settings, name: str, wanted: app.Wanted) -> list[str]:
        given.append((name, wanted.overlap_ms, wanted.registration, wanted.to, wanted.config))
        return []

    monkeypatch.setattr(app, "rotate", noted)
    call(config, "rotate", "hs-token")
    call(config, "rotate", "as-token", "--overlap", "0", "--registration", "r.yaml", "--to", "new")
    assert given == [
        ("hs_token", 24 * 3600 * 1000, None, None, config),
        ("as_token", 0, Path("r.yaml"), Path("new"), config),
    ]


@pytest.mark.parametrize("words", [("rotate",), ("rotate", "password"), ("rotate", "hs-token", "--overlap", "-1")])
def test_rotate_asks_for_what_it_knows(config: Path, words: tuple[str, ...]) -> None:
    done = call(config, *words)
    assert done.exit_code == 2
    assert "Traceback" not in done.output


def test_a_secret_that_can_not_be_written_is_left_with_advice(config: Path) -> None:
    done = call(config, "rotate", "hs-token", ETB_APPSERVICE__APPSERVICE__HS_TOKEN=f"{SECRET}-of-the-environment")
    assert done.exit_code == 2
    assert "can't be changed from here" in done.output
    assert SECRET not in done.output

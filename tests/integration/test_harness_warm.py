"""What is forked from a warm process behaves as what the interpreter starts: status, signals, output, its end."""

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.processes import Child, ProcessFailed, wait_until
from tests.harness.service import PROGRAM, ROOT
from tests.harness.warm import Warm

TELLS = """
import json, os, sys, threading
print(json.dumps({
    "argv": sys.argv, "env": dict(os.environ), "cwd": os.getcwd(), "threads": threading.active_count(),
    "files": [int(name) for name in os.listdir("/proc/self/fd")], "session": os.getsid(0), "pid": os.getpid(),
    "name": __name__,
}))
sys.exit(7)
"""
WAITS = """
import signal, sys
if sys.argv[1:] == ["end in order"]:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(4))
print("up", flush=True)
while True:
    signal.pause()
"""


@pytest.fixture(scope="module")
def warm() -> Iterator[Warm]:
    one = Warm()
    yield one
    one.stop()


def script(folder: Path, text: str) -> list[str]:
    """The command that runs `text`."""
    path = folder / "script.py"
    path.write_text(text)
    return [sys.executable, str(path)]


async def test_it_has_what_it_was_given_and_nothing_else(warm: Warm, tmp_path: Path) -> None:
    argv = script(tmp_path, TELLS)
    for number in range(2):
        done = await warm.run([*argv, "a", "b"], cwd=tmp_path, env={"N": str(number)}, limit_s=20)
        assert done.returncode == 7, done.stderr
        told = json.loads(done.stdout)
        assert told["argv"] == [argv[1], "a", "b"]
        assert told["env"] == {**os.environ, "N": str(number)}
        assert told["cwd"] == str(tmp_path)
        assert told["session"] == told["pid"]
        assert told["name"] == "__main__"
        assert told["threads"] == 1
        assert len([one for one in told["files"] if one > 2]) <= 1, "but for the folder that is listed"


async def test_the_program_says_what_it_says_when_it_is_started_cold(warm: Warm, tmp_path: Path) -> None:
    for arguments in (["nonsense"], ["--config", "none.yaml", "run"]):
        cold = await Child.start([*PROGRAM, *arguments], log=tmp_path / "cold", cwd=ROOT)
        status = await cold.wait(timeout=30)
        forked = warm.child([*PROGRAM, *arguments], log=tmp_path / "warm", name="forked", cwd=ROOT)
        assert await forked.wait(timeout=30) == status
        assert forked.output() == cold.output() != ""


async def test_signals_reach_it_and_its_status_tells_of_them(warm: Warm, tmp_path: Path) -> None:
    argv = script(tmp_path, WAITS)
    for arguments, number, status in (
        ((), signal.SIGTERM, -signal.SIGTERM),
        (("end in order",), signal.SIGTERM, 4),
        ((), signal.SIGKILL, -signal.SIGKILL),
        ((), signal.SIGINT, -signal.SIGINT),
    ):
        child = warm.child([*argv, *arguments], log=tmp_path / "log", name="waits", cwd=tmp_path)
        await child.wait_for_line("up")
        assert child.running
        child.send_signal(number)
        assert await child.wait(timeout=10) == status
        assert child.returncode == status


async def test_it_dies_with_the_process_that_was_forked(warm: Warm, tmp_path: Path) -> None:
    """The last test here: nothing can be forked any more."""
    child = warm.child(script(tmp_path, WAITS), log=tmp_path / "log", name="waits", cwd=tmp_path)
    await child.wait_for_line("up")
    warm.stop()
    await wait_until(lambda: not child.running, timeout=10, what="its end")
    assert child.returncode == -signal.SIGKILL
    with pytest.raises((ProcessFailed, OSError)):
        warm.child(script(tmp_path, WAITS), log=tmp_path / "log", name="waits", cwd=tmp_path)

"""Children of the harness tell why they fail, and never outlive the process that started them."""

import os
import signal
import socket
import sys
from pathlib import Path

import pytest

from tests.harness.processes import Child, ProcessFailed, free_port, wait_until

ROOT = Path(__file__).parents[2]
PARENT = """
import asyncio, pathlib, sys
from tests.harness.processes import Child
async def main():
    child = await Child.start(["sleep", "600"], log=pathlib.Path(sys.argv[1]))
    print("child", child.pid, flush=True)
    await asyncio.sleep(600)
asyncio.run(main())
"""


def _alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits for its parent to notice doesn't."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_a_child_dies_with_the_process_that_started_it(tmp_path: Path) -> None:
    parent = await Child.start([sys.executable, "-c", PARENT, tmp_path / "c"], log=tmp_path / "p", cwd=ROOT)
    orphan = int((await parent.wait_for_line(r"child (\d+)"))[1])
    assert _alive(orphan)
    os.kill(parent.pid, signal.SIGKILL)
    await wait_until(lambda: not _alive(orphan), timeout=10, what="the orphan's end")
    assert await parent.wait(timeout=10) == -signal.SIGKILL


async def test_a_child_that_ends_early_shows_its_last_words(tmp_path: Path) -> None:
    child = await Child.start(["sh", "-c", "echo no such table >&2; exit 3"], log=tmp_path / "log")
    with pytest.raises(ProcessFailed, match=r"status 3 before(?s:.*)no such table"):
        await child.wait_for_line("ready")


async def test_a_child_that_ignores_the_request_to_end_is_killed(tmp_path: Path) -> None:
    child = await Child.start(
        ["sh", "-c", "trap '' TERM; echo up; while :; do sleep 1; done"], log=tmp_path / "log"
    )
    await child.wait_for_line("up")
    assert await child.stop(grace=0.2) == -signal.SIGKILL


def test_a_reserved_port_can_be_bound_by_number_and_is_given_out_once() -> None:
    ports = {free_port() for _ in range(50)}
    assert len(ports) == 50
    with socket.create_server(("127.0.0.1", ports.pop())) as server:  # sets SO_REUSEADDR, as servers do
        assert server.getsockname()[1] not in {free_port() for _ in range(50)}

"""./synapse-dev/up: the main job is shown, a second start goes on from the first, and nothing is left behind."""

import contextlib
import json
import os
import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.harness.jsclient import ensure_js
from tests.harness.processes import Child, wait_until

ROOT = Path(__file__).resolve().parents[2]
_PATIENCE_S = 90
_PARTS = 4
"""The sandbox, Synapse, the service and the client in Node, at least."""


class Up:
    """The command on a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.run = folder / "run"
        self._starts = 0

    async def start(self, *arguments: str) -> Child:
        """Begin it; what it prints is the child's output."""
        self._starts += 1
        return await Child.start(
            [ROOT / "synapse-dev" / "up", *arguments],
            log=self.folder / f"up{self._starts}.log",
            env={"ETB_STACK_DIR": str(self.run)},
            cwd=ROOT,
        )

    def state(self) -> dict[str, Any]:
        """What one start leaves to the next: ports, secrets, logins."""
        found: dict[str, Any] = json.loads((self.run / "stack.json").read_text())
        return found

    def processes(self) -> list[psutil.Process]:
        """Everything that was started for this folder and still runs."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
                if process.environ().get("ETB_STACK_DIR") == str(self.run):
                    found.append(process)
        return found

    async def all_gone(self) -> None:
        """Wait until nothing runs any more."""
        await wait_until(lambda: not self.processes(), timeout=5, what="the end of every child")


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    command = Up(tmp_path)
    yield command
    for process in command.processes():
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


@contextlib.contextmanager
def reserved(ports: dict[str, int]) -> Iterator[None]:
    """Between two starts the kernel gives these ports to nobody else; see `processes.free_port`."""
    with contextlib.ExitStack() as stack:
        for port in ports.values():
            keeper = stack.enter_context(socket.socket())
            keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            keeper.bind(("127.0.0.1", port))
        yield


def what_it_showed(output: str) -> tuple[str, list[str]]:
    """(the device that wrote what the client decrypted, the ids that were printed)."""
    shown = re.findall(r"sender +@etb:localhost, device (\S+), shield: none, as it should be", output)
    assert len(shown) == 2, output  # the card and the answer
    assert len(set(shown)) == 1, output
    assert re.search(r"\| INC-\d+: ", output), output
    return shown[0], re.findall(r"(?:room|event) +([!$][\w-]+)", output)


@pytest.mark.timeout(300)
async def test_it_shows_the_main_job_goes_on_from_there_stops_everything_and_starts_anew(up: Up) -> None:
    ensure_js()
    first = await up.start("--exit")
    assert await first.wait(timeout=_PATIENCE_S) == 0, first.output()
    device, ids = what_it_showed(first.output())
    assert len({one[0] for one in ids}) == 2, "room and event ids are printed"
    await up.all_gone()
    kept = up.state()

    with reserved(kept["ports"]):
        second = await up.start()
        await second.wait_for_line(r"^Ctrl-C stops everything", timeout=_PATIENCE_S)
        assert "going on from the last start" in second.output()
        again, more = what_it_showed(second.output())
        assert again == device, "the bot's device is the one of the first start"
        assert set(more).isdisjoint(ids), "for an incident of this start"
        assert up.state() == kept
        assert f"password {kept['people']['alice']['password']}" in second.output()
        assert len(up.processes()) > _PARTS
        other = await up.start("--exit")
        assert await other.wait(timeout=30) == 1
        assert "already runs" in other.output()
        os.kill(second.pid, signal.SIGINT)
        assert await second.wait(timeout=30) == 0, second.output()
        await up.all_gone()

    third = await up.start("--fresh", "--exit")
    await third.wait_for_line(r"making everything new", timeout=30)
    await third.wait_for_line(r"it listens on", timeout=_PATIENCE_S)
    anew = up.state()
    assert anew["etb_token"] != kept["etb_token"]
    assert anew["people"] == {}
    assert not (up.run / "synapse" / "homeserver.db").exists()
    os.kill(third.pid, signal.SIGINT)
    assert await third.wait(timeout=30) == 1, "the main job was not shown"
    await up.all_gone()

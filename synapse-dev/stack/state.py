"""What the stack must remember from one start to the next: ports, secrets, people's passwords. Kept in `.run/`."""

import fcntl
import json
import os
import secrets
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Self

from tests.harness.processes import free_port

ROOT = Path(__file__).resolve().parents[2]
RUN = Path(os.environ.get("ETB_STACK_DIR", ROOT / ".run")).resolve()
KEPT = {"js", "pip.log", "bootstrap.lock", "up.lock"}  # what --fresh leaves: tools, no data
PARTS = ("synapse", "sandbox", "appservice", "gateway")


class StackError(Exception):
    """The stack can't go on; the text tells a person why and what to do."""


@dataclass
class Person:
    """A responder's login on the homeserver; the recovery key exists after the first login with encryption."""

    password: str
    recovery_key: str | None = None


@dataclass
class State:
    """Everything that is kept; `save` after each change."""

    ports: dict[str, int]
    etb_token: str
    control_key: str
    people: dict[str, Person] = field(default_factory=dict)

    @classmethod
    def load(cls) -> tuple[Self, bool]:
        """The kept state and True, or a new one and False."""
        file = RUN / "stack.json"
        if file.exists():
            kept = json.loads(file.read_text())
            kept["people"] = {name: Person(**one) for name, one in kept["people"].items()}
            state = cls(**kept)
            for part, port in state.ports.items():
                check_free(part, port)
            return state, True
        state = cls(
            ports={part: free_port() for part in PARTS},
            etb_token=secrets.token_hex(20),
            control_key=secrets.token_hex(20),  # an argument may not begin with a dash
        )
        state.save()
        return state, False

    def save(self) -> None:
        file = RUN / "stack.json"
        file.touch(mode=0o600)
        file.write_text(json.dumps(asdict(self), indent=2))

    def address(self, part: str) -> str:
        return f"127.0.0.1:{self.ports[part]}"

    def url(self, part: str) -> str:
        return f"http://{self.address(part)}"


def check_free(part: str, port: int) -> None:
    """StackError when somebody else listens on a port that this stack used before."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise StackError(
                f"port {port}, which {part} used last time, is taken by another program. Stop that program, or"
                " start with --fresh, which takes new ports and drops the old data."
            ) from error


@contextmanager
def only_one() -> Iterator[None]:
    """StackError when another `up` of this checkout runs."""
    RUN.mkdir(parents=True, exist_ok=True)
    with (RUN / "up.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StackError(
                "./synapse-dev/up already runs in this checkout: stop it with Ctrl-C first"
            ) from error
        yield


def wipe() -> None:
    """Remove what earlier runs left, except installed tools."""
    for entry in RUN.iterdir():
        if entry.name not in KEPT:
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


class Progress:
    """Lines on the terminal, each with the seconds since the command was given."""

    def __init__(self, before: float = 0.0) -> None:
        self._start = time.monotonic() - before

    def say(self, text: str) -> None:
        print(f"[{time.monotonic() - self._start:6.1f} s] {text}", flush=True)

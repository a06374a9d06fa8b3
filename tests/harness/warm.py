"""The service started from a process that has imported it already: a fork in place of seconds of imports.

    tests (Warm) --request, files--> python -m tests.harness.warm --fork--> the program, as the interpreter runs it
                 <--pid, status----

Nothing but imports has happened in the process that is forked: no thread, no loop, no socket. What is started has
a session, environment, folder and files of its own, can be killed at any moment, and dies with us. Tests whose
subject is the start itself, benchmarks and `./synapse-dev/up` start the program cold (see `Service.is_cold`).
"""

import asyncio
import contextlib
import ctypes
import gc
import importlib
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile

from tests.harness.processes import Child, ProcessFailed, dies_with_parent

ROOT = Path(__file__).resolve().parents[2]
_PRELOADED = (
    "etb_appservice.cli", "etb_appservice.commands", "sqlalchemy.dialects.sqlite.pysqlite",
    "sqlalchemy.dialects.postgresql.asyncpg", "rich._emoji_codes",
)  # fmt: skip
"""What each start imports, some of it only when it is needed."""
_REQUEST_LIMIT = 1024 * 1024
_LOOK_AGAIN_S = 0.02
_START_LIMIT_S = 60.0
_PR_SET_PDEATHSIG = 1


class Started:
    """A forked program; of `subprocess.Popen` it has what is needed here."""

    def __init__(self, pid: int, news: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._news = news
        os.set_blocking(news, False)

    def poll(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        if self.returncode is None:
            with contextlib.suppress(BlockingIOError):
                said = os.read(self._news, 64)
                # Nothing more will come of a process that is gone with all that it started.
                self.returncode = int(said) if said else -signal.SIGKILL
                os.close(self._news)
        return self.returncode

    def wait(self) -> int:
        """The same, once there is one."""
        while (status := self.poll()) is None:
            select.select([self._news], [], [])
        return status


class Warm:
    """The process that is forked, started at the first use. One for a test session; `stop` ends its forks too."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._asks: socket.socket | None = None

    def stop(self) -> None:
        """End it, if it was started; what it started and still runs is killed by the kernel."""
        if self._asks and self._process:
            self._asks.close()
            self._process.wait(timeout=10)

    def knows(self, program: Sequence[str]) -> bool:
        """Whether it can run that: a module or a script, by our interpreter."""
        return program[0] == sys.executable and (program[1] == "-m" or program[1].endswith(".py"))

    def fork(self, argv: Sequence[str], *, out: int, err: int, cwd: Path, env: Mapping[str, str]) -> Started:
        """Start `argv`, writing to the descriptors `out` and `err`. From the main thread: forks die with it."""
        asks = self._asks = self._asks or self._begin()
        news, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with news:
            with theirs:
                request = {"argv": list(argv[1:]), "cwd": str(cwd), "env": dict(env)}
                socket.send_fds(asks, [json.dumps(request).encode()], [out, err, theirs.fileno()])
            news.settimeout(_START_LIMIT_S)
            if not (pid := news.recv(64)):
                raise ProcessFailed("the process that is forked has ended; its last words are on stderr")
            return Started(int(pid), news.detach())

    def child(
        self, argv: Sequence[str], *, log: Path, name: str, cwd: Path, env: Mapping[str, str] | None = None
    ) -> Child:
        """As `Child.start`."""
        with log.open("ab") as sink:
            log_start, sink_fd = sink.tell(), sink.fileno()
            started = self.fork(argv, out=sink_fd, err=sink_fd, cwd=cwd, env={**os.environ, **(env or {})})
        return Child(name, started, log, log_start)

    async def run(
        self, argv: Sequence[str], *, cwd: Path, env: Mapping[str, str], limit_s: float
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, as `subprocess.run` with its output captured."""
        with TemporaryFile("w+") as out, TemporaryFile("w+") as err:
            started = self.fork(argv, out=out.fileno(), err=err.fileno(), cwd=cwd, env={**os.environ, **env})
            until = time.monotonic() + limit_s
            while (status := started.poll()) is None:
                if time.monotonic() > until:
                    os.killpg(started.pid, signal.SIGKILL)
                    raise subprocess.TimeoutExpired(list(argv), limit_s)
                await asyncio.sleep(_LOOK_AGAIN_S)
            said = [sink.seek(0) or sink.read() for sink in (out, err)]
        return subprocess.CompletedProcess(list(argv), status, *map(str, said))

    def _begin(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                dies_with_parent([sys.executable, "-m", "tests.harness.warm", str(theirs.fileno())]),
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, cwd=ROOT, pass_fds=[theirs.fileno()],
                start_new_session=True,
            )  # fmt: skip
        return ours


# --- the process that is forked ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Request:
    """What a fork becomes."""

    argv: list[str]
    cwd: str
    env: dict[str, str]


def serve(asks: socket.socket) -> Request | None:
    """Fork for each request until nobody can ask any more; in the fork the answer is what it is to become."""
    woken, wakes = os.pipe()
    for end in (woken, wakes):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(wakes)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    running: dict[int, int] = {}
    while True:
        ready, _, _ = select.select([asks.fileno(), woken], [], [])
        if woken in ready:
            os.read(woken, 4096)
            _tell_ends(running)
        if asks.fileno() not in ready:
            continue
        message, files, _, _ = socket.recv_fds(asks, _REQUEST_LIMIT, 3)
        if not message:
            return None
        request = Request(**json.loads(message))
        out, err, news = files
        parent = os.getpid()
        pid = os.fork()
        if not pid:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _become(request, parent, out, err)
            asks.detach()  # closed by its number, which may soon be that of a file of the program's
            return request
        running[pid] = news
        _say(news, pid)
        os.close(out)
        os.close(err)


def _tell_ends(running: dict[int, int]) -> None:
    """Whoever started what has ended is told its status."""
    while running:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        news = running.pop(pid)
        _say(news, os.waitstatus_to_exitcode(status))
        os.close(news)


def _say(news: int, number: int) -> None:
    with contextlib.suppress(BrokenPipeError):  # nobody wants to know
        os.write(news, str(number).encode())


def _become(request: Request, parent: int, out: int, err: int) -> None:
    """What a new process has of its own."""
    os.setsid()
    # A shell that runs the tests in the background has them, and so all of us, ignore it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
    os.dup2(out, 1)
    os.dup2(err, 2)
    os.closerange(3, 1 + max(int(name) for name in os.listdir("/proc/self/fd")))  # noqa: PTH208 - numbers, not paths
    os.chdir(request.cwd)
    os.environ.clear()
    os.environ.update(request.env)


def preload() -> None:
    """Import, and have the garbage collector of the forks leave it all alone."""
    for name in _PRELOADED:
        module = importlib.import_module(name)
        if name.startswith("etb_appservice"):
            for below in pkgutil.iter_modules(getattr(module, "__path__", ())):
                importlib.import_module(f"{name}.{below.name}")
    gc.freeze()


def main() -> None:
    """Import, then serve; in a fork, run the program and end as it does."""
    with socket.socket(fileno=int(sys.argv[1])) as asks:
        preload()
        request = serve(asks)
    if request is None:
        return
    if request.argv[0] == "-m":
        sys.argv = request.argv[1:]
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv = request.argv
        runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()

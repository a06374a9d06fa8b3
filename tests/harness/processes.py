"""Children: started in a process group of their own, logged to a file, never left behind.

A child gets SIGKILL from the kernel when the thread that started it ends, so a crashed test run leaves no server.
This module must never wait without a limit, and never signal a process that it did not start.
"""

import asyncio
import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, Self

import aiohttp

_POLL_SECONDS = 0.02
_LOG_TAIL_BYTES = 4000


class ProcessFailed(Exception):
    """A child ended, or did not do in time what was waited for; the message holds the end of its log."""


def free_port(host: str = "127.0.0.1") -> int:
    """A TCP port of `host` that nobody uses, kept for this process until it ends.

    The port stays bound (never listening) with SO_REUSEADDR, so the kernel gives it to nobody else who asks for
    any port, while a server that binds it by number with SO_REUSEADDR (asyncio and Twisted do) succeeds.
    """
    keeper = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    keeper.bind((host, 0))
    port: int = keeper.getsockname()[1]
    keeper.detach()  # the descriptor lives as long as this process
    return port


def dies_with_parent(argv: Sequence[str | Path]) -> list[str]:
    """The command that becomes `argv`, killed by the kernel when the thread that starts it ends (prctl(2)).

    By util-linux's setpriv, which Debian always has: code of ours between fork and exec could wait for ever for a
    lock that another thread held at the fork.
    """
    tied = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
    return [*tied, *(str(part) for part in argv)]


async def wait_until(condition: Callable[[], bool], *, timeout: float, what: str) -> None:  # noqa: ASYNC109
    """Return once `condition()` is true; raise TimeoutError naming `what` after `timeout` seconds."""
    limit = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > limit:
            raise TimeoutError(f"waited {timeout:g} s in vain for {what}")
        await asyncio.sleep(_POLL_SECONDS)


class Process(Protocol):
    """What `subprocess.Popen` has of a process, and whatever else starts one."""

    @property
    def pid(self) -> int: ...

    def poll(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""

    def wait(self) -> int:
        """The same, once there is one."""


class Child:
    """One child process and its log file. Make it with `Child.start`, end it with `stop` or `kill`."""

    def __init__(self, name: str, process: Process, log: Path, log_start: int) -> None:
        self.name = name
        self.log = log
        self._process = process
        self._log_start = log_start

    @classmethod
    async def start(
        cls,
        argv: Sequence[str | Path],
        *,
        log: Path,
        name: str = "",
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        user: int | None = None,
    ) -> Self:
        """Start `argv`, its output appended to `log`, `env` added to ours, as uid `user` (root only)."""
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as sink:
            log_start = sink.tell()
            process = subprocess.Popen(  # noqa: ASYNC220 - the fork must come from this thread, see dies_with_parent
                dies_with_parent(argv),
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                cwd=cwd,
                env={**os.environ, **(env or {})},
                start_new_session=True,
                user=user,
                group=user,
                extra_groups=None if user is None else [],
            )
        return cls(name or Path(str(argv[0])).name, process, log, log_start)

    @property
    def pid(self) -> int:
        """The process id, also the id of its process group."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process has not ended yet."""
        return self._process.poll() is None

    @property
    def returncode(self) -> int | None:
        """The exit status, negative for a signal, None while it runs."""
        return self._process.poll()

    def output(self) -> str:
        """What this child wrote so far."""
        with self.log.open("rb") as source:
            source.seek(self._log_start)
            return source.read().decode(errors="replace")

    async def wait_for_line(self, pattern: str, *, timeout: float = 30) -> re.Match[str]:  # noqa: ASYNC109
        """The first match of `pattern` (multiline) in the output; ProcessFailed at its end or after `timeout`."""
        regex = re.compile(pattern, re.MULTILINE)
        limit = time.monotonic() + timeout
        while True:
            running = self.running  # asked before reading: what a dying process wrote last still counts
            if match := regex.search(self.output()):
                return match
            if not running:
                raise self._failed(f"ended with status {self.returncode} before it wrote {pattern!r}")
            if time.monotonic() > limit:
                raise self._failed(f"did not write {pattern!r} within {timeout:g} s")
            await asyncio.sleep(_POLL_SECONDS)

    async def wait_for_http(self, url: str, *, timeout: float = 60) -> None:  # noqa: ASYNC109
        """Return once GET `url` answers 200; ProcessFailed when the child ends or `timeout` seconds pass."""
        limit = time.monotonic() + timeout
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
            while True:
                with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                    async with session.get(url, ssl=False) as response:
                        if response.status == 200:
                            return
                if not self.running:
                    raise self._failed(f"ended with status {self.returncode} before {url} answered")
                if time.monotonic() > limit:
                    raise self._failed(f"did not answer {url} within {timeout:g} s")
                await asyncio.sleep(_POLL_SECONDS)

    async def wait(self, *, timeout: float) -> int:  # noqa: ASYNC109
        """The exit status, once it has ended; ProcessFailed after `timeout` seconds."""
        try:
            await wait_until(lambda: not self.running, timeout=timeout, what=f"the end of {self.name}")
        except TimeoutError as error:
            raise self._failed(f"still ran after {timeout:g} s") from error
        return self._process.wait()

    def send_signal(self, number: int) -> None:
        """Send a signal to this process alone (SIGSTOP, SIGCONT, SIGTERM...); nothing happens if it has ended."""
        if self.running:
            os.kill(self.pid, number)

    async def stop(self, *, grace: float = 10, number: int = signal.SIGTERM) -> int:
        """Ask it to end, after `grace` seconds SIGKILL its group; the exit status. Safe to repeat."""
        self.send_signal(number)
        with contextlib.suppress(ProcessFailed):
            return await self.wait(timeout=grace)
        return await self.kill()

    async def kill(self) -> int:
        """SIGKILL its whole group at once; the exit status. Safe to repeat."""
        self.kill_now()
        return await self.wait(timeout=10)

    def kill_now(self) -> None:
        """SIGKILL its whole group without waiting, for callers that can't await."""
        if self.running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)

    def _failed(self, what: str) -> ProcessFailed:
        return ProcessFailed(f"{self.name} {what}; the end of {self.log}:\n{self.output()[-_LOG_TAIL_BYTES:]}")

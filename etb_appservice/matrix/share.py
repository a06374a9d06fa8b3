"""Room keys of ours on their way to other people's devices: Megolm sessions, Olm messages, and who got none.

    open_session ──> claim one-time keys ──> one commit of all ratchets ──> /sendToDevice ──> live

Outbound Megolm sessions live in memory alone and end with the process: so a power cut can't make one use an index
twice, nothing that changed while we were away is missed, and a message costs no database write. Our own inbound
copy is stored, so that we can read ourselves again. A device that could not be given a key is remembered with the
session, and gets the key it was due, from the session's first message, when a later try succeeds.
"""

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog
from mautrix.crypto import InboundGroupSession, OlmAccount, Session
from mautrix.crypto.signature import verify_signature_json
from mautrix.types import DeviceIdentity, RoomID, SessionID, UserID
from olm.group_session import OutboundGroupSession
from olm.session import OlmSessionError

from etb_appservice.domain.outcomes import Failure, Later
from etb_appservice.matrix.api import Method, Path, call, outcomes
from etb_appservice.matrix.olm import MEGOLM, OLM, BadEvent, Machine, dict_of, key_of
from etb_appservice.matrix.results import Refusal, Rotation

_log = structlog.get_logger(__name__)
_CLAIM_TIMEOUT_MS = 5_000
_DEVICES_PER_REQUEST = 250
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 30.0, 3_600.0

Target = tuple[str, str]
"""(user id, device id)"""


@dataclass(slots=True)
class _Refused:
    device: DeviceIdentity
    reason: str
    tries: int
    next_try: float


@dataclass(slots=True)
class RoomSession:
    """A live outbound Megolm session and exactly whom it was made for."""

    room_id: str
    recipients: frozenset[str]
    devices: Mapping[Target, str]
    """Identity keys of the devices it was made for."""
    stamp: int
    rotation: Rotation
    shared_history: bool
    group: OutboundGroupSession
    first_key: str
    """The session key at index 0."""
    born: float
    used: int = 0
    refused: dict[Target, _Refused] = field(default_factory=dict)

    def is_due(self, now: float) -> bool:
        """Whether the room's rotation rule asks for a new session (`m.room.encryption`)."""
        old = (now - self.born) * 1000 >= self.rotation.period_ms
        return old or self.used >= self.rotation.messages


def targets_of(devices: Mapping[str, Mapping[str, DeviceIdentity]], own: Target) -> dict[Target, DeviceIdentity]:
    """All devices but our own one."""
    flat = {(user, name): device for user, group in devices.items() for name, device in group.items()}
    flat.pop(own, None)
    return flat


def keys_of(targets: Mapping[Target, DeviceIdentity]) -> dict[Target, str]:
    """What a session remembers of its devices."""
    return {target: device.identity_key for target, device in targets.items()}


class Courier:
    """Sends Olm messages for one machine. Use only inside `Keeper.run`."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._store = machine.crypto_store
        self.identity_signature: Mapping[str, str] = {}
        """Signature of our device by our identity, by key name: part of MSC4147 sender device keys."""

    async def open_session(
        self,
        room_id: str,
        recipients: frozenset[str],
        targets: Mapping[Target, DeviceIdentity],
        *,
        stamp: int,
        rotation: Rotation,
        shared_history: bool,
    ) -> RoomSession:
        """Make a session and hand its key to every device that can take it. Raises Later when none was told."""
        group = OutboundGroupSession()
        session = RoomSession(
            room_id=room_id,
            recipients=recipients,
            devices=keys_of(targets),
            stamp=stamp,
            rotation=rotation,
            shared_history=shared_history,
            group=group,
            first_key=group.session_key,
            born=time.monotonic(),
        )
        async with self._machine.ratchets() as account:
            await self._store.put_group_session(
                RoomID(room_id),
                account.identity_key,
                SessionID(group.id),
                InboundGroupSession(
                    session.first_key,
                    signing_key=account.signing_key,
                    sender_key=account.identity_key,
                    room_id=RoomID(room_id),
                ),
            )
        failed = await self.deliver(targets, "m.room_key", _room_key(session))
        for target, reason in failed.items():
            _note_refusal(session, target, targets[target], reason)
        _log.info("room key shared", room=room_id, devices=len(targets) - len(failed), refused=len(failed))
        return session

    async def retry(self, session: RoomSession) -> None:
        """Try again for refused devices whose pause is over. Raises Later when the homeserver can't be reached."""
        now = time.monotonic()
        due = {target: item.device for target, item in session.refused.items() if item.next_try <= now}
        if not due:
            return
        failed = await self.deliver(due, "m.room_key", _room_key(session))
        for target, device in due.items():
            if target in failed:
                _note_refusal(session, target, device, failed[target])
            else:
                del session.refused[target]

    async def deliver(
        self,
        targets: Mapping[Target, DeviceIdentity],
        event_type: str,
        content: Mapping[str, Any],
        *,
        fresh: bool = False,
    ) -> dict[Target, str]:
        """Send one Olm-encrypted event to each device; answers why for those that can't be reached.

        `fresh`: make new Olm sessions even where there are some. Sending it twice does no harm. Raises Later.
        """
        unmet = targets if fresh else await self._unmet(targets)
        claimed = await self._claim(unmet) if unmet else {}
        failed: dict[Target, str] = {}
        messages: list[tuple[Target, dict[str, Any]]] = []
        async with self._machine.ratchets() as account:
            frame = self._frame(account, event_type, content)
            for target, device in targets.items():
                olm_session = None if fresh else await self._store.get_latest_session(device.identity_key)
                try:
                    if olm_session is None:
                        olm_session = await self._new_session(account, target, device, claimed)
                    messages.append((target, await self._seal(account, olm_session, device, frame)))
                except BadEvent as reason:
                    failed[target] = str(reason)
        for start in range(0, len(messages), _DEVICES_PER_REQUEST):
            await self._send(messages[start : start + _DEVICES_PER_REQUEST])
        return failed

    async def _unmet(self, targets: Mapping[Target, DeviceIdentity]) -> dict[Target, DeviceIdentity]:
        async with self._store.transaction():
            return {
                target: device
                for target, device in targets.items()
                if not await self._store.has_session(device.identity_key)
            }

    async def _claim(self, targets: Iterable[Target]) -> dict[Target, Mapping[str, Any]]:
        wanted: dict[str, dict[str, str]] = {}
        for user_id, device_id in targets:
            wanted.setdefault(user_id, {})[device_id] = "signed_curve25519"
        body = {"one_time_keys": wanted, "timeout": _CLAIM_TIMEOUT_MS}
        try:
            with outcomes():
                answer = await call(self._machine.client, Method.POST, Path.v3.keys.claim, body)
        except Failure as failure:
            raise Later(f"one-time keys could not be claimed: {failure}") from failure
        given = answer.get("one_time_keys")
        claimed: dict[Target, Mapping[str, Any]] = {}
        for user_id, devices in given.items() if isinstance(given, dict) else ():
            for device_id, keys in devices.items() if isinstance(devices, dict) else ():
                value = next(iter(keys.values()), None) if isinstance(keys, dict) else None
                if isinstance(value, dict):
                    claimed[user_id, device_id] = value
        return claimed

    async def _new_session(
        self,
        account: OlmAccount,
        target: Target,
        device: DeviceIdentity,
        claimed: Mapping[Target, Mapping[str, Any]],
    ) -> Session:
        key = claimed.get(target)
        if key is None:
            raise BadEvent("no_one_time_key")
        try:
            one_time_key = key_of(key.get("key"), "one-time key")
            dict_of(key.get("signatures"), "signatures")
            good = verify_signature_json(dict(key), UserID(target[0]), target[1], device.signing_key)  # type: ignore[arg-type]
            if not good:
                raise BadEvent("bad_signature")
            session = account.new_outbound_session(device.identity_key, one_time_key)  # type: ignore[arg-type]
        except (OlmSessionError, TypeError, AttributeError) as error:
            raise BadEvent("bad_one_time_key") from error
        await self._store.add_session(device.identity_key, session)
        return session

    def _frame(self, account: OlmAccount, event_type: str, content: Mapping[str, Any]) -> dict[str, Any]:
        """What all messages have in common, with MSC4147 device keys so that a stranger's client can judge us."""
        keys = self._machine.device_keys()
        keys["signatures"][self._machine.actor.mxid] |= self.identity_signature
        return {
            "type": event_type,
            "content": content,
            "sender": self._machine.actor.mxid,
            "sender_device": self._machine.actor.device_id,
            "keys": {"ed25519": account.signing_key},
            # This one spelling only: with the unstable one beside it, matrix-js-sdk could not read the message.
            "sender_device_keys": keys,
        }

    async def _seal(
        self, account: OlmAccount, session: Session, device: DeviceIdentity, frame: Mapping[str, Any]
    ) -> dict[str, Any]:
        payload = {
            **frame,
            "recipient": device.user_id,
            "recipient_keys": {"ed25519": device.signing_key},
        }
        box = session.encrypt(json.dumps(payload, separators=(",", ":")))
        await self._store.update_session(device.identity_key, session)
        return {
            "algorithm": OLM,
            "sender_key": account.identity_key,
            "ciphertext": {device.identity_key: {"type": int(box.type.value), "body": box.body}},
        }

    async def _send(self, messages: Sequence[tuple[Target, dict[str, Any]]]) -> None:
        grouped: dict[str, dict[str, Any]] = {}
        for (user_id, device_id), content in messages:
            grouped.setdefault(user_id, {})[device_id] = content
        client = self._machine.client
        path = Path.v3.sendToDevice["m.room.encrypted"][client.api.get_txn_id()]
        try:
            with outcomes():
                await call(client, Method.PUT, path, {"messages": grouped})
        except Failure as failure:
            raise Later(f"keys could not be sent to devices: {failure}") from failure


def _room_key(session: RoomSession) -> dict[str, Any]:
    content: dict[str, Any] = {
        "algorithm": MEGOLM,
        "room_id": session.room_id,
        "session_id": session.group.id,
        "session_key": session.first_key,
    }
    if session.shared_history:
        # This one spelling only: with `m.shared_history` beside it, matrix-js-sdk failed to decrypt.
        content["org.matrix.msc3061.shared_history"] = True
    return content


def _note_refusal(session: RoomSession, target: Target, device: DeviceIdentity, reason: str) -> None:
    before = session.refused.get(target)
    tries = 1 if before is None else before.tries + 1
    pause = min(_FIRST_PAUSE_S * 2 ** (tries - 1), _LONGEST_PAUSE_S)
    session.refused[target] = _Refused(device, reason, tries, time.monotonic() + pause)


def refusals(session: RoomSession) -> tuple[Refusal, ...]:
    """Devices without this session's key."""
    return tuple(
        Refusal(session.room_id, user_id, device_id, item.reason, item.tries)
        for (user_id, device_id), item in session.refused.items()
    )

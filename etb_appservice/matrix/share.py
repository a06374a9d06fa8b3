"""Room keys of ours on their way to other people's devices: Megolm sessions, Olm messages, and who got none.

    open_session ──> claim one-time keys ──> one commit of all ratchets ──> /sendToDevice ──> live

Outbound Megolm sessions live in memory alone and end with the process: so a power cut can't make one use an index
twice, nothing that changed while we were away is missed, and a message costs no database write. Our own inbound
copy is stored, so that we can read ourselves again.

A device that could not be given a key, or must not have it since its owner has not signed it, is remembered apart
from the session: see refusals.py. One that must not have it is told so, once a session.
"""

import json
import time
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog
from mautrix.crypto import InboundGroupSession, OlmAccount, Session
from mautrix.crypto.signature import verify_signature_json
from mautrix.types import DeviceIdentity, RoomID, SessionID, UserID
from olm.group_session import OutboundGroupSession
from olm.session import OlmSessionError

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.outcomes import Failure, Later
from etb_appservice.matrix.api import Method, Path, call, outcomes
from etb_appservice.matrix.olm import MEGOLM, OLM, BadEvent, Machine, dict_of, key_of
from etb_appservice.matrix.refusals import Devices, Refusals, Share, Target
from etb_appservice.matrix.results import Rotation
from etb_appservice.matrix.store import CryptoStore

_log = structlog.get_logger(__name__)
_CLAIM_TIMEOUT_MS = 5_000
_DEVICES_PER_REQUEST = 250
_WITHHELD = "m.room_key.withheld"
"""The stable spelling alone: matrix-js-sdk 43 knows no other. The unstable one is still read, in `to_device`."""


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
    signed_only: bool
    level: Classification | None
    """What the room was classified as when it was made."""
    group: OutboundGroupSession
    first_key: str
    """The session key at index 0."""
    born: float
    used: int = 0
    hour: int = 0
    """The last hour whose first index is in the chronicle."""
    refused: set[Target] = field(default_factory=set)
    """Devices that don't have its key."""
    withheld: dict[Target, str] = field(default_factory=dict)
    """Devices that were told that they are not given it, with their identity keys."""
    untold: bool = False
    """Whether some of these could not be told yet."""

    def is_due(self, now: float) -> bool:
        """Whether the room's rotation rule asks for a new session (`m.room.encryption`)."""
        old = (now - self.born) * 1000 >= self.rotation.period_ms
        return old or self.used >= self.rotation.messages

    def unreached(self, own: str) -> tuple[str, ...]:
        """Recipients none of whose devices has the key."""
        reached = {user_id for user_id, _ in self.devices.keys() - self.refused} | {own}
        return tuple(sorted(self.recipients - reached))


def targets_of(devices: Mapping[str, Mapping[str, DeviceIdentity]], own: Target) -> dict[Target, DeviceIdentity]:
    """All devices but our own one."""
    flat = {(user, name): device for user, group in devices.items() for name, device in group.items()}
    flat.pop(own, None)
    return flat


def keys_of(targets: Devices) -> dict[Target, str]:
    """What a session remembers of its devices."""
    return {target: device.identity_key for target, device in targets.items()}


class Courier:
    """Sends Olm messages for one machine. Use only inside `Keeper.run`."""

    def __init__(self, machine: Machine, reader: CryptoStore | None = None) -> None:
        """`reader`: whose account keeps the keys of what is said, to read it again; None: the machine's own."""
        self._machine = machine
        self._store = machine.crypto_store
        self._reader = reader or machine.crypto_store
        self.refusals = Refusals()
        self.withheld = Refusals()
        """Apart, so that no number of unsigned devices drives out who was refused by mishap."""
        self.memories = (self.refusals, self.withheld)
        self.identity_signature: Mapping[str, str] = {}
        """Signature of our device by our identity, by key name: part of MSC4147 sender device keys."""

    async def open_session(
        self,
        room_id: str,
        recipients: frozenset[str],
        targets: Devices,
        *,
        stamp: int,
        rotation: Rotation,
        shared_history: bool,
        signed_only: bool = False,
        level: Classification | None = None,
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
            signed_only=signed_only,
            level=level,
            group=group,
            first_key=group.session_key,
            born=time.monotonic(),
        )
        async with self._machine.ratchets() as account:
            await self._reader.put_group_session(
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
            session.hour = await self._reader.chronicle.made(
                room_id, group.id, is_marked=shared_history, level=level
            )
        for refusals in self.memories:
            refusals.settle(room_id, recipients)
        key = _room_key(session)
        failed = await self.deliver(targets, "m.room_key", key)
        for target, reason in failed.items():
            self.refusals.note(target, targets[target], key, reason)
        session.refused.update(failed)
        _log.info("room key shared", room=room_id, devices=len(targets) - len(failed), refused=len(failed))
        return session

    async def tell_withheld(self, session: RoomSession, unsigned: Devices) -> None:
        """Tell devices, once a session, that they are not given its key (client-server API, 11.13.1.2).

        In clear text, as the specification has it: it names the session and no secret. A homeserver that fails
        holds up no message; those who weren't told are told with the next one.
        """
        told = session.withheld
        fresh = {target: device for target, device in unsigned.items() if told.get(target) != device.identity_key}
        session.withheld = {target: told[target] for target in unsigned.keys() - fresh.keys()}
        session.untold = bool(fresh)
        if not fresh:
            return
        key = _room_key(session)
        for target, device in fresh.items():
            self.withheld.withhold(target, device, key)
        account = self._machine.account
        content = {
            "algorithm": MEGOLM,
            "room_id": session.room_id,
            "session_id": session.group.id,
            "sender_key": account.identity_key if account else "",
            "code": "m.unverified",
            "reason": "This device has not been verified by its owner.",
        }
        targets = list(fresh)
        try:
            for start in range(0, len(targets), _DEVICES_PER_REQUEST):
                some = targets[start : start + _DEVICES_PER_REQUEST]
                await self._send([(target, content) for target in some], _WITHHELD)
                session.withheld.update({target: fresh[target].identity_key for target in some})
        except Later as failure:
            _log.warning("devices not told that a key is withheld", room=session.room_id, error=str(failure))
            return
        session.untold = False
        _log.info("room key withheld from devices that are not signed", room=session.room_id, devices=len(fresh))

    async def hand_over(self, share: Share, devices: Devices, signed: Container[Target]) -> None:
        """Give one session's key to devices that were without it until their owner signed them. Raises Later.

        `devices`: those that their owners have by now, and `signed` which of them. What is gone, or has other
        keys, is due nothing any more.
        """
        found = self.withheld.still_due(share, devices, time.monotonic())
        due = {target: item for target, item in found.items() if target in signed}
        if not due:
            return
        key = next(iter(due.values())).key
        failed = await self.deliver({target: item.device for target, item in due.items()}, "m.room_key", key)
        for target, item in due.items():
            self.withheld.drop(share, target)
            if target in failed:
                self.refusals.note(target, item.device, key, failed[target])

    async def retry(self, share: Share, devices: Devices) -> frozenset[Target]:
        """Try again for one session's refused devices whose pause is over; answers who has its key now.

        `devices`: those that their owners have by now. What is gone, or has other keys, is tried no more. Raises
        Later when the homeserver can't be reached.
        """
        due = self.refusals.still_due(share, devices, time.monotonic())
        if not due:
            return frozenset()
        key = next(iter(due.values())).key
        failed = await self.deliver({target: item.device for target, item in due.items()}, "m.room_key", key)
        for target, item in due.items():
            if target in failed:
                self.refusals.note(target, item.device, key, failed[target])
            else:
                self.refusals.drop(share, target)
        return frozenset(due.keys() - failed.keys())

    async def deliver(
        self,
        targets: Devices,
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

    async def _unmet(self, targets: Devices) -> dict[Target, DeviceIdentity]:
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

    async def _send(
        self, messages: Sequence[tuple[Target, dict[str, Any]]], event_type: str = "m.room.encrypted"
    ) -> None:
        grouped: dict[str, dict[str, Any]] = {}
        for (user_id, device_id), content in messages:
            grouped.setdefault(user_id, {})[device_id] = content
        client = self._machine.client
        path = Path.v3.sendToDevice[event_type][client.api.get_txn_id()]
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

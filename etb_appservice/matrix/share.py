"""Room keys of ours on their way to other people's devices: Megolm sessions, Olm messages, and who got none.

    open_session ──> claim one-time keys ──> one commit of all ratchets ──> /sendToDevice ──> live

Outbound Megolm sessions live in memory alone and end with the process: so a power cut can't make one use an index
twice, nothing that changed while we were away is missed, and a message costs no database write. Our own inbound
copy is stored, so that we can read ourselves again.

A device that could not be given a key is remembered apart from the session, which may be replaced long before a
later try succeeds: then it gets the key it was due, from the session's first message. That memory ends with the
process too, and holds the latest thousand: whoever missed a key before a restart gets the card anew on joining,
and everything said from then on.
"""

import json
import time
from collections import OrderedDict
from collections.abc import Container, Iterable, Mapping, Sequence
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
_REFUSED_LIMIT = 1_000
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 30.0, 3_600.0

Target = tuple[str, str]
"""(user id, device id)"""


Share = tuple[str, str]
"""(room id, session id)"""


@dataclass(slots=True)
class _Refused:
    device: DeviceIdentity
    key: Mapping[str, Any]
    """The content of the `m.room_key` event it is due."""
    reason: str
    tries: int
    next_try: float
    held: bool = False
    """Its owner came or went: not before the room's next message says that they are in it."""


class Refusals:
    """Who is without which key: at most a thousand, of which the oldest are dropped."""

    def __init__(self) -> None:
        self._items: OrderedDict[tuple[Share, Target], _Refused] = OrderedDict()

    def note(self, target: Target, device: DeviceIdentity, key: Mapping[str, Any], reason: str) -> None:
        """It was tried once more, in vain."""
        where = ((key["room_id"], key["session_id"]), target)
        before = self._items.get(where)
        tries = 1 if before is None else before.tries + 1
        pause = min(_FIRST_PAUSE_S * 2 ** (tries - 1), _LONGEST_PAUSE_S)
        self._items[where] = _Refused(device, key, reason, tries, time.monotonic() + pause)
        while len(self._items) > _REFUSED_LIMIT:
            self._items.popitem(last=False)

    def drop(self, share: Share, target: Target) -> None:
        """It has the key, or is due none any more."""
        self._items.pop((share, target), None)

    def hold(self, user_ids: Iterable[str], live: Container[str]) -> None:
        """These came or went somewhere: rooms without a live session may be where."""
        users = frozenset(user_ids)
        for ((room_id, _), (user_id, _)), item in self._items.items():
            if user_id in users and room_id not in live:
                item.held = True

    def settle(self, room_id: str, recipients: Container[str]) -> None:
        """Who is in a room by now: whoever isn't is given none of its keys any more."""
        for share, target in [where for where in self._items if where[0][0] == room_id]:
            if target[0] in recipients:
                self._items[share, target].held = False
            else:
                del self._items[share, target]

    def shares(self) -> tuple[Share, ...]:
        """Sessions whose key somebody lacks, oldest first."""
        return tuple(dict.fromkeys(share for share, _ in self._items))

    def due(self, share: Share, now: float) -> dict[Target, _Refused]:
        """Those of a session whose pause is over."""
        return {
            target: item
            for (of, target), item in self._items.items()
            if of == share and not item.held and item.next_try <= now
        }

    def told(self) -> tuple[Refusal, ...]:
        """Each device once a room, with the key that was tried the most."""
        worst: dict[tuple[str, Target], _Refused] = {}
        for ((room_id, _), target), item in self._items.items():
            known = worst.get((room_id, target))
            if known is None or known.tries < item.tries:
                worst[room_id, target] = item
        return tuple(
            Refusal(room_id, user_id, device_id, item.reason, item.tries)
            for (room_id, (user_id, device_id)), item in worst.items()
        )


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
    refused: set[Target] = field(default_factory=set)
    """Devices that don't have its key."""

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


def keys_of(targets: Mapping[Target, DeviceIdentity]) -> dict[Target, str]:
    """What a session remembers of its devices."""
    return {target: device.identity_key for target, device in targets.items()}


class Courier:
    """Sends Olm messages for one machine. Use only inside `Keeper.run`."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._store = machine.crypto_store
        self.refusals = Refusals()
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
        self.refusals.settle(room_id, recipients)
        key = _room_key(session)
        failed = await self.deliver(targets, "m.room_key", key)
        for target, reason in failed.items():
            self.refusals.note(target, targets[target], key, reason)
        session.refused.update(failed)
        _log.info("room key shared", room=room_id, devices=len(targets) - len(failed), refused=len(failed))
        return session

    async def retry(self, share: Share, devices: Mapping[Target, DeviceIdentity]) -> frozenset[Target]:
        """Try again for one session's refused devices whose pause is over; answers who has its key now.

        `devices`: those that their owners have by now. What is gone, or has other keys, is tried no more. Raises
        Later when the homeserver can't be reached.
        """
        due = self.refusals.due(share, time.monotonic())
        for target in [one for one, item in due.items() if not _is_same(devices.get(one), item.device)]:
            self.refusals.drop(share, target)
            del due[target]
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


def _is_same(now: DeviceIdentity | None, then: DeviceIdentity) -> bool:
    return now is not None and now.identity_key == then.identity_key

"""An actor's encryption: what the rest of the house calls. See results.Crypto for the promises.

    encrypt:      recipients from our own tables ──> live session of exactly these devices ──> ciphertext
                  where only signed devices may: the others are told that the key is withheld, once a session
    decrypt:      session ──> its device belongs to the sender? ──> index never seen elsewhere? ──> inner event
    handle_sync:  device lists outdated first, then each to-device event in a commit of its own, then key stock

A ghost's cipher only encrypts. It follows the bot's: the bot's directory says whose device is whose, the bot's
account keeps the keys of what the ghost says, and what ends the bot's sessions of a room ends the ghost's.

Everything runs inside the keeper, which nothing cancels. It must never take a recipient from a state store, never
answer for another user's device, and never hold the ratchets while it waits for the network.
"""

import asyncio
import json
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog
from mautrix.crypto import InboundGroupSession
from mautrix.types import EventID, RoomID, SessionID
from olm.group_session import OlmGroupSessionError

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.outcomes import Failure, Later
from etb_appservice.matrix.api import Actor, outcomes
from etb_appservice.matrix.chronicle import hour_of, now_ms
from etb_appservice.matrix.handover import Handover
from etb_appservice.matrix.keeper import Keeper
from etb_appservice.matrix.olm import MEGOLM, BadEvent, Machine, dict_of, key_of, text_of
from etb_appservice.matrix.refusals import Devices, Refusals, Target
from etb_appservice.matrix.results import (
    Decrypted,
    Encrypted,
    Held,
    KeyMissing,
    Refusal,
    Rotation,
    SyncResult,
    Told,
    Trust,
    Undecryptable,
    Unreadable,
    Unsigned,
)
from etb_appservice.matrix.sealed import Sealed, open_payload
from etb_appservice.matrix.share import Courier, RoomSession, keys_of, targets_of
from etb_appservice.matrix.store import CryptoStore
from etb_appservice.matrix.trust import Directory

_log = structlog.get_logger(__name__)
_SESSION_CACHE = 2_000
_LOCK_LIMIT = 5_000
_ENOUGH = 1_000
"""More one-time keys than a device may have, so that none are made."""
_LIVE_SESSIONS = 2_000
_UNWEDGE_PAUSE_S = 3_600.0
_WITHHELD_TYPES = frozenset({"m.room_key.withheld", "org.matrix.room_key.withheld"})


class Cipher:
    """The encryption of one actor. Make it with `open_cipher`."""

    def __init__(
        self, keeper: Keeper, machine: Machine, directory: Directory, reader: CryptoStore | None = None
    ) -> None:
        self._keeper = keeper
        self._machine = machine
        self._store = machine.crypto_store
        self._reader = reader or machine.crypto_store
        self._followers: dict[str, Cipher] = {}
        self._directory = directory
        self._actor = machine.actor
        self.courier = Courier(machine, reader)
        self._handover = Handover(machine, directory, self.courier)
        self._rooms: dict[str, RoomSession] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._inbound: OrderedDict[tuple[str, str], InboundGroupSession] = OrderedDict()
        self._unwedged: dict[str, float] = {}

    def device_keys(self) -> dict[str, Any]:
        """Our device's public keys, signed by itself."""
        return self._machine.device_keys()

    @property
    def directory(self) -> Directory:
        """Device lists, for ghosts on the same crypto database and for operators who accept an identity."""
        return self._directory

    @property
    def store(self) -> CryptoStore:
        """This actor's part of the crypto database."""
        return self._store

    def follow(self, ghost: "Cipher") -> None:
        """From now on what happens in rooms happens to this ghost's sessions too."""
        self._followers[ghost.user_id] = ghost

    def unfollow(self, user_id: str) -> None:
        """This ghost has no device any more; its sessions end with it."""
        self._followers.pop(user_id, None)

    @property
    def user_id(self) -> str:
        """Whose encryption it is."""
        return self._actor.mxid

    @property
    def _everybody(self) -> "tuple[Cipher, ...]":
        return (self, *self._followers.values())

    async def publish_fallback_key(self) -> None:
        """Give the device a fallback key and no one-time keys: enough for one that reads nothing.

        Committed before it is published, and safe to repeat. Raises mautrix's errors.
        """
        await self._keeper.run(lambda: self._machine.stock(_ENOUGH, fallback_unused=False))

    # --- out ----------------------------------------------------------------------------------------------

    async def encrypt(
        self,
        room_id: str,
        event_type: str,
        content: Mapping[str, Any],
        recipients: Sequence[str],
        *,
        rotation: Rotation | None = None,
        shared_history: bool = False,
        signed_only: bool = False,
        level: Classification | None = None,
    ) -> Encrypted:
        """See results.Crypto."""
        rule = rotation or Rotation()
        # Who keeps the keys of what is said has this one already.
        people = frozenset(recipients) - {self._reader.account_id} | {self._actor.mxid}
        terms = Terms(people, rule, shared_history, signed_only, level)
        return await self._keeper.run(lambda: self._encrypt(room_id, event_type, content, terms))

    async def _encrypt(
        self,
        room_id: str,
        event_type: str,
        content: Mapping[str, Any],
        terms: "Terms",
    ) -> Encrypted:
        async with self._lock(room_id):
            session = self._rooms.get(room_id)
            if session is None or not await self._is_current(session, terms):
                self._rooms.pop(room_id, None)
                session = await self._open(room_id, terms)
                if len(self._rooms) >= _LIVE_SESSIONS:
                    self._rooms.pop(next(iter(self._rooms)))  # its room's next message makes a new one
                self._rooms[room_id] = session
            hour = hour_of(now_ms())
            if hour > session.hour:
                await self._reader.chronicle.said(session.group.id, hour, session.used)
                session.hour = hour
            body = json.dumps({"room_id": room_id, "type": event_type, "content": dict(content)})
            session.used += 1
            sealed: dict[str, Any] = {
                "algorithm": MEGOLM,
                "sender_key": self._machine.account.identity_key if self._machine.account else "",
                "device_id": self._actor.device_id,
                "session_id": session.group.id,
                "ciphertext": session.group.encrypt(body),
            }
            relation = content.get("m.relates_to")
            if relation is not None:
                sealed["m.relates_to"] = relation
            refused, unread = len(session.refused), session.unreached(self._actor.mxid)
            return Encrypted(sealed, session.group.id, refused, unread, len(session.withheld))

    async def _is_current(self, session: RoomSession, terms: "Terms") -> bool:
        if not terms.fit(session):
            return False
        session.rotation = terms.rotation
        if session.is_due(time.monotonic()):
            return False
        if session.stamp != self._directory.stamp or session.untold:
            stamp, targets, unsigned = await self._sorted(terms)
            if keys_of(targets) != session.devices:
                return False
            await self.courier.tell_withheld(session, unsigned)
            session.stamp = stamp
        return True

    async def _open(self, room_id: str, terms: "Terms") -> RoomSession:
        stamp, targets, unsigned = await self._sorted(terms)
        session = await self.courier.open_session(
            room_id,
            terms.recipients,
            targets,
            stamp=stamp,
            rotation=terms.rotation,
            shared_history=terms.shared_history,
            signed_only=terms.signed_only,
            level=terms.level,
        )
        await self.courier.tell_withheld(session, unsigned)
        return session

    async def _sorted(self, terms: "Terms") -> tuple[int, Devices, Devices]:
        """Devices that are given the key, and those that must not have it."""
        stamp, targets = await self._targets(terms.recipients, never_blind=True)
        signed = await self._signed(targets) if terms.signed_only else targets.keys()
        return (
            stamp,
            {target: device for target, device in targets.items() if target in signed},
            {target: device for target, device in targets.items() if target not in signed},
        )

    async def _targets(self, recipients: frozenset[str], *, never_blind: bool = False) -> tuple[int, Devices]:
        stamp = self._directory.stamp  # read before the lists: a change in between is seen at the next message
        devices = await self._directory.devices_of(sorted(recipients), never_blind=never_blind)
        return stamp, targets_of(devices, (self._actor.mxid, self._actor.device_id))

    async def _signed(self, targets: Devices) -> set[Target]:
        """Those that their owner's accepted identity has signed; any other trust, or none, is no."""
        trust = await self._directory.trust_in(targets.values())
        return {target for target in targets if trust.get(target) is Trust.CROSS_SIGNED}

    async def unsigned_devices(self, user_ids: Sequence[str], *, afresh: bool = False) -> tuple[Unsigned, ...]:
        """See results.Crypto."""

        async def look() -> tuple[Unsigned, ...]:
            if afresh:
                await self._directory.outdate(user_ids)
            _, targets = await self._targets(frozenset(user_ids))
            trust = await self._directory.trust_in(targets.values())
            return tuple(
                Unsigned(*target, device.name or "", trust[target] is Trust.IDENTITY_CHANGED)
                for target, device in sorted(targets.items(), key=lambda one: one[0])
                if trust[target] is not Trust.CROSS_SIGNED
            )

        return await self._keeper.run(look)

    async def accept_identity(self, user_id: str) -> None:
        """See results.Crypto."""
        await self._keeper.run(lambda: self._directory.accept_identity(user_id))

    async def forget_sessions(self, room_id: str) -> None:
        """See results.Crypto."""

        async def forget() -> None:
            for cipher in self._everybody:
                await cipher.end_session(room_id)

        await self._keeper.run(forget)

    async def end_session(self, room_id: str) -> None:
        """This actor's session of a room ends, also one that is being made. Only inside `Keeper.run`."""
        if room_id in self._locks:
            async with self._lock(room_id):
                self._rooms.pop(room_id, None)

    async def members_changed(self, user_ids: Sequence[str]) -> None:
        """See results.Crypto."""
        for cipher in self._everybody:
            cipher.hold_refused(user_ids)
        await self._keeper.run(lambda: self._directory.outdate(user_ids))

    def hold_refused(self, user_ids: Sequence[str]) -> None:
        """What these are due of this actor's waits until a message says that they are in its room."""
        for refusals in self.courier.memories:
            refusals.hold(user_ids, self._rooms)

    async def held(self, room_id: str, since_ms: int) -> Sequence[Held]:
        """See results.Crypto."""
        return await self._keeper.run(lambda: self._handover.held(room_id, since_ms))

    async def export(self, room_id: str, starts: Mapping[str, int]) -> Sequence[dict[str, Any]]:
        """See results.Crypto."""
        return await self._keeper.run(lambda: self._handover.export(room_id, starts))

    async def tell(self, user_id: str, event_type: str, content: Mapping[str, Any]) -> Told:
        """See results.Crypto."""
        return await self._keeper.run(lambda: self._handover.tell(user_id, event_type, content))

    def refused_devices(self) -> tuple[Refusal, ...]:
        """See results.Crypto."""
        return _once(
            [one for cipher in self._everybody for refusals in cipher.courier.memories for one in refusals.told()]
        )

    async def settle_refused(self, room_id: str, recipients: Sequence[str]) -> None:
        """See results.Crypto."""
        people = frozenset(recipients)
        for cipher in self._everybody:
            for refusals in cipher.courier.memories:
                refusals.settle(room_id, people)

    async def retry_refused(self) -> tuple[Refusal, ...]:
        """See results.Crypto."""

        async def retry() -> tuple[Refusal, ...]:
            for cipher in self._everybody:
                await cipher.retry_own()
            return _once([one for cipher in self._everybody for one in cipher.courier.refusals.told()])

        return await self._keeper.run(retry)

    async def retry_own(self) -> None:
        """Try again what this actor owes. Only inside `Keeper.run`."""
        for session in list(self._rooms.values()):
            await self._directory.retry_outdated(sorted(session.recipients))
        try:
            for refusals in self.courier.memories:
                for share in refusals.shares():
                    await self._retry_share(refusals, share)
        except Later as failure:
            _log.warning("refused devices could not be tried again", error=str(failure))

    async def _retry_share(self, refusals: Refusals, share: tuple[str, str]) -> None:
        room_id, session_id = share
        async with self._lock(room_id):
            users = frozenset(user for user, _ in refusals.due(share, time.monotonic()))
            if not users:
                return
            _, devices = await self._targets(users)
            if refusals is self.courier.withheld:
                await self.courier.hand_over(share, devices, await self._signed(devices))
                return
            reached = await self.courier.retry(share, devices)
            live = self._rooms.get(room_id)
            if live is not None and live.group.id == session_id:
                live.refused -= reached

    def _lock(self, room_id: str) -> asyncio.Lock:
        lock = self._locks.get(room_id)
        if lock is None:
            if len(self._locks) >= _LOCK_LIMIT:
                self._locks = {key: lock for key, lock in self._locks.items() if lock.locked()}
            lock = self._locks[room_id] = asyncio.Lock()
        return lock

    # --- in -----------------------------------------------------------------------------------------------

    async def has_session(self, room_id: str, session_id: str) -> bool:
        """See results.Crypto."""

        async def ask() -> bool:
            return await self._store.has_group_session(RoomID(room_id), SessionID(session_id))

        return await self._keeper.run(ask)

    async def decrypt(self, event: Mapping[str, Any]) -> Decrypted | KeyMissing | Undecryptable:
        """See results.Crypto."""
        try:
            content = dict_of(event.get("content"), "content")
            if content.get("algorithm") != MEGOLM:
                return Undecryptable(Unreadable.UNKNOWN_ALGORITHM)
            sealed = Sealed(event, content)
        except BadEvent as reason:
            return Undecryptable(Unreadable.MALFORMED, str(reason))
        return await self._keeper.run(lambda: self._decrypt(sealed))

    async def _decrypt(self, sealed: Sealed) -> Decrypted | KeyMissing | Undecryptable:
        session = await self._session(sealed.room_id, sealed.session_id)
        if session is None:
            code = await self._store.withheld_code(sealed.session_id, sealed.sender)
            return Undecryptable(Unreadable.WITHHELD, code) if code else KeyMissing(sealed.session_id)
        try:
            plaintext, index = session.decrypt(sealed.ciphertext)
        except OlmGroupSessionError as error:
            if str(error) == "UNKNOWN_MESSAGE_INDEX":
                return Undecryptable(Unreadable.WITHHELD, "sent before the point from which we have the key")
            return Undecryptable(Unreadable.MALFORMED, "the ciphertext does not fit its session")
        device_id, trust = await self._sender(sealed.sender, session)
        if trust is None:
            return Undecryptable(Unreadable.WRONG_SENDER)
        if trust is not Trust.UNKNOWN and not await self._store.validate_message_index(
            session.sender_key,
            SessionID(sealed.session_id),
            EventID(sealed.event_id),
            index,
            sealed.timestamp,
        ):
            return Undecryptable(Unreadable.DUPLICATE_INDEX)
        try:
            event_type, content = open_payload(plaintext, sealed)
        except BadEvent as reason:
            return Undecryptable(Unreadable.MALFORMED, str(reason))
        return Decrypted(event_type, content, device_id, trust)

    async def _session(self, room_id: str, session_id: str) -> InboundGroupSession | None:
        key = (room_id, session_id)
        session = self._inbound.get(key)
        if session is None:
            session = await self._store.get_group_session(RoomID(room_id), SessionID(session_id))
            if session is None:
                return None
            self._inbound[key] = session
            if len(self._inbound) > _SESSION_CACHE:
                self._inbound.popitem(last=False)
        else:
            self._inbound.move_to_end(key)
        return session

    async def _sender(self, sender: str, session: InboundGroupSession) -> tuple[str | None, Trust | None]:
        account = self._machine.account
        if account is not None and session.sender_key == account.identity_key:
            own = sender == self._actor.mxid and session.signing_key == account.signing_key
            return (self._actor.device_id, Trust.CROSS_SIGNED) if own else (None, None)
        if session.forwarding_chain:
            return None, None
        owner = await self._directory.owner(sender, session.sender_key, session.signing_key)
        return (owner.device.device_id if owner.device else None), owner.trust

    # --- keys ---------------------------------------------------------------------------------------------

    async def handle_sync(self, sync: Mapping[str, Any], *, since: str) -> SyncResult:
        """Take a /sync response that was asked for with `since` ("" for the first) into the crypto store.

        Repeating it is safe and reports the same sessions. Raises the database's errors: then the position must
        not be stored. What the homeserver can't do just now (taking one-time keys) is tried again at the next one.
        """
        return await self._keeper.run(lambda: self._handle_sync(sync, since))

    async def _handle_sync(self, sync: Mapping[str, Any], since: str) -> SyncResult:
        await self._store.forget_seen(since)
        lists = _part(sync, "device_lists")
        await self._directory.outdate([*_strings(lists.get("changed")), *_strings(lists.get("left"))])
        tally = _Tally()
        events = _part(sync, "to_device").get("events")
        for event in events if isinstance(events, list) else ():
            if isinstance(event, dict):
                await self._take(event, since, tally)
        await self._stock(sync)
        for user_id, identity_key in tuple(self._machine.wedged):
            self._machine.wedged.discard((user_id, identity_key))
            self._keeper.start(partial(self._unwedge, user_id, identity_key))
        return tally.result()

    async def _take(self, event: Mapping[str, Any], since: str, tally: "_Tally") -> None:
        kind = str(event.get("type"))
        try:
            if kind == "m.room.encrypted":
                taken = await self._machine.take(event, since)
                if taken.session is not None:
                    self._inbound.pop(taken.session, None)
                    tally.sessions.append(taken.session)
            elif kind in _WITHHELD_TYPES:
                await self._take_withheld(event, tally)
            elif kind == "m.room_key_request":
                content = dict_of(event.get("content"), "content")
                if content.get("action") == "request":
                    tally.refused_requests += 1
        except BadEvent as reason:
            if kind == "m.room.encrypted":
                tally.olm_failures += 1
            _log.warning("to-device event could not be used", kind=kind[:40], reason=str(reason))

    async def _take_withheld(self, event: Mapping[str, Any], tally: "_Tally") -> None:
        content = dict_of(event.get("content"), "content")
        sender, code = text_of(event.get("sender"), "sender"), text_of(content.get("code"), "code")
        if code == "m.no_olm":
            self._machine.wedged.add((sender, key_of(content.get("sender_key"), "sender_key")))
            return
        room_id = text_of(content.get("room_id"), "room_id")
        session_id = key_of(content.get("session_id"), "session_id")
        if await self._store.put_withheld(room_id, session_id, sender, code):
            tally.withheld.append((room_id, session_id))

    async def _stock(self, sync: Mapping[str, Any]) -> None:
        counts, unused = sync.get("device_one_time_keys_count"), sync.get("device_unused_fallback_key_types")
        if not isinstance(counts, dict):
            return
        count = counts.get("signed_curve25519", 0)
        try:
            with outcomes():
                await self._machine.stock(
                    count if isinstance(count, int) else 0,
                    fallback_unused=not isinstance(unused, list) or "signed_curve25519" in unused,
                )
        except Failure as failure:
            _log.warning("one-time keys could not be uploaded, the next sync tries again", error=str(failure))

    async def _unwedge(self, user_id: str, identity_key: str) -> None:
        """Begin a new Olm session with a device whose old one broke (client-server API, "Recovering from …")."""
        now = time.monotonic()
        if now - self._unwedged.get(identity_key, float("-inf")) < _UNWEDGE_PAUSE_S:
            return
        if len(self._unwedged) >= _LOCK_LIMIT:
            self._unwedged.clear()
        self._unwedged[identity_key] = now
        devices = (await self._directory.devices_of((user_id,)))[user_id]
        device = next((d for d in devices.values() if d.identity_key == identity_key), None)
        if device is None:
            return
        target = (user_id, device.device_id)
        try:
            failed = await self.courier.deliver({target: device}, "m.dummy", {}, fresh=True)
            _log.info("new Olm session after a broken one", user=user_id, reached=not failed)
        except Failure as failure:
            _log.warning("no new Olm session after a broken one", user=user_id, error=str(failure))


@dataclass(frozen=True, slots=True)
class Terms:
    """What a message asks of the session that it is encrypted with."""

    recipients: frozenset[str]
    rotation: Rotation
    shared_history: bool
    signed_only: bool
    level: Classification | None = None
    """What the room is classified as."""

    def fit(self, session: RoomSession) -> bool:
        """Whether a session was made on these terms; when it is replaced is left aside."""
        made_on = (session.recipients, session.shared_history, session.signed_only, session.level)
        return made_on == (self.recipients, self.shared_history, self.signed_only, self.level)


class _Tally:
    """What one sync brought, while it is counted."""

    def __init__(self) -> None:
        self.sessions: list[tuple[str, str]] = []
        self.withheld: list[tuple[str, str]] = []
        self.refused_requests = 0
        self.olm_failures = 0

    def result(self) -> SyncResult:
        return SyncResult(tuple(self.sessions), tuple(self.withheld), self.refused_requests, self.olm_failures)


def _once(told: Sequence[Refusal]) -> tuple[Refusal, ...]:
    """Each device once a room and reason, whoever of us couldn't give it a key."""
    return tuple({(one.room_id, one.user_id, one.device_id, one.reason): one for one in told}.values())


def _part(sync: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = sync.get(name)
    return part if isinstance(part, dict) else {}


def _strings(value: Any) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


async def open_cipher(keeper: Keeper, actor: Actor, store: CryptoStore, bot: Cipher | None = None) -> Cipher:
    """Load an actor's account and make its encryption; a ghost's follows the `bot`'s from then on."""
    machine = Machine(actor, store)
    await keeper.run(machine.reload)
    if bot is None:
        return Cipher(keeper, machine, Directory(machine))
    ghost = Cipher(keeper, machine, bot.directory, bot.store)
    bot.follow(ghost)
    return ghost

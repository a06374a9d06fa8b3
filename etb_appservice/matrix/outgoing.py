"""Our own words on their way out: the live session of each room, and for whom it stands.

recipients from our own tables ──> live session of exactly these devices ──> ciphertext

Where only signed devices may have its key, the others are told that it is withheld, once a session.
"""

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.outcomes import Later
from etb_appservice.matrix.chronicle import hour_of, now_ms
from etb_appservice.matrix.olm import MEGOLM, Machine
from etb_appservice.matrix.refusals import Devices, Refusals, Target
from etb_appservice.matrix.results import Encrypted, Rotation, Trust
from etb_appservice.matrix.share import Courier, RoomSession, keys_of, targets_of
from etb_appservice.matrix.store import CryptoStore
from etb_appservice.matrix.trust import Directory

_log = structlog.get_logger(__name__)
_LOCK_LIMIT = 5_000
_LIVE_SESSIONS = 2_000


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


class Outgoing:
    """For one actor. Use only inside `Keeper.run`; the promises are those of results.Crypto."""

    def __init__(self, machine: Machine, directory: Directory, courier: Courier, reader: CryptoStore) -> None:
        """`reader` keeps the keys of what is said: the actor's own store, or the bot's."""
        self._machine = machine
        self._directory = directory
        self._courier = courier
        self._reader = reader
        self._actor = machine.actor
        self.sessions: dict[str, RoomSession] = {}
        """By room."""
        self._locks: dict[str, asyncio.Lock] = {}

    async def encrypt(
        self,
        room_id: str,
        event_type: str,
        content: Mapping[str, Any],
        terms: Terms,
    ) -> Encrypted:
        """One event for a room."""
        async with self._lock(room_id):
            session = self.sessions.get(room_id)
            if session is None or not await self._is_current(session, terms):
                self.sessions.pop(room_id, None)
                session = await self._open(room_id, terms)
                if len(self.sessions) >= _LIVE_SESSIONS:
                    self.sessions.pop(next(iter(self.sessions)))  # its room's next message makes a new one
                self.sessions[room_id] = session
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

    async def _is_current(self, session: RoomSession, terms: Terms) -> bool:
        if not terms.fit(session):
            return False
        session.rotation = terms.rotation
        if session.is_due(time.monotonic()):
            return False
        if session.stamp != self._directory.stamp or session.untold:
            stamp, targets, unsigned = await self._sorted(terms)
            if keys_of(targets) != session.devices:
                return False
            await self._courier.tell_withheld(session, unsigned)
            session.stamp = stamp
        return True

    async def _open(self, room_id: str, terms: Terms) -> RoomSession:
        stamp, targets, unsigned = await self._sorted(terms)
        session = await self._courier.open_session(
            room_id,
            terms.recipients,
            targets,
            stamp=stamp,
            rotation=terms.rotation,
            shared_history=terms.shared_history,
            signed_only=terms.signed_only,
            level=terms.level,
        )
        await self._courier.tell_withheld(session, unsigned)
        return session

    async def _sorted(self, terms: Terms) -> tuple[int, Devices, Devices]:
        """Devices that are given the key, and those that must not have it."""
        stamp, targets = await self.targets(terms.recipients, never_blind=True)
        signed = await self._signed(targets) if terms.signed_only else targets.keys()
        return (
            stamp,
            {target: device for target, device in targets.items() if target in signed},
            {target: device for target, device in targets.items() if target not in signed},
        )

    async def targets(self, recipients: frozenset[str], *, never_blind: bool = False) -> tuple[int, Devices]:
        """Their devices but our own, as of a stamp of the directory."""
        stamp = self._directory.stamp  # read before the lists: a change in between is seen at the next message
        devices = await self._directory.devices_of(sorted(recipients), never_blind=never_blind)
        return stamp, targets_of(devices, (self._actor.mxid, self._actor.device_id))

    async def _signed(self, targets: Devices) -> set[Target]:
        """Those that their owner's accepted identity has signed; any other trust, or none, is no."""
        trust = await self._directory.trust_in(targets.values())
        return {target for target in targets if trust.get(target) is Trust.CROSS_SIGNED}

    async def end(self, room_id: str) -> None:
        """The session of a room ends, also one that is being made."""
        if room_id in self._locks:
            async with self._lock(room_id):
                self.sessions.pop(room_id, None)

    def hold_refused(self, user_ids: Sequence[str]) -> None:
        """What these are due waits until a message says that they are in its room. Needs no keeper."""
        for refusals in self._courier.memories:
            refusals.hold(user_ids, self.sessions)

    async def retry_refused(self) -> None:
        """Try again what this actor owes."""
        for session in list(self.sessions.values()):
            await self._directory.retry_outdated(sorted(session.recipients))
        try:
            for refusals in self._courier.memories:
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
            _, devices = await self.targets(users)
            if refusals is self._courier.withheld:
                await self._courier.hand_over(share, devices, await self._signed(devices))
                return
            reached = await self._courier.retry(share, devices)
            live = self.sessions.get(room_id)
            if live is not None and live.group.id == session_id:
                live.refused -= reached

    def _lock(self, room_id: str) -> asyncio.Lock:
        lock = self._locks.get(room_id)
        if lock is None:
            if len(self._locks) >= _LOCK_LIMIT:
                self._locks = {key: lock for key, lock in self._locks.items() if lock.locked()}
            lock = self._locks[room_id] = asyncio.Lock()
        return lock

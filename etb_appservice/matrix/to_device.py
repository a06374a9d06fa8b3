"""Keys on their way in: what a sync brings to our device, and what it must have in stock for others.

device lists outdated first, then each to-device event in a commit of its own, then key stock
"""

import time
from collections.abc import Mapping
from functools import partial
from typing import Any

import structlog

from etb_appservice.domain.outcomes import Failure
from etb_appservice.matrix.api import outcomes
from etb_appservice.matrix.incoming import Incoming
from etb_appservice.matrix.keeper import Keeper
from etb_appservice.matrix.olm import BadEvent, Machine, dict_of, key_of, text_of
from etb_appservice.matrix.results import SyncResult
from etb_appservice.matrix.share import Courier
from etb_appservice.matrix.trust import Directory

_log = structlog.get_logger(__name__)
_MOST_UNWEDGED = 5_000
_UNWEDGE_PAUSE_S = 3_600.0
_WITHHELD_TYPES = frozenset({"m.room_key.withheld", "org.matrix.room_key.withheld"})


class _Tally:
    """What one sync brought, while it is counted."""

    def __init__(self) -> None:
        self.sessions: list[tuple[str, str]] = []
        self.withheld: list[tuple[str, str]] = []
        self.refused_requests = 0
        self.olm_failures = 0

    def result(self) -> SyncResult:
        return SyncResult(tuple(self.sessions), tuple(self.withheld), self.refused_requests, self.olm_failures)


class ToDevice:
    """For one actor. Use only inside `Keeper.run`; the promises are those of `Cipher.handle_sync`."""

    def __init__(
        self, keeper: Keeper, machine: Machine, directory: Directory, courier: Courier, incoming: Incoming
    ) -> None:
        """`incoming` forgets sessions whose key has become another."""
        self._keeper = keeper
        self._machine = machine
        self._store = machine.crypto_store
        self._directory = directory
        self._courier = courier
        self._incoming = incoming
        self._unwedged: dict[str, float] = {}

    async def handle(self, sync: Mapping[str, Any], since: str) -> SyncResult:
        """Take one response, with what it was asked for with."""
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

    async def _take(self, event: Mapping[str, Any], since: str, tally: _Tally) -> None:
        kind = str(event.get("type"))
        try:
            if kind == "m.room.encrypted":
                taken = await self._machine.take(event, since)
                if taken.session is not None:
                    self._incoming.forget(taken.session)
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

    async def _take_withheld(self, event: Mapping[str, Any], tally: _Tally) -> None:
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
        if len(self._unwedged) >= _MOST_UNWEDGED:
            self._unwedged.clear()
        self._unwedged[identity_key] = now
        devices = (await self._directory.devices_of((user_id,)))[user_id]
        device = next((d for d in devices.values() if d.identity_key == identity_key), None)
        if device is None:
            return
        target = (user_id, device.device_id)
        try:
            failed = await self._courier.deliver({target: device}, "m.dummy", {}, fresh=True)
            _log.info("new Olm session after a broken one", user=user_id, reached=not failed)
        except Failure as failure:
            _log.warning("no new Olm session after a broken one", user=user_id, error=str(failure))


def _part(sync: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = sync.get(name)
    return part if isinstance(part, dict) else {}


def _strings(value: Any) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []

"""Whose device is this: device lists and identities of everybody we talk to, one directory per crypto database.

A list counts as known only after a query that followed the last change; a change, a departure, an invite and a
join outdate it, durably, until a query succeeds. Only the bot's /sync tells of changes, so all actors on one
database must share one directory. It must never answer with a device of another user than the one asked for.
"""

import asyncio
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import structlog
from mautrix.types import (
    CrossSigner,
    CrossSigningUsage,
    DeviceID,
    DeviceIdentity,
    DeviceKeys,
    QueryKeysResponse,
    UserID,
)

from etb_appservice.domain.outcomes import Failure, Later, Unsure
from etb_appservice.matrix.api import Method, Path, call, outcomes
from etb_appservice.matrix.olm import OURS, BadEvent, Machine, dict_of, key_of, text_of
from etb_appservice.matrix.results import Trust

_log = structlog.get_logger(__name__)
_QUERY_TIMEOUT_MS = 5_000
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 10.0, 900.0
_ASK_AGAIN_S = 5.0
_CACHE_LIMIT = 5_000
_DEVICE_LIMIT = 500
"""More devices of one person than this are not stored: a hostile server could name any number."""

Devices = Mapping[str, DeviceIdentity]


@dataclass(frozen=True, slots=True)
class Owner:
    """The device a session belongs to; `device` None: no device of that user, or with UNKNOWN not known."""

    device: DeviceIdentity | None
    trust: Trust | None


@dataclass(slots=True)
class _Pause:
    until: float
    length: float
    is_ours: bool = False
    """Whether it was our own homeserver that didn't answer, which then takes no message either."""


@dataclass(slots=True, eq=False)
class _Watch:
    """Over one read or query that is under way."""

    changed: set[str] = field(default_factory=set)


class Directory:
    """Device lists. Use only inside `Keeper.run`."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._store = machine.crypto_store
        self.stamp = 0
        """Grows with everything that may have changed a list: compare it before using a session again."""
        self._lists: dict[str, list[DeviceIdentity]] = {}
        self._trust: dict[str, dict[str, Trust]] = {}
        """Of people whose list is in the cache, by owner and identity key."""
        self._watches: list[_Watch] = []
        self._pauses: dict[str, _Pause] = {}
        self._asked: dict[str, float] = {}
        self._query_lock = asyncio.Lock()

    async def outdate(self, user_ids: Iterable[str]) -> None:
        """Their devices may have changed: ask again before the next use. Durable at return."""
        users = tuple(dict.fromkeys(user_ids))
        if not users:
            return
        await self._store.untrack(users)
        for user_id in users:
            self._forget(user_id)
        self.stamp += 1

    async def devices_of(self, user_ids: Sequence[str], *, never_blind: bool = False) -> dict[str, Devices]:
        """Living devices, asking the homeserver for outdated lists; who can't be asked is told as last seen.

        `never_blind`: Later is raised where our own homeserver gives no answer about somebody of whom nothing was
        ever seen: what is said then would never be read by them, and in a moment it will be.
        """
        await self._refresh(user_ids)
        found = await self._read(user_ids)
        if never_blind and any(not found[one] and self._is_unheard(one) for one in user_ids):
            raise Later("the homeserver does not say which devices somebody has")
        return {user_id: {d.device_id: d for d in found[user_id] if not d.deleted} for user_id in user_ids}

    async def signed_devices_of(self, user_id: str) -> Devices | None:
        """Those of the living devices that the identity first seen for this person has signed.

        None when nobody can be asked now: what was last seen doesn't do where the past is given away.
        """
        if not await self._refresh((user_id,)):
            return None
        found = (await self._read((user_id,)))[user_id]
        return {d.device_id: d for d in found if await self._trust_of(d) is Trust.CROSS_SIGNED}

    async def retry_outdated(self, user_ids: Sequence[str]) -> None:
        """Ask again for lists whose query failed and whose pause is over."""
        await self._refresh(user_ids)

    async def owner(self, user_id: str, identity_key: str, signing_key: str) -> Owner:
        """The device of `user_id` with these keys. Asks once more when it isn't among the known ones."""
        asked_before = self._asked.get(user_id, float("-inf"))
        known = await self._refresh((user_id,))
        device = await self._find(user_id, identity_key)
        if device is None and known:
            # News of a device may be on its way to us still: believe "no such device" only right after a query.
            if self._asked.get(user_id) == asked_before and time.monotonic() - asked_before > _ASK_AGAIN_S:
                known = await self._query((user_id,)) == set()
                device = await self._find(user_id, identity_key)
            fresh = known and self._asked.get(user_id) != asked_before
            if device is None and (fresh or await self._store.is_device_of_another(user_id, identity_key)):
                return Owner(None, None)
        if device is None:
            return Owner(None, Trust.UNKNOWN)
        if device.signing_key != signing_key:
            return Owner(None, None)
        return Owner(device, await self._trust_of(device))

    async def trust_in(self, devices: Iterable[DeviceIdentity]) -> dict[tuple[str, str], Trust]:
        """How far each device, as `devices_of` tells it, vouches for its owner, by (user id, device id)."""
        return {(device.user_id, device.device_id): await self._trust_of(device) for device in devices}

    async def accept_identity(self, user_id: str) -> None:
        """An operator took note that a person's identity was replaced."""
        await self._store.accept_identity(user_id)
        self._forget(user_id)
        self.stamp += 1

    @contextmanager
    def _watching(self) -> Iterator[set[str]]:
        """Whose devices may have changed while something is under way; remembered no longer than that."""
        watch = _Watch()
        self._watches.append(watch)
        try:
            yield watch.changed
        finally:
            self._watches.remove(watch)

    def _is_unheard(self, user_id: str) -> bool:
        return user_id in self._pauses and self._pauses[user_id].is_ours

    # --- what is known ------------------------------------------------------------------------------------

    def _forget(self, user_id: str) -> None:
        """What is in the cache, or on its way there."""
        for watch in self._watches:
            watch.changed.add(user_id)
        self._lists.pop(user_id, None)
        self._trust.pop(user_id, None)

    async def _read(self, user_ids: Sequence[str]) -> dict[str, list[DeviceIdentity]]:
        """Lists as they are stored; those known to be up to date, or paused, stay in the cache."""
        found = {user_id: self._lists[user_id] for user_id in user_ids if user_id in self._lists}
        wanted = [user_id for user_id in user_ids if user_id not in found]
        if not wanted:
            return found
        with self._watching() as changed:
            tracked = await self._store.tracked(wanted)
            for user_id in wanted:
                found[user_id] = await self._store.all_devices(UserID(user_id))
                # News may have come since the query: in the cache an outdated list would be taken for a fresh one.
                if user_id not in changed and (user_id in tracked or user_id in self._pauses):
                    if len(self._lists) >= _CACHE_LIMIT:
                        self._lists.clear()
                        self._trust.clear()
                    self._lists[user_id] = found[user_id]
        return found

    async def _find(self, user_id: str, identity_key: str) -> DeviceIdentity | None:
        devices = (await self._read((user_id,)))[user_id]
        return next((d for d in devices if d.identity_key == identity_key), None)

    async def _trust_of(self, device: DeviceIdentity) -> Trust:
        if device.deleted:
            return Trust.DELETED
        user_id = device.user_id
        known = self._trust.get(user_id, {}).get(device.identity_key)
        if known is None:
            with self._watching() as changed:
                known = await self._judge(device)
            # As with lists: what may be outdated by now must not be believed until the next change.
            if user_id in self._lists and user_id not in changed:
                self._trust.setdefault(user_id, {})[device.identity_key] = known
        return known

    async def _judge(self, device: DeviceIdentity) -> Trust:
        keys = await self._store.get_cross_signing_keys(device.user_id)
        master, own = keys.get(CrossSigningUsage.MASTER), keys.get(CrossSigningUsage.SELF)
        if master is None or own is None:
            return Trust.UNSIGNED
        user = device.user_id
        chain = ((own.key, master.key), (device.signing_key, own.key))
        for target, signer in chain:
            if not await self._store.is_key_signed_by(CrossSigner(user, target), CrossSigner(user, signer)):
                return Trust.UNSIGNED
        return Trust.CROSS_SIGNED if master.key == master.first else Trust.IDENTITY_CHANGED

    # --- asking -------------------------------------------------------------------------------------------

    async def _refresh(self, user_ids: Sequence[str]) -> bool:
        """Query outdated lists that are not paused; answers whether all of them are up to date now."""
        unsure = [user_id for user_id in user_ids if user_id not in self._lists or user_id in self._pauses]
        if not unsure:
            return True
        tracked = await self._store.tracked(unsure)
        outdated = [user_id for user_id in unsure if user_id not in tracked]
        if not outdated:
            return True
        now = time.monotonic()
        due = [u for u in outdated if u not in self._pauses or self._pauses[u].until <= now]
        failed = await self._query(due) if due else set()
        return not failed and len(due) == len(outdated)

    async def _query(self, user_ids: Sequence[str]) -> set[str]:
        """Ask for these lists; answers who could not be asked. A failure is remembered and paused, not raised."""
        async with self._query_lock:
            with self._watching() as changed:
                return await self._ask(tuple(dict.fromkeys(user_ids)), changed)

    async def _ask(self, user_ids: Sequence[str], changed: AbstractSet[str]) -> set[str]:
        """One request; `changed` tells of whom there was news meanwhile."""
        body = {"device_keys": {user_id: [] for user_id in user_ids}, "timeout": _QUERY_TIMEOUT_MS}
        is_away = False
        try:
            with outcomes():
                answer = await call(self._machine.client, Method.POST, Path.v3.keys.query, body)
        except Failure as failure:
            _log.warning("device lists could not be asked for", users=len(user_ids), error=str(failure))
            answer, is_away = {}, isinstance(failure, Later | Unsure)
        async with self._store.transaction():  # one commit for all: a room of strangers is many lists
            failed = {user_id for user_id in user_ids if not await self._take(user_id, answer)}
        # What changed while the answer was on its way is outdated again.
        again = [user_id for user_id in user_ids if user_id in changed]
        for user_id in user_ids:
            self._forget(user_id)  # after the commit: what was read before it is old
            if user_id in failed:
                self._pause(user_id, is_ours=is_away)
        await self.outdate(again)
        self.stamp += 1
        return failed

    async def _take(self, user_id: str, answer: dict[str, Any]) -> bool:
        lists = answer.get("device_keys")
        devices = lists.get(user_id) if isinstance(lists, dict) else None
        return isinstance(devices, dict) and await self._take_list(user_id, devices, answer)

    def _pause(self, user_id: str, *, is_ours: bool = False) -> None:
        pause = self._pauses.get(user_id)
        length = _FIRST_PAUSE_S if pause is None or is_ours else min(2 * pause.length, _LONGEST_PAUSE_S)
        self._pauses[user_id] = _Pause(time.monotonic() + length, length, is_ours)
        if len(self._pauses) > _CACHE_LIMIT:
            for other in sorted(self._pauses, key=lambda paused: self._pauses[paused].until)[: _CACHE_LIMIT // 2]:
                # That a list in the cache is outdated shows in its pause alone: without it the store is asked.
                del self._pauses[other]
                self._forget(other)

    async def _take_list(self, user_id: str, devices: dict[str, Any], answer: dict[str, Any]) -> bool:
        good: dict[DeviceID, DeviceKeys] = {}
        for device_id, raw in list(devices.items())[:_DEVICE_LIMIT]:
            try:
                good[DeviceID(device_id)] = _checked_device(user_id, device_id, raw)
            except (BadEvent, ValueError, TypeError, KeyError, AttributeError) as error:
                _log.warning("device with invalid keys ignored", user=user_id, error=type(error).__name__)
        try:
            async with self._store.transaction():
                await self._machine._process_fetched_keys(  # noqa: SLF001 - its checks and bookkeeping of signatures
                    UserID(user_id), good, _identity_part(user_id, good, answer)
                )
        except OURS:
            raise
        except Exception as error:  # noqa: BLE001 - mautrix raises what it likes on hostile input
            _log.warning("device list that can't be read ignored", user=user_id, error=type(error).__name__)
            await self._store.untrack((user_id,))
            return False
        self._pauses.pop(user_id, None)
        if len(self._asked) >= _CACHE_LIMIT:
            self._asked.clear()
        self._asked[user_id] = time.monotonic()
        return True


def _checked_device(user_id: str, device_id: str, raw: Any) -> DeviceKeys:
    """A device whose fields have the right form; its signature is checked by mautrix when it is taken."""
    fields = dict_of(raw, "device")
    text_of(device_id, "device_id")
    if fields.get("user_id") != user_id or fields.get("device_id") != device_id:
        raise BadEvent("the device names another user or device")
    keys = dict_of(fields.get("keys"), "keys")
    key_of(keys.get(f"curve25519:{device_id}"), "curve25519")
    key_of(keys.get(f"ed25519:{device_id}"), "ed25519")
    dict_of(fields.get("signatures"), "signatures")
    name = fields.get("unsigned", {})
    plain = {**fields, "unsigned": {}}
    if isinstance(name, dict) and isinstance(name.get("device_display_name"), str):
        shown = "".join(letter for letter in name["device_display_name"][:100] if letter.isprintable())
        plain["unsigned"] = {"device_display_name": shown}
    parsed: DeviceKeys = DeviceKeys.deserialize(cast(Any, plain))
    return parsed


def _identity_part(user_id: str, devices: dict[DeviceID, DeviceKeys], answer: dict[str, Any]) -> QueryKeysResponse:
    """The answer's part about one user; a person without a readable identity simply has none."""
    raw: dict[str, Any] = {}
    for name in ("master_keys", "self_signing_keys"):
        part = answer.get(name)
        keys = part.get(user_id) if isinstance(part, dict) else None
        if not isinstance(keys, dict) or keys.get("user_id") != user_id:
            continue
        if isinstance(keys.get("signatures", {}), dict):
            raw[name] = {user_id: {"signatures": {}, **keys}}
    try:
        parsed: QueryKeysResponse = QueryKeysResponse.deserialize(cast(Any, raw))
        for part in (parsed.master_keys, parsed.self_signing_keys):
            for keys in part.values():
                key_of(keys.first_ed25519_key, "cross-signing key")
                keys.signatures.setdefault(UserID(user_id), {})
    except Exception as error:  # noqa: BLE001 - mautrix's parser raises what it likes on hostile input
        _log.warning("identity that can't be read ignored", user=user_id, error=type(error).__name__)
        parsed = QueryKeysResponse()
    parsed.device_keys = {UserID(user_id): devices}
    return parsed

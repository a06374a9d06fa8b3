"""The Olm account and its ratchets: mautrix's OlmMachine with the steps in an order that a crash can't break.

    ratchets()   one lock, one store transaction; on any error the memory is thrown away and read back
    take()       a to-device event: Olm decryption, room key and the memory of it in one commit
    stock()      one-time and fallback keys: generate, store, upload, mark, store

It must never call the network while it holds the ratchets, and never use mautrix's own handlers: they start
background tasks inside transactions.
"""

import asyncio
import json
import logging
import sqlite3
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

import asyncpg
import structlog
from mautrix.crypto import InboundGroupSession, OlmAccount, OlmMachine, StateStore
from mautrix.crypto.signature import sign_olm
from mautrix.types import (
    EncryptionKeyAlgorithm,
    IdentityKey,
    KeyID,
    OlmCiphertext,
    OlmMsgType,
    RoomEncryptionStateEventContent,
    RoomID,
    SigningKey,
    UserID,
)
from mautrix.util.logging import TraceLogger

from etb_appservice.matrix.api import Actor, Method, Path, call
from etb_appservice.matrix.store import CryptoStore, digest_of

MEGOLM = "m.megolm.v1.aes-sha2"
OLM = "m.olm.v1.curve25519-aes-sha2"
OURS = (sqlite3.Error, asyncpg.PostgresError, asyncpg.InterfaceError, OSError)
"""Errors that are the database's, not the event's: they must stop the key loop, not the event."""

_log = structlog.get_logger(__name__)
_OLM_CACHE_LIMIT = 2_000
_ID_LIMIT = 255
_KEY_LENGTH = 43
_MARKS = ("org.matrix.msc3061.shared_history", "m.shared_history", "shared_history")
"""MSC3061 and MSC4268, in the spellings that are on the way."""
_RECOUNT_S = 60.0
_FALLBACK_PAUSE_S = 300.0


class BadEvent(Exception):
    """What came can't be used; the text names what is wrong, never content."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A handled to-device event. `session` is (room id, session id) when it brought a room key."""

    kind: str
    session: tuple[str, str] | None = None


class _NoRooms(StateStore):
    """mautrix asks it which rooms exist; we decide about sessions ourselves, so it knows none."""

    async def is_encrypted(self, room_id: RoomID) -> bool:
        del room_id
        return True

    async def get_encryption_info(self, room_id: RoomID) -> RoomEncryptionStateEventContent | None:
        del room_id
        return None

    async def find_shared_rooms(self, user_id: UserID) -> list[RoomID]:
        del user_id
        return []


def text_of(value: Any, what: str, *, limit: int = _ID_LIMIT) -> str:
    """A string every database can hold: no NUL, no lone surrogate, bounded. Raises BadEvent."""
    if not isinstance(value, str) or not value:
        raise BadEvent(f"{what} is missing or not a string")
    if len(value) > limit or "\x00" in value or not value.isprintable():
        raise BadEvent(f"{what} is too long or holds characters that don't belong there")
    return value


def key_of(value: Any, what: str) -> str:
    """An unpadded base64 key of 32 bytes. Raises BadEvent."""
    key = text_of(value, what)
    if len(key) != _KEY_LENGTH:
        raise BadEvent(f"{what} is not a key of 43 characters")
    return key


def dict_of(value: Any, what: str) -> Mapping[str, Any]:
    """A JSON object. Raises BadEvent."""
    if not isinstance(value, dict):
        raise BadEvent(f"{what} is not an object")
    return value


def is_marked(room_key: Mapping[str, Any]) -> bool:
    """Whether a room key says that it may be passed on to people invited later: in any spelling, without a no."""
    said = [room_key[name] for name in _MARKS if name in room_key]
    return bool(said) and all(word is True for word in said)


class Machine(OlmMachine):
    """One actor's Olm account. Use only inside `Keeper.run`."""

    crypto_store: CryptoStore

    def __init__(self, actor: Actor, store: CryptoStore) -> None:
        super().__init__(actor.client, store, _NoRooms(), cast(TraceLogger, logging.getLogger("mau.crypto")))
        self.actor = actor
        self.wedged: set[tuple[str, str]] = set()
        """(user, identity key) with whom a new Olm session is wanted."""
        self._ratchet_lock = asyncio.Lock()
        self._stock_lock = asyncio.Lock()
        self._stocked_at = float("-inf")
        self._fallback_at = float("-inf")

    @asynccontextmanager
    async def ratchets(self) -> AsyncIterator[OlmAccount]:
        """Hold the account and all Olm sessions: what happens inside is committed together or not at all."""
        async with self._ratchet_lock:
            if len(self.crypto_store._olm_cache) > _OLM_CACHE_LIMIT:  # noqa: SLF001 - nobody else holds them now
                self.crypto_store._olm_cache.clear()  # noqa: SLF001
            try:
                async with self.crypto_store.transaction():
                    if self.account is None:
                        raise RuntimeError("the Olm account was not loaded")
                    yield self.account
            except BaseException:
                await self.reload()
                raise

    async def reload(self) -> None:
        """Rebuild what is in memory from the store."""
        self.crypto_store.forget_memory()
        self.account = await self.crypto_store.get_account()

    # --- to-device ----------------------------------------------------------------------------------------

    async def take(self, event: Mapping[str, Any], since: str) -> Taken:
        """Handle one `m.room.encrypted` to-device event, exactly once per position `since`.

        Raises BadEvent when it can't be read, and the database's own errors.
        """
        try:
            digest = digest_of(event)
            async with self.ratchets() as account:
                before = await self.crypto_store.seen(digest)
                if before is not None:
                    return Taken("again", before if before[1] else None)
                sender, sender_key, payload = await self._open(event, account)
                taken = await self._apply(sender, sender_key, payload)
                room_id, session_id = taken.session or ("", "")
                await self.crypto_store.mark_seen(digest, since, room_id, session_id)
                return taken
        except (BadEvent, *OURS):
            raise
        except Exception as error:
            raise BadEvent(f"Olm decryption failed ({type(error).__name__})") from error

    async def _open(self, event: Mapping[str, Any], account: OlmAccount) -> tuple[str, str, Mapping[str, Any]]:
        sender = text_of(event.get("sender"), "sender")
        content = dict_of(event.get("content"), "content")
        if content.get("algorithm") != OLM:
            raise BadEvent("algorithm is not Olm")
        sender_key = key_of(content.get("sender_key"), "sender_key")
        boxes = dict_of(content.get("ciphertext"), "ciphertext")
        box = dict_of(boxes.get(account.identity_key), "ciphertext for this device")
        kind, body = box.get("type"), box.get("body")
        if kind not in (0, 1) or isinstance(kind, bool) or not isinstance(body, str):
            raise BadEvent("the Olm message has no type or body")
        plaintext = await self._decrypt_olm_ciphertext(
            UserID(sender), IdentityKey(sender_key), OlmCiphertext(type=OlmMsgType(kind), body=body)
        )
        payload = dict_of(json.loads(plaintext), "payload")
        if payload.get("sender") != sender:
            raise BadEvent("the payload names another sender")
        if payload.get("recipient") != self.actor.mxid:
            raise BadEvent("the payload names another recipient")
        if dict_of(payload.get("recipient_keys"), "recipient_keys").get("ed25519") != account.signing_key:
            raise BadEvent("the payload is for another device")
        return sender, sender_key, payload

    async def _apply(self, sender: str, sender_key: str, payload: Mapping[str, Any]) -> Taken:
        kind = payload.get("type")
        if kind != "m.room_key":
            # Forwarded keys are never asked for, so never taken; secrets and verifications are not ours to answer.
            return Taken(kind if isinstance(kind, str) else "unknown")
        content = dict_of(payload.get("content"), "m.room_key content")
        if content.get("algorithm") != MEGOLM:
            raise BadEvent("the room key is for an unknown algorithm")
        signing_key = key_of(dict_of(payload.get("keys"), "keys").get("ed25519"), "keys.ed25519")
        room_id = text_of(content.get("room_id"), "room_id")
        session_id = key_of(content.get("session_id"), "session_id")
        session = InboundGroupSession(
            text_of(content.get("session_key"), "session_key", limit=2_000),
            signing_key=SigningKey(signing_key),
            sender_key=IdentityKey(sender_key),
            room_id=RoomID(room_id),
        )
        if session.id != session_id:
            raise BadEvent("the room key is not the one it says it is")
        if not await self.crypto_store.keep_room_key(session, is_marked=is_marked(content)):
            _log.warning("room key refused, its session belongs to another device", room=room_id, sender=sender)
            return Taken("m.room_key")
        return Taken("m.room_key", (room_id, session_id))

    async def _unwedge_session(self, sender: UserID, sender_key: IdentityKey) -> None:
        """Mautrix starts this as a task inside our transaction; only note it, the cipher acts afterwards."""
        self.wedged.add((sender, sender_key))

    async def on_devices_changed(self, user_id: UserID) -> None:
        """Nothing to do: mautrix would drop its stored sessions; ours compare the directory's stamp instead."""
        del user_id

    # --- our own keys -------------------------------------------------------------------------------------

    async def stock(self, on_server: int, *, fallback_unused: bool) -> None:
        """Keep one-time keys stocked and an unused fallback key published (client-server API, /keys/upload).

        `on_server`: unclaimed signed_curve25519 keys by the server's count. Each step can be repeated after a
        crash: keys are committed before anybody can claim them. Raises mautrix's errors.
        """
        async with self._stock_lock:
            now = time.monotonic()
            want_fallback = not fallback_unused and now - self._fallback_at > _FALLBACK_PAUSE_S
            if self.account is None:
                raise RuntimeError("the Olm account was not loaded")
            want = self.account.max_one_time_keys // 2
            if on_server >= want // 2 and not want_fallback:
                return
            if now - self._stocked_at < _RECOUNT_S:
                on_server = await self._count()  # the count in a /sync may be older than our last upload
            await self._stock(max(0, want - on_server), want_fallback=want_fallback)
            self._stocked_at = time.monotonic()
            if want_fallback:
                self._fallback_at = time.monotonic()

    async def _count(self) -> int:
        answer = await call(self.client, Method.POST, Path.v3.keys.upload, {})
        count = answer.get("one_time_key_counts", {}).get("signed_curve25519", 0)
        return count if isinstance(count, int) else 0

    async def _stock(self, missing: int, *, want_fallback: bool) -> None:
        async with self.ratchets() as account:
            unpublished = len(account.one_time_keys.get("curve25519", {}))
            if missing > unpublished:
                account.generate_one_time_keys(missing - unpublished)
            if want_fallback and not account.fallback_key.get("curve25519"):
                account.generate_fallback_key()
            await self.crypto_store.put_account(account)
            one_time = self._signed(account, account.one_time_keys.get("curve25519", {}), {})
            fallback = self._signed(account, account.fallback_key.get("curve25519", {}), {"fallback": True})
        if not one_time and not fallback:
            return
        body: dict[str, Any] = {"one_time_keys": one_time}
        if fallback:
            body["fallback_keys"] = body["org.matrix.msc2732.fallback_keys"] = fallback
        await call(self.client, Method.POST, Path.v3.keys.upload, body)
        async with self.ratchets() as account:
            account.mark_keys_as_published()
            await self.crypto_store.put_account(account)
        _log.info("one-time keys uploaded", count=len(one_time), fallback=bool(fallback))

    def _signed(self, account: OlmAccount, keys: Mapping[str, str], extra: dict[str, Any]) -> dict[str, Any]:
        signed: dict[str, Any] = {}
        name = str(KeyID(EncryptionKeyAlgorithm.ED25519, self.actor.device_id))
        for key_id, key in keys.items():
            value: dict[str, Any] = {"key": key, **extra}
            signature = sign_olm(dict(value), account)
            signed[f"signed_curve25519:{key_id}"] = {**value, "signatures": {self.actor.mxid: {name: signature}}}
        return signed

    def device_keys(self) -> dict[str, Any]:
        """Our device's public keys, signed by itself, as /keys/upload takes them."""
        if self.account is None:
            raise RuntimeError("the Olm account was not loaded")
        keys: dict[str, Any] = self.account.get_device_keys(
            UserID(self.actor.mxid), self.actor.client.device_id
        ).serialize()
        keys.pop("unsigned", None)
        return keys

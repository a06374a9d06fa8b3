"""The vault: everything that people wrote is stored only as AES-256-GCM under keys that can be destroyed.

    CHAT_ENCRYPTION_KEY  32 bytes; wraps and never encrypts content; can be replaced (roots.py)
    └── HKDF-SHA256 by purpose: "wrap", "audit", "check", "handover", and what others ask of `derive`
        └── one key per scope         room:<id>, queue, etb, keepsakes
            └── one content key per (scope, data class, month)   seals the values

A sealed value: version (1 byte), id of its key (16), nonce (12), ciphertext and tag (NIST SP 800-38D). Its
associated data names the table, the row and the key, so a value moved elsewhere doesn't open. Destroying a key
is deletion. Must never show key material or plaintext in an error, a log or a repr.
"""

import base64
import binascii
import hashlib
import hmac
import os
import time
from collections.abc import Sequence
from contextlib import suppress

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import Connection, text

from etb_appservice.store import roots
from etb_appservice.store.codec import whole
from etb_appservice.store.errors import Erased, MalformedKey, Tampered
from etb_appservice.store.roots import NONCE, Root, bound_to, check_root_key, joined

_VERSION = b"\x01"
_ID = 16
_HEAD = 1 + _ID + NONCE
_MOST_CACHED = 8192

_FIND = text(
    "SELECT id, parent, wrapped FROM vault_keys"
    " WHERE scope = :scope AND data_class = :data_class AND period = :period"
)
_GET = text("SELECT parent, scope, data_class, period, wrapped FROM vault_keys WHERE id = :id")
_ADD = text(
    "INSERT INTO vault_keys (id, parent, scope, data_class, period, wrapped, created_ms)"
    " VALUES (:id, :parent, :scope, :data_class, :period, :wrapped, :now) ON CONFLICT DO NOTHING"
)
_LIST = text("SELECT id FROM vault_keys WHERE id = :id OR parent = :id")
_DESTROY = text("DELETE FROM vault_keys WHERE id = :id OR parent = :id")
_SET_CHECK = text(
    "INSERT INTO vault_check (id, value, created_ms) VALUES (1, :value, :now) ON CONFLICT DO NOTHING"
)


def read_root_key(value: str) -> bytes:
    """CHAT_ENCRYPTION_KEY as the operator wrote it (base64, standard or URL alphabet); raises MalformedKey."""
    try:
        root = base64.b64decode(value.strip().replace("-", "+").replace("_", "/"), validate=True)
    except (binascii.Error, ValueError):
        raise MalformedKey(
            "CHAT_ENCRYPTION_KEY isn't base64; make one with: openssl rand -base64 32 (for a new database only)"
        ) from None
    return check_root_key(root)


class Vault:
    """The root key's derivatives and the keys opened so far. Does no I/O; a `Keyring` does, per unit of work."""

    def __init__(self, root: bytes) -> None:
        self.given = Root(root)
        """Of the settings with which this process was started."""
        self.roots: tuple[Root, ...] = (self.given,)
        """The present one first, and those before it: a view of an earlier moment may still need them."""
        self._former_audits: tuple[bytes, ...] = ()
        self.opened: dict[bytes, AESGCM] = {}
        self.current: dict[tuple[str, str, str], bytes] = {}

    def __repr__(self) -> str:
        return "Vault()"

    @property
    def is_behind(self) -> bool:
        """Whether the settings with which this process was started hold a former key."""
        return self.roots[0] is not self.given

    def derive(self, purpose: str) -> bytes:
        """32 bytes for one purpose (HKDF, RFC 5869): the same again for the same CHAT_ENCRYPTION_KEY."""
        return self.roots[0].derive(purpose)

    def tag(self, content: str) -> str:
        """The keyed hash (HMAC-SHA-256, hex) that stands for a text in the audit log."""
        return _tag(self.roots[0].audit, content)

    def tags(self, content: str) -> tuple[str, ...]:
        """What may stand for a text in the audit log: by the present key, and by each one before it."""
        return (self.tag(content), *(_tag(key, content) for key in self._former_audits))

    def check(self, connection: Connection, now_ms: int, *, may_write: bool, is_late: bool = False) -> None:
        """Compare the key with the one this database has; remember it at first use. Raises WrongKey.

        `is_late`: a former one may be used beyond its overlap, to write the present one into the settings.
        """
        if may_write and roots.present(connection) is None:
            connection.execute(_SET_CHECK, {"value": self.given.checked, "now": now_ms})
        self.follow(connection, now_ms, is_late=is_late)

    def follow(self, connection: Connection, now_ms: int, *, is_late: bool = False) -> None:
        """Take over the key that the database has now, if it was replaced since. Raises WrongKey."""
        later = roots.follow(connection, self.roots[0], now_ms, is_late=is_late)
        if later or not self._former_audits:
            self.roots = (*reversed(later), *self.roots)
            self._former_audits = roots.former_audits(connection, self.roots[0])

    def remember(self, key_id: bytes, key: AESGCM, place: tuple[str, str, str]) -> None:
        """Keep an opened key, within bounds."""
        if len(self.opened) >= _MOST_CACHED:
            self.opened.clear()
            self.current.clear()
        self.opened[key_id] = key
        self.current[place] = key_id

    def forget(self, key_ids: set[bytes]) -> None:
        """Drop keys that were destroyed."""
        for key_id in key_ids:
            self.opened.pop(key_id, None)
        for place in [place for place, key_id in self.current.items() if key_id in key_ids]:
            self.current.pop(place, None)


class Keyring:
    """The vault within one unit of work: keys made here are shared with others only once they are committed."""

    def __init__(self, vault: Vault, connection: Connection, now_ms: int) -> None:
        self._vault = vault
        self._connection = connection
        self._now_ms = now_ms
        self._period = time.strftime("%Y-%m", time.gmtime(now_ms / 1000))
        self._fresh: dict[tuple[str, str, str], tuple[bytes, AESGCM]] = {}
        self._destroyed: set[bytes] = set()

    def __repr__(self) -> str:
        return "Keyring()"

    def seal(self, scope: str, data_class: str, table: str, row: str, plaintext: bytes) -> bytes:
        """Encrypt for one row; makes the month's key when there is none yet, in the same commit."""
        key_id, key = self._key((scope, data_class, self._period))
        nonce = os.urandom(NONCE)
        head = _VERSION + key_id + nonce
        return head + key.encrypt(nonce, plaintext, _associated(table, row, key_id))

    def open(self, table: str, row: str, blob: bytes) -> bytes:
        """Decrypt what `seal` made for this row; raises Tampered or Erased."""
        if len(blob) < _HEAD + 16 or blob[:1] != _VERSION:
            raise Tampered(f"a value in table {table} isn't a sealed one")
        key_id, nonce = blob[1 : 1 + _ID], blob[1 + _ID : _HEAD]
        key = self._by_id(key_id)
        if key is None:
            raise Erased(f"the key of a value in table {table} was destroyed")
        try:
            return key.decrypt(nonce, blob[_HEAD:], _associated(table, row, key_id))
        except InvalidTag:
            raise Tampered(
                f"a value in table {table} doesn't open: it was changed or moved to another row; "
                "restore the database from a backup"
            ) from None

    def destroy(self, key_id: bytes) -> int:
        """Destroy a key, and with a scope's key all that it wraps; answers how many. There is no way back."""
        gone = {bytes(row.id) for row in self._connection.execute(_LIST, {"id": key_id})}
        self._connection.execute(_DESTROY, {"id": key_id})
        self._destroyed |= gone
        self._fresh = {place: pair for place, pair in self._fresh.items() if pair[0] not in gone}
        return len(gone)

    def committed(self) -> None:
        """The unit of work is durable: share what it made, drop what it destroyed."""
        for place, (key_id, key) in self._fresh.items():
            self._vault.remember(key_id, key, place)
        self._vault.forget(self._destroyed)

    def _key(self, place: tuple[str, str, str]) -> tuple[bytes, AESGCM]:
        if place in self._fresh:
            return self._fresh[place]
        key_id = self._vault.current.get(place)
        if key_id is not None and key_id not in self._destroyed:
            key = self._vault.opened.get(key_id)
            if key is not None:
                return key_id, key
        return self._find(place) or self._make(place)

    def _find(self, place: tuple[str, str, str]) -> tuple[bytes, AESGCM] | None:
        scope, data_class, period = place
        row = self._connection.execute(
            _FIND, {"scope": scope, "data_class": data_class, "period": period}
        ).one_or_none()
        if row is None:
            return None
        key_id = bytes(row.id)
        key = self._unwrap(key_id, row.parent, place, bytes(row.wrapped))
        self._vault.remember(key_id, key, place)
        return key_id, key

    def _make(self, place: tuple[str, str, str]) -> tuple[bytes, AESGCM]:
        scope, data_class, period = place
        parent = self._key((scope, "", "")) if data_class else None
        key_id, raw, nonce = os.urandom(_ID), os.urandom(32), os.urandom(NONCE)
        if parent is None:
            # Under the key that the database has at this moment, which nobody changes before our commit.
            roots.lock(self._connection)
            self._vault.follow(self._connection, self._now_ms)
        wrapping = parent[1] if parent else self._vault.roots[0].wrapping
        wrapped = nonce + wrapping.encrypt(nonce, raw, bound_to(key_id, parent and parent[0], place))
        added = self._connection.execute(
            _ADD,
            {
                "id": key_id,
                "parent": parent and parent[0],
                "scope": scope,
                "data_class": data_class,
                "period": period,
                "wrapped": wrapped,
                "now": self._now_ms,
            },
        )
        if added.rowcount == 0:  # another process was first, and has committed since
            found = self._find(place)
            if found is None:
                raise Erased("a key was destroyed while it was being made; try again")
            return found
        self._fresh[place] = key_id, AESGCM(raw)
        return self._fresh[place]

    def _by_id(self, key_id: bytes) -> AESGCM | None:
        if key_id in self._destroyed:
            return None
        key = self._vault.opened.get(key_id)
        if key is not None:
            return key
        for fresh_id, fresh in self._fresh.values():
            if fresh_id == key_id:
                return fresh
        row = self._connection.execute(_GET, {"id": key_id}).one_or_none()
        if row is None:
            return None
        place = (row.scope, row.data_class, row.period)
        key = self._unwrap(key_id, row.parent, place, bytes(row.wrapped))
        self._vault.remember(key_id, key, place)
        return key

    def _unwrap(self, key_id: bytes, parent: bytes | None, place: tuple[str, str, str], wrapped: bytes) -> AESGCM:
        bound = bound_to(key_id, parent and bytes(parent), place)
        if parent is not None:
            wrapping = self._by_id(bytes(parent))
            if wrapping is None:
                raise Erased("the key that wraps a key was destroyed")
            raw = _opened([wrapping], wrapped, bound)
        else:
            raw = _opened([root.wrapping for root in self._vault.roots], wrapped, bound)
            if raw is None:  # replaced since this process last looked
                self._vault.follow(self._connection, self._now_ms)
                raw = _opened([self._vault.roots[0].wrapping], wrapped, bound)
        if raw is None:
            raise Tampered(
                "a key in table vault_keys doesn't open: it was changed; restore the database from a backup"
            )
        return AESGCM(raw)


def _opened(keys: Sequence[AESGCM], wrapped: bytes, bound: bytes) -> bytes | None:
    """What the first key that fits unwraps; None when none does."""
    for key in keys:
        with suppress(InvalidTag):
            return key.decrypt(wrapped[:NONCE], wrapped[NONCE:], bound)
    return None


def _tag(key: bytes, content: str) -> str:
    return hmac.new(key, content.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


def _associated(table: str, row: str, key_id: bytes) -> bytes:
    return joined(table.encode(), whole(row).encode(), key_id)

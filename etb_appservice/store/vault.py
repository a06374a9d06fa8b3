"""The vault: everything that people wrote is stored only as AES-256-GCM under keys that can be destroyed.

    CHAT_ENCRYPTION_KEY  32 bytes; wraps and never encrypts content
    └── HKDF-SHA256 by purpose: "wrap", "audit", "check", and what others ask of `derive`
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

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from sqlalchemy import Connection, text

from etb_appservice.store.codec import whole
from etb_appservice.store.errors import Erased, MalformedKey, Tampered, WrongKey

_ROOT_BYTES = 32
_VERSION = b"\x01"
_ID = 16
_NONCE = 12
_HEAD = 1 + _ID + _NONCE
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
_CHECK = text("SELECT value FROM vault_check WHERE id = 1")
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


def check_root_key(root: bytes) -> bytes:
    """`root` itself; raises MalformedKey unless it is 32 bytes long."""
    if len(root) != _ROOT_BYTES:
        raise MalformedKey(
            f"CHAT_ENCRYPTION_KEY is {len(root)} bytes long and must be {_ROOT_BYTES}; make one with: "
            "openssl rand -base64 32 (for a new database only)"
        )
    return root


class Vault:
    """The root key's derivatives and the keys opened so far. Does no I/O; a `Keyring` does, per unit of work."""

    def __init__(self, root: bytes) -> None:
        self._root = check_root_key(root)
        self._audit = self.derive("audit")
        self.wrapping = AESGCM(self.derive("wrap"))
        self.opened: dict[bytes, AESGCM] = {}
        self.current: dict[tuple[str, str, str], bytes] = {}

    def __repr__(self) -> str:
        return "Vault()"

    def derive(self, purpose: str) -> bytes:
        """32 bytes for one purpose (HKDF, RFC 5869): the same again for the same CHAT_ENCRYPTION_KEY."""
        info = b"etb_appservice\x00" + purpose.encode()
        return HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(self._root)

    def tag(self, content: str) -> str:
        """The keyed hash (HMAC-SHA-256, hex) that stands for a text in the audit log."""
        return hmac.new(self._audit, content.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()

    def check(self, connection: Connection, now_ms: int, *, may_write: bool) -> None:
        """Compare the key with the one this database was begun with; remember it at first use. Raises WrongKey."""
        mine = hmac.new(self.derive("check"), b"the key of this database", hashlib.sha256).digest()
        stored = connection.execute(_CHECK).scalar()
        if stored is None and may_write:
            connection.execute(_SET_CHECK, {"value": mine, "now": now_ms})
            stored = connection.execute(_CHECK).scalar_one()
        if stored is not None and not hmac.compare_digest(bytes(stored), mine):
            raise WrongKey(
                "CHAT_ENCRYPTION_KEY isn't the key with which this database was begun, so nothing in it could "
                "be read; put the earlier key back, or point database.url to a new database"
            )

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
        nonce = os.urandom(_NONCE)
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
        key_id, raw, nonce = os.urandom(_ID), os.urandom(32), os.urandom(_NONCE)
        wrapping = parent[1] if parent else self._vault.wrapping
        wrapped = nonce + wrapping.encrypt(nonce, raw, _place(key_id, parent and parent[0], place))
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
        wrapping = self._vault.wrapping if parent is None else self._by_id(bytes(parent))
        if wrapping is None:
            raise Erased("the key that wraps a key was destroyed")
        try:
            raw = wrapping.decrypt(
                wrapped[:_NONCE], wrapped[_NONCE:], _place(key_id, parent and bytes(parent), place)
            )
        except InvalidTag:
            raise Tampered(
                "a key in table vault_keys doesn't open: it was changed; restore the database from a backup"
            ) from None
        return AESGCM(raw)


def _associated(table: str, row: str, key_id: bytes) -> bytes:
    return _joined(table.encode(), whole(row).encode(), key_id)


def _place(key_id: bytes, parent: bytes | None, place: tuple[str, str, str]) -> bytes:
    return _joined(b"vault_keys", key_id, parent or b"", *(part.encode() for part in place))


def _joined(*parts: bytes) -> bytes:
    """Parts with their lengths, so that no two lists of parts look the same."""
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)

"""CHAT_ENCRYPTION_KEY as what is derived from it, and how another one takes its place.

    vault_check   what only the present key can make
    vault_former  for each key before it: what only that one can make; its audit key, under the present key;
                  during the overlap the present key, under that one ("handover"), and until when

A process that still has a former key finds the present one by its handover, also over several rotations: `follow`.
All of it is written in one commit (`rekey`): before it the database opens with the one key, after it with the new
one, and until the overlap ends with the former one too. Must never show a key.
"""

import hashlib
import hmac
import os
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from sqlalchemy import Connection, text

from etb_appservice.domain.text import moment
from etb_appservice.store.errors import MalformedKey, Tampered, WrongKey

ROOT_BYTES = 32
NONCE = 12
_LOCK = text("SELECT pg_advisory_xact_lock(4543554, 2)")
_CHECK = text("SELECT value FROM vault_check WHERE id = 1")
_FORMER = text("SELECT handover, replaced_ms, until_ms FROM vault_former WHERE checked = :checked")
_AUDITS = text("SELECT epoch, checked, audit FROM vault_former ORDER BY epoch DESC")
_TOPS = text("SELECT id, scope, data_class, period, wrapped FROM vault_keys WHERE parent IS NULL")
_REWRAP = text("UPDATE vault_keys SET wrapped = :wrapped WHERE id = :id")
_REWRAP_AUDIT = text("UPDATE vault_former SET audit = :audit WHERE epoch = :epoch")
_ADD = text(
    "INSERT INTO vault_former (epoch, checked, audit, handover, replaced_ms, until_ms, is_placed)"
    " SELECT coalesce(max(epoch), 0) + 1, :checked, :audit, :handover, :now, :until, :no FROM vault_former"
)
_SET_CHECK = text("UPDATE vault_check SET value = :value, created_ms = :now WHERE id = 1")
_PLACED = text("UPDATE vault_former SET is_placed = :yes")
_END = text(
    "UPDATE vault_former SET handover = NULL"
    " WHERE handover IS NOT NULL AND until_ms <= :now AND (is_placed OR :knows_present)"
)
_SINCE = text("SELECT created_ms FROM vault_check WHERE id = 1")
_UNTIL = text("SELECT max(until_ms) FROM vault_former WHERE handover IS NOT NULL")
_FINISH = "`etb-appservice rotate encryption-key` writes the present one into the settings"


def check_root_key(root: bytes) -> bytes:
    """`root` itself; raises MalformedKey unless it is 32 bytes long."""
    if len(root) != ROOT_BYTES:
        raise MalformedKey(
            f"CHAT_ENCRYPTION_KEY is {len(root)} bytes long and must be {ROOT_BYTES}; make one with: "
            "openssl rand -base64 32 (for a new database only)"
        )
    return root


class Root:
    """One CHAT_ENCRYPTION_KEY, by purpose (HKDF-SHA-256, RFC 5869). Does no I/O."""

    def __init__(self, raw: bytes) -> None:
        self.raw = check_root_key(raw)
        self.wrapping = AESGCM(self.derive("wrap"))
        self.audit = self.derive("audit")
        self.checked = hmac.new(self.derive("check"), b"the key of this database", hashlib.sha256).digest()

    def __repr__(self) -> str:
        return "Root()"

    def derive(self, purpose: str) -> bytes:
        """32 bytes for one purpose: the same again for the same key."""
        info = b"etb_appservice\x00" + purpose.encode()
        return HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(self.raw)

    def hand_over(self, to: "Root") -> bytes:
        """The key that follows, for whoever still has this one."""
        return _seal(AESGCM(self.derive("handover")), to.raw, joined(b"handover", self.checked))

    def follower(self, handover: bytes) -> "Root":
        """What `hand_over` sealed. Raises Tampered."""
        return Root(_open(AESGCM(self.derive("handover")), handover, joined(b"handover", self.checked)))

    def keep_audit(self, checked: bytes, audit: bytes) -> bytes:
        """A former audit key, under this key."""
        return _seal(self.wrapping, audit, joined(b"audit", checked))

    def kept_audit(self, checked: bytes, kept: bytes) -> bytes:
        """What `keep_audit` sealed. Raises Tampered."""
        return _open(self.wrapping, kept, joined(b"audit", checked))


def lock(connection: Connection) -> None:
    """Until the end of this transaction nobody else makes a key of a scope, or rotates. SQLite has one writer."""
    if connection.dialect.name == "postgresql":
        connection.execute(_LOCK)


def present(connection: Connection) -> bytes | None:
    """What only the present key can make; None in a new database."""
    stored = connection.execute(_CHECK).scalar()
    return None if stored is None else bytes(stored)


def follow(connection: Connection, root: Root, now_ms: int, *, is_late: bool = False) -> list[Root]:
    """The keys that came after `root`, the present one last; none when it is that. Raises WrongKey.

    `is_late` follows beyond the end of an overlap, for the command that then writes the settings.
    """
    found: list[Root] = []
    wanted = present(connection)
    while wanted is not None and not hmac.compare_digest(root.checked, wanted):
        row = connection.execute(_FORMER, {"checked": root.checked}).one_or_none()
        if row is None:
            raise WrongKey(
                "CHAT_ENCRYPTION_KEY isn't the key with which this database was begun, so nothing in it could "
                "be read; put the earlier key back, or point database.url to a new database"
            )
        if row.handover is None or (now_ms >= row.until_ms and not is_late):
            raise WrongKey(
                f"CHAT_ENCRYPTION_KEY is a former one: it was replaced on {moment(row.replaced_ms)} and accepted "
                f"until {moment(row.until_ms)}; put the one that replaced it in its place"
                + ("" if row.handover is None else f" ({_FINISH})")
            )
        root = root.follower(bytes(row.handover))
        found.append(root)
    return found


def former_audits(connection: Connection, root: Root) -> tuple[bytes, ...]:
    """The audit keys before the present one, latest first."""
    return tuple(
        root.kept_audit(bytes(row.checked), bytes(row.audit)) for row in connection.execute(_AUDITS).all()
    )


def rekey(connection: Connection, old: Root, new: Root, *, now_ms: int, until_ms: int) -> int:
    """Let `new` take the place of `old`, the present key; answers how many keys of scopes were wrapped anew.

    Take `lock` first, and let nothing be wrapped afterwards in this transaction.
    """
    tops = connection.execute(_TOPS).all()
    for row in tops:
        key_id, place = bytes(row.id), (row.scope, row.data_class, row.period)
        bound = bound_to(key_id, None, place)
        raw = _open(old.wrapping, bytes(row.wrapped), bound)
        connection.execute(_REWRAP, {"id": key_id, "wrapped": _seal(new.wrapping, raw, bound)})
    for row in connection.execute(_AUDITS).all():
        audit = old.kept_audit(bytes(row.checked), bytes(row.audit))
        kept = new.keep_audit(bytes(row.checked), audit)
        connection.execute(_REWRAP_AUDIT, {"epoch": row.epoch, "audit": kept})
    connection.execute(
        _ADD,
        {
            "checked": old.checked,
            "audit": new.keep_audit(old.checked, old.audit),
            "handover": old.hand_over(new),
            "now": now_ms,
            "until": until_ms,
            "no": False,
        },
    )
    connection.execute(_SET_CHECK, {"value": new.checked, "now": now_ms})
    return len(tops)


def placed(connection: Connection) -> None:
    """The settings hold the present key now: no handover is needed beyond its overlap."""
    connection.execute(_PLACED, {"yes": True})


def end_overlaps(connection: Connection, now_ms: int, *, knows_present: bool) -> int:
    """Forget handovers whose overlap is over; answers how many.

    Only where the settings are known to hold the present key: by `placed`, or since this process was started with
    it (`knows_present`). Else whoever has only the former one would be locked out for ever.
    """
    return connection.execute(_END, {"now": now_ms, "knows_present": knows_present}).rowcount


@dataclass(frozen=True, slots=True)
class Ages:
    """When the present key was put in place, and until when a former one is accepted; 0 for none."""

    since_ms: int
    until_ms: int


def ages(connection: Connection) -> Ages:
    """From the database alone."""
    since, until = connection.execute(_SINCE).scalar(), connection.execute(_UNTIL).scalar()
    return Ages(since or 0, until or 0)


def joined(*parts: bytes) -> bytes:
    """Parts with their lengths, so that no two lists of parts look the same."""
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def bound_to(key_id: bytes, parent: bytes | None, place: tuple[str, str, str]) -> bytes:
    """What a wrapped key is bound to, so that it can't be moved."""
    return joined(b"vault_keys", key_id, parent or b"", *(part.encode() for part in place))


def _seal(key: AESGCM, plaintext: bytes, bound: bytes) -> bytes:
    nonce = os.urandom(NONCE)
    return nonce + key.encrypt(nonce, plaintext, bound)


def _open(key: AESGCM, sealed: bytes, bound: bytes) -> bytes:
    try:
        return key.decrypt(sealed[:NONCE], sealed[NONCE:], bound)
    except InvalidTag:
        raise Tampered(
            "a key in the database doesn't open: it was changed; restore the database from a backup"
        ) from None

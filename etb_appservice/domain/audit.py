"""The audit log: canonical entries, chained, with keyed hashes of content and never the content.

Short texts can be guessed from plain hashes, so whatever a person wrote enters as a keyed hash made by the
vault. Content can go (retention, redaction) and the proof stays.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

GENESIS = bytes(32)
"""What the first entry names as its predecessor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditNote:
    """What one decision adds to the log, before it is chained.

    `tag` is a dotted word of a fixed set, such as `command.run`; `actor` and `subject` are ids; `details` holds
    short machine values, `hashes` keyed hashes (hex) of content by the name of what they stand for.
    """

    tag: str
    actor: str
    subject: str
    details: Mapping[str, str | int | bool | None] = field(default_factory=dict)
    contents: Mapping[str, str] = field(default_factory=dict)
    """Texts to be entered as keyed hashes; the store hashes them and forgets them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One entry of the log. `at_ms`: UTC milliseconds by our clock."""

    seq: int
    at_ms: int
    tag: str
    actor: str
    subject: str
    details: Mapping[str, str | int | bool | None]
    hashes: Mapping[str, str]
    previous: bytes
    """SHA-256 of the entry before."""

    def canonical(self) -> bytes:
        """The bytes that are hashed: JSON with sorted keys, no spaces, ASCII only (RFC 8785 for these types)."""
        return json.dumps(
            {
                "actor": self.actor,
                "at": self.at_ms,
                "details": dict(self.details),
                "hashes": dict(self.hashes),
                "previous": self.previous.hex(),
                "seq": self.seq,
                "subject": self.subject,
                "tag": self.tag,
                "v": 1,
            },
            sort_keys=True,
            separators=(",", ":"),
            ensure_ascii=True,
        ).encode("ascii")

    def digest(self) -> bytes:
        """SHA-256 over a leaf prefix and the canonical bytes, as RFC 9162 section 2.1.1 hashes leaves."""
        return hashlib.sha256(b"\x00" + self.canonical()).digest()


def first_break(entries: "list[AuditEntry]", digests: "list[bytes]") -> int | None:
    """The `seq` of the first entry whose link or stored digest is wrong; None when the chain holds.

    Entries in ascending `seq`, beginning with the first of the log.
    """
    previous = GENESIS
    for position, (entry, digest) in enumerate(zip(entries, digests, strict=True), start=1):
        if entry.seq != position or entry.previous != previous or entry.digest() != digest:
            return position
        previous = digest
    return None

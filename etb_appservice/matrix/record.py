"""What is kept of an actor's identity, as a sealed keepsake: its device, its seeds, its recovery keys.

Give new fields a default: records of earlier versions are read. Must never show anything in a repr.
"""

import base64
import json
from dataclasses import dataclass

from mautrix.crypto.ssss.key import Key

from etb_appservice.matrix.crosssigning import Seeds, ssss_key


@dataclass(frozen=True, slots=True, repr=False)
class FormerKey:
    """A recovery key that was replaced. Its repr shows nothing."""

    id: str
    key: bytes
    until_ms: int


@dataclass(frozen=True, slots=True, repr=False)
class Record:
    """What is kept of an identity. Its repr shows nothing."""

    device_id: str
    identity_key: str
    seeds: Seeds
    storage_id: str
    storage_key: bytes
    done: bool = False
    shown: bool = False
    retired: tuple[str, ...] = ()
    former: tuple[FormerKey, ...] = ()
    """Recovery keys before the present one that still open, or have to be taken off the homeserver."""
    is_published: bool = True
    """Whether the homeserver holds the seeds for exactly these recovery keys."""
    since_ms: int = 0
    """Since when it has its device, where it had another one before."""

    @property
    def recovery_keys(self) -> list[Key]:
        """The present one first."""
        pairs = [(self.storage_id, self.storage_key), *((one.id, one.key) for one in self.former)]
        return [ssss_key(key_id, key) for key_id, key in pairs]

    def to_bytes(self) -> bytes:
        """As JSON, for the vault to seal."""
        blobs = {
            "master": self.seeds.master,
            "self_signing": self.seeds.self_signing,
            "user_signing": self.seeds.user_signing,
            "storage_key": self.storage_key,
        }
        plain = {
            "device_id": self.device_id,
            "identity_key": self.identity_key,
            "storage_id": self.storage_id,
            "done": self.done,
            "shown": self.shown,
            "retired": list(self.retired),
            "former": [
                {"id": one.id, "key": base64.b64encode(one.key).decode("ascii"), "until_ms": one.until_ms}
                for one in self.former
            ],
            "is_published": self.is_published,
            "since_ms": self.since_ms,
        }
        encoded = {name: base64.b64encode(blob).decode("ascii") for name, blob in blobs.items()}
        return json.dumps(plain | encoded).encode("ascii")

    @classmethod
    def from_bytes(cls, raw: bytes) -> "Record":
        """What `to_bytes` made, in this version or an earlier one."""
        data = json.loads(raw)
        blob = {
            name: base64.b64decode(data[name])
            for name in ("master", "self_signing", "user_signing", "storage_key")
        }
        return cls(
            device_id=data["device_id"],
            identity_key=data["identity_key"],
            seeds=Seeds(blob["master"], blob["self_signing"], blob["user_signing"]),
            storage_id=data["storage_id"],
            storage_key=blob["storage_key"],
            done=data["done"],
            shown=data["shown"],
            retired=tuple(data["retired"]),
            former=tuple(
                FormerKey(id=one["id"], key=base64.b64decode(one["key"]), until_ms=one["until_ms"])
                for one in data.get("former", ())
            ),
            is_published=data.get("is_published", True),
            since_ms=data.get("since_ms", 0),
        )

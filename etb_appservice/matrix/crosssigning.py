"""Cross-signing and secret storage, as plain calls that can all be repeated (client-server API, "Cross-signing").

Seeds come from the caller and are committed by it before anything here publishes them. It must never upload an
identity over another one: look with `published` first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mautrix.client import Client
from mautrix.crypto.signature import sign_olm
from mautrix.crypto.ssss.key import Key, KeyMetadata
from mautrix.crypto.ssss.types import EncryptedKeyData
from mautrix.crypto.ssss.util import calculate_hash
from mautrix.errors import MNotFound
from olm.pk import PkSigning

from etb_appservice.domain.outcomes import Refused
from etb_appservice.matrix.api import Method, Path, call

SEED_LENGTH = 32
_MOST_KEYS = 16
_SECRETS = ("master", "self_signing", "user_signing")


@dataclass(frozen=True, slots=True, repr=False)
class Seeds:
    """The private halves of an identity, 32 bytes each. Never shown, never logged."""

    master: bytes
    self_signing: bytes
    user_signing: bytes

    def key(self, usage: str) -> PkSigning:
        """The signing key of a usage: `master`, `self_signing` or `user_signing`."""
        seed: bytes = getattr(self, usage)
        return PkSigning(seed)

    def public(self, usage: str) -> str:
        """Its public half, unpadded base64."""
        return str(self.key(usage).public_key)


@dataclass(frozen=True, slots=True)
class Published:
    """What the homeserver shows of one of our users."""

    master: str | None
    device: Mapping[str, Any] | None
    self_signing: str | None


def _first_key(answer: Mapping[str, Any], part: str, mxid: str) -> str | None:
    keys = answer.get(part, {}).get(mxid, {}).get("keys", {})
    return next((key for key in keys.values() if isinstance(key, str)), None) if isinstance(keys, dict) else None


async def published(client: Client, mxid: str, device_id: str) -> Published:
    """Ask for our own keys. Raises mautrix's errors."""
    answer = await call(client, Method.POST, Path.v3.keys.query, {"device_keys": {mxid: []}})
    device = answer.get("device_keys", {}).get(mxid, {}).get(device_id)
    return Published(
        _first_key(answer, "master_keys", mxid), device, _first_key(answer, "self_signing_keys", mxid)
    )


async def publish_identity(client: Client, mxid: str, seeds: Seeds) -> None:
    """Upload the three public keys. An appservice needs no user-interactive authentication."""
    master = seeds.key("master")
    body: dict[str, Any] = {}
    for usage in _SECRETS:
        public = seeds.public(usage)
        key: dict[str, Any] = {"user_id": mxid, "usage": [usage], "keys": {f"ed25519:{public}": public}}
        if usage != "master":
            signature = sign_olm(dict(key), master)
            key["signatures"] = {mxid: {f"ed25519:{seeds.public('master')}": signature}}
        body[f"{usage}_key"] = key
    await call(client, Method.POST, Path.v3.keys.device_signing.upload, body)


def device_signature(seeds: Seeds, device_keys: Mapping[str, Any]) -> dict[str, str]:
    """Our identity's signature of a device: key name to signature. The same each time (Ed25519)."""
    signature = sign_olm(dict(device_keys), seeds.key("self_signing"))
    return {f"ed25519:{seeds.public('self_signing')}": str(signature)}


async def sign_device(client: Client, mxid: str, seeds: Seeds, device_keys: Mapping[str, Any]) -> None:
    """Publish that a device is ours."""
    signed = {**device_keys, "signatures": {mxid: device_signature(seeds, device_keys)}}
    device_id = device_keys["device_id"]
    answer = await call(client, Method.POST, Path.v3.keys.signatures.upload, {mxid: {device_id: signed}})
    if answer.get("failures"):
        raise Refused(f"the homeserver did not take the signature of device {device_id} of {mxid}")


async def publish_secrets(client: Client, mxid: str, keys: Sequence[Key], seeds: Seeds) -> None:
    """Store the seeds on the homeserver, encrypted for each recovery key (client-server API, "Secrets").

    The first one is the default from then on. One that isn't among them opens nothing any more.
    """
    account = Path.v3.user[mxid].account_data
    for key in keys:
        await call(client, Method.PUT, account[f"m.secret_storage.key.{key.id}"], _metadata(key))
    for usage in _SECRETS:
        name = f"m.cross_signing.{usage}"
        encrypted = {key.id: key.encrypt(name, getattr(seeds, usage)).serialize() for key in keys}
        await call(client, Method.PUT, account[name], {"encrypted": encrypted})
    await call(client, Method.PUT, account["m.secret_storage.default_key"], {"key": keys[0].id})


async def forget_key(client: Client, mxid: str, key_id: str) -> None:
    """Empty the description of a recovery key that opens nothing any more; account data can't be deleted."""
    account = Path.v3.user[mxid].account_data
    await call(client, Method.PUT, account[f"m.secret_storage.key.{key_id}"], {})


def _metadata(key: Key) -> dict[str, Any]:
    return {"algorithm": key.metadata.algorithm.value, "iv": key.metadata.iv, "mac": key.metadata.mac}


async def read_secrets(client: Client, mxid: str, recovery_key: str) -> tuple[Key, Seeds]:
    """Fetch and open the seeds with the recovery key, also with a former one for which they are still encrypted.

    Raises Refused when it doesn't fit.
    """
    account = Path.v3.user[mxid].account_data
    try:
        default = await call(client, Method.GET, account["m.secret_storage.default_key"])
        secrets = [await call(client, Method.GET, account[f"m.cross_signing.{usage}"]) for usage in _SECRETS]
        ids = dict.fromkeys([str(default.get("key", "")), *_ids(secrets[0])])
        raws = {
            key_id: await call(client, Method.GET, account[f"m.secret_storage.key.{key_id}"]) for key_id in ids
        }
    except MNotFound as error:
        raise Refused(f"the homeserver holds no stored secrets of {mxid}: there is nothing to recover") from error
    for key_id, raw in raws.items():
        try:
            check: Any = {name: raw[name] for name in ("algorithm", "iv", "mac")}
            metadata: Any = KeyMetadata.deserialize(check)
            key = metadata.verify_recovery_key(key_id, recovery_key)
            opened = [
                key.decrypt(f"m.cross_signing.{usage}", EncryptedKeyData.deserialize(secret["encrypted"][key_id]))
                for usage, secret in zip(_SECRETS, secrets, strict=True)
            ]
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
        if any(len(seed) != SEED_LENGTH for seed in opened):
            raise Refused(f"the stored secrets of {mxid} have an unknown form")
        return key, Seeds(*opened)
    raise Refused(f"the recovery key does not open the stored secrets of {mxid}: check it")


def _ids(secret: Mapping[str, Any]) -> list[str]:
    """The recovery keys for which a stored secret is encrypted."""
    encrypted = secret.get("encrypted")
    return [str(key_id) for key_id in encrypted][:_MOST_KEYS] if isinstance(encrypted, dict) else []


def ssss_key(key_id: str, raw: bytes) -> Key:
    """The secret storage key from its id and 32 bytes; the check value is made anew."""
    made = Key.generate()
    iv = made.metadata.iv or ""
    metadata = KeyMetadata(algorithm=made.metadata.algorithm, iv=iv, mac=calculate_hash(raw, iv))
    return Key(id=key_id, key=raw, metadata=metadata)

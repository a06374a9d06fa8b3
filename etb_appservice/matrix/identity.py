"""An actor's device and identity: made once, committed before it is published, never made twice.

    nothing ──plan──> keepsake "made": seeds, recovery key, device and its keys, sealed and durable
            ──publish──> user, device, device keys, cross-signing, secret storage, signature ──> keepsake "done"

Every step after the plan can be repeated: a crash anywhere resumes with the same seeds. At each start the
keepsake, the crypto store and the homeserver must agree; if they don't, this refuses with words for an operator.
It must never replace an identity that the homeserver knows: every person would see "identity changed".
"""

import secrets
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import aiohttp
import structlog
from mautrix.client import Client
from mautrix.crypto import OlmAccount
from mautrix.errors import MatrixRequestError
from mautrix.types import DeviceID
from mautrix.util.async_db import Database
from olm.account import OlmAccountError

from etb_appservice.domain.outcomes import Broken, Refused
from etb_appservice.matrix.api import Actor, Method, Path, call, make_client, outcomes
from etb_appservice.matrix.chronicle import now_ms
from etb_appservice.matrix.cipher import Cipher, open_cipher
from etb_appservice.matrix.crosssigning import (
    SEED_LENGTH,
    Seeds,
    device_signature,
    forget_key,
    publish_identity,
    publish_secrets,
    published,
    read_secrets,
    sign_device,
    ssss_key,
)
from etb_appservice.matrix.keeper import Keeper
from etb_appservice.matrix.record import FormerKey, Record
from etb_appservice.matrix.store import CryptoStore
from etb_appservice.matrix.tokens import Tokens
from etb_appservice.ports import Keepsakes

_log = structlog.get_logger(__name__)
T = TypeVar("T")
_NOT_FOUND = 404
_RECOVER = "Restore the database, or run `etb-appservice recover` to give it a new device of the same identity."


class StoreLost(Broken):
    """The crypto store is empty although this actor had a device; names `etb-appservice recover`."""


class StoreMismatch(Broken):
    """The crypto store, the keepsake and the homeserver don't speak of the same device or identity."""


@dataclass(frozen=True, slots=True, repr=False)
class Established:
    """An actor ready to talk. `recovery_key` is set until `Identity.recovery_key_shown` was called."""

    actor: Actor
    cipher: Cipher
    recovery_key: str | None
    since_ms: int = 0
    """Since when it has this device, where it had another one before."""


class Identity:
    """One actor's device and identity.

    `bot` is given for a ghost: its cipher follows the bot's. A ghost reads nothing and nobody signs in as it, so
    it has a fallback key, no one-time keys, and no recovery key: its seeds are kept here and nowhere else.
    """

    def __init__(
        self,
        *,
        homeserver_url: str,
        as_token: Tokens | str,
        http: aiohttp.ClientSession,
        mxid: str,
        database: Database,
        pickle_key: str,
        keepsakes: Keepsakes,
        keeper: Keeper,
        display_name: str,
        device_name: str = "",
        bot: Cipher | None = None,
    ) -> None:
        if len(pickle_key) < SEED_LENGTH:
            raise ValueError("the crypto store's key must be random and at least 32 characters long")
        self._url, self._token, self._http = homeserver_url, as_token, http
        self._mxid, self._display_name, self._device_name = mxid, display_name, device_name or display_name
        self._store = CryptoStore(mxid, pickle_key, database)
        self._keepsakes, self._keeper = keepsakes, keeper
        self._name = f"matrix.identity.{mxid}"
        self._bot = bot

    async def establish(self) -> Established:
        """Check that all three places agree, publish what is missing, answer the actor.

        Raises StoreLost or StoreMismatch, and the four outcomes. Repeating is safe.
        """
        record = await self._record()
        account = await self._account()
        if self._bot is None or record is None or not record.done:
            with outcomes():
                await self._register()
        if record is None:
            record = await self._plan(account)
        elif account is None:
            raise StoreLost(
                f"The crypto store of {self._mxid} is empty, but it had the device {record.device_id}. {_RECOVER}"
            )
        elif account.identity_key != record.identity_key:
            raise StoreMismatch(
                f"The crypto store of {self._mxid} is not the one of its device {record.device_id}. {_RECOVER}"
            )
        return await self._finish(record)

    async def recover(self, recovery_key: str | None = None) -> Established:
        """A new device, signed by the same identity, after the crypto store was lost or no longer fits.

        The seeds come from the keepsake, else from the homeserver with `recovery_key`. Room keys that the store
        still holds are kept. Old devices are deleted at the end. The key loop must start from the beginning
        again: its position belongs to the device. Raises Refused, StoreMismatch and the other outcomes.
        """
        record = await self._record()
        anonymous = self._client("")
        with outcomes():
            await self._register()
            if record is None:
                record = await self._record_from(anonymous, recovery_key)
            seen = await published(anonymous, self._mxid, "")
            devices = await call(anonymous, Method.GET, Path.v3.devices)
        self._same_identity(record, seen.master)
        old = [str(item.get("device_id")) for item in devices.get("devices", ()) if isinstance(item, dict)]
        account = OlmAccount()
        record = replace(
            record,
            device_id=_new_device_id(),
            identity_key=account.identity_key,
            done=False,
            retired=tuple(dict.fromkeys([*record.retired, *old])),
            since_ms=now_ms(),
        )
        readable = await self._readable()
        await self._put(record)
        await self._run(lambda: self._replace_account(account, record.device_id, wipe=not readable))
        _log.warning("new device planned by recovery", user=self._mxid, device=record.device_id)
        return await self._finish(record)

    def as_user(self) -> Actor:
        """The actor without a device, for what needs none."""
        return Actor(self._mxid, "", self._client(""))

    async def mailbox(self) -> Client | None:
        """As its device, for what others send there; None while it has none. Opens no keys."""
        record = await self._record()
        return None if record is None else self._client(record.device_id)

    async def retire(self) -> None:
        """Delete the device from the homeserver; `establish` makes the same one again. Raises the four outcomes.

        What was said from it stays believed: clients judge a session when its key comes to them.
        """
        record = await self._record()
        if record is not None:
            with outcomes():
                await self._delete_device(record.device_id)

    async def recovery_key(self) -> str | None:
        """The recovery key as long as no operator has seen it; asks nobody, so that it works beside a service."""
        record = await self._record()
        if record is None or record.shown:
            return None
        return ssss_key(record.storage_id, record.storage_key).recovery_key

    async def recovery_key_shown(self) -> None:
        """The operator has seen the recovery key: never answer it again."""
        record = await self._record()
        if record is not None and not record.shown:
            await self._put(replace(record, shown=True))

    async def rotate_recovery_key(self, *, until_ms: int) -> None:
        """Another recovery key for the same identity, to be shown; the former one opens until `until_ms`.

        Kept before it is published: cut off in between, `publish_recovery_keys` goes on. Works beside a service.
        Raises Refused while no identity is published, and the other outcomes.
        """
        record = await self._record()
        if record is None or not record.done:
            raise Refused("There is no recovery key yet: the service has not been started yet.")
        replaced = FormerKey(record.storage_id, record.storage_key, until_ms)
        await self._put(
            replace(
                record,
                storage_id=secrets.token_hex(16),
                storage_key=secrets.token_bytes(SEED_LENGTH),
                shown=False,
                former=(replaced, *record.former),
                is_published=False,
            )
        )
        await self.publish_recovery_keys()

    async def publish_recovery_keys(self) -> bool:
        """Finish a rotation that was cut off; False when there was none. Raises the four outcomes."""
        record = await self._record()
        if record is None or record.is_published:
            return False
        with outcomes():
            await publish_secrets(self._client(""), self._mxid, record.recovery_keys, record.seeds)
        await self._put(replace(record, is_published=True))
        return True

    async def end_former_recovery_keys(self, now_ms: int) -> int:
        """Let the keys whose overlap is over open nothing any more; answers how many. Raises the four outcomes."""
        record = await self._record()
        over = [one for one in record.former if one.until_ms <= now_ms] if record else []
        if record is None or not over:
            return 0
        record = replace(record, former=tuple(one for one in record.former if one not in over))
        with outcomes():
            client = self._client("")
            await publish_secrets(client, self._mxid, record.recovery_keys, record.seeds)
            for one in over:
                await forget_key(client, self._mxid, one.id)
        await self._put(replace(record, is_published=True))
        return len(over)

    async def former_recovery_keys(self) -> tuple[int, ...]:
        """Until when former recovery keys open, latest first."""
        record = await self._record()
        return tuple(one.until_ms for one in record.former) if record else ()

    # --- the plan -----------------------------------------------------------------------------------------

    async def _plan(self, account: OlmAccount | None) -> Record:
        if account is not None and account.shared:
            raise StoreMismatch(
                f"The crypto store holds a published device of {self._mxid}, but the database has no seeds of it. "
                f"{_RECOVER}"
            )
        with outcomes():
            seen = await published(self._client(""), self._mxid, "")
        if seen.master is not None:
            raise StoreLost(
                f"The homeserver knows an identity of {self._mxid}, but this installation has no keys of it. "
                f"{_RECOVER}"
            )
        device_id = _new_device_id()
        account = account or OlmAccount()
        planned = account
        await self._run(lambda: self._replace_account(planned, device_id, wipe=False))
        record = Record(
            device_id=device_id,
            identity_key=account.identity_key,
            seeds=Seeds(*(secrets.token_bytes(SEED_LENGTH) for _ in range(3))),
            storage_id=secrets.token_hex(16),
            storage_key=secrets.token_bytes(SEED_LENGTH),
            shown=self._bot is not None,
        )
        await self._put(record)
        return record

    async def _record_from(self, client: Client, recovery_key: str | None) -> Record:
        if not recovery_key:
            raise Refused(
                f"The database holds no seeds of {self._mxid}: give the recovery key that `etb-appservice run` "
                "showed at its first start."
            )
        key, seeds = await read_secrets(client, self._mxid, recovery_key)
        return Record(
            device_id="", identity_key="", seeds=seeds, storage_id=key.id, storage_key=key.key, shown=True
        )

    def _same_identity(self, record: Record, master: str | None) -> None:
        if master is not None and master != record.seeds.public("master"):
            raise StoreMismatch(
                f"The homeserver shows another identity of {self._mxid} than the one kept here. Somebody else "
                "uses this user id, or the database is not the one of this homeserver."
            )

    # --- publishing ---------------------------------------------------------------------------------------

    async def _finish(self, record: Record) -> Established:
        client = self._client(record.device_id)
        actor = Actor(self._mxid, record.device_id, client)
        cipher = await open_cipher(self._keeper, actor, self._store, self._bot)
        keys = cipher.device_keys()
        with outcomes():
            seen = await published(self._client(""), self._mxid, record.device_id)
            self._same_identity(record, seen.master)
            if seen.device is not None:
                self._same_device(record, seen.device)
            if not record.done or seen.device is None or seen.master is None:
                await self._publish(record, client, keys, identity=seen.master is None)
                if self._bot is not None:
                    await cipher.publish_fallback_key()
        if not record.done:
            record = replace(record, done=True, retired=())
            await self._put(record)
        cipher.courier.identity_signature = device_signature(record.seeds, keys)
        shown = None if record.shown else ssss_key(record.storage_id, record.storage_key).recovery_key
        return Established(actor, cipher, shown, record.since_ms)

    def _same_device(self, record: Record, device: Any) -> None:
        there = device.get("keys", {}).get(f"curve25519:{record.device_id}") if isinstance(device, dict) else None
        if there != record.identity_key:
            raise StoreMismatch(
                f"The homeserver shows other keys for the device {record.device_id} of {self._mxid} than the "
                f"crypto store holds. {_RECOVER}"
            )

    async def _publish(self, record: Record, client: Client, keys: dict[str, Any], *, identity: bool) -> None:
        await self._make_device(record.device_id)
        await call(client, Method.POST, Path.v3.keys.upload, {"device_keys": keys})
        await self._run(self._mark_shared)
        if identity:
            await publish_identity(client, self._mxid, record.seeds)
        if self._bot is None:
            await publish_secrets(client, self._mxid, record.recovery_keys, record.seeds)
        await sign_device(client, self._mxid, record.seeds, keys)
        for device_id in record.retired:
            await self._delete_device(device_id)
        _log.info("device and identity published", user=self._mxid, device=record.device_id)

    async def _register(self) -> None:
        local = self._mxid[1:].split(":", 1)[0]
        body = {"type": "m.login.application_service", "username": local, "inhibit_login": True}
        client = self._client("")
        client.api.as_user_id = None
        try:
            await call(client, Method.POST, Path.v3.register, body)
        except MatrixRequestError as error:
            if error.errcode != "M_USER_IN_USE":
                raise
            return
        if not self._display_name:
            return
        name = {"displayname": self._display_name}
        await call(self._client(""), Method.PUT, Path.v3.profile[self._mxid].displayname, name)

    async def _make_device(self, device_id: str) -> None:
        body = {"display_name": self._device_name}
        try:
            await call(self._client(""), Method.PUT, Path.v3.devices[device_id], body)
        except MatrixRequestError as error:
            if error.http_status == _NOT_FOUND:
                raise Broken(
                    "The homeserver does not let the appservice make devices. The registration it loaded needs "
                    "`io.element.msc4190: true`."
                ) from error
            raise

    async def _delete_device(self, device_id: str) -> None:
        try:
            await call(self._client(""), Method.DELETE, Path.v3.devices[device_id])
        except MatrixRequestError as error:
            if error.http_status != _NOT_FOUND:
                raise

    # --- places -------------------------------------------------------------------------------------------

    def _client(self, device_id: str) -> Client:
        return make_client(self._url, self._token, self._mxid, device_id, self._http)

    async def _record(self) -> Record | None:
        raw = await self._keepsakes.get(self._name)
        return None if raw is None else Record.from_bytes(raw)

    async def _put(self, record: Record) -> None:
        await self._keepsakes.put(self._name, record.to_bytes())

    async def _run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return await self._keeper.run(work)

    async def _account(self) -> OlmAccount | None:
        try:
            return await self._run(self._load)
        except OlmAccountError as error:
            raise StoreMismatch(
                f"The crypto store of {self._mxid} can't be opened with the key kept in the database. {_RECOVER}"
            ) from error

    async def _load(self) -> OlmAccount | None:
        self._store.forget_memory()
        account: OlmAccount | None = await self._store.get_account()
        return account

    async def _readable(self) -> bool:
        """Whether what the store holds can be opened with our key."""
        try:
            await self._run(self._load)
        except OlmAccountError:
            return False
        return True

    async def _replace_account(self, account: OlmAccount, device_id: str, *, wipe: bool) -> None:
        self._store.forget_memory()
        async with self._store.transaction():
            await self._store.reset(wipe=wipe)
            await self._store.put_account(account)
            await self._store.put_device_id(DeviceID(device_id))

    async def _mark_shared(self) -> None:
        account = await self._store.get_account()
        account.shared = True
        await self._store.put_account(account)


def _new_device_id() -> str:
    return f"ETB{secrets.token_hex(5).upper()}"

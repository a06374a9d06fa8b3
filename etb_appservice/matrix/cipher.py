"""An actor's encryption: what the rest of the house calls. See results.Crypto for the promises.

    encrypt ─────► Outgoing (outgoing.py)            held, export, tell ─► Handover (handover.py)
    decrypt ─────► Incoming (incoming.py)            who got no key ─────► Courier, Refusals
    handle_sync ─► ToDevice (to_device.py)

A ghost's cipher only encrypts. It follows the bot's: the bot's directory says whose device is whose, the bot's
account keeps the keys of what the ghost says, and what ends the bot's sessions of a room ends the ghost's.

Everything runs inside the keeper, which nothing cancels. It must never take a recipient from a state store, never
answer for another user's device, and never hold the ratchets while it waits for the network.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from etb_appservice.domain.classification import Classification
from etb_appservice.matrix.api import Actor
from etb_appservice.matrix.handover import Handover
from etb_appservice.matrix.incoming import Incoming
from etb_appservice.matrix.keeper import Keeper
from etb_appservice.matrix.olm import MEGOLM, BadEvent, Machine, dict_of
from etb_appservice.matrix.outgoing import Outgoing, Terms
from etb_appservice.matrix.results import (
    Decrypted,
    Encrypted,
    Held,
    KeyMissing,
    Refusal,
    Rotation,
    SyncResult,
    Told,
    Trust,
    Undecryptable,
    Unreadable,
    Unsigned,
)
from etb_appservice.matrix.sealed import Sealed
from etb_appservice.matrix.share import Courier
from etb_appservice.matrix.store import CryptoStore
from etb_appservice.matrix.to_device import ToDevice
from etb_appservice.matrix.trust import Directory

_ENOUGH = 1_000
"""More one-time keys than a device may have, so that none are made."""


class Cipher:
    """The encryption of one actor. Make it with `open_cipher`."""

    def __init__(
        self, keeper: Keeper, machine: Machine, directory: Directory, reader: CryptoStore | None = None
    ) -> None:
        self._keeper = keeper
        self._machine = machine
        self._store = machine.crypto_store
        self._reader = reader or machine.crypto_store
        self._followers: dict[str, Cipher] = {}
        self._directory = directory
        self._actor = machine.actor
        self.courier = Courier(machine, reader)
        self._handover = Handover(machine, directory, self.courier)
        self.outgoing = Outgoing(machine, directory, self.courier, self._reader)
        self._incoming = Incoming(machine, directory)
        self._to_device = ToDevice(keeper, machine, directory, self.courier, self._incoming)

    def device_keys(self) -> dict[str, Any]:
        """Our device's public keys, signed by itself."""
        return self._machine.device_keys()

    @property
    def directory(self) -> Directory:
        """Device lists, for ghosts on the same crypto database and for operators who accept an identity."""
        return self._directory

    @property
    def store(self) -> CryptoStore:
        """This actor's part of the crypto database."""
        return self._store

    def follow(self, ghost: "Cipher") -> None:
        """From now on what happens in rooms happens to this ghost's sessions too."""
        self._followers[ghost.user_id] = ghost

    def unfollow(self, user_id: str) -> None:
        """This ghost has no device any more; its sessions end with it."""
        self._followers.pop(user_id, None)

    @property
    def user_id(self) -> str:
        """Whose encryption it is."""
        return self._actor.mxid

    @property
    def _everybody(self) -> "tuple[Cipher, ...]":
        return (self, *self._followers.values())

    async def publish_fallback_key(self) -> None:
        """Give the device a fallback key and no one-time keys: enough for one that reads nothing.

        Committed before it is published, and safe to repeat. Raises mautrix's errors.
        """
        await self._keeper.run(lambda: self._machine.stock(_ENOUGH, fallback_unused=False))

    # --- out ----------------------------------------------------------------------------------------------

    async def encrypt(
        self,
        room_id: str,
        event_type: str,
        content: Mapping[str, Any],
        recipients: Sequence[str],
        *,
        rotation: Rotation | None = None,
        shared_history: bool = False,
        signed_only: bool = False,
        level: Classification | None = None,
    ) -> Encrypted:
        """See results.Crypto."""
        rule = rotation or Rotation()
        # Who keeps the keys of what is said has this one already.
        people = frozenset(recipients) - {self._reader.account_id} | {self._actor.mxid}
        terms = Terms(people, rule, shared_history, signed_only, level)
        return await self._keeper.run(lambda: self.outgoing.encrypt(room_id, event_type, content, terms))

    async def unsigned_devices(self, user_ids: Sequence[str], *, afresh: bool = False) -> tuple[Unsigned, ...]:
        """See results.Crypto."""

        async def look() -> tuple[Unsigned, ...]:
            if afresh:
                await self._directory.outdate(user_ids)
            _, targets = await self.outgoing.targets(frozenset(user_ids))
            trust = await self._directory.trust_in(targets.values())
            return tuple(
                Unsigned(*target, device.name or "", trust[target] is Trust.IDENTITY_CHANGED)
                for target, device in sorted(targets.items(), key=lambda one: one[0])
                if trust[target] is not Trust.CROSS_SIGNED
            )

        return await self._keeper.run(look)

    async def accept_identity(self, user_id: str) -> None:
        """See results.Crypto."""
        await self._keeper.run(lambda: self._directory.accept_identity(user_id))

    async def forget_sessions(self, room_id: str) -> None:
        """See results.Crypto."""

        async def forget() -> None:
            for cipher in self._everybody:
                await cipher.outgoing.end(room_id)

        await self._keeper.run(forget)

    async def members_changed(self, user_ids: Sequence[str]) -> None:
        """See results.Crypto."""
        for cipher in self._everybody:
            cipher.outgoing.hold_refused(user_ids)
        await self._keeper.run(lambda: self._directory.outdate(user_ids))

    async def held(self, room_id: str, since_ms: int) -> Sequence[Held]:
        """See results.Crypto."""
        return await self._keeper.run(lambda: self._handover.held(room_id, since_ms))

    async def export(self, room_id: str, starts: Mapping[str, int]) -> Sequence[dict[str, Any]]:
        """See results.Crypto."""
        return await self._keeper.run(lambda: self._handover.export(room_id, starts))

    async def tell(self, user_id: str, event_type: str, content: Mapping[str, Any]) -> Told:
        """See results.Crypto."""
        return await self._keeper.run(lambda: self._handover.tell(user_id, event_type, content))

    def refused_devices(self) -> tuple[Refusal, ...]:
        """See results.Crypto."""
        return _once(
            [one for cipher in self._everybody for refusals in cipher.courier.memories for one in refusals.told()]
        )

    async def settle_refused(self, room_id: str, recipients: Sequence[str]) -> None:
        """See results.Crypto."""
        people = frozenset(recipients)
        for cipher in self._everybody:
            for refusals in cipher.courier.memories:
                refusals.settle(room_id, people)

    async def retry_refused(self) -> tuple[Refusal, ...]:
        """See results.Crypto."""

        async def retry() -> tuple[Refusal, ...]:
            for cipher in self._everybody:
                await cipher.outgoing.retry_refused()
            return _once([one for cipher in self._everybody for one in cipher.courier.refusals.told()])

        return await self._keeper.run(retry)

    # --- in -----------------------------------------------------------------------------------------------

    async def has_session(self, room_id: str, session_id: str) -> bool:
        """See results.Crypto."""
        return await self._keeper.run(lambda: self._incoming.has_session(room_id, session_id))

    async def decrypt(self, event: Mapping[str, Any]) -> Decrypted | KeyMissing | Undecryptable:
        """See results.Crypto."""
        try:
            content = dict_of(event.get("content"), "content")
            if content.get("algorithm") != MEGOLM:
                return Undecryptable(Unreadable.UNKNOWN_ALGORITHM)
            sealed = Sealed(event, content)
        except BadEvent as reason:
            return Undecryptable(Unreadable.MALFORMED, str(reason))
        return await self._keeper.run(lambda: self._incoming.decrypt(sealed))

    # --- keys ---------------------------------------------------------------------------------------------

    async def handle_sync(self, sync: Mapping[str, Any], *, since: str) -> SyncResult:
        """Take a /sync response that was asked for with `since` ("" for the first) into the crypto store.

        Repeating it is safe and reports the same sessions. Raises the database's errors: then the position must
        not be stored. What the homeserver can't do just now (taking one-time keys) is tried again at the next one.
        """
        return await self._keeper.run(lambda: self._to_device.handle(sync, since))


def _once(told: Sequence[Refusal]) -> tuple[Refusal, ...]:
    """Each device once a room and reason, whoever of us couldn't give it a key."""
    return tuple({(one.room_id, one.user_id, one.device_id, one.reason): one for one in told}.values())


async def open_cipher(keeper: Keeper, actor: Actor, store: CryptoStore, bot: Cipher | None = None) -> Cipher:
    """Load an actor's account and make its encryption; a ghost's follows the `bot`'s from then on."""
    machine = Machine(actor, store)
    await keeper.run(machine.reload)
    if bot is None:
        return Cipher(keeper, machine, Directory(machine))
    ghost = Cipher(keeper, machine, bot.directory, bot.store)
    bot.follow(ghost)
    return ghost

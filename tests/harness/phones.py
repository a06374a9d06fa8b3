"""A homeserver in memory that carries real ciphertext: the real hands and the real crypto on the world of the kit.

    the house's outbox ─► SealedWorld ─► Hands (real): Recipients from the tables ─► Cipher (real) ─► KeyServer
                              └─ rooms, invitations, kicks: the kit's World

What each person's device was given stands in `holders`, by session, and `check` is asked at every message.
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from olm.account import Account

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.effects import Invite, MatrixEffect, Remove, Say, SendFile
from etb_appservice.domain.facts import Done
from etb_appservice.domain.ids import RoomId, UserId, Username
from etb_appservice.matrix.audience import AudienceOf
from etb_appservice.matrix.cipher import Cipher
from etb_appservice.matrix.files import Attachments
from etb_appservice.matrix.ghosts import GhostActors, Voice
from etb_appservice.matrix.hands import Hands
from etb_appservice.matrix.history import History
from etb_appservice.matrix.results import Crypto, Rotation
from etb_appservice.matrix.rooms import RoomMaker
from etb_appservice.matrix.server import Homeserver
from etb_appservice.ports import Try
from etb_appservice.render.render import render
from tests.harness.cast import BOT, GHOSTS
from tests.harness.events import member
from tests.harness.keyserver import KeyServer
from tests.harness.world import World

Check = Callable[[RoomId, frozenset[str]], Awaitable[list[str]]]
"""Is asked for each message: the room, and who can read what was encrypted just now. Answers what is wrong."""


def add_phone(server: KeyServer, user_id: str, name: str) -> None:
    """A device that can be given keys, as often as anybody likes."""
    account = Account()
    keys = account.identity_keys
    device: dict[str, Any] = {
        "user_id": user_id,
        "device_id": name,
        "algorithms": ["m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2"],
        "keys": {f"curve25519:{name}": keys["curve25519"], f"ed25519:{name}": keys["ed25519"]},
    }
    server.devices[user_id][name] = _signed(account, device, user_id, name)
    account.generate_one_time_keys(1)
    [key] = account.one_time_keys["curve25519"].values()
    server.fallback[user_id, name] = ("signed_curve25519:AAAA", _signed(account, {"key": key}, user_id, name))


def _signed(account: Account, content: dict[str, Any], user_id: str, name: str) -> dict[str, Any]:
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return {**content, "signatures": {user_id: {f"ed25519:{name}": account.sign(canonical)}}}


class _Wire:
    """What the hands need of a homeserver to say something, invite and remove."""

    def __init__(self, world: World, user_id: UserId = BOT) -> None:
        self.user_id = user_id
        self.device_id = world.device_id
        self._world = world
        self._number = 0

    async def send(self, _room_id: RoomId, _kind: str, _txn_id: str, _content: Mapping[str, Any]) -> str:
        self._number += 1
        return f"$sealed{self._number}{self.user_id}"

    async def act(self, room_id: RoomId, action: str, content: Mapping[str, Any] | None = None) -> None:
        self._number += 1
        word = {"invite": "invite", "kick": "leave", "join": "join"}[action]
        user_id = str((content or {}).get("user_id", self.user_id))
        event_id = f"${action}{self._number}{self.user_id}"
        self._world.queue.append(member(room_id, user_id, word, sender=self.user_id, event_id=event_id))

    async def membership(self, _room_id: RoomId, _user_id: UserId) -> str:
        return "leave"


class _Ghosts:
    """The ghosts of a world: each with an id of its own, all of them with the keys of one."""

    def __init__(self, world: "SealedWorld", cipher: Cipher) -> None:
        self._world, self._cipher = world, cipher
        self._wires: dict[Username, _Wire] = {}

    def is_ghost(self, user_id: UserId) -> bool:
        return GHOSTS.username(user_id) is not None

    async def voice(self, username: Username) -> Voice:
        ghost = GHOSTS.user_id(username)
        assert ghost is not None
        wire = self._wires.setdefault(username, _Wire(self._world, ghost))
        return Voice(cast(Homeserver, wire), cast(Crypto, _Heard(self._world, self._cipher, ghost)))


class _Heard:
    """A ghost's encryption, watched: whoever speaks must be permitted too."""

    def __init__(self, world: "SealedWorld", cipher: Cipher, ghost: UserId) -> None:
        self._world, self._cipher, self._ghost = world, cipher, ghost

    async def encrypt(self, room_id: str, *arguments: Any, **more: Any) -> Any:
        return await self._world.watched(self._cipher, room_id, *arguments, by=frozenset({self._ghost}), **more)


@dataclass
class SealedWorld(World):
    """A world whose messages are encrypted. Give it `wire_up` before anything is said."""

    hands: Hands | None = None
    cipher: Cipher | None = None
    keys_at: KeyServer | None = None
    check: Check | None = None
    holders: dict[str, set[str]] = field(default_factory=dict)
    """By session, everybody to a device of whom its key was ever sent."""
    messages: int = 0
    by_ghosts: int = 0
    """How many of these a ghost said."""
    retried: int = 0
    leaks: list[str] = field(default_factory=list)
    """What was wrong. Nothing is raised: the outbox would park the message and go on."""

    def wire_up(
        self,
        cipher: Cipher,
        server: KeyServer,
        audience_of: AudienceOf,
        check: Check,
        ghost: Cipher | None = None,
    ) -> None:
        """The real hands, on this world; `ghost`: with whose keys ghosts speak."""
        wire = cast(Homeserver, _Wire(self))
        self.cipher, self.keys_at, self.check = cipher, server, check
        self.hands = Hands(
            wire,
            cast(Crypto, self),
            cast(RoomMaker, _NoRooms()),
            audience_of,
            render,
            Rotation(),
            cast(Attachments, None),
            cast(History, _NoHistory()),
            ghosts=None if ghost is None else cast(GhostActors, _Ghosts(self, ghost)),
        )

    async def do(self, effect: MatrixEffect, attempt: Try) -> Done:
        """Messages, invitations and kicks by the real hands; the rest as in any world."""
        if self.hands is None or not isinstance(effect, Say | Invite | Remove):
            assert not isinstance(effect, SendFile)
            return await super().do(effect, attempt)
        done = await self.hands.do(effect, attempt)
        self.order.append(effect)
        if isinstance(effect, Say) and done.event_id is not None:
            self.said.append((done.event_id, effect))
        return done

    async def membership_changed(self, room_id: RoomId, user_id: UserId) -> None:
        """By the real hands."""
        assert self.hands is not None
        await self.hands.membership_changed(room_id, user_id)

    # --- results.Crypto, watched --------------------------------------------------------------------------

    async def encrypt(self, room_id: str, *arguments: Any, **more: Any) -> Any:
        assert self.cipher is not None
        return await self.watched(self.cipher, room_id, *arguments, **more)

    async def watched(
        self, cipher: Cipher, room_id: str, *arguments: Any, by: frozenset[str] = frozenset(), **more: Any
    ) -> Any:
        """What is encrypted, with a look at who is given its key; `by`: who says it, if not the bot."""
        assert self.keys_at is not None
        assert self.check is not None
        for inbox in self.keys_at.inbox.values():
            inbox.clear()
        sealed = await cipher.encrypt(room_id, *arguments, **more)
        given = self.holders.setdefault(sealed.session_id, set())
        given |= {user_id for (user_id, _), inbox in self.keys_at.inbox.items() if inbox}
        self.messages += 1
        self.by_ghosts += bool(by)
        self.leaks += await self.check(RoomId(room_id), frozenset(given) | by)
        return sealed

    def refused_devices(self) -> Any:
        assert self.cipher is not None
        return self.cipher.refused_devices()

    async def settle_refused(self, room_id: str, recipients: Any) -> None:
        assert self.cipher is not None
        await self.cipher.settle_refused(room_id, recipients)

    async def retry_refused(self) -> Any:
        """Whoever is given a key by it must be permitted in the room of which it is."""
        assert self.cipher is not None
        assert self.keys_at is not None
        assert self.check is not None
        waiting = {(one.user_id, one.device_id): RoomId(one.room_id) for one in self.cipher.refused_devices()}
        for inbox in self.keys_at.inbox.values():
            inbox.clear()
        answer = await self.cipher.retry_refused()
        for target, room_id in waiting.items():
            if self.keys_at.inbox[target]:
                self.retried += 1
                self.leaks += await self.check(room_id, frozenset({target[0]}))
        return answer

    async def decrypt(self, event: Mapping[str, Any]) -> Any:
        assert self.cipher is not None
        return await self.cipher.decrypt(event)

    async def forget_sessions(self, room_id: str) -> None:
        assert self.cipher is not None
        await self.cipher.forget_sessions(room_id)

    async def members_changed(self, user_ids: Any) -> None:
        assert self.cipher is not None
        await self.cipher.members_changed(user_ids)


class _NoHistory:
    """The past is handed over elsewhere (tests/unit/matrix_hands/test_chosen.py)."""

    async def give(self, _room_id: RoomId, _user_id: UserId, _up_to: Classification) -> None:
        """Nothing."""


class _NoRooms:
    server_name = "x.org"

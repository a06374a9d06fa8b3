"""The ghosts as Matrix users: made at their first word, kept few, emptied, retired when nobody needs them.

    first word ──> on the roster (durable) ──> user, device, identity, fallback key ──> its voice
    every few minutes ──> what others sent to its device is thrown away unread
    long unused, or too many ──> device deleted ──> off the roster; its next word makes the same device again

On the roster before there is a device, and off it only once there is none: a crash leaves no device behind that
nobody empties. A ghost reads nothing: what it says is read back with the bot's keys (cipher.py). Must never make
an identity anew over one that the homeserver knows.
"""

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Never

import structlog

from etb_appservice.domain.ghosts import Ghosts
from etb_appservice.domain.ids import EventId, RoomId, UserId, Username
from etb_appservice.domain.outcomes import Broken, Failure, Refused
from etb_appservice.domain.people import PeopleMap
from etb_appservice.matrix.cipher import Cipher
from etb_appservice.matrix.identity import Established, Identity, StoreLost, StoreMismatch
from etb_appservice.matrix.keysync import MAILBOX_FULL, empty_mailbox
from etb_appservice.matrix.results import Crypto
from etb_appservice.matrix.server import Homeserver
from etb_appservice.ports import Clock, Keepsakes, Store

_log = structlog.get_logger(__name__)
_ROSTER = "matrix.ghosts"
_NOTE_EVERY_MS = 3_600_000
"""How exactly it is remembered when a ghost was last used."""
_NAME_EVERY_MS = 600_000
_FACE = "matrix.face"
_FACE_S = 5.0
"""How long a word waits for the picture of whoever says it; it is tried again at a later one."""
_JUST_USED_MS = 600_000
"""Whoever spoke so lately isn't retired, however many devices there are."""
_TYPING_MS = 30_000
_LOCKS = 2_000


@dataclass(frozen=True, slots=True)
class GhostRules:
    """How many ghosts have a device, for how long unused, and how often what comes there is thrown away."""

    idle_ms: int = 30 * 86_400_000
    drain_every_s: float = 300.0
    most_devices: int = 500


@dataclass(frozen=True, slots=True)
class Voice:
    """One who speaks: the homeserver as they see it, and their encryption."""

    server: Homeserver
    crypto: Crypto
    since_ms: int = 0
    """Since when they have this device, where they had another one before."""


@dataclass(frozen=True, slots=True)
class _Place:
    """On the roster."""

    used_ms: int
    name: str = ""


@dataclass(frozen=True, slots=True)
class _Face:
    """What was uploaded as somebody's picture. Kept beside the roster: it outlives the device."""

    digest: str = ""
    mxc: str = ""
    is_shown: bool = False


class GhostActors:
    """All ghosts of a running service. `name_of` says what an ETB user is called.

    `face_of` draws a PNG for a name and a username, where ghosts are to have a picture.
    """

    def __init__(
        self,
        identity_of: Callable[[UserId], Identity],
        bot: Cipher,
        keepsakes: Keepsakes,
        *,
        ids: Ghosts,
        name_of: Callable[[Username], Awaitable[str]],
        clock: Clock,
        rules: GhostRules,
        face_of: Callable[[str, Username], bytes] | None = None,
    ) -> None:
        self._identity_of = identity_of
        self._bot = bot
        self._keepsakes = keepsakes
        self._ids = ids
        self._name_of = name_of
        self._clock = clock
        self._rules = rules
        self._face_of = face_of
        self._voices: dict[UserId, Voice] = {}
        self._roster: dict[UserId, _Place] | None = None
        self._noted: dict[UserId, int] = {}
        """When each one's place was last written down."""
        self._named: dict[UserId, int] = {}
        self._faced: dict[UserId, str] = {}
        """For which name each one's picture stands."""
        self._positions: dict[UserId, str] = {}
        self._locks: dict[UserId, asyncio.Lock] = {}
        self._roster_lock = asyncio.Lock()

    async def voice(self, username: Username) -> Voice:
        """An ETB user's ghost, ready to speak; made where there is none. All four outcomes."""
        user_id = self._ids.user_id(username)
        if user_id is None:
            raise Refused("this username makes no Matrix user id: it is empty, or too long", code="no ghost")
        async with self._lock(user_id):
            await self._used(user_id)
            voice = self._voices.get(user_id)
            if voice is None:
                made = await self._made(user_id)
                voice = self._voices[user_id] = Voice(Homeserver(made.actor), made.cipher, made.since_ms)
            await self._name(user_id, username, voice)
            return voice

    def is_ghost(self, user_id: UserId) -> bool:
        """Whether an id is one of a ghost."""
        return self._ids.username(user_id) is not None

    async def without_device(self, username: Username) -> Homeserver | None:
        """The homeserver as a ghost sees it, for what needs no device; None where no ghost was ever made."""
        user_id = self._ids.user_id(username)
        if user_id is None or not await self.exists(user_id):
            return None
        return Homeserver(self._identity_of(user_id).as_user())

    async def exists(self, user_id: UserId) -> bool:
        """Whether it is a ghost that was ever made, or is being made."""
        if not self.is_ghost(user_id):
            return False
        return user_id in await self._places() or await self._identity_of(user_id).mailbox() is not None

    async def typing(self, room_id: RoomId, username: Username, *, is_typing: bool) -> None:
        """See ports.Signals."""
        if (server := await self._seen_as(username)) is not None:
            await _quietly(server.typing(room_id, _TYPING_MS if is_typing else 0))

    async def read_up_to(self, room_id: RoomId, username: Username, event_id: EventId) -> None:
        """See ports.Signals."""
        if (server := await self._seen_as(username)) is not None:
            await _quietly(server.read_up_to(room_id, event_id))

    async def run(self) -> Never:
        """Empty and retire, for ever."""
        while True:
            await self._clock.sleep(self._rules.drain_every_s / 2)
            await self.tend(over_s=self._rules.drain_every_s / 2)

    async def tend(self, *, over_s: float = 0.0) -> None:
        """One round over all devices, taking about so long. Raises the database's errors alone."""
        places = sorted((await self._places()).items(), key=lambda one: one[1].used_ms)
        surplus = len(places) - self._rules.most_devices
        for number, (user_id, place) in enumerate(places):
            unused_ms = self._clock.now_ms() - place.used_ms
            try:
                if unused_ms >= self._rules.idle_ms or (number < surplus and unused_ms >= _JUST_USED_MS):
                    await self._retire(user_id, place)
                else:
                    await self._empty(user_id)
            except Failure as failure:
                _log.warning("a ghost's device could not be tended", user=user_id, error=str(failure))
            if over_s:
                await self._clock.sleep(over_s / len(places))

    # --- making -------------------------------------------------------------------------------------------

    async def _made(self, user_id: UserId) -> Established:
        identity = self._identity_of(user_id)
        try:
            return await identity.establish()
        except (StoreLost, StoreMismatch) as lost:
            # Nothing is lost with a ghost's keys. Its identity stays the one that people know.
            try:
                return await identity.recover()
            except Refused:
                raise Broken(
                    f"{user_id} can't speak: the homeserver knows it, and the database holds no keys of it. "
                    "Restore the database that has them."
                ) from lost

    async def _name(self, user_id: UserId, username: Username, voice: Voice) -> None:
        """Called as in ETB. That this fails holds nobody up: it is tried again at a later word."""
        now_ms = self._clock.now_ms()
        if now_ms - self._named.get(user_id, -_NAME_EVERY_MS) < _NAME_EVERY_MS:
            return
        name = await self._name_of(username)
        place = (await self._places())[user_id]
        if name != place.name:
            try:
                await voice.server.name(name)
            except Failure as failure:
                _log.warning("a ghost could not be given its name", user=user_id, error=str(failure))
                return
            await self._put(user_id, replace(place, name=name))
        if self._faced.get(user_id) != name:
            await self._face(user_id, username, name, voice.server)
        self._named[user_id] = now_ms

    async def _face(self, user_id: UserId, username: Username, name: str, server: Homeserver) -> None:
        """A picture, since ETB has none. That this fails holds nobody up either."""
        if self._face_of is None:
            return
        try:
            async with asyncio.timeout(_FACE_S):
                await self._show(user_id, await asyncio.to_thread(self._face_of, name, username), server)
        except (Failure, TimeoutError) as failure:
            _log.warning("a ghost could not be given its picture", user=user_id, error=str(failure) or "no answer")
            if not isinstance(failure, Refused):
                return
        self._faced[user_id] = name

    async def _show(self, user_id: UserId, picture: bytes, server: Homeserver) -> None:
        """Upload it unless it was, and say so in the profile."""
        key, digest = f"{_FACE}.{user_id}", hashlib.sha256(picture).hexdigest()
        face = _Face(**json.loads(await self._keepsakes.get(key) or b"{}"))
        if face.digest != digest:
            face = _Face(digest, await server.upload(picture, "image/png"))
            await self._keepsakes.put(key, json.dumps(asdict(face)).encode())
        if not face.is_shown:
            await server.picture(face.mxc)
            await self._keepsakes.put(key, json.dumps(asdict(replace(face, is_shown=True))).encode())

    # --- the devices --------------------------------------------------------------------------------------

    async def _empty(self, user_id: UserId) -> None:
        """Throw away what has come. What an answer holds is deleted by the next question."""
        client = await self._identity_of(user_id).mailbox()
        if client is None:
            return
        for _ in range(MAILBOX_FULL):
            try:
                position, is_empty = await empty_mailbox(client, self._positions.get(user_id))
            except Refused:
                self._positions.pop(user_id, None)  # its device isn't there, or is a new one
                return
            self._positions[user_id] = position
            if is_empty:
                return

    async def _retire(self, user_id: UserId, seen: _Place) -> None:
        async with self._lock(user_id):
            if (await self._places()).get(user_id) != seen:
                return  # it has spoken meanwhile
            self._bot.unfollow(user_id)
            for memory in (self._voices, self._positions, self._named, self._faced):
                memory.pop(user_id, None)
            await self._identity_of(user_id).retire()
            await self._put(user_id, None)
            _log.info("a ghost's device was deleted", user=user_id)

    # --- the roster ---------------------------------------------------------------------------------------

    async def _places(self) -> Mapping[UserId, _Place]:
        async with self._roster_lock:
            return dict(await self._read())

    async def _read(self) -> dict[UserId, _Place]:
        if self._roster is None:
            raw: dict[str, Any] = json.loads(await self._keepsakes.get(_ROSTER) or b"{}")
            self._roster = {UserId(user_id): _Place(**place) for user_id, place in raw.items()}
            self._noted = {user_id: place.used_ms for user_id, place in self._roster.items()}
        return self._roster

    async def _used(self, user_id: UserId) -> None:
        now_ms = self._clock.now_ms()
        async with self._roster_lock:
            roster = await self._read()
            place = roster.get(user_id)
            roster[user_id] = _Place(now_ms) if place is None else replace(place, used_ms=now_ms)
            if place is None or now_ms - self._noted.get(user_id, 0) >= _NOTE_EVERY_MS:
                await self._write(user_id)

    async def _put(self, user_id: UserId, place: _Place | None) -> None:
        async with self._roster_lock:
            roster = await self._read()
            if place is None:
                roster.pop(user_id, None)
            else:
                roster[user_id] = place
            await self._write(user_id)

    async def _write(self, user_id: UserId) -> None:
        roster = await self._read()
        await self._keepsakes.put(
            _ROSTER, json.dumps({one: asdict(place) for one, place in roster.items()}).encode()
        )
        if user_id in roster:
            self._noted[user_id] = roster[user_id].used_ms
        else:
            self._noted.pop(user_id, None)

    async def _seen_as(self, username: Username) -> Homeserver | None:
        """The homeserver as their ghost sees it, where they ever spoke; none is made for what passes.

        Where the ghost isn't in the room the homeserver refuses.
        """
        user_id = self._ids.user_id(username)
        voice = None if user_id is None else self._voices.get(user_id)
        return await self.without_device(username) if voice is None else voice.server

    def _lock(self, user_id: UserId) -> asyncio.Lock:
        lock = self._locks.get(user_id)
        if lock is None:
            if len(self._locks) >= _LOCKS:
                self._locks = {one: lock for one, lock in self._locks.items() if lock.locked()}
            lock = self._locks[user_id] = asyncio.Lock()
        return lock


def names_from(store: Store, people: PeopleMap) -> Callable[[Username], Awaitable[str]]:
    """What ghosts are called: as ETB calls the person, and told apart from the account they have in Matrix."""

    async def name_of(username: Username) -> str:
        async with store.view() as view:
            known = await view.incidents.user(username)
        name = (known[0].display_name if known else "").strip() or username
        return f"{name} (ETB)" if people.user_id(username) is not None else name

    return name_of


async def _quietly(call: Awaitable[None]) -> None:
    """What is true for a moment only isn't worth a second try."""
    try:
        await call
    except Failure as failure:
        _log.debug("a passing signal was not sent", error=str(failure))

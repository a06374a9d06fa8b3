"""The past of a room, as somebody gets it who is invited late: a bundle of room keys (MSC4268), or nothing.

    invited ──> room of visibility `shared`? invited, and permitted, still? ──no──> nothing
      │ yes
      └──> keys we hold ──chosen──> bundle ──> encrypted, uploaded, written down ──> told to their signed devices

A key goes along only when all of this is known: whoever made it has marked it as one to be passed on, no message
of it was sent while the room was above the person's clearance, and it reaches back no further than the configured
point. Must never raise what the homeserver can't do: the invitation counts, and whoever is late is told how things
stand anyway.
"""

import asyncio
import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from mautrix.crypto.attachments import encrypt_attachment

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.ids import RoomId, UserId, WarRoomId
from etb_appservice.domain.media import Media
from etb_appservice.domain.outcomes import Failure
from etb_appservice.domain.past import Levels
from etb_appservice.domain.policy import Policy
from etb_appservice.domain.rooms import INSIDE
from etb_appservice.flows.permitted import permission
from etb_appservice.matrix.messages import Json
from etb_appservice.matrix.olm import MEGOLM
from etb_appservice.matrix.results import Crypto, Held
from etb_appservice.matrix.server import Homeserver
from etb_appservice.ports import Store

_log = structlog.get_logger(__name__)
BUNDLE = "m.room_key_bundle"
MOST_KEYS = 500
MOST_BYTES = 512 * 1024
"""Of the keys in a bundle; so many keys need about half of it."""
_PATIENCE_S = 30.0
_HOUR_MS = 3_600_000

Count = Callable[[str], None]
"""Counts how one handing over ended: `shared`, `nothing`, `no_device`, `failed`."""


@dataclass(frozen=True, slots=True)
class Given:
    """What somebody was given: keys, and how many devices they went to."""

    keys: int
    devices: int


class History:
    """Hands the past of rooms to those who are invited."""

    def __init__(self, store: Store, server: Homeserver, crypto: Crypto, *, policy: Policy, count: Count) -> None:
        self._store = store
        self._server = server
        self._crypto = crypto
        self._policy = policy
        self._count = count

    async def give(self, room_id: RoomId, user_id: UserId, up_to: Classification) -> Given | None:
        """Give a person the past of a room up to a level; None when they get nothing. Repeating is safe.

        Raises no outcome.
        """
        try:
            async with asyncio.timeout(_PATIENCE_S):
                given = await self._give(room_id, user_id, up_to)
        except (Failure, TimeoutError) as failure:
            reason = str(failure) or "it took too long"
            _log.warning("history could not be given", room=room_id, user=user_id, reason=reason)
            self._count("failed")
            return None
        if given is None:
            self._count("nothing")
        elif not given.devices:
            _log.info("history given to nobody: no signed device", room=room_id, user=user_id)
            self._count("no_device")
        else:
            _log.info("history given", room=room_id, user=user_id, keys=given.keys, devices=given.devices)
            self._count("shared")
        return given

    async def _give(self, room_id: RoomId, user_id: UserId, up_to: Classification) -> Given | None:
        hours = self._policy.history_hours
        async with self._store.view() as view:
            now_ms = view.now_ms()
            room = await view.rooms.by_id(room_id)
            if room is None or not room.encrypted or room.visibility != "shared" or hours <= 0:
                return None
            if await view.rooms.membership(room_id, user_id) not in INSIDE:
                return None
            person = await permission(view, room, user_id, self._policy)
            if not person.allowed or person.up_to is None:
                return None
            levels = await view.cases.get(room.war_room, Levels, Levels().id)
        held = await self._crypto.held(room_id, now_ms - hours * _HOUR_MS)
        starts = chosen(held, levels or Levels(), min(up_to, person.up_to), now_ms)
        if not starts:
            return None
        keys = within(await self._crypto.export(room_id, starts))
        if not keys:
            return None
        given = {key["session_id"] for key in keys}
        bundle = {
            "room_keys": keys,
            "withheld": withheld(room_id, (one for one in held if one.session_id not in given)),
        }
        file = await self._uploaded(
            room.war_room, json.dumps(bundle, separators=(",", ":")).encode("ascii"), now_ms
        )
        told = await self._crypto.tell(user_id, BUNDLE, {"room_id": room_id, "file": file})
        return Given(len(keys), told.reached)

    async def _uploaded(self, war_room: WarRoomId, bundle: bytes, now_ms: int) -> Json:
        """Encrypt and upload it; where it lies is written down first, so that it can be deleted one day."""
        ciphertext, described = await asyncio.to_thread(encrypt_attachment, bundle)
        file: Json = described.serialize()
        file["url"] = await self._server.upload(ciphertext)
        async with self._store.work() as work:
            await work.cases.put(
                war_room,
                Media(
                    id=file["url"],
                    filename="",
                    mime="application/json",
                    size=len(bundle),
                    sha256=hashlib.sha256(bundle).hexdigest(),
                    at_ms=now_ms,
                    purpose="history",
                ),
            )
        return file


def chosen(held: Sequence[Held], levels: Levels, up_to: Classification, now_ms: int) -> dict[str, int]:
    """Which sessions somebody cleared up to a level is given, latest first, and each from which index on.

    `held`: latest first. Ours belong to one level, since ours end when the level changes. Somebody else's counts
    for every level that the room had from its first message until the same device's next session came, or until
    now: people's clients go on with theirs while a level changes.
    """
    starts: dict[str, int] = {}
    next_ms: dict[str, int] = {}
    for one in held:
        until_ms = next_ms.get(one.device, now_ms)
        next_ms[one.device] = one.came_ms
        if one.is_ours:
            level = one.level
        elif one.heard_ms is None:
            level = None
        else:
            level = levels.highest(min(one.came_ms, one.heard_ms), until_ms)
        if one.is_marked and one.start is not None and level is not None and level <= up_to:
            starts[one.session_id] = one.start
    return dict(list(starts.items())[:MOST_KEYS])


def within(keys: Sequence[Json], most_bytes: int = MOST_BYTES) -> list[Json]:
    """As many of these keys, from the first on, as fit into a bundle."""
    found: list[Json] = []
    size = 0
    for key in keys:
        size += len(json.dumps(key))
        if size > most_bytes:
            break
        found.append(key)
    return found


def withheld(room_id: RoomId, held: Iterable[Held]) -> list[dict[str, Any]]:
    """What a bundle says of sessions that it doesn't hold: that they aren't shared, and not why."""
    return [
        {
            "algorithm": MEGOLM,
            "code": "m.history_not_shared",
            "reason": "History not shared",
            "room_id": room_id,
            "sender_key": one.device,
            "session_id": one.session_id,
        }
        for one in held
    ]

"""Who is given the key of a room's next message: our own tables, corrected by what we did a moment ago.

    joined, or invited where the room's rule says so ─► permitted now ─► not put out by us ─► a key

Between our invite or kick and its echo the tables are behind. Until they have caught up, whoever we removed is
left out and whoever we invited is counted in. Between the cause of a removal and the kick whoever is no longer
permitted gets nothing. Must never count in somebody on a stranger's word.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.ids import RoomId, UserId
from etb_appservice.domain.policy import Policy
from etb_appservice.flows.permitted import circle_of, permissions
from etb_appservice.ports import ON_CALL, USERS, Room, Store, Work

_MOST_KEPT = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Audience:
    """What encrypting in a room needs to know. `shared_history`: keys may be passed on to people invited later."""

    encrypted: bool
    joined: tuple[UserId, ...]
    """Joined, and permitted; no ghosts: they read nothing, so they are given no keys."""
    invited: tuple[UserId, ...]
    """Invited, by the tables or a moment ago, and permitted."""
    keys_to_invited: bool
    shared_history: bool
    present: frozenset[UserId]
    """Who is joined or invited by the tables, permitted or not."""
    signed_only: bool = False
    """Whether only devices that their owners have signed are given the key, by the room's level of now."""
    level: Classification | None = None
    """What the room is classified as."""
    speakers: Mapping[UserId, str] = field(default_factory=dict)
    """Ghosts that may speak there, with their membership by the tables; "" for one that isn't there."""


AudienceOf = Callable[[RoomId, Collection[UserId]], Awaitable[Audience | None]]
"""The audience of a room of ours, and of those whom we have just invited; None for a room that isn't ours.

A ghost among those whom we have just invited is somebody who wants to speak.
"""


def audience_from(store: Store, policy: Policy) -> AudienceOf:
    """Reads the audience from the tables, and what the room's level asks for from the rules."""
    permitted = _Permitted(store, policy)

    async def audience_of(room_id: RoomId, just_invited: Collection[UserId]) -> Audience | None:
        stamp = permitted.stamp(room_id)
        async with store.view() as work:
            room = await work.rooms.by_id(room_id)
            if room is None:
                return None
            present = await work.rooms.present(room_id)
            allowed, level = await permitted.among(work, room, frozenset({*present, *just_invited}), stamp)
        speakers = {user_id for user_id in allowed if policy.ghosts.username(user_id) is not None}
        invited = {user_id for user_id, word in present.items() if word == "invite"} | {*just_invited}
        readers = allowed - speakers
        return Audience(
            encrypted=room.encrypted,
            joined=tuple(sorted(user for user, word in present.items() if word == "join" and user in readers)),
            invited=tuple(sorted(invited & readers)),
            keys_to_invited=room.keys_to_invited,
            shared_history=room.visibility == "shared",
            present=frozenset(present),
            signed_only=policy.rooms.signed_devices_only(room.kind, level),
            level=level,
            speakers={user_id: present.get(user_id, "") for user_id in speakers},
        )

    return audience_of


@dataclass(frozen=True, slots=True)
class _Answer:
    """`asked`: everything but time on which it depends; it holds until `until_ms`."""

    asked: tuple[object, ...]
    until_ms: int | None
    allowed: frozenset[UserId]
    level: Classification


class _Permitted:
    """Remembers the answer for a room while nothing has changed on which it depends: it is asked each message."""

    def __init__(self, store: Store, policy: Policy) -> None:
        self._store = store
        self._policy = policy
        self._answers: dict[RoomId, _Answer] = {}
        self._scopes: dict[RoomId, tuple[str, ...]] = {}
        """On what of the store's it depends; the same for as long as the room exists."""

    def stamp(self, room_id: RoomId) -> tuple[int, ...] | None:
        """To be taken before the view is opened, else a commit between the two would never be noticed."""
        scopes = self._scopes.get(room_id)
        return None if scopes is None else self._store.stamp(*scopes)

    async def among(
        self, work: Work, room: Room, people: frozenset[UserId], stamp: tuple[int, ...] | None
    ) -> tuple[frozenset[UserId], Classification]:
        """Who of these people may be in the room now; and its level, where a raised one counts at once."""
        assert room.room_id is not None  # noqa: S101 - found by it
        asked = (room.kind, room.classification, room.person, people, stamp)
        now_ms = work.now_ms()
        known = self._answers.get(room.room_id)
        if known is not None and known.asked == asked and (known.until_ms is None or now_ms < known.until_ms):
            return known.allowed, known.level
        circle = await circle_of(work, room)
        found = await permissions(work, circle, people, self._policy)
        allowed = frozenset(user_id for user_id, one in found.items() if one.allowed)
        level = circle.level(self._policy)
        if stamp is None or any(one.why == "outdated" for one in found.values()):
            # ETB's next word on somebody outdated may be the same as the last, which no stamp shows.
            self._answers.pop(room.room_id, None)
            self._scopes[room.room_id] = (USERS, ON_CALL, room.war_room, room.incident_id or "")
            return allowed, level
        if len(self._answers) >= _MOST_KEPT:
            self._answers.clear()
            self._scopes.clear()
        ends = [one.until_ms for one in found.values() if one.until_ms is not None]
        self._answers[room.room_id] = _Answer(asked, min(ends, default=None), allowed, level)
        return allowed, level


class Recipients:
    """The tables' audience, and what our own acts have changed since."""

    def __init__(self, audience_of: AudienceOf) -> None:
        self._audience_of = audience_of
        self._removed: dict[RoomId, set[UserId]] = {}
        self._invited: dict[RoomId, set[UserId]] = {}

    def was_invited(self, room_id: RoomId, user_id: UserId) -> None:
        """We invited somebody; the tables don't know yet."""
        self._removed.get(room_id, set()).discard(user_id)
        self._invited.setdefault(room_id, set()).add(user_id)

    def was_removed(self, room_id: RoomId, user_id: UserId) -> None:
        """We removed somebody, or tried to and don't know; the tables don't know yet."""
        self._invited.get(room_id, set()).discard(user_id)
        self._removed.setdefault(room_id, set()).add(user_id)

    async def heard_of(self, room_id: RoomId, user_id: UserId) -> None:
        """The tables learned something of this person: believe them, but a removal only once they show it."""
        self._invited.get(room_id, set()).discard(user_id)
        if user_id in self._removed.get(room_id, set()):
            await self._catch_up(room_id, await self._audience_of(room_id, ()))

    async def of(
        self, room_id: RoomId, speaker: UserId | None = None
    ) -> tuple[Audience, tuple[UserId, ...]] | None:
        """The audience and everybody who gets the key; None for a room that isn't ours.

        `speaker`: a ghost that may not be in the room yet; the audience tells whether it may speak there.
        """
        just_invited = frozenset(self._invited.get(room_id, ())) | ({speaker} if speaker else frozenset())
        audience = await self._audience_of(room_id, just_invited)
        await self._catch_up(room_id, audience)
        if audience is None:
            return None
        people = set(audience.joined)
        if audience.keys_to_invited:
            people |= set(audience.invited)
        return audience, tuple(sorted(people - self._removed.get(room_id, set())))

    async def _catch_up(self, room_id: RoomId, audience: Audience | None) -> None:
        present = audience.present if audience is not None else frozenset[UserId]()
        self._removed.get(room_id, set()).intersection_update(present)
        self._invited.get(room_id, set()).difference_update(present)
        for table in (self._removed, self._invited):
            if not table.get(room_id, {room_id}):
                del table[room_id]

"""Into which war rooms a caller may look: `flows/permitted`, asked at every call.

    one war room ─► permitted? ─no─► 404, as for one that isn't there
    all of them ──► those of which it says yes, remembered until anything changes on which that depends,
                    and no longer than a minute

Must never let a room count, or its name be searched, for somebody who may not enter it.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.ids import IncidentId, Username, WarRoomId
from etb_appservice.domain.incident import Incident
from etb_appservice.domain.policy import Policy
from etb_appservice.flows.permitted import Circle, Permission, circle_of, newer, permission_of
from etb_appservice.gateway.callers import Caller
from etb_appservice.gateway.problems import not_found
from etb_appservice.ports import ON_CALL, USERS, Room, Store, Work

_MOST_CALLERS = 500
_HOLD_MS = 60_000
"""For how long what was found counts at most: what other processes commit may not be told to this one."""


@dataclass(frozen=True, slots=True)
class Sight:
    """A war room that a caller may enter, as our tables have it."""

    room: Room
    incident: Incident
    incident_id: IncidentId
    circle: Circle
    permission: Permission
    level: Classification
    """The stricter of the room's and the incident's."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """`asked`: everything but time on which it depends; it holds until `until_ms`. `sight` None: they may not."""

    asked: tuple[object, ...]
    until_ms: int
    sight: Sight | None


@dataclass(frozen=True, slots=True)
class _Around:
    """What of a war room doesn't depend on who asks, as it was when the stamp was taken: one for all callers."""

    asked: tuple[object, ...]
    since_ms: int
    circle: Circle


class Doors:
    """Keeps what it found for the callers of late, in memory."""

    def __init__(self, store: Store, policy: Policy) -> None:
        self._store = store
        self._policy = policy
        self._seen: OrderedDict[Username, dict[WarRoomId, _Seen]] = OrderedDict()
        self._scopes: dict[WarRoomId, tuple[str, ...]] = {}
        self._around: dict[WarRoomId, _Around] = {}

    async def enter(self, work: Work, caller: Caller, war_room: str) -> Sight:
        """One war room; raises Problem 404 where there is none such, or none that the caller may enter."""
        room = await work.rooms.by_war_room(WarRoomId(war_room))
        sight = None if room is None else await self.look(work, caller, room)
        if sight is None:
            raise not_found()
        return sight

    async def look(self, work: Work, caller: Caller, room: Room) -> Sight | None:
        """A war room, where the caller may enter it."""
        found = await self._judge(work, caller, room)
        return found[0]

    async def visible(self, caller: Caller) -> Sequence[Sight]:
        """Every war room that the caller may enter, oldest first."""
        name = caller.user.username
        seen = self._seen.get(name, {})
        # Before the view is opened, else a commit between the two would never be noticed.
        stamps = {war_room: self._store.stamp(*scopes) for war_room, scopes in self._scopes.items()}
        found: dict[WarRoomId, _Seen] = {}
        shown: list[Sight] = []
        async with self._store.view() as work:
            now_ms = work.now_ms()
            for room in await work.rooms.all_current():
                if room.kind != "incident":
                    continue
                stamp = stamps.get(room.war_room)
                asked = (stamp, room.classification, caller.user, caller.user.id)
                last = seen.get(room.war_room)
                if stamp is None or last is None or last.asked != asked or _is_over(last, now_ms):
                    here = await self._around_of(work, room, asked[:2], now_ms)
                    sight, answer = await self._judge(work, caller, room, here.circle)
                    # ETB's next word on somebody outdated may be the same as the last, which no stamp shows.
                    until_ms = 0 if answer.why == "outdated" else here.since_ms + _HOLD_MS
                    last = _Seen(asked, min(until_ms, answer.until_ms or until_ms), sight)
                    self._scopes[room.war_room] = (USERS, ON_CALL, room.war_room, room.incident_id or "")
                if stamp is not None:
                    found[room.war_room] = last
                if last.sight is not None:
                    shown.append(replace(last.sight, room=room))
        self._keep(name, found)
        for gone in self._around.keys() - found.keys():
            del self._around[gone]
        return shown

    async def _around_of(self, work: Work, room: Room, asked: tuple[object, ...], now_ms: int) -> _Around:
        """Shared by all for whom it was asked as of the same stamp; without one it is theirs alone."""
        here = self._around.get(room.war_room)
        if asked[0] is None or here is None or here.asked != asked or now_ms >= here.since_ms + _HOLD_MS:
            here = _Around(asked, now_ms, await circle_of(work, room))
            if asked[0] is not None:
                self._around[room.war_room] = here
        return here

    async def _judge(
        self, work: Work, caller: Caller, room: Room, circle: Circle | None = None
    ) -> tuple[Sight | None, Permission]:
        if room.kind != "incident" or room.incident_id is None:
            return None, Permission("stranger")
        if circle is None:
            circle = await circle_of(work, room)
        copy = newer(await work.incidents.user(caller.user.username), caller.copy)
        answer = await permission_of(work, room, caller.user.username, self._policy, known=(circle, copy))
        if not answer.allowed or circle.incident is None:
            return None, answer
        level = circle.level(self._policy)
        return Sight(room, circle.incident, room.incident_id, circle, answer, level), answer

    def _keep(self, name: Username, found: dict[WarRoomId, _Seen]) -> None:
        self._seen[name] = found
        self._seen.move_to_end(name)
        while len(self._seen) > _MOST_CALLERS:
            self._seen.popitem(last=False)


def _is_over(last: _Seen, now_ms: int) -> bool:
    return now_ms >= last.until_ms

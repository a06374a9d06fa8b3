"""Opens rooms: exactly one behind an alias, ours and complete before anything is said in it.

createRoom is not atomic. Cut off, it leaves a room with our alias and without encryption or power levels.

    tried before? ──yes──> resolve the alias ─┐
       │ no                                   ├─ free ──────────────> createRoom ──ok──> created
    createRoom ──ok──> created                │                          └─ fails: resolve once more
       └─ fails: resolve the alias ───────────┴─ names a room: is it ours?
            (wait a moment where somebody may be     ├─ no ──> free the alias, createRoom ──> replaced
             at it: the alias stands before the      ├─ yes, as wanted ─────────────────────> adopted
             bot has joined)                         └─ yes, but lacks something: send it ──> completed

Must never answer a room that isn't encrypted when it should be, and never adopt one that somebody else made.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import structlog

from etb_appservice.domain.facts import Done
from etb_appservice.domain.ids import RoomId, UserId
from etb_appservice.domain.outcomes import Broken, Failure, Later, Refused
from etb_appservice.domain.rooms import GENERATION_FIELD, INCIDENT_FIELD, RoomSpec
from etb_appservice.matrix.arrivals import is_user_id
from etb_appservice.matrix.server import Homeserver, Json, status_of
from etb_appservice.ports import Clock

_log = structlog.get_logger(__name__)

_PATIENCE_S = 5.0
"""How long another createRoom of ours may take to finish; a whole one takes a tenth of a second."""
_LOOK_EVERY_S = 0.1
_UNSEEN = "the bot can't see into it"
_NOT_JOINED = "the bot is not in it"
_TOMBSTONE = "it was replaced by another room"
_MAY_PASS = frozenset({_UNSEEN, _NOT_JOINED})
_PRESENT = ("ban", "invite", "join", "knock")
_NOT_IN_ROOM = frozenset({403, 404})
_Key = tuple[str, str]


class RoomMaker:
    """Makes rooms as `Homeserver`'s user; aliases are of `server_name`."""

    def __init__(self, server: Homeserver, server_name: str, clock: Clock) -> None:
        self._server = server
        self.server_name = server_name
        self._clock = clock

    async def open(self, spec: RoomSpec, *, was_tried: bool) -> Done:
        """One room as `spec` says. Repeating is safe. `detail`: created, adopted, completed or replaced."""
        alias = f"#{spec.alias_localpart}:{self.server_name}"
        if was_tried and (room_id := await self._server.resolve(alias)) is not None:
            return await self._settle(spec, alias, room_id)
        try:
            return Done(room_id=await self._create(spec), detail="created")
        except Broken:
            raise
        except Failure as failure:
            room_id = await self._server.resolve(alias)
            if room_id is None:
                raise _explained(failure, alias) from failure
            return await self._settle(spec, alias, room_id)

    async def _create(self, spec: RoomSpec) -> RoomId:
        content: Json = {
            "room_alias_name": spec.alias_localpart,
            "creation_content": spec.creation_content,
            "initial_state": list(spec.initial_state),
            "power_level_content_override": spec.power_levels,
            "visibility": "private",
            "preset": "private_chat",
            "room_version": spec.version,
            "name": spec.name,
        }
        if spec.topic:
            content["topic"] = spec.topic
        return await self._server.create_room(content)

    async def _settle(self, spec: RoomSpec, alias: str, room_id: RoomId) -> Done:
        """Adopt, complete or replace the room that the alias names."""
        reason, missing, state = await self._wait_for_completion(room_id, spec, alias)
        if not reason and not missing:
            return Done(room_id=room_id, detail="adopted", members=members_of(state))
        if not reason:
            reason = await self._complete(room_id, missing)
            if not reason:
                _log.warning("incomplete room completed", room_id=room_id, sent=[key[0] for key, _ in missing])
                return Done(room_id=room_id, detail="completed", members=members_of(state))
        _log.warning("room behind our alias replaced", room_id=room_id, alias=alias, reason=reason)
        await self._server.free_alias(alias)
        try:
            successor = await self._create(spec)
        except Broken:
            raise
        except Failure as failure:
            # Whatever now stands behind the alias is looked at from the start by the next try.
            raise Later(f"{alias} named a foreign room ({reason}); making ours failed: {failure}") from failure
        if reason not in {_UNSEEN, _NOT_JOINED, _TOMBSTONE}:
            await self._abandon(room_id)
        return Done(room_id=successor, detail="replaced")

    async def _abandon(self, room_id: RoomId) -> None:
        """Leave a room that was replaced. It does no harm if that fails: nothing is ever said there."""
        try:
            await self._server.act(room_id, "leave")
        except Failure as failure:
            _log.info("a replaced room could not be left", room_id=room_id, error=str(failure))

    async def _state(self, room_id: RoomId) -> Mapping[_Key, Json]:
        """A room's state by type and state key; empty when we are not in it."""
        try:
            events = await self._server.state(room_id)
        except Refused as refusal:
            if status_of(refusal) in _NOT_IN_ROOM:
                return {}
            raise
        return {
            (event["type"], event["state_key"]): event
            for event in events
            if isinstance(event.get("type"), str) and isinstance(event.get("state_key"), str)
        }

    async def _wait_for_completion(
        self, room_id: RoomId, spec: RoomSpec, alias: str
    ) -> tuple[str, list[tuple[_Key, Json]], Mapping[_Key, Json]]:
        """Why the room can't be used, what it lacks, and its state, once whoever may make it had time to finish.

        The alias stands before the bot has even joined: until then the room looks like a stranger's.
        """
        until = self._clock.monotonic() + _PATIENCE_S
        while True:
            state = await self._state(room_id)
            reason = why_not_ours(state, spec, self._server.user_id)
            missing = [] if reason else missing_state(state, spec, alias)
            is_settled = not missing if not reason else reason not in _MAY_PASS
            if is_settled or self._clock.monotonic() >= until:
                return reason, missing, state
            await self._clock.sleep(_LOOK_EVERY_S)

    async def _complete(self, room_id: RoomId, missing: Sequence[tuple[_Key, Json]]) -> str:
        """Send what is missing, in order; answers why that can't be done, or nothing."""
        for (event_type, state_key), content in missing:
            try:
                await self._server.put_state(room_id, event_type, state_key, content)
            except Refused as refusal:
                return f"{event_type} can't be set: {refusal}"
        return ""


def why_not_ours(state: Mapping[_Key, Json], spec: RoomSpec, bot: str) -> str:
    """Why a room can't become the wanted one, or nothing when it can.

    Looks at what is fixed when a room is made, at our own membership, and at whether the room was left behind.
    A room of another version is kept: the operator may have changed the version since.
    """
    create = state.get(("m.room.create", ""))
    if create is None:
        return _UNSEEN
    if create.get("sender") != bot:
        return "somebody else made it"
    if reason := _unlike(_content(create), spec):
        return reason
    if _content(state.get(("m.room.member", bot), {})).get("membership") != "join":
        return _NOT_JOINED
    if ("m.room.tombstone", "") in state:
        return _TOMBSTONE
    if _content(create).get("room_version") != spec.version and ("m.room.power_levels", "") not in state:
        return "it is incomplete, and of another version than is configured now"
    algorithm = _content(state.get(("m.room.encryption", ""), {})).get("algorithm")
    if algorithm is not None and algorithm != _wanted_algorithm(spec):
        return "it is encrypted in another way"
    return ""


def members_of(state: Mapping[_Key, Json]) -> tuple[tuple[UserId, str], ...]:
    """Who is in a room, invited to it or banned from it, sorted: the tables may know nothing of them."""
    found = [
        (UserId(user_id), membership)
        for (event_type, user_id), event in state.items()
        if event_type == "m.room.member" and is_user_id(user_id)
        if (membership := _content(event).get("membership")) in _PRESENT
    ]
    return tuple(sorted(found))


def _unlike(content: Json, spec: RoomSpec) -> str:
    """In what a room's `m.room.create`, which can't be changed, differs from the wanted one."""
    wanted = spec.creation_content
    for name in (INCIDENT_FIELD, GENERATION_FIELD, "type"):
        if content.get(name) != wanted.get(name):
            return f"its {name} is another"
    if content.get("m.federate", True) != wanted.get("m.federate", True):
        return "its federation is not as wanted"
    others = content.get("additional_creators", [])
    if not isinstance(others, list) or any(other not in wanted.get("additional_creators", []) for other in others):
        return "it has other creators"
    return ""


def missing_state(state: Mapping[_Key, Json], spec: RoomSpec, alias: str) -> list[tuple[_Key, Json]]:
    """State that is absent or not as wanted, in the order in which it must be sent: encryption first."""
    wanted: list[tuple[_Key, Json]] = [
        ((event["type"], event.get("state_key", "")), event["content"]) for event in spec.initial_state
    ]
    position = 1 if spec.encrypted else 0
    wanted.insert(position, (("m.room.power_levels", ""), _power_levels(state, spec)))
    wanted.append((("m.room.canonical_alias", ""), {"alias": alias}))
    wanted.append((("m.room.name", ""), {"name": spec.name}))
    if spec.topic or _content(state.get(("m.room.topic", ""), {})).get("topic"):
        wanted.append((("m.room.topic", ""), {"topic": spec.topic}))
    return [(key, content) for key, content in wanted if not _holds(_content(state.get(key, {})), content, key)]


def _power_levels(state: Mapping[_Key, Json], spec: RoomSpec) -> Json:
    """The wanted power levels, as the room's own version wants them written (MSC4289)."""
    create = _content(state.get(("m.room.create", ""), {}))
    if create.get("room_version") == spec.version:
        return spec.power_levels
    # Of another version: who stands in `users`, and a tombstone's level, were right for it when the room was made.
    present = _content(state.get(("m.room.power_levels", ""), {}))
    return {**spec.power_levels, "users": present.get("users", {}), "events": present.get("events", {})}


def _holds(present: Json, wanted: Json, key: _Key) -> bool:
    """Whether a content says what is wanted. Synapse adds fields of its own to power levels and topics."""
    if key[0] == "m.room.canonical_alias":
        return isinstance(present.get("alias"), str)
    return all(name in present and present[name] == value for name, value in wanted.items())


def _wanted_algorithm(spec: RoomSpec) -> Any:
    for event in spec.initial_state:
        if event["type"] == "m.room.encryption":
            return event["content"].get("algorithm")
    return None


def _content(event: Json) -> Json:
    content = event.get("content")
    return content if isinstance(content, dict) else {}


def _explained(failure: Failure, alias: str) -> Failure:
    """A failed createRoom with the cause that an operator can remove."""
    if isinstance(failure, Refused) and failure.code == "M_EXCLUSIVE":
        return Refused(
            f"the homeserver won't let us make {alias}: the registration's exclusive alias namespace does not "
            f"cover it. Put it there, restart the homeserver, then retry. ({failure})",
            code=failure.code,
        )
    return failure

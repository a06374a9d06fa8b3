"""Looks at the successor of a room, a person's or our own, and takes it over. Safe to repeat.

    join ─► made by whoever sent the tombstone, names our room as its predecessor ─no─► left, refused
         ─► encrypted, and the bot may set state there ─not yet─► tried again for a while, then parked
         ─► rules, name and alias as the incident's room has them ─► Done

Must never answer a room that isn't encrypted, nor one that somebody else made. Its power levels are left as they
are: written by our table, they could take the bot's own power, which may stand in them there.
"""

from collections.abc import Mapping
from typing import Any

import structlog

from etb_appservice.domain.effects import FollowUpgrade
from etb_appservice.domain.facts import Done
from etb_appservice.domain.ids import RoomId
from etb_appservice.domain.outcomes import Broken, Failure, Later, Refused
from etb_appservice.domain.rooms import has_privileged_creators
from etb_appservice.matrix.rooms import members_of
from etb_appservice.matrix.server import Homeserver, Json
from etb_appservice.ports import Try

_log = structlog.get_logger(__name__)

_TRIES = 20
_WAIT_S = 15.0
"""The person who upgrades invites the bot and gives it power a moment later, by hand."""
_NEEDED = 100
_ENCRYPTION = "m.room.encryption"
_ALGORITHM = "m.megolm.v1.aes-sha2"
_State = Mapping[tuple[str, str], Json]


class UpgradeFollower:
    """Takes successors over as `Homeserver`'s user; aliases are of `server_name`."""

    def __init__(self, server: Homeserver, server_name: str) -> None:
        self._server = server
        self._server_name = server_name

    async def follow(self, effect: FollowUpgrade, attempt: Try) -> Done:
        """`room_id` and `members` of the successor."""
        room_id = effect.replacement
        try:
            await self._server.act(room_id, "join")
        except Refused as refusal:
            raise _later(effect, "invite the bot there", attempt) from refusal
        state = await self._state(room_id)
        if reason := why_no_successor(state, effect):
            await self._leave(room_id)
            raise Refused(f"{effect.room_id} was upgraded to {room_id}, which is not followed: {reason}")
        if _content(state, _ENCRYPTION).get("algorithm") != _ALGORITHM:
            raise _later(effect, "switch encryption on there", attempt)
        if not may_set_state(state, self._server.user_id):
            raise _later(effect, f"give the bot power level {_NEEDED} there", attempt)
        alias = await self._move_alias(effect)
        for event_type, content in self._wanted(effect, alias):
            present = _content(state, event_type)
            if any(present.get(name) != value for name, value in content.items()):
                await self._server.put_state(room_id, event_type, "", content)
        return Done(room_id=room_id, detail="followed", members=members_of(state))

    def _wanted(self, effect: FollowUpgrade, alias: str) -> list[tuple[str, Json]]:
        """What the incident's room has, but for what can't be set or stands already."""
        spec = effect.spec
        rules = [(one["type"], one["content"]) for one in spec.initial_state if one["type"] != _ENCRYPTION]
        topic = [("m.room.topic", {"topic": spec.topic})] if spec.topic else []
        return [
            *rules,
            ("m.room.canonical_alias", {"alias": alias}),
            ("m.room.name", {"name": spec.name}),
            *topic,
        ]

    async def _move_alias(self, effect: FollowUpgrade) -> str:
        """The incident's alias leads to the successor."""
        alias = f"#{effect.spec.alias_localpart}:{self._server_name}"
        named = await self._server.resolve(alias)
        if named != effect.replacement:
            if named is not None:
                await self._server.free_alias(alias)
            await self._server.set_alias(alias, effect.replacement)
        return alias

    async def _state(self, room_id: RoomId) -> _State:
        return {
            (event["type"], event["state_key"]): event
            for event in await self._server.state(room_id)
            if isinstance(event.get("type"), str) and isinstance(event.get("state_key"), str)
        }

    async def _leave(self, room_id: RoomId) -> None:
        try:
            await self._server.act(room_id, "leave")
        except Failure as failure:
            _log.info("a room that is no successor could not be left", room_id=room_id, error=str(failure))


def why_no_successor(state: _State, effect: FollowUpgrade) -> str:
    """What is wrong with a room for good, or nothing: looks at what can't be changed there."""
    create = _content(state, "m.room.create")
    predecessor = create.get("predecessor")
    if not isinstance(predecessor, dict) or predecessor.get("room_id") != effect.room_id:
        return "it does not name the old room as its predecessor"
    if state[("m.room.create", "")].get("sender") != effect.by:
        return f"it was not made by {effect.by}, who upgraded the old one"
    if create.get("m.federate", True) and not effect.spec.federates:
        return "it is open to other homeservers, which the incident's level forbids"
    return ""


def may_set_state(state: _State, bot: str) -> bool:
    """Whether the bot has the power that it has in rooms of its own."""
    create = _content(state, "m.room.create")
    if has_privileged_creators(str(create.get("room_version", "1"))):
        others = create.get("additional_creators")
        is_creator = state.get(("m.room.create", ""), {}).get("sender") == bot
        if is_creator or (isinstance(others, list) and bot in others):
            return True
    levels = _content(state, "m.room.power_levels")
    users = levels.get("users")
    level = users.get(bot, levels.get("users_default", 0)) if isinstance(users, dict) else 0
    return isinstance(level, int) and level >= _NEEDED


def _content(state: _State, event_type: str) -> dict[str, Any]:
    content = state.get((event_type, ""), {}).get("content")
    return content if isinstance(content, dict) else {}


def _later(effect: FollowUpgrade, wanted: str, attempt: Try) -> Failure:
    if attempt.attempts + 1 < _TRIES:
        return Later(f"{effect.replacement} can't be taken over yet: {wanted}", after_s=_WAIT_S)
    # Parked, so that it can be tried again by an operator once that was done.
    return Broken(
        f"{effect.room_id} was upgraded by {effect.by} to {effect.replacement}, which can't be taken over: "
        f"{wanted}, then retry."
    )

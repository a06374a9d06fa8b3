"""Guards our rooms: what only the bot sets and somebody else has set, and what is sent by who isn't there.

    StateChanged ─► in a room of ours, of a type that only the bot sets, by nobody entitled ─► a violation:
                 │                                        recorded, the operators told, set back (RestoreState)
                 └► else noted
    EventDisowned ─► a violation: recorded, the operators told once for each sender and room

A room's power levels keep members from it, so whoever gets here was given power by the break-glass account, or by
a homeserver that made the room's state up. Entitled are the bot, our ghosts, the break-glass accounts, and whoever
upgraded a room that was followed. It must never act upon what the state says, only undo it.
"""

from etb_appservice.domain.effects import RestoreState
from etb_appservice.domain.facts import EventDisowned, StateChanged
from etb_appservice.domain.ids import UserId
from etb_appservice.domain.policy import Policy
from etb_appservice.domain.rooms import only_the_bot_sets
from etb_appservice.domain.text import code, plain
from etb_appservice.domain.upgrades import Upgrade
from etb_appservice.flows.turn import Turn
from etb_appservice.ports import Room


class StateGuard:
    """Decides about state events that no other flow knows, and about events that count for nothing."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    async def changed(self, turn: Turn, fact: StateChanged) -> None:
        """Somebody set state."""
        room = await turn.work.rooms.by_id(fact.room_id)
        if room is not None and room.is_current and only_the_bot_sets(fact.event_type):
            entitled = await self._entitled(turn, room)
            if fact.sender not in entitled and not self._policy.is_ours(fact.sender):
                await self._violated(turn, room, fact, entitled)
                return
        await turn.note(
            "state.changed",
            actor=fact.sender,
            subject=fact.room_id,
            details={"type": fact.event_type, "event": fact.event_id},
        )

    async def disowned(self, turn: Turn, fact: EventDisowned) -> None:
        """Somebody's homeserver goes on sending in their name after they were removed."""
        room = await turn.work.rooms.by_id(fact.room_id)
        if room is None:
            return
        await turn.note(
            "violation.not_in_room",
            actor=fact.sender,
            subject=room.war_room,
            details={"room": fact.room_id, "event": fact.event_id},
        )
        await turn.trouble(
            ("not in room", fact.room_id, fact.sender),
            f"The homeserver of {code(fact.sender)} sends events to **{plain(room.name) or room.kind}** in their "
            "name, though they are not in the room. This service ignores them, and nobody there sees them.",
        )

    async def _entitled(self, turn: Turn, room: Room) -> tuple[UserId, ...]:
        rules = self._policy.rooms
        upgrade = await turn.work.cases.get(room.war_room, Upgrade, room.room_id or "")
        by = [upgrade.by] if upgrade is not None and upgrade.state == "followed" else []
        return tuple(dict.fromkeys([rules.bot, *rules.additional_creators, *by]))

    async def _violated(self, turn: Turn, room: Room, fact: StateChanged, entitled: tuple[UserId, ...]) -> None:
        await turn.note(
            "violation.state",
            actor=fact.sender,
            subject=room.war_room,
            details={"room": fact.room_id, "type": fact.event_type, "event": fact.event_id},
        )
        await turn.emit(
            "restore",
            RestoreState(
                room_id=fact.room_id,
                event_type=fact.event_type,
                state_key=fact.state_key,
                entitled=entitled,
            ),
        )
        await turn.trouble(
            ("state", fact.event_id),
            f"{code(fact.sender)} has changed {code(fact.event_type)} of **{plain(room.name) or room.kind}**, "
            "which only this service does. It is set back. Find out who gave them the power to.",
        )

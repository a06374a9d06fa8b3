"""What follows when ETB shows an incident: its room, its people, its card.

    IncidentSeen ──► no room yet ──► OpenRoom ──► (RoomOpened in rooms.py) ──► settle
                └──► room is there ──────────────────────────────────────────► settle
    settle: invite who belongs there and isn't invited, name who can't be, bring the card up to date

Deciding twice changes nothing: an unchanged incident, seen by webhook and by poll, leads to no effect.
"""

from dataclasses import replace
from typing import Any

from etb_appservice.domain.effects import Invite, OpenRoom, PutState, Remove, Say
from etb_appservice.domain.facts import CardDue, IncidentSeen, OnCallSeen, PeopleDue
from etb_appservice.domain.ids import EventId, RoomId, UserId
from etb_appservice.domain.incident import Card, Incident, Responder, urgency
from etb_appservice.domain.policy import Policy
from etb_appservice.domain.rooms import SPACE, RoomSpec, incident_room
from etb_appservice.domain.text import code, plain
from etb_appservice.flows.surroundings import (
    Surroundings,
    card_of,
    level_of,
    look_around,
    remember,
    responders,
)
from etb_appservice.flows.timeline import write_changes
from etb_appservice.flows.turn import Turn
from etb_appservice.ports import EtbReads, Known, Room

_LOOK_AGAIN_MS = 60_000
_SHUT_OUT = frozenset({"clearance", "inactive"})
"""What ETB has said of a person; not having been able to ask ETB removes nobody."""
_FIXES = {
    "unmapped": "has no Matrix account here. Add it under `people.entries` in the configuration.",
    "clearance": "is not cleared for the level of this incident. Clearance and level are set in ETB.",
    "inactive": "has an ETB account that is locked or not active.",
    "unknown": "could not be looked up in ETB yet; this is tried again every minute.",
}


class Incidents:
    """Decides what follows from incidents, and from who is on call."""

    def __init__(self, etb: EtbReads, policy: Policy) -> None:
        """`etb` is read in `look` only, before the unit of work."""
        self._etb = etb
        self._policy = policy

    async def look(self, incident: Incident) -> Surroundings:
        """What deciding about an incident needs from ETB."""
        return await look_around(self._etb, incident, self._policy.commands.etb_wait_s)

    async def seen(self, turn: Turn, fact: IncidentSeen, around: Surroundings) -> None:
        """An incident as ETB shows it now."""
        # A time in ETB's future would make every later change look old.
        incident = replace(fact.incident, updated_at_ms=min(fact.incident.updated_at_ms, turn.now_ms))
        known = await turn.work.incidents.get(incident.id)
        if known and incident.updated_at_ms < known.incident.updated_at_ms:
            return
        deadlines = around.deadlines if around.deadlines is not None else (known.deadlines if known else ())
        await turn.work.incidents.put(Known(incident=incident, confirmed_ms=turn.now_ms, deadlines=deadlines))
        await remember(turn.work, incident, around)
        room = await turn.work.rooms.of_incident(incident.id)
        if known is None or known.incident != incident:
            await turn.note(
                "incident.seen",
                subject=incident.id,
                details={"via": fact.via, "status": incident.status, "severity": incident.severity},
                contents={"title": incident.title, "description": incident.description},
            )
        if room is None:
            if incident.is_open:
                await self._open(turn, incident)
        else:
            if known is not None:
                await write_changes(turn, room, known.incident, incident, server=self._policy.server_name)
            await self.settle(turn, room, incident, around)

    async def people_due(self, turn: Turn, fact: PeopleDue, around: Surroundings) -> None:
        """Look again at who belongs in a room."""
        known = await turn.work.incidents.get(fact.incident_id)
        room = await turn.work.rooms.of_incident(fact.incident_id)
        if known and room and known.incident.is_open:
            await remember(turn.work, known.incident, around)
            await self.settle(turn, room, known.incident, around)

    async def on_call_seen(self, turn: Turn, fact: OnCallSeen) -> None:
        """Other people are on call: every open incident looks again at its people, in its own lane."""
        await turn.note("oncall.changed", subject="oncall", details={"people": len(fact.usernames)})
        for incident_id in await turn.work.incidents.open_ids():
            await turn.follow(
                PeopleDue(incident_id=incident_id), ("people", turn.ref, incident_id), lane=incident_id
            )

    async def card_due(self, turn: Turn, fact: CardDue) -> None:
        """Somebody joined who can't hold the card's key: send it anew, once for all who joined meanwhile."""
        room = await turn.work.rooms.of_incident(fact.incident_id)
        if room is None or room.room_id is None or room.card is None:
            return
        if fact.user_id in room.card_holders:
            return
        if await turn.work.rooms.membership(room.room_id, fact.user_id) != "join":
            return
        await self._send_card(turn, room, room.room_id, room.card)

    async def settle(self, turn: Turn, room: Room, incident: Incident, around: Surroundings) -> None:
        """Bring people, card and what servers may read up to date with the incident.

        A room that is still being opened is settled once it is there.
        """
        room_id = room.room_id
        if room_id is None:
            return
        level = level_of(incident, self._policy)
        people = await responders(turn.work, incident, level, self._policy, around)
        room = await self._reshape(turn, room, room_id, incident_room(incident, level, self._policy.rooms))
        space = await turn.work.rooms.by_war_room(SPACE)
        if space is not None and space.room_id is not None:
            await link(turn, space.room_id, room_id, self._policy)
        for person in people:
            await self._bring_in(turn, room, room_id, incident, person)
            if space is not None and space.room_id is not None and not person.obstacle:
                await self._show_space(turn, space.room_id, person)
        known = await turn.work.incidents.get(incident.id)
        card = card_of(incident, level, people, known.deadlines if known else ())
        await self._show(turn, room, room_id, card)
        if any(person.obstacle == "unknown" for person in people):
            await turn.follow(
                PeopleDue(incident_id=incident.id),
                ("people", turn.ref, "again"),
                due_ms=turn.now_ms + _LOOK_AGAIN_MS,
            )

    async def _open(self, turn: Turn, incident: Incident) -> None:
        """Ask for the room, under a key that any other trigger would use too."""
        spec = incident_room(incident, level_of(incident, self._policy), self._policy.rooms)
        await turn.work.rooms.put(
            Room(
                war_room=spec.war_room,
                generation=spec.generation,
                kind="incident",
                incident_id=incident.id,
                classification=spec.classification,
                visibility=spec.visibility,
                keys_to_invited=spec.keys_to_invited,
                encrypted=True,
                name=spec.name,
            )
        )
        await turn.emit_as(
            f"open/{spec.war_room}/{spec.generation}",
            OpenRoom(war_room=spec.war_room, spec=spec, urgency=urgency(incident.severity)),
        )
        await turn.note(
            "room.asked",
            subject=spec.war_room,
            details={"incident": incident.id, "classification": spec.classification.name},
        )

    async def _reshape(self, turn: Turn, room: Room, room_id: RoomId, spec: RoomSpec) -> Room:
        """A changed classification changes what servers may read, before anything else is said."""
        if room.name != spec.name:
            await turn.emit("name", _state(room_id, "m.room.name", {"name": spec.name}))
            await turn.emit("topic", _state(room_id, "m.room.topic", {"topic": spec.topic}))
        if room.visibility != spec.visibility:
            content = {"history_visibility": spec.visibility}
            await turn.emit("visibility", _state(room_id, "m.room.history_visibility", content))
        changed = replace(
            room,
            name=spec.name,
            classification=spec.classification,
            visibility=spec.visibility,
            keys_to_invited=spec.keys_to_invited,
        )
        if changed != room:
            await turn.work.rooms.put(changed)
            if changed.classification is not room.classification:
                await turn.note(
                    "room.classified",
                    subject=room.war_room,
                    details={"from": room.classification.name, "to": changed.classification.name},
                )
        return changed

    async def _bring_in(
        self, turn: Turn, room: Room, room_id: RoomId, incident: Incident, person: Responder
    ) -> None:
        """Invite a responder once for the roles they hold now, or say why they can't be invited."""
        if person.obstacle in _SHUT_OUT and person.user_id is not None:
            await self._shut_out(turn, room, room_id, incident, person.user_id, person.obstacle)
        if person.obstacle or person.user_id is None:
            await turn.trouble(
                ("responder", incident.id, person.username, person.obstacle),
                f"**{plain(incident.number)}**: ETB user {code(person.username)} ({', '.join(person.roles)}) "
                f"was not invited: the person {_FIXES[person.obstacle]}",
            )
            return
        if await turn.work.rooms.membership(room_id, person.user_id) in {"join", "invite"}:
            return
        roles = ",".join(person.roles)
        if not await turn.work.once.first_time("invited", room_id, person.user_id, roles):
            return
        await turn.work.rooms.set_member(room_id, person.user_id, "invite")
        await turn.emit(f"invite/{person.user_id}", Invite(room_id=room_id, user_id=person.user_id))
        await turn.note("person.invited", subject=room.war_room, details={"user": person.user_id, "roles": roles})

    async def _shut_out(
        self, turn: Turn, room: Room, room_id: RoomId, incident: Incident, user_id: UserId, obstacle: str
    ) -> None:
        """ETB says that somebody who is in the room may not be: out, before anything else is said there."""
        if await turn.work.rooms.membership(room_id, user_id) not in {"join", "invite"}:
            return
        await turn.work.rooms.set_member(room_id, user_id, "leave")
        await turn.emit(
            f"remove/{user_id}",
            Remove(room_id=room_id, user_id=user_id, reason="You are no longer permitted to be in this room."),
        )
        await turn.note("person.removed", subject=room.war_room, details={"user": user_id, "why": obstacle})
        await turn.trouble(
            ("removed", turn.ref, user_id),
            f"**{plain(incident.number)}**: {code(user_id)} was removed from the room, since the person "
            f"{_FIXES[obstacle]}",
        )

    async def _show_space(self, turn: Turn, space_id: RoomId, person: Responder) -> None:
        """Responders of our own homeserver see their rooms gathered in the Space; it isn't federated."""
        user_id = person.user_id
        if user_id is None or not user_id.endswith(f":{self._policy.server_name}"):
            return
        if await turn.work.rooms.membership(space_id, user_id) in {"join", "invite"}:
            return
        if await turn.work.once.first_time("space", space_id, user_id):
            await turn.work.rooms.set_member(space_id, user_id, "invite")
            await turn.emit(f"space/{user_id}", Invite(room_id=space_id, user_id=user_id))

    async def _show(self, turn: Turn, room: Room, room_id: RoomId, card: Card) -> None:
        """Post the card, or edit it in place when it shows something else now."""
        if room.card is None:
            await self._send_card(turn, room, room_id, card)
        elif room.card != card:
            room = replace(room, card=card)
            await turn.work.rooms.put(room)
            if room.card_event:
                await turn.emit("card", card_edit(room_id, card, room.card_event))

    async def _send_card(self, turn: Turn, room: Room, room_id: RoomId, card: Card) -> None:
        wanted = ("join", "invite") if room.keys_to_invited else ("join",)
        holders = await turn.work.rooms.members(room_id, *wanted)
        await turn.work.rooms.put(replace(room, card=card, card_holders=tuple(holders)))
        await turn.emit("card", Say(room_id=room_id, content=card, purpose="card"))


async def link(turn: Turn, space_id: RoomId, room_id: RoomId, policy: Policy) -> None:
    """Make a room a child of the Space, once, whoever asks first."""
    await turn.emit_as(
        f"link/{space_id}/{room_id}",
        PutState(
            room_id=space_id,
            event_type="m.space.child",
            state_key=room_id,
            content={"via": [policy.server_name], "suggested": True},
        ),
    )


def card_edit(room_id: RoomId, card: Card, event_id: EventId) -> Say:
    """Brings the card that stands in the room up to date."""
    return Say(room_id=room_id, content=card, edits=event_id)


def _state(room_id: RoomId, event_type: str, content: dict[str, Any]) -> PutState:
    return PutState(room_id=room_id, event_type=event_type, state_key="", content=content)

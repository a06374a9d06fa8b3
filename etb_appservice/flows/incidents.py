"""What follows when ETB shows an incident: its room, its people, its card.

    IncidentSeen ──► no room yet ──► OpenRoom ──► (RoomOpened in rooms.py) ──► settle
                └──► room is there ──────────────────────────────────────────► settle
    settle: invite who belongs there and isn't invited, name who can't be, bring the card up to date

Deciding twice changes nothing: an unchanged incident, seen by webhook and by poll, leads to no effect.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.drills import MARK, is_drill
from etb_appservice.domain.effects import PutState, Say
from etb_appservice.domain.facts import CardDue, IncidentDue, IncidentSeen, PeopleDue
from etb_appservice.domain.ids import EventId, IncidentId, RoomId
from etb_appservice.domain.incident import Card, Incident, urgency
from etb_appservice.domain.news import RightsChanged
from etb_appservice.domain.outcomes import Failure
from etb_appservice.domain.policy import Policy
from etb_appservice.domain.rooms import SPACE, RoomSpec, incident_room
from etb_appservice.domain.text import code, plain, some_of
from etb_appservice.flows.announcements import announce_change
from etb_appservice.flows.declared import room_is_open
from etb_appservice.flows.federation import put_acl
from etb_appservice.flows.history import begins, reclassified
from etb_appservice.flows.invitations import bring_in
from etb_appservice.flows.opening import ask_for
from etb_appservice.flows.removals import learned_all, put_out_whom_it_must
from etb_appservice.flows.surroundings import (
    Surroundings,
    card_of,
    level_of,
    look_around,
    remember,
    responders,
)
from etb_appservice.flows.tellings import handed_over, tell_of_changes
from etb_appservice.flows.timeline import write_changes
from etb_appservice.flows.turn import Turn
from etb_appservice.flows.watch import look_soon
from etb_appservice.ports import EtbReads, Known, Room

_FETCH_AGAIN_MS = 5_000
_MOST_FETCHES = 5


@dataclass(frozen=True, slots=True)
class Fetched:
    """An incident as ETB showed it just now."""

    incident: Incident
    around: Surroundings


class Incidents:
    """Decides what follows from incidents, and from who is on call."""

    def __init__(self, etb: EtbReads, policy: Policy) -> None:
        """`etb` is read in `look` only, before the unit of work."""
        self._etb = etb
        self._policy = policy

    async def look(self, incident: Incident) -> Surroundings:
        """What deciding about an incident needs from ETB."""
        return await look_around(self._etb, incident, self._policy.commands.etb_wait_s)

    async def fetch(self, incident_id: IncidentId) -> Fetched | None:
        """The incident and its surroundings; None when ETB didn't answer."""
        try:
            async with asyncio.timeout(self._policy.commands.etb_wait_s):
                incident = await self._etb.incident(incident_id)
        except (Failure, TimeoutError):
            return None
        return Fetched(incident, await self.look(incident))

    async def due(self, turn: Turn, fact: IncidentDue, fetched: Fetched | None) -> None:
        """What we changed or made in ETB shows here at once; asked a few times, then the poll has to do."""
        if fetched is None:
            if fact.tries + 1 < _MOST_FETCHES:
                await turn.follow(
                    replace(fact, tries=fact.tries + 1),
                    ("due again", turn.ref),
                    due_ms=turn.now_ms + _FETCH_AGAIN_MS * 2**fact.tries,
                )
            return
        await self.seen(turn, IncidentSeen(incident=fetched.incident, via="asked"), fetched.around)
        room = await turn.work.rooms.of_incident(fact.incident_id)
        if room is not None:
            await room_is_open(turn, room, self._policy)

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
        await learned_all(turn, around.users.values(), self._policy)
        room = await turn.work.rooms.of_incident(incident.id)
        await announce_change(turn, known.incident if known else None, incident, self._policy)
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
                tell_of_changes(turn, room, known.incident, incident)
                await write_changes(turn, room, known.incident, incident, server=self._policy.server_name)
            await self.settle(turn, room, incident, around)
            if incident.is_open and room.room_id is not None:
                await look_soon(turn, room)

    async def people_due(self, turn: Turn, fact: PeopleDue, around: Surroundings) -> None:
        """Look again at who belongs in a room."""
        known = await turn.work.incidents.get(fact.incident_id)
        room = await turn.work.rooms.of_incident(fact.incident_id)
        if known and room and known.incident.is_open:
            await remember(turn.work, known.incident, around)
            await learned_all(turn, around.users.values(), self._policy)
            await self.settle(turn, room, known.incident, around, afresh=fact.afresh)
            if fact.news and room.room_id is not None:
                turn.tell(handed_over(room))
                await turn.emit("news", Say(room_id=room.room_id, content=fact.news, purpose="notice"))

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

    async def settle(
        self, turn: Turn, room: Room, incident: Incident, around: Surroundings, *, afresh: bool = False
    ) -> None:
        """Bring people, card and what servers may read up to date with the incident.

        A room that is still being opened is settled once it is there.
        """
        room_id = room.room_id
        if room_id is None:
            return
        level = level_of(incident, self._policy)
        people = await responders(turn.work, incident, level, self._policy, around)
        room = await self._reshape(turn, room, room_id, self.spec(incident, level))
        space = await turn.work.rooms.by_war_room(SPACE)
        if space is not None and space.room_id is not None and not incident.is_over:
            await link(turn, space.room_id, room_id, self._policy)
        await bring_in(turn, room, room_id, incident, people, self._policy, afresh=afresh)
        known = await turn.work.incidents.get(incident.id)
        deadlines = known.deadlines if known else ()
        card = card_of(incident, level, people, deadlines, is_drill=is_drill(incident, self._policy))
        await self._show(turn, room, room_id, card)

    async def _open(self, turn: Turn, incident: Incident) -> None:
        """Ask for the room, under a key that any other trigger would use too."""
        spec = self.spec(incident, level_of(incident, self._policy))
        await begins(turn, spec.war_room, spec.classification)
        details = {"incident": incident.id, "classification": spec.classification.name}
        await ask_for(turn, spec, details, incident_id=incident.id, urgency=urgency(incident.severity))

    def spec(self, incident: Incident, level: Classification) -> RoomSpec:
        """What the incident's room shall be."""
        return room_spec(incident, level, self._policy)

    async def _reshape(self, turn: Turn, room: Room, room_id: RoomId, spec: RoomSpec) -> Room:
        """A changed level changes who may be there, then what servers may read, before anything is said."""
        changed = replace(
            room,
            name=spec.name,
            classification=spec.classification,
            visibility=spec.visibility,
            keys_to_invited=spec.keys_to_invited,
        )
        if changed != room:
            await turn.work.rooms.put(changed)
        await put_out_whom_it_must(turn, changed, self._policy)
        if room.name != spec.name:
            await turn.emit("name", _state(room_id, "m.room.name", {"name": spec.name}))
            await turn.emit("topic", _state(room_id, "m.room.topic", {"topic": spec.topic}))
        if room.visibility != spec.visibility:
            content = {"history_visibility": spec.visibility}
            await turn.emit("visibility", _state(room_id, "m.room.history_visibility", content))
        if changed.classification is not room.classification:
            turn.tell(RightsChanged(war_room=room.war_room))
            await reclassified(turn, room.war_room, changed.classification)
            await turn.note(
                "room.classified",
                subject=room.war_room,
                details={"from": room.classification.name, "to": changed.classification.name},
            )
            await self._tell_of_federation(turn, room, room_id, spec)
        return await put_acl(turn, changed, self._policy)

    async def _tell_of_federation(self, turn: Turn, before: Room, room_id: RoomId, spec: RoomSpec) -> None:
        """Whether a room federates can't be changed: the operators learn when its level no longer allows it."""
        was_allowed = self._policy.rooms.rules[before.classification].federate
        if not before.federates or spec.federates or not was_allowed:
            return
        members = await turn.work.rooms.members(room_id, "join", "invite")
        foreign = [one for one in members if not one.endswith(f":{self._policy.server_name}")]
        named = some_of([code(one) for one in foreign], 10) or "none"
        await turn.trouble(
            ("federates", turn.ref, before.war_room),
            f"**{plain(spec.name)}** is {spec.classification.name} now, a level whose rooms are closed to other "
            f"homeservers; its room {code(room_id)} was made open to them, and that can't be changed. "
            f"People of other homeservers in it: {named}. Whom ETB doesn't clear for the level is removed, the "
            "others stay. If that must not be, report the incident anew at this level and go on in its room.",
        )

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


def room_spec(
    incident: Incident,
    level: Classification,
    policy: Policy,
    *,
    generation: int = 1,
    servers: Sequence[str] = (),
    is_for_partners: bool = False,
    predecessor: RoomId | None = None,
) -> RoomSpec:
    """What an incident's room shall be; see `domain.rooms.incident_room`."""
    return incident_room(
        incident,
        level,
        policy.rooms,
        generation=generation,
        mark=MARK if is_drill(incident, policy) else "",
        servers=servers,
        is_for_partners=is_for_partners,
        predecessor=predecessor,
    )


async def link(turn: Turn, space_id: RoomId, room_id: RoomId, policy: Policy, *, again: int = 0) -> None:
    """Make a room a child of the Space, once, whoever asks first; `again` after it was taken out."""
    await turn.emit_as(
        f"link/{space_id}/{room_id}{f'/{again}' if again else ''}",
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

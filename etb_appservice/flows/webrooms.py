"""What ETB's web pages ask of war rooms: to open one, to let people in or put them out, to name it, to archive it.

    RoomAsked ───────► the incident as ETB shows it now ─► permitted? ─► its room, by the flow of incidents
    RoomChangeAsked ─► permitted? ─► the right that the same needs as a command ─► done

The verdict goes to whoever asked, right after the commit. A web page has no device: it is ETB that vouches for who
sits in front of it, and no homeserver can add a person there, so nothing is asked of a device here.
"""

from dataclasses import dataclass, replace
from typing import Literal

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.clearance import Actor, Decision, Right, Subject, decide, may_enter
from etb_appservice.domain.facts import IncidentSeen, RoomAsked, RoomChangeAsked
from etb_appservice.domain.ids import UserId, Username
from etb_appservice.domain.incident import EtbUser, Incident
from etb_appservice.domain.policy import Policy
from etb_appservice.domain.verdicts import Outcome, Verdict
from etb_appservice.domain.webroom import WebRoom
from etb_appservice.flows.closings import Closings, closing_of
from etb_appservice.flows.incidents import Fetched, Incidents, room_spec
from etb_appservice.flows.opening import room_of
from etb_appservice.flows.participants import count_in, let_in, let_in_by_web, put_out
from etb_appservice.flows.permitted import Circle, Copy, circle_of, permission_of
from etb_appservice.flows.removals import learned, vouched
from etb_appservice.flows.standing import web_actor
from etb_appservice.flows.surroundings import FIXES, level_of
from etb_appservice.flows.turn import Turn
from etb_appservice.ports import Room, Work

Privacy = Literal["PRIVATE", "RESTRICTED"]
_OBSTACLES = {
    "clearance": "is not cleared for the level of this incident.",
    "inactive": "has an ETB account that is locked or not active.",
}


def privacy_of(incident: Incident, level: Classification) -> Privacy:
    """Rooms are never open to everybody; what is sensitive is for fewer still (contract, section 11, row 10)."""
    return "RESTRICTED" if incident.is_sensitive or level > Classification.INTERNAL else "PRIVATE"


class No(Exception):
    """Why it isn't done; nothing was."""

    def __init__(self, outcome: Outcome, code: str, text: str, *, field: str = "") -> None:
        super().__init__(text)
        self.outcome: Outcome = outcome
        self.code = code
        self.field = field


_UNKNOWN = No("not_found", "not_found", "Not found.")


NO_PERMISSION = "You have no permission for this incident."


async def circle_around(work: Work, incident: Incident, policy: Policy) -> Circle:
    """Of the room that an incident has, or would have."""
    room = await work.rooms.of_incident(incident.id)
    spec = room_spec(incident, level_of(incident, policy), policy)
    circle = await circle_of(work, room or room_of(spec, incident.id))
    if circle.incident is None:  # nobody has heard of it before
        on_call = await work.incidents.on_call()
        circle = replace(circle, incident=incident, on_call=on_call[0] if on_call else ())
    return circle


def may_change(actor: Actor, circle: Circle, policy: Policy, *, leads: bool) -> Decision:
    """Whether somebody may let people in, or `leads`: put them out, name or archive the room."""
    subject = Subject(classification=circle.level(policy))
    return decide(actor, Right.COMMANDER if leads else Right.RESPONDER, subject)


@dataclass(frozen=True, slots=True)
class WebRooms:
    """Decides both facts."""

    incidents: Incidents
    closings: Closings
    policy: Policy

    async def asked(self, turn: Turn, fact: RoomAsked, fetched: Fetched | None) -> None:
        """A room is asked for."""
        copy = await vouched(turn, fact.by, fact.confirmed_ms, self.policy)
        if fetched is not None:
            await self.incidents.seen(turn, IncidentSeen(incident=fetched.incident, via="asked"), fetched.around)
        try:
            outcome = await self._open(turn, fact, copy)
        except No as no:
            turn.verdicts.append(_verdict(fact.ref, no))
        else:
            turn.verdicts.append(Verdict(ref=fact.ref, outcome=outcome))

    async def changed(self, turn: Turn, fact: RoomChangeAsked) -> None:
        """A change is asked for: all of it is done, or nothing."""
        copy = await vouched(turn, fact.by, fact.confirmed_ms, self.policy)
        try:
            room, circle, incident = await self._entered(turn, fact, copy)
            await self._check(turn, room, circle, incident, fact, copy[0])
        except No as no:
            turn.verdicts.append(_verdict(fact.ref, no))
            return
        await self._apply(turn, room, fact)
        turn.verdicts.append(Verdict(ref=fact.ref, outcome="done"))

    # --- opening ------------------------------------------------------------------------------------------

    async def _open(self, turn: Turn, fact: RoomAsked, copy: Copy) -> Outcome:
        known = await turn.work.incidents.get(fact.incident_id)
        if known is None:
            raise No("unavailable", "etb_unavailable", "ETB can't be asked for this incident. Try again.")
        incident = known.incident
        room = await turn.work.rooms.of_incident(incident.id)
        circle = await circle_around(turn.work, incident, self.policy)
        found = await permission_of(turn.work, circle.room, fact.by.username, self.policy, known=(circle, copy))
        if not found.allowed:
            raise No("forbidden", "forbidden", NO_PERMISSION)
        if room is None:
            raise No("conflict", "conflict", "The incident is over, so it gets no room.")
        closing = await closing_of(turn.work, room)
        if incident.is_over or (closing is not None and closing.is_open and closing.is_read_only):
            raise No("conflict", "conflict", "The room is closed. Open the incident again first.")
        if fact.privacy not in {"", "PRIVATE", privacy_of(incident, circle.level(self.policy))}:
            text = "Follows the classification of the incident in ETB."
            raise No("invalid", "invalid", text, field="privacy_level")
        for user in fact.lets_in:
            self._may_come(user, circle)
        is_new = await turn.work.once.first_time("room asked", room.war_room) and room.room_id is None
        before = await turn.work.cases.get(room.war_room, WebRoom, WebRoom().id)
        if before is None:
            entry = WebRoom(name=fact.name, description=fact.description, created_by=fact.by.username)
            await turn.work.cases.put(room.war_room, entry)
        for user in fact.lets_in:
            await self._let_in(turn, room, user, fact.by_id)
        await turn.note("web.room_asked", actor=fact.by.username, subject=room.war_room, details={"new": is_new})
        return "done" if is_new else "there"

    # --- changing -----------------------------------------------------------------------------------------

    async def _entered(self, turn: Turn, fact: RoomChangeAsked, copy: Copy) -> tuple[Room, Circle, Incident]:
        room = await turn.work.rooms.by_war_room(fact.war_room)
        if room is None or room.kind != "incident":
            raise _UNKNOWN
        circle = await circle_of(turn.work, room)
        found = await permission_of(turn.work, room, fact.by.username, self.policy, known=(circle, copy))
        if not found.allowed or circle.incident is None:
            raise _UNKNOWN
        return room, circle, circle.incident

    async def _check(
        self, turn: Turn, room: Room, circle: Circle, incident: Incident, fact: RoomChangeAsked, by: EtbUser
    ) -> None:
        """Everything that could keep any of it from being done."""
        actor = web_actor(circle, incident, by, fact.by_id, turn.now_ms, self.policy)
        leads = bool(fact.puts_out) or fact.archives or fact.name is not None or fact.description is not None
        decision = may_change(actor, circle, self.policy, leads=leads)
        if not decision.allowed:
            raise No("forbidden", "forbidden", decision.reason)
        if fact.by.username in fact.puts_out:
            raise No("invalid", "invalid", "You would lock yourself out.", field="user_id")
        if fact.archives and not incident.ending:
            raise No("conflict", "conflict", "The incident is open. Resolve or close it first.")
        if fact.archives and room.room_id is None:
            raise No("conflict", "conflict", "The room is still being made. Try again in a moment.")
        for user in fact.lets_in:
            self._may_come(user, circle)
            user_id = self._matrix_id(user.username)
            if user_id is not None and room.room_id is not None:
                membership = await turn.work.rooms.membership(room.room_id, user_id)
                if membership == "ban":
                    raise No("conflict", "conflict", "They were banned from this room. Ask an operator.")

    async def _apply(self, turn: Turn, room: Room, fact: RoomChangeAsked) -> None:
        for user in fact.lets_in:
            await self._let_in(turn, room, user, fact.by_id)
        for name in fact.puts_out:
            user_id = self.policy.people.user_id(name) or self.policy.ghosts.user_id(name) or UserId("")
            await put_out(turn, room, user_id, name, self.policy, by=fact.by_id)
        if fact.name is not None or fact.description is not None:
            before = await turn.work.cases.get(room.war_room, WebRoom, WebRoom().id) or WebRoom()
            called = before.name if fact.name is None else fact.name
            description = before.description if fact.description is None else fact.description
            await turn.work.cases.put(room.war_room, replace(before, name=called, description=description))
            await turn.note("web.room_named", actor=fact.by.username, subject=room.war_room)
        if fact.archives:
            await self.closings.archive(turn, room, by=fact.by.username)

    def _may_come(self, user: EtbUser, circle: Circle) -> None:
        decision = may_enter(user.clearance, is_active=user.is_active, level=circle.level(self.policy))
        if not decision.allowed:
            why = _OBSTACLES.get(decision.reason, FIXES["stranger"])
            raise No("invalid", "invalid", f"{user.username} {why}", field="user_id")

    async def _let_in(self, turn: Turn, room: Room, user: EtbUser, by: UserId) -> None:
        await learned(turn, user, self.policy)
        user_id = self._matrix_id(user.username)
        if user_id is None:
            await let_in_by_web(turn, room, user.username, self.policy, by=by)
        elif room.room_id is None:
            # A room that is being made invites them itself.
            await count_in(turn, room, user.username, by=by)
        else:
            await let_in(turn, room, room.room_id, user.username, user_id, self.policy, by=by)

    def _matrix_id(self, name: Username) -> UserId | None:
        user_id = self.policy.people.user_id(name)
        return user_id if user_id is not None and self.policy.is_at_home(user_id) else None


def _verdict(ref: str, no: No) -> Verdict:
    return Verdict(ref=ref, outcome=no.outcome, code=no.code, text=str(no), field=no.field)

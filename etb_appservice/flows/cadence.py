"""The rhythm of an incident: status updates that fall due, and a commander who should be there by now.

    updated, reopened, other severity or commander ──► plan n+1 ──► UpdateDue(n+1), a durable timer
    UpdateDue(n): n was overtaken, or the incident is closed ─► nothing
                  else ─► a reminder to the commander (to the room, once, when there is none) ─► plan n+1
    a reaction to the latest reminder ─► snoozed (plan n+1 is later) or stopped (until the next update)

Only an update counts as one: neither talk nor a snooze moves the time that is counted from.
"""

from dataclasses import dataclass, replace

from etb_appservice.domain.cadence import Cadence
from etb_appservice.domain.effects import Say
from etb_appservice.domain.facts import CommanderDue, ReactionReceived, UpdateDue
from etb_appservice.domain.ids import EventId, IncidentId, RoomId, Username
from etb_appservice.domain.incident import Incident
from etb_appservice.domain.policy import Policy
from etb_appservice.domain.reactions import Reaction, bare
from etb_appservice.domain.roles import Role
from etb_appservice.domain.text import code, moment, plain
from etb_appservice.flows.turn import Turn
from etb_appservice.ports import Room, Work

COMMANDER = "INCIDENT_COMMANDER"
_REMINDER = "reminder"
_SECOND_THOUGHTS_MS = 5 * 60_000
"""How long after a snooze was taken back nobody is reminded: another one may follow."""


async def commander(work: Work, room: Room) -> Username | None:
    """Who is the incident's commander now."""
    role = await work.cases.get(room.war_room, Role, COMMANDER)
    return role.username if role is not None and role.is_open else None


async def updated(turn: Turn, room: Room, policy: Policy) -> int | None:
    """A status update was made: when the next one is due, None when none is."""
    cadence = await _of(turn.work, room)
    if cadence is None:
        return None
    fresh = replace(
        cadence, since_ms=turn.now_ms, snoozed_ms=None, is_stopped=False, is_room_told=False, reminder=None
    )
    return (await _plan(turn, room, fresh, policy)).due_ms


async def commander_changed(turn: Turn, room: Room, policy: Policy) -> None:
    """Somebody else is to be reminded: at once, when an update is overdue."""
    cadence = await _of(turn.work, room)
    if cadence is not None and not cadence.is_stopped:
        await _plan(turn, room, cadence, policy)


class Cadences:
    """Decides what falls due in incidents."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    async def follow(self, turn: Turn, incident_id: IncidentId) -> None:
        """Plan anew when the incident was opened, closed or reopened, or its severity is another. Repeatable."""
        known = await turn.work.incidents.get(incident_id)
        room = await turn.work.rooms.of_incident(incident_id)
        if known is None or room is None or room.room_id is None:
            return
        incident, now = known.incident, turn.now_ms
        cadence = await _of(turn.work, room)
        if cadence is None:
            if incident.is_open:
                fresh = Cadence(opened_ms=now, since_ms=now, severity=incident.severity)
                await _plan(turn, room, fresh, self._policy)
                await self._expect_commander(turn, incident_id)
        elif cadence.is_open and not incident.is_open:
            await turn.work.cases.put(
                room.war_room, replace(cadence, is_open=False, plan=cadence.plan + 1, due_ms=None, reminder=None)
            )
        elif not cadence.is_open and incident.is_open:
            again = replace(
                cadence, is_open=True, since_ms=now, severity=incident.severity, snoozed_ms=None, is_stopped=False
            )
            await _plan(turn, room, again, self._policy)
        elif cadence.is_open and cadence.severity != incident.severity:
            other = replace(cadence, severity=incident.severity, snoozed_ms=None, is_stopped=False)
            await _plan(turn, room, other, self._policy)

    async def update_due(self, turn: Turn, fact: UpdateDue) -> None:
        """The timer has run out."""
        running = await _running(turn.work, fact.incident_id)
        if running is None or running.cadence.plan != fact.plan:
            return
        room, cadence = running.room, running.cadence
        who = await commander(turn.work, room)
        if who is None and cadence.is_room_told and cadence.snoozed_ms is None:
            return
        user_id = self._policy.people.user_id(who) if who else None
        await turn.emit(
            f"{_REMINDER}/{cadence.plan}",
            Say(
                room_id=running.room_id,
                content=self._reminder(running.incident, cadence, who),
                notify=True,
                mentions=(user_id,) if user_id else (),
                purpose="reminder",
            ),
        )
        await turn.note(
            "update.due", subject=room.war_room, details={"plan": cadence.plan, "commander": who, "user": user_id}
        )
        interval = self._policy.cadence.update_ms(cadence.severity)
        is_room_told = who is None or cadence.is_room_told
        told = replace(cadence, plan=cadence.plan + 1, due_ms=None, snoozed_ms=None, is_room_told=is_room_told)
        if who is None or interval is None:
            await turn.work.cases.put(room.war_room, told)
        else:
            await _set(turn, room, told, turn.now_ms + interval)

    async def commander_due(self, turn: Turn, fact: CommanderDue) -> None:
        """Nobody claims it by themselves: the room is told once."""
        running = await _running(turn.work, fact.incident_id)
        if running is None or await commander(turn.work, running.room) is not None:
            return
        prefix = self._policy.commands.prefixes[0]
        text = f"Nobody is incident commander yet. `{prefix}role commander` claims it."
        await turn.emit("no commander", Say(room_id=running.room_id, content=text, purpose="notice"))
        await turn.note("commander.missing", subject=running.room.war_room)

    async def reminded(self, turn: Turn, room: Room, key: str, event_id: EventId) -> None:
        """A reminder stands in the room: reactions to it count, those among them that were quicker than this."""
        cadence = await _of(turn.work, room)
        # The plan after the one that fell due, else it was overtaken while the reminder was under way.
        if cadence is None or key.rsplit("/", 1)[-1] != str(cadence.plan - 1):
            return
        cadence = replace(cadence, reminder=event_id)
        await turn.work.cases.put(room.war_room, cadence)
        for early in await turn.work.cases.of(room.war_room, Reaction, only_open=True):
            if early.target == event_id and early.does in {"snooze", "stop"}:
                cadence = await self._put_off(turn, room, cadence, early)

    def means(self, key: str) -> bool:
        """Whether a reaction's emoji puts a reminder off."""
        return bare(key) == bare(self._policy.cadence.stop) or self._policy.cadence.snooze_minutes(key) is not None

    async def reacted(self, turn: Turn, room: Room, fact: ReactionReceived) -> bool:
        """Snooze or stop, when it is the latest reminder that somebody reacted to."""
        cadence = await _of(turn.work, room)
        if not self.means(fact.key) or cadence is None or not cadence.is_open:
            return False
        is_early = await turn.work.messages.by_event(fact.relates_to) is None
        if cadence.reminder != fact.relates_to and not is_early:
            return False
        stops = bare(fact.key) == bare(self._policy.cadence.stop)
        reaction = Reaction(
            id=fact.event_id,
            key=fact.key,
            sender=fact.sender,
            target=fact.relates_to,
            does="stop" if stops else "snooze",
        )
        await turn.work.cases.put(room.war_room, reaction)
        if not is_early:
            await self._put_off(turn, room, cadence, reaction)
        return True

    async def taken_back(self, turn: Turn, room: Room, reaction: Reaction) -> None:
        """A snooze was taken back: another that stands counts, else there is a moment in which one may follow."""
        cadence = await _of(turn.work, room)
        if cadence is None or not cadence.is_open or cadence.reminder != reaction.target:
            return
        await turn.note("update.unsnoozed", actor=reaction.sender, subject=room.war_room)
        standing = [
            one
            for one in await turn.work.cases.of(room.war_room, Reaction, only_open=True)
            if one.target == reaction.target and one.does in {"snooze", "stop"}
        ]
        if standing:
            await self._put_off(turn, room, cadence, standing[-1])
            return
        again = replace(cadence, snoozed_ms=turn.now_ms + _SECOND_THOUGHTS_MS, is_stopped=False)
        planned = await _plan(turn, room, again, self._policy)
        await self._confirm(turn, room, reaction, f"Taken back. {_next(planned.due_ms)}")

    async def _put_off(self, turn: Turn, room: Room, cadence: Cadence, reaction: Reaction) -> Cadence:
        who = code(self._policy.people.username(reaction.sender) or reaction.sender)
        minutes = self._policy.cadence.snooze_minutes(reaction.key)
        if reaction.does == "stop" or minutes is None:
            planned = replace(cadence, plan=cadence.plan + 1, due_ms=None, is_stopped=True)
            await turn.work.cases.put(room.war_room, planned)
            text = f"{who} has stopped reminders until the next status update."
        else:
            later = replace(cadence, snoozed_ms=turn.now_ms + minutes * 60_000, is_stopped=False)
            planned = await _plan(turn, room, later, self._policy)
            text = f"Put off by {who}. {_next(planned.due_ms)}"
        await turn.note(
            "update.snoozed",
            actor=reaction.sender,
            subject=room.war_room,
            details={"reaction": reaction.id, "minutes": 0 if reaction.does == "stop" else minutes},
        )
        await self._confirm(turn, room, reaction, text)
        return planned

    async def _confirm(self, turn: Turn, room: Room, reaction: Reaction, text: str) -> None:
        if room.room_id is not None:
            await turn.emit(
                f"confirm/{reaction.id}",
                Say(room_id=room.room_id, content=text, thread_root=reaction.target, purpose="notice"),
            )

    async def _expect_commander(self, turn: Turn, incident_id: IncidentId) -> None:
        minutes = self._policy.cadence.commander_minutes
        if minutes:
            await turn.follow(
                CommanderDue(incident_id=incident_id),
                ("commander", incident_id),
                lane=incident_id,
                due_ms=turn.now_ms + minutes * 60_000,
            )

    def _reminder(self, incident: Incident, cadence: Cadence, who: Username | None) -> str:
        prefix, rules = self._policy.commands.prefixes[0], self._policy.cadence
        whom = f"{code(who)}, a" if who else "A"
        choice = ", ".join(f"{emoji} in {minutes} minutes" for emoji, minutes in rules.snooze.items())
        return (
            f"{whom} status update of **{plain(incident.number)}** is due: the last one, or the beginning, was at "
            f"{moment(cadence.since_ms)}. `{prefix}post <text>` makes one.\n\n"
            f"React to this message to be reminded later: {choice}; {rules.stop} not until the next update."
        )


@dataclass(frozen=True, slots=True)
class _Running:
    """An open incident with a room in which people can be reminded."""

    incident: Incident
    room: Room
    room_id: RoomId
    cadence: Cadence


async def _running(work: Work, incident_id: IncidentId) -> _Running | None:
    known = await work.incidents.get(incident_id)
    room = await work.rooms.of_incident(incident_id)
    cadence = await _of(work, room) if room else None
    if known and room and room.room_id and cadence and known.incident.is_open and cadence.is_open:
        return _Running(known.incident, room, room.room_id, cadence)
    return None


async def _of(work: Work, room: Room) -> Cadence | None:
    return await work.cases.get(room.war_room, Cadence, "cadence")


async def _plan(turn: Turn, room: Room, cadence: Cadence, policy: Policy) -> Cadence:
    """The next plan, counted from the last real activity; what is overdue is due now."""
    interval = policy.cadence.update_ms(cadence.severity)
    due = None if interval is None else max(cadence.since_ms + interval, cadence.snoozed_ms or 0, turn.now_ms)
    if cadence.snoozed_ms is not None and due is not None and cadence.snoozed_ms > turn.now_ms:
        # Put off means then, also where the next regular reminder would come later.
        due = max(cadence.snoozed_ms, turn.now_ms)
    return await _set(turn, room, replace(cadence, plan=cadence.plan + 1), due)


async def _set(turn: Turn, room: Room, cadence: Cadence, due_ms: int | None) -> Cadence:
    planned = replace(cadence, due_ms=due_ms)
    await turn.work.cases.put(room.war_room, planned)
    if due_ms is not None and room.incident_id is not None:
        await turn.follow(
            UpdateDue(incident_id=room.incident_id, plan=planned.plan),
            ("update", room.war_room, str(planned.plan)),
            lane=room.incident_id,
            due_ms=due_ms,
        )
    return planned


def _next(due_ms: int | None) -> str:
    return "" if due_ms is None else f"The next reminder comes at {moment(due_ms)}."

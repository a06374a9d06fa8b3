"""How a room ends with its incident, and comes back with it.

    resolved ─► a line                                                      open again ─► everything back: voices,
    closed, cancelled, duplicate, deleted ─► a line, out of the Space,        Space, a line, people
                                             ReadOnlyDue(plan) ─► read-only

RESOLVED is said and nothing more: people still talk about what it was. A timer names the plan it belongs to, so
that one which was overtaken by a reopening does nothing.
"""

from dataclasses import replace

from etb_appservice.domain.cadence import Cadence
from etb_appservice.domain.classification import Classification
from etb_appservice.domain.closing import Closing, lasted
from etb_appservice.domain.drills import is_drill
from etb_appservice.domain.effects import PutState, Say, SetVoice
from etb_appservice.domain.facts import DuplicateFound, PeopleDue, ReadOnlyDue
from etb_appservice.domain.ids import IncidentId, RoomId, Username
from etb_appservice.domain.incident import Incident
from etb_appservice.domain.policy import Policy
from etb_appservice.domain.rooms import SPACE
from etb_appservice.domain.text import moment, plain
from etb_appservice.flows.export import ask_for
from etb_appservice.flows.ghosts import dismiss_ghosts
from etb_appservice.flows.incidents import link
from etb_appservice.flows.invitations import forget_invitations
from etb_appservice.flows.keeping import is_held
from etb_appservice.flows.surroundings import level_of
from etb_appservice.flows.timeline import write_down
from etb_appservice.flows.turn import Turn
from etb_appservice.ports import Room, Work

_HOUR_MS = 3600 * 1000


async def closing_of(work: Work, room: Room) -> Closing | None:
    """How a room's incident has ended, also when it is open again."""
    return await work.cases.get(room.war_room, Closing, "closing")


async def set_voice(turn: Turn, room: Room, room_id: RoomId, *, is_read_only: bool, name: str = "voice") -> None:
    """Let everybody in a room write, or nobody but the bot; what a legal hold forbids stays forbidden."""
    held = await is_held(turn.work, room.war_room)
    await turn.emit(name, SetVoice(room_id=room_id, is_read_only=is_read_only, is_held=held))


class Closings:
    """Decides what follows from an incident's end."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    async def follow(self, turn: Turn, incident_id: IncidentId) -> None:
        """Bring the room to where the incident is: ended in some way, or open again. Repeatable."""
        known = await turn.work.incidents.get(incident_id)
        room = await turn.work.rooms.of_incident(incident_id)
        if known is None or room is None or room.room_id is None:
            return
        incident, closing = known.incident, await closing_of(turn.work, room)
        standing = closing if closing is not None and closing.is_open else None
        if incident.ending:
            if standing is None or standing.how != incident.ending:
                await self._ended(turn, room, room.room_id, incident, closing)
        elif standing is not None:
            await self._reopened(turn, room, room.room_id, incident, standing)

    async def read_only_due(self, turn: Turn, fact: ReadOnlyDue) -> None:
        """The time to say something more is over, unless the incident was opened again meanwhile."""
        room = await turn.work.rooms.of_incident(fact.incident_id)
        closing = await closing_of(turn.work, room) if room else None
        if room is None or room.room_id is None or closing is None or not closing.is_open:
            return
        if closing.plan != fact.plan or closing.is_read_only:
            return
        await turn.work.cases.put(room.war_room, replace(closing, is_read_only=True))
        await set_voice(turn, room, room.room_id, is_read_only=True)
        await dismiss_ghosts(turn, room.room_id, self._policy)
        await turn.note("room.read_only", subject=room.war_room, details={"room": room.room_id})

    async def duplicate_found(self, turn: Turn, fact: DuplicateFound) -> None:
        """The original's timeline names its duplicate, by number only: its title may be above this room."""
        room = await turn.work.rooms.of_incident(fact.incident_id)
        duplicate = await turn.work.incidents.get(fact.duplicate)
        if room is None or duplicate is None:
            return
        title = f"{duplicate.incident.number} is a duplicate of this incident"
        await write_down(turn, room, "OTHER", title, server=self._policy.server_name)

    # --- ends ---------------------------------------------------------------------------------------------

    async def _ended(
        self, turn: Turn, room: Room, room_id: RoomId, incident: Incident, before: Closing | None
    ) -> None:
        """Say it, plan the rest, and have the transcript made for the postmortem."""
        fresh = Closing(
            how=incident.ending,
            ended_ms=_ended_ms(incident, turn.now_ms),
            plan=before.plan + 1 if before else 1,
        )
        if before is not None and before.is_open and before.read_only_ms is not None:
            if incident.is_over:
                # Out already, only for another reason: its time runs on.
                fresh = replace(before, how=fresh.how, ended_ms=fresh.ended_ms, is_read_only=before.is_read_only)
            else:
                await self._bring_back(turn, room, room_id, before, fresh.plan)
                await forget_invitations(turn, room)
        elif incident.is_over:
            due_ms = turn.now_ms + self._policy.read_only_after_hours * _HOUR_MS
            fresh = replace(fresh, read_only_ms=due_ms, is_unlinked=True)
            await self._unlink(turn, room_id)
        await turn.work.cases.put(room.war_room, fresh)
        text = await self._line(turn.work, room, incident, fresh, turn.now_ms)
        await turn.emit("ended", Say(room_id=room_id, content=text, purpose="notice"))
        if fresh.read_only_ms is not None and not fresh.is_read_only:
            await turn.follow(
                ReadOnlyDue(incident_id=incident.id, plan=fresh.plan),
                ("read only", room.war_room, str(fresh.plan)),
                lane=incident.id,
                due_ms=fresh.read_only_ms if fresh.read_only_ms > turn.now_ms else None,
            )
        await turn.note(
            "room.ended",
            subject=room.war_room,
            details={"how": fresh.how, "status": incident.status, "read_only_ms": fresh.read_only_ms},
        )
        if incident.is_over and self._policy.exports_at_end:
            await ask_for(turn, room, by="", to_etb=incident.ending != "deleted")
        if incident.ending == "duplicate":
            await self._tell_both(turn, room, incident)

    async def _tell_both(self, turn: Turn, room: Room, incident: Incident) -> None:
        number = await _number(turn.work, incident)
        await write_down(turn, room, "OTHER", f"Duplicate of {number}", server=self._policy.server_name)
        if incident.original is not None:
            await turn.follow(
                DuplicateFound(incident_id=incident.original, duplicate=incident.id),
                ("duplicate", incident.original, incident.id),
                lane=incident.original,
            )

    async def _unlink(self, turn: Turn, room_id: RoomId) -> None:
        """Out of the Space: a child without content is none (Matrix specification, "m.space.child")."""
        space = await turn.work.rooms.by_war_room(SPACE)
        if space is not None and space.room_id is not None:
            await turn.emit(
                "unlink",
                PutState(room_id=space.room_id, event_type="m.space.child", state_key=room_id, content={}),
            )

    async def archive(self, turn: Turn, room: Room, *, by: Username) -> None:
        """Somebody has archived the room of an incident that has ended: read-only and out of the Space at once."""
        closing = await closing_of(turn.work, room)
        if room.room_id is None or closing is None or not closing.is_open or closing.archived_ms is not None:
            return
        if not closing.is_unlinked:
            await self._unlink(turn, room.room_id)
        if not closing.is_read_only:
            await set_voice(turn, room, room.room_id, is_read_only=True)
        archived = replace(
            closing,
            archived_ms=turn.now_ms,
            read_only_ms=min(closing.read_only_ms or turn.now_ms, turn.now_ms),
            is_read_only=True,
            is_unlinked=True,
        )
        await turn.work.cases.put(room.war_room, archived)
        text = "This room was archived. It can be read, and nobody but me writes here."
        await turn.emit("archived", Say(room_id=room.room_id, content=text, purpose="notice"))
        await turn.note("room.archived", actor=by, subject=room.war_room)

    # --- comes back ---------------------------------------------------------------------------------------

    async def _reopened(
        self, turn: Turn, room: Room, room_id: RoomId, incident: Incident, closing: Closing
    ) -> None:
        plan = closing.plan + 1
        await self._bring_back(turn, room, room_id, closing, plan)
        await turn.work.cases.put(
            room.war_room,
            replace(
                closing,
                plan=plan,
                read_only_ms=None,
                is_read_only=False,
                is_unlinked=False,
                archived_ms=None,
                is_open=False,
            ),
        )
        text = f"**{plain(incident.number)}** is open again: its status in ETB is **{plain(incident.status)}**."
        if closing.is_read_only:
            text += " Everybody here can write again."
        await turn.emit("reopened", Say(room_id=room_id, content=text, purpose="notice"))
        await forget_invitations(turn, room)
        await turn.note("room.reopened", subject=room.war_room, details={"was": closing.how})
        await turn.follow(PeopleDue(incident_id=incident.id), ("people", turn.ref, "reopened"), lane=incident.id)

    async def _bring_back(self, turn: Turn, room: Room, room_id: RoomId, closing: Closing, plan: int) -> None:
        if closing.is_read_only:
            await set_voice(turn, room, room_id, is_read_only=False)
        if closing.is_unlinked:
            space = await turn.work.rooms.by_war_room(SPACE)
            if space is not None and space.room_id is not None:
                await link(turn, space.room_id, room_id, self._policy, again=plan)

    # --- words --------------------------------------------------------------------------------------------

    async def _line(self, work: Work, room: Room, incident: Incident, closing: Closing, now_ms: int) -> str:
        prefix, number = self._policy.commands.prefixes[0], plain(incident.number)
        what = f"**{number}**{', a drill,' if is_drill(incident, self._policy) else ''}"
        cadence = await work.cases.get(room.war_room, Cadence, "cadence")
        began_ms = incident.created_ms or (cadence.opened_ms if cadence else None)
        open_for = f" It was open for {lasted(closing.ended_ms - began_ms)}." if began_ms is not None else ""
        status = f"its status in ETB is **{plain(incident.status)}** since {moment(closing.ended_ms)}"
        match closing.how:
            case "resolved":
                return (
                    f"{what} is resolved: {status}.{open_for} You can go on talking here until ETB calls it "
                    f"closed. `{prefix}reopen` opens it again."
                )
            case "duplicate":
                original = await self._original(work, incident, room.classification)
                said = f"{what} is a duplicate of {original}.{open_for} Please go on there."
            case "deleted":
                said = f"{what} is no longer in ETB, or ETB no longer shows it to me.{open_for}"
            case _:
                said = f"{what} is closed: {status}.{open_for}"
        at_once = closing.is_read_only or closing.read_only_ms is None or closing.read_only_ms <= now_ms
        when = "now" if at_once else moment(closing.read_only_ms or 0)
        said += f"\n\nThe room has left the Space. From {when} on it can be read, and nobody but me writes here."
        if closing.how != "closed":
            return said
        until = "" if at_once else f"`{prefix}reopen` here opens it again until then; after that, "
        return f"{said} {until}`{prefix}reopen {number}` in a chat with me alone, or in the control room, does."

    async def _original(self, work: Work, incident: Incident, level: Classification) -> str:
        """The original as far as this room may know it: above its level, its number and nothing else."""
        number = plain(await _number(work, incident))
        known = await work.incidents.get(incident.original) if incident.original else None
        if known is None or level_of(known.incident, self._policy) > level:
            return f"**{number}**"
        room = await work.rooms.of_incident(known.incident.id)
        title = plain(known.incident.title)
        if room is None or room.room_id is None:
            return f"**{number}** ({title})"
        return f"[{number}](https://matrix.to/#/{room.room_id}?via={self._policy.server_name}) ({title})"


async def _number(work: Work, incident: Incident) -> str:
    """The number of a duplicate's original, as far as it is known."""
    if incident.original is None:
        return "another incident"
    known = await work.incidents.get(incident.original)
    return known.incident.number if known else incident.original[:8]


def _ended_ms(incident: Incident, now_ms: int) -> int:
    """When it ended as far as ETB says; a time in ETB's future is ours."""
    said = incident.resolved_ms if incident.ending == "resolved" else incident.closed_ms
    return now_ms if said is None or incident.ending not in {"resolved", "closed"} else min(said, now_ms)

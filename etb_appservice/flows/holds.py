"""Legal holds: what is under one can't be deleted, by whichever way, and the room is told.

    HoldsSeen ─► written down, operators told ─► the room: closed to redactions, told ─► over: open again, told
                                 a room opens later, or is replaced ─┘

The homeserver refuses redactions for us (power levels), so that they fail where people ask for them. What web
users, moderators and operators ask for is refused by whoever decides it, who asks keeping.py. Rooms that the
present one has replaced are closed too. People may come and go, write, edit (Matrix keeps the first text) and pin
as before. What went before ETB told of a hold is gone.
"""

from dataclasses import replace

from etb_appservice.domain.effects import Say, SetVoice
from etb_appservice.domain.facts import HoldsSeen
from etb_appservice.domain.holds import HOLD, LegalHold
from etb_appservice.domain.ids import IncidentId, war_room_id
from etb_appservice.domain.text import plain
from etb_appservice.flows.closings import closing_of, set_voice
from etb_appservice.flows.tellings import of_hold
from etb_appservice.flows.turn import Turn

_PLACED = (
    "**This incident is under legal hold.** Messages, reactions and files can't be deleted here until the hold is "
    "released in ETB. Writing, editing and leaving are as before."
)
_RELEASED = "The legal hold on this incident was released: what you have said can be deleted again."


async def seen(turn: Turn, fact: HoldsSeen) -> None:
    """ETB has said which holds name an incident; there may be no room of it yet."""
    war_room = war_room_id(fact.incident_id)
    before = await turn.work.cases.get(war_room, LegalHold, HOLD)
    was = before is not None and before.is_open
    if (before.holds if before is not None else ()) == fact.holds:
        return
    after = replace(
        before or LegalHold(incident_id=fact.incident_id, holds=(), since_ms=turn.now_ms, changes=0),
        holds=fact.holds,
        is_open=bool(fact.holds),
    )
    after = replace(after, changes=after.changes + 1, since_ms=after.since_ms if was else turn.now_ms)
    await turn.work.cases.put(war_room, after)
    tag = "hold.released" if not after.is_open else "hold.changed" if was else "hold.placed"
    await turn.note(tag, subject=war_room, details={"holds": ", ".join(fact.holds), "change": after.changes})
    if was is not after.is_open:
        known = await turn.work.incidents.get(fact.incident_id)
        name = plain(known.incident.number if known else fact.incident_id)
        what = "is under legal hold" if after.is_open else "is under legal hold no longer"
        await turn.trouble(("hold", war_room, str(after.changes)), f"**{name}** {what}, as ETB says.")
        room = await turn.work.rooms.of_incident(fact.incident_id)
        if room is not None and known is not None:
            turn.tell(of_hold(room, known.incident.number, is_placed=after.is_open))
    await follow(turn, fact.incident_id)


async def follow(turn: Turn, incident_id: IncidentId) -> None:
    """Bring the room to where its incident's holds are. Repeatable."""
    room = await turn.work.rooms.of_incident(incident_id)
    if room is None or room.room_id is None:
        return
    hold = await turn.work.cases.get(room.war_room, LegalHold, HOLD)
    wanted = room.room_id if hold is not None and hold.is_open else None
    if hold is None or hold.room_id == wanted:
        return
    await turn.work.cases.put(room.war_room, replace(hold, room_id=wanted))
    closing = await closing_of(turn.work, room)
    is_read_only = closing is not None and closing.is_open and closing.is_read_only
    await set_voice(turn, room, room.room_id, is_read_only=is_read_only, name="hold")
    text = _PLACED if hold.is_open else _RELEASED
    if hold.is_open:
        # Nobody talks on in a room that was replaced, so it stays closed when the hold is over.
        for former in await turn.work.rooms.former(room.war_room):
            closed = SetVoice(room_id=former, is_read_only=True, is_held=True)
            await turn.emit(f"former/{former}", closed)
    await turn.emit("held", Say(room_id=room.room_id, content=text, purpose="notice"))

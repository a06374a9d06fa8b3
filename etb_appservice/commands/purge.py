"""`purge`: delete the history of an incident's room from the homeserver."""

from etb_appservice.domain.clearance import Right
from etb_appservice.domain.effects import PurgeHistory, Say
from etb_appservice.domain.incident import Incident
from etb_appservice.domain.text import moment, plain
from etb_appservice.flows.admin import OFF, read_before
from etb_appservice.flows.call import Call
from etb_appservice.flows.commands import CONTROL, Answer, Reply, command
from etb_appservice.flows.grammar import UsageError
from etb_appservice.flows.keeping import HELD, is_held
from etb_appservice.flows.numbers import room_numbered
from etb_appservice.ports import Room

_BEFORE = "before"


async def told(reply: Reply) -> Answer:
    """What the homeserver made of it."""
    if reply.done.detail == "nothing to purge":
        return Answer("There was nothing to delete: nothing was said there before that.")
    return Answer(
        "Deleted from the homeserver. What people's clients and other homeservers keep is out of my reach."
    )


@command(needs=Right.OPERATOR, where=CONTROL, then=told, example="purge INC-1042 30d", asks_approval=True)
async def purge(call: Call, number: str, before: str | None = None) -> Answer:
    """Delete what was said in an incident's room from the homeserver, after approval by another operator.

    `before` is a day such as 2026-11-30, or an age such as 30d or 12h; without it all that was said until now.
    State (who is there, the room's name) stays, and so do the timeline, the transcript and the service's own
    record. Nothing of an incident under legal hold is deleted. This needs the administration of the homeserver,
    which is off unless it is set up.
    """
    if not call.policy.administers:
        return Answer(OFF, "FAILED")
    room, incident = await _room(call, number)
    if await is_held(call.work, room.war_room):
        return Answer(HELD, "FAILED")
    name = plain(incident.number)
    # What was approved is what was said then: the moment is fixed when it is asked for.
    fixed = call.learned.get(_BEFORE)
    now_ms = call.turn.now_ms
    before_ms = int(fixed) if fixed else now_ms if before is None else read_before(before, now_ms)
    if before_ms is None or before_ms > now_ms:
        raise UsageError("`before` is a day in the past such as 2026-11-30, or an age such as 30d or 12h.")
    if not call.is_approved:
        return await call.hold(
            f"Delete everything that was said in the room of **{name}** ({incident.status}) before "
            f"{moment(before_ms)} from the homeserver. There is no way back."
            + ("" if room.generation == 1 else " Rooms that it has had before are not touched."),
            {_BEFORE: str(before_ms)},
        )
    assert room.room_id is not None  # noqa: S101 - looked at by _room
    # Also what the homeserver needs: it can't purge up to the room's newest event.
    await call.turn.emit(
        "purging",
        Say(room_id=room.room_id, content=f"Operators delete what was said here before {moment(before_ms)}."),
    )
    await call.turn.note(
        "history.purge", actor=call.actor.user_id, subject=incident.id, details={"before_ms": before_ms}
    )
    return await call.admin(PurgeHistory(room_id=room.room_id, before_ms=before_ms))


async def _room(call: Call, number: str) -> tuple[Room, Incident]:
    found = await room_numbered(call.work, number, instead="Which of them is meant I can't tell.")
    if found is None or found[0].room_id is None:
        raise UsageError(f"There is no room of an incident **{plain(number, 80)}**.")
    return found

"""`export`: the transcript of the room, as files."""

from etb_appservice.domain.clearance import Right
from etb_appservice.flows.call import Call
from etb_appservice.flows.commands import INCIDENT, Answer, command
from etb_appservice.flows.export import ask_for


@command(needs=Right.RESPONDER, where=INCIDENT, example="export")
async def export(call: Call) -> Answer:
    """Send the transcript of this room as files; their digests go to ETB as evidence.

    One HTML file to read and print, one JSON file for programs: every message with its edits, what commands
    answered, the timeline, roles, tasks, updates and runs of runbooks. What was removed stands there as removed.
    At most 20,000 messages or 20 MiB. Files that people sent are not in it.
    """
    await ask_for(
        call.turn,
        call.room,
        by=call.actor.username or call.actor.user_id,
        run_id=call.run_id,
        reply_to=call.event_id,
        thread_root=call.thread_root,
    )
    return Answer("", "RUNNING", result="the transcript is being made")

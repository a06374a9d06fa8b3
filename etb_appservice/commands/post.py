"""`post`: a status update."""

from etb_appservice.domain.clearance import Right
from etb_appservice.domain.effects import Say
from etb_appservice.domain.ids import new_id
from etb_appservice.domain.posts import Post
from etb_appservice.domain.text import code, moment, plain
from etb_appservice.flows import cadence
from etb_appservice.flows.announcements import announce_post
from etb_appservice.flows.call import Call
from etb_appservice.flows.commands import INCIDENT, Answer, command
from etb_appservice.flows.grammar import Rest
from etb_appservice.flows.timeline import write_down

_TITLE = 180


@command(needs=Right.RESPONDER, where=INCIDENT, example="post Mail is back for half of the users.")
async def post(call: Call, text: Rest) -> Answer:
    """Post a status update: said to the room, kept, and written to the timeline.

    It says when the next one is due, by severity; the commander is reminded then.
    """
    now, who = call.turn.now_ms, call.name
    next_ms = await cadence.updated(call.turn, call.room, call.policy)
    flat = " ".join(text.split())
    kept = Post(id=new_id(now), text=text, by=who, at_ms=now, event_id=call.event_id, next_ms=next_ms)
    await call.work.cases.put(call.room.war_room, kept)
    await write_down(
        call.turn,
        call.room,
        "NOTE",
        f"Status update: {flat if len(flat) <= _TITLE else f'{flat[: _TITLE - 1]}…'}",
        server=call.policy.server_name,
        description=text,
        by=who,
        event_id=call.event_id,
    )
    known = await call.work.incidents.get(call.incident_id)
    if known is not None:
        await announce_post(call.turn, known.incident, text, call.policy)
    block = _block(kept)
    if call.thread_root is None or call.room.room_id is None:
        return Answer(block)
    # Asked for in a thread, where few would see it.
    await call.turn.emit("post", Say(room_id=call.room.room_id, content=block, purpose="notice"))
    return Answer("Posted to the room.")


def _block(kept: Post) -> str:
    due = (
        f"The next one is due by {moment(kept.next_ms)}." if kept.next_ms is not None else "No further one is due."
    )
    said = [plain(line, 4096) for line in kept.text.splitlines()]
    return "\n".join(["---", f"**Status update** by {code(kept.by)}, {moment(kept.at_ms)}", "", *said, "", due])

"""Tasks of an incident: added, handed to somebody, done or withdrawn; each change goes onto the timeline."""

from dataclasses import replace

from etb_appservice.domain.ids import EventId, Username
from etb_appservice.domain.tasks import Task
from etb_appservice.domain.text import code, plain
from etb_appservice.flows.timeline import write_down
from etb_appservice.flows.turn import Turn
from etb_appservice.ports import Room

MOST_CHARACTERS = 1000


async def add(turn: Turn, room: Room, text: str, *, by: Username, server: str, event_id: EventId) -> Task:
    """A new task, with the next number of this war room."""
    number = len(await turn.work.cases.of(room.war_room, Task)) + 1
    task = Task(
        id=str(number),
        number=number,
        text=" ".join(text.split())[:MOST_CHARACTERS],
        by=by,
        at_ms=turn.now_ms,
        event_id=event_id,
    )
    await turn.work.cases.put(room.war_room, task)
    await _record(turn, room, task, "added", by=by, server=server, event_id=event_id)
    return task


async def settle(
    turn: Turn, room: Room, task: Task, *, withdrawn: bool, by: str, server: str, event_id: EventId | None = None
) -> None:
    """It is done, or was never meant."""
    state = "withdrawn" if withdrawn else "done"
    settled = replace(
        task,
        state="withdrawn" if withdrawn else "done",
        settled_by=by,
        settled_ms=turn.now_ms,
        is_open=False,
    )
    await turn.work.cases.put(room.war_room, settled)
    await _record(turn, room, settled, state, by=by, server=server, event_id=event_id)


async def assign(
    turn: Turn, room: Room, task: Task, who: Username, *, by: Username, server: str, event_id: EventId
) -> None:
    """It is somebody's."""
    given = replace(task, assignee=who)
    await turn.work.cases.put(room.war_room, given)
    await _record(turn, room, given, f"for {who}", by=by, server=server, event_id=event_id)


def shown(task: Task) -> str:
    """A task on one line."""
    mark = {"open": "", "done": " (done)", "withdrawn": " (withdrawn)"}[task.state]
    whose = f", for {code(task.assignee)}" if task.assignee else ""
    return f"**{task.number}** {plain(task.text)}{whose}{mark}"


async def _record(
    turn: Turn, room: Room, task: Task, what: str, *, by: str, server: str, event_id: EventId | None
) -> None:
    await write_down(
        turn,
        room,
        "NOTE",
        f"Task {task.number} {what}: {task.text}"[:200],
        server=server,
        description=task.text,
        by=by,
        event_id=event_id,
        is_curated=False,
    )

"""`task`: what is still to do."""

from typing import Literal

from etb_appservice.domain.clearance import Right
from etb_appservice.domain.tasks import Task
from etb_appservice.domain.text import code, plain
from etb_appservice.flows import tasks
from etb_appservice.flows.call import Call
from etb_appservice.flows.commands import INCIDENT, Answer, Asking, command
from etb_appservice.flows.grammar import Rest, UsageError, person
from etb_appservice.flows.named import Found, look_up

_MOST = 50
_ASSIGN_WORDS = 2


async def ask_etb(asking: Asking) -> Found | None:
    """Whom a task is given to, where somebody is named."""
    words = str(asking.arguments.get("rest", "")).split()
    is_given = asking.arguments.get("action") == "assign" and len(words) == _ASSIGN_WORDS
    return await look_up(asking, words[1] if is_given else None)


@command(
    needs=Right.RESPONDER,
    where=INCIDENT,
    prepare=ask_etb,
    example="task add Call the network provider",
    aliases=("tasks",),
)
async def task(
    call: Call, action: Literal["list", "add", "done", "assign"] = "list", rest: Rest | None = None
) -> Answer:
    """List the tasks; `add <text>`, `done <number>`, `assign <number> <user>`.

    A reaction with ⭐ to a message makes a task of it.
    """
    words = (rest or "").split()
    match action:
        case "list":
            if words:
                raise UsageError("`list` takes nothing more.")
            return await _listed(call)
        case "add":
            if rest is None:
                raise UsageError("The text of the task is missing.")
            added = await tasks.add(
                call.turn,
                call.room,
                rest,
                by=call.name,
                server=call.policy.server_name,
                event_id=call.event_id,
            )
            return Answer(f"Task {tasks.shown(added)}")
        case "done":
            return await _done(call, words)
        case "assign":
            return await _assign(call, words)


async def _listed(call: Call) -> Answer:
    every = await call.work.cases.of(call.room.war_room, Task)
    if not every:
        return Answer(
            "There are no tasks. `task add <text>` makes one, and so does a reaction with ⭐ to a message."
        )
    ordered = sorted(every, key=lambda one: (not one.is_open, one.number if one.is_open else -one.number))
    lines = [f"- {tasks.shown(one)}" for one in ordered[:_MOST]]
    more = ["", f"… and {len(ordered) - _MOST} older ones: `timeline all`."] if len(ordered) > _MOST else []
    count = sum(one.is_open for one in every)
    return Answer("\n".join([f"**{count} open task{'' if count == 1 else 's'}**", "", *lines, *more]))


async def _done(call: Call, words: list[str]) -> Answer:
    if len(words) != 1:
        raise UsageError("Say which task: `task done <number>`.")
    found = await _numbered(call, words[0])
    if not found.is_open:
        return Answer(f"It is settled already: {tasks.shown(found)}")
    await tasks.settle(
        call.turn,
        call.room,
        found,
        withdrawn=False,
        by=call.name,
        server=call.policy.server_name,
        event_id=call.event_id,
    )
    return Answer(f"Task **{found.number}** is done: {plain(found.text)}")


async def _assign(call: Call, words: list[str]) -> Answer:
    if len(words) != _ASSIGN_WORDS:
        raise UsageError("Say which task and to whom: `task assign <number> <user>`.")
    found, name = await _numbered(call, words[0]), person(call.policy, words[1])
    if not found.is_open:
        return Answer(f"It is settled already: {tasks.shown(found)}", "FAILED")
    if isinstance(call.before, Found):
        user = call.before.user
    else:
        kept = await call.work.incidents.user(name)
        user = kept[0] if kept else None
        if user is None:
            text = f"ETB does not answer, and I don't know {code(name)} yet. Try again later."
            return Answer(text, "FAILED", is_outside=True)
    if user is None:
        return Answer(f"ETB knows no user {code(name)}.", "FAILED")
    if not user.is_active:
        return Answer(f"The ETB account of {code(name)} is not active.", "FAILED")
    before = f" (was {code(found.assignee)})" if found.assignee else ""
    await tasks.assign(
        call.turn,
        call.room,
        found,
        name,
        by=call.name,
        server=call.policy.server_name,
        event_id=call.event_id,
    )
    return Answer(f"Task **{found.number}** is for {code(name)}{before}: {plain(found.text)}")


async def _numbered(call: Call, word: str) -> Task:
    number = word.removeprefix("#")
    found = (
        await call.work.cases.get(call.room.war_room, Task, str(int(number)))
        if number.isascii() and number.isdigit()
        else None
    )
    if found is None:
        raise UsageError(f"There is no task {code(word, 20)}. `task list` shows those there are.")
    return found

"""`run`: start a runbook of ETB and follow it."""

from collections.abc import Mapping
from typing import Literal

from etb_appservice.domain.clearance import Right
from etb_appservice.domain.duty import Runbook, RunbookParameter
from etb_appservice.domain.effects import StartRunbook
from etb_appservice.domain.ids import Username
from etb_appservice.domain.living import Living
from etb_appservice.domain.runbooks import NoValue, RunbookRun, read_value
from etb_appservice.domain.text import code, folded, plain
from etb_appservice.flows import runbooks
from etb_appservice.flows.call import APPROVED, Call
from etb_appservice.flows.commands import INCIDENT, Answer, NotYet, Reply, command
from etb_appservice.flows.grammar import Rest, UsageError
from etb_appservice.flows.questions import listed
from etb_appservice.flows.shelf import Shelf, Wish, fingerprint, look_up, read_parameters

_BOOK = "runbook"
_AS = "runbook as approved"
_PARAMETER = "parameter/"
_MOST_CHOICES = 10


async def started(reply: Reply) -> Answer:
    """The living message says the rest."""
    await runbooks.started(reply.turn, reply.room, reply.run.id, reply.done, reply.policy)
    return Answer("", "RUNNING")


@command(
    needs=Right.RESPONDER,
    where=INCIDENT,
    prepare=look_up,
    then=started,
    example="run playbook Restart the mail service host=mx1",
    asks_approval=True,
)
async def run(call: Call, what: Literal["playbook", "runbook"], name: Rest) -> Answer:
    """Run a runbook of ETB by its name; what it needs to know follows as `name=value`, or is asked.

    One message shows how it goes, with the log in its thread. `cancel` stops it. Some runbooks need the approval
    of others first.
    """
    shelf = call.before
    if not isinstance(shelf, Shelf):
        raise NotYet(f"ETB does not answer just now, so the {what} can't be looked up. Nothing was started.")
    found = shelf.chosen(name, call.learned.get(_BOOK, ""))
    if not isinstance(found, Wish):
        return await _which(call, shelf, found, name)
    book = found.book
    words = _words(call, found)
    values, doubts = _values(book, words)
    for parameter, doubt in doubts.items():
        if doubt and f"{_PARAMETER}{parameter.name}" not in call.learned:
            raise UsageError(f"{code(parameter.name)} {plain(doubt)}.")
        return await _ask_for(call, book, parameter, doubt)
    if not call.is_approved and _needs_approval(call, book):
        return await call.hold(_what(book, words), {_BOOK: book.id, _AS: fingerprint(book)})
    if call.is_approved and call.learned.get(_AS) != fingerprint(book):
        return Answer("The runbook was changed since it was approved. Nothing was started: ask again.", "FAILED")
    await runbooks.begin(
        call.turn,
        call.room,
        RunbookRun(
            id=call.run_id,
            runbook_id=book.id,
            name=book.name,
            steps=book.steps,
            total=len(book.steps),
            parameters={name: str(value) for name, value in values.items()},
            asker=call.actor.user_id,
            username=call.name,
            event_id=call.event_id,
            asked_ms=call.turn.now_ms,
            approved_by=tuple(Username(one) for one in call.learned.get(APPROVED, "").split(", ") if one),
            living=Living(reply_to=None if call.thread_root else call.event_id),
        ),
    )
    message = await call.work.messages.by_event(call.event_id)
    return await call.etb(
        StartRunbook(
            incident_id=call.incident_id,
            runbook_id=book.id,
            parameters=values,
            ref=call.run_id,
            trigger_data={
                "war_room_id": str(call.room.war_room),
                "message_id": message.id if message else "",
                "command_id": call.run_id,
                "username": call.name,
            },
        ),
        "start",
    )


async def _which(call: Call, shelf: Shelf, hits: tuple[Runbook, ...], name: str) -> Answer:
    """No runbook is called exactly so, or more than one is."""
    if _BOOK in call.learned:
        return Answer("ETB has that runbook no longer. Nothing was started.", "FAILED")
    if not hits:
        near = ", ".join(code(one) for one in shelf.near)
        hint = f" Did you mean {near}?" if near else ""
        return Answer(f"ETB has no active runbook called {code(name, 80)}.{hint}", "FAILED")
    some = hits[:_MOST_CHOICES]
    more = f" These are the first {len(some)} of {len(hits)}." if len(hits) > len(some) else ""
    rows = tuple(
        f"{plain(one.name, 80)}{f' ({plain(one.description, 80)})' if one.description else ''}" for one in some
    )
    return await call.ask(
        listed(f"Which runbook do you mean?{more}", rows),
        wanted=_BOOK,
        options=tuple(one.id for one in some),
        labels=tuple(one.name for one in some),
    )


def _words(call: Call, wish: Wish) -> dict[str, str]:
    """What was given for each parameter: with the command, or as an answer. UsageError for unknown ones."""
    names = {parameter.name.casefold(): parameter.name for parameter in wish.book.parameters}
    words = {}
    for name, word in read_parameters(wish.parameters).items():
        if name.casefold() not in names:
            has = ", ".join(code(one) for one in names.values()) or "none"
            raise UsageError(f"{plain(wish.book.name)} has no parameter {code(name, 40)}. It has: {has}.")
        words[names[name.casefold()]] = word
    answers = {
        key.removeprefix(_PARAMETER): one for key, one in call.learned.items() if key.startswith(_PARAMETER)
    }
    return words | {name: word for name, word in answers.items() if name in names.values()}


def _values(
    book: Runbook, words: Mapping[str, str]
) -> tuple[dict[str, str | int | float | bool], dict[RunbookParameter, str]]:
    """The values that ETB is told, and what is wrong; an empty doubt: a value is missing."""
    values: dict[str, str | int | float | bool] = {}
    doubts: dict[RunbookParameter, str] = {}
    for parameter in book.parameters:
        word = words.get(parameter.name, parameter.default)
        if word is None:
            if parameter.is_required:
                doubts[parameter] = ""
            continue
        try:
            values[parameter.name] = read_value(parameter, word)
        except NoValue as no:
            doubts[parameter] = str(no)
    return values, doubts


async def _ask_for(call: Call, book: Runbook, parameter: RunbookParameter, doubt: str) -> Answer:
    title = f" ({plain(parameter.title)})" if parameter.title and parameter.title != parameter.name else ""
    head = f"{plain(doubt).capitalize()}. " if doubt else ""
    wanted = f"{_PARAMETER}{parameter.name}"
    if parameter.options and len(parameter.options) <= _MOST_CHOICES:
        rows = tuple(plain(option) for option in parameter.options)
        text = listed(f"{head}**{plain(book.name)}** needs {code(parameter.name)}{title}:", rows)
        return await call.ask(text, wanted=wanted, options=parameter.options)
    kind = {"integer": "a whole number", "number": "a number", "boolean": "yes or no", "string": "text"}
    text = (
        f"{head}**{plain(book.name)}** needs {code(parameter.name)}{title}. Write it here "
        f"({kind[parameter.kind]}), or `cancel`."
    )
    return await call.ask(text, wanted=wanted)


def _needs_approval(call: Call, book: Runbook) -> bool:
    terms = call.policy.approvals
    return book.requires_approval or folded(book.name) in terms.runbooks or "run" in terms.commands


def _what(book: Runbook, words: Mapping[str, str]) -> str:
    """What an approver reads: the runbook, what it is given, and what it does."""
    given = ", ".join(code(f"{name}={word}", 120) for name, word in words.items())
    steps = ", ".join(plain(step, 60) for step in book.steps)
    return f"run **{plain(book.name)}**{f' with {given}' if given else ''}{f' (steps: {steps})' if steps else ''}"

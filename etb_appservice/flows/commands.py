"""The framework of commands: a new command is one new file with one decorated function.

    @command(needs=Right.OPERATOR, where=CONTROL)
    async def queue(call: Call, action: Literal["retry", "drop"] | None = None, row: str | None = None) -> Answer:
        '''Show what is parked; `retry` or `drop` a row of it.'''

The signature is the grammar: one word a parameter, quotes for several, `Rest` for the rest of the line, a default
for what may be left out. The first line of the docstring is the help. Commands are found by looking through a
package, never by import side effects; two of one name are an error at start.

What a command needs to know of ETB it reads in `prepare`, before its unit of work; what it changes in ETB is an
effect, `return await call.etb(ChangeIncident(...))`, whose answer comes later, maybe after a restart. Then `then`
says what became of it:

    prepare(asking) ─► run(call) ─► Answer                                      (answered at once)
                            ├─────► call.etb(effect) ─► … ─► then(reply) ─► Answer
                            │            └─ ETB is away: the asker is told once, and answered when it is back
                            ├─────► call.ask(prompt, …) ─► the asker answers ─► run again, `call.learned` holds it
                            └─────► call.hold(what) ─► others approve ─► run again, `call.is_approved`

A command that asks back or needs approval is run from its beginning each time, with what is known by then: so it
must not change anything before it has all it needs.
"""

import asyncio
import difflib
import importlib
import inspect
import pkgutil
import types
import typing
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NewType, TypeVar

from etb_appservice.domain.breakglass import GlassRole
from etb_appservice.domain.clearance import Actor, Decision, Right, decide
from etb_appservice.domain.effects import AdminEffect, EtbEffect
from etb_appservice.domain.facts import Done
from etb_appservice.domain.ids import EventId, IncidentId, UserId, Username
from etb_appservice.domain.outcomes import Failure
from etb_appservice.domain.policy import Policy
from etb_appservice.domain.questions import Held, Question
from etb_appservice.domain.text import plain
from etb_appservice.flows.approvals import hold
from etb_appservice.flows.questions import Questions, typed
from etb_appservice.flows.standing import subject_of
from etb_appservice.flows.turn import Turn
from etb_appservice.ports import CommandRun, CommandStatus, EtbReads, Known, Refusals, Room, Vitals, Work

T = TypeVar("T")
R = TypeVar("R")
Rest = NewType("Rest", str)
"""A parameter that takes the rest of the line as it is."""
Person = NewType("Person", str)
"""A parameter that names somebody: an ETB username or a Matrix id, as `policy.people` maps them to one another."""
Place = Literal["incident", "control", "direct"]
INCIDENT: frozenset[Place] = frozenset({"incident"})
CONTROL: frozenset[Place] = frozenset({"control"})
DIRECT: frozenset[Place] = frozenset({"direct"})
EVERYWHERE = INCIDENT | CONTROL | DIRECT
RUN = "run/"
"""What the keys of effects begin with whose answer somebody waits for: `run/<id of the command's run>/<name>`."""
LATE = "late"
"""Known once the asker of a late command has said that they still want it."""
APPROVED = "approved"
"""Known once a command was approved: by whom."""
NOT_FOR_PARTNERS = "This is for people who have an ETB user, and people of a partner have none."
MOST_ARGUMENT_CHARACTERS = 4096
QUOTES = {'"': '"', "'": "'", "“": "”", "„": "“", "«": "»"}


class UsageError(ValueError):
    """The words don't fit the command; the message says which and why."""


class NotYet(Exception):
    """A command can't be run while ETB is away, and has changed nothing; the message says so to the asker."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the asker reads: Markdown, or nothing yet. `result` goes to the command log where that says more."""

    text: str
    status: CommandStatus = "SUCCESS"
    result: str = ""
    signed_only: bool = False
    """Whether only devices may read it that their owners have verified, wherever it is said."""
    is_usage: bool = False
    """Whether the words didn't make a command."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """What `prepare` is given: where the command was sent, its arguments, and how long ETB may take."""

    room: Room
    sender: UserId
    arguments: Mapping[str, Any]
    etb: EtbReads
    policy: Policy
    limit_s: float
    learned: Mapping[str, str] = field(default_factory=dict)
    """What the asker has answered so far, where the command asked back."""

    @property
    def incident_id(self) -> IncidentId:
        """The incident whose room this is; only for commands of incident rooms alone."""
        assert self.room.incident_id is not None  # noqa: S101 - such a command was found in such a room
        return self.room.incident_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of a command, inside its unit of work. `before` is what the command's `prepare` read."""

    turn: Turn
    room: Room
    actor: Actor
    policy: Policy
    commands: "Mapping[str, Command]"
    vitals: Vitals
    refusals: Refusals
    questions: Questions
    held: Held
    """This command as it can be run again later."""
    before: Any = None
    ended: Question | None = None
    """The question of the asker's that was open until this command came."""

    @property
    def run_id(self) -> str:
        """The id of this run in the command log; the same when it is run again with an answer."""
        return self.held.run_id

    @property
    def event_id(self) -> EventId:
        """The message that is the command."""
        return self.held.event_id

    @property
    def thread_root(self) -> EventId | None:
        """The thread in which it was asked."""
        return self.held.thread_root

    @property
    def learned(self) -> Mapping[str, str]:
        """What the asker has answered so far, by what it was wanted for."""
        return self.held.learned

    @property
    def is_approved(self) -> bool:
        """Whether others have approved that this is run."""
        return APPROVED in self.held.learned

    @property
    def work(self) -> Work:
        """The open unit of work."""
        return self.turn.work

    @property
    def incident_id(self) -> IncidentId:
        """The incident whose room this is; only for commands of incident rooms."""
        if self.room.incident_id is None:
            raise UsageError("This works in the room of an incident.")
        return self.room.incident_id

    @property
    def username(self) -> Username:
        """Who asks, as ETB knows them; operators who aren't linked have no such name."""
        if self.actor.partner:
            raise UsageError(NOT_FOR_PARTNERS)
        if self.actor.username is None:
            raise UsageError("Your Matrix account is not linked to an ETB user. Ask an operator to link it.")
        return self.actor.username

    @property
    def name(self) -> Username:
        """Who asks, as the record calls them: by their Matrix id where break-glass let them in without ETB."""
        if self.actor.username is None and self.actor.is_let_in:
            return Username(self.actor.user_id)
        return self.username

    def may(self, right: Right) -> Decision:
        """Whether the asker may do what needs more than the command as such does."""
        return decide(self.actor, right, subject_of(self.room, self.policy))

    async def known(self) -> Known:
        """Our last copy of the incident; UsageError when there is none yet."""
        known = await self.work.incidents.get(self.incident_id)
        if known is None:
            raise UsageError("I have no copy of this incident yet. Try again in a moment.")
        return known

    async def etb(self, effect: EtbEffect, name: str = "etb") -> Answer:
        """Ask for a change in ETB; the command's `then` answers once ETB has."""
        await self.turn.emit_as(f"{RUN}{self.run_id}/{name}", effect)
        return Answer("", "RUNNING")

    async def admin(self, effect: AdminEffect, name: str = "admin") -> Answer:
        """Ask for what needs an administrator of the homeserver; the command's `then` answers once it is done."""
        await self.turn.emit_as(f"{RUN}{self.run_id}/{name}", effect)
        return Answer("", "RUNNING")

    async def ask(
        self,
        prompt: str,
        *,
        wanted: str,
        options: tuple[str, ...] = (),
        labels: tuple[str, ...] = (),
        asks_yes: bool = False,
    ) -> Answer:
        """Ask the asker something; the command is run again when they answer, and `learned[wanted]` holds it."""
        if self.is_approved:
            return Answer("What was approved has changed meanwhile. Nothing was done: ask again.", "FAILED")
        await self.questions.ask(
            self.turn,
            self.room,
            self.held,
            prompt,
            wanted=wanted,
            options=options,
            labels=labels,
            asks_yes=asks_yes,
        )
        return Answer(prompt, "RUNNING")

    async def hold(
        self, what: str, learned: Mapping[str, str] | None = None, *, glass: tuple[GlassRole, ...] = ()
    ) -> Answer:
        """Ask others for approval; the command is run again when they gave it. `what` is Markdown.

        `glass`: the break-glass roles of which one holder is asked, wherever they are.
        """
        if self.room.kind == "direct" and not glass:
            return Answer("This needs approval by others: ask for it in a room with them.", "REFUSED")
        await hold(
            self.turn,
            self.room,
            replace(self.held, learned={**self.held.learned, **(learned or {})}),
            what,
            requester=self.actor.username,
            is_signed=self.actor.is_proven,
            policy=self.policy,
            glass=glass,
        )
        return Answer("", "RUNNING", result=f"{typed(self.held)} waits for approval")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What `then` is given, in a unit of work of its own: the run that waited, and what ETB made of its effect."""

    turn: Turn
    room: Room
    run: CommandRun
    effect: EtbEffect | AdminEffect
    done: Done
    policy: Policy

    @property
    def work(self) -> Work:
        """The open unit of work."""
        return self.turn.work


Prepare = Callable[[Asking], Awaitable[Any]]
"""Reads of ETB that a command needs, within its limit, done before its unit of work. MUST NOT raise."""
Then = Callable[[Reply], Awaitable[Answer]]
"""What to say once ETB, or the homeserver's administration, has done what a command asked for."""
Hint = Callable[[EtbEffect], str]
"""What to add when ETB refuses what a command asked for; empty for nothing. Pure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command as data."""

    name: str
    run: Callable[..., Awaitable[Answer]]
    help: str
    details: str
    needs: Right
    where: frozenset[Place]
    parameters: tuple[inspect.Parameter, ...]
    kinds: Mapping[str, Any]
    prepare: Prepare | None = None
    then: Then | None = None
    hint: Hint | None = None
    example: str = ""
    aliases: tuple[str, ...] = field(default=())
    reads_only: bool = False
    """Whether it changes nothing, so that a late one is answered all the same."""
    asks_approval: bool = False
    """Whether it looks itself whether it needs approval."""
    grammar: str = ""
    """How it is typed after its name, where its signature doesn't say that."""

    @property
    def usage(self) -> str:
        """How it is typed, such as `queue [retry|drop] [row]`."""
        if self.grammar:
            return f"{self.name} {self.grammar}"
        return " ".join([self.name, *(_shown(p, self.kinds[p.name]) for p in self.parameters)])


def command(
    *,
    needs: Right,
    where: frozenset[Place],
    prepare: Prepare | None = None,
    then: Then | None = None,
    hint: Hint | None = None,
    example: str = "",
    aliases: tuple[str, ...] = (),
    reads_only: bool = False,
    asks_approval: bool = False,
    grammar: str = "",
) -> Callable[[Callable[..., Awaitable[Answer]]], Command]:
    """Make a command of a function; see the top of this module."""

    def made(function: Callable[..., Awaitable[Answer]]) -> Command:
        text = inspect.getdoc(function) or ""
        if not text:
            raise TypeError(f"command {function.__name__} has no docstring, which is its help")
        first, _, details = text.partition("\n")
        hints = typing.get_type_hints(function)
        parameters = tuple(inspect.signature(function).parameters.values())[1:]
        return Command(
            name=function.__name__.rstrip("_"),
            run=function,
            help=first.strip(),
            details=details.strip(),
            needs=needs,
            where=where,
            parameters=parameters,
            kinds={p.name: hints[p.name] for p in parameters},
            prepare=prepare,
            then=then,
            hint=hint,
            example=example,
            aliases=aliases,
            reads_only=reads_only,
            asks_approval=asks_approval,
            grammar=grammar,
        )

    return made


def find(package: types.ModuleType) -> dict[str, Command]:
    """Every command of a package, by name and alias; TypeError when two share one."""
    found: dict[str, Command] = {}
    for module in pkgutil.iter_modules(package.__path__):
        for value in vars(importlib.import_module(f"{package.__name__}.{module.name}")).values():
            if isinstance(value, Command):
                for name in (value.name, *value.aliases):
                    if found.setdefault(name, value) is not value:
                        raise TypeError(f"two commands are called {name}")
    return found


def split_command(body: str, prefixes: Sequence[str]) -> tuple[str, str] | None:
    """The name and the rest of a line that is a command; None for anything else.

    Leading spaces and a doubled slash are forgiven (clients differ, see docs/clients.md); a quote, a code block
    or a prefix alone is talk.

    >>> split_command("  !status", "!/"), split_command("//run x y", "!/"), split_command("> !status", "!/")
    (('status', ''), ('run', 'x y'), None)
    """
    text = body.lstrip()
    prefix = next((p for p in prefixes if text.startswith(p)), None)
    if prefix is None:
        return None
    text = text[len(prefix) :]
    if prefix == "/" and text.startswith("/"):
        text = text[1:]
    if not text[:1].isalpha():
        return None
    name = text.split(maxsplit=1)[0]
    if not name.replace("-", "").isalnum():
        return None
    return name.casefold(), text[len(name) :].strip()


def read_arguments(one: Command, text: str) -> dict[str, Any]:
    """The arguments of a call by parameter name; UsageError says what doesn't fit."""
    if len(text) > MOST_ARGUMENT_CHARACTERS:
        raise UsageError(f"That is too long: at most {MOST_ARGUMENT_CHARACTERS} characters.")
    values: dict[str, Any] = {}
    left = text.strip()
    for parameter in one.parameters:
        kind = _plain(one.kinds[parameter.name])
        if not left:
            if parameter.default is inspect.Parameter.empty:
                raise UsageError(f"`{parameter.name}` is missing.")
            continue
        if kind is Rest:
            word, left = left, ""
        else:
            word, left = _word(left)
        values[parameter.name] = _value(word, kind, parameter.name)
    if left:
        raise UsageError(f"I don't know what to do with “{plain(left, 80)}”.")
    return values


def place_of(room: Room) -> Place:
    """What kind of room a command was sent in."""
    match room.kind:
        case "control" | "direct" as place:
            return place
        case _:
            return "incident"


def person(policy: Policy, word: str) -> Username:
    """The ETB user somebody means: a username, with or without an at sign, or a Matrix id. Raises UsageError."""
    if word.startswith("@") and ":" in word:
        username = policy.people.username(UserId(word))
        if username is None:
            raise UsageError(f"`{plain(word, 80)}` is not linked to an ETB user.")
        return username
    name = word.removeprefix("@")
    if not name:
        raise UsageError("That names nobody.")
    return Username(name)


async def answered(asking: Asking, read: Awaitable[T], made: Callable[[T], R]) -> R | None:
    """What ETB answered to a read of `prepare`, as `made` wraps it; None when it failed or took too long."""
    try:
        async with asyncio.timeout(asking.limit_s):
            return made(await read)
    except (Failure, TimeoutError):
        return None


def nearest(name: str, names: Sequence[str]) -> str | None:
    """The command somebody may have meant."""
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return close[0] if close else None


def _word(text: str) -> tuple[str, str]:
    """The first word, which quotes may hold together, and what follows."""
    if text[0] in QUOTES:
        end = text.find(QUOTES[text[0]], 1)
        if end == -1:
            raise UsageError(f"The quote {text[0]} is never closed.")
        return text[1:end], text[end + 1 :].strip()
    word = text.split(maxsplit=1)[0]
    return word, text[len(word) :].strip()


def _plain(kind: Any) -> Any:
    """A parameter's type without `| None`; `Literal[…] | None` is a `typing.Union`, `int | None` is not."""
    if typing.get_origin(kind) in {types.UnionType, typing.Union}:
        return next(one for one in typing.get_args(kind) if one is not type(None))
    return kind


def _value(word: str, kind: Any, name: str) -> Any:
    if typing.get_origin(kind) is Literal:
        options = typing.get_args(kind)
        for option in options:
            if option.casefold() == word.casefold():
                return option
        raise UsageError(f"`{name}` is one of {', '.join(f'`{o}`' for o in options)}.")
    if kind is int:
        if not word.isascii() or not word.removeprefix("-").isdigit():
            raise UsageError(f"`{name}` is a number.")
        return int(word)
    return word


def _shown(parameter: inspect.Parameter, kind: Any) -> str:
    kind = _plain(kind)
    is_literal = typing.get_origin(kind) is Literal
    word = "|".join(typing.get_args(kind)) if is_literal else parameter.name
    if parameter.default is not inspect.Parameter.empty:
        return f"[{word}]"
    return word if is_literal else f"<{word}>"

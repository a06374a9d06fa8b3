"""The framework of commands: a new command is one new file with one decorated function.

    @command(needs=Right.OPERATOR, where=CONTROL)
    async def queue(call: Call, action: Literal["retry", "drop"] | None = None, row: str | None = None) -> Answer:
        '''Show what is parked; `retry` or `drop` a row of it.'''

The signature is the grammar (grammar.py), the first line of the docstring the help. Commands are found by looking
through a package, never by import side effects; two of one name are an error at start.

A command is given a `Call` (call.py). What it needs to know of ETB it reads in `prepare`, before its unit of work;
what it changes in ETB is an effect, `return await call.etb(ChangeIncident(...))`, whose answer comes later, maybe
after a restart. Then `then` says what became of it:

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
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from etb_appservice.domain.clearance import Right
from etb_appservice.domain.effects import AdminEffect, EtbEffect
from etb_appservice.domain.facts import Done
from etb_appservice.domain.ids import IncidentId, UserId
from etb_appservice.domain.outcomes import Failure
from etb_appservice.domain.policy import Policy
from etb_appservice.domain.results import Outcome
from etb_appservice.flows.grammar import Signature, signature_of
from etb_appservice.flows.turn import Turn
from etb_appservice.ports import CommandRun, CommandStatus, EtbReads, Room, Work

T = TypeVar("T")
R = TypeVar("R")
Place = Literal["incident", "control", "direct"]
INCIDENT: frozenset[Place] = frozenset({"incident"})
CONTROL: frozenset[Place] = frozenset({"control"})
DIRECT: frozenset[Place] = frozenset({"direct"})
EVERYWHERE = INCIDENT | CONTROL | DIRECT
RUN = "run/"
"""What the keys of effects begin with whose answer somebody waits for: `run/<id of the command's run>/<name>`."""


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
    outcome: Outcome | None = None
    """What it did or found, for machines."""
    is_outside: bool = False
    """Whether it failed outside, at ETB or the homeserver, and not for what was asked."""


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
    signature: Signature
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
        return f"{self.name} {self.grammar or self.signature.usage}".rstrip()


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
        return Command(
            name=function.__name__.rstrip("_"),
            run=function,
            help=first.strip(),
            details=details.strip(),
            needs=needs,
            where=where,
            signature=signature_of(function),
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


def place_of(room: Room) -> Place:
    """What kind of room a command was sent in."""
    match room.kind:
        case "control" | "direct" as place:
            return place
        case _:
            return "incident"


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

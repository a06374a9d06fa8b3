"""The ledger of a mixed run: what was said and done, by whom, from which side, and whether it was acknowledged.

Each message carries the number of its operation in its text, so that it is known again on every side. Whoever does
something writes it down here once they were answered; what nobody answered may have happened or not (`MAYBE`).
"""

import asyncio
import random
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

Side = Literal["web", "socket", "matrix"]
MANY_PINS = 50
RECENT = 40
"""How many of a room's last messages people still do something with."""
_NUMBER = re.compile(r"\bop(\d+)\b")
YES, NO, MAYBE = "yes", "no", "maybe"


@dataclass(slots=True, eq=False)
class Said:
    """A message, as whoever acted on it last knows it."""

    number: int
    room: int
    by: str
    side: Side
    text: str
    message_id: str = ""
    event_id: str = ""
    answers: "Said | None" = None
    """What it answers."""
    is_sure: bool = False
    """Whether it was acknowledged."""
    is_leaving: bool = False
    """Somebody takes it away, or has done so."""
    is_gone: bool = False
    """That it was taken away was acknowledged."""
    is_command: bool = False
    runs: int = 0
    """How often it may be answered by the bot."""
    sha256: str = ""
    """Of its file."""
    reactions: dict[tuple[str, str], str] = field(default_factory=dict)
    """By (who, emoji): the event of it in Matrix, or YES; absent when it was withdrawn."""
    is_pinned: bool = False
    pinned_s: float = 0.0
    """When it was last pinned or unpinned natively."""
    is_busy: bool = False
    """Somebody pins or unpins it: two who want different things at once have no right order."""
    history: list[str] = field(default_factory=list)

    @property
    def root(self) -> "Said":
        """What began its thread."""
        return self.answers.root if self.answers is not None else self

    def __str__(self) -> str:
        what = "file" if self.sha256 else "command" if self.is_command else "message"
        names = f"{self.message_id or 'no id'} {self.event_id or 'no event'}"
        return f"op {self.number}, a {what} of {self.by} by {self.side} in room {self.room} ({names})"


@dataclass(slots=True)
class Operation:
    """One thing that somebody does."""

    number: int
    who: str
    side: Side
    room: int
    what: str = ""

    def __str__(self) -> str:
        return f"op {self.number}: {self.who} by {self.side} in room {self.room}: {self.what}"


@dataclass(slots=True)
class Book:
    """Everything that was done in a run."""

    total: int
    said: list[list[Said]] = field(default_factory=list)
    """By room."""
    by_number: dict[int, Said] = field(default_factory=dict)
    by_message: dict[str, Said] = field(default_factory=dict)
    by_event: dict[str, Said] = field(default_factory=dict)
    begun: int = 0
    done: int = 0
    under_way: dict[int, Operation] = field(default_factory=dict)
    killed: list[list[str]] = field(default_factory=list)
    """What was under way at each kill."""
    wrong: list[str] = field(default_factory=list)
    """What nobody should have been answered."""
    refused: int = 0
    """Operations that came too late, for what they were about was gone."""
    counts: dict[str, int] = field(default_factory=dict)

    _moments: list[tuple[int, int, asyncio.Future[None]]] = field(default_factory=list)

    async def reached(self, number: int, under_way: int) -> None:
        """Wait until so many operations have begun, and at least some are under way."""
        moment: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._moments.append((number, under_way, moment))
        await moment

    def next(self, who: str, side: Side, room: int) -> Operation | None:
        """The next operation; None when there are enough."""
        if self.begun >= self.total:
            return None
        self.begun += 1
        return Operation(self.begun, who, side, room)

    @contextmanager
    def does(self, operation: Operation, what: str, about: Said | None = None) -> Iterator[None]:
        """Around an operation that is under way."""
        operation.what = f"{what} {f'(op {about.number})' if about else ''}".strip()
        self.under_way[operation.number] = operation
        for number, count, moment in self._moments:
            if self.begun >= number and len(self.under_way) >= count and not moment.done():
                moment.set_result(None)
        kind = f"{what} by {operation.side}"
        self.counts[kind] = self.counts.get(kind, 0) + 1
        if about is not None:
            about.history.append(f"op {operation.number}: {what} by {operation.who} ({operation.side})")
        try:
            yield
        finally:
            del self.under_way[operation.number]
            self.done += 1

    def fault(self, operation: Operation, what: str) -> None:
        """Somebody was answered as nobody should be."""
        self.wrong.append(f"{operation}: {what}")

    def says(self, operation: Operation, text: str, **fields: Any) -> Said:
        """Write a message down before it is sent, so that it is known whatever comes of it."""
        said = Said(operation.number, operation.room, operation.who, operation.side, text, **fields)
        self.by_number[said.number] = said
        self.said[said.room].append(said)
        return said

    def names(self, said: Said, *, message_id: str = "", event_id: str = "") -> None:
        """How a side calls it."""
        if message_id:
            said.message_id = message_id
            self.by_message[message_id] = said
        if event_id:
            said.event_id = event_id
            self.by_event[event_id] = said

    def learn(self, shown: dict[str, Any]) -> None:
        """A message as the web is shown it: its other name is known from now on."""
        event_id = shown["external_message_id"] or ""
        said = self.by_message.get(shown["id"]) or self.by_event.get(event_id) or self.numbered(shown["content"])
        if said is not None:
            self.names(said, message_id=shown["id"], event_id=event_id)

    def numbered(self, text: str) -> Said | None:
        """The message whose text this is, by the number in it."""
        found = _NUMBER.search(text)
        return self.by_number.get(int(found[1])) if found else None

    def pick(self, chance: random.Random, room: int, fits: Callable[[Said], bool]) -> Said | None:
        """One of the room's last messages that fits, if there is one."""
        found = [one for one in self.said[room][-RECENT:] if one.is_sure and not one.is_leaving and fits(one)]
        return chance.choice(found) if found else None

    def pick_for_pins(self, chance: random.Random, room: int, fits: Callable[[Said], bool]) -> Said | None:
        """One to pin, or to unpin if it is; once there are many, one of these: a room takes 100 pins."""
        pinned = [one for one in self.said[room] if one.is_pinned and not one.is_leaving]
        if len(pinned) < MANY_PINS:
            return self.pick(chance, room, fits)
        found = [one for one in pinned if fits(one)]
        return chance.choice(found) if found else None

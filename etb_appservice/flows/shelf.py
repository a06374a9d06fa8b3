"""Finding a runbook by the name that somebody typed, and the parameters behind it.

    "Restart mail" host=mx1        in quotes: the rest are parameters
    Restart mail host=mx1          bare: the name ends before the first `name=`
    Set n=3                        a runbook may be called so: the whole line is looked for first

Source: docs/etb-contract.md 9.2, "Name lookup".
"""

import asyncio
import difflib
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from etb_appservice.domain.duty import Runbook
from etb_appservice.domain.outcomes import Failure
from etb_appservice.domain.text import folded, plain
from etb_appservice.flows.commands import Asking
from etb_appservice.flows.grammar import QUOTES, UsageError

_PARAMETER = re.compile(r"(?:^|\s)([^\s=\"']+)=")
_MOST_NEAR = 3


@dataclass(frozen=True, slots=True)
class Wish:
    """The runbook somebody means, and what stands behind its name."""

    book: Runbook
    parameters: str


@dataclass(frozen=True, slots=True)
class Shelf:
    """What ETB found for a name; `near`: what else is called much like it, where it found nothing."""

    hits: tuple[Runbook, ...]
    near: tuple[str, ...] = ()

    def chosen(self, line: str, book_id: str) -> Wish | tuple[Runbook, ...]:
        """The one that is meant: by id where that was answered, else by its exact name; or what may be meant."""
        readings = readings_of(line)
        if book_id:
            book = next((one for one in self.hits if one.id == book_id), None)
            return Wish(book, "" if folded(book.name) == folded(line) else readings[-1][1]) if book else ()
        for name, parameters in readings:
            exact = tuple(one for one in self.hits if folded(one.name) == folded(name))
            if len(exact) == 1:
                return Wish(exact[0], parameters)
            if exact:
                return exact
        return self.hits


async def look_up(asking: Asking) -> Shelf | None:
    """What ETB has under that name; None when it did not answer in time."""
    try:
        name = " ".join(readings_of(asking.arguments["name"])[-1][0].split())
    except UsageError:
        return Shelf(())
    try:
        async with asyncio.timeout(asking.limit_s):
            hits = await asking.etb.runbooks(name)
            if hits:
                return Shelf(hits)
            names = {folded(one.name): one.name for one in await asking.etb.runbooks("")}
    except (Failure, TimeoutError):
        return None
    close = difflib.get_close_matches(folded(name), list(names), n=_MOST_NEAR, cutoff=0.5)
    return Shelf((), tuple(names[one] for one in close))


def readings_of(line: str) -> list[tuple[str, str]]:
    """The ways to read a line as a name and parameters, the likelier first. UsageError for a name that is empty.

    >>> readings_of('"Restart mail" host=mx1'), readings_of("Restart mail host=mx1")
    ([('Restart mail', 'host=mx1')], [('Restart mail host=mx1', ''), ('Restart mail', 'host=mx1')])
    """
    text = line.strip()
    closing = QUOTES.get(text[:1])
    if closing is not None and (end := text.find(closing, 1)) != -1:
        name, rest = text[1:end].strip(), text[end + 1 :].strip()
        if name and (not rest or _PARAMETER.match(rest)):
            return [(name, rest)]
    found = _PARAMETER.search(text)
    if found is None:
        if not text:
            raise UsageError("`name` is missing.")
        return [(text, "")]
    name, rest = text[: found.start()].strip(), text[found.start() :].strip()
    if not name:
        raise UsageError("The name of the runbook is missing before its parameters.")
    return [(text, ""), (name, rest)]


def read_parameters(text: str) -> dict[str, str]:
    """`name=value` pairs; quotes hold a value with spaces together. Raises UsageError.

    >>> read_parameters('host=mx1 note="all of it"')
    {'host': 'mx1', 'note': 'all of it'}
    """
    values: dict[str, str] = {}
    left = text.strip()
    while left:
        name, sign, rest = left.partition("=")
        if not sign or not name or len(name.split()) != 1:
            raise UsageError(f"I don't know what to do with “{plain(left, 80)}”: parameters are `name=value`.")
        closing = QUOTES.get(rest[:1])
        if closing is not None:
            end = rest.find(closing, 1)
            if end == -1:
                raise UsageError(f"The quote {rest[0]} is never closed.")
            value, left = rest[1:end], rest[end + 1 :].strip()
        else:
            value = "" if rest[:1].isspace() else next(iter(rest.split(maxsplit=1)), "")
            left = rest[len(value) :].strip()
        if name in values:
            raise UsageError(f"`{plain(name, 40)}` is given twice.")
        values[name] = value
    return values


def fingerprint(book: Runbook) -> str:
    """What stands for all that a runbook does: another one after any change to its steps or parameters."""
    parts: Sequence[object] = (book.id, book.name, book.steps, book.parameters)
    return hashlib.sha256(repr(parts).encode("utf-8", "surrogatepass")).hexdigest()

"""A run of a runbook, as this service follows it.

    WAITING ──► RUNNING ─┬► COMPLETED
       │                 ├► FAILED      (ETB's FAILED and TIMEOUT)
       │                 ├► CANCELLED
       │                 └► UNWATCHED   still running in ETB when the time to watch it was over
       ├► REFUSED    ETB would not start it
       └► UNKNOWN    nobody knows whether ETB started it; an operator's retry may tell

Source: docs/etb-contract.md 9.2, 9.3.
"""

from dataclasses import dataclass, field
from typing import Literal

from etb_appservice.domain.duty import RunbookParameter
from etb_appservice.domain.ids import EventId, UserId, Username
from etb_appservice.domain.living import Living

RunState = Literal["WAITING", "RUNNING", "COMPLETED", "FAILED", "CANCELLED", "UNWATCHED", "REFUSED", "UNKNOWN"]
_MOST_DIGITS = 18
ENDED: frozenset[RunState] = frozenset({"COMPLETED", "FAILED", "CANCELLED", "UNWATCHED", "REFUSED"})


@dataclass(frozen=True, slots=True, kw_only=True)
class RunbookRun:
    """One run; its id is that of the command which asked for it."""

    kind: Literal["RunbookRun"] = "RunbookRun"
    id: str
    runbook_id: str
    name: str
    steps: tuple[str, ...] = ()
    parameters: dict[str, str] = field(default_factory=dict)
    asker: UserId
    username: Username
    event_id: EventId
    asked_ms: int
    approved_by: tuple[Username, ...] = ()
    execution_id: str = ""
    state: RunState = "WAITING"
    step: int = 0
    total: int = 0
    started_ms: int | None = None
    ended_ms: int | None = None
    error: str = ""
    is_away: bool = False
    """Whether ETB did not answer the last time it was asked."""
    looks: int = 0
    """How often it was looked at; a timer of an earlier look means nothing."""
    logged: int = 0
    """How many lines of its log were taken."""
    unsaid: tuple[str, ...] = ()
    """Lines that were taken before there was a thread to say them in."""
    cancelled_by: Username | None = None
    living: Living = field(default_factory=Living)
    is_open: bool = True

    @property
    def step_name(self) -> str:
        """What the step that it is at is called; empty when that isn't known."""
        return self.steps[self.step - 1] if 0 < self.step <= len(self.steps) else ""


class NoValue(ValueError):
    """A word is no value of a parameter; the message says what would be one."""


def read_value(parameter: RunbookParameter, word: str) -> str | int | float | bool:
    """A parameter's value as ETB is told it. Raises NoValue.

    >>> read_value(RunbookParameter(name="n", kind="integer"), "3")
    3
    """
    if parameter.options:
        for option in parameter.options:
            if option.casefold() == word.strip().casefold():
                return _typed(parameter, option)
        raise NoValue(f"is one of {', '.join(parameter.options)}")
    return _typed(parameter, word)


def _typed(parameter: RunbookParameter, word: str) -> str | int | float | bool:
    text = word.strip()
    match parameter.kind:
        case "integer":
            if not text.isascii() or not text.removeprefix("-").isdigit() or len(text) > _MOST_DIGITS:
                raise NoValue("is a whole number")
            return int(text)
        case "number":
            try:
                value = float(text)
            except ValueError:
                raise NoValue("is a number") from None
            if value - value != 0:
                raise NoValue("is a number")
            return value
        case "boolean":
            if text.casefold() in {"true", "yes", "y", "on"}:
                return True
            if text.casefold() in {"false", "no", "n", "off"}:
                return False
            raise NoValue("is yes or no")
        case "string":
            if not text:
                raise NoValue("must not be empty")
            return word

"""An incident as this service knows it, the people around it, and the card that shows it.

ETB owns all of this; these are copies, with the time of their last confirmation kept beside them.
Source: docs/etb-contract.md sections 7.2, 8.4, 8.6 and 10.3.
"""

from dataclasses import dataclass, field
from typing import Literal

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.ids import IncidentId, UserId, Username

CLOSED_STATUSES = frozenset({"CLOSED", "CANCELLED", "RESOLVED"})
Ending = Literal["", "resolved", "closed", "duplicate", "deleted"]
"""Why work on an incident has ended; empty while it goes on. Only the last three also end its room."""


SEVERITIES = ("EMERGENCY", "CRITICAL", "HIGH", "MEDIUM", "LOW", "INFO")
"""Most severe first (docs/etb-contract.md 2.1)."""


def urgency(severity: str) -> int:
    """0 for the most severe; a word we don't know counts as medium.

    >>> urgency("CRITICAL") < urgency("odd") == urgency("MEDIUM") < urgency("INFO")
    True
    """
    return SEVERITIES.index(severity if severity in SEVERITIES else "MEDIUM")


@dataclass(frozen=True, slots=True)
class Incident:
    """One incident. Texts are ETB's own and unbounded by contract; the ETB client cuts them to its limits."""

    id: IncidentId
    number: str
    """What people call it, such as `INC-1042`; the first eight digits of the id where ETB gives none."""
    title: str
    severity: str
    status: str
    updated_at_ms: int
    """ETB's own time of the last change, UTC milliseconds; only ever compared with itself."""
    category: str = ""
    priority: str = ""
    description: str = ""
    assignee: Username | None = None
    reporter: Username | None = None
    stated: Classification | None = None
    """The classification ETB states; None when it states none (then the configured map decides)."""
    is_sensitive: bool = False
    """ETB marks it so, or states a level in words we don't know: never below `classification.sensitive`."""
    url: str = ""
    """Where a person opens it in ETB's web pages; empty when that is not configured."""
    services: tuple[str, ...] = ()
    """The services that suffer, by ETB's names."""
    created_ms: int | None = None
    """When ETB says that it began, UTC milliseconds; None where ETB doesn't say."""
    resolved_ms: int | None = None
    closed_ms: int | None = None
    is_duplicate: bool = False
    original: IncidentId | None = None
    """The incident of which it is a duplicate, where ETB names one."""
    tags: tuple[str, ...] = ()
    """ETB's own words, free text."""
    is_deleted: bool = False
    """Our own finding: ETB has it no longer, or no longer shows it to us."""

    @property
    def ending(self) -> Ending:
        """How it has ended. What is deleted or a duplicate has, whatever its status says."""
        if self.is_deleted:
            return "deleted"
        if self.is_duplicate:
            return "duplicate"
        if self.status == "RESOLVED":
            return "resolved"
        return "closed" if self.status in CLOSED_STATUSES else ""

    def is_called(self, word: str) -> bool:
        """Whether somebody who writes this word means it by its number."""
        return self.number.casefold() == word.strip().strip("#").casefold()

    @property
    def is_open(self) -> bool:
        """Whether work on it goes on; an unknown status counts as open, so that nobody is shut out."""
        return not self.ending

    @property
    def is_over(self) -> bool:
        """Whether its room ends too: nobody is called to it any more. After RESOLVED people go on talking."""
        return self.ending not in {"", "resolved"}


@dataclass(frozen=True, slots=True)
class EtbUser:
    """A user of ETB and how far ETB trusts them."""

    username: Username
    display_name: str
    clearance: Classification
    """The lowest level when ETB states none."""
    is_active: bool
    """False also when ETB says the account is locked."""
    roles: tuple[str, ...] = ()
    """ETB's own role names, free text upstream; the configuration says what they mean here."""
    id: str = field(default="", compare=False)
    """ETB's UUID of them, lower case; empty where ETB gives none, and of copies older than this field."""


@dataclass(frozen=True, slots=True)
class Deadline:
    """One SLA target of an incident, as an absolute time (UTC milliseconds)."""

    name: str
    kind: str
    status: str
    target_ms: int


@dataclass(frozen=True, slots=True)
class OnCall:
    """Who is on call in one rotation now."""

    rotation: str
    username: Username
    team: str = field(default="", compare=False)
    """The team whose rotation it is, where ETB says so; no part of which turn it is."""


@dataclass(frozen=True, slots=True)
class Responder:
    """Somebody who belongs in an incident's room, and why nobody could be invited where that is so."""

    username: Username
    roles: tuple[str, ...]
    """Of `reporter`, `assignee`, `on call`, roles held in the incident, `let in`, in this order."""
    user_id: UserId | None
    obstacle: str = ""
    """Empty when the person may be invited; else `unmapped`, `server`, `clearance`, `inactive` or `unknown`."""


@dataclass(frozen=True, slots=True)
class Card:
    """What the pinned card of an incident shows; two cards that are equal look the same."""

    number: str
    title: str
    severity: str
    status: str
    category: str
    priority: str
    classification: Classification
    responders: tuple[Responder, ...]
    deadlines: tuple[Deadline, ...]
    url: str = ""
    is_drill: bool = False

"""What a command did or found, for machines: kept beside its text in the command log (docs/etb-contract.md 4.4).

As ETB said it when the command ended. What nobody knows is None, and stays so.
"""

from dataclasses import dataclass
from typing import Literal

from etb_appservice.domain.ids import IncidentId, Username
from etb_appservice.domain.incident import Deadline, OnCall


@dataclass(frozen=True, slots=True, kw_only=True)
class Reported:
    """How an incident stood."""

    kind: Literal["Reported"] = "Reported"
    incident_id: IncidentId
    title: str
    status: str
    severity: str
    priority: str | None
    assignee: Username | None
    """None: nobody."""
    deadlines: tuple[Deadline, ...] | None
    on_call: tuple[OnCall, ...] | None
    confirmed_ms: int
    """When ETB said so: earlier than the command where ETB was away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Escalated:
    """An escalation was started."""

    kind: Literal["Escalated"] = "Escalated"
    id: str | None
    level: int | None
    notified: tuple[str, ...] | None
    """By username or address; empty: ETB says that it has told nobody yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assigned:
    """The incident has an assignee."""

    kind: Literal["Assigned"] = "Assigned"
    assignee: Username
    previous: Username | None
    """None: nobody, or nobody knows any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Updated:
    """A field of the incident has a value; it may have had it before."""

    kind: Literal["Updated"] = "Updated"
    field: Literal["status", "severity"]
    old: str | None
    new: str


Outcome = Reported | Escalated | Assigned | Updated

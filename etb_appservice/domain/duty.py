"""What ETB shows of service levels, escalations, runbooks and maintenance: copies, never changed here.

Source: docs/etb-contract.md 8.4, 8.5, 9.2, 9.3, 9.4.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

from etb_appservice.domain.ids import IncidentId


@dataclass(frozen=True, slots=True, kw_only=True)
class Sla:
    """An SLA instance (8.4). Times are UTC milliseconds."""

    id: str
    name: str
    kind: str
    status: str
    """`ACTIVE`, `MET`, `BREACHED`, `CANCELLED`, `PAUSED`, or a word we don't know."""
    started_ms: int | None
    target_ms: int | None
    met_ms: int | None = None
    breached_ms: int | None = None
    remaining_s: float | None = None
    """What ETB says is left, by its own reckoning of business hours."""
    is_business_hours: bool = False
    """Whether only ETB can say how much time has passed."""
    policy_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Escalation:
    """An escalation instance (8.5)."""

    id: str
    status: str
    """`PENDING`, `TRIGGERED`, `ACKNOWLEDGED`, `RESOLVED`, `CANCELLED`, or a word we don't know."""
    level: int
    reason: str
    policy: str = ""
    triggered_ms: int | None = None
    acknowledged_by: str = ""
    notified: tuple[str, ...] = ()
    """Whom ETB has told, by username or address."""
    ref: str = ""
    """Our own reference, when we have started it."""

    @property
    def is_running(self) -> bool:
        """Whether somebody still has to see to it."""
        return self.status not in {"RESOLVED", "CANCELLED", "ACKNOWLEDGED"}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunbookParameter:
    """One parameter of a runbook, from its `parameters_schema` (a JSON Schema object)."""

    name: str
    title: str = ""
    is_required: bool = False
    kind: Literal["string", "integer", "number", "boolean"] = "string"
    options: tuple[str, ...] = ()
    default: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Runbook:
    """A runbook that may be run (9.2)."""

    id: str
    name: str
    description: str = ""
    steps: tuple[str, ...] = ()
    parameters: tuple[RunbookParameter, ...] = ()
    requires_approval: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """A run of a runbook (9.3)."""

    id: str
    runbook_id: str
    status: str
    """`PENDING`, `RUNNING`, `COMPLETED`, `FAILED`, `CANCELLED`, `TIMEOUT`, or a word we don't know."""
    current_step: int = 0
    total_steps: int = 0
    log: tuple[tuple[int, str, str], ...] = ()
    """(step, level, message), oldest first."""
    log_before: int = 0
    """How many older lines of a long log were left out."""
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Maintenance:
    """A maintenance window that is under way (9.4)."""

    id: str
    name: str
    start_ms: int | None
    end_ms: int | None
    services: tuple[str, ...] = ()
    """Empty: all of them."""
    mutes_notifications: bool = False
    mutes_escalations: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineRow:
    """An entry of ETB's own timeline (7.3)."""

    id: str
    incident_id: IncidentId
    event_type: str
    title: str
    at_ms: int | None
    description: str = ""
    by: str = ""
    external_ref: str = ""
    data: dict[str, Any] = field(default_factory=dict)

"""Enum values: ETB's spelling on the wire, ours inside (docs/etb-contract.md 2).

The operator's map comes first; then case, spaces and hyphens are forgiven for words we know; what nobody knows
passes through as text. Must never raise: an unknown word is not an error.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

_SEVERITIES = ("INFO", "LOW", "MEDIUM", "HIGH", "CRITICAL", "EMERGENCY")
STATUSES = (
    "OPEN",
    "IN_PROGRESS",
    "RESOLVED",
    "CLOSED",
    "CANCELLED",
    "NEW",
    "ACKNOWLEDGED",
    "INVESTIGATING",
    "ON_HOLD",
    "REOPENED",
)
_CATEGORIES = ("Infrastructure", "Application", "Security", "User Experience", "Data", "Integration")
_KNOWN: Mapping[str, tuple[str, ...]] = {
    "severity": _SEVERITIES,
    "status": STATUSES,
    "priority": ("P1", "P2", "P3", "P4"),
    "category": _CATEGORIES,
    "data_classification": ("PUBLIC", "INTERNAL", "CONFIDENTIAL", "RESTRICTED", "TOP_SECRET"),
    "sla_type": ("RESPONSE_TIME", "RESOLUTION_TIME", "ACKNOWLEDGMENT_TIME", "FIRST_RESPONSE"),
    "sla_status": ("ACTIVE", "MET", "BREACHED", "CANCELLED", "PAUSED"),
    "escalation_status": ("PENDING", "TRIGGERED", "ACKNOWLEDGED", "RESOLVED", "CANCELLED"),
    "execution_status": (
        "PENDING",
        "RUNNING",
        "COMPLETED",
        "FAILED",
        "CANCELLED",
        "TIMEOUT",
        "WAITING_APPROVAL",
    ),
    "runbook_status": ("DRAFT", "ACTIVE", "INACTIVE", "DEPRECATED"),
    "maintenance_status": ("SCHEDULED", "ACTIVE", "COMPLETED", "CANCELLED"),
    "trigger_type": ("MANUAL", "AUTOMATIC", "SCHEDULED", "WEBHOOK", "CHATOPS"),
    "oncall_status": ("SCHEDULED", "ACTIVE", "COMPLETED", "CANCELLED", "PAUSED", "INACTIVE"),
    "hold_status": ("ACTIVE", "RELEASED", "EXPIRED", "DRAFT"),
    "event_type": (
        "INCIDENT_CREATED",
        "STATUS_CHANGED",
        "SEVERITY_CHANGED",
        "ASSIGNED",
        "SLA_BREACHED",
        "ESCALATED",
        "RUNBOOK_STARTED",
        "RUNBOOK_COMPLETED",
        "MESSAGE_PINNED",
        "FILE_ADDED",
        "NOTE",
        "OTHER",
    ),
}
FIELDS = frozenset(_KNOWN)
"""What `etb.enums` may name."""


_ALSO: Mapping[str, Mapping[str, str]] = {
    "status": {"canceled": "CANCELLED"},
    "sla_status": {"canceled": "CANCELLED"},
    "escalation_status": {"canceled": "CANCELLED"},
    "execution_status": {"canceled": "CANCELLED", "success": "COMPLETED"},
}
"""Other words for the same (9.3); read, never written."""


def _folded(word: str) -> str:
    return word.strip().casefold().replace(" ", "_").replace("-", "_")


_WORDS: Mapping[str, Mapping[str, str]] = {
    name: {_folded(word): word for word in words} | dict(_ALSO.get(name, {})) for name, words in _KNOWN.items()
}


@dataclass(frozen=True, slots=True)
class Spelling:
    """`maps`: field name to (upstream spelling to ours). Raises ValueError for a field nobody reads."""

    maps: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse a map that would never be used."""
        if unknown := set(self.maps) - FIELDS:
            raise ValueError(
                f"etb.enums has no field {', '.join(sorted(unknown))}; there are {', '.join(sorted(FIELDS))}"
            )

    def read(self, name: str, word: str) -> str:
        """ETB's word in our spelling.

        >>> Spelling({"status": {"Offen": "OPEN"}}).read("status", "offen"), Spelling().read("severity", "high")
        ('OPEN', 'HIGH')
        """
        folded = _folded(word)
        for upstream, ours in self.maps.get(name, {}).items():
            if _folded(upstream) == folded:
                return ours
        return _WORDS.get(name, {}).get(folded, word)

    def write(self, name: str, word: str) -> str:
        """Our word in ETB's spelling: the first upstream word that the map reads as ours.

        A word that a person typed may be in any case, and may be ETB's own.

        >>> Spelling({"status": {"Offen": "OPEN"}}).write("status", "open"), Spelling().write("status", "on hold")
        ('Offen', 'ON_HOLD')
        """
        known = self.read(name, word)
        upstream = self.maps.get(name, {})
        return next((one for one in upstream if one == word), "") or next(
            (one for one, ours in upstream.items() if ours == known), known
        )

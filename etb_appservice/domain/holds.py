"""A legal hold on an incident: nothing of it may be deleted until ETB says that the hold is over.

    ETB names the incident in a hold ──► in force: told, closed to redactions ──► none any more: told, open again

Source: docs/etb-contract.md 10.1. What ETB doesn't answer changes nothing: the last hold that is known goes on.
"""

from dataclasses import dataclass
from typing import Literal

from etb_appservice.domain.ids import IncidentId, RoomId

HOLD = "legal hold"
"""The id of the one entry that a war room has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LegalHold:
    """There is one of each war room whose incident ever was in a hold."""

    kind: Literal["LegalHold"] = "LegalHold"
    id: str = HOLD
    incident_id: IncidentId
    holds: tuple[str, ...]
    """ETB's ids of the holds in force, sorted."""
    since_ms: int
    """When the first of them was seen."""
    changes: int = 1
    """How often `holds` has changed: what a change is called by, since each may come back."""
    room_id: RoomId | None = None
    """The room that was closed to redactions and told why; None while none is."""
    is_open: bool = True
    """Whether any hold is in force."""

"""Who does what in an incident, and whom the service has let in beyond those whom ETB names.

Source of the words: docs/etb-contract.md 2.2.
"""

from dataclasses import dataclass
from typing import Literal

from etb_appservice.domain.ids import Username

RoleName = Literal["INCIDENT_COMMANDER", "SCRIBE", "COMMS_LEAD", "TECHNICAL_LEAD", "BUSINESS_LEAD", "OBSERVER"]
ROLE_WORDS: dict[str, RoleName] = {
    "commander": "INCIDENT_COMMANDER",
    "ic": "INCIDENT_COMMANDER",
    "scribe": "SCRIBE",
    "comms": "COMMS_LEAD",
    "communications": "COMMS_LEAD",
    "technical": "TECHNICAL_LEAD",
    "business": "BUSINESS_LEAD",
    "observer": "OBSERVER",
}
"""How people type them."""


def shown(role: RoleName) -> str:
    """A role as people read it.

    >>> shown("INCIDENT_COMMANDER"), shown("COMMS_LEAD")
    ('incident commander', 'communications lead')
    """
    return "communications lead" if role == "COMMS_LEAD" else role.lower().replace("_", " ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """Somebody holds a role. There is one holder of each: the id is the role's name within its war room."""

    kind: Literal["Role"] = "Role"
    id: str
    role: RoleName
    username: Username
    since_ms: int
    by: Username
    is_open: bool = True
    """False once it was given up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """Somebody was let into an incident whom ETB doesn't name for it."""

    kind: Literal["Admitted"] = "Admitted"
    id: str
    username: Username
    by: str
    at_ms: int
    why: str = ""
    by_role: bool = False
    """Let in for a role that ETB gives them, and for nothing else: it counts only while they have it."""
    by_web: bool = False
    """They had no Matrix id to be invited by: from then on they take part by ETB's pages."""
    is_open: bool = True
    """False once they were put out."""

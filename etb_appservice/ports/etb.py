"""What is needed of ETB, as protocols."""

from typing import Protocol

from etb_appservice.domain.duty import Escalation, Execution, Maintenance, Runbook, Sla, TimelineRow
from etb_appservice.domain.effects import EtbEffect
from etb_appservice.domain.facts import Done, Fact
from etb_appservice.domain.ids import IncidentId, Username
from etb_appservice.domain.incident import Deadline, EtbUser, Incident, OnCall
from etb_appservice.ports.matrix import Nothing, Try


class EtbDecoder(Protocol):
    """Reads what a webhook or the poll stored."""

    def decode(self, payload: bytes) -> Fact | Nothing:
        """Raises Broken for what can't be read as an incident."""
        ...


class EtbReads(Protocol):
    """Reads of ETB, each within its own limit; repeating is safe. Raises Later or Refused."""

    async def incident(self, incident_id: IncidentId) -> Incident: ...

    async def deadlines(self, incident_id: IncidentId) -> tuple[Deadline, ...]:
        """Running SLA targets, soonest first; empty where the module is switched off."""
        ...

    async def on_call(self) -> tuple[OnCall, ...]:
        """Everybody on call now; empty when nobody is or the module is switched off."""
        ...

    async def user(self, username: Username) -> EtbUser | None:
        """None when ETB knows no such user."""
        ...

    async def user_of_id(self, user_id: str) -> EtbUser | None:
        """The same by ETB's UUID of them."""
        ...

    async def incidents(self, *, search: str = "") -> tuple[Incident, ...]:
        """Open incidents, latest change first, at most 200; `search` looks for ETB's free text."""
        ...

    async def slas(self, incident_id: IncidentId) -> tuple[Sla, ...]:
        """Every SLA instance, soonest target first, those that ended too; empty where the module is off."""
        ...

    async def escalations(self, incident_id: IncidentId) -> tuple[Escalation, ...]:
        """Oldest first; empty where the module is switched off."""
        ...

    async def runbooks(self, search: str) -> tuple[Runbook, ...]:
        """Active runbooks whose name or description hold every word of `search`, at most 50.

        One of exactly that name (case aside) comes first, then by name; empty where the module is switched off.
        """
        ...

    async def execution(self, execution_id: str) -> Execution: ...

    async def maintenance(self) -> tuple[Maintenance, ...]:
        """Windows that are under way now; empty where the module is switched off."""
        ...

    async def timeline(self, incident_id: IncidentId) -> tuple[TimelineRow, ...]:
        """ETB's own timeline, oldest first, the latest 1,000 entries; empty where ETB keeps none."""
        ...


class Profiles(Protocol):
    """Whose a token of ETB's is. Repeating is safe."""

    async def whose(self, token: str) -> EtbUser | None:
        """The user to whom a token belongs; None where ETB doesn't take it (401), which is final.

        MUST NOT keep, log or name the token, and MUST send it to ETB alone. Raises Later where ETB can't be asked,
        Refused where it answers something else.
        """
        ...


class EtbHands(Protocol):
    """Carries out effects in ETB. An unsafe POST is read back before any repetition; raises all four."""

    async def do(self, effect: EtbEffect, attempt: Try) -> Done: ...

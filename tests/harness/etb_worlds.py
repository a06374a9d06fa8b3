"""ETB twice: the fake, and the real adapter before the sandbox. What a test does to one it can do to the other.

The promises in tests/contract/etb run on both, so that the fake can't lie.
"""

import asyncio
import time
from dataclasses import replace
from typing import Protocol

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.duty import Maintenance, Runbook, RunbookParameter, Sla
from etb_appservice.domain.ids import IncidentId, Username
from etb_appservice.domain.incident import Deadline, EtbUser, Incident, OnCall
from etb_appservice.etb import parse
from etb_appservice.etb.client import EtbClient
from etb_appservice.etb.hands import EtbWriter
from etb_appservice.etb.probe import Modules
from etb_appservice.etb.reads import EtbReader
from etb_appservice.etb.spelling import Spelling
from etb_appservice.ports import EtbHands, EtbReads
from tests.harness.fakes_etb import FakeEtb
from tests.harness.sandbox import Sandbox, seeded_id

LIBRARY = (
    Runbook(id="book-1", name="Restart billing", description="Restarts the billing workers.", steps=("a", "b")),
    Runbook(id="book-2", name="Restart Billing", description="Restarts the billing web front end.", steps=("a",)),
    Runbook(
        id="book-3",
        name="Failover billing database",
        description="Promotes the replica.",
        steps=("Fence primary", "Promote replica", "Repoint services", "Verify"),
        parameters=(RunbookParameter(name="confirm", is_required=True, kind="boolean"),),
        requires_approval=True,
    ),
    Runbook(
        id="book-4",
        name="Scale out a service",
        description="Adds nodes to a service.",
        steps=("Add nodes", "Join the balancer"),
        parameters=(
            RunbookParameter(
                name="service", title="Which service", is_required=True, options=("api-gateway", "search", "web")
            ),
            RunbookParameter(name="nodes", title="How many nodes", kind="integer", default="2"),
        ),
    ),
    Runbook(id="book-5", name="Rebuild search index", steps=("Snapshot", "Rebuild", "Swap")),
)
"""What the fake has of the sandbox's runbooks."""
WINDOW = Maintenance(
    id="window-1",
    name="Storage firmware",
    start_ms=1,
    end_ms=None,
    services=("archive-storage",),
    mutes_notifications=True,
    mutes_escalations=True,
)


class RealClock:
    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(min(seconds, 0.01))


class World(Protocol):
    """One side of the comparison: what a test does to ETB, and our two doors to it."""

    reads: EtbReads
    hands: EtbHands

    async def declare(self, title: str) -> Incident: ...

    async def close_incident(self, incident_id: IncidentId) -> None: ...

    async def set_user(self, username: str, clearance: Classification, *, is_active: bool) -> None: ...

    async def set_on_call(self, username: str | None) -> None: ...

    async def timeline_titles(self, incident_id: IncidentId) -> list[str]: ...

    async def go_down(self) -> None: ...

    async def forbid(self) -> None: ...

    async def lose_next_answer(self) -> None:
        """The next write is done, and nobody hears of it."""
        ...

    async def lose_next_request(self) -> None:
        """The next write does not arrive, and nobody hears of it."""
        ...

    async def hide_timeline(self) -> None: ...

    async def hide(self) -> None:
        """What an earlier try wrote can't be looked for, of whatever kind."""
        ...

    async def go_off(self, module: str) -> None:
        """A module is nowhere any more, and the probe has found that out."""
        ...

    def runbook_id(self, name: str) -> str: ...

    async def end_execution(self, execution_id: str, status: str) -> None: ...

    async def executions(self) -> list[str]:
        """Every run there ever was."""
        ...

    async def evidence(self, incident_id: IncidentId) -> list[dict[str, object]]:
        """What was registered of an incident, oldest first."""
        ...


class FakeWorld:
    def __init__(self) -> None:
        self.etb = FakeEtb(library=list(LIBRARY), windows=[WINDOW])
        self.etb.users = {
            Username(name): EtbUser(Username(name), name, Classification.INTERNAL, is_active=True)
            for name in ("alice", "bob", "carol")
        }
        self.etb.duty = [OnCall("Platform primary", Username("bob"))]
        self.reads: EtbReads = self.etb
        self.hands: EtbHands = self.etb

    async def declare(self, title: str) -> Incident:
        number = len(self.etb.known) + 1
        made = IncidentId(f"00000000-0000-4000-8000-{number:012d}")
        self.etb.known[made] = Incident(made, "INC-1", title, "HIGH", "OPEN", 1, reporter=Username("alice"))
        self.etb.sla[made] = [
            Deadline(name, "RESPONSE_TIME", "ACTIVE", at) for name, at in (("late", 9), ("soon", 5))
        ]
        self.etb.levels[made] = [
            Sla(id=f"sla-{at}", name=name, kind=kind, status="ACTIVE", started_ms=1, target_ms=at, remaining_s=at)
            for name, kind, at in (
                ("High resolution", "RESOLUTION_TIME", 9),
                ("High acknowledgment", "ACKNOWLEDGMENT_TIME", 5),
            )
        ]
        return self.etb.known[made]

    async def close_incident(self, incident_id: IncidentId) -> None:
        self.etb.sla[incident_id] = [Deadline("late", "RESPONSE_TIME", "MET", 9)]
        self.etb.levels[incident_id] = [
            replace(one, status="MET", met_ms=2) for one in self.etb.levels[incident_id]
        ]
        self.etb.known[incident_id] = replace(self.etb.known[incident_id], status="RESOLVED", updated_at_ms=2)

    async def set_user(self, username: str, clearance: Classification, *, is_active: bool) -> None:
        self.etb.users[Username(username)] = EtbUser(Username(username), username, clearance, is_active)

    async def set_on_call(self, username: str | None) -> None:
        self.etb.duty = [OnCall("Platform primary", Username(username))] if username else []

    async def timeline_titles(self, incident_id: IncidentId) -> list[str]:
        return [entry.title for entry in self.etb.entries if entry.incident_id == incident_id]

    async def go_down(self) -> None:
        self.etb.down()

    async def forbid(self) -> None:
        self.etb.refuse()

    async def lose_next_answer(self) -> None:
        self.etb.lose_answers = 1

    async def lose_next_request(self) -> None:
        self.etb.lose_requests = 1

    async def hide_timeline(self) -> None:
        self.etb.timeline_readable = False

    async def hide(self) -> None:
        self.etb.timeline_readable = False

    async def go_off(self, module: str) -> None:
        self.etb.off.add(module)

    def runbook_id(self, name: str) -> str:
        return next(one.id for one in self.etb.library if one.name == name)

    async def end_execution(self, execution_id: str, status: str) -> None:
        error = "It ended badly." if status == "FAILED" else ""
        self.etb.executions[execution_id] = replace(self.etb.executions[execution_id], status=status, error=error)

    async def executions(self) -> list[str]:
        return list(self.etb.executions)

    async def evidence(self, incident_id: IncidentId) -> list[dict[str, object]]:
        return [
            {
                "evidence_type": one.evidence_type,
                "file_hash": one.file_hash,
                "mime_type": one.mime,
                "source_reference": one.source_reference,
                "data_classification": one.classification,
            }
            for one in self.etb.evidence
            if one.incident_id == incident_id
        ]


class SandboxWorld:
    def __init__(self, sandbox: Sandbox, client: EtbClient) -> None:
        self.sandbox = sandbox
        self.modules = Modules(client)
        self.reads: EtbReads = EtbReader(client, self.modules, RealClock())
        self.hands: EtbHands = EtbWriter(client, self.modules)

    async def declare(self, title: str) -> Incident:
        return parse.incident(await self.sandbox.declare(title), Spelling())

    async def close_incident(self, incident_id: IncidentId) -> None:
        await self.sandbox.patch(incident_id, status="RESOLVED")

    async def set_user(self, username: str, clearance: Classification, *, is_active: bool) -> None:
        await self.sandbox.set_user(username, clearance=clearance.name, is_active=is_active)

    async def set_on_call(self, username: str | None) -> None:
        for rotation in await self.sandbox.rows("/api/sla-oncall/api/v1/oncall-rotations/"):
            await self.sandbox.set_oncall(None, rotation=rotation["name"])
        await self.sandbox.set_oncall(username)

    async def timeline_titles(self, incident_id: IncidentId) -> list[str]:
        return [
            row["title"] for row in await self.sandbox.timeline(incident_id) if row["source_type"] == "INTEGRATION"
        ]

    async def go_down(self) -> None:
        await self.sandbox.fault("error", status=503)

    async def forbid(self) -> None:
        await self.sandbox.fault("error", status=403)

    async def lose_next_answer(self) -> None:
        await self.sandbox.fault("drop_after_write", count=1)

    async def lose_next_request(self) -> None:
        await self.sandbox.fault("drop_before_write", count=1)

    async def hide_timeline(self) -> None:
        await self.sandbox.fault("error", "timeline", methods=["GET"], status=403)

    async def hide(self) -> None:
        await self.sandbox.fault("error", methods=["GET"], status=403)

    async def go_off(self, module: str) -> None:
        await self.sandbox.move(module, None)
        await self.modules.probe()

    def runbook_id(self, name: str) -> str:
        return seeded_id("Runbook", name)

    async def end_execution(self, execution_id: str, status: str) -> None:
        await self.sandbox.end_execution(execution_id, status, "It ended badly." if status == "FAILED" else "")

    async def executions(self) -> list[str]:
        return [row["id"] for row in await self.sandbox.rows("/api/automation/runbook-executions/")]

    async def evidence(self, incident_id: IncidentId) -> list[dict[str, object]]:
        rows = await self.sandbox.rows("/api/compliance/evidence/", incident=incident_id)
        shown = (
            "evidence_type",
            "file_hash",
            "mime_type",
            "source_reference",
            "data_classification",
        )
        return [{name: row[name] for name in shown} for row in sorted(rows, key=lambda row: row["collected_at"])]

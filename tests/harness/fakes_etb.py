"""ETB in memory: `EtbReads` and `EtbHands` for tests of flows, with switches for bad days.

tests/contract/etb runs the same promises on this and on the real adapter.
"""

import asyncio
import re
import uuid
from dataclasses import dataclass, field, replace

from etb_appservice.domain.duty import Escalation, Execution, Maintenance, Runbook, Sla, TimelineRow
from etb_appservice.domain.effects import (
    AddTimelineEntry,
    CancelRunbook,
    ChangeIncident,
    DeclareIncident,
    EtbEffect,
    MoveEscalation,
    RegisterEvidence,
    StartRunbook,
    TriggerEscalation,
)
from etb_appservice.domain.facts import Done
from etb_appservice.domain.ids import IncidentId, Username
from etb_appservice.domain.incident import Deadline, EtbUser, Incident, OnCall
from etb_appservice.domain.outcomes import Failure, Later, Refused, Unsure
from etb_appservice.etb.parse import FINISHED_SLA
from etb_appservice.etb.parse_duty import ENDED
from etb_appservice.ports import Try

_MODULES = {
    "TriggerEscalation": "sla",
    "MoveEscalation": "sla",
    "StartRunbook": "automation",
    "CancelRunbook": "automation",
    "RegisterEvidence": "compliance",
}


def entry_id(entry: AddTimelineEntry) -> str:
    """What this ETB calls an entry of its timeline."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, entry.external_ref))


@dataclass
class FakeEtb:
    """Fill the tables; set `trouble` to have every call raise it, or `gate` to have every call wait for it."""

    known: dict[IncidentId, Incident] = field(default_factory=dict)
    sla: dict[IncidentId, list[Deadline]] = field(default_factory=dict)
    users: dict[Username, EtbUser] = field(default_factory=dict)
    duty: list[OnCall] = field(default_factory=list)
    levels: dict[IncidentId, list[Sla]] = field(default_factory=dict)
    escalated: dict[IncidentId, list[Escalation]] = field(default_factory=dict)
    library: list[Runbook] = field(default_factory=list)
    executions: dict[str, Execution] = field(default_factory=dict)
    windows: list[Maintenance] = field(default_factory=list)
    statuses: frozenset[str] = frozenset({"OPEN", "IN_PROGRESS", "RESOLVED", "CLOSED", "CANCELLED"})
    """What ETB takes as a status."""
    severities: frozenset[str] = frozenset({"INFO", "LOW", "MEDIUM", "HIGH", "CRITICAL", "EMERGENCY"})
    off: set[str] = field(default_factory=set)
    """Modules that are nowhere, such as `sla` or `automation`."""
    entries: list[AddTimelineEntry] = field(default_factory=list)
    evidence: list[RegisterEvidence] = field(default_factory=list)
    writes: list[EtbEffect] = field(default_factory=list)
    """Every write that took effect, in order."""
    done: dict[str, Done] = field(default_factory=dict)
    trouble: Failure | None = None
    gate: asyncio.Event | None = None
    lose_answers: int = 0
    """So many writes are done, but their answers get lost: Unsure."""
    lose_requests: int = 0
    """So many writes don't arrive, and nobody can tell: Unsure."""
    timeline_readable: bool = True
    """Whether a repetition can find out what became of an earlier try, of whatever kind."""
    calls: list[str] = field(default_factory=list)

    def down(self) -> None:
        """From now on ETB can't be reached."""
        self.trouble = Later("ETB can't be reached")

    def refuse(self, code: str = "403") -> None:
        """From now on ETB says no."""
        self.trouble = Refused("ETB said no", code=code)

    def up(self) -> None:
        self.trouble = None

    # --- EtbReads -----------------------------------------------------------------------------------------

    async def incident(self, incident_id: IncidentId) -> Incident:
        await self._enter("incident")
        if incident_id not in self.known:
            raise Refused("ETB knows no such incident", code="404")
        return self.known[incident_id]

    async def deadlines(self, incident_id: IncidentId) -> tuple[Deadline, ...]:
        await self._enter("deadlines")
        running = [found for found in self.sla.get(incident_id, []) if found.status not in FINISHED_SLA]
        return tuple(sorted(running, key=lambda found: (found.target_ms, found.name)))

    async def on_call(self) -> tuple[OnCall, ...]:
        await self._enter("on_call")
        return tuple(sorted(set(self.duty), key=lambda found: (found.rotation, found.username)))

    async def user(self, username: Username) -> EtbUser | None:
        await self._enter("user")
        return self.users.get(username)

    async def user_of_id(self, user_id: str) -> EtbUser | None:
        await self._enter("user_of_id")
        return next((one for one in self.users.values() if one.id == user_id), None)

    async def incidents(self, *, search: str = "") -> tuple[Incident, ...]:
        await self._enter("incidents")
        found = [
            one
            for one in self.known.values()
            if one.is_open and search.casefold() in f"{one.number} {one.title} {one.description}".casefold()
        ]
        return tuple(sorted(found, key=lambda one: (-one.updated_at_ms, one.id))[:200])

    async def slas(self, incident_id: IncidentId) -> tuple[Sla, ...]:
        await self._enter("slas")
        if "sla" in self.off:
            return ()
        return tuple(sorted(self.levels.get(incident_id, []), key=lambda one: one.target_ms or 0))

    async def escalations(self, incident_id: IncidentId) -> tuple[Escalation, ...]:
        await self._enter("escalations")
        return () if "sla" in self.off else tuple(self.escalated.get(incident_id, []))

    async def runbooks(self, search: str) -> tuple[Runbook, ...]:
        await self._enter("runbooks")
        if "automation" in self.off:
            return ()
        name, words = " ".join(search.split()).casefold(), re.sub("[\"',]", " ", search).casefold().split()
        found = [
            one
            for one in self.library
            if all(word in f"{one.name} {one.description}".casefold() for word in words)
        ]
        found.sort(key=lambda one: (one.name.casefold() != name, one.name.casefold(), one.id))
        return tuple(found[:50])

    async def execution(self, execution_id: str) -> Execution:
        await self._enter("execution")
        self._need("automation")
        if execution_id not in self.executions:
            raise Refused("ETB knows no such execution", code="404")
        return self.executions[execution_id]

    async def maintenance(self) -> tuple[Maintenance, ...]:
        await self._enter("maintenance")
        return () if "automation" in self.off else tuple(self.windows)

    async def timeline(self, incident_id: IncidentId) -> tuple[TimelineRow, ...]:
        await self._enter("timeline")
        return tuple(
            TimelineRow(
                id=entry_id(one),
                incident_id=one.incident_id,
                event_type=one.event_type,
                title=one.title,
                at_ms=one.event_time_ms,
                description=one.description,
                external_ref=one.external_ref,
                data=dict(one.event_data),
            )
            for one in self.entries
            if one.incident_id == incident_id
        )

    # --- EtbHands -----------------------------------------------------------------------------------------

    async def do(self, effect: EtbEffect, attempt: Try) -> Done:
        """By `attempt.key` as by a reference that ETB keeps: a repetition finds what the first try did."""
        await self._enter("do")
        self._need(_MODULES.get(effect.kind, "incidents"))
        if attempt.attempts > 0 or attempt.first_tried_ms is not None:
            if not self.timeline_readable:
                raise Unsure("an earlier try may have taken effect and can't be read back")
            if attempt.key in self.done:
                return replace(self.done[attempt.key], detail="found")
        if self.lose_requests:
            self.lose_requests -= 1
            raise Unsure("no answer")
        done = self.done[attempt.key] = self._take_effect(effect)
        self.writes.append(effect)
        if self.lose_answers:
            self.lose_answers -= 1
            raise Unsure("no answer")
        return done

    def _take_effect(self, effect: EtbEffect) -> Done:
        if not isinstance(effect, DeclareIncident) and effect.incident_id not in self.known:
            raise Refused("ETB knows no such incident", code="404")
        match effect:
            case AddTimelineEntry():
                self.entries.append(effect)
                return Done(detail="created", found={"id": entry_id(effect)})
            case ChangeIncident():
                return self._change(effect)
            case DeclareIncident(title=title, severity=severity, description=description, category=category):
                made = IncidentId(str(uuid.uuid5(uuid.NAMESPACE_OID, effect.ref)))
                if severity not in self.severities:
                    raise Refused(f'ETB says of severity: "{severity}" is not a valid choice.', code="400")
                number = f"INC-{1000 + len(self.known)}"
                self.known[made] = Incident(
                    made, number, title, severity, "OPEN", 0, category, description=description
                )
                return Done(detail="created", found={"id": made, "number": number})
            case TriggerEscalation(incident_id=incident_id, reason=reason, ref=ref):
                rows = self.escalated.setdefault(incident_id, [])
                row = Escalation(
                    id=f"escalation-{len(rows) + 1}",
                    status="TRIGGERED",
                    level=len(rows) + 1,
                    reason=reason,
                    notified=tuple(one.username for one in self.duty),
                    ref=ref,
                )
                rows.append(row)
                return Done(
                    detail="created",
                    found={"id": row.id, "level": str(row.level), "notified": ", ".join(row.notified)},
                )
            case MoveEscalation(incident_id=incident_id, escalation_id=escalation_id, to=to):
                rows = self.escalated.get(incident_id, [])
                for place, row in enumerate(rows):
                    if row.id == escalation_id:
                        return self._move(rows, place, to)
                raise Refused("ETB knows no such escalation", code="404")
            case StartRunbook(runbook_id=runbook_id):
                return self._start(runbook_id)
            case CancelRunbook(execution_id=execution_id):
                if execution_id not in self.executions:
                    raise Refused("ETB knows no such execution", code="404")
                run = self.executions[execution_id]
                if run.status in ENDED:
                    return Done(detail="found", found={"id": execution_id, "status": run.status})
                self.executions[execution_id] = replace(run, status="CANCELLED")
                return Done(detail="changed", found={"id": execution_id, "status": "CANCELLED"})
            case RegisterEvidence():
                self.evidence.append(effect)
                return Done(detail="created", found={"id": f"evidence-{len(self.evidence)}"})

    def _start(self, runbook_id: str) -> Done:
        book = next((one for one in self.library if one.id == runbook_id), None)
        if book is None:
            raise Refused("ETB knows no such runbook", code="404")
        execution = Execution(
            id=f"execution-{len(self.executions) + 1}",
            runbook_id=runbook_id,
            status="RUNNING",
            total_steps=len(book.steps),
        )
        self.executions[execution.id] = execution
        return Done(
            detail="created",
            found={"id": execution.id, "status": "RUNNING", "total_steps": str(len(book.steps))},
        )

    def _move(self, rows: list[Escalation], place: int, to: str) -> Done:
        row = rows[place]
        detail = "found" if row.status in {to, "RESOLVED"} else "changed"
        if row.status == "CANCELLED":
            raise Refused(f"ETB says: Escalation is CANCELLED; it can't become {to}.", code="409")
        if detail == "changed":
            row = rows[place] = replace(row, status=to)
        return Done(detail=detail, found={"id": row.id, "status": row.status, "level": str(row.level)})

    def _change(self, effect: ChangeIncident) -> Done:
        before = self.known[effect.incident_id]
        if effect.status and effect.status not in self.statuses:
            raise Refused(f'ETB says of status: "{effect.status}" is not a valid choice.', code="400")
        if effect.severity and effect.severity not in self.severities:
            raise Refused(f'ETB says of severity: "{effect.severity}" is not a valid choice.', code="400")
        if effect.assignee and effect.assignee not in self.users:
            raise Refused("ETB says of username: No such active user.", code="400")
        after = replace(
            before,
            status=effect.status or before.status,
            severity=effect.severity or before.severity,
            assignee=effect.assignee or before.assignee,
            stated=effect.classification or before.stated,
            updated_at_ms=before.updated_at_ms + 1,
        )
        self.known[effect.incident_id] = after
        return Done(
            detail="changed" if self._differs(before, after) else "found",
            found={
                "status": after.status,
                "severity": after.severity,
                "assignee": after.assignee or "",
                "old_status": before.status,
                "old_severity": before.severity,
                "old_assignee": before.assignee or "",
                **(self._levels(before, after) if effect.classification else {}),
            },
        )

    @staticmethod
    def _levels(before: Incident, after: Incident) -> dict[str, str]:
        return {
            "classification": after.stated.name if after.stated else "",
            "old_classification": before.stated.name if before.stated else "",
            "updated_ms": str(after.updated_at_ms),
        }

    @staticmethod
    def _differs(before: Incident, after: Incident) -> bool:
        return replace(before, updated_at_ms=0) != replace(after, updated_at_ms=0)

    def _need(self, module: str) -> None:
        if module in self.off:
            raise Refused(f"ETB's module {module} is not available here, so that can't be done", code="off")

    async def _enter(self, call: str) -> None:
        self.calls.append(call)
        if self.gate is not None:
            await self.gate.wait()
        if self.trouble is not None:
            raise self.trouble

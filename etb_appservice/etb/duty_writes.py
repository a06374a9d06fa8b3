"""Escalations (docs/etb-contract.md 8.5) and runs of runbooks (9.3) in ETB: started once, moved to an end.

A start makes a new row each time, so it carries a reference: at the end of an escalation's reason, in brackets,
and as `trigger_data.command_id` of a run. A move that ETB refuses is looked at: who is there already has arrived.
"""

import structlog

from etb_appservice.domain.duty import Escalation, Execution
from etb_appservice.domain.effects import CancelRunbook, MoveEscalation, StartRunbook, TriggerEscalation
from etb_appservice.domain.facts import Done
from etb_appservice.domain.outcomes import Refused
from etb_appservice.etb import fields, parse_duty
from etb_appservice.etb.desk import NOT_HERE, Desk, is_repetition, understood
from etb_appservice.etb.wire import JsonObject, Unreadable
from etb_appservice.ports import Try

_log = structlog.get_logger(__name__)

_REASON_LIMIT = 1000
_BAD_STATE = frozenset({"400", "409"})
_ARRIVED = {"ACKNOWLEDGED": frozenset({"ACKNOWLEDGED", "RESOLVED"}), "RESOLVED": frozenset({"RESOLVED"})}


class DutyWrites:
    """Each answers with what ETB has now, in our words."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._client = desk.client
        self._spelling = desk.spelling

    async def escalate(self, effect: TriggerEscalation, attempt: Try) -> Done:
        """Start an escalation, once. Raises all four outcomes."""
        self._desk.need("sla")
        path = self._desk.modules.paths.path("sla.escalations")
        if is_repetition(attempt):
            row = await self._desk.find(
                "sla.escalations",
                {"incident": effect.incident_id},
                lambda row: _is_escalation(row, effect),
                attempt,
                time="triggered_at",
            )
            if row is not None:
                return self._escalated(row, path, "found")
            self._desk.wait_out(attempt)
        reason = f"{fields.clean(effect.reason)[:_REASON_LIMIT]} {_mark(effect)}".lstrip()
        body = {"incident_id": effect.incident_id, "reason": reason}
        if effect.policy_id:
            body["escalation_policy_id"] = effect.policy_id
        try:
            answer = await self._desk.post(path, body, attempt)
        except Refused as no:
            if no.code == "400":
                await self._desk.must_know(effect.incident_id)
            if no.code not in NOT_HERE:
                raise
            answer = await self._escalate_the_incident(effect, reason, attempt)
        if answer and not _is_escalation(answer, effect):
            _log.warning("etb changes or hides the reason of an escalation", path=path)
        return self._escalated(answer, path, "created")

    async def move(self, effect: MoveEscalation, attempt: Try) -> Done:
        """Acknowledge or resolve. One that is there already, or beyond, counts as moved."""
        self._desk.need("sla")
        action = {"ACKNOWLEDGED": "sla.acknowledge", "RESOLVED": "sla.resolve"}[effect.to]
        path = self._desk.modules.paths.path(action, id=effect.escalation_id)
        arrived = _ARRIVED[effect.to]
        if is_repetition(attempt):
            now = await self._escalation(effect.escalation_id)
            if now.status in arrived:
                return _moved(now, "found")
        try:
            answer = await self._client.post(path, {}, key=attempt.key, asked=True)
        except Refused as no:
            if no.code == "404":
                raise Refused("ETB knows no such escalation", code="404") from None
            if no.code not in _BAD_STATE:
                raise
            now = await self._escalation(effect.escalation_id)
            if now.status not in arrived:
                raise
            return _moved(now, "found")
        try:
            now = parse_duty.escalation(answer, self._spelling)
        except Unreadable:
            now = await self._escalation(effect.escalation_id)
        return _moved(now, "changed")

    async def start(self, effect: StartRunbook, attempt: Try) -> Done:
        """Start a runbook, once. Raises all four outcomes."""
        self._desk.need("automation")
        path = self._desk.modules.paths.path("automation.execute", id=effect.runbook_id)
        if is_repetition(attempt):
            row = await self._desk.find(
                "automation.executions",
                {"runbook": effect.runbook_id, "incident": effect.incident_id},
                lambda row: _is_run(row, effect),
                attempt,
                time="started_at",
            )
            if row is not None:
                return self._started(row, path, "found")
            self._desk.wait_out(attempt)
        body: JsonObject = {
            "trigger_type": self._spelling.write("trigger_type", "CHATOPS"),
            "trigger_data": {**effect.trigger_data, "command_id": effect.ref},
            "incident_id": effect.incident_id,
            "parameters": effect.parameters,
        }
        try:
            answer = await self._desk.post(path, body, attempt)
        except Refused as no:
            if no.code == "404":
                raise Refused(f"ETB knows no such runbook (it answered 404 to POST {path})", code="404") from None
            if no.code == "400":
                await self._desk.must_know(effect.incident_id)
            raise
        return self._started(answer, path, "created")

    async def cancel(self, effect: CancelRunbook, attempt: Try) -> Done:
        """Cancel a run. One that has ended counts as done, and the answer says how it ended."""
        self._desk.need("automation")
        path = self._desk.modules.paths.path("automation.cancel", id=effect.execution_id)
        if is_repetition(attempt):
            now = await self._execution(effect.execution_id)
            if now.status in parse_duty.ENDED:
                return _ended(now, "found")
        try:
            answer = await self._client.post(path, {}, key=attempt.key, asked=True)
        except Refused as no:
            if no.code == "404":
                raise Refused("ETB knows no such execution", code="404") from None
            if no.code not in _BAD_STATE:
                raise
            now = await self._execution(effect.execution_id)
            if now.status not in parse_duty.ENDED:
                raise
            return _ended(now, "found")
        try:
            now = parse_duty.execution(answer, self._spelling)
        except Unreadable:
            now = await self._execution(effect.execution_id)
        return _ended(now, "changed")

    # --- parts of the above -------------------------------------------------------------------------------

    async def _escalate_the_incident(self, effect: TriggerEscalation, reason: str, attempt: Try) -> JsonObject:
        """The alternative of 8.5, where ETB takes no new escalation in their list."""
        paths = self._desk.modules.paths
        path = paths.path("incidents.escalate", id=effect.incident_id)
        try:
            return await self._desk.post(path, {"reason": reason}, attempt)
        except Refused as no:
            if no.code not in NOT_HERE:
                raise
            await self._desk.must_know(effect.incident_id)
            raise Refused(
                f"ETB takes no escalation at {paths.path('sla.escalations')} nor at {path}: "
                "set etb.paths.sla.escalations",
                code="404",
            ) from None

    def _escalated(self, row: JsonObject, path: str, detail: str) -> Done:
        made = understood(lambda: parse_duty.escalation(row, self._spelling), f"POST {path}")
        found = {"id": made.id}
        # What ETB doesn't say, nobody is told in its name.
        if row.get("escalation_level") is not None:
            found["level"] = str(made.level)
        if row.get("notifications_sent") is not None:
            found["notified"] = ", ".join(made.notified)
        return Done(detail=detail, found=found)

    def _started(self, row: JsonObject, path: str, detail: str) -> Done:
        made = understood(lambda: parse_duty.execution(row, self._spelling), f"POST {path}")
        return Done(
            detail=detail,
            found={"id": made.id, "status": made.status, "total_steps": str(made.total_steps)},
        )

    async def _escalation(self, escalation_id: str) -> Escalation:
        row = await self._row("sla.escalations", escalation_id, "escalation")
        try:
            return parse_duty.escalation(row, self._spelling)
        except Unreadable as error:
            raise Refused(f"ETB's answer about the escalation: {error}", code="shape") from None

    async def _execution(self, execution_id: str) -> Execution:
        row = await self._row("automation.executions", execution_id, "execution")
        try:
            return parse_duty.execution(row, self._spelling)
        except Unreadable as error:
            raise Refused(f"ETB's answer about the execution: {error}", code="shape") from None

    async def _row(self, key: str, row_id: str, what: str) -> JsonObject:
        try:
            return await self._client.get_object(self._desk.modules.paths.below(key, row_id))
        except Refused as no:
            if no.code == "404":
                raise Refused(f"ETB knows no such {what}", code="404") from None
            raise


def _mark(effect: TriggerEscalation) -> str:
    return f"[{effect.ref}]"


def _is_escalation(row: JsonObject, effect: TriggerEscalation) -> bool | None:
    """By the reference at the reason's end; None when the row shows no reason."""
    if "reason" not in row:
        return None
    reason = row["reason"]
    return isinstance(reason, str) and reason.rstrip().endswith(_mark(effect))


def _is_run(row: JsonObject, effect: StartRunbook) -> bool | None:
    """By the reference; None when the row shows no `trigger_data`."""
    if "trigger_data" not in row:
        return None
    data = row["trigger_data"]
    return isinstance(data, dict) and data.get("command_id") == effect.ref


def _moved(now: Escalation, detail: str) -> Done:
    return Done(detail=detail, found={"id": now.id, "status": now.status, "level": str(now.level)})


def _ended(now: Execution, detail: str) -> Done:
    return Done(detail=detail, found={"id": now.id, "status": now.status})

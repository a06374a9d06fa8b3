"""What of an incident's course is worth more than a line in its room: news for whoever looks at it now.

Texts are ETB's own words, unmarked: whoever shows them escapes them.
"""

from etb_appservice.domain.duty import Escalation, Sla
from etb_appservice.domain.ids import WarRoomId
from etb_appservice.domain.incident import Incident
from etb_appservice.domain.news import IncidentUpdated, NoticeKind, Notified
from etb_appservice.domain.policy import Policy
from etb_appservice.flows.turn import Turn
from etb_appservice.ports import CommandStatus, Room

_FIELDS = {
    "title": "title",
    "description": "description",
    "status": "status",
    "severity": "severity",
    "priority": "priority",
    "category": "category",
    "assignee": "assigned_to_username",
    "stated": "data_classification",
    "is_sensitive": "is_sensitive",
    "services": "affected_services",
    "resolved_ms": "resolved_at",
    "closed_ms": "closed_at",
}
"""Ours, and as docs/etb-contract.md 7.2 names them."""
_ESCALATIONS: dict[str, NoticeKind] = {
    "ACKNOWLEDGED": "ESCALATION_ACKNOWLEDGED",
    "RESOLVED": "ESCALATION_RESOLVED",
    "CANCELLED": "ESCALATION_RESOLVED",
}
_ENDS: dict[CommandStatus, tuple[NoticeKind, str]] = {
    "SUCCESS": ("COMMAND_COMPLETED", "is done"),
    "FAILED": ("COMMAND_FAILED", "has failed"),
    "REFUSED": ("COMMAND_FAILED", "was refused"),
}


def tell_of_changes(turn: Turn, room: Room, before: Incident, after: Incident) -> None:
    """ETB shows an incident otherwise than before."""
    changed = tuple(name for ours, name in _FIELDS.items() if getattr(before, ours) != getattr(after, ours))
    if not changed:
        return
    turn.tell(IncidentUpdated(war_room=room.war_room, incident_id=after.id, changed=changed))
    if before.status != after.status:
        turn.tell(
            Notified(
                war_room=room.war_room,
                notice="INCIDENT_STATUS_CHANGED",
                title=f"{after.number} is {after.status}",
                body=f"It was {before.status}.",
                severity=after.severity,
            )
        )
    if before.assignee != after.assignee and after.assignee is not None:
        turn.tell(
            Notified(
                war_room=room.war_room,
                notice="INCIDENT_ASSIGNED",
                title=f"{after.number} was assigned to you",
                severity=after.severity,
                usernames=(after.assignee,),
            )
        )


def of_sla(room: Room, notice: NoticeKind, sla: Sla, percent: int = 0) -> Notified:
    """An SLA's threshold, breach or end."""
    how = {"SLA_BREACHED": "is breached", "SLA_MET": "was met"}.get(notice, f"has used {percent} % of its time")
    return Notified(war_room=room.war_room, notice=notice, title=f"SLA {sla.name} {how}")


def of_escalation(room: Room, row: Escalation) -> Notified:
    """An escalation began or went on."""
    notice = _ESCALATIONS.get(row.status, "ESCALATION_TRIGGERED")
    how = row.status.lower() if row.status in _ESCALATIONS else f"at level {row.level}"
    return Notified(war_room=room.war_room, notice=notice, title=f"The escalation is {how}", body=row.reason)


def handed_over(room: Room) -> Notified:
    """Other people are on call; who, the room is told."""
    return Notified(war_room=room.war_room, notice="ONCALL_HANDOFF", title="Others are on call")


async def tell_of_end(
    turn: Turn, war_room: WarRoomId, run_id: str, policy: Policy, *, status: CommandStatus
) -> None:
    """A command that went on after its asker was answered has ended: told to them alone.

    Of one that ends at once its result is told, which is enough. What came of it isn't told: they read the answer.
    """
    run = await turn.work.commands.get(run_id)
    username = policy.people.username(run.caller) if run is not None else None
    if run is None or username is None or status not in _ENDS:
        return
    notice, how = _ENDS[status]
    title = f"Your command {run.name} {how}"
    turn.tell(Notified(war_room=war_room, notice=notice, title=title, usernames=(username,), run_id=run_id))


def of_hold(room: Room, number: str, *, is_placed: bool) -> Notified:
    """A legal hold was placed on an incident, or its last one released; by which, the room isn't told."""
    if is_placed:
        title, body = f"{number} is under legal hold", "Nothing can be deleted until it is released."
        return Notified(war_room=room.war_room, notice="LEGAL_HOLD_PLACED", title=title, body=body)
    title = f"{number} is under legal hold no longer"
    return Notified(war_room=room.war_room, notice="LEGAL_HOLD_RELEASED", title=title)

"""What of an incident's course is worth more than a line in its room: news for whoever looks at it now.

Texts are ETB's own words, unmarked: whoever shows them escapes them.
"""

from etb_appservice.domain.duty import Escalation, Sla
from etb_appservice.domain.incident import Incident
from etb_appservice.domain.news import IncidentUpdated, NoticeKind, Notified
from etb_appservice.flows.turn import Turn
from etb_appservice.ports import Room

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

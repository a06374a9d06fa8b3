"""What ETB shows of service levels, escalations, runbooks and maintenance, into ours; by the rules of `parse`.

Lists and texts inside are bounded, since what is made of them ends in a message or is kept.
"""

import re
from collections.abc import Mapping
from typing import Any, Literal

from etb_appservice.domain.duty import (
    Escalation,
    Execution,
    Maintenance,
    Runbook,
    RunbookParameter,
    Sla,
    TimelineRow,
)
from etb_appservice.domain.ids import IncidentId
from etb_appservice.etb import fields
from etb_appservice.etb.spelling import Spelling
from etb_appservice.etb.wire import JsonObject, Unreadable, kind_of

LOG_LINES = 200
_LINE_LIMIT = 500
_TEXT_LIMIT = 2000
_MOST_TARGETS = 50
_MOST_STEPS = 100
_MOST_PARAMETERS = 50
_MOST_OPTIONS = 100
_MOST_SERVICES = 500
_MOST_DATA = 30
_REFERENCE = re.compile(r" ?\[([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}(?:/[a-z]+)?)\]$")

ENDED = frozenset({"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT"})
"""Execution states from which nothing follows; an unknown state counts as under way."""

Kind = Literal["string", "integer", "number", "boolean"]
_KINDS: Mapping[object, Kind] = {"integer": "integer", "number": "number", "boolean": "boolean"}


def sla(row: Mapping[str, Any], spelling: Spelling, *, is_business_hours: bool = False) -> Sla:
    """An SLA instance (docs/etb-contract.md 8.4). `is_business_hours`: what its definition says."""
    kind = spelling.read("sla_type", fields.line(row, "sla_type", limit=fields.WORD_LIMIT))
    left_ms = fields.duration_ms(row, "time_remaining")
    return Sla(
        id=fields.identifier(row),
        name=fields.line(row, "sla_definition_name", limit=fields.NAME_LIMIT) or kind or "SLA",
        kind=kind,
        status=_status(row, spelling, "sla_status"),
        started_ms=fields.moment_ms(row, "started_at"),
        target_ms=fields.moment_ms(row, "target_time"),
        met_ms=fields.moment_ms(row, "met_at"),
        breached_ms=fields.moment_ms(row, "breached_at"),
        remaining_s=None if left_ms is None else left_ms / 1000,
        is_business_hours=fields.flag(row, "business_hours_only", default=is_business_hours),
        policy_id=fields.related(row, "escalation_policy"),
    )


def escalation(row: Mapping[str, Any], spelling: Spelling) -> Escalation:
    """An escalation instance (8.5). `notified` are the targets of `notifications_sent`, each once.

    The reference by which we find our own is no part of the reason.
    """
    reason = fields.line(row, "reason", limit=_TEXT_LIMIT)
    ours = _REFERENCE.search(reason)
    return Escalation(
        id=fields.identifier(row),
        status=_status(row, spelling, "escalation_status"),
        level=fields.count(row, "escalation_level"),
        reason=reason[: ours.start()] if ours else reason,
        policy=fields.line(row, "escalation_policy_name", limit=fields.NAME_LIMIT),
        triggered_ms=fields.moment_ms(row, "triggered_at"),
        acknowledged_by=fields.username(row, "acknowledged_by") or "",
        notified=_targets(row),
        ref=ours.group(1) if ours else "",
    )


def runbook(row: Mapping[str, Any]) -> Runbook:
    """A runbook (9.2). It needs approval when it says so itself, or any of its steps does."""
    steps = fields.items(row, "steps")
    parts = [row, *(step for step in steps if isinstance(step, dict))]
    return Runbook(
        id=fields.identifier(row),
        name=fields.line(row, "name", limit=fields.NAME_LIMIT, needed=True),
        description=fields.line(row, "description", limit=_TEXT_LIMIT),
        steps=tuple(_step(step, place) for place, step in enumerate(steps[:_MOST_STEPS], 1)),
        parameters=_parameters(fields.mapping(row, "parameters_schema")),
        requires_approval=any(fields.flag(part, "requires_approval", default=False) for part in parts),
    )


def runbook_is_active(row: Mapping[str, Any], spelling: Spelling) -> bool:
    """Whether a runbook may be run; one without a status may."""
    status = fields.line(row, "status", limit=fields.WORD_LIMIT)
    return not status or spelling.read("runbook_status", status) == "ACTIVE"


def execution(row: Mapping[str, Any], spelling: Spelling) -> Execution:
    """A run of a runbook (9.3); the answer `{"execution_id", "status"}` is enough. Keeps the end of a long log."""
    log = fields.items(row, "execution_log")
    return Execution(
        id=fields.identifier(row, "id" if row.get("id") is not None else "execution_id"),
        runbook_id=fields.related(row, "runbook"),
        status=_status(row, spelling, "execution_status"),
        current_step=fields.count(row, "current_step"),
        total_steps=fields.count(row, "total_steps"),
        log=tuple(_log_line(line) for line in log[-LOG_LINES:]),
        log_before=max(0, len(log) - LOG_LINES),
        error=fields.line(row, "error_message", limit=_TEXT_LIMIT),
    )


def maintenance(row: Mapping[str, Any], spelling: Spelling, now_ms: int) -> Maintenance | None:
    """A window (9.4) that is under way; None for one that is over, called off or still to come.

    ETB's word that it is active counts until its own end: a window that nobody closed must not mute for ever.
    """
    status = spelling.read("maintenance_status", fields.line(row, "status", limit=fields.WORD_LIMIT))
    start_ms, end_ms = fields.moment_ms(row, "start_time"), fields.moment_ms(row, "end_time")
    has_begun = status == "ACTIVE" or (start_ms is not None and start_ms <= now_ms)
    is_over = status in {"COMPLETED", "CANCELLED"} or (end_ms is not None and end_ms <= now_ms)
    if is_over or not has_begun or (status != "ACTIVE" and end_ms is None):
        return None
    return Maintenance(
        id=fields.identifier(row),
        name=fields.line(row, "name", limit=fields.NAME_LIMIT),
        start_ms=start_ms,
        end_ms=end_ms,
        services=_services(row),
        mutes_notifications=fields.flag(row, "suppress_notifications", default=False),
        mutes_escalations=fields.flag(row, "suppress_escalations", default=False),
    )


def timeline_row(row: Mapping[str, Any], spelling: Spelling, incident_id: IncidentId) -> TimelineRow:
    """An entry of ETB's timeline (7.3). `data` keeps the plain values of `event_data`, since links stand there."""
    event_type = spelling.read("event_type", fields.line(row, "event_type", limit=fields.WORD_LIMIT)) or "OTHER"
    data = _plain(fields.mapping(row, "event_data"))
    reference = fields.line(row, "external_ref", limit=fields.NAME_LIMIT)
    return TimelineRow(
        id=fields.identifier(row),
        incident_id=incident_id,
        event_type=event_type,
        title=fields.line(row, "title", limit=fields.NAME_LIMIT) or event_type,
        at_ms=fields.moment_ms(row, "event_time"),
        description=fields.text(row, "description")[:_TEXT_LIMIT],
        by=fields.username(row, "created_by") or "",
        external_ref=reference or str(data.get("external_ref", "")),
        data=data,
    )


def _status(row: Mapping[str, Any], spelling: Spelling, name: str) -> str:
    return spelling.read(name, fields.line(row, "status", limit=fields.WORD_LIMIT, needed=True))


def _targets(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Whom ETB has told: of `{channel, target, sent_at}` the target, which may be a user as an object."""
    told: list[Any] = []
    for sent in fields.items(row, "notifications_sent"):
        target = sent.get("target") if isinstance(sent, dict) else sent
        if target is not None:
            told.append(target)
    inside = ("username", "name", "email")
    return fields.names({"notifications_sent": told}, "notifications_sent", most=_MOST_TARGETS, inside=inside)


def _services(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Never empty unless ETB names none: an empty list would stand for all of them."""
    given = fields.items(row, "affected_services")
    found = fields.names(row, "affected_services", most=_MOST_SERVICES)
    if given and not found:
        raise Unreadable("affected_services holds no name")
    return found


def _step(step: object, place: int) -> str:
    if isinstance(step, str):
        step = {"name": step}
    if not isinstance(step, dict):
        raise Unreadable(f"steps must be a list of objects, not of {kind_of(step)}")
    name = fields.line(step, "name", limit=fields.NAME_LIMIT)
    return name or fields.line(step, "action", limit=fields.NAME_LIMIT) or f"Step {place}"


def _parameters(schema: JsonObject) -> tuple[RunbookParameter, ...]:
    """The properties of a JSON Schema object, in its order, as far as a person can type them."""
    properties = fields.mapping(schema, "properties")
    required = {name for name in fields.items(schema, "required") if isinstance(name, str)}
    names = [*properties, *sorted(required - properties.keys())]
    return tuple(
        _parameter(name, rule if isinstance(rule, dict) else {}, is_required=name in required)
        for name, rule in ((name, properties.get(name)) for name in names[:_MOST_PARAMETERS])
        if 0 < len(name) <= fields.NAME_LIMIT and name == fields.clean(name) and name.isprintable()
    )


def _parameter(name: str, rule: JsonObject, *, is_required: bool) -> RunbookParameter:
    kinds = rule.get("type")
    listed = kinds if isinstance(kinds, list) else [kinds]
    options = [_scalar(option) for option in fields.items(rule, "enum")[:_MOST_OPTIONS]]
    return RunbookParameter(
        name=name,
        title=fields.line(rule, "title", limit=fields.NAME_LIMIT),
        is_required=is_required,
        kind=next((_KINDS[kind] for kind in listed if isinstance(kind, str) and kind in _KINDS), "string"),
        options=tuple(option for option in options if option is not None),
        default=_scalar(rule.get("default")),
    )


def _scalar(value: object) -> str | None:
    """A value as a person would type it; None for what can't be typed."""
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return fields.clean(value[:_LINE_LIMIT])
        case int() | float():
            return str(value)[:_LINE_LIMIT]
        case _:
            return None


def _log_line(line: object) -> tuple[int, str, str]:
    if isinstance(line, str):
        line = {"message": line}
    if not isinstance(line, dict):
        raise Unreadable(f"execution_log must be a list of objects, not of {kind_of(line)}")
    step = line.get("step")
    # some name their steps here rather than number them
    number = 0 if isinstance(step, str) and not step.isdecimal() else fields.count(line, "step")
    level = fields.line(line, "level", limit=fields.WORD_LIMIT).upper() or "INFO"
    return number, level, fields.line(line, "message", limit=_LINE_LIMIT)


def _plain(data: JsonObject) -> JsonObject:
    """Numbers, flags and short texts; the rest is nobody's business here."""
    found: JsonObject = {}
    for name, value in data.items():
        if isinstance(value, str) and len(value) <= _TEXT_LIMIT:
            found[fields.clean(name)] = fields.clean(value)
        elif isinstance(value, bool | int | float):
            found[fields.clean(name)] = value
        if len(found) == _MOST_DATA:
            break
    return found

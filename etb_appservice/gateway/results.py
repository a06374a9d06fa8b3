"""What a run of a command was and what came of it, as the API shows it (docs/etb-contract.md 2.4, 4.4).

What it did was kept when it ended (domain/results.py): nothing is made up later, and what isn't known is null.
"""

from pydantic import JsonValue

from etb_appservice.domain.results import Assigned, Escalated, Reported, Updated
from etb_appservice.domain.runbooks import RunbookRun
from etb_appservice.domain.text import folded
from etb_appservice.flows.grammar import UsageError
from etb_appservice.flows.shelf import read_parameters, readings_of
from etb_appservice.gateway import objects
from etb_appservice.gateway.objects import clean, moment
from etb_appservice.ports import CommandRun


def command_type_of(run: CommandRun) -> objects.CommandType:
    """Which of docs/etb-contract.md 2.4 it is."""
    return parameters_of(run)[0]


def parameters_of(
    run: CommandRun, running: RunbookRun | None = None
) -> tuple[objects.CommandType, dict[str, JsonValue]]:
    """A command as docs/etb-contract.md 2.4 has it: its type, and what was typed behind its name.

    `running`: the runbook that it runs, which tells a name that looks like parameters.
    """
    rest = clean(run.arguments.strip())
    match run.name:
        case "status":
            return "STATUS", {}
        case "run":
            name, values = _runbook_typed(rest, running)
            return "RUNBOOK", {"name": name, "parameters": dict(values)}
        case "escalate":
            return "ESCALATE", {"reason": rest}
        case "assign":
            return "ASSIGN", {"username": rest.removeprefix("@")}
        case "update":
            field, _, value = rest.partition(" ")
            return "UPDATE", {"field": field, "value": value.strip()}
        case _:
            return "CUSTOM", {"raw": clean(f"/{run.name} {rest}".rstrip())}


def _runbook_typed(rest: str, running: RunbookRun | None) -> tuple[str, dict[str, str]]:
    """Name and parameters of `playbook <name> …`; what can't be read as that is all name."""
    what, line = [*rest.split(maxsplit=1), "", ""][:2]
    if what.casefold() not in {"playbook", "runbook"}:
        return rest, {}
    try:
        readings = readings_of(line)
        is_it = (one for one in readings if running is not None and folded(one[0]) == folded(running.name))
        name, parameters = next(is_it, readings[-1])
        return name, read_parameters(parameters)
    except UsageError:
        return line, {}


def result_of(kind: objects.CommandType, run: CommandRun, running: RunbookRun | None) -> objects.Result:
    """`running`: the runbook that it runs, where it is one that was begun."""
    text, outcome = clean(run.result), run.outcome
    match kind:
        case "STATUS":
            return _status(text, outcome if isinstance(outcome, Reported) else None)
        case "RUNBOOK":
            return _runbook(text, running)
        case "ESCALATE":
            return _escalate(text, outcome if isinstance(outcome, Escalated) else None)
        case "ASSIGN":
            return _assign(text, outcome if isinstance(outcome, Assigned) else None)
        case "UPDATE":
            return _update(text, outcome if isinstance(outcome, Updated) else None)
        case "CUSTOM" if isinstance(outcome, Updated):
            return _update(text, outcome)
        case "CUSTOM":
            return objects.Result(text=text)


def _status(text: str, seen: Reported | None) -> objects.StatusResult:
    if seen is None:
        return objects.StatusResult(
            text=text,
            incident_id=None,
            title=None,
            status=None,
            severity=None,
            priority=None,
            assigned_to_username=None,
            sla=None,
            oncall=None,
            confirmed_at=None,
        )
    return objects.StatusResult(
        text=text,
        incident_id=seen.incident_id,
        title=clean(seen.title),
        status=clean(seen.status),
        severity=clean(seen.severity),
        priority=_said(seen.priority),
        assigned_to_username=_said(seen.assignee),
        sla=None
        if seen.deadlines is None
        else [
            objects.SlaTarget(
                name=clean(one.name),
                sla_type=_said(one.kind),
                status=clean(one.status),
                target_time=moment(one.target_ms),
            )
            for one in seen.deadlines
        ],
        oncall=None
        if seen.on_call is None
        else [
            objects.OnDuty(rotation_name=clean(one.rotation), username=clean(one.username)) for one in seen.on_call
        ],
        confirmed_at=moment(seen.confirmed_ms),
    )


def _runbook(text: str, run: RunbookRun | None) -> objects.RunbookResult:
    return objects.RunbookResult(
        text=text,
        runbook_id=None if run is None else run.runbook_id,
        runbook_name=None if run is None else clean(run.name),
        execution_id=None if run is None else run.execution_id or None,
        status=None if run is None else run.state,
        current_step=None if run is None else run.step,
        total_steps=None if run is None else run.total or None,
    )


def _escalate(text: str, made: Escalated | None) -> objects.EscalateResult:
    notified = None if made is None else made.notified
    return objects.EscalateResult(
        text=text,
        escalation_id=None if made is None else made.id,
        level=None if made is None else made.level,
        notified=None if notified is None else [clean(name) for name in notified],
    )


def _assign(text: str, made: Assigned | None) -> objects.AssignResult:
    return objects.AssignResult(
        text=text,
        assigned_to_username=None if made is None else clean(made.assignee),
        previous_username=None if made is None else _said(made.previous),
    )


def _update(text: str, made: Updated | None) -> objects.UpdateResult:
    return objects.UpdateResult(
        text=text,
        field=None if made is None else made.field,
        old=None if made is None else _said(made.old),
        new=None if made is None else clean(made.new),
    )


def _said(text: str | None) -> str | None:
    return clean(text) if text else None

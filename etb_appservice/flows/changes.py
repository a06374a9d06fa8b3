"""What commands share that change an incident's status or severity: words, the look before, what is said after.

A word that ETB may know and we don't is sent all the same: ETB decides, and its refusal is shown with the words
that we know. What stands already is not asked for again.
"""

from collections.abc import Sequence
from typing import Literal

from etb_appservice.domain.effects import ChangeIncident, DeclareIncident, EtbEffect
from etb_appservice.domain.incident import SEVERITIES, Incident
from etb_appservice.domain.results import Updated
from etb_appservice.domain.text import plain
from etb_appservice.domain.vocabulary import LONGEST_WORD, STATUSES, nearest_word, written
from etb_appservice.flows.call import Call
from etb_appservice.flows.commands import Answer, Asking, Reply, answered
from etb_appservice.flows.grammar import UsageError
from etb_appservice.flows.raising import SURE, raised_by_severity


async def look(asking: Asking) -> Incident | None:
    """The incident as ETB has it now; None when ETB didn't answer."""
    return await answered(asking, asking.etb.incident(asking.incident_id), _same)


def word(typed: str, what: str) -> str:
    """A status or severity as ETB spells such words; UsageError when it can be none."""
    found = written(typed)
    if not found or len(found) > LONGEST_WORD:
        raise UsageError(f"That is no {what}.")
    return found


async def set_status(call: Call, status: str) -> Answer:
    """Ask ETB for a status, unless it has it."""
    before = call.before
    if isinstance(before, Incident) and before.status == status:
        outcome = Updated(field="status", old=status, new=status)
        return Answer(f"The status is **{plain(status)}** already; nothing was changed.", outcome=outcome)
    return await call.etb(ChangeIncident(incident_id=call.incident_id, status=status))


async def set_severity(call: Call, severity: str) -> Answer:
    """Ask ETB for a severity, unless it has it; who would lose access by it is shown before."""
    before = call.before
    if isinstance(before, Incident) and before.severity == severity:
        outcome = Updated(field="severity", old=severity, new=severity)
        return Answer(f"The severity is **{plain(severity)}** already; nothing was changed.", outcome=outcome)
    plan = "" if SURE in call.learned else await raised_by_severity(call, severity)
    if plan:
        return await call.ask(
            f"By the configuration this severity would {plan}\n\nDo it? Answer `yes` or `no`.",
            wanted=SURE,
            asks_yes=True,
        )
    return await call.etb(ChangeIncident(incident_id=call.incident_id, severity=severity))


async def told(reply: Reply) -> Answer:
    """What changed, old and new, as ETB answered."""
    effect, found = reply.effect, reply.done.found
    what: Literal["status", "severity"]
    what = "severity" if isinstance(effect, ChangeIncident) and effect.severity else "status"
    before, after = found.get(f"old_{what}", ""), found.get(what, "")
    outcome = Updated(field=what, old=before or None, new=after)
    if before == after:
        return Answer(f"The {what} was **{plain(after)}** already; nothing was changed.", outcome=outcome)
    was = f" (was {plain(before)})" if before else ""
    return Answer(f"{what.capitalize()}: **{plain(after)}**{was}.", outcome=outcome)


def hint(effect: EtbEffect) -> str:
    """The words that we know, where ETB refuses one that we don't."""
    match effect:
        case ChangeIncident(status=str() as status):
            return _known(status, "Statuses", STATUSES)
        case ChangeIncident(severity=str() as severity) | DeclareIncident(severity=severity):
            return _known(severity, "Severities", SEVERITIES)
        case _:
            return ""


def _known(typed: str, what: str, words: Sequence[str]) -> str:
    if typed in words:
        return ""
    close = nearest_word(typed, words)
    meant = f"Did you mean `{close}`? " if close else ""
    return f"{meant}{what} that I know: {', '.join(f'`{one}`' for one in words)}."


def _same(incident: Incident) -> Incident:
    return incident

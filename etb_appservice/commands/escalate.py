"""`escalate`: the next level is told."""

from dataclasses import dataclass

from etb_appservice.domain.clearance import Right
from etb_appservice.domain.drills import is_drill
from etb_appservice.domain.duty import Sla
from etb_appservice.domain.effects import TriggerEscalation
from etb_appservice.domain.results import Escalated
from etb_appservice.domain.text import code, plain
from etb_appservice.flows.call import Call
from etb_appservice.flows.commands import INCIDENT, Answer, Asking, Reply, answered, command
from etb_appservice.flows.grammar import Rest


@dataclass(frozen=True, slots=True)
class Bound:
    """The policy that the incident's running SLA names; empty: none, then ETB chooses."""

    policy_id: str


async def find_policy(asking: Asking) -> Bound | None:
    """By docs/etb-contract.md 8.5: the policy bound to the active SLA instance, the one that is due first."""
    return await answered(asking, asking.etb.slas(asking.incident_id), _bound)


def _bound(slas: tuple[Sla, ...]) -> Bound:
    return Bound(next((one.policy_id for one in slas if one.status == "ACTIVE" and one.policy_id), ""))


async def told(reply: Reply) -> Answer:
    """The level, and whom ETB has told."""
    found = reply.done.found
    level, told_of = found.get("level", ""), found.get("notified")
    notified = tuple(name for one in (told_of or "").split(",") if (name := one.strip()))
    outcome = Escalated(
        id=found.get("id") or None,
        level=int(level) if level.isdecimal() else None,
        notified=None if told_of is None else notified,
    )
    names = ", ".join(code(name) for name in notified)
    people = f"ETB told {names}." if names else "ETB names nobody whom it has told yet."
    return Answer(f"Escalated{f' to level **{plain(level)}**' if level else ''}. {people}", outcome=outcome)


@command(
    needs=Right.RESPONDER,
    where=INCIDENT,
    prepare=find_policy,
    then=told,
    example="escalate database won't come up",
)
async def escalate(call: Call, reason: Rest | None = None) -> Answer:
    """Start an escalation in ETB, and say who was told."""
    if is_drill((await call.known()).incident, call.policy):
        return Answer("This is a drill: nobody outside is called, so nothing is escalated in ETB.", "FAILED")
    why = " ".join(reason.split()) if reason else "No reason was given."
    return await call.etb(
        TriggerEscalation(
            incident_id=call.incident_id,
            reason=f"{why} (asked for by {call.name} in the incident's room)",
            ref=call.run_id,
            policy_id=call.before.policy_id if isinstance(call.before, Bound) else "",
        )
    )

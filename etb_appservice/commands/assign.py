"""`assign`: who works on the incident."""

from etb_appservice.domain.clearance import Right
from etb_appservice.domain.effects import ChangeIncident
from etb_appservice.domain.ids import Username
from etb_appservice.domain.results import Assigned
from etb_appservice.domain.text import code
from etb_appservice.flows.call import Call
from etb_appservice.flows.commands import INCIDENT, Answer, Asking, Reply, command
from etb_appservice.flows.grammar import Person, person
from etb_appservice.flows.named import Found, look_up


async def ask_etb(asking: Asking) -> Found | None:
    """Who they are."""
    return await look_up(asking, asking.arguments["username"])


async def told(reply: Reply) -> Answer:
    """Who it was, and who it is."""
    found = reply.done.found
    before, after = found.get("old_assignee"), found.get("assignee", "")
    outcome = Assigned(assignee=Username(after), previous=Username(before) if before else None)
    if before == after:
        return Answer(f"{code(after)} was assigned already.", outcome=outcome)
    was = "" if before is None else f" (was {code(before) if before else 'nobody'})"
    return Answer(f"Assigned to {code(after)}{was}.", outcome=outcome)


@command(needs=Right.RESPONDER, where=INCIDENT, prepare=ask_etb, then=told, example="assign bob")
async def assign(call: Call, username: Person) -> Answer:
    """Assign the incident to somebody, by ETB username or Matrix id.

    Whoever becomes assignee is invited to this room at once.
    """
    name: Username = person(call.policy, username)
    if isinstance(call.before, Found):
        if call.before.user is None:
            return Answer(f"ETB knows no user {code(name)}.", "FAILED")
        if not call.before.user.is_active:
            return Answer(f"The ETB account of {code(name)} is not active.", "FAILED")
    return await call.etb(ChangeIncident(incident_id=call.incident_id, assignee=name))

"""`resolve`: it is solved."""

from etb_appservice.domain.clearance import Right
from etb_appservice.flows.call import Call
from etb_appservice.flows.changes import look, set_status, told
from etb_appservice.flows.commands import INCIDENT, Answer, command


@command(needs=Right.RESPONDER, where=INCIDENT, prepare=look, then=told)
async def resolve(call: Call) -> Answer:
    """Set the incident's status to RESOLVED in ETB."""
    return await set_status(call, "RESOLVED")

"""`reopen`: it isn't solved after all."""

from etb_appservice.domain.clearance import Right
from etb_appservice.domain.incident import Incident
from etb_appservice.domain.text import plain
from etb_appservice.flows.changes import look, set_status, told
from etb_appservice.flows.commands import INCIDENT, Answer, Call, command


@command(needs=Right.RESPONDER, where=INCIDENT, prepare=look, then=told)
async def reopen(call: Call) -> Answer:
    """Set the status of an incident that was resolved, closed or cancelled back to OPEN in ETB."""
    before = call.before
    if isinstance(before, Incident) and before.is_open:
        return Answer(f"The incident is open: its status is **{plain(before.status)}**; nothing was changed.")
    return await set_status(call, "OPEN")

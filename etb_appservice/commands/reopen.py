"""`reopen`: it isn't solved after all."""

from etb_appservice.domain.clearance import Right
from etb_appservice.domain.incident import Incident
from etb_appservice.domain.text import plain
from etb_appservice.flows.call import Call
from etb_appservice.flows.changes import look, set_status, told
from etb_appservice.flows.commands import CONTROL, DIRECT, INCIDENT, Answer, Asking, command
from etb_appservice.flows.grammar import UsageError
from etb_appservice.flows.reopening import OPEN, reopen_elsewhere


async def look_here(asking: Asking) -> Incident | None:
    """The incident whose room this is, as ETB has it now."""
    return await look(asking) if asking.room.incident_id is not None else None


@command(
    needs=Right.MEMBER, where=INCIDENT | CONTROL | DIRECT, prepare=look_here, then=told, example="reopen INC-1042"
)
async def reopen(call: Call, number: str | None = None) -> Answer:
    """Set the status of an incident that was resolved, closed or cancelled back to OPEN in ETB.

    This needs the role responder of the incident. Where its room can't be written in any more, send it to the bot
    alone, with the incident's number; operators send it in the control room.
    """
    if call.room.kind != "incident":
        if number is None:
            raise UsageError("`number` is missing: which incident is to be reopened?")
        return await reopen_elsewhere(call, number)
    decision = call.may(Right.RESPONDER)
    if not decision.allowed:
        return Answer(decision.reason, "REFUSED")
    if number is not None and not (await call.known()).incident.is_called(number):
        raise UsageError("Here only the incident of this room can be reopened. Send that to me alone.")
    before = call.before
    if isinstance(before, Incident) and before.is_open:
        return Answer(f"The incident is open: its status is **{plain(before.status)}**; nothing was changed.")
    return await set_status(call, OPEN)

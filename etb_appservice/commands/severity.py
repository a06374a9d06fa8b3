"""`severity`: how bad it is."""

from etb_appservice.domain.clearance import Right
from etb_appservice.flows.call import Call
from etb_appservice.flows.changes import hint, look, set_severity, told, word
from etb_appservice.flows.commands import INCIDENT, Answer, command
from etb_appservice.flows.grammar import Rest


@command(needs=Right.RESPONDER, where=INCIDENT, prepare=look, then=told, hint=hint, example="severity critical")
async def severity(call: Call, level: Rest) -> Answer:
    """Change the incident's severity in ETB.

    Any case will do. Where the configuration makes a severity confidential, the room follows.
    """
    return await set_severity(call, word(level, "severity"))

"""`update status`: how far the incident is."""

from typing import Literal

from etb_appservice.domain.clearance import Right
from etb_appservice.flows.call import Call
from etb_appservice.flows.changes import hint, look, set_status, told, word
from etb_appservice.flows.commands import INCIDENT, Answer, command
from etb_appservice.flows.grammar import Rest


@command(
    needs=Right.RESPONDER, where=INCIDENT, prepare=look, then=told, hint=hint, example="update status in progress"
)
async def update(call: Call, field: Literal["status"], value: Rest) -> Answer:
    """Change the incident's status in ETB.

    Any case will do, with spaces or hyphens for underscores. ETB decides which statuses it knows, and which may
    follow which.
    """
    return await set_status(call, word(value, field))

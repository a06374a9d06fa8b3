"""`roles`: who does what."""

from etb_appservice.domain.clearance import Right
from etb_appservice.flows.call import Call
from etb_appservice.flows.commands import INCIDENT, Answer, command
from etb_appservice.flows.roles import listed


@command(needs=Right.MEMBER, where=INCIDENT, example="roles", reads_only=True)
async def roles(call: Call) -> Answer:
    """List the roles of this incident and who holds them."""
    return Answer(await listed(call.work, call.room))

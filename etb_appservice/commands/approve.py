"""`approve` and `revoke`: the second pair of eyes."""

from etb_appservice.domain.clearance import Right
from etb_appservice.flows import approvals
from etb_appservice.flows.call import Call
from etb_appservice.flows.commands import CONTROL, DIRECT, INCIDENT, Answer, command


@command(needs=Right.WITNESS, where=INCIDENT | CONTROL | DIRECT, example="approve K7QF")
async def approve(call: Call, code: str) -> Answer:
    """Approve what somebody else has asked for, by the code that stands in the request.

    Counts only from a device that you have verified, from people with the role that the request names, and never
    from whoever asked. A reaction approves nothing. A request for break-glass can be approved from any room with
    the bot in it, by the other of its two roles.
    """
    return Answer(*await approvals.approve(call.turn, call.room, call.actor, code, call.policy))


@command(needs=Right.WITNESS, where=INCIDENT | CONTROL | DIRECT, example="revoke K7QF")
async def revoke(call: Call, code: str) -> Answer:
    """Take your approval back, or withdraw what you asked to have approved, until it runs."""
    return Answer(*await approvals.revoke(call.turn, call.room, call.actor, code, call.policy))

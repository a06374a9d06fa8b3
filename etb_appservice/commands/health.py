"""`health`: how the service does."""

from etb_appservice.domain.clearance import Right
from etb_appservice.flows.call import Call
from etb_appservice.flows.commands import CONTROL, Answer, command


@command(needs=Right.OPERATOR, where=CONTROL, reads_only=True)
async def health(call: Call) -> Answer:
    """Show how every part of the service does."""
    now = call.turn.now_ms
    ready, parked, age_s = await call.work.inbox.depth(now)
    queued, set_aside, oldest_s = await call.work.outbox.depth(now)
    vitals = call.vitals.look()
    ill = [vital.name for vital in vitals if not vital.is_well]
    lines = [
        f"**{'Not well: ' + ', '.join(ill) if ill else 'All is well.'}**",
        "",
        *(f"- {'✅' if vital.is_well else '❌'} {vital.name}: {vital.text}" for vital in vitals),
        f"- Inbox: {ready} waiting (oldest {age_s:.0f} s), {parked} parked",
        f"- Outbox: {queued} waiting (oldest {oldest_s:.0f} s), {set_aside} parked",
    ]
    return Answer("\n".join(lines))

"""`oncall`: who is on call now."""

from dataclasses import dataclass

from etb_appservice.domain.clearance import Right
from etb_appservice.domain.ids import Username
from etb_appservice.domain.incident import OnCall
from etb_appservice.domain.text import code, lasting, plain
from etb_appservice.flows.call import NOT_FOR_PARTNERS, Call
from etb_appservice.flows.commands import EVERYWHERE, Answer, Asking, answered, command


@dataclass(frozen=True, slots=True)
class Rows:
    """Everybody on call as ETB has it."""

    every: tuple[OnCall, ...]


async def look(asking: Asking) -> Rows | None:
    """Who is on call; None when ETB didn't answer."""
    return await answered(asking, asking.etb.on_call(), Rows)


@command(needs=Right.MEMBER, where=EVERYWHERE, prepare=look, reads_only=True)
async def oncall(call: Call) -> Answer:
    """Show who is on call in each rotation, now."""
    if call.actor.partner:
        return Answer(NOT_FOR_PARTNERS, "REFUSED")
    old = ""
    if isinstance(call.before, Rows):
        every = call.before.every
    else:
        remembered = await call.work.incidents.on_call()
        if remembered is None:
            return Answer("ETB can't be reached, and I don't know who is on call.", "FAILED", is_outside=True)
        every = tuple(remembered[0])
        age = lasting((call.turn.now_ms - remembered[1]) / 1000)
        old = f"\n\nETB can't be reached; this is what it said {age} ago."
    if not every:
        return Answer(f"Nobody is on call.{old}")
    rotations: dict[str, list[str]] = {}
    for one in every:
        rotations.setdefault(one.rotation, []).append(_who(call, one.username))
    lines = [f"- {plain(name)}: {', '.join(people)}" for name, people in rotations.items()]
    return Answer("\n".join(["**On call**", "", *lines]) + old)


def _who(call: Call, username: Username) -> str:
    user_id = call.policy.people.user_id(username)
    return f"{code(username)} ({code(user_id) if user_id else 'no Matrix account here'})"

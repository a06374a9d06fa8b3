"""`queue`: what is parked, and what to do with it."""

import re
from typing import Literal

from etb_appservice.domain.clearance import Right
from etb_appservice.domain.text import plain
from etb_appservice.flows.call import Call
from etb_appservice.flows.commands import CONTROL, Answer, command
from etb_appservice.flows.grammar import UsageError
from etb_appservice.ports import Inbox, Outbox

_MOST = 30


@command(needs=Right.OPERATOR, where=CONTROL, example="queue retry o12")
async def queue(call: Call, action: Literal["retry", "drop"] | None = None, row: str | None = None) -> Answer:
    """Show what is parked; `retry` or `drop` one row of it.

    Rows of what came in begin with `i`, rows of what should go out with `o`. A row whose outcome is unknown may
    have taken effect: look on the other side before you retry it.
    """
    if action is None:
        return await _listed(call)
    side, number = _read(row)
    queue_of: Inbox | Outbox = call.work.inbox if side == "i" else call.work.outbox
    found = await (queue_of.retry(number) if action == "retry" else queue_of.drop(number))
    if not found:
        return Answer(f"There is no parked row `{side}{number}`. `queue` lists those there are.", "FAILED")
    call.turn.looks_around = True
    await call.turn.note(
        f"queue.{action}", actor=call.actor.user_id, subject=f"{side}{number}", details={"row": number}
    )
    return Answer(f"`{side}{number}` {'is tried again' if action == 'retry' else 'was dropped'}.")


async def _listed(call: Call) -> Answer:
    now = call.turn.now_ms
    lines = [
        f"- `i{row.seq}` from {row.source}, {_age(now - row.received_ms)} old, {row.attempts} tries: "
        f"{plain(row.error)}"
        for row in await call.work.inbox.parked()
    ] + [
        f"- `o{row.seq}` {row.kind}, {_age(now - row.created_ms)} old, {row.attempts} tries"
        f"{', outcome unknown' if row.state == 'unknown' else ''}: {plain(row.error)}"
        for row in await call.work.outbox.parked()
    ]
    if not lines:
        return Answer("Nothing is parked.")
    more = [f"… and {len(lines) - _MOST} more."] if len(lines) > _MOST else []
    return Answer("\n".join([f"**{len(lines)} parked**", "", *lines[:_MOST], "", *more]).rstrip())


def _read(row: str | None) -> tuple[str, int]:
    if row is None or not re.fullmatch(r"[io][0-9]{1,18}", row):
        raise UsageError("`row` is a row of the list, such as `i12` or `o7`.")
    return row[0], int(row[1:])


def _age(ms: int) -> str:
    return f"{ms // 60_000} min" if ms >= 60_000 else f"{ms // 1000} s"  # noqa: PLR2004 - a minute

"""What comes before that which it is about: an event that the homeserver lost and was fetched later, a late key.

    an edit, a reaction, a vote, a poll's end ─► what it is about is here ─► decided
                                              └► is not ─► CameTooEarly, after 2 s, 30 s, 5 min and an hour

Whatever was taken back meanwhile is not decided any more (marks.withdrawn). Nobody says whether there ever was
what somebody names: after an hour it is let go.
"""

from etb_appservice.domain.facts import CameTooEarly, Early
from etb_appservice.flows.turn import Turn

_LOOKS_S = (2, 30, 300, 3600)
"""After its coming, then each after the look before."""


async def look_later(turn: Turn, what: Early, before: CameTooEarly | None = None) -> None:
    """What it is about isn't here; `before`: the look that has just found so."""
    looks = before.looks if before is not None else 0
    if looks == len(_LOOKS_S):
        return
    came_ms = before.came_ms if before is not None else turn.received_ms or turn.now_ms
    again = CameTooEarly(
        room_id=what.room_id,
        event_id=what.event_id,
        sender=what.sender,
        origin_ms=what.origin_ms,
        what=what,
        came_ms=came_ms,
        looks=looks + 1,
    )
    due_ms = max(turn.now_ms, came_ms) + _LOOKS_S[looks] * 1000
    await turn.follow(again, ("too early", what.event_id, str(looks)), due_ms=due_ms)


async def is_wanted(turn: Turn, before: CameTooEarly | None) -> bool:
    """Whether it may be decided now: at once, or as it was not taken back since it came too early. Once."""
    return before is None or await turn.work.once.first_time("withdrawn", before.event_id)

"""Lets members pin in rooms that were made when only operators could. Each room is asked for once.

    service started ─► PinnersDue, a batch of rooms at a time ─► LetMembersPin, where it wasn't asked for before

A level that somebody has changed is left as it is, and whoever changes it back later is not fought.
"""

from etb_appservice.domain.effects import LetMembersPin
from etb_appservice.domain.facts import PinnersDue
from etb_appservice.flows.turn import SERVICE_LANE, Turn

_BATCH = 500


async def let_members_pin(turn: Turn, after: str = "") -> None:
    """Rooms behind `after`, and the next batch by a fact of its own."""
    rooms = sorted(
        (one.war_room, one.room_id)
        for one in await turn.work.rooms.all_current()
        if one.room_id is not None and one.war_room > after and one.kind in {"incident", "control", "direct"}
    )
    for _, room_id in rooms[:_BATCH]:
        if await turn.work.once.first_time("members pin", room_id):
            await turn.emit(f"pinners/{room_id}", LetMembersPin(room_id=room_id))
    if len(rooms) > _BATCH:
        after = rooms[_BATCH - 1][0]
        await turn.follow(PinnersDue(after=after), ("pinners", turn.ref), lane=SERVICE_LANE)

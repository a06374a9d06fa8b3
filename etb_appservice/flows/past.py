"""What of a room's past somebody may know: what was said while its level was above their clearance stays hidden.

A room's levels are in its record (domain/past). Of a time that this record doesn't reach nothing is shown to
anybody who isn't cleared for everything.
"""

from dataclasses import dataclass

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.past import Levels, Span
from etb_appservice.ports import Message, Room, Work


@dataclass(frozen=True, slots=True)
class Past:
    """The levels of one room."""

    levels: Levels | None
    """None for a room that is older than such records: then its level of now counts."""
    now: Classification

    def level(self, message: Message) -> Classification:
        """The highest of the room from when a message came until it could be read; unknown is the highest."""
        return self.between(message.received_ms, message.decided_ms)

    def between(self, from_ms: int, to_ms: int) -> Classification:
        """The same of any time."""
        if self.levels is None:
            return self.now
        found = self.levels.highest(min(from_ms, to_ms), to_ms)
        return Classification.TOP_SECRET if found is None else found

    def hidden(self, up_to: Classification) -> tuple[Span, ...]:
        """The times of which somebody who is cleared so far may know nothing."""
        return () if self.levels is None else self.levels.above(up_to)


async def past_of(work: Work, room: Room) -> Past:
    """Read it."""
    return Past(await work.cases.get(room.war_room, Levels, Levels().id), room.classification)

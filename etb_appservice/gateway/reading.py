"""Which messages a caller may read, and a search through the latest of them.

Texts are sealed, so whatever asks for more than a place in the conversation opens messages one by one: the latest
SCAN, and the answer says where it stopped.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.ids import IncidentId
from etb_appservice.flows.past import Past, past_of
from etb_appservice.gateway.callers import Caller
from etb_appservice.gateway.doors import Sight
from etb_appservice.gateway.gate import Gate
from etb_appservice.ports import Hidden, Message, Work

SCAN = 5000
_BATCH = 500


@dataclass(frozen=True, slots=True)
class Found:
    """Oldest first. `stopped_ms`: when the oldest message came that was looked at, where there are older ones."""

    messages: Sequence[Message]
    stopped_ms: int | None = None


def up_to(sight: Sight) -> Classification:
    """How far the caller may know."""
    return sight.permission.up_to or Classification.PUBLIC


def may_read(past: Past, sight: Sight, message: Message) -> bool:
    """Whether it was said at a level that the caller's clearance reaches."""
    return past.level(message) <= up_to(sight)


async def visible_of(
    gate: Gate, caller: Caller, war_room: UUID | None, incident: UUID | None
) -> dict[IncidentId, Sight]:
    """The war rooms that the caller may enter, or of these the one that is asked about, by incident."""
    return {
        one.incident_id: one
        for one in await gate.doors.visible(caller)
        if war_room in {None, UUID(one.room.war_room)} and incident in {None, UUID(one.incident_id)}
    }


async def hidden_from(work: Work, sights: Iterable[Sight]) -> Hidden:
    """Of which times of which war rooms the caller may know nothing."""
    found = {one.incident_id: (await past_of(work, one.room)).hidden(up_to(one)) for one in sights}
    return {lane: spans for lane, spans in found.items() if spans}


async def readable(work: Work, sight: Sight, keep: Callable[[Message], bool]) -> Found:
    """Those of the latest messages that the caller may read and `keep` wants."""
    hidden = await hidden_from(work, [sight])
    found: list[Message] = []
    before: int | None = None
    oldest: Message | None = None
    for _ in range(SCAN // _BATCH):
        batch = await work.messages.latest(sight.incident_id, before, _BATCH, hidden=hidden)
        found += [one for one in batch if keep(one)]
        if len(batch) < _BATCH:
            return Found(found[::-1])
        oldest = batch[-1]
        before = oldest.position
    is_all = before is not None and not await work.messages.latest(sight.incident_id, before, 1, hidden=hidden)
    return Found(found[::-1], None if is_all or oldest is None else oldest.received_ms)

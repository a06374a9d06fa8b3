"""What is pinned in a war room, and what becomes of it when somebody sets the room's state. Pure.

    the state as set ─► shown ─┬► what one pin or unpin can have meant: it stands
                               └► what it can't have meant, or its setter may not do ─► the state is to be mended

Whoever pins writes the whole list, over one that they may not have seen yet: Matrix has no compare-and-set. A
client adds one event or takes one away. A list that differs in more was written over another one, so what is fresh
of that difference is kept (pins) or left out (what was unpinned). What the bot writes follows the record, so that
all of a difference is the room's. The card is the bot's: nobody takes it away.

All of it is stored sealed, so new fields get a default.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from etb_appservice.domain.conversation import Person
from etb_appservice.domain.ids import NOBODY, EventId, RoomId, UserId, Username

PINS = "pins"
"""The id of a war room's one entry."""
MOST_PINS = 100
FRESH_MS = 10_000
"""For how long a pin may be unknown to a client that pins something else."""
_UNDER_WAY_MS = 3_600_000
_MOST_GONE = 1000

Setter = Literal["service", "member", "nobody"]
"""Who set a state: the bot; somebody who may be there; somebody who may not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pinned:
    """A pinned message and who pinned it."""

    event_id: EventId
    user_id: UserId
    username: Username = NOBODY
    at_ms: int
    is_settled: bool = True
    """False until the room's state has shown it: an older state that lacks it doesn't take it away."""
    settled_ms: int = 0
    """When the room's state first showed it, which may be long after it was pinned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gone:
    """What is pinned no longer."""

    event_id: EventId
    at_ms: int
    """Since when, and once it is settled, since when the room knows."""
    is_settled: bool = True
    """False until the room's state was without it: an older state that has it doesn't bring it back."""
    is_asked: bool = False
    """On ETB's pages: not settled before the bot has done it, whatever members set meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PinsShown:
    """The room's state as somebody has set it."""

    room_id: RoomId
    events: Sequence[EventId]
    by: Person
    at_ms: int
    setter: Setter = "member"
    card: EventId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pins:
    """What is pinned in a war room, in the room's order."""

    kind: Literal["Pins"] = "Pins"
    id: str = PINS
    pinned: tuple[Pinned, ...] = ()
    is_open: bool = True
    gone: tuple[Gone, ...] = ()
    """Of late, the latest last."""
    room_id: RoomId | None = None
    """The room whose state was seen last; a room that replaces it begins anew."""

    def of(self, event_id: EventId) -> Pinned | None:
        """The pin of a message."""
        return next((one for one in self.pinned if one.event_id == event_id), None)

    def with_pin(self, pin: Pinned) -> "Pins":
        """One more; who has pinned it first stays named."""
        if self.of(pin.event_id):
            return self
        gone = tuple(one for one in self.gone if one.event_id != pin.event_id)
        return replace(self, pinned=(*self.pinned, pin), gone=gone)

    def without(self, event_id: EventId, now_ms: int) -> "Pins":
        """It is pinned no longer, as soon as the room knows."""
        kept = tuple(one for one in self.pinned if one.event_id != event_id)
        gone = Gone(event_id=event_id, at_ms=now_ms, is_settled=False, is_asked=True)
        return replace(self, pinned=kept, gone=(*self.gone, gone))

    def done(self, event_id: EventId, now_ms: int) -> "Pins":
        """What was asked for is done, also where there was nothing to do and so no state to be shown."""
        gone = (
            replace(one, is_settled=True, at_ms=now_ms) if one.event_id == event_id and not one.is_settled else one
            for one in self.gone
        )
        return replace(self, gone=tuple(gone))

    def naming(self, before: EventId, event_id: EventId) -> "Pins":
        """The event of a pinned message, or of one that was, is known by now."""
        named = (replace(one, event_id=event_id) if one.event_id == before else one for one in self.pinned)
        gone = (replace(one, event_id=event_id) if one.event_id == before else one for one in self.gone)
        return replace(self, pinned=tuple(named), gone=tuple(gone))

    def shown(self, state: PinsShown) -> tuple["Pins", bool]:
        """After the room has shown a state; and whether the state is to be mended.

        What was pinned before keeps who and when.
        """
        is_here = self.room_id in {None, state.room_id}
        before = {one.event_id: one for one in self.pinned if is_here or not one.is_settled}
        gone = {one.event_id: one for one in self.gone}
        events = dict.fromkeys(state.events)
        under_way = {one for one in events if one not in before and one in gone and not gone[one].is_settled}
        added = [one for one in events if one not in before and one not in under_way]
        missing = [one for one in before.values() if one.is_settled and one.event_id not in events]
        # The room showed these against the record: whoever's list lacks one has changed that as well.
        lacked = [one for one in gone.values() if not (one.is_settled or one.is_asked or one.event_id in events)]
        is_torn = len(added) + len(missing) + len(lacked) > 1
        kept = {one.event_id for one in missing if _stays(one, state, is_torn=is_torn)}
        undone = {one for one in added if one != state.card and _is_undone(gone.get(one), state, is_torn=is_torn)}
        room = MOST_PINS - sum(one in before for one in events)
        new = [one for one in added if one not in undone and one != state.card]
        undone |= set(new[max(room, 0) :])
        pinned = [
            _settled(before[one], state.at_ms)
            if one in before
            else Pinned(event_id=one, user_id=state.by.user_id, username=state.by.username, at_ms=state.at_ms)
            for one in events
            if one not in under_way and one not in undone
        ]
        waits = {one.event_id for one in before.values() if not one.is_settled} - events.keys()
        for place, one in enumerate(before.values()):
            if one.event_id in kept or (one.event_id in waits and one.event_id == state.card):
                pinned.insert(place, replace(one, is_settled=False))
            elif one.event_id in waits:
                pinned.append(one)
        left = [one for one in missing if one.event_id not in kept]
        return replace(
            self,
            pinned=tuple(pinned),
            gone=_gone(gone, state, [one.event_id for one in left], undone, pinned),
            room_id=state.room_id,
        ), bool(kept or undone)


def _settled(pin: Pinned, at_ms: int) -> Pinned:
    return pin if pin.is_settled else replace(pin, is_settled=True, settled_ms=at_ms)


def _stays(pin: Pinned, state: PinsShown, *, is_torn: bool) -> bool:
    """Whether a pin that a state lacks is kept."""
    if pin.event_id == state.card:
        return True
    match state.setter:
        case "service":
            return pin.user_id != state.by.user_id  # a card that was replaced
        case "member":
            return is_torn and state.at_ms - max(pin.at_ms, pin.settled_ms) < FRESH_MS
        case "nobody":
            return True


def _is_undone(gone: Gone | None, state: PinsShown, *, is_torn: bool) -> bool:
    """Whether a pin that a state has anew is taken away again."""
    match state.setter:
        case "service":
            return gone is not None  # pinned on ETB's pages and unpinned before its turn came
        case "member":
            if gone is None:
                return False
            # A list that is older than what took it away can't mean it, alone or not.
            return state.at_ms < gone.at_ms or (is_torn and state.at_ms - gone.at_ms < FRESH_MS)
        case "nobody":
            return True


def _gone(
    before: dict[EventId, Gone],
    state: PinsShown,
    left: Sequence[EventId],
    undone: set[EventId],
    pinned: Sequence[Pinned],
) -> tuple[Gone, ...]:
    """What is gone after a state was shown, without what that was so long ago that it no longer counts."""
    stands, events, now_ms = {one.event_id for one in pinned}, dict.fromkeys(state.events), state.at_ms

    def waits(one: Gone) -> bool:
        return one.event_id in events or (one.is_asked and state.setter != "service")

    found = {
        name: one if one.is_settled or waits(one) else replace(one, is_settled=True, at_ms=now_ms)
        for name, one in before.items()
        if name not in stands
    }
    found |= {one: Gone(event_id=one, at_ms=now_ms) for one in left}
    found |= {one: Gone(event_id=one, at_ms=now_ms, is_settled=False) for one in events if one in undone}
    lasting = (one for one in found.values() if now_ms - one.at_ms < _UNDER_WAY_MS)
    return tuple(lasting)[-_MOST_GONE:]

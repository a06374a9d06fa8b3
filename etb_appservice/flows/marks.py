"""What people put on messages: reactions and pins, as the record shows them.

    ReactionReceived ─► with its message, once per Matrix id and emoji ─► ReactionChanged
                     └► its message isn't there yet ─► looked at again (early.py)
    EventRedacted (the reaction) ─► it goes ─► ReactionChanged
    PinsSet ─► the case's Pins, in the room's order; whoever pinned first stays named ─► MessagePinned
             └► over what its setter hadn't seen, without the card, by who may not: PinsDue ─► MendPins

None of it is encrypted or names a device: it is shown, and nothing counts by it. What our own ghosts do was
decided before it was sent; its echo changes nothing. What a reaction does besides, reactions.py decides.
"""

from dataclasses import replace

from etb_appservice.domain.conversation import Reacted
from etb_appservice.domain.effects import MendPins
from etb_appservice.domain.facts import CameTooEarly, EventRedacted, PinsDue, PinsSet, ReactionReceived
from etb_appservice.domain.ids import UserId, WarRoomId
from etb_appservice.domain.news import MessagePinned, ReactionChanged
from etb_appservice.domain.pins import PINS, Pins, PinsShown, Setter
from etb_appservice.domain.policy import Policy
from etb_appservice.flows.early import is_wanted, look_later
from etb_appservice.flows.permitted import PUT_OUT, permission
from etb_appservice.flows.record import person_of
from etb_appservice.flows.turn import Turn
from etb_appservice.ports import Room, Work, unsent

_MEND_EVERY_MS = 1_000
"""A room's pins are mended no more often, whatever is done to them."""
MOST_REACTIONS = 1000
"""On one message: a bound for what a stranger's server can make us keep."""


async def reacted(
    turn: Turn, room: Room, fact: ReactionReceived, policy: Policy, *, early: CameTooEarly | None = None
) -> None:
    """Somebody put an emoji on a message. `early`: it came before that."""
    emoji = fact.shown or fact.key
    if policy.is_ours(fact.sender) or await turn.work.messages.of_reaction(fact.event_id) is not None:
        return
    message = await turn.work.messages.by_event(fact.relates_to)
    if message is None:
        await look_later(turn, fact, early)
        return
    if not await is_wanted(turn, early):
        return
    who = person_of(fact.sender, policy)
    reaction = Reacted(
        emoji=emoji,
        user_id=who.user_id,
        username=who.username,
        event_id=fact.event_id,
        at_ms=turn.received_ms or turn.now_ms,
    )
    details = message.details.with_reaction(reaction)
    if message.state == "redacted" or details == message.details or len(details.reactions) > MOST_REACTIONS:
        return
    await turn.work.messages.put(replace(message, details=details))
    turn.tell(ReactionChanged(war_room=room.war_room, message_id=message.id, emoji=emoji, is_added=True, by=who))


async def withdrawn(turn: Turn, room: Room, fact: EventRedacted, policy: Policy) -> bool:
    """An event was taken away that may be a reaction; answers whether it was one."""
    message = await turn.work.messages.of_reaction(fact.redacts)
    if message is None:
        # One that is still awaited must not come after this.
        await turn.work.once.first_time("withdrawn", fact.redacts)
        return False
    gone = next((one for one in message.details.reactions if one.event_id == fact.redacts), None)
    if gone is not None:
        details = message.details.without_reaction(fact.redacts)
        await turn.work.messages.put(replace(message, details=details))
        turn.tell(
            ReactionChanged(
                war_room=room.war_room,
                message_id=message.id,
                emoji=gone.emoji,
                is_added=False,
                by=person_of(fact.sender, policy),
            )
        )
    return True


async def pins_of(work: Work, war_room: WarRoomId) -> Pins:
    """What is pinned in a war room; at first nothing."""
    return await work.cases.get(war_room, Pins, PINS) or Pins()


async def pins_set(turn: Turn, room: Room, fact: PinsSet, policy: Policy) -> None:
    """The room shows these as pinned. What its setter can't have meant, or may not do, is soon undone."""
    if not room.is_current:
        return
    by = person_of(fact.sender, policy)
    before = await pins_of(turn.work, room.war_room)
    state = PinsShown(
        room_id=fact.room_id,
        events=fact.pinned,
        by=by,
        at_ms=turn.received_ms or turn.now_ms,
        setter=await _setter(turn, room, fact.sender, policy),
        card=room.card_event,
    )
    now, is_to_be_mended = before.shown(state)
    if not policy.is_ours(fact.sender):
        await turn.note(
            "state.changed",
            actor=fact.sender,
            subject=fact.room_id,
            details={"type": "m.room.pinned_events", "event": fact.event_id, "mended": is_to_be_mended},
        )
    if is_to_be_mended:
        slot = turn.now_ms // _MEND_EVERY_MS + 1
        key = ("pins", room.war_room, str(slot))
        await turn.follow(PinsDue(war_room=room.war_room), key, due_ms=slot * _MEND_EVERY_MS)
    if now == before:
        return
    await turn.work.cases.put(room.war_room, now)
    was, stands = ({one.event_id: one for one in pins.pinned} for pins in (before, now))
    ids = await turn.work.messages.ids_of(was.keys() ^ stands.keys())
    turn.tell(
        *(
            MessagePinned(war_room=room.war_room, message_id=message_id, is_pinned=event_id in stands, by=by)
            for event_id, message_id in ids.items()
        )
    )


async def pins_due(turn: Turn, fact: PinsDue) -> None:
    """Have the room show what the record says; what it shows besides, nobody has decided about yet."""
    room = await turn.work.rooms.by_war_room(fact.war_room)
    pins = await pins_of(turn.work, fact.war_room)
    if room is None or room.room_id is None or pins.room_id != room.room_id:
        return
    wanted = tuple(one.event_id for one in pins.pinned if not one.event_id.startswith(unsent("")))
    gone = tuple(one.event_id for one in pins.gone if not one.is_settled)
    await turn.emit("pins", MendPins(room_id=room.room_id, pinned=wanted, gone=gone))


async def _setter(turn: Turn, room: Room, sender: UserId, policy: Policy) -> Setter:
    """For want of ETB's word nobody's pins are undone: an outage must not empty every list."""
    if policy.is_ours(sender):
        return "service"
    return "nobody" if (await permission(turn.work, room, sender, policy)).why in PUT_OUT else "member"

"""What web users put on messages: reactions and pins. One person is one, by their ghost and by their own account.

WebReacted ─► stands already? ─► nothing      else Reacted "~act" ─► React ─► deliveries.py names its event
└► withdrawn ─► all of that person's with this emoji go ─► Redact each that Matrix shows
WebPinned ─► the case's Pins ─► Pin, which the hands merge with what the room shows by then
"""

from dataclasses import replace

from etb_appservice.domain.conversation import Reacted, has_reacted
from etb_appservice.domain.effects import Pin, React, Redact
from etb_appservice.domain.emoji import MOST_EMOJI_BYTES, is_emoji
from etb_appservice.domain.ids import NOBODY
from etb_appservice.domain.news import MessagePinned, ReactionChanged
from etb_appservice.domain.pins import MOST_PINS, Pinned
from etb_appservice.domain.reactions import bare
from etb_appservice.domain.web import WebPinned, WebReacted
from etb_appservice.flows.marks import MOST_REACTIONS, pins_of
from etb_appservice.flows.visitor import No, Visitor
from etb_appservice.ports import Message, unsent


async def reacted(visitor: Visitor, fact: WebReacted) -> None:
    """Give or withdraw a reaction; what is so already is done."""
    if fact.is_added and not is_emoji(fact.emoji):
        detail = f"Send one emoji of at most {MOST_EMOJI_BYTES} bytes."
        raise No("validation_error", detail, field="emoji")
    message = await visitor.present(fact.message_id)
    stands = has_reacted(message.details.reactions, visitor.person, fact.emoji)
    if stands is fact.is_added:
        return
    if fact.is_added:
        await _add(visitor, message, fact.emoji)
    else:
        await visitor.not_held()
        await _withdraw(visitor, message, fact.emoji)


async def _add(visitor: Visitor, message: Message, emoji: str) -> None:
    turn = visitor.turn
    if len(message.details.reactions) >= MOST_REACTIONS:
        raise No("validation_error", f"At most {MOST_REACTIONS} reactions to a message.", field="emoji")
    reaction = Reacted(
        emoji=emoji,
        user_id=visitor.ghost,
        username=visitor.username,
        event_id=unsent(visitor.act),
        at_ms=turn.received_ms or turn.now_ms,
    )
    await turn.work.messages.put(replace(message, details=message.details.with_reaction(reaction)))
    _tell(visitor, message, emoji, is_added=True)
    react = React(room_id=visitor.room_id, event_id=message.event_id, emoji=emoji, speaker=visitor.username)
    await turn.emit_as(visitor.key("react", message.id), react)


async def _withdraw(visitor: Visitor, message: Message, emoji: str) -> None:
    turn, details = visitor.turn, message.details
    gone = [
        one for one in details.reactions if one.person.key == visitor.person.key and bare(one.emoji) == bare(emoji)
    ]
    for one in gone:
        details = details.without_reaction(one.event_id)
        if one.event_id.startswith(unsent("")):
            continue  # deliveries.py takes it away as soon as it is there
        # A ghost takes back only its own; what they gave by their own account the bot takes away.
        speaker = visitor.username if one.user_id == visitor.ghost else NOBODY
        redact = Redact(room_id=visitor.room_id, event_id=one.event_id, speaker=speaker)
        await turn.emit_as(visitor.key("unreact", one.event_id), redact)
    await turn.work.messages.put(replace(message, details=details))
    _tell(visitor, message, gone[0].emoji, is_added=False)


def _tell(visitor: Visitor, message: Message, emoji: str, *, is_added: bool) -> None:
    visitor.turn.tell(
        ReactionChanged(
            war_room=visitor.room.war_room,
            message_id=message.id,
            emoji=emoji,
            is_added=is_added,
            by=visitor.person,
        )
    )


async def pinned(visitor: Visitor, fact: WebPinned) -> None:
    """Pin or unpin a message; what is so already is done."""
    message = await visitor.present(fact.message_id)
    turn, room = visitor.turn, visitor.room
    pins = await pins_of(turn.work, room.war_room)
    if (pins.of(message.event_id) is not None) is fact.is_pinned:
        return
    if fact.is_pinned:
        if len(pins.pinned) >= MOST_PINS:
            raise No("validation_error", f"At most {MOST_PINS} messages can be pinned: unpin one first.")
        pin = Pinned(
            event_id=message.event_id,
            user_id=visitor.ghost,
            username=visitor.username,
            at_ms=turn.received_ms or turn.now_ms,
            is_settled=False,
        )
        pins = pins.with_pin(pin)
    elif message.event_id == room.card_event:
        raise No("forbidden", "The incident's card stays pinned.")
    else:
        pins = pins.without(message.event_id, turn.now_ms)
    await turn.work.cases.put(room.war_room, pins)
    turn.tell(
        MessagePinned(war_room=room.war_room, message_id=message.id, is_pinned=fact.is_pinned, by=visitor.person)
    )
    await turn.note(
        "message.pinned" if fact.is_pinned else "message.unpinned",
        actor=visitor.ghost,
        subject=message.id,
        details={"room": room.war_room, "act": visitor.act},
    )
    effect = Pin(room_id=visitor.room_id, event_id=message.event_id, is_pinned=fact.is_pinned)
    await turn.emit_as(visitor.key("pin" if fact.is_pinned else "unpin", message.id), effect)

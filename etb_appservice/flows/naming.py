"""Effects that name a message of the web which Matrix hadn't shown yet: its event is put in as they are done.

What is said before comes before, in one target's order; so whoever has no event by then was refused or parked.
"""

from dataclasses import replace

from etb_appservice.domain.effects import MatrixEffect, Pin, React, Redact, Say, SendFile
from etb_appservice.domain.ids import EventId
from etb_appservice.domain.outcomes import Refused
from etb_appservice.ports import Work, unsent

_UNSENT = unsent("")


def names_unsent(effect: MatrixEffect) -> bool:
    """Whether an effect names what Matrix may not have shown yet."""
    return any(one is not None and one.startswith(_UNSENT) for one in _named(effect))


async def with_events(work: Work, effect: MatrixEffect) -> MatrixEffect:
    """The same, naming events of Matrix only. Raises Refused where what it is about was never delivered.

    What answers such a message is said all the same, where no answer stands.
    """
    found: dict[EventId, EventId | None] = {}
    for one in _named(effect):
        if one is not None and one.startswith(_UNSENT):
            message = await work.messages.by_event(one)
            is_there = message is not None and not message.event_id.startswith(_UNSENT)
            found[one] = message.event_id if message is not None and is_there else None

    def event(one: EventId | None) -> EventId | None:
        return found.get(one, one) if one is not None else None

    match effect:
        case Say():
            root = event(effect.thread_root)
            edits = _needed(event(effect.edits)) if effect.edits is not None else None
            return replace(effect, reply_to=event(effect.reply_to), thread_root=root, edits=edits)
        case SendFile():
            return replace(effect, reply_to=event(effect.reply_to), thread_root=event(effect.thread_root))
        case React() | Redact():
            return replace(effect, event_id=_needed(event(effect.event_id)))
        case Pin():
            return replace(effect, event_id=_needed(event(effect.event_id)), instead_of=event(effect.instead_of))
        case _:
            return effect


def _needed(event_id: EventId | None) -> EventId:
    if event_id is None:
        raise Refused("the message that it is about was not delivered", code="undelivered")
    return event_id


def _named(effect: MatrixEffect) -> tuple[EventId | None, ...]:
    match effect:
        case Say(reply_to=reply_to, thread_root=root, edits=edits):
            return reply_to, root, edits
        case SendFile(reply_to=reply_to, thread_root=root):
            return reply_to, root
        case React(event_id=event_id) | Redact(event_id=event_id):
            return (event_id,)
        case Pin(event_id=event_id, instead_of=before):
            return event_id, before
        case _:
            return ()

"""What became in Matrix of what web users did: events get their names, and what isn't delivered says so.

    say ─► Done: "~id" is this event from now on, also among pins and for its readers; deleted meanwhile: Redact
        └► NotDone: the message is marked, its readers see it, the operators are told; a retry takes the mark away
    react ─► Done: named; what was withdrawn meanwhile is taken away,     └► refused: it goes
             or is the one that was given again since: Matrix takes no second one
    pin ─► refused: it goes      unpin ─► over, however it ended          edit, file ─► NotDone: marked

The homeserver shows our own events to us as well; that changes nothing here.
"""

from collections.abc import Mapping
from dataclasses import replace

from etb_appservice.domain.effects import Pin, React, Redact, Say, SendFile
from etb_appservice.domain.facts import Done, EffectAnswered, NotDone
from etb_appservice.domain.ids import EventId, RoomId
from etb_appservice.domain.news import MessagePinned, MessageUpdated, ReactionChanged
from etb_appservice.domain.policy import Policy
from etb_appservice.domain.reactions import bare
from etb_appservice.flows.marks import pins_of
from etb_appservice.flows.record import person_of
from etb_appservice.flows.sharing import place_in, stands
from etb_appservice.flows.turn import Turn
from etb_appservice.flows.visitor import WEB
from etb_appservice.ports import ChatFile, Message, Room, unsent


async def delivered(turn: Turn, fact: EffectAnswered, policy: Policy) -> None:
    """How an effect that a web user asked for has ended."""
    act, what, of = (*fact.key.removeprefix(WEB).split("/", 2), "", "")[:3]
    match fact.effect, fact.answer, what:
        case Say() | SendFile() as sent, Done(event_id=event_id, found=found), "say" if event_id:
            await _said(turn, sent, of, event_id, found)
        case SendFile() as sent, Done(event_id=event_id, found=found), "file" if event_id:
            await _file_sent(turn, sent, of, event_id, found)
        case Say() | SendFile() as sent, answer, "say" | "edit" | "file":
            message = await _message_of(turn, what, of)
            mark = "message" if what == "say" else what
            await _mark(turn, sent.room_id, message, mark, is_set=isinstance(answer, NotDone))
        case React() as react, Done(event_id=event_id), _ if event_id:
            await _reacted(turn, react, act, event_id)
        case React() as react, NotDone(state="refused"), _:
            await _not_reacted(turn, react, act, policy)
        case Pin(is_pinned=True) as pin, NotDone(state="refused"), _:
            await _not_pinned(turn, pin, of, policy)
        case Pin(is_pinned=False) as pin, _, _:
            await _unpinned(turn, pin, of)
        case _:
            pass


async def _said(
    turn: Turn, sent: Say | SendFile, message_id: str, event_id: EventId, found: Mapping[str, str]
) -> None:
    """It stands in the room."""
    await turn.work.messages.sent(message_id, event_id)
    message = await turn.work.messages.get(message_id)
    room = await turn.work.rooms.by_id(sent.room_id)
    if message is None or room is None:
        return
    pins = await pins_of(turn.work, room.war_room)
    if (named := pins.naming(unsent(message_id), event_id)) != pins:
        await turn.work.cases.put(room.war_room, named)
    if message.state == "redacted":
        redact = Redact(room_id=sent.room_id, event_id=event_id, speaker=sent.speaker)
        await turn.emit_as(f"{WEB}{message_id}/late/{event_id}", redact)
        if isinstance(sent, SendFile) and (file := await turn.work.files.get(sent.document)) is not None:
            await stands(turn, _placed(sent, file, found), sent.room_id, event_id)
        return
    if isinstance(sent, SendFile):
        await _file_sent(turn, sent, sent.document, event_id, found)
    await _mark(turn, sent.room_id, message, "message", is_set=False)
    _tell(turn, room, message)


async def _file_sent(
    turn: Turn, sent: SendFile, file_id: str, event_id: EventId, found: Mapping[str, str]
) -> None:
    """`found`: where its bytes lie, which nobody knew before of those that waited here."""
    file = await turn.work.files.get(file_id)
    if file is None or file.withdrawn_ms is not None:  # deleted while it was sent
        await turn.emit_as(f"{WEB}{file_id}/late/{event_id}", Redact(room_id=sent.room_id, event_id=event_id))
        return
    await stands(turn, _placed(sent, file, found), sent.room_id, event_id)
    message = await turn.work.messages.get(file.message_id) if file.message_id else None
    await _mark(turn, sent.room_id, message, "file", is_set=False)


def _placed(sent: SendFile, file: ChatFile, found: Mapping[str, str]) -> ChatFile:
    """With where its bytes lie."""
    if sent.document and found.get("mxc"):
        return replace(file, details=replace(file.details, file=place_in(found)))
    return file


async def _message_of(turn: Turn, what: str, of: str) -> Message | None:
    """The message that was to be said or edited, or whose file was to be sent."""
    if what != "file":
        return await turn.work.messages.get(of)
    file = await turn.work.files.get(of)
    return await turn.work.messages.get(file.message_id) if file is not None and file.message_id else None


async def _mark(turn: Turn, room_id: RoomId, message: Message | None, mark: str, *, is_set: bool) -> None:
    """Readers see whether Matrix has all of it; a mark is taken away only by what set it."""
    if message is None or message.state == "redacted":
        return
    stands = message.details.undelivered
    if (stands == mark) is is_set or (not is_set and stands != mark):
        return
    details = replace(message.details, undelivered=mark if is_set else "")
    await turn.work.messages.put(replace(message, details=details))
    room = await turn.work.rooms.by_id(room_id)
    if room is not None:
        _tell(turn, room, message)


def _tell(turn: Turn, room: Room, message: Message) -> None:
    """Once a decision, whatever it changed of the message."""
    news = MessageUpdated(war_room=room.war_room, message_id=message.id)
    if news not in turn.news:
        turn.tell(news)


async def _reacted(turn: Turn, react: React, act: str, event_id: EventId) -> None:
    message = await turn.work.messages.by_event(react.event_id)
    if message is None:
        return
    names = [one.event_id for one in message.details.reactions]
    if event_id in names:
        return
    named = unsent(act) if unsent(act) in names else _given_again(message, react)
    if named is None:
        redact = Redact(room_id=react.room_id, event_id=event_id, speaker=react.speaker)
        await turn.emit_as(f"{WEB}{act}/late/{event_id}", redact)
        return
    await turn.work.messages.put(replace(message, details=message.details.reaction_sent(named, event_id)))


def _given_again(message: Message, react: React) -> EventId | None:
    """The same reaction of theirs, given after this one was withdrawn, which Matrix hasn't seen yet either."""
    for one in message.details.reactions:
        is_theirs = one.username == react.speaker and one.event_id.startswith(unsent(""))
        if is_theirs and bare(one.emoji) == bare(react.emoji):
            return one.event_id
    return None


async def _not_reacted(turn: Turn, react: React, act: str, policy: Policy) -> None:
    message = await turn.work.messages.by_event(react.event_id)
    room = await turn.work.rooms.by_id(react.room_id)
    if message is None or room is None:
        return
    details = message.details.without_reaction(unsent(act))
    if details != message.details:
        await turn.work.messages.put(replace(message, details=details))
        _withdrawn(turn, room, message, react, policy)


def _withdrawn(turn: Turn, room: Room, message: Message, react: React, policy: Policy) -> None:
    ghost = policy.ghosts.user_id(react.speaker)
    if ghost is not None:
        by = person_of(ghost, policy)
        turn.tell(
            ReactionChanged(
                war_room=room.war_room, message_id=message.id, emoji=react.emoji, is_added=False, by=by
            )
        )


async def _not_pinned(turn: Turn, pin: Pin, message_id: str, policy: Policy) -> None:
    room = await turn.work.rooms.by_id(pin.room_id)
    message = await turn.work.messages.get(message_id)
    if room is None or message is None:
        return
    pins = await pins_of(turn.work, room.war_room)
    stands = pins.of(message.event_id)
    if stands is None or stands.is_settled:
        return
    gone = pins.without(message.event_id, turn.now_ms).done(message.event_id, turn.now_ms)
    await turn.work.cases.put(room.war_room, gone)
    by = person_of(policy.rooms.bot, policy)
    turn.tell(MessagePinned(war_room=room.war_room, message_id=message_id, is_pinned=False, by=by))


async def _unpinned(turn: Turn, pin: Pin, message_id: str) -> None:
    """Lists that members set from now on know of it. The effect may name a message that had no event yet."""
    room = await turn.work.rooms.by_id(pin.room_id)
    message = await turn.work.messages.get(message_id)
    if room is None:
        return
    pins = await pins_of(turn.work, room.war_room)
    done = pins.done(message.event_id if message is not None else pin.event_id, turn.now_ms)
    if done != pins:
        await turn.work.cases.put(room.war_room, done)

"""What a message becomes in the record: its text, its kind, whom it means, its file. And how it goes from there.

    said ─► Message, ChatFile ─► MessageAdded, FileShared, Notified       edited ─► MessageUpdated
                                                       its original can't be read yet ─► kept with it until then
    redacted ─► text and details go, files once they may, the place stays ─► MessageDeleted

Whoever speaks is one person, by their own Matrix id or through their ghost (domain/people.py).
"""

from dataclasses import replace

from etb_appservice.domain.conversation import Edited, FileDetails, MessageDetails, MessageType, Person
from etb_appservice.domain.effects import Redact, Say, SendFile
from etb_appservice.domain.facts import MessageReceived, Origin
from etb_appservice.domain.ids import NOBODY, EventId, UserId, Username, new_id
from etb_appservice.domain.news import (
    FileShared,
    MessageAdded,
    MessageDeleted,
    MessageUpdated,
    Notified,
)
from etb_appservice.domain.policy import Policy
from etb_appservice.flows.keeping import let_go, said_in
from etb_appservice.flows.turn import Turn
from etb_appservice.ports import ChatFile, Message, Room


def person_of(user_id: UserId, policy: Policy) -> Person:
    """Who a Matrix id is, as both sides know them."""
    return Person(user_id, policy.people.username(user_id) or NOBODY)


def text_of(fact: MessageReceived) -> str:
    """A message as a text that is read anywhere: what clients show in other ways is said in words."""
    match fact.msgtype:
        case "m.emote":
            return f"* {fact.sender.partition(':')[0].removeprefix('@')} {fact.body}"
        case "m.sticker":
            return f"Sticker: {fact.body}"
        case "m.location" if fact.place and fact.place not in fact.body:
            return f"Location: {fact.body} ({fact.place})"
        case "m.location":
            return f"Location: {fact.body}"
        case _:
            return fact.body


def details_of(fact: MessageReceived, policy: Policy, *, is_command: bool) -> MessageDetails:
    """What a message that was just said carries."""
    kind: MessageType = "FILE" if fact.file else "COMMAND" if is_command else "TEXT"
    return MessageDetails(
        message_type=kind,
        username=policy.people.username(fact.sender) or NOBODY,
        reply_to=fact.reply_to,
        mentions=fact.mentions,
        mentioned=_named(fact.mentions, policy),
        mentions_room=fact.mentions_room,
    )


async def keep_file(turn: Turn, room: Room, message: Message, file: FileDetails) -> Message:
    """What is known of an attachment; answers its message, which names it."""
    kept = ChatFile(
        id=new_id(turn.now_ms),
        war_room=room.war_room,
        lane=message.lane,
        message_id=message.id,
        event_id=message.event_id,
        created_ms=message.received_ms,  # what a late key opens is of when it came
        details=replace(file, uploaded_by=message.details.username, room_id=message.room_id),
    )
    await turn.work.files.put(kept)
    turn.tell(FileShared(war_room=room.war_room, file_id=kept.id, message_id=message.id))
    return replace(message, details=replace(message.details, files=(*message.details.files, kept.id)))


async def put_new(
    turn: Turn, room: Room, message: Message, before: Message | None, *, file: FileDetails | None = None
) -> None:
    """A message at its place: new there, or one whose place was kept until it could be read.

    What came to the place meanwhile stays with it. What was redacted stays so; what is read already isn't news.
    """
    if before is not None and before.state == "redacted":
        return
    if before is not None:
        details = replace(message.details, reactions=before.details.reactions, files=before.details.files)
        message = replace(message, id=before.id, lane=before.lane, position=before.position, details=details)
        message = _with_edit(message, before.details.awaiting)
        turn.tell(MessageUpdated(war_room=room.war_room, message_id=before.id))
    else:
        turn.tell(MessageAdded(war_room=room.war_room, message_id=message.id, client_id=message.details.client_id))
    if file is not None and not message.details.files:
        message = await keep_file(turn, room, message, file)
    await turn.work.messages.put(message)
    tell_mentioned(turn, room, message, message.details.mentioned, everybody=message.details.mentions_room)


async def put_edit(
    turn: Turn, room: Room, original: Message, fact: MessageReceived, policy: Policy, at_ms: int
) -> None:
    """Its own sender has changed it, which came at `at_ms`; at once where it can be read, else soon."""
    named = _named(fact.mentions, policy)
    edit = Edited(
        body=text_of(fact),
        at_ms=at_ms,
        mentions=fact.mentions,
        mentioned=named,
        mentions_room=fact.mentions_room,
    )
    if original.state == "sealed":
        await turn.work.messages.put(replace(original, details=replace(original.details, awaiting=edit)))
        return
    edited = replace(_with_edit(original, edit), decided_ms=turn.now_ms)
    await turn.work.messages.put(edited)
    turn.tell(MessageUpdated(war_room=room.war_room, message_id=original.id))
    tell_mentioned(turn, room, edited, tuple(one for one in named if one not in original.details.mentioned))


async def free_place(turn: Turn, room: Room, fact: Origin, policy: Policy) -> None:
    """A place was kept for an event whose key came late, and it turned out to be no message."""
    place = await turn.work.messages.by_event(fact.event_id)
    if place is not None and place.state == "sealed":
        await take_away(turn, room, place, person_of(fact.sender, policy), policy)


def _with_edit(message: Message, edit: Edited | None) -> Message:
    if edit is None or message.state != "open":
        return message
    details = replace(
        message.details,
        edited_ms=edit.at_ms,
        mentions=edit.mentions,
        mentioned=edit.mentioned,
        mentions_room=edit.mentions_room,
        awaiting=None,
    )
    return replace(message, body=edit.body, details=details)


async def take_away(turn: Turn, room: Room, message: Message, by: Person, policy: Policy) -> None:
    """Its content goes, on every side; files that must be kept are withdrawn (keeping.py)."""
    await turn.work.messages.redact(message.event_id)
    files = await turn.work.files.by_ids(message.details.files)
    for file in files.values():
        said = said_in(file, message, room)
        if file.message_id == message.id and said and file.event_id not in {None, message.event_id}:
            # Said behind the message, in an event of its own.
            await turn.emit(f"redact/{file.id}", Redact(room_id=said, event_id=file.event_id))
    await let_go(turn, room, files.values(), policy)
    if message.state != "redacted":
        turn.tell(MessageDeleted(war_room=room.war_room, message_id=message.id, by=by))


async def put_ours(
    turn: Turn,
    room: Room,
    say: Say | SendFile,
    event_id: EventId,
    body: str,
    policy: Policy,
    *,
    file: FileDetails | None = None,
) -> None:
    """What the bot or a ghost said, under the event that carries it; an edit changes what stands."""
    edits = say.edits if isinstance(say, Say) else None
    before = await turn.work.messages.by_event(edits or event_id)
    if edits is not None and before is not None:
        if before.state == "open":
            details = replace(before.details, edited_ms=turn.now_ms)
            await turn.work.messages.put(replace(before, body=body, decided_ms=turn.now_ms, details=details))
            turn.tell(MessageUpdated(war_room=room.war_room, message_id=before.id))
        return
    mentions = say.mentions if isinstance(say, Say) else ()
    message = Message(
        id=new_id(turn.now_ms),
        room_id=say.room_id,
        lane=room.incident_id or say.room_id,
        event_id=edits or event_id,
        sender=policy.ghosts.user_id(say.speaker) or policy.rooms.bot,
        state="open",
        origin_ms=turn.now_ms,
        received_ms=turn.now_ms,
        decided_ms=turn.now_ms,
        body=body,
        thread_root=say.thread_root,
        details=MessageDetails(
            message_type=_kind_of(say),
            username=say.speaker,
            reply_to=say.reply_to,
            mentions=mentions,
            mentioned=_named(mentions, policy),
        ),
    )
    await put_new(turn, room, message, before, file=file)


def tell_mentioned(
    turn: Turn, room: Room, message: Message, named: tuple[Username, ...], *, everybody: bool = False
) -> None:
    """Whoever is meant, but for whoever spoke. The text isn't told: whoever may, reads it in the record."""
    speaker = message.details.username
    people = tuple(one for one in message.details.mentioned if one in named and one != speaker)
    if people or everybody:
        turn.tell(
            Notified(
                war_room=room.war_room,
                notice="MENTION",
                title=f"{speaker or message.sender} mentioned {'everybody' if everybody else 'you'}",
                usernames=() if everybody else people,
                message_id=message.id,
            )
        )


def _named(mentions: tuple[UserId, ...], policy: Policy) -> tuple[Username, ...]:
    found = [policy.people.username(one) for one in mentions]
    return tuple(dict.fromkeys(one for one in found if one is not None))


def _kind_of(say: Say | SendFile) -> MessageType:
    """What our words are to a reader."""
    if isinstance(say, SendFile):
        return "FILE"
    if say.speaker:
        return "TEXT"
    match say.purpose:
        case "answer":
            return "BOT"
        case "living":
            return "UPDATE"
        case "reminder":
            return "ALERT"
        case _:
            return "ALERT" if say.notify else "SYSTEM"

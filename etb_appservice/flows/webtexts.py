"""What web users say: messages, their files, edits and deletions, each said in Matrix by the user's ghost.

    WebSaid ─► Message "~id" ─► Say, SendFile (the ghost's) ─► deliveries.py names its event
                └─ too long for one event ─► a file, and a short message that is its caption
    WebEdited ─► the text that stands ─► Say(edits)          WebDeleted ─► the content goes ─► Redact

An answer to a message goes into its thread, which it begins where there is none (`reply_to`, `m.thread`).
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from etb_appservice.domain.clearance import Right, Subject, decide
from etb_appservice.domain.conversation import MessageDetails, MessageType
from etb_appservice.domain.effects import Redact, Say, SendFile
from etb_appservice.domain.ids import UserId, Username
from etb_appservice.domain.news import FileShared, MessageAdded, MessageUpdated
from etb_appservice.domain.web import WebDeleted, WebEdited, WebSaid
from etb_appservice.flows.record import take_away, tell_mentioned
from etb_appservice.flows.sharing import sending
from etb_appservice.flows.standing import actor_of
from etb_appservice.flows.visitor import No, Thread, Visitor
from etb_appservice.flows.webfiles import attached, text_file
from etb_appservice.flows.webmentions import matrix_ids, people_meant
from etb_appservice.ports import ChatFile, Message, unsent

Fits = Callable[[str], bool]
"""Whether a Markdown text fits into one event, also as an edit of itself."""


async def said(visitor: Visitor, fact: WebSaid, fits: Fits) -> Message:
    """Keep a message and have it said."""
    if not fact.content.strip():
        raise No("validation_error", "This field may not be blank.", field="content")
    thread = await visitor.thread(fact.reply_to)
    named = await people_meant(visitor, fact.content, fact.mentioned)
    files = await attached(visitor, fact)
    kind: MessageType = fact.message_type
    if kind == "FILE" and not files:
        raise No("validation_error", "A message of this type needs a file.", field="attachment_ids")
    if kind == "TEXT" and fact.content.startswith("/"):
        kind = "COMMAND"
    if not fits(fact.content):
        if files:
            raise No("validation_error", "This is too long to go with files.", field="content")
        file, content, caption = text_file(visitor, fact.content)
        message = _message(visitor, fact.act, "FILE", caption, thread, named, client_id=fact.client_id)
        await visitor.work.documents.put(file.id, visitor.room.war_room, content)
        await _put(visitor, message, [file])
        sent = replace(_sent(visitor, file, thread), document=file.id, file_id="", caption=caption)
        await visitor.turn.emit_as(visitor.key("say", message.id), sent)
        return message
    message = _message(visitor, fact.act, kind, fact.content, thread, named, client_id=fact.client_id)
    await _put(visitor, message, files)
    await visitor.turn.emit_as(
        visitor.key("say", message.id), _say(visitor, fact.content, thread, matrix_ids(visitor, named))
    )
    for file in files:
        await visitor.turn.emit_as(visitor.key("file", file.id), _sent(visitor, file, thread))
    return message


async def said_command(visitor: Visitor, message_id: str, text: str) -> Message:
    """A command that was asked for by its text is said like any other, so that everybody sees what is run."""
    message = _message(visitor, message_id, "COMMAND", text, Thread(), ())
    await _put(visitor, message, ())
    await visitor.turn.emit_as(visitor.key("say", message_id), _say(visitor, text, Thread(), ()))
    return message


async def edited(visitor: Visitor, fact: WebEdited, fits: Fits) -> None:
    """Change one's own text, as long as it was said here."""
    message = await visitor.present(fact.message_id)
    if not visitor.is_own(message):
        raise No("forbidden", "Only whoever wrote a message can edit it.")
    if message.sender != visitor.ghost:
        raise No("forbidden", f"You wrote this from your Matrix account {message.sender}: edit it there.")
    if message.state != "open" or message.details.message_type == "FILE":
        raise No("validation_error", "A file can't be edited: send another one.", field="content")
    if not fact.content.strip():
        raise No("validation_error", "This field may not be blank.", field="content")
    if not fits(fact.content):
        raise No("validation_error", "This is too long for an edit: send it as a new message.", field="content")
    named = await people_meant(visitor, fact.content, ())
    turn = visitor.turn
    fresh = tuple(one for one in named if one not in message.details.mentioned)
    details = replace(message.details, edited_ms=turn.now_ms, mentions=matrix_ids(visitor, named), mentioned=named)
    changed = replace(message, body=fact.content, decided_ms=turn.now_ms, details=details)
    await turn.work.messages.put(changed)
    turn.tell(MessageUpdated(war_room=visitor.room.war_room, message_id=message.id))
    tell_mentioned(turn, visitor.room, changed, fresh)
    edit = Say(
        room_id=visitor.room_id,
        content=fact.content,
        notify=True,
        mentions=matrix_ids(visitor, fresh),
        edits=message.event_id,
        speaker=visitor.username,
    )
    await turn.emit_as(visitor.key("edit", message.id), edit)
    await _note(visitor, "message.edited", message.id, fact.content)


async def deleted(visitor: Visitor, fact: WebDeleted) -> None:
    """Take away one's own message, or as commander of the incident somebody else's."""
    found = await visitor.work.messages.get(fact.message_id)
    if found is not None and found.lane == visitor.incident_id and found.state == "redacted":
        return
    message = await visitor.message(fact.message_id)
    if message.sender == visitor.policy.rooms.bot:
        raise No("forbidden", "What the service itself says stays.")
    if not visitor.is_own(message):
        actor = await actor_of(visitor.work, visitor.room, visitor.ghost, visitor.policy, has_token=True)
        decision = decide(actor, Right.COMMANDER, Subject(classification=visitor.room.classification))
        if not decision.allowed:
            raise No("forbidden", f"This is somebody else's message. {decision.reason}")
    await visitor.not_held()
    await take_away(visitor.turn, visitor.room, message, visitor.person, visitor.policy)
    await _note(visitor, "message.redacted", message.id)
    if message.event_id == unsent(message.id):
        return  # deliveries.py takes it away as soon as it is there
    is_ghosts = message.sender == visitor.ghost and message.room_id == visitor.room_id
    await visitor.turn.emit_as(
        visitor.key("redact", message.id),
        Redact(
            room_id=message.room_id,
            event_id=message.event_id,
            speaker=visitor.username if is_ghosts else Username(""),
        ),
    )


# --- texts ------------------------------------------------------------------------------------------------


def _message(
    visitor: Visitor,
    message_id: str,
    kind: MessageType,
    body: str,
    thread: Thread,
    named: tuple[Username, ...],
    *,
    client_id: str = "",
) -> Message:
    turn = visitor.turn
    return Message(
        id=message_id,
        room_id=visitor.room_id,
        lane=visitor.incident_id,
        event_id=unsent(message_id),
        sender=visitor.ghost,
        state="open",
        origin_ms=turn.received_ms or turn.now_ms,
        received_ms=turn.received_ms or turn.now_ms,
        decided_ms=turn.now_ms,
        body=body,
        thread_root=thread.root,
        details=MessageDetails(
            message_type=kind,
            username=visitor.username,
            reply_to=thread.reply_to,
            mentions=matrix_ids(visitor, named),
            mentioned=named,
            client_id=client_id,
        ),
    )


async def _put(visitor: Visitor, message: Message, files: Sequence[ChatFile]) -> None:
    turn, war_room = visitor.turn, visitor.room.war_room
    details = replace(message.details, files=tuple(one.id for one in files))
    await turn.work.messages.put(replace(message, details=details))
    turn.tell(MessageAdded(war_room=war_room, message_id=message.id, client_id=details.client_id))
    for file in files:
        await turn.work.files.put(replace(file, message_id=message.id))
        turn.tell(FileShared(war_room=war_room, file_id=file.id, message_id=message.id))
    tell_mentioned(turn, visitor.room, message, details.mentioned)
    await _note(visitor, "message.received", message.id, message.body or "")


def _say(visitor: Visitor, text: str, thread: Thread, mentions: tuple[UserId, ...]) -> Say:
    return Say(
        room_id=visitor.room_id,
        content=text,
        notify=True,
        mentions=mentions,
        reply_to=thread.reply_to,
        thread_root=thread.root,
        speaker=visitor.username,
    )


def _sent(visitor: Visitor, file: ChatFile, thread: Thread) -> SendFile:
    return replace(sending(visitor.room_id, file), reply_to=thread.reply_to, thread_root=thread.root)


async def _note(visitor: Visitor, tag: str, subject: str, body: str = "") -> None:
    await visitor.turn.note(
        tag,
        actor=visitor.ghost,
        subject=subject,
        details={"room": visitor.room.war_room, "act": visitor.act, "trust": "etb token"},
        contents={"body": body} if body else {},
    )

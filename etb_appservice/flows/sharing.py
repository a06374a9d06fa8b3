"""Uploaded files on their way into the room: with a message that names them, or as a message of their own.

    attach ─► SendFile behind the message        send_alone ─► a message of its own ─► SendFile
    SendFile answered ─► the record names its event; or the operators are told

A file is sent once, by the ghost of whoever uploaded it, with what they have said of it. Those that a message of
the web names go with it (webtexts.py), and are answered in deliveries.py.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

from etb_appservice.domain.conversation import EncryptedFile, FileDetails, MessageDetails, Person
from etb_appservice.domain.effects import Redact, SendFile
from etb_appservice.domain.facts import Done, FileDue, NotDone
from etb_appservice.domain.ids import EventId, RoomId, new_id
from etb_appservice.domain.media import Media
from etb_appservice.domain.news import FileShared, MessageUpdated
from etb_appservice.domain.text import code, plain
from etb_appservice.flows.record import put_new
from etb_appservice.flows.turn import Turn
from etb_appservice.ports import ChatFile, Message, Room, unsent

_AGAIN_MS = 60_000


async def attach(turn: Turn, room: Room, message: Message, file: ChatFile) -> None:
    """Let a message carry a file that was just kept; it is sent behind it."""
    details = replace(message.details, files=(*message.details.files, file.id))
    await turn.work.messages.put(replace(message, details=details))
    turn.tell(MessageUpdated(war_room=room.war_room, message_id=message.id))
    await turn.work.files.put(replace(file, message_id=message.id))
    if room.room_id is not None:
        is_there = message.room_id == room.room_id
        sent = replace(sending(room.room_id, file), thread_root=message.thread_root if is_there else None)
        await turn.emit(f"file/{file.id}", sent)
    turn.tell(FileShared(war_room=room.war_room, file_id=file.id, message_id=message.id))


async def send_alone(turn: Turn, room: Room, file: ChatFile, by: Person) -> None:
    """As a message of its own, as soon as there is a room."""
    if room.room_id is None:
        again = FileDue(file_id=file.id, user_id=by.user_id)
        await turn.follow(again, ("file due", file.id, turn.ref), due_ms=turn.now_ms + _AGAIN_MS)
        return
    message_id = new_id(turn.now_ms)
    message = Message(
        id=message_id,
        room_id=room.room_id,
        lane=file.lane,
        event_id=unsent(message_id),
        sender=by.user_id,
        state="open",
        origin_ms=turn.now_ms,
        received_ms=turn.now_ms,
        decided_ms=turn.now_ms,
        body=file.details.description or file.details.name,
        details=MessageDetails(message_type="FILE", username=by.username, files=(file.id,)),
    )
    await put_new(turn, room, message, None)
    await turn.work.files.put(replace(file, message_id=message_id))
    turn.tell(FileShared(war_room=room.war_room, file_id=file.id, message_id=message_id))
    await turn.emit(f"file/{file.id}", replace(sending(room.room_id, file), message_id=message_id))


def sending(room_id: RoomId, file: ChatFile) -> SendFile:
    """A file as its uploader's ghost sends it, by itself."""
    details = file.details
    return SendFile(
        room_id=room_id,
        file_id=file.id,
        filename=details.name,
        mime=details.mime,
        size=details.size,
        msgtype=_kind_of(details),
        width=details.width,
        height=details.height,
        duration_ms=details.duration_ms,
        is_voice=details.is_voice,
        caption=details.description,
        speaker=details.uploaded_by,
    )


def _kind_of(details: FileDetails) -> Literal["m.file", "m.image", "m.video", "m.audio"]:
    match details.mime.partition("/")[0]:
        case "image" if details.width:
            return "m.image"
        case "video":
            return "m.video"
        case "audio":
            return "m.audio"
        case _:
            return "m.file"


async def answered(turn: Turn, sent: SendFile, answer: Done | NotDone) -> None:
    """It stands in the room, or could not be sent."""
    file = await turn.work.files.get(sent.file_id)
    room = await turn.work.rooms.by_id(sent.room_id)
    is_gone = file is None or file.withdrawn_ms is not None
    if is_gone and isinstance(answer, Done) and answer.event_id is not None:  # deleted while it was sent
        await turn.emit("late", Redact(room_id=sent.room_id, event_id=answer.event_id))
    if file is None or is_gone or room is None:
        return
    if isinstance(answer, NotDone):
        await turn.trouble(
            ("file", file.id, turn.ref),
            f"A file ({code(file.id)}) that {code(sent.speaker)} uploaded could not be sent to "
            f"**{plain(room.name)}**: {plain(answer.reason)}",
        )
    elif answer.event_id is not None:
        await stands(turn, file, sent.room_id, answer.event_id)
        if sent.message_id and await turn.work.messages.sent(sent.message_id, answer.event_id):
            turn.tell(MessageUpdated(war_room=room.war_room, message_id=sent.message_id))


async def stands(turn: Turn, file: ChatFile, room_id: RoomId, event_id: EventId) -> None:
    """A file is in the room, by this event; what was uploaded for it knows what refers to it."""
    await turn.work.files.put(replace(file, event_id=event_id, details=replace(file.details, room_id=room_id)))
    for one in (file.details.file, file.details.thumbnail):
        media = None if one is None else await turn.work.cases.get(file.war_room, Media, one.mxc)
        if media is not None:
            await turn.work.cases.put(file.war_room, replace(media, event_id=event_id))
    await turn.note("file.sent", subject=event_id, details={"room": file.war_room, "file": file.id})


def place_in(found: Mapping[str, str]) -> EncryptedFile:
    """Where the bytes of what was sent lie, as the hands have said it."""
    return EncryptedFile(
        mxc=found.get("mxc", ""),
        key=found.get("key", ""),
        iv=found.get("iv", ""),
        sha256=found.get("sha256", ""),
    )

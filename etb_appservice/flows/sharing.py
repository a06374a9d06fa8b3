"""Uploaded files on their way into the room: with a message that names them, or as a message of their own.

    attach ─► SendFile behind the message        send_alone ─► a message of its own ─► SendFile
    SendFile answered ─► the record names its event; or the operators are told

A file is sent once, by the ghost of whoever uploaded it; a message that names one later only names it.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from etb_appservice.domain.conversation import FileDetails, MessageDetails, Person
from etb_appservice.domain.effects import Redact, SendFile
from etb_appservice.domain.facts import Done, FileDue, NotDone
from etb_appservice.domain.ids import new_id
from etb_appservice.domain.media import Media
from etb_appservice.domain.news import FileShared, MessageUpdated
from etb_appservice.domain.text import code, plain
from etb_appservice.flows.record import put_new
from etb_appservice.flows.turn import Turn
from etb_appservice.ports import ChatFile, Message, Room, unsent

_AGAIN_MS = 60_000


async def attach(turn: Turn, room: Room, message: Message, file_ids: Sequence[str], by: Person) -> Message:
    """Let a message carry files of its room; answers it as it is kept now.

    Those of `by` that weren't sent yet are sent behind it; others are named. What isn't of the room is left out.
    """
    found = await turn.work.files.by_ids(file_ids)
    named = [
        found[one] for one in dict.fromkeys(file_ids) if one in found and found[one].war_room == room.war_room
    ]
    new = [one for one in named if one.id not in message.details.files]
    if not new:
        return message
    message = replace(
        message, details=replace(message.details, files=(*message.details.files, *(one.id for one in new)))
    )
    await turn.work.messages.put(message)
    turn.tell(MessageUpdated(war_room=room.war_room, message_id=message.id))
    for file in new:
        if file.message_id is not None:
            continue
        if file.details.uploaded_by == by.username:
            await turn.work.files.put(replace(file, message_id=message.id))
            await _send(turn, room, file, thread_of=message)
        turn.tell(FileShared(war_room=room.war_room, file_id=file.id, message_id=message.id))
    return message


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
    await _send(turn, room, file, as_message=message_id)


async def _send(
    turn: Turn, room: Room, file: ChatFile, *, as_message: str = "", thread_of: Message | None = None
) -> None:
    details = file.details
    if room.room_id is None:
        return
    await turn.emit(
        f"file/{file.id}",
        SendFile(
            room_id=room.room_id,
            file_id=file.id,
            message_id=as_message,
            filename=details.name,
            mime=details.mime,
            size=details.size,
            msgtype=_kind_of(details),
            width=details.width,
            height=details.height,
            caption=details.description,
            thread_root=None if thread_of is None else thread_of.thread_root,
            speaker=details.uploaded_by,
        ),
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
    if file is None and isinstance(answer, Done) and answer.event_id is not None:  # deleted while it was sent
        await turn.emit("late", Redact(room_id=sent.room_id, event_id=answer.event_id))
    if file is None or room is None:
        return
    if isinstance(answer, NotDone):
        await turn.trouble(
            ("file", file.id, turn.ref),
            f"A file ({code(file.id)}) that {code(sent.speaker)} uploaded could not be sent to "
            f"**{plain(room.name)}**: {plain(answer.reason)}",
        )
    elif answer.event_id is not None:
        await turn.work.files.put(replace(file, event_id=answer.event_id))
        if sent.message_id and await turn.work.messages.sent(sent.message_id, answer.event_id):
            turn.tell(MessageUpdated(war_room=room.war_room, message_id=sent.message_id))
        for one in (file.details.file, file.details.thumbnail):
            media = None if one is None else await turn.work.cases.get(room.war_room, Media, one.mxc)
            if media is not None:
                await turn.work.cases.put(room.war_room, replace(media, event_id=answer.event_id))
        await turn.note("file.sent", subject=answer.event_id, details={"room": room.war_room, "file": file.id})

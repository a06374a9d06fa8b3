"""What becomes of files that people upload by the chat API, and of who looks at files.

    FileUploaded ─► kept ─┬─► with a message that is there ──────────────► SendFile
                          ├─► a message names it in time (`attach`) ─────► SendFile, behind that message
                          └─► nobody does: FileDue ─► a message of its own ─► SendFile
    FileLookedAt ─► one more entry of its access log, never changed        FileClassified ─► its level
    FileWithdrawn ─► nothing before its time is over (keeping.py); else gone on every side

How a file is sent stands in sharing.py. Whether whoever asks may is asked here again, in the commit, by ETB's last
word on them; what is written down of a look is what was, whoever it was.
"""

from dataclasses import replace
from typing import assert_never

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.conversation import Person
from etb_appservice.domain.effects import Redact
from etb_appservice.domain.facts import (
    FileClassified,
    FileDue,
    FileLookedAt,
    FileOver,
    FileUploaded,
    FileWithdrawn,
)
from etb_appservice.domain.files import level_of
from etb_appservice.domain.ids import EventId, IncidentId
from etb_appservice.domain.media import Media
from etb_appservice.domain.news import MessageUpdated
from etb_appservice.domain.policy import Policy
from etb_appservice.domain.text import code, plain
from etb_appservice.domain.verdicts import Verdict
from etb_appservice.flows.keeping import forget, let_go, may_go, over, said_in
from etb_appservice.flows.permitted import Copy, circle_of, permission_of
from etb_appservice.flows.record import take_away
from etb_appservice.flows.removals import vouched
from etb_appservice.flows.sharing import attach, send_alone
from etb_appservice.flows.turn import Turn
from etb_appservice.ports import ChatFile, Message, Room, Work, unsent

FileFact = FileUploaded | FileDue | FileOver | FileLookedAt | FileClassified | FileWithdrawn
MODERATES = frozenset({"compliance", "commander", "admin"})
"""Who may delete what others have uploaded."""


async def decided(turn: Turn, fact: FileFact, policy: Policy) -> None:
    """Decide one of them."""
    match fact:
        case FileUploaded():
            _tell(turn, fact.ref, is_done=await _uploaded(turn, fact, policy))
        case FileDue():
            await _due(turn, fact, policy)
        case FileOver():
            await over(turn, fact, policy)
        case FileLookedAt():
            await _looked_at(turn, fact)
            _tell(turn, fact.ref)
        case FileClassified():
            _tell(turn, fact.ref, is_done=await _classified(turn, fact, policy))
        case FileWithdrawn():
            _tell(turn, fact.ref, is_done=await _withdrawn(turn, fact, policy))
        case _:
            assert_never(fact)


def _tell(turn: Turn, ref: str, *, is_done: bool = True) -> None:
    turn.verdicts.append(Verdict(ref=ref, outcome="done" if is_done else "not_found"))


# --- coming in --------------------------------------------------------------------------------------------


async def _uploaded(turn: Turn, fact: FileUploaded, policy: Policy) -> bool:
    work, details = turn.work, fact.details
    room = await work.rooms.by_war_room(fact.war_room)
    if await work.files.get(fact.file_id) is not None:
        return True
    copy = await vouched(turn, fact.by, fact.confirmed_ms, policy)
    if room is None or not await _may(work, room, copy, level_of(details, room.classification), policy):
        await turn.note("file.refused", actor=fact.user_id, subject=fact.file_id)
        return False
    file = ChatFile(
        id=fact.file_id,
        war_room=room.war_room,
        lane=room.incident_id or turn.lane,
        created_ms=turn.now_ms,
        details=details,
    )
    await work.files.put(file)
    for one in (details.file, details.thumbnail):
        if one is not None:
            await work.cases.put(
                room.war_room,
                Media(
                    id=one.mxc,
                    filename=details.name,
                    mime=details.mime if one is details.file else "image/jpeg",
                    size=details.size if one is details.file else details.thumbnail_size,
                    sha256=details.sha256 if one is details.file else "",
                    at_ms=turn.now_ms,
                ),
            )
    await turn.note(
        "file.uploaded",
        actor=fact.user_id,
        subject=file.id,
        details={
            "room": room.war_room,
            "size": details.size,
            "level": level_of(details, room.classification).name,
        },
        contents={"sha256": details.sha256, "name": details.name},
    )
    person = Person(fact.user_id, details.uploaded_by)
    message = await work.messages.get(fact.message_id) if fact.message_id else None
    if message is not None and message.lane == file.lane and message.state == "open":
        await attach(turn, room, message, file)
    elif fact.is_sent:
        await send_alone(turn, room, file, person)
    else:
        due_ms = turn.now_ms + round(policy.files.alone_after_s * 1000)
        await turn.follow(FileDue(file_id=file.id, user_id=fact.user_id), ("file due", file.id), due_ms=due_ms)
    return True


async def _due(turn: Turn, fact: FileDue, policy: Policy) -> None:
    file = await turn.work.files.get(fact.file_id)
    room = None if file is None else await turn.work.rooms.by_war_room(file.war_room)
    if file is None or room is None or file.message_id is not None:
        return
    known = await turn.work.incidents.user(file.details.uploaded_by)
    level = level_of(file.details, room.classification)
    if known is not None and await _may(turn.work, room, known, level, policy):
        await send_alone(turn, room, file, Person(fact.user_id, file.details.uploaded_by))
    else:
        await turn.note("file.unsent", actor=fact.user_id, subject=file.id)


# --- being there ------------------------------------------------------------------------------------------


async def _looked_at(turn: Turn, fact: FileLookedAt) -> None:
    access = fact.access
    file = await turn.work.files.get(access.file_id)
    if not await turn.work.files.log_access(access):
        return
    if file is not None and fact.sha256 and not file.details.sha256:
        details = replace(file.details, sha256=fact.sha256, size=fact.size, mime=fact.mime or file.details.mime)
        await turn.work.files.put(replace(file, details=details))
    await turn.note(
        "file.access",
        actor=access.username,
        subject=access.file_id,
        details={"room": access.war_room, "type": access.access_type, "access": access.id},
        contents={"reason": access.reason, "address": access.address},
    )


async def _classified(turn: Turn, fact: FileClassified, policy: Policy) -> bool:
    copy = await vouched(turn, fact.by, fact.confirmed_ms, policy)
    file = await turn.work.files.get(fact.file_id)
    room = None if file is None else await turn.work.rooms.by_war_room(file.war_room)
    if file is None or room is None or "compliance" not in policy.roles.of(copy[0].roles):
        return False
    level = max(fact.level, level_of(file.details, room.classification))
    if not await _may(turn.work, room, copy, level, policy):
        return False
    details = replace(file.details, classification=fact.level.name, classification_source="USER")
    await turn.work.files.put(replace(file, details=details))
    await turn.note(
        "file.classified",
        actor=fact.by.username,
        subject=file.id,
        details={"room": file.war_room, "from": file.details.classification, "to": fact.level.name},
    )
    if file.message_id is not None:
        turn.tell(MessageUpdated(war_room=file.war_room, message_id=file.message_id))
    if file.event_id is not None and fact.level > room.classification:
        await turn.trouble(
            ("file above", file.id, turn.ref),
            f"A file ({code(file.id)}) in **{plain(room.name)}** was classified above the room, whose people have "
            "it already. Raise the incident's level with `classify`, or redact the message.",
        )
    return True


# --- going ------------------------------------------------------------------------------------------------


async def _withdrawn(turn: Turn, fact: FileWithdrawn, policy: Policy) -> bool:
    work = turn.work
    copy = await vouched(turn, fact.by, fact.confirmed_ms, policy)
    file = await work.files.get(fact.file_id)
    room = None if file is None else await work.rooms.of_incident(IncidentId(file.lane))
    if file is None or room is None or not await may_go(work, file, room):
        return False
    is_own = file.details.uploaded_by == fact.by.username
    if not is_own and policy.roles.of(copy[0].roles).isdisjoint(MODERATES):
        return False
    if not await _may(work, room, copy, level_of(file.details, room.classification), policy):
        return False
    message = await work.messages.get(file.message_id) if file.message_id else None
    said = said_in(file, message, room)
    if file.event_id is not None and said is not None:
        # The bot may take back whatever anybody has said; a ghost only what it has said itself.
        await turn.emit("redact", Redact(room_id=said, event_id=file.event_id))
    if message is not None and message.event_id in {file.event_id, unsent(message.id)} and is_alone(message, file):
        await take_away(turn, room, message, Person(fact.user_id, fact.by.username), policy)
    else:
        if message is not None:
            await _take_from(turn, room, message, file)
        await forget(turn, file, policy)
    await turn.note(
        "file.deleted", actor=fact.by.username, subject=file.id, details={"room": room.war_room, "own": is_own}
    )
    return True


async def redacted(turn: Turn, room: Room, event_id: EventId, policy: Policy) -> None:
    """The event that carried a file behind a message was taken back in the room."""
    found = await turn.work.files.by_event(event_id)
    for file in found:
        message = await turn.work.messages.get(file.message_id) if file.message_id else None
        if message is not None:
            await _take_from(turn, room, message, file)
    await let_go(turn, room, found, policy)


async def _take_from(turn: Turn, room: Room, message: Message, file: ChatFile) -> None:
    kept = tuple(one for one in message.details.files if one != file.id)
    await turn.work.messages.put(replace(message, details=replace(message.details, files=kept)))
    turn.tell(MessageUpdated(war_room=room.war_room, message_id=message.id))


def is_alone(message: Message, file: ChatFile) -> bool:
    """Whether a message is a file and nothing besides."""
    return message.details.message_type == "FILE" and message.details.files == (file.id,)


async def _may(work: Work, room: Room, copy: Copy, level: Classification, policy: Policy) -> bool:
    """Whether somebody may be in the room, and know of a file of this level."""
    circle = await circle_of(work, room)
    found = await permission_of(work, room, copy[0].username, policy, known=(circle, copy))
    return found.allowed and found.up_to is not None and level <= found.up_to

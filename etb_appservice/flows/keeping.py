"""How long files are kept, whatever becomes of what carried them: one rule, by whichever way a file goes.

    deleted by itself ──────────────────────────┐
    its message deleted, here or in Matrix ─────┼─► the time is over ─► gone on every side
    its event redacted ─────────────────────────┘   └─ not yet ─► withdrawn: kept, shown to auditors and compliance
                                                                     └─ FileOver: the time is over ─► gone

What is said goes at once, and the room loses the event with its key; only this record can still open the bytes.
Under a legal hold (holds.py) no file goes, whatever its time.
"""

from collections.abc import Iterable
from dataclasses import replace

from etb_appservice.domain.clearance import OurRole
from etb_appservice.domain.effects import DeleteMedia
from etb_appservice.domain.facts import FileOver
from etb_appservice.domain.files import kept_until_ms, level_of
from etb_appservice.domain.holds import HOLD, LegalHold
from etb_appservice.domain.ids import RoomId, WarRoomId
from etb_appservice.domain.policy import Policy
from etb_appservice.flows.turn import Turn
from etb_appservice.ports import ChatFile, Message, Room, Work

HELD = "This incident is under legal hold: nothing of it can be deleted until the hold is released in ETB."
"""What whoever wants to delete something reads."""
SEES_WITHDRAWN = frozenset[OurRole]({"auditor", "compliance"})
"""To whom a file is shown that was withdrawn."""
_DAY_MS = 86_400_000


def kept_until(file: ChatFile, room: Room) -> int:
    """Until when it must be kept, as it is classified now."""
    return kept_until_ms(file.created_ms, level_of(file.details, room.classification))


async def hold_of(work: Work, war_room: WarRoomId) -> LegalHold | None:
    """The legal holds of a war room's incident that are in force."""
    found = await work.cases.get(war_room, LegalHold, HOLD)
    return found if found is not None and found.is_open else None


async def is_held(work: Work, war_room: WarRoomId) -> bool:
    """Whether nothing of it may be deleted now."""
    return await hold_of(work, war_room) is not None


async def may_go(work: Work, file: ChatFile, room: Room) -> bool:
    """Whether the time is over for which a file must be kept, and no hold on it."""
    return work.now_ms() >= kept_until(file, room) and not await is_held(work, room.war_room)


def said_in(file: ChatFile, message: Message | None, room: Room) -> RoomId | None:
    """The room in which its event is: a war room may have been given another one since."""
    return file.details.room_id or (message.room_id if message is not None else room.room_id)


async def let_go(turn: Turn, room: Room, files: Iterable[ChatFile], policy: Policy) -> None:
    """What carried them is gone: they go too, or are kept, withdrawn, until they may."""
    for file in files:
        if await may_go(turn.work, file, room):
            await forget(turn, file, policy)
        elif file.withdrawn_ms is None:
            await turn.work.files.put(replace(file, withdrawn_ms=turn.now_ms))
            await _wait(turn, room, file)
            await turn.note("file.withdrawn", subject=file.id, details={"room": room.war_room})


async def forget(turn: Turn, file: ChatFile, policy: Policy) -> None:
    """Nothing of it stays."""
    if policy.administers:
        for number, one in enumerate((file.details.file, file.details.thumbnail)):
            if one is not None:
                await turn.emit(f"media/{file.id}/{number}", DeleteMedia(mxc=one.mxc))
    await turn.work.files.forget([file.id])


async def over(turn: Turn, fact: FileOver, policy: Policy) -> None:
    """The time may be over; whoever classified it anew meanwhile has moved that."""
    file = await turn.work.files.get(fact.file_id)
    room = None if file is None else await turn.work.rooms.by_war_room(file.war_room)
    if file is None or room is None or file.withdrawn_ms is None:
        return
    if not await may_go(turn.work, file, room):
        await _wait(turn, room, file)
        return
    await forget(turn, file, policy)
    await turn.note("file.deleted", subject=file.id, details={"room": room.war_room, "own": False})


async def _wait(turn: Turn, room: Room, file: ChatFile) -> None:
    until_ms = kept_until(file, room)
    if until_ms <= turn.now_ms:  # what a hold keeps is looked at each day
        until_ms = turn.now_ms + _DAY_MS
    await turn.follow(
        FileOver(file_id=file.id), ("file over", file.id, str(until_ms)), lane=file.lane, due_ms=until_ms
    )

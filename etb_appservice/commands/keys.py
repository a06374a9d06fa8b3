"""`keys`: which devices have no key, why, since when, what follows, and what their owner does."""

from collections.abc import Sequence
from dataclasses import dataclass

from etb_appservice.domain.clearance import Right
from etb_appservice.domain.devices import UnsignedDevice, shown
from etb_appservice.domain.text import code, moment, plain
from etb_appservice.flows.call import Call
from etb_appservice.flows.commands import CONTROL, INCIDENT, Answer, command
from etb_appservice.flows.grammar import UsageError
from etb_appservice.flows.numbers import room_numbered
from etb_appservice.ports import RefusedDevice, Room

_MOST = 50
_SIGN_IN_AGAIN = "sign out on that device and sign in again"
_UPLOAD = (
    "open the app on that device and leave it open for a minute, so that it uploads new ones; a device that is no "
    "longer used is signed out under Settings, Sessions"
)
_WHY = {
    "no_one_time_key": ("it has no one-time key left at its homeserver", _UPLOAD),
    "bad_signature": (
        "its one-time key is not signed by it",
        f"{_SIGN_IN_AGAIN}, and tell an operator if that doesn't help: somebody may be interfering",
    ),
    "bad_one_time_key": ("its one-time key can't be used", _SIGN_IN_AGAIN),
}
_ELSE = f"{_SIGN_IN_AGAIN}, or remove it under Settings, Sessions"
_VERIFY = "verify it on that device under Settings, Sessions, or sign it out"
_RESET = "ask an operator to accept your new identity (`trust`)"
_UNSIGNED = "unsigned"


@dataclass(frozen=True, slots=True)
class _Found:
    """What lacks a key: of one room, or of all of them."""

    refused: Sequence[RefusedDevice]
    unsigned: Sequence[tuple[Room, UnsignedDevice]]
    place: str
    names_rooms: bool


@command(needs=Right.MEMBER, where=INCIDENT | CONTROL, reads_only=True, example="keys INC-1042")
async def keys(call: Call, incident: str | None = None) -> Answer:
    """Show which devices are without the key of what is said here, why, and what their owner does.

    Those that could not be given it are tried again by themselves; those that their owners have not verified are
    given none where the incident's level asks for that. In the control room: of all rooms, or of one incident's.
    """
    found = await _of_all(call) if call.room.kind == "control" and not incident else None
    found = found or await _of_room(call, await _room(call, incident))
    lines = [_unsigned(room, one, names_room=found.names_rooms) for room, one in found.unsigned]
    lines += [await _refused(call, one, names_room=found.names_rooms) for one in found.refused]
    if not lines:
        return Answer(f"Every device in {found.place} was given its keys, as far as I know since my last start.")
    more = [f"… and {len(lines) - _MOST} more."] if len(lines) > _MOST else []
    return Answer("\n".join([f"**{len(lines)} without a key**", "", *lines[:_MOST], "", *more]).rstrip())


async def _room(call: Call, number: str | None) -> Room:
    """The room that is asked about."""
    if number is None:
        return call.room
    if call.room.kind != "control":
        raise UsageError("Of another incident I tell that in the control room only.")
    found = await room_numbered(call.work, number, instead="Send it in the room you mean.")
    if found is None:
        raise UsageError(f"I have no room of an incident {code(number, 40)}.")
    return found[0]


async def _of_room(call: Call, room: Room) -> _Found:
    refused = call.refusals.of_room(room.room_id) if room.room_id else ()
    entries = await call.work.cases.of(room.war_room, UnsignedDevice, only_open=True)
    place = "this room" if room.war_room == call.room.war_room else "that room"
    return _Found(_but(refused, entries), [(room, one) for one in entries], place, names_rooms=False)


async def _of_all(call: Call) -> _Found:
    refused: list[RefusedDevice] = list(call.refusals.everywhere())
    unsigned: list[tuple[Room, UnsignedDevice]] = []
    for war_room, entry in await call.work.cases.all_open(UnsignedDevice):
        room = await call.work.rooms.by_war_room(war_room)
        if room is not None:
            unsigned.append((room, entry))
            refused = [one for one in refused if one.room_id != room.room_id or one in _but([one], [entry])]
    return _Found(refused, unsigned, "any room", names_rooms=True)


def _but(refused: Sequence[RefusedDevice], entries: Sequence[UnsignedDevice]) -> list[RefusedDevice]:
    """Without those of which more is known."""
    known = {(one.user_id, one.device_id) for one in entries}
    return [one for one in refused if one.reason != _UNSIGNED or (one.user_id, one.device_id) not in known]


def _unsigned(room: Room, one: UnsignedDevice, *, names_room: bool) -> str:
    place = f" in **{plain(room.name)}**" if names_room else ""
    what = "signed by an identity that nobody has accepted" if one.is_replaced else "not verified by its owner"
    follows = ""
    if one.removed_ms is not None:
        follows = f"; its owner was removed {moment(one.removed_ms)}, and is invited again once it is mended"
    elif one.remove_ms is not None:
        follows = f"; its owner is removed {moment(one.remove_ms)} unless it is mended"
    return (
        f"- {shown(one)} of {code(one.user_id)}{place}: {what}, so that it is given no keys, since "
        f"{moment(one.since_ms)}{follows}. Its owner: {_RESET if one.is_replaced else _VERIFY}."
    )


async def _refused(call: Call, one: RefusedDevice, *, names_room: bool) -> str:
    room = await call.work.rooms.by_id(one.room_id) if names_room else None
    place = f" in **{plain(room.name)}**" if room else ""
    who = f"{code(one.device_id)} of {code(one.user_id)}{place}"
    if one.reason == _UNSIGNED:
        return f"- {who}: not verified by its owner, so that it is given no keys. Its owner: {_VERIFY}."
    why, fix = _WHY.get(one.reason, (plain(one.reason), _ELSE))
    tries = f"tried {one.tries} times" if one.tries > 1 else "tried once"
    return f"- {who}: {why} ({tries}). Its owner: {fix}."

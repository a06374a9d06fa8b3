"""`keys`: which devices could not be given a key, why, and what their owner does."""

from etb_appservice.domain.clearance import Right
from etb_appservice.domain.text import code, plain
from etb_appservice.flows.commands import CONTROL, INCIDENT, Answer, Call, command
from etb_appservice.ports import RefusedDevice

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


@command(needs=Right.MEMBER, where=INCIDENT | CONTROL, reads_only=True)
async def keys(call: Call) -> Answer:
    """Show which devices could not be given the key of what is said here, why, and what their owner does.

    In the control room: of all rooms. They are tried again by themselves.
    """
    if call.room.kind == "control":
        found = call.refusals.everywhere()
        lines = [await _line(call, one, where=True) for one in found[:_MOST]]
        place = "any room"
    else:
        room_id = call.room.room_id
        assert room_id is not None  # noqa: S101 - the command came from it
        found = call.refusals.of_room(room_id)
        lines = [await _line(call, one, where=False) for one in found[:_MOST]]
        place = "this room"
    if not found:
        return Answer(f"Every device in {place} was given its keys, as far as I know since my last start.")
    more = [f"… and {len(found) - _MOST} more."] if len(found) > _MOST else []
    return Answer("\n".join([f"**{len(found)} without a key**", "", *lines, "", *more]).rstrip())


async def _line(call: Call, one: RefusedDevice, *, where: bool) -> str:
    why, fix = _WHY.get(one.reason, (plain(one.reason), _ELSE))
    room = await call.work.rooms.by_id(one.room_id) if where else None
    place = f" in **{plain(room.name)}**" if room else ""
    tries = f"tried {one.tries} times" if one.tries > 1 else "tried once"
    return f"- {code(one.device_id)} of {code(one.user_id)}{place}: {why} ({tries}). Its owner: {fix}."

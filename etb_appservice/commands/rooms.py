"""`rooms`: the incident rooms there are."""

from etb_appservice.domain.clearance import Right
from etb_appservice.domain.text import plain
from etb_appservice.flows.call import Call
from etb_appservice.flows.commands import CONTROL, Answer, command

_MOST = 50


@command(needs=Right.OPERATOR, where=CONTROL, reads_only=True)
async def rooms(call: Call) -> Answer:
    """List the incident rooms, newest first, with their level and how many people are in each."""
    every = [room for room in await call.work.rooms.all_current() if room.kind == "incident"]
    if not every:
        return Answer("There are no incident rooms yet.")
    lines = []
    for listed in list(reversed(every))[:_MOST]:
        room = await call.work.rooms.by_war_room(listed.war_room) or listed  # the list comes without names
        if room.room_id is None:
            lines.append(f"- **{plain(room.name)}** ({room.classification.name}): being opened")
            continue
        joined = await call.work.rooms.members(room.room_id, "join")
        names = {user: call.policy.people.username(user) for user in joined if user != call.policy.rooms.bot}
        people = len({name or user for user, name in names.items()})  # with a ghost, still one person
        invited = len(await call.work.rooms.members(room.room_id, "invite"))
        lines.append(
            f"- **{plain(room.name)}** ({room.classification.name}): {people} joined, {invited} invited, "
            f"[open](https://matrix.to/#/{room.room_id}?via={call.policy.server_name})"
        )
    left = len(every) - len(lines)
    more = [f"… and {left} older ones."] if left else []
    return Answer("\n".join([f"**{len(every)} incident rooms**", "", *lines, "", *more]).rstrip())

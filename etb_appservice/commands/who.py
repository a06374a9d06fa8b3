"""`who`: who is here, as what, and who is missing and why."""

from collections.abc import Mapping

from etb_appservice.domain.clearance import Right
from etb_appservice.domain.ids import RoomId, UserId, Username
from etb_appservice.domain.incident import Responder
from etb_appservice.domain.rooms import INSIDE
from etb_appservice.domain.text import code
from etb_appservice.flows.call import Call
from etb_appservice.flows.commands import INCIDENT, Answer, command
from etb_appservice.flows.partners import theirs
from etb_appservice.flows.surroundings import FIXES, Surroundings, obstacle, responders

_MOST = 100


@command(needs=Right.MEMBER, where=INCIDENT, reads_only=True)
async def who(call: Call) -> Answer:
    """Show who is in the room, as what, and who is missing and why."""
    known = await call.known()
    room_id = call.room.room_id
    assert room_id is not None  # noqa: S101 - the command came from it
    belong = await responders(call.work, known.incident, call.room.classification, call.policy, Surroundings())
    by_name = {one.username: one for one in belong}
    on_web = await _on_web(call, room_id)
    here = []
    for membership, state in (("join", "joined"), ("invite", "invited, has not joined yet")):
        for user_id in await call.work.rooms.members(room_id, membership):
            username = call.policy.people.username(user_id)
            if not call.policy.is_ours(user_id):
                also = "; also here through ETB's web page" if username in on_web else ""
                here.append(await _present(call, user_id, username, by_name, state) + also)
                on_web.pop(username, None)
    here += [
        await _present(call, ghost, username, by_name, "here through ETB's web page")
        for username, ghost in on_web.items()
    ]
    missing = [
        f"- {code(one.username)} ({', '.join(one.roles)}) {_why(one)}"
        for one in belong
        if one.username not in on_web and not await _is_here(call, room_id, one.user_id)
    ]
    lines = ["**In this room**", "", *here[:_MOST]]
    if len(here) > _MOST:
        lines += [f"- … and {len(here) - _MOST} more"]
    if missing:
        lines += ["", "**Missing**", "", *missing]
    return Answer("\n".join(lines))


async def _on_web(call: Call, room_id: RoomId) -> dict[Username | None, UserId]:
    """Who speaks here by a ghost, and by which one: a person with both is shown once."""
    joined = await call.work.rooms.members(room_id, "join")
    return {name: one for one in joined if (name := call.policy.ghosts.username(one)) is not None}


async def _present(
    call: Call,
    user_id: UserId,
    username: Username | None,
    by_name: Mapping[Username, Responder],
    state: str,
) -> str:
    if username is None:
        of = ", ".join(one.name for one in theirs(call.policy, user_id))
        return f"- {code(user_id)}: {f'of partner {code(of)}' if of else 'not linked to an ETB user'}; {state}"
    responder = by_name.get(username)
    roles = ", ".join(responder.roles) if responder else "no role here"
    why = responder.obstacle if responder else await _obstacle(call, username)
    is_ghost = call.policy.is_ours(user_id)
    by = "" if is_ghost else f" ({code(user_id)})"
    doubt = f"; {FIXES[why]}" if why and not (is_ghost and why == "unmapped") else ""
    return f"- {code(username)}{by}: {roles}; {state}{doubt}"


async def _obstacle(call: Call, username: Username) -> str:
    return await obstacle(call.work, username, call.room.classification, call.policy, Surroundings())


async def _is_here(call: Call, room_id: RoomId, user_id: UserId | None) -> bool:
    return user_id is not None and await call.work.rooms.membership(room_id, user_id) in INSIDE


def _why(one: Responder) -> str:
    if one.obstacle:
        return FIXES[one.obstacle]
    return f"has left, or declined. {code(f'invite {one.username}')} invites them again."

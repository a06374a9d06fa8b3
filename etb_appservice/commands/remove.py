"""`remove`: somebody shall not be in the room any more."""

from dataclasses import replace

from etb_appservice.domain.breakglass import BreakGlass
from etb_appservice.domain.clearance import Right
from etb_appservice.domain.guests import Guest
from etb_appservice.domain.ids import UserId
from etb_appservice.domain.roles import Admitted
from etb_appservice.domain.rooms import INSIDE
from etb_appservice.domain.text import code
from etb_appservice.flows.commands import INCIDENT, Answer, Call, Person, command, person
from etb_appservice.flows.permitted import circle_of
from etb_appservice.flows.removals import remove as put_out

_REASON = "You were removed by whoever leads this incident. Ask them if you think that is a mistake."


@command(needs=Right.COMMANDER, where=INCIDENT, example="remove carol")
async def remove(call: Call, user: Person) -> Answer:
    """Put somebody out of this room, by ETB username or Matrix id; they get no keys from then on.

    Whoever was let in is let in no longer. Whom ETB names for the incident, or who holds a role in it, is not
    invited again by itself, but can be by `invite`.
    """
    user_id = await _meant(call, user)
    if user_id is None:
        return Answer(f"{code(user)} has no Matrix account here.", "FAILED")
    if user_id == call.actor.user_id:
        return Answer("Leave the room in your client instead: you would lock yourself out.", "FAILED")
    is_bot = call.policy.is_ours(user_id) and call.policy.ghosts.username(user_id) is None
    if is_bot or user_id in call.policy.rooms.additional_creators:
        return Answer(f"{code(user_id)} belongs to this service and stays.", "FAILED")
    room_id = call.room.room_id
    assert room_id is not None  # noqa: S101 - the command came from it
    was_let_in = await _close(call, user_id)
    username = call.policy.people.username(user_id)
    ghost = call.policy.ghosts.user_id(username) if username else None
    if ghost not in {None, user_id} and await call.work.rooms.membership(room_id, ghost) in INSIDE:
        await put_out(call.turn, room_id, ghost, _REASON, call.policy)
    if await call.work.rooms.membership(room_id, user_id) not in INSIDE:
        text = "was not in this room; they are let in no longer." if was_let_in else "is not in this room."
        return Answer(f"{code(user_id)} {text}", "SUCCESS" if was_let_in else "FAILED")
    await put_out(call.turn, room_id, user_id, _REASON, call.policy)
    await call.turn.note(
        "person.removed",
        actor=call.actor.user_id,
        subject=call.room.war_room,
        details={"user": user_id, "why": "by command"},
    )
    named = (await circle_of(call.work, call.room)).held_by(username) if username else ()
    more = (
        f" They are still {', '.join(named)} of this incident: change that too, if it shall end." if named else ""
    )
    return Answer(f"Removed {code(user_id)}.{more}")


async def _meant(call: Call, word: str) -> UserId | None:
    """Also somebody whom nobody maps, by their id; who has none is here through their ghost."""
    if word.startswith("@") and ":" in word:
        return UserId(word)
    name = person(call.policy, word)
    return call.policy.people.user_id(name) or call.policy.ghosts.user_id(name)


async def _close(call: Call, user_id: UserId) -> bool:
    """Undo by what they were let in; whether there was anything."""
    war_room, found = call.room.war_room, False
    grant = await call.work.cases.get(war_room, BreakGlass, user_id)
    if grant is not None and grant.is_open:
        await call.work.cases.put(war_room, replace(grant, is_open=False))
        found = True
    username = call.policy.people.username(user_id)
    if username is None:
        return found
    admitted = await call.work.cases.get(war_room, Admitted, username)
    if admitted is not None and admitted.is_open:
        await call.work.cases.put(war_room, replace(admitted, is_open=False))
        found = True
    guest = await call.work.cases.get(war_room, Guest, username)
    if guest is not None:
        roles = tuple(role for role in guest.roles if role != "let in")
        await call.work.cases.put(war_room, replace(guest, roles=roles, stays=False))
    return found

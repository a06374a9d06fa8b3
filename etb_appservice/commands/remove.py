"""`remove`: somebody shall not be in the room any more."""

from etb_appservice.domain.clearance import Right
from etb_appservice.domain.ids import UserId
from etb_appservice.domain.text import code
from etb_appservice.flows.call import Call
from etb_appservice.flows.commands import INCIDENT, Answer, command
from etb_appservice.flows.grammar import Person, person
from etb_appservice.flows.participants import put_out
from etb_appservice.flows.permitted import circle_of


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
    username = call.policy.people.username(user_id)
    was_there, was_let_in = await put_out(
        call.turn, call.room, user_id, username, call.policy, by=call.actor.user_id
    )
    if not was_there:
        text = "was not in this room; they are let in no longer." if was_let_in else "is not in this room."
        return Answer(f"{code(user_id)} {text}", "SUCCESS" if was_let_in else "FAILED")
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

"""`trust`: somebody's encryption was reset, and it was them."""

from etb_appservice.domain.clearance import Right
from etb_appservice.domain.effects import AcceptIdentity
from etb_appservice.domain.ids import UserId
from etb_appservice.domain.text import code
from etb_appservice.flows.call import Call
from etb_appservice.flows.commands import CONTROL, Answer, command
from etb_appservice.flows.grammar import Person, UsageError, person


@command(needs=Right.OPERATOR, where=CONTROL, example="trust @alice:example.org")
async def trust(call: Call, user: Person) -> Answer:
    """Accept somebody's new cross-signing identity, by Matrix id or ETB username, once you know that it is theirs.

    Whoever resets their encryption has another identity from then on, and so has everybody whose homeserver
    pretends it: ask them by another way than Matrix. The devices that it has signed count as verified again.
    """
    user_id = UserId(user) if user.startswith("@") and ":" in user else None
    if user_id is None:
        user_id = call.policy.people.user_id(person(call.policy, user))
    if user_id is None:
        raise UsageError(f"ETB user {code(user)} has no Matrix account here.")
    if call.policy.is_ours(user_id):
        raise UsageError("That is one of mine.")
    if user_id == call.actor.user_id:
        return Answer("Another operator has to vouch for you.", "REFUSED")
    await call.turn.emit("trust", AcceptIdentity(user_id=user_id))
    await call.turn.note("identity.accepted", actor=call.actor.user_id, subject=user_id)
    return Answer(f"The present identity of {code(user_id)} counts from now on.")

"""`invite`: somebody is needed here whom ETB doesn't name."""

from etb_appservice.domain.clearance import Right
from etb_appservice.domain.ids import UserId
from etb_appservice.domain.partners import Partner
from etb_appservice.domain.text import code, plain
from etb_appservice.flows.call import Call
from etb_appservice.flows.commands import INCIDENT, Answer, Asking, command
from etb_appservice.flows.grammar import Person, UsageError, person
from etb_appservice.flows.named import Found, look_up, why_not
from etb_appservice.flows.participants import let_in
from etb_appservice.flows.partners import bring_in_theirs, theirs
from etb_appservice.flows.permitted import permission
from etb_appservice.flows.surroundings import FIXES


async def ask_etb(asking: Asking) -> Found | None:
    """Who they are."""
    return await look_up(asking, asking.arguments["user"])


@command(needs=Right.RESPONDER, where=INCIDENT, prepare=ask_etb, example="invite carol")
async def invite(call: Call, user: Person) -> Answer:
    """Let somebody in whom ETB doesn't name for this incident, by ETB username or Matrix id.

    They need an active ETB account, a Matrix account here, and a clearance that reaches the incident's level.
    Somebody of a partner that is let in here is invited by Matrix id.
    """
    of_partners = theirs(call.policy, UserId(user))
    if of_partners:
        return await _of_partner(call, UserId(user), of_partners[0])
    try:
        name = person(call.policy, user)
    except UsageError as error:
        return Answer(f"{error} An operator links people under `people.entries` in the configuration.", "FAILED")
    user_id = call.policy.people.user_id(name)
    if user_id is None:
        return Answer(f"ETB user {code(name)} {FIXES['unmapped']}", "FAILED")
    room_id = call.room.room_id
    assert room_id is not None  # noqa: S101 - the command came from it
    if await call.work.rooms.membership(room_id, user_id) == "join":
        return Answer(f"{code(name)} is in this room already.")
    obstacle = await why_not(call, name)
    if obstacle:
        return Answer(obstacle, "FAILED")
    match await let_in(call.turn, call.room, room_id, name, user_id, call.policy, by=call.actor.user_id):
        case "banned":
            return Answer(f"{code(name)} ({code(user_id)}) was banned from this room. Ask an operator.", "FAILED")
        case "invited":
            return Answer(f"Invited {code(name)} ({code(user_id)}).")
        case _:
            return Answer(f"{code(name)} ({code(user_id)}) is invited already, and has not joined yet.")


async def _of_partner(call: Call, user_id: UserId, partner: Partner) -> Answer:
    """Nobody of a partner that isn't let in; `permission` says which one is, and up to which level."""
    allowed = await permission(call.work, call.room, user_id, call.policy)
    if not allowed.allowed:
        prefix = call.policy.commands.prefixes[0]
        above = f"{code(user_id)} is of partner **{plain(partner.name)}**, which may know incidents up to "
        outside = f"{code(user_id)} is of partner **{plain(partner.name)}**, which is not let in here. "
        if allowed.up_to is not None:
            return Answer(f"{above}{allowed.up_to.name} only.", "FAILED")
        return Answer(f"{outside}`{prefix}partner admit {partner.name}` asks for that.", "FAILED")
    match await bring_in_theirs(call.turn, call.room, user_id, call.policy, by=call.actor.user_id):
        case "later":
            return Answer(f"{code(user_id)} is invited as soon as the new room is there.")
        case "banned":
            return Answer(f"{code(user_id)} was banned from this room. Ask an operator.", "FAILED")
        case "invited":
            return Answer(f"Invited {code(user_id)} of partner **{plain(partner.name)}**.")
        case "joined":
            return Answer(f"{code(user_id)} is in this room already.")
        case _:
            return Answer(f"{code(user_id)} is invited already, and has not joined yet.")

"""`link` and `unlink`: an ETB user says which Matrix account is theirs."""

from etb_appservice.domain.clearance import Right
from etb_appservice.domain.text import code
from etb_appservice.flows.call import Call
from etb_appservice.flows.commands import CONTROL, DIRECT, Answer, command
from etb_appservice.flows.grammar import Person, Rest, person
from etb_appservice.flows.links import redeem
from etb_appservice.flows.links import unlink as no_longer

_ANSWERS = {
    "linked before": "This account is linked to you already.",
    "wrong": "That is no code, or it is over, or it was used. Ask for a new one on ETB's web page; it is good for "
    "ten minutes.",
    "too often": "That was wrong too often. Wait an hour, then ask for a new code on ETB's web page.",
    "configured": "An operator has already said which Matrix account is yours. Ask an operator to change it.",
    "another's": "This Matrix account belongs to another ETB user. Ask an operator.",
    "not ours": "Only an account on a homeserver of this organisation can be linked.",
}


@command(needs=Right.ANYBODY, where=DIRECT, example="link 7K2M-QX4B-9RTD")
async def link(call: Call, typed: Rest) -> Answer:
    """Link this Matrix account to your ETB user, with the code that ETB's web page shows you.

    From then on you are invited to the rooms of your incidents, and one person on both sides.
    """
    answer = await redeem(call.turn, call.actor.user_id, typed, call.policy)
    if answer == "linked":
        return Answer("This account is linked to your ETB user now. You are invited where you belong.")
    return Answer(_ANSWERS[answer], "SUCCESS" if answer == "linked before" else "REFUSED")


@command(needs=Right.MEMBER, where=DIRECT | CONTROL, example="unlink alice")
async def unlink(call: Call, user: Person | None = None) -> Answer:
    """Undo `link`: your own, or as an operator in the control room that of an ETB user.

    The account loses at once what it may do here by it.
    """
    if call.room.kind != "control":
        if user is not None:
            return Answer("Of somebody else only an operator undoes it, in the control room.", "REFUSED")
        username = call.actor.username
    else:
        username = person(call.policy, user) if user is not None else None
    if username is None:
        return Answer("Whose? Name the ETB user.", "FAILED")
    if not await no_longer(call.turn, username, by=call.actor.user_id):
        return Answer(f"{code(username)} has linked no account.", "FAILED")
    return Answer(f"The Matrix account of {code(username)} is linked no longer.")

"""`catchup`: how things stand, told to the asker alone."""

from etb_appservice.domain.clearance import Right
from etb_appservice.flows.call import Call
from etb_appservice.flows.catchup import how_things_stand, tell
from etb_appservice.flows.commands import INCIDENT, Answer, command


@command(needs=Right.MEMBER, where=INCIDENT, example="catchup", reads_only=True)
async def catchup(call: Call) -> Answer:
    """Tell you in a private chat how things stand: roles, last update, timeline, open tasks.

    Whoever joins an incident that has been open for a while gets the same without asking.
    """
    known = await call.known()
    text = await how_things_stand(call.work, call.room, known.incident, call.policy)
    await tell(call.turn, call.room, call.actor.user_id, text, call.run_id, call.policy)
    await call.turn.note(
        "catchup.sent", subject=call.room.war_room, details={"user": call.actor.user_id, "why": "asked"}
    )
    return Answer("I have written to you in our private chat.")

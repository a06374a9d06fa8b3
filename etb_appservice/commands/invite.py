"""`invite`: somebody is needed here whom ETB doesn't name."""

from etb_appservice.domain.clearance import Right
from etb_appservice.domain.facts import PeopleDue
from etb_appservice.domain.text import code
from etb_appservice.flows.admission import admit, bring_in
from etb_appservice.flows.commands import (
    INCIDENT,
    Answer,
    Asking,
    Call,
    Person,
    UsageError,
    command,
    person,
)
from etb_appservice.flows.named import Found, look_up, why_not
from etb_appservice.flows.surroundings import FIXES


async def ask_etb(asking: Asking) -> Found | None:
    """Who they are."""
    return await look_up(asking, asking.arguments["user"])


@command(needs=Right.RESPONDER, where=INCIDENT, prepare=ask_etb, example="invite carol")
async def invite(call: Call, user: Person) -> Answer:
    """Let somebody in whom ETB doesn't name for this incident, by ETB username or Matrix id.

    They need an active ETB account, a Matrix account here, and a clearance that reaches the incident's level.
    """
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
    turn, asker = call.turn, call.actor.user_id
    if await admit(turn, call.room.war_room, name, by=asker, why="invited"):
        await turn.follow(PeopleDue(incident_id=call.incident_id), ("people", turn.ref, "invites"))
    match await bring_in(turn, call.room, room_id, user_id, by=asker):
        case "banned":
            return Answer(f"{code(name)} ({code(user_id)}) was banned from this room. Ask an operator.", "FAILED")
        case "invited":
            return Answer(f"Invited {code(name)} ({code(user_id)}).")
        case _:
            return Answer(f"{code(name)} ({code(user_id)}) is invited already, and has not joined yet.")

"""`invite`: somebody is needed here whom ETB doesn't name."""

from dataclasses import dataclass

from etb_appservice.domain.clearance import Right, may_enter
from etb_appservice.domain.facts import PeopleDue
from etb_appservice.domain.ids import Username
from etb_appservice.domain.incident import EtbUser
from etb_appservice.domain.text import code
from etb_appservice.flows.admission import admit, bring_in
from etb_appservice.flows.commands import (
    INCIDENT,
    Answer,
    Asking,
    Call,
    Person,
    UsageError,
    answered,
    command,
    person,
)
from etb_appservice.flows.surroundings import FIXES, level_of


@dataclass(frozen=True, slots=True)
class Found:
    """What ETB said of the name that was given; `user` None: it knows no such user."""

    user: EtbUser | None


async def look_up(asking: Asking) -> Found | None:
    """The user as ETB has them; None when ETB didn't answer."""
    try:
        username = person(asking.policy, asking.arguments["user"])
    except UsageError:
        return None
    return await answered(asking, asking.etb.user(username), Found)


@command(needs=Right.RESPONDER, where=INCIDENT, prepare=look_up, example="invite carol")
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
    obstacle = await _obstacle(call, name)
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


async def _obstacle(call: Call, name: Username) -> str:
    """Why they may not come in; empty when they may."""
    if isinstance(call.before, Found):
        found = call.before.user
        if found is None:
            return f"ETB knows no user {code(name)}."
        await call.work.incidents.put_user(found, call.turn.now_ms)
    else:
        known = await call.work.incidents.user(name)
        hold_ms = call.policy.commands.rights_hold_s * 1000
        if known is None or call.turn.now_ms - known[1] > hold_ms:
            return f"ETB does not answer, so I can't see whether {code(name)} may come in. Try again."
        found = known[0]
    last = await call.work.incidents.get(call.incident_id)
    level = call.room.classification
    if last is not None:
        level = max(level, level_of(last.incident, call.policy))
    decision = may_enter(found.clearance, is_active=found.is_active, level=level)
    return "" if decision.allowed else f"ETB user {code(name)} {FIXES[decision.reason]}"

"""From an incident that was declared in a room to the room of that incident.

    declare ─► DeclareIncident ─► its number is told ─► Declaration kept, whoever declared it let in
                                       └─► IncidentDue ─► seen ─► OpenRoom ─► opened ─► the room is told

Where ETB's own word comes first (a webhook, a poll), the room may be open by then: it is told then.
"""

from dataclasses import replace

from etb_appservice.domain.declared import Declaration
from etb_appservice.domain.effects import Say
from etb_appservice.domain.facts import IncidentDue
from etb_appservice.domain.ids import IncidentId, RoomId, UserId, war_room_id
from etb_appservice.domain.policy import Policy
from etb_appservice.domain.rooms import INSIDE
from etb_appservice.domain.text import code, plain
from etb_appservice.flows.admission import admit
from etb_appservice.flows.surroundings import FIXES, Surroundings, obstacle
from etb_appservice.flows.turn import Turn
from etb_appservice.ports import CommandRun, Room


async def await_room(turn: Turn, run: CommandRun, incident_id: IncidentId, number: str, policy: Policy) -> None:
    """Let in whoever declared it, tell them once its room is open, and have ETB asked for it at once."""
    war_room = war_room_id(incident_id)
    declaration = Declaration(
        id=run.id,
        number=number,
        by=run.caller,
        room_id=run.room_id,
        event_id=run.event_id,
        thread_root=run.thread_root,
    )
    await turn.work.cases.put(war_room, declaration)
    username = policy.people.username(run.caller)
    if username is not None:
        await admit(turn, war_room, username, by=run.caller, why="declared it")
    await turn.follow(IncidentDue(incident_id=incident_id), ("declared", turn.ref), lane=incident_id)


async def room_is_open(turn: Turn, room: Room, policy: Policy) -> None:
    """Tell whoever declared the incident of its room, once; nothing while the room is being opened."""
    if room.room_id is None:
        return
    for declaration in await turn.work.cases.of(room.war_room, Declaration, only_open=True):
        await turn.work.cases.put(room.war_room, replace(declaration, is_open=False))
        link = f"[{plain(declaration.number)}]({room_link(room.room_id, policy)})"
        invited = await _invited(turn, room, room.room_id, declaration.by, policy)
        await turn.emit(
            f"declared/{declaration.id}",
            Say(
                room_id=declaration.room_id,
                content=f"The room of {link} is open. {invited}",
                reply_to=declaration.event_id,
                thread_root=declaration.thread_root,
                purpose="answer",
            ),
        )


def room_link(room_id: RoomId, policy: Policy) -> str:
    """Where any Matrix client opens a room (Matrix specification, "matrix.to navigation")."""
    return f"https://matrix.to/#/{room_id}?via={policy.server_name}"


async def _invited(turn: Turn, room: Room, room_id: RoomId, user_id: UserId, policy: Policy) -> str:
    """Whether they can come in, and why not."""
    if await turn.work.rooms.membership(room_id, user_id) in INSIDE:
        return "You are invited."
    username = policy.people.username(user_id)
    if username is None:
        return "You are not invited, since your Matrix account is not linked to an ETB user."
    why = await obstacle(turn.work, username, room.classification, policy, Surroundings())
    return f"You are not invited: ETB user {code(username)} {FIXES.get(why, 'has left it before.')}"

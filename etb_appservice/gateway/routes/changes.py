"""War rooms: opening, naming, archiving them, and who takes part (docs/etb-contract.md 3.1, 3.4, 3.6)."""

import asyncio
from collections.abc import Sequence
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from etb_appservice.domain.facts import RoomAsked, RoomChangeAsked
from etb_appservice.domain.ids import IncidentId, Username, WarRoomId, new_id, war_room_id
from etb_appservice.domain.incident import EtbUser, Incident
from etb_appservice.domain.outcomes import Failure, Refused
from etb_appservice.flows.permitted import newer, permission_of
from etb_appservice.flows.standing import web_actor
from etb_appservice.flows.webrooms import NO_PERMISSION, circle_around, may_change
from etb_appservice.gateway.doors import Sight
from etb_appservice.gateway.gate import Gate
from etb_appservice.gateway.objects import Privacy, WarRoomDetail
from etb_appservice.gateway.problems import Problem, away, invalid, not_found
from etb_appservice.gateway.routes.rooms import whole
from etb_appservice.gateway.table import Answer, B, Body, Call, Nothing, Q, Route, route
from etb_appservice.gateway.warrooms import detail, taking_part

_OPENING_S = 20.0
_LOOK_S = 0.1
_MOST_PEOPLE = 100
People = Annotated[list[UUID], Field(max_length=_MOST_PEOPLE)]
Name = Annotated[str, Field(min_length=1, max_length=200)]
Description = Annotated[str, Field(max_length=4000)]


class OpenRoom(Body):
    """Who else may be in the room of the incident."""

    privacy_level: Privacy | None = None
    """Follows the incident's classification; another one is refused, but for `PRIVATE`, which is the least."""
    allowed_user_ids: People = Field(default_factory=list)
    """ETB's ids of people to be let in, besides those whom ETB names for the incident."""


class NewRoom(OpenRoom):
    """A war room for an incident; there is one of each."""

    incident_id: UUID
    name: Name | None = None
    """How ETB's pages call it; its incident's number and title where it is left out."""
    description: Description = ""


class RoomChange(Body):
    """What of a war room is changed. What follows its incident can't be: it may be sent back as it is."""

    name: Name | None = None
    description: Description | None = None
    status: Literal["ACTIVE", "ARCHIVED", "CLOSED"] | None = None
    """`ARCHIVED` archives it; anything else than what it is can only be reached by the incident in ETB."""
    privacy_level: Privacy | None = None
    allowed_user_ids: People | None = None
    """People to be let in. Nobody is put out by being left out here: `remove_participant` does that."""


class Person(Body):
    """Somebody, by ETB's id or by username."""

    user_id: UUID | None = None
    username: Annotated[str, Field(min_length=1, max_length=150)] | None = None


_OPENS = {200: WarRoomDetail, 201: WarRoomDetail}
_CHANGES = {200: WarRoomDetail}


@route("POST", "war-rooms/", answers=_OPENS, errors=(404, 409))
async def create_war_room(call: Call[Nothing, NewRoom]) -> Answer:
    """Open the war room of an incident.

    201 when it was made, 200 when it was there. 403 when the caller has no permission for the incident, 404 when
    there is no such incident, 409 when it is over, 503 when ETB or the homeserver is away: then the room is made
    later, and asking again is harmless.
    """
    incident_id = IncidentId(str(call.body.incident_id))
    return await _open(call, incident_id, call.body, name=call.body.name or "", about=call.body.description)


@route("POST", "war-rooms/{id}/create_chat_room/", answers=_OPENS, errors=(409,))
async def create_chat_room(call: Call[Nothing, OpenRoom]) -> Answer:
    """Make the chat room of a war room, or of an incident by that incident's id.

    The same as creating the war room, and as harmless to repeat.
    """
    async with call.gate.store.view() as work:
        room = await work.rooms.by_war_room(WarRoomId(call.path["id"]))
    its_own = room.incident_id if room is not None and room.kind == "incident" else None
    return await _open(call, its_own or IncidentId(call.path["id"]), call.body)


@route("PATCH", "war-rooms/{id}/", answers=_CHANGES, errors=(409,))
async def change_war_room(call: Call[Nothing, RoomChange]) -> Answer:
    """Name, describe or archive a war room, or let people in.

    What follows from its incident can't be changed here: that is a clear error of its field.
    """
    return await _change(call)


@route("PUT", "war-rooms/{id}/", answers=_CHANGES, errors=(409,))
async def replace_war_room(call: Call[Nothing, RoomChange]) -> Answer:
    """The same as PATCH; what is left out stays."""
    return await _change(call)


@route("POST", "war-rooms/{id}/archive/", answers=_CHANGES, errors=(409,))
async def archive_war_room(call: Call[Nothing, Nothing]) -> Answer:
    """Archive the war room of an incident that has ended: it becomes read-only at once. Repeating is harmless."""
    return await _ask(call, await _enter(call), archives=True)


@route("POST", "war-rooms/{id}/add_participant/", answers=_CHANGES, errors=(409,))
async def add_participant(call: Call[Nothing, Person]) -> Answer:
    """Let somebody in whom ETB doesn't name for the incident. Their clearance has to reach its level."""
    sight = await _enter(call)
    await _may_let_in(call, sight)
    user = await _user(call.gate, call.body.user_id, call.body.username)
    return await _ask(call, sight, lets_in=(user,))


@route("POST", "war-rooms/{id}/remove_participant/", answers=_CHANGES, errors=(409,))
async def remove_participant(call: Call[Nothing, Person]) -> Answer:
    """Put somebody out of the room; whoever was let in is let in no longer.

    Whom ETB names for the incident can come back until ETB names them no longer.
    """
    sight = await _enter(call)
    async with call.gate.store.view() as work:
        people = await taking_part(work, call.gate, sight)
    wanted = str(call.body.user_id) if call.body.user_id is not None else None
    if wanted is None and call.body.username is None:
        raise invalid(user_id="This field is required.")
    names = [
        one.username
        for one in people
        if (one.id == wanted if wanted is not None else one.username == call.body.username)
    ]
    if not names:
        raise invalid(user_id="They don't take part in this room.")
    return await _ask(call, sight, puts_out=(Username(names[0]),))


# --- how --------------------------------------------------------------------------------------------------


async def _open(
    call: Call[Q, B], incident_id: IncidentId, body: OpenRoom, *, name: str = "", about: str = ""
) -> Answer:
    gate, caller = call.gate, call.caller
    incident = await _incident(gate, incident_id)
    if body.allowed_user_ids:
        await _may_open(call, incident)
    fact = RoomAsked(
        ref=new_id(gate.clock.now_ms()),
        incident_id=incident_id,
        by=caller.user,
        by_id=caller.user_id,
        confirmed_ms=caller.confirmed_ms,
        name=name,
        description=about,
        privacy=body.privacy_level or "",
        lets_in=await _users(gate, body.allowed_user_ids),
    )
    verdict = await gate.asking.ask(fact, incident_id)
    if not await _is_open(gate, incident_id):
        raise away(
            "homeserver_unavailable",
            "The homeserver has not made the room yet. It will be made; ask again in a moment.",
        )
    async with gate.store.view() as work:
        sight = await gate.doors.enter(work, caller, war_room_id(incident_id))
        shown = await detail(work, gate, await whole(work, sight), call.links)
    return Answer(shown, 201 if verdict.outcome == "done" else 200)


_FOLLOWS = "Follows the classification of the incident in ETB."


async def _incident(gate: Gate, incident_id: IncidentId) -> Incident:
    """As our tables have it, else ETB; raises Problem 404 or 503."""
    async with gate.store.view() as work:
        known = await work.incidents.get(incident_id)
    if known is not None:
        return known.incident
    try:
        async with asyncio.timeout(gate.policy.commands.etb_wait_s):
            return await gate.etb.incident(incident_id)
    except Refused as no:
        raise (not_found() if no.code == "404" else _etb_away()) from None
    except (Failure, TimeoutError):
        raise _etb_away() from None


async def _may_open(call: Call[Q, B], incident: Incident) -> None:
    """Asked before ETB is asked for anybody: who may not open the room isn't told who there is."""
    gate, name = call.gate, call.caller.user.username
    async with gate.store.view() as work:
        circle = await circle_around(work, incident, gate.policy)
        copy = newer(await work.incidents.user(name), call.caller.copy)
        found = await permission_of(work, circle.room, name, gate.policy, known=(circle, copy))
    if not found.allowed:
        raise Problem(403, "forbidden", NO_PERMISSION)


async def _may_let_in(call: Call[Q, B], sight: Sight, *, leads: bool = False) -> None:
    """The same for a room that is there; `leads`: more is asked for at once."""
    gate, caller = call.gate, call.caller
    async with gate.store.view() as work:
        user, _ = newer(await work.incidents.user(caller.user.username), caller.copy)
        actor = web_actor(sight.circle, sight.incident, user, caller.user_id, work.now_ms(), gate.policy)
    decision = may_change(actor, sight.circle, gate.policy, leads=leads)
    if not decision.allowed:
        raise Problem(403, "forbidden", decision.reason)


async def _is_open(gate: Gate, incident_id: IncidentId) -> bool:
    """Wait until the homeserver has made the room, for a while."""
    try:
        async with asyncio.timeout(_OPENING_S):
            while True:
                async with gate.store.view() as work:
                    room = await work.rooms.of_incident(incident_id)
                if room is not None and room.room_id is not None:
                    return True
                await asyncio.sleep(_LOOK_S)
    except TimeoutError:
        return False


async def _change(call: Call[Nothing, RoomChange]) -> Answer:
    body = call.body
    sight = await _enter(call)
    async with call.gate.store.view() as work:
        before = await whole(work, sight)
    if body.privacy_level not in {None, before.privacy}:
        raise invalid(privacy_level=_FOLLOWS)
    if body.status not in {None, "ARCHIVED", before.status}:
        raise invalid(status="Follows the incident's status in ETB; only ARCHIVED can be set here.")
    description = before.web.description or sight.incident.description
    called = body.name if body.name not in {None, before.name} else None
    described = body.description if body.description not in {None, description} else None
    archives = body.status == "ARCHIVED" and before.status != "ARCHIVED"
    if body.allowed_user_ids:
        leads = archives or called is not None or described is not None
        await _may_let_in(call, sight, leads=leads)
    return await _ask(
        call,
        sight,
        name=called,
        description=described,
        archives=archives,
        lets_in=await _users(call.gate, body.allowed_user_ids or ()),
    )


async def _ask(
    call: Call[Q, B],
    sight: Sight,
    *,
    name: str | None = None,
    description: str | None = None,
    archives: bool = False,
    lets_in: tuple[EtbUser, ...] = (),
    puts_out: tuple[Username, ...] = (),
) -> Answer:
    gate, caller = call.gate, call.caller
    fact = RoomChangeAsked(
        ref=new_id(gate.clock.now_ms()),
        war_room=sight.room.war_room,
        by=caller.user,
        by_id=caller.user_id,
        confirmed_ms=caller.confirmed_ms,
        name=name,
        description=description,
        archives=archives,
        lets_in=lets_in,
        puts_out=puts_out,
    )
    if name is not None or description is not None or archives or lets_in or puts_out:
        await gate.asking.ask(fact, sight.incident_id)
    async with gate.store.view() as work:
        seen = await gate.doors.enter(work, caller, sight.room.war_room)
        return Answer(await detail(work, gate, await whole(work, seen), call.links))


async def _enter(call: Call[Q, B]) -> Sight:
    async with call.gate.store.view() as work:
        return await call.gate.doors.enter(work, call.caller, call.path["id"])


async def _users(gate: Gate, user_ids: Sequence[UUID]) -> tuple[EtbUser, ...]:
    """As ETB has them now."""
    try:
        return tuple([await _user(gate, one, None) for one in dict.fromkeys(user_ids)])
    except Problem as problem:
        if problem.fields:
            raise invalid(allowed_user_ids=problem.fields["user_id"][0]) from None
        raise


async def _user(gate: Gate, user_id: UUID | None, username: str | None) -> EtbUser:
    if user_id is None and username is None:
        raise invalid(user_id="This field is required.")
    try:
        async with asyncio.timeout(gate.policy.commands.etb_wait_s):
            if user_id is not None:
                found = await gate.etb.user_of_id(str(user_id))
            else:
                found = await gate.etb.user(Username(username or ""))
    except (Failure, TimeoutError):
        raise _etb_away() from None
    if found is None:
        raise invalid(user_id="ETB knows no such user.")
    return found


def _etb_away() -> Problem:
    return away("etb_unavailable", "ETB can't be asked now. Try again in a moment.")


TABLE: tuple[Route, ...] = (
    create_war_room,
    create_chat_room,
    change_war_room,
    replace_war_room,
    archive_war_room,
    add_participant,
    remove_participant,
)

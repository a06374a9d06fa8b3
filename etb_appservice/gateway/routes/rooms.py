"""War rooms: reading them (docs/etb-contract.md 3)."""

from collections.abc import Callable
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from etb_appservice.gateway.doors import Sight
from etb_appservice.gateway.objects import Page, Participant, Privacy, RoomStatus, WarRoomDetail, WarRoomItem
from etb_appservice.gateway.pages import Created, Paged, neighbours, slice_of
from etb_appservice.gateway.table import Answer, Call, Nothing, Route, route
from etb_appservice.gateway.warrooms import Standing, detail, item, standing_of, taking_part, tallies_of
from etb_appservice.ports import Work

_Key = Callable[[Standing], tuple[int, str]]
Ordering = Literal[
    "created_at", "-created_at", "last_activity", "-last_activity", "message_count", "-message_count"
]


class WarRoomQuery(Paged, Created):
    """Which war rooms; only those are listed that the caller may enter."""

    status: RoomStatus | None = None
    privacy_level: Privacy | None = None
    incident: UUID | None = None
    """ETB's id of the incident."""
    incident__severity: Annotated[str, Field(max_length=40)] | None = None
    """The incident's severity, as ETB names it."""
    search: Annotated[str, Field(max_length=200)] | None = None
    """A part of the name, the description or the incident's title, without regard to case."""
    ordering: Ordering = "-created_at"


@route("GET", "war-rooms/", answers={200: Page[WarRoomItem]})
async def list_war_rooms(call: Call[WarRoomQuery, Nothing]) -> Answer:
    """List the war rooms that the caller may enter."""
    gate, query = call.gate, call.query
    sights = [one for one in await gate.doors.visible(call.caller) if _is_asked(one, query)]
    async with gate.store.view() as work:
        tallies = await tallies_of(work, sights)
        every = [await standing_of(work, one, tallies) for one in sights]
        wanted = sorted((one for one in every if _is_wanted(one, query)), key=_key(query.ordering))
        if query.ordering.startswith("-"):
            wanted.reverse()
        results = [await item(work, gate, one) for one in slice_of(wanted, query, gate)]
    following, previous = neighbours(query, gate, len(wanted), call.links)
    return Answer(Page[WarRoomItem](count=len(wanted), next=following, previous=previous, results=results))


@route("GET", "war-rooms/{id}/", answers={200: WarRoomDetail})
async def get_war_room(call: Call[Nothing, Nothing]) -> Answer:
    """Show a war room."""
    async with call.gate.store.view() as work:
        sight = await call.gate.doors.enter(work, call.caller, call.path["id"])
        return Answer(await detail(work, call.gate, await whole(work, sight), call.links))


@route("GET", "war-rooms/{id}/participants/", answers={200: Page[Participant]})
async def list_participants(call: Call[Paged, Nothing]) -> Answer:
    """List who takes part in a war room, with their clearance."""
    gate = call.gate
    async with gate.store.view() as work:
        sight = await gate.doors.enter(work, call.caller, call.path["id"])
        people = await taking_part(work, gate, sight)
    results = list(slice_of(people, call.query, gate))
    following, previous = neighbours(call.query, gate, len(people), call.links)
    return Answer(Page[Participant](count=len(people), next=following, previous=previous, results=results))


async def whole(work: Work, sight: Sight) -> Standing:
    """All that is shown of one war room."""
    return await standing_of(work, sight, await tallies_of(work, [sight]))


def _is_asked(sight: Sight, query: WarRoomQuery) -> bool:
    """Of what needs no reading."""
    if query.incident is not None and sight.incident_id != str(query.incident):
        return False
    if query.incident__severity is not None and sight.incident.severity != query.incident__severity:
        return False
    return query.holds(sight.room.created_ms)


def _is_wanted(one: Standing, query: WarRoomQuery) -> bool:
    if query.status is not None and one.status != query.status:
        return False
    if query.privacy_level is not None and one.privacy != query.privacy_level:
        return False
    if query.search is None:
        return True
    incident = one.sight.incident
    texts = (one.name, one.web.description or incident.description, incident.title)
    return any(query.search.casefold() in text.casefold() for text in texts)


def _key(ordering: Ordering) -> _Key:
    match ordering.removeprefix("-"):
        case "last_activity":
            return lambda one: (one.tally.latest_ms, one.sight.room.war_room)
        case "message_count":
            return lambda one: (one.tally.count, one.sight.room.war_room)
        case _:
            return lambda one: (one.sight.room.created_ms, one.sight.room.war_room)


TABLE: tuple[Route, ...] = (list_war_rooms, get_war_room, list_participants)

"""The command log (docs/etb-contract.md 4.4)."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from etb_appservice.domain.ids import IncidentId
from etb_appservice.flows.past import past_of
from etb_appservice.gateway.doors import Sight
from etb_appservice.gateway.objects import Command, ExecutionStatus, Page
from etb_appservice.gateway.pages import Paged, neighbours, offset_of, size_of, slice_of
from etb_appservice.gateway.problems import not_found
from etb_appservice.gateway.reading import SCAN, hidden_from, up_to, visible_of
from etb_appservice.gateway.results import command_type_of
from etb_appservice.gateway.shows import STATUSES, Shows
from etb_appservice.gateway.table import Answer, Call, Nothing, Route, route
from etb_appservice.ports import CommandRun, Work


class CommandQuery(Paged):
    """Which runs of commands, and in which order."""

    war_room: UUID | None = None
    incident: UUID | None = None
    execution_status: ExecutionStatus | None = None
    command_type: Annotated[str, Field(max_length=20)] | None = None
    """One of those that a command has."""
    ordering: Literal["executed_at", "-executed_at"] = "-executed_at"


@route("GET", "chat-commands/", answers={200: Page[Command]})
async def list_commands(call: Call[CommandQuery, Nothing]) -> Answer:
    """List commands that were run or refused in war rooms that the caller may enter.

    The latest come first unless ordered otherwise.
    With `command_type` the latest 5,000 are looked through.
    """
    gate, query = call.gate, call.query
    sights = await visible_of(gate, call.caller, query.war_room, query.incident)
    statuses = [run for run, shown in STATUSES.items() if query.execution_status in {None, shown}]
    is_rising = query.ordering == "executed_at"
    async with gate.store.view() as work:
        hidden = await hidden_from(work, sights.values())
        if query.command_type is not None:
            runs = await work.commands.among(list(sights), statuses, limit=SCAN, hidden=hidden)
            wanted = [one for one in runs if command_type_of(one) == query.command_type]
            count, page = len(wanted), slice_of(wanted[::-1] if is_rising else wanted, query, gate)
        else:
            count = await work.commands.count(list(sights), statuses, hidden)
            skip, size = offset_of(query, gate, count), size_of(query, gate)
            page = await work.commands.among(
                list(sights), statuses, limit=size, skip=skip, oldest_first=is_rising, hidden=hidden
            )
        results = await _shown(call, work, sights, page)
    following, previous = neighbours(query, gate, count, call.links)
    return Answer(Page[Command](count=count, next=following, previous=previous, results=results))


@route("GET", "chat-commands/{id}/", answers={200: Command})
async def get_command(call: Call[Nothing, Nothing]) -> Answer:
    """Show one run of a command."""
    gate = call.gate
    async with gate.store.view() as work:
        run = await work.commands.get(call.path["id"])
        room = None if run is None or run.incident_id is None else await work.rooms.of_incident(run.incident_id)
        sight = None if room is None else await gate.doors.look(work, call.caller, room)
        if run is None or sight is None:
            raise not_found()
        if (await past_of(work, sight.room)).between(run.asked_ms, run.finished_ms) > up_to(sight):
            raise not_found()
        return Answer((await Shows(gate.policy, call.links).commands(work, sight.room, [run], up_to(sight)))[0])


async def _shown(
    call: Call[CommandQuery, Nothing], work: Work, sights: Mapping[IncidentId, Sight], runs: Sequence[CommandRun]
) -> list[Command]:
    """In this order; the runs of one room are read together."""
    shows = Shows(call.gate.policy, call.links)
    found: dict[str, Command] = {}
    for name, sight in sights.items():
        here = [one for one in runs if one.incident_id == name]
        if here:
            found |= {one.id: one for one in await shows.commands(work, sight.room, here, up_to(sight))}
    return [found[one.id] for one in runs]


TABLE: tuple[Route, ...] = (list_commands, get_command)

"""Files: which there are (docs/etb-contract.md 5.1)."""

from uuid import UUID

from etb_appservice.domain.ids import IncidentId
from etb_appservice.gateway.doors import Sight
from etb_appservice.gateway.objects import File, FileType, Page
from etb_appservice.gateway.pages import Created, Paged, neighbours, slice_of
from etb_appservice.gateway.past import Past, past_of
from etb_appservice.gateway.problems import not_found
from etb_appservice.gateway.reading import SCAN, up_to
from etb_appservice.gateway.shows import Shows, file_level
from etb_appservice.gateway.table import Answer, Call, Nothing, Route, route
from etb_appservice.ports import ChatFile, Work

_BATCH = 500


class FileQuery(Paged, Created):
    """Which files, the latest first."""

    war_room: UUID | None = None
    incident: UUID | None = None
    message: UUID | None = None
    file_type: FileType | None = None


@route("GET", "chat-files/", answers={200: Page[File]})
async def list_files(call: Call[FileQuery, Nothing]) -> Answer:
    """List the files of the war rooms that the caller may enter, the latest first.

    Of one war room the latest 5,000 are looked at. Those above the caller's clearance are neither
    shown nor counted.
    """
    gate, query = call.gate, call.query
    sights = {
        one.incident_id: one
        for one in await gate.doors.visible(call.caller)
        if query.war_room in {None, UUID(one.room.war_room)} and query.incident in {None, UUID(one.incident_id)}
    }
    async with gate.store.view() as work:
        found: list[tuple[ChatFile, Sight]] = []
        for sight in sights.values():
            found += [(one, sight) for one in await _of(work, sight) if _is_wanted(one, query)]
        found.sort(key=lambda one: one[0].id, reverse=True)
        shows = Shows(gate.policy, call.links)
        results = [(await shows.files(work, sight.room, [one]))[0] for one, sight in slice_of(found, query, gate)]
    following, previous = neighbours(query, gate, len(found), call.links)
    return Answer(Page[File](count=len(found), next=following, previous=previous, results=results))


@route("GET", "chat-files/{id}/", answers={200: File})
async def get_file(call: Call[Nothing, Nothing]) -> Answer:
    """Show what is known of a file."""
    gate = call.gate
    async with gate.store.view() as work:
        file = await work.files.get(call.path["id"])
        room = None if file is None else await work.rooms.of_incident(IncidentId(file.lane))
        sight = None if room is None else await gate.doors.look(work, call.caller, room)
        if file is None or sight is None or not _may_know(await past_of(work, sight.room), sight, file):
            raise not_found()
        return Answer((await Shows(gate.policy, call.links).files(work, sight.room, [file]))[0])


async def _of(work: Work, sight: Sight) -> list[ChatFile]:
    """The files of one war room that the caller may know of."""
    past = await past_of(work, sight.room)
    found: list[ChatFile] = []
    before = ""
    for _ in range(SCAN // _BATCH):
        batch = await work.files.latest(sight.incident_id, before, _BATCH)
        found += [one for one in batch if _may_know(past, sight, one)]
        if len(batch) < _BATCH:
            break
        before = batch[-1].id
    return found


def _may_know(past: Past, sight: Sight, file: ChatFile) -> bool:
    level = max(file_level(file.details, sight.room), past.between(file.created_ms, file.created_ms))
    return level <= up_to(sight)


def _is_wanted(file: ChatFile, query: FileQuery) -> bool:
    if query.message is not None and file.message_id != str(query.message):
        return False
    if query.file_type is not None and file.details.file_type != query.file_type:
        return False
    return query.holds(file.created_ms)


TABLE: tuple[Route, ...] = (list_files, get_file)

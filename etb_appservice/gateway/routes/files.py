"""Files that are there: which, their content, who looked at them, how they are classified (contract 5.1, 5.2)."""

import hmac
import re
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Annotated, Literal
from urllib.parse import quote
from uuid import UUID

from pydantic import Field

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.clearance import OurRole
from etb_appservice.domain.facts import FileClassified, FileLookedAt, FileWithdrawn
from etb_appservice.domain.files import FileAccess as Entry
from etb_appservice.domain.ids import IncidentId, new_id
from etb_appservice.domain.outcomes import Failure, Refused
from etb_appservice.flows.files import MODERATES
from etb_appservice.flows.keeping import HELD, SEES_WITHDRAWN, is_held, kept_until
from etb_appservice.flows.past import Past, past_of
from etb_appservice.gateway.doors import Sight
from etb_appservice.gateway.fileroom import homeserver_away
from etb_appservice.gateway.kinds import kind_of, shown_as
from etb_appservice.gateway.objects import AccessType, File, FileAccess, FileType, Level, Page, clean, moment
from etb_appservice.gateway.pages import Created, Paged, neighbours, offset_of, size_of, slice_of
from etb_appservice.gateway.problems import Problem, invalid, not_found
from etb_appservice.gateway.reading import SCAN, hidden_from, may_read, up_to, visible_of
from etb_appservice.gateway.shows import Shows, file_was, users_of
from etb_appservice.gateway.table import Answer, B, Body, Bytes, Call, Nothing, Q, Route, Stream, route
from etb_appservice.gateway.uploads import too_large
from etb_appservice.ports import ChatFile, FilesWanted, TooBig, Work

_BATCH = 500


class FileQuery(Paged, Created):
    """Which files, and in which order."""

    war_room: UUID | None = None
    incident: UUID | None = None
    message: UUID | None = None
    file_type: FileType | None = None
    ordering: Literal["uploaded_at", "-uploaded_at"] = "-uploaded_at"


@route("GET", "chat-files/", answers={200: Page[File]})
async def list_files(call: Call[FileQuery, Nothing]) -> Answer:
    """List the files of the war rooms that the caller may enter, the latest first unless ordered otherwise.

    Those above the caller's clearance are neither shown nor counted; with `file_type` the latest 5,000
    are looked through. A file whose message was deleted is kept until its retention ends, and shown to
    the auditor and compliance roles alone: `external_data.state` is `withdrawn`.
    """
    gate, query = call.gate, call.query
    sights = await visible_of(gate, call.caller, query.war_room, query.incident)
    is_rising = query.ordering == "uploaded_at"
    async with gate.store.view() as work:
        if query.message is not None:
            sights = await _around(work, sights, str(query.message))
        wanted = FilesWanted(
            up_to={lane: up_to(one) for lane, one in sights.items()},
            hidden=await hidden_from(work, sights.values()),
            withdrawn=_sees_withdrawn(call),
            message_id="" if query.message is None else str(query.message),
            from_ms=query.from_ms,
            until_ms=query.until_ms,
        )
        if query.file_type is not None:
            found = await _of_type(work, wanted, query.file_type)
            count, page = len(found), slice_of(found[::-1] if is_rising else found, query, gate)
        else:
            count = await work.files.count_among(wanted)
            skip, size = offset_of(query, gate, count), size_of(query, gate)
            page = await work.files.among(wanted, limit=size, skip=skip, oldest_first=is_rising)
        shows, shown = Shows(gate.policy, call.links), dict[str, File]()
        for lane, sight in sights.items():
            here = [one for one in page if one.lane == lane]
            if here:
                shown |= {one.id: one for one in await shows.files(work, sight.room, here, up_to(sight))}
    results = [shown[one.id] for one in page]
    following, previous = neighbours(query, gate, count, call.links)
    return Answer(Page[File](count=count, next=following, previous=previous, results=results))


@route("GET", "chat-files/{id}/", answers={200: File})
async def get_file(call: Call[Nothing, Nothing]) -> Answer:
    """Show what is known of a file."""
    return await _answer(call)


@route("GET", "chat-files/{id}/download/", answers={200: Bytes}, errors=(404, 413, 502))
async def download_file(call: Call[Nothing, Nothing]) -> Stream:
    """Fetch the content of a file.

    It is fetched from the homeserver, checked and decrypted; that it was is in its access log. When the right to
    it goes meanwhile the connection is cut: what came is shorter than `Content-Length` says.
    """
    gate = call.gate
    file, sight = await _known(call)
    details = file.details
    if details.file is None:
        raise not_found()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(gate.files.place(call.caller.user.username))
        try:
            content = await stack.enter_async_context(
                gate.files.media.fetch(details.file, gate.policy.files.most_bytes)
            )
        except TooBig:
            raise too_large(gate.policy.files.most_bytes) from None
        except Refused as refusal:
            raise Problem(502, "upstream_error", "The homeserver has lost this file, or changed it.") from refusal
        except Failure as failure:
            raise homeserver_away() from failure
        if details.sha256 and not hmac.compare_digest(details.sha256, content.sha256):
            raise Problem(502, "upstream_error", "The homeserver has lost this file, or changed it.")
        mime = kind_of(content.head, details.name)
        await _accessed(
            call, sight, file, "DOWNLOAD", "", first=("" if details.sha256 else content.sha256, content.size, mime)
        )
        await _known(call)  # to fetch it took a while: the right may be gone
        headers = {
            "Content-Type": shown_as(mime),
            "Content-Disposition": disposition(details.name),
            "Content-Security-Policy": "sandbox; default-src 'none'",
        }
        return Stream(
            pieces=content.pieces(),
            size=content.size,
            headers=headers,
            held=stack.pop_all(),
            still=lambda caller: _known(replace(call, caller=caller)),
        )


class Access(Body):
    """What somebody did with a file."""

    access_type: AccessType = "VIEW"
    reason: Annotated[str, Field(max_length=1000)] = ""


@route("POST", "chat-files/{id}/log_access/", answers={201: FileAccess}, errors=(404,))
async def log_access(call: Call[Nothing, Access]) -> Answer:
    """Record that the caller has looked at a file. Entries are never changed."""
    file, sight = await _known(call)
    access = await _accessed(call, sight, file, call.body.access_type, call.body.reason)
    return Answer(_shown(access, call.caller.user.id or None), 201)


@route("GET", "chat-files/{id}/access_log/", answers={200: Page[FileAccess]}, errors=(404,))
async def access_log(call: Call[Paged, Nothing]) -> Answer:
    """Show who has looked at a file, the latest first. For the auditor role."""
    gate, query = call.gate, call.query
    file, _ = await _known(call)
    _must_be(call, "auditor")
    async with gate.store.view() as work:
        count = await work.files.count_accesses(file.id)
        offset = offset_of(query, gate, count)
        found = await work.files.accesses(file.id, size_of(query, gate), skip=offset)
        users = await users_of(work, {one.username for one in found})
    results = [_shown(one, users[one.username].id or None if one.username in users else None) for one in found]
    following, previous = neighbours(query, gate, count, call.links)
    return Answer(Page[FileAccess](count=count, next=following, previous=previous, results=results))


class Classify(Body):
    """How a file is to be classified."""

    data_classification: Level


@route("PATCH", "chat-files/{id}/", answers={200: File}, errors=(404,))
async def classify_file(call: Call[Nothing, Classify]) -> Answer:
    """Classify a file. For the compliance role."""
    file, sight = await _known(call)
    _must_be(call, "compliance")
    level = Classification[call.body.data_classification]
    if level > up_to(sight):
        raise invalid(data_classification="Not above your own clearance.")
    fact = FileClassified(
        ref=_new(call),
        file_id=file.id,
        level=level,
        by=call.caller.user,
        confirmed_ms=call.caller.confirmed_ms,
    )
    await call.gate.asking.ask(fact, sight.incident_id)
    return await _answer(call)


@route("DELETE", "chat-files/{id}/", answers={204: Nothing}, errors=(404, 423))
async def delete_file(call: Call[Nothing, Nothing]) -> Answer:
    """Delete a file: one's own, or as moderator (compliance, commander, admin).

    Not before its retention ends (423 with the code `retention`), nor under a legal hold (`legal_hold`).
    """
    gate, user = call.gate, call.caller.user
    file, sight = await _known(call)
    if file.details.uploaded_by != user.username and gate.policy.roles.of(user.roles).isdisjoint(MODERATES):
        raise Problem(403, "permission_denied", "Only who uploaded it, or a moderator, may delete a file.")
    async with gate.store.view() as work:
        held = await is_held(work, sight.room.war_room)
    if held:
        raise Problem(423, "legal_hold", HELD)
    until_ms = kept_until(file, sight.room)
    if gate.clock.now_ms() < until_ms:
        raise Problem(423, "retention", f"This file is kept until {moment(until_ms)}.")
    fact = FileWithdrawn(
        ref=_new(call),
        file_id=file.id,
        by=user,
        confirmed_ms=call.caller.confirmed_ms,
        user_id=call.caller.user_id,
    )
    await gate.asking.ask(fact, sight.incident_id)
    return Answer(Nothing(), 204)


def disposition(name: str) -> str:
    r"""A header that can only mean: save it, under this name (RFC 6266, RFC 8187).

    >>> disposition('a"b.txt'), disposition("\u00e4.png")
    ('attachment; filename="a_b.txt"', 'attachment; filename="_.png"; filename*=UTF-8\'\'%C3%A4.png')
    """
    plain = re.sub(r"[^A-Za-z0-9._ +-]", "_", name)
    found = f'attachment; filename="{plain}"'
    return (
        found if name.isascii() else f"{found}; filename*=UTF-8''{quote(name.encode('utf-8', 'replace'), safe='')}"
    )


# --- what they share --------------------------------------------------------------------------------------


async def _known(call: Call[Q, B]) -> tuple[ChatFile, Sight]:
    """The file, where the caller may know of it; else Problem 404."""
    gate = call.gate
    async with gate.store.view() as work:
        file = await work.files.get(call.path["id"])
        room = None if file is None else await work.rooms.of_incident(IncidentId(file.lane))
        sight = None if room is None else await gate.doors.look(work, call.caller, room)
        if file is None or sight is None or not _may_know(call, await past_of(work, sight.room), sight, file):
            raise not_found()
        return file, sight


async def _around(work: Work, sights: Mapping[IncidentId, Sight], message_id: str) -> dict[IncidentId, Sight]:
    """The war room of a message, where the caller may know of it."""
    message = await work.messages.get(message_id)
    lane = IncidentId("" if message is None else message.lane)
    sight = sights.get(lane)
    if message is None or sight is None or not may_read(await past_of(work, sight.room), sight, message):
        return {}
    return {lane: sight}


async def _answer(call: Call[Q, B]) -> Answer:
    file, sight = await _known(call)
    async with call.gate.store.view() as work:
        shows = Shows(call.gate.policy, call.links)
        return Answer((await shows.files(work, sight.room, [file], up_to(sight)))[0])


async def _accessed(
    call: Call[Q, B],
    sight: Sight,
    file: ChatFile,
    access_type: AccessType,
    reason: str,
    *,
    first: tuple[str, int, str] = ("", 0, ""),
) -> Entry:
    """It is written down before anything is given out. `first`: what was found out when it was first read."""
    now_ms = call.gate.clock.now_ms()
    access = Entry(
        id=new_id(now_ms),
        file_id=file.id,
        war_room=sight.room.war_room,
        username=call.caller.user.username,
        access_type=access_type,
        reason=clean(reason),
        address=call.address,
        at_ms=now_ms,
    )
    sha256, size, mime = first
    fact = FileLookedAt(ref=access.id, access=access, sha256=sha256, size=size, mime=mime)
    await call.gate.asking.ask(fact, sight.incident_id)
    return access


def _shown(access: Entry, user: str | None) -> FileAccess:
    return FileAccess(
        id=access.id,
        file=access.file_id,
        user=user,
        user_username=access.username,
        access_type=access.access_type,
        reason=access.reason,
        ip_address=access.address or None,
        timestamp=moment(access.at_ms),
    )


def _must_be(call: Call[Q, B], role: OurRole) -> None:
    if role not in call.gate.policy.roles.of(call.caller.user.roles):
        raise Problem(403, "permission_denied", f"This is for the {role} role.")


def _new(call: Call[Q, B]) -> str:
    return new_id(call.gate.clock.now_ms())


async def _of_type(work: Work, wanted: FilesWanted, file_type: FileType) -> list[ChatFile]:
    """Among the latest; what a file is, is sealed."""
    found: list[ChatFile] = []
    for skip in range(0, SCAN, _BATCH):
        batch = await work.files.among(wanted, limit=_BATCH, skip=skip)
        found += [one for one in batch if one.details.file_type == file_type]
        if len(batch) < _BATCH:
            break
    return found


def _sees_withdrawn(call: Call[Q, B]) -> bool:
    return not call.gate.policy.roles.of(call.caller.user.roles).isdisjoint(SEES_WITHDRAWN)


def _may_know(call: Call[Q, B], past: Past, sight: Sight, file: ChatFile) -> bool:
    if file.withdrawn_ms is not None and not _sees_withdrawn(call):
        return False
    return file_was(file, sight.room, past) <= up_to(sight)


TABLE: tuple[Route, ...] = (
    list_files,
    get_file,
    download_file,
    log_access,
    access_log,
    classify_file,
    delete_file,
)

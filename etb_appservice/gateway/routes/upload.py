"""Files that come in (docs/etb-contract.md 5.1): read, looked at, encrypted, given to the homeserver, and decided.

form ─► who may ─► what it is ─► a picture? its size, a small one ─► to the homeserver, encrypted ─► a fact
└─ at each step: Problem, and nothing is left
"""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, Field, WithJsonSchema

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.conversation import FileDetails, file_type_of, safe_name
from etb_appservice.domain.facts import FileUploaded
from etb_appservice.domain.ids import new_id, short_hash
from etb_appservice.domain.outcomes import Failure, Refused
from etb_appservice.domain.web import Ruling
from etb_appservice.flows.closings import closing_of
from etb_appservice.flows.past import past_of
from etb_appservice.gateway.asking import Undecided
from etb_appservice.gateway.doors import Sight
from etb_appservice.gateway.fileroom import homeserver_away
from etb_appservice.gateway.gate import Gate
from etb_appservice.gateway.kinds import as_sound, kind_of
from etb_appservice.gateway.objects import File, FileType, Level
from etb_appservice.gateway.problems import Problem, conflict, invalid, not_found
from etb_appservice.gateway.reading import up_to
from etb_appservice.gateway.routes.messages import known_message
from etb_appservice.gateway.shows import Shows, file_was
from etb_appservice.gateway.table import Answer, Body, Call, Nothing, Route, route
from etb_appservice.gateway.uploads import Form, too_large
from etb_appservice.gateway.writing import SAME_KEY_MS
from etb_appservice.ports import HEAD, Incoming, Seen, TooBig, TooManyPixels

_LONGEST_NAME = 1000
_LONGEST_MS = 7 * 24 * 3600 * 1000


def _one_line(text: str) -> str:
    return "".join(one if one.isprintable() else " " for one in text).strip()


Content = Annotated[str, WithJsonSchema({"type": "string", "format": "binary"})]


class Upload(Body):
    """One file, as multipart/form-data."""

    file: Content
    war_room_id: UUID | None = None
    """The war room it is for; or else a message."""
    message_id: UUID | None = None
    """A message that it goes with; it is sent at once then."""
    file_type: FileType | None = None
    """What kind of file it is; found by itself otherwise."""
    description: Annotated[str, AfterValidator(_one_line), Field(max_length=1000)] = ""
    """What is shown beside it."""
    data_classification: Level | None = None
    """That of the room otherwise. Never above it, and below it for the compliance role alone."""
    is_voice: bool = False
    """A sound that Matrix clients show as a voice message."""
    duration_ms: Annotated[int, Field(ge=0, le=_LONGEST_MS)] = 0
    """How long a sound or a film lasts; 0: not said."""
    send_now: bool = False
    """Send it at once as a message of its own, instead of waiting for a message that names it."""


@route(
    "POST",
    "chat-files/",
    answers={201: File},
    errors=(400, 403, 404, 409, 413, 415, 503),
    takes_key=True,
    form=Upload,
)
async def upload_file(call: Call[Nothing, Nothing]) -> Answer:
    """Upload a file.

    It waits for a message that names it in `attachment_ids`, and is sent by itself after a minute. What it is, is
    found in its bytes. The homeserver is given it encrypted.
    """
    gate, form = call.gate, call.form
    if form is None:
        raise Problem(415, "unsupported_media_type", "Send multipart/form-data.")
    most, caller = gate.policy.files.most_bytes, call.caller
    async with gate.files.place(caller.user.username), gate.files.media.incoming(most) as incoming:
        asked, sight, details = await _received(call, form, incoming)
        file_id = await _named(call, sight)
        if call.key and (known := await _shown(call, sight, file_id)) is not None:
            return known
        seen = await _look(gate, incoming, details.mime)
        try:
            details = await _uploaded(gate, incoming, details, seen)
        except Refused as refusal:
            if refusal.code in {"M_TOO_LARGE", "HTTP 413"}:
                raise Problem(413, "too_large", "The homeserver takes no file as large as this.") from refusal
            raise Problem(502, "upstream_error", "The homeserver does not take this file.") from refusal
        except Failure as failure:
            raise homeserver_away() from failure
    fact = FileUploaded(
        # Not the file's id: the same upload may be under way twice, and each is told what became of it.
        ref=new_id(gate.clock.now_ms()),
        file_id=file_id,
        war_room=sight.room.war_room,
        user_id=gate.policy.ghosts.user_id(caller.user.username) or caller.user_id,
        details=details,
        by=caller.user,
        confirmed_ms=caller.confirmed_ms,
        message_id=str(asked.message_id or ""),
        is_sent=asked.send_now,
    )
    try:
        await gate.asking.ask(fact, sight.incident_id)
    except Undecided:
        if (known := await _shown(call, sight, file_id)) is None:
            raise
        return known
    answer = await _shown(call, sight, file_id)
    if answer is None:  # the right to it went meanwhile
        raise not_found()
    return answer


async def _named(call: Call[Nothing, Nothing], sight: Sight) -> str:
    """The file's id: a new one, or that of the first upload of theirs to this room with the same key.

    So what is uploaded again, since nobody heard how it ended, is the same file, however far the first one came.
    """
    file_id = new_id(call.gate.clock.now_ms())
    if not call.key:
        return file_id
    key = short_hash("act", call.caller.user.username, sight.room.war_room, "upload", call.key)
    async with call.gate.store.work() as work:
        first = await work.acts.accept(file_id, key, work.now_ms() - SAME_KEY_MS)
        # All that a key has to tell of an upload. Whether there is such a file, the files say.
        await work.acts.decide(first, Ruling(result=first))
    return first


async def _shown(call: Call[Nothing, Nothing], sight: Sight, file_id: str) -> Answer | None:
    async with call.gate.store.view() as work:
        kept = await work.files.get(file_id)
        if kept is None:
            return None
        level = file_was(kept, sight.room, await past_of(work, sight.room))
        if kept.withdrawn_ms is not None or level > up_to(sight):
            raise not_found()  # an earlier upload's, of which they may know no longer
        shows = Shows(call.gate.policy, call.links)
        return Answer((await shows.files(work, sight.room, [kept], up_to(sight)))[0], 201)


async def _received(
    call: Call[Nothing, Nothing], form: Form, incoming: Incoming
) -> tuple[Upload, Sight, FileDetails]:
    """The whole form, and who may."""
    policy = call.gate.policy.files
    original, mime = "", ""

    async def take(name: str, pieces: AsyncIterator[bytes]) -> None:
        nonlocal original, mime
        original = name[:_LONGEST_NAME]
        if "war_room_id" in form.fields or "message_id" in form.fields:
            await _target(call, Upload.model_validate({**form.fields, "file": ""}))  # before it is read
        try:
            async for piece in pieces:
                await incoming.write(piece)
                if not mime and len(incoming.head) >= HEAD:
                    mime = _taken(incoming, original, policy.blocked)
            await incoming.end()
        except TooBig:
            raise too_large(policy.most_bytes) from None
        except OSError as error:
            raise Problem(503, "no_room", "There is no room for files at this moment. Try again later.") from error
        mime = mime or _taken(incoming, original, policy.blocked)

    asked = Upload.model_validate({**await form.read(policy.most_bytes, take), "file": ""})
    sight = await _target(call, asked)
    if not incoming.size:
        raise invalid(file="The submitted file is empty.")
    if asked.is_voice:
        mime = as_sound(mime) or ""
        if not mime:
            raise invalid(is_voice="Only a sound can be a voice message, and this file is none.")
    name = safe_name(original)
    return (
        asked,
        sight,
        FileDetails(
            name=name,
            original_name=original.encode("utf-8", "replace").decode(),
            mime=mime,
            size=incoming.size,
            sha256=incoming.sha256,
            file_type=asked.file_type or file_type_of(mime, name),
            classification=asked.data_classification or "",
            classification_source="AUTO" if asked.data_classification is None else "USER",
            description=asked.description,
            duration_ms=asked.duration_ms if mime.startswith(("audio/", "video/")) else 0,
            is_voice=asked.is_voice,
            uploaded_by=call.caller.user.username,
        ),
    )


def _taken(incoming: Incoming, name: str, blocked: frozenset[str]) -> str:
    mime = kind_of(incoming.head, safe_name(name))
    if mime in blocked:
        raise Problem(415, "unsupported_media_type", f"Files of the type {mime} are not taken here.")
    return mime


async def _target(call: Call[Nothing, Nothing], asked: Upload) -> Sight:
    """The war room; raises Problem where the caller may not, or not so."""
    gate = call.gate
    if asked.war_room_id is None and asked.message_id is None:
        raise invalid(war_room_id="Say for which war room or message it is.")
    async with gate.store.view() as work:
        if asked.message_id is None:
            sight = await gate.doors.enter(work, call.caller, str(asked.war_room_id))
        else:
            sight, message = await known_message(call, work, str(asked.message_id))
            if asked.war_room_id is not None and str(asked.war_room_id) != sight.room.war_room:
                raise invalid(message_id="This message is not in that war room.")
            if message.state != "open":
                raise invalid(message_id="This message can't carry a file.")
            if message.details.username != call.caller.user.username:
                raise Problem(403, "permission_denied", "Files go with messages of one's own.")
        closing = await closing_of(work, sight.room)
    if closing is not None and closing.is_open and closing.archived_ms is not None:
        raise conflict("This war room is archived.")
    _check_level(call, asked, sight)
    return sight


def _check_level(call: Call[Nothing, Nothing], asked: Upload, sight: Sight) -> None:
    if asked.data_classification is None:
        return
    level = Classification[asked.data_classification]
    if level > sight.room.classification or level > up_to(sight):
        raise invalid(
            data_classification="Not above the level of the war room: whoever is in it would be given it."
        )
    roles = call.gate.policy.roles.of(call.caller.user.roles)
    if level < sight.room.classification and "compliance" not in roles:
        raise invalid(data_classification="Below the level of the war room only the compliance role may classify.")


async def _look(gate: Gate, incoming: Incoming, mime: str) -> Seen | None:
    if not mime.startswith("image/"):
        return None
    try:
        return await gate.files.look(incoming.plain())
    except TooManyPixels as many:
        size = f" of {many.width} x {many.height} pixels" if many.width else ""
        raise invalid(
            file=f"A picture{size} is too large to be shown. Send it packed, if it is meant so."
        ) from None


async def _uploaded(gate: Gate, incoming: Incoming, details: FileDetails, seen: Seen | None) -> FileDetails:
    """With where it lies. Raises all four outcomes."""
    details = replace(details, file=await incoming.upload())
    if seen is not None:
        async with gate.files.media.incoming(len(seen.thumbnail)) as small:
            await small.write(seen.thumbnail)
            await small.end()
            details = replace(
                details,
                width=seen.width,
                height=seen.height,
                thumbnail=await small.upload(),
                thumbnail_width=seen.thumbnail_width,
                thumbnail_height=seen.thumbnail_height,
                thumbnail_size=len(seen.thumbnail),
            )
    return details


TABLE: tuple[Route, ...] = (upload_file,)

"""The transcript of a room: two files into the room, and their digests to ETB as evidence.

    ask_for ─► ExportDue ─► read everything, print it (outside) ─► one commit:
               two documents, SendFile for each, RegisterEvidence for each, the answer, the audit entry

It is read again after a crash and may then hold a message more; nothing of the lost try was sent. What ETB doesn't
register is said in the room: the files are there all the same.
"""

import asyncio
from collections.abc import Sequence

from etb_appservice.domain.effects import RegisterEvidence, Say, SendFile
from etb_appservice.domain.facts import ExportDue, NotDone
from etb_appservice.domain.ids import EventId, RoomId, UserId, Username, new_id
from etb_appservice.domain.media import Media
from etb_appservice.domain.policy import Policy
from etb_appservice.domain.posts import Post
from etb_appservice.domain.roles import Role
from etb_appservice.domain.runbooks import RunbookRun
from etb_appservice.domain.tasks import Task
from etb_appservice.domain.text import code, moment, plain
from etb_appservice.domain.timeline import TimelineItem
from etb_appservice.flows.tellings import tell_of_end
from etb_appservice.flows.timeline import write_down
from etb_appservice.flows.turn import SERVICE, Turn
from etb_appservice.ports import (
    MOST_DOCUMENT_BYTES,
    MOST_MESSAGES,
    CommandRun,
    Message,
    Press,
    Printed,
    PrintedTranscript,
    Room,
    Store,
    Transcript,
    Work,
)

REFERENCE = "etb-appservice/transcript/"
"""What `source_reference` of our evidence begins with."""
_PAGE = 500


async def ask_for(
    turn: Turn,
    room: Room,
    *,
    by: str,
    run_id: str = "",
    reply_to: EventId | None = None,
    thread_root: EventId | None = None,
    to_etb: bool = True,
) -> None:
    """Have the transcript of a room made, in this lane, after this turn.

    `by` is empty for the service. `to_etb` is False where ETB has the incident no longer.
    """
    export = run_id or new_id(turn.now_ms)
    fact = ExportDue(
        war_room=room.war_room,
        export=export,
        by=by,
        run_id=run_id,
        reply_to=reply_to,
        thread_root=thread_root,
        to_etb=to_etb,
    )
    await turn.follow(fact, ("export", export))


class Exports:
    """Makes transcripts."""

    def __init__(self, store: Store, press: Press, policy: Policy) -> None:
        self._store = store
        self._press = press
        self._policy = policy

    async def look(self, fact: ExportDue) -> PrintedTranscript | None:
        """Read and print, before the unit of work."""
        async with self._store.view() as view:
            room = await view.rooms.by_war_room(fact.war_room)
            if room is None or room.room_id is None:
                return None
            transcript = await self._read(view, room, room.room_id, fact)
        return await asyncio.to_thread(self._press.transcript, transcript)

    async def due(self, turn: Turn, fact: ExportDue, printed: PrintedTranscript | None) -> None:
        """Send what was printed, and register it."""
        room = await turn.work.rooms.by_war_room(fact.war_room)
        if room is None or room.room_id is None or printed is None:
            return
        for name, one in (("html", printed.html), ("json", printed.json)):
            await self._send(turn, room, room.room_id, fact, name, one)
        answer = _told(printed, to_etb=fact.to_etb and room.incident_id is not None)
        await turn.emit(
            "answer",
            Say(
                room_id=room.room_id,
                content=answer,
                reply_to=fact.reply_to,
                thread_root=fact.thread_root,
                purpose="answer" if fact.reply_to else "notice",
            ),
        )
        if fact.run_id:
            await turn.finish_run(room.war_room, fact.run_id, status="SUCCESS", result=answer)
            await tell_of_end(turn, room.war_room, fact.run_id, self._policy, status="SUCCESS")
        await turn.note(
            "export.made",
            actor=fact.by or SERVICE,
            subject=fact.export,
            details={
                "room": room.war_room,
                "messages": printed.messages,
                "is_whole": not printed.stopped,
                "html_sha256": printed.html.sha256,
                "json_sha256": printed.json.sha256,
            },
        )
        await write_down(
            turn,
            room,
            "FILE_ADDED",
            f"Transcript exported ({printed.messages} messages)",
            description=f"SHA-256 of the HTML file {printed.html.sha256}, of the JSON file {printed.json.sha256}",
            server=self._policy.server_name,
            by=fact.by,
            event_id=fact.reply_to,
            is_curated=False,
            to_etb=fact.to_etb,
        )

    async def not_registered(self, turn: Turn, effect: RegisterEvidence, failed: NotDone) -> None:
        """ETB did not take a digest: the room learns it."""
        room = await turn.work.rooms.of_incident(effect.incident_id)
        if room is None or room.room_id is None:
            return
        what = "Whether ETB has registered" if failed.state == "unknown" else "ETB has not registered"
        known = " is not known" if failed.state == "unknown" else ""
        text = f"{what} {code(effect.title)} as evidence{known}: {plain(failed.reason)}"
        await turn.emit("not registered", Say(room_id=room.room_id, content=text, purpose="notice"))

    async def _send(
        self, turn: Turn, room: Room, room_id: RoomId, fact: ExportDue, name: str, printed: Printed
    ) -> None:
        document = f"{fact.export}/{name}"
        await turn.work.documents.put(document, room.war_room, printed.content)
        await turn.emit(
            f"file/{name}",
            SendFile(
                room_id=room_id,
                document=document,
                filename=printed.filename,
                mime=printed.mime,
                size=len(printed.content),
                reply_to=fact.reply_to,
                thread_root=fact.thread_root,
            ),
        )
        if room.incident_id is None or not fact.to_etb:
            return
        await turn.emit(
            f"evidence/{name}",
            RegisterEvidence(
                incident_id=room.incident_id,
                evidence_type="CHAT_LOG",
                title=printed.filename,
                description=(
                    f"Transcript of the incident's chat room as of {moment(turn.now_ms)}, "
                    f"{len(printed.content)} bytes, asked for by {fact.by or 'the service'}. "
                    "The file itself stands in the room, end-to-end encrypted."
                ),
                file_hash=printed.sha256,
                file_size=len(printed.content),
                mime=printed.mime,
                source_reference=f"{REFERENCE}{document}",
                classification=room.classification.name,
            ),
        )

    async def _read(self, view: Work, room: Room, room_id: RoomId, fact: ExportDue) -> Transcript:
        messages, is_whole = await _messages(view, room.incident_id or room_id)
        rooms = dict.fromkeys([*(message.room_id for message in messages), room_id])
        commands: list[CommandRun] = []
        for one in rooms:
            commands += reversed(await view.commands.of_room(one, MOST_MESSAGES))
        known = await view.incidents.get(room.incident_id) if room.incident_id else None
        people = {*(message.sender for message in messages), *(command.caller for command in commands)}
        return Transcript(
            export=fact.export,
            at_ms=view.now_ms(),
            by=fact.by,
            room=room,
            incident=known.incident if known else None,
            usernames=self._names(people),
            bot=self._policy.rooms.bot,
            messages=messages,
            timeline=[item for item in await view.cases.of(room.war_room, TimelineItem) if item.is_curated],
            roles=await view.cases.of(room.war_room, Role),
            tasks=await view.cases.of(room.war_room, Task),
            posts=await view.cases.of(room.war_room, Post),
            runs=await view.cases.of(room.war_room, RunbookRun),
            commands=_without_redacted(commands, messages),
            media=[one for one in await view.cases.of(room.war_room, Media) if one.purpose == "file"],
            is_whole=is_whole,
        )

    def _names(self, people: set[UserId]) -> dict[UserId, Username]:
        found = {user_id: self._policy.people.username(user_id) for user_id in sorted(people)}
        return {user_id: name for user_id, name in found.items() if name is not None}


async def _messages(view: Work, lane: str) -> tuple[list[Message], bool]:
    """Up to the limits, and whether those are all."""
    found: list[Message] = []
    size = 0
    while True:
        page = await view.messages.page(lane, found[-1].position if found else 0, _PAGE)
        for message in page:
            size += len(message.body or "")
            if len(found) == MOST_MESSAGES or size > MOST_DOCUMENT_BYTES:
                return found, False
            found.append(message)
        if len(page) < _PAGE:
            return found, True


def _without_redacted(commands: Sequence[CommandRun], messages: Sequence[Message]) -> list[CommandRun]:
    """A command whose message was removed says no more than the message."""
    removed = {message.event_id for message in messages if message.state == "redacted"}
    return [command for command in commands if command.event_id not in removed]


def _told(printed: PrintedTranscript, *, to_etb: bool) -> str:
    lines = [
        f"**Transcript** of {printed.messages} messages, as two files.",
        "",
        *(f"- {code(one.filename)}, SHA-256 `{one.sha256}`" for one in (printed.html, printed.json)),
        "",
        "Files that people sent are not in it: of those only what was said beside them.",
    ]
    if printed.stopped:
        lines += ["", f"**It is not whole:** {plain(printed.stopped)}"]
    if to_etb:
        lines += ["", "The digests go to ETB as evidence."]
    return "\n".join(lines)

"""The API's objects made of the record: messages, commands, files (docs/etb-contract.md 4 and 5).

For the chat API and for the WebSocket alike. Whether somebody may know of a thing at all was asked before.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from pydantic import JsonValue

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.conversation import FileDetails, grouped
from etb_appservice.domain.files import RETENTION_DAYS, kept_until_ms, level_of
from etb_appservice.domain.ids import NOBODY, EventId, RoomId, UserId, Username
from etb_appservice.domain.incident import EtbUser
from etb_appservice.domain.pins import Pins
from etb_appservice.domain.policy import Policy
from etb_appservice.domain.runbooks import RunbookRun
from etb_appservice.domain.timeline import TimelineItem
from etb_appservice.flows.keeping import is_held
from etb_appservice.flows.marks import pins_of
from etb_appservice.flows.past import Past, past_of
from etb_appservice.flows.timeline import is_sent, permalink
from etb_appservice.gateway import objects
from etb_appservice.gateway.bots import bot_id
from etb_appservice.gateway.links import Links
from etb_appservice.gateway.objects import clean, level_name, moment, moment_or_none
from etb_appservice.gateway.results import parameters_of, result_of
from etb_appservice.ports import ChatFile, CommandRun, CommandStatus, Message, Room, Work, unsent

STATUSES: Mapping[CommandStatus, objects.ExecutionStatus] = {
    "RUNNING": "RUNNING",
    "SUCCESS": "SUCCESS",
    "FAILED": "FAILED",
    "REFUSED": "FAILED",
    "CANCELLED": "CANCELLED",
}
Users = Mapping[Username, EtbUser]


async def users_of(work: Work, names: Collection[Username]) -> Users:
    """ETB's last word on people; absent are those of whom there is none."""
    return {name: user for name, (user, _) in (await work.incidents.users(set(names))).items()} if names else {}


@dataclass(frozen=True, slots=True)
class _Scene:
    """What the messages of one page refer to."""

    room: Room
    incident_id: str
    past: Past
    parents: Mapping[EventId, str]
    counts: Mapping[EventId, int]
    pins: Pins
    users: Users
    files: Mapping[str, ChatFile]
    is_held: bool
    timeline: Mapping[EventId, str]


class Shows:
    """`links`: under which prefix files are linked."""

    def __init__(self, policy: Policy, links: Links) -> None:
        self._policy = policy
        self._links = links

    async def messages(
        self,
        work: Work,
        room: Room,
        messages: Sequence[Message],
        reader: Username | None,
        up_to: Classification,
    ) -> list[objects.Message]:
        """In this order. `reader`: whose reactions are marked as their own.

        Above `up_to` neither answers count nor what is answered is named.
        """
        if not messages or room.incident_id is None:
            return []
        scene = await self._scene(work, room, room.incident_id, messages, up_to)
        return [self._message(scene, one, reader) for one in messages]

    async def _scene(
        self, work: Work, room: Room, incident_id: str, messages: Sequence[Message], up_to: Classification
    ) -> _Scene:
        events = [one.event_id for one in messages]
        past = await past_of(work, room)
        pins = await pins_of(work, room.war_room)
        items = await work.cases.of(room.war_room, TimelineItem)
        names = {self.speaker(one) for one in messages}
        names |= {name for one in messages for name in one.details.mentioned}
        names.discard(NOBODY)
        return _Scene(
            room=room,
            incident_id=incident_id,
            past=past,
            parents=await work.messages.ids_of(
                {one.parent for one in messages if one.parent is not None}, {incident_id: past.hidden(up_to)}
            ),
            counts=await work.messages.reply_counts(events, {incident_id: past.hidden(up_to)}),
            pins=pins,
            users=await users_of(work, names),
            files=await work.files.by_ids({file_id for one in messages for file_id in one.details.files}),
            is_held=await is_held(work, room.war_room),
            timeline={one.event_id: one.etb_id for one in items if one.event_id is not None and one.is_open},
        )

    def speaker(self, message: Message) -> Username:
        """The ETB user who said it: as recorded, else by their Matrix id; NOBODY for all others."""
        return message.details.username or self._policy.people.username(message.sender) or NOBODY

    def _message(self, scene: _Scene, one: Message, reader: Username | None) -> objects.Message:
        details = one.details
        speaker = self.speaker(one)
        user = scene.users.get(speaker)
        pin = scene.pins.of(one.event_id)
        level = scene.past.level(one)
        is_bot = one.sender == self._policy.rooms.bot
        # Whoever is shown this reaches the message's level, and the room's of now.
        most = max(level, scene.room.classification)
        files = [
            file
            for name in details.files
            if (file := scene.files.get(name)) is not None and file_was(file, scene.room, scene.past) <= most
        ]
        return objects.Message(
            id=one.id,
            war_room=scene.room.war_room,
            incident=scene.incident_id,
            content=clean(one.body or ""),
            message_type=details.message_type,
            sender=_id(user),
            sender_username=speaker or ("" if is_bot else clean(one.sender)),
            sender_name=_name(user, speaker, one.sender),
            bot=bot_id("INCIDENT_ASSISTANT") if is_bot else None,
            reply_to=scene.parents.get(one.parent) if one.parent is not None else None,
            reply_count=scene.counts.get(one.event_id, 0),
            mentioned_users=[
                objects.User(id=_id(scene.users.get(name)), username=name) for name in details.mentioned
            ],
            notify_mentioned=bool(details.mentions or details.mentions_room),
            attachments=[
                self.file_of(scene.room, file, scene.users, one.room_id, is_held=scene.is_held) for file in files
            ],
            reactions=_groups(one, reader),
            is_pinned=pin is not None,
            pinned_by_username=None if pin is None else pin.username or clean(pin.user_id),
            pinned_at=None if pin is None else moment(pin.at_ms),
            is_edited=details.edited_ms is not None,
            edited_at=moment_or_none(details.edited_ms),
            is_encrypted=True,
            data_classification=level_name(level),
            timeline_event=scene.timeline.get(one.event_id) or scene.timeline.get(unsent(one.id)) or None,
            external_message_id=one.event_id if one.event_id.startswith("$") else None,
            external_data=self._external(one),
            created_at=moment(one.received_ms),
            updated_at=moment(details.edited_ms or one.received_ms),
        )

    def _external(self, message: Message) -> dict[str, JsonValue]:
        """Where it is found on both sides, and what only Matrix knows.

        `state` says why there is no text, `undelivered` what Matrix lacks of it.
        """
        found: dict[str, JsonValue] = {
            "matrix_sender": clean(message.sender),
            "url": self._links.to(f"war-room-messages/{message.id}/"),
            **self._permalink(message.room_id, message.event_id),
        }
        if message.state != "open":
            found["state"] = message.state
        if message.details.undelivered:
            found["undelivered"] = message.details.undelivered
        return found

    def _permalink(self, room_id: RoomId | None, event_id: EventId | None) -> dict[str, JsonValue]:
        """Nothing until Matrix knows it."""
        if room_id is None or event_id is None or not is_sent(event_id):
            return {}
        return {"permalink": permalink(room_id, event_id, self._policy.server_name)}

    # --- commands -----------------------------------------------------------------------------------------

    async def command(self, work: Work, room: Room, run_id: str, up_to: Classification) -> objects.Command | None:
        """None where there is no such run in the room."""
        run = await work.commands.get(run_id)
        if run is None or room.incident_id is None or run.incident_id != room.incident_id:
            return None
        return (await self.commands(work, room, [run], up_to))[0]

    async def commands(
        self, work: Work, room: Room, runs: Sequence[CommandRun], up_to: Classification
    ) -> list[objects.Command]:
        """Runs in one war room, in this order; above `up_to` no message is named.

        One whose message was removed says nothing that was typed there.
        """
        messages = await work.messages.by_events({run.event_id for run in runs})
        past = await past_of(work, room)
        names = {run.id: self._policy.people.username(run.caller) for run in runs}
        users = await users_of(work, {name for name in names.values() if name})
        found = []
        for run in runs:
            name = names[run.id]
            is_runbook = run.name == "run"
            running = await work.cases.get(room.war_room, RunbookRun, run.id) if is_runbook else None
            message = messages.get(run.event_id)
            shown = self._command(room, run, name, users, message, running)
            is_named = message is not None and past.level(message) <= up_to
            found.append(shown if is_named else shown.model_copy(update={"message": None}))
        return found

    def _command(
        self,
        room: Room,
        run: CommandRun,
        name: Username | None,
        users: Users,
        message: Message | None,
        running: RunbookRun | None,
    ) -> objects.Command:
        kind, parameters = parameters_of(run, running)
        typed = clean(f"/{run.name} {run.arguments}".rstrip())
        if message is not None and message.state == "redacted":
            # Its answer may repeat it; what it did stays known.
            run, typed, parameters = replace(run, result=""), "", {}
        status = STATUSES[run.status]
        is_over = status != "RUNNING"
        failed = clean(run.result) if status == "FAILED" else ""
        return objects.Command(
            id=run.id,
            message=message.id if message is not None else None,
            war_room=room.war_room,
            incident=run.incident_id,
            command_type=kind,
            command_text=typed,
            parameters=parameters,
            executed_by=_id(users.get(name)) if name else None,
            executed_by_username=name or clean(run.caller),
            executed_at=moment(run.asked_ms),
            completed_at=moment(run.finished_ms) if is_over else None,
            execution_status=status,
            execution_result=result_of(kind, run, running),
            error_message=failed,
            automation_execution=(running.execution_id or None) if running is not None else None,
            duration_ms=max(0, run.finished_ms - run.asked_ms) if is_over else None,
        )

    # --- files --------------------------------------------------------------------------------------------

    async def file(self, work: Work, room: Room, file_id: str, up_to: Classification) -> objects.File | None:
        """None where there is no such file in the room."""
        found = await work.files.get(file_id)
        if found is None or found.war_room != room.war_room:
            return None
        return (await self.files(work, room, [found], up_to))[0]

    async def files(
        self, work: Work, room: Room, files: Sequence[ChatFile], up_to: Classification
    ) -> list[objects.File]:
        """Files of one war room, in this order; above `up_to` no message is named."""
        if room.incident_id is None:
            return []
        names = {one.details.uploaded_by for one in files if one.details.uploaded_by}
        users = await users_of(work, names)
        said = await work.messages.by_ids({one.message_id for one in files if one.message_id is not None})
        places = {name: message.room_id for name, message in said.items()}
        held, past = await is_held(work, room.war_room), await past_of(work, room)
        named = {name for name, message in said.items() if past.level(message) <= up_to}
        return [
            self.file_of(
                room,
                one if one.message_id in named else replace(one, message_id=None),
                users,
                places.get(one.message_id or "", room.room_id),
                is_held=held,
            )
            for one in files
        ]

    def file_of(
        self, room: Room, file: ChatFile, users: Users, room_id: RoomId | None, *, is_held: bool
    ) -> objects.File:
        """One file. `room_id`: where it was said, which a war room may have moved away from."""
        details = file.details
        level = file_level(details, room)
        return objects.File(
            id=file.id,
            message=file.message_id,
            war_room=file.war_room,
            incident=room.incident_id or "",
            filename=clean(details.name),
            original_filename=clean(details.original_name),
            file_type=details.file_type,
            mime_type=clean(details.mime),
            file_size=details.size,
            file_url=self._links.to(f"chat-files/{file.id}/download/"),
            file_hash=details.sha256,
            data_classification=level_name(level),
            classification_source=details.classification_source,
            is_encrypted=details.file is None or bool(details.file.key),
            uploaded_by=_id(users.get(details.uploaded_by)),
            uploaded_by_username=details.uploaded_by,
            uploaded_at=moment(file.created_ms),
            retention_period_days=RETENTION_DAYS[level],
            retention_until=moment(kept_until_ms(file.created_ms, level)),
            legal_hold=is_held,
            evidence=details.evidence or None,
            access_count=file.access_count,
            matrix_media_uri=clean(details.file.mxc) if details.file is not None else None,
            external_data={
                "url": self._links.to(f"chat-files/{file.id}/"),
                **self._permalink(details.room_id or room_id, file.event_id),
                **_as_shown(details),
                **({"state": "withdrawn"} if file.withdrawn_ms is not None else {}),
            },
        )


def _as_shown(details: FileDetails) -> dict[str, JsonValue]:
    """What whoever shows a picture or plays a sound wants to know of it, as far as anybody said."""
    said: dict[str, JsonValue] = {
        "width": details.width,
        "height": details.height,
        "duration_ms": details.duration_ms,
        "is_voice": details.is_voice,
    }
    return {name: value for name, value in said.items() if value}


def file_level(details: FileDetails, room: Room) -> Classification:
    """How a file is classified."""
    return level_of(details, room.classification)


def file_was(file: ChatFile, room: Room, past: Past) -> Classification:
    """Which clearance somebody needs to know of a file: its own level, and the room's when it came."""
    return max(file_level(file.details, room), past.between(file.created_ms, file.created_ms))


def _id(user: EtbUser | None) -> str | None:
    return (user.id or None) if user is not None else None


def _name(user: EtbUser | None, username: Username, sender: UserId) -> str:
    return clean(user.display_name if user is not None else username or sender)


def _groups(message: Message, reader: Username | None) -> list[objects.ReactionGroup]:
    return [
        objects.ReactionGroup(
            emoji=clean(one.emoji),
            count=one.count,
            users=[person.username or clean(person.user_id) for person in one.people],
            reacted_by_me=reader is not None and any(person.username == reader for person in one.people),
        )
        for one in grouped(message.details.reactions)
    ]

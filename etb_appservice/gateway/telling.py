"""News as frames: what stands in the record by now, for everybody who may know it.

    News ─► the record, in one view ─► Telling: a frame, its level, whose part it has ─► a frame per distinct view

Which of it each reader sees is `readers.Telling`'s to say, and what a reader is cleared for the hub's.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from pydantic import JsonValue

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.conversation import Person
from etb_appservice.domain.ids import EventId, Username
from etb_appservice.domain.news import (
    CommandFinished,
    FileShared,
    IncidentUpdated,
    MessageAdded,
    MessageDeleted,
    MessagePinned,
    MessageUpdated,
    News,
    Notified,
    PersonJoined,
    PersonLeft,
    ReactionChanged,
    ReadUpTo,
    RightsChanged,
    Typing,
)
from etb_appservice.domain.past import Span
from etb_appservice.flows.past import past_of
from etb_appservice.gateway import objects, told
from etb_appservice.gateway.objects import clean
from etb_appservice.gateway.readers import Telling
from etb_appservice.gateway.shows import file_was
from etb_appservice.ports import Message, Room, Work


class Shows(Protocol):
    """Makes the API's objects from the record (docs/etb-contract.md 4 and 5), in the caller's view."""

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
        ...

    async def command(self, work: Work, room: Room, run_id: str, up_to: Classification) -> objects.Command | None:
        """None where there is no such run in the room. Above `up_to` no message is named."""
        ...

    async def file(self, work: Work, room: Room, file_id: str, up_to: Classification) -> objects.File | None:
        """None where there is no such file in the room. Above `up_to` no message is named."""
        ...


async def tellings_of(work: Work, room: Room, news: Sequence[News], shows: Shows) -> list[Telling]:
    """What a war room is told of some news, in their order. What isn't there any more is left out."""
    shown = await _shown(work, room, {one.message_id for one in news if isinstance(one, OfMessage)}, shows)
    levels = await _said_at(work, room, {one.message_id for one in news if isinstance(one, OfRow)} - {""})
    found = [await _telling_of(work, room, one, shows, shown, levels) for one in news]
    return [one for one in found if one is not None]


OfMessage = MessageAdded | MessageUpdated | ReactionChanged | MessagePinned | ReadUpTo
OfRow = MessageDeleted | Notified
"""Names a message of which nothing but its place may be left."""


@dataclass(frozen=True, slots=True)
class _Shown:
    """A message as nobody in particular sees it, and what `Telling.replies` and `Telling.orphans` are."""

    message: objects.Message
    replies: Mapping[Classification, int]
    orphans: frozenset[Classification]


async def _shown(work: Work, room: Room, ids: Collection[str], shows: Shows) -> Mapping[str, _Shown]:
    """Messages of this war room by id."""
    known = await work.messages.by_ids(ids) if ids else {}
    here = [one for one in known.values() if one.lane == lane_of(room)]
    if not here:
        return {}
    every = await work.messages.reply_counts([one.event_id for one in here])
    parents = {one.id: one.parent for one in here if one.parent is not None}
    levels = await _levels(work, room) if every or parents else {}
    counts = await _counts(work, room, every, levels)
    orphans = await _orphans(work, room, parents, levels)
    return {
        one.id: _Shown(
            one,
            {level: counted.get(known[one.id].event_id, 0) for level, counted in counts.items()},
            orphans.get(one.id, frozenset()),
        )
        for one in await shows.messages(work, room, here, None, Classification.TOP_SECRET)
    }


async def _said_at(work: Work, room: Room, ids: Collection[str]) -> Mapping[str, Classification]:
    """How far somebody must be cleared to know of these messages of this war room, whatever is left of them."""
    known = await work.messages.by_ids(ids) if ids else {}
    past = await past_of(work, room) if known else None
    return {} if past is None else {one.id: past.level(one) for one in known.values() if one.lane == lane_of(room)}


Levels = Mapping[tuple[Span, ...], frozenset[Classification]]
"""Times that are hidden, and from whom."""


async def _counts(
    work: Work, room: Room, every: Mapping[EventId, int], levels: Levels
) -> Mapping[Classification, Mapping[EventId, int]]:
    """How many answers each has, by how far a reader may know. `every`: all of them; empty where none has any."""
    if not every:
        return {}
    found = {spans: await work.messages.reply_counts(every, {lane_of(room): spans}) for spans in levels if spans}
    found[()] = every
    return {level: found[spans] for spans, those in levels.items() for level in those}


async def _orphans(
    work: Work, room: Room, parents: Mapping[str, EventId], levels: Levels
) -> Mapping[str, frozenset[Classification]]:
    """By message: who may know how far may not know what it answers."""
    found: dict[str, frozenset[Classification]] = {}
    for spans, those in levels.items() if parents else ():
        if spans:
            known = await work.messages.ids_of(set(parents.values()), {lane_of(room): spans})
            for message_id, parent in parents.items():
                if parent not in known:
                    found[message_id] = found.get(message_id, frozenset()) | those
    return found


async def _levels(work: Work, room: Room) -> Levels:
    past = await past_of(work, room)
    found: dict[tuple[Span, ...], frozenset[Classification]] = {}
    for level in Classification:
        spans = past.hidden(level)
        found[spans] = found.get(spans, frozenset()) | {level}
    return found


def lane_of(room: Room) -> str:
    """The lane in which a war room's messages stand."""
    return room.incident_id or room.room_id or ""


async def _telling_of(
    work: Work,
    room: Room,
    news: News,
    shows: Shows,
    shown: Mapping[str, _Shown],
    levels: Mapping[str, Classification],
) -> Telling | None:
    now = objects.moment(work.now_ms())
    match news:
        case MessageAdded() | MessageUpdated() | ReactionChanged() | MessagePinned() | ReadUpTo():
            found = shown.get(news.message_id)
            return await _of_message(work, news, found, now) if found is not None else None
        case MessageDeleted(message_id=message_id, by=by):
            if message_id not in levels:
                return None
            name = by.username or clean(by.user_id)
            gone = told.MessageDeleted(message_id=message_id, deleted_by_username=name, timestamp=now)
            return Telling(frame=gone, level=levels[message_id])
        case PersonJoined(person=person):
            return Telling(frame=told.UserJoined(user=await user_of(work, person), timestamp=now))
        case PersonLeft(person=person):
            return Telling(frame=told.UserLeft(user=await user_of(work, person), timestamp=now))
        case IncidentUpdated():
            return await _of_incident(work, room, news)
        case CommandFinished(run_id=run_id):
            command = await shows.command(work, room, run_id, Classification.TOP_SECRET)
            level = await _level_of_run(work, room, run_id)
            if command is None or level is None:
                return None
            named = await _said_at(work, room, {command.message} if command.message else ())
            return Telling(
                frame=told.CommandResult(command=command), level=level, named=max(named.values(), default=level)
            )
        case FileShared(file_id=file_id, message_id=message_id):
            file = await shows.file(work, room, file_id, Classification.TOP_SECRET)
            kept = await work.files.get(file_id)
            if file is None or kept is None or kept.withdrawn_ms is not None:
                return None
            named = await _said_at(work, room, {file.message or "", message_id} - {""})
            shared = told.FileShared(file=file, message_id=message_id if message_id in named else None)
            level = file_was(kept, room, await past_of(work, room))
            return Telling(frame=shared, level=level, named=max(named.values(), default=level))
        case Notified():
            level = await _level_of_notice(work, room, news, levels)
            return _of_notice(news, level, now) if level is not None else None
        case Typing(person=person, is_typing=is_typing):
            typing = told.Typing(user=await user_of(work, person), is_typing=is_typing)
            return Telling(frame=typing, but=frozenset({person.username}))
        case RightsChanged():
            return None


async def _of_message(work: Work, news: OfMessage, shown: _Shown, now: objects.Moment) -> Telling:
    message = shown.message
    level = Classification[message.data_classification]
    match news:
        case MessageAdded(client_id=client_id):
            return Telling(
                frame=told.ChatMessage(message=message),
                level=level,
                sender=Username(message.sender_username),
                client_id=client_id,
                own=_own(message),
                replies=shown.replies,
                orphans=shown.orphans,
            )
        case MessageUpdated():
            frame = told.MessageUpdated(message=message)
            return Telling(
                frame=frame, level=level, own=_own(message), replies=shown.replies, orphans=shown.orphans
            )
        case ReactionChanged(emoji=emoji, is_added=is_added, by=by):
            reaction = told.Reaction(
                message_id=message.id,
                emoji=clean(emoji),
                action="add" if is_added else "remove",
                user=await user_of(work, by),
                reactions=message.reactions,
                timestamp=now,
            )
            return Telling(frame=reaction, level=level, own=_own(message))
        case MessagePinned(is_pinned=is_pinned, by=by):
            user = await user_of(work, by)
            pin = told.MessagePinned(message_id=message.id, is_pinned=is_pinned, user=user, timestamp=now)
            return Telling(frame=pin, level=level)
        case ReadUpTo(person=person):
            read = told.Read(user=await user_of(work, person), message_id=message.id)
            return Telling(frame=read, level=level)


def _own(message: objects.Message) -> Mapping[Username, frozenset[str]]:
    own: dict[Username, frozenset[str]] = {}
    for group in message.reactions:
        for name in group.users:
            own[Username(name)] = own.get(Username(name), frozenset()) | {group.emoji}
    return own


async def _of_incident(work: Work, room: Room, news: IncidentUpdated) -> Telling | None:
    known = await work.incidents.get(room.incident_id) if room.incident_id == news.incident_id else None
    if known is None:
        return None
    incident = known.incident
    short = told.IncidentShort(
        id=incident.id,
        status=incident.status,
        severity=incident.severity,
        assigned_to_username=incident.assignee,
    )
    return Telling(frame=told.IncidentUpdated(incident=short, changed=list(news.changed)))


async def _level_of_notice(
    work: Work, room: Room, news: Notified, levels: Mapping[str, Classification]
) -> Classification | None:
    """Who may know of the message or the command that it names; None where there is none."""
    if news.message_id:
        return levels.get(news.message_id)
    return await _level_of_run(work, room, news.run_id) if news.run_id else Classification.PUBLIC


async def _level_of_run(work: Work, room: Room, run_id: str) -> Classification | None:
    """Who may know of a command; None where there is none."""
    run = await work.commands.get(run_id)
    return (await past_of(work, room)).between(run.asked_ms, run.finished_ms) if run is not None else None


def _of_notice(news: Notified, level: Classification, now: objects.Moment) -> Telling:
    data: dict[str, JsonValue] = {"message_id": news.message_id} if news.message_id else {}
    if news.run_id:
        data["command_id"] = news.run_id
    frame = told.Notification(
        notification_type=news.notice,
        title=clean(news.title),
        body=clean(news.body),
        severity=news.severity,
        data=data,
        timestamp=now,
    )
    return Telling(frame=frame, level=level, only=frozenset(news.usernames))


async def user_of(work: Work, person: Person) -> objects.User:
    """Somebody in short; whom ETB doesn't know goes by their Matrix id."""
    if not person.username:
        return objects.User(id=None, username=clean(person.user_id))
    known = await work.incidents.user(person.username)
    return objects.User(id=known[0].id or None if known else None, username=person.username)

"""Messages: reading them (docs/etb-contract.md 3.7 and 4)."""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from etb_appservice.domain.ids import IncidentId, Username, WarRoomId
from etb_appservice.flows.marks import pins_of
from etb_appservice.flows.past import past_of
from etb_appservice.gateway.doors import Sight
from etb_appservice.gateway.objects import Message as MessageObject
from etb_appservice.gateway.objects import MessageType, Moment, Page, moment_or_none
from etb_appservice.gateway.pages import MOST_DIGITS, Created, Paged, neighbours, offset_of, size_of, slice_of
from etb_appservice.gateway.problems import invalid, not_found
from etb_appservice.gateway.reading import SCAN, Found, hidden_from, may_read, readable, up_to
from etb_appservice.gateway.shows import Shows, users_of
from etb_appservice.gateway.table import Answer, B, Call, Nothing, Q, Route, route
from etb_appservice.ports import SHOWN, Message, Work

_BATCH = 500


class MessageQuery(Paged, Created):
    """Which messages of a war room; those that the caller isn't cleared for are neither shown nor counted."""

    message_type: MessageType | None = None
    sender: Annotated[str, Field(max_length=200)] | None = None
    """ETB's id or username of who said it."""
    reply_to: UUID | None = None
    """Only what answers this message."""
    is_pinned: bool | None = None
    search: Annotated[str, Field(max_length=200)] | None = None
    """A part of the text, without regard to case."""
    ordering: Literal["created_at", "-created_at"] = "created_at"
    cursor: Annotated[str, Field(max_length=100)] | None = None
    """Pages by place instead of by number, at the same cost at any depth: empty for the first, then as `next` has
    it. Places stay where they are while messages are added."""

    @property
    def opens(self) -> bool:
        """Whether texts must be opened to know."""
        return any(
            one is not None
            for one in (
                self.message_type,
                self.sender,
                self.reply_to,
                self.is_pinned,
                self.search,
                self.created_after,
                self.created_before,
            )
        )


class AnyMessageQuery(MessageQuery):
    """The same; of which war room."""

    war_room: UUID | None = None
    """Needed: messages are listed a war room at a time."""


class ReplyQuery(Paged):
    """In which order answers are listed."""

    ordering: Literal["created_at", "-created_at"] = "created_at"


class PinnedQuery(Paged):
    """In which order pinned messages are listed."""

    ordering: Literal["pinned_at", "-pinned_at"] = "-pinned_at"


class MessagePage(Page[MessageObject]):
    """A page of messages. `count` counts what was looked at."""

    stopped_at: Moment | None
    """Texts are stored encrypted: a search or filter looks at the latest 5,000 messages, with `reply_to` at the
    latest 5,000 that answer it. Where there are older ones, this is when the oldest came that was looked at; else
    null."""


@dataclass(frozen=True, slots=True)
class _Place:
    """A cursor: the page behind (`f`) or before (`b`) a position, in the direction of the list."""

    is_forwards: bool = True
    position: int | None = None

    def __str__(self) -> str:
        text = f"{'f' if self.is_forwards else 'b'}{self.position}"
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _place(cursor: str) -> _Place:
    if not cursor:
        return _Place()
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii")
    except (ValueError, binascii.Error):
        text = ""
    digits = text[1:]
    if text[:1] not in {"f", "b"} or not digits.isdecimal() or len(digits) > MOST_DIGITS:
        raise invalid(cursor="Invalid cursor.")
    return _Place(text[0] == "f", int(digits))


@route("GET", "war-rooms/{id}/messages/", answers={200: MessagePage})
async def list_messages(call: Call[MessageQuery, Nothing]) -> Answer:
    """List the messages of a war room."""
    return Answer(await _listed(call, call.path["id"], call.query))


@route("GET", "war-room-messages/", answers={200: MessagePage})
async def list_all_messages(call: Call[AnyMessageQuery, Nothing]) -> Answer:
    """List the messages of the war room that `war_room` names."""
    if call.query.war_room is None:
        raise invalid(war_room="This field is required.")
    return Answer(await _listed(call, str(call.query.war_room), call.query))


@route("GET", "war-rooms/{id}/pinned_messages/", answers={200: Page[MessageObject]})
async def list_pinned_messages(call: Call[PinnedQuery, Nothing]) -> Answer:
    """List the pinned messages of a war room, the latest pin first unless ordered otherwise."""
    gate = call.gate
    async with gate.store.view() as work:
        sight = await gate.doors.enter(work, call.caller, call.path["id"])
        pins = await pins_of(work, sight.room.war_room)
        past = await past_of(work, sight.room)
        found = await work.messages.by_events([one.event_id for one in pins.pinned])
        ordered = sorted(pins.pinned, key=lambda one: one.at_ms, reverse=call.query.ordering == "-pinned_at")
        pinned = [
            message
            for one in ordered
            if (message := found.get(one.event_id)) is not None
            and message.state in SHOWN
            and may_read(past, sight, message)
        ]
        return Answer(await _page(call, work, sight, pinned, call.query))


@route("GET", "war-room-messages/{id}/", answers={200: MessageObject})
async def get_message(call: Call[Nothing, Nothing]) -> Answer:
    """Show a message."""
    async with call.gate.store.view() as work:
        sight, message = await one_message(call, work)
        return Answer((await _shown(call, work, sight, [message]))[0])


@route("GET", "war-room-messages/{id}/replies/", answers={200: Page[MessageObject]})
async def list_replies(call: Call[ReplyQuery, Nothing]) -> Answer:
    """List what answers a message, oldest first unless ordered otherwise."""
    gate, query = call.gate, call.query
    async with gate.store.view() as work:
        sight, message = await one_message(call, work)
        hidden = await hidden_from(work, [sight])
        count = (await work.messages.reply_counts([message.event_id], hidden)).get(message.event_id, 0)
        skip, size = offset_of(query, gate, count), size_of(query, gate)
        if query.ordering == "created_at":
            rows = await work.messages.replies(message.event_id, limit=size, skip=skip, hidden=hidden)
        else:
            rows = await work.messages.latest_replies(message.event_id, limit=size, skip=skip, hidden=hidden)
        following, previous = neighbours(query, gate, count, call.links)
        results = await _shown(call, work, sight, rows)
    return Answer(Page[MessageObject](count=count, next=following, previous=previous, results=results))


# --- reading ----------------------------------------------------------------------------------------------


async def _shown(
    call: Call[Q, Nothing], work: Work, sight: Sight, messages: Sequence[Message]
) -> list[MessageObject]:
    shows = Shows(call.gate.policy, call.links)
    return await shows.messages(work, sight.room, messages, call.caller.user.username, up_to(sight))


async def one_message(call: Call[Q, B], work: Work) -> tuple[Sight, Message]:
    """The message that the path names, and its war room."""
    sight, message = await known_message(call, work, call.path["id"])
    if message.state not in SHOWN:
        raise not_found()
    return sight, message


async def known_message(call: Call[Q, B], work: Work, message_id: str) -> tuple[Sight, Message]:
    """A message that the caller may know of, whatever is left of it, and its war room; else Problem 404."""
    message = await work.messages.get(message_id)
    room = None if message is None else await work.rooms.of_incident(IncidentId(message.lane))
    sight = None if room is None else await call.gate.doors.look(work, call.caller, room)
    if message is None or sight is None or not may_read(await past_of(work, sight.room), sight, message):
        raise not_found()
    return sight, message


async def _replies(work: Work, sight: Sight, root: Message) -> Found:
    """The latest that answer it."""
    hidden = await hidden_from(work, [sight])
    count = (await work.messages.reply_counts([root.event_id], hidden)).get(root.event_id, 0)
    left = max(0, count - SCAN)
    found: list[Message] = []
    batch = await work.messages.replies(root.event_id, 0, _BATCH, skip=left, hidden=hidden)
    while batch:
        found += batch
        batch = await work.messages.replies(root.event_id, batch[-1].position, _BATCH, hidden=hidden)
    return Found(found, found[0].received_ms if left and found else None)


async def _page(
    call: Call[Q, Nothing], work: Work, sight: Sight, messages: Sequence[Message], query: Paged
) -> Page[MessageObject]:
    rows = slice_of(messages, query, call.gate)
    following, previous = neighbours(query, call.gate, len(messages), call.links)
    results = await _shown(call, work, sight, rows)
    return Page[MessageObject](count=len(messages), next=following, previous=previous, results=results)


async def _listed(call: Call[Q, Nothing], war_room: str, query: MessageQuery) -> MessagePage:
    gate = call.gate
    place = None if query.cursor is None else _place(query.cursor)
    async with gate.store.view() as work:
        sight = await gate.doors.enter(work, call.caller, WarRoomId(war_room))
        found: Found | None = None
        if query.opens:
            found = await _filtered(work, sight, query, Shows(gate.policy, call.links))
            count = len(found.messages)
        else:
            hidden = await hidden_from(work, [sight])
            count = (await work.messages.tally([sight.incident_id], hidden))[sight.incident_id].count
        if place is not None:
            rows, following, previous = await _by_place(call, work, sight, query, place, found)
        else:
            rows = await _by_number(call, work, sight, query, count, found)
            following, previous = neighbours(query, gate, count, call.links)
        results = await _shown(call, work, sight, rows)
    stopped_ms = found.stopped_ms if found is not None else None
    return MessagePage(
        count=count, next=following, previous=previous, results=results, stopped_at=moment_or_none(stopped_ms)
    )


async def _by_number(
    call: Call[Q, Nothing], work: Work, sight: Sight, query: MessageQuery, count: int, found: Found | None
) -> Sequence[Message]:
    is_down = query.ordering == "-created_at"
    if found is not None:
        return slice_of(found.messages[::-1] if is_down else found.messages, query, call.gate)
    skip, size = offset_of(query, call.gate, count), size_of(query, call.gate)
    hidden = await hidden_from(work, [sight])
    if is_down:
        return await work.messages.latest(sight.incident_id, None, size, skip=skip, hidden=hidden)
    return await work.messages.page(sight.incident_id, 0, size, only_shown=True, skip=skip, hidden=hidden)


async def _by_place(
    call: Call[Q, Nothing], work: Work, sight: Sight, query: MessageQuery, place: _Place, found: Found | None
) -> tuple[Sequence[Message], str | None, str | None]:
    """Rows and links. One row more than a page holds tells whether there is another page."""
    size, lane = size_of(query, call.gate), sight.incident_id
    hidden = await hidden_from(work, [sight])
    is_rising = (query.ordering == "created_at") is place.is_forwards
    if found is not None:
        rows = _beside(found.messages, place.position, size + 1, is_rising=is_rising)
    elif is_rising:
        rows = await work.messages.page(lane, place.position or 0, size + 1, only_shown=True, hidden=hidden)
    else:
        rows = await work.messages.latest(lane, place.position, size + 1, hidden=hidden)
    has_more = len(rows) > size
    rows = rows[:size]
    if not place.is_forwards:
        rows = rows[::-1]
    has_next = has_more if place.is_forwards else True
    has_previous = place.position is not None if place.is_forwards else has_more
    if not rows:
        return rows, None, None
    following = call.links.here(cursor=str(_Place(True, rows[-1].position))) if has_next else None
    previous = call.links.here(cursor=str(_Place(False, rows[0].position))) if has_previous else None
    return rows, following, previous


def _beside(messages: Sequence[Message], position: int | None, most: int, *, is_rising: bool) -> Sequence[Message]:
    if is_rising:
        return [one for one in messages if one.position > (position or 0)][:most]
    return [one for one in reversed(messages) if position is None or one.position < position][:most]


async def _filtered(work: Work, sight: Sight, query: MessageQuery, shows: Shows) -> Found:
    """What the filters leave over; the sender by id needs ETB's word on who that is."""
    pins = await pins_of(work, sight.room.war_room)
    search = query.search.casefold() if query.search is not None else None

    def keep(one: Message) -> bool:
        if query.message_type is not None and one.details.message_type != query.message_type:
            return False
        if query.is_pinned is not None and (pins.of(one.event_id) is not None) is not query.is_pinned:
            return False
        if not query.holds(one.received_ms):
            return False
        return search is None or search in (one.body or "").casefold()

    if query.reply_to is not None:
        root = await work.messages.get(str(query.reply_to))
        if (
            root is None
            or root.lane != sight.incident_id
            or not may_read(await past_of(work, sight.room), sight, root)
        ):
            return Found([])
        answers = await _replies(work, sight, root)
        found = Found([one for one in answers.messages if keep(one)], answers.stopped_ms)
    else:
        found = await readable(work, sight, keep)
    if query.sender is None:
        return found
    speakers = {one.id: shows.speaker(one) for one in found.messages}
    users = await users_of(work, {name for name in speakers.values() if name})
    wanted = query.sender.lower()
    names = {name for name, user in users.items() if user.id == wanted} | {Username(query.sender)}
    return Found([one for one in found.messages if speakers[one.id] in names], found.stopped_ms)


TABLE: tuple[Route, ...] = (
    list_messages,
    list_pinned_messages,
    list_all_messages,
    get_message,
    list_replies,
)

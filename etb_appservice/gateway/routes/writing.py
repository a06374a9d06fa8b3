"""Messages: posting, editing, deleting, reacting to and pinning them (docs/etb-contract.md 4).

Each call is an act at the desk, which answers once it is decided; of what it refuses the frame makes an answer.
Whether the caller may see the message at all is asked first, so that what they may not know of is 404.
"""

import uuid
from typing import Annotated
from uuid import UUID

from pydantic import Field

from etb_appservice.domain.conversation import Reacted
from etb_appservice.domain.ids import WarRoomId, new_id
from etb_appservice.domain.reactions import bare
from etb_appservice.domain.web import DraftType
from etb_appservice.gateway.desk import Act, Draft
from etb_appservice.gateway.objects import Message as MessageObject
from etb_appservice.gateway.objects import Object, Reaction, moment
from etb_appservice.gateway.problems import conflict, invalid, not_found
from etb_appservice.gateway.reading import up_to
from etb_appservice.gateway.routes.messages import known_message, one_message
from etb_appservice.gateway.shows import Shows, users_of
from etb_appservice.gateway.table import Answer, B, Body, Call, Nothing, Route, route

_ERRORS = (404, 409, 502)
_MOST_PEOPLE = 50
_MOST_FILES = 10
Text = Annotated[str, Field(min_length=1, max_length=200_000)]
Emoji = Annotated[str, Field(min_length=1, max_length=64)]


class NewMessage(Body):
    """A message (4.2). Text is Markdown; what is too long for one event becomes a file."""

    war_room_id: UUID | None = None
    """The war room; `war_room` is taken too, and one of both is needed."""
    war_room: UUID | None = None
    content: Text
    message_type: DraftType = "TEXT"
    reply_to_id: UUID | None = None
    """The message that it answers, in whose thread it goes."""
    mentioned_user_ids: list[UUID] = Field(default_factory=list, max_length=_MOST_PEOPLE)
    """ETB's ids of people in the room; `@username` in the text does the same."""
    attachment_ids: list[UUID] = Field(default_factory=list, max_length=_MOST_FILES)


class Edit(Body):
    """Another text."""

    content: Text


class Sign(Body):
    """One emoji (4.3)."""

    emoji: Emoji


class Gone(Object):
    """Nothing is left of it."""


@route("POST", "war-room-messages/", answers={201: MessageObject}, errors=_ERRORS, takes_key=True)
async def post_message(call: Call[Nothing, NewMessage]) -> Answer:
    """Post a message.

    It is said in the Matrix room by the caller's own Matrix user. A text that begins with `/` is kept as a
    `COMMAND` and not run.
    """
    body = call.body
    war_room = body.war_room_id or body.war_room
    if war_room is None:
        raise invalid(war_room_id="This field is required.")
    async with call.gate.store.view() as work:
        await call.gate.doors.enter(work, call.caller, str(war_room))
    draft = Draft(
        content=body.content,
        message_type=body.message_type,
        reply_to=None if body.reply_to_id is None else str(body.reply_to_id),
        mentioned=tuple(str(one) for one in body.mentioned_user_ids),
        attachments=tuple(str(one) for one in body.attachment_ids),
    )
    message_id = await call.gate.desk.post(call.caller, WarRoomId(str(war_room)), _act(call), draft)
    return Answer(await _shown(call, message_id), 201)


@route("PATCH", "war-room-messages/{id}/", answers={200: MessageObject}, errors=_ERRORS, takes_key=True)
async def edit_message(call: Call[Nothing, Edit]) -> Answer:
    """Edit a message of one's own that was posted here."""
    message_id, war_room = await _seen(call)
    await call.gate.desk.edit(call.caller, war_room, _act(call), message_id, call.body.content)
    return Answer(await _shown(call, message_id))


@route("DELETE", "war-room-messages/{id}/", answers={200: Gone}, errors=(*_ERRORS, 423), takes_key=True)
async def delete_message(call: Call[Nothing, Nothing]) -> Answer:
    """Delete a message of one's own, or as the incident's commander somebody else's.

    Its content goes here and in Matrix, and its files with it once their retention ends: until then they are kept
    and shown to the auditor and compliance roles alone. Answers an empty object. 423 under a legal hold.
    """
    message_id, war_room = await _seen(call, also_gone=bool(call.key))
    await call.gate.desk.delete(call.caller, war_room, _act(call), message_id)
    return Answer(Gone())


@route(
    "POST",
    "war-room-messages/{id}/pin_message/",
    answers={200: MessageObject},
    errors=_ERRORS,
    takes_key=True,
)
async def pin_message(call: Call[Nothing, Nothing]) -> Answer:
    """Pin a message. Repeating is harmless."""
    return await _pin(call, is_pinned=True)


@route(
    "POST",
    "war-room-messages/{id}/unpin_message/",
    answers={200: MessageObject},
    errors=_ERRORS,
    takes_key=True,
)
async def unpin_message(call: Call[Nothing, Nothing]) -> Answer:
    """Unpin a message. Repeating is harmless."""
    return await _pin(call, is_pinned=False)


@route(
    "POST",
    "war-room-messages/{id}/add_reaction/",
    answers={200: Reaction, 201: Reaction},
    errors=_ERRORS,
    takes_key=True,
)
async def add_reaction(call: Call[Nothing, Sign]) -> Answer:
    """React to a message with one emoji: 201, or 200 where the caller has done so already."""
    before = await _reaction(call)
    await _react(call, is_added=True)
    reaction = await _reaction(call)
    if reaction is None:
        raise conflict("The reaction was withdrawn at the same moment.")
    return Answer(reaction, 200 if before is not None else 201)


@route(
    "POST",
    "war-room-messages/{id}/remove_reaction/",
    answers={200: MessageObject},
    errors=(*_ERRORS, 423),
    takes_key=True,
)
async def remove_reaction(call: Call[Nothing, Sign]) -> Answer:
    """Withdraw a reaction. Repeating is harmless. 423 under a legal hold."""
    message_id = await _react(call, is_added=False)
    return Answer(await _shown(call, message_id))


# --- at the desk ------------------------------------------------------------------------------------------


def _act(call: Call[Nothing, B]) -> Act:
    return Act(new_id(call.gate.clock.now_ms()), call.key)


async def _seen(call: Call[Nothing, B], *, also_gone: bool = False) -> tuple[str, WarRoomId]:
    """The message that the path names, and its war room; 404 where the caller may not know of it.

    `also_gone`: what was deleted may be named too. Whoever asks again with the same key has deleted it themselves.
    """
    async with call.gate.store.view() as work:
        sight, message = await (
            known_message(call, work, call.path["id"]) if also_gone else one_message(call, work)
        )
    return message.id, sight.room.war_room


async def _shown(call: Call[Nothing, B], message_id: str) -> MessageObject:
    """As it stands by now."""
    async with call.gate.store.view() as work:
        sight, message = await known_message(call, work, message_id)
        if message.state == "redacted":
            raise not_found()
        shows = Shows(call.gate.policy, call.links)
        name = call.caller.user.username
        return (await shows.messages(work, sight.room, [message], name, up_to(sight)))[0]


async def _pin(call: Call[Nothing, Nothing], *, is_pinned: bool) -> Answer:
    message_id, war_room = await _seen(call)
    await call.gate.desk.pin(call.caller, war_room, _act(call), message_id, is_pinned=is_pinned)
    return Answer(await _shown(call, message_id))


async def _react(call: Call[Nothing, Sign], *, is_added: bool) -> str:
    message_id, war_room = await _seen(call)
    await call.gate.desk.react(call.caller, war_room, _act(call), message_id, call.body.emoji, is_added=is_added)
    return message_id


async def _reaction(call: Call[Nothing, Sign]) -> Reaction | None:
    """The caller's reaction with this emoji, where there is one."""
    async with call.gate.store.view() as work:
        _, message = await one_message(call, work)
        users = await users_of(work, {call.caller.user.username})
    found = next((one for one in message.details.reactions if _is(one, call)), None)
    user = users.get(call.caller.user.username)
    if found is None:
        return None
    return Reaction(
        id=str(uuid.uuid5(uuid.UUID(message.id), f"{found.username}/{bare(found.emoji)}")),
        message=message.id,
        user=(user.id or None) if user is not None else None,
        user_username=call.caller.user.username,
        emoji=found.emoji,
        created_at=moment(found.at_ms),
    )


def _is(reaction: Reacted, call: Call[Nothing, Sign]) -> bool:
    return reaction.username == call.caller.user.username and bare(reaction.emoji) == bare(call.body.emoji)


TABLE: tuple[Route, ...] = (
    post_message,
    edit_message,
    delete_message,
    pin_message,
    unpin_message,
    add_reaction,
    remove_reaction,
)

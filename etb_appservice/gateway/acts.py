"""What a frame of a client's does: a frame, checked, becomes a call to the desk, or a look into the record.

What went well is answered by the news of it, which everybody gets; `history` and `ping` are answered. A refusal
becomes an error frame. Whoever may not be in the room any more is closed, whatever was asked.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.ids import new_id
from etb_appservice.flows.past import past_of
from etb_appservice.gateway import frames, objects, told
from etb_appservice.gateway.desk import Act, Desk, Draft, Order, Refusal
from etb_appservice.gateway.entry import Entry
from etb_appservice.gateway.hub import WITHDRAWN
from etb_appservice.gateway.seat import NO_ACCESS, Seat
from etb_appservice.gateway.telling import Shows, lane_of
from etb_appservice.ports import Clock, Store

TYPING_S = 10.0
"""After how long typing ends by itself (docs/etb-contract.md 6.3)."""
_TYPING_AGAIN_S = 5.0
"""How soon those who type on are told so again."""
_MOST_PAGES = 20
"""How many pages of the record one `history` may look through for what its reader may see."""

_MOST_TOLD = 256 * 1024
"""How many characters of messages one `history` tells."""
_UNCLEARED = "You are no longer cleared for this room."
_WRITTEN_S = 3.0
"""How long whoever is closed for that may take to read it."""


class _Withdrawn(Exception):
    """The caller may no longer be in the room."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Acts:
    """Done one after another for each socket, so that a person's own order is kept."""

    store: Store
    entry: Entry
    shows: Shows
    desk: Desk
    clock: Clock

    async def take(self, seat: Seat, text: bytes) -> None:
        """Do what a frame asks for. Raises only what a failing store raises."""
        try:
            frame = frames.read_frame(text)
        except frames.Unacceptable as no:
            seat.tell(error(no.code, no.detail, no.in_reply_to or None, no.client_id))
            return
        try:
            await self._do(seat, frame)
        except Refusal as no:
            if no.code == "not_found" and not no.field and await self._is_out(seat, frame):
                return
            detail = f"{no.field}: {no.detail}" if no.field else no.detail
            seat.tell(error(no.code, detail, frame.type, frame.client_id))
        except _Withdrawn:
            await self._is_out(seat, frame)

    async def _is_out(self, seat: Seat, frame: frames.ClientFrame) -> bool:
        """Whether a caller may be here no longer, who is closed then; for want of clearance they are told why.

        They were let in, so there is no room in it that they wouldn't know of.
        """
        async with self.store.view() as work:
            room = await work.rooms.by_war_room(seat.war_room)
            found = (await self.entry.still(work, room, [seat.caller]))[seat.username] if room else None
        if found is not None and found.allowed:
            return False
        if found is not None and found.why == "clearance":
            seat.tell(error("clearance_required", _UNCLEARED, frame.type, frame.client_id))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_WRITTEN_S):
                    await seat.rest()
        seat.close(NO_ACCESS, WITHDRAWN)
        return True

    async def stop_typing(self, seat: Seat) -> None:
        """Its caller types no longer, whether they said so or not."""
        if seat.typing_until_s is not None:
            seat.typing_until_s = None
            try:
                await self.desk.typing(seat.caller, seat.war_room, is_typing=False)
            except Refusal:  # whoever is out by now types nowhere
                return

    async def _do(self, seat: Seat, frame: frames.ClientFrame) -> None:
        caller, here, act = seat.caller, seat.war_room, Act(new_id(self.clock.now_ms()))
        match frame:
            case frames.ChatMessage():
                await self.desk.post(caller, here, act, _draft(frame))
                await self.stop_typing(seat)
            case frames.EditMessage(message_id=message_id, content=content):
                await self.desk.edit(caller, here, act, message_id, content)
            case frames.Reaction(message_id=message_id, emoji=emoji, action=action):
                await self.desk.react(caller, here, act, message_id, emoji, is_added=action == "add")
            case frames.PinMessage(message_id=message_id):
                await self.desk.pin(caller, here, act, message_id, is_pinned=True)
            case frames.UnpinMessage(message_id=message_id):
                await self.desk.pin(caller, here, act, message_id, is_pinned=False)
            case frames.Command():
                await self.desk.run(caller, here, act, _order(frame))
            case frames.Read(message_id=message_id):
                await self.desk.read(caller, here, act, message_id)
            case frames.Typing(is_typing=True):
                await self._type(seat)
            case frames.Typing():
                await self.stop_typing(seat)
            case frames.History():
                await seat.rest()
                await seat.tell_read(self._history(seat, frame))
            case frames.Ping(nonce=nonce):
                seat.tell(told.Pong(nonce=nonce, server_time=objects.moment(self.clock.now_ms())))

    async def _type(self, seat: Seat) -> None:
        until_s = seat.typing_until_s
        now_s = self.clock.monotonic()
        if until_s is None or until_s - now_s <= TYPING_S - _TYPING_AGAIN_S:
            await self.desk.typing(seat.caller, seat.war_room, is_typing=True)
            seat.typing_until_s = now_s + TYPING_S

    async def _history(self, seat: Seat, frame: frames.History) -> told.History:
        """The latest messages before one that the caller may know, oldest first."""
        async with self.store.view() as work:
            room = await work.rooms.by_war_room(seat.war_room)
            if room is None:
                raise _Withdrawn
            permission = (await self.entry.still(work, room, [seat.caller]))[seat.username]
            if not permission.allowed:
                raise _Withdrawn
            seat.may(permission)
            lane, before = lane_of(room), None
            if frame.before is not None:
                message = await work.messages.get(frame.before)
                past = await past_of(work, room)
                if message is None or message.lane != lane or past.level(message) > seat.up_to:
                    raise Refusal("not_found", "There is no such message in this room.", field="before")
                before = message.position
            size = frame.limit
            found: list[objects.Message] = []
            has_more = True
            for _ in range(_MOST_PAGES):
                # One more than is read shows whether there are more.
                page = await work.messages.latest(lane, before, size + 1)
                shown = await self.shows.messages(work, room, page[:size], seat.username, seat.up_to)
                found += [one for one in shown if Classification[one.data_classification] <= seat.up_to]
                has_more = len(page) > size
                if not has_more or len(found) >= frame.limit:
                    break
                before, size = page[size - 1].position, frames.MOST_HISTORY
        fits = _fitting(found[: frame.limit])
        has_more = has_more or len(found) > len(fits)
        return told.History(messages=fits[::-1], has_more=has_more, client_id=frame.client_id)


def _fitting(messages: Sequence[objects.Message]) -> Sequence[objects.Message]:
    """The first of these that go into one frame, at least one."""
    size = 0
    for number, message in enumerate(messages):
        size += len(message.content)
        if number and size > _MOST_TOLD:
            return messages[:number]
    return messages


def _draft(frame: frames.ChatMessage) -> Draft:
    return Draft(
        content=frame.content,
        message_type=frame.message_type,
        reply_to=frame.reply_to_id,
        mentioned=frame.mentioned_user_ids,
        attachments=frame.attachment_ids,
        client_id=frame.client_id or "",
    )


def _order(frame: frames.Command) -> Order:
    if not frame.command_text and frame.message_id is None:
        raise Refusal("validation_error", "Say the command, or which message holds it.", field="command_text")
    return Order(command_text=frame.command_text, message_id=frame.message_id, parameters=frame.parameters)


def error(
    code: frames.ErrorCode, detail: str, in_reply_to: str | None = None, client_id: str | None = None
) -> told.Error:
    """An error frame."""
    return told.Error(code=code, detail=detail, in_reply_to=in_reply_to, client_id=client_id)

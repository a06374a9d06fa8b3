"""The desk, served: an act is accepted in one commit, decided in the lane of its incident, and answered by that.

    caller ─► checked ─► Acts + inbox, one commit ─► lane ─► flows/web.py ─► ruling ─► whoever asked
                           │ the same key within a day: the first act's ruling        │ not in time: Undecided
                           └───────────────── what was accepted is never lost ─────────┘

The ruling is read from the database, so that it doesn't matter which process decides, or whether it was restarted
meanwhile; being woken only makes it quick. Typing and reading are kept nowhere.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypedDict

from etb_appservice.domain.ids import WarRoomId, new_id, short_hash
from etb_appservice.domain.incident import EtbUser
from etb_appservice.domain.news import ReadUpTo, Typing
from etb_appservice.domain.policy import Policy
from etb_appservice.domain.web import (
    RefusalCode,
    Ruling,
    WebAct,
    WebDeleted,
    WebEdited,
    WebFact,
    WebPinned,
    WebRan,
    WebReacted,
    WebSaid,
)
from etb_appservice.flows.grammar import split_command
from etb_appservice.flows.visitor import No, Place, place_of
from etb_appservice.flows.waiting import Waiting
from etb_appservice.gateway.callers import Caller
from etb_appservice.gateway.desk import Act, Draft, Order, Refusal, Undecided
from etb_appservice.gateway.objects import clean
from etb_appservice.gateway.orders import those_of, typed
from etb_appservice.ports import Arrival, Broadcast, Clock, FactCodec, Signals, Store, Work

SAME_KEY_MS = 86_400_000
"""For how long a key answers what was done first (docs/etb-contract.md 4.2)."""
_LOOK_EVERY_S = 0.5
"""How soon a ruling is seen that another process has given."""
_MOST_CONTENT = 200_000
_UNWANTED = dict.fromkeys((*range(9), 11, 12, *range(14, 32), 127))
"""Control characters that no text needs."""


class _Fields(TypedDict):
    """What every act has."""

    act: str
    war_room: WarRoomId
    by: EtbUser
    confirmed_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WebDesk:
    """`gateway.desk.Desk`. `wake`: told which lanes have work; `patience_s`: how long a caller waits."""

    store: Store
    codec: FactCodec
    policy: Policy
    clock: Clock
    waiting: Waiting
    wake: Callable[[Sequence[str]], None]
    broadcast: Broadcast
    signals: Signals
    patience_s: float = 15.0

    async def post(self, caller: Caller, war_room: WarRoomId, act: Act, draft: Draft) -> str:
        """See Desk."""
        content = _clean(draft.content)
        if len(content) > _MOST_CONTENT:
            raise Refusal("validation_error", "This is too long.", field="content")
        fact = WebSaid(
            **_of(caller, war_room, act),
            content=content,
            message_type=draft.message_type,
            reply_to=draft.reply_to,
            mentioned=draft.mentioned,
            attachments=draft.attachments,
            client_id=draft.client_id,
        )
        return (await self._done(fact, act, "post")).result

    async def edit(self, caller: Caller, war_room: WarRoomId, act: Act, message_id: str, content: str) -> None:
        """See Desk."""
        fact = WebEdited(**_of(caller, war_room, act), message_id=message_id, content=_clean(content))
        await self._done(fact, act, f"edit/{message_id}")

    async def delete(self, caller: Caller, war_room: WarRoomId, act: Act, message_id: str) -> None:
        """See Desk."""
        await self._done(
            WebDeleted(**_of(caller, war_room, act), message_id=message_id), act, f"delete/{message_id}"
        )

    async def react(
        self, caller: Caller, war_room: WarRoomId, act: Act, message_id: str, emoji: str, *, is_added: bool
    ) -> None:
        """See Desk."""
        fact = WebReacted(
            **_of(caller, war_room, act), message_id=message_id, emoji=emoji.strip(), is_added=is_added
        )
        await self._done(fact, act, f"react/{message_id}/{is_added}")

    async def pin(
        self, caller: Caller, war_room: WarRoomId, act: Act, message_id: str, *, is_pinned: bool
    ) -> None:
        """See Desk."""
        fact = WebPinned(**_of(caller, war_room, act), message_id=message_id, is_pinned=is_pinned)
        await self._done(fact, act, f"pin/{message_id}/{is_pinned}")

    async def run(self, caller: Caller, war_room: WarRoomId, act: Act, order: Order) -> str:
        """See Desk."""
        words = _clean(order.command_text)
        if not words.strip() and order.message_id is not None and those_of(order.parameters):
            words = await self._command_of(caller, war_room, order.message_id)
        text = typed(words, order.parameters, self.policy.commands.prefixes)
        if not text and order.message_id is None:
            raise Refusal("validation_error", "This field is required.", field="command_text")
        message_id = None if text else order.message_id
        fact = WebRan(
            **_of(caller, war_room, act),
            text=text,
            message_id=message_id,
            new_message=new_id(self.clock.now_ms()) if text else "",
        )
        return (await self._done(fact, act, f"run/{order.message_id or ''}")).result

    async def _command_of(self, caller: Caller, war_room: WarRoomId, message_id: str) -> str:
        """The command that a message is, to be run with parameters of its own."""
        async with self.store.view() as view:
            place = await self._place(view, caller, war_room)
            try:
                message = await place.message(message_id)
            except No as no:
                raise _refusal(no.code, no.detail, no.field) from None
        if message.body is None or split_command(message.body, self.policy.commands.prefixes) is None:
            raise Refusal("validation_error", "This message is no command.", field="command_text")
        return message.body

    async def typing(self, caller: Caller, war_room: WarRoomId, *, is_typing: bool) -> None:
        """See Desk."""
        async with self.store.view() as view:
            place = await self._place(view, caller, war_room)
        self.broadcast.tell([Typing(war_room=war_room, person=place.person, is_typing=is_typing)])
        await self.signals.typing(place.room_id, place.username, is_typing=is_typing)

    async def read(self, caller: Caller, war_room: WarRoomId, act: Act, message_id: str) -> None:
        """See Desk."""
        del act  # how far somebody has read is kept nowhere
        async with self.store.view() as view:
            place = await self._place(view, caller, war_room)
            try:
                message = await place.message(message_id)
            except No as no:
                raise _refusal(no.code, no.detail, no.field) from None
        self.broadcast.tell([ReadUpTo(war_room=war_room, person=place.person, message_id=message.id)])
        if message.room_id == place.room_id and message.event_id.startswith("$"):
            await self.signals.read_up_to(place.room_id, place.username, message.event_id)

    async def _place(self, view: Work, caller: Caller, war_room: WarRoomId) -> Place:
        try:
            return await place_of(view, WebAct(**_of(caller, war_room, Act(""))), self.policy)
        except No as no:
            raise _refusal(no.code, no.detail, no.field) from None

    # --- acts ---------------------------------------------------------------------------------------------

    async def _done(self, fact: WebFact, act: Act, what: str) -> Ruling:
        """Accept it and wait for its ruling. Raises Refusal."""
        key = _key(fact, act, what)
        lane, first = await self._accept(fact, key)
        expected = self.waiting.expect(first)
        try:
            self.wake([lane])
            ruling = await self._ruling(first, expected)
        finally:
            self.waiting.over(first, expected)
        if ruling is None:
            raise Undecided
        if ruling.code is not None:
            raise _refusal(ruling.code, await self._told(ruling), ruling.field)
        return ruling

    async def _accept(self, fact: WebFact, key: bytes | None) -> tuple[str, str]:
        """Its lane, and the act that counts: the first one with its key."""
        payload = self.codec.encode(fact)
        async with self.store.work() as work:
            room = await work.rooms.by_war_room(fact.war_room)
            if room is None or room.incident_id is None:
                raise Refusal("not_found", "There is no such war room.")
            lane = room.incident_id
            first = await work.acts.accept(fact.act, key, work.now_ms() - SAME_KEY_MS)
            if first == fact.act:
                arrival = Arrival(source="web", lane=lane, key=short_hash("web", fact.act), payload=payload)
                await work.inbox.accept([arrival])
        return lane, first

    async def _ruling(self, act: str, expected: asyncio.Future[None]) -> Ruling | None:
        """None when the time is over. An act that was decided before is answered at once."""
        ends_s = self.clock.monotonic() + self.patience_s
        while True:
            async with self.store.view() as view:
                ruling = await view.acts.ruling(act)
            left_s = ends_s - self.clock.monotonic()
            if ruling is not None or left_s <= 0:
                return ruling
            sleep = asyncio.ensure_future(self.clock.sleep(min(left_s, _LOOK_EVERY_S)))
            try:
                await asyncio.wait({expected, sleep}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                sleep.cancel()

    async def _told(self, ruling: Ruling) -> str:
        """What to say. Of a command that isn't one its answer says more, which is sealed elsewhere."""
        if not ruling.result:
            return ruling.detail
        async with self.store.view() as view:
            run = await view.commands.get(ruling.result)
        return run.result if run is not None and run.result else ruling.detail


def _of(caller: Caller, war_room: WarRoomId, act: Act) -> _Fields:
    return {
        "act": act.id,
        "war_room": war_room,
        "by": caller.user,
        "confirmed_ms": caller.confirmed_ms,
    }


def _key(fact: WebFact, act: Act, what: str) -> bytes | None:
    """One caller's key for one thing asked for; another caller's, or for something else, is another one."""
    if not act.key:
        return None
    return short_hash("act", fact.by.username, fact.war_room, what, act.key)


def _refusal(code: RefusalCode, detail: str, field: str) -> Refusal:
    return Refusal(code, detail, field=field)


def _clean(text: str) -> str:
    """A text that can be stored and sent: without half surrogate pairs, with one kind of line end."""
    return clean(text).replace("\r\n", "\n").replace("\r", "\n").translate(_UNWANTED)

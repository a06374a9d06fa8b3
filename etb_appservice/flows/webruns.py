"""Commands of web users: read, decided, logged and answered like typed ones (chatops.py), proven by an ETB token.

    WebRan ─► by text ─► said by the ghost ─┐
          └─► by message ───────────────────┴► run as the ghost: same rights, same log, the bot answers in the room
    WebSaid ─► answers a question of the bot's? ─► the command that waited goes on

A token proves what ETB says of somebody: a responder, a commander. It doesn't prove a device, so approvals,
break-glass and the control room stay with those (docs/decisions/0027). What a message is runs once, whoever asks.
"""

from dataclasses import dataclass

from etb_appservice.domain.facts import MessageReceived, Trust
from etb_appservice.domain.ids import EventId
from etb_appservice.domain.policy import Policy
from etb_appservice.domain.web import Ruling, WebRan, WebSaid
from etb_appservice.flows.chatops import Chatops
from etb_appservice.flows.grammar import split_command
from etb_appservice.flows.listening import Asked
from etb_appservice.flows.questions import Questions
from etb_appservice.flows.visitor import No, Place, Visitor, lasting_name, place_of
from etb_appservice.flows.webtexts import said_command
from etb_appservice.ports import Message, Store, unsent

WRONG_USAGE = "This is no command as it stands; the answer in the room says how it is typed."
_NO_COMMAND = "This message is no command."


@dataclass(frozen=True, slots=True)
class WebRuns:
    """Hands what a web user asks for to chatops."""

    store: Store
    chatops: Chatops
    questions: Questions
    policy: Policy

    async def look(self, fact: WebRan | WebSaid) -> Asked | None:
        """What is needed of ETB; None where nothing is run. Whether it may be at all is asked again later."""
        async with self.store.view() as view:
            try:
                place = await place_of(view, fact, self.policy)
                typed = await self._typed(place, fact)
            except No:
                return None
            question = None
            if isinstance(fact, WebSaid):
                question = await self.questions.answered_by(view, place.room, typed)
                if question is None:
                    return None
        known = (fact.by, fact.confirmed_ms)
        listener = self.chatops.listener
        if question is not None:
            return await listener.look(typed, place.room, known, question)
        return await listener.look_typed(typed.body, place.ghost, place.room, known)

    async def ran(self, visitor: Visitor, fact: WebRan, asked: Asked | None) -> Ruling:
        """Run it; answers the run, that of an earlier time where the message was run before."""
        typed = await self._typed(visitor, fact, visitor.turn.received_ms)
        if split_command(typed.body, self.policy.commands.prefixes) is None or asked is None:
            raise No("validation_error", _NO_COMMAND, field="command_text")
        before = await visitor.work.commands.of_event(typed.event_id)
        if before is not None:
            return Ruling(result=before.id)
        if asked.too_fast:
            raise No("rate_limited", "That is too fast: wait a minute, then ask again.")
        if fact.message_id is None:
            await said_command(visitor, fact.new_message, typed.body)
        is_usage = await self.chatops.asked(visitor.turn, visitor.room, typed, asked, run_id=fact.act)
        run = await visitor.work.commands.get(fact.act)
        if run is None:
            raise No("validation_error", _NO_COMMAND, field="command_text")
        if is_usage:
            return Ruling(result=run.id, code="validation_error", detail=WRONG_USAGE, field="command_text")
        return Ruling(result=run.id)

    async def answered(self, visitor: Visitor, fact: WebSaid, message: Message, asked: Asked | None) -> None:
        """A message that may answer a question was kept."""
        if asked is not None:
            typed = _as_typed(visitor, unsent(message.id), fact.content, message.thread_root, message.origin_ms)
            await self.chatops.asked(visitor.turn, visitor.room, typed, asked)

    async def _typed(self, place: Place, fact: WebRan | WebSaid, sent_ms: int = 0) -> MessageReceived:
        """What was asked for, as if it had been typed in the room."""
        if isinstance(fact, WebSaid):
            thread = await place.thread(fact.reply_to)
            return _as_typed(place, unsent(fact.act), fact.content, thread.root, sent_ms)
        if fact.message_id is None:
            return _as_typed(place, unsent(fact.new_message), fact.text, None, sent_ms)
        message = await place.present(fact.message_id)
        if message.state != "open":
            raise No("validation_error", _NO_COMMAND, field="message_id")
        name = lasting_name(message, self.policy)
        return _as_typed(place, name, message.body or "", message.thread_root, sent_ms)


def _as_typed(place: Place, name: EventId, body: str, root: EventId | None, sent_ms: int) -> MessageReceived:
    return MessageReceived(
        room_id=place.room_id,
        event_id=name,
        sender=place.ghost,
        origin_ms=sent_ms,
        device_id="",
        trust=Trust.TOKEN,
        msgtype="m.text",
        body=body,
        thread_root=root,
    )

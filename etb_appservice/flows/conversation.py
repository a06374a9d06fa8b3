"""The record of what was said, and what becomes of what can't be read.

Bodies reach the store only through the vault, the audit log only as keyed hashes. A message in clear text, or one
whose key isn't its sender's, is recorded and answered with one notice, and never acted upon.
"""

from dataclasses import replace

from etb_appservice.domain.conversation import FileDetails
from etb_appservice.domain.effects import Say, SendFile
from etb_appservice.domain.facts import (
    CameTooEarly,
    EventRedacted,
    KeyAwaited,
    Loss,
    MessageReceived,
    MessageUnreadable,
    Origin,
    PlainMessageReceived,
)
from etb_appservice.domain.ids import EventId, new_id, short_hash
from etb_appservice.domain.policy import Policy
from etb_appservice.domain.text import code, plain
from etb_appservice.flows import files, marks, polls
from etb_appservice.flows.early import is_wanted, look_later
from etb_appservice.flows.record import (
    details_of,
    free_place,
    person_of,
    put_edit,
    put_new,
    put_ours,
    take_away,
    text_of,
)
from etb_appservice.flows.turn import Turn
from etb_appservice.ports import ASK_AGAIN, SHOWN, KeyMissing, Message, MessageState, Room

_LOSSES = {
    Loss.WITHHELD: "their client does not give this bot the key",
    Loss.WRONG_SENDER: "its key does not belong to a device of its sender",
    Loss.REPLAYED: "it repeats an older message",
    Loss.MALFORMED: "it is damaged",
    Loss.UNKNOWN_ALGORITHM: "its encryption is of a kind this bot does not know",
}


class Conversation:
    """Decides about messages as such; what a command in one leads to is chatops' concern."""

    def __init__(self, policy: Policy) -> None:
        """`policy.keys` says how long a key is awaited."""
        self._policy = policy

    async def said(self, turn: Turn, room: Room, fact: MessageReceived, *, is_command: bool = False) -> None:
        """Keep a message; an edit by its own sender replaces the body that stands.

        What our ghosts say was kept when it was decided: its echo changes nothing.
        """
        if fact.effect_key is not None and self._policy.is_ours(fact.sender):
            return
        if fact.replaces is not None:
            await self.edited(turn, room, fact)
            await free_place(turn, room, fact, self._policy)
        else:
            body = await polls.begun(turn, room, fact, fact.poll) if fact.poll else text_of(fact)
            message = replace(
                self._message(turn, room, fact, "open"),
                body=body,
                thread_root=fact.thread_root,
                details=details_of(fact, self._policy, is_command=is_command),
            )
            before = await turn.work.messages.by_event(fact.event_id)
            await put_new(turn, room, message, before, file=fact.file)
        await turn.note(
            "message.edited" if fact.replaces else "message.received",
            actor=fact.sender,
            subject=fact.event_id,
            details={"room": room.war_room, "device": fact.device_id, "trust": fact.trust.value},
            contents={"body": fact.body},
        )

    async def edited(
        self, turn: Turn, room: Room, fact: MessageReceived, early: CameTooEarly | None = None
    ) -> None:
        """Its sender's own message changes. `early`: it came before that, and a later edit stays in force."""
        original = None if fact.replaces is None else await turn.work.messages.by_event(fact.replaces)
        if original is None:
            await look_later(turn, fact, early)
            return
        if original.sender != fact.sender or original.state not in {"open", "sealed"}:
            return
        awaiting = original.details.awaiting
        last_ms = max(original.details.edited_ms or 0, awaiting.at_ms if awaiting is not None else 0)
        if early is not None and early.came_ms < last_ms:
            return
        if await is_wanted(turn, early):
            came_ms = turn.now_ms if early is None else early.came_ms
            await put_edit(turn, room, original, fact, self._policy, came_ms)

    async def in_clear(self, turn: Turn, room: Room, fact: PlainMessageReceived) -> None:
        """Something in clear text in an encrypted room: anybody who runs a homeserver can make one."""
        await self._put(turn, room, fact, "plain")
        await turn.note(
            "violation.plain_text",
            actor=fact.sender,
            subject=fact.event_id,
            details={"room": room.war_room, "type": fact.event_type},
        )
        if await turn.work.once.first_time("plain", fact.room_id, fact.sender):
            await self._tell(
                turn,
                fact,
                f"A message that says it is from {code(fact.sender)} was not encrypted. It was recorded and "
                "ignored: in this room only encrypted messages count.",
            )

    async def unreadable(self, turn: Turn, room: Room, fact: MessageUnreadable) -> None:
        """It will never be read: its place says so. What our ghosts say stands in the record already."""
        if self._policy.ghosts.username(fact.sender) is not None:
            return
        await self._put(turn, room, fact, "unreadable")
        await turn.note(
            "message.unreadable", actor=fact.sender, subject=fact.event_id, details={"why": fact.loss.value}
        )
        if await turn.work.once.first_time("unreadable", fact.room_id, fact.sender, fact.loss.value):
            why = _LOSSES[fact.loss]
            await self._tell(turn, fact, f"I could not read a message of {code(fact.sender)}: {why}.")

    async def keep_place(self, turn: Turn, room: Room, missing: KeyMissing) -> None:
        """Its key isn't here yet: hold its place, so that replies and pins can name it, and look again in time."""
        origin = Origin(
            room_id=missing.room_id,
            event_id=missing.event_id,
            sender=missing.sender,
            origin_ms=missing.origin_ms,
        )
        if self._policy.ghosts.username(missing.sender) is not None:
            return  # it stands in the record already
        if await turn.work.messages.by_event(missing.event_id) is None:
            await self._put(turn, room, origin, "sealed", thread_root=missing.thread_root)
        keys = self._policy.keys
        for seconds in (keys.tell_after_s, keys.give_up_after_s):
            await turn.follow(
                KeyAwaited(
                    room_id=missing.room_id,
                    event_id=missing.event_id,
                    sender=missing.sender,
                    origin_ms=missing.origin_ms,
                    session_id=missing.session_id,
                    waited_s=seconds,
                ),
                ("awaited", missing.event_id, str(seconds)),
                due_ms=turn.now_ms + int(seconds * 1000),
            )

    async def key_awaited(self, turn: Turn, room: Room, fact: KeyAwaited) -> None:
        """The time is over to tell the room, or to give up."""
        message = await turn.work.messages.by_event(fact.event_id)
        if message is None or message.state != "sealed":
            return
        if fact.waited_s >= self._policy.keys.give_up_after_s:
            await turn.work.inbox.stop_waiting(short_hash("event", fact.event_id))
            await self._put(turn, room, fact, "unreadable")
            await turn.note("message.given_up", actor=fact.sender, subject=fact.event_id)
            return
        await turn.note("message.key_missing", actor=fact.sender, subject=fact.event_id)
        if await turn.work.once.first_time("awaited", fact.room_id, fact.sender, fact.session_id):
            await self._tell(
                turn,
                fact,
                f"I can't trust what {code(fact.sender)} wrote yet: their homeserver does not say which devices "
                "are theirs. I go on asking."
                if fact.session_id.startswith(ASK_AGAIN)
                else f"I can't read what {code(fact.sender)} wrote: their client has not sent me the key yet. "
                "I go on waiting; writing it again after restarting the client usually helps.",
            )
            await turn.trouble(
                ("missing key", fact.room_id, fact.sender, fact.session_id),
                f"A message of {code(fact.sender)} in **{plain(room.name)}** waits for its key for "
                f"{fact.waited_s:.0f} seconds. It is processed when the key comes.",
            )

    async def redacted(self, turn: Turn, room: Room, fact: EventRedacted) -> None:
        """A redaction takes the body, and ends the wait for a key."""
        await turn.work.inbox.stop_waiting(short_hash("event", fact.redacts))
        message = await turn.work.messages.by_event(fact.redacts)
        if message is None:
            if not await marks.withdrawn(turn, room, fact, self._policy):
                await polls.redacted(turn, room, fact)
                await files.redacted(turn, room, fact.redacts, self._policy)
        else:
            await take_away(turn, room, message, person_of(fact.sender, self._policy), self._policy)
            await polls.redacted(turn, room, fact)
            await turn.note(
                "message.redacted",
                actor=fact.sender,
                subject=fact.redacts,
                details={"room": room.war_room},
            )

    async def ours(
        self,
        turn: Turn,
        room: Room,
        say: Say | SendFile,
        event_id: EventId,
        body: str,
        *,
        file: FileDetails | None = None,
    ) -> None:
        """Keep what the bot or a ghost said, under the event that carries it."""
        purpose = "file" if isinstance(say, SendFile) else say.purpose
        await put_ours(turn, room, say, event_id, body, self._policy, file=file)
        await turn.note(
            "message.sent",
            subject=event_id,
            details={"room": room.war_room, "purpose": purpose},
            contents={"body": body},
        )

    async def _put(
        self, turn: Turn, room: Room, fact: Origin, state: MessageState, *, thread_root: EventId | None = None
    ) -> None:
        """A place without a text. `thread_root`: an answer to it goes there, since threads have no threads."""
        before = await turn.work.messages.by_event(fact.event_id)
        thread_root = thread_root or (before.thread_root if before is not None else None)
        message = replace(self._message(turn, room, fact, state), thread_root=thread_root)
        if state in SHOWN:
            await put_new(turn, room, message, before)
        else:
            await turn.work.messages.put(message)

    def _message(self, turn: Turn, room: Room, fact: Origin, state: MessageState) -> Message:
        return Message(
            id=new_id(turn.now_ms),
            room_id=fact.room_id,
            lane=room.incident_id or turn.lane,
            event_id=fact.event_id,
            sender=fact.sender,
            state=state,
            origin_ms=fact.origin_ms,
            received_ms=turn.received_ms or turn.now_ms,
            decided_ms=turn.now_ms,
        )

    async def _tell(self, turn: Turn, fact: Origin, text: str) -> None:
        await turn.emit("notice", Say(room_id=fact.room_id, content=text, purpose="notice"))

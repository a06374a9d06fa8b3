"""Reactions: a message goes onto the timeline, becomes a task, or is a page that is acknowledged.

    ReactionReceived ─► what does it do? ─► may they? ─► done before by another? ─► counts as well, nothing is said
                                                     ├─► done, and said in the message's thread
                                                     └─► its key isn't here yet ─► looked at again
    EventRedacted (the reaction) ─► does another stand? ─► nothing    else ─► withdrawn, and said there too
    EventRedacted (the message)  ─► what was made of it is withdrawn, and its text forgotten here

A reaction is not encrypted and names no device: whatever is added here must do no harm when it is forged. Refusals
are recorded and never said, or a stranger could make the bot talk.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Literal

from etb_appservice.domain.clearance import Right, decide
from etb_appservice.domain.effects import Say
from etb_appservice.domain.facts import EventRedacted, ReactionReceived
from etb_appservice.domain.ids import EventId, UserId, Username
from etb_appservice.domain.policy import Policy
from etb_appservice.domain.reactions import Reaction, ReactionAction
from etb_appservice.domain.tasks import Task
from etb_appservice.domain.text import code, plain
from etb_appservice.domain.timeline import TimelineItem
from etb_appservice.flows import tasks
from etb_appservice.flows.cadence import Cadences
from etb_appservice.flows.standing import actor_of, subject_of
from etb_appservice.flows.timeline import forget_message, of_message, withdraw, write_down
from etb_appservice.flows.turn import Turn
from etb_appservice.ports import Message, Room

Acknowledge = Callable[[Turn, Room, ReactionReceived, Username], Awaitable[str]]
"""Acknowledges the page that a message is; answers its id, or nothing when the message is no page.

Called for every room. What it needs beyond the right of a responder in an incident's room it checks itself.
"""
_MAKE = frozenset({"timeline", "task"})
_LOOK_AGAIN_MS = 15_000
_TITLE = 160


async def no_pages(_turn: Turn, _room: Room, _fact: ReactionReceived, _who: Username) -> str:
    """Where nobody is paged."""
    return ""


class Reactions:
    """Decides about reactions, and about their being taken away."""

    def __init__(self, policy: Policy, cadences: Cadences, acknowledge: Acknowledge = no_pages) -> None:
        """`cadences` decides about reactions to its reminders."""
        self._policy = policy
        self._cadences = cadences
        self._acknowledge = acknowledge

    def matters(self, fact: ReactionReceived) -> bool:
        """Whether anything could follow from it."""
        if fact.sender == self._policy.rooms.bot:
            return False
        return self._policy.reactions.action(fact.key) is not None or self._cadences.means(fact.key)

    async def received(self, turn: Turn, room: Room, fact: ReactionReceived) -> None:
        """Do what the emoji stands for, once for each message."""
        before = await turn.work.cases.get(room.war_room, Reaction, fact.event_id)
        is_waiting = before is None or (before.is_open and before.does in _MAKE and not before.made)
        if not is_waiting or not self.matters(fact):
            return
        does = self._policy.reactions.action(fact.key)
        actor = await actor_of(turn.work, room, fact.sender, self._policy)
        if room.kind == "incident":
            decision = decide(actor, Right.RESPONDER, subject_of(room, self._policy, by_reaction=True))
            if not decision.allowed:
                await self._ignored(turn, room, fact, decision.reason)
                return
            if await self._cadences.reacted(turn, room, fact):
                return
        if does is None or actor.username is None:
            return
        if does == "acknowledge":
            made = await self._acknowledge(turn, room, fact, actor.username)
            if made:
                await self._keep(turn, room, fact, does, made)
        elif room.kind == "incident":
            await self._make(turn, room, fact, does, actor.username)

    async def redacted(self, turn: Turn, room: Room, fact: EventRedacted) -> None:
        """A reaction was taken away, or a message of which something was made."""
        reaction = await turn.work.cases.get(room.war_room, Reaction, fact.redacts)
        if reaction is not None and reaction.is_open:
            await self._taken_away(turn, room, reaction, by=fact.sender)
            return
        standing = await turn.work.cases.of(room.war_room, Reaction, only_open=True)
        withdrawn: set[str] = set()
        for one in standing:
            if one.target == fact.redacts and one.made:
                await turn.work.cases.put(room.war_room, replace(one, is_open=False))
                if (key := f"{one.does}/{one.made}") not in withdrawn:
                    withdrawn.add(key)
                    await self._withdraw(turn, room, one, by=fact.sender, forget=True)
        if withdrawn:
            await forget_message(turn, room, fact.redacts)

    async def _make(
        self, turn: Turn, room: Room, fact: ReactionReceived, does: Literal["timeline", "task"], who: Username
    ) -> None:
        standing = await self._standing(turn, room, fact.relates_to, does)
        if standing:
            await self._keep(turn, room, fact, does, standing[0].made)
            return
        message = await turn.work.messages.by_event(fact.relates_to)
        if message is not None and message.state == "sealed":
            await self._wait(turn, room, fact, message, does)
            return
        if message is None or message.body is None:
            await self._ignored(turn, room, fact, "There is no such message, or it can't be read.")
            return
        author = self._policy.people.username(message.sender) or message.sender
        text = " ".join(message.body.split())
        server, prefix = self._policy.server_name, self._policy.commands.prefixes[0]
        if does == "timeline":
            item = await write_down(
                turn,
                room,
                "MESSAGE_PINNED",
                f"{author}: {_cut(text)}",
                server=server,
                description=message.body,
                at_ms=of_message(message.origin_ms, message.received_ms),
                by=who,
                event_id=message.event_id,
            )
            made, said = item.id, f"On the timeline, put there by {code(who)}. `{prefix}timeline` shows it."
        else:
            task = await tasks.add(turn, room, text, by=who, server=server, event_id=message.event_id)
            made = task.id
            said = (
                f"Task **{task.number}**, made by {code(who)}: {plain(task.text)} `{prefix}task list` shows all."
            )
        await self._keep(turn, room, fact, does, made)
        await self._say(turn, room, message, f"made/{does}/{made}", said)

    async def _wait(
        self, turn: Turn, room: Room, fact: ReactionReceived, message: Message, does: ReactionAction
    ) -> None:
        """The key of the message isn't here yet: look again, ever more rarely; it is given up like the key is."""
        await self._keep(turn, room, fact, does, "")
        again_ms = turn.now_ms + max(_LOOK_AGAIN_MS, turn.now_ms - message.received_ms)
        await turn.follow(fact, ("reaction", fact.event_id, str(again_ms)), due_ms=again_ms)

    async def _taken_away(self, turn: Turn, room: Room, reaction: Reaction, *, by: UserId) -> None:
        await turn.work.cases.put(room.war_room, replace(reaction, is_open=False))
        await turn.note("reaction.taken_away", actor=by, subject=reaction.id, details={"does": reaction.does})
        if reaction.does in {"snooze", "stop"}:
            await self._cadences.taken_back(turn, room, reaction)
        elif not await self._standing(turn, room, reaction.target, reaction.does):
            await self._withdraw(turn, room, reaction, by=by)

    async def _withdraw(
        self, turn: Turn, room: Room, reaction: Reaction, *, by: UserId, forget: bool = False
    ) -> None:
        """Correct the record, visibly."""
        who = self._policy.people.username(by) or by
        said = ""
        if reaction.does == "timeline":
            item = await turn.work.cases.get(room.war_room, TimelineItem, reaction.made)
            if item is not None and item.is_open:
                await withdraw(turn, room, item, by=who, server=self._policy.server_name, forget=forget)
                said = f"Withdrawn from the timeline by {code(who)}."
        elif reaction.does == "task":
            task = await turn.work.cases.get(room.war_room, Task, reaction.made)
            if task is not None and task.is_open:
                task = replace(task, text="a deleted message") if forget else task
                await tasks.settle(turn, room, task, withdrawn=True, by=who, server=self._policy.server_name)
                said = f"Task **{task.number}** was withdrawn by {code(who)}."
        # An acknowledgement stands: in ETB there is no way back.
        message = await turn.work.messages.by_event(reaction.target)
        if said and message is not None:
            await self._say(turn, room, message, f"withdrawn/{reaction.does}/{reaction.made}", said)

    async def _standing(self, turn: Turn, room: Room, target: EventId, does: str) -> list[Reaction]:
        """Open reactions to a message that did the same."""
        every = await turn.work.cases.of(room.war_room, Reaction, only_open=True)
        return [one for one in every if one.target == target and one.does == does and one.made]

    async def _keep(self, turn: Turn, room: Room, fact: ReactionReceived, does: ReactionAction, made: str) -> None:
        await turn.work.cases.put(
            room.war_room,
            Reaction(
                id=fact.event_id, key=fact.key, sender=fact.sender, target=fact.relates_to, does=does, made=made
            ),
        )
        if made:
            await turn.note(
                "reaction.counted",
                actor=fact.sender,
                subject=fact.event_id,
                details={"does": does, "made": made, "event": fact.relates_to, "room": room.war_room},
            )

    async def _ignored(self, turn: Turn, room: Room, fact: ReactionReceived, reason: str) -> None:
        await turn.note(
            "reaction.refused",
            actor=fact.sender,
            subject=fact.event_id,
            details={"event": fact.relates_to, "room": room.war_room, "why": reason},
        )

    async def _say(self, turn: Turn, room: Room, message: Message, name: str, text: str) -> None:
        """In the thread of the message, which is where its reader looks."""
        if room.room_id is not None:
            await turn.emit(
                name,
                Say(
                    room_id=room.room_id,
                    content=text,
                    reply_to=message.event_id,
                    thread_root=message.thread_root or message.event_id,
                    purpose="notice",
                ),
            )


def _cut(text: str) -> str:
    return text if len(text) <= _TITLE else f"{text[: _TITLE - 1]}…"

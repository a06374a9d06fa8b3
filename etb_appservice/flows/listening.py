"""Reads what a message asks for, before its unit of work: the command, its arguments, and what it needs of ETB.

    body ─┬► a command? ────────────► rate ─► arguments ─► prepare (reads ETB, within its limit) ─► Asked
          ├► answers a question? ───► the command that waited, the answer added ─► prepare again ─► Asked
          └► talk

Must never write anything: what was read here may be decided, or lost by a crash and read again.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.facts import MessageReceived
from etb_appservice.domain.ids import UserId, Username
from etb_appservice.domain.incident import EtbUser
from etb_appservice.domain.outcomes import Failure
from etb_appservice.domain.policy import Policy
from etb_appservice.domain.questions import Held, Question, Reading, read_answer
from etb_appservice.flows.commands import Asking, Command, place_of
from etb_appservice.flows.grammar import UsageError, split_command
from etb_appservice.flows.pace import Pace
from etb_appservice.ports import Clock, EtbReads, Room


@dataclass(frozen=True, slots=True)
class Asked:
    """A message that is a command or answers a question, and what was read for it before the unit of work."""

    name: str
    text: str
    command: Command | None
    arguments: Mapping[str, Any]
    usage_error: str = ""
    before: Any = None
    user: EtbUser | None = None
    """The asker as ETB confirmed them just now; None when the last known copy must do."""
    too_fast: bool = False
    learned: dict[str, str] = field(default_factory=dict)
    question: Question | None = None
    """The question that the message answers."""
    reading: Reading | None = None
    """How it answers that."""


class Listener:
    """Tells commands and answers from talk."""

    def __init__(
        self,
        commands: Mapping[str, Command],
        etb: EtbReads,
        policy: Policy,
        clock: Clock,
        pace: Pace,
    ) -> None:
        """`commands` by name and alias."""
        self._commands = commands
        self._etb = etb
        self._policy = policy
        self._clock = clock
        self._pace = pace

    def username(self, user_id: UserId) -> Username | None:
        """The ETB user behind a Matrix id, as configured."""
        return self._policy.people.username(user_id)

    def is_command(self, fact: MessageReceived) -> bool:
        """Whether a message asks for something: typed by a person, not edited, not a bot's notice.

        Nor the name of a file or the question of a poll, which look like one by chance.
        """
        return (
            fact.replaces is None
            and fact.file is None
            and fact.poll is None
            and fact.msgtype != "m.notice"
            and not self._policy.is_ours(fact.sender)
            and split_command(fact.body, self._policy.commands.prefixes) is not None
        )

    async def look(
        self,
        fact: MessageReceived,
        room: Room,
        known: tuple[EtbUser, int] | None,
        question: Question | None = None,
    ) -> Asked | None:
        """Read the command, and what it needs of ETB; None when the message is talk.

        `known`: the last copy of the asker and when ETB confirmed it; confirmed again when it is old. `question`:
        what the asker was asked where the message stands.
        """
        if question is not None:
            return await self._look_at_answer(fact, room, known, question)
        if not self.is_command(fact):
            return None
        return await self.look_typed(fact.body, fact.sender, room, known)

    async def look_typed(
        self, body: str, sender: UserId, room: Room, known: tuple[EtbUser, int] | None
    ) -> Asked | None:
        """The same of a text that somebody has said is a command."""
        split = split_command(body, self._policy.commands.prefixes)
        if split is None:
            return None
        name, text = split
        if not self._pace.allows(sender, self._clock.monotonic()):
            return Asked(name, text, None, {}, too_fast=True)
        return await self._prepared(name, text, {}, sender, room, known)

    async def look_held(self, held: Held, room: Room, known: tuple[EtbUser, int] | None) -> Asked:
        """The same for a command that waited and may run now."""
        return await self._prepared(held.command, held.text, held.learned, held.caller, room, known)

    async def _look_at_answer(
        self, fact: MessageReceived, room: Room, known: tuple[EtbUser, int] | None, question: Question
    ) -> Asked | None:
        reading = read_answer(question, fact.body)
        if reading is None or not self._pace.allows(fact.sender, self._clock.monotonic()):
            return None
        held = question.held
        if reading.value is None:
            return Asked(held.command, held.text, None, {}, question=question, reading=reading)
        learned = {**held.learned, question.wanted: reading.value}
        asked = await self._prepared(held.command, held.text, learned, held.caller, room, known)
        return replace(asked, question=question, reading=reading)

    async def _prepared(
        self,
        name: str,
        text: str,
        learned: dict[str, str],
        sender: UserId,
        room: Room,
        known: tuple[EtbUser, int] | None,
    ) -> Asked:
        one = self._commands.get(name)
        if one is None or place_of(room) not in one.where:
            return Asked(name, text, None, {}, learned=learned)
        try:
            arguments = one.signature.read(text)
        except UsageError as error:
            return Asked(name, text, one, {}, usage_error=str(error), learned=learned)
        before = None
        if one.prepare is not None:
            asking = Asking(
                room=room,
                sender=sender,
                arguments=arguments,
                etb=self._etb,
                policy=self._policy,
                limit_s=self._policy.commands.etb_wait_s,
                learned=learned,
            )
            before = await one.prepare(asking)
        user = await self.confirm(sender, known)
        return Asked(name, text, one, arguments, before=before, user=user, learned=learned)

    async def confirm(self, sender: UserId, known: tuple[EtbUser, int] | None) -> EtbUser | None:
        """Ask ETB who the sender is, unless it said so a short while ago."""
        username = self._policy.people.username(sender)
        fresh_s = self._policy.commands.rights_fresh_s
        if username is None or (known and self._clock.now_ms() - known[1] < fresh_s * 1000):
            return None
        try:
            async with asyncio.timeout(self._policy.commands.etb_wait_s):
                user = await self._etb.user(username)
        except (Failure, TimeoutError):
            return None
        # Whom ETB knows no longer is nobody from now on, whatever an older copy says.
        return user or EtbUser(username, username, Classification.PUBLIC, is_active=False)

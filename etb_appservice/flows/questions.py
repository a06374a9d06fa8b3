"""Questions of the bot to one person, and which of that person's messages is the answer.

Only a decrypted message of whoever was asked counts, in the room and the thread in which it was asked, and never
an edit. Ordinary talk costs nothing here while its sender has no open question.
"""

from dataclasses import replace

from etb_appservice.domain.effects import Say
from etb_appservice.domain.facts import MessageReceived, QuestionEnds
from etb_appservice.domain.ids import RoomId, UserId, WarRoomId, new_id
from etb_appservice.domain.policy import Policy
from etb_appservice.domain.questions import Held, Question
from etb_appservice.domain.text import code
from etb_appservice.flows.turn import Turn
from etb_appservice.ports import Room, Work


class Questions:
    """Who is asked what. Remembers in memory where a question may be open, never fewer than there are."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._open: set[tuple[RoomId, UserId]] = set()
        self._is_loaded = False

    def may_answer(self, fact: MessageReceived) -> bool:
        """Whether a message may be an answer; False for all talk where nothing was asked."""
        return (
            fact.replaces is None
            and fact.msgtype == "m.text"
            and not self._policy.is_ours(fact.sender)
            and (not self._is_loaded or (fact.room_id, fact.sender) in self._open)
        )

    async def answered_by(self, view: Work, room: Room, fact: MessageReceived) -> Question | None:
        """The open question that a message may answer: one small read, of every open question the first time."""
        await self._load(view)
        if (fact.room_id, fact.sender) not in self._open:
            return None
        question = await self.open_of(view, room.war_room, fact.sender)
        if question is None:
            # Seen outside of a unit of work, so it is settled; within one it could still be rolled back.
            self._open.discard((fact.room_id, fact.sender))
            return None
        return question if await self._stands_there(view, question, fact) else None

    async def open_of(self, work: Work, war_room: WarRoomId, asker: UserId) -> Question | None:
        """The question somebody has not answered yet."""
        question = await work.cases.get(war_room, Question, asker)
        return question if question is not None and question.is_open else None

    async def ask(
        self,
        turn: Turn,
        room: Room,
        held: Held,
        prompt: str,
        *,
        wanted: str,
        options: tuple[str, ...] = (),
        labels: tuple[str, ...] = (),
        asks_yes: bool = False,
    ) -> None:
        """Keep a question, with the command that waits for it. Whoever calls says `prompt`."""
        expires_ms = turn.now_ms + int(self._policy.commands.answer_within_s * 1000)
        question = Question(
            id=held.caller,
            number=new_id(turn.now_ms),
            held=held,
            wanted=wanted,
            prompt=prompt,
            expires_ms=expires_ms,
            asks_yes=asks_yes,
            options=options,
            labels=labels,
        )
        await turn.work.cases.put(room.war_room, question)
        self._open.add((held.room_id, held.caller))
        fact = QuestionEnds(war_room=room.war_room, asker=held.caller, number=question.number)
        await turn.follow(fact, ("question", question.number), due_ms=expires_ms)

    async def close(self, turn: Turn, room: Room, question: Question) -> None:
        """It was answered, or is no longer asked."""
        await turn.work.cases.put(room.war_room, replace(question, is_open=False))

    async def drop(self, turn: Turn, room: Room, question: Question, why: str) -> None:
        """It is no longer asked, and the command that waited for it was not run."""
        await self.close(turn, room, question)
        await turn.finish_run(room.war_room, question.held.run_id, status="CANCELLED", result=why)
        await turn.note(
            "question.closed", actor=question.held.caller, subject=question.held.run_id, details={"why": why}
        )

    async def overtaken(self, turn: Turn, room: Room, asker: UserId) -> Question | None:
        """Another command of theirs ends a question; answers which. Costs nothing where nothing was asked."""
        await self._load(turn.work)
        if (room.room_id, asker) not in self._open:
            return None
        question = await self.open_of(turn.work, room.war_room, asker)
        if question is not None:
            await self.drop(turn, room, question, "another command")
        return question

    async def ends(self, turn: Turn, fact: QuestionEnds) -> None:
        """Nobody answered in time: said once."""
        room = await turn.work.rooms.by_war_room(fact.war_room)
        question = await self.open_of(turn.work, fact.war_room, fact.asker)
        if room is None or question is None or question.number != fact.number:
            return
        await self.drop(turn, room, question, "no answer in time")
        held = question.held
        await turn.emit(
            "question",
            Say(
                room_id=held.room_id,
                content=f"No answer came, so {typed(held)} was not run.",
                reply_to=held.event_id,
                thread_root=held.thread_root,
                purpose="answer",
            ),
        )

    async def _load(self, work: Work) -> None:
        """Once after a start: what is added meanwhile stays."""
        if not self._is_loaded:
            found = await work.cases.all_open(Question)
            self._open |= {(one.held.room_id, one.held.caller) for _, one in found}
            self._is_loaded = True

    async def _stands_there(self, view: Work, question: Question, fact: MessageReceived) -> bool:
        """Whether a message stands where the question was asked: in its thread, or below the question itself."""
        held, root = question.held, fact.thread_root
        if fact.room_id != held.room_id:
            return False
        if root == held.thread_root or (held.thread_root is None and root == held.event_id):
            return True
        if held.thread_root is not None or root is None:
            return False
        begun = await view.messages.by_event(root)
        return begun is not None and begun.sender == self._policy.rooms.bot and begun.body == question.prompt


def typed(held: Held) -> str:
    """A command as it was typed, as code."""
    return code(f"{held.command} {held.text}".strip(), 120)


def listed(head: str, labels: tuple[str, ...]) -> str:
    """A numbered list that somebody answers with a number; `labels` are Markdown."""
    rows = [f"{number}. {label}" for number, label in enumerate(labels, start=1)]
    return "\n".join([head, "", *rows, "", "Answer with the number, or `cancel`."])

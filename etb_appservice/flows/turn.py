"""A turn: one fact and the unit of work in which it is decided.

Flows write through a turn, so that every effect has a key made from its fact, and so that whoever runs the turn
knows which lanes and targets to wake once the commit holds. A turn must never be kept beyond its commit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from etb_appservice.domain.audit import AuditNote
from etb_appservice.domain.effects import Effect, Say, target_of
from etb_appservice.domain.facts import Fact, Troubled
from etb_appservice.domain.ids import RoomId, UserId, Username, WarRoomId, short_hash
from etb_appservice.domain.news import CommandFinished, News
from etb_appservice.domain.results import Outcome
from etb_appservice.domain.verdicts import Verdict
from etb_appservice.ports import Arrival, CommandStatus, FactCodec, Work

SERVICE_LANE = "service"
"""Where facts about the service itself are decided: control room, Space, people on call."""
SERVICE = "etb-appservice"
"""Who acts in the audit log when no person does."""


class Wake(Protocol):
    """Called after a commit: what may have work now. Without anything: look everywhere. MUST NOT block."""

    def __call__(self, lanes: Sequence[str], targets: Sequence[str], urgent: Sequence[str] = ()) -> None:
        """Inbox lanes, outbox targets, and those of the targets in which somebody waits for an answer."""
        ...


@dataclass(slots=True)
class Turn:
    """`ref` names the fact: the same after a crash and a replay, another for every other fact."""

    work: Work
    ref: str
    lane: str
    codec: FactCodec
    place: int = 0
    received_ms: int = 0
    targets: list[str] = field(default_factory=list)
    urgent: list[str] = field(default_factory=list)
    """Those of the targets in which somebody waits for an answer."""
    lanes: list[str] = field(default_factory=list)
    moved: list[tuple[RoomId, UserId]] = field(default_factory=list)
    """Who came or went: room keys must rotate before the next message."""
    news: list[News] = field(default_factory=list)
    """What clients of war rooms are told once the commit holds, in this order."""
    linked: list[tuple[Username, UserId | None]] = field(default_factory=list)
    """Who has linked which Matrix account, or none any more: the people map must hear of it after the commit."""
    verdicts: list[Verdict] = field(default_factory=list)
    """What whoever waits for it is told once the commit holds."""
    acts: list[str] = field(default_factory=list)
    """What of web users was decided: whoever asked waits for the commit."""
    looks_around: bool = False
    """Set when something falls due later, or became ready that these lists don't name: look everywhere."""

    @property
    def now_ms(self) -> int:
        """The moment of the decision."""
        return self.work.now_ms()

    async def emit(self, name: str, effect: Effect) -> None:
        """Ask for an effect; `name` tells the effects of one fact apart."""
        await self.emit_as(f"{self.ref}/{name}", effect)

    async def emit_as(self, key: str, effect: Effect) -> None:
        """Ask for an effect under a key that other facts may ask for too: it is done once."""
        if await self.work.outbox.add(key, self.lane, effect):
            target = target_of(effect)
            self.targets.append(target)
            if isinstance(effect, Say) and (effect.purpose == "answer" or effect.reply_to is not None):
                self.urgent.append(target)

    async def follow(self, fact: Fact, key: tuple[str, ...], *, lane: str = "", due_ms: int | None = None) -> None:
        """Accept a fact of our own, at once or when it falls due; once per `key`."""
        lane = lane or self.lane
        arrival = Arrival(
            source="own", lane=lane, key=short_hash("own", *key), payload=self.codec.encode(fact), due_ms=due_ms
        )
        if not await self.work.inbox.accept([arrival]):
            return
        if due_ms is None:
            self.lanes.append(lane)
        else:
            self.looks_around = True

    def tell(self, *news: News) -> None:
        """Let clients know, once the commit holds."""
        self.news.extend(news)

    async def finish_run(
        self,
        war_room: WarRoomId,
        run_id: str,
        *,
        status: CommandStatus,
        result: str,
        outcome: Outcome | None = None,
        is_outside: bool = False,
    ) -> None:
        """A command that was `RUNNING` has ended so."""
        await self.work.commands.finish(
            run_id,
            status=status,
            result=result,
            finished_ms=self.now_ms,
            outcome=outcome,
            is_outside=is_outside,
        )
        if status != "RUNNING":
            self.tell(CommandFinished(war_room=war_room, run_id=run_id))

    async def trouble(self, key: tuple[str, ...], text: str) -> None:
        """Tell the operators, once per `key`."""
        await self.follow(Troubled(key="/".join(key), text=text), ("trouble", *key), lane=SERVICE_LANE)

    async def note(
        self,
        tag: str,
        *,
        actor: str = SERVICE,
        subject: str,
        details: Mapping[str, str | int | bool | None] | None = None,
        contents: Mapping[str, str] | None = None,
    ) -> None:
        """Append to the audit log, in this commit."""
        await self.work.audit.append(
            AuditNote(tag=tag, actor=actor, subject=subject, details=details or {}, contents=contents or {})
        )

"""Takes the oldest row of a lane, decodes it into a fact, and has it decided in one commit.

    row ─► decode ─► fact ───────────► look ─► decide ─► commit (row gone, effects queued) ─► news, wake
                 ├─► key missing ────► set aside, its place kept; the lane goes on
                 ├─► nothing follows ► row gone
                 └─► failed ─────────► retried with back-off, then parked for a person; other lanes go on

What was accepted leaves only by a commit. A crash anywhere replays from the last one.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import structlog

from etb_appservice.domain.facts import Fact, MembershipChanged, MessageReceived
from etb_appservice.domain.ids import RoomId, UserId, Username
from etb_appservice.domain.outcomes import Broken, Failure, Later
from etb_appservice.domain.policy import Backoff, Policy
from etb_appservice.domain.text import plain
from etb_appservice.domain.verdicts import Verdict
from etb_appservice.flows.decide import Decider
from etb_appservice.flows.links import after_commit
from etb_appservice.flows.mistakes import told
from etb_appservice.flows.turn import Turn, Wake
from etb_appservice.ports import (
    ASK_AGAIN,
    Broadcast,
    Clock,
    EtbDecoder,
    FactCodec,
    InboxRow,
    KeyMissing,
    MatrixDecoder,
    MatrixHands,
    Meter,
    Nothing,
    Room,
    RowUnreadable,
    Store,
    Work,
)

log = structlog.get_logger(__name__)
STRANGER_AFTER_S = 60.0
"""How long events of a room that isn't known yet wait for it: a new room's events come before its creation is
answered. After that it is a stranger's room."""


def _to_nobody(verdict: Verdict) -> None:
    del verdict


def _nobody_waits(acts: Sequence[str]) -> None:
    del acts


def _nobody_else(links: Sequence[tuple[Username, UserId | None]]) -> None:
    del links


@dataclass(frozen=True, slots=True)
class Intake:
    """The step of the inbox's lane runner."""

    store: Store
    matrix: MatrixDecoder
    hands: MatrixHands
    etb: EtbDecoder
    codec: FactCodec
    decider: Decider
    policy: Policy
    clock: Clock
    meter: Meter
    wake: Wake
    bind: Callable[[RoomId, str], None]
    """Called when a room's lane became known, so that its next events go there at once."""
    broadcast: Broadcast
    verdict: Callable[[Verdict], None] = _to_nobody
    """Told of each verdict after its commit. MUST NOT block or raise."""
    decided: Callable[[Sequence[str]], None] = _nobody_waits
    """Told after a commit which acts of web users were decided in it."""
    linked: Callable[[Sequence[tuple[Username, UserId | None]]], None] = _nobody_else
    """Told after a commit who is known by another Matrix account since, None: by none. MUST NOT block or raise."""
    looked_back: set[int] = field(default_factory=set)
    """Rows that let earlier events of their session pass; each for a moment only."""

    async def step(self, lane: str) -> bool | float:
        """Do the next row of a lane; see `lanes.Step`."""
        try:
            async with self.store.view() as view:
                row = await view.inbox.next(lane, self.clock.now_ms())
                room = (
                    await view.rooms.by_id(RoomId(lane))
                    if isinstance(row, InboxRow) and row.source == "matrix"
                    else None
                )
        except RowUnreadable as sealed:
            await self._park_unread(lane, sealed)
            return True
        if not isinstance(row, InboxRow):
            return False if row is None else row
        began = self.clock.monotonic()
        try:
            if row.source == "matrix" and lane.startswith("!"):
                held = await self._unbound(row, room, lane)
                if held is not None:
                    return held
            decoded = await self._decode(row)
            match decoded:
                case Nothing():
                    await self._forget(row)
                case KeyMissing():
                    await self._set_aside(row, decoded)
                case MessageReceived() if await self._overtakes(row, decoded):
                    pass
                case _:
                    await self._decide(row, decoded)
                    self.meter.fact(decoded.kind, self.clock.monotonic() - began)
        except Later as error:
            # Somebody has to be asked who is away: that is no fault of the row, so it is patient as an effect is.
            await self._failed(row, str(error), self.policy.outbox, after_s=error.after_s)
        except Failure as error:
            await self._failed(row, str(error), None if isinstance(error, Broken) else self.policy.intake)
        except Exception as error:  # noqa: BLE001 - whatever a handler does wrong, other lanes must go on
            log.error("a fact could not be decided", row=row.seq, source=row.source, **told(error))  # noqa: TRY400 - see told
            await self._failed(row, f"{type(error).__name__} while deciding; see the log", self.policy.intake)
        return True

    async def recheck_waiting(self) -> None:
        """After a start: a key may have come without its rows being woken; those that still miss it wait again."""
        async with self.store.work() as work:
            lanes = [
                lane
                for room_id, session_id in await work.inbox.waiting()
                for lane in await work.inbox.key_arrived(room_id, session_id)
            ]
        if lanes:
            self.wake(lanes, ())

    async def keys_arrived(self, sessions: Sequence[tuple[RoomId, str]]) -> None:
        """Room keys came, or were refused for good: what waits for them is looked at again."""
        async with self.store.work() as work:
            lanes = [lane for session in sessions for lane in await work.inbox.key_arrived(*session)]
        if lanes:
            self.wake(lanes, ())

    async def ask_again(self) -> None:
        """Now and then: what waits because its sender's devices could not be asked for; no key wakes it."""
        async with self.store.view() as view:
            sessions = [one for one in await view.inbox.waiting() if one[1].startswith(ASK_AGAIN)]
        if sessions:
            await self.keys_arrived(sessions)

    async def _decode(self, row: InboxRow) -> Fact | KeyMissing | Nothing:
        match row.source:
            case "matrix":
                return await self.matrix.decode(row.payload)
            case "etb":
                return self.etb.decode(row.payload)
            case "own" | "web":
                return self.codec.decode(row.payload)

    async def _unbound(self, row: InboxRow, room: Room | None, lane: str) -> bool | float | None:
        """A row in a room's own lane: the room may be known by now, may come yet, or be a stranger's."""
        if room is not None and room.incident_id is not None:
            async with self.store.work() as work:
                await work.inbox.move_lane(lane, room.incident_id)
            self.bind(room.room_id or RoomId(lane), room.incident_id)
            self.wake([room.incident_id], ())
            return True
        if room is not None:
            return None
        waited_s = (self.clock.now_ms() - row.received_ms) / 1000
        if waited_s >= STRANGER_AFTER_S or await self._invites_the_bot(row):
            return None
        return STRANGER_AFTER_S - waited_s

    async def _invites_the_bot(self, row: InboxRow) -> bool:
        """Nobody invites the bot to a room of its own: such a room is a stranger's, and somebody waits there."""
        if b"m.room.encrypted" in row.payload:
            return False  # reading it may take a question to its sender's homeserver
        decoded = await self._decode(row)
        bot = self.policy.rooms.bot
        return isinstance(decoded, MembershipChanged) and (decoded.user_id, decoded.membership) == (bot, "invite")

    async def _decide(self, row: InboxRow, fact: Fact) -> None:
        looked = await self.decider.look(fact)
        async with self.store.work() as work:
            await work.alone_in(row.lane)
            turn = self._turn(work, row)
            await self.decider.decide(turn, fact, looked)
            await work.inbox.finish(row.seq)
        after_commit(turn, self.policy)
        if turn.linked:
            self.linked(turn.linked)
        self.decided(turn.acts)
        self.broadcast.tell(turn.news)
        self._wake_for(turn)
        for room_id, user_id in turn.moved:
            await self.hands.membership_changed(room_id, user_id)

    async def _set_aside(self, row: InboxRow, missing: KeyMissing) -> None:
        """The event leaves the line at once; its key may have come while we wrote that down, so look again."""
        self.meter.undecryptable("key missing")
        async with self.store.work() as work:
            await work.alone_in(row.lane)
            room = await work.rooms.by_id(missing.room_id)
            if room is None:
                await work.inbox.finish(row.seq)
                return
            turn = self._turn(work, row)
            await self.decider.conversation.keep_place(turn, room, missing)
            await work.inbox.wait_for_key(row.seq, room_id=missing.room_id, session_id=missing.session_id)
        self.broadcast.tell(turn.news)
        again = await self.matrix.decode(row.payload)
        if not isinstance(again, KeyMissing) or again.session_id != missing.session_id:
            await self.keys_arrived([(missing.room_id, missing.session_id)])

    async def _overtakes(self, row: InboxRow, fact: MessageReceived) -> bool:
        """Earlier events of this session still wait, though its key is here by now: they come first.

        Looked at once for each event: the key may be one that doesn't reach back to them.
        """
        if row.seq in self.looked_back:
            self.looked_back.discard(row.seq)
            return False
        if not fact.session_id:
            return False
        names = [(fact.room_id, fact.session_id), (fact.room_id, ASK_AGAIN + fact.session_id)]
        async with self.store.view() as view:
            waited_for = [name for name in names if await view.inbox.is_waiting(*name)]
        if not waited_for:
            return False
        self.looked_back.add(row.seq)
        await self.keys_arrived(waited_for)
        return True

    async def _forget(self, row: InboxRow) -> None:
        async with self.store.work() as work:
            await work.inbox.finish(row.seq)

    async def _park_unread(self, lane: str, sealed: RowUnreadable) -> None:
        """A row that can't be opened would hold its lane for ever."""
        async with self.store.work() as work:
            await work.inbox.park(sealed.seq, error=str(sealed))
            turn = Turn(work=work, ref=f"f{sealed.seq}", lane=lane, codec=self.codec)
            await turn.trouble(
                ("unread", str(sealed.seq)),
                f"Something that came in (`i{sealed.seq}`) can't be opened and was parked: {plain(str(sealed))} "
                f"`queue drop i{sealed.seq}` forgets it.",
            )
        self.meter.parked("inbox")
        self._wake_for(turn)

    async def _failed(
        self, row: InboxRow, reason: str, backoff: Backoff | None, *, after_s: float | None = None
    ) -> None:
        """Tried again by `backoff`, or parked at once without one."""
        attempt = row.attempts + 1
        async with self.store.work() as work:
            if backoff is not None and attempt < backoff.tries:
                wait_s = after_s or backoff.wait_s(attempt, random.random())  # noqa: S311 - jitter
                await work.inbox.retry_later(
                    row.seq, due_ms=self.clock.now_ms() + int(wait_s * 1000), error=reason
                )
                return
            await work.inbox.park(row.seq, error=reason)
            turn = self._turn(work, row)
            await turn.trouble(
                ("parked", str(row.seq), str(self.clock.now_ms())),
                f"Something that came in (`i{row.seq}`, from {row.source}) could not be processed and was parked: "
                f"{plain(reason)}. `queue retry i{row.seq}` tries again, `queue drop i{row.seq}` forgets it.",
            )
        self.meter.parked("inbox")
        self._wake_for(turn)

    def _wake_for(self, turn: Turn) -> None:
        for one in turn.verdicts:
            self.verdict(one)
        if turn.lanes or turn.targets:
            self.wake(turn.lanes, turn.targets, turn.urgent)
        if turn.looks_around:
            self.wake((), ())

    def _turn(self, work: Work, row: InboxRow) -> Turn:
        return Turn(
            work=work,
            ref=f"f{row.seq}",
            lane=row.lane,
            codec=self.codec,
            place=row.place,
            received_ms=row.received_ms,
        )

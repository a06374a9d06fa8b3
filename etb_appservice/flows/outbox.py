"""Takes the oldest effect of a target, carries it out, and puts its answer into the lane that asked.

    row ─► do ─► Done ─────► row gone, answer recorded or put into its lane (one commit)
            ├──► Refused ──► row gone, refusal into its lane; the target goes on (room, invitation, card: parked)
            ├──► Later ────► the target is held back with back-off and jitter, parked at the end
            ├──► Unsure ───► tried again: the hands look before they repeat; parked as unknown at the end
            └──► Broken ───► parked for a person; the target goes on

At least once by this loop, once in effect by transaction ids and read-back. No lane is held while an effect is
under way.
"""

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

import structlog

from etb_appservice.domain.effects import (
    Effect,
    EtbEffect,
    Invite,
    MatrixEffect,
    MoveEscalation,
    OpenRoom,
    Say,
    SendFile,
    TriggerEscalation,
)
from etb_appservice.domain.facts import Done, EffectAnswered, EffectDelayed, NotDone
from etb_appservice.domain.ids import short_hash
from etb_appservice.domain.outcomes import Broken, Failure, Later, Refused, Unsure
from etb_appservice.domain.policy import Policy
from etb_appservice.domain.text import code, plain
from etb_appservice.flows.commands import RUN
from etb_appservice.flows.mistakes import told
from etb_appservice.flows.naming import names_unsent, with_events
from etb_appservice.flows.pages import PAGE
from etb_appservice.flows.turn import SERVICE_LANE, Turn, Wake
from etb_appservice.ports import (
    Arrival,
    Broadcast,
    Clock,
    EtbHands,
    FactCodec,
    MatrixHands,
    Meter,
    OutboxRow,
    RowUnreadable,
    Store,
    Try,
    Work,
)

log = structlog.get_logger(__name__)
_UNSURE_TRIES = 5


def ends_quietly(fact: EffectAnswered) -> bool:
    """Whether an answer only has to be recorded, so that its order among the lane's facts doesn't matter."""
    if fact.key.startswith((RUN, PAGE)):
        return False
    match fact.effect, fact.answer:
        case (
            (OpenRoom() | TriggerEscalation() | MoveEscalation(), _)
            | (_, NotDone())
            | (Say(purpose="card" | "living"), _)
        ):
            return False
        case _:
            return True


def _is_needed(effect: Effect) -> bool:
    """Whether an incident can't go on without it, so that a refusal waits for a person instead of ending it."""
    match effect:
        case OpenRoom() | Invite() | Say(purpose="card"):
            return True
        case _:
            return False


async def _forget_document(work: Work, effect: Effect) -> None:
    """The row has ended, and so has the need for what it refers to."""
    if isinstance(effect, SendFile) and effect.document:
        await work.documents.forget(effect.document)


@dataclass(frozen=True, slots=True)
class Outbox:
    """The step of the outbox's lane runner; its lanes are the targets."""

    store: Store
    matrix: MatrixHands
    etb: EtbHands
    codec: FactCodec
    policy: Policy
    clock: Clock
    meter: Meter
    wake: Wake
    record: Callable[[Turn, EffectAnswered], Awaitable[None]]
    """Decides an answer from which no effect and no other fact follows."""
    broadcast: Broadcast
    device_since_ms: int = 0
    """When the bot got its device: transaction ids of an older row, if any, were another device's."""
    started_ms: int = 0
    """When this process began to drain: an older row may have been tried by the one before it."""

    async def step(self, target: str) -> bool | float:
        """Carry out the next effect of a target; see `lanes.Step`."""
        try:
            async with self.store.view() as view:
                row = await view.outbox.next(target, self.clock.now_ms())
        except RowUnreadable as sealed:
            await self._park_unread(target, sealed)
            return True
        if not isinstance(row, OutboxRow):
            return False if row is None else row
        began = self.clock.monotonic()
        try:
            done = await self._do(row)
        except Failure as error:
            await self._failed(row, error)
            outcome = type(error).__name__.lower()
        except Exception as error:  # noqa: BLE001 - an adapter broke its promise; other targets must go on
            log.error("an effect failed", row=row.seq, effect=row.effect.kind, **told(error))  # noqa: TRY400 - see told
            await self._failed(row, Broken(f"{type(error).__name__}; see the log"))
            outcome = "broken"
        else:
            await self._done(row, done)
            outcome = "done"
        self.meter.effect(row.effect.kind, outcome, self.clock.monotonic() - began)
        return True

    async def _do(self, row: OutboxRow) -> Done:
        attempt = Try(
            key=row.key,
            now_ms=self.clock.now_ms(),
            attempts=row.attempts,
            first_tried_ms=row.first_tried_ms,
            device_id=row.device_id,
        )
        if isinstance(row.effect, EtbEffect):
            async with self.store.work() as work:
                # ETB has no idempotency: a try must be on record before it begins.
                await work.outbox.trying(row.seq, device_id="")
            return await self.etb.do(row.effect, attempt)
        # Matrix has transaction ids, so no commit is spent on marking the try. A row that failed once, or is from
        # before our start, may have been tried all the same: its birth is the bound.
        maybe_tried = row.attempts > 0 or row.error != "" or row.created_ms < self.started_ms
        first = row.first_tried_ms or (row.created_ms if maybe_tried else None)
        device = row.device_id or ("" if row.created_ms < self.device_since_ms else self.matrix.device_id)
        effect = await self._with_events(row.effect)
        return await self.matrix.do(effect, replace(attempt, first_tried_ms=first, device_id=device))

    async def _with_events(self, effect: MatrixEffect) -> MatrixEffect:
        """What names a message that Matrix hadn't shown names its event by now."""
        if not names_unsent(effect):
            return effect
        async with self.store.view() as view:
            return await with_events(view, effect)

    async def _done(self, row: OutboxRow, done: Done) -> None:
        """The row ends.

        An answer from which nothing follows is recorded at once, in the commit that ends the row; any other
        becomes a fact in the lane that asked.
        """
        fact = EffectAnswered(key=row.key, effect=row.effect, answer=done)
        is_quiet = ends_quietly(fact)
        async with self.store.work() as work:
            turn = Turn(work=work, ref=f"o{row.seq}", lane=row.lane, codec=self.codec)
            if is_quiet:
                # What it changes is read first, and the lane may be deciding something about the same message.
                await work.alone_in(row.lane)
            await work.outbox.finish(row.seq)
            if is_quiet:
                await self.record(turn, fact)
            else:
                await self._answer(work, row, done)
            await _forget_document(work, row.effect)
        self.broadcast.tell(turn.news)
        if not is_quiet:
            self.wake([row.lane], ())

    async def _park_unread(self, target: str, sealed: RowUnreadable) -> None:
        """An effect that can't be opened would hold its target for ever. Which lane asked isn't known any more."""
        async with self.store.work() as work:
            await work.outbox.park(sealed.seq, state="parked", error=str(sealed))
            turn = Turn(work=work, ref=f"o{sealed.seq}", lane=SERVICE_LANE, codec=self.codec)
            await turn.trouble(
                ("unread effect", str(sealed.seq)),
                f"Something for {code(target)} (`o{sealed.seq}`) can't be opened and was parked: "
                f"{plain(str(sealed))} `queue drop o{sealed.seq}` forgets it.",
            )
        self.meter.parked("outbox")
        self.wake(turn.lanes, ())

    async def _failed(self, row: OutboxRow, error: Failure) -> None:
        attempt = row.attempts + 1
        reason = str(error)
        # After an outage the first lost answer is not the last try: the hands must get to look what became of it.
        is_again = row.error != "" and reason.startswith(row.error)
        tries = _UNSURE_TRIES if isinstance(error, Unsure) and is_again else self.policy.outbox.tries
        async with self.store.work() as work:
            match error:
                case Refused() if not _is_needed(row.effect):
                    await work.outbox.finish(row.seq)
                    await _forget_document(work, row.effect)
                    await self._answer(work, row, NotDone(state="refused", reason=reason))
                case Later() | Unsure() if attempt < tries:
                    after_s = error.after_s if isinstance(error, Later) else None
                    wait_s = after_s or self.policy.outbox.wait_s(attempt, random.random())  # noqa: S311
                    await work.outbox.retry_later(
                        row.seq, due_ms=self.clock.now_ms() + int(wait_s * 1000), error=reason
                    )
                    if row.key.startswith(RUN) and row.attempts == 0:
                        await self._tell_of_delay(work, row)
                        self.wake([row.lane], ())
                    return
                case Unsure():
                    await work.outbox.park(row.seq, state="unknown", error=reason)
                    await self._answer(work, row, NotDone(state="unknown", reason=reason))
                case _:
                    await work.outbox.park(row.seq, state="parked", error=reason)
                    await self._answer(work, row, NotDone(state="parked", reason=reason))
        if not isinstance(error, Refused) or _is_needed(row.effect):
            self.meter.parked("outbox")
        self.wake([row.lane], ())

    async def _tell_of_delay(self, work: Work, row: OutboxRow) -> None:
        """Somebody waits for this one's answer: they learn that it will be late."""
        fact = EffectDelayed(key=row.key, effect=row.effect)
        key = short_hash("delayed", row.key)
        await work.inbox.accept([Arrival(source="own", lane=row.lane, key=key, payload=self.codec.encode(fact))])

    async def _answer(self, work: Work, row: OutboxRow, answer: Done | NotDone) -> None:
        fact = EffectAnswered(key=row.key, effect=row.effect, answer=answer)
        await work.inbox.accept(
            [
                Arrival(
                    source="own",
                    lane=row.lane,
                    # A parked effect that is retried answers once more: each answer is a fact of its own.
                    key=short_hash("answer", row.key, str(self.clock.now_ms())),
                    payload=self.codec.encode(fact),
                )
            ]
        )

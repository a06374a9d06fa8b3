"""A service of the real flows on the real store, with fakes at every other port, that can die and come back.

    test ──accept──► inbox (real) ──Intake──► Decider ──► outbox (real) ──Outbox──► World (a homeserver in memory)
                        ^                                                       └─► FakeEtb
                        └───────────── echoes of what the bot did ──────────────────┘

`World` and `FakeEtb` are the outside: they outlive a crash of ours, and their ledgers say what was done.
`Running.crash` drops everything in memory and builds the service anew on the same database.
"""

import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from etb_appservice.app.flows import decider_of
from etb_appservice.domain.ids import short_hash
from etb_appservice.domain.policy import Policy
from etb_appservice.domain.verdicts import Verdict
from etb_appservice.flows.commands import Command
from etb_appservice.flows.decide import Decider
from etb_appservice.flows.intake import Intake
from etb_appservice.flows.links import load_links
from etb_appservice.flows.outbox import Outbox
from etb_appservice.flows.waiting import Waiting
from etb_appservice.ports import Arrival, Store
from etb_appservice.store.codec import FactJson
from etb_appservice.store.sql import SqlStore, open_store
from tests.harness.clock import MovedClock
from tests.harness.fakes import Counts, Crash, CrashingStore, EtbJson, Keyless, Signs, Told, Verified
from tests.harness.fakes_etb import FakeEtb
from tests.harness.media import MediaInMemory
from tests.harness.world import World

ROOT_KEY = bytes(range(32))
_MOST_ROUNDS = 500


class Running:
    """The service, without its edges, on a database that outlives it."""

    def __init__(
        self,
        folder: Path,
        *,
        clock: MovedClock,
        world: World,
        etb: FakeEtb,
        policy: Policy,
        commands: dict[str, Command],
        url: str = "",
    ) -> None:
        self.folder = folder
        self.url = url or f"sqlite:///{folder / 'etb.db'}"
        self.clock = clock
        self.world = world
        self.etb = etb
        self.policy = policy
        self.commands = commands
        self.meter = Counts()
        self.signs = Signs()
        self.keyless = Keyless()
        self.devices = Verified()
        self.news = Told()
        self.waiting = Waiting()
        self.media = MediaInMemory()
        self.lane_of: dict[str, str] = {}
        self.woken: list[tuple[tuple[str, ...], tuple[str, ...]]] = []
        self.verdict: Callable[[Verdict], None] = lambda _: None
        """Told of verdicts."""
        self.crashes = 0
        self._lives: Iterator[int] | None = None
        self._die_before = False
        self._number = 0
        self._stack = AsyncExitStack()
        self.db: SqlStore
        self.store: Store
        self.intake: Intake
        self.outbox: Outbox
        self.decider: Decider

    # --- life and death -----------------------------------------------------------------------------------

    async def start(self) -> None:
        """Everything that lives in memory, built anew on the same database."""
        self.db = await self._stack.enter_async_context(open_store(self.url, ROOT_KEY, self.clock))
        commits = None if self._lives is None else next(self._lives) + self._die_before
        self.store = CrashingStore(self.db, commits, before=self._die_before)
        self.lane_of.clear()
        self.policy.people.links.forget()
        await load_links(self.db, self.policy)
        self.world.documents = self._document
        self.decider = decider_of(
            store=self.store,
            etb=self.etb,
            policy=self.policy,
            clock=self.clock,
            commands=self.commands,
            vitals=self.signs,
            meter=self.meter,
            refusals=self.keyless,
            devices=self.devices,
        )
        self.intake = Intake(
            self.store,
            self.world,
            self.world,
            EtbJson(),
            FactJson(),
            self.decider,
            self.policy,
            self.clock,
            self.meter,
            self._wake,
            self.lane_of.__setitem__,
            self.news,
            verdict=self._judged,
            decided=self.waiting.decided,
        )
        self.outbox = Outbox(
            self.store,
            self.world,
            self.etb,
            FactJson(),
            self.policy,
            self.clock,
            self.meter,
            self._wake,
            self.decider.answers.record,
            self.news,
            started_ms=self.clock.now_ms(),
        )

    async def _document(self, document_id: str) -> bytes | None:
        """As the real hands read it, when they send it."""
        async with self.db.view() as view:
            found = await view.documents.get(document_id)
        return found.content if found else None

    async def stop(self) -> None:
        """Close the database."""
        await self._stack.aclose()
        self._stack = AsyncExitStack()

    async def crash(self) -> None:
        """Die now and come back."""
        await self.stop()
        await self.start()

    async def die_again_and_again(self, lives: Sequence[int], *, before: bool) -> None:
        """From now on each process lives for so many commits, in turn; `before`: one more is tried and lost."""
        self._lives = itertools.cycle(lives)
        self._die_before = before
        await self.crash()

    async def die_no_more(self) -> None:
        """From now on a process lives."""
        self._lives = None
        await self.crash()

    async def settle(self) -> None:
        """Work until nothing is due any more, through crashes if there are any."""
        for _ in range(_MOST_ROUNDS):
            try:
                if not await self._round():
                    return
            except Crash:
                self.crashes += 1
                await self.crash()
        raise AssertionError("the house does not come to rest")

    async def advance(self, seconds: float) -> None:
        """Let time pass, then do what fell due."""
        self.clock.advance(seconds)
        await self.settle()

    async def _round(self) -> bool:
        """One step of every lane and target that has work."""
        self.clock.advance(0.001)
        while self.world.queue:
            await self.accept_event(self.world.queue[0])
            del self.world.queue[0]
        async with self.db.work() as work:
            lanes = await work.inbox.lanes(self.clock.now_ms())
        went = [await self.intake.step(lane) for lane in lanes]
        async with self.db.view() as view:
            targets = await view.outbox.targets()
        went += [await self.outbox.step(target) for target in targets]
        return any(one is True for one in went)

    def _wake(self, lanes: Sequence[str], targets: Sequence[str], urgent: Sequence[str] = ()) -> None:
        self.woken.append((tuple(lanes), tuple(targets)))

    def _judged(self, one: Verdict) -> None:
        self.verdict(one)

    # --- what comes in ------------------------------------------------------------------------------------

    async def accept(self, *arrivals: Arrival) -> int:
        """As an edge does it: one commit; answers how many were new."""
        async with self.db.work() as work:
            return await work.inbox.accept(arrivals)

    async def accept_event(self, content: dict[str, Any]) -> int:
        """A room event, by a transaction or fetched."""
        lane = self.lane_of.get(content["room_id"], content["room_id"])
        key = short_hash("event", content["event_id"])
        payload = json.dumps(content).encode()
        return await self.accept(Arrival(source="matrix", lane=lane, key=key, payload=payload))

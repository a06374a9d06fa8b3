"""A scene whose service can be told to die at one of its seams, and what is read of it afterwards.

`dying.py` runs in place of the service; without a plan it is the service itself. So what starts after a death is
at once what dies next, and one database goes through all of them.
"""

import hashlib
import json
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tests.harness.sandbox import Sandbox
from tests.harness.scene import Scene, complaints, eventually
from tests.harness.synapse import Slot, Synapse

DYING = Path(__file__).with_name("dying.py")
SETTLE_S = 30.0
_ERRORS = frozenset({"error", "critical"})

Settled = Callable[[], Awaitable[bool]]


@dataclass(slots=True)
class Doomed:
    """One service, and the means to end it."""

    scene: Scene
    plan: Path
    trace: Path
    _read_from: int = 0

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        folder: Path,
        synapse: Synapse,
        slot: Slot,
        etb: Sandbox,
        *,
        run: bool = True,
        database: str = "sqlite:///etb.db",
        **sections: Mapping[str, Any],
    ) -> AsyncIterator[Self]:
        """A configured service; with `run` it is up and has nothing left to do (which is seen on SQLite only)."""
        async with Scene.open(folder, synapse, slot, etb, run=False, database=database) as scene:
            plan = folder / "plan.json"
            scene.service.change(etb={"poll_interval_s": 0.2}, **sections)
            scene.service.program = (sys.executable, str(DYING))
            scene.service.environment = {"ETB_DYING_PLAN": str(plan), "PYTHONPATH": str(DYING.parents[2])}
            doomed = cls(scene, plan, folder / "trace")
            if run:
                await doomed.start()
            yield doomed

    # --- plans --------------------------------------------------------------------------------------------

    def arm(self, at: Sequence[str] = (), **plan: Any) -> None:
        """From now on seams are written down; the first of `at` that is passed is the last one."""
        self.trace.unlink(missing_ok=True)
        fresh = self.plan.with_suffix(".new")
        fresh.write_text(json.dumps({"trace": str(self.trace), "at": list(at), **plan}))
        fresh.replace(self.plan)

    def disarm(self) -> list[str]:
        """No more seams; those that were passed."""
        self.plan.unlink(missing_ok=True)
        return self.trace.read_text().split("\n")[:-1] if self.trace.exists() else []

    @property
    def is_dead(self) -> bool:
        """Whether it has killed itself."""
        return self.scene.service.child is not None and not self.scene.service.child.running

    async def start(self) -> None:
        """Start on what is there, and wait until it has nothing left to do."""
        await self.scene.service.run()
        await eventually(self.is_idle, "empty queues after a start", timeout=SETTLE_S)

    async def seams(self, trigger: Callable[[], Awaitable[Any]], settled: Settled) -> list[str]:
        """The seams of a scenario, in the order in which they were passed."""
        self.arm()
        await trigger()
        await self.settle(settled)
        return self.disarm()

    async def die(
        self, at: str, trigger: Callable[[], Awaitable[Any]], settled: Settled, *, by: int = signal.SIGKILL
    ) -> bool:
        """Run a scenario, die at a seam of it, start again, and wait until the scenario has come to its end.

        False when the seam was not passed this time: then nothing died. By SIGTERM it ends in order, and well.
        """
        self.arm([at], signal=int(by))
        await trigger()

        async def over() -> bool:
            return self.is_dead or (await settled() and await self.is_idle())

        await eventually(over, f"death at {at}, or the end", timeout=SETTLE_S)
        if died := at in self.disarm():
            assert self.scene.service.child is not None
            status = await self.scene.service.child.wait(timeout=SETTLE_S)
            assert status == (-by if by == signal.SIGKILL else 0), f"it ended with status {status}"
            await self.scene.service.run()
        await self.settle(settled)
        return died

    async def start_and_die(
        self, settled: Settled, at: Sequence[str] = (), *, by: int = signal.SIGKILL
    ) -> list[str]:
        """Start, to die at the first of `at`; the seams that were passed. `is_dead` says whether it died."""
        self.arm(at, signal=int(by))
        await self.scene.service.run(ready=False)

        async def over() -> bool:
            return self.is_dead or (await settled() and await self.is_idle())

        await eventually(over, f"death after a start at one of {at}, or the end", timeout=SETTLE_S)
        return self.disarm()

    async def settle(self, settled: Settled, *, within_s: float = SETTLE_S, but_for: str = "") -> None:
        """Wait until a scenario has come to its end and the service has nothing left to do (see `is_idle`)."""

        async def look() -> bool:
            return await settled() and await self.is_idle(but_for=but_for)

        await eventually(look, "the end of the scenario", timeout=within_s)

    # --- what the service's own database says -------------------------------------------------------------

    def rows(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Read the service's own database, which holds no text that isn't sealed."""
        with closing(
            sqlite3.connect(f"file:{self.scene.service.folder / 'etb.db'}?mode=ro", uri=True)
        ) as database:
            return database.execute(sql, parameters).fetchall()

    async def is_idle(self, *, but_for: str = "") -> bool:
        """Nothing is ready, held back or waiting for a key, but in lanes whose name is like `but_for`."""
        ((count,),) = self.rows(
            "SELECT (SELECT count(*) FROM inbox WHERE state IN ('ready', 'waiting') AND lane NOT LIKE ?)"
            " + (SELECT count(*) FROM outbox WHERE state = 'queued')",
            but_for,
        )
        return bool(count == 0)

    def parked(self) -> list[str]:
        """What was set aside for an operator, by its error."""
        return [
            str(error)
            for (error,) in self.rows(
                "SELECT error FROM inbox WHERE state = 'parked' UNION ALL"
                " SELECT error FROM outbox WHERE state NOT IN ('queued')"
            )
        ]

    def assert_sound(self) -> None:
        """Nothing is parked, and no error or traceback was logged since the last look."""
        text = self.scene.service.log()
        new, self._read_from = text[self._read_from :], len(text)
        odd = [line for line in complaints(new) if _is_error(line)]
        assert not odd, "the service complained:\n" + "\n".join(odd)
        assert self.parked() == [], f"parked: {self.parked()}"


def _is_error(line: str) -> bool:
    """Warnings may be: rooms are completed, calls broke. A line cut off by the death is no error."""
    if "Traceback" in line:
        return True
    try:
        return json.loads(line).get("level") in _ERRORS
    except (ValueError, AttributeError):
        return False


def chosen(seams: Sequence[str], always: Sequence[str], *, most: int, by: str) -> list[str]:
    """All seams that end as one of `always` does, and of the others as many as `most` leaves, by the seed `by`.

    Each seam has its rank by its name alone, so that a seam more or less in this run changes no other choice.
    """
    first = [seam for seam in seams if any(seam.endswith(end) or end == seam.rpartition("#")[0] for end in always)]
    rest = [seam for seam in seams if seam not in first]
    rest.sort(key=lambda seam: hashlib.sha256(f"{by} {seam}".encode()).digest())
    kept = {*first, *rest[: max(0, most - len(first))]}
    return [seam for seam in seams if seam in kept]

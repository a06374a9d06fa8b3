"""The full sweep: each scenario once per seam that it has, told as it goes; run it by `./tests/chaos/sweep`.

After a death that left something wrong, the scenario goes on with a service of its own, so that one fault is told
once. Ends with status 1 if anything was wrong, 2 if the time was up first.
"""

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.doomed import Doomed
from tests.chaos.scenarios import CommandToAnswer, FirstStart, IncidentToRoom, RunbookToEnd, Scenario
from tests.harness.jsclient import JsClient
from tests.harness.processes import ProcessFailed
from tests.harness.sandbox import Sandbox
from tests.harness.scene import PASSWORD
from tests.harness.synapse import Slot, Synapse, write_slot

SLOTS = 600
SCENARIOS = ("incident", "command", "runbook", "start")


@dataclass(slots=True)
class World:
    """What all scenarios share."""

    folder: Path
    synapse: Synapse
    etb: Sandbox
    operator: JsClient
    slots: Iterator[Slot]

    @asynccontextmanager
    async def scenario(self, name: str) -> AsyncIterator[Scenario]:
        """A scenario on a service of its own."""
        if name == "start":
            yield FirstStart(self._new, self.operator)
            return
        slot = next(self.slots)
        opened = Doomed.open(self.folder / slot.id, self.synapse, slot, self.etb, rooms={"rotation_messages": 1})
        async with opened as doomed:
            await doomed.scene.account("bob", "carol")
            alice = await doomed.scene.person("alice")
            if name == "incident":
                yield IncidentToRoom(doomed, alice)
                return
            if name == "runbook":
                yield await RunbookToEnd.set(doomed, alice)
                return
            incident = await self.etb.declare(title="Asked about", reporter="alice")
            room = await doomed.scene.join(alice, incident)
            await doomed.scene.card(alice, room)
            await doomed.settle(doomed.is_idle)
            yield CommandToAnswer(doomed, alice, room, incident["incident_number"])

    def _new(self) -> AbstractAsyncContextManager[Doomed]:
        slot = next(self.slots)
        section = {"operators": [self.operator.user_id]}
        return Doomed.open(self.folder / slot.id, self.synapse, slot, self.etb, run=False, control_room=section)


@dataclass(slots=True)
class Tally:
    """What came of the deaths of one scenario."""

    seams: int = 0
    died: int = 0
    not_passed: int = 0
    wrong: dict[str, str] = field(default_factory=dict)
    is_whole: bool = False


async def sweep(
    world: World, name: str, until: float, asked: argparse.Namespace, say: Callable[[str], None]
) -> Tally:
    """Die at each seam of a scenario."""
    tally = Tally()
    todo: list[str] = []
    while todo or not tally.seams:
        async with world.scenario(name) as scenario:
            if not tally.seams:
                todo = await scenario.seams()
                tally.seams = len(todo)
                todo = [one for one in todo if asked.at in one and int(one.rpartition("#")[2]) <= asked.each]
                if asked.most < len(todo):
                    todo = [one for one in todo if one in set(random.Random(tally.seams).sample(todo, asked.most))]
                say(f"{name}: {tally.seams} seams, dying at {len(todo)}")
            while todo:
                if time.monotonic() > until:
                    return tally
                at, began = todo.pop(0), time.monotonic()
                try:
                    died = await scenario.die(at)
                except (AssertionError, ProcessFailed, Exception) as error:  # noqa: BLE001 - told, and counted
                    tally.wrong[at] = str(error) or type(error).__name__
                    say(f"{name}: WRONG, death at {at}: {tally.wrong[at]}")
                    break
                tally.died += died
                tally.not_passed += not died
                took = time.monotonic() - began
                say(f"{name}: {len(todo):4} left  {took:4.1f} s  {'fine' if died else 'not passed'}  {at}")
    tally.is_whole = True
    return tally


async def main() -> int:
    """Set the world up, sweep, tell."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=", ".join(SCENARIOS))
    parser.add_argument("--minutes", type=float, default=60, help="stop after this time (60)")
    parser.add_argument("--at", default="", metavar="TEXT", help="only seams whose name holds this")
    parser.add_argument("--each", type=int, default=3, help="how often one place is died at (3)")
    parser.add_argument("--most", type=int, default=10_000, help="seams of each scenario at most, by a fixed seed")
    asked = parser.parse_args()
    if odd := set(asked.scenarios) - set(SCENARIOS):
        parser.error(f"no scenario is called {', '.join(sorted(odd))}")

    def say(line: str) -> None:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()

    until = time.monotonic() + asked.minutes * 60
    folder = Path(tempfile.mkdtemp(prefix="etb-chaos-"))
    slots = [write_slot(folder, "localhost", f"doomed{number}") for number in range(SLOTS)]
    say(f"what they leave is in {folder}")
    synapse = await Synapse.start(folder / "synapse", registrations=[slot.registration_path for slot in slots])
    tallies: dict[str, Tally] = {}
    try:
        await synapse.register("olivia", PASSWORD)
        async with (
            await Sandbox.start(folder, incidents=False) as etb,
            await JsClient.start(synapse.url, "olivia", PASSWORD) as operator,
        ):
            world = World(folder, synapse, etb, operator, iter(slots))
            for name in asked.scenarios or SCENARIOS:
                tallies[name] = await sweep(world, name, until, asked, say)
    finally:
        await synapse.stop()
    for name, tally in tallies.items():
        how = "whole" if tally.is_whole else "cut off by the clock"
        say(
            f"{name}: {tally.seams} seams, {tally.died} deaths, {tally.not_passed} not passed again, "
            f"{len(tally.wrong)} wrong ({how})"
        )
        for at, what in tally.wrong.items():
            say(f"  death at {at}: {what.splitlines()[0]}")
    if any(tally.wrong for tally in tallies.values()):
        return 1
    return 0 if all(tally.is_whole for tally in tallies.values()) else 2


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))

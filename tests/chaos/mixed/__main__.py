"""Mixed operations from both sides with kills among them, as many as wanted; run it by `./tests/chaos/mixed_run`.

Ends with status 1 if the sides differ. What was done, and what is off, is told as it goes.
"""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from tests.chaos.mixed.storm import Storm, told
from tests.harness.sandbox import Sandbox
from tests.harness.seed import how_to_repeat, seed
from tests.harness.synapse import Synapse, write_slot


def say(line: str) -> None:
    """Told at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def main() -> int:
    """Set the world up, run, compare, tell."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--operations", type=int, default=20_000, help="how many (20000)")
    parser.add_argument("--kill-every", type=int, default=500, help="a SIGKILL per so many (500)")
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="etb-mixed-"))
    say(f"what is left lies in {folder}; {how_to_repeat()}")
    slot = write_slot(folder, "localhost", "mixed")
    synapse = await Synapse.start(folder / "synapse", registrations=[slot.registration_path])
    try:
        async with (
            await Sandbox.start(folder, incidents=False) as etb,
            Storm.on(
                folder / "service", synapse, slot, etb,
                total=asked.operations, kill_every=asked.kill_every, seed=seed(), say=say,
            ) as storm,
        ):  # fmt: skip
            await storm.run()
            say("all done; comparing")
            found = await storm.compare()
            for kind, count in sorted(storm.book.counts.items()):
                say(f"{count:6} {kind}")
            if found:
                say(f"{told(storm, found)}\nrepeat it with {how_to_repeat()}")
                return 1
            say(f"both sides are equal after {storm.book.done} operations and {len(storm.book.killed)} kills")
            return 0
    finally:
        await synapse.stop()


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))

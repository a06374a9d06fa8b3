"""./benchmarks/run [NAME...] [--json FILE] [--pairs N] [--list]"""

import argparse
import asyncio
import importlib
import pkgutil
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import rows as groups
from benchmarks.table import Row, show, write


def names() -> list[str]:
    """The groups there are."""
    return [module.name for module in pkgutil.iter_modules(groups.__path__)]


async def measure(wanted: list[str], pairs: int) -> list[Row]:
    found: list[Row] = []
    for name in wanted:
        began = time.monotonic()
        print(f"measuring {name} ...", file=sys.stderr, flush=True)
        module = importlib.import_module(f"{groups.__name__}.{name}")
        with tempfile.TemporaryDirectory(prefix="etb-bench-") as folder:
            found += await module.rows(Path(folder), pairs)
        print(f"measured {name} in {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="./benchmarks/run", description="Ours over the floor, in the same run.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(names())}; all without any")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the same rows as JSON")
    parser.add_argument("--pairs", type=int, default=5, metavar="N", help="interleaved pairs a row (5)")
    options = parser.parse_args()
    if unknown := set(options.names) - set(names()):
        parser.error(f"no group is called {', '.join(sorted(unknown))}; there are {', '.join(names())}")
    rows = asyncio.run(measure(options.names or names(), options.pairs))
    print(show(rows))
    if options.json:
        write(rows, options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())

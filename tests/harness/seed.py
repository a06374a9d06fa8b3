"""The seed of what tests choose among more than they have time for: each commit has its own.

`ETB_CHAOS_SEED=… ./synapse-dev/test tests/chaos` repeats the choice of another commit.
"""

import os
import subprocess
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

NAME = "ETB_CHAOS_SEED"
_ROOT = Path(__file__).resolve().parents[2]


@cache
def seed() -> str:
    """What the environment says, else the commit, else (where there is no repository) the day."""
    if given := os.environ.get(NAME):
        return given
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=_ROOT, capture_output=True, text=True, check=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return datetime.now(UTC).date().isoformat()
    return done.stdout.strip()[:12]


def how_to_repeat() -> str:
    """For messages."""
    return f"{NAME}={seed()}"

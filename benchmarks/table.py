"""A row: ours, the floor, their ratio pair by pair, and the target. Prints a table, writes JSON."""

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Row:
    """One measured line. `low` and `high` are the smallest and largest ratio of a pair."""

    name: str
    ours: float
    floor: float | None
    ratio: float | None
    low: float | None
    high: float | None
    target: str
    unit: str
    n: str
    note: str = ""


def paired(
    name: str, pairs: Sequence[tuple[float, float]], *, target: str, unit: str, each: int = 1, note: str = ""
) -> Row:
    """A row of (ours, floor) pairs: medians, and the median, least and greatest ratio of a pair."""
    ratios = [ours / floor for ours, floor in pairs]
    return Row(
        name,
        statistics.median(ours for ours, _ in pairs),
        statistics.median(floor for _, floor in pairs),
        statistics.median(ratios),
        min(ratios),
        max(ratios),
        target,
        unit,
        f"{len(pairs)} pairs of {each}" if each > 1 else f"{len(pairs)} pairs",
        note,
    )


def show(rows: Sequence[Row]) -> str:
    """The table as text."""
    head = ("name", "ours", "floor", "ratio", "target", "spread", "n")
    lines = [head] + [
        (
            row.name,
            f"{row.ours:.1f} {row.unit}",
            f"{row.floor:.1f} {row.unit}" if row.floor is not None else "-",
            f"{row.ratio:.2f}" if row.ratio is not None else "-",
            row.target,
            f"{row.low:.2f} to {row.high:.2f}" if row.low is not None and row.high is not None else "-",
            row.n,
        )
        for row in rows
    ]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    text = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    ]
    notes = [f"{row.name}: {row.note}" for row in rows if row.note]
    return "\n".join([text[0], "-" * len(text[0]), *text[1:], *([""] if notes else []), *notes])


def write(rows: Sequence[Row], path: Path) -> None:
    """The same rows as JSON."""
    path.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")

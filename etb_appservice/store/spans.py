"""Times of which a reader may know nothing, as a condition of a statement: it finds and counts nothing there.

They come as rows of a table `hidden` that the statement brings with it, so that any number of rooms, each with
times of its own, is one question. Must never let a row through for want of room: too many times become fewer,
longer ones.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import Text, TextClause, bindparam, text

from etb_appservice.domain.past import Span
from etb_appservice.ports import Hidden
from etb_appservice.store.desk import Values

_MOST = 2000
"""How many times one statement names: SQLite takes 32,766 parameters."""
_MOST_KEPT = 16


class Spanned:
    """A statement with two places: `{hidden}` before all of it, and `{seen}` behind its conditions.

    `lane`, `began`, `ended`: the columns that say where a row belongs, and over which time it became what it is.
    `among`: its parameters that are lists.
    """

    def __init__(self, statement: str, *, lane: str, began: str, ended: str, among: Sequence[str] = ()) -> None:
        self._statement = statement
        self._among = tuple(among)
        # As domain/past has it: from the earlier of both times until `ended`, both counted in.
        self._seen = (
            f" AND NOT EXISTS (SELECT 1 FROM hidden WHERE hidden.lane = {lane} AND {ended} >= hidden.from_ms"  # noqa: S608 - our own words
            f" AND ({began} < hidden.until_ms OR {ended} < hidden.until_ms))"
        )
        self._made = lru_cache(maxsize=_MOST_KEPT)(self._make)

    def hiding(self, hidden: Hidden) -> tuple[TextClause, Values]:
        """The statement that hides these times, and what it needs for that."""
        rows = _rows(hidden)
        values: dict[str, Any] = {}
        for number, (lane, span) in enumerate(rows):
            values |= {f"lane_{number}": lane, f"from_{number}": span.from_ms, f"until_{number}": span.until_ms}
        return self._made(len(rows)), values

    def _make(self, count: int) -> TextClause:
        rows = ", ".join(
            f"(CAST(:lane_{number} AS TEXT), CAST(:from_{number} AS BIGINT), CAST(:until_{number} AS BIGINT))"
            for number in range(count)
        )
        made = text(
            self._statement.format(
                hidden=f"WITH hidden (lane, from_ms, until_ms) AS (VALUES {rows}) " if count else "",
                seen=self._seen if count else "",
            )
        )
        return made.bindparams(*(bindparam(name, expanding=True, type_=Text()) for name in self._among))


def _rows(hidden: Hidden) -> list[tuple[str, Span]]:
    rows = [(lane, span) for lane, spans in hidden.items() for span in spans]
    if len(rows) > _MOST:
        rows = [
            (lane, Span(min(one.from_ms for one in spans), max(one.until_ms for one in spans)))
            for lane, spans in hidden.items()
            if spans
        ]
    elif rows:
        # Said twice is as good as once, and few statements serve any number.
        rows += rows[-1:] * ((1 << (len(rows) - 1).bit_length()) - len(rows))
    return rows

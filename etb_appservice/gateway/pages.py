"""Pages of lists, as Django REST Framework makes them (docs/etb-contract.md 1.3)."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, TypeVar

from pydantic import BaseModel, BeforeValidator, Field

from etb_appservice.domain.past import ALWAYS
from etb_appservice.gateway.gate import Gate
from etb_appservice.gateway.links import Links
from etb_appservice.gateway.problems import Problem
from etb_appservice.gateway.table import Query

R = TypeVar("R")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MOST_DIGITS = 18


def _short(value: object) -> object:
    if isinstance(value, str) and len(value) > MOST_DIGITS:
        raise ValueError("too long")
    return value


Number = Annotated[int, BeforeValidator(_short)]
"""A number that a query names."""


class Paged(Query):
    """Which part of a list."""

    page: Number = Field(default=1, ge=1)
    """The number of the page; one behind the last is 404."""
    page_size: Number | None = Field(default=None, ge=1)
    """Rows on a page, 20 unless configured otherwise; more than 100 count as 100."""


def size_of(query: Paged, gate: Gate) -> int:
    """How many rows a page has."""
    return min(query.page_size or gate.page_size, gate.most_page_size)


def offset_of(query: Paged, gate: Gate, count: int) -> int:
    """How many rows stand before a page. Raises Problem 404 for one that isn't there; the first always is."""
    offset = (query.page - 1) * size_of(query, gate)
    if offset >= count and query.page > 1:
        raise no_such_page()
    return offset


def no_such_page() -> Problem:
    """As Django REST Framework says it."""
    return Problem(404, "not_found", "Invalid page.")


def neighbours(query: Paged, gate: Gate, count: int, links: Links) -> tuple[str | None, str | None]:
    """`next` and `previous`."""
    has_next = query.page * size_of(query, gate) < count
    following = links.here(page=str(query.page + 1)) if has_next else None
    return following, links.here(page=str(query.page - 1)) if query.page > 1 else None


def slice_of(rows: Sequence[R], query: Paged, gate: Gate) -> Sequence[R]:
    """The rows of a page of a list that is there as a whole."""
    offset = offset_of(query, gate, len(rows))
    return rows[offset : offset + size_of(query, gate)]


def ms_of(at: datetime) -> int:
    """A time of a query in UTC milliseconds; without a zone it is UTC."""
    since = (at.replace(tzinfo=UTC) if at.tzinfo is None else at) - _EPOCH
    return since.days * 86_400_000 + since.seconds * 1000 + since.microseconds // 1000


class Created(BaseModel):
    """Between which times something was made; both count in."""

    created_after: datetime | None = None
    """Not before this time."""
    created_before: datetime | None = None
    """Not after this time."""

    @property
    def from_ms(self) -> int:
        """The earliest time."""
        return -ALWAYS if self.created_after is None else ms_of(self.created_after)

    @property
    def until_ms(self) -> int:
        """The latest time."""
        return ALWAYS if self.created_before is None else ms_of(self.created_before)

    def holds(self, at_ms: int) -> bool:
        """Whether a time lies between."""
        return self.from_ms <= at_ms <= self.until_ms

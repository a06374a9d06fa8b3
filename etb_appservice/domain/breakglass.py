"""Break-glass: two people together let somebody in for a limited time, whatever ETB says or while it is away.

    asked by one role ─► approved by the other ─► BreakGlass open ──time is over, or ended──► BreakGlass closed
                                                  GlassReview open ──────────────looked at by a third──► closed

Not to be confused with an account in `rooms.additional_creators`, which an administrator of the homeserver brings
in and of which this service decides nothing.
"""

from dataclasses import dataclass
from typing import Literal

from etb_appservice.domain.ids import UserId

GlassRole = Literal["first", "second"]
"""The two roles, of which neither can do anything without the other."""
Verdict = Literal["", "ok", "not-ok"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakGlass:
    """One person was let in. The id is their Matrix id within the war room."""

    kind: Literal["BreakGlass"] = "BreakGlass"
    id: UserId
    by: tuple[UserId, ...]
    """Who has decided it, all of them."""
    reason: str
    from_ms: int
    until_ms: int
    """When it ends by itself, UTC milliseconds by our clock."""
    reviewed_by: UserId | None = None
    is_open: bool = True
    """False once it was undone."""
    grant: str = ""
    """Tells this time from others of the same person: the id of its review. A timer of another does nothing."""

    def holds(self, now_ms: int) -> bool:
        """Whether it lets them in now."""
        return self.is_open and self.from_ms <= now_ms < self.until_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class GlassReview:
    """The record of one such time, open until somebody else has looked at it."""

    kind: Literal["GlassReview"] = "GlassReview"
    id: str
    user_id: UserId
    by: tuple[UserId, ...]
    reason: str
    from_ms: int
    until_ms: int
    ended_ms: int | None = None
    """When it ended in truth; None while it lasts."""
    ended_by: UserId | None = None
    """Who ended it before its time."""
    verdict: Verdict = ""
    reviewed_by: UserId | None = None
    reviewed_ms: int | None = None
    note: str = ""
    is_open: bool = True


def other_roles(held: frozenset[GlassRole]) -> tuple[GlassRole, ...]:
    """Which roles can approve what a holder of these asks for: the other one of each.

    >>> other_roles(frozenset({"first"})), other_roles(frozenset({"first", "second"}))
    (('second',), ('first', 'second'))
    """
    others: dict[GlassRole, GlassRole] = {"first": "second", "second": "first"}
    return tuple(sorted(others[role] for role in held))

"""Break-glass: two people together let somebody in for a limited time, whatever ETB says or while it is away."""

from dataclasses import dataclass
from typing import Literal

from etb_appservice.domain.ids import UserId


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

    def holds(self, now_ms: int) -> bool:
        """Whether it lets them in now."""
        return self.is_open and self.from_ms <= now_ms < self.until_ms

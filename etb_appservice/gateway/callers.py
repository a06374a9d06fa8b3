"""Who calls: an ETB user's own token, checked with ETB, remembered for a short time (docs/etb-contract.md 1.2).

    token ─► HMAC ─► confirmed less than `cache_s` ago ─► that caller
                 └─► ETB's profile endpoint ─┬─► the caller
                                             ├─► 401: nobody, at once, whatever was remembered
                                             └─► away: the last confirmation, up to the age limit of rights

Must never keep, log or repeat a token: what is kept is its HMAC under a key of this process.
"""

from dataclasses import dataclass, field

from etb_appservice.domain.ids import UserId
from etb_appservice.domain.incident import EtbUser


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """An ETB user who calls, by HTTP or by WebSocket."""

    user: EtbUser
    user_id: UserId
    """Their Matrix id: the one that is linked to them, else their ghost's."""
    token_hash: bytes = field(repr=False)
    """HMAC of the token they showed; limits and idempotency are kept by it, and sockets looked up again."""
    confirmed_ms: int
    """When ETB last confirmed the token, by our clock."""

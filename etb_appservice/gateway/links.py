"""Links in answers: the prefix that the caller used, and an origin from the settings alone.

A `Host` header is whatever a caller writes; nothing here reads one. Without a configured origin links are paths.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlencode

PREFIXES = ("/api/collaboration_war_rooms/api/", "/api/collaboration-war-rooms/")
"""The seed's, and its alias (docs/etb-contract.md 3)."""
SOCKETS = "/ws/chat/"


@dataclass(frozen=True, slots=True)
class Links:
    """`origin` such as `https://chat.example.org`, or empty; `prefix` one of PREFIXES; and what was asked for."""

    origin: str
    prefix: str
    path: str = ""
    query: Mapping[str, str] = field(default_factory=dict)

    def to(self, path: str) -> str:
        """A path below the prefix.

        >>> Links("https://x.org", PREFIXES[1]).to("war-rooms/")
        'https://x.org/api/collaboration-war-rooms/war-rooms/'
        """
        return f"{self.origin}{self.prefix}{path}"

    def here(self, **changes: str) -> str:
        """The same list with other parameters.

        >>> Links("", PREFIXES[1], "war-rooms/", {"status": "ACTIVE"}).here(page="2")
        '/api/collaboration-war-rooms/war-rooms/?status=ACTIVE&page=2'
        """
        query = urlencode({**self.query, **changes}, errors="replace")
        return self.to(self.path) + (f"?{query}" if query else "")

    def socket(self, war_room: str) -> str:
        """Where the WebSocket of a war room is.

        >>> Links("https://x.org", PREFIXES[0]).socket("1")
        'wss://x.org/ws/chat/1/'
        """
        scheme, _, rest = self.origin.partition("://")
        origin = f"{'wss' if scheme == 'https' else 'ws'}://{rest}" if rest else ""
        return f"{origin}{SOCKETS}{war_room}/"

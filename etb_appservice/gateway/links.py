"""Links in answers: the prefix that the caller used, and an origin from the settings alone.

A `Host` header is whatever a caller writes; nothing here reads one. Without a configured origin links are paths.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

PREFIXES = ("/api/collaboration_war_rooms/api/", "/api/collaboration-war-rooms/")
"""The seed's, and its alias (docs/etb-contract.md 3)."""
SOCKETS = "/ws/chat/"


@dataclass(frozen=True, slots=True)
class Links:
    """`origin` such as `https://chat.example.org`, or empty; `prefix` one of PREFIXES."""

    origin: str
    prefix: str

    def to(self, path: str, query: Mapping[str, str] | None = None) -> str:
        """A path below the prefix.

        >>> Links("", PREFIXES[1]).to("war-rooms/", {"page": "2"})
        '/api/collaboration-war-rooms/war-rooms/?page=2'
        """
        return f"{self.origin}{self.prefix}{path}{f'?{urlencode(query)}' if query else ''}"

    def socket(self, war_room: str) -> str:
        """Where the WebSocket of a war room is.

        >>> Links("https://x.org", PREFIXES[0]).socket("1")
        'wss://x.org/ws/chat/1/'
        """
        scheme, _, rest = self.origin.partition("://")
        origin = f"{'wss' if scheme == 'https' else 'ws'}://{rest}" if rest else ""
        return f"{origin}{SOCKETS}{war_room}/"

"""The files of a war room: who has looked at them, and how long they are kept.

What a file is stands in domain/conversation.py (FileDetails), where it lies in `ports.ChatFile`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.conversation import FileDetails
from etb_appservice.domain.ids import Username, WarRoomId

AccessType = Literal["VIEW", "DOWNLOAD", "SHARE"]
"""As docs/etb-contract.md 5.2 has them."""
RETENTION_DAYS: Mapping[Classification, int] = {
    Classification.PUBLIC: 365,
    Classification.INTERNAL: 1095,
    Classification.CONFIDENTIAL: 2555,
    Classification.RESTRICTED: 3650,
    Classification.TOP_SECRET: 3650,
}
"""Where no policy of ETB's says otherwise (docs/etb-contract.md 2.5)."""
_DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True, kw_only=True)
class FileAccess:
    """Somebody looked at a file. It is written once and never changed (docs/etb-contract.md 5.2)."""

    id: str
    """UUIDv7: sorts by time."""
    file_id: str
    war_room: WarRoomId
    username: Username
    access_type: AccessType = "VIEW"
    reason: str = ""
    address: str = ""
    """From where they asked, as the gateway saw it."""
    at_ms: int


def level_of(details: FileDetails, room: Classification) -> Classification:
    """How a file is classified: as was said of it, else as its room.

    >>> level_of(FileDetails(name="a", original_name="a", classification="RESTRICTED"), Classification.PUBLIC).name
    'RESTRICTED'
    """
    known = {level.name: level for level in Classification}
    return known.get(details.classification, room)


def kept_until_ms(created_ms: int, level: Classification) -> int:
    """Until when a file may not be deleted.

    >>> kept_until_ms(0, Classification.PUBLIC) // 86_400_000
    365
    """
    return created_ms + RETENTION_DAYS[level] * _DAY_MS

"""The passing part of a transaction: who types, and who has read how far. Pure; never raises for what is in it.

    "ephemeral" (before v1.13 of the specification `de.sorunome.msc2409.ephemeral`)
        m.typing   ─► TypingSeen       m.receipt ─► ReadSeen, for `m.read` alone        all else ─► passed over

What isn't as it must be is passed over, each by itself: nobody would send it again. Private receipts
(`m.read.private`) must never be read. Bounded: what goes beyond it is dropped.

Source: Matrix application service API, "Pushing ephemeral data" (MSC2409). A receipt's `thread_id` (MSC3771) isn't
looked at: Synapse (1.163) leaves it out of transactions.
"""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from etb_appservice.domain.ids import EventId, RoomId, UserId
from etb_appservice.domain.passing import ReadSeen, Sign, TypingSeen
from etb_appservice.matrix.arrivals import is_id, is_user_id

PARTS = ("ephemeral", "de.sorunome.msc2409.ephemeral")
MOST_SIGNS = 1000
"""Of one transaction."""
_MOST_TYPING = 100
"""In one room."""
_MOST_LOOKED_AT = 5000
"""Of one list or object, of whatever kind its members are."""


def part_of(transaction: Mapping[str, Any]) -> object:
    """The passing part; None where the homeserver sends none: it sends an empty one where nothing happened."""
    return next((transaction[name] for name in PARTS if name in transaction), None)


def signs_of(part: object) -> list[Sign]:
    """What a passing part tells, in its order."""
    return list(islice(_signs(part), MOST_SIGNS))


def _signs(part: object) -> Iterator[Sign]:
    if not isinstance(part, list):
        return
    for event in part[:_MOST_LOOKED_AT]:
        if not isinstance(event, dict):
            continue
        room_id, content = event.get("room_id"), event.get("content")
        if not isinstance(room_id, str) or not is_id(room_id) or not isinstance(content, dict):
            continue
        if event.get("type") == "m.typing":
            yield from _typing(RoomId(room_id), content.get("user_ids"))
        elif event.get("type") == "m.receipt":
            yield from _read(RoomId(room_id), content)


def _typing(room_id: RoomId, user_ids: object) -> Iterator[TypingSeen]:
    if isinstance(user_ids, list):
        known = (UserId(one) for one in user_ids[:_MOST_LOOKED_AT] if is_user_id(one))
        yield TypingSeen(room_id=room_id, user_ids=frozenset(islice(known, _MOST_TYPING)))


def _read(room_id: RoomId, content: dict[str, Any]) -> Iterator[ReadSeen]:
    for event_id, kinds in islice(content.items(), _MOST_LOOKED_AT):
        readers = kinds.get("m.read") if isinstance(kinds, dict) else None
        if not isinstance(readers, dict) or not is_id(event_id):
            continue
        for user_id, receipt in islice(readers.items(), _MOST_LOOKED_AT):
            if is_user_id(user_id) and isinstance(receipt, dict):
                yield ReadSeen(room_id=room_id, user_id=UserId(user_id), event_id=EventId(event_id))

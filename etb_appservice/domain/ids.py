"""Identifiers. They are opaque: nothing may parse a room id or an event id (room version 12 has no domain).

Sources: Matrix specification, "Identifier Grammar"; RFC 9562 for UUIDs; docs/etb-contract.md section 1.1.
"""

import hashlib
import os
import uuid
from typing import NewType

IncidentId = NewType("IncidentId", str)
"""ETB's UUID of an incident, lower case."""
WarRoomId = NewType("WarRoomId", str)
"""Our UUID of an incident's room over all its generations: uuid5 of the incident's id."""
RoomId = NewType("RoomId", str)
EventId = NewType("EventId", str)
UserId = NewType("UserId", str)
"""A Matrix user id, `@local:server`."""
Username = NewType("Username", str)
"""An ETB username."""

NOBODY = Username("")
"""No ETB user: where somebody is named who speaks, the bot itself."""

_WAR_ROOMS = uuid.UUID("6f0c7f0e-6a1b-5a4e-9d0b-0f6a2f4be7a1")


def incident_id(text: str) -> IncidentId:
    """Read ETB's UUID in any spelling; raises ValueError when it is none."""
    return IncidentId(str(uuid.UUID(text)))


def war_room_id(incident: IncidentId) -> WarRoomId:
    """The one war room of an incident; the same on every machine and after every restart."""
    return WarRoomId(str(uuid.uuid5(_WAR_ROOMS, incident)))


def direct_id(user_id: UserId) -> WarRoomId:
    """The one war room in which the bot and this person are alone."""
    return WarRoomId(str(uuid.uuid5(_WAR_ROOMS, f"direct/{user_id}")))


def new_id(now_ms: int) -> str:
    """A UUIDv7 (RFC 9562 section 5.7) of the moment `now_ms`, UTC milliseconds: sorts by time of acceptance."""
    noise = int.from_bytes(os.urandom(10), "big")
    value = (now_ms & ((1 << 48) - 1)) << 80 | 0x7 << 76 | (noise >> 68 & 0xFFF) << 64 | 0b10 << 62
    return str(uuid.UUID(int=value | noise & ((1 << 62) - 1)))


def short_hash(*parts: str) -> bytes:
    """16 bytes that stand for `parts`: what we remember of an event or a webhook that was seen.

    >>> short_hash("matrix", "$a") == short_hash("matrix", "$a"), len(short_hash("x"))
    (True, 16)
    """
    text = "\x1f".join(parts).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(text, digest_size=16).digest()

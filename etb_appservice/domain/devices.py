"""Devices that their owners have not verified, in rooms that are for verified ones only."""

from dataclasses import dataclass
from typing import Literal

from etb_appservice.domain.ids import UserId
from etb_appservice.domain.text import code, plain


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenDevice:
    """A device that its owner's accepted identity has not signed."""

    user_id: UserId
    device_id: str
    name: str = ""
    """As its owner, or their homeserver, calls it."""
    is_replaced: bool = False
    """Whether an identity of the owner's has signed it that no operator has accepted since it replaced another."""

    @property
    def id(self) -> str:
        """Unique within a room."""
        return f"{self.user_id}/{self.device_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class UnsignedDevice:
    """One such device of somebody who is, or was, in a room. The id is `SeenDevice.id` within the war room."""

    kind: Literal["UnsignedDevice"] = "UnsignedDevice"
    id: str
    user_id: UserId
    device_id: str
    name: str
    is_replaced: bool
    since_ms: int
    """Since when it is known there."""
    remove_ms: int | None = None
    """When its owner is removed; None for never."""
    removed_ms: int | None = None
    """When they were."""
    is_open: bool = True
    """False once it was verified or deleted, or its owner had left."""


def shown(device: SeenDevice | UnsignedDevice) -> str:
    """A device as people tell it from others, in Markdown.

    >>> shown(SeenDevice(user_id=UserId("@a:x"), device_id="PHONE", name="Element on Android"))
    '`PHONE` (Element on Android)'
    """
    return code(device.device_id, 60) + (f" ({plain(device.name, 60)})" if device.name.strip() else "")

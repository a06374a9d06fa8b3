"""Devices without a room key of ours: that could not be given it, or must not have it since nobody signed them.

    refused  ──tried again, ever more rarely──► has the key
    withheld ──its owner signs it─────────────► tried ──► has the key, or refused

A session may be replaced long before a later try succeeds: then a device gets the key it was due, from the
session's first message. This memory ends with the process, and holds the latest thousand: whoever missed a key
before a restart gets the card anew on joining, and everything said from then on.
"""

import time
from collections import OrderedDict
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mautrix.types import DeviceIdentity

from etb_appservice.matrix.results import Refusal

_REFUSED_LIMIT = 1_000
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 30.0, 3_600.0
UNSIGNED = "unsigned"

Target = tuple[str, str]
"""(user id, device id)"""


Share = tuple[str, str]
"""(room id, session id)"""


Devices = Mapping[Target, DeviceIdentity]


@dataclass(slots=True)
class _Refused:
    device: DeviceIdentity
    key: Mapping[str, Any]
    """The content of the `m.room_key` event it is due."""
    reason: str
    tries: int
    next_try: float
    held: bool = False
    """Its owner came or went: not before the room's next message says that they are in it."""


class Refusals:
    """Who is without which key: at most a thousand, of which the oldest are dropped."""

    def __init__(self) -> None:
        self._items: OrderedDict[tuple[Share, Target], _Refused] = OrderedDict()

    def note(self, target: Target, device: DeviceIdentity, key: Mapping[str, Any], reason: str) -> None:
        """It was tried once more, in vain."""
        where = ((key["room_id"], key["session_id"]), target)
        before = self._items.get(where)
        tries = 1 if before is None else before.tries + 1
        pause = min(_FIRST_PAUSE_S * 2 ** (tries - 1), _LONGEST_PAUSE_S)
        self._items[where] = _Refused(device, key, reason, tries, time.monotonic() + pause)
        self._cut()

    def withhold(self, target: Target, device: DeviceIdentity, key: Mapping[str, Any]) -> None:
        """It is due the key once its owner has signed it, and not tried before."""
        self._items[(key["room_id"], key["session_id"]), target] = _Refused(device, key, UNSIGNED, 0, 0.0)
        self._cut()

    def _cut(self) -> None:
        while len(self._items) > _REFUSED_LIMIT:
            self._items.popitem(last=False)

    def drop(self, share: Share, target: Target) -> None:
        """It has the key, or is due none any more."""
        self._items.pop((share, target), None)

    def hold(self, user_ids: Iterable[str], live: Container[str]) -> None:
        """These came or went somewhere: rooms without a live session may be where."""
        users = frozenset(user_ids)
        for ((room_id, _), (user_id, _)), item in self._items.items():
            if user_id in users and room_id not in live:
                item.held = True

    def settle(self, room_id: str, recipients: Container[str]) -> None:
        """Who is in a room by now: whoever isn't is given none of its keys any more."""
        for share, target in [where for where in self._items if where[0][0] == room_id]:
            if target[0] in recipients:
                self._items[share, target].held = False
            else:
                del self._items[share, target]

    def shares(self) -> tuple[Share, ...]:
        """Sessions whose key somebody lacks, oldest first."""
        return tuple(dict.fromkeys(share for share, _ in self._items))

    def due(self, share: Share, now: float) -> dict[Target, _Refused]:
        """Those of a session whose pause is over."""
        return {
            target: item
            for (of, target), item in self._items.items()
            if of == share and not item.held and item.next_try <= now
        }

    def still_due(self, share: Share, devices: Devices, now: float) -> dict[Target, _Refused]:
        """The same, where the owner has the device still, with the keys it had; the others are dropped."""
        due = self.due(share, now)
        gone = {target for target, item in due.items() if not is_same(devices.get(target), item.device)}
        for target in gone:
            self.drop(share, target)
        return {target: item for target, item in due.items() if target not in gone}

    def told(self) -> tuple[Refusal, ...]:
        """Each device once a room, with the key that was tried the most."""
        worst: dict[tuple[str, Target], _Refused] = {}
        for ((room_id, _), target), item in self._items.items():
            known = worst.get((room_id, target))
            if known is None or known.tries < item.tries:
                worst[room_id, target] = item
        return tuple(
            Refusal(room_id, user_id, device_id, item.reason, item.tries)
            for (room_id, (user_id, device_id)), item in worst.items()
        )


def is_same(now: DeviceIdentity | None, then: DeviceIdentity) -> bool:
    """Whether a device is there still, and with the same keys."""
    return now is not None and now.identity_key == then.identity_key

"""People's devices, looked at again and again in the rooms that are for verified ones only.

What is found is compared with what is kept of each room; where they differ, the room's lane is told, and decides.
So a quiet house costs two reads and no write, and a crash loses nothing that the next look doesn't find.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Never

from etb_appservice.app.loops import Own
from etb_appservice.domain.classification import Classification
from etb_appservice.domain.devices import SeenDevice, UnsignedDevice
from etb_appservice.domain.facts import DevicesSeen
from etb_appservice.domain.ids import RoomId, UserId, WarRoomId
from etb_appservice.domain.policy import Policy
from etb_appservice.matrix.results import Crypto
from etb_appservice.ports import Devices, Room


class CipherDevices:
    """`ports.Devices` of a running service: what the cipher knows, in the domain's words."""

    def __init__(self, cipher: Crypto) -> None:
        self._cipher = cipher

    async def unsigned(self, user_ids: Collection[UserId], *, afresh: bool = False) -> Sequence[SeenDevice]:
        """By owner and device."""
        return [
            SeenDevice(
                user_id=UserId(one.user_id),
                device_id=one.device_id,
                name=one.name,
                is_replaced=one.is_replaced,
            )
            for one in await self._cipher.unsigned_devices(sorted(user_ids), afresh=afresh)
        ]


@dataclass(frozen=True, slots=True)
class DeviceWatch:
    """The loop, and one look of it."""

    devices: Devices
    own: Own
    policy: Policy
    every_s: float

    async def run(self) -> Never:
        """Look, for ever."""
        while True:
            await self.own.clock.sleep(self.every_s)
            await self.look()

    async def look(self) -> None:
        """Tell each room where something has changed."""
        levels = [level for level in Classification if self.policy.rooms.rules[level].signed_devices_only]
        async with self.own.store.view() as view:
            rooms = {room.war_room: room for room in await view.rooms.all_current()}
            joined = await view.rooms.joined(levels) if levels else {}
            known: dict[WarRoomId, list[UnsignedDevice]] = defaultdict(list)
            for war_room, entry in await view.cases.all_open(UnsignedDevice):
                known[war_room].append(entry)
        people = {
            war_room: self._people(room, joined, known.get(war_room, ()))
            for war_room, room in rooms.items()
            if room.room_id in joined or war_room in known
        }
        found = await self._unsigned(
            {user_id for some in people.values() for user_id in some},
            {entry.user_id for some in known.values() for entry in some if entry.removed_ms is not None},
        )
        for war_room, some in people.items():
            room = rooms[war_room]
            is_asked = self.policy.rooms.signed_devices_only(room.kind, room.classification)
            unsigned = [device for user_id in some for device in found.get(user_id, ())] if is_asked else []
            inside = frozenset(joined.get(room.room_id, ())) if room.room_id else frozenset()
            if _differs(known.get(war_room, ()), unsigned, inside):
                await self.own.accept(
                    DevicesSeen(war_room=war_room, people=some, unsigned=tuple(unsigned)),
                    "devices",
                    war_room,
                    str(self.own.clock.now_ms()),
                    lane=room.incident_id or room.room_id or "",
                )

    async def _unsigned(
        self, everybody: Collection[UserId], removed: Collection[UserId]
    ) -> Mapping[UserId, Sequence[SeenDevice]]:
        """By owner. Whoever was removed may share no room with us, so that no news of their devices comes."""
        found: dict[UserId, list[SeenDevice]] = defaultdict(list)
        inside = {user_id for user_id in everybody if user_id not in removed}
        seen = [*(await self.devices.unsigned(inside) if inside else ())]
        seen += await self.devices.unsigned(removed, afresh=True) if removed else ()
        for device in seen:
            found[device.user_id].append(device)
        return found

    def _people(
        self, room: Room, joined: Mapping[RoomId, Sequence[UserId]], known: Collection[UnsignedDevice]
    ) -> tuple[UserId, ...]:
        """Who is in a room, and of whom something is kept there."""
        inside = joined.get(room.room_id, ()) if room.room_id and room.kind != "direct" else ()
        wanted = {*inside, *(one.user_id for one in known)}
        return tuple(sorted(one for one in wanted if not self.policy.is_ours(one)))


def _differs(known: Collection[UnsignedDevice], found: Collection[SeenDevice], inside: Collection[UserId]) -> bool:
    """Whether a room has to be told: something is new, is mended, or its owner came back or left."""
    by_id = {one.id: one for one in known}
    seen = {one.id for one in found}
    for device in found:
        entry = by_id.get(device.id)
        is_new = entry is None or entry.removed_ms is not None or entry.is_replaced != device.is_replaced
        if is_new and device.user_id in inside:
            return True
    return any(
        entry.id not in seen or (entry.removed_ms is None and entry.user_id not in inside) for entry in known
    )

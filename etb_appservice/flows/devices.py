"""People with devices that they haven't verified, in rooms for verified ones only: told, given time, removed.

    DevicesSeen ─► new there ─► an entry, a letter to its owner, DeviceDue at the end of the time
              └──► verified, deleted, or its owner left ─► the entry is closed ─► the card for who lacks it
                                                                              └─► who was removed is invited again
    DeviceDue ─► looked at once more ─► still there ─► Remove, recorded, the operators told
                                   └──► mended ─────► closed

Such a device has no keys from the first moment: that is decided where keys are given, at each message. Here
follows only what people must know and do. Whoever is let in again with an unsigned device, by somebody's wish, has
the time anew. Must never remove anybody on old news: the devices are looked at again right before.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from etb_appservice.domain.devices import SeenDevice, UnsignedDevice, shown
from etb_appservice.domain.effects import Invite
from etb_appservice.domain.facts import CardDue, DeviceDue, DevicesSeen
from etb_appservice.domain.ids import RoomId, UserId
from etb_appservice.domain.policy import Policy
from etb_appservice.domain.text import code, moment, plain
from etb_appservice.flows import permitted
from etb_appservice.flows.letters import write_to
from etb_appservice.flows.removals import remove
from etb_appservice.flows.turn import Turn
from etb_appservice.ports import Devices, Room, Store, Work

_DAY_MS = 86_400_000
_ASK_AGAIN_MS = 60_000
_MEND = (
    "Open your client's settings on that device (in Element: Settings, Sessions) and choose **Verify**, with "
    "another device of yours or with your recovery key. If you no longer use it, or don't know it, sign it out "
    "from another device."
)
_REPLACED = (
    "Your identity was reset: none of your devices counts as verified until an operator has made sure that it was "
    "you. Ask one, by another way than this chat."
)


@dataclass(frozen=True, slots=True)
class DevicesNow:
    """One person's unsigned devices, looked at just now."""

    unsigned: tuple[SeenDevice, ...]


class UnsignedDevices:
    """Decides what follows from a device that isn't signed."""

    def __init__(self, devices: Devices, policy: Policy) -> None:
        """`devices` is asked in `look` only, before the unit of work."""
        self._devices = devices
        self._policy = policy

    async def look(self, store: Store, fact: DeviceDue) -> DevicesNow | None:
        """How it is now; None when the matter is settled."""
        async with store.view() as view:
            entry = await view.cases.get(fact.war_room, UnsignedDevice, fact.device)
        if entry is None or not entry.is_open:
            return None
        return DevicesNow(tuple(await self._devices.unsigned([entry.user_id], afresh=True)))

    async def seen(self, turn: Turn, fact: DevicesSeen) -> None:
        """Bring what is known of a room to what was seen."""
        room = await turn.work.rooms.by_war_room(fact.war_room)
        if room is None or room.room_id is None:
            return
        is_asked = self._policy.rooms.signed_devices_only(room.kind, room.classification)
        found = {one.id: one for one in fact.unsigned} if is_asked else {}
        known = {one.id: one for one in await turn.work.cases.of(room.war_room, UnsignedDevice, only_open=True)}
        inside = set(await turn.work.rooms.members(room.room_id, "join"))
        for entry in known.values():
            if entry.id in found:
                is_settled = entry.removed_ms is None and entry.user_id not in inside
            else:
                is_settled = entry.user_id in fact.people or not is_asked
            if is_settled:
                await self._close(turn, room, entry)
        for device in found.values():
            before = known.get(device.id)
            is_new = before is None or before.removed_ms is not None or before.is_replaced != device.is_replaced
            if is_new and device.user_id in inside:
                await self._begin(turn, room, device, before)
        await self._welcome_back(turn, room, room.room_id, known.values())

    async def due(self, turn: Turn, fact: DeviceDue, now: DevicesNow | None) -> None:
        """The time is over."""
        room = await turn.work.rooms.by_war_room(fact.war_room)
        entry = await turn.work.cases.get(fact.war_room, UnsignedDevice, fact.device)
        if room is None or room.room_id is None or entry is None or entry.since_ms != fact.since_ms:
            return
        if not entry.is_open or entry.removed_ms is not None:
            return
        if now is None:  # it was looked at before the entry was there again
            await turn.follow(fact, ("device due", turn.ref), due_ms=turn.now_ms + _ASK_AGAIN_MS)
            return
        is_asked = self._policy.rooms.signed_devices_only(room.kind, room.classification)
        is_inside = await turn.work.rooms.membership(room.room_id, entry.user_id) == "join"
        if is_asked and is_inside and entry.id in {one.id for one in now.unsigned}:
            await self._remove(turn, room, room.room_id, entry)
        else:
            await self._close(turn, room, entry)

    async def _begin(self, turn: Turn, room: Room, device: SeenDevice, before: UnsignedDevice | None) -> None:
        if before is not None and before.removed_ms is None:
            since_ms, remove_ms = before.since_ms, before.remove_ms  # another doubt gives no more time
        else:
            since_ms, remove_ms = turn.now_ms, self._removal(room, device.user_id, turn.now_ms)
        entry = UnsignedDevice(
            id=device.id,
            user_id=device.user_id,
            device_id=device.device_id,
            name=device.name,
            is_replaced=device.is_replaced,
            since_ms=since_ms,
            remove_ms=remove_ms,
        )
        await turn.work.cases.put(room.war_room, entry)
        await turn.note("device.unsigned", subject=room.war_room, details=_details(entry))
        name = await _name(turn.work, room)
        # Once a day however many rooms it is in: the same letter holds for all of them.
        which = "replaced" if device.is_replaced else "unsigned"
        day = str(turn.now_ms // _DAY_MS)
        await write_to(turn, device.user_id, _letter(entry, name), which, device.device_id, day)
        if device.is_replaced:
            await turn.trouble(
                ("identity", device.user_id, day),
                f"{code(device.user_id)} has another cross-signing identity than before. Ask them, by another way "
                f"than Matrix, whether they reset it; then send {code(f'!trust {device.user_id}')}. Until then "
                "their devices count as unverified.",
            )
        if remove_ms is not None:
            await turn.follow(
                DeviceDue(war_room=room.war_room, device=entry.id, since_ms=entry.since_ms),
                ("device due", room.war_room, entry.id, str(entry.since_ms)),
                due_ms=remove_ms,
            )

    def _removal(self, room: Room, user_id: UserId, now_ms: int) -> int | None:
        """When somebody is removed. Of the other rooms the configuration says who is in them."""
        after_s = self._policy.devices.remove_after_s
        is_meant = room.kind == "incident" and user_id not in self._policy.rooms.additional_creators
        return now_ms + int(after_s * 1000) if is_meant and after_s else None

    async def _close(self, turn: Turn, room: Room, entry: UnsignedDevice) -> None:
        """Whoever had no other device reads the card at last: it is sent anew where they don't hold its key."""
        await turn.work.cases.put(room.war_room, replace(entry, is_open=False))
        await turn.note("device.settled", subject=room.war_room, details=_details(entry))
        if room.incident_id is not None:
            card = CardDue(incident_id=room.incident_id, user_id=entry.user_id)
            await turn.follow(card, ("card", turn.ref, entry.user_id))

    async def _remove(self, turn: Turn, room: Room, room_id: RoomId, due: UnsignedDevice) -> None:
        """Out; what else of theirs isn't verified there has to be mended before they are invited again."""
        user_id = due.user_id
        for entry in await turn.work.cases.of(room.war_room, UnsignedDevice, only_open=True):
            if entry.user_id == user_id:
                await turn.work.cases.put(room.war_room, replace(entry, removed_ms=turn.now_ms))
        reason = "A device of yours is not verified. You are invited again once it is, or is signed out."
        await remove(turn, room_id, user_id, reason, self._policy)
        await turn.note("person.removed", subject=room.war_room, details={**_details(due), "why": "unsigned"})
        await turn.trouble(
            ("unsigned", turn.ref, user_id),
            f"**{await _name(turn.work, room)}**: {code(user_id)} was removed from the room, since their device "
            f"{shown(due)} has not been verified since {moment(due.since_ms)}. They were told, and are invited "
            "again once it is verified or signed out.",
        )

    async def _welcome_back(
        self, turn: Turn, room: Room, room_id: RoomId, before: Iterable[UnsignedDevice]
    ) -> None:
        """Whoever was removed for a device, has mended it, and still may be there."""
        removed = {one.user_id for one in before if one.removed_ms is not None}
        if not removed:
            return
        still = await turn.work.cases.of(room.war_room, UnsignedDevice, only_open=True)
        incident = await turn.work.incidents.get(room.incident_id) if room.incident_id else None
        for user_id in sorted(removed - {one.user_id for one in still}):
            if await turn.work.rooms.membership(room_id, user_id) != "leave":
                continue
            if incident is None or incident.incident.is_over:
                continue
            if not (await permitted.permission(turn.work, room, user_id, self._policy)).allowed:
                continue
            await turn.work.rooms.set_member(room_id, user_id, "invite")
            await turn.emit(f"invite/{user_id}", Invite(room_id=room_id, user_id=user_id))
            details = {"user": user_id, "roles": "verified"}
            await turn.note("person.invited", subject=room.war_room, details=details)


def _letter(entry: UnsignedDevice, room: str) -> str:
    first = f"**Your device {shown(entry)} is not verified.**"
    then = (
        f"In **{room}**, and in every room of such a level, I give it no keys: it can't read what I say there, "
        "and commands from it don't count."
    )
    mend = _REPLACED if entry.is_replaced else _MEND
    if entry.remove_ms is None:
        return f"{first} {then}\n\n{mend}"
    return (
        f"{first} {then}\n\n{mend}\n\nIf it still isn't verified at {moment(entry.remove_ms)}, you are removed "
        "from the room, and invited again as soon as it is."
    )


async def _name(work: Work, room: Room) -> str:
    """What a room is called where everybody may read it: an incident by its number."""
    match room.kind:
        case "incident":
            known = await work.incidents.get(room.incident_id) if room.incident_id else None
            return plain(known.incident.number) if known else "an incident"
        case "control":
            return "the control room"
        case _:
            return "the announcement room"


def _details(entry: UnsignedDevice) -> dict[str, str | int | bool | None]:
    return {"user": entry.user_id, "device": entry.device_id, "replaced": entry.is_replaced}

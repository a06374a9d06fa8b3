"""`etb-appservice recover`: after the crypto store was lost, a new device signed by the same identity."""

from dataclasses import dataclass

from etb_appservice.app.foundation import foundation
from etb_appservice.app.house import DEVICE_SINCE
from etb_appservice.app.run import leadership_lost
from etb_appservice.config import Settings
from etb_appservice.store.leader import leadership


@dataclass(frozen=True, slots=True)
class RecoveryReport:
    """What recovery did. `unreadable`: sessions whose messages wait for a key, by room; it may never come now."""

    device_id: str
    unreadable: tuple[tuple[str, int], ...]


async def recover(settings: Settings, recovery_key: str | None = None) -> RecoveryReport:
    """Make the new device and say what can't be read. Raises NotLeader while the service runs.

    `recovery_key` is needed only when the main database was lost too.
    """
    async with (
        leadership(settings.database.etb_url, leadership_lost, wait=False),
        foundation(settings) as base,
    ):
        # Before the new device: a recovery that is cut off here is finished by the next start.
        await base.keepsakes.put(DEVICE_SINCE, str(base.clock.now_ms()).encode())
        established = await base.door.identity.recover(recovery_key)
        rooms: dict[str, int] = {}
        async with base.store.view() as view:
            for room_id, _session in await view.inbox.waiting():
                rooms[room_id] = rooms.get(room_id, 0) + 1
        return RecoveryReport(established.actor.device_id, tuple(sorted(rooms.items())))

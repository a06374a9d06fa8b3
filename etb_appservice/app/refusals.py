"""`ports.Refusals` of a running service: what the cipher knows of devices without a key, in the domain's words."""

from collections.abc import Sequence

from etb_appservice.domain.ids import RoomId, UserId
from etb_appservice.matrix.results import Crypto
from etb_appservice.ports import RefusedDevice


class CipherRefusals:
    """Asks the cipher, which keeps the list in memory."""

    def __init__(self, cipher: Crypto) -> None:
        self._cipher = cipher

    def of_room(self, room_id: RoomId) -> Sequence[RefusedDevice]:
        """Each device once, by owner."""
        return [one for one in self.everywhere() if one.room_id == room_id]

    def everywhere(self) -> Sequence[RefusedDevice]:
        """Each device once a room, by room and owner."""
        found = [
            RefusedDevice(
                room_id=RoomId(one.room_id),
                user_id=UserId(one.user_id),
                device_id=one.device_id,
                reason=one.reason,
                tries=one.tries,
            )
            for one in self._cipher.refused_devices()
        ]
        return sorted(found, key=lambda one: (one.room_id, one.user_id, one.device_id))

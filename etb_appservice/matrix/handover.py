"""Room keys of the past on their way out: which ones we hold, what of them is given, and to which devices.

It decides nothing: who may have which key from which message on is the caller's word. It must never give a key to
a device that its owner's identity hasn't signed (MSC4268, "Security considerations").
"""

from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from mautrix.crypto import InboundGroupSession
from mautrix.types import RoomID, SessionID
from olm.group_session import OlmGroupSessionError

from etb_appservice.domain.outcomes import Later
from etb_appservice.matrix.olm import MEGOLM, Machine
from etb_appservice.matrix.results import Held, Told
from etb_appservice.matrix.share import Courier, targets_of
from etb_appservice.matrix.trust import Directory

_log = structlog.get_logger(__name__)


class Handover:
    """For one machine. Use only inside `Keeper.run`; the promises are those of results.Crypto."""

    def __init__(self, machine: Machine, directory: Directory, courier: Courier) -> None:
        self._machine = machine
        self._store = machine.crypto_store
        self._directory = directory
        self._courier = courier

    async def held(self, room_id: str, since_ms: int) -> Sequence[Held]:
        """The room keys of a room, and what is known of their use."""
        return await self._store.chronicle.held(room_id, since_ms)

    async def export(self, room_id: str, starts: Mapping[str, int]) -> Sequence[dict[str, Any]]:
        """Sessions as MSC4268 writes them; one that can't be read or doesn't go back so far is left out."""
        found = []
        for session_id, start in starts.items():
            try:
                session = await self._store.get_group_session(RoomID(room_id), SessionID(session_id))
                if session is None or session.id != session_id or session.forwarding_chain:
                    continue
                found.append(_exported(session, start))
            except OlmGroupSessionError as error:
                _log.warning("a room key could not be passed on", room=room_id, reason=str(error))
        return found

    async def tell(self, user_id: str, event_type: str, content: Mapping[str, Any]) -> Told:
        """Send something to a person's signed devices."""
        signed = await self._directory.signed_devices_of(user_id)
        if signed is None:
            raise Later(f"the devices of {user_id} can't be asked for now")
        others = (await self._directory.devices_of((user_id,)))[user_id].keys() - signed.keys()
        actor = self._machine.actor
        targets = targets_of({user_id: signed}, (actor.mxid, actor.device_id))
        failed = await self._courier.deliver(targets, event_type, content) if targets else {}
        return Told(len(targets) - len(failed), len(others) + len(failed))


def _exported(session: InboundGroupSession, start: int) -> dict[str, Any]:
    key = session.export_session(max(start, session.first_known_index))
    return {
        "algorithm": MEGOLM,
        "room_id": session.room_id,
        "sender_key": session.sender_key,
        "sender_claimed_keys": {"ed25519": session.signing_key},
        "session_id": session.id,
        "session_key": key,
    }

"""Others' words on their way in.

session ──> its device belongs to the sender? ──> index never seen elsewhere? ──> inner event
"""

from collections import OrderedDict

from mautrix.crypto import InboundGroupSession
from mautrix.types import EventID, RoomID, SessionID
from olm.group_session import OlmGroupSessionError

from etb_appservice.matrix.olm import BadEvent, Machine
from etb_appservice.matrix.results import Decrypted, KeyMissing, Trust, Undecryptable, Unreadable
from etb_appservice.matrix.sealed import Sealed, open_payload
from etb_appservice.matrix.trust import Directory

_SESSION_CACHE = 2_000


class Incoming:
    """For one actor. Use only inside `Keeper.run`; the promises are those of results.Crypto."""

    def __init__(self, machine: Machine, directory: Directory) -> None:
        self._machine = machine
        self._store = machine.crypto_store
        self._directory = directory
        self._actor = machine.actor
        self._sessions: OrderedDict[tuple[str, str], InboundGroupSession] = OrderedDict()

    def forget(self, session: tuple[str, str]) -> None:
        """A (room, session) has another key by now than the one in memory."""
        self._sessions.pop(session, None)

    async def has_session(self, room_id: str, session_id: str) -> bool:
        """Whether its key is here."""
        return await self._store.has_group_session(RoomID(room_id), SessionID(session_id))

    async def decrypt(self, sealed: Sealed) -> Decrypted | KeyMissing | Undecryptable:
        """What it says, if it is its sender's."""
        session = await self._session(sealed.room_id, sealed.session_id)
        if session is None:
            code = await self._store.withheld_code(sealed.session_id, sealed.sender)
            return Undecryptable(Unreadable.WITHHELD, code) if code else KeyMissing(sealed.session_id)
        try:
            plaintext, index = session.decrypt(sealed.ciphertext)
        except OlmGroupSessionError as error:
            if str(error) == "UNKNOWN_MESSAGE_INDEX":
                return Undecryptable(Unreadable.WITHHELD, "sent before the point from which we have the key")
            return Undecryptable(Unreadable.MALFORMED, "the ciphertext does not fit its session")
        device_id, trust = await self._sender(sealed.sender, session)
        if trust is None:
            return Undecryptable(Unreadable.WRONG_SENDER)
        if trust is not Trust.UNKNOWN and not await self._store.validate_message_index(
            session.sender_key,
            SessionID(sealed.session_id),
            EventID(sealed.event_id),
            index,
            sealed.timestamp,
        ):
            return Undecryptable(Unreadable.DUPLICATE_INDEX)
        try:
            event_type, content = open_payload(plaintext, sealed)
        except BadEvent as reason:
            return Undecryptable(Unreadable.MALFORMED, str(reason))
        return Decrypted(event_type, content, device_id, trust)

    async def _session(self, room_id: str, session_id: str) -> InboundGroupSession | None:
        key = (room_id, session_id)
        session = self._sessions.get(key)
        if session is None:
            session = await self._store.get_group_session(RoomID(room_id), SessionID(session_id))
            if session is None:
                return None
            self._sessions[key] = session
            if len(self._sessions) > _SESSION_CACHE:
                self._sessions.popitem(last=False)
        else:
            self._sessions.move_to_end(key)
        return session

    async def _sender(self, sender: str, session: InboundGroupSession) -> tuple[str | None, Trust | None]:
        account = self._machine.account
        if account is not None and session.sender_key == account.identity_key:
            own = sender == self._actor.mxid and session.signing_key == account.signing_key
            return (self._actor.device_id, Trust.CROSS_SIGNED) if own else (None, None)
        if session.forwarding_chain:
            return None, None
        owner = await self._directory.owner(sender, session.sender_key, session.signing_key)
        return (owner.device.device_id if owner.device else None), owner.trust

"""Carries out effects in Matrix as the bot. Safe to repeat: by transaction id, else by reading the room back.

    Invite ──> invited ──> the keys of what was said before, if any are due; best effort

    Say, SendFile, React, Redact ──> speech.py, in somebody's voice

Must never say anything after an invite or a kick under the key from before it.
"""

import structlog

from etb_appservice.domain.effects import (
    AcceptIdentity,
    DeleteMedia,
    FollowUpgrade,
    Invite,
    LeaveRoom,
    LetMembersPin,
    MatrixEffect,
    MendPins,
    OpenRoom,
    Pin,
    PurgeHistory,
    PutState,
    React,
    Redact,
    Remove,
    RestoreState,
    Say,
    SendFile,
    SetVoice,
)
from etb_appservice.domain.facts import Done
from etb_appservice.domain.ids import RoomId, UserId, Username
from etb_appservice.domain.outcomes import Broken, Failure, Later, Refused, Unsure
from etb_appservice.domain.rooms import INSIDE, pinnable, voiced
from etb_appservice.flows.admin import carry_out
from etb_appservice.matrix.audience import AudienceOf, Recipients
from etb_appservice.matrix.files import Attachments
from etb_appservice.matrix.ghosts import GhostActors, Voice
from etb_appservice.matrix.history import History
from etb_appservice.matrix.messages import Render
from etb_appservice.matrix.restore import restored
from etb_appservice.matrix.results import Crypto, Refusal, Rotation
from etb_appservice.matrix.rooms import RoomMaker
from etb_appservice.matrix.server import Homeserver, status_of
from etb_appservice.matrix.speech import Speech
from etb_appservice.matrix.upgrades import UpgradeFollower
from etb_appservice.ports import HomeserverAdmin, Try

_log = structlog.get_logger(__name__)

_PINS = "m.room.pinned_events"
_POWER = "m.room.power_levels"
_INVITE_TRIES = 3
_UNREACHABLE = frozenset({500, 502, 504})
_GONE = frozenset({"leave", "ban"})


class Hands:
    """`MatrixHands` on a real homeserver."""

    def __init__(
        self,
        server: Homeserver,
        crypto: Crypto,
        rooms: RoomMaker,
        audience_of: AudienceOf,
        render: Render,
        rotation: Rotation,
        attachments: Attachments,
        history: History,
        admin: HomeserverAdmin | None = None,
        ghosts: GhostActors | None = None,
    ) -> None:
        self._server = server
        self._crypto = crypto
        self._rooms = rooms
        self._upgrades = UpgradeFollower(server, rooms.server_name)
        self._recipients = Recipients(audience_of)
        self._ghosts = ghosts
        self._speech = Speech(
            Voice(server, crypto), self._recipients, ghosts, render, rotation=rotation, attachments=attachments
        )
        self._history = history
        self._admin = admin

    @property
    def device_id(self) -> str:
        """The bot's device."""
        return self._server.device_id

    async def do(self, effect: MatrixEffect, attempt: Try) -> Done:
        """Carry out one effect; all four outcomes."""
        match effect:
            case OpenRoom(spec=spec):
                return await self._rooms.open(spec, was_tried=_was_tried(attempt))
            case Say() | SendFile() | React() | Redact():
                return await self._speech.say(effect, attempt)
            case Pin() | MendPins():
                return await self._pin(effect)
            case PutState(room_id=room_id, event_type=event_type, state_key=state_key, content=content):
                return Done(event_id=await self._server.put_state(room_id, event_type, state_key, content))
            case RestoreState():
                return await restored(self._server, effect)
            case SetVoice():
                return await self._set_voice(effect)
            case LetMembersPin(room_id=room_id):
                return await self._let_pin(room_id)
            case FollowUpgrade():
                return await self._upgrades.follow(effect, attempt)
            case Invite():
                return await self._invite(effect, attempt)
            case Remove():
                return await self._remove(effect)
            case LeaveRoom(room_id=room_id, speaker=speaker):
                return await self._leave(room_id, speaker)
            case AcceptIdentity(user_id=user_id):
                await self._crypto.accept_identity(user_id)
                return Done(detail="accepted")
            case PurgeHistory() | DeleteMedia():
                return await carry_out(self._admin, effect)

    async def membership_changed(self, room_id: RoomId, user_id: UserId) -> None:
        """Somebody came or went: the next message gets a new key, and their devices are asked for again.

        A ghost reads nothing and is given no key, so no key has to be another one for its sake.
        """
        if self._ghosts is not None and self._ghosts.is_ghost(user_id):
            return
        await self._recipients.heard_of(room_id, user_id)
        await self._forget(room_id, user_id)

    async def retry_refused(self) -> tuple[Refusal, ...]:
        """Devices that lack a key are tried again; those of people who may not have it now are due it no more."""
        for room_id in {RoomId(one.room_id) for one in self._crypto.refused_devices()}:
            found = await self._recipients.of(room_id)
            await self._crypto.settle_refused(room_id, found[1] if found else ())
        return await self._crypto.retry_refused()

    # --- state --------------------------------------------------------------------------------------------

    async def _pin(self, pin: Pin | MendPins) -> Done:
        """What comes in between reading and writing is lost by it; whoever reads the room's state tells us so."""
        content = await self._server.state_content(pin.room_id, _PINS) or {}
        listed = content.get("pinned")
        pinned = [event for event in listed if isinstance(event, str)] if isinstance(listed, list) else []
        match pin:
            case MendPins():
                others = [one for one in pinned if one not in pin.pinned and one not in pin.gone]
                wanted: list[str] = [*pin.pinned, *others]
            case Pin(is_pinned=True):
                wanted = merged_pins(pinned, pin.event_id, pin.instead_of)
            case Pin():
                wanted = [one for one in pinned if one != pin.event_id]
        if wanted == pinned:
            return Done(detail="so already")
        return Done(event_id=await self._server.put_state(pin.room_id, _PINS, "", {"pinned": wanted}))

    async def _set_voice(self, voice: SetVoice) -> Done:
        """From what stands in the room: its version, and who was given power there, are its own."""
        present = await self._server.state_content(voice.room_id, _POWER)
        if not present:
            # Written from nothing they would take the bot's own power, in the versions where that stands in them.
            raise Broken(f"{voice.room_id} has no power levels: it is no room of ours, or was never finished")
        wanted = voiced(present, is_read_only=voice.is_read_only, is_held=voice.is_held)
        if wanted == present:
            return Done(detail="so already")
        return Done(event_id=await self._server.put_state(voice.room_id, _POWER, "", wanted))

    async def _let_pin(self, room_id: RoomId) -> Done:
        present = await self._server.state_content(room_id, _POWER) or {}
        wanted = pinnable(present)
        if wanted == present:
            return Done(detail="so already")
        return Done(event_id=await self._server.put_state(room_id, _POWER, "", wanted))

    # --- people -------------------------------------------------------------------------------------------

    async def _invite(self, invite: Invite, attempt: Try) -> Done:
        room_id, user_id = invite.room_id, invite.user_id
        content = {"user_id": user_id} | ({"reason": invite.reason} if invite.reason else {})
        try:
            if invite.is_direct:
                # The invite endpoint can't say so; clients sort the room by what the membership event says.
                member = {"membership": "invite", "is_direct": True}
                await self._server.put_state(room_id, "m.room.member", user_id, member)
            else:
                await self._server.act(room_id, "invite", content)
        except (Refused, Unsure) as failure:
            await self._forget(room_id, user_id)
            membership = await self._server.membership(room_id, user_id)
            if membership in INSIDE:
                # Ours, if it was tried before: the first try may have ended between the invitation and the keys.
                found = await self._give_history(invite) if _was_tried(attempt) else {}
                return Done(detail=f"was there: {membership}", found=found)
            raise _invite_failure(invite, membership, failure, attempt) from failure
        self._recipients.was_invited(room_id, user_id)
        await self._forget(room_id, user_id)
        return Done(detail="invited", found=await self._give_history(invite))

    async def _give_history(self, invite: Invite) -> dict[str, str]:
        """After the invitation: whoever can't be invited is given nothing."""
        if invite.history_up_to is None:
            return {}
        given = await self._history.give(invite.room_id, invite.user_id, invite.history_up_to)
        return {"history": str(given.keys), "devices": str(given.devices)} if given else {}

    async def _remove(self, remove: Remove) -> Done:
        room_id, user_id = remove.room_id, remove.user_id
        # Before the call: were it cut off, the next message must not reach whoever may be out already.
        self._recipients.was_removed(room_id, user_id)
        await self._forget(room_id, user_id)
        try:
            await self._server.act(room_id, "kick", {"user_id": user_id, "reason": remove.reason})
        except Refused as refusal:
            if await self._server.membership(room_id, user_id) in _GONE:
                return Done(detail="was gone")
            raise Refused(f"{user_id} can't be removed from {room_id}: {refusal}", code=refusal.code) from refusal
        return Done(detail="removed")

    async def _leave(self, room_id: RoomId, speaker: Username) -> Done:
        server = self._server
        if speaker:
            found = await self._ghosts.without_device(speaker) if self._ghosts else None
            if found is None:
                return Done(detail="was out")
            server = found
        try:
            await server.act(room_id, "leave")
        except Refused as refusal:
            # 403 not a member, 404 unknown room: we are out, which is what was asked for.
            if status_of(refusal) in {403, 404}:
                return Done(detail="was out")
            raise
        return Done(detail="left")

    async def _forget(self, room_id: RoomId, user_id: UserId) -> None:
        await self._crypto.forget_sessions(room_id)
        await self._crypto.members_changed([user_id])


def merged_pins(pinned: list[str], event_id: str, instead_of: str | None) -> list[str]:
    """The pins with `event_id` among them, in the place of `instead_of` if that one was pinned.

    >>> merged_pins(["$a", "$b"], "$c", "$a"), merged_pins(["$a"], "$c", None)
    (['$c', '$b'], ['$a', '$c'])
    """
    if event_id in pinned:
        return [pin for pin in pinned if pin == event_id or pin != instead_of]
    if instead_of in pinned:
        return [event_id if pin == instead_of else pin for pin in pinned]
    return [*pinned, event_id]


def _was_tried(attempt: Try) -> bool:
    return attempt.attempts > 0 or attempt.first_tried_ms is not None


def _invite_failure(invite: Invite, membership: str, failure: Failure, attempt: Try) -> Failure:
    """What a failed invite means once it is known that the person isn't in the room."""
    who, status = invite.user_id, status_of(failure)
    if membership == "ban":
        return Refused(f"{who} is banned from {invite.room_id}: lift the ban, then invite again.", code="banned")
    if isinstance(failure, Refused):
        return Refused(f"{who} can't be invited to {invite.room_id}: {failure}", code=failure.code)
    if status not in _UNREACHABLE:
        return failure
    if attempt.attempts + 1 < _INVITE_TRIES:
        return Later(f"{who}'s homeserver can't be reached")
    return Refused(
        f"{who} was not invited to {invite.room_id}: their homeserver can't be reached. Check the spelling of the "
        "id, and whether this homeserver federates with theirs.",
        code="unreachable",
    )

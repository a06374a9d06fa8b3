"""Says things in rooms, in the bot's voice or a ghost's. Safe to repeat: by transaction id, else by reading back.

    SendFile ──> upload, remembered
      │
    Say ──> a ghost? ──> may it speak here? ──no──> Refused
      │                    └──> joined? ──no──> invited by the bot, joined
      └──> tried before, long ago or from another device? ──yes──> read the room back ──found──> Done
             │ no                                                    │ not there
             └──> encrypt for our own list of people ──> send under hash(key, actor, device) ──> Done

Must never send a message in clear text, never encrypt for a list of people that a homeserver made, and never let
one actor's device encrypt what another one sends.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from etb_appservice.domain.effects import React, Redact, Say, SendFile, Spoken
from etb_appservice.domain.facts import Done
from etb_appservice.domain.ids import EventId, RoomId, UserId
from etb_appservice.domain.outcomes import Broken, Refused, Unsure
from etb_appservice.matrix.audience import Audience, Recipients
from etb_appservice.matrix.files import Attachments, described
from etb_appservice.matrix.ghosts import GhostActors, Voice
from etb_appservice.matrix.messages import (
    EFFECT_FIELD,
    RELATION,
    Json,
    Render,
    content_of,
    content_of_file,
    transaction_id,
)
from etb_appservice.matrix.results import Decrypted, KeyMissing, Rotation
from etb_appservice.matrix.server import status_of
from etb_appservice.ports import Try

RESEND_LIMIT_MS = 20 * 3600 * 1000
"""Synapse forgets transaction ids after about 24 hours (synapse/rest/client/transactions.py)."""
_CLOCK_SLACK_MS = 10 * 60 * 1000
"""How far the homeserver's clock may be behind ours."""
_PAGES = 200
_PAGE = 100
_FORBIDDEN = 403


class Speech:
    """Messages, files, reactions and redactions. `bot` is the bot's voice; without `ghosts` there is no other."""

    def __init__(
        self,
        bot: Voice,
        recipients: Recipients,
        ghosts: GhostActors | None,
        render: Render,
        *,
        rotation: Rotation,
        attachments: Attachments,
    ) -> None:
        self._bot = bot
        self._recipients = recipients
        self._ghosts = ghosts
        self._render = render
        self._rotation = rotation
        self._attachments = attachments

    async def say(self, effect: Spoken, attempt: Try) -> Done:
        """Carry out one effect; all four outcomes."""
        voice = await self._voice(effect)
        match effect:
            case Say():
                content = content_of(effect, attempt.key, self._render)
                return await self._send(voice, effect.room_id, attempt, content, signed_only=effect.signed_only)
            case SendFile():
                file = await self._attachments.encrypted_file(effect)
                content = content_of_file(effect, file, attempt.key, await self._attachments.info(effect))
                done = await self._send(voice, effect.room_id, attempt, content)
                return replace(done, found=described(file))
            case React():
                return await self._react(voice, effect, attempt)
            case Redact():
                # Repeating is harmless, under whatever transaction id: what is gone stays gone.
                txn_id = transaction_id(attempt.key, voice.server.user_id, voice.server.device_id)
                target = (effect.room_id, effect.event_id)
                return Done(event_id=await voice.server.redact(*target, txn_id, effect.reason))

    async def _voice(self, effect: Spoken) -> Voice:
        if not effect.speaker:
            return self._bot
        if self._ghosts is None:
            raise Broken("nobody but the bot speaks here")
        return await self._ghosts.voice(effect.speaker)

    # --- being there --------------------------------------------------------------------------------------

    async def _audience(self, voice: Voice, room_id: RoomId) -> tuple[Audience, tuple[UserId, ...]]:
        """Who is told what this voice says; a ghost is in the room by then. Refused where it may not be."""
        ghost = None if voice is self._bot else voice.server.user_id
        found = await self._recipients.of(room_id, ghost)
        if found is None:
            raise Broken(f"{room_id} is not a room of ours: nothing is said there")
        audience, people = found
        if not audience.encrypted:
            raise Broken(f"{room_id} is not encrypted: nothing is said there")
        if ghost is not None:
            membership = audience.speakers.get(ghost)
            if membership is None:
                raise Refused("who wants to say this may not be in the room", code="not permitted")
            if membership != "join":
                await self._enter(voice, room_id)
        return audience, people

    async def _enter(self, voice: Voice, room_id: RoomId) -> None:
        """A ghost comes in as everybody does: the bot invites it, and it joins. Repeating is safe."""
        user_id = voice.server.user_id
        match await self._bot.server.membership(room_id, user_id):
            case "join":
                return
            case "ban":
                raise Refused(f"{user_id} is banned from {room_id}: lift the ban first", code="banned")
            case "invite":
                pass
            case _:
                try:
                    await self._bot.server.act(room_id, "invite", {"user_id": user_id})
                except Refused:
                    if await self._bot.server.membership(room_id, user_id) not in {"invite", "join"}:
                        raise
        await voice.server.act(room_id, "join")

    # --- sending ------------------------------------------------------------------------------------------

    async def _send(
        self, voice: Voice, room_id: RoomId, attempt: Try, content: Json, *, signed_only: bool = False
    ) -> Done:
        audience, people = await self._audience(voice, room_id)
        if self._must_look(voice, attempt):
            known = await self._find(voice, room_id, attempt)
            if known is not None:
                return Done(event_id=known, detail="found")
        encrypted = await voice.crypto.encrypt(
            room_id,
            "m.room.message",
            content,
            people,
            rotation=self._rotation,
            shared_history=audience.shared_history,
            signed_only=signed_only or audience.signed_only,
            level=audience.level,
        )
        envelope = dict(encrypted.content)
        if RELATION in content:
            envelope[RELATION] = content[RELATION]
        return Done(
            event_id=await self._put(voice, room_id, "m.room.encrypted", attempt, envelope),
            unread_by=tuple(UserId(user_id) for user_id in encrypted.without_devices),
        )

    async def _react(self, voice: Voice, react: React, attempt: Try) -> Done:
        await self._audience(voice, react.room_id)
        relation = {"rel_type": "m.annotation", "event_id": react.event_id, "key": react.emoji}
        try:
            sent = await self._put(voice, react.room_id, "m.reaction", attempt, {RELATION: relation})
        except Refused as refusal:
            if refusal.code == "M_DUPLICATE_ANNOTATION":
                return Done(detail="was there")
            raise
        return Done(event_id=sent)

    async def _put(self, voice: Voice, room_id: RoomId, event_type: str, attempt: Try, content: Json) -> EventId:
        txn_id = transaction_id(attempt.key, voice.server.user_id, voice.server.device_id)
        try:
            return await voice.server.send(room_id, event_type, txn_id, content)
        except Refused as refusal:
            if voice is self._bot or status_of(refusal) != _FORBIDDEN:
                raise
            # Our tables may not know yet that the ghost is out; that it may be in they have said just now.
            await self._enter(voice, room_id)
        return await voice.server.send(room_id, event_type, txn_id, content)

    # --- having said --------------------------------------------------------------------------------------

    def _must_look(self, voice: Voice, attempt: Try) -> bool:
        """Whether the transaction id alone can't keep this message from being sent twice."""
        if attempt.first_tried_ms is None:
            return False
        if attempt.now_ms - attempt.first_tried_ms >= RESEND_LIMIT_MS:
            return True
        if voice is self._bot:
            return attempt.device_id != voice.server.device_id
        return attempt.first_tried_ms < voice.since_ms

    async def _find(self, voice: Voice, room_id: RoomId, attempt: Try) -> EventId | None:
        """The event that an earlier try made; None when surely none did.

        Raises Unsure when something of ours from that time can't be read any more: it might be the one.
        """
        sender = voice.server.user_id
        since = (attempt.first_tried_ms or 0) - _CLOCK_SLACK_MS
        only = json.dumps({"senders": [sender], "types": ["m.room.encrypted"]})
        start, unreadable = "", 0
        for _ in range(_PAGES):
            events, start = await self._bot.server.messages(room_id, start=start, limit=_PAGE, only=only)
            for event in events:
                if event.get("sender") != sender or event.get("type") != "m.room.encrypted":
                    continue
                sent_ms = event.get("origin_server_ts")
                if not isinstance(sent_ms, int) or sent_ms < since:
                    start = ""
                    break
                key = await self._effect_key(event)
                if key == attempt.key and isinstance(event.get("event_id"), str):
                    return EventId(event["event_id"])
                unreadable += key is None
            if not start:
                break
        else:
            raise Unsure(f"looked through {_PAGES * _PAGE} events of {room_id} for an earlier try, in vain")
        if unreadable:
            raise Unsure(
                f"{unreadable} messages of {sender} in {room_id} since the first try can't be read: "
                "one of them may be this one. Look into the room, then retry or drop it."
            )
        return None

    async def _effect_key(self, event: Mapping[str, Any]) -> str | None:
        """The effect's key in a message of ours, "" when it has none; None when it can't be read."""
        content = event.get("content")
        if not isinstance(content, Mapping) or "ciphertext" not in content:
            return None  # redacted: it may have been the one, and then nobody wants it said again
        match await self._bot.crypto.decrypt(event):
            case Decrypted(content=inner):
                key = inner.get(EFFECT_FIELD)
                return key if isinstance(key, str) else ""
            case KeyMissing():
                return None
            case _:
                return ""

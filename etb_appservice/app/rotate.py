"""`etb-appservice rotate`: another value for a secret, while the service runs, with an overlap for the former one.

    drafts of every file, durable ──> one commit: the new value, the former ones, the audit entry, a word for the
    control room ──> the drafts take their places

Cut off before the commit, nothing has changed. Cut off after it, the new value counts, the former ones do too, and
the same command finishes: it sees that the settings hold a former value and writes the one that is recorded.
"""

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from etb_appservice.app.foundation import foundation
from etb_appservice.app.secrets import given_in
from etb_appservice.config import Settings
from etb_appservice.config.fresh import REGISTRATION, new_key, new_token, new_webhook_secret
from etb_appservice.config.places import (
    CHOSEN,
    WEBHOOK,
    Draft,
    NotHere,
    Place,
    draft_of,
    draft_of_registration,
    place_of,
)
from etb_appservice.config.source import Path as KeyPath
from etb_appservice.domain.rooms import CONTROL_ROOM
from etb_appservice.domain.rotation import Rotated, Secret, is_unfinished, rotated
from etb_appservice.domain.text import moment
from etb_appservice.flows.turn import SERVICE_LANE, Turn
from etb_appservice.ops.clock import SystemClock
from etb_appservice.ports import Work
from etb_appservice.store.codec import FactJson
from etb_appservice.store.sql import open_store

_KEYS: Mapping[Secret, KeyPath] = {
    "hs_token": ("appservice", "hs_token"),
    "as_token": ("appservice", "as_token"),
    "webhook_secret": WEBHOOK,
}
_NEXT: Mapping[Secret, str] = {
    "hs_token": "Restart the homeserver with that registration before then: it speaks with the former one until "
    "it is restarted.",
    "as_token": "Restart the homeserver with that registration: the service speaks with the former one until the "
    "homeserver knows the new one, and with the new one from then on.",
    "webhook_secret": "Give the new one to whoever sends the webhooks before then.",
}
_KEY_TOLD = "A backup from before needs the former one to be read: keep it as long as such a backup."
_KEY_NEXT = (
    "Keep a copy of the new one in a safe place, and the former one as long as there is a backup from before, "
    "which opens with that one only."
)
_RECOVERY_TOLD = "Whoever keeps it should keep the new one, which the command has shown."


@dataclass(frozen=True, slots=True)
class Wanted:
    """How a secret is to be rotated."""

    config: Path
    environ: Mapping[str, str]
    overlap_ms: int
    registration: Path | None = None
    """Where the homeserver's registration is; beside the settings when it isn't said."""
    to: Path | None = None
    """A file for the new value, instead of where the secret stands now."""


async def rotate_encryption_key(settings: Settings, wanted: Wanted) -> list[str]:
    """Replace CHAT_ENCRYPTION_KEY: whatever it wraps is wrapped anew in one commit, and nothing else changes.

    Raises NotHere, StoreError and OSError.
    """
    place = (
        Place(wanted.to, most=CHOSEN)
        if wanted.to
        else place_of(wanted.config, wanted.environ, ("encryption", "key"))
    )
    clock = SystemClock()
    url, given = settings.database.etb_url, settings.encryption.key_bytes
    async with open_store(url, given, clock, is_late=True) as store:
        is_resumed = store.vault.is_behind
        value = base64.b64encode(store.vault.roots[0].raw).decode() if is_resumed else new_key()
        written = _drafts(settings, place, value)
        try:
            now = clock.now_ms()
            until = now + wanted.overlap_ms
            if not is_resumed:
                async with store.work() as work:
                    await store.replace_root(work, base64.b64decode(value), until_ms=until)
                    await _record(work, "encryption_key", now, until, _KEY_TOLD)
            for one in written:
                one.put()
            if not wanted.to:
                await store.root_placed()
        finally:
            for one in written:
                one.drop()
        until = (await store.follow_root()).until_ms
    return _report("encryption_key", place, None, until, _KEY_NEXT, is_resumed=is_resumed)


async def rotate_recovery_key(settings: Settings, overlap_ms: int, show: Callable[[str], None]) -> list[str]:
    """Another recovery key of the bot for the same identity, shown once. Works beside a service.

    Raises StoreError and the four outcomes.
    """
    async with foundation(settings) as base:
        identity, now = base.door.identity, base.clock.now_ms()
        is_resumed = await identity.publish_recovery_keys()
        if not is_resumed:
            async with base.store.work() as work:
                await _record(work, "recovery_key", now, now + overlap_ms, _RECOVERY_TOLD)
            await identity.rotate_recovery_key(until_ms=now + overlap_ms)
        await identity.end_former_recovery_keys(base.clock.now_ms())
        if (key := await identity.recovery_key()) is not None:
            show(key)
            await identity.recovery_key_shown()
        until = max(await identity.former_recovery_keys(), default=now)
    done = "an earlier rotation was cut off and is finished now" if is_resumed else "rotated"
    return [f"recovery_key: {done}. The former one opens until {moment(until)}."]


async def rotate(settings: Settings, name: Secret, wanted: Wanted) -> list[str]:
    """Replace one of the three; answers what to tell the operator. Raises NotHere, StoreError and OSError."""
    place = Place(wanted.to, most=CHOSEN) if wanted.to else place_of(wanted.config, wanted.environ, _KEYS[name])
    registration = None if name == "webhook_secret" else _registration(wanted)
    given = given_in(settings)[name]
    if not given:
        raise NotHere("webhooks are off and have no secret: there is nothing to rotate")
    clock = SystemClock()
    async with open_store(settings.database.etb_url, settings.encryption.key_bytes, clock) as store:
        async with store.view() as view:
            before = await view.cases.get(CONTROL_ROOM, Rotated, name)
        now = clock.now_ms()
        resumes = before if is_unfinished(given, before) else None
        if resumes is None:
            value = new_webhook_secret() if name == "webhook_secret" else new_token()
            after = rotated(name, given, before, value, now_ms=now, until_ms=now + wanted.overlap_ms)
        else:
            after = resumes
        drafts = _drafts(settings, place, after.current, registration, name)
        try:
            if resumes is None:
                async with store.work() as work:
                    await work.cases.put(CONTROL_ROOM, after)
                    await _record(work, name, now, now + wanted.overlap_ms, _NEXT[name])
            for one in drafts:
                one.put()
        finally:
            for one in drafts:
                one.drop()
    until = max((one.until_ms for one in after.former if one.value), default=after.since_ms)
    return _report(name, place, registration, until, _NEXT[name], is_resumed=resumes is not None)


async def _record(work: Work, name: str, now_ms: int, until_ms: int, then: str) -> None:
    """In the commit that replaces it: the audit entry, and a word for the control room."""
    turn = Turn(work=work, ref=f"{name}/{now_ms}", lane=SERVICE_LANE, codec=FactJson())
    await turn.note("secret.rotated", subject=name, details={"accepted_until_ms": until_ms})
    text = f"**{name}** was rotated. The former one is accepted until {moment(until_ms)}. {then}"
    await turn.trouble(("rotated", name, str(now_ms)), text)


def _registration(wanted: Wanted) -> Path:
    path = wanted.registration or wanted.config.parent / REGISTRATION
    if wanted.registration is None and not path.exists():
        raise NotHere(
            f"there is no {path}: name the registration that the homeserver loads with --registration FILE; one "
            "that doesn't exist yet is written"
        )
    return path


def _drafts(
    settings: Settings, place: Place, value: str, registration: Path | None = None, name: str = ""
) -> list[Draft]:
    """All files that change, the registration first: with it written, the settings alone can be behind."""
    drafts: list[Draft] = []
    try:
        if registration is not None:
            drafts.append(draft_of_registration(registration, settings, {name: value}))
        drafts.append(draft_of(place, value))
    except BaseException as error:
        for one in drafts:
            one.drop()
        if isinstance(error, OSError):
            raise NotHere(
                f"{error.filename or place.file} can't be written: {error.strerror}. Run this as the service's "
                "user, or give --to FILE for the new value and put it in its place yourself"
            ) from None
        raise
    return drafts


def _report(
    name: str, place: Place, registration: Path | None, until_ms: int, then: str, *, is_resumed: bool
) -> list[str]:
    done = "an earlier rotation was cut off and is finished now" if is_resumed else "rotated"
    return [
        f"{name}: {done}.",
        f"The new value stands in {place.said()}{f' and in {registration}' if registration else ''}.",
        f"A running service takes it within seconds; the former one counts until {moment(until_ms)}.",
        then,
    ]

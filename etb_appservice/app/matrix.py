"""The homeserver's side, wired: who speaks, what is read, and where what was taken stands."""

from collections.abc import Awaitable, Callable, Sequence

from etb_appservice.app import loops
from etb_appservice.app.foundation import Foundation
from etb_appservice.app.promoted import promoted
from etb_appservice.app.vitals import HouseVitals
from etb_appservice.domain.facts import Troubled
from etb_appservice.domain.ids import EventId, RoomId, Username
from etb_appservice.domain.text import plain
from etb_appservice.gateway.relay import Sign
from etb_appservice.matrix.arrivals import Intake
from etb_appservice.matrix.audience import audience_from
from etb_appservice.matrix.cipher import Cipher
from etb_appservice.matrix.codec import Decoder, encrypted_rooms
from etb_appservice.matrix.files import Attachments
from etb_appservice.matrix.gaps import GapFinder
from etb_appservice.matrix.ghosts import GhostActors, GhostRules, names_from
from etb_appservice.matrix.hands import Hands
from etb_appservice.matrix.history import History
from etb_appservice.matrix.identity import Established
from etb_appservice.matrix.keysync import KeySync, RoomWatch, SeenEvent
from etb_appservice.matrix.results import Rotation, SyncResult
from etb_appservice.matrix.rooms import RoomMaker
from etb_appservice.matrix.selftest import SelfTest
from etb_appservice.matrix.server import Homeserver
from etb_appservice.matrix.vouching import Vouching
from etb_appservice.ops.metrics import Metrics
from etb_appservice.ports import Signals, Vital
from etb_appservice.render.face import face
from etb_appservice.render.render import render

_KEYS_AT = "matrix.position.keys"
_ROOMS_AT = "matrix.position.rooms"

KeysArrived = Callable[[Sequence[tuple[RoomId, str]]], Awaitable[None]]
"""Told of (room, session) whose key has come, or never will."""


class LateSignals:
    """`ports.Signals`: the ghosts' own, once the bot is there; before that nobody sees anything."""

    def __init__(self) -> None:
        self.ghosts: Signals | None = None

    async def typing(self, room_id: RoomId, username: Username, *, is_typing: bool) -> None:
        """As ghosts do it."""
        if self.ghosts is not None:
            await self.ghosts.typing(room_id, username, is_typing=is_typing)

    async def read_up_to(self, room_id: RoomId, username: Username, event_id: EventId) -> None:
        """As ghosts do it."""
        if self.ghosts is not None:
            await self.ghosts.read_up_to(room_id, username, event_id)


async def shown(signals: Signals, sign: Sign) -> None:
    """What a web user does at another process, as their ghost shows it."""
    if sign.event_id is not None:
        await signals.read_up_to(sign.room_id, sign.username, sign.event_id)
    else:
        await signals.typing(sign.room_id, sign.username, is_typing=sign.is_typing)


def ghosts_of(base: Foundation, cipher: Cipher) -> GhostActors:
    """On the bot's encryption, which theirs follows."""
    settings = base.settings.ghosts
    return GhostActors(
        lambda user_id: base.door.ghost(user_id, cipher),
        cipher,
        base.keepsakes,
        ids=base.policy.ghosts,
        name_of=names_from(base.store, base.policy.people),
        clock=base.clock,
        rules=GhostRules(
            idle_ms=settings.idle_days * 86_400_000,
            drain_every_s=settings.drain_every_s,
            most_devices=settings.most_devices,
        ),
        face_of=face if settings.avatars else None,
    )


def hands_of(base: Foundation, server: Homeserver, cipher: Cipher, ghosts: GhostActors, metrics: Metrics) -> Hands:
    """What carries effects out."""
    rooms = base.policy.rooms
    return Hands(
        server,
        cipher,
        RoomMaker(server, base.settings.homeserver.domain, base.clock),
        audience_from(base.store, base.policy),
        render,
        Rotation(rooms.rotation_period_msgs, rooms.rotation_period_ms),
        Attachments(base.store, server),
        History(base.store, server, cipher, policy=base.policy, count=metrics.history),
        base.admin,
        ghosts,
    )


def reader_of(base: Foundation, server: Homeserver, cipher: Cipher, missed: Callable[[], None]) -> Vouching:
    """What makes facts of events; `missed`: a key isn't here yet."""
    decoder = Decoder(
        cipher, encrypted_rooms(base.store), base.policy.is_ours, missed=missed, ghosts=base.policy.ghosts
    )
    return Vouching(decoder, base.store, server, base.settings.bot_id)


async def key_sync_of(
    base: Foundation, established: Established, vitals: HouseVitals, metrics: Metrics, arrived: KeysArrived
) -> KeySync:
    """Takes room keys; its position belongs to the device."""
    name = f"{_KEYS_AT}.{established.actor.device_id}"

    async def handled(result: SyncResult, position: str) -> None:
        vitals.keys_synced_s = base.clock.monotonic()
        vitals.key_requests_refused += result.key_requests_refused
        metrics.key_requests_refused(result.key_requests_refused)
        for _ in range(result.olm_failures):
            metrics.undecryptable("olm")
        sessions = [(RoomId(room), session) for room, session in (*result.new_sessions, *result.withheld)]
        if sessions:
            await arrived(sessions)
        await base.keepsakes.put(name, position.encode())

    return KeySync(
        established.actor.client,
        established.cipher,
        base.clock,
        position=await _position(base, name),
        handled=handled,
    )


async def room_watch_of(base: Foundation, gaps: GapFinder, vitals: HouseVitals) -> RoomWatch:
    """Looks which events exist, for what Synapse's queue dropped."""
    looked_from = await _position(base, _ROOMS_AT)

    async def seen(events: tuple[SeenEvent, ...], position: str) -> None:
        nonlocal looked_from
        await gaps.saw(events, looked_from)
        vitals.rooms_looked_s = base.clock.monotonic()
        vitals.events_fetched = gaps.fetched
        await base.keepsakes.put(_ROOMS_AT, position.encode())
        looked_from = position

    return RoomWatch(base.door.watcher.client, base.clock, position=looked_from, seen=seen)


async def prove_itself(
    base: Foundation, server: Homeserver, arrivals: Intake, own: loops.Own, vitals: HouseVitals
) -> None:
    """Prove that events, sync and sending work, until they do."""
    settings = base.settings
    test = SelfTest(
        server,
        base.clock,
        appservice_id=settings.appservice.id,
        alias_prefix=settings.rooms.alias_prefix,
        server_name=settings.homeserver.domain,
    )

    async def prove_events(control: RoomId) -> Vital:
        found = await test.prove_events(control, arrivals)
        if (missed := vitals.missed_signs()) is not None:
            text = f"**{missed.name}**: {plain(missed.text)}"
            await own.accept(Troubled(key=missed.name, text=text), "self-test", missed.name, missed.text)
        return found

    async def run() -> tuple[Vital, ...]:
        found = await test.run()
        return (*found, await promoted(base.admin, settings.homeserver.admin_user))

    await loops.self_test(run, prove_events, own, base.clock, vitals)


async def _position(base: Foundation, name: str) -> str | None:
    kept = await base.keepsakes.get(name)
    return kept.decode() if kept else None

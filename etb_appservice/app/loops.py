"""What turns in the background of a running service; each ends only when it has nothing more to do.

    refused keys   30 s     tried again; told at the third try
    senders        30 s     whose homeserver did not answer are asked for again
    self-test      a start  again after a minute until all is proven; told at the second failure
    clean          1 h      keys of what was seen long ago, and files that were never sent
    secrets        2 s      those that were rotated count; former ones end with their overlap

A loop must never end the service for what the homeserver did; a failing database is fatal and passes through.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Never, Protocol

import structlog

from etb_appservice.app.secrets import LOOK_EVERY_S, LiveSecrets
from etb_appservice.app.vitals import HouseVitals
from etb_appservice.domain.facts import Fact, Troubled
from etb_appservice.domain.ids import RoomId, short_hash
from etb_appservice.domain.outcomes import Failure
from etb_appservice.domain.rooms import CONTROL_ROOM
from etb_appservice.domain.text import plain
from etb_appservice.flows.turn import SERVICE_LANE
from etb_appservice.matrix.results import Refusal
from etb_appservice.ops.metrics import Metrics
from etb_appservice.ports import Arrival, Clock, FactCodec, Store, Vital

log = structlog.get_logger(__name__)
_RETRY_KEYS_EVERY_S = 30.0
_ASK_AGAIN_EVERY_S = 30.0
_TELL_AFTER_TRIES = 3
_CLEAN_EVERY_S = 3600.0
_RECOVERY_KEYS_EVERY_S = 30.0
_KEEP_DOCUMENTS_MS = 30 * 86_400_000
"""How long a file that could not be sent may be retried by an operator."""
_TEST_AGAIN_S = 60.0
_CONTROL_ROOM_LOOKS = 30
_UNPROVEN = Vital(
    "events",
    is_well=False,
    text="the control room isn't there, so that no event could be sent to see it come back; the log says why",
)


@dataclass(frozen=True, slots=True)
class Own:
    """The service's own facts, put into the inbox."""

    store: Store
    codec: FactCodec
    clock: Clock
    wake: Callable[[Sequence[str]], None]

    async def accept(self, fact: Fact, *key: str, lane: str = SERVICE_LANE) -> None:
        """Accept a fact once per key."""
        arrival = Arrival(source="own", lane=lane, key=short_hash("own", *key), payload=self.codec.encode(fact))
        async with self.store.work() as work:
            await work.inbox.accept([arrival])
        self.wake([lane])


class TriesKeysAgain(Protocol):
    """What the first loop needs of the hands."""

    async def retry_refused(self) -> tuple[Refusal, ...]:
        """See results.Crypto."""
        ...


class AsksAgain(Protocol):
    """What the second loop needs of the intake."""

    async def ask_again(self) -> None:
        """Take up again what waits for an answer about its sender."""
        ...


async def retry_keys(
    cipher: TriesKeysAgain, own: Own, clock: Clock, vitals: HouseVitals, metrics: Metrics
) -> Never:
    """Devices that could not be given a key are tried again; those that stay refused are named once."""
    known: set[tuple[str, str, str]] = set()
    while True:
        await clock.sleep(_RETRY_KEYS_EVERY_S)
        refused = await cipher.retry_refused()
        vitals.refused_devices = len(refused)
        for one in refused:
            if (one.room_id, one.user_id, one.device_id) not in known:
                metrics.keys_refused(one.reason)
            if one.tries >= _TELL_AFTER_TRIES:
                await own.accept(
                    Troubled(
                        key=f"refused/{one.user_id}/{one.device_id}",
                        text=f"Device `{plain(one.device_id)}` of `{one.user_id}` can't be given room keys: "
                        f"{one.reason}. Its owner should sign in again on that device, or remove it.",
                    ),
                    "refused",
                    one.user_id,
                    one.device_id,
                )
        known = {(one.room_id, one.user_id, one.device_id) for one in refused}


async def ask_again(intake: AsksAgain, clock: Clock) -> Never:
    """Messages of people whose homeserver did not answer are tried again."""
    while True:
        await clock.sleep(_ASK_AGAIN_EVERY_S)
        await intake.ask_again()


async def self_test(
    run: Callable[[], Awaitable[tuple[Vital, ...]]],
    prove_events: Callable[[RoomId], Awaitable[Vital]],
    own: Own,
    clock: Clock,
    vitals: HouseVitals,
) -> None:
    """Proves after a start that events, sync and sending work; the ping brings what waited at once.

    What isn't well is tested again until it is: one bad moment at a start is no verdict (Synapse may let a
    transaction lie that came while it caught up), and nobody is called or warned for it; at the second they are.
    """
    was_ill: set[str] = set()
    while True:
        found = await run()
        control = await _control_room(own.store, clock)
        events = _UNPROVEN if control is None else await prove_events(control)
        found = (*found, events)
        vitals.self_test = found
        ill = [vital for vital in found if not vital.is_well]
        for vital in ill:
            if vital.name not in was_ill:
                log.info("self-test failed, tested again in a minute", part=vital.name, reason=vital.text)
                continue
            log.error("self-test failed", part=vital.name, reason=vital.text)
            await own.accept(
                Troubled(key=f"self-test/{vital.name}", text=f"Self-test **{vital.name}**: {plain(vital.text)}"),
                "self-test",
                vital.name,
                vital.text,
            )
        if not ill:
            return
        was_ill = {vital.name for vital in ill}
        await clock.sleep(_TEST_AGAIN_S)


async def _control_room(store: Store, clock: Clock) -> RoomId | None:
    """The control room, waited for when this is the very first start; None when it doesn't come."""
    for _ in range(_CONTROL_ROOM_LOOKS):
        async with store.view() as view:
            room = await view.rooms.by_war_room(CONTROL_ROOM)
        if room is not None and room.room_id is not None:
            return room.room_id
        await clock.sleep(1.0)
    return None


class KeepsRecoveryKeys(Protocol):
    """What the last loop needs of an identity."""

    async def publish_recovery_keys(self) -> bool:
        """Finish what was cut off."""
        ...

    async def end_former_recovery_keys(self, now_ms: int) -> int:
        """How many have ended."""
        ...


async def keep_secrets(secrets: LiveSecrets, identity: KeepsRecoveryKeys, own: Own) -> Never:
    """What `rotate` has written counts in this process too, and former values end in time."""
    look_at_recovery_keys_s = 0.0
    while True:
        await own.clock.sleep(LOOK_EVERY_S)
        await secrets.look()
        if await secrets.end_overlaps(own.codec):
            own.wake([SERVICE_LANE])
            await secrets.look()
        if own.clock.monotonic() < look_at_recovery_keys_s:
            continue
        look_at_recovery_keys_s = own.clock.monotonic() + _RECOVERY_KEYS_EVERY_S
        try:
            await identity.publish_recovery_keys()
            ended = await identity.end_former_recovery_keys(own.clock.now_ms())
        except Failure as failure:
            log.warning("former recovery keys could not be ended yet, tried again", reason=str(failure))
            continue
        if ended:
            await secrets.say_recovery_keys_ended(own.codec)
            own.wake([SERVICE_LANE])


async def level_files(store: Store) -> None:
    """Give files that an older program has put the column by which lists find them."""
    while True:
        async with store.work() as work:
            found = await work.files.unlevelled()
            for file in found:
                await work.files.put(file)
        if not found:
            return


async def clean(store: Store, clock: Clock, *, keep_ms: int) -> Never:
    """Forget keys of what was seen more than `keep_ms` ago, and files that an operator has left unsent."""
    while True:
        async with store.work() as work:
            forgotten = await work.inbox.forget_keys(clock.now_ms() - keep_ms)
            await work.acts.forget(clock.now_ms() - keep_ms)
            await work.documents.forget_before(clock.now_ms() - _KEEP_DOCUMENTS_MS)
        if forgotten:
            log.info("forgot keys of what was seen long ago", keys=forgotten)
        await clock.sleep(_CLEAN_EVERY_S)

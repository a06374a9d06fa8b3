"""All parts of a running service, wired. Reads as a parts list; whatever is decided stands in flows.

transactions, webhook, poll ─► inbox ─► Intake (lanes) ─► outbox ─► Outbox (targets) ─► Matrix, ETB
keys ─► rows that waited        gaps ─► inbox            answers ─► inbox
"""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import replace

import structlog

from etb_appservice import commands as command_package
from etb_appservice.app import loops
from etb_appservice.app.devices import CipherDevices, DeviceWatch
from etb_appservice.app.etb import poller_of
from etb_appservice.app.flows import decider_of
from etb_appservice.app.foundation import Foundation
from etb_appservice.app.gateway import chat_api
from etb_appservice.app.matrix import (
    LateSignals,
    ghosts_of,
    hands_of,
    key_sync_of,
    prove_itself,
    reader_of,
    room_watch_of,
    shown,
)
from etb_appservice.app.queues import LaneMap, Queues
from etb_appservice.app.refusals import CipherRefusals
from etb_appservice.app.sockets import hub_of, relay_of, sockets_of
from etb_appservice.app.vitals import HouseVitals
from etb_appservice.domain.facts import ServiceStarted, Troubled
from etb_appservice.domain.ids import UserId, new_id
from etb_appservice.domain.verdicts import Verdict
from etb_appservice.etb.codec import IncidentDecoder
from etb_appservice.etb.hands import EtbWriter
from etb_appservice.etb.webhook import WebhookIntake
from etb_appservice.flows.commands import find
from etb_appservice.flows.intake import Intake
from etb_appservice.flows.links import load_links
from etb_appservice.flows.outbox import Outbox
from etb_appservice.flows.passing import Passing
from etb_appservice.flows.waiting import Waiting
from etb_appservice.gateway.asking import Asking
from etb_appservice.gateway.frame import Frame
from etb_appservice.gateway.relay import Ears, Link, Sign
from etb_appservice.gateway.socket import Sockets
from etb_appservice.gateway.writing import WebDesk
from etb_appservice.matrix.arrivals import Intake as MatrixIntake
from etb_appservice.matrix.gaps import GapFinder
from etb_appservice.matrix.ghosts import GhostActors
from etb_appservice.matrix.identity import Established
from etb_appservice.matrix.keysync import KeySync
from etb_appservice.matrix.server import Homeserver
from etb_appservice.matrix.transactions import Transactions
from etb_appservice.ops.metrics import Metrics
from etb_appservice.ports import Broadcast
from etb_appservice.store.codec import FactJson

log = structlog.get_logger(__name__)
_MOST_SIGNING = 100
DEVICE_SINCE = "matrix.device_since"
"""Set by recovery: UTC milliseconds since which the bot speaks from its present device."""


class House:
    """One running service. `run` works until it is cancelled or something fatal happens."""

    def __init__(self, base: Foundation, metrics: Metrics) -> None:
        """Wires what needs no homeserver; the rest follows once the bot's device is established."""
        self.base = base
        self.metrics = metrics
        self.lanes = LaneMap()
        self.hub = hub_of(base)
        self.broadcast: Broadcast = self.hub
        self.sockets: Sockets | None = None
        """Set once the chat API is served."""
        self.signals = LateSignals()
        self.passing = Passing(base.store, base.policy, self.hub, base.clock)
        self.waiting = Waiting()
        self.codec = FactJson()
        self.queues = Queues(base.store, base.clock, is_found=lambda: base.modules.is_found("incidents"))
        self.own = loops.Own(base.store, self.codec, base.clock, self.queues.wake_inbox)
        self.decoder = IncidentDecoder(base.etb.connection)
        self.asking = Asking(base.store, self.codec, self.queues.wake_talk)
        self.relay = relay_of(base, self.hub, self._ears, leads=True)
        """To the processes that serve beside this one."""
        self._signing: set[asyncio.Task[None]] = set()
        self.arrivals = MatrixIntake(base.store, self.lanes.of, self.queues.wake_talk, bot=base.settings.bot_id)
        self._keys: KeySync | None = None
        self.ghosts: GhostActors | None = None
        self.watch = poller_of(base, self.decoder, self.codec, self.queues.wake_inbox)
        self.vitals = HouseVitals(
            base.clock,
            watched=lambda: self.watch.state,
            modules=lambda: base.modules.report.modules,
            watched_every_s=base.settings.etb.poll_interval_s,
            polls_incidents=base.settings.etb.poll,
            started_s=base.clock.monotonic(),
        )

    # --- what the listeners serve -------------------------------------------------------------------------

    def transactions(self) -> Transactions:
        """The homeserver's endpoint; works from the first moment, also while the bot isn't established."""
        secrets = self.base.secrets
        endpoint = Transactions(
            self.arrivals,
            secrets.of("hs_token"),
            user_exists=self._user_exists,
            alias_exists=self._alias_exists,
            passing=self.passing.offer if self.base.settings.gateway.enabled else None,
        )
        if self.base.settings.gateway.enabled:
            self.vitals.tells_passing = lambda: endpoint.tells_passing
        secrets.given_to("hs_token", endpoint.accept)
        secrets.hs_token_used = lambda: endpoint.last_token
        return endpoint

    def webhook(self) -> WebhookIntake | None:
        """ETB's endpoint, where webhooks are taken."""
        if not self.base.settings.webhook.enabled:
            return None
        secrets = self.base.secrets
        endpoint = WebhookIntake(
            self.base.store, self.decoder, secrets.of("webhook_secret"), accepted=self.queues.wake_inbox
        )
        secrets.given_to("webhook_secret", endpoint.accept)
        return endpoint

    def gateway(self) -> Frame | None:
        """The chat API, where it is served."""
        if not self.base.settings.gateway.enabled:
            return None
        desk = WebDesk(
            store=self.base.store,
            codec=self.codec,
            policy=self.base.policy,
            clock=self.base.clock,
            waiting=self.waiting,
            wake=self.queues.wake_talk,
            broadcast=self.broadcast,
            signals=self.signals,
        )
        frame = chat_api(self.base, self.own, self.asking, desk, online=self.hub.online, count=self.metrics.api)
        self.sockets = sockets_of(self.base, self.hub, frame, desk)
        return frame

    # --- running ------------------------------------------------------------------------------------------

    async def run(self, established: Established) -> None:
        """Drain inbox and outbox, take keys, find gaps, poll ETB, until cancelled."""
        base = self.base
        await self.lanes.load(base.store)
        await loops.level_files(base.store)
        await load_links(base.store, base.policy)
        server = Homeserver(established.actor)
        self.ghosts = self.signals.ghosts = ghosts = ghosts_of(base, established.cipher)
        hands = hands_of(base, server, established.cipher, ghosts, self.metrics)
        devices = CipherDevices(established.cipher)
        decider = decider_of(
            store=base.store,
            etb=base.reader,
            policy=base.policy,
            clock=base.clock,
            commands=find(command_package),
            vitals=self.vitals,
            meter=self.metrics,
            refusals=CipherRefusals(established.cipher),
            devices=devices,
        )
        intake = Intake(
            store=base.store,
            matrix=reader_of(base, server, established.cipher, self._key_missed),
            hands=hands,
            etb=self.decoder,
            codec=self.codec,
            decider=decider,
            policy=base.policy,
            clock=base.clock,
            meter=self.metrics,
            wake=self.queues.wake,
            bind=self.lanes.bind,
            broadcast=self.broadcast,
            verdict=self._judged,
            decided=self._decided,
            linked=self._linked,
        )
        outbox = Outbox(
            store=base.store,
            matrix=hands,
            etb=EtbWriter(base.etb, base.modules),
            codec=self.codec,
            policy=base.policy,
            clock=base.clock,
            meter=self.metrics,
            wake=self.queues.wake,
            record=decider.answers.record,
            broadcast=self.broadcast,
            device_since_ms=int(await base.keepsakes.get(DEVICE_SINCE) or b"0"),
            started_ms=base.clock.now_ms(),
        )
        self.queues.open(intake.step, outbox.step)
        gaps = GapFinder(base.store, server, self.arrivals, base.clock)
        self._keys = keys = await key_sync_of(base, established, self.vitals, self.metrics, intake.keys_arrived)
        await self._find_modules()
        await self._accept_started()
        await intake.recheck_waiting()
        await decider.life.glass.end_overdue(base.store, self.codec)
        keep_ms = base.settings.retention.seen_keys_days * 86_400_000
        async with asyncio.TaskGroup() as group:
            self.queues.begin(group)
            group.create_task(keys.run(), name="keys")
            group.create_task((await room_watch_of(base, gaps, self.vitals)).run(), name="rooms")
            group.create_task(gaps.run(), name="gaps")
            group.create_task(
                loops.retry_keys(hands, self.own, base.clock, self.vitals, self.metrics),
                name="refused keys",
            )
            look_every_s = base.settings.devices.look_every_s
            group.create_task(DeviceWatch(devices, self.own, base.policy, look_every_s).run(), name="devices")
            group.create_task(ghosts.run(), name="ghosts")
            group.create_task(loops.ask_again(intake, base.clock), name="senders")
            group.create_task(prove_itself(base, server, self.arrivals, self.own, self.vitals), name="self-test")
            group.create_task(loops.clean(base.store, base.clock, keep_ms=keep_ms), name="clean")
            group.create_task(self.watch.run(), name="etb")
            if self.sockets is not None:
                group.create_task(self.sockets.run(), name="sockets")
                group.create_task(self.passing.run(), name="passing")
            if self.relay is not None:
                group.create_task(self.relay.run(), name="relay")
            group.create_task(loops.keep_secrets(base.secrets, base.door.identity, self.own), name="secrets")
            self.vitals.is_leading = True
            log.info("the service is ready", bot=base.settings.bot_id, device=established.actor.device_id)

    def _key_missed(self) -> None:
        if self._keys:
            self._keys.hurry()

    async def _find_modules(self) -> None:
        """The first thing that is decided asks ETB at the right places; an ETB that is away holds up nobody."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.base.policy.commands.etb_wait_s):
                await self.base.modules.settle()

    # --- processes beside this one ------------------------------------------------------------------------

    def _ears(self, ears: Ears) -> Ears:
        """What was accepted elsewhere is decided here, and web users elsewhere type and read in Matrix."""
        return replace(ears, work=self._work, sign=self._sign)

    def _work(self, lanes: Sequence[str]) -> None:
        if lanes:
            self.queues.wake_talk(lanes)
        else:
            self.queues.wake_inbox()

    def _sign(self, sign: Sign) -> None:
        """For a moment only: where very many wait, the homeserver is slow, and nobody misses one."""
        if len(self._signing) < _MOST_SIGNING:
            task = asyncio.get_running_loop().create_task(shown(self.signals, sign))
            self._signing.add(task)
            task.add_done_callback(self._signing.discard)

    def _judged(self, verdict: Verdict) -> None:
        self.asking.tell(verdict)
        if self.relay is not None:
            self.relay.judged(verdict)

    def _decided(self, acts: Sequence[str]) -> None:
        self.waiting.decided(acts)
        if self.relay is not None:
            self.relay.decided(acts)

    def _linked(self, links: Sequence[Link]) -> None:
        if self.relay is not None:
            self.relay.link(links)

    # --- small things -------------------------------------------------------------------------------------

    async def _accept_started(self) -> None:
        started = new_id(self.base.clock.now_ms())
        await self.own.accept(ServiceStarted(), "started", started)
        for name in self.base.secrets.behind_at_start:
            log.warning("the settings hold a former value of a secret", name=name)
            what = name.replace("_", "-")
            text = (
                f"The settings hold a former **{name}**, which stops being accepted. Run `etb-appservice rotate "
                f"{what}`, which writes the present one."
            )
            await self.own.accept(Troubled(key=f"behind/{name}", text=text), "behind", name, started)

    async def _user_exists(self, user_id: str) -> bool:
        if user_id == self.base.settings.bot_id:
            return True
        return self.ghosts is not None and await self.ghosts.exists(UserId(user_id))

    async def _alias_exists(self, alias: str) -> bool:
        """Rooms are made by us with their aliases; one that the homeserver doesn't know yet isn't there."""
        del alias
        return False

"""All parts of a running service, wired. Reads as a parts list; whatever is decided stands in flows.

transactions, webhook, poll ─► inbox ─► Intake (lanes) ─► outbox ─► Outbox (targets) ─► Matrix, ETB
keys ─► rows that waited        gaps ─► inbox            answers ─► inbox
"""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog

from etb_appservice import commands as command_package
from etb_appservice.app import loops
from etb_appservice.app.devices import CipherDevices, DeviceWatch
from etb_appservice.app.foundation import Foundation
from etb_appservice.app.gateway import chat_api
from etb_appservice.app.promoted import promoted
from etb_appservice.app.refusals import CipherRefusals
from etb_appservice.app.sockets import hub_of, relay_of, sockets_of
from etb_appservice.app.vitals import HouseVitals
from etb_appservice.domain.effects import is_etb, urgency_of
from etb_appservice.domain.facts import ServiceStarted, Troubled
from etb_appservice.domain.ids import EventId, RoomId, UserId, Username, new_id
from etb_appservice.domain.text import plain
from etb_appservice.etb.codec import IncidentDecoder
from etb_appservice.etb.hands import EtbWriter
from etb_appservice.etb.poll import Poller
from etb_appservice.etb.watched import PeopleWatch
from etb_appservice.etb.webhook import WebhookIntake
from etb_appservice.flows.answered import Answers
from etb_appservice.flows.breakglass import BreakGlasses
from etb_appservice.flows.cadence import Cadences
from etb_appservice.flows.catchup import CatchUps
from etb_appservice.flows.chart import Charts
from etb_appservice.flows.chatops import Chatops
from etb_appservice.flows.closings import Closings
from etb_appservice.flows.commands import find
from etb_appservice.flows.conversation import Conversation
from etb_appservice.flows.decide import Decider
from etb_appservice.flows.devices import UnsignedDevices
from etb_appservice.flows.duty import Duty
from etb_appservice.flows.export import Exports
from etb_appservice.flows.followups import FollowUps
from etb_appservice.flows.gate import PATIENT, USUAL
from etb_appservice.flows.guard import StateGuard
from etb_appservice.flows.incidents import Incidents
from etb_appservice.flows.intake import Intake
from etb_appservice.flows.lanes import LaneRunner, Step
from etb_appservice.flows.letters import Letters
from etb_appservice.flows.links import load_links
from etb_appservice.flows.missing import Missing
from etb_appservice.flows.outbox import Outbox
from etb_appservice.flows.pages import by_reaction
from etb_appservice.flows.papers import Papers
from etb_appservice.flows.passing import Passing
from etb_appservice.flows.questions import Questions
from etb_appservice.flows.reactions import Reactions
from etb_appservice.flows.replies import Replies
from etb_appservice.flows.roomlife import RoomLife
from etb_appservice.flows.rooms import Rooms
from etb_appservice.flows.runbooks import Runbooks
from etb_appservice.flows.upgrades import Upgrades
from etb_appservice.flows.waiting import Waiting
from etb_appservice.flows.web import Web
from etb_appservice.flows.webrooms import WebRooms
from etb_appservice.flows.webruns import WebRuns
from etb_appservice.gateway.asking import Asking
from etb_appservice.gateway.frame import Frame
from etb_appservice.gateway.socket import Sockets
from etb_appservice.gateway.writing import WebDesk
from etb_appservice.matrix.arrivals import Intake as MatrixIntake
from etb_appservice.matrix.audience import audience_from
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
from etb_appservice.matrix.transactions import Transactions
from etb_appservice.matrix.vouching import Vouching
from etb_appservice.ops.metrics import Metrics
from etb_appservice.ports import Broadcast, Signals, Vital
from etb_appservice.render.face import face
from etb_appservice.render.press import PaperPress
from etb_appservice.render.render import fits, render
from etb_appservice.store.codec import FactJson

log = structlog.get_logger(__name__)
_KEYS_AT = "matrix.position.keys"
_ROOMS_AT = "matrix.position.rooms"
DEVICE_SINCE = "matrix.device_since"
"""Set by recovery: UTC milliseconds since which the bot speaks from its present device."""
_UNTIL_FOUND_S = 5.0


_CALLS = 8
"""To the homeserver at once for what is to be done. Synapse works on one after another: more of them make no room
sooner, and all that people send and read later."""


def rank_of_target(target: str) -> int:
    """Rooms are opened by severity, and after everything that is to be said in rooms which are there."""
    urgency = urgency_of(target)
    return USUAL if urgency is None else PATIENT + urgency


@dataclass(slots=True)
class LaneMap:
    """Which lane a room's events belong to; a room that isn't here has a lane of its own until it is bound."""

    lanes: dict[RoomId, str] = field(default_factory=dict)

    def of(self, room_id: str) -> str:
        """The lane of a room."""
        return self.lanes.get(RoomId(room_id), room_id)

    def bind(self, room_id: RoomId, lane: str) -> None:
        """From now on the room's events go to this lane."""
        self.lanes[room_id] = lane


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
        self.own = loops.Own(base.store, self.codec, base.clock, self.wake_inbox)
        self.decoder = IncidentDecoder(base.etb.connection)
        self.asking = Asking(base.store, self.codec, self._wake_talk)
        self.arrivals = MatrixIntake(base.store, self.lanes.of, self._wake_talk, bot=base.settings.bot_id)
        self._inbox: LaneRunner | None = None
        self._keys: KeySync | None = None
        self._outbox: LaneRunner | None = None
        self._etb_outbox: LaneRunner | None = None
        self.ghosts: GhostActors | None = None
        self.watch = self._watch()
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
            self.base.store, self.decoder, secrets.of("webhook_secret"), accepted=self.wake_inbox
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
            wake=self._wake_talk,
            broadcast=self.broadcast,
            signals=self.signals,
        )
        frame = chat_api(self.base, self.own, self.asking, desk, online=self.hub.online, count=self.metrics.api)
        self.sockets = sockets_of(self.base, self.hub, frame, desk)
        return frame

    def wake_inbox(self, lanes: Sequence[str] = ()) -> None:
        """Something was accepted."""
        if self._inbox:
            self._inbox.wake(lanes)

    def _wake_talk(self, lanes: Sequence[str]) -> None:
        """Something came from a room: people wait for answers, so it comes before what ETB reports."""
        if self._inbox:
            self._inbox.wake((), lanes)

    # --- running ------------------------------------------------------------------------------------------

    async def run(self, established: Established) -> None:
        """Drain inbox and outbox, take keys, find gaps, poll ETB, until cancelled."""
        base = self.base
        await self._load_lanes()
        await loops.level_files(base.store)
        await load_links(base.store, base.policy)
        server = Homeserver(established.actor)
        self.ghosts = self.signals.ghosts = ghosts = self._ghost_actors(established)
        hands = self._hands(server, established, ghosts)
        decider = self._decider(established)
        intake = Intake(
            store=base.store,
            matrix=Vouching(
                Decoder(
                    established.cipher,
                    encrypted_rooms(base.store),
                    base.policy.is_ours,
                    missed=self._key_missed,
                    ghosts=base.policy.ghosts,
                ),
                base.store,
                server,
                base.settings.bot_id,
            ),
            hands=hands,
            etb=self.decoder,
            codec=self.codec,
            decider=decider,
            policy=base.policy,
            clock=base.clock,
            meter=self.metrics,
            wake=self._wake,
            bind=self.lanes.bind,
            broadcast=self.broadcast,
            verdict=self.asking.tell,
            decided=self.waiting.decided,
        )
        outbox = Outbox(
            store=base.store,
            matrix=hands,
            etb=EtbWriter(base.etb, base.modules),
            codec=self.codec,
            policy=base.policy,
            clock=base.clock,
            meter=self.metrics,
            wake=self._wake,
            record=decider.answers.record,
            broadcast=self.broadcast,
            device_since_ms=int(await base.keepsakes.get(DEVICE_SINCE) or b"0"),
            started_ms=base.clock.now_ms(),
        )
        self._inbox = LaneRunner(intake.step, self._busy_lanes, self._soonest_in, base.clock)
        # Two runners: an ETB that answers slowly must not take the places of messages.
        self._outbox = LaneRunner(
            outbox.step,
            self._busy_rooms,
            self._soonest_out,
            base.clock,
            most=_CALLS,
            most_patient=_CALLS // 2,
            rank_of=rank_of_target,
        )
        to_etb = self._once_found(outbox.step)
        self._etb_outbox = LaneRunner(to_etb, self._busy_etb, self._soonest_out, base.clock, most=4)
        gaps = GapFinder(base.store, server, self.arrivals, base.clock)
        self._keys = keys = await self._key_sync(established, intake)
        await self._find_modules()
        await self._accept_started()
        await intake.recheck_waiting()
        await decider.life.glass.end_overdue(base.store, self.codec)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._inbox.run(), name="inbox")
            group.create_task(self._outbox.run(), name="outbox")
            group.create_task(self._etb_outbox.run(), name="outbox to etb")
            group.create_task(keys.run(), name="keys")
            group.create_task((await self._room_watch(gaps)).run(), name="rooms")
            group.create_task(gaps.run(), name="gaps")
            group.create_task(
                loops.retry_keys(hands, self.own, base.clock, self.vitals, self.metrics),
                name="refused keys",
            )
            group.create_task(self._device_watch(established).run(), name="devices")
            group.create_task(ghosts.run(), name="ghosts")
            group.create_task(loops.ask_again(intake, base.clock), name="senders")
            group.create_task(self._self_test(server), name="self-test")
            group.create_task(loops.clean(base.store, base.clock, keep_ms=self._keep_ms), name="clean")
            group.create_task(self.watch.run(), name="etb")
            if self.sockets is not None:
                group.create_task(self.sockets.run(), name="sockets")
                group.create_task(self.passing.run(), name="passing")
            if (relay := relay_of(base, self.hub)) is not None:
                group.create_task(relay.run(), name="relay")
            group.create_task(loops.keep_secrets(base.secrets, base.door.identity, self.own), name="secrets")
            self.vitals.is_leading = True
            log.info("the service is ready", bot=base.settings.bot_id, device=established.actor.device_id)

    def _key_missed(self) -> None:
        if self._keys:
            self._keys.hurry()

    def _device_watch(self, established: Established) -> DeviceWatch:
        every_s = self.base.settings.devices.look_every_s
        return DeviceWatch(CipherDevices(established.cipher), self.own, self.base.policy, every_s)

    def _ghost_actors(self, established: Established) -> GhostActors:
        base, settings = self.base, self.base.settings
        return GhostActors(
            lambda user_id: base.door.ghost(user_id, established.cipher),
            established.cipher,
            base.keepsakes,
            ids=base.policy.ghosts,
            name_of=names_from(base.store, base.policy.people),
            clock=base.clock,
            rules=GhostRules(
                idle_ms=settings.ghosts.idle_days * 86_400_000,
                drain_every_s=settings.ghosts.drain_every_s,
                most_devices=settings.ghosts.most_devices,
            ),
            face_of=face if settings.ghosts.avatars else None,
        )

    def _hands(self, server: Homeserver, established: Established, ghosts: GhostActors) -> Hands:
        rooms = self.base.policy.rooms
        return Hands(
            server,
            established.cipher,
            RoomMaker(server, self.base.settings.homeserver.domain, self.base.clock),
            audience_from(self.base.store, self.base.policy),
            render,
            Rotation(rooms.rotation_period_msgs, rooms.rotation_period_ms),
            Attachments(self.base.store, server),
            History(
                self.base.store,
                server,
                established.cipher,
                policy=self.base.policy,
                count=self.metrics.history,
            ),
            self.base.admin,
            ghosts,
        )

    def _decider(self, established: Established) -> Decider:
        base = self.base
        incidents = Incidents(base.reader, base.policy)
        conversation = Conversation(base.policy)
        press = PaperPress()
        letters = Letters(base.policy)
        commands = find(command_package)
        cadences = Cadences(base.policy)
        questions = Questions(base.policy)
        chatops = Chatops(
            commands,
            questions,
            base.reader,
            base.policy,
            base.clock,
            self.vitals,
            self.metrics,
            CipherRefusals(established.cipher),
        )
        rooms = Rooms(base.policy, incidents, letters)
        replies = Replies(commands, base.policy, self.metrics)
        follow_ups = FollowUps(base.store, chatops, questions, Runbooks(base.reader, base.policy), base.policy)
        duty = Duty(base.reader, base.policy)
        life = RoomLife(
            base.store,
            Closings(base.policy),
            Missing(base.reader, base.policy),
            Upgrades(base.policy, incidents),
            StateGuard(base.policy),
            UnsignedDevices(CipherDevices(established.cipher), base.policy),
            BreakGlasses(base.policy),
            WebRooms(incidents, Closings(base.policy), base.policy),
            cadences,
        )
        papers = Papers(
            Exports(base.store, press, base.policy),
            Charts(base.store, base.reader, press, base.policy),
            conversation,
        )
        return Decider(
            store=base.store,
            incidents=incidents,
            rooms=rooms,
            conversation=conversation,
            chatops=chatops,
            replies=replies,
            letters=letters,
            cadences=cadences,
            reactions=Reactions(base.policy, cadences, by_reaction),
            catch_ups=CatchUps(base.policy),
            follow_ups=follow_ups,
            duty=duty,
            life=life,
            papers=papers,
            web=Web(WebRuns(base.store, chatops, questions, base.policy), base.policy, fits),
            answers=Answers(
                rooms,
                conversation,
                replies,
                letters,
                cadences,
                follow_ups,
                duty,
                life,
                papers,
                base.policy,
            ),
            rights=base.policy,
        )

    def _watch(self) -> Poller:
        base = self.base
        return Poller(
            client=base.etb,
            modules=base.modules,
            reads=base.reader,
            decoder=self.decoder,
            store=base.store,
            keepsakes=base.keepsakes,
            clock=base.clock,
            encode_fact=self.codec.encode,
            people=PeopleWatch(
                client=base.etb,
                modules=base.modules,
                reads=base.reader,
                store=base.store,
                clock=base.clock,
                encode_fact=self.codec.encode,
                inside=self._people_inside,
                most=base.settings.clearance.users_per_poll,
                hold_s=base.policy.clearance.hold_s,
                accepted=self.wake_inbox,
            ),
            with_incidents=base.settings.etb.poll,
            interval_s=base.settings.etb.poll_interval_s,
            accepted=self.wake_inbox,
        )

    def _wake(self, lanes: Sequence[str], targets: Sequence[str], urgent: Sequence[str] = ()) -> None:
        if lanes and self._inbox:
            self._inbox.wake(lanes)
        of_etb = [target for target in targets if is_etb(target)]
        of_rooms = [target for target in targets if not is_etb(target)]
        if of_rooms and self._outbox:
            self._outbox.wake(of_rooms, urgent)
        if of_etb and self._etb_outbox:
            self._etb_outbox.wake(of_etb)
        if not lanes and not targets:
            for runner in (self._inbox, self._outbox, self._etb_outbox):
                if runner:
                    runner.wake()

    async def _find_modules(self) -> None:
        """The first thing that is decided asks ETB at the right places; an ETB that is away holds up nobody."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.base.policy.commands.etb_wait_s):
                await self.base.modules.settle()

    def _once_found(self, step: Step) -> Step:
        """Nothing is written to ETB by a guess where it belongs: a wrong place answers 404, which is final."""

        async def found_step(target: str) -> bool | float:
            return await step(target) if self.base.modules.is_found("incidents") else _UNTIL_FOUND_S

        return found_step

    # --- what the lane runners ask ------------------------------------------------------------------------

    async def _busy_lanes(self) -> Sequence[str]:
        async with self.base.store.work() as work:
            return await work.inbox.lanes(self.base.clock.now_ms())

    async def _busy_rooms(self) -> Sequence[str]:
        async with self.base.store.view() as view:
            return [target for target in await view.outbox.targets() if not is_etb(target)]

    async def _busy_etb(self) -> Sequence[str]:
        async with self.base.store.view() as view:
            return [target for target in await view.outbox.targets() if is_etb(target)]

    async def _soonest_in(self) -> int | None:
        async with self.base.store.view() as view:
            return await view.inbox.soonest_ms()

    async def _soonest_out(self) -> int | None:
        async with self.base.store.view() as view:
            return await view.outbox.soonest_ms()

    # --- loops --------------------------------------------------------------------------------------------

    async def _key_sync(self, established: Established, intake: Intake) -> KeySync:
        """Takes room keys; its position belongs to the device."""
        name = f"{_KEYS_AT}.{established.actor.device_id}"

        async def handled(result: SyncResult, position: str) -> None:
            self.vitals.keys_synced_s = self.base.clock.monotonic()
            self.vitals.key_requests_refused += result.key_requests_refused
            self.metrics.key_requests_refused(result.key_requests_refused)
            for _ in range(result.olm_failures):
                self.metrics.undecryptable("olm")
            sessions = [(RoomId(room), session) for room, session in (*result.new_sessions, *result.withheld)]
            if sessions:
                await intake.keys_arrived(sessions)
            await self.base.keepsakes.put(name, position.encode())

        return KeySync(
            established.actor.client,
            established.cipher,
            self.base.clock,
            position=await self._position(name),
            handled=handled,
        )

    async def _room_watch(self, gaps: GapFinder) -> RoomWatch:
        """Looks which events exist, for what Synapse's queue dropped."""
        looked_from = await self._position(_ROOMS_AT)

        async def seen(events: tuple[SeenEvent, ...], position: str) -> None:
            nonlocal looked_from
            await gaps.saw(events, looked_from)
            self.vitals.rooms_looked_s = self.base.clock.monotonic()
            self.vitals.events_fetched = gaps.fetched
            await self.base.keepsakes.put(_ROOMS_AT, position.encode())
            looked_from = position

        return RoomWatch(
            self.base.door.watcher.client,
            self.base.clock,
            position=looked_from,
            seen=seen,
        )

    async def _self_test(self, server: Homeserver) -> None:
        settings = self.base.settings
        test = SelfTest(
            server,
            self.base.clock,
            appservice_id=settings.appservice.id,
            alias_prefix=settings.rooms.alias_prefix,
            server_name=settings.homeserver.domain,
        )

        async def prove_events(control: RoomId) -> Vital:
            found = await test.prove_events(control, self.arrivals)
            if (missed := self.vitals.missed_signs()) is not None:
                text = f"**{missed.name}**: {plain(missed.text)}"
                await self.own.accept(Troubled(key=missed.name, text=text), "self-test", missed.name, missed.text)
            return found

        async def run() -> tuple[Vital, ...]:
            found = await test.run()
            return (*found, await promoted(self.base.admin, settings.homeserver.admin_user))

        await loops.self_test(run, prove_events, self.own, self.base.clock, self.vitals)

    @property
    def _keep_ms(self) -> int:
        return self.base.settings.retention.seen_keys_days * 86_400_000

    async def measure(self) -> None:
        """Depth and age of the queues, for the metrics; asked for by each scrape."""
        now = self.base.clock.now_ms()
        async with self.base.store.view() as view:
            inbox, outbox = await view.inbox.depth(now), await view.outbox.depth(now)
            self.metrics.rooms(await view.rooms.count())
        self.metrics.depth("inbox", *inbox)
        self.metrics.depth("outbox", *outbox)

    # --- small things -------------------------------------------------------------------------------------

    async def _load_lanes(self) -> None:
        async with self.base.store.view() as view:
            for room in await view.rooms.all_current():
                if room.room_id and room.incident_id:
                    self.lanes.bind(room.room_id, room.incident_id)

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

    async def _people_inside(self) -> list[Username]:
        async with self.base.store.view() as view:
            inside = await view.rooms.inside("incident")
        return [name for one in inside if (name := self.base.policy.people.username(one)) is not None]

    async def _position(self, name: str) -> str | None:
        kept = await self.base.keepsakes.get(name)
        return kept.decode() if kept else None

    async def _user_exists(self, user_id: str) -> bool:
        if user_id == self.base.settings.bot_id:
            return True
        return self.ghosts is not None and await self.ghosts.exists(UserId(user_id))

    async def _alias_exists(self, alias: str) -> bool:
        """Rooms are made by us with their aliases; one that the homeserver doesn't know yet isn't there."""
        del alias
        return False

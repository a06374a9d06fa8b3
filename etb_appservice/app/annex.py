"""A process that serves ETB's web pages beside the one that leads: chat API, sockets, webhooks.

    pages ─► inbox, one commit ─► "work" ─┐                                     ┌─► news, verdicts ─► pages
                                          └─ Redis ─► who leads decides ─ Redis ─┘

It decides nothing, never encrypts, drains no queue and polls nothing, so that any number of them may run. What it
must hear of the others comes through Redis; while that is away it isn't ready, and what was asked for is decided
all the same.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Never

import structlog
from aiohttp import web

from etb_appservice.app import loops
from etb_appservice.app.foundation import Ground, ground
from etb_appservice.app.gateway import chat_api
from etb_appservice.app.run import listen, listen_to_all
from etb_appservice.app.secrets import LOOK_EVERY_S
from etb_appservice.app.sockets import hub_of, relay_of, sockets_of
from etb_appservice.config import Settings
from etb_appservice.domain.ids import EventId, RoomId, Username
from etb_appservice.domain.outcomes import Failure, Refused
from etb_appservice.domain.verdicts import Verdict
from etb_appservice.etb.codec import IncidentDecoder
from etb_appservice.etb.webhook import WebhookIntake
from etb_appservice.flows.links import load_links
from etb_appservice.flows.waiting import Waiting
from etb_appservice.gateway.asking import Asking
from etb_appservice.gateway.relay import Ears, Link, Relay, Sign
from etb_appservice.gateway.writing import WebDesk
from etb_appservice.ops.health import routes
from etb_appservice.ops.metrics import Metrics
from etb_appservice.ports import Vital
from etb_appservice.store.codec import FactJson

log = structlog.get_logger(__name__)
_SETTLE_EVERY_S = 60.0


async def serve(settings: Settings) -> None:
    """Serve until cancelled. Raises Refused with what the settings lack, and StoreError with what to do."""
    if not settings.gateway.enabled:
        raise Refused("gateway.enabled is off: there is nothing to serve", code="settings")
    metrics = Metrics()
    async with ground(settings, metrics) as base:
        annex = Annex(base, metrics)
        async with annex.listening():
            await annex.run()


class RelayedSignals:
    """`ports.Signals`: the process that leads has the ghosts."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay

    async def typing(self, room_id: RoomId, username: Username, *, is_typing: bool) -> None:
        """Never waits."""
        self._relay.sign(Sign(room_id=room_id, username=username, is_typing=is_typing))

    async def read_up_to(self, room_id: RoomId, username: Username, event_id: EventId) -> None:
        """Never waits."""
        self._relay.sign(Sign(room_id=room_id, username=username, event_id=event_id))


class Annex:
    """One such process."""

    def __init__(self, base: Ground, metrics: Metrics) -> None:
        """The chat API is on. Raises Refused without a Redis."""
        self.base = base
        self.metrics = metrics
        self._waiting = Waiting()
        hub = hub_of(base)
        relay = relay_of(base, hub, self._ears, leads=False)
        if relay is None:
            reason = "set sockets.redis_url: without it this process hears nothing of the one that leads"
            raise Refused(reason, code="settings")
        self._relay = relay
        codec = FactJson()
        self._asking = Asking(base.store, codec, relay.work)
        desk = WebDesk(
            store=base.store,
            codec=codec,
            policy=base.policy,
            clock=base.clock,
            waiting=self._waiting,
            wake=relay.work,
            broadcast=hub,
            signals=RelayedSignals(relay),
        )
        own = loops.Own(base.store, codec, base.clock, relay.work)
        self._frame = chat_api(base, own, self._asking, desk, online=hub.online, count=metrics.api)
        self._sockets = sockets_of(base, hub, self._frame, desk)
        self._behind = asyncio.Event()
        """Set when links of people may have been missed."""
        self._began_s = base.clock.monotonic()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """The public listener, and a private one for health and metrics."""
        settings = self.base.settings
        private = web.Application()
        private.add_routes(
            routes(
                look=self.vitals,
                metrics=self.metrics if settings.ops.metrics else None,
                measure=self._measure,
            )
        )
        runners: list[web.AppRunner] = []
        try:
            runners.append(await listen(private, settings.appservice.listen, "appservice.listen"))
            runners.append(await listen_to_all(settings, self._webhook(), self._frame, self._sockets))
            yield
        finally:
            for runner in runners:
                await runner.cleanup()

    async def run(self) -> None:
        """Until cancelled, or a store is lost."""
        base = self.base
        await load_links(base.store, base.policy)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._relay.run(), name="relay")
            group.create_task(self._sockets.run(), name="sockets")
            group.create_task(self._follow_secrets(), name="secrets")
            group.create_task(self._follow_links(), name="links")
            group.create_task(self._find_modules(), name="etb")
            log.info("serving beside the process that leads")

    def vitals(self) -> Sequence[Vital]:
        """How its parts do."""
        minutes = int(self.base.clock.monotonic() - self._began_s) // 60
        up = self._relay.is_up
        text = "what others do is heard" if up else "can't be reached: nothing is heard of what others do"
        return (
            Vital("service", is_well=True, text=f"serves beside the process that leads, up for {minutes} min"),
            Vital("redis", up, text),
        )

    def _webhook(self) -> WebhookIntake | None:
        if not self.base.settings.webhook.enabled:
            return None
        secrets, decoder = self.base.secrets, IncidentDecoder(self.base.etb.connection)
        endpoint = WebhookIntake(
            self.base.store, decoder, secrets.of("webhook_secret"), accepted=partial(self._relay.work, ())
        )
        secrets.given_to("webhook_secret", endpoint.accept)
        return endpoint

    # --- what it hears ------------------------------------------------------------------------------------

    def _ears(self, ears: Ears) -> Ears:
        def missed() -> None:
            ears.missed()
            self._behind.set()

        return replace(
            ears,
            missed=missed,
            linked=self._linked,
            decided=self._waiting.decided,
            judged=self._judged,
        )

    def _judged(self, verdict: Verdict) -> None:
        self._asking.tell(verdict)

    def _linked(self, links: Sequence[Link]) -> None:
        for username, user_id in links:
            self.base.policy.people.links.put(username, user_id)

    async def _follow_links(self) -> Never:
        while True:
            await self._behind.wait()
            self._behind.clear()
            await load_links(self.base.store, self.base.policy)

    async def _follow_secrets(self) -> Never:
        while True:
            await self.base.clock.sleep(LOOK_EVERY_S)
            await self.base.secrets.look()

    async def _find_modules(self) -> Never:
        """Whose a token is, is asked at the right place also where ETB's modules lie elsewhere."""
        while True:
            with suppress(Failure):
                await self.base.modules.settle()
            await self.base.clock.sleep(_SETTLE_EVERY_S)

    async def _measure(self) -> None:
        async with self.base.store.view() as view:
            self.metrics.rooms(await view.rooms.count())

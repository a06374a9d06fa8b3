"""`etb-appservice run`: listeners first, so that nothing waits outside; then the bot; then everything else.

A homeserver that isn't reachable yet is waited for, loudly. A store that was lost ends the process.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import structlog
from aiohttp import web

from etb_appservice.app.foundation import Foundation, foundation
from etb_appservice.app.house import House
from etb_appservice.config import Settings
from etb_appservice.config.values import Address
from etb_appservice.domain.outcomes import Later, Unsure
from etb_appservice.etb.webhook import WebhookIntake
from etb_appservice.gateway.frame import Frame
from etb_appservice.gateway.socket import Sockets
from etb_appservice.matrix.identity import Established
from etb_appservice.ops.health import routes
from etb_appservice.ops.metrics import Metrics
from etb_appservice.store.leader import leadership

log = structlog.get_logger(__name__)
_LONGEST_WAIT_S = 30.0
_STOP_AFTER_S = 5.0
_IDLE_S = 75.0
"""Anybody may connect: who sends no request, nor the whole head of one, in this time is hung up on. Longer than
proxies keep a connection for the next request, so that none comes as we hang up. WebSockets see to themselves."""
_TRUSTED_IDLE_S = 3600.0


async def run(settings: Settings, *, wait: bool = True) -> None:
    """Serve until cancelled. `wait`: stand by while another process leads, instead of raising NotLeader.

    Raises StoreError, Refused and Broken with what to do.
    """
    metrics = Metrics()
    async with (
        leadership(settings.database.etb_url, leadership_lost, wait=wait),
        foundation(settings, metrics) as base,
    ):
        house = House(base, metrics)
        async with listening(settings, house):
            await house.run(await become_bot(base))


def leadership_lost() -> None:
    """Another process may lead by now: end before the next encryption, without any clean-up."""
    log.critical("no longer leading: this process ends at once")
    os._exit(1)


@asynccontextmanager
async def listening(settings: Settings, house: House) -> AsyncIterator[None]:
    """Serve the private listener, and the public one where there is something to serve."""
    private = house.transactions().app()
    private.add_routes(
        routes(
            look=house.vitals.look,
            metrics=house.metrics if settings.ops.metrics else None,
            measure=partial(house.queues.measure, house.metrics),
        )
    )
    runners: list[web.AppRunner] = []
    try:
        runners.append(await listen(private, settings.appservice.listen, "appservice.listen"))
        webhook, gateway = house.webhook(), house.gateway()
        if webhook is not None or gateway is not None:
            runners.append(await listen_to_all(settings, webhook, gateway, house.sockets))
        yield
    finally:
        for runner in runners:
            await runner.cleanup()


async def listen_to_all(
    settings: Settings, webhook: WebhookIntake | None, gateway: Frame | None, sockets: Sockets | None
) -> web.AppRunner:
    """The public listener."""
    public = web.Application()
    if webhook is not None:
        public.add_routes(webhook.routes())
    if gateway is not None:
        gateway.mount(public)
    if sockets is not None:
        sockets.mount(public)
    return await listen(public, settings.gateway.listen, "gateway.listen", idle_s=_IDLE_S)


async def become_bot(base: Foundation) -> Established:
    """The bot's device and identity; waits for the homeserver as long as it takes."""
    wait_s = 1.0
    while True:
        try:
            established = await base.door.identity.establish()
        except (Later, Unsure) as failure:
            log.warning("the homeserver can't be reached yet", reason=str(failure), again_in_s=wait_s)
            await base.clock.sleep(wait_s)
            wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
            continue
        if established.recovery_key is not None:
            log.warning(
                "nobody has seen the bot's recovery key yet: run `etb-appservice recovery-key` and keep it"
            )
        return established


async def listen(
    app: web.Application, address: Address, key: str, *, idle_s: float = _TRUSTED_IDLE_S
) -> web.AppRunner:
    """Serve one application; OSError names the key of the settings when the address can't be had."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=_STOP_AFTER_S, keepalive_timeout=idle_s)
    await runner.setup()
    try:
        await web.TCPSite(runner, address.host, address.port).start()
    except OSError as error:
        await runner.cleanup()
        raise OSError(f"{key} {address} can't be listened on: {error.strerror}") from error
    log.info("listening", what=key, host=address.host, port=address.port)
    return runner

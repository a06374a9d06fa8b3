"""`etb-appservice check`: is everything as it must be, and if not, what to do. Changes nothing of weight."""

import hmac
from collections.abc import Sequence
from dataclasses import dataclass

from aiohttp import ClientError, ClientSession, ClientTimeout, web

from etb_appservice.app.ages import ages
from etb_appservice.app.foundation import Foundation, foundation
from etb_appservice.app.promoted import promoted
from etb_appservice.app.run import listen
from etb_appservice.app.vitals import TYPING
from etb_appservice.config import Settings
from etb_appservice.config.values import Address
from etb_appservice.domain.outcomes import Failure
from etb_appservice.matrix.selftest import SelfTest
from etb_appservice.ops.health import ALIVE
from etb_appservice.store.errors import StoreError
from etb_appservice.store.migrate import is_current

_REACHED_BY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - only compared
"""Where a listener on every address is reached from here."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; `text` says what was found, and what to do where it isn't well."""

    part: str
    is_well: bool
    text: str


async def check(settings: Settings) -> list[Finding]:
    """Look at database, homeserver (both ways) and ETB. Never raises for what it looks at."""
    try:
        if not await is_current(settings.database.etb_url):
            return [Finding("database", is_well=False, text="not up to date: run `etb-appservice db upgrade`.")]
        async with foundation(settings) as base:
            findings = [Finding("database", is_well=True, text=f"{settings.database.kind}, up to date")]
            findings += await secrets_found(base)
            findings += await _homeserver(base)
            return findings + await _admin(base) + await _etb(base)
    except (StoreError, OSError) as error:
        return [Finding("database", is_well=False, text=str(error))]


async def secrets_found(base: Foundation) -> list[Finding]:
    """How old the secrets are, and whether a rotation was cut off."""
    ends = await base.door.identity.former_recovery_keys()
    return [
        Finding(f"secret {name}", is_well=is_well, text=text)
        for name, is_well, text in ages(base.secrets, ends, base.clock.now_ms())
    ]


async def _admin(base: Foundation) -> list[Finding]:
    vital = await promoted(base.admin, base.settings.homeserver.admin_user)
    return [Finding(vital.name, vital.is_well, vital.text)]


async def _homeserver(base: Foundation) -> list[Finding]:
    settings = base.settings
    test = SelfTest(
        base.door.anonymous,
        base.clock,
        appservice_id=settings.appservice.id,
        alias_prefix=settings.rooms.alias_prefix,
        server_name=settings.homeserver.domain,
        ping_tries=2,
    )
    findings: list[Finding] = []
    runner: web.AppRunner | None = None
    if await is_running(settings.appservice.listen):
        findings += await typing_found(settings.appservice.listen)
    else:
        try:
            runner = await _answer_pings(settings, base.secrets.of("hs_token"))
        except OSError as error:
            # The homeserver's ping then fails too, and says nothing of why.
            text = f"{error}. Stop what listens there, or change appservice.listen."
            findings.append(Finding("listener", is_well=False, text=text))
    try:
        vitals = await test.run()
    finally:
        if runner is not None:
            await runner.cleanup()
    return findings + [Finding(vital.name, vital.is_well, vital.text) for vital in vitals]


async def _etb(base: Foundation) -> list[Finding]:
    try:
        report = await base.modules.probe()
    except Failure as failure:
        return [Finding("etb", is_well=False, text=str(failure))]
    return [
        Finding(f"etb {one.module}", is_well=one.is_well, text=one.detail or f"{one.presence.value}: {one.path}")
        for one in report.modules
    ]


async def is_running(listen: Address) -> bool:
    """Whether the service itself answers on its private listener, and not another program."""
    return await _asked(listen, "/health") == ALIVE


async def _asked(listen: Address, path: str) -> object:
    """What the private listener answers; None where nothing does, or not in JSON."""
    host = _REACHED_BY.get(listen.host, listen.host)
    try:
        async with (
            ClientSession(timeout=ClientTimeout(total=2)) as http,
            http.get(f"http://{Address(host, listen.port)}{path}", allow_redirects=False) as response,
        ):
            return await response.json(content_type=None)
    except (TimeoutError, ClientError, OSError, ValueError):
        return None


async def typing_found(listen: Address) -> list[Finding]:
    """Whether the homeserver tells who types: only the service sees that, in what it is sent."""
    found = await _asked(listen, "/ready")
    parts = found.get("parts") if isinstance(found, dict) else None
    part = parts.get(TYPING) if isinstance(parts, dict) else None
    if not isinstance(part, dict):
        return []
    return [Finding(TYPING, is_well=part.get("well") is True, text=str(part.get("text")))]


async def _answer_pings(settings: Settings, tokens: Sequence[str]) -> web.AppRunner:
    """Stands in for the service while it isn't running, so that the homeserver's way to us can be tried.

    Answers pings only: a transaction gets 503, so that the homeserver keeps it for the service.
    """

    async def ping(request: web.Request) -> web.Response:
        given = request.headers.get("Authorization", "").removeprefix("Bearer ")
        is_right = bool(sum(hmac.compare_digest(given.encode(), token.encode()) for token in tokens))
        return web.json_response({} if is_right else {"errcode": "M_FORBIDDEN"}, status=200 if is_right else 403)

    async def later(_request: web.Request) -> web.Response:
        return web.json_response({"errcode": "M_UNKNOWN", "error": "not running"}, status=503)

    app = web.Application(client_max_size=0)
    app.router.add_post("/_matrix/app/v1/ping", ping)
    app.router.add_put("/{path:.*}", later)
    return await listen(app, settings.appservice.listen, "appservice.listen")

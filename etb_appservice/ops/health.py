"""`/health`, `/ready` and `/metrics`, for the private listener.

    /health   200 while the process answers at all: restart it when it doesn't
    /ready    200 when every vital part is well, else 503; JSON with each part
    /metrics  Prometheus' text format

Parts are looked at by injected callables that don't wait for anything outside. Never behind the public listener.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from etb_appservice.ops.metrics import Metrics
from etb_appservice.ports import Vital

_log = structlog.get_logger(__name__)
OPTIONAL = frozenset({"etb", "devices", "typing"})
"""Parts without which the service goes on: while ETB is away, work waits and copies are shown with their age; a
device that can't be given keys is its owner's trouble; that somebody types is nice to see."""
ALIVE = {"status": "alive"}
"""What `/health` answers; `check` knows the service by it."""
_MEASURE_S = 5.0


def status_of(vitals: Sequence[Vital]) -> str:
    """`ready`, `degraded` (only optional parts are unwell) or `not ready`; nothing to look at is not ready."""
    unwell = {vital.name for vital in vitals if not vital.is_well}
    if not vitals or unwell - OPTIONAL:
        return "not ready"
    return "degraded" if unwell else "ready"


def routes(
    *,
    look: Callable[[], Sequence[Vital]],
    metrics: Metrics | None = None,
    measure: Callable[[], Awaitable[None]] | None = None,
) -> list[web.RouteDef]:
    """Routes to add to an aiohttp application.

    `measure` brings the gauges up to date by asking the database; failing, it makes the service not ready.
    """

    async def health(_request: web.Request) -> web.Response:
        return web.json_response(ALIVE)

    async def database() -> Vital:
        if measure is None:
            return Vital("database", is_well=True, text="not looked at")
        try:
            async with asyncio.timeout(_MEASURE_S):
                await measure()
        except Exception:  # noqa: BLE001 - logged and shown; whatever it is, the database doesn't answer
            _log.warning("the queues could not be measured", exc_info=True)
            return Vital("database", is_well=False, text="doesn't answer; the log says why")
        return Vital("database", is_well=True, text="answers")

    async def ready(_request: web.Request) -> web.Response:
        seen = look()
        vitals = [await database(), *seen] if seen else []
        status = status_of(vitals)
        if metrics is not None:
            metrics.ready(status != "not ready")
        parts = {vital.name: {"well": vital.is_well, "text": vital.text} for vital in vitals}
        return web.json_response({"status": status, "parts": parts}, status=503 if status == "not ready" else 200)

    async def scrape(_request: web.Request) -> web.Response:
        assert metrics is not None  # noqa: S101 - the route exists only with metrics
        # The database may be what is broken; what was counted must still be seen.
        metrics.ready(status_of([await database(), *look()]) != "not ready")
        return web.Response(body=metrics.exposition(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    found = [web.get("/health", health), web.get("/ready", ready)]
    return [*found, web.get("/metrics", scrape)] if metrics is not None else found

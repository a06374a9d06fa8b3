"""Gives out an answer in pieces, for as long as whoever asked may have it.

    piece, piece, … ─► the wire ─► whole
      └─ meanwhile, every LOOK_S: does the token count, may they still? ─no─► the connection is cut

The status is out by then: only a connection that ends too early says that what came isn't all of it. A reader who
stands still is looked at as well, so that nothing is left to take when the right has gone.
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import NoReturn

import structlog
from aiohttp import web

from etb_appservice.flows.mistakes import told
from etb_appservice.gateway.callers import Caller, Callers, Unconfirmed
from etb_appservice.gateway.gate import Gate
from etb_appservice.gateway.problems import unauthenticated
from etb_appservice.gateway.table import Stream

_log = structlog.get_logger(__name__)
LOOK_S = 2.0
"""How often it is asked whether a caller may still have what is being given out to them."""


async def given_out(
    request: web.Request,
    response: web.StreamResponse,
    pieces: AsyncIterator[bytes],
    may: Coroutine[None, None, NoReturn],
) -> None:
    """Write all of it, or cut the connection when that fails or `may` raises."""
    giving, watching = asyncio.ensure_future(_written(response, pieces)), asyncio.ensure_future(may)
    try:
        done, _ = await asyncio.wait({giving, watching}, return_when=asyncio.FIRST_COMPLETED)
        if (failure := next(iter(done)).exception()) is not None:
            _log.warning("an answer broke off", **told(failure))
            if request.transport is not None:
                request.transport.abort()
    finally:
        for task in (giving, watching):
            task.cancel()
        await asyncio.gather(giving, watching, return_exceptions=True)


async def watched(answer: Stream, caller: Caller, token: str, callers: Callers, gate: Gate) -> NoReturn:
    """Raise Problem as soon as the caller may have it no longer."""
    while True:
        await gate.clock.sleep(LOOK_S)
        found: Caller | None
        try:
            found = await callers.of(token)
        except Unconfirmed:
            # ETB is away. Its last word holds for as long as its word on people does.
            held_ms = gate.clock.now_ms() - caller.confirmed_ms
            found = caller if held_ms <= gate.policy.clearance.hold_s * 1000 else None
        if found is None or found.user.username != caller.user.username:
            raise unauthenticated("authentication_failed", "Invalid token.")
        caller = found
        await answer.still(caller)


async def _written(response: web.StreamResponse, pieces: AsyncIterator[bytes]) -> None:
    async for piece in pieces:
        await response.write(piece)
    await response.write_eof()

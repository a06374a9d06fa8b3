"""Tickets for browsers, which can't set headers when they open a WebSocket (docs/etb-contract.md 1.2)."""

from etb_appservice.gateway.objects import Ticket
from etb_appservice.gateway.table import Answer, Call, Nothing, Route, route


@route("POST", "ws-tickets/", answers={201: Ticket})
async def make_ticket(call: Call[Nothing, Nothing]) -> Answer:
    """Make a ticket that opens one WebSocket, once, within half a minute.

    The ticket stands for the token of this very call, and ends with it.
    """
    return Answer(await call.ticket(), 201)


TABLE: tuple[Route, ...] = (make_ticket,)

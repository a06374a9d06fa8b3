"""`/ws/chat/{room_id}/`: the upgrade, who may sit down, and the reading of frames (docs/etb-contract.md 6).

    upgrade ─► Origin ─► token ─► war room ─► right ─► seat ─► connection_established ─► frames, one after another
        └─────────┴────────┴─────────┴─────────┴──► closed with a code, having been told nothing

A token comes in the header, in the subprotocol pair, as a ticket, or in the URL where the configuration says so.
It is never logged, and whoever has no seat is told of no room.
"""

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import structlog
from aiohttp import WSMsgType, web

from etb_appservice.domain.ids import Username
from etb_appservice.flows import mistakes
from etb_appservice.gateway import frames, objects, told
from etb_appservice.gateway.acts import Acts, error
from etb_appservice.gateway.callers import Caller, Unconfirmed, token_in
from etb_appservice.gateway.entry import Entered
from etb_appservice.gateway.frame import Public
from etb_appservice.gateway.hub import Hub
from etb_appservice.gateway.seat import FAULT, GOING_AWAY, NO_ACCESS, NO_ROOM, NO_TOKEN, TOO_MUCH, Pace, Seat
from etb_appservice.gateway.tickets import Tickets
from etb_appservice.gateway.watch import Known, Patience, Watch
from etb_appservice.ports import Clock

_log = structlog.get_logger(__name__)

PATH = "/ws/chat/{room_id}/"
SUBPROTOCOL = "etb.token"
TICKET_SUBPROTOCOL = "etb.ticket"
_MOST_RECEIVED = 2 * frames.MOST_FRAME_BYTES
"""A frame beyond the limit is refused; one beyond this isn't even read to its end, and ends the socket (1009)."""
_FRAMES = (20, 10.0)
_ENTRIES = (30, 60.0)
"""How many times in how many seconds one caller may try to sit down."""
_MOST_PACES = 10_000
_CLOSE_S = 3.0


class _Refused(Exception):
    """The socket is closed with this code, before anybody sat down."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class SocketTerms:
    """What the operator has decided about sockets."""

    public: Public = field(default_factory=Public)
    """Which pages may connect."""
    token_in_url: bool = False
    """Whether `?token=` is taken: URLs end up in logs of proxies."""
    per_caller: int = 20
    """How many sockets one person may have open."""
    most: int = 5000
    """How many there may be in all."""
    patience: Patience = field(default_factory=Patience)


class Sockets:
    """Every open socket of this process. `mount` serves them, `run` looks after them."""

    def __init__(
        self, hub: Hub, acts: Acts, callers: Known, tickets: Tickets, clock: Clock, terms: SocketTerms
    ) -> None:
        self._hub = hub
        self._acts = acts
        self._callers = callers
        self._tickets = tickets
        self._clock = clock
        self._terms = terms
        self._seats: dict[Seat, None] = {}
        self._of: Counter[Username] = Counter()
        self._paces: OrderedDict[Username, Pace] = OrderedDict()
        self.watch = Watch(self._seats.keys(), hub, acts, callers, clock, terms.patience)

    def __len__(self) -> int:
        return len(self._seats)

    def mount(self, app: web.Application) -> None:
        """Serve them on the public listener, with and without the slash."""
        app.add_routes([web.get(path, self.handle) for path in (PATH, PATH.rstrip("/"))])
        app.on_shutdown.append(self.close)

    async def run(self) -> None:
        """Look after them, until cancelled."""
        await self.watch.run()

    async def close(self, _: Any = None) -> None:
        """The process ends: everybody is told to come back."""
        for seat in list(self._seats):
            seat.close(GOING_AWAY, "The service restarts. Connect again.")

    # --- the upgrade --------------------------------------------------------------------------------------

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """One socket, from its upgrade to its end."""
        offered = _offered(request)
        if offered and offered[0] not in {SUBPROTOCOL, TICKET_SUBPROTOCOL}:
            # Without a name of ours among them what is offered may be a bare token, which aiohttp would log.
            detail = f"Sec-WebSocket-Protocol must begin with {SUBPROTOCOL} or {TICKET_SUBPROTOCOL}."
            return web.json_response({"detail": detail, "code": "invalid"}, status=400)
        ws = web.WebSocketResponse(
            timeout=_CLOSE_S,
            autoping=False,
            protocols=offered[:1],
            compress=False,
            max_msg_size=_MOST_RECEIVED,
            writer_limit=4096,
            decode_text=False,
        )
        if not ws.can_prepare(request):
            detail = "This is a WebSocket: upgrade the connection."
            return web.json_response(
                {"detail": detail, "code": "upgrade_required"},
                status=426,
                headers={"Upgrade": "websocket", "Connection": "Upgrade"},
            )
        await ws.prepare(request)
        try:
            caller, token = await self._who(request, offered)
            entered = await self._where(request, caller)
        except _Refused as no:
            _log.info("socket refused", code=no.code)
            await ws.close(code=no.code, message=no.reason.encode())
            return ws
        except Exception as failure:  # noqa: BLE001 - whatever failed: nobody sat down
            _log.error("socket could not be opened", **mistakes.told(failure))
            await ws.close(code=FAULT, message=b"Something went wrong here. Connect again.")
            return ws
        if request.transport is not None:
            await self._sit(ws, request.transport.abort, caller, token, entered)
        return ws

    async def _who(self, request: web.Request, offered: list[str]) -> tuple[Caller, str]:
        if not self._terms.public.admits(request.headers.get("Origin")):
            raise _Refused(NO_ACCESS, "Pages from this origin may not connect.")
        token = await self._token(request, offered)
        if not token:
            raise _Refused(NO_TOKEN, "A token is needed.")
        try:
            caller = await self._callers.of(token)
        except Unconfirmed:
            raise _Refused(FAULT, "ETB can't be asked about this token. Connect again.") from None
        if caller is None:
            raise _Refused(NO_TOKEN, "This token is not accepted.")
        return caller, token

    async def _token(self, request: web.Request, offered: list[str]) -> str | None:
        """The token that was shown, or for which a ticket was; the first way that is used counts."""
        if given := request.headers.getall("Authorization", []):
            return token_in(given)
        match offered:
            case [name, shown] if name == SUBPROTOCOL:
                return shown
            case [name, shown] if name == TICKET_SUBPROTOCOL:
                return await self._tickets.take(shown)
        if "ticket" in request.query:
            return await self._tickets.take(request.query["ticket"])
        return request.query.get("token") if self._terms.token_in_url else None

    async def _where(self, request: web.Request, caller: Caller) -> Entered:
        username = caller.user.username
        if not self._pace_of(username).takes(self._clock.monotonic()):
            raise _Refused(TOO_MUCH, "Too many connections in a short time. Wait a minute.")
        found = await self._acts.entry.enter(request.match_info["room_id"], caller)
        # Counted only now: between this and the seat nothing is waited for.
        if self._of[username] >= self._terms.per_caller or len(self._seats) >= self._terms.most:
            raise _Refused(TOO_MUCH, "Too many sockets are open. Close some of them.")
        match found:
            case "no room":
                raise _Refused(NO_ROOM, "There is no such room.")
            case "no access":
                raise _Refused(NO_ACCESS, "You may not be in this room.")
            case _:
                return found

    def _pace_of(self, username: Username) -> Pace:
        pace = self._paces.pop(username, None) or Pace(*_ENTRIES)
        self._paces[username] = pace
        while len(self._paces) > _MOST_PACES:
            self._paces.popitem(last=False)
        return pace

    # --- sitting ------------------------------------------------------------------------------------------

    async def _sit(
        self, ws: web.WebSocketResponse, abort: Callable[[], None], caller: Caller, token: str, entered: Entered
    ) -> None:
        now_s = self._clock.monotonic()
        seat = Seat(ws, abort, caller, entered.room.war_room, token=token, now_s=now_s)
        seat.may(entered.permission)
        seat.tell(
            told.ConnectionEstablished(
                room_id=entered.room.war_room,
                user=objects.User(id=caller.user.id or None, username=caller.user.username),
                server_time=objects.moment(self._clock.now_ms()),
            )
        )
        self._seats[seat] = None
        self._of[seat.username] += 1
        self._hub.join(seat, entered)
        try:
            await self._read(ws, seat)
        except Exception as failure:  # noqa: BLE001 - whatever failed: this socket ends, and no other
            _log.error("socket failed", **mistakes.told(failure))
            seat.close(FAULT, "Something went wrong here. Connect again.")
        finally:
            self._hub.leave(seat)
            self._seats.pop(seat, None)
            self._of[seat.username] -= 1
            if not self._of[seat.username]:
                del self._of[seat.username]
            await asyncio.shield(self._leave(seat))

    async def _leave(self, seat: Seat) -> None:
        await self._acts.stop_typing(seat)
        await seat.ended()

    async def _read(self, ws: web.WebSocketResponse, seat: Seat) -> None:
        pace = Pace(*_FRAMES)
        while seat.is_open:
            message = await ws.receive()
            now_s = self._clock.monotonic()
            seat.heard_s = now_s
            match message.type:
                case WSMsgType.PONG:
                    continue
                case WSMsgType.TEXT | WSMsgType.BINARY | WSMsgType.PING:
                    if pace.takes(now_s):
                        await self._take(ws, seat, message.type, message.data)
                    elif pace.is_flood:
                        seat.close(TOO_MUCH, "Far too many frames.")
                    elif message.type is not WSMsgType.PING:
                        seat.tell(error("rate_limited", f"At most {_FRAMES[0]} frames in {_FRAMES[1]:g} s."))
                case _:
                    seat.gone()

    async def _take(self, ws: web.WebSocketResponse, seat: Seat, kind: WSMsgType, data: bytes) -> None:
        if kind is WSMsgType.PING:
            await ws.pong(data)
            return
        seat.asked_s = seat.heard_s
        if kind is WSMsgType.BINARY:
            seat.tell(error("invalid_json", "A frame must be text that is JSON."))
        elif len(data) > frames.MOST_FRAME_BYTES:
            seat.tell(error("validation_error", f"A frame may hold at most {frames.MOST_FRAME_BYTES} bytes."))
        else:
            await self._acts.take(seat, data)


def _offered(request: web.Request) -> list[str]:
    """Subprotocols, in the client's order."""
    found = ",".join(request.headers.getall("Sec-WebSocket-Protocol", []))
    return [one.strip() for one in found.split(",")] if found else []

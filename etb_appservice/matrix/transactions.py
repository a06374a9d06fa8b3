"""What the homeserver calls: transactions, the ping, and questions about users and aliases of ours.

    PUT transaction ──> token ──> JSON ──> one commit to the inbox ──> 200 ──> who types, who has read: told on
                          │         │             └─ fails: 503, the homeserver tries again
                        401/403  400 M_NOT_JSON

Who types and who has read is stored nowhere and holds nothing up: a transaction with nothing else costs no commit.

A transaction that was answered with anything but 200 is sent again for ever and stalls everything behind it. So it
must never be refused for what is in it: the odd event alone is parked. Must never answer 200 before the commit,
and never log a body.

Source: Matrix application service API, "Pushing events", "Pinging", "Querying".
"""

import hashlib
import hmac
import json
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import structlog
from aiohttp import web

from etb_appservice.domain.passing import Sign
from etb_appservice.matrix.arrivals import Intake, parked
from etb_appservice.matrix.passing import part_of, signs_of
from etb_appservice.ports import Arrival

_log = structlog.get_logger(__name__)

BODY_LIMIT = 64 * 1024 * 1024
"""Bytes of one transaction. Synapse sends at most 100 events of 64 KiB; the rest is room for its extensions."""
_REMEMBERED = 1024
_PARTS = frozenset({"events", "ephemeral", "to_device"})
_PREFIXES = ("de.sorunome.msc2409.", "org.matrix.msc3202.", "org.matrix.msc")
_LONG_NUMBER = 4000
_BEARER = "bearer "
_TOO_DEEP = object()

Exists = Callable[[str], Awaitable[bool]]
"""Whether a user id or an alias in our namespaces stands for something that exists."""


class Transactions:
    """The handlers. `tokens` are the accepted hs_tokens: more than one while they are being rotated.

    `passing` is told who types and who has read, where somebody wants to know; it must neither wait nor raise.
    """

    def __init__(
        self,
        intake: Intake,
        tokens: Sequence[str],
        *,
        user_exists: Exists,
        alias_exists: Exists,
        passing: Callable[[Sequence[Sign]], None] | None = None,
    ) -> None:
        self.accept(tokens)
        self._passing = passing
        self._intake = intake
        self._user_exists = user_exists
        self._alias_exists = alias_exists
        self._done: OrderedDict[bytes, None] = OrderedDict()
        self.received = 0
        """Transactions acknowledged since the start; the self-test looks whether it grows."""
        self.pings = 0
        self.tells_passing: bool | None = None
        """Whether any transaction had a part for who types and who has read; None before the first of all."""
        self.last_token = 0
        """Which of the accepted tokens came with the last transaction, in their order."""

    def accept(self, tokens: Sequence[str]) -> None:
        """From now on these are the hs_tokens, the present one first."""
        if not tokens or not all(tokens):
            raise ValueError("appservice.hs_token must not be empty")
        self._tokens = [token.encode() for token in tokens]

    def app(self) -> web.Application:
        """The application for the private listener, `appservice.listen`."""
        app = web.Application(client_max_size=BODY_LIMIT, middlewares=[_errors_as_json])
        for prefix in ("/_matrix/app/v1", ""):
            app.router.add_put(prefix + "/transactions/{txn_id}", self.transaction)
            app.router.add_get(prefix + "/users/{user_id}", self.user, allow_head=False)
            app.router.add_get(prefix + "/rooms/{alias}", self.alias, allow_head=False)
        app.router.add_post("/_matrix/app/v1/ping", self.ping)
        return app

    async def transaction(self, request: web.Request) -> web.Response:
        """`PUT /_matrix/app/v1/transactions/{txnId}`."""
        if refusal := self._refusal(request):
            return refusal
        body = await request.read()
        # The body belongs to the memory: a homeserver whose database was made anew counts from 1 again.
        seen = hashlib.blake2b(request.match_info["txn_id"].encode("utf-8", "replace"), digest_size=16)
        seen.update(body)
        digest = seen.digest()
        if digest in self._done:
            return web.json_response({})
        try:
            content = _read_json(body)
        except RecursionError:
            content = _TOO_DEEP
        except ValueError:
            return _error(400, "M_NOT_JSON", "The transaction's body is not JSON.")
        arrivals = self._arrivals(content, body)
        try:
            new = await self._intake.accept_arrivals(arrivals)
        except Exception as error:  # noqa: BLE001 - whatever keeps us from storing it, the homeserver must keep it
            _log.error("transaction not stored", error=type(error).__name__, events=len(arrivals))
            return _error(503, "M_UNKNOWN", "The transaction could not be stored; send it again.")
        self._done[digest] = None
        if len(self._done) > _REMEMBERED:
            self._done.popitem(last=False)
        self.received += 1
        self._pass_on(content)
        odd = sum(1 for arrival in arrivals if arrival.park_reason is not None)
        if odd:
            _log.warning("odd events parked", events=odd, reason=_first_reason(arrivals))
        _log.debug("transaction stored", events=len(arrivals), new=new)
        return web.json_response({})

    async def ping(self, request: web.Request) -> web.Response:
        """`POST /_matrix/app/v1/ping`: the homeserver reaches us and knows our token."""
        if refusal := self._refusal(request):
            return refusal
        self.pings += 1
        return web.json_response({})

    async def user(self, request: web.Request) -> web.Response:
        """`GET /_matrix/app/v1/users/{userId}`."""
        return self._refusal(request) or await _found(self._user_exists, request.match_info["user_id"], "user")

    async def alias(self, request: web.Request) -> web.Response:
        """`GET /_matrix/app/v1/rooms/{roomAlias}`."""
        return self._refusal(request) or await _found(self._alias_exists, request.match_info["alias"], "room")

    def _refusal(self, request: web.Request) -> web.Response | None:
        """None when the caller is the homeserver. The token counts in the header only, never in the URL."""
        header = request.headers.get("Authorization", "")
        if header[: len(_BEARER)].lower() != _BEARER or not header[len(_BEARER) :].strip():
            return _error(401, "M_MISSING_TOKEN", "The Authorization header holds no bearer token.")
        given = header[len(_BEARER) :].strip().encode("utf-8", "surrogateescape")
        # Every token is compared, so that the time tells nothing about which of them was near.
        fits = [hmac.compare_digest(given, token) for token in self._tokens]
        if not sum(fits):
            _log.warning("wrong hs_token", method=request.method, remote=request.remote)
            return _error(403, "M_FORBIDDEN", "The bearer token is not the hs_token of this application service.")
        if request.method == "PUT":
            self.last_token = fits.index(True)
        return None

    def _pass_on(self, content: object) -> None:
        if not isinstance(content, dict):
            return
        part = part_of(content)
        self.tells_passing = self.tells_passing or part is not None
        if self._passing is not None and part and (signs := signs_of(part)):
            self._passing(signs)

    def _arrivals(self, content: object, body: bytes) -> list[Arrival]:
        """The rows of a transaction."""
        if content is _TOO_DEEP:
            return [parked(body, "the transaction is nested too deeply to be read")]
        if isinstance(content, dict):
            events = content.get("events", [])
            known = "events" in content or not content or any(_is_part(name) for name in content)
            if known and isinstance(events, list):
                return self._rows(events, body)
        return [parked(body, "the transaction has no list of events")]

    def _rows(self, events: Sequence[object], body: bytes) -> list[Arrival]:
        rows = []
        for event in events:
            if isinstance(event, dict) and self._intake.is_echo(event):
                self._intake.saw_echo(event.get("event_id"))
                continue
            try:
                rows.append(self._intake.row(event))
            except RecursionError:
                rows.append(parked(body, "an event of this transaction is nested too deeply to be written"))
        return rows


def _read_json(body: bytes) -> Any:
    """Read JSON, in which a number may be longer than Python reads by itself."""
    try:
        return json.loads(body)
    except json.JSONDecodeError:
        raise
    except UnicodeDecodeError as error:
        raise ValueError("not UTF-8") from error
    except ValueError:
        return json.loads(body, parse_int=_number)


def _number(digits: str) -> int | float:
    """A number that no Matrix event may hold (over 2^53) is kept as a float instead of failing the transaction."""
    return int(digits) if len(digits) <= _LONG_NUMBER else float(digits)


def _is_part(name: str) -> bool:
    return name in _PARTS or name.startswith(_PREFIXES)


def _first_reason(arrivals: Sequence[Arrival]) -> str:
    return next(arrival.park_reason for arrival in arrivals if arrival.park_reason is not None)


async def _found(exists: Exists, name: str, what: str) -> web.Response:
    if await exists(name):
        return web.json_response({})
    return _error(404, "M_NOT_FOUND", f"This application service has no such {what}.")


def _error(status: int, code: str, text: str) -> web.Response:
    return web.json_response({"errcode": code, "error": text}, status=status)


@web.middleware
async def _errors_as_json(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Matrix errors for what aiohttp answers by itself, and no traceback to the caller."""
    try:
        return await handler(request)
    except web.HTTPRequestEntityTooLarge:
        return _error(413, "M_TOO_LARGE", f"The body is larger than {BODY_LIMIT} bytes.")
    except (web.HTTPNotFound, web.HTTPMethodNotAllowed) as error:
        return _error(error.status, "M_UNRECOGNIZED", "This application service has no such endpoint.")
    except web.HTTPException as error:
        return _error(error.status, "M_UNKNOWN", f"The request can't be read: {error.reason}.")
    except Exception as error:  # noqa: BLE001 - the caller gets a clear answer, the log the kind of error
        _log.error("request failed", method=request.method, error=type(error).__name__)
        return _error(500, "M_UNKNOWN", "The application service failed; its log says more.")

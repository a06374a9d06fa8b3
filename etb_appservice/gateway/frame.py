"""Serves a table of routes: both prefixes, both slash forms, and Django REST Framework's habits (contract 1, 3).

    request ─► origin ─► token ─► pace ─► method ─► ids ─► query, body ─► handler ─► one JSON answer
                403       401      429     405       404    400 413 415    Problem

Nothing is redirected. An error never repeats what was sent, and a failure of ours is told by its type alone.
"""

import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Protocol

import structlog
from aiohttp import web
from pydantic import BaseModel, ValidationError

from etb_appservice.domain.ids import UserId
from etb_appservice.flows.mistakes import told
from etb_appservice.flows.pace import Pace
from etb_appservice.gateway.bodies import read_body
from etb_appservice.gateway.callers import Caller, Callers, Unconfirmed, token_in
from etb_appservice.gateway.desk import Refusal
from etb_appservice.gateway.gate import Gate
from etb_appservice.gateway.links import PREFIXES, Links
from etb_appservice.gateway.objects import Ticket, moment
from etb_appservice.gateway.openapi import document
from etb_appservice.gateway.pages import no_such_page
from etb_appservice.gateway.problems import Problem, away, invalid, not_found, unauthenticated
from etb_appservice.gateway.proxies import Network, caller_address
from etb_appservice.gateway.refusals import problem_of
from etb_appservice.gateway.streaming import given_out, watched
from etb_appservice.gateway.table import MOST_KEY, Answer, Asked, Nothing, Route, Stream
from etb_appservice.gateway.tickets import Tickets
from etb_appservice.gateway.uploads import Form

_log = structlog.get_logger(__name__)

DOCUMENT = "schema/"
ROOT_DOCUMENT = "/openapi.json"
_KEPT_EMPTY = frozenset({"cursor"})
_MESSAGES = {
    "missing": "This field is required.",
    "string_too_short": "This field may not be blank.",
    "uuid_parsing": "Must be a valid UUID.",
    "uuid_type": "Must be a valid UUID.",
}


class Count(Protocol):
    """Told of every request: the route's name, the status, and how long it took."""

    def __call__(self, route: str, status: int, seconds: float) -> None:
        """MUST NOT raise."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Public:
    """How the gateway is seen from outside. `origin` is its own, without a path; `origins` may call it too."""

    origin: str = ""
    origins: frozenset[str] = frozenset()
    proxies: Sequence[Network] = ()
    """The operator's own, which say who has asked them."""

    def admits(self, origin: str | None) -> bool:
        """Whether pages of this origin may call; no browser, no origin."""
        return origin is None or origin in self.origins or (bool(self.origin) and origin == self.origin)


@dataclass(frozen=True, slots=True)
class _Place:
    """One path below one prefix."""

    prefix: str
    path: str
    routes: Mapping[str, Route]

    @property
    def allow(self) -> str:
        """What `Allow` says."""
        methods = {*self.routes, "OPTIONS"} | ({"HEAD"} if "GET" in self.routes else set())
        return ", ".join(sorted(methods))


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """`routes`: what is served. `per_minute`: how many requests a caller may send, for `Retry-After`."""

    gate: Gate
    callers: Callers
    tickets: Tickets
    routes: Sequence[Route]
    public: Public
    pace: Pace
    per_minute: int
    count: Count
    _documents: dict[str, bytes] = field(default_factory=dict)

    def mount(self, app: web.Application) -> None:
        """Serve it on the public listener."""
        paths: dict[str, dict[str, Route]] = {}
        for route in self.routes:
            paths.setdefault(route.path, {})[route.method] = route
        for prefix in PREFIXES:
            self._documents[prefix] = _json(document(self.routes, Links(self.public.origin, prefix)))
            for path, routes in paths.items():
                self._mount(app, prefix + path, self._handler(_Place(prefix, path, routes)))
            self._mount(app, prefix + DOCUMENT, self._document(prefix))
            app.router.add_route("*", f"{prefix}{{tail:.*}}", _nothing_here)
        app.router.add_route("*", ROOT_DOCUMENT, self._document(PREFIXES[0]))

    def _mount(self, app: web.Application, path: str, handler: Callable[[web.Request], Any]) -> None:
        for one in (path, path.rstrip("/")):
            app.router.add_route("*", one, handler)

    def _handler(self, place: _Place) -> Callable[[web.Request], Any]:
        async def handle(request: web.Request) -> web.StreamResponse:
            began_s = self.gate.clock.monotonic()
            route = place.routes.get("GET" if request.method == "HEAD" else request.method)
            response: web.StreamResponse
            try:
                response = await self._answer(request, place, route)
            except Problem as problem:
                response = _problem(problem)
            except Exception as error:  # noqa: BLE001 - whatever failed, the caller gets an answer
                _log.error("a request failed", route=route.name if route else "none", **told(error))
                response = _problem(Problem(500, "error", "Something went wrong here. It was recorded."))
            if not response.prepared:
                self._seal(request, response)
            seconds = self.gate.clock.monotonic() - began_s
            self.count(route.name if route else "none", response.status, seconds)
            return response

        return handle

    async def _answer(self, request: web.Request, place: _Place, route: Route | None) -> web.StreamResponse:
        if not self.public.admits(request.headers.get("Origin")):
            raise Problem(403, "origin_not_allowed", "Pages of this origin may not call here.")
        if request.method == "OPTIONS":
            return _options(request, place.allow)
        caller, token = await self._caller(request)
        if not self.pace.allows(UserId(caller.user_id), self.gate.clock.monotonic()):
            wait_s = max(1, round(60 / self.per_minute))
            raise Problem(
                429, "throttled", "Too many requests; wait a moment.", headers={"Retry-After": str(wait_s)}
            )
        if route is None:
            raise Problem(
                405,
                "method_not_allowed",
                f"This method is not allowed here; there are {place.allow}.",
                headers={"Allow": place.allow},
            )
        ids = {name: _uuid(text) for name, text in request.match_info.items()}
        query = {name: text for name, text in request.query.items() if text or name in _KEPT_EMPTY}
        asked = Asked(
            gate=self.gate,
            caller=caller,
            path=ids,
            query=query,
            body=await read_body(request) if route.takes_body else {},
            links=Links(self.public.origin, place.prefix, place.path.format(**ids), query),
            ticket=lambda: self._ticket(token),
            key=_key(request) if route.takes_key else "",
            address=caller_address(
                request.remote or "", request.headers.getall("X-Forwarded-For", []), self.public.proxies
            ),
            form=Form(request) if route.form is not None else None,
        )
        try:
            answer = await route.run(asked)
        except ValidationError as error:
            raise _invalid(error) from None
        except Refusal as no:
            raise problem_of(no) from None
        return (
            await self._streamed(request, answer, caller, token)
            if isinstance(answer, Stream)
            else _response(answer)
        )

    async def _streamed(
        self, request: web.Request, answer: Stream, caller: Caller, token: str
    ) -> web.StreamResponse:
        async with answer.held:
            response = web.StreamResponse(headers=answer.headers)
            response.content_length = answer.size
            self._seal(request, response)
            await response.prepare(request)
            if request.method == "HEAD":
                await response.write_eof()
            else:
                may = watched(answer, caller, token, self.callers, self.gate)
                await given_out(request, response, answer.pieces, may)
            return response

    async def _caller(self, request: web.Request) -> tuple[Caller, str]:
        given = request.headers.getall("Authorization", [])
        if not given:
            raise unauthenticated("not_authenticated", "Authentication credentials were not provided.")
        token = token_in(given)
        if token is None:
            raise unauthenticated("authentication_failed", "Send one header: Authorization: Token <key>.")
        try:
            caller = await self.callers.of(token)
        except Unconfirmed:
            detail = "ETB can't be asked whose token this is. Try again in a moment."
            raise away("etb_unavailable", detail) from None
        if caller is None:
            raise unauthenticated("authentication_failed", "Invalid token.")
        return caller, token

    async def _ticket(self, token: str) -> Ticket:
        expires_ms = self.gate.clock.now_ms() + round(self.tickets.lasts_s * 1000)
        return Ticket(ticket=await self.tickets.give(token), expires_at=moment(expires_ms))

    def _seal(self, request: web.Request, response: web.StreamResponse) -> None:
        """Headers that every answer has."""
        response.headers["Cache-Control"] = "no-store"
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Vary"] = "Origin"
        origin = request.headers.get("Origin")
        if origin is not None and self.public.admits(origin):
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Expose-Headers"] = "Retry-After"

    def _document(self, prefix: str) -> Callable[[web.Request], Any]:
        async def handle(request: web.Request) -> web.Response:
            if request.method not in {"GET", "HEAD"}:
                response = _problem(
                    Problem(405, "method_not_allowed", "Send GET.", headers={"Allow": "GET, HEAD"})
                )
            else:
                response = web.Response(body=self._documents[prefix], content_type="application/json")
            self._seal(request, response)
            return response

        return handle


async def _nothing_here(request: web.Request) -> web.Response:
    del request
    return _problem(not_found())


def _key(request: web.Request) -> str:
    given = request.headers.get("Idempotency-Key", "").strip()
    if len(given) > MOST_KEY:
        raise invalid(**{"Idempotency-Key": f"At most {MOST_KEY} characters."})
    return given


def _uuid(text: str) -> str:
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise not_found() from None


def _options(request: web.Request, allow: str) -> web.Response:
    headers = {"Allow": allow}
    if "Origin" in request.headers:
        headers |= {
            "Access-Control-Allow-Methods": allow,
            "Access-Control-Allow-Headers": "Authorization, Content-Type, Idempotency-Key",
            "Access-Control-Max-Age": "600",
        }
    return web.Response(status=204, headers=headers)


def _invalid(error: ValidationError) -> Problem:
    fields: dict[str, list[str]] = {}
    for one in error.errors(include_url=False, include_context=False, include_input=False):
        name = str(one["loc"][0]) if one["loc"] else "non_field_errors"
        text = _MESSAGES.get(one["type"]) or one["msg"].removeprefix("Value error, ").rstrip(".") + "."
        texts = fields.setdefault(name, [])
        if text not in texts:
            texts.append(text)
    return no_such_page() if fields.keys() == {"page"} else Problem(400, "invalid", "", fields=fields)


def _problem(problem: Problem) -> web.Response:
    body: Any = problem.fields or {"detail": problem.detail, "code": problem.code}
    response = web.Response(
        body=_json(body), status=problem.status, content_type="application/json", headers=problem.headers
    )
    if problem.status in {HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.REQUEST_TIMEOUT}:
        response.force_close()  # the rest of the body is not waited for
    return response


def _response(answer: Answer) -> web.Response:
    if isinstance(answer.body, Nothing):
        return web.Response(status=answer.status, headers=answer.headers)
    return web.Response(
        body=_json(_plain(answer.body)),
        status=answer.status,
        content_type="application/json",
        headers=answer.headers,
    )


def _plain(body: BaseModel) -> Any:
    return body.model_dump(mode="python")


def _json(value: Any) -> bytes:
    """ASCII, so that no sign that somebody sent can make it unreadable."""
    return json.dumps(value, ensure_ascii=True, separators=(",", ":")).encode("ascii")

"""`POST /hooks/etb/incident/`: ETB, or an automation beside it, pushes an incident (docs/etb-contract.md 7.5).

Signed by Standard Webhooks (`webhook-id`, `webhook-timestamp`, `webhook-signature`). One commit into the inbox,
then 200; if that fails, 503, and the sender tries again. Nothing is read from a body before its signature holds,
and an error never repeats a part of it.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence

import structlog
from aiohttp import web
from standardwebhooks import Webhook, WebhookVerificationError

from etb_appservice.etb import fields
from etb_appservice.etb.codec import IncidentDecoder
from etb_appservice.etb.wire import JsonObject, Unreadable, kind_of, read_json
from etb_appservice.ports import Arrival, Store

_log = structlog.get_logger(__name__)

PATH = "/hooks/etb/incident/"
BODY_LIMIT = 1024 * 1024
_BODY_S = 20.0
"""How long all of it may take: anybody may send one."""
_CHUNK = 64 * 1024
_LEAST_SECRET = 24
"""Bytes, by the Standard Webhooks specification."""
_HEADERS = ("webhook-id", "webhook-timestamp", "webhook-signature")
_MOST_HEADER = 4096
_MOST_EVENT = 100


class _Answer(Exception):
    """What the sender is told instead of 200."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail


class WebhookIntake:
    """`secrets`: `whsec_…`, base64 of 24 bytes or more; several while one is being replaced.

    `accepted` is called after each commit with something new. Raises ValueError when a secret can't be used.
    """

    def __init__(
        self,
        store: Store,
        decoder: IncidentDecoder,
        secrets: Sequence[str],
        *,
        accepted: Callable[[], None] = lambda: None,
    ) -> None:
        self.accept(secrets)
        self._store = store
        self._decoder = decoder
        self._accepted = accepted

    def accept(self, secrets: Sequence[str]) -> None:
        """From now on any of these may sign."""
        if not secrets:
            raise ValueError("the webhook needs at least one secret")
        self._locks = [_lock(secret) for secret in secrets]

    def routes(self) -> list[web.RouteDef]:
        """With and without the slash, without a redirect: a redirected POST loses its body."""
        return [web.route("*", path, self.handle) for path in (PATH, PATH.rstrip("/"))]

    async def handle(self, request: web.Request) -> web.Response:
        """One delivery; the answer is `{"status": "accepted"}`, or `{"detail", "code"}`."""
        try:
            arrival, webhook_id = await self._read(request)
        except _Answer as answer:
            _log.info("webhook refused", status=answer.status, code=answer.code)
            return _refusal(answer)
        try:
            async with self._store.work() as work:
                # Both commit together: the id stops a delivery seen before, the key what the poll brought already.
                is_new = await work.once.first_time("webhook", webhook_id) and await work.inbox.accept([arrival])
        except Exception as error:  # noqa: BLE001 - whatever failed: not stored, so not accepted
            _log.error("webhook could not be stored", error=type(error).__name__)
            return _refusal(_Answer(503, "unavailable", "This could not be stored. Send it again."))
        if is_new:
            self._accepted()
        return web.json_response({"status": "accepted"})

    async def _read(self, request: web.Request) -> tuple[Arrival, str]:
        if request.method != "POST":
            raise _Answer(405, "method_not_allowed", f"{request.method} is not allowed here; send POST.")
        body = await _bounded(request)
        webhook_id = self._verify(request.headers, body)
        event, row = _message(body)
        return self._decoder.arrival(row, via="webhook", event=event, moment=webhook_id), webhook_id

    def _verify(self, headers: Mapping[str, str], body: bytes) -> str:
        """The delivery's id, once its signature and time hold. Compares in constant time (`standardwebhooks`)."""
        given = {name: headers.get(name, "") for name in _HEADERS}
        for name, value in given.items():
            if not value or len(value) > _MOST_HEADER:
                raise _Answer(401, "signature_missing", f"The header {name} is missing or too long.")
        is_stale = False
        for lock in self._locks:
            try:
                lock.verify(body, given, json_parse=False)
            except WebhookVerificationError as error:
                is_stale = is_stale or "too old" in str(error) or "too new" in str(error)
            except ValueError:  # a signature that isn't base64, a body that isn't UTF-8: it can't be right
                continue
            else:
                return given["webhook-id"]
        if is_stale:
            raise _Answer(401, "timestamp_stale", "webhook-timestamp is more than five minutes off our clock.")
        raise _Answer(401, "signature_wrong", "webhook-signature does not fit this body and our secret.")


def _lock(secret: str) -> Webhook:
    try:
        lock = Webhook(secret)
        length = len(lock._whsecret)  # noqa: SLF001 - the library shows it nowhere else
    except (ValueError, RuntimeError):
        length = 0
    except Exception as error:  # the library's own complaint about an empty secret
        raise ValueError("a webhook secret is empty") from error
    if length < _LEAST_SECRET:
        raise ValueError(f"a webhook secret must be base64 (`whsec_…`) of at least {_LEAST_SECRET} bytes")
    return lock


async def _bounded(request: web.Request) -> bytes:
    """The body, after decompression; 413 as soon as it is too long, 408 when it is too slow."""
    body = bytearray()
    try:
        async with asyncio.timeout(_BODY_S):
            async for chunk in request.content.iter_chunked(_CHUNK):
                body += chunk
                if len(body) > BODY_LIMIT:
                    raise _Answer(413, "too_large", f"The body is larger than {BODY_LIMIT} bytes.")
    except TimeoutError:
        raise _Answer(408, "timeout", f"The body did not come within {_BODY_S:g} seconds.") from None
    return bytes(body)


def _message(body: bytes) -> tuple[str, JsonObject]:
    """`event` and `incident` of a body whose signature holds; 400 naming what is wrong."""
    try:
        message = read_json(body)
        if not isinstance(message, dict):
            raise Unreadable(f"the body must be an object, not {kind_of(message)}")
        event, row = message.get("event"), message.get("incident")
        if not isinstance(event, str) or not 0 < len(event) <= _MOST_EVENT:
            raise Unreadable(f"event must be text of at most {_MOST_EVENT} characters")
        if not isinstance(row, dict):
            raise Unreadable(f"incident must be an object, not {kind_of(row)}")
    except Unreadable as error:
        raise _Answer(400, "invalid", f"This can't be read: {error}.") from None
    try:
        fields.identifier(row)
    except Unreadable as error:
        raise _Answer(400, "invalid", f"This can't be read: incident.{error}.") from None
    return event, row


def _refusal(answer: _Answer) -> web.Response:
    response = web.json_response({"detail": answer.detail, "code": answer.code}, status=answer.status)
    match answer.status:
        case 405:
            response.headers["Allow"] = "POST"
        case 413:
            response.force_close()
        case 503:
            response.headers["Retry-After"] = "5"
    return response

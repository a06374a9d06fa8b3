"""Talks to the homeserver for one actor: every call carries the appservice's token, `user_id` and `device_id`.

It never retries by itself (the outbox and the key loop do that with a plan), never logs a request's body, and lets
no error out but the four outcomes: wrap calls in `outcomes()`.
"""

import asyncio
import inspect
import json
import logging
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
from mautrix.api import HTTPAPI, Method, Path
from mautrix.client import Client
from mautrix.errors import MatrixConnectionError, MatrixRequestError, MatrixResponseError, make_request_error
from mautrix.types import DeviceID, SerializerError, UserID
from yarl import URL

from etb_appservice.domain.outcomes import Broken, Failure, Later, Refused, Unsure
from etb_appservice.matrix.tokens import Tokens

_ANSWER_LIMIT = 128 * 1024 * 1024
"""Bytes of one answer; a /sync after a long absence is the largest there is."""
_ERROR_LIMIT = 64 * 1024
_TOKEN_ERRORS = frozenset({"M_UNKNOWN_TOKEN", "M_MISSING_TOKEN"})
_TOO_MANY = 429
_UNAVAILABLE = 503
_SERVER_ERROR = 500


@dataclass(frozen=True, slots=True)
class Actor:
    """A Matrix user of ours and the one device it speaks from."""

    mxid: str
    device_id: str
    client: Client


class _NoBodies(logging.Filter):
    """Keeps mautrix's logs above DEBUG whatever the configuration says: debug lines hold bodies.

    A person's device without its owner's signature is no warning about this service: every new device is one for
    a moment.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno == logging.WARNING and record.getMessage().endswith(_UNSIGNED):
            record.levelno, record.levelname = logging.INFO, logging.getLevelName(logging.INFO)
        return record.levelno >= logging.INFO


_UNSIGNED = "isn't cross-signed"
_NO_BODIES = _NoBodies()
_LOUD_LOGGERS = ("mau.http", "mau.crypto", "mau.db")

# mautrix insists on loggers of its own class, made at import; logging set up later changes the class of new ones.
for _name in _LOUD_LOGGERS:
    logging.getLogger(_name)


def silence_bodies() -> None:
    """Drop every record of mautrix below INFO: request bodies and decrypted key material appear there."""
    for name in _LOUD_LOGGERS:
        logging.getLogger(name).addFilter(_NO_BODIES)


class Wire(HTTPAPI):
    """mautrix's HTTP part, but keeping what the server says about waiting, and with a limit on answers.

    It speaks with whichever of its tokens the homeserver knows (tokens.py).
    """

    def __init__(self, url: str, tokens: Tokens, http: aiohttp.ClientSession, mxid: str, device_id: str) -> None:
        super().__init__(
            url,
            "",
            client_session=http,
            default_retry_count=0,
            as_user_id=UserID(mxid) if mxid else None,
            as_device_id=UserID(device_id) if device_id else None,  # mautrix's annotation, it means a device
        )
        self._tokens = tokens

    async def _send(
        self,
        method: Method,
        url: URL,
        content: Any,
        query_params: dict[str, str],
        headers: dict[str, str],
    ) -> tuple[Any, aiohttp.ClientResponse]:
        in_order = self._tokens.in_order
        for token, is_last in zip(in_order, [*[False] * (len(in_order) - 1), True], strict=True):
            authorized = {**headers, "Authorization": f"Bearer {token}"}
            try:
                answer = await self._send_once(method, url, content, query_params, authorized)
            except MatrixRequestError as error:
                if error.errcode != "M_UNKNOWN_TOKEN":
                    raise
                if not self._tokens.failed(token) or is_last:
                    raise
                if inspect.isasyncgen(content):  # a body that is gone now can't be sent once more
                    raise Later("the homeserver is about to be spoken to with another token") from error
            else:
                self._tokens.worked(token)
                return answer
        raise MatrixResponseError("there is no token to speak with")

    async def _send_once(
        self,
        method: Method,
        url: URL,
        content: Any,
        query_params: dict[str, str],
        headers: dict[str, str],
    ) -> tuple[Any, aiohttp.ClientResponse]:
        async with self.session.request(
            str(method), url, data=content, params=query_params, headers=headers, allow_redirects=False
        ) as response:
            body = bytearray()
            async for chunk in response.content.iter_chunked(1 << 16):
                body += chunk
                if len(body) > _ANSWER_LIMIT:
                    raise MatrixResponseError(f"the homeserver's answer is larger than {_ANSWER_LIMIT} bytes")
            try:
                answer = json.loads(body)
            except (ValueError, RecursionError):
                answer = None
            if not 200 <= response.status < 300:  # noqa: PLR2004 - the HTTP success range
                raise _request_error(response, answer)
            if not isinstance(answer, dict | list):
                raise MatrixResponseError(f"the homeserver's answer to {method} {url.path} is not JSON")
            return answer, response

    async def stream(self, path: str) -> AsyncGenerator[bytes, None]:
        """The body of a GET, in pieces. Close it: the connection is held until then."""
        url = self.base_url.with_path(self._full_path(path), encoded=True)
        query = {"user_id": self.as_user_id} if self.as_user_id else {}
        in_order = self._tokens.in_order
        for token, is_last in zip(in_order, [*[False] * (len(in_order) - 1), True], strict=True):
            headers = {"Authorization": f"Bearer {token}"}
            async with self.session.get(url, params=query, headers=headers, allow_redirects=False) as response:
                if response.status == 200:  # noqa: PLR2004 - OK
                    self._tokens.worked(token)
                    async for piece in response.content.iter_chunked(1 << 16):
                        yield piece
                    return
                try:
                    answer = json.loads(await response.content.read(_ERROR_LIMIT))
                except (ValueError, RecursionError):
                    answer = None
                error = _request_error(response, answer)
            if error.errcode != "M_UNKNOWN_TOKEN" or not self._tokens.failed(token) or is_last:
                raise error
        raise MatrixResponseError("there is no token to speak with")


def _request_error(response: aiohttp.ClientResponse, answer: Any) -> MatrixRequestError:
    fields = answer if isinstance(answer, dict) else {}
    code, message = fields.get("errcode"), fields.get("error")
    error: MatrixRequestError = make_request_error(
        http_status=response.status,
        text="",
        errcode=code if isinstance(code, str) else None,
        message=message if isinstance(message, str) else "",
    )
    error.wait_s = _wait_s(fields, response.headers.get("Retry-After", ""))  # type: ignore[attr-defined]
    return error


def _wait_s(fields: dict[str, Any], header: str) -> float | None:
    """Seconds to wait: `retry_after_ms` of the body, else the header (Matrix client-server API, Rate limiting)."""
    wait_ms = fields.get("retry_after_ms")
    if isinstance(wait_ms, int | float) and not isinstance(wait_ms, bool):
        return max(0.0, wait_ms / 1000)
    return float(header) if header.isascii() and header.isdigit() else None


def make_client(
    homeserver_url: str, token: Tokens | str, mxid: str, device_id: str, http: aiohttp.ClientSession
) -> Client:
    """A mautrix client that speaks as `mxid` from `device_id` (MSC4190, MSC3202); `device_id` "" for none yet.

    It has no state store, does not sync by itself and never encrypts by itself.
    """
    silence_bodies()
    wire = Wire(homeserver_url, token if isinstance(token, Tokens) else Tokens(token), http, mxid, device_id)
    return Client(mxid=UserID(mxid), device_id=DeviceID(device_id), api=wire)


def outcome_of(error: Exception) -> Failure:
    """The outcome that an error of a call to the homeserver means."""
    match error:
        case Failure():
            return error
        case MatrixRequestError():
            return _outcome_of_status(error)
        case MatrixConnectionError(__cause__=cause) if isinstance(cause, Exception):
            return outcome_of(cause)
        case aiohttp.ConnectionTimeoutError() | aiohttp.ClientConnectorError():
            return Later(f"the homeserver can't be reached ({type(error).__name__})")
        case TimeoutError() | asyncio.TimeoutError():
            return Unsure("the homeserver did not answer in time")
        case aiohttp.InvalidURL():
            return Broken("homeserver.url is not a usable address")
        case aiohttp.ClientError() | MatrixConnectionError():
            return Unsure(f"the connection to the homeserver broke before an answer ({type(error).__name__})")
        case MatrixResponseError() | SerializerError():
            return Unsure("the homeserver's answer could not be read")
        case _:
            return Broken(f"an unforeseen error in a call to the homeserver ({type(error).__name__})")


def _outcome_of_status(error: MatrixRequestError) -> Failure:
    status = error.http_status
    code = error.errcode or f"HTTP {status}"
    said = f"the homeserver answered {status} {code}: {(error.message or 'no reason given')[:200]}"
    wait_s: float | None = getattr(error, "wait_s", None)
    if status == _TOO_MANY or code == "M_LIMIT_EXCEEDED":
        return Later(said, after_s=wait_s)
    if code in _TOKEN_ERRORS:
        return Broken(f"{said}. Compare appservice.as_token with the registration that the homeserver loaded.")
    if status == _UNAVAILABLE:
        return Later(said, after_s=wait_s)
    if status >= _SERVER_ERROR:
        return Unsure(said)
    return Refused(said, code=code)


@contextmanager
def outcomes() -> Iterator[None]:
    """Turn any error of the calls inside into one of the four outcomes; cancellation passes."""
    try:
        yield
    except Failure:
        raise
    except Exception as error:
        raise outcome_of(error) from error


async def call(
    client: Client,
    method: Method,
    path: Any,
    content: dict[str, Any] | None = None,
    query: dict[str, str] | None = None,
) -> dict[str, Any]:
    """One raw call; answers the JSON object. Raises mautrix's errors: stand inside `outcomes()`."""
    answer: Any = await client.api.request(method, path, content, query_params=query)
    if not isinstance(answer, dict):
        raise MatrixResponseError("the homeserver's answer is not a JSON object")
    return answer


__all__ = ["Actor", "Method", "Path", "Wire", "call", "make_client", "outcome_of", "outcomes", "silence_bodies"]

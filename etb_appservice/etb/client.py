"""HTTP to ETB: one token, one origin, bounded answers, and the four outcomes (docs/etb-contract.md 1).

The token goes to the configured origin and nowhere else: redirects are refused and a foreign `next` is never
followed. Reads are tried again with full jitter; a POST goes out once, since ETB knows no idempotency key.
"""

import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Self

import aiohttp
import structlog
from yarl import URL

from etb_appservice.domain.outcomes import Later, Refused, Unsure
from etb_appservice.etb.answers import RETRIED, failure, retry_after_s
from etb_appservice.etb.connection import EtbConnection
from etb_appservice.etb.wire import JsonObject, Unreadable, in_header, kind_of, read_json, write_json
from etb_appservice.ports import Clock

_log = structlog.get_logger(__name__)

PAGE_SIZE = 100
_TRIES = 4
_TRIES_OF_OTHERS = 2
"""Somebody waits for the answer."""
_FIRST_WAIT_S = 0.25
_MOST_WAIT_S = 4.0
_PATIENCE_S = 15.0
"""A `Retry-After` up to here is waited for on the spot; a longer one is the caller's."""
_CHUNK = 64 * 1024
_ERROR_BODY = 64 * 1024


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    body: bytes
    after_s: float | None


class _Lost(Exception):
    """No answer; `sent` tells whether the request may have reached ETB."""

    def __init__(self, reason: str, *, sent: bool) -> None:
        super().__init__(reason)
        self.sent = sent


class _TooLarge(Exception):
    pass


class EtbClient:
    """Close it, or use it as an async context manager. `dice` answers 0..1 and is the jitter."""

    def __init__(
        self,
        connection: EtbConnection,
        clock: Clock,
        *,
        dice: Callable[[], float] = random.random,
        traces: Sequence[aiohttp.TraceConfig] = (),
    ) -> None:
        """`traces` watch every request, for the metrics."""
        self._traces = list(traces)
        self.connection = connection
        self._clock = clock
        self._dice = dice
        self._base = URL(connection.base_url.rstrip("/"))
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Let go of the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def get(self, path: str, params: Mapping[str, str] | None = None, *, tries: int = _TRIES) -> Any:
        """JSON of any shape. Repeating is safe; raises Later or Refused."""
        return await self._read(self._url(path, params), path, tries)

    async def get_as(self, token: str, path: str) -> JsonObject:
        """A JSON object, read with somebody else's token in place of ours. Raises Later or Refused.

        The token MUST be what `callers.is_token` takes: it becomes a header.
        """
        answer = await self._read(self._url(path, None), path, _TRIES_OF_OTHERS, token)
        if not isinstance(answer, dict):
            raise Refused(f"ETB's answer to GET {path} must be an object, not {kind_of(answer)}", code="shape")
        return answer

    async def get_object(self, path: str, params: Mapping[str, str] | None = None) -> JsonObject:
        """A JSON object; raises Later or Refused."""
        answer = await self.get(path, params)
        if not isinstance(answer, dict):
            raise Refused(f"ETB's answer to GET {path} must be an object, not {kind_of(answer)}", code="shape")
        return answer

    async def pages(
        self, path: str, params: Mapping[str, str] | None = None, *, page_size: int = PAGE_SIZE
    ) -> AsyncIterator[list[JsonObject]]:
        """The rows of a list, page by page (1.3); a bare array is one page. Raises Later or Refused."""
        asked = {"page_size": str(page_size), **(params or {})}
        url = self._url(path, asked)
        seen = {url}
        for number in range(self.connection.page_limit):
            try:
                answer = await self._read(url, path, _TRIES)
            except Refused as no:
                if number and no.code == "404":  # the list has become shorter while it was read
                    return
                raise
            rows, following = _page(answer, path)
            yield rows
            if following is None:
                return
            url = self._next(url, following, path, asked)
            if url in seen:
                _log.warning("etb list leads in a circle", path=path, pages=number + 1)
                return
            seen.add(url)
        _log.warning("etb list cut at the page limit", path=path, pages=self.connection.page_limit)

    async def post(self, path: str, body: JsonObject, *, key: str, asked: bool = False) -> JsonObject:
        """Send once, with `Idempotency-Key` (which ETB may ignore). Raises all four outcomes.

        The answer is empty when ETB answers 2xx without a body. A 2xx that isn't JSON is no answer of ETB's API
        (a page of a proxy, a login form), so nobody knows: Unsure. `asked`: see `answers.failure`.
        """
        return await self._write("POST", path, body, key=key, asked=asked)

    async def patch(self, path: str, body: JsonObject, *, key: str, asked: bool = False) -> JsonObject:
        """Like `post`; the caller sends absolute values, so that a repetition changes nothing."""
        return await self._write("PATCH", path, body, key=key, asked=asked)

    async def _write(
        self, method: Literal["POST", "PATCH"], path: str, body: JsonObject, *, key: str, asked: bool
    ) -> JsonObject:
        try:
            answer = await self._once(method, self._url(path, None), body=body, key=key)
        except _Lost as lost:
            if lost.sent:
                raise Unsure(f"{method} {path}: {lost}; it may have taken effect") from None
            raise Later(f"{method} {path}: {lost}") from None
        except _TooLarge:
            raise Unsure(f"{method} {path}: the answer is larger than {self._limit}") from None
        if not 200 <= answer.status < 300:  # noqa: PLR2004
            raise failure(
                answer.status,
                method=method,
                path=path,
                body=answer.body,
                after_s=answer.after_s,
                asked=asked,
                secret=self.connection.token,
            ) from None
        if not answer.body.strip():
            return {}
        try:
            found = read_json(answer.body)
        except Unreadable as error:
            raise Unsure(f"ETB's answer to {method} {path} can't be read: {error}") from None
        return found if isinstance(found, dict) else {}

    # --- one read, tried again ----------------------------------------------------------------------------

    async def _read(self, url: URL, path: str, tries: int, token: str = "") -> Any:
        attempt = 1
        while True:
            again, trouble = True, None
            try:
                answer = await self._once("GET", url, token=token)
            except _Lost as lost:
                trouble = Later(f"GET {path}: {lost}")
            except _TooLarge:
                raise Refused(f"ETB's answer to GET {path} is larger than {self._limit}", code="size") from None
            else:
                if 200 <= answer.status < 300:  # noqa: PLR2004
                    return _read_body(answer.body, path)
                found = failure(answer.status, method="GET", path=path, body=answer.body, after_s=answer.after_s)
                if not isinstance(found, Later):
                    raise found
                again, trouble = answer.status in RETRIED, found
            wait_s = self._wait_s(attempt, trouble.after_s)
            if not again or attempt >= tries or wait_s > _PATIENCE_S:
                raise trouble
            await self._clock.sleep(wait_s)
            attempt += 1

    def _wait_s(self, attempt: int, after_s: float | None) -> float:
        """Full jitter, and never sooner than ETB asked."""
        jitter = self._dice() * min(_MOST_WAIT_S, _FIRST_WAIT_S * 2.0 ** (attempt - 1))
        return jitter + (after_s or 0.0)

    async def _once(
        self,
        method: Literal["GET", "POST", "PATCH"],
        url: URL,
        *,
        body: JsonObject | None = None,
        key: str = "",
        token: str = "",
    ) -> _Answer:
        """One request, its whole answer; raises _Lost or _TooLarge."""
        headers = (
            {"Content-Type": "application/json", "Idempotency-Key": in_header(key)} if body is not None else {}
        )
        if token:
            headers["Authorization"] = f"{self.connection.auth_scheme} {token}"
        data = write_json(body) if body is not None else None
        try:
            async with self._open().request(
                method, url, data=data, headers=headers, allow_redirects=False
            ) as response:
                is_good = 200 <= response.status < 300  # noqa: PLR2004
                limit = self.connection.body_limit_bytes if is_good else _ERROR_BODY
                content = await _bounded(response, limit, strict=is_good)
                after_s = retry_after_s(response.headers, self._clock.now_ms())
                return _Answer(response.status, content, after_s)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise _Lost(f"ETB can't be reached at {self._base.origin()} ({_name(error)})", sent=False) from None
        except TimeoutError:
            raise _Lost(f"no answer within {self.connection.timeout_s:g} s", sent=True) from None
        except (aiohttp.ClientError, OSError) as error:
            raise _Lost(f"the connection broke ({_name(error)})", sent=True) from None

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            connection = self.connection
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=10, ssl=True if connection.verify_tls else False),  # noqa: SIM210 - aiohttp's spelling of "don't verify"
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={
                    "Authorization": f"{connection.auth_scheme} {connection.token}",
                    "Accept": "application/json",
                    "User-Agent": "etb-appservice",
                },
                timeout=aiohttp.ClientTimeout(total=connection.timeout_s, connect=connection.timeout_s * 0.8),
                trust_env=False,
                trace_configs=self._traces,
            )
        return self._session

    # --- addresses ----------------------------------------------------------------------------------------

    @property
    def _limit(self) -> str:
        return f"{self.connection.body_limit_bytes} bytes"

    def _url(self, path: str, params: Mapping[str, str] | None) -> URL:
        """Below the base, with the trailing slash."""
        slashed = path if path.endswith("/") else f"{path}/"
        return URL(f"{self._base}{slashed}", encoded=True).with_query(dict(params or {}))

    def _next(self, current: URL, following: str, path: str, asked: Mapping[str, str]) -> URL:
        """Where `next` leads: itself when it is this list at the configured origin, else its page, asked anew."""
        try:
            target = current.join(URL(following)).with_fragment(None)
            is_ours = target.origin() == self._base.origin() and not (target.user or target.password)
        except ValueError:
            raise Refused(f"ETB's answer to GET {path}: `next` is no address", code="shape") from None
        if is_ours and target.path == current.path:
            return target
        page = target.query.get("page", "")
        if page.isascii() and page.isdecimal() and len(page) < 10:  # noqa: PLR2004
            return self._url(path, {**asked, "page": page})
        if is_ours:
            return target
        raise Refused(f"ETB's answer to GET {path}: `next` points to another host, without a page", code="shape")


async def _bounded(response: aiohttp.ClientResponse, limit: int, *, strict: bool) -> bytes:
    """The body after decompression; when it is longer than `limit`, nothing at all, or _TooLarge if `strict`."""
    chunks: list[bytes] = []
    size = 0
    async for chunk in response.content.iter_chunked(_CHUNK):
        size += len(chunk)
        if size > limit:
            response.close()
            if strict:
                raise _TooLarge
            return b""
        chunks.append(chunk)
    return b"".join(chunks)


def _read_body(body: bytes, path: str) -> Any:
    try:
        return read_json(body)
    except Unreadable as error:
        raise Refused(f"ETB's answer to GET {path} can't be read: {error}; check etb.paths", code="json") from None


def _page(answer: object, path: str) -> tuple[list[JsonObject], str | None]:
    """Rows and `next` of a page, or of a bare array (1.3)."""
    rows, following = (answer, None) if isinstance(answer, list) else (None, None)
    if isinstance(answer, dict):
        rows, following = answer.get("results"), answer.get("next")
    if not isinstance(rows, list):
        raise Refused(f"ETB's answer to GET {path} is neither a list nor a page with `results`", code="shape")
    if not (following is None or isinstance(following, str)):
        raise Refused(f"ETB's answer to GET {path}: `next` must be text, not {kind_of(following)}", code="shape")
    for row in rows:
        if not isinstance(row, dict):
            raise Refused(f"ETB's answer to GET {path}: a row must be an object, not {kind_of(row)}", code="shape")
    return rows, following or None


def _name(error: BaseException) -> str:
    """The kind of an error; its own text might quote what was sent."""
    return type(error).__name__

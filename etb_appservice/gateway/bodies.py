"""Reads what a caller sends: bounded, in time, JSON, and nothing that later steps could stumble over."""

import asyncio
import json
from typing import Any

from aiohttp import web

from etb_appservice.gateway.problems import Problem, too_slow

BODY_LIMIT = 256 * 1024
"""Bytes of a JSON body, after decompression; a message may hold 60 KiB, and JSON may write each sign as six."""
BODY_S = 20.0
"""How long all of it may take, however steadily it trickles."""
_CHUNK = 64 * 1024
_DEPTH = 32


async def read_body(request: web.Request) -> Any:
    """The JSON of a request; `{}` for none. Raises Problem: 400, 408, 413 or 415."""
    if request.content_length is not None and request.content_length > BODY_LIMIT:
        raise _too_large()
    content = bytearray()
    try:
        async with asyncio.timeout(BODY_S):
            async for chunk in request.content.iter_chunked(_CHUNK):
                content += chunk
                if len(content) > BODY_LIMIT:
                    raise _too_large()
    except TimeoutError:
        raise too_slow(f"The body did not come within {BODY_S:g} seconds.") from None
    except (Problem, OSError):
        raise
    except Exception as error:
        raise Problem(400, "parse_error", "The body could not be read.") from error
    if not content.strip():
        return {}
    if request.content_type != "application/json":
        raise Problem(415, "unsupported_media_type", "Send application/json.")
    return parsed(bytes(content))


def parsed(content: bytes) -> Any:
    """JSON as RFC 8259 has it: UTF-8, no NaN, not nested deeper than anything here needs."""
    try:
        found = json.loads(content.decode("utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise Problem(400, "parse_error", "The body is not JSON in UTF-8.") from None
    if _is_deep(found):
        raise Problem(400, "parse_error", f"The body is nested deeper than {_DEPTH}.")
    return found


def _no_constant(name: str) -> None:
    raise ValueError(name)


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(_DEPTH):
        level = [
            inner
            for one in level
            if isinstance(one, dict | list)
            for inner in (one.values() if isinstance(one, dict) else one)
        ]
        if not level:
            return False
    return True


def _too_large() -> Problem:
    return Problem(413, "too_large", f"The body is larger than {BODY_LIMIT} bytes.")

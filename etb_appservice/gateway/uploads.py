"""Reads a multipart form with one file in it, piece by piece (docs/etb-contract.md 5.1).

fields ─► a few, short, UTF-8           file ─► handed on as it comes, whatever its part says of it
anything else, twice the same, or cut off before its closing boundary ─► Problem, and nothing is kept
too slow, on the whole ─► 408
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import BodyPartReader, MultipartReader, web

from etb_appservice.gateway.problems import Problem, invalid, too_slow

FORM = "multipart/form-data"
FILE = "file"
_MOST_FIELD = 4096
_MOST_PARTS = 20
_OVERHEAD = 128 * 1024
"""What a form may be larger than its file."""
_CHUNK = 64 * 1024
GRACE_S = 60.0
"""How long may be waited for its sender, however little they send; and so much longer for what came:"""
BYTES_PER_S = 16 * 1024
"""Whoever sends less than this must not keep a place. Only waiting counts, not what is done with a piece."""
_PLAIN = frozenset({"", "binary", "8bit", "7bit"})


@dataclass(slots=True)
class Form:
    """One request's form. `fields` are those that came so far."""

    request: web.Request
    fields: dict[str, str] = field(default_factory=dict)
    _left_s: float = field(default_factory=lambda: GRACE_S, init=False)
    """How much longer may be waited."""

    async def read(
        self, most: int, take: Callable[[str, AsyncIterator[bytes]], Awaitable[None]]
    ) -> Mapping[str, str]:
        """All of it; `take` is given the file's name and its pieces, once. Raises Problem, and as `take` does."""
        length = self.request.content_length
        if length is not None and length > most + _OVERHEAD:
            raise too_large(most)
        if self.request.content_type != FORM:
            raise Problem(415, "unsupported_media_type", f"Send {FORM}.")
        async with self._in_time():
            reader = await self.request.multipart()
        has_file = False
        for _ in range(_MOST_PARTS):
            async with self._in_time():
                part = await reader.next()
            if part is None:
                break
            if isinstance(part, MultipartReader) or part.name is None:
                raise Problem(400, "parse_error", "A part of the form has no name, or parts of its own.")
            if part.headers.get("Content-Transfer-Encoding", "").lower() not in _PLAIN:
                raise Problem(400, "parse_error", "Send the parts of the form as they are, without an encoding.")
            if part.name != FILE:
                await self._field(part)
            elif has_file:
                raise invalid(file="Send one file at a time.")
            else:
                has_file = True
                await take(part.filename or "", self._pieces(part))
        else:
            raise Problem(400, "parse_error", f"The form has more than {_MOST_PARTS} parts.")
        if not has_file:
            raise invalid(file="This field is required.")
        return self.fields

    async def _field(self, part: BodyPartReader) -> None:
        name, value = str(part.name), bytearray()
        async for piece in self._pieces(part):
            value += piece
            if len(value) > _MOST_FIELD:
                raise invalid(**{name[:100]: f"This field is longer than {_MOST_FIELD} bytes."})
        if name in self.fields:
            raise invalid(**{name[:100]: "Send this field once."})
        try:
            self.fields[name] = value.decode("utf-8")
        except UnicodeDecodeError:
            raise invalid(**{name[:100]: "This field is not UTF-8."}) from None

    async def _pieces(self, part: BodyPartReader) -> AsyncIterator[bytes]:
        while not part.at_eof():
            async with self._in_time():
                piece = await part.read_chunk(_CHUNK)
            self._left_s += len(piece) / BYTES_PER_S
            if piece:
                yield piece

    @asynccontextmanager
    async def _in_time(self) -> AsyncIterator[None]:
        """Wait for the sender: not too long on the whole; what the form's reader stumbles over can't be read."""
        began_s = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(max(0.0, self._left_s)):
                yield
        except TimeoutError:
            raise too_slow("This came too slowly. Send it again over a better connection.") from None
        except Exception as error:
            raise Problem(400, "parse_error", "The form can't be read, or is cut off.") from error
        finally:
            self._left_s -= asyncio.get_running_loop().time() - began_s


def too_large(most: int) -> Problem:
    """The contract's 413."""
    return Problem(413, "too_large", f"The file is larger than {most // (1024 * 1024)} MiB.")

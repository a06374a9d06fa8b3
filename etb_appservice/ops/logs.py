"""Sets up logging: structlog's lines and those of libraries leave by one door, and no secret goes through it.

    structlog ──┐
                ├─> fields that may hold secrets or texts emptied ─> one line ─> known secrets removed ─> stderr
    logging ────┘

Two nets, since one alone has holes: fields by their name, and the secrets of the settings by their value, wherever
they appear (an error text of a library, a traceback). Local variables are never shown in tracebacks.

One event is one line, whatever stands in it: names and texts of others can't forge a line, nor speak to a
terminal. A traceback's lines are indented.
"""

import io
import logging
import re
import sys
from collections.abc import Iterable
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, ExcInfo, Processor

AUDIT_LOGGER = "etb_appservice.audit"
"""Lines about entries of the audit log; its level is set on its own."""

_HIDDEN_WORDS = re.compile(
    r"(?:^|_)(?:tokens?|secrets?|password|passphrase|authorization|cookie|credentials?|seed|pickle"
    r"|(?:encryption|private|recovery|session|pickle|signing|room|content)_keys?)$",
    re.IGNORECASE,
)
_TEXTS = frozenset({"body", "formatted_body", "content", "plaintext", "payload", "arguments", "result", "title"})
_IN_URLS = re.compile(
    r"((?:access_token|token|as_token|hs_token)=)[^&\s'\"]+|(://[^/\s:@]*:)[^/\s@]+(?=@)", re.IGNORECASE
)
_BEARER = re.compile(r"\b((?:Bearer|Token|Basic) )[A-Za-z0-9+/=._~-]{8,}")
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""What ends a line, moves a cursor, or makes text read backwards."""
_SHORTEST = 8
"""Shorter values are too likely to be part of an innocent word."""

# At DEBUG these show request bodies, SQL parameters or keys (mau.http: every message that is sent).
_TALKATIVE = ("mau", "mau.http", "aiosqlite", "asyncio", "aiohttp", "markdown_it")
_TALKATIVE_AT_INFO = ("sqlalchemy", "aiohttp.access", "alembic")


def configure(
    *,
    level: str = "INFO",
    audit_level: str = "INFO",
    json_lines: bool = False,
    secrets: Iterable[str] = (),
    stream: TextIO | None = None,
) -> None:
    """Set up logging for this process; repeating is safe. Levels by name; `secrets` never appear in a line."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.ExtraAdder(),
        redact,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    out = stream if stream is not None else sys.stderr
    last: Processor = (
        structlog.processors.JSONRenderer(default=repr)
        if json_lines
        else structlog.dev.ConsoleRenderer(colors=out.isatty(), exception_formatter=_traceback, pad_event_to=0)
    )
    scrub = _Scrub(secrets)
    _nets[:] = [scrub]
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info if json_lines else _one_line,
            last,
            scrub,
        ],
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    least = logging.getLevelNamesMapping()[level]
    root.setLevel(max(least, logging.INFO))
    logging.getLogger("etb_appservice").setLevel(least)
    logging.getLogger(AUDIT_LOGGER).setLevel(logging.getLevelNamesMapping()[audit_level])
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(max(least, logging.INFO))
    for name in _TALKATIVE_AT_INFO:
        logging.getLogger(name).setLevel(max(least, logging.WARNING))


def hide(secrets: Iterable[str]) -> None:
    """From now on these never appear in a line either."""
    for net in _nets:
        net.add(secrets)


def redact(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """Empty the fields that by their name hold a secret or a text, at any depth."""
    return {key: _redacted(key, value) for key, value in event.items()}


def _redacted(key: str, value: Any) -> Any:
    if key.startswith("_") or key in {"event", "exc_info", "exception"}:
        return value
    if key.lower() in _TEXTS or _HIDDEN_WORDS.search(key):
        return "[hidden]"
    match value:
        case dict():
            return {inner: _redacted(str(inner), item) for inner, item in value.items()}
        case list() | tuple():
            return [_redacted("", item) for item in value]
        case bytes() | bytearray() | memoryview():
            return f"[{len(value)} bytes]"
        case _:
            return value


def _one_line(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """Control characters as escapes; JSON does that by itself, and so does the `repr` of what is no text."""
    return {key: _escaped(value) if isinstance(value, str) else value for key, value in event.items()}


def _escaped(text: str) -> str:
    return _CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def _traceback(out: TextIO, exc_info: ExcInfo) -> None:
    shown = io.StringIO()
    structlog.dev.plain_traceback(shown, exc_info)
    out.write("\n".join(f"    {_escaped(line)}" for line in shown.getvalue().split("\n")))


class _Scrub:
    """Removes known secrets, and what looks like a token in a URL or a header, from a finished line."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._secrets: set[str] = set()
        self._known: re.Pattern[str] | None = None
        self.add(secrets)

    def add(self, secrets: Iterable[str]) -> None:
        """Remove these too."""
        self._secrets |= {s for s in secrets if len(s) >= _SHORTEST}
        known = sorted(self._secrets, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, known))) if known else None

    def __call__(self, _logger: Any, _method: str, line: Any) -> str:
        text = line if isinstance(line, str) else str(line)
        if self._known:
            text = self._known.sub("[secret]", text)
        text = _IN_URLS.sub(lambda found: f"{found[1] or found[2]}[secret]", text)
        return _BEARER.sub(r"\1[secret]", text)


_nets: list[_Scrub] = []
"""The net of this process's logs, once they are set up."""


def flush() -> None:
    """Write out what handlers still hold; for the moment before the process ends hard."""
    for handler in logging.getLogger().handlers:
        handler.flush()

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from etb_appservice.ops import logs

SECRET = "hunter2-hunter2"


@pytest.fixture(autouse=True)
def _leave_logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    yield
    root.handlers[:], level = before
    root.setLevel(level)
    structlog.reset_defaults()


def configured(**change: object) -> io.StringIO:
    stream = io.StringIO()
    given: dict[str, object] = {"json_lines": True, "secrets": [SECRET], "stream": stream}
    logs.configure(**(given | change))  # type: ignore[arg-type]
    return stream


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_says_what_when_and_where() -> None:
    stream = configured()
    structlog.get_logger("etb_appservice.x").info("room opened", rooms=3)
    (line,) = lines(stream)
    assert (line["event"], line["rooms"], line["level"]) == ("room opened", 3, "info")
    assert line["logger"] == "etb_appservice.x"
    assert str(line["timestamp"]).endswith("Z")


@pytest.mark.parametrize(
    "field",
    ["token", "as_token", "hs_token", "password", "Authorization", "secret", "pickle_key", "room_keys", "body",
     "content", "formatted_body", "payload", "access_token", "session_key", "arguments"],
)  # fmt: skip
def test_a_field_named_like_a_secret_or_a_text_is_emptied_at_any_depth(field: str) -> None:
    stream = configured(secrets=[])
    structlog.get_logger("etb_appservice.x").info("x", **{field: SECRET, "inner": {"list": [{field: SECRET}]}})
    assert SECRET not in stream.getvalue()


def test_fields_that_are_no_secrets_stay() -> None:
    stream = configured()
    structlog.get_logger("etb_appservice.x").info("x", key="effect/1", reason="no token given", keys_refused=3)
    assert (lines(stream)[0]["key"], lines(stream)[0]["keys_refused"]) == ("effect/1", 3)


@pytest.mark.parametrize("json_lines", [True, False])
def test_a_known_secret_is_removed_wherever_it_appears(json_lines: bool) -> None:
    stream = configured(json_lines=json_lines)
    log = structlog.get_logger("etb_appservice.x")
    try:
        local = SECRET
        raise ValueError(f"bad {local}")
    except ValueError:
        log.exception("failed", why=f"because {SECRET}")
        logging.getLogger("library").exception("failed with %s", SECRET)
    assert SECRET not in stream.getvalue()
    assert "Traceback" in stream.getvalue()


HOSTILE = "@a:x\n2026-01-01T00:00:00Z [error    ] forged\r\x1b[2J\u2028\x85\u202eend"


@pytest.mark.parametrize("json_lines", [True, False])
def test_one_event_is_one_line_whatever_stands_in_it(json_lines: bool) -> None:
    stream = configured(json_lines=json_lines)
    log = structlog.get_logger("etb_appservice.x")
    log.info(HOSTILE, user=HOSTILE, room={HOSTILE: [HOSTILE]}, error=ValueError(HOSTILE))
    logging.getLogger("library").warning("from %s", HOSTILE)
    written = stream.getvalue()
    assert len(written.splitlines()) == 2
    assert not set(written) & set("\r\x1b\u2028\x85\u202e")


@pytest.mark.parametrize("json_lines", [True, False])
def test_a_traceback_forges_no_line(json_lines: bool) -> None:
    stream = configured(json_lines=json_lines)
    try:
        raise ValueError(HOSTILE)
    except ValueError:
        structlog.get_logger("etb_appservice.x").exception("failed")
        logging.getLogger("library").exception("failed, too")
    written = stream.getvalue()
    assert "Traceback" in written
    assert not any(line.startswith("2026-01-01") for line in written.splitlines())
    assert not set(written) & set("\x1b\u2028\x85\u202e")


def test_tokens_in_urls_and_headers_are_removed_though_unknown() -> None:
    stream = configured(secrets=[])
    logging.getLogger("library").warning("GET /sync?access_token=abcdefgh&x=1")
    logging.getLogger("library").warning("postgresql://user:abcdefgh@host/db")
    logging.getLogger("library").warning("Authorization: Bearer abcdefghijkl")
    assert "abcdefgh" not in stream.getvalue()


def test_bytes_are_shown_by_their_size() -> None:
    stream = configured()
    structlog.get_logger("etb_appservice.x").info("x", raw=b"abc", many=[b"de"])
    assert (lines(stream)[0]["raw"], lines(stream)[0]["many"]) == ("[3 bytes]", ["[2 bytes]"])


def test_request_bodies_of_libraries_are_never_logged_even_at_debug() -> None:
    stream = configured(level="DEBUG")
    for name in ("mau.http", "mau.http.req", "mau.crypto", "aiosqlite", "sqlalchemy.engine", "aiohttp.client"):
        logging.getLogger(name).debug("body: the text of a message")
    logging.getLogger("sqlalchemy.engine").info("parameters: x")
    structlog.get_logger("etb_appservice.x").debug("ours")
    assert [line["event"] for line in lines(stream)] == ["ours"]


def test_lines_about_the_audit_log_have_a_level_of_their_own() -> None:
    stream = configured(audit_level="WARNING")
    structlog.get_logger(logs.AUDIT_LOGGER).info("entry appended")
    structlog.get_logger("etb_appservice.x").info("ours")
    assert [line["event"] for line in lines(stream)] == ["ours"]
    stream = configured(level="WARNING", audit_level="INFO")
    structlog.get_logger(logs.AUDIT_LOGGER).info("entry appended")
    structlog.get_logger("etb_appservice.x").info("ours")
    assert [line["event"] for line in lines(stream)] == ["entry appended"]


def test_the_console_form_reads_without_colours_when_it_is_no_terminal() -> None:
    stream = configured(json_lines=False)
    structlog.get_logger("etb_appservice.x").warning("key missing", room="!a")
    assert "key missing" in stream.getvalue()
    assert "\x1b" not in stream.getvalue()

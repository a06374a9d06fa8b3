"""The HTTP client against an ETB that misbehaves."""

import asyncio
import gzip
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import format_datetime

import aiohttp
import pytest

from etb_appservice.domain.outcomes import Broken, Failure, Later, Refused, Unsure
from etb_appservice.etb.client import EtbClient
from tests.contract.etb.conftest import TOKEN
from tests.harness.etb_parts import (
    Answer,
    HandClock,
    ScriptedEtb,
    dropped,
    held,
    json_answer,
    page,
    text_answer,
)
from tests.harness.processes import free_port

Connect = Callable[..., EtbClient]
LIST = "/api/incidents/incidents/"


async def rows_of(client: EtbClient, path: str = LIST) -> list[dict[str, object]]:
    return [row async for rows in client.pages(path) for row in rows]


async def test_the_token_and_the_slash_are_always_sent(etb: ScriptedEtb, connect: Connect) -> None:
    etb.on("/x/y/", json_answer({"ok": 1}))
    assert await connect(auth_scheme="Bearer").get("/x/y") == {"ok": 1}
    assert etb.requests[0][3]["Authorization"] == f"Bearer {TOKEN}"


async def test_every_request_is_watched_for_the_metrics(etb: ScriptedEtb, connect: Connect) -> None:
    seen: list[tuple[str, int]] = []

    async def ended(_session: object, _context: object, params: aiohttp.TraceRequestEndParams) -> None:
        seen.append((params.url.path, params.response.status))

    watch = aiohttp.TraceConfig()
    watch.on_request_end.append(ended)
    etb.on("/x/", text_answer("", 503), json_answer({"ok": 1}))
    await connect(traces=[watch]).get("/x/")
    assert seen == [("/x/", 503), ("/x/", 200)]


async def test_a_base_with_a_prefix_keeps_it(etb: ScriptedEtb, connect: Connect) -> None:
    etb.on("/etb/x/", json_answer([]))
    assert await connect(base_url=f"{etb.url}/etb/").get("/x/") == []


async def test_a_foreign_next_is_never_followed_and_its_page_is_asked_at_home(
    etb: ScriptedEtb, connect: Connect
) -> None:
    async with ScriptedEtb() as thief:
        thief.on(LIST, page([{"n": 666}]))
        etb.on(LIST, page([{"n": 1}], f"{thief.url}{LIST}?page=2"), page([{"n": 2}]))
        assert await rows_of(connect()) == [{"n": 1}, {"n": 2}]
        assert thief.requests == []
        assert etb.asked(LIST)[1] == {"page": "2", "page_size": "100"}


async def test_a_foreign_next_without_a_page_is_refused(etb: ScriptedEtb, connect: Connect) -> None:
    etb.on(LIST, page([], "https://evil.example/?cursor=abc"))
    with pytest.raises(Refused, match="`next` points to another host"):
        await rows_of(connect())


@pytest.mark.parametrize("following", ["http://[", "?page=2&x=1", "//evil.example/?page=3", 7, {"page": 2}])
async def test_a_strange_next_does_no_harm(etb: ScriptedEtb, connect: Connect, following: object) -> None:
    etb.on(LIST, json_answer({"results": [{"n": 1}], "next": following}), page([{"n": 2}]))
    try:
        assert await rows_of(connect()) == [{"n": 1}, {"n": 2}]
    except Refused as no:
        assert "`next`" in str(no)  # noqa: PT017


async def test_next_at_home_is_followed_whatever_it_asks(etb: ScriptedEtb, connect: Connect) -> None:
    etb.on(LIST, page([{"n": 1}], f"{etb.url}{LIST}?cursor=abc%3D"), page([{"n": 2}]))
    assert await rows_of(connect()) == [{"n": 1}, {"n": 2}]
    assert etb.asked(LIST)[1] == {"cursor": "abc="}


async def test_next_in_a_circle_ends_the_list(etb: ScriptedEtb, connect: Connect) -> None:
    second = f"{etb.url}{LIST}?page=2"
    etb.on(LIST, page([{"n": 1}], second), page([{"n": 2}], second))
    assert await rows_of(connect()) == [{"n": 1}, {"n": 2}]


async def test_a_page_that_is_gone_meanwhile_ends_the_list(etb: ScriptedEtb, connect: Connect) -> None:
    etb.on(LIST, page([{"n": 1}], f"{etb.url}{LIST}?page=2"), json_answer({"detail": "Invalid page."}, 404))
    assert await rows_of(connect()) == [{"n": 1}]


async def test_pages_end_at_the_limit(etb: ScriptedEtb, connect: Connect) -> None:
    etb.on(LIST, *(page([{"n": n}], f"{etb.url}{LIST}?page={n + 2}") for n in range(9)))
    assert len(await rows_of(connect(page_limit=3))) == 3


async def test_a_bare_array_is_one_page(etb: ScriptedEtb, connect: Connect) -> None:
    etb.on(LIST, json_answer([{"n": 1}]))
    assert await rows_of(connect()) == [{"n": 1}]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (text_answer("<html>Please log in</html>"), "HTML, not JSON"),
        (text_answer("{"), "it is not JSON"),
        (text_answer(b"\xff\xfe"), "not UTF-8"),
        (json_answer({"detail": "hm"}), "neither a list nor a page"),
        (json_answer("text"), "neither a list nor a page"),
        (json_answer({"results": {"a": 1}}), "neither a list nor a page"),
        (json_answer([1]), "a row must be an object, not a number"),
    ],
)
async def test_what_is_no_list_is_refused_by_path(
    etb: ScriptedEtb, connect: Connect, answer: Answer, why: str
) -> None:
    etb.on(LIST, answer)
    with pytest.raises(Refused, match=why) as caught:
        await rows_of(connect())
    assert LIST in str(caught.value)
    assert "log in" not in str(caught.value)


async def test_a_huge_answer_is_refused_also_when_it_is_compressed(etb: ScriptedEtb, connect: Connect) -> None:
    bomb = gzip.compress(b'"' + b"x" * 3_000_000 + b'"')
    etb.on("/plain/", text_answer(b'"' + b"x" * 3_000_000 + b'"'))
    etb.on("/bomb/", text_answer(bomb, Content_Encoding="gzip"))
    client = connect(body_limit_bytes=1_000_000)
    for path in ("/plain/", "/bomb/"):
        with pytest.raises(Refused, match="larger than 1000000 bytes"):
            await client.get(path)
    etb.on("/plain/", json_answer("fits"))
    assert await client.get("/plain/") == "fits"


async def test_redirects_are_refused_and_the_token_stays_at_home(etb: ScriptedEtb, connect: Connect) -> None:
    async with ScriptedEtb() as thief:
        etb.on("/x/", text_answer("", 302, Location=f"{thief.url}/x/"))
        with pytest.raises(Refused, match="redirects aren't followed") as caught:
            await connect().get("/x/")
        assert caught.value.code == "302"
        assert thief.requests == []


@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_a_read_is_tried_again_with_growing_jitter(
    etb: ScriptedEtb, connect: Connect, clock: HandClock, status: int
) -> None:
    busy = json_answer({}, status)
    etb.on("/x/", busy, busy, busy, json_answer("at last"))
    assert await connect().get("/x/") == "at last"
    assert clock.slept == [0.25, 0.5, 1.0]


async def test_retry_after_is_honoured_in_seconds_and_as_a_date(
    etb: ScriptedEtb, connect: Connect, clock: HandClock
) -> None:
    in_six = format_datetime(datetime.fromtimestamp(clock.ms / 1000 + 6, UTC), usegmt=True)
    etb.on("/x/", json_answer({}, 429, Retry_After="3"), json_answer("ok"))
    assert await connect().get("/x/") == "ok"
    etb.on("/y/", json_answer({}, 503, Retry_After=in_six), json_answer("ok"))
    assert await connect().get("/y/") == "ok"
    assert clock.slept[0] == 3.25
    assert 2.0 < clock.slept[1] < 7.0


@pytest.mark.parametrize(("value", "after_s"), [("600", 600.0), ("99999999999999", 3600.0)])
async def test_a_long_retry_after_is_the_callers_and_capped(
    etb: ScriptedEtb, connect: Connect, clock: HandClock, value: str, after_s: float
) -> None:
    etb.on("/x/", json_answer({}, 429, Retry_After=value))
    with pytest.raises(Later) as caught:
        await connect().get("/x/")
    assert caught.value.after_s == after_s
    assert clock.slept == []


@pytest.mark.parametrize("value", ["soon", "-5", "Thu, 01 Jan 1970 00:00:00 GMT", "²"])
async def test_a_strange_retry_after_is_as_none(etb: ScriptedEtb, connect: Connect, value: str) -> None:
    etb.on("/x/", json_answer({}, 429, Retry_After=value), json_answer("ok"))
    assert await connect().get("/x/") == "ok"


async def test_reads_give_up_in_the_end(etb: ScriptedEtb, connect: Connect) -> None:
    etb.on("/x/", json_answer({}, 503))
    with pytest.raises(Later, match="503 to GET /x/"):
        await connect().get("/x/")
    assert len(etb.asked("/x/")) == 4


@pytest.mark.parametrize(
    ("status", "on_get", "on_post"),
    [
        (400, Refused, Broken),
        (401, Refused, Refused),
        (403, Refused, Refused),
        (404, Refused, Refused),
        (405, Refused, Refused),
        (409, Refused, Refused),
        (422, Refused, Broken),
        (423, Refused, Refused),
        (429, Later, Later),
        (500, Later, Unsure),
        (502, Later, Unsure),
        (503, Later, Unsure),
    ],
)
async def test_each_status_has_its_outcome(
    etb: ScriptedEtb, connect: Connect, status: int, on_get: type[Failure], on_post: type[Failure]
) -> None:
    answer = json_answer({"detail": "p4ssw0rd", "event_type": ["p4ssw0rd is no choice"]}, status)
    etb.on("/x/", answer)
    etb.on("/x/", answer, method="POST")
    client = connect()
    with pytest.raises(on_get) as got:
        await client.get("/x/")
    with pytest.raises(on_post) as posted:
        await client.post("/x/", {"a": 1}, key="k")
    assert len(etb.asked("/x/", "POST")) == 1
    for caught in (got.value, posted.value):
        assert "/x/" in str(caught)
        assert "p4ssw0rd" not in str(caught)
        assert TOKEN not in str(caught)
    if status in {401, 403}:
        assert "check etb.token" in str(got.value)
    if status == 400:
        assert "event_type" in str(posted.value)


async def test_nobody_there_is_later_for_both(connect: Connect, clock: HandClock) -> None:
    client = connect(base_url=f"http://127.0.0.1:{free_port()}")
    with pytest.raises(Later, match=r"can't be reached at http://127\.0\.0\.1"):
        await client.get("/x/")
    assert len(clock.slept) == 3
    with pytest.raises(Later, match="can't be reached"):
        await client.post("/x/", {}, key="k")
    assert len(clock.slept) == 3


async def test_a_connection_that_ends_without_an_answer_is_unsure_for_a_post_alone(
    etb: ScriptedEtb, connect: Connect
) -> None:
    etb.on("/x/", dropped)
    etb.on("/x/", dropped, method="POST")
    client = connect()
    with pytest.raises(Later, match="the connection broke"):
        await client.get("/x/")
    with pytest.raises(Unsure, match="may have taken effect"):
        await client.post("/x/", {}, key="k")
    assert len(etb.asked("/x/", "POST")) == 1


async def test_an_answer_that_does_not_come_is_unsure_for_a_post_alone(etb: ScriptedEtb, connect: Connect) -> None:
    gate = asyncio.Event()
    etb.on("/x/", held(gate))
    etb.on("/x/", held(gate), method="POST")
    client = connect(timeout_s=0.1)
    with pytest.raises(Later, match=r"no answer within 0\.1 s"):
        await client.get("/x/", tries=1)
    with pytest.raises(Unsure, match=r"no answer within 0\.1 s"):
        await client.post("/x/", {}, key="k")
    gate.set()


async def test_a_post_carries_its_key_and_answers_what_etb_made(etb: ScriptedEtb, connect: Connect) -> None:
    etb.on("/x/", json_answer({"id": 1}, 201), text_answer("", 204), json_answer([1]), method="POST")
    client = connect()
    assert await client.post("/x/", {"a": "\ud800"}, key="effect-7") == {"id": 1}
    assert await client.post("/x/", {}, key="effect-8") == {}
    assert await client.post("/x/", {}, key="effect-9") == {}
    _, _, _, headers, body = etb.requests[0]
    assert headers["Idempotency-Key"] == "effect-7"
    assert body == b'{"a":"\\ud800"}'


async def test_a_login_page_is_no_answer_to_a_post(etb: ScriptedEtb, connect: Connect) -> None:
    etb.on("/x/", text_answer("<html>Please log in</html>"), method="POST")
    with pytest.raises(Unsure, match="HTML, not JSON"):
        await connect().post("/x/", {}, key="k")

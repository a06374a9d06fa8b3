"""The frame: who is let in, and what everybody else is told."""

import asyncio
from typing import Any

import pytest

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.ids import Username
from etb_appservice.domain.outcomes import Later, Refused
from etb_appservice.gateway.bodies import BODY_LIMIT
from etb_appservice.gateway.frame import Public
from etb_appservice.gateway.links import PREFIXES
from tests.harness.api import Api, api_of, token_of
from tests.harness.cast import etb_user
from tests.harness.house import House

pytestmark = pytest.mark.enable_socket
ROOMS = "war-rooms/"


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("path", [ROOMS, "war-rooms", "chat-bots/", "chat-bots", "schema/", "schema"])
async def test_both_prefixes_and_both_slash_forms_answer_without_a_redirect(
    api: Api, prefix: str, path: str
) -> None:
    api.house.know("alice")
    assert (await api.get("alice", prefix + path)).status == 200


async def test_without_a_token_nobody_is_let_in_and_the_answer_names_the_scheme(api: Api) -> None:
    answer = await api.get(None, ROOMS)
    assert (answer.status, answer.body["code"]) == (401, "not_authenticated")
    assert answer.headers["WWW-Authenticate"] == "Token"


@pytest.mark.parametrize(
    "header",
    [
        "Token",
        "Token ",
        "Token wrong",
        "Token token-of-nobody",
        "Basic dG9rZW4=",
        "token-of-alice",
        "Token token-of-alice extra",
        "Token " + "x" * 5000,
        "Token t\u00f6ken",
    ],
)
async def test_a_token_that_etb_does_not_take_is_nobodys(api: Api, header: str) -> None:
    api.house.know("alice")
    answer = await api.call("GET", None, ROOMS, headers={"Authorization": header})
    assert (answer.status, answer.body["code"]) == (401, "authentication_failed")
    assert answer.headers["WWW-Authenticate"] == "Token"


@pytest.mark.parametrize("scheme", ["Token", "Bearer", "token", "BEARER"])
async def test_both_schemes_are_taken_in_any_case(api: Api, scheme: str) -> None:
    api.house.know("alice")
    headers = {"Authorization": f"{scheme} {token_of('alice')}"}
    assert (await api.call("GET", None, ROOMS, headers=headers)).status == 200


async def test_etb_is_asked_once_a_minute_whose_a_token_is(api: Api) -> None:
    api.house.know("alice")
    for _ in range(5):
        assert (await api.get("alice", ROOMS)).status == 200
    assert api.profiles.asked == 1
    api.house.clock.advance(61)
    await api.get("alice", ROOMS)
    assert api.profiles.asked == 2


async def test_many_requests_with_one_new_token_are_one_question(api: Api) -> None:
    api.house.know("alice")
    answers = await asyncio.gather(*(api.get("alice", ROOMS) for _ in range(20)))
    assert {one.status for one in answers} == {200}
    assert api.profiles.asked == 1


async def test_a_revoked_token_ends_within_the_minute_and_at_once_when_etb_is_away_later(api: Api) -> None:
    api.house.know("alice")
    assert (await api.get("alice", ROOMS)).status == 200
    api.profiles.revoked.add("alice")
    api.house.clock.advance(61)
    assert (await api.get("alice", ROOMS)).status == 401
    api.profiles.trouble = Later("away")
    assert (await api.get("alice", ROOMS)).status == 503


@pytest.mark.parametrize("trouble", [Later("away"), Refused("odd", code="404"), Refused("no", code="403")])
async def test_an_etb_that_can_not_be_asked_extends_its_last_word_up_to_the_age_limit(
    api: Api, trouble: Any
) -> None:
    api.house.know("alice", "bob")
    assert (await api.get("alice", ROOMS)).status == 200
    api.profiles.trouble = trouble
    api.house.etb.down()
    api.house.clock.advance(3600)
    assert (await api.get("alice", ROOMS)).status == 200
    unknown = await api.get("bob", ROOMS)
    assert (unknown.status, unknown.body["code"]) == (503, "etb_unavailable")
    assert unknown.headers["Retry-After"] == "5"
    api.house.clock.advance(24 * 3600)
    assert (await api.get("alice", ROOMS)).status == 503


async def test_whom_etb_calls_inactive_is_nobody(api: Api) -> None:
    api.house.etb.users[Username("alice")] = etb_user("alice", active=False)
    assert (await api.get("alice", ROOMS)).status == 401


async def test_no_token_is_in_what_is_kept_or_logged(api: Api, logged: list[Any]) -> None:
    api.house.know("alice")
    await api.get("alice", ROOMS)
    ticket = (await api.post("alice", "ws-tickets/")).body["ticket"]
    api.profiles.trouble = Later("away")
    await api.get("bob", ROOMS)
    kept = repr((api.frame.callers.__dict__, api.frame.tickets.__dict__, logged))
    assert token_of("alice") not in kept
    assert token_of("bob") not in kept
    assert ticket not in kept


async def test_a_caller_who_is_too_fast_waits_and_others_do_not(house: House) -> None:
    house.know("alice", "bob")
    async with api_of(house, per_minute=30, burst=3) as api:
        statuses = [(await api.get("alice", ROOMS)).status for _ in range(5)]
        assert statuses == [200, 200, 200, 429, 429]
        refused = await api.get("alice", ROOMS)
        assert (refused.headers["Retry-After"], refused.body["code"]) == ("2", "throttled")
        assert (await api.get("bob", ROOMS)).status == 200
        house.clock.advance(2)
        assert (await api.get("alice", ROOMS)).status == 200


async def test_a_method_that_there_is_not_is_told_with_those_that_there_are(api: Api) -> None:
    api.house.know("alice")
    answer = await api.call("DELETE", "alice", f"war-rooms/{'0' * 8}-0000-4000-8000-{'0' * 12}/")
    assert (answer.status, answer.body["code"]) == (405, "method_not_allowed")
    assert "GET" in answer.headers["Allow"]
    assert "DELETE" not in answer.headers["Allow"]
    assert (await api.call("HEAD", "alice", ROOMS)).status == 200


@pytest.mark.parametrize(
    "path", ["nothing/", "war-rooms/no-uuid/", "war-rooms/%2e%2e/", "war-room-bridges/", "war-rooms//", "%00/"]
)
async def test_what_is_not_there_is_404_as_json(api: Api, path: str) -> None:
    api.house.know("alice")
    answer = await api.get("alice", path)
    assert (answer.status, answer.body["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("content", "kind", "status", "code"),
    [
        (b"{", "application/json", 400, "parse_error"),
        (b'{"message": NaN}', "application/json", 400, "parse_error"),
        (b"\xff\xfe", "application/json", 400, "parse_error"),
        (b"[" * 100_000, "application/json", 400, "parse_error"),
        (b'{"context": ' + b'{"a":' * 60 + b"1" + b"}" * 61, "application/json", 400, "parse_error"),
        (b'{"message": "x"}', "text/plain", 415, "unsupported_media_type"),
        (b"message=x", "application/x-www-form-urlencoded", 415, "unsupported_media_type"),
        (b"{}" + b" " * BODY_LIMIT, "application/json", 413, "too_large"),
    ],
)
async def test_a_body_that_can_not_be_read_is_a_clear_error(
    api: Api, content: bytes, kind: str, status: int, code: str
) -> None:
    api.house.know("alice")
    bot = (await api.get("alice", "chat-bots/")).body["results"][0]["id"]
    path = f"chat-bots/{bot}/generate_response/"
    answer = await api.call("POST", "alice", path, data=content, headers={"Content-Type": kind})
    assert (answer.status, answer.body["code"]) == (status, code)


async def test_what_is_wrong_with_a_field_stands_under_its_name(api: Api) -> None:
    api.house.know("alice")
    bot = (await api.get("alice", "chat-bots/")).body["results"][0]["id"]
    path = f"chat-bots/{bot}/generate_response/"
    wrong = {"message": 5, "war_room_id": "x", "context": []}
    answer = await api.post("alice", path, wrong)
    assert answer.status == 400
    assert set(answer.body) == {"message", "war_room_id", "context"}
    assert all(isinstance(text, str) for texts in answer.body.values() for text in texts)
    assert (await api.post("alice", path, [])).body.keys() == {"non_field_errors"}
    assert (await api.post("alice", path, {})).body.keys() == {"message"}
    assert (await api.post("alice", path, {"message": "\ud800"})).status == 400


async def test_pages_of_other_origins_are_refused_and_listed_ones_are_not(house: House) -> None:
    house.know("alice")
    public = Public(origin="https://chat.example.org", origins=frozenset({"https://etb.example.org"}))
    async with api_of(house, public=public) as api:
        for origin in ("https://chat.example.org", "https://etb.example.org"):
            answer = await api.call("GET", "alice", ROOMS, headers={"Origin": origin})
            assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (200, origin)
            asked = await api.call("OPTIONS", None, ROOMS, headers={"Origin": origin})
            assert (asked.status, asked.headers["Access-Control-Allow-Methods"]) == (204, asked.headers["Allow"])
        for origin in ("https://evil.example", "null", "https://etb.example.org.evil.example"):
            answer = await api.call("GET", "alice", ROOMS, headers={"Origin": origin})
            assert (answer.status, answer.body["code"]) == (403, "origin_not_allowed")
            assert "Access-Control-Allow-Origin" not in answer.headers
        assert (await api.get("alice", ROOMS)).status == 200


async def test_a_ticket_stands_for_the_token_once_and_not_for_long(api: Api) -> None:
    api.house.know("alice")
    made = await api.post("alice", "ws-tickets/")
    assert made.status == 201
    tickets = api.frame.tickets
    assert await tickets.take(made.body["ticket"]) == token_of("alice")
    assert await tickets.take(made.body["ticket"]) is None
    late = (await api.post("alice", "ws-tickets/")).body["ticket"]
    api.house.clock.advance(31)
    assert await tickets.take(late) is None
    assert await tickets.take("") is None


async def test_a_failure_of_ours_is_told_by_its_type_alone(
    api: Api, logged: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    api.house.know("alice")

    async def fail(*_: object) -> None:
        raise RuntimeError("secret words")

    monkeypatch.setattr(type(api.frame.gate.doors), "visible", fail)
    answer = await api.get("alice", ROOMS)
    assert (answer.status, answer.body["code"]) == (500, "error")
    assert b"secret words" not in answer.raw
    assert "secret words" not in repr(logged)
    assert any(entry.get("error") == "RuntimeError" for entry in logged)


async def test_requests_are_counted_by_route_and_status(api: Api) -> None:
    api.house.know("alice")
    await api.get("alice", ROOMS)
    await api.get(None, ROOMS)
    await api.call("PUT", "alice", "chat-bots/")
    assert api.counted == [("list_war_rooms", 200), ("list_war_rooms", 401), ("none", 405)]


async def test_the_clearance_of_a_call_is_the_one_of_now(api: Api) -> None:
    """A copy of yesterday must not let somebody in whose own token says otherwise."""
    await api.house.open_for_alice(stated=Classification.RESTRICTED)
    assert (await api.get("alice", ROOMS)).body["count"] == 1
    api.house.know("alice", clearance=Classification.PUBLIC)
    api.house.clock.advance(61)
    assert (await api.get("alice", ROOMS)).body["count"] == 0

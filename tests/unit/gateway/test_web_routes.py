"""The writing half of the chat API: what each call answers."""

import asyncio
from typing import Any

import pytest

from etb_appservice.domain.closing import Closing
from etb_appservice.domain.effects import React, Say
from etb_appservice.domain.outcomes import Refused
from tests.harness.api import Api, api_of, id_of
from tests.harness.cast import ALICE
from tests.harness.house import House

pytestmark = pytest.mark.enable_socket
MESSAGES = "war-room-messages/"
THUMB = "\N{THUMBS UP SIGN}"


@pytest.fixture
async def api(api: Api) -> Api:
    await api.house.open_for_alice()
    return api


async def post(api: Api, who: str, content: str, **more: Any) -> Any:
    """A message as the API answers it."""
    headers = more.pop("headers", None)
    body = {"war_room_id": (await api.house.room()).war_room, "content": content, **more}
    answer = await api.post(who, MESSAGES, body, headers=headers)
    assert answer.status == 201, answer.body
    return answer.body


async def test_the_seeds_call_posts_a_message(api: Api) -> None:
    message = await post(api, "alice", "Hello @bob", message_type="TEXT")
    assert (message["content"], message["sender"], message["sender_username"]) == (
        "Hello @bob",
        id_of("alice"),
        "alice",
    )
    assert [one["username"] for one in message["mentioned_users"]] == ["bob"]
    shown = await api.get("bob", f"{MESSAGES}{message['id']}/")
    assert shown.body["external_message_id"].startswith("$")
    assert [say.content for _, say in api.house.world.said if say.speaker == "alice"] == ["Hello @bob"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"content": ""}, "content"),
        ({"content": " "}, "content"),
        ({}, "content"),
        ({"content": "x", "message_type": "SYSTEM"}, "message_type"),
        ({"content": "x", "reply_to_id": id_of("nothing")}, "reply_to_id"),
        ({"content": "x", "attachment_ids": [id_of("nothing")]}, "attachment_ids"),
        ({"content": "x", "mentioned_user_ids": [id_of("nobody")]}, "mentioned_user_ids"),
    ],
)
async def test_what_is_no_message_is_an_error_of_its_field(api: Api, body: dict[str, Any], field: str) -> None:
    answer = await api.post("alice", MESSAGES, {"war_room_id": (await api.house.room()).war_room, **body})
    assert (answer.status, list(answer.body)) == (400, [field])


async def test_a_message_needs_a_war_room_that_the_caller_may_enter(api: Api) -> None:
    api.house.know("dave")
    war_room = (await api.house.room()).war_room
    assert (await api.post("alice", MESSAGES, {"content": "x"})).body.keys() == {"war_room_id"}
    assert (await api.post("dave", MESSAGES, {"content": "x", "war_room": war_room})).status == 404
    assert (await api.post("alice", MESSAGES, {"content": "x", "war_room": id_of("no room")})).status == 404


async def test_the_same_key_answers_the_first_result(api: Api) -> None:
    key = {"Idempotency-Key": "k"}
    first = await post(api, "alice", "one", headers=key)
    assert (await post(api, "alice", "two", headers=key))["id"] == first["id"]
    assert (await post(api, "bob", "three", headers=key))["id"] != first["id"]
    assert [say.content for _, say in api.house.world.said if say.speaker] == ["one", "three"]
    long = await api.post("alice", MESSAGES, {}, headers={"Idempotency-Key": "k" * 300})
    assert long.status == 400


async def test_ones_own_message_is_edited_and_nobody_elses(api: Api) -> None:
    message = await post(api, "alice", "helo")
    path = f"{MESSAGES}{message['id']}/"
    answer = await api.call("PATCH", "alice", path, json={"content": "hello"})
    assert (answer.status, answer.body["content"], answer.body["is_edited"]) == (200, "hello", True)
    answer = await api.call("PATCH", "bob", path, json={"content": "hollow"})
    assert (answer.status, answer.body["code"]) == (403, "forbidden")


async def test_a_deleted_message_is_gone(api: Api) -> None:
    message = await post(api, "alice", "oops")
    path = f"{MESSAGES}{message['id']}/"
    assert (await api.call("DELETE", "bob", path)).status == 403
    answer = await api.call("DELETE", "alice", path)
    assert (answer.status, answer.body) == (200, {})
    assert (await api.get("alice", path)).status == 404
    assert (await api.call("DELETE", "alice", path)).status == 404


async def test_a_delete_of_which_nobody_heard_the_end_is_asked_again_by_its_key(api: Api) -> None:
    path = f"{MESSAGES}{(await post(api, 'alice', 'Hello'))['id']}/"
    for _ in range(2):
        answer = await api.call("DELETE", "alice", path, headers={"Idempotency-Key": "k"})
        assert (answer.status, answer.body) == (200, {})
    api.house.know("dave")
    assert (await api.call("DELETE", "dave", path, headers={"Idempotency-Key": "k"})).status == 404


async def test_a_reaction_is_given_once_and_withdrawn(api: Api) -> None:
    message = await post(api, "alice", "Hello")
    path = f"{MESSAGES}{message['id']}/add_reaction/"
    first = await api.post("bob", path, {"emoji": THUMB})
    again = await api.post("bob", path, {"emoji": THUMB})
    assert (first.status, again.status) == (201, 200)
    assert first.body == again.body
    assert (first.body["user_username"], first.body["emoji"]) == ("bob", THUMB)
    gone = f"{MESSAGES}{message['id']}/remove_reaction/"
    for _ in range(2):
        answer = await api.post("bob", gone, {"emoji": THUMB})
        assert (answer.status, answer.body["reactions"]) == (200, [])
    assert (await api.post("bob", path, {"emoji": "no"})).body.keys() == {"emoji"}


async def test_two_same_reactions_at_once_are_one(api: Api) -> None:
    message = await post(api, "alice", "Hello")
    path = f"{MESSAGES}{message['id']}/add_reaction/"
    answers = await asyncio.gather(*(api.post("bob", path, {"emoji": THUMB}) for _ in range(4)))
    assert {one.status for one in answers} <= {200, 201}
    assert len([one for one in api.house.world.order if isinstance(one, React)]) == 1
    [group] = (await api.get("alice", f"{MESSAGES}{message['id']}/")).body["reactions"]
    assert (group["count"], group["users"], group["reacted_by_me"]) == (1, ["bob"], False)


async def test_a_message_is_pinned_and_unpinned(api: Api) -> None:
    message = await post(api, "alice", "Hello")
    for _ in range(2):
        answer = await api.post("bob", f"{MESSAGES}{message['id']}/pin_message/")
        assert (answer.status, answer.body["is_pinned"], answer.body["pinned_by_username"]) == (200, True, "bob")
    answer = await api.post("alice", f"{MESSAGES}{message['id']}/unpin_message/")
    assert (answer.status, answer.body["is_pinned"]) == (200, False)


async def test_an_answer_is_among_the_replies(api: Api) -> None:
    root = await post(api, "alice", "root")
    answer = await post(api, "bob", "answer", reply_to_id=root["id"])
    assert answer["reply_to"] == root["id"]
    replies = await api.get("alice", f"{MESSAGES}{root['id']}/replies/")
    assert [one["id"] for one in replies.body["results"]] == [answer["id"]]


async def test_a_command_is_run_by_its_message(api: Api) -> None:
    message = await post(api, "alice", "/status")
    assert message["message_type"] == "COMMAND"
    path = f"{MESSAGES}{message['id']}/execute_command/"
    answer = await api.post("bob", path)
    assert (answer.status, answer.body["execution_status"], answer.body["command_type"]) == (
        200,
        "SUCCESS",
        "STATUS",
    )
    assert (answer.body["message"], answer.body["executed_by_username"]) == (message["id"], "bob")
    again = await api.post("alice", path)
    assert again.body["id"] == answer.body["id"]


@pytest.mark.parametrize(
    ("content", "body", "status"),
    [
        ("just talk", {}, 400),
        ("just talk", {"command_text": "/status"}, 200),
        ("/nonsense", {}, 400),
        ("/assign", {"command_text": "/assign", "parameters": {"username": "bob"}}, 200),
        ("/assign", {"command_text": "/status", "parameters": {"username": "bob"}}, 400),
        ("/assign", {"parameters": {"username": "bob"}}, 200),
        ("/assign bob", {"parameters": {"username": ""}}, 200),
        ("/assign bob", {"parameters": {"username": "bob"}}, 400),
        ("/status", {"parameters": {"username": "bob"}}, 400),
        ("just talk", {"parameters": {"username": "bob"}}, 400),
        ("/assign nobody-knows", {}, 400),
        ("/run playbook xyzzy", {}, 400),
        ("/remove bob", {}, 403),
    ],
)
async def test_what_a_run_came_to_is_its_status(api: Api, content: str, body: dict[str, Any], status: int) -> None:
    message = await post(api, "alice", content)
    answer = await api.post("alice", f"{MESSAGES}{message['id']}/execute_command/", body)
    assert answer.status in ({200, 202} if status == 200 else {status}), answer.body


async def test_parameters_alone_go_into_the_command_that_the_message_is(api: Api) -> None:
    message = await post(api, "alice", "/assign")
    path = f"{MESSAGES}{message['id']}/execute_command/"
    answer = await api.post("bob", path, {"parameters": {"username": "carol"}})
    assert (answer.body["command_text"], answer.body["executed_by_username"]) == ("/assign carol", "bob")
    assert answer.body["message"] != message["id"], "that was another command, and is said in the room"
    assert [say.content for _, say in api.house.world.said if say.speaker == "bob"] == ["/assign carol"]
    assert (await api.post("alice", path)).status == 400, "the message itself has not run"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("/assign nobody-knows", "ETB knows no user `nobody-knows`."),
        ("/run playbook xyzzy", "ETB has no active runbook called `xyzzy`."),
        ("/nonsense", "I don't know `nonsense`. `!help` lists what I can do."),
    ],
)
async def test_a_mistake_of_the_caller_is_400_however_often_it_is_asked(api: Api, content: str, text: str) -> None:
    message = await post(api, "alice", content)
    path = f"{MESSAGES}{message['id']}/execute_command/"
    for _ in range(2):
        answer = await api.post("alice", path)
        assert (answer.status, answer.body) == (400, {"command_text": [text]})
    log = await api.get("alice", "chat-commands/")
    assert log.body["results"][0]["execution_status"] == "FAILED"


async def test_what_can_not_be_looked_up_while_etb_is_away_is_502(api: Api) -> None:
    message = await post(api, "alice", "/run playbook Restart mail")
    api.house.etb.down()
    for _ in range(2):
        answer = await api.post("alice", f"{MESSAGES}{message['id']}/execute_command/")
        assert (answer.status, answer.body["code"]) == (502, "upstream_error")


async def test_what_etb_refuses_is_502_and_logged(api: Api) -> None:
    message = await post(api, "alice", "/update status closed")
    api.house.etb.refuse()
    path = f"{MESSAGES}{message['id']}/execute_command/"
    assert (await api.post("alice", path)).status in {202, 502}, "it may not have come so far"
    answer = await api.post("alice", path)
    assert (answer.status, answer.body["code"]) == (502, "upstream_error")
    log = await api.get("alice", "chat-commands/")
    assert log.body["results"][0]["execution_status"] == "FAILED"


async def test_a_closed_room_is_409(api: Api) -> None:
    message = await post(api, "alice", "Hello")
    room = await api.house.room()
    async with api.house.db.work() as work:
        await work.cases.put(room.war_room, Closing(how="closed", ended_ms=1, is_read_only=True))
    answer = await api.post("alice", MESSAGES, {"war_room_id": room.war_room, "content": "x"})
    detail = "The incident has ended, and its room is only read."
    assert (answer.status, answer.body) == (409, {"detail": detail, "code": "conflict"})
    assert (await api.post("alice", f"{MESSAGES}{message['id']}/pin_message/")).status == 409


async def test_what_matrix_refuses_is_seen_in_the_message(api: Api) -> None:
    api.house.world.fail(Say, Refused("no"), only=lambda say: say.speaker == "alice")
    message = await post(api, "alice", "Hello")
    shown = await api.get("alice", f"{MESSAGES}{message['id']}/")
    assert shown.body["external_data"]["undelivered"] == "message"
    assert shown.body["external_message_id"] is None


async def test_what_is_not_decided_in_time_is_503_and_done_all_the_same(house: House) -> None:
    await house.open_for_alice()
    async with api_of(house, wait_s=0.0) as api:
        body = {"war_room_id": (await house.room()).war_room, "content": "Hello"}
        key = {"Idempotency-Key": "k"}
        answer = await api.post("alice", MESSAGES, body, headers=key)
        assert (answer.status, answer.body["code"]) == (503, "busy")
        assert "Retry-After" in answer.headers
        again = await api.post("alice", MESSAGES, body, headers=key)
        assert (again.status, again.body["content"]) == (201, "Hello")
    assert len([say for _, say in house.world.said if say.speaker]) == 1


async def test_what_is_said_in_matrix_is_pinned_and_answered_here(api: Api) -> None:
    await api.house.says(ALICE, "native", event_id="$1")
    await api.house.settle()
    found = (await api.get("bob", f"war-rooms/{(await api.house.room()).war_room}/messages/?search=native")).body
    [message] = found["results"]
    assert (await api.post("bob", f"{MESSAGES}{message['id']}/pin_message/")).status == 200
    answer = await post(api, "bob", "seen", reply_to_id=message["id"])
    say = next(say for _, say in api.house.world.said if say.speaker == "bob")
    assert (answer["reply_to"], say.thread_root) == (message["id"], "$1")

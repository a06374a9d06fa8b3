"""What frames do, what comes of bad ones, and that none of them ends anything but its own socket."""

import asyncio
import contextlib
import json
from typing import Any, get_args

import aiohttp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from etb_appservice.domain.ids import new_id
from etb_appservice.gateway.acts import Acts
from etb_appservice.gateway.desk import Draft, Order, Refusal, RefusalCode
from etb_appservice.gateway.frames import CLIENT_TYPES, Unacceptable, read_frame
from tests.harness.cast import NO_2, incident
from tests.harness.house import House
from tests.harness.sockets import UUID_OF, Client, Scene, user_called

NOWHERE = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
async def opened(opened: House) -> House:
    """ETB has said which ids alice and bob have."""
    async with opened.db.work() as work:
        for name in ("alice", "bob"):
            await work.incidents.put_user(user_called(name), opened.clock.now_ms())
    return opened


@pytest.fixture
async def alice(here: Scene, war_room: str) -> Client:
    return await here.sits("alice", war_room)


@pytest.fixture
async def bob(here: Scene, war_room: str) -> Client:
    return await here.sits("bob", war_room)


async def said(client: Client, content: str = "Hello", **fields: Any) -> str:
    """Something that was said; its id."""
    await client.says(type="chat_message", content=content, **fields)
    told = await client.until("chat_message")
    return str(told["message"]["id"])


# --- what frames do -------------------------------------------------------------------------------------------


async def test_the_seeds_samples_work_verbatim(here: Scene, alice: Client, bob: Client) -> None:
    await alice.ws.send_str('{"type": "chat_message", "content": "Hello team!", "message_type": "TEXT"}')
    told = await bob.hears("chat_message")
    assert told["message"]["content"] == "Hello team!"
    assert told["message"]["sender_username"] == "alice"
    assert await alice.hears() == told

    message_id = told["message"]["id"]
    sample = '{"type": "reaction", "message_id": "%s", "emoji": "👍", "action": "add"}'
    await bob.ws.send_str(sample % message_id)
    told = await alice.hears("reaction")
    assert (told["message_id"], told["emoji"], told["action"]) == (message_id, "👍", "add")
    assert told["user"] == {"id": UUID_OF["bob"], "username": "bob"}
    assert told["reactions"] == [{"emoji": "👍", "count": 1, "users": ["bob"], "reacted_by_me": False}]
    assert (await bob.hears("reaction"))["reactions"][0]["reacted_by_me"] is True


async def test_only_the_sender_is_told_the_clients_own_name_of_a_message(
    here: Scene, war_room: str, alice: Client, bob: Client
) -> None:
    second = await here.sits("alice", war_room)

    await alice.says(type="chat_message", content="x", client_id="c-1")

    assert (await alice.hears())["client_id"] == "c-1"
    assert (await second.hears())["client_id"] == "c-1"
    assert "client_id" not in await bob.hears()


async def test_a_frame_is_rendered_once_for_all_who_see_the_same(
    here: Scene, war_room: str, alice: Client
) -> None:
    others = [await here.sits("bob", war_room) for _ in range(5)]
    await alice.says(type="chat_message", content="x")

    await asyncio.gather(*(one.hears("chat_message") for one in (alice, *others)))

    assert here.shows.made == 1


async def test_everything_of_a_message_is_handed_to_the_desk(here: Scene, alice: Client) -> None:
    first = await said(alice)
    await said(
        alice,
        "@bob look",
        message_type="UPDATE",
        reply_to_id=first.upper(),
        mentioned_user_ids=[UUID_OF["bob"]],
        attachment_ids=[NOWHERE],
        client_id="c",
        something="else",
    )

    assert here.desk.calls[-1] == (
        "post",
        Draft(
            content="@bob look",
            message_type="UPDATE",
            reply_to=first,
            mentioned=(UUID_OF["bob"],),
            attachments=(NOWHERE,),
            client_id="c",
        ),
    )


async def test_messages_are_edited_pinned_and_read(here: Scene, alice: Client, bob: Client) -> None:
    message_id = await said(alice)
    await bob.hears("chat_message")

    await alice.says(type="edit_message", message_id=message_id, content="Better")
    updated = await bob.hears("message_updated")
    assert (updated["message"]["content"], updated["message"]["is_edited"]) == ("Better", True)

    for kind, is_pinned in (("pin_message", True), ("unpin_message", False)):
        await alice.says(type=kind, message_id=message_id)
        pinned = await bob.hears("message_pinned")
        assert (pinned["message_id"], pinned["is_pinned"]) == (message_id, is_pinned)
        assert pinned["user"]["username"] == "alice"

    await bob.says(type="read", message_id=message_id)
    assert (await alice.until("read")) == {
        "type": "read",
        "user": {"id": UUID_OF["bob"], "username": "bob"},
        "message_id": message_id,
    }


async def test_a_reaction_is_withdrawn(here: Scene, alice: Client) -> None:
    message_id = await said(alice)
    await alice.says(type="reaction", message_id=message_id, emoji="👍")
    await alice.hears("reaction")

    await alice.says(type="reaction", message_id=message_id, emoji="👍", action="remove")

    told = await alice.hears("reaction")
    assert (told["action"], told["reactions"]) == ("remove", [])


@pytest.mark.parametrize("kind", ["command", "execute_command"])
async def test_a_command_is_run(here: Scene, alice: Client, kind: str) -> None:
    await alice.says(type=kind, command_text="/run playbook disk", parameters={"host": "a"})

    assert (await alice.hears("command_result"))["command"]["execution_status"] == "SUCCESS"
    assert here.desk.calls == [("run", Order(command_text="/run playbook disk", parameters={"host": "a"}))]


async def test_a_command_without_text_or_message_is_none(here: Scene, alice: Client) -> None:
    await alice.says(type="command", parameters={})

    assert (await alice.hears("error"))["code"] == "validation_error"
    assert here.desk.calls == []


@pytest.mark.parametrize("nonce", ["n", 7, 1.5, None])
async def test_a_ping_is_answered_with_its_nonce(alice: Client, nonce: object) -> None:
    await alice.says(type="ping", nonce=nonce)

    told = await alice.hears("pong")
    assert told["nonce"] == nonce
    assert told["server_time"].endswith("Z")


# --- typing ---------------------------------------------------------------------------------------------------


async def test_others_see_somebody_type_until_it_expires(
    here: Scene, opened: House, alice: Client, bob: Client
) -> None:
    await alice.says(type="typing", is_typing=True)
    assert (await bob.hears("typing"))["is_typing"] is True
    opened.clock.advance(9)
    here.sockets.watch.look()
    await bob.quiet()
    opened.clock.advance(1)
    here.sockets.watch.look()

    assert (await bob.hears("typing"))["is_typing"] is False
    await alice.quiet()  # nobody is told of their own typing


async def test_typing_on_is_told_again_only_after_a_while(here: Scene, opened: House, alice: Client) -> None:
    for _ in range(3):
        await alice.says(type="typing", is_typing=True)
    await alice.quiet()
    assert here.desk.calls == [("typing", True)]
    opened.clock.advance(5)
    await alice.says(type="typing", is_typing=True)
    await alice.quiet()

    assert here.desk.calls == [("typing", True)] * 2


@pytest.mark.parametrize("how", ["stops", "sends", "leaves"])
async def test_whoever_stops_sends_or_leaves_types_no_longer(
    here: Scene, alice: Client, bob: Client, how: str
) -> None:
    await alice.says(type="typing", is_typing=True)
    await bob.hears("typing")

    match how:
        case "stops":
            await alice.says(type="typing", is_typing=False)
        case "sends":
            await alice.says(type="chat_message", content="x")
        case _:
            await alice.ws.close()

    assert (await bob.until("typing"))["is_typing"] is False


# --- history --------------------------------------------------------------------------------------------------


async def test_whoever_comes_back_reads_what_they_missed(here: Scene, opened: House, alice: Client) -> None:
    ids = []
    for number in range(5):
        ids.append(await said(alice, f"m{number}"))
        opened.clock.advance(1)

    await alice.says(type="history", limit=2)
    told = await alice.hears("history")
    assert ([one["id"] for one in told["messages"]], told["has_more"]) == (ids[3:], True)
    await alice.says(type="history", limit=2, before=ids[3])
    told = await alice.hears("history")
    assert ([one["id"] for one in told["messages"]], told["has_more"]) == (ids[1:3], True)
    await alice.says(type="history", limit=2, before=ids[1])
    told = await alice.hears("history")
    card, first = told["messages"]
    assert (bool(card["bot"]), first["id"], told["has_more"]) == (True, ids[0], False)


async def test_what_changes_while_the_history_is_read_is_told_after_it(
    alice: Client, bob: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    message_id = await said(bob, "old")
    await alice.until("chat_message")
    read, goes_on, history = asyncio.Event(), asyncio.Event(), Acts._history

    async def slow(*args: Any) -> Any:
        page = await history(*args)
        read.set()
        await goes_on.wait()
        return page

    monkeypatch.setattr(Acts, "_history", slow)
    await alice.says(type="history", limit=1)
    await read.wait()
    await bob.says(type="edit_message", message_id=message_id, content="new")
    await bob.until("message_updated")
    goes_on.set()
    assert [one["content"] for one in (await alice.hears("history"))["messages"]] == ["old"]
    assert (await alice.hears("message_updated"))["message"]["content"] == "new"


async def test_history_of_long_messages_comes_in_pieces(here: Scene, opened: House, alice: Client) -> None:
    ids = [await said(alice, str(number) * 60_000) for number in range(9)]
    seen: list[str] = []
    before = None
    for _ in ids:
        await alice.says(type="history", limit=100, before=before, client_id="h")
        told = await alice.hears("history")
        assert told["client_id"] == "h"
        page = [one["id"] for one in told["messages"]]
        assert page
        seen, before = [*page, *seen], page[0]
        if set(ids) <= set(seen):
            break
        assert told["has_more"]
    assert [one for one in seen if one in ids] == ids


async def test_history_marks_the_readers_own_reactions(alice: Client, bob: Client) -> None:
    message_id = await said(alice)
    await bob.says(type="reaction", message_id=message_id, emoji="👍")
    await bob.until("reaction")

    for client, mine in ((bob, True), (alice, False)):
        await client.says(type="history")
        told = await client.until("history")
        assert told["messages"][-1]["reactions"][0]["reacted_by_me"] is mine


async def test_what_a_reader_is_not_cleared_for_is_neither_told_nor_in_the_history(
    here: Scene, alice: Client, bob: Client
) -> None:
    ids = [await said(alice, str(number)) for number in range(3)]
    here.shows.levels[ids[1]] = here.shows.levels[ids[2]] = "TOP_SECRET"

    await alice.says(type="edit_message", message_id=ids[1], content="secret")
    await alice.says(type="pin_message", message_id=ids[1])
    await alice.says(type="history", limit=1)

    told = await alice.hears("history")
    assert ([one["id"] for one in told["messages"]], told["has_more"]) == (ids[:1], True)
    for _ in ids:
        await bob.hears("chat_message")
    await bob.quiet()


# --- bad frames -----------------------------------------------------------------------------------------------


BAD = (
    ("", "invalid_json"),
    ("hello", "invalid_json"),
    ("{", "invalid_json"),
    ("[]", "invalid_json"),
    ('"chat_message"', "invalid_json"),
    ("[" * 30_000, "invalid_json"),
    ('{"type": "ping", "nonce": NaN}', "invalid_json"),
    ('{"type": "ping", "nonce": "\\ud800"}', "invalid_json"),
    ("{}", "unknown_type"),
    ('{"type": null}', "unknown_type"),
    ('{"type": ["ping"]}', "unknown_type"),
    ('{"type": "message_deleted", "message_id": "x"}', "unknown_type"),
    ('{"type": "chat_message"}', "validation_error"),
    ('{"type": "chat_message", "content": ""}', "validation_error"),
    ('{"type": "chat_message", "content": 1}', "validation_error"),
    ('{"type": "chat_message", "content": "x", "message_type": "SYSTEM"}', "validation_error"),
    ('{"type": "chat_message", "content": "x", "reply_to_id": "1"}', "validation_error"),
    (f'{{"type": "reaction", "message_id": "{NOWHERE}", "emoji": ""}}', "validation_error"),
    (f'{{"type": "reaction", "message_id": "{NOWHERE}", "emoji": "{"é" * 33}"}}', "validation_error"),
    ('{"type": "history", "limit": 0}', "validation_error"),
    ('{"type": "history", "limit": 101}', "validation_error"),
    (f'{{"type": "history", "before": "{NOWHERE}"}}', "not_found"),
    ('{"type": "ping", "nonce": 1e999}', "validation_error"),
    (f'{{"type": "ping", "nonce": {"9" * 400}}}', "validation_error"),
    (f'{{"type": "pin_message", "message_id": "{NOWHERE}"}}', "not_found"),
)


async def test_a_bad_frame_is_answered_with_what_is_wrong(opened: House, alice: Client, bob: Client) -> None:
    for text, code in BAD:
        opened.clock.advance(10)
        await alice.ws.send_str(text)

        told = await alice.hears("error")
        assert (told["code"], bool(told["detail"])) == (code, True), text
        await alice.quiet()
    await bob.quiet()


async def test_an_error_names_what_it_answers(alice: Client) -> None:
    await alice.says(type="edit_message", message_id="17", client_id="c-9")

    told = await alice.hears("error")
    assert (told["in_reply_to"], told["client_id"]) == ("edit_message", "c-9")
    assert told["detail"] == "message_id: must be a UUID; content: Field required"


async def test_an_error_repeats_nothing_of_what_was_sent(alice: Client) -> None:
    secret = "tell-nobody"
    for frame in (
        {"type": secret},
        {"type": "chat_message", "content": [secret], "message_type": secret},
        {"type": "command", "command_text": "x", "parameters": {secret: {secret: {}}}, "message_id": secret},
        {"type": "reaction", "message_id": secret, "emoji": secret, "action": secret},
    ):
        await alice.says(**frame)
        assert secret not in json.dumps(await alice.hears("error"))


async def test_a_binary_frame_is_no_frame(alice: Client) -> None:
    await alice.ws.send_bytes(b'{"type": "ping"}')

    assert (await alice.hears("error"))["code"] == "invalid_json"


async def test_text_that_is_no_utf_8_is_no_frame(alice: Client) -> None:
    await alice.ws.send_frame(b'{"type": "ping", "nonce": "\xff"}', aiohttp.WSMsgType.TEXT)

    assert (await alice.hears("error"))["code"] == "invalid_json"


async def test_a_frame_that_is_too_big_is_refused_and_one_far_too_big_ends_the_socket(
    here: Scene, alice: Client, bob: Client
) -> None:
    fits = 64 * 1024 - len('{"type": "chat_message", "content": ""}')
    await alice.says(type="chat_message", content="x" * fits)
    assert len((await alice.hears("chat_message"))["message"]["content"]) == fits
    await alice.says(type="chat_message", content="x" * (fits + 1))
    assert (await alice.hears("error"))["code"] == "validation_error"
    assert len(here.desk.calls) == 1

    await alice.says(type="chat_message", content="x" * 1_000_000)
    assert await alice.ends() == 1009
    await bob.hears("chat_message")
    await bob.quiet()


async def test_messages_of_other_rooms_are_not_found(here: Scene, opened: House, alice: Client) -> None:
    await opened.report(incident(id=NO_2, number="INC-2"))
    await opened.settle()
    elsewhere = await here.sits("alice", NO_2)
    message_id = await said(elsewhere)

    for frame in (
        {"type": "chat_message", "content": "x", "reply_to_id": message_id},
        {"type": "reaction", "message_id": message_id, "emoji": "👍"},
        {"type": "edit_message", "message_id": message_id, "content": "x"},
        {"type": "pin_message", "message_id": message_id},
        {"type": "unpin_message", "message_id": message_id},
        {"type": "read", "message_id": message_id},
        {"type": "history", "before": message_id},
    ):
        await alice.says(**frame)
        told = await alice.hears("error")
        assert (told["code"], told["in_reply_to"]) == ("not_found", frame["type"])
    await elsewhere.quiet()


async def test_what_the_desk_refuses_is_an_error_frame(here: Scene, alice: Client) -> None:
    for code in get_args(RefusalCode):
        here.desk.refuses = Refusal(code, "It is not done.")

        await alice.says(type="chat_message", content="x", client_id="c")

        assert await alice.hears() == {
            "type": "error",
            "code": code,
            "detail": "It is not done.",
            "in_reply_to": "chat_message",
            "client_id": "c",
        }


async def test_more_than_twenty_frames_in_ten_seconds_are_refused(
    here: Scene, opened: House, alice: Client, bob: Client
) -> None:
    for number in range(25):
        await alice.says(type="chat_message", content=str(number))
    frames = [await alice.hears() for _ in range(25)]

    assert sorted(one.get("code", "") for one in frames) == [""] * 20 + ["rate_limited"] * 5
    assert len(here.desk.calls) == 20
    opened.clock.advance(10)
    await said(alice, "again")
    for _ in range(21):
        await bob.hears("chat_message")


async def test_a_flood_ends_the_socket(here: Scene, alice: Client, bob: Client) -> None:
    for _ in range(200):
        await alice.ws.send_str("x")

    assert await alice.ends() == 4429
    await bob.quiet()


async def test_a_flood_of_pings_ends_the_socket_too(here: Scene, war_room: str, bob: Client) -> None:
    client = await here.sits("alice", war_room)
    for _ in range(200):
        await client.ws.ping()

    assert await client.ends() == 4429
    await bob.quiet()


# --- whatever comes -------------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=10,
)
FIELDS = st.sampled_from(
    [
        "content",
        "message_type",
        "reply_to_id",
        "mentioned_user_ids",
        "attachment_ids",
        "client_id",
        "message_id",
        "emoji",
        "action",
        "is_typing",
        "command_text",
        "parameters",
        "before",
        "limit",
        "nonce",
    ]
)
VALUES = JSON | st.just(NOWHERE) | st.uuids().map(str) | st.lists(st.uuids().map(str), max_size=3)
FRAMES = st.builds(
    lambda kind, fields: json.dumps({"type": kind, **fields}),
    st.sampled_from(sorted(CLIENT_TYPES)) | st.text(max_size=10),
    st.dictionaries(FIELDS, VALUES, max_size=6),
)
ANYTHING = FRAMES | JSON.map(json.dumps) | st.text(max_size=100)


@given(text=ANYTHING)
def test_whatever_is_read_is_a_frame_or_unacceptable(text: str) -> None:
    with contextlib.suppress(Unacceptable):
        read_frame(text.encode("utf-8", "surrogatepass"))


@given(data=st.binary(max_size=200))
def test_so_are_bytes(data: bytes) -> None:
    with contextlib.suppress(Unacceptable):
        read_frame(data)


async def test_whatever_frames_come_each_is_done_or_answered_with_an_error(
    here: Scene, opened: House, war_room: str, alice: Client
) -> None:
    loop = asyncio.get_running_loop()

    async def one(texts: list[str]) -> None:
        opened.clock.advance(10)
        for text in texts:
            await alice.ws.send_str(text)
        end = new_id(opened.clock.now_ms())
        await alice.says(type="ping", nonce=end)
        while True:
            told = await alice.hears()
            if told["type"] == "pong" and told["nonce"] == end:
                return

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(texts=st.lists(ANYTHING.filter(lambda text: text.isascii() or text.isprintable()), max_size=5))
    def run(texts: list[str]) -> None:
        asyncio.run_coroutine_threadsafe(one(texts), loop).result(30)

    await asyncio.to_thread(run)
    assert len(here.sockets) == 1

"""What is read by the chat API, and by whom. Rooms and messages come by the real flows."""

from typing import Any

import pytest
from sqlalchemy import text

from etb_appservice.app import bot_records
from etb_appservice.domain.classification import Classification
from etb_appservice.domain.conversation import FileDetails, MessageDetails, Reacted
from etb_appservice.domain.ids import EventId, Username, new_id, war_room_id
from etb_appservice.domain.past import Levels
from etb_appservice.domain.pins import Pinned, Pins
from etb_appservice.gateway.frame import Public
from etb_appservice.gateway.links import PREFIXES
from etb_appservice.gateway.objects import moment
from etb_appservice.gateway.reading import SCAN
from etb_appservice.ports import ChatFile, CommandRun, Message
from etb_appservice.store.desk import Transaction
from tests.harness.api import Api, api_of, id_of, token_of
from tests.harness.cast import ALICE, BOB, NO_1, NO_2, incident
from tests.harness.house import House

pytestmark = pytest.mark.enable_socket
ROOM = war_room_id(NO_1)
ONE = f"war-rooms/{ROOM}/"
MESSAGES = f"{ONE}messages/"


async def put(house: House, body: str | None, **changes: Any) -> Message:
    """A message of INC-1's room, as the flows record it."""
    now_ms = house.clock.now_ms()
    house.clock.advance(0.01)
    number = changes.pop("id", new_id(now_ms))
    fields: dict[str, Any] = {
        "room_id": await house.room_id(),
        "lane": NO_1,
        "event_id": EventId(f"${number}"),
        "sender": ALICE,
        "state": "open",
        "origin_ms": now_ms,
        "received_ms": now_ms,
        "decided_ms": now_ms,
        "details": MessageDetails(username=Username("alice")),
    }
    message = Message(id=number, body=body, **(fields | changes))
    async with house.db.work() as work:
        await work.messages.put(message)
    return message


async def empty(house: House) -> None:
    """Without what the bot said when the room was opened."""
    async with house.db.view() as view:
        said = await view.messages.page(NO_1)
    async with house.db.work() as work:
        for one in said:
            await work.messages.redact(one.event_id)


@pytest.fixture
async def opened(api: Api) -> Api:
    """INC-1's room is there; nothing was said in it."""
    await api.house.open_for_alice()
    await empty(api.house)
    return api


def ids(answer: Any) -> list[str]:
    return [one["id"] for one in answer.body["results"]]


# --- war rooms --------------------------------------------------------------------------------------------


async def test_a_war_room_is_listed_and_shown_with_everything_that_the_contract_names(opened: Api) -> None:
    listed = await opened.get("alice", "war-rooms/")
    assert listed.body["count"] == 1
    [row] = listed.body["results"]
    assert row["id"] == ROOM
    assert row["name"] == "Incident INC-1 - Mail is down"
    assert (row["status"], row["privacy_level"], row["message_count"]) == ("ACTIVE", "PRIVATE", 0)
    assert row["last_activity"] is None
    detail = (await opened.get("alice", ONE)).body
    assert detail.items() >= row.items()
    assert detail["incident"] == NO_1
    assert detail["matrix"]["room_id"] == await opened.house.room_id()
    assert detail["matrix"]["room_alias"].endswith(f"{NO_1}:x.org")
    assert (detail["data_classification"], detail["is_encrypted"]) == ("INTERNAL", True)
    assert detail["websocket_url"] == f"/ws/chat/{ROOM}/"
    assert {one["username"] for one in detail["allowed_users"]} == {"alice", "bob"}


async def test_somebody_below_its_level_or_of_another_incident_sees_nothing_of_it(api: Api) -> None:
    house = api.house
    await house.open_for_alice(stated=Classification.CONFIDENTIAL)
    message = await put(house, "secret")
    house.know("dave")
    house.know("bob", clearance=Classification.INTERNAL)
    house.clock.advance(1)
    paths = [ONE, MESSAGES, f"{ONE}participants/", f"{ONE}pinned_messages/", f"war-room-messages/{message.id}/"]
    paths += [f"war-room-messages/{message.id}/replies/", f"war-room-messages/?war_room={ROOM}"]
    unknown = f"war-rooms/{NO_2}/"
    for who in ("bob", "carol", "dave"):
        listed = await api.get(who, "war-rooms/")
        assert (listed.body["count"], listed.body["results"]) == (0, [])
        found = await api.get(who, "war-rooms/?search=Mail&ordering=message_count")
        assert found.body["count"] == 0
        other = await api.get(who, unknown)
        for path in paths:
            answer = await api.get(who, path)
            assert (answer.status, answer.raw) == (404, other.raw), path
        assert (await api.get(who, "chat-files/")).body["count"] == 0
        assert (await api.get(who, "chat-commands/")).body["count"] == 0
    assert (await api.get("alice", MESSAGES)).status == 200


async def test_a_right_that_goes_is_gone_at_the_next_call(api: Api) -> None:
    level = Classification.RESTRICTED
    await api.house.open_for_alice(stated=level)
    assert (await api.get("bob", ONE)).status == 200
    assert (await api.get("bob", "war-rooms/")).body["count"] == 1
    await api.house.report(incident(assignee=None, updated_at_ms=2000, stated=level))
    await api.house.settle()
    assert (await api.get("bob", ONE)).status == 404
    assert (await api.get("bob", "war-rooms/")).body["count"] == 0
    assert (await api.get("alice", "war-rooms/")).body["count"] == 1


async def test_rooms_that_are_no_incidents_are_no_war_rooms(opened: Api) -> None:
    for name in ("control", "space", "announcements"):
        assert (await opened.get("alice", f"war-rooms/{name}/")).status == 404
    assert (await opened.get("alice", "war-rooms/")).body["count"] == 1


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("status=ACTIVE", 2),
        ("status=CLOSED", 0),
        ("privacy_level=PRIVATE", 1),
        ("privacy_level=RESTRICTED", 1),
        ("incident__severity=CRITICAL", 1),
        (f"incident={NO_2}", 1),
        ("search=disk", 1),
        ("search=inc-1", 1),
        ("search=nothing", 0),
        ("search=", 2),
        ("created_after=2020-01-01T00:00:00Z", 2),
        ("created_before=2020-01-01", 0),
        ("unknown=1", 2),
    ],
)
async def test_war_rooms_are_filtered(opened: Api, query: str, count: int) -> None:
    house, level = opened.house, Classification.CONFIDENTIAL
    await house.report(incident(id=NO_2, number="INC-2", title="Disk full", severity="CRITICAL", stated=level))
    await house.settle()
    assert (await opened.get("alice", f"war-rooms/?{query}")).body["count"] == count


@pytest.mark.parametrize(
    "query",
    [
        "status=OPEN",
        "ordering=name",
        "incident=x",
        "created_after=yesterday",
        "page_size=0",
        "page_size=x",
        "search=" + "x" * 201,
        "page_size=" + "9" * 30,
    ],
)
async def test_a_filter_that_can_not_be_is_named(opened: Api, query: str) -> None:
    answer = await opened.get("alice", f"war-rooms/?{query}")
    assert answer.status == 400
    assert list(answer.body) == [query.partition("=")[0]]


async def test_war_rooms_are_ordered(opened: Api) -> None:
    house = opened.house
    house.clock.advance(10)
    await house.report(incident(id=NO_2, number="INC-2", title="Disk full"))
    await house.settle()
    await put(house, "hello")
    first, second = ROOM, war_room_id(NO_2)
    assert ids(await opened.get("alice", "war-rooms/")) == [second, first]
    assert ids(await opened.get("alice", "war-rooms/?ordering=created_at")) == [first, second]
    assert ids(await opened.get("alice", "war-rooms/?ordering=-last_activity"))[0] == first


@pytest.mark.parametrize("prefix", PREFIXES)
async def test_pages_link_to_each_other_by_the_prefix_that_was_used_and_a_configured_origin(
    house: House, prefix: str
) -> None:
    async with api_of(house, public=Public(origin="https://chat.example.org")) as api:
        await house.open_for_alice()
        await empty(house)
        for number in range(5):
            await put(house, str(number))
        where = f"{prefix}{MESSAGES}?page_size=2"
        first = (await api.call("GET", "alice", where, headers={"Host": "evil.example"})).body
        assert (first["count"], first["previous"]) == (5, None)
        assert first["next"] == f"https://chat.example.org{where}&page=2"
        second = (await api.get("alice", first["next"].removeprefix("https://chat.example.org"))).body
        assert second["previous"].startswith(f"https://chat.example.org{prefix}")
        last = (await api.get("alice", second["next"].removeprefix("https://chat.example.org"))).body
        assert (len(last["results"]), last["next"]) == (1, None)
        for page in ("4", "0", "-1", "x", "9" * 40):
            answer = await api.get("alice", f"{where}&page={page}")
            assert (answer.status, answer.body["detail"]) == (404, "Invalid page.")
        assert len((await api.get("alice", f"{prefix}{MESSAGES}?page_size=1000")).body["results"]) == 5


async def test_participants_are_shown_with_their_clearance_and_how_they_take_part(opened: Api) -> None:
    house = opened.house
    answer = (await opened.get("alice", f"{ONE}participants/")).body
    by_name = {one["username"]: one for one in answer["results"]}
    assert by_name["alice"]["membership"] == "join"
    assert by_name["alice"]["roles"] == ["reporter"]
    assert by_name["bob"]["membership"] == "invite"
    assert (by_name["bob"]["clearance_level"], by_name["bob"]["is_cleared"]) == ("RESTRICTED", True)
    await house.let_in("carol")
    again = (await opened.get("alice", f"{ONE}participants/")).body
    carol = next(one for one in again["results"] if one["username"] == "carol")
    assert (carol["membership"], carol["roles"], carol["is_cleared"]) == ("none", ["let in"], True)
    assert (await opened.get("carol", ONE)).status == 200


# --- messages ---------------------------------------------------------------------------------------------


async def test_a_message_is_shown_with_everything_that_belongs_to_it(opened: Api) -> None:
    house = opened.house
    async with house.db.work() as work:
        for name in ("alice", "bob"):
            user = house.etb.users[Username(name)]
            await work.incidents.put_user(type(user)(**{**_fields(user), "id": id_of(name)}), house.clock.now_ms())
    root = await put(house, "look **here**")
    details = MessageDetails(
        username=Username("bob"),
        reply_to=root.event_id,
        mentioned=(Username("alice"),),
        mentions=(ALICE,),
        reactions=(
            Reacted(emoji="👍", user_id=ALICE, username=Username("alice"), event_id=EventId("$r1"), at_ms=1),
            Reacted(emoji="👍", user_id=BOB, username=Username("bob"), event_id=EventId("$r2"), at_ms=2),
        ),
        edited_ms=house.clock.now_ms(),
    )
    reply = await put(house, "seen", sender=BOB, details=details)
    async with house.db.work() as work:
        pin = Pinned(event_id=reply.event_id, user_id=ALICE, username=Username("alice"), at_ms=5)
        await work.cases.put(ROOM, Pins(pinned=(pin,)))
    shown = (await opened.get("alice", f"war-room-messages/{reply.id}/")).body
    assert (shown["content"], shown["message_type"]) == ("seen", "TEXT")
    assert (shown["sender"], shown["sender_username"], shown["sender_name"]) == (id_of("bob"), "bob", "Bob")
    assert (shown["reply_to"], shown["war_room"], shown["incident"]) == (root.id, ROOM, NO_1)
    assert shown["mentioned_users"] == [{"id": id_of("alice"), "username": "alice"}]
    assert shown["reactions"] == [{"emoji": "👍", "count": 2, "users": ["alice", "bob"], "reacted_by_me": True}]
    assert (shown["is_pinned"], shown["pinned_by_username"], shown["is_edited"]) == (True, "alice", True)
    assert (await opened.get("alice", f"war-room-messages/{root.id}/")).body["reply_count"] == 1
    assert ids(await opened.get("alice", f"war-room-messages/{root.id}/replies/")) == [reply.id]
    assert ids(await opened.get("alice", f"{ONE}pinned_messages/")) == [reply.id]


def _fields(user: Any) -> dict[str, Any]:
    return {name: getattr(user, name) for name in user.__dataclass_fields__}


async def test_messages_of_people_are_recorded_by_the_flows_and_read_here(opened: Api) -> None:
    await opened.house.says(ALICE, "the database is full")
    await opened.house.settle()
    [shown] = (await opened.get("bob", MESSAGES)).body["results"]
    assert shown["content"] == "the database is full"
    assert shown["external_message_id"].startswith("$")


async def test_messages_are_filtered(opened: Api) -> None:
    house = opened.house
    first = await put(house, "The disk is full")
    second = await put(house, "restarted", details=MessageDetails(message_type="UPDATE", username=Username("bob")))
    third = await put(house, "DISK is fine", thread_root=first.event_id)
    async with house.db.work() as work:
        pin = Pinned(event_id=second.event_id, user_id=ALICE, at_ms=5)
        await work.cases.put(ROOM, Pins(pinned=(pin,)))

    async def found(query: str) -> list[str]:
        return ids(await opened.get("alice", f"{MESSAGES}?{query}"))

    assert await found("search=disk") == [first.id, third.id]
    assert await found("search=disk&ordering=-created_at") == [third.id, first.id]
    assert await found("message_type=UPDATE") == [second.id]
    assert await found("sender=bob") == [second.id]
    assert await found("is_pinned=true") == [second.id]
    assert await found("is_pinned=false") == [first.id, third.id]
    assert await found(f"reply_to={first.id}") == [third.id]
    assert await found(f"reply_to={NO_2}") == []
    assert await found("created_after=2099-01-01T00:00:00Z") == []
    assert await found("created_before=2099-01-01T00:00:00Z") == [first.id, second.id, third.id]
    assert await found("cursor=&search=disk&page_size=1") == [first.id]


async def test_a_cursor_leads_through_everything_once_in_both_directions(opened: Api) -> None:
    house = opened.house
    made = [(await put(house, str(number))).id for number in range(7)]
    for ordering, wanted in (("created_at", made), ("-created_at", made[::-1])):
        where: str | None = f"{MESSAGES}?cursor=&page_size=3&ordering={ordering}"
        seen: list[str] = []
        pages: list[Any] = []
        while where:
            page = await opened.get("alice", where)
            pages.append(page)
            seen += ids(page)
            where = page.body["next"]
        assert seen == wanted
        assert pages[0].body["previous"] is None
        back = await opened.get("alice", pages[-1].body["previous"])
        assert ids(back) == ids(pages[-2])
        first = await opened.get("alice", back.body["previous"])
        assert (ids(first), first.body["previous"]) == (ids(pages[0]), None)


@pytest.mark.parametrize("cursor", ["x", "%00", "Zg", "ZjEyMzQ1Njc4OTAxMjM0NTY3ODkw", "ZvCfmYI", "..", "a" * 101])
async def test_a_forged_cursor_is_an_error_of_its_field(opened: Api, cursor: str) -> None:
    answer = await opened.get("alice", f"{MESSAGES}?cursor={cursor}")
    assert (answer.status, list(answer.body)) == (400, ["cursor"])


async def test_a_search_says_where_it_stopped(opened: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    house = opened.house
    monkeypatch.setattr("etb_appservice.gateway.reading._BATCH", SCAN // 2)
    old = await put(house, "needle")
    async with house.db.work() as work:
        for number in range(SCAN):
            message = Message(
                id=new_id(house.clock.now_ms() + number),
                room_id=old.room_id,
                lane=NO_1,
                event_id=EventId(f"$many{number}"),
                sender=ALICE,
                state="open",
                origin_ms=1,
                received_ms=house.clock.now_ms() + number,
                decided_ms=house.clock.now_ms() + number,
                body="hay",
            )
            await work.messages.put(message)
    answer = (await opened.get("alice", f"{MESSAGES}?search=needle")).body
    assert (answer["count"], answer["results"]) == (0, [])
    assert answer["stopped_at"] is not None
    assert (await opened.get("alice", f"{MESSAGES}?search=hay&page_size=1")).body["count"] == SCAN
    assert (await opened.get("alice", f"{MESSAGES}?page_size=1")).body["count"] == SCAN + 1


async def test_a_search_through_all_that_there_is_did_not_stop(opened: Api) -> None:
    root = await put(opened.house, "root")
    answer = await put(opened.house, "needle", thread_root=root.event_id)
    found = (await opened.get("alice", f"{MESSAGES}?search=needle&reply_to={root.id}")).body
    assert ([one["id"] for one in found["results"]], found["stopped_at"]) == ([answer.id], None)


async def test_answers_and_pins_are_listed_in_both_orders(opened: Api) -> None:
    root = await put(opened.house, "root")
    answers = [(await put(opened.house, text, thread_root=root.event_id)) for text in ("one", "two", "three")]
    names = [one.id for one in answers]
    async with opened.house.db.work() as work:
        pins = [Pinned(event_id=one.event_id, user_id=ALICE, at_ms=at) for at, one in enumerate(answers)]
        await work.cases.put(ROOM, Pins(pinned=tuple(pins)))
    replies, pinned = f"war-room-messages/{root.id}/replies/", f"{ONE}pinned_messages/"
    for path, usual, field in ((replies, names, "created_at"), (pinned, names[::-1], "pinned_at")):
        assert ids(await opened.get("alice", path)) == usual
        assert ids(await opened.get("alice", f"{path}?ordering={field}")) == names
        assert ids(await opened.get("alice", f"{path}?ordering=-{field}")) == names[::-1]
        assert ids(await opened.get("alice", f"{path}?ordering=-{field}&page=2&page_size=2")) == names[:1]
        assert (await opened.get("alice", f"{path}?ordering=content")).status == 400


async def test_a_search_among_answers_looks_at_the_latest_and_says_where_it_stopped(
    opened: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = opened.house
    monkeypatch.setattr("etb_appservice.gateway.routes.messages.SCAN", 5)
    monkeypatch.setattr("etb_appservice.gateway.routes.messages._BATCH", 2)
    root = await put(house, "root")
    made = []
    for number in range(7):
        house.clock.advance(1)
        made.append(await put(house, f"answer {number}", thread_root=root.event_id))
    where = f"{MESSAGES}?reply_to={root.id}&search=answer"
    answer = await opened.get("alice", where)
    assert ids(answer) == [one.id for one in made[2:]]
    assert answer.body["stopped_at"] == moment(made[2].received_ms)
    monkeypatch.setattr("etb_appservice.gateway.routes.messages.SCAN", 7)
    answer = await opened.get("alice", where)
    assert ids(answer) == [one.id for one in made]
    assert answer.body["stopped_at"] is None


async def test_what_was_said_above_somebodys_clearance_is_neither_shown_nor_counted(opened: Api) -> None:
    house = opened.house
    open_one = await put(house, "for all")
    async with house.db.work() as work:
        past = Levels().then(0, Classification.INTERNAL).then(house.clock.now_ms(), Classification.RESTRICTED)
        await work.cases.put(ROOM, past)
    secret = await put(house, "for few")
    async with house.db.work() as work:
        past = past.then(house.clock.now_ms(), Classification.INTERNAL)
        await work.cases.put(ROOM, past)
    later = await put(house, "for all again")
    house.know("bob", clearance=Classification.INTERNAL)
    seen = await opened.get("bob", MESSAGES)
    assert (ids(seen), seen.body["count"]) == ([open_one.id, later.id], 2)
    assert ids(await opened.get("bob", f"{MESSAGES}?cursor=&page_size=1")) == [open_one.id]
    assert (await opened.get("bob", f"war-room-messages/{secret.id}/")).status == 404
    assert (await opened.get("bob", ONE)).body["message_count"] == 2
    assert (await opened.get("alice", MESSAGES)).body["count"] == 3
    assert (await opened.get("alice", f"war-room-messages/{secret.id}/")).body[
        "data_classification"
    ] == "RESTRICTED"


async def test_what_is_answered_above_somebodys_clearance_is_not_named(opened: Api) -> None:
    house = opened.house
    async with house.db.work() as work:
        past = Levels().then(0, Classification.RESTRICTED)
        await work.cases.put(ROOM, past)
    root = await put(house, "for few")
    async with house.db.work() as work:
        await work.cases.put(ROOM, past.then(house.clock.now_ms(), Classification.INTERNAL))
    house.clock.advance(2)
    answer = await put(house, "for all", thread_root=root.event_id)
    house.know("bob", clearance=Classification.INTERNAL)
    for who, named in (("bob", None), ("alice", root.id)):
        assert (await opened.get(who, f"war-room-messages/{answer.id}/")).body["reply_to"] == named
        [shown] = [one for one in (await opened.get(who, MESSAGES)).body["results"] if one["id"] == answer.id]
        assert shown["reply_to"] == named


async def test_what_answers_a_message_above_somebodys_clearance_is_not_told(opened: Api) -> None:
    house = opened.house
    async with house.db.work() as work:
        past = Levels().then(0, Classification.RESTRICTED)
        await work.cases.put(ROOM, past)
    root = await put(house, "for few")
    async with house.db.work() as work:
        await work.cases.put(ROOM, past.then(house.clock.now_ms(), Classification.INTERNAL))
    house.clock.advance(2)
    answer = await put(house, "for all", thread_root=root.event_id)
    house.know("bob", clearance=Classification.INTERNAL)
    hidden, unknown = [await opened.get("bob", MESSAGES, reply_to=one) for one in (root.id, new_id(1))]
    assert (hidden.status, hidden.body) == (unknown.status, unknown.body)
    assert ids(hidden) == []
    assert ids(await opened.get("alice", MESSAGES, reply_to=root.id)) == [answer.id]


async def test_files_and_commands_are_shown_without_a_message_above_somebodys_clearance(opened: Api) -> None:
    house = opened.house
    async with house.db.work() as work:
        past = Levels().then(0, Classification.RESTRICTED)
        await work.cases.put(ROOM, past)
    message = await put(house, "for few")
    async with house.db.work() as work:
        await work.cases.put(ROOM, past.then(house.clock.now_ms(), Classification.INTERNAL))
    house.clock.advance(2)
    now_ms = house.clock.now_ms()
    file_id, run_id = new_id(now_ms), new_id(now_ms + 1)
    async with house.db.work() as work:
        await work.files.put(
            ChatFile(
                id=file_id,
                war_room=ROOM,
                lane=NO_1,
                created_ms=now_ms,
                message_id=message.id,
                details=FileDetails(name="a.log", original_name="a.log"),
            )
        )
        await work.commands.add(
            CommandRun(
                id=run_id,
                room_id=message.room_id,
                incident_id=NO_1,
                event_id=message.event_id,
                caller=ALICE,
                name="status",
                arguments="",
                result="It is open.",
                status="SUCCESS",
                asked_ms=now_ms,
                finished_ms=now_ms,
            )
        )
    house.know("bob", clearance=Classification.INTERNAL)
    for who, named in (("bob", None), ("alice", message.id)):
        for path in ("chat-files/", "chat-commands/"):
            [listed] = (await opened.get(who, path)).body["results"]
            assert (await opened.get(who, f"{path}{listed['id']}/")).body["message"] == listed["message"] == named
        found = await opened.get(who, "chat-files/", message=message.id)
        assert ids(found) == ([file_id] if named else [])


async def test_answers_above_somebodys_clearance_are_not_counted_with_what_they_answer(opened: Api) -> None:
    house = opened.house
    root = await put(house, "who is on it?")
    answers = [await put(house, "for all", thread_root=root.event_id)]
    async with house.db.work() as work:
        past = Levels().then(0, Classification.INTERNAL).then(house.clock.now_ms(), Classification.RESTRICTED)
        await work.cases.put(ROOM, past)
    await put(house, "for few", thread_root=root.event_id)
    async with house.db.work() as work:
        await work.cases.put(ROOM, past.then(house.clock.now_ms(), Classification.INTERNAL))
    answers.append(await put(house, "for all again", thread_root=root.event_id))
    house.know("bob", clearance=Classification.INTERNAL)
    one = f"war-room-messages/{root.id}/"
    for who, count in (("bob", 2), ("alice", 3)):
        assert (await opened.get(who, one)).body["reply_count"] == count
        assert (await opened.get(who, f"{one}replies/")).body["count"] == count
        assert (await opened.get(who, f"{MESSAGES}?reply_to={root.id}")).body["count"] == count
        [first] = [shown for shown in (await opened.get(who, MESSAGES)).body["results"] if shown["id"] == root.id]
        assert first["reply_count"] == count
        [room] = (await opened.get(who, "war-rooms/")).body["results"]
        assert room["message_count"] == count + 1
    pages = [await opened.get("bob", f"{one}replies/", page=number, page_size=1) for number in (1, 2)]
    assert [ids(page) for page in pages] == [[answer.id] for answer in answers]
    assert (await opened.get("bob", f"{one}replies/", page=3, page_size=1)).status == 404


async def test_texts_that_json_can_not_hold_whole_are_shown_all_the_same(opened: Api) -> None:
    await put(opened.house, "half a pair: \ud83d")
    [shown] = (await opened.get("alice", MESSAGES)).body["results"]
    assert shown["content"] == "half a pair: \ufffd"


# --- commands, files, bots --------------------------------------------------------------------------------


async def test_commands_are_logged_with_their_result(opened: Api) -> None:
    await opened.house.ask(ALICE, "!status")
    await opened.house.ask(ALICE, "!assign nobody-knows")
    answer = (await opened.get("bob", "chat-commands/")).body
    assert answer["count"] == 2
    refused, status = answer["results"]
    assert (status["command_type"], status["command_text"], status["execution_status"]) == (
        "STATUS",
        "/status",
        "SUCCESS",
    )
    assert (status["executed_by_username"], status["war_room"]) == ("alice", ROOM)
    assert (refused["command_type"], refused["parameters"]) == ("ASSIGN", {"username": "nobody-knows"})
    assert refused["execution_status"] == "FAILED"
    assert refused["error_message"]
    assert (await opened.get("bob", f"chat-commands/{status['id']}/")).body == status
    for query, count in (
        ("execution_status=FAILED", 1),
        ("command_type=STATUS", 1),
        (f"war_room={ROOM}", 2),
        (f"incident={NO_2}", 0),
    ):
        assert (await opened.get("bob", f"chat-commands/?{query}")).body["count"] == count
    await opened.house.ask(ALICE, "!assign bob")
    for query, count in (("", 3), ("&command_type=ASSIGN", 2)):
        latest = ids(await opened.get("bob", f"chat-commands/?ordering=-executed_at{query}"))
        assert latest == ids(await opened.get("bob", f"chat-commands/?{query[1:]}"))
        assert len(latest) == count
        rising = f"chat-commands/?ordering=executed_at{query}"
        assert ids(await opened.get("bob", rising)) == latest[::-1]
        assert ids(await opened.get("bob", f"{rising}&page=2&page_size=1")) == [latest[-2]]
    assert (await opened.get("bob", "chat-commands/?ordering=name")).status == 400
    assert (await opened.get("carol", "chat-commands/")).body["count"] == 0
    assert (await opened.get("carol", f"chat-commands/{status['id']}/")).status == 404


async def test_files_are_listed_up_to_the_callers_clearance(opened: Api) -> None:
    house = opened.house
    house.know("bob", clearance=Classification.INTERNAL)
    made = []
    for name, level in (("log.txt", ""), ("dump.bin", "RESTRICTED")):
        details = FileDetails(
            name=name, original_name=name, size=3, uploaded_by=Username("alice"), classification=level
        )
        file = ChatFile(
            id=new_id(house.clock.now_ms()),
            war_room=ROOM,
            lane=NO_1,
            created_ms=house.clock.now_ms(),
            details=details,
        )
        house.clock.advance(1)
        made.append(file.id)
        async with house.db.work() as work:
            await work.files.put(file)
    assert ids(await opened.get("alice", "chat-files/")) == made[::-1]
    assert ids(await opened.get("bob", f"chat-files/?war_room={ROOM}")) == made[:1]
    shown = (await opened.get("bob", f"chat-files/{made[0]}/")).body
    assert (shown["filename"], shown["uploaded_by_username"], shown["data_classification"]) == (
        "log.txt",
        "alice",
        "INTERNAL",
    )
    assert shown["retention_period_days"] == 1095
    assert shown["file_url"] == f"{PREFIXES[0]}chat-files/{made[0]}/download/"
    assert (await opened.get("bob", f"chat-files/{made[1]}/")).status == 404
    assert (await opened.get("carol", f"chat-files/{made[0]}/")).status == 404


_MANY = 50_000
_NUMBERS = "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < :many) "


_JUNK = {
    "messages": (
        "id, room_id, lane, position, event_id, sender, state, origin_ms, received_ms, decided_ms, body, parent",
        "'m' || n, :room, :lane, 1000 + n, '$m' || n, '@a:x.org', 'open', n, n, n, :junk, '$many'",
    ),
    "files": (
        "id, war_room, lane, created_ms, level, details, access_count",
        "'00' || n, :war_room, :lane, n, 0, :junk, 0",
    ),
    "commands": (
        "id, room_id, incident_id, event_id, caller, content, status, asked_ms, finished_ms",
        "'c' || n, :room, :lane, '$c' || n, '@a:x.org', :junk, 'SUCCESS', n, n",
    ),
}


async def many_more(house: House) -> None:
    """Fifty thousand of each, older than others and sealed with nothing that opens: whatever reads one fails."""
    room_id = await house.room_id()

    def fill(transaction: Transaction) -> None:
        for table, (names, values) in _JUNK.items():
            statement = text(f"INSERT INTO {table} ({names}) {_NUMBERS}SELECT {values} FROM numbers")
            wanted = {"many": _MANY, "lane": NO_1, "room": room_id, "war_room": ROOM, "junk": b"junk"}
            transaction.change(statement, {name: wanted[name] for name in wanted if f":{name}" in statement.text})

    async with house.db.desk() as desk:
        await desk.write(fill)


async def test_no_list_opens_more_than_it_shows_of_fifty_thousand(opened: Api) -> None:
    house = opened.house
    await house.ask(ALICE, "!status")
    file = ChatFile(
        id=new_id(house.clock.now_ms()),
        war_room=ROOM,
        lane=NO_1,
        created_ms=house.clock.now_ms(),
        details=FileDetails(name="a", original_name="a"),
    )
    async with house.db.work() as work:
        await work.files.put(file)
    await many_more(house)
    await put(house, "one more, which shows that there is another page")
    answer = await put(house, "the last answer", thread_root=EventId("$many"))
    for path, first, count in (
        ("chat-files/", file.id, _MANY + 1),
        ("chat-commands/", None, _MANY + 1),
        (f"{MESSAGES}?ordering=-created_at&", answer.id, None),
        (f"{MESSAGES}?cursor=&ordering=-created_at&", answer.id, None),
    ):
        query = path if "?" in path else f"{path}?"
        listed = await opened.get("bob", f"{query}page_size=1")
        assert listed.status == 200, path
        assert count in {None, listed.body["count"]}
        assert first in {None, listed.body["results"][0]["id"]}
    assert (await opened.get("bob", "war-rooms/")).body["results"][0]["message_count"] > _MANY


async def test_what_is_remembered_of_a_room_is_one_for_all_callers(opened: Api) -> None:
    gate, callers = opened.frame.gate, opened.frame.callers
    seen = []
    for name in ("alice", "bob", "alice", "bob"):
        caller = await callers.of(token_of(name))
        assert caller is not None
        seen.append((await gate.doors.visible(caller))[0])
    assert seen[2].circle is seen[3].circle
    await opened.house.let_in("carol")
    caller = await callers.of(token_of("alice"))
    assert caller is not None
    [after] = await gate.doors.visible(caller)
    assert after.circle is not seen[2].circle
    assert after.circle.held_by(Username("carol"))


async def test_there_are_four_bots_and_none_answers_without_a_source_of_knowledge(api: Api) -> None:
    api.house.know("alice")
    bots = (await api.get("alice", "chat-bots/")).body
    assert [one["bot_type"] for one in bots["results"]] == [
        "INCIDENT_ASSISTANT",
        "KNOWLEDGE_BOT",
        "AUTOMATION_BOT",
        "COMPLIANCE_BOT",
    ]
    assert [one["id"] for one in bots["results"]] == [one.id for one in bot_records()], "as set-up shows them"
    for bot in bots["results"]:
        assert (await api.get("alice", f"chat-bots/{bot['id']}/")).body == bot
        answer = await api.post("alice", f"chat-bots/{bot['id']}/generate_response/", {"message": "why?"})
        assert (answer.status, answer.body["code"]) == (503, "no_knowledge_source"), bot["is_active"]
        assert answer.body["detail"]
    assert (await api.get("alice", f"chat-bots/{NO_1}/")).status == 404

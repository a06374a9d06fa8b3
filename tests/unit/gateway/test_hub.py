"""Who is told what, in which order, and who is out before they would be told."""

import asyncio
import contextlib
from dataclasses import replace

import pytest
from aiohttp import WSMsgType

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.conversation import FileDetails, Person
from etb_appservice.domain.ids import UserId, Username, WarRoomId, new_id
from etb_appservice.domain.news import (
    CommandFinished,
    FileShared,
    IncidentUpdated,
    MessageAdded,
    MessageUpdated,
    News,
    Notified,
    PersonJoined,
    PersonLeft,
    ReadUpTo,
    RightsChanged,
    Typing,
)
from etb_appservice.domain.past import Levels
from etb_appservice.domain.roles import Admitted
from etb_appservice.gateway import seat as seats
from etb_appservice.gateway.callers import Caller
from etb_appservice.gateway.desk import Act, Refusal
from etb_appservice.gateway.seat import Pace, Seat, rendered
from etb_appservice.gateway.told import Error
from etb_appservice.ports import ChatFile, CommandRun, Message, unsent
from tests.harness.cast import ALICE, NO_1, NO_2, etb_user, incident
from tests.harness.house import House
from tests.harness.sockets import Scene, user_called
from tests.unit.gateway.test_reading import put

# --- news as frames -------------------------------------------------------------------------------------------


async def test_each_kind_of_news_has_its_frame(here: Scene, opened: House, war_room: WarRoomId) -> None:
    client = await here.sits("alice", war_room)
    bob = Person(UserId("@bob:x.org"), Username("bob"))
    partner = Person(UserId("@paula:partner.example"))
    message = await put(opened, "Look at this")
    news: tuple[News, ...] = (
        PersonJoined(war_room=war_room, person=bob),
        PersonLeft(war_room=war_room, person=partner),
        IncidentUpdated(war_room=war_room, incident_id=NO_1, changed=("status",)),
        Notified(
            war_room=war_room,
            notice="SLA_WARNING",
            title="75 %",
            body="Soon",
            severity="HIGH",
            message_id=message.id,
        ),
        Typing(war_room=war_room, person=bob, is_typing=True),
    )

    here.hub.tell(news)

    told = [await client.hears() for _ in news]
    assert [one["type"] for one in told] == [
        "user_joined",
        "user_left",
        "incident_updated",
        "notification",
        "typing",
    ]
    assert told[0]["user"]["username"] == "bob"
    assert told[1]["user"] == {"id": None, "username": "@paula:partner.example"}
    assert told[2]["incident"] == {
        "id": NO_1,
        "status": "OPEN",
        "severity": "HIGH",
        "assigned_to_username": "bob",
    }
    assert told[2]["changed"] == ["status"]
    assert (told[3]["notification_type"], told[3]["title"], told[3]["data"]) == (
        "SLA_WARNING",
        "75 %",
        {"message_id": message.id},
    )


async def test_answers_above_a_readers_clearance_are_not_counted_in_what_they_are_told(
    here: Scene, opened: House, war_room: WarRoomId
) -> None:
    here.callers.users["t-bob"] = user_called("bob", Classification.INTERNAL)
    root = await put(opened, "who is on it?")
    begun = opened.clock.now_ms()
    async with opened.db.work() as work:
        past = Levels().then(0, Classification.INTERNAL).then(begun, Classification.RESTRICTED)
        await work.cases.put(war_room, past.then(begun + 1000, Classification.INTERNAL))
    await put(opened, "for few", thread_root=root.event_id)
    opened.clock.advance(2)
    await put(opened, "for all", thread_root=root.event_id)
    alice, bob = await here.sits("alice", war_room), await here.sits("bob", war_room)

    here.hub.tell((MessageUpdated(war_room=war_room, message_id=root.id),))

    for client, count in ((alice, 2), (bob, 1)):
        assert (await client.hears("message_updated"))["message"]["reply_count"] == count
        await client.says(type="history", limit=50)
        told = (await client.hears("history"))["messages"]
        assert [one["reply_count"] for one in told if one["id"] == root.id] == [count]


async def test_what_is_answered_above_a_readers_clearance_is_not_named_in_what_they_are_told(
    here: Scene, opened: House, war_room: WarRoomId
) -> None:
    here.callers.users["t-bob"] = user_called("bob", Classification.INTERNAL)
    root = await said_above(opened, war_room)
    alice, bob = await here.sits("alice", war_room), await here.sits("bob", war_room)
    answer = await put(opened, "for all", thread_root=root.event_id)

    here.hub.tell((MessageAdded(war_room=war_room, message_id=answer.id),))

    for client, named in ((alice, root.id), (bob, None)):
        assert (await client.hears("chat_message"))["message"]["reply_to"] == named
        await client.says(type="history", limit=50)
        told = (await client.hears("history"))["messages"]
        assert [one["reply_to"] for one in told if one["id"] == answer.id] == [named]


async def said_above(opened: House, war_room: WarRoomId) -> Message:
    """Said while the room was above what bob may know by now; the room was lowered since."""
    async with opened.db.work() as work:
        past = Levels().then(0, Classification.RESTRICTED)
        await work.cases.put(war_room, past.then(opened.clock.now_ms() + 1000, Classification.INTERNAL))
    message = await put(opened, "for few")
    opened.clock.advance(2)
    return message


async def test_a_deletion_above_a_readers_clearance_is_not_told(
    here: Scene, opened: House, war_room: WarRoomId
) -> None:
    here.callers.users["t-bob"] = user_called("bob", Classification.INTERNAL)
    message = await said_above(opened, war_room)
    alice, bob = await here.sits("alice", war_room), await here.sits("bob", war_room)
    caller = await here.callers.of("t-alice")
    assert caller is not None

    await here.desk.delete(caller, war_room, Act("1"), message.id)

    assert (await alice.hears("message_deleted"))["message_id"] == message.id
    await bob.quiet()


async def test_what_becomes_of_a_message_above_a_readers_clearance_is_not_told(
    here: Scene, opened: House, war_room: WarRoomId
) -> None:
    here.callers.users["t-bob"] = user_called("bob", Classification.INTERNAL)
    message = await said_above(opened, war_room)
    alice, bob = await here.sits("alice", war_room), await here.sits("bob", war_room)
    for frame in (
        {"type": "reaction", "emoji": "x", "action": "add"},
        {"type": "pin_message"},
        {"type": "unpin_message"},
        {"type": "read"},
    ):
        await alice.says(**frame, message_id=message.id)

    for kind in ("reaction", "message_pinned", "message_pinned", "read"):
        assert (await alice.hears(kind))["message_id"] == message.id
    await bob.quiet()


async def test_files_and_commands_are_told_without_a_message_above_a_readers_clearance(
    here: Scene, opened: House, war_room: WarRoomId
) -> None:
    here.callers.users["t-bob"] = user_called("bob", Classification.INTERNAL)
    message = await said_above(opened, war_room)
    opened.clock.advance(2)
    now_ms = opened.clock.now_ms()
    details = FileDetails(name="a.log", original_name="a.log")
    run = CommandRun(
        id="c",
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
    async with opened.db.work() as work:
        await work.files.put(
            ChatFile(
                id="f", war_room=war_room, lane=NO_1, created_ms=now_ms, message_id=message.id, details=details
            )
        )
        await work.commands.add(run)
    alice, bob = await here.sits("alice", war_room), await here.sits("bob", war_room)

    here.hub.tell(
        (
            FileShared(war_room=war_room, file_id="f", message_id=message.id),
            CommandFinished(war_room=war_room, run_id="c"),
        )
    )

    for client, named in ((alice, message.id), (bob, None)):
        shared = await client.hears("file_shared")
        assert (shared["message_id"], shared["file"]["message"]) == (named, named)
        assert (await client.hears("command_result"))["command"]["message"] == named


async def test_history_before_a_message_above_a_readers_clearance_is_as_before_none(
    here: Scene, opened: House, war_room: WarRoomId
) -> None:
    here.callers.users["t-bob"] = user_called("bob", Classification.INTERNAL)
    message = await said_above(opened, war_room)
    alice, bob = await here.sits("alice", war_room), await here.sits("bob", war_room)
    answers = []

    for before in (message.id, new_id(1)):
        await bob.says(type="history", before=before)
        answers.append(await bob.hears("error"))
    await alice.says(type="history", before=message.id)

    assert answers[0] == answers[1]
    assert answers[0]["code"] == "not_found"
    await alice.hears("history")


@pytest.mark.parametrize("is_gone", [False, True])
@pytest.mark.parametrize("people", [(), (Username("alice"), Username("bob"))])
async def test_a_mention_above_a_readers_clearance_is_not_told(
    here: Scene, opened: House, war_room: WarRoomId, people: tuple[Username, ...], is_gone: bool
) -> None:
    here.callers.users["t-bob"] = user_called("bob", Classification.INTERNAL)
    message = await said_above(opened, war_room)
    if is_gone:
        async with opened.db.work() as work:
            await work.messages.redact(message.event_id)
    alice, bob = await here.sits("alice", war_room), await here.sits("bob", war_room)
    mention = Notified(
        war_room=war_room, notice="MENTION", title="x mentioned you", usernames=people, message_id=message.id
    )

    here.hub.tell((mention,))

    assert (await alice.hears("notification"))["data"] == {"message_id": message.id}
    await bob.quiet()


async def test_a_deleted_message_is_told_by_its_id(here: Scene, opened: House, war_room: WarRoomId) -> None:
    alice, bob = await here.sits("alice", war_room), await here.sits("bob", war_room)
    await alice.says(type="chat_message", content="x")
    message_id = (await bob.hears("chat_message"))["message"]["id"]
    caller = await here.callers.of("t-alice")
    assert caller is not None

    await here.desk.delete(caller, war_room, Act("1"), message_id)

    told = await bob.hears("message_deleted")
    assert (told["message_id"], told["deleted_by_username"]) == (message_id, "alice")


async def test_a_file_is_told_to_whoever_is_cleared_for_it(
    here: Scene, opened: House, war_room: WarRoomId
) -> None:
    client = await here.sits("alice", war_room)
    for number, level in enumerate(("", "TOP_SECRET")):
        details = FileDetails(name="a.log", original_name="a.log", classification=level)
        async with opened.db.work() as work:
            await work.files.put(
                ChatFile(id=f"f{number}", war_room=war_room, lane=NO_1, created_ms=1, details=details)
            )
    here.hub.tell([FileShared(war_room=war_room, file_id=f"f{number}") for number in (1, 0, 2)])

    told = await client.hears("file_shared")
    assert (told["file"]["id"], told["file"]["filename"], told["message_id"]) == ("f0", "a.log", None)
    await client.quiet()


async def test_more_news_than_anybody_could_read_let_everybody_come_back(
    here: Scene, opened: House, war_room: WarRoomId
) -> None:
    client = await here.sits("alice", war_room)

    here.hub.tell([Notified(war_room=war_room, notice="MENTION", title=str(number)) for number in range(3000)])

    assert await client.ends() == 1011


async def test_a_notice_for_somebody_is_told_to_nobody_else(here: Scene, war_room: WarRoomId) -> None:
    alice, bob = await here.sits("alice", war_room), await here.sits("bob", war_room)

    here.hub.tell((Notified(war_room=war_room, notice="MENTION", title="bob", usernames=(Username("bob"),)),))

    await bob.hears("notification")
    await alice.quiet()


async def test_a_notice_of_a_command_names_it_to_whoever_may_know_of_it(
    here: Scene, opened: House, war_room: WarRoomId
) -> None:
    here.callers.users["t-bob"] = user_called("bob", Classification.INTERNAL)
    now_ms = opened.clock.now_ms()
    async with opened.db.work() as work:
        past = Levels().then(0, Classification.RESTRICTED)
        await work.cases.put(war_room, past.then(now_ms + 1000, Classification.INTERNAL))
        for number, at_ms in enumerate((now_ms, now_ms + 2000)):
            await work.commands.add(
                CommandRun(
                    id=f"run{number}",
                    room_id=await opened.room_id(),
                    incident_id=NO_1,
                    event_id=unsent(f"{number}"),
                    caller=ALICE,
                    name="update",
                    arguments="",
                    result="",
                    status="SUCCESS",
                    asked_ms=at_ms,
                    finished_ms=at_ms,
                )
            )
    alice, bob = await here.sits("alice", war_room), await here.sits("bob", war_room)

    here.hub.tell(
        [
            Notified(war_room=war_room, notice="COMMAND_COMPLETED", title="Your command is done", run_id=one)
            for one in ("run0", "nothing", "run1")
        ]
    )

    assert [(await alice.hears("notification"))["data"] for _ in range(2)] == [
        {"command_id": "run0"},
        {"command_id": "run1"},
    ]
    assert (await bob.hears("notification"))["data"] == {"command_id": "run1"}
    await bob.quiet()


async def test_what_is_not_in_the_record_is_not_told(here: Scene, war_room: WarRoomId) -> None:
    client = await here.sits("alice", war_room)
    here.hub.tell((MessageAdded(war_room=war_room, message_id="nothing"),))
    here.hub.tell((ReadUpTo(war_room=war_room, person=Person(ALICE), message_id="nothing"),))

    await client.quiet()


async def test_frames_keep_the_order_of_the_news_in_each_room(
    here: Scene, opened: House, war_room: WarRoomId
) -> None:
    await opened.report(incident(id=NO_2, number="INC-2"))
    await opened.settle()
    other = (await opened.room(NO_2)).war_room
    clients = {war_room: await here.sits("alice", war_room), other: await here.sits("alice", other)}
    for number in range(60):
        for room in clients:
            here.hub.tell((Notified(war_room=room, notice="MENTION", title=str(number)),))

    for client in clients.values():
        assert [(await client.hears())["title"] for _ in range(60)] == [str(number) for number in range(60)]


async def test_who_is_online_is_known(here: Scene, opened: House, war_room: WarRoomId) -> None:
    assert set(here.hub.online(war_room)) == set()
    client = await here.sits("alice", war_room)
    await here.sits("bob", war_room)
    assert set(here.hub.online(war_room)) == {"alice", "bob"}

    await client.ws.close()
    async with asyncio.timeout(5):
        while "alice" in here.hub.online(war_room):  # noqa: ASYNC110 - until the other side of the wire has seen it
            await asyncio.sleep(0)
    assert set(here.hub.online(war_room)) == {"bob"}


async def test_what_can_not_be_read_lets_everybody_come_back(
    here: Scene, war_room: WarRoomId, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await here.sits("alice", war_room)

    async def fails(*_: object) -> None:
        raise RuntimeError("the database is away")

    monkeypatch.setattr(here.shows, "messages", fails)
    await client.says(type="chat_message", content="x")

    assert await client.ends() == 1011


# --- rights ---------------------------------------------------------------------------------------------------


async def take_away(opened: House) -> None:
    """ETB locks alice's account; only the tables know."""
    user = replace(etb_user("alice"), is_active=False)
    opened.clock.advance(1)
    async with opened.db.work() as work:
        await work.incidents.put_user(user, opened.clock.now_ms())


@pytest.mark.parametrize("how", ["by news", "by looking"])
async def test_what_is_open_is_closed_when_the_right_is_withdrawn(
    here: Scene, opened: House, war_room: WarRoomId, how: str
) -> None:
    alice, bob = await here.sits("alice", war_room), await here.sits("bob", war_room)
    await take_away(opened)

    if how == "by news":
        here.hub.tell((RightsChanged(war_room=war_room),))
    else:
        here.sockets.watch.look()

    assert await alice.ends() == 4403
    await bob.quiet()


async def test_whoever_may_no_longer_be_there_is_told_nothing_more(
    here: Scene, opened: House, war_room: WarRoomId
) -> None:
    alice, bob = await here.sits("alice", war_room), await here.sits("bob", war_room)
    await take_away(opened)

    await bob.says(type="chat_message", content="for bob alone")

    await bob.hears("chat_message")
    message = await alice.ws.receive(timeout=5)
    assert (message.type, message.data) == (WSMsgType.CLOSE, 4403)


async def test_a_frame_of_theirs_ends_the_socket_too(here: Scene, opened: House, war_room: WarRoomId) -> None:
    alice = await here.sits("alice", war_room)
    await take_away(opened)

    await alice.says(type="history")

    message = await alice.ws.receive(timeout=5)
    assert (message.type, message.data) == (WSMsgType.CLOSE, 4403)


@pytest.mark.parametrize(
    "frame", [{"type": "history"}, {"type": "typing", "is_typing": True}, {"type": "chat_message", "content": "x"}]
)
async def test_whose_clearance_is_gone_hears_so_in_answer_to_a_frame_and_is_out(
    here: Scene, opened: House, war_room: WarRoomId, frame: dict[str, object]
) -> None:
    alice = await here.sits("alice", war_room)
    here.callers.users["t-alice"] = user_called("alice", Classification.PUBLIC)
    opened.clock.advance(1)
    async with opened.db.work() as work:
        await work.incidents.put_user(etb_user("alice", Classification.PUBLIC), opened.clock.now_ms())
    here.desk.refuses = Refusal("not_found", "There is no such war room.")

    await alice.says(**frame, client_id="mine")

    told = await alice.hears("error")
    assert (told["code"], told["in_reply_to"], told["client_id"]) == ("clearance_required", frame["type"], "mine")
    assert await alice.ends() == 4403
    assert await here.refused("alice", war_room) == 4403, "told nothing of why when she comes again"


async def test_whose_account_is_locked_is_out_without_a_word(
    here: Scene, opened: House, war_room: WarRoomId
) -> None:
    alice = await here.sits("alice", war_room)
    await take_away(opened)
    here.desk.refuses = Refusal("not_found", "There is no such war room.")

    await alice.says(type="chat_message", content="x")

    message = await alice.ws.receive(timeout=5)
    assert (message.type, message.data) == (WSMsgType.CLOSE, 4403)


async def test_a_right_that_ends_by_itself_ends_the_socket(
    here: Scene, opened: House, war_room: WarRoomId
) -> None:
    client = await here.sits("alice", war_room)
    opened.clock.step(25 * 3600)

    here.sockets.watch.look()

    assert await client.ends() == 4403


async def test_a_right_given_while_somebody_connects_is_looked_at_again(
    here: Scene, opened: House, war_room: WarRoomId
) -> None:
    caller = Caller(user=user_called("alice"), user_id=ALICE, confirmed_ms=opened.clock.now_ms())
    entered = await here.sockets._acts.entry.enter(war_room, caller)
    assert not isinstance(entered, str)
    await take_away(opened)
    wire = FakeWire()
    seat = Seat(wire, wire.abort, caller, war_room, token="t", now_s=0)

    here.hub.join(seat, entered)

    assert (await wire.closed.wait(), wire.code) == (True, 4403)
    here.hub.leave(seat)


async def test_a_token_that_etb_takes_no_longer_ends_every_socket_of_it(
    here: Scene, opened: House, war_room: WarRoomId
) -> None:
    first, second = await here.sits("alice", war_room), await here.sits("alice", war_room)
    bob = await here.sits("bob", war_room)
    del here.callers.users["t-alice"]
    opened.clock.advance(59)
    here.sockets.watch.look()
    await first.quiet()
    here.callers.asked.clear()
    opened.clock.advance(1)
    await asyncio.gather(first.quiet(), second.quiet(), bob.quiet())
    here.sockets.watch.look()

    assert [await first.ends(), await second.ends()] == [4401, 4401]
    await bob.quiet()
    assert sorted(here.callers.asked) == ["t-alice", "t-bob"]


async def test_an_etb_that_is_slow_is_asked_about_a_token_once(
    here: Scene, opened: House, war_room: WarRoomId
) -> None:
    sitting = [await here.sits(name, war_room) for name in ("alice", "alice", "bob")]
    here.callers.asked.clear()
    here.callers.slow = asyncio.Event()
    for _ in range(10):
        opened.clock.advance(60)
        await asyncio.gather(*(one.quiet() for one in sitting))
        here.sockets.watch.look()
        await asyncio.sleep(0)
    assert sorted(here.callers.asked) == ["t-alice", "t-bob"]
    assert len(here.sockets.watch._tasks) == 2

    del here.callers.users["t-alice"]
    here.callers.slow.set()
    assert [await one.ends() for one in sitting[:2]] == [4401, 4401]
    here.sockets.watch.look()
    await sitting[2].quiet()
    assert len(here.callers.asked) == 2, "it counts from the answer on"
    opened.clock.advance(60)
    await sitting[2].quiet()
    here.sockets.watch.look()
    await sitting[2].quiet()
    assert here.callers.asked[2:] == ["t-bob"]


async def test_while_etb_is_away_its_last_word_on_a_token_holds_for_as_long_as_on_people(
    here: Scene, opened: House, war_room: WarRoomId
) -> None:
    client = await here.sits("alice", war_room)
    here.callers.away = True
    opened.clock.advance(60)
    await client.quiet()
    here.sockets.watch.look()
    await client.quiet()

    opened.clock.advance(24 * 3600 - 30)
    await client.quiet()
    async with opened.db.work() as work:
        await work.incidents.put_user(etb_user("alice"), opened.clock.now_ms())
    opened.clock.advance(60)
    await client.quiet()
    here.sockets.watch.look()

    assert await client.ends() == 1011


async def test_what_etb_says_anew_of_a_caller_counts_at_once(
    here: Scene, opened: House, war_room: WarRoomId
) -> None:
    client = await here.sits("alice", war_room)
    here.callers.users["t-alice"] = user_called("alice", Classification.PUBLIC)
    opened.clock.advance(60)
    await client.quiet()

    here.sockets.watch.look()

    assert await client.ends() == 4403


async def test_whoever_is_let_in_may_sit_down(here: Scene, opened: House, war_room: WarRoomId) -> None:
    assert await here.refused("carol", war_room) == 4403
    async with opened.db.work() as work:
        await work.cases.put(
            war_room, Admitted(id="carol", username=Username("carol"), by=ALICE, at_ms=opened.clock.now_ms())
        )

    await here.sits("carol", war_room)


# --- slow readers ---------------------------------------------------------------------------------------------


class FakeWire:
    """A WebSocket that can be stopped."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.runs = asyncio.Event()
        self.runs.set()
        self.closed = asyncio.Event()
        self.aborted = False
        self.is_gone = False
        self.code = 0

    async def send_frame(self, message: bytes, opcode: WSMsgType) -> None:
        if self.is_gone:
            raise ConnectionResetError
        self.sent.append(message)
        await self.runs.wait()

    async def close(self, *, code: int, message: bytes) -> bool:
        assert len(message) <= 123
        self.code = code
        self.closed.set()
        return True

    def abort(self) -> None:
        self.aborted = True


def seated(wire: FakeWire) -> Seat:
    caller = Caller(user=user_called("alice"), user_id=ALICE, confirmed_ms=0)
    return Seat(wire, wire.abort, caller, WarRoomId("w"), token="t", now_s=0)


async def test_frames_are_written_in_their_order() -> None:
    wire = FakeWire()
    seat = seated(wire)
    for number in range(100):
        seat.offer(str(number).encode())
        if number % 7 == 0:
            await asyncio.sleep(0)
    await seat._task if seat._task else None

    assert wire.sent == [str(number).encode() for number in range(100)]
    assert seat._task is None


@pytest.mark.parametrize(("size", "fits"), [(1, seats.MOST_WAITING), (100_000, 10)])
async def test_a_seat_whose_queue_is_full_is_closed_and_forgets_what_waited(size: int, fits: int) -> None:
    wire = FakeWire()
    wire.runs.clear()
    seat = seated(wire)
    seat.offer(b"x" * size)
    await asyncio.sleep(0)
    for _ in range(fits):
        seat.offer(b"x" * size)
    assert seat.is_open
    seat.offer(b"x" * size)

    await wire.closed.wait()
    assert (wire.code, len(wire.sent), seat.is_open) == (4429, 1, False)
    seat.offer(b"more")
    await seat.ended()
    assert len(wire.sent) == 1


async def test_rest_is_when_nothing_waits() -> None:
    wire = FakeWire()
    wire.runs.clear()
    seat = seated(wire)
    await seat.rest()
    seat.offer(b"x")
    resting = asyncio.create_task(seat.rest())
    await asyncio.sleep(0)
    assert not resting.done()
    wire.runs.set()
    await resting
    assert wire.sent == [b"x"]


def test_half_a_surrogate_pair_is_written_as_an_escape() -> None:
    assert rendered(Error(code="not_found", detail="\ud800", in_reply_to="x")) == (
        b'{"type": "error", "code": "not_found", "detail": "\\ud800", "in_reply_to": "x"}'
    )


async def test_sockets_are_looked_after_every_second(here: Scene, opened: House, war_room: WarRoomId) -> None:
    client = await here.sits("alice", war_room)
    watching = asyncio.create_task(here.sockets.run())
    await client.quiet()
    await take_away(opened)
    await client.quiet()
    opened.clock.advance(1)

    assert await client.ends() == 4403
    watching.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watching


async def test_a_connection_that_is_gone_is_written_to_no_more() -> None:
    wire = FakeWire()
    seat = seated(wire)
    wire.is_gone = True
    seat.offer(b"x")
    await asyncio.sleep(0)

    assert not seat.is_open
    assert not wire.closed.is_set()


async def test_a_reader_who_does_not_read_is_dropped_and_holds_up_nobody(
    here: Scene, opened: House, war_room: WarRoomId, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seats, "_GRACE_S", 0.1)
    bob = await here.sits("bob", war_room)
    slow, writer = await opens_and_never_reads(here, war_room)
    title = "x" * 60_000
    for _ in range(200):
        here.hub.tell((Notified(war_room=war_room, notice="MENTION", title=title),))
        await bob.hears("notification")

    async with asyncio.timeout(5):
        with contextlib.suppress(ConnectionError):
            while await slow.read(1_000_000):
                pass
    writer.close()
    assert set(here.hub.online(war_room)) == {"bob"}
    await bob.quiet()


async def opens_and_never_reads(here: Scene, war_room: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A socket by hand, whose buffers are small."""
    reader, writer = await asyncio.open_connection("127.0.0.1", here.server.port, limit=1024)
    writer.write(
        (
            f"GET /ws/chat/{war_room}/ HTTP/1.1\r\nHost: x\r\nAuthorization: Token t-alice\r\n"
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        ).encode()
    )
    await reader.readuntil(b"protocol")
    return reader, writer


# --- the pace -------------------------------------------------------------------------------------------------


def test_no_more_than_so_many_go_into_any_window() -> None:
    pace = Pace(3, 10)
    assert [pace.takes(at) for at in (0, 1, 2, 3, 9.9)] == [True, True, True, False, False]
    assert [pace.takes(at) for at in (10, 10.5, 11, 12, 12)] == [True, False, True, True, False]


def test_as_many_again_are_a_flood_unless_there_was_a_rest() -> None:
    pace = Pace(3, 10)
    for _ in range(3 + 3):
        pace.takes(0)
    assert not pace.is_flood
    pace.takes(0)
    assert pace.is_flood
    assert pace.takes(20)
    assert not pace.is_flood


# --- from Matrix ----------------------------------------------------------------------------------------------


async def test_what_happens_in_the_matrix_room_is_told_on_sockets_in_its_order(
    here: Scene, opened: House, war_room: WarRoomId, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opened.news, "tell", here.hub.tell)
    client = await here.sits("bob", war_room)

    event_id = await opened.says(ALICE, "It was the disk.")
    await opened.settle()
    await opened.reacts(ALICE, event_id, "👍")
    await opened.redacts(ALICE, event_id)

    told = [await client.hears(kind) for kind in ("chat_message", "reaction", "message_deleted")]
    message_id = told[0]["message"]["id"]
    assert told[0]["message"]["content"] == "It was the disk."
    assert told[0]["message"]["sender_username"] == "alice"
    assert {told[1]["message_id"], told[2]["message_id"]} == {message_id}


async def test_whoever_is_taken_out_of_the_incident_is_out_of_its_sockets(
    here: Scene, opened: House, war_room: WarRoomId, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opened.news, "tell", here.hub.tell)
    alice, bob = await here.sits("alice", war_room), await here.sits("bob", war_room)

    await opened.report(incident(stated=Classification.TOP_SECRET, updated_at_ms=2000))
    await opened.settle()

    assert [await alice.ends(), await bob.ends()] == [4403, 4403]

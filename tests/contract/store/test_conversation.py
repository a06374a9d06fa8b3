"""The record of the conversation: what comes back, in what order, at what depth, and what is gone for good."""

import asyncio
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from sqlalchemy import text

from etb_appservice.app.loops import level_files
from etb_appservice.domain.classification import Classification
from etb_appservice.domain.conversation import EncryptedFile, FileDetails, MessageDetails, Reacted
from etb_appservice.domain.files import FileAccess
from etb_appservice.domain.ids import EventId, RoomId, UserId, Username, WarRoomId, new_id
from etb_appservice.domain.past import ALWAYS, Span
from etb_appservice.ports import SHOWN, ChatFile, FilesWanted, Message, Tally, unsent
from etb_appservice.store import tables
from etb_appservice.store.desk import Transaction
from etb_appservice.store.sql import SqlStore
from tests.contract.store.conftest import NOON, Reopen

ROOM = RoomId("!room")
ALICE = UserId("@a:b")


def message(name: str, lane: str = "lane", body: str | None = "hello") -> Message:
    return Message(
        id=f"id of {name}",
        room_id=ROOM,
        lane=lane,
        event_id=EventId(name),
        sender=UserId("@a:b"),
        state="sealed" if body is None else "open",
        origin_ms=1,
        received_ms=2,
        decided_ms=3,
        body=body,
        thread_root=EventId("$root"),
        replaces=EventId("$old"),
    )


async def test_a_message_comes_back_as_it_was_put_with_its_place(store: SqlStore) -> None:
    odd = "a \x00 and half a pair \ud83d and 🧯"
    async with store.work() as work:
        await work.messages.put(message("$1", body=odd))
    async with store.view() as view:
        assert await view.messages.by_event(EventId("$1")) == replace(message("$1", body=odd), position=1)
        assert await view.messages.by_event(EventId("$2")) is None


async def test_positions_are_dense_in_each_lane(store: SqlStore) -> None:
    async def put(number: int) -> None:
        async with store.work() as work:
            await work.messages.put(message(f"${number}", lane="one" if number % 2 else "two"))

    await asyncio.gather(*(put(number) for number in range(20)))
    async with store.view() as view:
        found = [await view.messages.by_event(EventId(f"${number}")) for number in range(20)]
    for lane in ("one", "two"):
        assert sorted(one.position for one in found if one and one.lane == lane) == list(range(1, 11))


async def test_a_lane_is_paged_through_in_the_order_of_its_places(store: SqlStore) -> None:
    async with store.work() as work:
        for number in range(1, 8):
            await work.messages.put(message(f"${number}"))
            await work.messages.put(message(f"$other{number}", lane="other"))
        await work.messages.put(message("$2", body="found late"))
        await work.messages.redact(EventId("$3"))
    async with store.view() as view:
        first = await view.messages.page("lane", limit=3)
        second = await view.messages.page("lane", first[-1].position, 3)
        third = await view.messages.page("lane", second[-1].position, 3)
        assert [one.event_id for one in (*first, *second, *third)] == [f"${number}" for number in range(1, 8)]
        assert [one.body for one in first] == ["hello", "found late", None]
        assert await view.messages.page("lane", third[-1].position) == []
        assert await view.messages.page("no such lane") == []


async def test_a_message_that_is_put_again_keeps_its_id_and_place(store: SqlStore) -> None:
    async with store.work() as work:
        await work.messages.put(message("$1", body=None))
        await work.messages.put(message("$2"))
        await work.messages.put(replace(message("$1", lane="other", body="found"), id="another"))
        await work.messages.put(message("$3"))
        again = await work.messages.by_event(EventId("$1"))
        third = await work.messages.by_event(EventId("$3"))
        assert again == replace(message("$1", body="found"), position=1)
        assert third
        assert third.position == 3


async def test_a_redacted_body_is_gone_and_does_not_come_back(store: SqlStore) -> None:
    async with store.work() as work:
        await work.messages.put(message("$1"))
        assert await work.messages.redact(EventId("$1"))
        assert not await work.messages.redact(EventId("$2"))
        await work.messages.put(message("$1", body="said again"))
        gone = await work.messages.by_event(EventId("$1"))
    assert gone == replace(message("$1"), state="redacted", body=None, position=1)


async def test_only_an_open_message_has_a_body(store: SqlStore) -> None:
    async with store.work() as work:
        with pytest.raises(ValueError, match="open"):
            await work.messages.put(replace(message("$1"), state="plain"))


# --- details ----------------------------------------------------------------------------------------------


def reacted(event: str, emoji: str = "👍", user_id: str = "@a:b") -> Reacted:
    return Reacted(emoji=emoji, user_id=UserId(user_id), event_id=EventId(event), at_ms=5)


FULL = MessageDetails(
    message_type="FILE",
    username=Username("alice"),
    reply_to=EventId("$answered"),
    mentions=(ALICE,),
    mentioned=(Username("alice"),),
    mentions_room=True,
    reactions=(reacted("$r1"), reacted("$r2", "⭐️")),
    edited_ms=7,
    files=("f1", "f2"),
    client_id="c 🧯",
)


async def test_what_a_message_carries_comes_back_also_without_a_text(store: SqlStore, reopen: Reopen) -> None:
    with_text = replace(message("$1", body="odd \x00 \ud83d"), details=FULL)
    place = replace(message("$2", body=None), details=FULL)
    async with store.work() as work:
        await work.messages.put(with_text)
        await work.messages.put(place)
    async with reopen() as again, again.view() as view:
        assert await view.messages.by_event(EventId("$1")) == replace(with_text, position=1)
        assert await view.messages.get("id of $2") == replace(place, position=2)
        assert await view.messages.get("nobody") is None


async def test_what_was_written_before_there_were_details_is_still_read(store: SqlStore) -> None:
    async with store.work() as work:
        await work.messages.put(message("$1"))
    async with store.desk() as desk:
        update = text("UPDATE messages SET body = :body WHERE event_id = '$1'")
        await desk.write(
            lambda t: t.change(
                update, {"body": t.keys.seal("room:!room", "message", "messages", "$1", "helló".encode())}
            )
        )
    async with store.view() as view:
        found = await view.messages.by_event(EventId("$1"))
    assert found == replace(message("$1", body="helló"), position=1)


async def test_nothing_of_text_or_details_stands_in_a_plain_column(store: SqlStore) -> None:
    details = replace(FULL, client_id="the secret client", reactions=(reacted("$r", "🦑secret"),))
    async with store.work() as work:
        await work.messages.put(replace(message("$1", body="the secret word"), details=details))
        await work.files.put(chat_file("the secret name"))
    async with store.desk() as desk:
        for table in (tables.messages, tables.reactions, tables.files):
            rows = await desk.ask(partial(Transaction.rows, statement=text(f"SELECT * FROM {table.name}")))
            assert rows
            assert "secret" not in repr(
                [tuple(bytes(v) if isinstance(v, memoryview) else v for v in row) for row in rows]
            )


async def test_redaction_takes_the_details_too(store: SqlStore) -> None:
    async with store.work() as work:
        await work.messages.put(replace(message("$1"), details=FULL))
        assert await work.messages.redact(EventId("$1"))
        gone = await work.messages.by_event(EventId("$1"))
    assert gone == replace(message("$1"), state="redacted", body=None, position=1)


async def test_a_reaction_leads_to_its_message_also_after_it_was_withdrawn(store: SqlStore) -> None:
    first = replace(message("$1"), details=FULL)
    async with store.work() as work:
        await work.messages.put(first)
        await work.messages.put(replace(message("$2"), details=MessageDetails(reactions=(reacted("$r1"),))))
        await work.messages.put(replace(first, details=FULL.without_reaction(EventId("$r1"))))
        found = await work.messages.of_reaction(EventId("$r1"))
        assert found is not None
        assert found.event_id == "$1", "a reaction belongs where it was first seen"
        assert [one.event_id for one in found.details.reactions] == ["$r2"]
        assert await work.messages.of_reaction(EventId("$unknown")) is None
        await work.messages.redact(EventId("$1"))
        await work.messages.put(replace(first, details=MessageDetails(reactions=(reacted("$r9"),))))
        assert await work.messages.of_reaction(EventId("$r9")) is None, "nothing is added to what was redacted"


# --- names that Matrix doesn't know yet -------------------------------------------------------------------


async def test_a_message_is_known_by_its_own_name_until_matrix_has_one(store: SqlStore) -> None:
    first = replace(message("$1"), id="m1", event_id=unsent("m1"), thread_root=None)
    answer = replace(
        message("$2"), thread_root=None, details=MessageDetails(reply_to=unsent("m1"), message_type="UPDATE")
    )
    in_thread = replace(message("$3"), thread_root=unsent("m1"))
    async with store.work() as work:
        for one in (first, answer, in_thread):
            await work.messages.put(one)
        assert [one.event_id for one in await work.messages.replies(unsent("m1"))] == ["$2", "$3"]
        assert await work.messages.sent("m1", EventId("$real"))
        assert not await work.messages.sent("m1", EventId("$other")), "named once"
        assert not await work.messages.sent("nobody", EventId("$other"))
    async with store.view() as view:
        expected = replace(first, event_id=EventId("$real"), position=1)
        assert await view.messages.by_event(EventId("$real")) == expected
        assert await view.messages.by_event(unsent("m1")) == expected
        assert await view.messages.by_event(unsent("nobody")) is None
        assert [one.event_id for one in await view.messages.replies(EventId("$real"))] == ["$2", "$3"]
        moved = await view.messages.by_event(EventId("$3"))
        assert moved is not None
        assert moved.thread_root == "$real"
        wanted = [EventId("$real"), unsent("m1"), EventId("$2"), EventId("$none"), unsent("none")]
        assert await view.messages.ids_of(wanted) == {"$real": "m1", unsent("m1"): "m1", "$2": "id of $2"}
        found = await view.messages.by_events(wanted)
        assert {name: one.id for name, one in found.items()} == await view.messages.ids_of(wanted)
        assert await view.messages.by_ids(["m1", "none"]) == {"m1": expected}
        assert await view.messages.by_ids([]) == {}


# --- pages and counts -------------------------------------------------------------------------------------


async def fill(store: SqlStore) -> None:
    """Seven in a lane, of which the third was redacted, the fifth came in clear text and the sixth is a place."""
    async with store.work() as work:
        for number in range(1, 8):
            one = message(f"${number}")
            if number == 5:
                one = replace(one, state="plain", body=None)
            if number == 6:
                one = replace(one, state="sealed", body=None)
            await work.messages.put(replace(one, decided_ms=number))
            await work.messages.put(message(f"$other{number}", lane="other"))
        await work.messages.redact(EventId("$3"))


def names(found: object) -> list[str]:
    assert isinstance(found, list)
    return [one.event_id for one in found]


async def test_pages_go_both_ways_and_leave_out_what_is_not_shown(store: SqlStore) -> None:
    await fill(store)
    async with store.view() as view:
        shown = await view.messages.page("lane", only_shown=True)
        assert names(shown) == ["$1", "$2", "$4", "$6", "$7"]
        first = await view.messages.latest("lane", limit=2)
        assert names(first) == ["$7", "$6"]
        second = await view.messages.latest("lane", first[-1].position, 2)
        assert names(second) == ["$4", "$2"]
        assert names(await view.messages.latest("lane", second[-1].position, 2)) == ["$1"]
        assert names(await view.messages.latest("lane", 1)) == []
        assert names(await view.messages.latest("lane", limit=3, only_shown=False)) == ["$7", "$6", "$5"]
        assert names(await view.messages.page("lane", 2, 2, only_shown=True)) == ["$4", "$6"]


async def test_pages_can_be_counted_off(store: SqlStore) -> None:
    await fill(store)
    async with store.view() as view:
        assert names(await view.messages.page("lane", limit=2, only_shown=True, skip=2)) == ["$4", "$6"]
        assert names(await view.messages.page("lane", limit=2, skip=4)) == ["$5", "$6"]
        assert names(await view.messages.page("lane", skip=9)) == []
        assert names(await view.messages.latest("lane", limit=2, skip=1)) == ["$6", "$4"]
        assert names(await view.messages.latest("lane", limit=2, only_shown=False, skip=1)) == ["$6", "$5"]


async def test_what_is_counted_is_what_is_shown(store: SqlStore) -> None:
    await fill(store)
    async with store.view() as view:
        found = await view.messages.tally(["lane", "other", "none"])
        assert found == {"lane": Tally(5, 7), "other": Tally(7, 3), "none": Tally()}
        assert await view.messages.tally([]) == {}


HIDDEN = {"lane": (Span(2, 3), Span(6, 7)), "elsewhere": (Span(-ALWAYS, ALWAYS),)}
"""Of those in `lane`, $2 and $6."""


async def timed(store: SqlStore) -> None:
    """Seven in a lane, that came and were read at the time of their number; all but the first answer it."""
    async with store.work() as work:
        for number in range(1, 8):
            one = replace(message(f"${number}"), thread_root=EventId("$1") if number > 1 else None)
            await work.messages.put(replace(one, received_ms=number, decided_ms=number))


async def test_what_touches_a_hidden_time_is_neither_found_nor_counted(store: SqlStore) -> None:
    await timed(store)
    root = EventId("$1")
    async with store.view() as view:
        found = view.messages
        assert names(await found.page("lane", hidden=HIDDEN)) == ["$1", "$3", "$4", "$5", "$7"]
        assert names(await found.page("lane", limit=2, skip=1, hidden=HIDDEN)) == ["$3", "$4"]
        assert names(await found.latest("lane", limit=3, hidden=HIDDEN)) == ["$7", "$5", "$4"]
        assert names(await found.latest("lane", limit=2, skip=3, hidden=HIDDEN)) == ["$3", "$1"]
        assert names(await found.replies(root, hidden=HIDDEN)) == ["$3", "$4", "$5", "$7"]
        assert names(await found.replies(root, limit=2, skip=1, hidden=HIDDEN)) == ["$4", "$5"]
        assert names(await found.latest_replies(root, hidden=HIDDEN)) == ["$7", "$5", "$4", "$3"]
        assert names(await found.latest_replies(root, limit=2, skip=1, hidden=HIDDEN)) == ["$5", "$4"]
        assert await found.reply_counts([root], HIDDEN) == {root: 4}
        assert await found.tally(["lane", "none"], HIDDEN) == {"lane": Tally(5, 7), "none": Tally()}
        assert await found.tally(["lane"], {"lane": (Span(7, ALWAYS),)}) == {"lane": Tally(6, 6)}
        assert await found.tally(["lane"], {"lane": (Span(-ALWAYS, ALWAYS),)}) == {"lane": Tally()}


async def test_what_waited_through_a_hidden_time_touches_it(store: SqlStore) -> None:
    waited = replace(message("$1"), received_ms=1, decided_ms=9)
    back = replace(message("$2"), received_ms=9, decided_ms=1)  # the clock was set back
    async with store.work() as work:
        await work.messages.put(waited)
        await work.messages.put(back)
    async with store.view() as view:
        for span, left in (
            (Span(3, 4), ["$2"]),
            (Span(9, 10), ["$2"]),
            (Span(10, 11), ["$1", "$2"]),
            (Span(0, 1), ["$1", "$2"]),
            (Span(0, 2), []),
        ):
            assert names(await view.messages.page("lane", hidden={"lane": (span,)})) == left


async def test_more_hidden_times_than_a_statement_takes_hide_more_and_never_less(store: SqlStore) -> None:
    await timed(store)
    many = {"lane": tuple(Span(2 * number, 2 * number + 1) for number in range(1, 3000))}
    async with store.view() as view:
        assert names(await view.messages.page("lane", hidden=many)) == ["$1"]


async def test_answers_are_found_and_counted_under_what_they_answer(store: SqlStore) -> None:
    def answer(name: str, details: MessageDetails, root: str | None = None) -> Message:
        return replace(message(name), thread_root=EventId(root) if root else None, details=details)

    direct, other = MessageDetails(reply_to=EventId("$1")), MessageDetails(reply_to=EventId("$2"))
    async with store.work() as work:
        await work.messages.put(replace(message("$1"), thread_root=None))
        await work.messages.put(answer("$2", direct))
        await work.messages.put(answer("$3", MessageDetails(), "$1"))
        await work.messages.put(answer("$4", other, "$1"))
        await work.messages.put(answer("$5", other))
        await work.messages.put(answer("$6", direct))
        await work.messages.redact(EventId("$6"))
    async with store.view() as view:
        assert names(await view.messages.replies(EventId("$1"))) == ["$2", "$3", "$4"]
        assert names(await view.messages.replies(EventId("$1"), 2, 1)) == ["$3"]
        assert names(await view.messages.latest_replies(EventId("$1"))) == ["$4", "$3", "$2"]
        assert names(await view.messages.latest_replies(EventId("$1"), 4, 1)) == ["$3"]
        wanted = [EventId("$1"), EventId("$2"), EventId("$3")]
        assert await view.messages.reply_counts(wanted) == {"$1": 3, "$2": 1}


async def test_a_deep_page_is_found_along_the_index(store: SqlStore, url: str) -> None:
    if url.startswith("postgres"):
        return
    asked = (
        "SELECT * FROM messages WHERE lane = 'l' AND position > 5 AND {shown} ORDER BY position LIMIT 5",
        "SELECT * FROM messages WHERE lane = 'l' AND position < 5 AND {shown} ORDER BY position DESC LIMIT 5",
        "SELECT count(*) FROM messages WHERE lane = 'l' AND {shown}",
    )
    shown = str(
        next(one for one in tables.messages.indexes if one.name == "ix_messages_shown").dialect_options["sqlite"][
            "where"
        ]
    )
    assert {word.strip("'") for word in shown.partition("(")[2].rstrip(")").split(", ")} == SHOWN
    async with store.desk() as desk:
        for statement in asked:
            explain = text("EXPLAIN QUERY PLAN " + statement.format(shown=shown))
            [step] = await desk.ask(partial(Transaction.rows, statement=explain))
            assert "ix_messages_shown" in step.detail
            assert "SCAN" not in step.detail


# --- files ------------------------------------------------------------------------------------------------


def chat_file(name: str, number: int = 0, lane: str = "lane") -> ChatFile:
    return ChatFile(
        id=new_id(NOON + number),
        war_room=WarRoomId("w"),
        lane=lane,
        message_id="m",
        event_id=EventId("$f"),
        created_ms=NOON + number,
        details=FileDetails(
            name=name,
            original_name=f"../{name}\ud83d",
            mime="image/png",
            size=5,
            sha256="00",
            file=EncryptedFile(mxc="mxc://x/y", key="k", iv="i", sha256="s"),
            thumbnail=EncryptedFile(mxc="mxc://x/z"),
            file_type="IMAGE",
            width=3,
            height=4,
            duration_ms=5,
            is_voice=True,
            classification="SECRET",
            classification_source="USER",
            description="d",
            uploaded_by=Username("alice"),
            evidence="e",
        ),
    )


def looked_at(file: ChatFile, access_id: str, **changes: Any) -> FileAccess:
    first = FileAccess(
        id=access_id, file_id=file.id, war_room=file.war_room, username=Username("bob"), reason="why", at_ms=3
    )
    return replace(first, **changes)


async def test_a_file_comes_back_as_it_was_put(store: SqlStore, reopen: Reopen) -> None:
    one = chat_file("a.png")
    async with store.work() as work:
        await work.files.put(one)
        for access in (looked_at(one, "1"), looked_at(one, "2")):
            assert await work.files.log_access(access)
        assert not await work.files.log_access(looked_at(one, "1", reason="another"))
        changed = replace(one.details, name="b.png")
        await work.files.put(replace(one, message_id="other", details=changed, withdrawn_ms=9))
    async with reopen() as again, again.view() as view:
        mended = replace(one.details, name="b.png", original_name="../a.png\N{REPLACEMENT CHARACTER}")
        expected = replace(one, message_id="other", access_count=2, details=mended, withdrawn_ms=9)
        assert await view.files.get(one.id) == expected
        assert await view.files.by_ids([one.id, "none"]) == {one.id: expected}
        assert await view.files.by_ids([]) == {}
        assert await view.files.get("none") is None
        assert await view.files.accesses(one.id) == [looked_at(one, "2"), looked_at(one, "1")]
        assert await view.files.accesses(one.id, 1, skip=1) == [looked_at(one, "1")]
        assert (await view.files.count_accesses(one.id), await view.files.count_accesses("none")) == (2, 0)
        assert await view.files.access("1") == looked_at(one, "1")
        assert await view.files.access("none") is None
        assert one.event_id is not None
        assert await view.files.by_event(one.event_id) == [expected]
        assert await view.files.by_event(EventId("$none")) == []


async def test_files_of_many_rooms_are_found_up_to_a_level_for_each(store: SqlStore) -> None:
    def classified(name: str, number: int, lane: str, level: str) -> ChatFile:
        one = chat_file(name, number, lane)
        return replace(one, created_ms=number, details=replace(one.details, classification=level))

    async with store.work() as work:
        for one in (
            classified("a", 1, "one", ""),
            classified("b", 2, "two", ""),
            classified("c", 3, "one", "RESTRICTED"),
            classified("d", 4, "two", "INTERNAL"),
            replace(classified("e", 5, "two", "INTERNAL"), withdrawn_ms=9),
            replace(classified("f", 6, "one", "no such level"), message_id="said"),
            classified("g", 7, "three", ""),
        ):
            await work.files.put(one)
    up_to = {"one": Classification.INTERNAL, "two": Classification.RESTRICTED}
    every = FilesWanted(up_to=up_to)
    async with store.view() as view:

        async def found(wanted: FilesWanted, *, limit: int = 50, skip: int = 0, oldest_first: bool = False) -> str:
            page = await view.files.among(wanted, limit=limit, skip=skip, oldest_first=oldest_first)
            return "".join(one.details.name for one in page)

        assert (await found(every), await view.files.count_among(every)) == ("fdba", 4)
        assert await found(every, limit=2, skip=1) == "db"
        assert await found(every, limit=2, skip=1, oldest_first=True) == "bd"
        for wanted, names_of in (
            (replace(every, withdrawn=True), "fedba"),
            (replace(every, message_id="said"), "f"),
            (replace(every, from_ms=2, until_ms=4), "db"),
            (replace(every, hidden={"two": (Span(0, 3),), "one": (Span(9, 99),)}), "fda"),
            (replace(every, up_to={"one": Classification.TOP_SECRET}), "fca"),
            (FilesWanted(up_to={}), ""),
        ):
            assert await found(wanted) == names_of
            assert await view.files.count_among(wanted) == len(names_of)


async def test_files_of_an_older_program_are_found_once_they_are_put_again(store: SqlStore) -> None:
    one, wanted = chat_file("a"), FilesWanted(up_to={"lane": Classification.TOP_SECRET})
    async with store.work() as work:
        await work.files.put(one)
        assert await work.files.unlevelled() == []
    async with store.desk() as desk:
        await desk.write(lambda transaction: transaction.change(text("UPDATE files SET level = NULL")))
    async with store.view() as view:
        assert await view.files.among(wanted) == []
    await level_files(store)
    async with store.view() as view:
        assert [found.id for found in await view.files.among(wanted)] == [one.id]


async def test_files_of_a_lane_are_paged_latest_first_until_they_are_forgotten(store: SqlStore) -> None:
    every = [chat_file(f"{number}.png", number) for number in range(5)]
    async with store.work() as work:
        for one in every:
            await work.files.put(one)
        await work.files.put(chat_file("elsewhere", 9, "other"))
    async with store.work() as work:
        first = await work.files.latest("lane", limit=3)
        assert [one.details.name for one in first] == ["4.png", "3.png", "2.png"]
        second = await work.files.latest("lane", first[-1].id, 3)
        assert [one.details.name for one in second] == ["1.png", "0.png"]
        assert await work.files.count("lane") == 5
        await work.files.forget([every[0].id, every[1].id, "none"])
        assert await work.files.count("lane") == 3
        assert await work.files.get(every[0].id) is None

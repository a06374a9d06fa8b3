"""`timeline`: what happened, in the order in which it did, ETB's entries among ours."""

from dataclasses import replace

import pytest

from etb_appservice.domain.duty import TimelineRow
from etb_appservice.domain.ids import EventId, RoomId, Username, new_id, war_room_id
from etb_appservice.domain.timeline import EventType, TimelineItem
from etb_appservice.flows.chronicle import Line, complete
from tests.harness.cast import ALICE, BOB, NO_1, NO_2, incident
from tests.harness.fakes_etb import FakeEtb
from tests.harness.house import House
from tests.harness.kit import MakeHouse

MINUTE_MS = 60_000


class ChattyEtb(FakeEtb):
    """Writes into its own timeline, as ETB does."""

    own: tuple[TimelineRow, ...] = ()

    async def timeline(self, incident_id: str) -> tuple[TimelineRow, ...]:
        mine = await super().timeline(NO_1)
        return (*mine, *self.own)


def row(title: str, at_ms: int, event_type: str = "OTHER", *, external_ref: str = "") -> TimelineRow:
    return TimelineRow(
        id=title, incident_id=NO_1, event_type=event_type, title=title, at_ms=at_ms, external_ref=external_ref
    )


def item(title: str, at_ms: int, event_type: EventType = "NOTE", *, mirrored: bool = True) -> TimelineItem:
    return TimelineItem(id=title, event_type=event_type, title=title, at_ms=at_ms, is_mirrored=mirrored)


def titles(answer: str) -> list[str]:
    return [line.split(" UTC ", 1)[1] for line in answer.splitlines() if " UTC " in line]


async def test_an_entry_links_to_the_message_that_wrote_it(house: House) -> None:
    room_id = await house.open_for_alice()
    event_id = await house.says(ALICE, "!timeline add Failed over to *B*")
    await house.settle()
    assert house.answers(event_id) == ["On the timeline: Failed over to \\*B\\*"]
    link = f"https://matrix.to/#/{room_id}/{event_id}?via=x.org"
    assert (await house.ask(ALICE, "!timeline")).splitlines() == [
        "**Timeline**",
        "",
        f"- 2026-09-21 14:13 UTC Failed over to \\*B\\* (`alice`) [message]({link})",
    ]
    [entry] = [one for one in house.etb.entries if one.event_type == "NOTE"]
    assert entry.title == "Failed over to *B*"


async def test_a_pinned_message_stands_where_it_was_said(house: House) -> None:
    await house.open_for_alice()
    early = await house.says(ALICE, "first sign", origin_ms=1_790_000_001_000)
    await house.settle()
    await house.ask(ALICE, "!timeline add then this")
    await house.reacts(ALICE, early, "📌")
    assert [one.split(" (")[0] for one in titles(await house.ask(ALICE, "!timeline"))] == [
        "alice: first sign",
        "then this",
    ]


async def test_what_etb_changes_is_on_our_timeline_and_not_written_to_etb_again(house: House) -> None:
    await house.open_for_alice()
    changed = incident(status="IN_PROGRESS", severity="CRITICAL", assignee=Username("carol"), updated_at_ms=2000)
    await house.report(changed)
    await house.report(changed, "poll")
    await house.settle()
    assert titles(await house.ask(ALICE, "!timeline")) == [
        "Status: IN\\_PROGRESS (was OPEN)",
        "Severity: CRITICAL (was HIGH)",
        "Assignee: carol (was bob)",
    ]
    assert [one.event_type for one in house.etb.entries] == ["OTHER"]


async def test_all_shows_etbs_entries_too_and_none_twice(make_house: MakeHouse) -> None:
    etb = ChattyEtb()
    house = await make_house(etb=etb)
    await house.open_for_alice()
    await house.ask(ALICE, "!timeline add ours")
    await house.ask(ALICE, "!task add quiet")
    await house.report(incident(status="IN_PROGRESS", updated_at_ms=2000))
    await house.settle()
    now = house.clock.now_ms()
    etb.own = (row("Status changed", now - MINUTE_MS, "STATUS_CHANGED"), row("Mail sent to customers", now))
    told = [one.split(" (")[0] for one in titles(await house.ask(ALICE, "!timeline all"))]
    assert sorted(told) == sorted(
        ["Chat room opened", "ours", "Task 1 added: quiet", "Status: IN\\_PROGRESS", "Mail sent to customers"]
    )
    assert [one.split(" (")[0] for one in titles(await house.ask(ALICE, "!timeline"))] == [
        "ours",
        "Status: IN\\_PROGRESS",
    ]


async def test_with_etb_away_all_says_what_is_missing(house: House) -> None:
    await house.open_for_alice()
    await house.ask(ALICE, "!timeline add ours")
    house.etb.down()
    answer = await house.ask(ALICE, "!timeline all")
    assert "ours" in answer
    assert answer.endswith("ETB does not answer: what it has written down itself is missing here.")


async def test_an_entry_without_a_message_leads_to_etbs_page(house: House) -> None:
    room_id = await house.open_for_alice(url="https://etb.x.org/1")
    event_id = await house.says(ALICE, "!timeline add ours")
    await house.report(incident(status="IN_PROGRESS", updated_at_ms=2000, url="https://etb.x.org/1"))
    await house.settle()
    said, changed = (await house.ask(ALICE, "!timeline")).splitlines()[2:]
    assert said.endswith(f" [message](https://matrix.to/#/{room_id}/{event_id}?via=x.org)")
    assert changed.endswith(" (was OPEN) [in ETB](https://etb.x.org/1)")


async def test_an_entry_of_etb_leads_to_the_message_that_it_names_only_if_that_is_of_this_room(
    make_house: MakeHouse,
) -> None:
    etb = ChattyEtb()
    house = await make_house(etb=etb)
    room_id = await house.open_for_alice(url="https://etb.x.org/1")
    event_id = await house.says(ALICE, "the disk is full")
    await house.settle()
    async with house.db.view() as view:
        here = await view.messages.by_event(EventId(event_id))
        card = (await view.messages.page(NO_1))[0]
    assert here is not None
    async with house.db.work() as work:
        other = replace(
            card, id=new_id(1), lane=NO_2, event_id=EventId("$other"), room_id=RoomId("!o:x.org"), position=0
        )
        await work.messages.put(other)
    now = house.clock.now_ms()
    etb.own = (
        replace(row("by event", now), data={"matrix_event_id": event_id, "permalink": "https://evil.x.org/"}),
        replace(row("by id", now), data={"message_id": here.id}),
        replace(row("of another", now), data={"matrix_event_id": "$other"}),
        replace(row("of another too", now), data={"message_id": other.id}),
        replace(row("of none", now), data={"matrix_event_id": "$none", "message_id": 7}),
    )
    told = {
        one.split(" [")[0]: one.rpartition("](")[2].rstrip(")")
        for one in titles(await house.ask(ALICE, "!timeline all"))
    }
    link, page = f"https://matrix.to/#/{room_id}/{event_id}?via=x.org", "https://etb.x.org/1"
    assert told["by event"] == told["by id"] == link
    assert told["of another"] == told["of another too"] == told["of none"] == told["Chat room opened"] == page


async def test_an_entry_and_its_correction_name_the_message_to_etb(house: House) -> None:
    room_id = await house.open_for_alice()
    event_id = await house.says(ALICE, "first sign")
    await house.settle()
    pin = await house.reacts(ALICE, event_id, "📌")
    await house.redacts(ALICE, pin)
    await house.settle()
    async with house.db.view() as view:
        message = await view.messages.by_event(EventId(event_id))
    assert message is not None
    links = {
        "war_room_id": war_room_id(NO_1),
        "message_id": message.id,
        "matrix_event_id": event_id,
        "permalink": f"https://matrix.to/#/{room_id}/{event_id}?via=x.org",
    }
    entry, correction = house.etb.entries[-2:]
    assert entry.event_data == links
    assert correction.event_data == {**links, "corrects": entry.external_ref}


async def test_a_long_timeline_is_cut_and_says_where_the_rest_is(house: House) -> None:
    await house.open_for_alice(url="https://etb.x.org/1")
    for number in range(43):
        await house.ask(ALICE, f"!timeline add entry {number}")
        house.clock.advance(60)
    answer = await house.ask(ALICE, "!timeline")
    assert "The last 40 of 43; the earlier ones stand [in ETB](https://etb.x.org/1)." in answer
    assert titles(answer)[0].startswith("entry 3 ")
    assert len(titles(answer)) == 40


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("!timeline", "Nothing is on the timeline yet. `!timeline add <text>` writes an entry."),
        ("!timeline add", "`text` is missing."),
        ("!timeline all of it", "Only `add` takes a text."),
        ("!timeline chart of it", "Only `add` takes a text."),
        ("!timeline draw", "`action` is one of `add`, `all`, `chart`."),
    ],
)
async def test_what_does_not_fit(house: House, line: str, answer: str) -> None:
    await house.open_for_alice()
    assert (await house.ask(ALICE, line)).startswith(answer)


async def test_a_long_text_is_kept_whole(house: House) -> None:
    await house.open_for_alice()
    await house.ask(ALICE, f"!timeline add {'x' * 300}")
    entry = house.etb.entries[-1]
    assert (len(entry.title), entry.description) == (200, "x" * 300)


async def test_members_read_it_and_responders_add_to_it(house: House) -> None:
    await house.open_for_alice(assignee=None)
    await house.leave_over("bob")
    await house.moves(BOB, "join")
    assert (await house.ask(BOB, "!timeline")).startswith("Nothing")
    assert await house.ask(BOB, "!timeline add x") == "This needs the role responder of this incident."


def test_what_etb_wrote_down_itself_is_matched_once_by_kind_and_time() -> None:
    ours = [item("a", 20 * MINUTE_MS, "STATUS_CHANGED", mirrored=False)]
    near = row("same", 19 * MINUTE_MS, "STATUS_CHANGED")
    other = row("other", 18 * MINUTE_MS, "STATUS_CHANGED")
    long_ago = row("long ago", 1 * MINUTE_MS, "STATUS_CHANGED")
    kind = row("kind", 19 * MINUTE_MS, "ASSIGNED")
    no_time = TimelineRow(id="n", incident_id=NO_1, event_type="STATUS_CHANGED", title="no time", at_ms=None)
    lines = complete(ours, [near, other, long_ago, kind, no_time])
    assert [line.title for line in lines] == ["no time", "long ago", "other", "kind", "a"]


def test_ours_are_known_by_their_reference_and_strangers_with_a_like_one_are_shown() -> None:
    ours = [item("1", 5)]
    rows = [
        row("mine", 5, external_ref="etb-appservice/timeline/1"),
        row("correction", 6, external_ref="etb-appservice/timeline/1/withdrawn"),
        row("of another room", 7, external_ref="etb-appservice/timeline/2"),
    ]
    assert complete(ours, rows) == [Line(5, "1"), Line(7, "of another room")]

"""Reactions: what they make, who may, and what becomes of it when they are taken away."""

from typing import Any

import pytest

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.facts import ReactionReceived
from etb_appservice.domain.ids import Username
from etb_appservice.domain.pages import WATCH, Watch
from etb_appservice.domain.policy import ReactionPolicy
from etb_appservice.domain.tasks import Task
from etb_appservice.domain.timeline import TimelineItem
from etb_appservice.flows.reactions import Reactions
from tests.harness.cast import ALICE, BOB, BOT, OPERATOR, STRANGER, etb_user, policy_of
from tests.harness.house import House
from tests.harness.kit import MakeHouse


async def entries(house: House, kind: type[Any]) -> list[Any]:
    room = await house.room()
    async with house.db.view() as view:
        return list(await view.cases.of(room.war_room, kind))


async def said_in_thread(house: House, event_id: str) -> list[str]:
    return [str(say.content) for _, say in house.world.said if say.thread_root == event_id]


async def opened(house: House) -> str:
    """alice and bob are in the room; what alice wrote there."""
    await house.open_for_alice()
    await house.moves(BOB, "join")
    return await house.says(ALICE, "The *disk* of mail1 is full", origin_ms=1_790_000_005_000)


@pytest.mark.parametrize("key", ["📌", "📌\ufe0f"])
async def test_a_pin_puts_a_message_on_the_timeline_at_its_own_time(house: House, key: str) -> None:
    event_id = await opened(house)
    await house.advance(600)
    await house.reacts(BOB, event_id, key)
    [item] = await entries(house, TimelineItem)
    assert (item.title, item.by, item.event_id) == ("alice: The *disk* of mail1 is full", "bob", event_id)
    assert (item.event_type, item.at_ms) == ("MESSAGE_PINNED", 1_790_000_005_000)
    [entry] = [one for one in house.etb.entries if one.event_type == "MESSAGE_PINNED"]
    room_id = await house.room_id()
    assert entry.event_data["permalink"] == f"https://matrix.to/#/{room_id}/{event_id}?via=x.org"
    assert (entry.event_time_ms, entry.event_data["matrix_event_id"]) == (item.at_ms, event_id)
    [say] = [say for _, say in house.world.said if say.thread_root == event_id]
    assert (say.content, say.notify, say.reply_to) == (
        "On the timeline, put there by `bob`. `!timeline` shows it.",
        False,
        event_id,
    )


async def test_a_message_that_claims_to_be_from_the_future_or_from_no_time_counts_when_it_came(
    house: House,
) -> None:
    await opened(house)
    for sent in (1 << 50, 0):
        event_id = await house.says(ALICE, "now", origin_ms=sent)
        await house.settle()
        await house.reacts(ALICE, event_id, "📌")
    now = house.clock.now_ms()
    assert all(now - 60_000 < one.at_ms <= now for one in await entries(house, TimelineItem))


async def test_a_star_makes_a_task(house: House) -> None:
    event_id = await opened(house)
    await house.reacts(BOB, event_id, "⭐")
    [task] = await entries(house, Task)
    assert (task.number, task.text, task.by, task.event_id) == (1, "The *disk* of mail1 is full", "bob", event_id)
    assert await said_in_thread(house, event_id) == [
        "Task **1**, made by `bob`: The \\*disk\\* of mail1 is full `!task list` shows all."
    ]


async def test_in_a_thread_it_is_confirmed_in_that_thread(house: House) -> None:
    await opened(house)
    event_id = await house.says(ALICE, "deep", thread_root="$root")
    await house.reacts(ALICE, event_id, "📌")
    [say] = [say for _, say in house.world.said if say.thread_root == "$root"]
    assert say.reply_to == event_id


@pytest.mark.parametrize(("key", "kind"), [("📌", TimelineItem), ("⭐", Task)])
async def test_repeats_do_nothing(house: House, key: str, kind: type[Any]) -> None:
    event_id = await opened(house)
    for who in (ALICE, BOB, ALICE):
        await house.reacts(who, event_id, key)
    assert len(await entries(house, kind)) == 1
    assert len(await said_in_thread(house, event_id)) == 1


async def test_a_pin_that_is_taken_away_is_withdrawn_visibly(house: House) -> None:
    event_id = await opened(house)
    reaction = await house.reacts(BOB, event_id, "📌")
    await house.redacts(BOB, reaction)
    [item] = await entries(house, TimelineItem)
    assert item.withdrawn_ms is not None
    assert (await said_in_thread(house, event_id))[1:] == ["Withdrawn from the timeline by `bob`."]
    [entry, correction] = [one for one in house.etb.entries if "disk" in one.title]
    assert correction.title == "Withdrawn: alice: The *disk* of mail1 is full"
    assert correction.event_data["corrects"] == entry.external_ref
    assert correction.external_ref == f"{entry.external_ref}/withdrawn"
    assert "disk" not in await house.ask(ALICE, "!timeline")
    assert "~~alice: The \\*disk\\* of mail1 is full~~ (withdrawn)" in await house.ask(ALICE, "!timeline all")
    await house.redacts(BOB, reaction)
    assert len(await said_in_thread(house, event_id)) == 2


async def test_it_stands_as_long_as_anybody_pins_it(house: House) -> None:
    event_id = await opened(house)
    first, second = await house.reacts(ALICE, event_id, "📌"), await house.reacts(BOB, event_id, "📌")
    await house.redacts(ALICE, first)
    [item] = await entries(house, TimelineItem)
    assert item.is_open
    await house.redacts(BOB, second)
    [item] = await entries(house, TimelineItem)
    assert not item.is_open
    await house.reacts(BOB, event_id, "📌")
    assert [one.is_open for one in await entries(house, TimelineItem)] == [False, True]


async def test_a_star_that_is_taken_away_withdraws_the_task_unless_it_is_done(house: House) -> None:
    event_id = await opened(house)
    reaction = await house.reacts(BOB, event_id, "⭐")
    await house.redacts(BOB, reaction)
    [task] = await entries(house, Task)
    assert (task.state, task.settled_by) == ("withdrawn", "bob")
    assert (await said_in_thread(house, event_id))[1:] == ["Task **1** was withdrawn by `bob`."]
    assert house.etb.entries[-1].title == "Task 1 withdrawn: The *disk* of mail1 is full"
    again = await house.reacts(BOB, event_id, "⭐")
    await house.ask(ALICE, "!task done 2")
    await house.redacts(BOB, again)
    assert [one.state for one in await entries(house, Task)] == ["withdrawn", "done"]


async def test_of_a_message_that_is_deleted_the_text_goes_from_our_record_too(house: House) -> None:
    event_id = await opened(house)
    await house.reacts(BOB, event_id, "📌")
    await house.reacts(ALICE, event_id, "📌")
    await house.reacts(BOB, event_id, "⭐")
    await house.redacts(ALICE, event_id)
    pinned = next(one for one in await entries(house, TimelineItem) if one.event_type == "MESSAGE_PINNED")
    assert (pinned.title, pinned.description, pinned.is_open) == ("A deleted message", "", False)
    [task] = await entries(house, Task)
    assert (task.text, task.state) == ("a deleted message", "withdrawn")
    assert not any("disk" in one.title + one.description for one in await entries(house, TimelineItem))
    assert len(await said_in_thread(house, event_id)) == 4


@pytest.mark.parametrize("who", [STRANGER, OPERATOR, BOT])
async def test_whoever_may_not_does_nothing_and_hears_nothing(house: House, who: str) -> None:
    event_id = await opened(house)
    if who != BOT:
        await house.moves(who, "join")
    said = len(house.world.said)
    await house.reacts(who, event_id, "📌")
    assert len(house.world.said) == said
    assert await entries(house, TimelineItem) == []
    assert ("reaction.refused" in await house.tags()) is (who != BOT)


async def test_who_has_left_or_lost_the_clearance_does_nothing(house: House) -> None:
    event_id = await opened(house)
    await house.moves(BOB, "leave")
    await house.reacts(BOB, event_id, "📌")
    await house.moves(BOB, "join")
    house.etb.users[Username("bob")] = etb_user("bob", Classification.PUBLIC)
    await house.advance(600)
    await house.reacts(BOB, event_id, "📌")
    assert (await house.tags()).count("reaction.refused") == 2
    assert await entries(house, TimelineItem) == []


async def test_a_message_that_is_unknown_unreadable_or_deleted_is_not_pinned(house: House) -> None:
    await opened(house)
    gone = await house.says(ALICE, "oops")
    await house.redacts(ALICE, gone)
    plain = await house.says(ALICE, "", what="plain")
    await house.settle()
    for target in ("$nowhere", gone, plain):
        await house.reacts(ALICE, target, "📌")
    assert await entries(house, TimelineItem) == []
    assert (await house.tags()).count("reaction.refused") == 3


async def test_a_pin_on_a_message_whose_key_is_late_counts_when_it_comes(house: House) -> None:
    await opened(house)
    event_id = await house.says(ALICE, "late", session="s", origin_ms=1_790_000_005_000)
    await house.settle()
    first = await house.reacts(BOB, event_id, "📌")
    await house.reacts(ALICE, event_id, "📌")
    await house.redacts(BOB, first)
    await house.advance(40)
    assert await entries(house, TimelineItem) == []
    await house.key_comes("s")
    await house.advance(100)
    [item] = await entries(house, TimelineItem)
    assert (item.title, item.by, item.at_ms) == ("alice: late", "alice", 1_790_000_005_000)
    assert len(await said_in_thread(house, event_id)) == 1


async def test_a_pin_on_a_message_whose_key_never_comes_is_given_up_with_it(house: House) -> None:
    await opened(house)
    event_id = await house.says(ALICE, "lost", session="s")
    await house.settle()
    await house.reacts(BOB, event_id, "📌")
    for _ in range(5):
        await house.advance(3700)
    assert "reaction.refused" in await house.tags()
    async with house.db.view() as view:
        watch = await view.cases.get((await house.room()).war_room, Watch, WATCH)
        assert watch is not None
        # Nothing is to come but the next look at the incident, and the hourly sweep.
        sweep = (house.clock.now_ms() // 3_600_000 + 1) * 3_600_000
        assert await view.inbox.soonest_ms() == min(watch.due_ms or sweep, sweep)


async def test_other_emoji_and_other_rooms_do_nothing(house: House) -> None:
    event_id = await opened(house)
    await house.reacts(ALICE, event_id, "🎉")
    elsewhere = await house.says(OPERATOR, "hello", house.control_room())
    await house.reacts(OPERATOR, elsewhere, "📌", house.control_room())
    await house.reacts(ALICE, event_id, "✅")
    assert await entries(house, TimelineItem) == []
    assert not any(tag.startswith("reaction.") for tag in await house.tags())


async def test_the_set_is_configurable(make_house: MakeHouse) -> None:
    house = await make_house(policy=policy_of(reactions=ReactionPolicy({"❤\ufe0f": "timeline"})))
    event_id = await opened(house)
    await house.reacts(ALICE, event_id, "📌")
    assert await entries(house, TimelineItem) == []
    await house.reacts(ALICE, event_id, "❤")
    assert len(await entries(house, TimelineItem)) == 1


async def test_a_tick_goes_to_whoever_knows_pages(house: House) -> None:
    event_id = await opened(house)
    seen: list[tuple[str, str]] = []

    async def acknowledge(_turn: object, _room: object, fact: ReactionReceived, who: Username) -> str:
        seen.append((fact.relates_to, who))
        return "page-1"

    object.__setattr__(house.decider, "reactions", Reactions(house.policy, house.decider.cadences, acknowledge))
    await house.reacts(BOB, event_id, "✅\ufe0f")
    assert seen == [(event_id, "bob")]
    assert "reaction.counted" in await house.tags()


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("lives", [[2, 1], [1, 2, 1, 3]])
async def test_a_crash_at_any_commit_writes_once_and_withdraws_once(
    make_house: MakeHouse, lives: list[int], before: bool
) -> None:
    house = await make_house()
    event_id = await opened(house)
    await house.settle()
    await house.die_again_and_again(lives, before=before)
    reaction = await house.reacts(BOB, event_id, "📌")
    await house.redacts(BOB, reaction)
    await house.reacts(ALICE, event_id, "⭐")
    await house.die_no_more()
    await house.settle()
    assert house.crashes > 0
    assert [one.title.split(":")[0] for one in house.etb.entries[-3:]] == ["alice", "Withdrawn", "Task 1 added"]
    assert len(await said_in_thread(house, event_id)) == 3
    assert len(await entries(house, Task)) == 1

"""The rhythm of an incident: who is reminded of what, when, and how often."""

from collections.abc import Sequence

import pytest

from etb_appservice.domain.cadence import Cadence
from etb_appservice.domain.effects import Say
from etb_appservice.domain.ids import EventId
from etb_appservice.domain.policy import CadencePolicy
from etb_appservice.domain.reactions import Reaction
from etb_appservice.flows.cadence import Cadences
from tests.harness.cast import ALICE, BOB, STRANGER, incident, policy_of
from tests.harness.house import House
from tests.harness.kit import MakeHouse
from tests.harness.world import later

MINUTE = 60
HOUR = 60 * MINUTE


@pytest.fixture
async def steady(make_house: MakeHouse) -> House:
    """HIGH: an update every hour; nobody is told that there is no commander."""
    return await make_house(policy=policy_of(cadence=CadencePolicy(commander_minutes=0)))


def reminders(house: House) -> list[tuple[EventId, Say]]:
    return [(event_id, say) for event_id, say in house.world.said if say.purpose == "reminder"]


async def cadence(house: House) -> Cadence:
    room = await house.room()
    async with house.db.view() as view:
        found = await view.cases.get(room.war_room, Cadence, "cadence")
    assert found is not None
    return found


async def led(house: House) -> EventId:
    """alice is commander and was reminded once; the reminder."""
    await house.open_for_alice()
    await house.ask(ALICE, "!role commander")
    await house.advance(HOUR)
    [(event_id, _)] = reminders(house)
    return event_id


def said_after(house: House, event_id: EventId) -> Sequence[str]:
    return [str(say.content) for _, say in house.world.said if say.thread_root == event_id]


async def test_the_commander_is_reminded_when_an_update_is_due(steady: House) -> None:
    room_id = await steady.open_for_alice()
    await steady.ask(ALICE, "!role commander")
    await steady.advance(HOUR - MINUTE)
    assert reminders(steady) == []
    await steady.advance(MINUTE)
    [(_, say)] = reminders(steady)
    assert (say.room_id, say.mentions, say.notify) == (room_id, (ALICE,), True)
    assert str(say.content).startswith("`alice`, a status update of **INC-1** is due: ")
    assert "1⃣ in 30 minutes, 2⃣ in 60 minutes, 3⃣ in 90 minutes; 🛑 not until the next update." in str(say.content)


async def test_a_commander_who_does_nothing_is_reminded_each_time(steady: House) -> None:
    await led(steady)
    await steady.advance(HOUR)
    await steady.advance(HOUR)
    assert len(reminders(steady)) == 3


async def test_only_an_update_counts_as_one(steady: House) -> None:
    await steady.open_for_alice()
    await steady.ask(ALICE, "!role commander")
    await steady.advance(HOUR / 2)
    await steady.says(ALICE, "we are on it")
    await steady.ask(ALICE, "!task add x")
    await steady.advance(HOUR / 2)
    assert len(reminders(steady)) == 1


async def test_an_update_overtakes_the_timer_that_runs(steady: House) -> None:
    await steady.open_for_alice()
    await steady.ask(ALICE, "!role commander")
    await steady.advance(HOUR - MINUTE)
    await steady.ask(ALICE, "!post fine")
    await steady.advance(HOUR - MINUTE)
    assert reminders(steady) == []
    await steady.advance(2 * MINUTE)
    assert len(reminders(steady)) == 1


async def test_without_a_commander_the_room_is_reminded_once(steady: House) -> None:
    await steady.open_for_alice()
    for _ in range(4):
        await steady.advance(HOUR)
    [(_, say)] = reminders(steady)
    assert say.mentions == ()
    assert str(say.content).startswith("A status update of **INC-1** is due")
    await steady.report(incident(severity="CRITICAL", updated_at_ms=2000))
    await steady.advance(HOUR)
    assert len(reminders(steady)) == 1
    await steady.ask(ALICE, "!post fine")
    for _ in range(3):
        await steady.advance(HOUR)
    assert len(reminders(steady)) == 2


async def test_whoever_takes_over_an_overdue_update_learns_of_it_at_once(steady: House) -> None:
    await steady.open_for_alice()
    await steady.advance(2 * HOUR)
    await steady.ask(ALICE, "!role commander bob")
    await steady.settle()
    assert [say.mentions for _, say in reminders(steady)] == [(), (BOB,)]


@pytest.mark.parametrize(("key", "minutes"), [("1️⃣", 30), ("2⃣", 60), ("3️⃣", 90)])
async def test_a_reaction_puts_it_off(steady: House, key: str, minutes: int) -> None:
    reminder = await led(steady)
    await steady.reacts(ALICE, reminder, key)
    [told] = said_after(steady, reminder)
    assert told.startswith("Put off by `alice`. The next reminder comes at ")
    await steady.advance(minutes * MINUTE - MINUTE)
    assert len(reminders(steady)) == 1
    await steady.advance(2 * MINUTE)
    assert len(reminders(steady)) == 2


async def test_a_snooze_is_recorded(steady: House) -> None:
    reminder = await led(steady)
    reaction = await steady.reacts(ALICE, reminder, "1⃣")
    [entry] = [one for one in await steady.audit() if one.tag == "update.snoozed"]
    assert (entry.actor, entry.details) == (ALICE, {"reaction": reaction, "minutes": 30})
    room = await steady.room()
    async with steady.db.view() as view:
        [kept] = await view.cases.of(room.war_room, Reaction)
    assert (kept.id, kept.does, kept.target) == (reaction, "snooze", reminder)
    assert (await cadence(steady)).snoozed_ms is not None


async def test_a_snooze_is_no_update(steady: House) -> None:
    reminder = await led(steady)
    before = (await cadence(steady)).since_ms
    await steady.reacts(ALICE, reminder, "1⃣")
    assert (await cadence(steady)).since_ms == before


async def test_stop_ends_reminders_until_the_next_update(steady: House) -> None:
    reminder = await led(steady)
    await steady.reacts(ALICE, reminder, "🛑")
    assert said_after(steady, reminder) == ["`alice` has stopped reminders until the next status update."]
    await steady.advance(5 * HOUR)
    await steady.ask(ALICE, "!role commander bob")
    await steady.advance(5 * HOUR)
    assert len(reminders(steady)) == 1
    await steady.ask(ALICE, "!post fine")
    await steady.advance(HOUR + MINUTE)
    assert len(reminders(steady)) == 2


async def test_a_snooze_that_is_taken_back_leaves_a_moment_for_another(steady: House) -> None:
    reminder = await led(steady)
    first = await steady.reacts(ALICE, reminder, "3⃣")
    await steady.redacts(ALICE, first)
    assert said_after(steady, reminder)[-1].startswith("Taken back. The next reminder comes at ")
    await steady.reacts(ALICE, reminder, "1⃣")
    await steady.advance(29 * MINUTE)
    assert len(reminders(steady)) == 1
    await steady.advance(2 * MINUTE)
    assert len(reminders(steady)) == 2


async def test_without_another_snooze_it_comes_in_a_moment(steady: House) -> None:
    reminder = await led(steady)
    await steady.redacts(ALICE, await steady.reacts(ALICE, reminder, "🛑"))
    await steady.advance(4 * MINUTE)
    assert len(reminders(steady)) == 1
    await steady.advance(2 * MINUTE)
    assert len(reminders(steady)) == 2


async def test_of_two_snoozes_the_one_that_stands_counts(steady: House) -> None:
    reminder = await led(steady)
    await steady.moves(BOB, "join")
    await steady.reacts(BOB, reminder, "2⃣")
    second = await steady.reacts(ALICE, reminder, "🛑")
    await steady.redacts(ALICE, second)
    assert said_after(steady, reminder)[-1].startswith("Put off by `bob`. ")
    await steady.advance(59 * MINUTE)
    assert len(reminders(steady)) == 1
    await steady.advance(2 * MINUTE)
    assert len(reminders(steady)) == 2


async def test_a_snooze_that_an_update_overtook_is_taken_back_without_a_word(steady: House) -> None:
    reminder = await led(steady)
    snooze = await steady.reacts(ALICE, reminder, "1⃣")
    await steady.ask(ALICE, "!post fine")
    said = len(steady.world.said)
    await steady.redacts(ALICE, snooze)
    assert len(steady.world.said) == said


async def test_a_reminder_that_an_update_overtook_under_way_is_no_longer_one(steady: House) -> None:
    await steady.open_for_alice()
    await steady.ask(ALICE, "!role commander")
    steady.world.fail(Say, later(30), lands=True, only=lambda one: one.purpose == "reminder")
    await steady.advance(HOUR)
    [(reminder, _)] = reminders(steady)
    await steady.says(ALICE, "!post fine")
    await steady.advance(60)
    assert (await cadence(steady)).reminder is None
    await steady.reacts(ALICE, reminder, "1⃣")
    assert "update.snoozed" not in await steady.tags()


async def test_a_room_of_an_earlier_version_is_followed_from_its_next_change(
    make_house: MakeHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = await make_house(policy=policy_of(cadence=CadencePolicy()))

    async def not_yet(*_: object) -> None:
        return None

    with monkeypatch.context() as earlier:
        earlier.setattr(Cadences, "follow", not_yet)
        await house.open_for_alice()
        await house.advance(60)
        await house.report(incident(status="CLOSED", updated_at_ms=2000))
        await house.settle()
    assert (await house.ask(ALICE, "!post fine")).endswith("No further one is due.")
    await house.ask(ALICE, "!role commander")
    await house.report(incident(status="CLOSED", title="x", updated_at_ms=3000))
    await house.settle()
    await house.report(incident(updated_at_ms=4000))
    await house.settle()
    await house.advance(HOUR + MINUTE)
    assert len(reminders(house)) == 1


async def test_a_reaction_to_an_older_reminder_or_to_something_else_puts_nothing_off(steady: House) -> None:
    reminder = await led(steady)
    talk = await steady.says(ALICE, "hello")
    await steady.reacts(ALICE, talk, "1⃣")
    await steady.ask(ALICE, "!post fine")
    await steady.reacts(ALICE, reminder, "1⃣")
    assert "update.snoozed" not in await steady.tags()
    await steady.advance(HOUR + MINUTE)
    assert len(reminders(steady)) == 2


async def test_whoever_may_not_puts_nothing_off_and_is_not_answered(steady: House) -> None:
    reminder = await led(steady)
    await steady.moves(STRANGER, "join")
    said = len(steady.world.said)
    await steady.reacts(STRANGER, reminder, "🛑")
    assert len(steady.world.said) == said
    assert "reaction.refused" in await steady.tags()
    await steady.advance(HOUR)
    assert len(reminders(steady)) == 2


async def test_a_reaction_that_is_quicker_than_the_homeservers_answer_counts(steady: House) -> None:
    """The reminder stands in the room, but its answer was lost: its event id isn't known here yet."""
    await steady.open_for_alice()
    await steady.ask(ALICE, "!role commander")
    steady.world.fail(Say, later(), lands=True, only=lambda one: one.purpose == "reminder")
    await steady.advance(HOUR)
    [(reminder, _)] = reminders(steady)
    assert (await cadence(steady)).reminder is None
    await steady.reacts(ALICE, reminder, "1⃣")
    assert "update.snoozed" not in await steady.tags()
    await steady.advance(10)
    assert (await cadence(steady)).reminder == reminder
    assert (await steady.tags()).count("update.snoozed") == 1


async def test_another_severity_is_planned_anew(steady: House) -> None:
    await steady.open_for_alice(severity="LOW")
    await steady.ask(ALICE, "!role commander")
    assert (await cadence(steady)).due_ms is None
    await steady.report(incident(severity="CRITICAL", updated_at_ms=2000))
    await steady.advance(29 * MINUTE)
    assert reminders(steady) == []
    await steady.advance(2 * MINUTE)
    assert len(reminders(steady)) == 1
    await steady.report(incident(severity="LOW", updated_at_ms=3000))
    await steady.advance(5 * HOUR)
    assert len(reminders(steady)) == 1


async def test_a_severity_that_rises_ends_a_stop(steady: House) -> None:
    reminder = await led(steady)
    await steady.reacts(ALICE, reminder, "🛑")
    await steady.report(incident(severity="CRITICAL", updated_at_ms=2000))
    await steady.settle()
    assert len(reminders(steady)) == 2


async def test_closed_incidents_are_not_reminded_and_reopened_ones_begin_anew(steady: House) -> None:
    reminder = await led(steady)
    await steady.report(incident(status="CLOSED", updated_at_ms=2000))
    await steady.advance(5 * HOUR)
    await steady.reacts(ALICE, reminder, "1⃣")
    await steady.advance(5 * HOUR)
    assert len(reminders(steady)) == 1
    await steady.report(incident(updated_at_ms=3000))
    await steady.settle()
    await steady.advance(HOUR - MINUTE)
    assert len(reminders(steady)) == 1
    await steady.advance(2 * MINUTE)
    assert len(reminders(steady)) == 2


async def test_a_room_without_commander_is_told_once(make_house: MakeHouse) -> None:
    house = await make_house(policy=policy_of(cadence=CadencePolicy(update_minutes={})))
    room_id = await house.open_for_alice()
    await house.advance(14 * MINUTE)
    assert house.world.texts(room_id) == []
    await house.advance(2 * MINUTE)
    told = ["Nobody is incident commander yet. `!role commander` claims it."]
    assert house.world.texts(room_id) == told
    await house.crash()
    await house.report(incident(severity="LOW", updated_at_ms=2000))
    await house.advance(HOUR)
    assert house.world.texts(room_id) == told


@pytest.mark.parametrize("closed", [True, False])
async def test_with_a_commander_or_closed_the_room_is_told_nothing(make_house: MakeHouse, closed: bool) -> None:
    house = await make_house(policy=policy_of(cadence=CadencePolicy(update_minutes={})))
    await house.open_for_alice()
    if closed:
        await house.report(incident(status="CLOSED", updated_at_ms=2000))
    else:
        await house.ask(ALICE, "!role commander")
    await house.advance(HOUR)
    assert not any("Nobody is" in one for one in house.world.texts())


async def test_a_clock_that_steps_doubles_nothing(steady: House) -> None:
    await led(steady)
    steady.clock.step(-2 * HOUR)
    await steady.settle()
    steady.clock.step(2 * HOUR)
    await steady.settle()
    assert len(reminders(steady)) == 1
    steady.clock.step(HOUR)
    await steady.settle()
    assert len(reminders(steady)) == 2


async def test_a_timer_survives_a_restart_and_what_fell_due_meanwhile_is_said_once(steady: House) -> None:
    await steady.open_for_alice()
    await steady.ask(ALICE, "!role commander")
    await steady.stop()
    steady.clock.advance(3 * HOUR)
    await steady.start()
    await steady.settle()
    assert len(reminders(steady)) == 1


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("lives", [[2], [1, 2, 1, 3], [3, 1]])
async def test_a_crash_at_any_commit_reminds_and_snoozes_once(
    make_house: MakeHouse, lives: list[int], before: bool
) -> None:
    house = await make_house(policy=policy_of(cadence=CadencePolicy()))
    await house.open_for_alice()
    await house.ask(ALICE, "!role commander")
    await house.die_again_and_again(lives, before=before)
    await house.advance(HOUR)
    [(reminder, _)] = reminders(house)
    await house.reacts(ALICE, reminder, "1⃣")
    await house.settle()
    assert len(said_after(house, reminder)) == 1
    await house.advance(31 * MINUTE)
    assert len(reminders(house)) == 2
    await house.says(ALICE, "!post fine")
    await house.advance(HOUR - MINUTE)
    await house.die_no_more()
    await house.settle()
    assert house.crashes > 0
    assert len(reminders(house)) == 2
    assert (await house.tags()).count("update.snoozed") == 1

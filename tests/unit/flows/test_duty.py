"""What an incident's room is told of its SLAs, once each, and who hears that on-call changed."""

import re
from dataclasses import replace
from typing import Any

import pytest

from etb_appservice.domain.duty import Maintenance, Sla
from etb_appservice.domain.effects import Say
from etb_appservice.domain.facts import IncidentSeen
from etb_appservice.domain.ids import RoomId
from etb_appservice.domain.incident import Deadline
from etb_appservice.domain.pages import WATCH, Watch
from etb_appservice.domain.policy import DutyPolicy
from etb_appservice.domain.timeline import TimelineItem
from tests.harness.cast import ALICE, NO_1, NO_2, incident, policy_of
from tests.harness.house import House
from tests.harness.kit import MakeHouse

MINUTE = 60
WITHOUT_PAGES = policy_of(duty=DutyPolicy(join_minutes=0))


def sla(house: House, *, minutes: float = 100, **changes: Any) -> Sla:
    """An SLA that began just now."""
    now_ms = house.clock.now_ms()
    given = Sla(
        id="sla-1",
        name="Response",
        kind="RESPONSE",
        status="ACTIVE",
        started_ms=now_ms,
        target_ms=now_ms + round(minutes * MINUTE * 1000),
    )
    return replace(given, **changes)


def notices(house: House, room_id: RoomId | None = None) -> list[str]:
    """What the rooms were told, without cards, answers, and that the incident has ended or goes on."""
    return [
        str(say.content)
        for _, say in house.world.said
        if say.purpose == "notice" and room_id in {None, say.room_id} and say.room_id != house.control_room()
        if not re.match(r"\*\*INC-\d\*\* is (closed|open again)", str(say.content))
    ]


async def watched(house: House, *slas: Sla, **changes: Any) -> RoomId:
    """A room with alice in it, and these SLAs."""
    room_id = await house.open_for_alice(**changes)
    house.etb.levels[NO_1] = list(slas) or [sla(house)]
    await house.advance(30)
    assert notices(house) == []
    return room_id


async def seen_again(house: House, **changes: Any) -> None:
    """ETB shows the incident anew, as it does when anything changes."""
    await house.report(incident(updated_at_ms=house.clock.now_ms() - 1_700_000_000_000, **changes))
    await house.settle()


async def test_each_threshold_is_said_when_it_passes(house: House) -> None:
    room_id = await watched(house)
    for minute in range(1, 121):
        await house.advance(MINUTE)
        if minute in {49, 74, 89}:
            assert len(notices(house)) == {49: 0, 74: 1, 89: 2}[minute]
    told = notices(house, room_id)
    assert [line.split(":")[1].split(",")[0] for line in told[:3]] == [
        " 50 % of its time has passed",
        " 75 % of its time has passed",
        " 90 % of its time has passed",
    ]
    assert told[0].startswith("SLA **Response**: 50 % of its time has passed, 49 min left; due 20")
    assert told[3].startswith("SLA **Response**: its time is up, it was due 20")
    assert len(told) == 4
    assert not any(say.notify for _, say in house.world.said)


async def test_the_thresholds_are_the_operators_choice(make_house: MakeHouse) -> None:
    house = await make_house(policy=policy_of(duty=DutyPolicy(thresholds=(33,))))
    await watched(house)
    await house.advance(200 * MINUTE)
    assert len(notices(house)) == 1
    assert "33 %" in notices(house)[0]


async def test_two_triggers_and_a_restart_say_it_once(house: House) -> None:
    await watched(house)
    house.clock.advance(51 * MINUTE)
    again = incident(updated_at_ms=2000)
    await house.report(again, "webhook")
    await house.report(again, "poll")
    await house.settle()
    assert len(notices(house)) == 1
    await house.crash()
    await house.start_service()
    await seen_again(house)
    await house.advance(10 * MINUTE)
    assert len(notices(house)) == 1


async def test_a_clock_that_steps_says_nothing_twice_and_leaves_nothing_out(house: House) -> None:
    await watched(house)
    await house.advance(51 * MINUTE)
    for step in (-3600, 3600, -3600, 3600):
        house.clock.step(step)
        await house.crash()
        await house.start_service()
        await seen_again(house)
        await house.advance(1)
    assert len(notices(house)) == 1
    house.clock.step(-3600)
    await house.start_service()
    await house.advance(3600)
    for _ in range(30):
        await house.advance(MINUTE)
    assert len(notices(house)) == 2
    house.clock.step(3600)
    await house.advance(5 * MINUTE)
    assert len(notices(house)) == 3


async def test_of_several_thresholds_that_passed_meanwhile_only_the_highest_is_said(house: House) -> None:
    await watched(house)
    await house.stop()
    house.clock.advance(95 * MINUTE)
    await house.start()
    await house.start_service()
    assert len(notices(house)) == 1
    assert "90 %" in notices(house)[0]


async def test_a_target_that_moves_is_planned_anew_and_what_was_said_stays_said(house: House) -> None:
    one = sla(house)
    await watched(house, one)
    await house.advance(51 * MINUTE)
    assert one.target_ms is not None
    later = replace(one, target_ms=one.target_ms + 100 * MINUTE * 1000)
    house.etb.levels[NO_1] = [later]
    await seen_again(house)
    await house.advance(60 * MINUTE)
    assert len(notices(house)) == 1
    await house.advance(40 * MINUTE)
    assert "75 %" in notices(house)[1]
    assert len(notices(house)) == 2


async def test_a_breach_is_said_and_written_down_once(house: House) -> None:
    one = sla(house)
    room_id = await watched(house, one)
    house.clock.advance(101 * MINUTE)
    house.etb.levels[NO_1] = [replace(one, status="BREACHED", breached_ms=one.target_ms)]
    await seen_again(house)
    await seen_again(house, severity="LOW")
    assert [line for line in notices(house, room_id) if "breached" in line] == notices(house)
    assert notices(house)[0].startswith("SLA **Response** is breached: it was due 20")
    async with house.db.view() as view:
        items = await view.cases.of((await house.room()).war_room, TimelineItem)
    [item] = [one for one in items if one.event_type == "SLA_BREACHED"]
    assert item.at_ms == one.target_ms
    assert not any(entry.event_type == "SLA_BREACHED" for entry in house.etb.entries)


async def test_a_breach_is_said_also_after_its_time_was_up(house: House) -> None:
    one = sla(house)
    await watched(house, one)
    await house.advance(101 * MINUTE)
    house.etb.levels[NO_1] = [replace(one, status="BREACHED")]
    await house.advance(5 * MINUTE)
    assert [line.split(":")[0] for line in notices(house)] == ["SLA **Response**", "SLA **Response** is breached"]


async def test_met_is_said_once_and_how_late(house: House) -> None:
    one = sla(house)
    assert one.target_ms is not None
    await watched(house, one, replace(one, id="sla-2", name="Resolution"))
    house.etb.levels[NO_1] = [
        replace(one, status="MET", met_ms=one.target_ms - 1),
        replace(one, id="sla-2", name="Resolution", status="MET", met_ms=one.target_ms + 5 * MINUTE * 1000),
    ]
    await seen_again(house)
    await house.advance(3600)
    assert notices(house) == ["SLA **Response** was met.\nSLA **Resolution** was met, 5 min late."]


async def test_one_that_was_met_before_anybody_looked_is_no_news(house: House) -> None:
    await watched(house, sla(house, status="MET", met_ms=5))
    await house.advance(3600)
    assert notices(house) == []


@pytest.mark.parametrize("status", ["PAUSED", "CANCELLED"])
async def test_paused_and_cancelled_ones_say_nothing(house: House, status: str) -> None:
    one = sla(house)
    await watched(house, one)
    house.etb.levels[NO_1] = [replace(one, status=status)]
    await seen_again(house)
    await house.advance(200 * MINUTE)
    assert notices(house) == []


async def test_one_that_goes_on_after_a_pause_is_told_of_again(house: House) -> None:
    one = sla(house)
    await watched(house, one)
    house.etb.levels[NO_1] = [replace(one, status="PAUSED")]
    await house.advance(60 * MINUTE)
    house.etb.levels[NO_1] = [one]
    await house.advance(5 * MINUTE)
    assert len(notices(house)) == 1


async def test_a_closed_incident_is_told_nothing_and_a_reopened_one_again(house: House) -> None:
    one = sla(house)
    await watched(house, one)
    await seen_again(house, status="CLOSED")
    await house.advance(80 * MINUTE)
    house.etb.levels[NO_1] = [replace(one, status="MET", met_ms=5)]
    await seen_again(house, status="CLOSED", severity="LOW")
    assert notices(house) == []
    asked = house.etb.calls.count("slas")
    await house.advance(3600)
    assert house.etb.calls.count("slas") == asked
    house.etb.levels[NO_1] = [one]
    await house.advance(1)
    await seen_again(house, status="IN_PROGRESS")
    assert len(notices(house)) == 1


async def test_business_hours_follow_etbs_remaining_time(house: House) -> None:
    one = sla(house, minutes=24 * 60, is_business_hours=True, remaining_s=3600.0)
    await watched(house, one)
    for _ in range(20):
        await house.advance(30 * MINUTE)
    assert notices(house) == []
    house.etb.levels[NO_1] = [replace(one, remaining_s=1800.0)]
    await house.advance(30 * MINUTE)
    assert len(notices(house)) == 1
    assert "50 % of its time has passed, 30 min of business hours left" in notices(house)[0]
    house.etb.levels[NO_1] = [replace(one, remaining_s=0.0)]
    await house.advance(30 * MINUTE)
    assert "its time is up" in notices(house)[1]


async def test_while_etb_is_away_nothing_is_said_and_afterwards_what_counts(house: House) -> None:
    await watched(house)
    house.etb.down()
    await house.advance(80 * MINUTE)
    assert notices(house) == []
    house.etb.up()
    await house.advance(MINUTE)
    assert len(notices(house)) == 1
    assert "75 %" in notices(house)[0]


async def test_a_look_that_later_plans_made_void_asks_etb_for_nothing(house: House) -> None:
    await watched(house)
    for number in range(5):
        await house.report(incident(updated_at_ms=2000 + number))
    await house.settle()
    before = house.etb.calls.count("slas")
    await house.advance(299)
    assert house.etb.calls.count("slas") == before
    await house.advance(2)
    assert house.etb.calls.count("slas") == before + 1


async def test_an_incident_from_before_there_was_a_watch_is_watched_after_the_next_start(house: House) -> None:
    await watched(house)
    room = await house.room()
    async with house.db.work() as work:
        watch = await work.cases.get(room.war_room, Watch, WATCH)
        assert watch is not None
        await work.cases.put(room.war_room, replace(watch, is_open=False))
    await house.advance(51 * MINUTE)
    assert notices(house) == []
    await house.start_service()
    await house.advance(30)
    assert len(notices(house)) == 1


async def test_a_look_that_was_lost_is_planned_again_when_the_incident_is_seen(house: House) -> None:
    await watched(house)
    house.clock.advance(51 * MINUTE)
    async with house.db.work() as work:
        await work.inbox.lanes(house.clock.now_ms())
        row = await work.inbox.next(NO_1, house.clock.now_ms())
        assert row is not None
        assert not isinstance(row, float)
        await work.inbox.finish(row.seq)
    await house.advance(3600)
    assert notices(house) == []
    await seen_again(house)
    assert len(notices(house)) == 1


def window(house: House, **changes: Any) -> Maintenance:
    """Maintenance of everything."""
    given = Maintenance(id="m", name="Upgrade", start_ms=0, end_ms=house.clock.now_ms() + 10**9)
    return replace(given, **changes)


async def test_maintenance_mutes_thresholds_for_good_and_sums_up_breaches_and_met_targets(house: House) -> None:
    one, two = sla(house), sla(house, id="sla-2", name="Resolution")
    await watched(house, one, two)
    house.etb.windows = [window(house, mutes_notifications=True)]
    await house.advance(91 * MINUTE)
    house.etb.levels[NO_1] = [replace(one, status="BREACHED"), replace(two, status="MET", met_ms=5)]
    await house.advance(5 * MINUTE)
    assert notices(house) == []
    house.etb.down()
    await house.advance(5 * MINUTE)
    house.etb.up()
    await house.crash()
    house.etb.windows = []
    await house.advance(10 * MINUTE)
    [told] = notices(house)
    assert told.startswith("During maintenance: SLA **Response** is breached: it was due ")
    assert told.endswith("SLA **Resolution** was met.")
    await house.advance(60 * MINUTE)
    assert len(notices(house)) == 1


async def test_what_is_kept_back_is_not_let_out_while_nobody_knows_of_the_window(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = sla(house)
    await watched(house, one)
    house.etb.windows = [window(house, mutes_notifications=True)]
    house.etb.levels[NO_1] = [replace(one, status="BREACHED")]
    await house.advance(5 * MINUTE)

    async def unanswered() -> tuple[Maintenance, ...]:
        raise TimeoutError

    monkeypatch.setattr(house.etb, "maintenance", unanswered)
    await house.advance(5 * MINUTE)
    assert notices(house) == []


@pytest.mark.parametrize(
    ("services", "muted"), [((), True), (("Mail",), True), (("mail", "web"), True), (("web",), False)]
)
async def test_maintenance_counts_for_the_services_it_names(
    house: House, services: tuple[str, ...], muted: bool
) -> None:
    room_id = await house.open_for_alice(services=("mail",))
    house.etb.levels[NO_1] = [sla(house)]
    house.etb.windows = [window(house, mutes_notifications=True, services=services)]
    await house.advance(51 * MINUTE)
    assert bool(notices(house, room_id)) is not muted


async def test_maintenance_that_mutes_escalations_alone_mutes_no_sla(house: House) -> None:
    await watched(house)
    house.etb.windows = [window(house, mutes_escalations=True)]
    await house.advance(51 * MINUTE)
    assert len(notices(house)) == 1


@pytest.mark.parametrize("before", [True, False], ids=["before the commit", "after the commit"])
@pytest.mark.parametrize("lives", [(1, 2), (2, 1, 1)])
async def test_a_crash_at_every_commit_says_each_threshold_once(
    make_house: MakeHouse, before: bool, lives: tuple[int, ...]
) -> None:
    house = await make_house(policy=WITHOUT_PAGES)
    one = sla(house)
    await watched(house, one)
    await house.die_again_and_again(lives, before=before)
    for _ in range(100):
        await house.advance(MINUTE)
    house.etb.levels[NO_1] = [replace(one, status="BREACHED")]
    await seen_again(house)
    await house.advance(5 * MINUTE)
    await house.die_no_more()
    await house.advance(5 * MINUTE)
    assert house.crashes > 10
    assert len(notices(house)) == 5
    assert len(set(notices(house))) == 5


async def test_deadlines_stand_on_the_card_as_times_and_it_changes_only_when_they_do(house: House) -> None:
    one = sla(house)
    assert one.target_ms is not None
    house.etb.sla[NO_1] = [Deadline("Response", "RESPONSE", "ACTIVE", one.target_ms)]
    await watched(house, one)
    [(card_event, _, card)] = house.world.cards()
    assert [row.target_ms for row in card.deadlines] == [one.target_ms]
    await house.advance(95 * MINUTE)
    await seen_again(house)
    assert len(house.world.cards()) == 1
    house.etb.sla[NO_1] = [Deadline("Response", "RESPONSE", "ACTIVE", one.target_ms + 60_000)]
    await house.advance(1)
    await seen_again(house)
    assert [(say.edits, card.deadlines[0].target_ms) for _, say, card in house.world.cards()[1:]] == [
        (card_event, one.target_ms + 60_000)
    ]


async def test_a_hand_over_is_said_once_in_the_rooms_of_open_incidents(house: House) -> None:
    room_id = await house.open_for_alice()
    await house.report(incident(id=NO_2, number="INC-2"))
    await house.settle()
    await house.report(incident(id=NO_2, number="INC-2", status="CLOSED", updated_at_ms=2000))
    await house.on_call("bob", rotation="Platform")
    await house.settle()
    assert notices(house) == []
    await house.on_call("carol", rotation="Platform")
    await house.settle()
    assert notices(house) == ["On call for **Platform** is now `carol`, was `bob`."]
    assert len(notices(house, room_id)) == 1
    await house.on_call("carol", rotation="Platform")
    await house.crash()
    await house.advance(10)
    assert len(notices(house)) == 1
    await house.on_call("alice", rotation="Network")
    await house.settle()
    assert notices(house)[1] == (
        "On call for **Network** is now `alice`, was nobody.\nOn call for **Platform** is now nobody, was `carol`."
    )


async def test_who_is_on_call_now_is_invited_and_told_of(house: House) -> None:
    room_id = await house.open_for_alice()
    await house.on_call("bob", rotation="Platform")
    await house.settle()
    from_etb = IncidentSeen(incident=incident(updated_at_ms=2000), via="oncall")
    await house.own(from_etb, lane=NO_1)
    await house.on_call("carol", rotation="Platform")
    await house.settle()
    assert ALICE not in house.world.guests(room_id)[1:]
    says = [say for _, say in house.world.said if isinstance(say, Say) and "On call" in str(say.content)]
    assert [say.room_id for say in says] == [room_id]

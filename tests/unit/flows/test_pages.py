"""Escalations as the room hears of them, and what becomes of pages."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from etb_appservice.domain.duty import Escalation, Maintenance
from etb_appservice.domain.effects import MoveEscalation, TriggerEscalation
from etb_appservice.domain.facts import Done, EffectAnswered
from etb_appservice.domain.ids import EventId, RoomId, Username, direct_id
from etb_appservice.domain.incident import OnCall
from etb_appservice.domain.pages import Page
from etb_appservice.domain.policy import DutyPolicy
from etb_appservice.flows.duty import acknowledged
from etb_appservice.flows.pages import page_at
from etb_appservice.flows.turn import Turn
from etb_appservice.store.codec import FactJson
from tests.harness.cast import ALICE, BOB, CAROL, NO_1, NO_2, incident, policy_of
from tests.harness.house import House
from tests.harness.kit import MakeHouse

MINUTE = 60


def escalation(number: int = 1, **changes: object) -> Escalation:
    """One that somebody started in ETB."""
    given = Escalation(id=f"etb-{number}", status="TRIGGERED", level=1, reason="No response")
    return replace(given, **changes)  # type: ignore[arg-type]


def notices(house: House) -> list[str]:
    """What the incident's room was told without a ring."""
    return [
        str(say.content)
        for _, say in house.world.said
        if say.purpose == "notice" and not say.notify and say.room_id != house.control_room()
    ]


def loud(house: House) -> list[str]:
    return [str(say.content) for _, say in house.world.said if say.notify and say.purpose == "notice"]


async def shows(house: House, *rows: Escalation) -> None:
    """ETB has these escalations; looked at when their time comes."""
    house.etb.escalated[NO_1] = list(rows)
    await house.advance(300)


def triggers(house: House) -> list[TriggerEscalation]:
    return [one for one in house.etb.writes if isinstance(one, TriggerEscalation)]


def moves(house: House) -> list[MoveEscalation]:
    return [one for one in house.etb.writes if isinstance(one, MoveEscalation)]


async def targets(house: House) -> list[str]:
    async with house.db.view() as view:
        return list(await view.outbox.targets())


async def pages(house: House) -> list[Page]:
    async with house.db.view() as view:
        return list(await view.cases.of((await house.room()).war_room, Page))


async def test_each_change_of_an_escalation_is_said_once(house: House) -> None:
    await house.open_for_alice()
    await shows(house, escalation())
    await shows(house, escalation())
    await shows(house, escalation(level=2))
    await shows(house, escalation(level=2, status="ACKNOWLEDGED", acknowledged_by="bob"))
    await house.crash()
    await house.start_service()
    await shows(house, escalation(level=2, status="RESOLVED", acknowledged_by="bob"))
    await shows(house, escalation(level=2, status="RESOLVED", acknowledged_by="bob"))
    assert notices(house) == [
        "**Escalation** started, level 1: No response.",
        "**Escalation** went up to level 2.",
        "The escalation was acknowledged by `bob`.",
        "The escalation was resolved.",
    ]


async def test_one_that_runs_is_looked_at_every_minute(house: House) -> None:
    await house.open_for_alice()
    await shows(house, escalation())
    house.etb.escalated[NO_1] = [escalation(status="CANCELLED")]
    await house.advance(61)
    assert notices(house)[-1] == "The escalation was cancelled."


async def test_what_was_over_before_anybody_looked_is_no_news(house: House) -> None:
    await house.open_for_alice()
    seen = escalation(3, status="ACKNOWLEDGED", acknowledged_by="bob", reason="")
    await shows(house, escalation(status="RESOLVED"), escalation(2, status="CANCELLED"), seen)
    assert notices(house) == ["**Escalation** started, level 1. Acknowledged by `bob`."]


async def test_a_foreign_reason_is_no_markup_of_ours(house: House) -> None:
    await house.open_for_alice()
    await shows(house, escalation(reason="**loud** [here](https://evil.example)"))
    assert notices(house) == [r"**Escalation** started, level 1: \*\*loud\*\* \[here\](https://evil.example)."]


async def test_maintenance_that_mutes_escalations_keeps_them_from_the_room(house: House) -> None:
    await house.open_for_alice()
    house.etb.windows = [Maintenance(id="m", name="Upgrade", start_ms=0, end_ms=None, mutes_escalations=True)]
    await shows(house, escalation())
    await house.ask(ALICE, "!page carol")
    await house.advance(30 * MINUTE)
    assert notices(house) == []
    assert len(triggers(house)) == 1
    house.etb.windows = []
    await house.advance(2 * MINUTE)
    assert len(triggers(house)) == 2
    assert notices(house) == []


async def test_a_page_that_nobody_acknowledges_is_escalated_once(house: House) -> None:
    await house.open_for_alice()
    await house.ask(ALICE, "!page carol")
    await house.advance(9 * MINUTE)
    assert len(triggers(house)) == 1
    await house.advance(MINUTE + 1)
    [page] = await pages(house)
    assert triggers(house)[1].reason == "Nobody acknowledged the page for carol within 10 min"
    assert triggers(house)[1].ref == f"{page.id}/again"
    assert loud(house)[1:] == [
        "Nobody has acknowledged the page for `carol` within 10 min. It is escalated in ETB now."
    ]
    await house.crash()
    await house.start_service()
    await house.advance(60 * MINUTE)
    assert len(triggers(house)) == 2
    assert len(loud(house)) == 2
    assert notices(house) == []
    assert (await pages(house))[0].escalation_ids == ("escalation-1", "escalation-2")


async def test_pages_are_not_escalated_where_the_operator_says_so(make_house: MakeHouse) -> None:
    house = await make_house(policy=policy_of(duty=DutyPolicy(page_ack_minutes=0, join_minutes=0)))
    await house.open_for_alice()
    await house.ask(ALICE, "!page carol")
    await house.advance(3600)
    assert len(triggers(house)) == 1


async def test_a_page_of_a_closed_incident_is_not_escalated(house: House) -> None:
    await house.open_for_alice()
    await house.ask(ALICE, "!page carol")
    await house.report(incident(status="CLOSED", updated_at_ms=2000))
    await house.advance(3600)
    assert len(triggers(house)) == 1
    assert not (await pages(house))[0].is_open


async def test_while_etb_is_away_a_page_is_escalated_all_the_same(house: House) -> None:
    await house.open_for_alice()
    await house.ask(ALICE, "!page carol")
    house.etb.down()
    await house.advance(10 * MINUTE + 1)
    assert len(loud(house)) == 2
    house.etb.up()
    await house.advance(MINUTE)
    assert len(triggers(house)) == 2


async def test_an_acknowledgement_in_etb_settles_the_page_and_is_said_once(house: House) -> None:
    await house.open_for_alice()
    await house.ask(ALICE, "!page carol")
    [row] = house.etb.escalated[NO_1]
    await shows(house, replace(row, status="ACKNOWLEDGED", acknowledged_by="carol"))
    await house.advance(3600)
    assert notices(house) == ["The page for `carol` was acknowledged by `carol`."]
    assert [say.reply_to for _, say in house.world.said if "was acknowledged" in str(say.content)] == [
        (await pages(house))[0].event_id
    ]
    assert moves(house) == []
    assert len(triggers(house)) == 1


Acknowledge = Callable[[House], Awaitable[int]]


async def react(house: House) -> int:
    """As a reaction does it: by the flow's own function, in a unit of work; answers how many pages were open."""
    room = await house.room()
    async with house.db.work() as work:
        turn = Turn(work=work, ref=f"reaction{house.clock.now_ms()}", lane=NO_1, codec=FactJson())
        settled = await acknowledged(turn, room, "carol")
    await house.settle()
    return len(settled)


async def test_an_acknowledgement_here_is_told_to_etb_for_every_escalation_of_the_page(house: House) -> None:
    await house.open_for_alice()
    await house.ask(ALICE, "!page carol")
    await house.advance(11 * MINUTE)
    assert await react(house) == 1
    assert await react(house) == 0
    await house.advance(3600)
    assert [one.escalation_id for one in moves(house)] == ["escalation-1", "escalation-2"]
    assert notices(house) == ["The page for `carol` was acknowledged by `carol`."]
    assert (await pages(house))[0].acknowledged_by == "carol"
    assert "page.acknowledged" in await house.tags()


async def test_a_page_acknowledged_before_etb_knows_of_it_is_acknowledged_there_later(house: House) -> None:
    await house.open_for_alice()
    house.etb.down()
    await house.says(ALICE, "!page bob")
    await house.settle()
    assert await react(house) == 1
    house.etb.up()
    await house.advance(60)
    assert [one.escalation_id for one in moves(house)] == ["escalation-1"]
    assert len(triggers(house)) == 1


async def test_ack_settles_the_page_and_all_its_escalations_without_another_word(house: House) -> None:
    await house.open_for_alice()
    await house.moves(BOB, "join")
    await house.ask(ALICE, "!page carol")
    await house.advance(11 * MINUTE)
    assert (await house.ask(BOB, "!ack")).startswith("The escalation to level **2** is acknowledged by `bob`.")
    await house.advance(3600)
    assert (await pages(house))[0].acknowledged_by == "bob"
    assert notices(house) == []
    assert [one.escalation_id for one in moves(house)] == ["escalation-2", "escalation-1"]


async def test_what_escalate_and_ack_answered_is_not_said_again(house: House) -> None:
    await house.open_for_alice()
    await house.ask(ALICE, "!escalate nobody is here")
    await house.ask(ALICE, "!ack")
    await house.advance(3600)
    assert notices(house) == []
    [row] = house.etb.escalated[NO_1]
    await shows(house, replace(row, status="RESOLVED"))
    assert notices(house) == ["The escalation was resolved."]


async def test_an_escalation_of_an_incident_without_a_room_is_nobodys_news(house: House) -> None:
    await house.open_for_alice()
    effect = TriggerEscalation(incident_id=NO_2, reason="r", ref="x")
    done = Done(found={"id": "e", "level": "1"})
    await house.own(EffectAnswered(key="k", effect=effect, answer=done))
    await house.settle()
    assert notices(house) == []


async def test_our_own_escalation_is_not_announced_while_its_answer_is_lost(house: House) -> None:
    await house.open_for_alice()
    house.etb.lose_answers = 1
    await house.says(ALICE, "!page carol")
    await house.intake.step(NO_1)
    [page] = await pages(house)
    await house.report(incident(updated_at_ms=2000))
    for _ in range(3):
        # ETB has it, and shows it, before its answer to us was read.
        [target] = [one for one in await targets(house) if one.startswith("etb/")]
        await house.outbox.step(target)
        await house.intake.step(NO_1)
    assert house.etb.escalated[NO_1][0].ref == page.id
    assert page.escalation_ids == ()
    await house.advance(60)
    assert notices(house) == []


async def test_what_was_read_before_our_own_acknowledgement_takes_nothing_back(house: House) -> None:
    await house.open_for_alice()
    await house.ask(ALICE, "!page carol")
    [row] = house.etb.escalated[NO_1]
    await react(house)
    await shows(house, row)
    await shows(house, replace(row, status="ACKNOWLEDGED", acknowledged_by="etb-chat"))
    assert notices(house) == ["The page for `carol` was acknowledged by `carol`."]


async def said_alone(house: House) -> tuple[RoomId, EventId]:
    async with house.db.view() as view:
        direct = await view.rooms.by_war_room(direct_id(CAROL))
    assert direct is not None
    assert direct.room_id is not None
    [event_id] = [event_id for event_id, say in house.world.said if say.room_id == direct.room_id]
    return direct.room_id, event_id


async def test_both_messages_of_a_page_lead_to_it(house: House) -> None:
    room_id = await house.open_for_alice()
    await house.ask(ALICE, "!page carol")
    [page] = await pages(house)
    direct_room_id, letter = await said_alone(house)
    assert page.event_id is not None
    async with house.db.view() as view:
        room, direct = await view.rooms.by_id(room_id), await view.rooms.by_id(direct_room_id)
        assert room is not None
        assert direct is not None
        assert await page_at(view, room, page.event_id) == (room, page)
        found = await page_at(view, direct, letter)
        assert found is not None
        assert (found[0].room_id, found[1]) == (room_id, page)
        assert await page_at(view, direct, EventId("$other")) is None
        assert await page_at(view, room, EventId("$other")) is None


@pytest.mark.parametrize("alone", [True, False], ids=["in the direct chat", "in the room"])
async def test_a_tick_on_either_message_acknowledges_the_page(house: House, alone: bool) -> None:
    room_id = await house.open_for_alice()
    await house.ask(ALICE, "!page carol")
    await house.moves(CAROL, "join")
    [page] = await pages(house)
    assert page.event_id is not None
    where, event_id = await said_alone(house) if alone else (room_id, page.event_id)
    if alone:
        await house.moves(CAROL, "join", where)
    await house.reacts(CAROL, event_id, "✅", where)
    await house.reacts(CAROL, event_id, "✅", where)
    assert notices(house) == ["The page for `carol` was acknowledged by `carol`."]
    assert [one.escalation_id for one in moves(house)] == ["escalation-1"]
    await house.advance(3600)
    assert len(triggers(house)) == 1


async def test_a_tick_on_another_message_acknowledges_nothing(house: House) -> None:
    await house.open_for_alice()
    await house.ask(ALICE, "!page carol")
    await house.reacts(ALICE, await house.says(ALICE, "hello"), "✅")
    assert (await pages(house))[0].is_open


async def unattended(house: House) -> RoomId:
    """A room that nobody joins."""
    house.know("alice", "bob", "carol")
    await house.start_service()
    await house.report(incident())
    await house.settle()
    return await house.room_id()


async def test_a_room_that_nobody_joins_pages_the_people_on_call_once(house: House) -> None:
    house.etb.duty = [OnCall("Platform", Username("carol"))]
    room_id = await unattended(house)
    await house.advance(14 * MINUTE)
    assert loud(house) == []
    await house.advance(MINUTE + 1)
    [call] = loud(house)
    assert "Nobody has joined the room of this incident within 15 min." in call
    assert "[@carol:x.org]" in call
    assert triggers(house)[0].reason.startswith("The chat service pages carol: Nobody has joined")
    assert CAROL in house.world.guests(room_id)
    await house.crash()
    await house.start_service()
    await house.advance(9 * MINUTE)
    assert len(loud(house)) == 1
    await house.advance(2 * MINUTE)
    assert [one.ref.endswith("/again") for one in triggers(house)] == [False, True]
    await house.advance(3600)
    assert len(loud(house)) == 2


async def test_a_room_that_nobody_joins_is_told_to_the_operators_when_nobody_is_on_call(house: House) -> None:
    await unattended(house)
    await house.advance(15 * MINUTE + 1)
    await house.advance(3600)
    assert [line for line in house.troubles() if "joined" in line] == [
        (
            "**INC-1**: nobody has joined the room within 15 min, and nobody could be paged. Nobody is on call. "
            "Find somebody who takes it."
        )
    ]


async def test_a_room_that_somebody_joined_pages_nobody(house: House) -> None:
    house.etb.duty = [OnCall("Platform", Username("carol"))]
    await house.open_for_alice()
    await house.moves(ALICE, "leave")
    await house.advance(MINUTE)
    await house.moves(ALICE, "join")
    await house.advance(3600)
    assert loud(house) == []


@pytest.mark.parametrize("before", [True, False], ids=["before the commit", "after the commit"])
async def test_a_crash_at_every_commit_calls_for_an_unattended_room_once(
    make_house: MakeHouse, before: bool
) -> None:
    house = await make_house()
    house.etb.duty = [OnCall("Platform", Username("carol"))]
    await unattended(house)
    await house.die_again_and_again([1, 2, 1], before=before)
    for _ in range(30):
        await house.advance(MINUTE)
    await house.die_no_more()
    await house.advance(MINUTE)
    assert house.crashes > 5
    assert [line.split(" ")[0] for line in loud(house)] == ["**Page**", "Nobody"]
    assert len(triggers(house)) == 2


async def test_an_escalation_that_etb_refuses_is_told_to_the_operators(house: House) -> None:
    house.etb.duty = [OnCall("Platform", Username("carol"))]
    await unattended(house)
    await house.advance(14 * MINUTE)
    house.etb.refuse("404")
    await house.advance(MINUTE + 1)
    assert any("`TriggerEscalation` was refused" in line for line in house.troubles())

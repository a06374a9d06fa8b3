"""An incident that was deleted in ETB is archived; an outage, a wrong path or a module off ends nothing."""

import pytest

from etb_appservice.domain.effects import ChangeIncident
from etb_appservice.domain.facts import EffectAnswered, IncidentDoubted, NotDone
from etb_appservice.domain.ids import IncidentId
from etb_appservice.domain.outcomes import Later, Refused
from tests.harness.cast import NO_1, NO_2, incident, policy_of
from tests.harness.house import House
from tests.harness.kit import MakeHouse

MINUTE = 60
HOUR = 60 * MINUTE


async def doubted(house: House, incident_id: IncidentId = NO_1) -> None:
    """As when a webhook says that it was deleted; at rest."""
    await house.own(IncidentDoubted(incident_id=incident_id), lane=incident_id)
    await house.settle()


async def is_deleted(house: House) -> bool:
    async with house.db.view() as view:
        known = await view.incidents.get(NO_1)
    assert known is not None
    return known.incident.is_deleted


def lines(house: House) -> list[str]:
    return [text for text in house.world.texts() if text.startswith("**INC-1** is ")]


async def test_gone_twice_some_minutes_apart_it_is_archived_and_operators_are_told(house: House) -> None:
    room_id = await house.open_for_alice()
    del house.etb.known[NO_1]
    await doubted(house)
    assert not await is_deleted(house)
    await house.advance(4 * MINUTE)
    assert not await is_deleted(house)
    await house.advance(2 * MINUTE)
    assert await is_deleted(house)
    line, trouble = lines(house)
    assert line.startswith("**INC-1** is no longer in ETB, or ETB no longer shows it to me.")
    assert trouble == house.troubles()[-1]
    assert "Its room is archived." in trouble
    assert house.world.state[house.space(), "m.space.child", room_id] == {}
    await house.advance(73 * HOUR)
    assert house.world.silenced == {room_id: True}
    assert "incident.deleted" in await house.tags()
    async with house.db.view() as view:
        assert await view.incidents.open_ids() == []


async def test_its_transcript_stays_in_the_room_since_etb_has_nothing_to_keep_it_with(
    make_house: MakeHouse,
) -> None:
    house = await make_house(policy=policy_of(exports_at_end=True))
    room_id = await house.open_for_alice()
    del house.etb.known[NO_1]
    await doubted(house)
    await house.advance(6 * MINUTE)
    assert await is_deleted(house)
    assert {file.room_id for _, file, _ in house.world.sent} == {room_id}
    assert len(house.world.sent) == 2
    assert house.etb.evidence == []


async def test_there_after_all_nothing_happens(house: House) -> None:
    await house.open_for_alice()
    kept = house.etb.known.pop(NO_1)
    await doubted(house)
    house.etb.known[NO_1] = kept
    await house.advance(HOUR / 2)
    assert not await is_deleted(house)
    assert lines(house) == []


@pytest.mark.parametrize(
    "trouble",
    [Later("away"), Refused("no", code="403"), Refused("off", code="off"), Refused("no JSON", code="shape")],
    ids=["away", "forbidden", "switched off", "something else answers"],
)
async def test_only_a_definite_answer_ends_a_room(house: House, trouble: Later | Refused) -> None:
    await house.open_for_alice()
    house.etb.trouble = trouble
    await doubted(house)
    await house.advance(5 * HOUR)
    assert not await is_deleted(house)


async def test_a_path_that_answers_404_to_everything_ends_nothing(house: House) -> None:
    await house.open_for_alice()
    house.etb.refuse("404")
    await doubted(house)
    await house.advance(5 * HOUR)
    assert not await is_deleted(house)


async def test_an_outage_between_the_two_looks_only_delays_it(house: House) -> None:
    await house.open_for_alice()
    del house.etb.known[NO_1]
    await doubted(house)
    house.etb.down()
    await house.advance(6 * MINUTE)
    house.etb.up()
    assert not await is_deleted(house)
    await house.advance(10 * MINUTE)
    assert await is_deleted(house)


async def test_an_outage_is_not_asked_for_ever(house: House) -> None:
    await house.open_for_alice()
    house.etb.down()
    before = house.etb.calls.count("incident")
    await doubted(house)
    for _ in range(12):
        await house.advance(20 * MINUTE)
    assert house.etb.calls.count("incident") - before == 12


async def test_nobody_asks_for_what_nobody_knows(house: House) -> None:
    await house.start_service()
    await doubted(house, NO_2)
    await house.advance(HOUR)
    assert house.troubles() == []


async def test_shown_again_it_is_open_again(house: House) -> None:
    room_id = await house.open_for_alice()
    kept = house.etb.known.pop(NO_1)
    await doubted(house)
    await house.advance(6 * MINUTE)
    house.etb.known[NO_1] = kept
    await house.report(kept, delivery="setup")
    await house.settle()
    assert not await is_deleted(house)
    assert house.world.state[house.space(), "m.space.child", room_id]


async def test_a_write_that_etb_refuses_raises_the_doubt(house: House) -> None:
    await house.open_for_alice()
    del house.etb.known[NO_1]
    effect = ChangeIncident(incident_id=NO_1, status="OPEN")
    for number in range(2):
        answer = NotDone(state="refused", reason="404")
        await house.own(EffectAnswered(key=f"k{number}", effect=effect, answer=answer), lane=NO_1)
    await house.settle()
    await house.advance(6 * MINUTE)
    assert await is_deleted(house)


async def test_what_was_silent_for_long_is_asked_for(house: House) -> None:
    await house.open_for_alice()
    await house.report(incident(id=NO_2, number="INC-2"))
    await house.settle()
    del house.etb.known[NO_1]
    await house.advance(5 * HOUR)
    assert not await is_deleted(house)
    for _ in range(3):
        await house.advance(HOUR)
    assert await is_deleted(house)
    async with house.db.view() as view:
        other = await view.incidents.get(NO_2)
    assert other is not None
    assert house.clock.now_ms() - other.confirmed_ms <= 3 * HOUR * 1000
    assert not other.incident.is_deleted


async def test_a_restart_makes_no_second_sweep(house: House) -> None:
    await house.open_for_alice()
    await house.crash()
    await house.start_service()
    await house.advance(7 * HOUR)
    before = house.etb.calls.count("incident")
    for _ in range(4):
        await house.advance(HOUR)
    assert house.etb.calls.count("incident") == before


@pytest.mark.parametrize("before", [True, False], ids=["before the commit", "after the commit"])
async def test_dying_again_and_again_it_is_archived_once(house: House, *, before: bool) -> None:
    await house.open_for_alice()
    del house.etb.known[NO_1]
    await house.die_again_and_again([1, 2], before=before)
    await doubted(house)
    await house.advance(6 * MINUTE)
    await house.die_no_more()
    assert house.crashes > 2
    assert len(lines(house)) == 2

"""Late joiners: told alone how things stand, once for each join, and only what they may know."""

import pytest

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.ids import Username, direct_id
from etb_appservice.domain.policy import CadencePolicy
from tests.harness.cast import ALICE, BOB, BOT, CAROL, STRANGER, etb_user, incident, policy_of
from tests.harness.house import House
from tests.harness.kit import MakeHouse

LATE_S = 11 * 60


@pytest.fixture
async def house(make_house: MakeHouse) -> House:
    """A house in which whoever joins after ten minutes is told."""
    return await make_house(policy=policy_of(cadence=CadencePolicy(update_minutes={}, commander_minutes=0)))


def letters(house: House, user_id: str) -> list[str]:
    room_id = house.world.aliases.get(f"_etb_direct_{direct_id(user_id)}")  # type: ignore[arg-type]
    return [] if room_id is None else house.world.texts(room_id)


async def busy(house: House) -> None:
    await house.open_for_alice()
    await house.ask(ALICE, "!role commander")
    await house.ask(ALICE, "!timeline add Failed over")
    await house.ask(ALICE, "!task add Call the provider")
    await house.ask(ALICE, "!task add Never mind")
    await house.advance(60)
    await house.ask(ALICE, "!task done 2")
    await house.ask(ALICE, "!post Mail is back\nfor half.")
    await house.advance(LATE_S)


async def test_whoever_joins_late_is_told_alone_how_things_stand(house: House) -> None:
    await busy(house)
    await house.moves(BOB, "join")
    [told] = letters(house, BOB)
    lines = told.splitlines()
    assert lines[:5] == [
        "**INC-1: Mail is down**",
        "",
        "- Status: **OPEN**",
        "- Severity: **HIGH**",
        "- Incident commander: `alice`",
    ]
    assert "**Last status update** (`alice`, 2026-09-21 14:14 UTC)\n\nMail is back\nfor half." in told
    assert "UTC Failed over (`alice`) [message](https://matrix.to/#/" in told
    assert told.endswith("**Open tasks**\n\n- **1** Call the provider")
    assert letters(house, ALICE) == []


async def test_whoever_joins_at_the_beginning_is_not(house: House) -> None:
    await house.open_for_alice()
    await house.moves(BOB, "join")
    await house.advance(LATE_S)
    assert letters(house, BOB) == []


async def test_once_for_each_join(house: House) -> None:
    await busy(house)
    await house.moves(BOB, "join")
    await house.moves(BOB, "join")
    assert len(letters(house, BOB)) == 1
    await house.moves(BOB, "leave")
    await house.moves(BOB, "join")
    assert len(letters(house, BOB)) == 2


@pytest.mark.parametrize("who", [CAROL, STRANGER, BOT])
async def test_who_is_no_responder_is_told_nothing(house: House, who: str) -> None:
    await busy(house)
    await house.moves(who, "join")
    assert letters(house, who) == []


async def test_who_has_lost_the_clearance_is_told_nothing(house: House) -> None:
    await busy(house)
    house.etb.users[Username("bob")] = etb_user("bob", Classification.PUBLIC)
    await house.moves(BOB, "join")
    assert letters(house, BOB) == []


async def test_of_a_closed_incident_nobody_is_told(house: House) -> None:
    await busy(house)
    await house.report(incident(status="CLOSED", updated_at_ms=2000))
    await house.settle()
    await house.moves(BOB, "join")
    assert letters(house, BOB) == []


async def test_catchup_asks_for_it_again(house: House) -> None:
    await busy(house)
    await house.moves(BOB, "join")
    assert await house.ask(BOB, "!catchup") == "I have written to you in our private chat."
    assert len(letters(house, BOB)) == 2
    assert letters(house, BOB)[0] == letters(house, BOB)[1]
    assert (await house.tags()).count("catchup.sent") == 2


async def test_a_quiet_incident_has_a_short_one(house: House) -> None:
    await house.open_for_alice()
    await house.ask(ALICE, "!catchup")
    [told] = letters(house, ALICE)
    assert told == "**INC-1: Mail is down**\n\n- Status: **OPEN**\n- Severity: **HIGH**"


async def test_catchup_is_refused_above_the_askers_clearance(house: House) -> None:
    house.etb.users[Username("alice")] = etb_user("alice", Classification.INTERNAL)
    await house.open_for_alice()
    await house.advance(60)
    house.etb.users[Username("alice")] = etb_user("alice", Classification.PUBLIC)
    await house.advance(600)
    assert await house.ask(ALICE, "!catchup") == "Your clearance does not reach the level of this incident."
    assert letters(house, ALICE) == []


async def test_long_lists_are_cut(house: House) -> None:
    await house.open_for_alice()
    for number in range(22):
        await house.ask(ALICE, f"!task add number {number}")
        await house.ask(ALICE, f"!timeline add entry {number}")
        house.clock.advance(60)
    await house.ask(ALICE, "!catchup")
    [told] = letters(house, ALICE)
    assert "**What happened, the last 15**" in told
    assert told.count("entry ") == 15
    assert told.endswith("- … and 2 more")


@pytest.mark.parametrize("before", [True, False])
async def test_a_crash_at_any_commit_tells_once(make_house: MakeHouse, before: bool) -> None:
    house = await make_house(policy=policy_of(cadence=CadencePolicy(update_minutes={}, commander_minutes=0)))
    await busy(house)
    await house.die_again_and_again([1, 2, 1, 3], before=before)
    await house.moves(BOB, "join")
    await house.die_no_more()
    await house.settle()
    assert house.crashes > 0
    assert len(letters(house, BOB)) == 1

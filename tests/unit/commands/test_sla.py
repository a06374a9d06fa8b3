"""`sla` and `oncall`: what ETB says of deadlines and duty, now or when it was last heard."""

from typing import Any

import pytest

from etb_appservice.commands.sla import elapsed
from etb_appservice.domain.duty import Sla
from etb_appservice.domain.ids import Username
from etb_appservice.domain.incident import Deadline, OnCall
from tests.harness.cast import ALICE, BOB, NO_1, OPERATOR
from tests.harness.clock import MovedClock
from tests.harness.house import House
from tests.harness.kit import MakeHouse

HOUR_MS = 3_600_000


def row(now: int, **changes: Any) -> Sla:
    fields: dict[str, Any] = {
        "id": "1", "name": "Resolve", "kind": "RESOLUTION_TIME", "status": "ACTIVE", "started_ms": now - HOUR_MS,
        "target_ms": now + 3 * HOUR_MS,
    }  # fmt: skip
    return Sla(**(fields | changes))


async def test_every_sla_is_shown_with_its_state_its_deadline_and_what_is_left(make_house: MakeHouse) -> None:
    now = 1_800_000_000_000
    house = await make_house(clock=MovedClock(now))
    await house.open_for_alice()
    house.etb.levels[NO_1] = [
        row(now),
        row(now, name="*First* answer", status="BREACHED", started_ms=now - 3 * HOUR_MS, target_ms=now - HOUR_MS),
        row(now, name="Seen", status="MET", met_ms=now - HOUR_MS),
        row(now, name="Odd", status="ON_ICE", started_ms=None, target_ms=None),
        row(now, name="", status="PAUSED"),
        row(now, name="Office", is_business_hours=True, remaining_s=5400.0),
        row(now, name="Late office", is_business_hours=True, remaining_s=-60.0),
        row(now, name="Gone", status="CANCELLED"),
        row(now, name="Once", status="MET", target_ms=None),
    ]
    assert (await house.ask(ALICE, "!sla")).splitlines() == [
        "**SLAs**",
        "",
        "- **Odd**: on ice",
        "- **Once**: met",
        "- **\\*First\\* answer**: breached, due 2027-01-15 07:00 UTC, over by 1 h, 150 % elapsed",
        "- **Resolve**: active, due 2027-01-15 11:00 UTC, 3 h left, 25 % elapsed",
        "- **Seen**: met, due 2027-01-15 11:00 UTC, met 2027-01-15 07:00 UTC",
        "- **RESOLUTION\\_TIME**: paused, due 2027-01-15 11:00 UTC, 3 h left, 25 % elapsed",
        "- **Office**: active, due 2027-01-15 11:00 UTC, 1 h 30 min of business hours left, 40 % elapsed",
        "- **Late office**: active, due 2027-01-15 11:00 UTC, over by 1 min of business hours, 101 % elapsed",
        "- **Gone**: cancelled, due 2027-01-15 11:00 UTC",
    ]


@pytest.mark.parametrize(
    ("changes", "percent"),
    [
        ({}, 25),
        ({"target_ms": None}, None),
        ({"started_ms": None}, None),
        ({"started_ms": 5 * HOUR_MS}, None),
        ({"started_ms": 2 * HOUR_MS}, 0),
        ({"is_business_hours": True}, 25),
        ({"is_business_hours": True, "remaining_s": 3 * 3600.0}, 25),
        ({"is_business_hours": True, "remaining_s": 3600.0}, 50),
        ({"is_business_hours": True, "remaining_s": 0.0}, 100),
        ({"remaining_s": 0.0}, 25),
        ({"is_business_hours": True, "remaining_s": -3600.0}, 200),
    ],
)
def test_how_much_has_passed(changes: dict[str, Any], percent: int | None) -> None:
    assert elapsed(row(HOUR_MS, **changes), HOUR_MS) == percent


async def test_an_incident_without_slas(house: House) -> None:
    await house.open_for_alice()
    assert await house.ask(ALICE, "!sla") == "ETB has no SLA for this incident."


async def test_while_etb_is_away_the_last_known_deadlines_are_shown_with_their_age(house: House) -> None:
    house.etb.sla[NO_1] = [Deadline("Resolve", "RESOLUTION_TIME", "ACTIVE", 3 * HOUR_MS)]
    await house.open_for_alice()
    house.etb.down()
    [_, _, line, _, age] = (await house.ask(ALICE, "!sla")).splitlines()
    assert line.startswith("- **Resolve**: active, due 1970-01-01 03:00 UTC, ")
    assert age.startswith("ETB can't be reached; this is what it said ")
    assert age.endswith(" ago.")


async def test_while_etb_is_away_and_nothing_is_known(house: House) -> None:
    await house.open_for_alice()
    house.etb.down()
    answer = await house.ask(ALICE, "!sla")
    assert answer == "ETB can't be reached, and I know of no deadline of this incident."


# --- oncall -----------------------------------------------------------------------------------------------


async def test_everybody_on_call_is_shown_by_rotation(house: House) -> None:
    await house.open_for_alice()
    house.etb.duty = [
        OnCall("Net_work", Username("bob")),
        OnCall("Net_work", Username("zoe")),
        OnCall("Mail", Username("carol")),
    ]
    answer = (
        "**On call**\n\n- Mail: `carol` (`@carol:x.org`)\n"
        "- Net\\_work: `bob` (`@bob:x.org`), `zoe` (no Matrix account here)"
    )
    assert await house.ask(ALICE, "!oncall") == answer
    assert await house.ask(OPERATOR, "!oncall", house.control_room()) == answer


async def test_nobody_is_on_call(house: House) -> None:
    await house.open_for_alice()
    assert await house.ask(ALICE, "!oncall") == "Nobody is on call."


async def test_while_etb_is_away_who_was_on_call_is_shown_with_its_age(house: House) -> None:
    house.etb.duty = [OnCall("Mail", Username("carol"))]
    await house.open_for_alice()
    house.etb.down()
    answer = await house.ask(ALICE, "!oncall")
    assert answer.startswith(
        "**On call**\n\n- Mail: `carol` (`@carol:x.org`)\n\nETB can't be reached; this is what"
    )


async def test_while_etb_is_away_and_nobody_is_known(house: House) -> None:
    await house.start_service()
    await house.moves(OPERATOR, "join", house.control_room())
    house.etb.down()
    answer = await house.ask(OPERATOR, "!oncall", house.control_room())
    assert answer == "ETB can't be reached, and I don't know who is on call."


async def test_who_is_not_in_the_room_learns_nothing(house: House) -> None:
    await house.open_for_alice()
    for line in ("!sla", "!oncall"):
        assert await house.ask(BOB, line) == "You are not in this room."

import pytest

from etb_appservice.commands.status import _age, ask_etb
from etb_appservice.domain.classification import Classification
from etb_appservice.domain.ids import Username
from etb_appservice.domain.incident import Deadline, OnCall
from etb_appservice.flows.commands import Asking
from tests.harness.cast import ALICE, NO_1, OPERATOR, incident
from tests.harness.house import House


async def test_status_shows_where_the_incident_stands(house: House) -> None:
    house.etb.duty = [OnCall("first line", Username("carol"))]
    house.etb.sla[NO_1] = [Deadline("Response", "RESPONSE", "AT_RISK", 1_790_000_900_000)]
    await house.open_for_alice()
    assert (await house.ask(ALICE, "!status")).splitlines() == [
        "**INC-1: Mail is down**",
        "",
        "- Status: **OPEN**",
        "- Severity: **HIGH**, P1",
        "- Classification: INTERNAL",
        "- Reporter: `alice`",
        "- Assignee: `bob`",
        "- On call: `carol`",
        "- Response: 2026-09-21 14:28 UTC (at\\_risk)",
    ]


async def test_status_asks_etb_and_not_only_the_copy(house: House) -> None:
    await house.open_for_alice()
    house.etb.known[NO_1] = incident(status="RESOLVED", priority="", updated_at_ms=2000)
    answer = await house.ask(ALICE, "!status")
    assert "- Status: **RESOLVED**" in answer
    assert "- Severity: **HIGH**\n" in answer


@pytest.mark.parametrize(
    ("seconds", "age"), [(10, "10 seconds"), (70, "1 minute"), (7300, "2 hours"), (86_400 - 1, "23 hours")]
)
async def test_with_etb_away_status_answers_from_the_last_known_copy_and_says_how_old_it_is(
    house: House, seconds: int, age: str
) -> None:
    await house.open_for_alice()
    await house.report(incident(severity="LOW", updated_at_ms=2000))
    await house.settle()
    house.etb.down()
    await house.advance(seconds)
    answer = await house.ask(ALICE, "!status")
    assert "- Severity: **LOW**" in answer
    assert answer.endswith(f"ETB can't be reached; this is what it said {age} ago.")


def test_an_age_is_told_in_the_largest_whole_unit() -> None:
    assert [_age(seconds) for seconds in (-5, 0, 59, 60, 119, 120, 3600, 86_400, 200_000)] == [
        "0 seconds",
        "0 seconds",
        "59 seconds",
        "1 minute",
        "1 minute",
        "2 minutes",
        "1 hour",
        "1 day",
        "2 days",
    ]


async def test_foreign_texts_are_no_markup_of_ours(house: House) -> None:
    house.know("we_ird`**x**")
    await house.open_for_alice(
        title="**x** [a](b)", number="INC_1_", assignee=Username("we_ird`**x**"), severity="<b>"
    )
    answer = await house.ask(ALICE, "!status")
    assert answer.startswith("**INC\\_1\\_: \\*\\*x\\*\\* \\[a\\](b)**")
    assert "- Assignee: `we_ird**x**`" in answer
    assert "**\\<b\\>**" in answer


async def test_status_keeps_silent_while_etbs_level_is_above_the_rooms(house: House) -> None:
    await house.open_for_alice()
    raised = incident(title="New secret", stated=Classification.CONFIDENTIAL, updated_at_ms=2000)
    house.etb.known[NO_1] = raised
    event_id = await house.says(ALICE, "!status")
    await house.settle()
    [answer] = house.answers(event_id)
    assert answer.startswith("The classification of this incident was raised.")
    assert "secret" not in answer
    await house.report(raised)
    await house.settle()
    assert "New secret" in await house.ask(ALICE, "!status")


async def test_without_any_copy_nobody_is_known_to_be_of_the_incident(house: House) -> None:
    await house.open_for_alice()
    async with house.db.desk() as desk:
        await desk.write(lambda transaction: transaction.connection.exec_driver_sql("DELETE FROM incidents"))
    house.etb.down()
    assert (await house.ask(ALICE, "!status")).startswith("You are not among the people of this incident.")


async def test_a_room_without_an_incident_asks_etb_for_nothing(house: House) -> None:
    await house.start_service()
    async with house.db.view() as view:
        control = await view.rooms.by_id(house.control_room())
    assert control is not None
    assert control.classification is Classification.TOP_SECRET
    asking = Asking(room=control, sender=OPERATOR, arguments={}, etb=house.etb, policy=house.policy, limit_s=1.0)
    assert await ask_etb(asking) is None
    assert house.etb.calls == []

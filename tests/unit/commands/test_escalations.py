"""`escalate` and `ack`."""

import pytest

from etb_appservice.domain.duty import Escalation, Sla
from etb_appservice.domain.effects import MoveEscalation, TriggerEscalation
from etb_appservice.domain.ids import Username
from etb_appservice.domain.incident import OnCall
from tests.harness.cast import ALICE, BOB, NO_1
from tests.harness.house import House
from tests.harness.kit import MakeHouse


def sla(policy_id: str, *, status: str = "ACTIVE", target_ms: int = 9) -> Sla:
    return Sla(
        id=policy_id or "0", name="Resolve", kind="RESOLUTION_TIME", status=status, started_ms=0,
        target_ms=target_ms, policy_id=policy_id,
    )  # fmt: skip


def triggered(house: House) -> list[TriggerEscalation]:
    return [one for one in house.etb.writes if isinstance(one, TriggerEscalation)]


async def test_the_asker_learns_the_level_and_who_was_told(house: House) -> None:
    await house.open_for_alice()
    house.etb.duty = [OnCall("Network", Username("carol")), OnCall("Mail", Username("bob"))]
    assert await house.ask(ALICE, "!escalate nobody\nanswers") == (
        "Escalated to level **1**. ETB told `carol`, `bob`."
    )
    [effect] = triggered(house)
    assert effect.reason == "nobody answers (asked for by alice in the incident's room)"
    [run] = await runs(house)
    assert effect.ref == run


async def runs(house: House) -> list[str]:
    async with house.db.view() as view:
        return [run.id for run in await view.commands.of_room(await house.room_id())]


async def test_an_escalation_needs_no_reason_and_may_tell_nobody(house: House) -> None:
    await house.open_for_alice()
    answer = await house.ask(ALICE, "!escalate")
    assert answer == "Escalated to level **1**. ETB names nobody whom it has told yet."
    assert triggered(house)[0].reason.startswith("No reason was given. (asked for by alice")


@pytest.mark.parametrize(
    ("slas", "chosen"),
    [
        ([], ""),
        ([sla("")], ""),
        ([sla("1", status="MET"), sla("2"), sla("3")], "2"),
        ([sla("1", status="BREACHED")], ""),
    ],
)
async def test_the_policy_of_the_running_sla_is_the_one(house: House, slas: list[Sla], chosen: str) -> None:
    await house.open_for_alice()
    house.etb.levels[NO_1] = slas
    await house.ask(ALICE, "!escalate")
    assert triggered(house)[0].policy_id == chosen


async def test_while_etb_is_away_an_escalation_is_kept_and_started_once(house: House) -> None:
    await house.open_for_alice()
    house.etb.down()
    event_id = await house.says(ALICE, "!escalate at once")
    await house.settle()
    assert house.answers(event_id)[0].startswith("ETB does not answer just now. `escalate at once` is kept")
    house.etb.up()
    await house.advance(60)
    assert house.answers(event_id)[1:] == ["Escalated to level **1**. ETB names nobody whom it has told yet."]
    assert len(triggered(house)) == 1


@pytest.mark.parametrize("before", [True, False])
async def test_a_crash_at_any_commit_escalates_once(make_house: MakeHouse, before: bool) -> None:
    house = await make_house()
    await house.open_for_alice()
    await house.die_again_and_again([1, 2, 1], before=before)
    event_id = await house.says(ALICE, "!escalate")
    await house.settle()
    await house.die_no_more()
    await house.settle()
    assert house.crashes > 0
    assert len(triggered(house)) == len(house.answers(event_id)) == 1


@pytest.mark.parametrize("line", ["!escalate", "!ack"])
async def test_only_responders_escalate_and_acknowledge(house: House, line: str) -> None:
    await house.open_for_alice(assignee=None)
    await house.leave_over("bob")
    await house.moves(BOB, "join")
    assert await house.ask(BOB, line) == "This needs the role responder of this incident."


# --- ack --------------------------------------------------------------------------------------------------


def escalation(number: int, status: str = "TRIGGERED", by: str = "") -> Escalation:
    return Escalation(id=f"e{number}", status=status, level=number, reason="r", acknowledged_by=by)


async def test_the_latest_escalation_that_is_running_is_acknowledged(house: House) -> None:
    await house.open_for_alice()
    house.etb.escalated[NO_1] = [escalation(1), escalation(2, "PENDING"), escalation(3, "RESOLVED")]
    assert await house.ask(ALICE, "!ack") == (
        "The escalation to level **2** is acknowledged by `alice`. "
        "1 more is running: `!ack` acknowledges the next."
    )
    assert [one.status for one in house.etb.escalated[NO_1]] == ["TRIGGERED", "ACKNOWLEDGED", "RESOLVED"]
    assert await house.ask(ALICE, "!ack") == "The escalation to level **1** is acknowledged by `alice`."
    assert await house.ask(ALICE, "!ack") == "The escalation to level **2** was acknowledged already."
    assert sum(isinstance(one, MoveEscalation) for one in house.etb.writes) == 2


async def test_who_acknowledged_is_said_where_etb_says_it(house: House) -> None:
    await house.open_for_alice()
    house.etb.escalated[NO_1] = [escalation(1, "ACKNOWLEDGED", "bob")]
    assert await house.ask(ALICE, "!ack") == "The escalation to level **1** was acknowledged already by `bob`."


async def test_nothing_to_acknowledge(house: House) -> None:
    await house.open_for_alice()
    assert await house.ask(ALICE, "!ack") == "No escalation is running."
    house.etb.escalated[NO_1] = [escalation(1, "CANCELLED")]
    assert await house.ask(ALICE, "!ack") == "No escalation is running."


async def test_while_etb_is_away_nothing_is_acknowledged_blindly(house: House) -> None:
    await house.open_for_alice()
    house.etb.escalated[NO_1] = [escalation(1)]
    house.etb.down()
    answer = await house.ask(ALICE, "!ack")
    assert answer == "ETB does not answer, so I can't see which escalation is running. Try again."
    house.etb.up()
    await house.advance(60)
    assert house.etb.escalated[NO_1][0].status == "TRIGGERED"

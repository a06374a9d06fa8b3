"""`assign`, and with it what every command shares whose work is done in ETB."""

import pytest

from etb_appservice.domain.clearance import Right
from etb_appservice.domain.effects import ChangeIncident
from etb_appservice.domain.ids import Username
from etb_appservice.flows.call import Call
from etb_appservice.flows.commands import INCIDENT, Answer, command
from tests.harness.cast import ALICE, BOB, CAROL, NO_1, etb_user, incident
from tests.harness.house import House
from tests.harness.kit import MakeHouse


async def test_the_asker_learns_who_it_was_and_who_it_is(house: House) -> None:
    await house.open_for_alice()
    assert await house.ask(ALICE, "!assign carol") == "Assigned to `carol` (was `bob`)."
    assert house.etb.known[NO_1].assignee == "carol"
    assert await house.ask(ALICE, "!assign @carol:x.org") == "`carol` was assigned already."


async def test_the_answer_stands_in_the_thread_in_which_it_was_asked(house: House) -> None:
    await house.open_for_alice()
    await house.ask(ALICE, "!assign carol", thread_root="$root")
    assert [say.thread_root for _, say in house.world.said if say.purpose == "answer"] == ["$root"]


async def test_whoever_becomes_assignee_is_invited_and_stands_on_the_card_at_once(house: House) -> None:
    room_id = await house.open_for_alice()
    await house.ask(ALICE, "!assign carol")
    assert CAROL in house.world.guests(room_id)
    [*_, (_, _, card)] = house.world.cards(room_id)
    assert ("carol", ("assignee",)) in [(one.username, one.roles) for one in card.responders]


async def test_the_log_holds_how_it_ended(house: House) -> None:
    room_id = await house.open_for_alice()
    await house.ask(ALICE, "!assign carol")
    async with house.db.view() as view:
        [run] = await view.commands.of_room(room_id)
    assert (run.name, run.arguments, run.status) == ("assign", "carol", "SUCCESS")
    assert run.result == "Assigned to `carol` (was `bob`)."
    assert "command.answered" in await house.tags()


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("!assign nobody", "ETB knows no user `nobody`."),
        ("!assign eve", "The ETB account of `eve` is not active."),
        ("!assign", "`username` is missing.\n\nUsage: `!assign <username>`"),
        (
            "!assign @mallory:evil.example",
            "`@mallory:evil.example` is not linked to an ETB user.\n\nUsage: `!assign <username>`",
        ),
    ],
)  # fmt: skip
async def test_a_name_that_is_none(house: House, line: str, answer: str) -> None:
    await house.open_for_alice()
    house.etb.users[Username("eve")] = etb_user("eve", active=False)
    assert await house.ask(ALICE, line) == answer
    assert not any(isinstance(one, ChangeIncident) for one in house.etb.writes)


async def test_while_etb_is_away_the_asker_is_told_once_and_answered_when_it_is_back(house: House) -> None:
    await house.open_for_alice()
    house.etb.down()
    event_id = await house.says(ALICE, "!assign carol")
    await house.settle()
    [told] = house.answers(event_id)
    assert told.startswith("ETB does not answer just now. `assign carol` is kept")
    await house.advance(10)
    assert len(house.answers(event_id)) == 1
    house.etb.up()
    await house.advance(60)
    assert house.answers(event_id)[1:] == ["Assigned to `carol` (was `bob`)."]


async def test_a_lost_answer_is_looked_for_and_told_once(house: House) -> None:
    await house.open_for_alice()
    house.etb.lose_answers = 1
    event_id = await house.says(ALICE, "!assign carol")
    await house.settle()
    await house.advance(60)
    assert house.answers(event_id)[-1] == "Assigned to `carol` (was `bob`)."
    assert sum(isinstance(one, ChangeIncident) for one in house.etb.writes) == 1


async def test_etb_refuses(house: House) -> None:
    await house.open_for_alice()
    house.etb.known.clear()
    assert await house.ask(ALICE, "!assign carol") == "ETB did not do that: ETB knows no such incident"


async def test_whether_it_took_effect_is_not_known(house: House) -> None:
    await house.open_for_alice()
    house.etb.timeline_readable = False
    house.etb.lose_answers = 100
    event_id = await house.says(ALICE, "!assign carol")
    await house.settle()
    for _ in range(8):
        await house.advance(60)
    assert house.answers(event_id)[-1].startswith("Whether ETB did it is not known: ")
    assert any("outcome" in one for one in house.troubles())


async def test_only_responders_assign(make_house: MakeHouse) -> None:
    house = await make_house()
    await house.open_for_alice(assignee=None)
    await house.leave_over("bob")
    await house.moves(BOB, "join")
    assert await house.ask(BOB, "!assign carol") == "This needs the role responder of this incident."
    await house.report(incident(assignee=None, updated_at_ms=2000))


@pytest.mark.parametrize("before", [True, False])
async def test_a_crash_at_any_commit_assigns_once_and_answers_once(make_house: MakeHouse, before: bool) -> None:
    house = await make_house()
    await house.open_for_alice()
    await house.die_again_and_again([1, 2, 1, 3], before=before)
    event_id = await house.says(ALICE, "!assign carol")
    await house.settle()
    await house.die_no_more()
    await house.settle()
    assert house.crashes > 0
    assert house.answers(event_id) == ["Assigned to `carol` (was `bob`)."]
    assert sum(isinstance(one, ChangeIncident) for one in house.etb.writes) == 1


async def test_a_command_without_then_says_done(make_house: MakeHouse) -> None:
    @command(needs=Right.MEMBER, where=INCIDENT)
    async def close(call: Call) -> Answer:
        """Close it."""
        return await call.etb(ChangeIncident(incident_id=call.incident_id, status="CLOSED"))

    house = await make_house(commands={"close": close})
    await house.open_for_alice()
    assert await house.ask(ALICE, "!close") == "Done."

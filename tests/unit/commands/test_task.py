"""`task`: added, handed to somebody, done."""

import pytest

from etb_appservice.domain.ids import Username
from etb_appservice.domain.tasks import Task
from etb_appservice.domain.timeline import TimelineItem
from tests.harness.cast import ALICE, BOB, NO_2, etb_user, incident
from tests.harness.house import House


async def tasks(house: House) -> list[Task]:
    room = await house.room()
    async with house.db.view() as view:
        return list(await view.cases.of(room.war_room, Task))


async def test_tasks_have_dense_numbers_and_the_open_ones_stand_first(house: House) -> None:
    await house.open_for_alice()
    assert await house.ask(ALICE, "!task add Call *the* provider") == "Task **1** Call \\*the\\* provider"
    for text in ("Tell the press", "Buy coffee"):
        await house.ask(ALICE, f"!task add {text}")
    assert await house.ask(ALICE, "!task done 1") == "Task **1** is done: Call \\*the\\* provider"
    assert (await house.ask(ALICE, "!tasks")).splitlines() == [
        "**2 open tasks**",
        "",
        "- **2** Tell the press",
        "- **3** Buy coffee",
        "- **1** Call \\*the\\* provider (done)",
    ]


async def test_numbers_begin_anew_in_another_incident(house: House) -> None:
    await house.open_for_alice()
    await house.ask(ALICE, "!task add first")
    await house.report(incident(id=NO_2, number="INC-2"))
    await house.settle()
    other = await house.room_id(NO_2)
    await house.moves(ALICE, "join", other)
    assert await house.ask(ALICE, "!task add other", other) == "Task **1** other"
    assert await house.ask(ALICE, "!task add second") == "Task **2** second"


async def test_a_task_is_given_to_somebody(house: House) -> None:
    await house.open_for_alice()
    await house.ask(ALICE, "!task add Call")
    assert await house.ask(ALICE, "!task assign #1 @bob:x.org") == "Task **1** is for `bob`: Call"
    assert await house.ask(ALICE, "!task assign 1 carol") == "Task **1** is for `carol` (was `bob`): Call"
    [task] = await tasks(house)
    assert (task.assignee, task.by) == ("carol", "alice")
    assert "- **1** Call, for `carol`" in await house.ask(ALICE, "!task list")


async def test_every_change_is_mirrored_to_etb_but_not_in_the_short_timeline(house: House) -> None:
    await house.open_for_alice()
    event_id = await house.says(ALICE, "!task add Call")
    await house.settle()
    await house.ask(ALICE, "!task assign 1 bob")
    await house.ask(ALICE, "!task done 1")
    entries = [one for one in house.etb.entries if one.title.startswith("Task")]
    assert [one.title for one in entries] == ["Task 1 added: Call", "Task 1 for bob: Call", "Task 1 done: Call"]
    assert entries[0].event_data["matrix_event_id"] == event_id
    room = await house.room()
    async with house.db.view() as view:
        assert not any(one.is_curated for one in await view.cases.of(room.war_room, TimelineItem))


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("!task add", "The text of the task is missing."),
        ("!task done", "Say which task: `task done <number>`."),
        ("!task done x", "There is no task `x`."),
        ("!task done 7", "There is no task `7`."),
        ("!task done ²", "There is no task `²`."),
        ("!task assign 1", "Say which task and to whom: `task assign <number> <user>`."),
        ("!task assign 1 nobody", "ETB knows no user `nobody`."),
        ("!task assign 1 eve", "The ETB account of `eve` is not active."),
        ("!task assign 1 @mallory:evil.example", "`@mallory:evil.example` is not linked to an ETB user."),
        ("!task list everything", "`list` takes nothing more."),
        ("!task drop 1", "`action` is one of `list`, `add`, `done`, `assign`."),
    ],
)
async def test_what_does_not_fit(house: House, line: str, answer: str) -> None:
    await house.open_for_alice()
    house.etb.users[Username("eve")] = etb_user("eve", active=False)
    await house.ask(ALICE, "!task add Call")
    assert (await house.ask(ALICE, line)).startswith(answer)


async def test_what_is_settled_stays_so(house: House) -> None:
    await house.open_for_alice()
    assert (await house.ask(ALICE, "!task")).startswith("There are no tasks.")
    await house.ask(ALICE, "!task add Call")
    await house.ask(ALICE, "!task done 1")
    assert await house.ask(ALICE, "!task done 1") == "It is settled already: **1** Call (done)"
    house.clock.advance(60)
    assert await house.ask(ALICE, "!task assign 1 bob") == "It is settled already: **1** Call (done)"


async def test_with_etb_away_only_known_people_get_tasks(house: House) -> None:
    await house.open_for_alice()
    await house.ask(ALICE, "!task add Call")
    house.etb.down()
    assert "is for `bob`" in await house.ask(ALICE, "!task assign 1 bob")
    assert "I don't know `carol` yet" in await house.ask(ALICE, "!task assign 1 carol")


async def test_long_lists_are_cut(house: House) -> None:
    await house.open_for_alice()
    for number in range(52):
        await house.ask(ALICE, f"!task add number {number}")
        house.clock.advance(60)
    listed = await house.ask(ALICE, "!task list")
    assert listed.splitlines()[0] == "**52 open tasks**"
    assert listed.endswith("… and 2 older ones: `timeline all`.")


async def test_only_responders_have_tasks(house: House) -> None:
    await house.open_for_alice(assignee=None)
    await house.leave_over("bob")
    await house.moves(BOB, "join")
    house.know("bob")
    assert await house.ask(BOB, "!task add x") == "This needs the role responder of this incident."

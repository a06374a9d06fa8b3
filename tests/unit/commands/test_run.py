"""`run` and `cancel`: a runbook found by its name, started once, shown in one message until it ends."""

import itertools
from dataclasses import replace
from typing import Any

import pytest

from etb_appservice.domain.duty import Runbook, RunbookParameter
from etb_appservice.domain.effects import CancelRunbook, Say, StartRunbook
from etb_appservice.domain.facts import RunbookDue
from etb_appservice.domain.ids import RoomId, UserId
from etb_appservice.domain.outcomes import Refused
from etb_appservice.domain.policy import RunbookPolicy
from etb_appservice.domain.runbooks import RunbookRun
from etb_appservice.domain.timeline import TimelineItem
from etb_appservice.ports import CommandRun
from tests.harness.cast import ALICE, BOB, CAROL, NO_1, policy_of
from tests.harness.house import House
from tests.harness.kit import MakeHouse
from tests.harness.world import broken, later

MAIL = Runbook(id="book-1", name="Restart mail", steps=("Drain the queue", "Restart", "Check"))
SERVICE = Runbook(
    id="book-2",
    name="Restart “Müll” service",
    description="Any service",
    steps=("Stop", "Start"),
    parameters=(
        RunbookParameter(name="service", title="Which one", is_required=True, options=("smtp", "imap")),
        RunbookParameter(name="count", is_required=True, kind="integer"),
        RunbookParameter(name="force", kind="boolean", default="false"),
        RunbookParameter(name="note"),
    ),
)


async def room_with(house: House, *books: Runbook) -> RoomId:
    """INC-1's room; ETB has these runbooks."""
    room_id = await house.open_for_alice()
    house.etb.library = list(books or (MAIL, SERVICE))
    return room_id


def starts(house: House) -> list[StartRunbook]:
    return [one for one in house.etb.writes if isinstance(one, StartRunbook)]


def living(house: House) -> list[str]:
    """What the living messages showed, in order; one message, or the test fails."""
    says = [(event_id, say) for event_id, say in house.world.said if say.purpose == "living"]
    assert len([say for _, say in says if say.edits is None]) <= 1, "more than one living message"
    assert {say.edits for _, say in says[1:]} <= {says[0][0] if says else None}
    return [str(say.content) for _, say in says]


def log(house: House) -> list[Say]:
    return [say for _, say in house.world.said if say.thread_root and say.purpose == "notice"]


def goes_on(house: House, status: str = "RUNNING", **changes: object) -> None:
    """The one execution in ETB goes on."""
    [(name, execution)] = house.etb.executions.items()
    house.etb.executions[name] = replace(execution, status=status, **changes)  # type: ignore[arg-type]


async def last_run(house: House) -> CommandRun:
    async with house.db.view() as view:
        return next(run for run in await view.commands.of_room(await house.room_id()) if run.name == "run")


async def timeline(house: House) -> list[str]:
    async with house.db.view() as view:
        items = await view.cases.of((await house.room()).war_room, TimelineItem)
    return [f"{item.event_type}: {item.title}" for item in items if item.event_type.startswith("RUNBOOK")]


async def says(house: House, body: str, sender: UserId = ALICE, **fields: Any) -> list[str]:
    """Send something, let it be worked on; what was answered to it."""
    event_id = await house.says(sender, body, **fields)
    await house.settle()
    return house.answers(event_id)


# --- one run ----------------------------------------------------------------------------------------------


async def test_a_run_is_one_message_from_its_start_to_its_end_with_its_log_in_a_thread(house: House) -> None:
    await room_with(house)
    event_id = await house.says(ALICE, "!run playbook restart MAIL")
    await house.settle()
    [start] = starts(house)
    assert (start.incident_id, start.runbook_id, start.parameters) == (NO_1, "book-1", {})
    assert start.trigger_data["username"] == "alice"
    assert start.trigger_data["command_id"] == start.ref == (await last_run(house)).id
    goes_on(house, current_step=1, log=((1, "INFO", "draining"), (1, "ERROR", "a *bad* line")))
    await house.advance(3)
    goes_on(house, current_step=3, log=((1, "INFO", "draining"), (1, "ERROR", "a *bad* line"), (3, "INFO", "ok")))
    await house.advance(5)
    goes_on(house, "COMPLETED", current_step=3)
    await house.advance(30)
    shown = living(house)
    assert shown[0].startswith("**Runbook Restart mail waits for ETB to start it**\n\n- Asked by `alice`")
    assert any("is running**" in one and "- At step 1 of 3: Drain the queue" in one for one in shown)
    assert shown[-1].startswith("**Runbook Restart mail has succeeded**")
    assert "- Took 3" in shown[-1]
    [(first_id, first)] = [(e, s) for e, s in house.world.said if s.purpose == "living" and not s.edits]
    assert (first.reply_to, first.notify) == (event_id, False)
    assert [str(say.content) for say in log(house)] == [
        "- 1: draining\n- 1: **ERROR** a \\*bad\\* line",
        "- 3: ok",
    ]
    assert {say.thread_root for say in log(house)} == {first_id}
    run = await last_run(house)
    assert (run.status, run.result) == ("SUCCESS", shown[-1])
    assert await timeline(house) == [
        "RUNBOOK_STARTED: Runbook Restart mail was started",
        "RUNBOOK_COMPLETED: Runbook Restart mail has succeeded",
    ]
    assert not [one for one in house.etb.entries if one.event_type.startswith("RUNBOOK")]
    assert {"runbook.asked", "runbook.started", "runbook.ended"} <= set(await house.tags())
    said = len(house.world.said)
    await house.advance(3600)
    assert len(house.world.said) == said, "an end is said once"


async def test_a_failed_run_names_the_step_and_what_etb_said(house: House) -> None:
    await room_with(house)
    await says(house, "!run runbook Restart mail")
    goes_on(house, "FAILED", current_step=2, error="exit code 1", log=((2, "ERROR", "no such unit"),))
    await house.advance(3)
    shown = living(house)[-1]
    assert shown.startswith("**Runbook Restart mail has failed**")
    assert "- Failed at step 2 of 3: Restart" in shown
    assert "- ETB says: exit code 1" in shown
    assert [say.content for say in log(house)] == ["- 2: **ERROR** no such unit"]
    assert (await last_run(house)).status == "FAILED"
    assert (await timeline(house))[-1] == (
        "RUNBOOK_COMPLETED: Runbook Restart mail has failed at step 2 of 3: Restart"
    )


async def test_a_run_that_takes_too_long_is_no_longer_watched(make_house: MakeHouse) -> None:
    house = await make_house(policy=replace(policy_of(), runbooks=RunbookPolicy(watch_s=60)))
    await room_with(house)
    await says(house, "!run playbook Restart mail")
    for _ in range(4):
        await house.advance(30)
    assert living(house)[-1].startswith("**Runbook Restart mail is still running, and no longer watched**")
    asked = house.etb.calls.count("execution")
    await house.advance(600)
    assert house.etb.calls.count("execution") == asked
    assert (await last_run(house)).status == "RUNNING"


async def test_etb_is_asked_more_and_more_seldom(house: House) -> None:
    await room_with(house)
    await says(house, "!run playbook Restart mail")
    before = len(living(house))
    times = []
    for second in range(200):
        asked = house.etb.calls.count("execution")
        await house.advance(1)
        if house.etb.calls.count("execution") > asked:
            times.append(second)
    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert times[0] in {1, 2}
    assert gaps == sorted(gaps)
    assert gaps[-1] in {30, 31}
    assert len(living(house)) == before, "nothing changed, so nothing was edited"


async def test_etb_that_goes_away_while_it_runs_is_said_once_and_the_run_is_followed_on(house: House) -> None:
    await room_with(house)
    await says(house, "!run playbook Restart mail")
    house.etb.down()
    for _ in range(10):
        await house.advance(20)
    away = [one for one in living(house) if "ETB does not answer just now. The run goes on there" in one]
    assert len(away) == 1
    house.etb.up()
    goes_on(house, "COMPLETED", current_step=3)
    await house.advance(31)
    assert living(house)[-1].startswith("**Runbook Restart mail has succeeded**")
    assert "does not answer" not in living(house)[-1]


async def test_a_status_that_etb_invents_means_that_it_goes_on(house: House) -> None:
    await room_with(house)
    await says(house, "!run playbook Restart mail")
    goes_on(house, "WAITING_APPROVAL", current_step=1)
    await house.advance(3)
    assert "is running" in living(house)[-1]


async def test_a_long_log_is_gathered_and_cut(house: House) -> None:
    await room_with(house)
    await says(house, "!run playbook Restart mail")
    goes_on(house, log=tuple((1, "INFO", f"line {n}") for n in range(10)))
    await house.advance(3)
    goes_on(house, log=tuple((1, "INFO", f"line {n}") for n in range(800, 1000)), log_before=800)
    await house.advance(4)
    assert len(log(house)) == 7
    assert str(log(house)[1].content).startswith("- 790 more lines stand in ETB.\n- 1: line 800\n")
    goes_on(house, log=tuple((1, "INFO", f"line {n}") for n in range(801, 1001)), log_before=801)
    await house.advance(5)
    assert log(house)[-1].content == "- 1: line 1000"


async def test_the_log_waits_for_the_message_in_whose_thread_it_stands(house: House) -> None:
    await room_with(house)
    house.world.fail(Say, later(), times=2, only=lambda say: say.purpose == "living")
    await says(house, "!run playbook Restart mail")
    goes_on(house, "COMPLETED", current_step=3, log=((1, "INFO", "all of it"),))
    for _ in range(6):
        await house.advance(2)
    assert [say.content for say in log(house)] == ["- 1: all of it"]
    assert len(living(house)) == 2, "the first version, and one edit for all that came meanwhile"
    assert living(house)[-1].startswith("**Runbook Restart mail has succeeded**")


async def test_an_edit_that_the_homeserver_refuses_does_not_stop_the_later_ones(house: House) -> None:
    await room_with(house)
    await says(house, "!run playbook Restart mail")
    house.world.fail(Say, broken(), only=lambda say: say.edits is not None)
    goes_on(house, current_step=1)
    await house.advance(3)
    goes_on(house, "COMPLETED", current_step=3)
    await house.advance(5)
    assert living(house)[-1].startswith("**Runbook Restart mail has succeeded**")
    assert any("`Say` was parked" in one for one in house.troubles())


async def test_a_run_asked_for_in_a_thread_is_shown_in_the_room_so_that_its_log_can_have_a_thread(
    house: House,
) -> None:
    await room_with(house)
    await house.says(ALICE, "!run playbook Restart mail", thread_root="$root")
    await house.settle()
    [first] = [say for _, say in house.world.said if say.purpose == "living" and not say.edits]
    assert (first.thread_root, first.reply_to) == (None, None)


# --- when ETB says no, or nothing -------------------------------------------------------------------------


async def test_nothing_is_started_while_etb_can_not_be_asked_for_the_runbook(house: House) -> None:
    await room_with(house)
    house.etb.down()
    assert await says(house, "!run playbook Restart mail") == [
        "ETB does not answer just now, so the playbook can't be looked up. Nothing was started."
    ]
    house.etb.up()
    await house.advance(600)
    assert starts(house) == []


async def test_etb_refuses_to_start_it(house: House) -> None:
    await room_with(house)
    house.etb.known.clear()
    event_id = await house.says(ALICE, "!run playbook Restart mail")
    await house.settle()
    assert "ETB did not do that: ETB knows no such incident" in house.answers(event_id)
    assert living(house)[-1].startswith("**Runbook Restart mail was not started**")
    assert (await last_run(house)).status == "FAILED"
    await house.advance(600)
    assert house.etb.calls.count("execution") == 0


async def test_a_lost_answer_is_looked_for_and_starts_nothing_twice(house: House) -> None:
    await room_with(house)
    house.etb.lose_answers = 1
    await says(house, "!run playbook Restart mail")
    await house.advance(10)
    assert len(starts(house)) == len(house.etb.executions) == 1
    goes_on(house, "COMPLETED")
    await house.advance(10)
    assert "has succeeded" in living(house)[-1]


async def test_whether_it_was_started_may_stay_unknown_until_an_operator_looks(house: House) -> None:
    await room_with(house)
    house.etb.timeline_readable = False
    house.etb.lose_answers = 100
    await says(house, "!run playbook Restart mail")
    for _ in range(8):
        await house.advance(60)
    assert living(house)[-1].startswith("**Runbook Restart mail may or may not have been started**")
    house.etb.timeline_readable, house.etb.lose_answers = True, 0
    row = house.troubles()[-1]
    assert "unknown outcome" in row
    async with house.db.view() as view:
        [parked] = await view.outbox.parked()
    await house.ask(UserId("@op:x.org"), f"!queue retry o{parked.seq}", house.control_room())
    await house.advance(1)
    assert "is running" in living(house)[-1]
    assert len(starts(house)) == 1


# --- finding it -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line", ["Restart mail", '"Restart mail"', "“restart  MAIL”", "  Restart   mail  ", "'Restart mail'"]
)
async def test_a_name_may_be_written_in_quotes_or_bare_in_any_case(house: House, line: str) -> None:
    await room_with(house)
    await says(house, f"!run playbook {line}")
    assert [one.runbook_id for one in starts(house)] == ["book-1"]


async def test_a_name_may_hold_quotes_unicode_and_an_equals_sign(house: House) -> None:
    odd = Runbook(id="odd", name="Set n=3 on “Zürich” 🚒")
    await room_with(house, odd, MAIL)
    await says(house, "!run playbook Set n=3 on “Zu\u0308rich” 🚒")
    assert [one.runbook_id for one in starts(house)] == ["odd"]


async def test_several_hits_are_listed_and_the_asker_answers_with_a_number(house: House) -> None:
    disk = Runbook(id="book-3", name="Restart disk check")
    await room_with(house, MAIL, disk)
    [question] = await says(house, "!run playbook restart")
    assert question == (
        "Which runbook do you mean?\n\n1. Restart disk check\n2. Restart mail\n\n"
        "Answer with the number, or `cancel`."
    )
    assert starts(house) == []
    await says(house, "2")
    assert [one.runbook_id for one in starts(house)] == ["book-1"]
    assert (await last_run(house)).arguments == "playbook restart"


async def test_two_of_the_same_name_are_told_apart(house: House) -> None:
    await room_with(house, MAIL, replace(MAIL, id="other", description="in Zürich"))
    [question] = await says(house, "!run playbook Restart mail")
    assert "1. Restart mail\n2. Restart mail (in Zürich)" in question
    assert await says(house, "Restart mail") == [], "that names both"
    await says(house, "2.")
    assert [one.runbook_id for one in starts(house)] == ["other"]


async def test_a_long_list_is_cut_and_says_so(house: House) -> None:
    await room_with(house, *(Runbook(id=str(n), name=f"Fix {n:02}") for n in range(30)))
    [question] = await says(house, "!run playbook fix")
    assert "These are the first 10 of 30." in question
    assert "10. Fix 09" in question
    assert "11." not in question


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        (
            "!run playbook Restrat mail",
            "ETB has no active runbook called `Restrat mail`. Did you mean `Restart mail`?",
        ),
        ("!run playbook xyzzy", "ETB has no active runbook called `xyzzy`."),
        ("!run playbook", "`name` is missing.\n\nUsage: `!run playbook|runbook <name>`"),
        ("!run mail", "`what` is one of `playbook`, `runbook`.\n\nUsage: `!run playbook|runbook <name>`"),
        (
            "!run playbook host=mx1",
            "The name of the runbook is missing before its parameters.\n\nUsage: `!run playbook|runbook <name>`",
        ),
    ],
)  # fmt: skip
async def test_a_runbook_that_is_none(house: House, line: str, answer: str) -> None:
    await room_with(house, MAIL)
    [said] = await says(house, line)
    assert said == answer
    assert starts(house) == []


async def test_a_runbook_that_went_while_the_asker_chose_is_not_started(house: House) -> None:
    await room_with(house, MAIL, Runbook(id="b", name="Restart disk"))
    await says(house, "!run playbook restart")
    house.etb.library = [MAIL]
    event_id = await house.says(ALICE, "1")
    await house.settle()
    assert house.answers(event_id) == ["ETB has that runbook no longer. Nothing was started."]


# --- parameters -------------------------------------------------------------------------------------------


async def test_parameters_may_be_given_with_the_command(house: House) -> None:
    await room_with(house)
    await says(house, '!run playbook Restart “Müll” service Service=SMTP count=3 note="two words" force=yes')
    [start] = starts(house)
    assert start.parameters == {"service": "smtp", "count": 3, "force": True, "note": "two words"}
    assert "- With `service=smtp`, `count=3`, `force=True`, `note=two words`" in living(house)[-1]


async def test_missing_parameters_are_asked_one_after_another(house: House) -> None:
    await room_with(house)
    [first] = await says(house, "!run playbook Restart “Müll” service")
    assert first.startswith("**Restart “Müll” service** needs `service` (Which one):\n\n1. smtp\n2. imap")
    [second] = await says(house, "IMAP")
    assert second == "**Restart “Müll” service** needs `count`. Write it here (a whole number), or `cancel`."
    [third] = await says(house, "three")
    assert third.startswith("Is a whole number. **Restart “Müll” service** needs `count`.")
    await says(house, "3")
    [start] = starts(house)
    assert start.parameters == {"service": "imap", "count": 3, "force": False}


@pytest.mark.parametrize(
    ("line", "mistake"),
    [
        ("service=x count=1", "`service` is one of smtp, imap."),
        ("service=smtp count=1.5", "`count` is a whole number."),
        ("service=smtp count=1 force=maybe", "`force` is yes or no."),
        ("service=smtp count=1 color=red", "Restart “Müll” service has no parameter `color`."),
        ("service=smtp count=1 count=2", "`count` is given twice."),
        ("service=smtp count=1 note='never", "The quote ' is never closed."),
        ("service=smtp and more", "I don't know what to do with “and more”"),
        ("service=smtp count=" + "9" * 400, "`count` is a whole number."),
    ],
)
async def test_a_wrong_parameter_is_named(house: House, line: str, mistake: str) -> None:
    await room_with(house)
    [said] = await says(house, f"!run playbook Restart “Müll” service {line}")
    assert said.startswith(mistake)
    assert starts(house) == []


# --- who, and again ---------------------------------------------------------------------------------------


async def test_only_responders_run(house: House) -> None:
    await room_with(house)
    await house.leave_over("carol")
    await house.moves(CAROL, "join")
    assert await says(house, "!run playbook Restart mail", CAROL) == [
        "This needs the role responder of this incident."
    ]
    assert starts(house) == []


async def test_two_requests_are_two_runs(house: House) -> None:
    await room_with(house)
    await says(house, "!run playbook Restart mail")
    await says(house, "!run playbook Restart mail")
    assert len(starts(house)) == len(house.etb.executions) == 2


# --- cancel -----------------------------------------------------------------------------------------------


async def test_cancel_stops_the_one_run_there_is(house: House) -> None:
    await room_with(house)
    await says(house, "!run playbook Restart mail")
    assert await says(house, "!cancel", BOB) == ["You are not in this room."]
    await house.moves(BOB, "join")
    assert await says(house, "!cancel", BOB) == ["**Restart mail** is cancelled."]
    assert sum(isinstance(one, CancelRunbook) for one in house.etb.writes) == 1
    assert living(house)[-1].startswith("**Runbook Restart mail was cancelled**")
    assert "- Cancelled by `bob`" in living(house)[-1]
    assert (await last_run(house)).status == "CANCELLED"
    assert await says(house, "!cancel", BOB) == ["Nothing is running here."]


@pytest.mark.parametrize("word", ["disk check", '"Disk Check"', "2", "disk"])
async def test_cancel_takes_a_name_or_a_number(house: House, word: str) -> None:
    await room_with(house, MAIL, Runbook(id="d", name="Disk check"))
    await says(house, "!run playbook Restart mail")
    await says(house, "!run playbook Disk check")
    assert await says(house, f"!cancel {word}") == ["**Disk check** is cancelled."]


async def test_cancel_asks_which_where_there_are_several(house: House) -> None:
    await room_with(house, MAIL, Runbook(id="d", name="Disk check"))
    await says(house, "!run playbook Restart mail")
    await says(house, "!run playbook Disk check")
    event_id = await house.says(ALICE, "!cancel")
    await house.settle()
    [question] = house.answers(event_id)
    assert "1. Restart mail, asked by `alice`\n2. Disk check, asked by `alice`" in question
    await says(house, "1")
    assert house.answers(event_id)[1:] == ["**Restart mail** is cancelled."]
    await house.advance(60)
    assert await says(house, "!cancel xyzzy") == ["Nothing that runs here is called `xyzzy`."]
    assert await says(house, "!cancel 9") == ["Nothing that runs here is called `9`."]


async def test_what_has_ended_while_the_asker_chose_is_not_cancelled(house: House) -> None:
    await room_with(house, MAIL, Runbook(id="d", name="Disk check"))
    await says(house, "!run playbook Restart mail")
    await says(house, "!run playbook Disk check")
    await says(house, "!cancel")
    for name, execution in house.etb.executions.items():
        house.etb.executions[name] = replace(execution, status="COMPLETED")
    await house.advance(10)
    assert await says(house, "1") == ["That has ended meanwhile."]


async def test_cancelling_before_etb_has_started_it_cancels_it_as_soon_as_it_has(house: House) -> None:
    await room_with(house)
    event_id = await house.says(ALICE, "!run playbook Restart mail")
    async with house.db.view() as view:
        assert await view.outbox.targets() == []
    lanes = [await house.intake.step(NO_1)]
    assert lanes == [True]
    house.etb.down()
    await house.settle()
    assert house.answers(event_id)[-1].startswith("ETB does not answer just now.")
    [answer] = await says(house, "!cancel")
    assert answer == "**Restart mail** has not started yet: it is cancelled as soon as ETB has started it."
    house.etb.up()
    for _ in range(4):
        await house.advance(10)
    assert [execution.status for execution in house.etb.executions.values()] == ["CANCELLED"]
    assert living(house)[-1].startswith("**Runbook Restart mail was cancelled**")


async def test_a_run_that_ended_just_before_can_not_be_cancelled(house: House) -> None:
    await room_with(house)
    await says(house, "!run playbook Restart mail")
    take = house.etb._take_effect

    def ended(effect: object) -> object:
        done = take(effect)  # type: ignore[arg-type]
        if isinstance(effect, CancelRunbook):
            goes_on(house, "COMPLETED", current_step=3)
            return replace(done, found={"id": "x", "status": "COMPLETED"})
        return done

    house.etb._take_effect = ended  # type: ignore[method-assign,assignment]
    assert await says(house, "!cancel") == ["**Restart mail** could not be cancelled any more: it is `COMPLETED`."]
    assert living(house)[-1].startswith("**Runbook Restart mail has succeeded**")


# --- crashes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("before", [True, False], ids=["before the commit", "after the commit"])
@pytest.mark.parametrize("lives", [(1, 2), (2, 1, 1), (2, 3)])
async def test_a_crash_at_every_commit_of_a_run_leaves_one_execution_and_one_message(
    make_house: MakeHouse, before: bool, lives: tuple[int, ...]
) -> None:
    house = await make_house()
    await room_with(house)
    await house.die_again_and_again(lives, before=before)
    await house.says(ALICE, "!run playbook Restart", event_id="$run")
    await house.settle()
    await house.says(ALICE, "1", event_id="$answer")
    await house.settle()
    goes_on(house, current_step=1, log=((1, "INFO", "one"),))
    await house.advance(3)
    goes_on(house, current_step=2, log=((1, "INFO", "one"), (2, "INFO", "two")))
    await house.advance(5)
    goes_on(house, "COMPLETED", current_step=3, log=((1, "INFO", "one"), (2, "INFO", "two"), (3, "INFO", "three")))
    await house.advance(40)
    await house.die_no_more()
    await house.advance(40)
    assert house.crashes >= 10
    assert len(starts(house)) == len(house.etb.executions) == 1
    assert living(house)[-1].startswith("**Runbook Restart mail has succeeded**")
    assert [say.content for say in log(house)] == ["- 1: one", "- 2: two", "- 3: three"]
    assert len(house.answers("$run")) == 2, "the question, and the message of the run"
    assert (await last_run(house)).status == "SUCCESS"
    assert (await house.tags()).count("runbook.ended") == 1
    assert len(await timeline(house)) == 2
    async with house.db.view() as view:
        assert await view.cases.all_open(RunbookRun) == []
        assert (await view.outbox.depth(0))[:2] == (0, 0)


async def test_a_timer_of_an_earlier_look_means_nothing(house: House) -> None:
    await room_with(house)
    await says(house, "!run playbook Restart mail")
    room = await house.room()
    asked = house.etb.calls.count("execution")
    run = await last_run(house)
    await house.own(RunbookDue(war_room=room.war_room, run_id=run.id, look=99), lane=NO_1)
    await house.own(RunbookDue(war_room=room.war_room, run_id="none", look=1), lane=NO_1)
    await house.settle()
    assert house.etb.calls.count("execution") == asked


async def test_a_run_whose_war_room_moves_is_shown_anew_where_people_are(house: House) -> None:
    await room_with(house)
    await says(house, "!run playbook Restart mail")
    async with house.db.work() as work:
        room = await work.rooms.of_incident(NO_1)
        assert room is not None
        await work.rooms.put(replace(room, generation=room.generation + 1, room_id=RoomId("!next")))
    goes_on(house, current_step=1, log=((1, "INFO", "one"),))
    await house.advance(3)
    goes_on(house, "COMPLETED", current_step=3)
    await house.advance(10)
    there = [(event_id, say) for event_id, say in house.world.said if say.room_id == "!next"]
    [(first, _)] = [(event_id, say) for event_id, say in there if say.purpose == "living" and say.edits is None]
    assert [say.thread_root for _, say in there if say.purpose == "notice"] == [first]
    assert str(there[-1][1].content).startswith("**Runbook Restart mail has succeeded**")


async def test_cancel_ends_an_open_question_of_the_askers(house: House) -> None:
    await room_with(house, MAIL, Runbook(id="d", name="Restart disk"))
    await says(house, "!run playbook restart")
    assert await says(house, "!cancel") == ["Cancelled: `run playbook restart` is not run."]
    assert await says(house, "1") == []
    assert starts(house) == []


async def test_a_list_to_cancel_from_names_requests_for_approval_too(house: House) -> None:
    await room_with(house, MAIL, replace(MAIL, id="d", name="Failover", requires_approval=True))
    await says(house, "!run playbook Restart mail")
    await says(house, "!run playbook Failover")
    [question] = await says(house, "!cancel")
    assert "2. `run playbook Failover`, waits for approval" in question
    assert await says(house, "2") == ["Withdrawn: `run playbook Failover` is not run."]


async def test_a_first_message_that_the_homeserver_refuses_is_sent_with_the_next_change(house: House) -> None:
    await room_with(house)
    house.world.fail(Say, Refused("too large"), only=lambda say: say.purpose == "living")
    await says(house, "!run playbook Restart mail")
    goes_on(house, "COMPLETED", current_step=3)
    await house.advance(5)
    assert living(house)[-1].startswith("**Runbook Restart mail has succeeded**")

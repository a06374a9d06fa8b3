"""Commands of web users run as typed ones do: same rights, same log, same answer in the room."""

from typing import Any

import pytest

from etb_appservice.domain.approvals import Approval
from etb_appservice.domain.classification import Classification, ClassificationMap
from etb_appservice.domain.effects import Say
from etb_appservice.domain.ids import EventId, Username
from etb_appservice.domain.news import CommandFinished
from etb_appservice.domain.policy import ApprovalPolicy
from etb_appservice.gateway.desk import Order, Refusal
from etb_appservice.gateway.orders import typed
from etb_appservice.ports import CommandRun
from tests.harness.cast import ALICE, GHOSTS, policy_of
from tests.harness.house import House
from tests.harness.kit import MakeHouse
from tests.harness.web import WebUser

ALICES_GHOST = GHOSTS.user_id(Username("alice"))


@pytest.fixture
async def alice(house: House) -> WebUser:
    await house.open_for_alice()
    return WebUser(house, "alice")


async def run_of(house: House, run_id: str) -> CommandRun:
    async with house.db.view() as view:
        found = await view.commands.get(run_id)
    assert found is not None
    return found


def answered(house: House) -> list[Say]:
    """What the bot has answered, in order."""
    return [say for _, say in house.world.said if say.purpose == "answer"]


async def test_a_command_by_text_is_said_run_logged_and_answered_in_the_room(alice: WebUser) -> None:
    run_id = await alice.run("/status")
    run = await run_of(alice.house, run_id)
    assert (run.name, run.status, run.caller) == ("status", "SUCCESS", ALICES_GHOST)
    [(event_id, command)] = [(event, say) for event, say in alice.house.world.said if say.speaker]
    assert (command.content, command.speaker) == ("/status", "alice")
    async with alice.house.db.view() as view:
        kept = await view.messages.by_event(event_id)
        assert await view.messages.by_event(run.event_id) == kept, "the run names its message for good"
    assert kept is not None
    assert kept.details.message_type == "COMMAND"
    assert [say.reply_to for say in answered(alice.house)] == [event_id]
    assert run.event_id == f"~{kept.id}"
    assert [one.run_id for one in alice.house.news.of(CommandFinished)] == [run_id]
    [entry] = [one for one in await alice.house.audit() if one.subject == run_id]
    assert (entry.tag, entry.actor, entry.details["trust"]) == ("command.run", ALICES_GHOST, "etb token")


async def test_the_command_that_a_message_is_runs_once_whoever_asks(alice: WebUser) -> None:
    bob = WebUser(alice.house, "bob")
    message_id = await alice.post("/status")
    run_id = await bob.run(message_id=message_id)
    assert await alice.run(message_id=message_id) == run_id
    run = await run_of(alice.house, run_id)
    assert run.caller == GHOSTS.user_id(Username("bob"))
    assert len(answered(alice.house)) == 1


async def test_a_command_typed_in_matrix_has_run_already(alice: WebUser) -> None:
    await alice.house.ask(ALICE, "!status", event_id="$1")
    async with alice.house.db.view() as view:
        message = await view.messages.by_event(EventId("$1"))
        run = await view.commands.of_event(EventId("$1"))
    assert message is not None
    assert run is not None
    assert await alice.run(message_id=message.id) == run.id


async def test_what_waits_for_etb_ends_as_news(alice: WebUser) -> None:
    run_id = await alice.run("/update status in progress")
    run = await run_of(alice.house, run_id)
    assert run.status == "SUCCESS"
    assert run_id in [one.run_id for one in alice.house.news.of(CommandFinished)]


@pytest.mark.parametrize("text", ["/nonsense", "/assign", "/update colour red"])
async def test_words_that_make_no_command_are_answered_logged_and_refused(alice: WebUser, text: str) -> None:
    with pytest.raises(Refusal) as caught:
        await alice.run(text)
    assert (caught.value.code, caught.value.field) == ("validation_error", "command_text")
    assert caught.value.detail == answered(alice.house)[-1].content
    async with alice.house.db.view() as view:
        [run] = await view.commands.of_room(await alice.house.room_id())
    assert run.status == "FAILED"


async def test_a_message_that_is_no_command_is_not_run(alice: WebUser) -> None:
    message_id = await alice.post("just talk")
    with pytest.raises(Refusal) as caught:
        await alice.run(message_id=message_id)
    assert caught.value.code == "validation_error"
    assert answered(alice.house) == []


async def test_whoever_lacks_the_right_is_refused_in_the_log_and_in_the_room(alice: WebUser) -> None:
    run = await run_of(alice.house, await alice.run("/remove bob"))
    assert (run.status, "commander" in run.result) == ("REFUSED", True)
    assert answered(alice.house)[0].content == await alice.house.ask(ALICE, "!remove bob")


async def test_too_many_commands_are_refused_before_anything_is_said(alice: WebUser) -> None:
    for _ in range(5):
        await alice.run("/status")
    with pytest.raises(Refusal) as caught:
        await alice.run("/status")
    assert caught.value.code == "rate_limited"
    assert len([say for _, say in alice.house.world.said if say.speaker]) == 5


async def test_a_token_counts_where_a_device_must_be_verified(make_house: MakeHouse) -> None:
    """From CONFIDENTIAL on a typed command needs a verified device; by the web it is ETB that vouches."""
    house = await make_house(
        policy=policy_of(classification=ClassificationMap(default=Classification.CONFIDENTIAL))
    )
    await house.open_for_alice()
    run_id = await WebUser(house, "alice").run("/status")
    assert (await run_of(house, run_id)).status == "SUCCESS"


async def test_nobody_approves_by_the_web(make_house: MakeHouse) -> None:
    house = await make_house(policy=policy_of(approvals=ApprovalPolicy(commands=frozenset({"status"}))))
    await house.open_for_alice()
    alice, bob = WebUser(house, "alice"), WebUser(house, "bob")
    run_id = await alice.run("/status")
    assert (await run_of(house, run_id)).status == "RUNNING"
    async with house.db.view() as view:
        [approval] = await view.cases.of((await house.room()).war_room, Approval)
    refusal = await run_of(house, await bob.run(f"/approve {approval.code}"))
    assert refusal.status in {"REFUSED", "FAILED"}
    assert "verified" in refusal.result
    assert (await run_of(house, run_id)).status == "RUNNING"


async def test_a_question_of_the_bots_is_answered_by_a_message(alice: WebUser) -> None:
    house = alice.house
    text = "/update status closed"
    late_ms = round(house.policy.commands.late_after_s * 1000) + 60_000
    alice.patience_s = 0
    with pytest.raises(Refusal):
        await alice.through(
            lambda desk: desk.run(alice.caller, alice.war_room, alice.act("k"), Order(command_text=text)),
            settles=False,
        )
    alice.patience_s = 15
    house.clock.advance(late_ms / 1000)
    await house.settle()
    run_id = await alice.run(text, key="k")
    assert (await run_of(house, run_id)).status == "RUNNING"
    assert "Still want it?" in str(answered(house)[-1].content)
    await alice.post("no")
    assert (await run_of(house, run_id)).status == "CANCELLED"


@pytest.mark.parametrize(("said", "field"), [("just talk", "command_text"), ("/status", "parameters")])
async def test_parameters_for_a_message_that_takes_none_are_refused(alice: WebUser, said: str, field: str) -> None:
    message_id = await alice.post(said)
    with pytest.raises(Refusal) as caught:
        await alice.run(message_id=message_id, parameters={"username": "bob"})
    assert (caught.value.code, caught.value.field) == ("validation_error", field)
    assert answered(alice.house) == []


async def test_a_command_with_parameters_may_be_named_by_its_message(alice: WebUser) -> None:
    message_id = await alice.post("/update")
    parameters = {"field": "status", "value": "in progress"}
    run = await run_of(alice.house, await alice.run(message_id=message_id, parameters=parameters))
    assert (run.arguments, run.status) == ("status in progress", "SUCCESS")


# --- as it is typed ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "parameters", "line"),
    [
        ("", {}, ""),
        ("status", {}, "/status"),
        ("!status", {"name": ""}, "!status"),
        ("/run", {"name": "Restart mail", "parameters": {"host": "mx1", "note": "all of it"}}, None),
        ("/run playbook", {"name": "Restart"}, "/run playbook Restart"),
        ("/run playbook Restart", {"parameters": {"n": 2}}, "/run playbook Restart n=2"),
        ("/escalate", {"reason": "no\nanswer"}, "/escalate no answer"),
        ("/assign", {"username": "bob"}, "/assign bob"),
        ("/update", {"field": "status", "value": "closed"}, "/update status closed"),
    ],
)
def test_parameters_go_into_the_line(text: str, parameters: dict[str, Any], line: str | None) -> None:
    expected = '/run playbook Restart mail host=mx1 note="all of it"' if line is None else line
    assert typed(text, parameters, ("!", "/")) == expected


@pytest.mark.parametrize(
    ("text", "parameters"),
    [
        ("", {"name": "x"}),
        ("/status", {"name": "x"}),
        ("/assign bob", {"username": "alice"}),
        ("/assign", {"username": ["bob"]}),
        ("/run playbook x", {"parameters": ["y"]}),
        ("/run playbook x", {"parameters": {"y": {"z": 1}}}),
    ],
)
def test_parameters_that_do_not_fit_are_refused(text: str, parameters: dict[str, Any]) -> None:
    with pytest.raises(Refusal) as caught:
        typed(text, parameters, ("!", "/"))
    assert caught.value.field == "parameters"

"""Approval by others: who counts, who doesn't, and what runs when enough agree."""

import re
from dataclasses import replace
from typing import Any

import pytest

import etb_appservice.commands
from etb_appservice.domain.approvals import LETTERS, Approval
from etb_appservice.domain.clearance import Right
from etb_appservice.domain.duty import Runbook, RunbookParameter
from etb_appservice.domain.effects import Say, StartRunbook
from etb_appservice.domain.facts import ApprovalEnds, HeldDue, Trust
from etb_appservice.domain.ids import UserId, Username
from etb_appservice.domain.incident import EtbUser
from etb_appservice.domain.news import Notified
from etb_appservice.domain.people import PeopleMap
from etb_appservice.domain.policy import ApprovalPolicy, Policy, RolePolicy
from etb_appservice.flows.call import Call
from etb_appservice.flows.commands import CONTROL, EVERYWHERE, Answer, Command, command, find
from etb_appservice.ports import CommandRun
from tests.harness.cast import ALICE, BOB, BOT, CAROL, NO_1, NO_2, OPERATOR, etb_user, incident, policy_of
from tests.harness.house import House
from tests.harness.kit import MakeHouse
from tests.harness.world import later

FAILOVER = Runbook(
    id="f",
    name="Failover",
    steps=("Stop", "Move"),
    parameters=(RunbookParameter(name="to", is_required=True),),
    requires_approval=True,
)
DAVE = UserId("@dave:x.org")
RAN: list[str] = []


@command(needs=Right.RESPONDER, where=EVERYWHERE)
async def wipe(call: Call, what: str) -> Answer:
    """Wipe something."""
    RAN.append(f"{what} for {call.actor.user_id}: {call.is_approved}")
    return Answer(f"wiped {what}")


@command(needs=Right.OPERATOR, where=CONTROL)
async def purge(call: Call) -> Answer:
    """Purge."""
    RAN.append("purge")
    return Answer("purged")


COMMANDS: dict[str, Command] = {**find(etb_appservice.commands), "wipe": wipe, "purge": purge}


def terms(**changes: Any) -> Policy:
    """`wipe` and `purge` need approval; bob and dave are commanders by their role in ETB."""
    names = ("alice", "bob", "carol", "dave")
    people = PeopleMap("", {Username(name): UserId(f"@{name}:x.org") for name in names})
    approvals = ApprovalPolicy(commands=frozenset({"wipe", "purge"}), **changes)
    return replace(
        policy_of(),
        people=people,
        approvals=approvals,
        roles=RolePolicy(meaning={"Incident Manager": "commander", "Audit": "auditor"}),
    )


async def opened(make_house: MakeHouse, **changes: Any) -> House:
    """INC-1's room with alice, bob, carol and dave in it."""
    RAN.clear()
    house = await make_house(policy=terms(**changes), commands=COMMANDS)
    house.know("dave")
    await house.open_for_alice()
    for name in ("bob", "dave"):
        user = etb_user(name)
        house.etb.users[Username(name)] = EtbUser(
            user.username, user.display_name, user.clearance, True, roles=("Incident Manager",)
        )
    await house.advance(400)
    await house.let_in("carol", "dave")
    for person in (BOB, CAROL, DAVE):
        await house.moves(person, "join")
    house.etb.library = [FAILOVER]
    return house


@pytest.fixture
async def house(make_house: MakeHouse) -> House:
    return await opened(make_house)


async def say(house: House, body: str, sender: str = ALICE, **fields: Any) -> list[str]:
    event_id = await house.says(sender, body, **fields)
    await house.settle()
    return house.answers(event_id)


def code_in(text: str) -> str:
    found = re.search(r"`([A-Z2-9]{4})`", text)
    assert found, text
    return found[1]


async def requested(house: House, body: str = "!wipe disk", sender: str = ALICE, **fields: Any) -> str:
    """Ask for it; answers the code."""
    [text] = await say(house, body, sender, **fields)
    return code_in(text)


def shown(house: House) -> str:
    """What the request shows now."""
    return [str(say.content) for _, say in house.world.said if say.purpose == "living"][-1]


async def runs(house: House, name: str = "wipe") -> list[CommandRun]:
    async with house.db.view() as view:
        return [run for run in await view.commands.of_room(await house.room_id()) if run.name == name]


# --- a command that the configuration names ---------------------------------------------------------------


async def test_a_dangerous_command_runs_when_another_approves_as_its_asker(house: House) -> None:
    code = await requested(house, event_id="$1")
    assert set(code) <= set(LETTERS)
    assert RAN == []
    request = shown(house)
    assert request.startswith(f"**Approval needed: `{code}`**\n\n- Asked by `alice`: `wipe disk`")
    assert "- Needs 1 person with the role commander, not the asker, on a verified device" in request
    assert re.search(r"- Open until \d{4}-\d\d-\d\d \d\d:\d\d UTC\.", request)
    assert request.endswith("- Approved by: nobody (0 of 1)")
    assert (await runs(house))[0].status == "RUNNING"
    assert await say(house, f"!approve {code.lower()}", BOB) == ["Approved. It runs now."]
    assert RAN == ["disk for @alice:x.org: True"]
    assert house.answers("$1")[1:] == ["wiped disk"]
    assert shown(house).startswith("**Approved**")
    assert shown(house).endswith("- Approved by: `bob` (1 of 1)")
    [first, *edits] = [(e, s) for e, s in house.world.said if s.purpose == "living"]
    assert {edit.edits for _, edit in edits} == {first[0]}
    assert (await runs(house))[0].status == "SUCCESS"
    assert {"approval.asked", "approval.given", "command.resumed"} <= set(await house.tags())
    [told] = house.news.of(Notified)
    assert (told.notice, told.usernames) == ("COMMAND_COMPLETED", ("alice",))


async def test_two_must_approve_where_two_are_needed(make_house: MakeHouse) -> None:
    house = await opened(make_house, needed=2)
    code = await requested(house)
    assert "Needs 2 people" in shown(house)
    assert await say(house, f"!approve {code}", BOB) == ["Approved (1 of 2)."]
    assert shown(house).endswith("- Approved by: `bob` (1 of 2)")
    assert await say(house, f"!approve {code}", BOB) == ["You have approved this already (1 of 2)."]
    assert RAN == []
    await say(house, f"!approve {code}", DAVE)
    assert len(RAN) == 1
    assert shown(house).endswith("- Approved by: `bob`, `dave` (2 of 2)")


async def test_the_role_is_the_configured_one(make_house: MakeHouse) -> None:
    house = await opened(make_house, role="auditor")
    code = await requested(house)
    assert await say(house, f"!approve {code}", BOB) == ["Approving this needs the role auditor."]


async def test_what_an_approval_is_for_runs_once(house: House) -> None:
    code = await requested(house)
    await say(house, f"!approve {code}", BOB)
    assert await say(house, f"!approve {code}", DAVE) == ["That has run already."]
    assert await say(house, f"!revoke {code}", BOB) == ["That has run already."]
    assert len(RAN) == 1


# --- bad input --------------------------------------------------------------------------------------------


async def test_the_requester_can_not_approve(house: House) -> None:
    code = await requested(house, "!wipe disk", BOB)
    assert await say(house, f"!approve {code}", BOB) == ["You asked for it: somebody else has to approve."]
    assert RAN == []
    assert "approval.refused" in await house.tags()


async def test_a_device_that_is_not_signed_does_not_count(house: House) -> None:
    code = await requested(house)
    [answer] = await say(house, f"!approve {code}", BOB, trust=Trust.UNSIGNED.value)
    assert answer.startswith("An approval counts only from a device that you have verified")
    assert RAN == []


async def test_who_has_not_the_role_can_not_approve(house: House) -> None:
    code = await requested(house)
    assert await say(house, f"!approve {code}", CAROL) == ["Approving this needs the role commander."]
    assert RAN == []


@pytest.mark.parametrize(
    "fields",
    [
        {"what": "plain"},
        {"replaces": "$other"},
        {"msgtype": "m.notice"},
    ],
    ids=["clear text", "an edit", "a notice"],
)
async def test_nothing_but_a_message_approves(house: House, fields: dict[str, str]) -> None:
    code = await requested(house)
    await say(house, f"!approve {code}", BOB, **fields)
    assert RAN == []
    assert shown(house).endswith("nobody (0 of 1)")


async def test_a_reaction_approves_nothing(house: House) -> None:
    await requested(house)
    [request] = [event_id for event_id, say in house.world.said if say.purpose == "living"]
    for emoji in ("✅", "👍", "📌", "⭐"):
        await house.reacts(BOB, request, emoji)
    assert RAN == []
    assert shown(house).endswith("nobody (0 of 1)")


async def test_the_bot_and_a_quote_approve_nothing(house: House) -> None:
    code = await requested(house)
    await say(house, f"!approve {code}", BOT)
    await say(house, f"> !approve {code}", BOB)
    await say(house, f"`!approve {code}`", BOB)
    assert RAN == []


@pytest.mark.parametrize("word", ["ZZZZ", "", "🚒", "K7QF'; DROP TABLE", "x" * 3000])
async def test_an_unknown_code(house: House, word: str) -> None:
    await requested(house)
    [answer] = await say(house, f"!approve {word}", BOB)
    assert answer.startswith(("There is no request with the code", "`code` is missing", "I don't know what to do"))
    assert len(answer) < 200
    assert RAN == []


async def test_a_code_counts_in_its_own_room_only(house: House) -> None:
    code = await requested(house)
    await house.report(incident(id=NO_2, number="INC-2"))
    await house.settle()
    other = await house.room_id(NO_2)
    await house.moves(BOB, "join", other)
    event_id = await house.says(BOB, f"!approve {code}", other)
    await house.settle()
    assert house.answers(event_id) == [f"There is no request with the code `{code}` in this room."]
    assert RAN == []


async def test_too_late(house: House) -> None:
    code = await requested(house, event_id="$1")
    await house.advance(1801)
    assert house.answers("$1")[1:] == ["`wipe disk` was not approved in time, so it was not run."]
    [answer] = await say(house, f"!approve {code}", BOB)
    assert answer == "That is too late: nobody approved it in time. Whoever wants it asks again."
    assert shown(house).startswith("**Not approved in time**")
    await house.advance(7200)
    assert len(house.answers("$1")) == 2
    assert RAN == []
    assert (await runs(house))[0].status == "CANCELLED"


async def test_too_late_though_nobody_has_said_so_yet(house: House) -> None:
    code = await requested(house)
    event_id = await house.says(BOB, f"!approve {code}")
    house.clock.advance(1801)
    await house.settle()
    await say(house, "yes", BOB)
    assert RAN == []
    assert not any("It runs now" in text for text in house.answers(event_id))


async def test_two_matrix_ids_of_one_person_are_one_person(make_house: MakeHouse) -> None:
    house = await opened(make_house, needed=2)
    code = await requested(house)
    await say(house, f"!approve {code}", BOB)
    async with house.db.work() as work:
        room = await work.rooms.of_incident(NO_1)
        assert room is not None
        [approval] = await work.cases.of(room.war_room, Approval, only_open=True)
        mine = replace(approval.by[0], user_id=UserId("@bob.old:x.org"))
        await work.cases.put(room.war_room, replace(approval, by=(mine,)))
    assert await say(house, f"!approve {code}", BOB) == ["You have approved this already (1 of 2)."]


# --- taking back ------------------------------------------------------------------------------------------


async def test_an_approval_can_be_taken_back_until_it_runs(make_house: MakeHouse) -> None:
    house = await opened(make_house, needed=2)
    code = await requested(house)
    await say(house, f"!approve {code}", BOB)
    assert await say(house, f"!revoke {code}", DAVE) == ["You have not approved that, and you did not ask for it."]
    assert await say(house, f"!revoke {code}", BOB) == ["Taken back (0 of 2)."]
    await house.advance(60)
    await say(house, f"!approve {code}", DAVE)
    assert RAN == []
    await say(house, f"!approve {code}", BOB)
    assert len(RAN) == 1


async def test_the_requester_withdraws(house: House) -> None:
    code = await requested(house)
    assert await say(house, f"!revoke {code}") == ["Withdrawn: `wipe disk` is not run."]
    assert await say(house, f"!approve {code}", BOB) == ["That was withdrawn."]
    assert shown(house).startswith("**Withdrawn**")
    assert await say(house, "!revoke QQQQ") == ["There is no request with the code `QQQQ` in this room."]


async def test_cancel_withdraws_it_too(house: House) -> None:
    await requested(house)
    assert await say(house, "!cancel", BOB) == ["Nothing is running here."]
    assert await say(house, "!cancel") == ["Withdrawn: `wipe disk` is not run."]


# --- the state at that moment decides ---------------------------------------------------------------------


async def test_an_asker_who_may_no_longer_is_refused(house: House) -> None:
    code = await requested(house, event_id="$1")
    await house.moves(ALICE, "leave")
    await say(house, f"!approve {code}", BOB)
    assert house.answers("$1")[1:] == ["You are not in this room."]
    assert RAN == []


async def test_a_command_that_was_redacted_while_it_waited_is_not_run(house: House) -> None:
    code = await requested(house, event_id="$1")
    await house.redacts(ALICE, "$1")
    await say(house, f"!approve {code}", BOB)
    assert RAN == []
    assert shown(house).startswith("**Withdrawn**")


async def test_a_request_in_a_direct_chat_has_nobody_to_approve_it(house: House) -> None:
    async with house.db.work() as work:
        room = await work.rooms.of_incident(NO_1)
        assert room is not None
        await work.rooms.put(replace(room, kind="direct"))
    assert await say(house, "!wipe disk") == ["This needs approval by others: ask for it in a room with them."]


async def test_in_the_control_room_another_operator_approves(make_house: MakeHouse) -> None:
    second = UserId("@op2:x.org")
    RAN.clear()
    house = await make_house(policy=replace(terms(), operators=frozenset({OPERATOR, second})), commands=COMMANDS)
    await house.open_for_alice()
    control = house.control_room()
    await house.moves(second, "join", control)
    code = code_in(await house.ask(OPERATOR, "!purge", control))
    assert "with the role operator" in shown(house)
    assert (
        await house.ask(OPERATOR, f"!approve {code}", control) == "You asked for it: somebody else has to approve."
    )
    assert await house.ask(second, f"!approve {code}", control) == "Approved. It runs now."
    assert RAN == ["purge"]
    assert "`@op2:x.org` (1 of 1)" in shown(house)


async def test_stale_timers_do_nothing(house: House) -> None:
    room = await house.room()
    said = len(house.world.said)
    await house.own(ApprovalEnds(war_room=room.war_room, approval="none"), lane=NO_1)
    await house.own(HeldDue(war_room=room.war_room, approval="none"), lane=NO_1)
    await house.settle()
    assert len(house.world.said) == said


# --- runbooks ---------------------------------------------------------------------------------------------


def starts(house: House) -> list[StartRunbook]:
    return [one for one in house.etb.writes if isinstance(one, StartRunbook)]


async def test_a_runbook_that_etb_marks_is_started_after_approval_with_what_was_approved(house: House) -> None:
    [question] = await say(house, "!run playbook failover")
    assert "needs `to`" in question
    await say(house, "Zürich")
    request = shown(house)
    assert "run **Failover** with `to=Zürich` (steps: Stop, Move)" in request
    assert starts(house) == []
    await say(house, f"!approve {code_in(request)}", BOB)
    [start] = starts(house)
    assert start.parameters == {"to": "Zürich"}
    assert start.trigger_data["username"] == "alice"
    assert "- Asked by `alice`, approved by `bob`" in shown(house)


@pytest.mark.parametrize("named", ["runbooks", "commands"])
async def test_a_runbook_that_the_configuration_names(make_house: MakeHouse, named: str) -> None:
    house = await opened(make_house)
    by_name = ApprovalPolicy(runbooks=frozenset({"mail"}))
    approvals = by_name if named == "runbooks" else ApprovalPolicy(commands=frozenset({"run"}))
    house.policy = replace(house.policy, approvals=approvals)
    await house.crash()
    house.etb.library = [Runbook(id="m", name="Mail")]
    await say(house, "!run playbook mail")
    assert starts(house) == []
    await say(house, f"!approve {code_in(shown(house))}", BOB)
    assert len(starts(house)) == 1


async def test_a_runbook_that_was_changed_since_is_not_started(house: House) -> None:
    await say(house, "!run playbook failover to=x", event_id="$1")
    house.etb.library = [replace(FAILOVER, steps=("Wipe",))]
    await say(house, f"!approve {code_in(shown(house))}", BOB)
    assert starts(house) == []
    assert house.answers("$1")[-1].startswith("The runbook was changed since it was approved.")


async def test_a_runbook_that_needs_more_to_know_since_is_not_started(house: House) -> None:
    await say(house, "!run playbook failover to=x", event_id="$1")
    more = (*FAILOVER.parameters, RunbookParameter(name="why", is_required=True))
    house.etb.library = [replace(FAILOVER, parameters=more)]
    await say(house, f"!approve {code_in(shown(house))}", BOB)
    assert starts(house) == []
    assert house.answers("$1")[-1].startswith("What was approved has changed meanwhile.")


async def test_while_etb_is_away_an_approved_run_waits_and_can_still_be_revoked(house: House) -> None:
    await say(house, "!help", DAVE)
    await say(house, "!run playbook failover to=x", event_id="$1")
    code = code_in(shown(house))
    house.etb.down()
    await say(house, f"!approve {code}", BOB)
    assert house.answers("$1")[-1].endswith("It runs as soon as ETB answers, unless its time is over before.")
    await house.advance(60)
    assert len(house.answers("$1")) == 2
    assert await say(house, f"!approve {code}", DAVE) == ["This has all the approvals it needs."]
    assert await say(house, f"!revoke {code}", BOB) == ["Taken back (0 of 1)."]
    house.etb.up()
    await house.advance(60)
    assert starts(house) == []
    await say(house, f"!approve {code}", BOB)
    assert len(starts(house)) == 1


async def test_a_request_that_waits_for_etb_ends_with_its_time(house: House) -> None:
    await say(house, "!run playbook failover to=x", event_id="$1")
    house.etb.down()
    await say(house, f"!approve {code_in(shown(house))}", BOB)
    await house.advance(2000)
    assert "was not approved in time" not in house.answers("$1")[-2]
    house.etb.up()
    await house.advance(60)
    assert starts(house) == []


# --- crashes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("before", [True, False], ids=["before the commit", "after the commit"])
@pytest.mark.parametrize("lives", [(1, 2), (2, 1, 1)])
async def test_a_crash_at_every_commit_asks_once_counts_once_and_starts_once(
    make_house: MakeHouse, before: bool, lives: tuple[int, ...]
) -> None:
    house = await opened(make_house, needed=2)
    await house.die_again_and_again(lives, before=before)
    await say(house, "!run playbook failover to=x", event_id="$1")
    code = code_in(shown(house))
    await say(house, f"!approve {code}", BOB)
    await say(house, f"!approve {code}", DAVE)
    await house.die_no_more()
    await house.advance(1)
    assert house.crashes > 8
    assert len(starts(house)) == len(house.etb.executions) == 1
    first = [say for _, say in house.world.said if say.purpose == "living" and say.edits is None]
    assert [str(say.content).split("*")[2].split(":")[0] for say in first] == [
        "Approval needed",
        "Runbook Failover waits for ETB to start it",
    ]
    assert (await house.tags()).count("approval.given") == 2


async def test_a_request_whose_message_is_late_is_shown_as_it_is_then(house: House) -> None:
    house.world.fail(Say, later(), times=1, only=lambda say: say.purpose == "living")
    await house.says(ALICE, "!wipe disk")
    await house.settle()
    async with house.db.view() as view:
        [(_, approval)] = await view.cases.all_open(Approval)
    await say(house, f"!approve {approval.code}", BOB)
    await house.advance(5)
    assert shown(house).startswith("**Approved**")
    assert len(RAN) == 1

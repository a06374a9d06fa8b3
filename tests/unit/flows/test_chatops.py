"""From a message to its answer, exactly once, and to nobody who may not have it."""

import asyncio
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.clearance import Right
from etb_appservice.domain.facts import MessageReceived, Trust
from etb_appservice.domain.ids import EventId, RoomId, UserId, Username
from etb_appservice.domain.outcomes import Broken, Refused
from etb_appservice.domain.people import PeopleMap
from etb_appservice.domain.policy import CommandPolicy
from etb_appservice.flows.call import Call
from etb_appservice.flows.commands import EVERYWHERE, Answer, command
from etb_appservice.flows.grammar import UsageError
from etb_appservice.flows.pace import Pace
from etb_appservice.ports import CommandRun
from tests.harness.cast import ALICE, BOB, BOT, CAROL, NO_1, OPERATOR, STRANGER, etb_user, policy_of
from tests.harness.house import House
from tests.harness.kit import MakeHouse


async def runs(house: House) -> list[CommandRun]:
    async with house.db.view() as view:
        return list(await view.commands.of_room(await house.room_id()))


# --- exactly once -----------------------------------------------------------------------------------------


async def test_a_command_is_answered_however_a_client_writes_it(house: House) -> None:
    await house.open_for_alice()
    for body in ("!status", "/status", "//status", "  !status", "!STATUS"):
        assert (await house.ask(ALICE, body)).startswith("**INC-1: Mail is down**")


async def test_a_command_is_recorded_run_and_answered_once(house: House) -> None:
    room_id = await house.open_for_alice()
    for _ in range(3):
        await house.says(ALICE, "!status", event_id="$1")
        await house.settle()
        await house.crash()
    assert len(house.answers("$1")) == 1
    [run] = await runs(house)
    assert (run.name, run.arguments, run.status) == ("status", "", "SUCCESS")
    assert (run.caller, run.event_id) == (ALICE, "$1")
    assert run.result == house.answers("$1")[0]
    assert (run.room_id, run.incident_id) == (room_id, NO_1)
    [entry] = [entry for entry in await house.audit() if entry.tag == "command.run"]
    assert (entry.actor, entry.subject) == (ALICE, run.id)
    assert entry.details["command"] == "status"
    assert entry.details["device"] == "PHONE"
    assert entry.hashes.keys() == {"arguments", "result"}
    assert house.meter.commands == [("status", "SUCCESS")]


async def test_an_answer_stands_in_the_thread_of_its_question(house: House) -> None:
    await house.open_for_alice()
    await house.ask(ALICE, "!status", event_id="$1", thread_root="$root")
    [say] = [say for _, say in house.world.said if say.purpose == "answer"]
    assert (say.reply_to, say.thread_root, say.notify) == ("$1", "$root", False)


@pytest.mark.parametrize(
    ("sender", "fields"),
    [
        (ALICE, {"replaces": "$0"}),
        (ALICE, {"msgtype": "m.notice"}),
        (BOT, {}),
        ("@_etb_u_alice:x.org", {}),
    ],
    ids=["an edit", "a notice", "the bot", "a ghost"],
)
async def test_what_is_no_question_of_a_person_runs_nothing(
    house: House, sender: str, fields: dict[str, str]
) -> None:
    await house.open_for_alice()
    event_id = await house.says(sender, "!status", **fields)
    await house.settle()
    assert house.answers(event_id) == []
    assert await runs(house) == []


async def test_editing_a_command_does_not_run_it_again(house: House) -> None:
    await house.open_for_alice()
    await house.ask(ALICE, "!status", event_id="$1")
    await house.says(ALICE, "!status", event_id="$2", replaces="$1")
    await house.settle()
    assert len(await runs(house)) == 1
    assert house.answers("$2") == []


async def test_a_command_that_was_recorded_before_is_not_run_again(house: House) -> None:
    room_id = await house.open_for_alice()
    async with house.db.work() as work:
        await work.commands.add(
            CommandRun(
                id="1",
                room_id=room_id,
                incident_id=NO_1,
                event_id=EventId("$1"),
                caller=ALICE,
                name="status",
                arguments="",
                result="",
                status="SUCCESS",
                asked_ms=0,
                finished_ms=0,
            )
        )
    await house.says(ALICE, "!status", event_id="$1")
    await house.settle()
    assert house.answers("$1") == []


async def test_nothing_of_a_decision_stays_when_its_commit_fails(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await house.open_for_alice()
    tags, said = await house.tags(), len(house.world.said)

    async def fails(*_arguments: object, **_more: object) -> bool:
        raise RuntimeError("the last write of the unit of work fails")

    with monkeypatch.context() as patch:
        patch.setattr("etb_appservice.store.outbox.SqlOutbox.add", fails)
        await house.says(ALICE, "!status", event_id="$1")
        await house.settle()
    assert await house.tags() == tags
    assert await runs(house) == []
    async with house.db.view() as view:
        assert await view.messages.by_event(EventId("$1")) is None
    await house.advance(5)
    assert len(house.answers("$1")) == 1
    assert len(house.world.said) == said + 1
    assert (await house.tags())[len(tags) :][:2] == ["message.received", "command.run"]


# --- words that don't fit ---------------------------------------------------------------------------------


async def test_an_unknown_command_gets_the_nearest_suggestion(house: House) -> None:
    await house.open_for_alice()
    assert await house.ask(ALICE, "!statsu") == (
        "I don't know `statsu`. Did you mean `!status`? `!help` lists what I can do."
    )
    assert await house.ask(ALICE, "!xyzzy") == "I don't know `xyzzy`. `!help` lists what I can do."
    last, first = await runs(house)
    assert (first.name, first.status, last.name, last.status) == ("statsu", "FAILED", "xyzzy", "FAILED")
    assert {one.details["command"] for one in await house.audit() if one.tag == "command.run"} == {"unknown"}
    assert house.meter.commands == [("unknown", "FAILED")] * 2


async def test_a_command_of_the_control_room_is_unknown_elsewhere_and_not_suggested(house: House) -> None:
    await house.open_for_alice()
    for body in ("!queue drop i1", "!queu"):
        answer = await house.ask(ALICE, body)
        assert answer.startswith("I don't know")
        assert "`!queue`" not in answer


async def test_a_wrong_argument_gets_the_usage_line(house: House) -> None:
    await house.open_for_alice()
    answer = await house.ask(ALICE, "!status [now](https://evil.example)")
    assert answer == ("I don't know what to do with “\\[now\\](https://evil.example)”.\n\nUsage: `!status`")
    [run] = await runs(house)
    assert run.status == "FAILED"


async def test_arguments_of_64_kib_are_refused_in_one_line(house: House) -> None:
    await house.open_for_alice()
    answer = await house.ask(ALICE, "!status " + "x" * 65_000)
    assert answer.startswith("That is too long: at most 4096 characters.")
    assert len(await house.ask(ALICE, "!" + "x" * 65_000)) < 200


async def test_a_command_may_refuse_its_arguments_itself(make_house: MakeHouse) -> None:
    @command(needs=Right.MEMBER, where=EVERYWHERE)
    async def picky(call: Call, word: str) -> Answer:
        """Be picky."""
        assert call.work is call.turn.work
        raise UsageError(f"I don't like {word}.")

    house = await make_house(commands={"picky": picky})
    await house.open_for_alice()
    assert await house.ask(ALICE, "!picky it") == "I don't like it.\n\nUsage: `!picky <word>`"


# --- rights -----------------------------------------------------------------------------------------------


async def test_who_is_not_linked_to_an_etb_user_is_told_so_and_nothing_else(house: House) -> None:
    room_id = await house.open_for_alice()
    async with house.db.work() as work:
        await work.rooms.set_member(room_id, STRANGER, "join")
    answer = await house.ask(STRANGER, "!status")
    assert answer == "Your Matrix account is not linked to an ETB user. Ask an operator to link it."
    [run] = await runs(house)
    assert run.status == "REFUSED"
    assert "command.refused" in await house.tags()
    assert "Mail" not in answer


async def test_an_inactive_account_is_refused(house: House) -> None:
    await house.open_for_alice()
    await house.moves(BOB, "join")
    await house.advance(60)
    house.etb.users[Username("bob")] = etb_user("bob", active=False)
    await house.advance(400)
    assert await house.ask(BOB, "!status") == "Your ETB account is not active."


async def test_whom_etb_shuts_out_is_removed_and_the_operators_learn_why(house: House) -> None:
    await house.open_for_alice()
    await house.moves(BOB, "join")
    house.etb.users[Username("bob")] = etb_user("bob", active=False)
    await house.advance(60)
    assert "person.removed" in await house.tags()
    assert [told for told in house.troubles() if "was removed from the room" in told and "bob" in told]
    assert await house.ask(BOB, "!status") == "You are not in this room."
    assert "person.removed" not in (await house.tags())[-3:]


async def test_whom_etb_knows_no_longer_is_refused_though_a_copy_says_otherwise(house: House) -> None:
    await house.open_for_alice()
    assert (await house.ask(ALICE, "!status")).startswith("**INC-1")
    del house.etb.users[Username("alice")]
    await house.advance(400)
    assert await house.ask(ALICE, "!status") == "Your ETB account is not active."
    house.etb.down()
    assert await house.ask(ALICE, "!status") == "You are not in this room.", "they were put out meanwhile"


async def test_who_is_not_cleared_for_the_level_is_refused(house: House) -> None:
    await house.open_for_alice(stated=Classification.RESTRICTED)
    house.know("carol", clearance=Classification.CONFIDENTIAL)
    async with house.db.work() as work:
        await work.rooms.set_member(await house.room_id(), CAROL, "join")
    assert await house.ask(CAROL, "!status") == "Your clearance does not reach the level of this incident."


async def test_who_is_not_in_the_room_is_refused(house: House) -> None:
    await house.open_for_alice()
    assert await house.ask(BOB, "!status") == "You are not in this room."


async def test_responders_are_the_people_whom_etb_names(make_house: MakeHouse) -> None:
    @command(needs=Right.RESPONDER, where=EVERYWHERE)
    async def act(call: Call) -> Answer:
        """Act."""
        return Answer("done")

    house = await make_house(commands={"act": act})
    await house.open_for_alice()
    await house.leave_over("carol")
    await house.moves(CAROL, "join")
    assert await house.ask(ALICE, "!act") == "done"
    assert await house.ask(CAROL, "!act") == "This needs the role responder of this incident."


async def test_operators_command_in_the_control_room_only(house: House) -> None:
    room_id = await house.open_for_alice()
    control = house.control_room()
    assert (await house.ask(OPERATOR, "!health", control)).startswith("**All is well.**")
    await house.moves(OPERATOR, "join", room_id)
    assert (await house.ask(OPERATOR, "!health", room_id)).startswith("I don't know")
    await house.moves(ALICE, "join", control)
    assert await house.ask(ALICE, "!health", control) == "You are not in this room.", "they were put out at once"
    await house.moves(OPERATOR, "leave", control)
    assert await house.ask(OPERATOR, "!health", control) == "You are not in this room."


async def test_a_refused_caller_learns_no_usage(house: House) -> None:
    await house.open_for_alice()
    assert await house.ask(BOB, "!status x y z") == "You are not in this room."


async def test_refusals_that_repeat_are_told_to_the_operators_once(house: House) -> None:
    await house.open_for_alice()
    for _ in range(5):
        await house.ask(BOB, "!status")
    [trouble] = house.troubles()
    assert "`@bob:x.org` was refused 3 commands" in trouble
    assert (await house.tags()).count("violation.refusals") == 1


async def test_rights_are_asked_of_etb_again_when_they_are_old_and_held_for_a_day_while_it_is_away(
    house: House,
) -> None:
    await house.open_for_alice()
    await house.advance(31)
    await house.ask(ALICE, "!help")
    asked = house.etb.calls.count("user")
    await house.ask(ALICE, "!help")
    assert house.etb.calls.count("user") == asked, "fresh enough"
    await house.advance(301)
    await house.ask(ALICE, "!help")
    assert house.etb.calls.count("user") == asked + 1
    house.etb.down()
    await house.advance(23 * 3600)
    assert (await house.ask(ALICE, "!help")).startswith("**What you can ask me here**")
    await house.advance(2 * 3600)
    assert (await house.ask(ALICE, "!help")).startswith("ETB has not confirmed your account for too long")


async def test_etb_saying_no_counts_as_no_answer(house: House) -> None:
    await house.open_for_alice()
    house.etb.trouble = Refused("the token is no good", code="401")
    await house.advance(301)
    assert (await house.ask(ALICE, "!help")).startswith("**What you can ask me here**")


async def test_an_etb_that_never_answers_holds_a_command_up_for_its_limit_only(make_house: MakeHouse) -> None:
    policy = replace(policy_of(), commands=CommandPolicy(etb_wait_s=0.01))
    house = await make_house(policy=policy)
    await house.open_for_alice()
    await house.advance(301)
    house.etb.gate = asyncio.Event()
    answer = await house.ask(ALICE, "!status")
    assert "ETB can't be reached; this is what it said" in answer


async def test_an_operator_needs_no_etb_account(make_house: MakeHouse) -> None:
    house = await make_house(policy=replace(policy_of(), people=PeopleMap()))
    await house.start_service()
    await house.moves(OPERATOR, "join", house.control_room())
    assert (await house.ask(OPERATOR, "!help", house.control_room())).startswith("**What you can ask me here**")


# --- how fast ---------------------------------------------------------------------------------------------


async def test_a_flood_gets_one_warning(house: House) -> None:
    await house.open_for_alice()
    asked = [await house.says(ALICE, f"!help status {number}") for number in range(12)]
    await house.settle()
    answered = [event_id for event_id in asked if house.answers(event_id)]
    assert len(answered) == 6
    assert house.answers(answered[-1]) == ["That is too fast for me: wait a minute, then ask again."]
    await house.advance(60)
    assert (await house.ask(ALICE, "!status")).startswith("**INC-1")


async def test_what_was_typed_too_fast_stays_out_of_the_audit_log(house: House) -> None:
    await house.open_for_alice()
    for _ in range(8):
        await house.says(ALICE, "!hunter2")
    await house.settle()
    refused = [entry for entry in await house.audit() if entry.tag == "command.refused"]
    assert [entry.details["command"] for entry in refused] == ["too fast"]
    assert not any(b"hunter2" in entry.canonical() for entry in await house.audit())


async def test_one_persons_flood_does_not_slow_another(house: House) -> None:
    await house.open_for_alice()
    await house.moves(BOB, "join")
    for _ in range(8):
        await house.says(ALICE, "!status")
    assert (await house.ask(BOB, "!status")).startswith("**INC-1")


def test_a_bucket_refills_with_time_up_to_its_burst() -> None:
    pace = Pace(CommandPolicy(per_minute=30, burst=3))
    assert [pace.allows(ALICE, 0.0) for _ in range(4)] == [True, True, True, False]
    assert [pace.allows(ALICE, 2.0) for _ in range(2)] == [True, False]
    assert [pace.allows(ALICE, 1000.0) for _ in range(4)] == [True, True, True, False]


def test_a_warning_is_due_once_until_the_sender_could_ask_again() -> None:
    pace = Pace(CommandPolicy(per_minute=60, burst=1))
    assert not pace.may_warn(ALICE), "nobody we have seen"
    assert pace.allows(ALICE, 0.0)
    assert not pace.allows(ALICE, 0.1)
    assert [pace.may_warn(ALICE), pace.may_warn(ALICE)] == [True, False]
    assert pace.allows(ALICE, 2.0)
    assert not pace.allows(ALICE, 2.1)
    assert pace.may_warn(ALICE)


def test_refusals_are_counted_per_sender() -> None:
    pace = Pace(CommandPolicy())
    pace.refused(ALICE)
    assert pace.refusals(ALICE) == 0, "never seen"
    pace.allows(ALICE, 0.0)
    pace.refused(ALICE)
    pace.refused(ALICE)
    assert (pace.refusals(ALICE), pace.refusals(BOB)) == (2, 0)


def test_senders_without_number_take_no_memory_without_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("etb_appservice.flows.pace._MOST_SENDERS", 100)
    pace = Pace(CommandPolicy(burst=1))
    for number in range(1000):
        pace.allows(UserId(f"@{number}:x"), 0.0)
        pace.allows(ALICE, 0.0)
    assert len(pace._buckets) == 100
    assert not pace.allows(ALICE, 0.0), "whoever goes on asking is not forgotten"


@given(st.lists(st.floats(0, 10), max_size=60), st.integers(1, 60), st.integers(1, 10))
def test_nobody_ever_asks_more_than_burst_and_rate_allow(pauses: list[float], per_minute: int, burst: int) -> None:
    pace = Pace(CommandPolicy(per_minute=per_minute, burst=burst))
    now, allowed = 0.0, 0
    for pause in pauses:
        now += pause
        allowed += pace.allows(ALICE, now)
    assert allowed <= burst + now * per_minute / 60 + 1e-6


# --- the edges of the machinery ---------------------------------------------------------------------------


async def test_a_question_to_a_room_that_is_not_ours_is_not_looked_into(house: House) -> None:
    await house.start_service()
    await house.says(ALICE, "!status", "!elsewhere")
    await house.advance(61)
    assert house.etb.calls == []


async def test_talk_is_not_a_command_for_whoever_asks(house: House) -> None:
    room = await house.open_for_alice()
    talk = MessageReceived(
        room_id=RoomId(room),
        event_id=EventId("$"),
        sender=ALICE,
        origin_ms=0,
        device_id="D",
        trust=Trust.UNSIGNED,
        msgtype="m.text",
        body="hello",
    )
    assert await house.decider.chatops.listener.look(talk, await house.room(), None) is None
    notice = replace(talk, body="!status", msgtype="m.notice")
    assert await house.decider.chatops.listener.look(notice, await house.room(), None) is None


async def test_a_command_that_was_redacted_while_it_was_parked_is_not_run_when_it_is_tried_again(
    house: House,
) -> None:
    room_id = await house.open_for_alice()
    await house.says(ALICE, "!status", event_id="$late", session="s")
    await house.settle()
    house.world.decoder_trouble["$late"] = Broken("no event")
    await house.key_comes("s")
    row = house.troubles()[-1].split("`queue retry ")[1].split("`")[0]
    await house.says(ALICE, "", event_id="$redaction", what="redaction", redacts="$late")
    await house.settle()
    house.world.decoder_trouble.clear()
    assert await house.ask(OPERATOR, f"!queue retry {row}", house.control_room()) == f"`{row}` is tried again."
    await house.settle()
    assert house.answers("$late") == []
    async with house.db.view() as view:
        assert await view.commands.of_room(room_id) == []
        kept = await view.messages.by_event(EventId("$late"))
    assert kept is not None
    assert (kept.state, kept.body) == ("redacted", None)

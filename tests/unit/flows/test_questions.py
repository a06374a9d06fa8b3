"""What the bot asks back, whose message answers it, and commands that came late."""

import json
from typing import Any, Literal

import pytest

from etb_appservice.domain.clearance import Right
from etb_appservice.domain.facts import QuestionEnds, Trust
from etb_appservice.domain.ids import EventId, RoomId, UserId
from etb_appservice.domain.questions import Held, Question, read_answer
from etb_appservice.flows.call import Call
from etb_appservice.flows.commands import EVERYWHERE, Answer, Command, NotYet, command
from etb_appservice.ports import CommandRun
from tests.harness.cast import ALICE, BOB, BOT, NO_1, OPERATOR
from tests.harness.house import House
from tests.harness.kit import MakeHouse

RAN: list[tuple[str, str, str]] = []
"""Who ran what with which answer."""


@command(needs=Right.RESPONDER, where=EVERYWHERE)
async def paint(call: Call, what: str) -> Answer:
    """Paint something."""
    colour = call.learned.get("colour")
    if colour is None:
        return await call.ask(f"Which colour for {what}?", wanted="colour", options=("red", "blue"))
    if "name" not in call.learned:
        return await call.ask("And your name?", wanted="name")
    RAN.append((what, colour, call.learned["name"]))
    return Answer(f"{what} is {colour}, says {call.learned['name']}")


@command(needs=Right.RESPONDER, where=EVERYWHERE)
async def act(call: Call) -> Answer:
    """Act."""
    RAN.append(("act", call.actor.user_id, str(call.actor.is_cross_signed)))
    return Answer("acted")


@command(needs=Right.RESPONDER, where=EVERYWHERE)
async def away(call: Call) -> Answer:
    """Need ETB."""
    if not call.learned:
        return await call.ask("Sure?", wanted="sure", asks_yes=True)
    raise NotYet("ETB is away.")


@command(needs=Right.MEMBER, where=EVERYWHERE, reads_only=True)
async def read(_call: Call) -> Answer:
    """Read."""
    return Answer("read")


COMMANDS: dict[str, Command] = {one.name: one for one in (paint, act, away, read)}


@pytest.fixture
async def house(make_house: MakeHouse) -> House:
    RAN.clear()
    house = await make_house(commands=COMMANDS)
    await house.open_for_alice()
    await house.moves(BOB, "join")
    return house


async def say(house: House, body: str, sender: str = ALICE, **fields: Any) -> list[str]:
    event_id = await house.says(sender, body, **fields)
    await house.settle()
    return house.answers(event_id)


async def runs(house: House) -> list[CommandRun]:
    async with house.db.view() as view:
        return list(await view.commands.of_room(await house.room_id()))


# --- a conversation ---------------------------------------------------------------------------------------


async def test_answers_are_gathered_until_the_command_can_run(house: House) -> None:
    assert await say(house, "!paint wall", event_id="$1") == ["Which colour for wall?"]
    assert await say(house, "2") == ["And your name?"]
    assert await say(house, "  Ada Lovelace ") == ["wall is blue, says Ada Lovelace"]
    assert RAN == [("wall", "blue", "Ada Lovelace")]
    [run] = await runs(house)
    assert (run.event_id, run.status, run.result) == ("$1", "SUCCESS", "wall is blue, says Ada Lovelace")
    assert await say(house, "1") == []
    assert await say(house, "Ada") == []


async def test_a_command_that_waits_for_an_answer_is_running_in_the_log(house: House) -> None:
    await say(house, "!paint wall")
    [run] = await runs(house)
    assert run.status == "RUNNING"


@pytest.mark.parametrize("body", ["Red", "1", "1.", " 1 ", "RED"])
async def test_an_option_is_named_by_its_number_or_by_itself(house: House, body: str) -> None:
    await say(house, "!paint wall")
    assert await say(house, body) == ["And your name?"]


async def test_a_number_that_is_not_on_the_list_is_asked_for_again(house: House) -> None:
    await say(house, "!paint wall")
    assert await say(house, "3") == ["Answer with a number from 1 to 2, or `cancel`."]
    assert await say(house, "0") == ["Answer with a number from 1 to 2, or `cancel`."]
    assert await say(house, "1") == ["And your name?"]


async def test_talk_meanwhile_is_talk(house: House) -> None:
    await say(house, "!paint wall")
    assert await say(house, "hold on, 2 minutes please") == []
    assert await say(house, "1") == ["And your name?"]


async def test_the_asker_may_think_better_of_it(house: House) -> None:
    await say(house, "!paint wall")
    assert await say(house, "cancel") == ["All right: `paint wall` is not run."]
    assert (await runs(house))[0].status == "CANCELLED"
    assert await say(house, "1") == []


# --- whose message counts ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sender", "fields"),
    [
        (BOB, {}),
        (ALICE, {"replaces": "$1"}),
        (ALICE, {"replaces": "$0"}),
        (ALICE, {"msgtype": "m.notice"}),
        (ALICE, {"msgtype": "m.image"}),
        (ALICE, {"what": "plain"}),
        (ALICE, {"what": "reaction", "key": "1⃣", "relates_to": "$1"}),
        (ALICE, {"thread_root": "$elsewhere"}),
        (BOT, {}),
    ],
    ids=["another", "edit", "other edit", "notice", "image", "clear text", "reaction", "another thread", "bot"],
)
async def test_nothing_else_answers(house: House, sender: str, fields: dict[str, str]) -> None:
    await say(house, "!paint wall", event_id="$1")
    assert await say(house, "1", sender, **fields) == []
    assert await say(house, "1") == ["And your name?"], "the question is still open"


async def test_a_message_in_another_room_does_not_answer(house: House) -> None:
    await house.moves(ALICE, "join", house.control_room())
    await say(house, "!paint wall")
    event_id = await house.says(ALICE, "1", house.control_room())
    await house.settle()
    assert house.answers(event_id) == []


async def test_a_question_in_a_thread_is_answered_there(house: House) -> None:
    await say(house, "!paint wall", thread_root="$root")
    assert house.world.said[-1][1].thread_root == "$root"
    assert await say(house, "1") == []
    assert await say(house, "1", thread_root="$root") == ["And your name?"]


async def test_a_thread_below_the_command_or_below_the_question_will_do(house: House) -> None:
    await say(house, "!paint wall", event_id="$1")
    asked, _ = house.world.said[-1]
    assert await say(house, "1", thread_root="$1") == ["And your name?"]
    assert await say(house, "Ada", thread_root=asked) == [], "that was the question before"
    asked, _ = house.world.said[-1]
    assert await say(house, "Ada", thread_root=asked) == ["wall is red, says Ada"]


async def test_each_has_a_question_of_their_own(house: House) -> None:
    await house.report(house.etb.known[NO_1])
    await say(house, "!paint wall", ALICE)
    await say(house, "!paint door", BOB)
    await say(house, "1", BOB)
    await say(house, "2", ALICE)
    await say(house, "Bob", BOB)
    await say(house, "Alice", ALICE)
    assert RAN == [("door", "red", "Bob"), ("wall", "blue", "Alice")]


async def test_who_lost_the_right_meanwhile_is_refused(house: House) -> None:
    await say(house, "!paint wall")
    await say(house, "1")
    await house.moves(ALICE, "leave")
    assert await say(house, "Ada") == ["You are not in this room."]
    assert RAN == []
    assert (await runs(house))[0].status == "REFUSED"


# --- how it ends ------------------------------------------------------------------------------------------


async def test_another_command_of_theirs_ends_it(house: House) -> None:
    await say(house, "!paint wall")
    await say(house, "!read")
    assert await say(house, "1") == []
    assert [run.status for run in await runs(house)] == ["SUCCESS", "CANCELLED"]


async def test_another_question_takes_its_place(house: House) -> None:
    await say(house, "!paint wall")
    await say(house, "!paint door")
    await say(house, "1")
    await say(house, "Ada")
    assert RAN == [("door", "red", "Ada")]
    await house.advance(3600)
    assert not [text for text in house.world.texts() if text.startswith("No answer came")]


async def test_an_answer_that_never_comes_is_said_once(house: House) -> None:
    await say(house, "!paint wall", event_id="$1")
    await house.advance(601)
    assert house.answers("$1")[1:] == ["No answer came, so `paint wall` was not run."]
    assert await say(house, "1") == []
    await house.advance(3600)
    assert len(house.answers("$1")) == 2
    assert (await runs(house))[0].status == "CANCELLED"


async def test_an_answer_that_comes_with_the_end_counts_no_more(house: House) -> None:
    await say(house, "!paint wall")
    await house.says(ALICE, "1")
    house.clock.advance(601)
    await house.settle()
    assert RAN == []


async def test_the_end_of_a_question_that_is_gone_says_nothing(house: House) -> None:
    room = await house.room()
    await house.own(QuestionEnds(war_room=room.war_room, asker=ALICE, number="none"), lane=NO_1)
    said = len(house.world.said)
    await house.settle()
    assert len(house.world.said) == said


async def test_what_can_not_run_while_etb_is_away_is_answered_so(house: House) -> None:
    await say(house, "!away")
    assert await say(house, "no!") == ["All right: `away` is not run."]
    await say(house, "!away")
    assert await say(house, "Yes.") == ["ETB is away."]


async def test_a_flood_of_wrong_answers_is_not_answered(house: House) -> None:
    await say(house, "!paint wall")
    answered = [await say(house, "7") for _ in range(8)]
    assert 0 < sum(map(len, answered)) < 5


async def test_a_command_that_was_redacted_while_it_waited_is_not_run(house: House) -> None:
    await say(house, "!paint wall", event_id="$1")
    await house.redacts(ALICE, "$1")
    assert await say(house, "1") == []
    assert await say(house, "Ada") == []
    assert (await runs(house))[0].status == "CANCELLED"


# --- restarts and cost ------------------------------------------------------------------------------------


async def test_a_question_survives_a_restart(house: House) -> None:
    await say(house, "!paint wall")
    await house.crash()
    assert await say(house, "1") == ["And your name?"]
    await house.crash()
    assert await say(house, "Ada") == ["wall is red, says Ada"]


@pytest.mark.parametrize("before", [True, False])
async def test_a_crash_at_every_commit_asks_once_and_runs_once(house: House, before: bool) -> None:
    await house.die_again_and_again([1, 2, 1], before=before)
    for event_id, body in (("$1", "!paint wall"), ("$2", "1"), ("$3", "Ada")):
        await say(house, body, event_id=event_id)
    await house.die_no_more()
    await house.settle()
    assert house.crashes > 3
    assert [house.answers(one) for one in ("$1", "$2", "$3")] == [
        ["Which colour for wall?"],
        ["And your name?"],
        ["wall is red, says Ada"],
    ]


async def test_talk_is_not_looked_into_where_nothing_was_asked(house: House) -> None:
    await say(house, "hello")
    views = 0
    view = house.store.view

    def counted() -> Any:
        nonlocal views
        views += 1
        return view()

    house.decider.follow_ups.store.view = counted  # type: ignore[method-assign]
    quiet = await house.says(ALICE, "hello again")
    await house.settle()
    calm = views
    await house.says(BOB, "hi")
    await house.settle()
    assert views - calm == calm
    assert not house.decider.follow_ups.questions.may_answer(await _talk(house, quiet))


async def _talk(house: House, event_id: str) -> Any:
    payload = {
        "is": "message", "room_id": await house.room_id(), "event_id": event_id, "sender": ALICE, "origin_ms": 5,
        "msgtype": "m.text", "body": "hello",
    }  # fmt: skip
    return await house.world.decode(json.dumps(payload).encode())


# --- late commands ----------------------------------------------------------------------------------------


async def test_a_late_command_is_confirmed_before_it_runs(house: House) -> None:
    sent = house.clock.now_ms() - 12 * 60_000
    assert await say(house, "!act", origin_ms=sent) == [
        "You sent `act` 12 minutes ago. Still want it? Answer `yes` or `no`."
    ]
    assert RAN == []
    assert await say(house, "what was that?") == []
    assert await say(house, "YES") == ["acted"]
    assert RAN == [("act", ALICE, "True")]


async def test_a_confirmation_counts_as_what_its_own_device_is(house: House) -> None:
    await say(house, "!act", origin_ms=5)
    await say(house, "yes", trust=Trust.UNSIGNED.value)
    assert RAN == [("act", ALICE, "False")]


async def test_a_late_command_that_is_no_longer_wanted_is_not_run(house: House) -> None:
    await say(house, "!act", origin_ms=5)
    assert await say(house, "no") == ["All right: `act` is not run."]
    assert RAN == []


async def test_a_late_command_that_only_reads_is_answered(house: House) -> None:
    assert await say(house, "!read", origin_ms=5) == ["read"]


async def test_a_late_command_of_someone_who_may_not_is_refused_and_not_asked_about(house: House) -> None:
    await house.moves(OPERATOR, "join", await house.room_id())
    [answer] = await say(house, "!act", OPERATOR, origin_ms=5)
    assert answer == "You are not in this room."


async def test_a_clock_that_is_ahead_makes_nothing_late(house: House) -> None:
    assert await say(house, "!act", origin_ms=house.clock.now_ms() + 10**9) == ["acted"]


async def test_a_command_whose_key_came_late_is_late(house: House) -> None:
    event_id = await house.says(ALICE, "!act", session="s")
    await house.settle()
    await house.advance(400)
    await house.key_comes("s")
    [answer] = house.answers(event_id)
    assert answer.startswith("You sent `act` 6 minutes ago.")


# --- reading an answer ------------------------------------------------------------------------------------


def question(kind: Literal["yes", "list", "text"]) -> Question:
    held = Held(
        run_id="r", caller=UserId("@a:x"), room_id=RoomId("!r"), event_id=EventId("$e"), command="c", text=""
    )
    return Question(
        id="@a:x", number="1", held=held, wanted="w", prompt="?", expires_ms=1,
        asks_yes=kind == "yes", options=("a1", "b2") if kind == "list" else (),
        labels=("Straße", "B") if kind == "list" else (),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "body", "value"),
    [
        ("yes", "y", "yes"), ("yes", "yes please", None), ("list", "STRASSE", "a1"), ("list", "٢", None),
        ("list", "9" * 5000, None), ("text", "a\nb", "a\nb"), ("text", "   ", None), ("list", "b2", None),
    ],
)  # fmt: skip
def test_what_a_message_says(kind: Literal["yes", "list", "text"], body: str, value: str | None) -> None:
    reading = read_answer(question(kind), body)
    assert (reading.value if reading else None) == value

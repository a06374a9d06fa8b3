"""What was accepted leaves only by a commit: failures are retried, then parked, told, tried again by a person."""

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text

from etb_appservice.domain.facts import KeyAwaited
from etb_appservice.domain.ids import EventId, RoomId, short_hash
from etb_appservice.domain.outcomes import Broken, Later
from etb_appservice.domain.policy import Backoff, KeyPolicy
from etb_appservice.flows.turn import Turn
from etb_appservice.ports import ASK_AGAIN, Arrival
from etb_appservice.store.codec import FactJson
from tests.harness.cast import ALICE, BOB, NO_1, NO_2, OPERATOR, incident, policy_of
from tests.harness.events import event
from tests.harness.house import House
from tests.harness.kit import MakeHouse


async def depth(house: House) -> tuple[int, int]:
    async with house.db.view() as view:
        ready, parked, _ = await view.inbox.depth(house.clock.now_ms())
    return ready, parked


async def test_an_empty_lane_has_nothing_to_do(house: House) -> None:
    assert await house.intake.step("nowhere") is False
    assert await house.outbox.step("nowhere") is False


async def test_what_leads_to_nothing_is_forgotten(house: House) -> None:
    await house.accept(Arrival(source="etb", lane=NO_1, key=short_hash("n"), payload=b"nothing"))
    await house.settle()
    assert await depth(house) == (0, 0)
    assert await house.tags() == []


@pytest.mark.parametrize("source", ["etb", "own"])
async def test_bytes_that_are_no_fact_are_parked_at_once_and_told(house: House, source: str) -> None:
    await house.start_service()
    assert source in {"etb", "own"}
    await house.accept(
        Arrival(
            source="etb" if source == "etb" else "own", lane=NO_1, key=short_hash("x"), payload=b"\xff not json"
        )
    )
    await house.settle()
    assert await depth(house) == (0, 1)
    [trouble] = house.troubles()
    assert f"from {source}) could not be processed and was parked" in trouble
    assert "`queue retry i" in trouble
    assert house.meter.parkings == ["inbox"]


async def test_a_handler_that_fails_is_retried_with_back_off_parked_told_and_tried_again_by_an_operator(
    house: House,
) -> None:
    await house.open_for_alice()
    await house.moves(BOB, "join")
    house.world.decoder_trouble["$bad"] = RuntimeError("a bug with a secret in it")
    await house.says(ALICE, "!status", event_id="$bad")
    await house.says(BOB, "!status", event_id="$next")
    await house.report(incident(id=NO_2, number="INC-2"))
    await house.settle()
    assert house.answers("$next") == [], "it holds its own lane"
    assert await house.room_id(NO_2), "and no other"
    await house.advance(1)
    assert await depth(house) == (2, 0)
    await house.advance(10)
    assert house.answers("$bad") == []
    assert len(house.answers("$next")) == 1, "the lane goes on"
    assert await depth(house) == (0, 1)
    [trouble] = house.troubles()
    assert "RuntimeError while deciding; see the log" in trouble
    assert "secret" not in trouble
    assert house.meter.parkings == ["inbox"]
    row = trouble.split("`queue retry ")[1].split("`")[0]
    house.world.decoder_trouble.clear()
    assert await house.ask(OPERATOR, f"!queue retry {row}", house.control_room()) == f"`{row}` is tried again."
    await house.settle()
    assert len(house.answers("$bad")) == 1
    assert await depth(house) == (0, 0)
    assert "queue.retry" in await house.tags()


async def test_no_log_holds_what_was_written(house: House, logged: list[Any]) -> None:
    await house.open_for_alice()
    house.world.decoder_trouble["$bad"] = RuntimeError("a bug")
    await house.says(ALICE, "the secret word", event_id="$bad")
    await house.says(ALICE, "!help the secret word")
    await house.says(ALICE, "the secret word", session="lost")
    await house.settle()
    await house.advance(60)
    assert any(entry["event"] == "a fact could not be decided" for entry in logged)
    assert "secret word" not in repr(logged)


async def test_what_is_parked_again_is_told_again(house: House) -> None:
    await house.open_for_alice()
    house.world.decoder_trouble["$bad"] = Broken("*no* event")
    await house.says(ALICE, "x", event_id="$bad")
    await house.settle()
    [first] = house.troubles()
    assert "\\*no\\* event" in first
    row = first.split("`queue retry ")[1].split("`")[0]
    await house.ask(OPERATOR, f"!queue retry {row}", house.control_room())
    await house.settle()
    assert len(house.troubles()) == 2


async def test_a_wait_that_the_homeserver_asks_for_is_kept(house: House) -> None:
    await house.open_for_alice()
    house.world.decoder_trouble["$busy"] = Later("the devices can't be asked for now", after_s=20)
    await house.says(ALICE, "!status", event_id="$busy")
    await house.settle()
    house.world.decoder_trouble.clear()
    await house.advance(19)
    assert house.answers("$busy") == []
    await house.advance(1.5)
    assert len(house.answers("$busy")) == 1


async def test_while_somebody_who_must_be_asked_is_away_a_row_is_as_patient_as_an_effect(
    make_house: MakeHouse,
) -> None:
    house = await make_house(policy=replace(policy_of(), outbox=Backoff(first_s=1, most_s=4, tries=9)))
    assert house.policy.intake.tries < 8
    await house.open_for_alice()
    house.world.decoder_trouble["$away"] = Later("the devices can't be asked for now")
    await house.says(ALICE, "!status", event_id="$away")
    for tries in range(1, 9):
        await house.settle()
        assert (await depth(house))[1] == 0, f"after {tries} tries"
        house.clock.advance(5)
    house.world.decoder_trouble.clear()
    await house.settle()
    assert len(house.answers("$away")) == 1
    assert house.troubles() == []


async def test_who_is_away_for_too_long_has_the_row_parked_and_told(house: House) -> None:
    await house.open_for_alice()
    house.world.decoder_trouble["$away"] = Later("the devices can't be asked for now")
    await house.says(ALICE, "!status", event_id="$away")
    for _ in range(house.policy.outbox.tries):
        await house.advance(5)
    assert await depth(house) == (0, 1)
    [trouble] = house.troubles()
    assert "the devices can't be asked for now" in trouble


async def test_a_row_that_can_not_be_opened_is_parked_and_told_and_its_lane_goes_on(house: House) -> None:
    await house.open_for_alice()
    await house.says(ALICE, "!status", event_id="$changed")
    await house.says(ALICE, "!status", event_id="$next")
    async with house.db.desk() as desk:
        await desk.write(
            lambda transaction: transaction.change(
                text("UPDATE inbox SET payload = x'00' WHERE seq = (SELECT max(seq) - 1 FROM inbox)")
            )
        )
    await house.settle()
    assert house.answers("$changed") == []
    assert len(house.answers("$next")) == 1
    assert await depth(house) == (0, 1)
    [trouble] = house.troubles()
    assert "can't be opened and was parked" in trouble
    assert house.meter.parkings == ["inbox"]
    row = trouble.split("`queue drop ")[1].split("`")[0]
    listed = await house.ask(OPERATOR, "!queue", house.control_room())
    assert f"- `{row}` from matrix" in listed
    assert await house.ask(OPERATOR, f"!queue drop {row}", house.control_room()) == f"`{row}` was dropped."


async def test_what_an_operator_retries_is_looked_for_everywhere(house: House) -> None:
    await house.open_for_alice()
    house.world.decoder_trouble["$bad"] = Broken("no event")
    await house.says(ALICE, "x", event_id="$bad")
    await house.settle()
    [trouble] = house.troubles()
    row = trouble.split("`queue retry ")[1].split("`")[0]
    for command in ("", f" retry {row}"):
        house.woken.clear()
        await house.ask(OPERATOR, f"!queue{command}", house.control_room())
        assert (((), ()) in house.woken) is (command != "")


async def test_a_row_that_was_accepted_as_odd_waits_for_an_operator_and_can_be_dropped(house: House) -> None:
    await house.open_for_alice()
    await house.accept(
        Arrival(
            source="matrix",
            lane="matrix/odd",
            key=short_hash("odd"),
            payload=b"[]",
            park_reason="the event is not a JSON object",
        )
    )
    await house.settle()
    listed = await house.ask(OPERATOR, "!queue", house.control_room())
    assert "the event is not a JSON object" in listed
    row = listed.split("- `")[1].split("`")[0]
    assert await house.ask(OPERATOR, f"!queue drop {row}", house.control_room()) == f"`{row}` was dropped."
    assert await house.ask(OPERATOR, "!queue", house.control_room()) == "Nothing is parked."


async def test_after_a_commit_the_lanes_and_targets_it_gave_work_to_are_woken(house: House) -> None:
    await house.start_service()
    house.woken.clear()
    await house.report(incident())
    assert await house.intake.step(NO_1) is True
    war_room = (await house.room()).war_room
    assert house.woken == [((), (f"matrix/open/2/{war_room}",))]
    house.woken.clear()
    assert await house.outbox.step(f"matrix/open/2/{war_room}") is True
    assert house.woken == [((NO_1,), ())]


async def test_a_rotation_that_fails_does_not_lose_the_wake(house: House) -> None:
    await house.open_for_alice()
    await house.let_in("carol")
    house.world.rotation_failure = RuntimeError("crypto")
    house.woken.clear()
    room_id = await house.room_id()
    joined = event("member", room_id, BOB, event_id="$j", user_id="@carol:x.org", membership="join")
    await house.accept_event(joined)
    await house.intake.step(NO_1)
    assert house.woken == [((), ())], "the card for the newcomer falls due in a moment"
    assert await depth(house) == (0, 0)


async def test_keys_that_nobody_waits_for_wake_nobody(house: House) -> None:
    await house.intake.keys_arrived([(RoomId("!r"), "s")])
    await house.intake.recheck_waiting()
    assert house.woken == []


async def test_limits_for_keys_are_the_operators(make_house: MakeHouse) -> None:
    house = await make_house(policy=replace(policy_of(), keys=KeyPolicy(tell_after_s=5, give_up_after_s=10)))
    room_id = await house.open_for_alice()
    before = len(house.world.texts(room_id))
    await house.says(ALICE, "x", event_id="$1", session="lost")
    await house.settle()
    await house.advance(6)
    assert len(house.world.texts(room_id)) == before + 1
    await house.advance(5)
    assert "message.given_up" in await house.tags()


async def test_a_turn_asks_for_an_effect_and_accepts_a_fact_once_per_key(house: House) -> None:
    fact = KeyAwaited(
        room_id=RoomId("!r"), event_id=EventId("$e"), sender=ALICE, origin_ms=0, session_id="s", waited_s=1
    )
    async with house.db.work() as work:
        for _ in range(2):
            turn = Turn(work=work, ref="f1", lane="lane", codec=FactJson())
            await turn.follow(fact, ("k",))
            await turn.follow(fact, ("k",), lane="other")
            await turn.trouble(("t",), "Something is wrong.")
        assert turn.lanes == []
        assert not turn.looks_around
        await turn.follow(fact, ("k", "timer"), due_ms=house.clock.now_ms() + 60_000)
        assert turn.looks_around, "nobody else would know when to look"
        assert turn.lanes == []
    async with house.db.work() as work:
        assert await work.inbox.lanes(house.clock.now_ms()) == ["lane", "service"]


async def test_who_can_not_be_asked_about_holds_up_nobody_else_and_is_asked_about_again(house: House) -> None:
    room_id = await house.open_for_alice()
    await house.moves(BOB, "join")
    await house.settle()
    await house.says(ALICE, "!status", event_id="$away", session=f"{ASK_AGAIN}s")
    await house.says(BOB, "!status", event_id="$next")
    await house.settle()
    assert (house.answers("$away"), len(house.answers("$next"))) == ([], 1)
    await house.intake.ask_again()
    await house.settle()
    assert house.answers("$away") == [], "and nothing turns in circles"
    house.world.keys.add((room_id, f"{ASK_AGAIN}s"))
    await house.settle()
    assert house.answers("$away") == [], "no key wakes it"
    await house.intake.ask_again()
    await house.settle()
    assert len(house.answers("$away")) == 1


async def test_only_what_waits_for_an_answer_is_asked_about_again(house: House) -> None:
    room_id = await house.open_for_alice()
    await house.says(ALICE, "!status", event_id="$lost", session="lost")
    await house.settle()
    house.world.keys.add((room_id, "lost"))
    house.woken.clear()
    await house.intake.ask_again()
    assert house.woken == []


async def test_what_waits_for_its_sender_comes_before_what_was_said_later_in_its_session(house: House) -> None:
    room_id = await house.open_for_alice()
    await house.says(ALICE, "!status", event_id="$first", session=f"{ASK_AGAIN}s")
    await house.settle()
    house.world.keys |= {(room_id, f"{ASK_AGAIN}s"), (room_id, "s")}
    await house.says(ALICE, "!status", event_id="$second", session="s")
    await house.settle()
    first, second = house.answers("$first"), house.answers("$second")
    assert (len(first), len(second)) == (1, 1)
    order = [say.reply_to for _, say in house.world.said if say.reply_to in {"$first", "$second"}]
    assert order == ["$first", "$second"]


async def test_the_room_is_told_that_a_homeserver_does_not_answer(house: House) -> None:
    room_id = await house.open_for_alice()
    await house.says(ALICE, "x", event_id="$away", session=f"{ASK_AGAIN}s")
    await house.settle()
    await house.advance(31)
    assert "does not say which devices" in house.world.texts(room_id)[-1]

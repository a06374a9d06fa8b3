"""Every effect ends in an answer: done, refused, parked, or unknown; in order, and once in effect."""

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text

from etb_appservice.domain.effects import AddTimelineEntry, Invite, OpenRoom, Say
from etb_appservice.domain.ids import RoomId
from etb_appservice.domain.outcomes import Refused
from etb_appservice.domain.policy import Backoff
from etb_appservice.flows.turn import Turn
from etb_appservice.ports import OutboxRow, ParkedEffect
from etb_appservice.store.codec import FactJson
from tests.harness.cast import ALICE, NO_1, OPERATOR, incident, policy_of
from tests.harness.house import House
from tests.harness.kit import MakeHouse
from tests.harness.world import broken, later, unsure


async def queue_texts(house: House, *texts: str, room: str = "!r", lane: str = NO_1) -> None:
    """Ask for messages, in this order."""
    async with house.db.work() as work:
        turn = Turn(work=work, ref=f"t{texts[0]}", lane=lane, codec=FactJson())
        for text in texts:
            await turn.emit(text, Say(room_id=room, content=text))  # type: ignore[arg-type]


async def parked(house: House) -> list[ParkedEffect]:
    async with house.db.view() as view:
        return list(await view.outbox.parked())


def saying(text: str) -> Any:
    return lambda say: say.content == text


async def test_effects_of_a_target_are_carried_out_in_order_and_one_that_waits_holds_them_back(
    house: House,
) -> None:
    house.world.fail(Say, later(), only=saying("one"))
    await queue_texts(house, "one", "two")
    await queue_texts(house, "elsewhere", room="!other")
    await house.settle()
    assert house.world.texts() == ["elsewhere"]
    await house.advance(2)
    assert house.world.texts() == ["elsewhere", "one", "two"]


async def test_a_refused_effect_ends_and_the_target_goes_on(house: House) -> None:
    await house.start_service()
    house.world.fail(Say, Refused("you are *not* in this room", code="M_FORBIDDEN"), only=saying("one"))
    await queue_texts(house, "one", "two")
    await house.settle()
    assert "two" in house.world.texts()
    assert await parked(house) == []
    assert house.troubles() == ["`Say` was refused: you are \\*not\\* in this room"]
    assert "effect.refused" in await house.tags()
    assert house.meter.parkings == []
    assert ("Say", "refused") in house.meter.effects


async def test_what_is_put_off_too_often_is_parked_and_tried_again_by_an_operator(house: House) -> None:
    await house.open_for_alice()
    house.world.fail(Say, later(), times=4, only=saying("one"))
    await queue_texts(house, "one", "two")
    for _ in range(4):
        await house.advance(5)
    assert "two" in house.world.texts()
    [row] = await parked(house)
    assert (row.state, row.error) == ("parked", "the homeserver is away")
    [trouble] = house.troubles()
    assert trouble == "`Say` was parked: the homeserver is away See `queue`."
    assert house.meter.parkings == ["outbox"]
    await house.ask(OPERATOR, f"!queue retry o{row.seq}", house.control_room())
    await house.settle()
    assert house.world.texts().count("one") == 1
    assert await parked(house) == []


async def test_an_effect_that_is_parked_a_second_time_is_told_a_second_time(house: House) -> None:
    await house.open_for_alice()
    house.world.fail(Say, broken(), times=2, only=saying("one"))
    await queue_texts(house, "one")
    await house.settle()
    [row] = await parked(house)
    await house.ask(OPERATOR, f"!queue retry o{row.seq}", house.control_room())
    await house.settle()
    assert len(house.troubles()) == 2


async def test_a_wait_that_the_other_side_asks_for_is_kept(house: House) -> None:
    house.world.fail(Say, later(after_s=40), only=saying("one"))
    await queue_texts(house, "one")
    await house.settle()
    await house.advance(39)
    assert house.world.texts() == []
    await house.advance(1.5)
    assert house.world.texts() == ["one"]


async def test_what_may_have_happened_is_tried_again_and_parked_as_unknown_at_the_end(house: House) -> None:
    await house.open_for_alice()
    house.world.fail(Say, unsure(), times=5, only=saying("one"))
    await queue_texts(house, "one", "two")
    for _ in range(5):
        await house.advance(5)
    [row] = await parked(house)
    assert row.state == "unknown"
    assert house.troubles() == ["`Say` has an unknown outcome: no answer came See `queue`."]
    assert "outcome unknown" in await house.ask(OPERATOR, "!queue", house.control_room())
    assert "two" in house.world.texts()
    assert "effect.unknown" in await house.tags()


async def test_a_message_whose_answer_was_lost_is_sent_once(house: House) -> None:
    house.world.fail(Say, unsure(), times=3, lands=True, only=saying("one"))
    await queue_texts(house, "one")
    for _ in range(4):
        await house.advance(5)
    assert house.world.texts() == ["one"]


async def test_an_outage_before_it_does_not_make_one_lost_answer_the_last_try(make_house: MakeHouse) -> None:
    house = await make_house(policy=replace(policy_of(), outbox=Backoff(first_s=1, most_s=4, tries=20)))
    house.world.fail(Say, later(), times=8, only=saying("one"))
    house.world.fail(Say, unsure(), times=1, lands=True, only=saying("one"))
    await queue_texts(house, "one")
    for _ in range(12):
        await house.advance(5)
    assert house.world.texts() == ["one"]
    assert await parked(house) == []


@pytest.mark.parametrize("failure", [broken(), RuntimeError("a bug")], ids=["Broken", "a bug"])
async def test_a_request_that_can_not_be_right_is_parked_at_once_and_the_target_goes_on(
    house: House, failure: Exception
) -> None:
    await house.start_service()
    house.world.fail(Say, failure, only=saying("one"))
    await queue_texts(house, "one", "two")
    await house.settle()
    assert "two" in house.world.texts()
    [row] = await parked(house)
    assert row.state == "parked"
    assert "a bug" not in row.error
    assert len(house.troubles()) == 1
    assert ("Say", "broken") in house.meter.effects


async def test_what_the_control_room_refuses_is_not_told_to_the_control_room(house: House) -> None:
    await house.start_service()
    control = house.control_room()
    house.world.fail(Say, Refused("not in the room"), times=1000, only=lambda say: say.room_id == control)
    await house.report(incident(reporter=None))
    await house.settle()
    tried = [effect for effect, _ in house.world.tries if isinstance(effect, Say) and effect.room_id == control]
    assert len(tried) == 1
    assert (await house.tags()).count("effect.refused") == 1


async def test_an_operators_answer_that_is_parked_leads_to_no_second_one(house: House) -> None:
    await house.open_for_alice()
    house.world.fail(Say, broken(), only=lambda say: say.purpose == "answer")
    event_id = await house.says(OPERATOR, "!health", house.control_room())
    await house.settle()
    assert house.answers(event_id) == []
    assert house.troubles() == []
    assert [row.kind for row in await parked(house)] == ["Say"]


@pytest.mark.parametrize(
    "failure", [broken(), Refused("a request that can't be right")], ids=["Broken", "Refused"]
)
async def test_an_invitation_that_is_parked_is_told_with_the_fix(house: House, failure: Exception) -> None:
    house.know("alice")
    await house.start_service()
    house.world.fail(
        Invite, failure, only=lambda invite: invite.user_id == ALICE and invite.room_id != house.space()
    )
    await house.report(incident(assignee=None))
    await house.settle()
    [trouble] = house.troubles()
    assert trouble.startswith("`@alice:x.org` could not be invited to **INC-1 Mail is down**: a request that ")
    assert trouble.endswith("then see `queue` or restart: it is tried again then.")
    [row] = await parked(house)
    assert (row.kind, row.state) == ("Invite", "parked")
    assert house.meter.parkings == ["outbox"]


async def test_a_room_that_is_refused_is_opened_when_an_operator_tries_again(house: House) -> None:
    await house.start_service()
    await house.moves(OPERATOR, "join", house.control_room())
    house.world.fail(OpenRoom, Refused("the alias is taken"))
    await house.report(incident())
    await house.settle()
    assert house.troubles() == ["`OpenRoom` was parked: the alias is taken See `queue`."]
    assert (await house.room()).room_id is None
    [row] = await parked(house)
    assert (row.kind, row.state, row.error) == ("OpenRoom", "parked", "the alias is taken")
    await house.ask(OPERATOR, f"!queue retry o{row.seq}", house.control_room())
    await house.settle()
    assert len(house.world.cards(await house.room_id())) == 1
    assert await parked(house) == []


async def test_a_card_that_is_refused_waits_for_an_operator(house: House) -> None:
    await house.start_service()
    await house.moves(OPERATOR, "join", house.control_room())
    house.world.fail(Say, Refused("too large"), only=lambda say: say.purpose == "card")
    await house.report(incident(reporter=None, assignee=None))
    await house.settle()
    assert house.troubles() == ["`Say` was parked: too large See `queue`."]
    [row] = await parked(house)
    await house.ask(OPERATOR, f"!queue retry o{row.seq}", house.control_room())
    await house.settle()
    room_id = await house.room_id()
    [(card_event, _, _)] = house.world.cards(room_id)
    assert house.world.pinned[room_id] == [card_event]


async def test_an_effect_that_can_not_be_opened_is_parked_and_told_and_its_target_goes_on(house: House) -> None:
    await house.start_service()
    await house.moves(OPERATOR, "join", house.control_room())
    await queue_texts(house, "one", "two")
    async with house.db.desk() as desk:
        await desk.write(
            lambda transaction: transaction.change(
                text("UPDATE outbox SET effect = x'00' WHERE seq = (SELECT min(seq) FROM outbox)")
            )
        )
    await house.settle()
    assert house.world.texts(RoomId("!r")) == ["two"]
    [row] = await parked(house)
    assert (row.kind, row.state) == ("unreadable", "parked")
    [trouble] = house.troubles()
    assert trouble.startswith(f"Something for `matrix/!r` (`o{row.seq}`) can't be opened and was parked: ")
    assert house.meter.parkings == ["outbox"]
    control = house.control_room()
    assert f"- `o{row.seq}` unreadable, " in await house.ask(OPERATOR, "!queue", control)
    assert await house.ask(OPERATOR, f"!queue drop o{row.seq}", control) == f"`o{row.seq}` was dropped."
    assert await parked(house) == []


async def test_a_try_at_etb_is_on_record_before_it_begins_and_read_back_after(house: House) -> None:
    house.etb.lose_answers = 1
    await house.report(incident())
    await house.settle()
    async with house.db.view() as view:
        row = await view.outbox.next(f"etb/{NO_1}", house.clock.now_ms() + 60_000)
    assert isinstance(row, OutboxRow)
    assert row.first_tried_ms is not None
    await house.advance(5)
    assert len(house.etb.entries) == 1
    assert (AddTimelineEntry.__name__, "unsure") in house.meter.effects
    assert (AddTimelineEntry.__name__, "done") in house.meter.effects


async def test_a_timeline_entry_that_can_not_be_read_back_parks_as_unknown(house: House) -> None:
    await house.start_service()
    house.etb.lose_answers = 1
    house.etb.timeline_readable = False
    await house.report(incident(reporter=None, assignee=None))
    for _ in range(6):
        await house.advance(5)
    [row] = await parked(house)
    assert (row.kind, row.state) == ("AddTimelineEntry", "unknown")
    assert len(house.etb.entries) == 1


async def test_a_matrix_try_says_when_the_first_may_have_been_and_by_which_device(house: House) -> None:
    house.world.fail(Say, later(), times=1)
    await queue_texts(house, "one")
    began = house.clock.now_ms()
    await house.settle()
    await house.advance(5)
    (_, first), (_, second) = house.world.tries
    assert (first.attempts, second.attempts) == (0, 1)
    assert first.key == second.key
    assert first.first_tried_ms is None, "surely never tried"
    assert second.first_tried_ms is not None
    assert abs(second.first_tried_ms - began) < 100
    assert second.device_id == house.world.device_id


async def test_an_effect_that_is_older_than_the_device_is_not_trusted_to_its_transaction_id(house: House) -> None:

    await queue_texts(house, "one")
    house.clock.advance(1)
    outbox = replace(house.outbox, device_since_ms=house.clock.now_ms())
    assert await outbox.step("matrix/!r") is True
    [(_, attempt)] = house.world.tries
    assert attempt.device_id == ""


async def test_what_was_queued_before_a_restart_may_have_been_tried(house: House) -> None:
    await queue_texts(house, "one")
    born = house.clock.now_ms()
    house.clock.advance(1)
    await house.crash()
    await house.settle()
    [(_, attempt)] = house.world.tries
    assert attempt.first_tried_ms == born


async def test_a_message_to_a_room_that_is_no_longer_ours_is_answered_all_the_same(house: House) -> None:
    await queue_texts(house, "one")
    await house.settle()
    assert house.world.texts() == ["one"]
    async with house.db.view() as view:
        assert (await view.inbox.depth(0))[:2] == (0, 0)
    assert "message.sent" not in await house.tags()


async def test_an_answer_that_only_needs_recording_costs_no_commit_of_its_own(house: House) -> None:
    await house.open_for_alice()
    room_id = await house.room_id()
    await queue_texts(house, "one", room=room_id)
    assert await house.outbox.step(f"matrix/{room_id}") is True
    async with house.db.view() as view:
        assert (await view.inbox.depth(house.clock.now_ms()))[:2] == (0, 0)
        assert (await view.outbox.depth(0))[:2] == (0, 0)
    assert (await house.tags())[-2:] == ["message.sent", "effect.done"]


async def test_what_an_operator_retries_much_later_is_looked_for_before_it_is_sent_again(house: House) -> None:
    await house.open_for_alice()
    house.world.fail(Say, unsure(), times=5, only=saying("one"))
    await queue_texts(house, "one")
    for _ in range(5):
        await house.advance(5)
    [row] = await parked(house)
    await house.advance(25 * 3600)
    async with house.db.work() as work:
        assert await work.outbox.retry(row.seq)
    await house.settle()
    tries = [
        attempt for effect, attempt in house.world.tries if isinstance(effect, Say) and effect.content == "one"
    ]
    assert tries[-1].first_tried_ms is not None
    assert tries[-1].now_ms - tries[-1].first_tried_ms > 24 * 3600 * 1000

"""A room ends with its incident: said, out of the Space, read-only after a while; and comes back with it."""

from dataclasses import replace
from typing import Any

import pytest

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.closing import Closing
from etb_appservice.domain.effects import PutState, Say, SetVoice
from etb_appservice.domain.facts import PeopleDue, ReadOnlyDue
from etb_appservice.domain.ids import IncidentId, RoomId, Username
from etb_appservice.domain.incident import Incident, OnCall
from etb_appservice.domain.timeline import TimelineItem
from tests.harness.cast import ALICE, BOB, CAROL, NO_1, NO_2, incident, policy_of
from tests.harness.house import House
from tests.harness.kit import MakeHouse

HOUR = 3600.0
DAY = 24 * HOUR


async def closing(house: House, incident_id: IncidentId = NO_1) -> Closing:
    room = await house.room(incident_id)
    async with house.db.view() as view:
        found = await view.cases.get(room.war_room, Closing, "closing")
    assert found is not None
    return found


async def shown(house: House, **changes: Any) -> Incident:
    """ETB shows INC-1 otherwise; at rest."""
    house.etb.known[NO_1] = replace(house.etb.known[NO_1], **{"updated_at_ms": 2000, **changes})
    await house.report(house.etb.known[NO_1])
    await house.settle()
    return house.etb.known[NO_1]


def lines(house: House, room_id: RoomId) -> list[str]:
    """What the bot said there by itself."""
    return [
        str(say.content)
        for _, say in house.world.said
        if say.room_id == room_id and say.purpose == "notice" and say.reply_to is None
    ]


def in_space(house: House, room_id: RoomId) -> bool:
    return bool(house.world.state.get((house.space(), "m.space.child", room_id)))


async def test_a_closed_incident_is_said_to_be_with_what_follows(house: House) -> None:
    room_id = await house.open_for_alice(created_ms=house.clock.now_ms() - 3 * 3_600_000)
    now_ms = house.clock.now_ms()
    await shown(house, status="CLOSED", closed_ms=now_ms - 3_600_000)
    [line] = lines(house, room_id)
    assert line.startswith("**INC-1** is closed: its status in ETB is **CLOSED** since ")
    assert "It was open for 2 hours." in line
    found = await closing(house)
    assert found.ended_ms == now_ms - 3_600_000
    assert found.read_only_ms is not None
    assert 0 <= found.read_only_ms - now_ms - 72 * 3_600_000 < 1000
    assert "`!reopen` here opens it again until then; after that, `!reopen INC-1` in a chat with me alone" in line
    assert "room.ended" in await house.tags()


async def test_a_closed_room_leaves_the_space_at_once_and_is_read_only_later(house: House) -> None:
    room_id = await house.open_for_alice()
    assert in_space(house, room_id)
    await shown(house, status="CLOSED")
    assert not in_space(house, room_id)
    assert house.world.state[house.space(), "m.space.child", room_id] == {}
    await house.advance(3 * DAY - HOUR)
    assert house.world.silenced == {}
    await house.advance(2 * HOUR)
    assert house.world.silenced == {room_id: True}
    assert "room.read_only" in await house.tags()


async def test_cancelled_is_an_end_too(house: House) -> None:
    room_id = await house.open_for_alice()
    await shown(house, status="CANCELLED")
    assert "**CANCELLED**" in lines(house, room_id)[0]
    assert not in_space(house, room_id)


async def test_after_resolved_people_go_on_talking(house: House) -> None:
    room_id = await house.open_for_alice()
    await shown(house, status="RESOLVED", resolved_ms=house.clock.now_ms() - 1000)
    [line] = lines(house, room_id)
    assert line.startswith("**INC-1** is resolved")
    assert "You can go on talking here" in line
    await house.advance(30 * DAY)
    assert in_space(house, room_id)
    assert house.world.silenced == {}


async def test_resolved_then_closed_says_both_and_then_ends(house: House) -> None:
    room_id = await house.open_for_alice()
    await shown(house, status="RESOLVED")
    await shown(house, status="CLOSED", updated_at_ms=3000)
    assert len(lines(house, room_id)) == 2
    assert not in_space(house, room_id)
    await house.advance(4 * DAY)
    assert house.world.silenced == {room_id: True}


async def test_what_is_seen_again_is_said_once(house: House) -> None:
    room_id = await house.open_for_alice()
    await shown(house, status="CLOSED")
    await shown(house, status="CLOSED", updated_at_ms=3000, title="Mail was down")
    await shown(house, status="CANCELLED", updated_at_ms=4000)
    assert len(lines(house, room_id)) == 1
    await house.advance(4 * DAY)
    assert len([one for one in house.world.order if isinstance(one, SetVoice)]) == 1


async def test_nobody_is_called_to_a_closed_incident(house: House) -> None:
    room_id = await house.open_for_alice()
    await shown(house, status="CLOSED")
    house.etb.duty.append(OnCall("network", Username("carol")))
    await shown(house, status="CLOSED", updated_at_ms=3000)
    await house.on_call("carol")
    await house.settle()
    assert CAROL not in house.world.guests(room_id)


async def test_at_once_means_at_once_and_the_line_comes_first(make_house: MakeHouse) -> None:
    house = await make_house(policy=policy_of(read_only_after_hours=0))
    room_id = await house.open_for_alice()
    await shown(house, status="CLOSED")
    assert house.world.silenced == {room_id: True}
    ours = [one for one in house.world.order if getattr(one, "room_id", None) == room_id]
    said = next(place for place, one in enumerate(ours) if isinstance(one, Say) and one.purpose == "notice")
    assert said < next(place for place, one in enumerate(ours) if isinstance(one, SetVoice))
    [line] = lines(house, room_id)
    assert "From now on it can be read" in line
    assert " `!reopen INC-1` in a chat with me alone, or in the control room, does." in line


async def test_reopened_everything_is_back(house: House) -> None:
    room_id = await house.open_for_alice()
    await shown(house, status="CLOSED")
    await house.advance(4 * DAY)
    await shown(house, status="OPEN", updated_at_ms=3000)
    assert house.world.silenced == {room_id: False}
    assert in_space(house, room_id)
    assert lines(house, room_id)[-1] == (
        "**INC-1** is open again: its status in ETB is **OPEN**. Everybody here can write again."
    )
    assert not (await closing(house)).is_open
    assert "room.reopened" in await house.tags()


async def test_a_reopening_overtakes_the_timer(house: House) -> None:
    room_id = await house.open_for_alice()
    await shown(house, status="CLOSED")
    await house.advance(DAY)
    await shown(house, status="IN_PROGRESS", updated_at_ms=3000)
    await house.advance(10 * DAY)
    assert house.world.silenced == {}
    assert in_space(house, room_id)


async def test_closed_again_it_has_its_whole_time_again(house: House) -> None:
    room_id = await house.open_for_alice()
    await shown(house, status="CLOSED")
    await house.advance(2 * DAY)
    await shown(house, status="OPEN", updated_at_ms=3000)
    await shown(house, status="CLOSED", updated_at_ms=4000)
    assert not in_space(house, room_id)
    await house.advance(2 * DAY)
    assert house.world.silenced == {}
    await house.advance(DAY + HOUR)
    assert house.world.silenced == {room_id: True}
    await shown(house, status="OPEN", updated_at_ms=5000)
    assert house.world.silenced == {room_id: False}
    assert in_space(house, room_id)


async def test_back_to_resolved_the_room_comes_back_too(house: House) -> None:
    room_id = await house.open_for_alice()
    await shown(house, status="CLOSED")
    await house.advance(4 * DAY)
    await shown(house, status="RESOLVED", updated_at_ms=3000)
    assert house.world.silenced == {room_id: False}
    assert in_space(house, room_id)
    await shown(house, status="CLOSED", updated_at_ms=4000)
    await house.advance(4 * DAY)
    assert house.world.silenced == {room_id: True}


async def test_who_left_meanwhile_is_invited_again_and_only_then(house: House) -> None:
    room_id = await house.open_for_alice()
    await house.moves(BOB, "join")
    await shown(house, status="CLOSED")
    await house.moves(BOB, "leave")
    await house.own(PeopleDue(incident_id=NO_1), lane=NO_1)
    await house.settle()
    assert house.world.guests(room_id) == [ALICE, BOB]
    await shown(house, status="OPEN", updated_at_ms=3000)
    assert house.world.guests(room_id) == [ALICE, BOB, BOB]
    await house.moves(BOB, "leave")
    await shown(house, status="OPEN", updated_at_ms=4000, title="Mail")
    assert house.world.guests(room_id) == [ALICE, BOB, BOB]


async def test_a_timer_without_an_end_does_nothing(house: House) -> None:
    await house.open_for_alice()
    await house.own(ReadOnlyDue(incident_id=NO_1, plan=1), lane=NO_1)
    await house.own(ReadOnlyDue(incident_id=NO_2, plan=1), lane=NO_2)
    await house.settle()
    assert house.world.silenced == {}


async def test_closed_before_its_room_was_there_it_ends_once_it_is(house: House) -> None:
    house.know("alice", "bob")
    await house.start_service()
    await house.report(incident())
    await house.report(incident(status="CLOSED", updated_at_ms=2000))
    await house.settle()
    room_id = await house.room_id()
    assert len(lines(house, room_id)) == 1
    assert not in_space(house, room_id)
    assert house.world.guests(room_id) == []


@pytest.mark.parametrize("before", [True, False], ids=["before the commit", "after the commit"])
@pytest.mark.parametrize("lives", [[1], [2], [1, 2, 3]])
async def test_dying_again_and_again_ends_and_reopens_it_once(
    house: House, lives: list[int], *, before: bool
) -> None:
    room_id = await house.open_for_alice()
    await house.die_again_and_again(lives, before=before)
    await shown(house, status="CLOSED")
    await house.advance(4 * DAY)
    await shown(house, status="OPEN", updated_at_ms=3000)
    await house.advance(4 * DAY)
    await house.die_no_more()
    assert house.crashes > 4
    assert len(lines(house, room_id)) == 2
    voices = [one.is_read_only for one in house.world.order if isinstance(one, SetVoice)]
    assert voices == [True, False]
    children = [
        bool(one.content) for one in house.world.order if isinstance(one, PutState) and one.state_key == room_id
    ]
    assert children == [True, False, True]


# --- duplicates -------------------------------------------------------------------------------------------


async def two(house: House, *, duplicate: Classification, original: Classification) -> tuple[RoomId, RoomId]:
    """INC-1's room and INC-2's, of these levels."""
    room_id = await house.open_for_alice(stated=duplicate)
    house.etb.known[NO_2] = incident(id=NO_2, number="INC-2", title="The real thing", stated=original)
    await house.report(house.etb.known[NO_2])
    await house.settle()
    return room_id, await house.room_id(NO_2)


async def timeline(house: House, incident_id: IncidentId) -> list[str]:
    room = await house.room(incident_id)
    async with house.db.view() as view:
        return [one.title for one in await view.cases.of(room.war_room, TimelineItem)]


async def test_a_duplicate_links_to_its_original_and_ends(house: House) -> None:
    level = Classification.INTERNAL
    room_id, original = await two(house, duplicate=level, original=level)
    await shown(house, is_duplicate=True, original=NO_2)
    [line] = lines(house, room_id)
    link = f"[INC-2](https://matrix.to/#/{original}?via=x.org) (The real thing)"
    assert line.startswith(f"**INC-1** is a duplicate of {link}.")
    assert "reopen" not in line
    assert not in_space(house, room_id)
    assert in_space(house, original)
    await house.advance(4 * DAY)
    assert house.world.silenced == {room_id: True}
    assert "Duplicate of INC-2" in await timeline(house, NO_1)
    assert "INC-1 is a duplicate of this incident" in await timeline(house, NO_2)
    told = {(entry.incident_id, entry.title) for entry in house.etb.entries}
    assert {(NO_1, "Duplicate of INC-2"), (NO_2, "INC-1 is a duplicate of this incident")} <= told


async def test_of_an_original_above_it_a_duplicate_s_room_learns_the_number_only(house: House) -> None:
    room_id, original = await two(house, duplicate=Classification.INTERNAL, original=Classification.CONFIDENTIAL)
    await shown(house, is_duplicate=True, original=NO_2)
    [line] = lines(house, room_id)
    assert line.startswith("**INC-1** is a duplicate of **INC-2**.")
    everything = repr([say for _, say in house.world.said if say.room_id == room_id]) + repr(
        [entry for entry in house.etb.entries if entry.incident_id == NO_1]
    )
    assert "The real thing" not in everything
    assert original not in everything


async def test_of_an_original_nobody_knows_the_beginning_of_its_id_is_said(house: House) -> None:
    room_id = await house.open_for_alice()
    await shown(house, is_duplicate=True, original=NO_2)
    assert lines(house, room_id)[0].startswith("**INC-1** is a duplicate of **22222222**.")


async def test_a_duplicate_of_nothing_named_ends_too(house: House) -> None:
    room_id = await house.open_for_alice()
    await shown(house, is_duplicate=True)
    assert lines(house, room_id)[0].startswith("**INC-1** is a duplicate of **another incident**.")


async def test_a_duplicate_gets_no_room_of_its_own(house: House) -> None:
    await house.start_service()
    await house.report(incident(is_duplicate=True, original=NO_2))
    await house.settle()
    async with house.db.view() as view:
        assert await view.rooms.of_incident(NO_1) is None
        assert await view.incidents.open_ids() == []


async def test_no_duplicate_after_all_it_is_open_again(house: House) -> None:
    room_id = await house.open_for_alice()
    await shown(house, is_duplicate=True, original=NO_2)
    await shown(house, is_duplicate=False, original=None, updated_at_ms=3000)
    assert lines(house, room_id)[-1].startswith("**INC-1** is open again")
    assert in_space(house, room_id)


async def test_a_closed_incident_that_is_a_duplicate_besides_keeps_its_time(house: House) -> None:
    room_id = await house.open_for_alice()
    await shown(house, status="CLOSED")
    first = await closing(house)
    await house.advance(DAY)
    await shown(house, status="CLOSED", is_duplicate=True, updated_at_ms=3000)
    assert (await closing(house)).read_only_ms == first.read_only_ms
    await house.advance(2 * DAY + HOUR)
    assert house.world.silenced == {room_id: True}


# --- drills -----------------------------------------------------------------------------------------------


async def test_a_drill_says_so_in_name_card_and_closing_line(house: House) -> None:
    room_id = await house.open_for_alice(tags=("x", "DRILL"))
    assert (await house.room()).name == "DRILL INC-1 Mail is down"
    assert house.world.cards(room_id)[-1][2].is_drill
    await shown(house, status="CLOSED")
    assert lines(house, room_id)[0].startswith("**INC-1**, a drill, is closed")


async def test_where_servers_may_read_no_title_a_drill_keeps_its_number_alone(house: House) -> None:
    await house.open_for_alice(tags=("exercise",), stated=Classification.RESTRICTED)
    assert (await house.room()).name == "INC-1"


async def test_a_tag_that_comes_later_marks_it_then(house: House) -> None:
    room_id = await house.open_for_alice()
    assert not house.world.cards(room_id)[-1][2].is_drill
    await shown(house, tags=("drill",))
    assert house.world.cards(room_id)[-1][2].is_drill
    assert house.world.state[room_id, "m.room.name", ""] == {"name": "DRILL INC-1 Mail is down"}


async def test_the_operator_says_which_tags_make_a_drill(make_house: MakeHouse) -> None:
    house = await make_house(policy=policy_of(drill_tags=("Übung",)))
    room_id = await house.open_for_alice(tags=("drill",))
    assert not house.world.cards(room_id)[-1][2].is_drill
    await shown(house, tags=("übung",))
    assert house.world.cards(room_id)[-1][2].is_drill


# --- the transcript ---------------------------------------------------------------------------------------


async def test_at_its_end_the_transcript_is_sent_and_its_digests_go_to_etb_once_for_each_end(
    make_house: MakeHouse,
) -> None:
    house = await make_house(policy=policy_of(exports_at_end=True))
    room_id = await house.open_for_alice()
    await shown(house, status="RESOLVED")
    assert house.world.sent == []
    await shown(house, status="CLOSED", updated_at_ms=3000)
    assert sorted(file.filename.rpartition(".")[2] for _, file, _ in house.world.sent) == ["html", "json"]
    assert {file.room_id for _, file, _ in house.world.sent} == {room_id}
    assert len(house.etb.evidence) == 2
    await shown(house, title="Mail was down", updated_at_ms=4000)
    assert len(house.world.sent) == 2
    await shown(house, status="OPEN", updated_at_ms=5000)
    await shown(house, status="CLOSED", updated_at_ms=6000)
    assert len(house.world.sent) == 4


@pytest.mark.parametrize("before", [True, False])
async def test_a_crash_at_any_commit_of_an_end_sends_each_file_once(make_house: MakeHouse, before: bool) -> None:
    house = await make_house(policy=policy_of(exports_at_end=True))
    room_id = await house.open_for_alice()
    await house.die_again_and_again([1, 2, 1, 3], before=before)
    await shown(house, status="CLOSED")
    await house.die_no_more()
    await house.settle()
    assert house.crashes > 0
    assert sorted(file.filename.rpartition(".")[2] for _, file, _ in house.world.sent) == ["html", "json"]
    assert len(house.etb.evidence) == 2
    assert sum("is closed" in line for line in lines(house, room_id)) == 1

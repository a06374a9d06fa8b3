"""What `ports.MatrixHands` promises, on the real hands and on the fake."""

import itertools

import pytest

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.effects import (
    Invite,
    LeaveRoom,
    LetMembersPin,
    MatrixEffect,
    MendPins,
    OpenRoom,
    Pin,
    PutState,
    React,
    Redact,
    Remove,
    RestoreState,
    Say,
    SendFile,
    SetVoice,
)
from etb_appservice.domain.facts import Done
from etb_appservice.domain.ids import NOBODY, EventId, RoomId, UserId, Username
from etb_appservice.domain.outcomes import Broken
from tests.contract.matrix.conftest import Side
from tests.harness.hands import a_try

_NUMBERS = itertools.count(1)
_KEYS = itertools.count(1)
SOMEBODY = UserId("@somebody:localhost")
WANDA = Username("wanda")
"""Of ETB's web page."""


async def do(side: Side, effect: MatrixEffect, key: str = "", attempts: int = 0) -> Done:
    return await side.hands.do(effect, a_try(key or f"key/{next(_KEYS)}", attempts=attempts))


async def room_of(side: Side) -> RoomId:
    spec = side.spec(next(_NUMBERS))
    done = await do(side, OpenRoom(war_room=spec.war_room, spec=spec))
    assert done.room_id is not None
    await side.know(spec, done.room_id)
    return done.room_id


async def test_a_room_opened_twice_is_one_room(side: Side) -> None:
    spec = side.spec(next(_NUMBERS))
    first = await do(side, OpenRoom(war_room=spec.war_room, spec=spec))
    second = await do(side, OpenRoom(war_room=spec.war_room, spec=spec), attempts=1)
    assert first.room_id == second.room_id is not None
    assert (first.detail, second.detail) == ("created", "adopted")


async def test_one_key_is_said_once_and_another_key_again(side: Side) -> None:
    room_id = await room_of(side)
    first = await do(side, Say(room_id=room_id, content="x"), "say/one")
    again = await do(side, Say(room_id=room_id, content="x"), "say/one", attempts=1)
    other = await do(side, Say(room_id=room_id, content="x"), "say/two")
    assert first.event_id == again.event_id is not None
    assert other.event_id not in {first.event_id, None}
    assert await side.count_said(room_id) == 2


async def test_a_file_is_sent_once_and_its_upload_is_named(side: Side) -> None:
    room_id = await room_of(side)
    await side.keep("document/one", b"what is in it")
    file = SendFile(room_id=room_id, document="document/one", filename="a.txt", mime="text/plain", size=13)
    first = await do(side, file, "file/one")
    again = await do(side, file, "file/one", attempts=1)
    assert first.event_id == again.event_id is not None
    assert first.found["mxc"] == again.found["mxc"]
    assert first.found["mxc"].startswith("mxc://")
    assert await side.count_said(room_id) == 1


async def test_a_file_whose_bytes_are_gone_is_our_fault(side: Side) -> None:
    room_id = await room_of(side)
    gone = SendFile(room_id=room_id, document="document/gone", filename="a.txt", mime="text/plain", size=13)
    with pytest.raises(Broken, match="not there any more"):
        await do(side, gone)
    assert await side.count_said(room_id) == 0


async def test_an_invitation_to_a_room_that_hides_its_past_carries_nothing(side: Side) -> None:
    room_id = await room_of(side)
    invite = Invite(room_id=room_id, user_id=SOMEBODY, history_up_to=Classification.TOP_SECRET)
    assert (await do(side, invite)).found == {}


async def test_inviting_and_removing_may_be_repeated(side: Side) -> None:
    room_id = await room_of(side)
    for _ in range(2):
        assert await do(side, Invite(room_id=room_id, user_id=SOMEBODY)) is not None
    for _ in range(2):
        assert await do(side, Remove(room_id=room_id, user_id=SOMEBODY, reason="left")) is not None


async def test_pins_keep_their_order_and_a_new_one_takes_the_place_of_the_old(side: Side) -> None:
    room_id = await room_of(side)
    for name in ("$a", "$b"):
        await do(side, Pin(room_id=room_id, event_id=EventId(name)))
    swap = Pin(room_id=room_id, event_id=EventId("$c"), instead_of=EventId("$a"))
    for _ in range(2):
        await do(side, swap)
        assert await side.pins(room_id) == ["$c", "$b"]


async def test_pins_are_mended_and_what_came_in_between_stays(side: Side) -> None:
    room_id = await room_of(side)
    for name in ("$a", "$b", "$new"):
        await do(side, Pin(room_id=room_id, event_id=EventId(name)))
    mend = MendPins(room_id=room_id, pinned=(EventId("$lost"), EventId("$a")), gone=(EventId("$b"),))
    for _ in range(2):
        await do(side, mend)
        assert await side.pins(room_id) == ["$lost", "$a", "$new"]


async def test_members_are_let_pin_as_often_as_is_asked(side: Side) -> None:
    room_id = await room_of(side)
    for _ in range(2):
        await do(side, LetMembersPin(room_id=room_id))


async def test_state_may_be_put_twice(side: Side) -> None:
    room_id = await room_of(side)
    put = PutState(room_id=room_id, event_type="org.etb.x", state_key="", content={"a": 1})
    for _ in range(2):
        assert (await do(side, put)).event_id is not None


async def test_state_that_stands_as_it_should_is_left_alone(side: Side) -> None:
    room_id = await room_of(side)
    await do(side, PutState(room_id=room_id, event_type="org.etb.x", state_key="", content={"a": 1}))
    restore = RestoreState(room_id=room_id, event_type="org.etb.x", state_key="", entitled=(side.bot,))
    for _ in range(2):
        assert await do(side, restore) == Done(detail="stands as it should")


async def test_taking_and_giving_back_voices_may_be_repeated(side: Side) -> None:
    room_id = await room_of(side)
    for is_read_only in (True, True, False, False):
        await do(side, SetVoice(room_id=room_id, is_read_only=is_read_only))
    assert (await do(side, Say(room_id=room_id, content="x"))).event_id is not None


async def test_leaving_may_be_repeated(side: Side) -> None:
    room_id = await room_of(side)
    for _ in range(2):
        assert (await do(side, LeaveRoom(room_id=room_id))).event_id is None


async def test_a_ghost_says_each_thing_once_and_beside_the_bot(side: Side) -> None:
    room_id = await room_of(side)
    await side.may_speak(room_id, WANDA)
    say = Say(room_id=room_id, content="x", speaker=WANDA)
    first = await do(side, say, "ghost/one")
    again = await do(side, say, "ghost/one", attempts=1)
    bot = await do(side, Say(room_id=room_id, content="x"), "ghost/bot")
    assert first.event_id == again.event_id is not None
    assert bot.event_id not in {first.event_id, None}
    assert await side.count_said(room_id) == 2


async def test_a_reaction_is_put_once_by_each_and_what_is_taken_back_twice_is_gone(side: Side) -> None:
    room_id = await room_of(side)
    await side.may_speak(room_id, WANDA)
    said = (await do(side, Say(room_id=room_id, content="x", speaker=WANDA))).event_id
    assert said is not None
    for speaker in (WANDA, NOBODY):
        react = React(room_id=room_id, event_id=said, emoji="👍", speaker=speaker)
        assert (await do(side, react)).event_id is not None
        assert (await do(side, react)).detail == "was there"
    for _ in range(2):
        assert (await do(side, Redact(room_id=room_id, event_id=said, speaker=WANDA))).event_id is not None


async def test_a_ghost_leaves_and_comes_back_with_its_next_word(side: Side) -> None:
    room_id = await room_of(side)
    assert (await do(side, LeaveRoom(room_id=room_id, speaker=Username("silent")))).detail == "was out"
    await side.may_speak(room_id, WANDA)
    for _ in range(2):
        assert (await do(side, Say(room_id=room_id, content="x", speaker=WANDA))).event_id is not None
        assert (await do(side, LeaveRoom(room_id=room_id, speaker=WANDA))).detail == "left"


async def test_the_device_has_a_name(side: Side) -> None:
    assert side.hands.device_id


async def test_a_changed_membership_may_be_told_twice(side: Side) -> None:
    room_id = await room_of(side)
    for _ in range(2):
        await side.hands.membership_changed(room_id, SOMEBODY)
    assert (await do(side, Say(room_id=room_id, content="x"))).event_id is not None

"""What comes before that which it is about takes effect once it is there, if nobody took it back meanwhile."""

import pytest

from etb_appservice.domain.news import MessageUpdated
from tests.harness.cast import ALICE, BOB, CAROL
from tests.harness.house import House
from tests.harness.web import WebUser
from tests.unit.flows.test_record import POLL, happens, message, open_house, says

__all__ = ["open_house"]


async def edits(house: House, text: str, event_id: str, sender: str = ALICE) -> None:
    await house.says(sender, text, event_id=event_id, replaces="$lost")
    await house.settle()


@pytest.mark.parametrize("later_s", [1, 20, 200, 3000])
async def test_an_edit_of_a_message_that_was_fetched_later_takes_effect(open_house: House, later_s: float) -> None:
    await edits(open_house, "right", "$e")
    await open_house.advance(later_s)
    assert (await says(open_house, "wrong", "$lost")).body == "wrong"
    await open_house.advance(3600)
    found = await message(open_house, "$lost")
    assert found.body == "right"
    assert found.details.edited_ms is not None
    assert [one.message_id for one in open_house.news.of(MessageUpdated)] == [found.id]


async def test_of_several_the_last_one_stands_whenever_they_are_looked_at(open_house: House) -> None:
    await edits(open_house, "first", "$e1")
    await open_house.advance(25)
    await edits(open_house, "second", "$e2")
    await open_house.advance(3)
    await says(open_house, "wrong", "$lost")
    await open_house.advance(60)
    assert (await message(open_house, "$lost")).body == "second"
    await edits(open_house, "third", "$e3")
    await open_house.advance(7200)
    assert (await message(open_house, "$lost")).body == "third"


async def test_an_edit_that_was_taken_back_or_is_of_another_sender_changes_nothing(open_house: House) -> None:
    await edits(open_house, "regretted", "$e1")
    await open_house.redacts(ALICE, "$e1")
    await edits(open_house, "forged", "$e2", BOB)
    await says(open_house, "as it was", "$lost")
    await open_house.advance(7200)
    assert (await message(open_house, "$lost")).body == "as it was"


async def test_what_is_about_nothing_is_let_go(open_house: House) -> None:
    await edits(open_house, "of nothing", "$e")
    for _ in range(4):  # each look is planned at the one before
        await open_house.advance(3601)
    await says(open_house, "years later", "$lost")
    await open_house.advance(24 * 3600)
    assert (await message(open_house, "$lost")).body == "years later"


async def test_a_reaction_waits_as_long(open_house: House) -> None:
    given = await open_house.reacts(BOB, "$lost", "👀")
    taken = await open_house.reacts(CAROL, "$lost", "👀")
    await open_house.redacts(CAROL, taken)
    await open_house.advance(20)
    await says(open_house, "it comes", "$lost")
    await open_house.advance(60)
    found = await message(open_house, "$lost")
    assert [(one.event_id, one.username) for one in found.details.reactions] == [(given, "bob")]


async def test_a_vote_before_the_key_of_its_poll_counts_with_it(open_house: House) -> None:
    await says(open_house, "Where?", "$poll", msgtype="m.poll.start", poll=POLL, session="late")
    await happens(open_house, "vote", BOB, "$v1", poll="$poll", answers=["1"])
    await happens(open_house, "vote", CAROL, "$v2", poll="$poll", answers=["1"])
    await open_house.advance(1)
    await happens(open_house, "vote", BOB, "$v3", poll="$poll", answers=["2"])
    await open_house.redacts(CAROL, "$v2")
    await open_house.advance(10)
    await open_house.key_comes("late")
    await happens(open_house, "vote", ALICE, "$v4", poll="$poll", answers=["2"])
    await open_house.advance(3600)
    assert (await message(open_house, "$poll")).body == "Poll: Where?\n1. here (0)\n2. there (2)"


async def test_an_answer_to_what_can_not_be_read_yet_goes_into_its_thread(open_house: House) -> None:
    await says(open_house, "the root", "$root", BOB)
    place = await says(open_house, "in its thread", "$late", BOB, session="late", thread_root="$root")
    assert (place.state, place.thread_root) == ("sealed", "$root")
    await WebUser(open_house, "alice").post("an answer", reply_to=place.id)
    [answer] = [say for _, say in open_house.world.said if say.speaker == "alice"]
    assert (answer.thread_root, answer.reply_to) == ("$root", "$late")
    await open_house.key_comes("late")
    assert (await message(open_house, "$late")).thread_root == "$root"

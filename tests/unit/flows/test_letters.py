"""What is said to one person alone: in a chat that is opened once, holds nobody else, and loses nothing."""

import pytest

from etb_appservice.domain.effects import Invite, OpenRoom
from etb_appservice.domain.facts import LetterDue
from etb_appservice.domain.ids import RoomId, direct_id
from etb_appservice.domain.rooms import direct_room
from tests.harness.cast import ALICE, BOB, BOT, OPERATOR, policy_of
from tests.harness.house import House
from tests.harness.kit import MakeHouse
from tests.harness.world import later


def chat_of(house: House, user_id: str = ALICE) -> RoomId:
    """Where the bot and this person are alone."""
    return house.world.aliases[f"_etb_direct_{direct_id(ALICE if user_id == ALICE else BOB)}"]


async def write(house: House, text: str, user_id: str = ALICE, *, notify: bool = False) -> None:
    person = ALICE if user_id == ALICE else BOB
    await house.own(LetterDue(user_id=person, text=text, notify=notify), lane=f"direct/{person}")


async def test_the_chat_is_opened_for_the_first_letter_and_holds_what_came_meanwhile(house: House) -> None:
    await write(house, "First.")
    await write(house, "Second.")
    await house.settle()
    assert house.world.texts(chat_of(house)) == ["First.", "Second."]
    assert house.world.guests(chat_of(house)) == [ALICE]
    await write(house, "Third.")
    await house.settle()
    assert house.world.texts(chat_of(house)) == ["First.", "Second.", "Third."]
    assert len(house.world.opened) == 1


async def test_each_person_has_a_chat_of_their_own(house: House) -> None:
    await write(house, "For alice.")
    await write(house, "For bob.", BOB)
    await house.settle()
    assert house.world.texts(chat_of(house)) == ["For alice."]
    assert house.world.texts(chat_of(house, BOB)) == ["For bob."]
    assert house.world.guests(chat_of(house)) == [ALICE]


async def test_the_invitation_says_that_the_chat_is_direct(house: House) -> None:
    await write(house, "Hello.")
    await house.settle()
    [invite] = [one for one in house.world.order if isinstance(one, Invite)]
    assert invite.is_direct


async def test_what_should_ring_names_its_reader(house: House) -> None:
    await write(house, "Quiet.")
    await write(house, "Loud.", notify=True)
    await house.settle()
    quiet, loud = [say for _, say in house.world.said]
    assert (quiet.notify, quiet.mentions) == (False, ())
    assert (loud.notify, loud.mentions) == (True, (ALICE,))


async def test_who_left_the_chat_is_invited_again_for_the_next_letter(house: House) -> None:
    await write(house, "First.")
    await house.settle()
    await house.moves(ALICE, "join", chat_of(house))
    await house.moves(ALICE, "leave", chat_of(house))
    assert house.world.guests(chat_of(house)) == [ALICE]
    await write(house, "Second.")
    await house.settle()
    assert house.world.guests(chat_of(house)) == [ALICE, ALICE]


async def test_commands_are_answered_there(house: House) -> None:
    house.know("alice")
    await house.start_service()
    await house.moves(OPERATOR, "join", house.control_room())
    await write(house, "Hello.")
    await house.settle()
    await house.moves(ALICE, "join", chat_of(house))
    answer = await house.ask(ALICE, "!help", chat_of(house))
    assert "`!help [about]`" in answer
    assert "`!status`" not in answer


async def test_a_homeserver_that_is_away_loses_no_letter(house: House) -> None:
    house.world.fail(OpenRoom, later())
    await write(house, "First.")
    await house.settle()
    assert house.world.texts() == []
    await house.advance(10)
    assert house.world.texts(chat_of(house)) == ["First."]


@pytest.mark.parametrize("before", [True, False])
async def test_a_crash_at_any_commit_says_each_letter_once(make_house: MakeHouse, before: bool) -> None:
    house = await make_house()
    await house.die_again_and_again([1, 2, 1, 3], before=before)
    await write(house, "First.")
    await write(house, "Second.")
    await house.settle()
    await house.die_no_more()
    await house.settle()
    assert house.crashes > 0
    assert house.world.texts(chat_of(house)) == ["First.", "Second."]
    assert house.world.guests(chat_of(house)) == [ALICE]


def test_a_chat_names_nobody_in_what_servers_can_read() -> None:
    spec = direct_room(ALICE, policy_of().rooms)
    readable = f"{spec.alias_localpart} {spec.name} {spec.topic} {spec.creation_content} {spec.initial_state}"
    assert "alice" not in readable
    assert spec.encrypted
    assert spec.power_levels["users"] == {} or set(spec.power_levels["users"]) == {BOT}

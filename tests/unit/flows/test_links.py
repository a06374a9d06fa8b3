"""Linking a Matrix account: proven on both sides, once, in time, for one person."""

from dataclasses import replace

import pytest

from etb_appservice.domain.effects import Invite, Remove
from etb_appservice.domain.facts import LetterDue
from etb_appservice.domain.ids import UserId, Username, direct_id
from etb_appservice.domain.links import CODE_MS, GUESSES_MS, MOST_GUESSES, LinkCode, Linked, digest_of, new_code
from etb_appservice.domain.people import Links, PeopleMap
from etb_appservice.domain.policy import CommandPolicy
from etb_appservice.domain.rooms import CONTROL_ROOM
from etb_appservice.flows.links import after_commit, offer
from etb_appservice.flows.turn import Turn
from etb_appservice.store.codec import FactJson
from tests.harness.cast import ALICE, BOB, GHOSTS, OPERATOR, etb_user, policy_of
from tests.harness.events import member
from tests.harness.house import House
from tests.harness.kit import MakeHouse

WANDA = Username("wanda")
HERS = UserId("@w:x.org")
CODE = "7K2M-QX4B-9RTD"


async def offered(house: House, code: str = CODE, username: Username = WANDA) -> bool:
    """Somebody is signed in at ETB and asks for a code."""
    async with house.store.work() as work:
        turn = Turn(work=work, ref="web", lane="web", codec=FactJson())
        wait_ms = await offer(turn, username, digest_of(code), house.policy)
    after_commit(turn, house.policy)
    return wait_ms == 0


async def chat(house: House, user_id: UserId = HERS) -> str:
    """Alone with the bot."""
    await house.own(LetterDue(user_id=user_id, text="Hello."), lane=f"direct/{user_id}")
    await house.settle()
    room_id = house.world.aliases[f"_etb_direct_{direct_id(user_id)}"]
    await house.moves(user_id, "join", room_id)
    return room_id


async def types(house: House, text: str, user_id: UserId = HERS) -> str:
    room_id = house.world.aliases[f"_etb_direct_{direct_id(user_id)}"]
    await house.says(user_id, text, room_id)
    await house.settle()
    return house.world.texts(room_id)[-1]


@pytest.fixture
async def wide(make_house: MakeHouse) -> House:
    """INC-1 is wanda's, who has no Matrix account yet; people may ask as fast as they like."""
    house = await make_house(policy=replace(policy_of(), commands=CommandPolicy(burst=1000)))
    house.etb.users[WANDA] = etb_user(WANDA)
    await house.open_for_alice(assignee=WANDA)
    return house


async def test_whoever_types_the_code_is_linked_and_invited_where_they_belong(wide: House) -> None:
    assert await offered(wide)
    await chat(wide)
    assert "linked to your ETB user now" in await types(wide, f"!link {CODE.lower().replace('-', ' ')}")
    assert wide.policy.people.user_id(WANDA) == HERS
    assert wide.policy.people.username(HERS) == WANDA
    await wide.advance(2)
    assert HERS in wide.world.guests(await wide.room_id())
    assert "person.linked" in await wide.tags()


async def test_a_code_outlives_a_restart(wide: House) -> None:
    await offered(wide)
    await chat(wide)
    await wide.crash()
    assert "linked to your ETB user now" in await types(wide, f"!link {CODE}")
    await wide.crash()
    assert "That is no code" in await types(wide, f"!link {CODE}"), "nor is a used one good again"


async def test_a_link_outlives_a_restart(wide: House) -> None:
    await offered(wide)
    await chat(wide)
    await types(wide, f"!link {CODE}")
    await wide.crash()
    assert wide.policy.people.username(HERS) == WANDA


async def test_a_code_works_once_and_for_one(wide: House) -> None:
    await offered(wide)
    await chat(wide)
    await chat(wide, UserId("@x:x.org"))
    await types(wide, f"!link {CODE}")
    assert "That is no code" in await types(wide, f"!link {CODE}", UserId("@x:x.org"))
    assert wide.policy.people.username(UserId("@x:x.org")) is None


async def test_a_code_is_good_for_ten_minutes_and_until_the_next_one(wide: House) -> None:
    await offered(wide)
    await chat(wide)
    await offered(wide, "AAAA-BBBB-CCCC")
    assert "That is no code" in await types(wide, f"!link {CODE}")
    await wide.advance(CODE_MS / 1000)
    assert "That is no code" in await types(wide, "!link AAAA-BBBB-CCCC")
    assert wide.policy.people.user_id(WANDA) is None


async def test_guessing_ends_after_a_few_times_for_an_hour(wide: House) -> None:
    await offered(wide)
    await chat(wide)
    for _ in range(MOST_GUESSES):
        assert "That is no code" in await types(wide, "!link AAAA-BBBB-CCCC")
    assert "wrong too often" in await types(wide, f"!link {CODE}")
    await wide.crash()
    assert "wrong too often" in await types(wide, f"!link {CODE}"), "also after a restart"
    await wide.advance(GUESSES_MS / 1000)
    await offered(wide)
    assert "linked to your ETB user now" in await types(wide, f"!link {CODE}")


async def test_nobody_becomes_two_people(wide: House) -> None:
    await offered(wide)
    await chat(wide, ALICE)
    assert "belongs to another ETB user" in await types(wide, f"!link {CODE}", ALICE)
    await offered(wide)
    await chat(wide)
    await types(wide, f"!link {CODE}")
    await offered(wide, CODE, Username("otto"))
    assert "belongs to another ETB user" in await types(wide, f"!link {CODE}")
    assert wide.policy.people.username(HERS) == WANDA


async def test_whom_the_operator_has_mapped_links_nothing(wide: House) -> None:
    assert not await offered(wide, CODE, Username("alice"))


async def test_an_account_elsewhere_is_nobody_of_ours(wide: House) -> None:
    away = UserId("@w:elsewhere.org")
    await offered(wide)
    await chat(wide, away)
    assert "Only an account on a homeserver of this organisation" in await types(wide, f"!link {CODE}", away)


async def test_whoever_holds_a_code_gets_a_chat_with_the_bot(wide: House) -> None:
    def invite(number: int) -> dict[str, object]:
        return member("!theirs", house_bot, "invite", sender=HERS, event_id=f"$invite{number}")

    house_bot = wide.policy.rooms.bot
    await wide.accept_event(invite(1))
    await wide.settle()
    alias = f"_etb_direct_{direct_id(HERS)}"
    assert alias not in wide.world.aliases
    await offered(wide)
    await wide.accept_event(invite(2))
    await wide.settle()
    assert alias in wide.world.aliases


async def test_another_account_takes_the_place_of_the_one_before(wide: House) -> None:
    other = UserId("@w2:x.org")
    await offered(wide)
    await chat(wide)
    await types(wide, f"!link {CODE}")
    await wide.advance(2)
    await wide.moves(HERS, "join")
    await offered(wide)
    await chat(wide, other)
    await types(wide, f"!link {CODE}", other)
    assert wide.policy.people.username(HERS) is None
    await wide.advance(2)
    assert HERS in [one.user_id for one in wide.world.order if isinstance(one, Remove)]
    assert other in [one.user_id for one in wide.world.order if isinstance(one, Invite)]


@pytest.mark.parametrize("by_operator", [False, True])
async def test_unlinked_the_account_is_nobody_s(wide: House, by_operator: bool) -> None:
    await wide.start_service()
    await offered(wide)
    await chat(wide)
    await types(wide, f"!link {CODE}")
    await wide.advance(2)
    await wide.moves(HERS, "join")
    if by_operator:
        control = wide.control_room()
        await wide.moves(OPERATOR, "join", control)
        await wide.says(OPERATOR, "!unlink wanda", control)
        await wide.settle()
        assert "linked no longer" in wide.world.texts(control)[-1]
    else:
        assert "only an operator" in (await types(wide, "!unlink alice"))
        assert "linked no longer" in await types(wide, "!unlink")
    assert wide.policy.people.username(HERS) is None
    await wide.advance(2)
    assert HERS in [one.user_id for one in wide.world.order if isinstance(one, Remove)]
    await wide.crash()
    assert wide.policy.people.username(HERS) is None


async def test_what_is_kept_of_a_code_opens_nothing(wide: House) -> None:
    await offered(wide)
    async with wide.store.view() as view:
        [(_, kept)] = await view.cases.all_open(LinkCode)
    assert CODE not in repr(kept)
    assert kept.digest == digest_of(CODE)
    assert len({new_code() for _ in range(100)}) == 100


def test_an_entry_of_the_operator_s_goes_before_a_link() -> None:
    links = Links()
    links.put(WANDA, HERS)
    links.put(Username("bob"), HERS)
    entries = {WANDA: ALICE, Username("otto"): UserId("@o:x.org")}
    people = PeopleMap("@{username}:x.org", entries, GHOSTS, links)
    assert people.user_id(WANDA) == ALICE
    assert people.username(HERS) == "bob"
    assert people.username(BOB) is None, "bob is whom he has linked, and nobody else"
    links.put(Username("eve"), UserId("@o:x.org"))
    assert people.user_id(Username("eve")) == "@eve:x.org"
    assert people.username(UserId("@o:x.org")) == "otto"
    assert people.username(UserId("@_etb_u_eve:x.org")) == "eve"


async def test_a_crash_at_any_commit_links_once(wide: House) -> None:
    await offered(wide)
    room_id = await chat(wide)
    await wide.die_again_and_again([1, 2], before=True)
    await wide.says(HERS, f"!link {CODE}", room_id)
    await wide.settle()
    await wide.die_no_more()
    assert wide.policy.people.username(HERS) == WANDA
    assert len([text for text in wide.world.texts() if "linked to your ETB user now" in text]) == 1
    async with wide.store.view() as view:
        linked = await view.cases.get(CONTROL_ROOM, Linked, WANDA)
    assert linked is not None

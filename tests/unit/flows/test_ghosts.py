"""Ghosts in the house: judged as their people, shown as one person with them, heard as nobody else."""

from dataclasses import replace

import pytest

from etb_appservice.domain.breakglass import BreakGlass
from etb_appservice.domain.classification import Classification
from etb_appservice.domain.effects import LeaveRoom, Remove, Say
from etb_appservice.domain.facts import UsersSeen
from etb_appservice.domain.ids import EventId, RoomId, UserId, Username
from etb_appservice.domain.incident import EtbUser
from etb_appservice.domain.news import PersonJoined, PersonLeft
from etb_appservice.flows.permitted import Permission, permission
from tests.harness.cast import ALICE, BOB, BOT, CAROL, GHOSTS, NO_1, STRANGER, etb_user, incident
from tests.harness.house import House

WEB = Username("wanda")
"""Of ETB's web page, without a Matrix account."""


def ghost(name: str) -> UserId:
    made = GHOSTS.user_id(Username(name))
    assert made is not None
    return made


async def asked(house: House, user_id: UserId) -> Permission:
    async with house.store.view() as view:
        return await permission(view, await house.room(), user_id, house.policy)


async def learn(house: House, *users: EtbUser) -> None:
    await house.own(UsersSeen(users=users))
    await house.settle()


async def opened(house: House) -> None:
    """A room with alice in it, in an incident that wanda handles from the web."""
    house.etb.users[WEB] = etb_user(WEB)
    await house.open_for_alice(assignee=WEB)
    await learn(house, etb_user(WEB))


async def says(house: House, name: str, text: str = "hello") -> str:
    return await house.wants(Say(room_id=await house.room_id(), content=text, speaker=Username(name)))


async def members(house: House) -> dict[UserId, str]:
    async with house.store.view() as view:
        return dict(await view.rooms.present(await house.room_id()))


async def test_a_ghost_is_judged_as_its_person(house: House) -> None:
    await opened(house)
    for name, own in (("alice", ALICE), ("carol", CAROL)):
        mine, theirs = await asked(house, ghost(name)), await asked(house, own)
        assert (mine.allowed, mine.why, mine.up_to) == (theirs.allowed, theirs.why, theirs.up_to)
    assert (await asked(house, ghost(WEB))).why == "belongs"
    assert (await asked(house, ghost("mallory"))).why == "stranger"
    await learn(house, etb_user(WEB, Classification.PUBLIC))
    assert (await asked(house, ghost(WEB))).why == "clearance"
    await learn(house, etb_user(WEB, active=False))
    assert (await asked(house, ghost(WEB))).why == "inactive"
    house.clock.advance(house.policy.clearance.hold_s + 1)
    assert (await asked(house, ghost(WEB))).why == "outdated"


async def test_what_lets_a_person_in_lets_their_ghost_in(house: House) -> None:
    await opened(house)
    room, now = await house.room(), house.clock.now_ms()
    grant = BreakGlass(id=CAROL, by=(), reason="r", from_ms=now, until_ms=now + 60_000)
    async with house.store.work() as work:
        await work.cases.put(room.war_room, grant)
    assert (await asked(house, ghost("carol"))).why == "break-glass"
    assert not (await asked(house, ghost("dave"))).allowed


async def test_a_ghost_comes_when_its_person_speaks_and_stays(house: House) -> None:
    await opened(house)
    await says(house, WEB)
    assert (await members(house))[ghost(WEB)] == "join"
    assert not any(isinstance(one, Remove) for one in house.world.order)
    async with house.store.view() as view:
        message = await view.messages.by_event(house.world.said[-1][0])
    assert message is not None
    assert (message.sender, message.body) == (ghost(WEB), "hello")


async def test_a_ghost_goes_when_its_person_s_right_goes(house: House) -> None:
    await opened(house)
    await says(house, WEB)
    await learn(house, etb_user(WEB, Classification.PUBLIC))
    assert [one.user_id for one in house.world.order if isinstance(one, Remove)] == [ghost(WEB)]
    assert ghost(WEB) not in await members(house)


async def test_a_ghost_that_came_in_by_whatever_means_is_put_out(house: House) -> None:
    await opened(house)
    await house.moves(ghost("mallory"), "join", sender=ghost("mallory"))
    assert [one.user_id for one in house.world.order if isinstance(one, Remove)] == [ghost("mallory")]


async def test_ghosts_leave_a_room_in_which_nobody_writes_any_more(house: House) -> None:
    await opened(house)
    await says(house, WEB)
    house.etb.known[NO_1] = replace(house.etb.known[NO_1], status="CLOSED", updated_at_ms=3000)
    await house.report(house.etb.known[NO_1])
    await house.settle()
    assert ghost(WEB) in await members(house)
    await house.advance(73 * 3600)
    assert [one.speaker for one in house.world.order if isinstance(one, LeaveRoom)] == [WEB]
    assert ghost(WEB) not in await members(house)


async def test_the_echo_of_a_ghost_is_no_command_and_no_second_message(house: House) -> None:
    await opened(house)
    key = await says(house, WEB, "!status")
    said = len(house.world.said)
    [event_id] = [one for one, say in house.world.said if say.speaker == WEB]
    await house.says(ghost(WEB), "!status", event_id=event_id, effect_key=key)
    await house.settle()
    assert len(house.world.said) == said
    async with house.store.view() as view:
        message = await view.messages.by_event(EventId(event_id))
    assert message is not None
    assert (message.body, message.sender) == ("!status", ghost(WEB))
    assert not [tag for tag in await house.tags() if tag.startswith("violation")]


async def test_a_person_with_an_account_and_a_ghost_is_shown_once(house: House) -> None:
    await opened(house)
    await house.moves(ALICE, "join")
    await says(house, WEB)
    await says(house, "alice", "from the web")
    await house.says(ALICE, "!who")
    await house.settle()
    listed = house.world.texts()[-1].splitlines()
    assert sum("`alice`" in line for line in listed) == 1
    assert f"- `alice` (`{ALICE}`): reporter; joined; also here through ETB's web page" in listed
    assert f"- `{WEB}`: assignee; here through ETB's web page" in listed
    assert BOT not in "\n".join(listed)
    assert "**Missing**" not in listed


async def test_remove_puts_out_the_ghost_too(house: House) -> None:
    await opened(house)
    await says(house, WEB)
    await house.moves(ALICE, "join")
    await house.ask(ALICE, "!role commander")
    assert "Removed" in await house.ask(ALICE, f"!remove {WEB}")
    assert [one.user_id for one in house.world.order if isinstance(one, Remove)] == [ghost(WEB)]


@pytest.mark.parametrize("who", [ghost("alice"), STRANGER, BOB])
async def test_only_the_bot_reads_with_no_word_of_etb(house: House, who: UserId) -> None:
    await house.report(incident(reporter=None, assignee=None))
    await house.settle()
    assert not (await asked(house, who)).allowed
    assert (await asked(house, BOT)).why == "ours"


# --- who comes and goes, as clients are told --------------------------------------------------------------


def moved(house: House) -> list[tuple[str, str]]:
    """Who has joined and left, in order."""
    return [
        (one.kind, one.person.username) for one in house.news.all if isinstance(one, PersonJoined | PersonLeft)
    ]


async def nothing_told(house: House) -> None:
    house.news.all.clear()


async def test_whoever_speaks_from_the_web_has_joined_and_leaves_with_their_right(house: House) -> None:
    await opened(house)
    await nothing_told(house)
    await says(house, WEB)
    await says(house, WEB, "again")
    assert moved(house) == [("PersonJoined", WEB)]
    await learn(house, etb_user(WEB, Classification.PUBLIC))
    assert moved(house) == [("PersonJoined", WEB), ("PersonLeft", WEB)]


async def test_a_person_is_in_once_however_they_are_in(house: House) -> None:
    await opened(house)
    await nothing_told(house)
    await says(house, "alice", "from the web")
    assert moved(house) == []
    await house.moves(ALICE, "leave")
    assert moved(house) == [], "her ghost is still there"
    await house.moves(ghost("alice"), "leave")
    assert moved(house) == [("PersonLeft", "alice")]
    await house.moves(ghost("alice"), "join")
    await house.moves(ALICE, "join")
    await house.moves(ghost("alice"), "leave")
    assert moved(house)[1:] == [("PersonJoined", "alice")]
    await house.moves(ALICE, "leave")
    assert moved(house)[2:] == [("PersonLeft", "alice")]


async def test_who_is_put_out_with_their_ghost_has_left_once(house: House) -> None:
    await opened(house)
    await house.moves(BOB, "join")
    await house.let_in("bob")
    await house.moves(BOB, "join")
    await says(house, "bob", "from the web")
    await house.ask(ALICE, "!role commander")
    await nothing_told(house)
    assert "Removed" in await house.ask(ALICE, "!remove bob")
    await house.settle()
    assert moved(house) == [("PersonLeft", "bob")]


async def test_the_bot_and_guests_of_the_room_before_are_no_news(house: House) -> None:
    await opened(house)
    await nothing_told(house)
    await house.moves(BOT, "join")
    room = await house.room()
    async with house.store.work() as work:
        await work.rooms.put(replace(room, is_current=False))
        await work.rooms.put(replace(room, generation=room.generation + 1, room_id=RoomId("!next:x.org")))
    await house.moves(ALICE, "leave", room.room_id)
    assert moved(house) == []

"""Raising and lowering an incident's level, and putting somebody out."""

from dataclasses import replace
from typing import Any

import pytest

from etb_appservice.domain.breakglass import BreakGlass
from etb_appservice.domain.classification import Classification
from etb_appservice.domain.clearance import OurRole
from etb_appservice.domain.effects import Remove, Say
from etb_appservice.domain.facts import PeopleDue, Trust
from etb_appservice.domain.ids import Username
from etb_appservice.domain.policy import ApprovalPolicy, RolePolicy
from etb_appservice.domain.roles import Admitted
from tests.harness.cast import ALICE, BOB, CAROL, NO_1, STRANGER, etb_user, policy_of
from tests.harness.house import House
from tests.harness.kit import MakeHouse

MEANING: dict[str, OurRole] = {"Manager": "commander"}
LED = {"roles": RolePolicy(meaning=MEANING)}


async def led(make_house: MakeHouse, **policy: Any) -> House:
    """Alice leads; bob and carol are in the room."""
    house = await make_house(policy=policy_of(**LED, **policy))
    await house.open_for_alice()
    for name in ("alice", "bob"):
        house.etb.users[Username(name)] = replace(etb_user(name), roles=("Manager",))
    house.etb.users[Username("carol")] = etb_user("carol", Classification.INTERNAL)
    house.clock.advance(400)
    await house.moves(BOB, "join")
    await house.ask(ALICE, "!invite carol")
    await house.moves(CAROL, "join")
    return house


def removed(house: House) -> list[str]:
    return [one.user_id for one in house.world.order if isinstance(one, Remove)]


async def test_raising_shows_who_would_lose_access_and_asks(make_house: MakeHouse) -> None:
    house = await led(make_house)
    asked = await house.says(ALICE, "!classify restricted")
    await house.settle()
    [answer] = house.answers(asked)
    assert "@carol:x.org" in answer
    assert "@bob" not in answer
    assert "other homeservers" in answer
    assert removed(house) == []
    await house.says(ALICE, "yes")
    await house.settle()
    said = house.answers(asked)[-1]
    assert "Classification: **RESTRICTED**" in said
    assert "@carol:x.org" in said
    assert removed(house) == [CAROL]
    order = [one for one in house.world.order if isinstance(one, Remove | Say)]
    kick = next(at for at, one in enumerate(order) if isinstance(one, Remove))
    told = next(at for at, one in enumerate(order) if isinstance(one, Say) and one.content == said)
    assert kick < told, "they are out before it is said"
    assert (await house.room()).classification is Classification.RESTRICTED


async def test_a_no_changes_nothing(make_house: MakeHouse) -> None:
    house = await led(make_house)
    await house.ask(ALICE, "!classify top secret")
    await house.ask(ALICE, "no")
    assert house.etb.known[NO_1].stated is None
    assert removed(house) == []


async def test_lowering_needs_somebody_else(make_house: MakeHouse) -> None:
    house = await led(make_house)
    await house.ask(ALICE, "!classify restricted")
    await house.says(ALICE, "yes")
    await house.advance(60)
    event_id = await house.says(ALICE, "!classify internal")
    await house.settle()
    [request] = [text for text in house.world.texts() if "Approval needed" in text]
    code = request.split("`")[1]
    assert "somebody else" in await house.ask(ALICE, f"!approve {code}")
    await house.ask(BOB, f"!approve {code}")
    assert any("Classification: **INTERNAL** (was RESTRICTED)" in text for text in house.answers(event_id))
    assert (await house.room()).classification is Classification.INTERNAL


async def test_raising_waits_for_approval_where_the_configuration_says_so(make_house: MakeHouse) -> None:
    house = await led(make_house, approvals=ApprovalPolicy(commands=frozenset({"classify"})))
    await house.says(ALICE, "!classify restricted")
    await house.settle()
    [request] = [text for text in house.world.texts() if "Approval needed" in text]
    assert "@carol:x.org" in request
    await house.ask(BOB, f"!approve {request.split('`')[1]}")
    assert removed(house) == [CAROL]


async def test_only_whoever_leads_may_and_only_from_a_verified_device(make_house: MakeHouse) -> None:
    house = await led(make_house)
    assert "role commander" in await house.ask(CAROL, "!classify restricted")
    assert "verified" in await house.ask(ALICE, "!classify restricted", trust=Trust.UNSIGNED.value)


@pytest.mark.parametrize("word", ["secretish", "6"])
async def test_a_level_that_is_none_is_explained(make_house: MakeHouse, word: str) -> None:
    house = await led(make_house)
    assert "TOP_SECRET" in await house.ask(ALICE, f"!classify {word}")


async def test_whom_a_commander_removes_is_out_and_let_in_no_longer(make_house: MakeHouse) -> None:
    house = await led(make_house)
    assert await house.ask(ALICE, "!remove carol") == "Removed `@carol:x.org`."
    assert removed(house) == [CAROL]
    async with house.store.view() as view:
        admitted = await view.cases.get((await house.room()).war_room, Admitted, "carol")
    assert admitted is not None
    assert not admitted.is_open
    await house.moves(CAROL, "join")
    assert removed(house) == [CAROL, CAROL], "whoever comes back by other means is out again"


async def test_whom_etb_names_is_removed_and_not_invited_again_by_itself(make_house: MakeHouse) -> None:
    house = await led(make_house)
    assert "assignee" in await house.ask(ALICE, "!remove bob")
    invited = list(house.world.invited)
    await house.own(PeopleDue(incident_id=NO_1), lane=NO_1)
    await house.settle()
    assert house.world.invited == invited
    assert "Invited" in await house.ask(ALICE, "!invite bob")


async def test_remove_ends_break_glass_and_refuses_what_it_must(make_house: MakeHouse) -> None:
    house = await led(make_house)
    room, now = await house.room(), house.clock.now_ms()
    async with house.db.work() as work:
        grant = BreakGlass(id=STRANGER, by=(ALICE, BOB), reason="r", from_ms=now, until_ms=now + 10**9)
        await work.cases.put(room.war_room, grant)
    await house.moves(STRANGER, "join")
    assert removed(house) == []
    assert "Removed" in await house.ask(ALICE, f"!remove {STRANGER}")
    assert removed(house) == [STRANGER]
    assert "stays" in await house.ask(ALICE, "!remove @etb:x.org")
    assert "yourself" in await house.ask(ALICE, "!remove alice")
    assert "not in this room" in await house.ask(ALICE, "!remove @nobody:x.org")
